"""All six joins, against DuckDB."""

import random

import pytest

from harness import read_csv, same_rows, write_csv
from oracle import Oracle, Table, random_table

HOW = ["inner", "left", "right", "full", "semi", "anti"]
LEFT = {"k": "int64", "s": "string", "lv": "int64", "v": "float64"}
RIGHT = {"k": "int64", "s": "string", "rv": "string", "v": "float64"}


def job(left, right, on, how, steps=()):
    return {
        "flows": {
            "right": {"source": right.source("right.csv")},
            "left": {
                "source": left.source("left.csv"),
                "steps": [{"join": {"with": "right", "on": on, "how": how}}, *steps],
                "sink": {"file": {"path": "out.csv"}},
            },
        }
    }


def answer(left, right, keys, how):
    """The rows as the job file fixes their columns: keys once, left's others, right's others."""
    oracle = Oracle()
    oracle.add("l", left)
    oracle.add("r", right)
    condition = " and ".join(f"l.{a} = r.{b}" for a, b in keys)
    left_others = [f"l.{c}" for c in left.columns if c not in [a for a, _ in keys]]
    right_others = [f"r.{c}" for c in right.columns if c not in [b for _, b in keys]]
    if how in ("semi", "anti"):
        columns = ", ".join([f"l.{a}" for a, _ in keys] + left_others)
        word = "exists" if how == "semi" else "not exists"
        return oracle.rows(f"select {columns} from l where {word} (select 1 from r where {condition})")
    columns = ", ".join([f"coalesce(l.{a}, r.{b})" for a, b in keys] + left_others + right_others)
    return oracle.rows(f"select {columns} from l {how} join r on {condition}")


def check(thalweg, left, right, on, how, settings=None):
    thalweg.write("left.csv", left.csv())
    thalweg.write("right.csv", right.csv())
    keys = list(on.items()) if isinstance(on, dict) else [(c, c) for c in on]
    left_keys, right_keys = [a for a, _ in keys], [b for _, b in keys]
    python = dict(zip(left.columns, left.python_types))
    types = [python[a] for a in left_keys] + [t for c, t in python.items() if c not in left_keys]
    if how not in ("semi", "anti"):
        types += [t for c, t in zip(right.columns, right.python_types) if c not in right_keys]
    actual = thalweg.table(job(left, right, on, how), types=types, **(settings or {}))
    same_rows(actual, answer(left, right, keys, how))


@pytest.mark.parametrize("how", HOW)
def test_on_one_key_with_nulls_and_duplicates(thalweg, how, settings):
    check(thalweg, random_table(800, 31, LEFT), random_table(600, 32, RIGHT), ["k"], how, settings)


@pytest.mark.parametrize("how", HOW)
def test_on_two_keys_of_different_types(thalweg, how):
    for parallelism, batch_rows in ((1, 1), (2, 100), (8, 65536)):
        check(thalweg, random_table(900, 33, LEFT), random_table(900, 34, RIGHT), ["k", "s"], how,
              {"run_parallelism": parallelism, "run_batch_rows": batch_rows})


@pytest.mark.parametrize("how", HOW)
def test_keys_with_different_names(thalweg, how):
    left = random_table(500, 35, {"a": "int64", "x": "string"})
    right = random_table(400, 36, {"b": "int64", "y": "string"})
    check(thalweg, left, right, {"a": "b"}, how)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["string", "date", "timestamp", "bool", "float64", "int32"])
def test_key_types(thalweg, how, kind):
    rows = 40 if kind == "bool" else 300
    left = random_table(rows, 37, {"key": kind, "x": "int64"})
    right = random_table(rows, 38, {"key": kind, "y": "int64"})
    shared = [row[0] for row in left.rows][: rows // 2]
    right.rows = [(shared[n] if n < len(shared) else row[0], row[1]) for n, row in enumerate(right.rows)]
    check(thalweg, left, right, ["key"], how, {"run_parallelism": 2, "run_batch_rows": 37})


@pytest.mark.parametrize("how", HOW)
def test_integer_keys_of_different_width(thalweg, how):
    left = random_table(300, 39, {"key": "int32", "x": "int64"})
    right = random_table(300, 40, {"key": "int64", "y": "int64"})
    check(thalweg, left, right, ["key"], how)


@pytest.mark.parametrize("how", HOW)
def test_empty_sides(thalweg, how):
    empty_left, empty_right = Table(LEFT, []), Table(RIGHT, [])
    full_left, full_right = random_table(50, 41, LEFT), random_table(50, 42, RIGHT)
    check(thalweg, full_left, empty_right, ["k"], how)
    check(thalweg, empty_left, full_right, ["k"], how)
    check(thalweg, empty_left, empty_right, ["k"], how)


def test_names_that_are_taken_get_right_added(thalweg):
    thalweg.write("left.csv", "k,v,w\n1,2,3\n")
    thalweg.write("right.csv", "k,v,z\n1,5,6\n")
    left = Table({"k": "int64", "v": "int64", "w": "int64"}, [])
    right = Table({"k": "int64", "v": "int64", "z": "int64"}, [])
    thalweg.ok(job(left, right, ["k"], "inner"))
    assert thalweg.read("out.csv") == b"k,v,w,v_right,z\n1,2,3,5,6\n"


def test_inner_is_what_a_join_is_without_how(thalweg):
    thalweg.write("left.csv", "k,v\n1,2\n2,3\n")
    thalweg.write("right.csv", "k,z\n1,5\n")
    plan = job(Table({"k": "int64", "v": "int64"}, []), Table({"k": "int64", "z": "int64"}, []), ["k"], "inner")
    del plan["flows"]["left"]["steps"][0]["join"]["how"]
    thalweg.ok(plan)
    assert thalweg.read("out.csv") == b"k,v,z\n1,2,5\n"


def test_both_sides_may_come_from_one_flow(thalweg, settings):
    """A diamond: the flow is read twice and meets itself."""
    thalweg.write("in.csv", write_csv(["k", "v"], [(n % 50, n) for n in range(2000)]))
    rows = thalweg.table({
        "flows": {
            "all": {"source": {"file": {"path": "in.csv"}}},
            "sums": {"source": {"flow": "all"}, "steps": [{"group": {"by": ["k"], "aggregate": {"total": "sum(v)"}}}]},
            "out": {
                "source": {"flow": "all"},
                "steps": [{"join": {"with": "sums", "on": ["k"]}}, {"select": ["k", "v", "total"]}],
                "sink": {"file": {"path": "out.csv"}},
            },
        }
    }, types=[int, int, int], **settings)
    same_rows(rows, [(n % 50, n, sum(range(n % 50, 2000, 50))) for n in range(2000)])


@pytest.mark.parametrize("how", HOW)
def test_a_build_side_larger_than_memory(thalweg, how):
    rng = random.Random(8)
    pad = "p" * 100
    left = [(rng.randrange(300_000), n) for n in range(300_000)]
    right = [(rng.randrange(300_000), f"{pad}{n}") for n in range(300_000)]
    thalweg.write("left.csv", write_csv(["k", "x"], left))
    thalweg.write("right.csv", write_csv(["k", "y"], right))
    tables = Table({"k": "int64", "x": "int64"}, []), Table({"k": "int64", "y": "string"}, [])
    plan = job(*tables, ["k"], how)
    outputs = []
    for memory in ("32MiB", "2GiB"):
        summary = thalweg.ok(plan, run_memory=memory, run_parallelism=2)
        outputs.append(sorted(thalweg.read("out.csv").splitlines()))
        if memory == "32MiB":
            # For semi and anti the keys alone are kept, and those fit.
            assert summary["spilled_bytes"] > 0 or how in ("semi", "anti")
            assert summary["peak_rss_bytes"] <= (32 + 64) * 2**20
    assert outputs[0] == outputs[1]
    oracle = Oracle()
    oracle.connection.execute(f"create table l as from read_csv('{thalweg.folder}/left.csv')")
    oracle.connection.execute(f"create table r as from read_csv('{thalweg.folder}/right.csv')")
    if how in ("semi", "anti"):
        word = "exists" if how == "semi" else "not exists"
        sql = f"select count(*), sum(x) from l where {word} (select 1 from r where l.k = r.k)"
    else:
        sql = f"select count(*), sum(x) from l {how} join r on l.k = r.k"
    rows = read_csv(b"\n".join([outputs[1][-1]] + outputs[1][:-1]) + b"\n")[1]
    assert [(len(rows), sum(int(row[1]) for row in rows if row[1] is not None))] == oracle.rows(sql)


def test_one_key_that_is_half_of_both_sides(thalweg):
    """A partition that no further split makes smaller: 3,000 x 3,000 rows of one key, at 32 MiB."""
    left = [("hot" if n % 2 else f"k{n}", n) for n in range(6000)]
    right = [("hot" if n % 2 else f"k{n}", n, "p" * 5000) for n in range(6000)]
    thalweg.write("left.csv", write_csv(["k", "x"], left))
    thalweg.write("right.csv", write_csv(["k", "y", "pad"], right))
    tables = Table({"k": "string", "x": "int64"}, []), Table({"k": "string", "y": "int64", "pad": "string"}, [])
    plan = job(*tables, ["k"], "inner", [
        {"derive": {"size": "length(pad)"}},
        {"group": {"by": [], "aggregate": {"n": "count", "s": "sum(x + y)", "b": "sum(size)"}}},
    ])
    rows = thalweg.table(plan, types=[int, int, int], run_memory="32MiB", run_parallelism=2)
    odd = sum(range(1, 6000, 2))
    assert rows == [(9_003_000, 2 * odd * 3000 + 2 * sum(range(0, 6000, 2)), 9_003_000 * 5000)]


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("how", HOW)
def test_under_sanitizers(thalweg, how):
    check(thalweg, random_table(400, 43, LEFT), random_table(300, 44, RIGHT), ["k"], how,
          {"run_parallelism": 4, "run_batch_rows": 16})
