"""Grouping and every aggregate, against DuckDB and Python."""

import itertools
import math
import random
import statistics

import pytest

from harness import read_csv, same_rows, write_csv
from oracle import Oracle, Table, random_table


def job(source, by, aggregate, steps=()):
    return {
        "source": source,
        "steps": [*steps, {"group": {"by": by, "aggregate": aggregate}}],
        "sink": {"file": {"path": "out.csv"}},
    }


def check(thalweg, by, aggregate, sql, types, settings=None, table=None, relative=1e-12):
    table = table or random_table(3000, seed=21)
    thalweg.write("in.csv", table.csv())
    oracle = Oracle()
    oracle.add("t", table)
    actual = thalweg.table(job(table.source("in.csv"), by, aggregate), types=types, **(settings or {}))
    same_rows(actual, oracle.rows(sql), relative=relative)


# Aggregate, type, the same in DuckDB.
AGGREGATES = [
    ("count", int, "count(*)"),
    ("count(f)", int, "count(f)"),
    ("count(s)", int, "count(s)"),
    ("count_distinct(s)", int, "count(distinct s)"),
    ("count_distinct(j)", int, "count(distinct j)"),
    ("sum(k)", int, "sum(k)"),
    ("sum(j)", int, "sum(j)"),
    ("sum(f)", float, "sum(f)"),
    ("min(k)", int, "min(k)"),
    ("max(f)", float, "max(f)"),
    ("min(s)", str, "min(s)"),
    ("max(s)", str, "max(s)"),
    ("min(d)", str, "min(d)"),
    ("max(t)", str, "max(t)"),
    ("min(b)", bool, "min(b)"),
    ("mean(k)", float, "avg(k)"),
    ("mean(f)", float, "avg(f)"),
    ("variance(k)", float, "var_samp(k)"),
    ("stddev(f)", float, "stddev_samp(f)"),
    # first and last are of the values, in row order: nulls are skipped as by every aggregate.
    ("first(s)", str, "arg_min(s, _row) filter (s is not null)"),
    ("last(k)", int, "arg_max(k, _row) filter (k is not null)"),
    ("first(t)", str, "arg_min(t, _row) filter (t is not null)"),
    ("last(f)", float, "arg_max(f, _row) filter (f is not null)"),
]
BY = {"int": "k", "string": "s", "bool": "b", "date": "d", "float": "f", "timestamp": "t", "small": "j"}
BY_TYPE = {"int": int, "string": str, "bool": bool, "date": str, "float": float, "timestamp": str, "small": int}


@pytest.mark.parametrize("aggregate,kind,sql", AGGREGATES, ids=[a[0] for a in AGGREGATES])
def test_aggregate(thalweg, aggregate, kind, sql):
    for parallelism, batch_rows in ((1, 65536), (2, 100), (8, 1)):
        check(thalweg, ["k"], {"x": aggregate}, f"select k, {sql} from t group by k", [int, kind],
              {"run_parallelism": parallelism, "run_batch_rows": batch_rows}, relative=1e-11)
    check(thalweg, [], {"x": aggregate}, f"select {sql} from t", [kind], relative=1e-11)


@pytest.mark.parametrize("key", BY)
def test_keys_of_every_type_with_null_as_a_key(thalweg, key, settings):
    name = BY[key]
    check(thalweg, [name], {"n": "count", "total": "sum(f)" if name != "f" else "sum(k)"},
          f"select {name}, count(*), {'sum(f)' if name != 'f' else 'sum(k)'} from t group by {name}",
          [BY_TYPE[key], int, float if name != "f" else int], settings)


def test_several_keys_and_all_aggregates_at_once(thalweg, settings):
    aggregate = {f"a{n}": a for n, (a, _, _) in enumerate(AGGREGATES)}
    sql = ", ".join(s for _, _, s in AGGREGATES)
    check(thalweg, ["b", "j", "s"], aggregate, f"select b, j, s, {sql} from t group by b, j, s",
          [bool, int, str, *(k for _, k, _ in AGGREGATES)], settings, relative=1e-11)


def test_columns_of_the_result_are_keys_then_aggregates(thalweg):
    table = random_table(10, seed=1)
    thalweg.write("in.csv", table.csv())
    thalweg.ok(job(table.source("in.csv"), ["s", "k"], {"z": "count", "a": "sum(f)"}))
    assert read_csv(thalweg.read("out.csv"))[0] == ["s", "k", "z", "a"]


def test_no_values_and_fewer_than_two(thalweg):
    thalweg.write("in.csv", "k,v\n1,\n1,\n2,5\n3,1\n3,3\n")
    rows = thalweg.table(job(
        {"file": {"path": "in.csv", "columns": {"k": "int64", "v": "int64"}}}, ["k"],
        {"n": "count", "c": "count(v)", "s": "sum(v)", "m": "mean(v)", "lo": "min(v)", "hi": "max(v)",
         "sd": "stddev(v)", "va": "variance(v)", "d": "count_distinct(v)", "f": "first(v)"},
    ), types=[int, int, int, int, float, int, int, float, float, int, int])
    assert sorted(rows) == [
        (1, 2, 0, None, None, None, None, None, None, 0, None),
        (2, 1, 1, 5, 5.0, 5, 5, None, None, 1, 5),
        (3, 2, 2, 4, 2.0, 1, 3, pytest.approx(math.sqrt(2), rel=1e-15), 2.0, 2, 1),
    ]


def test_no_keys_and_no_rows_give_one_row(thalweg):
    thalweg.write("in.csv", "v\n")
    source = {"file": {"path": "in.csv", "columns": {"v": "int64"}}}
    assert thalweg.table(job(source, [], {"n": "count", "s": "sum(v)"}), types=[int, int]) == [(0, None)]
    assert thalweg.table(job(source, ["v"], {"n": "count"}), types=[int, int]) == []


def test_integer_sums_pass_through_128_bits(thalweg, settings):
    big = 2**63 - 1
    rows = [(1, big), (1, big), (1, -big), (1, -big), (2, big), (2, -1), (2, 1)]
    thalweg.write("in.csv", write_csv(["k", "v"], rows))
    source = {"file": {"path": "in.csv", "columns": {"k": "int64", "v": "int64"}}}
    result = thalweg.table(job(source, ["k"], {"s": "sum(v)"}), types=[int, int], **settings)
    assert sorted(result) == [(1, 0), (2, big)]


def test_an_integer_sum_that_does_not_fit_is_an_error(thalweg):
    thalweg.write("in.csv", write_csv(["v"], [(2**63 - 1,), (1,)]))
    source = {"file": {"path": "in.csv", "columns": {"v": "int64"}}}
    result = thalweg.run(job(source, [], {"s": "sum(v)"}))
    assert result.exit == 1 and result.summary["status"] == "failed", result
    assert "sum" in result.summary["error"]
    assert not (thalweg.folder / "out.csv").exists()


def test_mean_and_variance_of_large_offsets_are_exact(thalweg, settings):
    """Sums of squares would lose every digit here."""
    rng = random.Random(3)
    values = [1e9 + rng.random() for _ in range(5000)]
    thalweg.write("in.csv", write_csv(["v"], [(v,) for v in values]))
    source = {"file": {"path": "in.csv", "columns": {"v": "float64"}}}
    rows = thalweg.table(job(source, [], {"m": "mean(v)", "v": "variance(v)"}), types=[float, float], **settings)
    assert rows[0][0] == pytest.approx(statistics.fmean(values), rel=1e-13)
    assert rows[0][1] == pytest.approx(statistics.variance(values), rel=1e-6)


def test_float_aggregates_agree_between_settings(thalweg):
    rng = random.Random(4)
    rows = [(n % 7, rng.uniform(-1, 1) * 10 ** rng.randint(-6, 6)) for n in range(30_000)]
    thalweg.write("in.csv", write_csv(["k", "v"], rows))
    source = {"file": {"path": "in.csv", "columns": {"k": "int64", "v": "float64"}}}
    plan = job(source, ["k"], {"s": "sum(v)", "m": "mean(v)", "sd": "stddev(v)"})
    answers = [
        sorted(thalweg.table(plan, types=[int, float, float, float], run_parallelism=p, run_batch_rows=b, run_memory=m))
        for p, b, m in ((1, 65536, "1GiB"), (2, 1, "64MiB"), (8, 777, "32MiB"))
    ]
    exact = {k: math.fsum(v for key, v in rows if key == k) for k in range(7)}
    for answer in answers:
        same_rows(answer, answers[0], relative=1e-12)
        for row in answer:
            assert row[1] == pytest.approx(exact[row[0]], rel=1e-11)


def test_quantile_is_within_one_percent_in_rank(thalweg, settings):
    rng = random.Random(5)
    values = {k: [rng.lognormvariate(0, 2) for _ in range(4000)] for k in range(3)}
    rows = [(k, v) for k, vs in values.items() for v in vs]
    rng.shuffle(rows)
    thalweg.write("in.csv", write_csv(["k", "v"], rows))
    source = {"file": {"path": "in.csv", "columns": {"k": "int64", "v": "float64"}}}
    quantiles = [0.0, 0.01, 0.5, 0.9, 0.99, 1.0]
    aggregate = {f"q{n}": f"quantile(v, {q})" for n, q in enumerate(quantiles)}
    result = thalweg.table(job(source, ["k"], aggregate), types=[int] + [float] * len(quantiles), **settings)
    assert len(result) == 3
    for k, *answers in result:
        ordered = sorted(values[k])
        for q, answer in zip(quantiles, answers):
            below = sum(v < answer for v in ordered) / len(ordered)
            up_to = sum(v <= answer for v in ordered) / len(ordered)
            assert below - 0.01 <= q <= up_to + 0.01, (k, q, answer)


def test_collect_follows_row_order(thalweg, settings):
    rows = [(n % 3, None if n % 10 == 9 else n) for n in range(3000)]
    thalweg.write("in.csv", write_csv(["k", "v"], rows))
    plan = job({"file": {"path": "in.csv"}}, ["k"], {"vs": "collect(v)"})
    plan["steps"] += [{"explode": {"from": "vs", "into": "v"}}, {"select": ["k", "v"]}]
    result = thalweg.table(plan, types=[int, int], **settings)
    for k in range(3):
        assert [v for key, v in result if key == k] == [v for key, v in rows if key == k and v is not None]


def test_first_and_last_follow_the_order_of_many_files(thalweg, settings):
    for number in range(60):
        thalweg.write(f"in/{number:03}.csv", "k,v\n" + "".join(f"{n % 5},{number * 100 + n}\n" for n in range(100)))
    plan = job({"file": {"path": "in/*.csv"}}, ["k"], {"a": "first(v)", "z": "last(v)"})
    result = thalweg.table(plan, types=[int, int, int], **settings)
    assert sorted(result) == [(k, k, 5900 + 95 + k) for k in range(5)]


def test_many_distinct_keys_spill_and_stay_exact(thalweg):
    """One million keys of 24 bytes with a count and a sum need far more than 32 MiB."""
    rng = random.Random(6)
    keys = list(range(1_000_000))
    rng.shuffle(keys)
    thalweg.write("in.csv", "k,v\n" + "".join(f"key-number-{k:013d},{k % 1000}\n" for k in keys for _ in range(2)))
    plan = job({"file": {"path": "in.csv"}}, ["k"], {"n": "count", "s": "sum(v)"})
    answers = []
    for parallelism, memory in ((2, "32MiB"), (8, "48MiB"), (2, "2GiB")):
        summary = thalweg.ok(plan, run_parallelism=parallelism, run_memory=memory)
        assert (summary["spilled_bytes"] > 0) == (memory != "2GiB"), summary
        limit = {"32MiB": 32, "48MiB": 48, "2GiB": 2048}[memory]
        assert summary["peak_rss_bytes"] <= (limit + 64) * 2**20, summary
        answers.append(sorted(thalweg.read("out.csv").split(b"\n")))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][2:] == [f"key-number-{k:013d},2,{k % 1000 * 2}".encode() for k in range(1_000_000)]


def test_one_key_that_is_half_of_the_data(thalweg, settings):
    rng = random.Random(7)
    rows = [("hot" if rng.random() < 0.5 else f"k{rng.randrange(20_000)}", n) for n in range(60_000)]
    table = Table({"k": "string", "v": "int64"}, rows)
    check(thalweg, ["k"], {"n": "count", "s": "sum(v)", "d": "count_distinct(v)"},
          "select k, count(*), sum(v), count(distinct v) from t group by k", [str, int, int, int], settings, table)


@pytest.mark.sanitized
@pytest.mark.threaded
def test_under_sanitizers(thalweg):
    check(thalweg, ["b", "s"], {f"a{n}": a for n, (a, _, _) in enumerate(AGGREGATES)},
          f"select b, s, {', '.join(s for _, _, s in AGGREGATES)} from t group by b, s",
          [bool, str, *(k for _, k, _ in AGGREGATES)], {"run_parallelism": 4, "run_batch_rows": 64}, relative=1e-11)


@pytest.mark.parametrize("by,groups", [(["k"], 10), ([], 1)])
def test_the_summary_counts_rows_of_the_step_alone(thalweg, by, groups):
    """count_distinct groups twice; the rows in between are nobody's."""
    thalweg.write("in.csv", "k,v\n" + "".join(f"{i % 10},{i % 700}\n" for i in range(7000)))
    summary = thalweg.ok({
        "source": {"file": "in.csv"},
        "steps": [{"group": {"by": by, "aggregate": {"d": "count_distinct(v + 1)", "n": "count"}}}],
        "sink": {"file": "out.csv"}})
    steps = {s["step"]: (s["rows_in"], s["rows_out"]) for s in summary["steps"]}
    assert steps["group"] == (7000, groups)


SUMS = [
    (["1.7e308", "1.7e308", "-1.7e308", "-1.7e308", "1.5"], "1.5", "0.3"),
    (["1.7e308", "1.7e308", "-1.7e308", "2", "-2"], "1.7e308", "3.4e307"),
    (["1.7e308", "1e308", "-1.6e308", "-2e307", "1e292"], "9e307", None),
    (["1.7e308", "1.7e308"], "inf", "1.7e308"),
    (["-1.7e308", "-1.7e308", "1e308"], "-inf", "-8e307"),
    (["1.7e308", "1.7e308", "inf"], "inf", "inf"),
    (["1.7e308", "inf", "-inf"], "nan", "nan"),
    (["1e154", "-1e154", "9e153"], "9e153", "3e153"),
]


@pytest.mark.parametrize("values,total,mean", SUMS)
def test_a_float_sum_overflows_only_if_it_does_in_the_end(thalweg, values, total, mean):
    """Whatever the order, whoever adds which part."""
    orders = sorted(set(itertools.permutations(values)))
    thalweg.write("in.csv", "k,v\n" + "".join(f"{k},{v}\n" for k, order in enumerate(orders) for v in order))
    plan = {"source": {"file": {"path": "in.csv", "columns": {"k": "int64", "v": "float64"}}},
            "steps": [{"group": {"by": ["k"], "aggregate": {"s": "sum(v)", "m": "mean(v)"}}}], "sink": {"file": "out.csv"}}
    for batch_rows, parallelism in ((1, 4), (2, 2), (8192, 1)):
        rows = thalweg.table(plan, types=[int, float, float], run_batch_rows=batch_rows, run_parallelism=parallelism)
        assert len(rows) == len(orders)
        for _, s, m in rows:
            assert s == pytest.approx(float(total), rel=1e-12, nan_ok=True)
            assert mean is None or m == pytest.approx(float(mean), rel=1e-12, nan_ok=True)


def test_parts_of_a_float_sum_that_overflow_are_merged(thalweg):
    """Each worker's part alone is infinite; all of them are not."""
    n = 40_000
    values = ["1.7e308"] * n + ["-1.7e308"] * n + ["3"]
    thalweg.write("in.csv", "v,pad\n" + "".join(f"{v},{'x' * 50}\n" for v in values))
    plan = {"source": {"file": {"path": "in.csv", "columns": {"v": "float64", "pad": "string"}}},
            "steps": [{"group": {"by": [], "aggregate": {"s": "sum(v)", "d": "stddev(v / 1e200)", "n": "count(pad)"}}}], "sink": {"file": "out.csv"}}
    for parallelism in (1, 4):
        assert thalweg.table(plan, types=[float, float, int], run_parallelism=parallelism)[0] == (3, pytest.approx(1.7e108), 2 * n + 1)
