"""Each stateless step, and expressions in them, against DuckDB and worked examples."""

import json

import pytest

from harness import read_csv, same_rows, write_csv
from oracle import PYTHON_TYPE, Oracle, Table, random_table


def job(table, steps, path="in.csv"):
    return {"source": table.source(path), "steps": steps, "sink": {"file": {"path": "out.csv"}}}


def check(thalweg, steps, sql, types, settings=None, ordered=True, rows=2000):
    """Runs the steps over a random table and the SQL over the same rows in DuckDB."""
    table = random_table(rows, seed=11)
    thalweg.write("in.csv", table.csv())
    oracle = Oracle()
    oracle.add("t", table)
    actual = thalweg.table(job(table, steps), types=types, **(settings or {}))
    same_rows(actual, oracle.rows(sql), ordered=ordered)


ALL = "k, j, f, s, b, d, t"
ALL_PYTHON = [int, int, float, str, bool, str, str]


def test_rows_pass_unchanged_and_in_order(thalweg, settings):
    check(thalweg, [], f"select {ALL} from t order by _row", ALL_PYTHON, settings)


def test_select_list(thalweg):
    check(thalweg, [{"select": ["s", "k"]}], "select s, k from t order by _row", [str, int])


def test_select_expressions(thalweg, settings):
    steps = [{"select": {"twice": "k * 2", "s": "s", "sum": "k + f", "half": "k / 2", "whole": "k // 3", "rest": "k % 3"}}]
    sql = "select k * 2, s, k + f, k / 2, k // 3, k % 3 from t order by _row"
    check(thalweg, steps, sql, [int, str, float, float, int, int], settings)


def test_derive_adds_and_replaces(thalweg, settings):
    steps = [{"derive": {"u": "upper(s)", "k": "k + 1"}}]
    sql = "select k + 1, j, f, s, b, d, t, upper(s) from t order by _row"
    table = random_table(500, seed=11)
    table.rows = [row for row in table.rows if row[3] != "ß"]
    thalweg.write("in.csv", table.csv())
    oracle = Oracle()
    oracle.add("t", table)
    thalweg.ok(job(table, steps), **settings)
    header, rows = read_csv(thalweg.read("out.csv"), [*ALL_PYTHON, str])
    assert header == ["k", "j", "f", "s", "b", "d", "t", "u"]
    same_rows(rows, oracle.rows(sql.replace("from t", "from t where s is distinct from 'ß'")), ordered=True)


def test_rename_and_drop(thalweg):
    steps = [{"rename": {"k": "key", "s": "text"}}, {"drop": ["f", "b", "d", "t"]}]
    table = random_table(100, seed=12)
    thalweg.write("in.csv", table.csv())
    thalweg.ok(job(table, steps))
    header, rows = read_csv(thalweg.read("out.csv"), [int, int, str])
    assert header == ["key", "j", "text"]
    assert rows == [(row[0], row[1], row[3]) for row in table.rows]


FILTERS = [
    ("k > 3", "k > 3"),
    ("k >= -3 and f < 0", "k >= -3 and f < 0"),
    ("not (k > 3 or b)", "not (k > 3 or b)"),
    ("b", "b"),
    ("s is null", "s is null"),
    ("not (s is null)", "s is not null"),
    ("k in (1, 2, 3, -7)", "k in (1, 2, 3, -7)"),
    ("s in ('a', '日本', '')", "s in ('a', '日本', '')"),
    ("s like 'prefix%'", "s like 'prefix%'"),
    ("s like '%e_k%'", "s like '%e_k%'"),
    ("s == 'NULL' or s != s", "s = 'NULL'"),
    ("s < 'prefix-common-1'", "s < 'prefix-common-1'"),
    ("d >= date('1970-01-01')", "d >= date '1970-01-01'"),
    ("t < timestamp('1970-01-03T12:00:00Z')", "t < timestamp '1970-01-03 12:00:00'"),
    ("coalesce(k, 0) == 0", "coalesce(k, 0) = 0"),
    ("if(b, k, -k) > 0", "case when b then k else -k end > 0"),
    ("length(s) > 5 and starts_with(s, 'x')", "length(s) > 5 and starts_with(s, 'x')"),
    ("contains(s, 'mm') or ends_with(s, '語')", "contains(s, 'mm') or suffix(s, '語')"),
    ("matches(s, '^[a-b]+$')", "regexp_full_match(s, '[a-b]+')"),
    ("abs(f) > 100.5 and k * k < 900", "abs(f) > 100.5 and k * k < 900"),
    ("k == f", "k = f"),
    ("j == k", "j = k"),
    ("(k > 0) == b", "(k > 0) = b"),
]


@pytest.mark.parametrize("expression,sql", FILTERS, ids=[e for e, _ in FILTERS])
def test_filter(thalweg, expression, sql):
    check(thalweg, [{"filter": expression}], f"select {ALL} from t where {sql} order by _row", ALL_PYTHON,
          {"run_parallelism": 2, "run_batch_rows": 100})


def test_filter_under_every_setting(thalweg, settings):
    sql = f"select {ALL} from t where k > 0 and s like 'p%' order by _row"
    check(thalweg, [{"filter": "k > 0 and s like 'p%'"}], sql, ALL_PYTHON, settings)


# Expression, type of the result, DuckDB's words for it.
EXPRESSIONS = [
    ("k + j", int, "k + j"),
    ("k - j * 2", int, "k - j * 2"),
    ("-k", int, "-k"),
    ("f / 4", float, "f / 4"),
    ("k * 0.5", float, "k * 0.5::double"),
    ("lower(s)", str, "lower(s)"),
    ("trim(s)", str, "trim(s)"),
    ("length(s)", int, "length(s)"),
    ("substr(s, 2, 3)", str, "substr(s, 2, 3)"),
    ("substr(s, 3)", str, "substr(s, 3)"),
    ("replace(s, 'a', 'ZZ')", str, "replace(s, 'a', 'ZZ')"),
    ("concat(s, '-', string(k))", str, "s || '-' || k"),
    ("abs(k)", int, "abs(k)"),
    ("floor(f)", float, "floor(f)"),
    ("ceil(f)", float, "ceil(f)"),
    ("sqrt(abs(f))", float, "sqrt(abs(f))"),
    ("exp(f / 1000)", float, "exp(f / 1000)"),
    ("ln(abs(f) + 1)", float, "ln(abs(f) + 1)"),
    ("log10(abs(f) + 1)", float, "log10(abs(f) + 1)"),
    ("pow(f / 100, 2)", float, "pow(f / 100, 2)"),
    ("least(k, j)", int, "case when k is null or j is null then null else least(k, j) end"),
    ("greatest(k, j, 0)", int, "case when k is null or j is null then null else greatest(k, j, 0) end"),
    ("year(d) * 10000 + month(d) * 100 + day(d)", int, "year(d) * 10000 + month(d) * 100 + day(d)"),
    ("hour(t)", int, "hour(t)"),
    ("year(t)", int, "year(t)"),
    ("date(t)", str, "t::date"),
    ("timestamp(d)", str, "d::timestamp"),
    ("int64(string(k))", int, "k"),
    ("float64(k)", float, "k::double"),
    ("int32(k)", int, "k"),
    ("bool(k)", bool, "k <> 0"),
    ("string(b)", str, "b::varchar"),
    ("string(d)", str, "d::varchar"),
    ("k is null", bool, "k is null"),
    ("k > j", bool, "k > j"),
    ("b and k > 0", bool, "b and k > 0"),
    ("b or k > 0", bool, "b or k > 0"),
    ("not b", bool, "not b"),
    ("coalesce(k, j, 7)", int, "coalesce(k, j, 7)"),
    ("if(k > 0, s, null)", str, "case when k > 0 then s end"),
    ("if(k == 0, 0, 100 // k)", int, "case when k = 0 then 0 when k is null then 100 // k else 100 // k end"),
    ("if(is_big, 1, 0)", int, "case when k > 20 then 1 else 0 end"),
]


@pytest.mark.parametrize("expression,kind,sql", EXPRESSIONS, ids=[e[0] for e in EXPRESSIONS])
def test_expression(thalweg, expression, kind, sql):
    steps = [{"derive": {"is_big": "k > 20"}}, {"select": {"x": expression}}]
    check(thalweg, steps, f"select {sql} from t order by _row", [kind], {"run_parallelism": 2, "run_batch_rows": 333})


VALUES = [
    ("1 + 2 * 3", "7"),
    ("(1 + 2) * 3", "9"),
    ("7 / 2", "3.5"),
    ("-7 // 2", "-3"),
    ("-7 % 3", "-1"),
    ("7 % -3", "1"),
    ("1 < 2 and 2 < 3", "true"),
    ("null and false", "false"),
    ("null or true", "true"),
    ("null and true", ""),
    ("not (null == 1)", ""),
    ("concat('a', null)", ""),
    ("least(1, null)", ""),
    ("if(null, 1, 2)", "2"),
    ("coalesce(null, 'x')", "x"),
    ("length('日本語🎈')", "4"),
    ("substr('日本語', 2, 1)", "本"),
    ("upper('straße é')", "STRASSE É"),
    ("lower('ÀÉÎ')", "àéî"),
    ("'it''s'", "it's"),
    ("'Abc' like 'abc'", "false"),
    ("concat('a', '\n', 'b') like 'a%b'", "true"),
    ("0.1 + 0.2", "0.30000000000000004"),
    ("1e300 * 10", "1e+301"),
    ("float64(1)", "1"),
    ("timestamp('2026-01-31T05:00:00+02:00')", "2026-01-31T03:00:00Z"),
    ("timestamp('2026-01-31 05:00:00.250')", "2026-01-31T05:00:00.25Z"),
    ("date('2024-02-29')", "2024-02-29"),
    ("9223372036854775807", "9223372036854775807"),
    ("abs(-3)", "3"),
    ("int64(2.9)", "2"),
    ("hash('a') == hash('a')", "true"),
    ("2 in (1, 2)", "true"),
]


@pytest.mark.parametrize("expression,text", VALUES, ids=[v[0] for v in VALUES])
def test_value(thalweg, expression, text):
    thalweg.write("in.txt", "one\n")
    table_job = {
        "source": {"file": {"path": "in.txt"}},
        "steps": [{"select": {"x": expression}}],
        "sink": {"file": {"path": "out.csv"}},
    }
    thalweg.ok(table_job)
    assert read_csv(thalweg.read("out.csv"))[1] == [(text or None,)]


def test_backticks_name_odd_columns(thalweg):
    thalweg.write("in.csv", "odd name,ü\n1,2\n")
    rows = thalweg.table({
        "source": {"file": {"path": "in.csv"}},
        "steps": [{"select": {"sum of both": "`odd name` + `ü`"}}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int])
    assert rows == [(3,)]
    assert thalweg.read("out.csv") == b"sum of both\n3\n"


def test_branches_that_are_not_evaluated_cannot_fail(thalweg):
    thalweg.write("in.csv", "a,b\n6,2\n5,0\nx,1\n")
    rows = thalweg.table({
        "source": {"file": {"path": "in.csv", "columns": {"a": "string", "b": "int64"}}},
        "steps": [{"select": {"q": "if(b == 0 or a == 'x', null, int64(a) // b)"}}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int])
    assert rows == [(3,), (None,), (None,)]


def test_limit_keeps_the_first_rows(thalweg, settings):
    for limit in (0, 1, 777, 10**9):
        steps = [{"filter": "k > 0"}, {"limit": limit}]
        sql = f"select {ALL} from t where k > 0 order by _row limit {limit}"
        check(thalweg, steps, sql, ALL_PYTHON, settings)


def test_limit_does_not_read_everything(thalweg):
    thalweg.write("in.txt", "abc\n" * 20_000_000)
    result = thalweg.run({
        "source": {"file": {"path": "in.txt"}}, "steps": [{"limit": 5}], "sink": {"file": {"path": "out.csv"}},
    })
    assert result.exit == 0, result
    assert result.summary["rows_out"] == 5
    assert result.summary["bytes_in"] < 60_000_000, "a limit ends its source"


def test_sample_depends_on_its_seed_alone(thalweg):
    table = random_table(20_000, seed=5, columns={"k": "int64", "s": "string"})
    thalweg.write("in.csv", table.csv())

    def sample(seed, **settings):
        steps = [{"sample": {"fraction": 0.25, "seed": seed}}]
        thalweg.ok(job(table, steps), **settings)
        return thalweg.read("out.csv")

    first = sample(1, run_parallelism=1)
    for parallelism, batch_rows in ((1, 7), (2, 1000), (8, 1), (8, 65536)):
        assert sample(1, run_parallelism=parallelism, run_batch_rows=batch_rows) == first
    assert sample(2) != first
    kept = read_csv(first)[1]
    assert 4600 < len(kept) < 5400
    positions = iter(map(lambda row: tuple(None if v is None else str(v) for v in row), table.rows))
    assert all(row in positions for row in kept), "a sample keeps the order of its rows"


def test_split_words_keeps_the_other_columns(thalweg, settings):
    thalweg.write("in.csv", write_csv(["id", "text"], [(1, "a b  c"), (2, ""), (3, None), (4, "\t x\ny ")]))
    rows = thalweg.table({
        "source": {"file": {"path": "in.csv", "columns": {"id": "int64", "text": "string"}}},
        "steps": [{"split_words": {"from": "text", "into": "word"}}, {"select": ["id", "word"]}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int, str], **settings)
    assert rows == [(1, "a"), (1, "b"), (1, "c"), (4, "x"), (4, "y")]


def test_explode(thalweg, settings):
    lines = [{"id": n, "tags": [f"t{m}" for m in range(n % 5 + 1)]} for n in range(500)]
    thalweg.write("in.json", "".join(json.dumps(line) + "\n" for line in lines))
    rows = thalweg.table({
        "source": {"file": {"path": "in.json", "columns": {"id": "int64", "tags": "list<string>"}}},
        "steps": [{"explode": {"from": "tags", "into": "tag"}}, {"select": ["id", "tag"]}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int, str], **settings)
    assert rows == [(line["id"], tag) for line in lines for tag in line["tags"]]


def test_explode_multiplies_rows_within_bounded_memory(thalweg):
    """One million rows out of one thousand lists, at the smallest memory."""
    lines = [json.dumps({"id": n, "xs": list(range(1000))}) for n in range(1000)]
    thalweg.write("in.json", "\n".join(lines) + "\n")
    rows = thalweg.table({
        "source": {"file": {"path": "in.json", "columns": {"id": "int64", "xs": "list<int64>"}}},
        "steps": [
            {"explode": {"from": "xs", "into": "x"}},
            {"group": {"by": [], "aggregate": {"n": "count", "total": "sum(x)", "ids": "count_distinct(id)"}}},
        ],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int, int, int], run_memory="32MiB")
    assert rows == [(1_000_000, 499_500_000, 1000)]


PARSES = {
    "json": ({"format": "json"}, [f'{{"a": {n}, "b": "v{n}"}}' for n in range(50)]),
    "csv": ({"format": "csv"}, [f"{n},v{n}" for n in range(50)]),
    "regex": ({"format": "regex", "pattern": "^(?<a>[0-9]+) is (?<b>v[0-9]+)$"}, [f"{n} is v{n}" for n in range(50)]),
}


@pytest.mark.parametrize("kind", PARSES)
def test_parse(thalweg, kind):
    options, lines = PARSES[kind]
    thalweg.write("in.txt", "\n".join(lines) + "\n")
    rows = thalweg.table({
        "source": {"file": {"path": "in.txt"}},
        "steps": [
            {"parse": {"from": "line", **options, "columns": {"a": "int64", "b": "string"}}},
            {"select": ["a", "b"]},
        ],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int, str])
    assert rows == [(n, f"v{n}") for n in range(50)]


def test_union_by_name_widens_integers(thalweg, settings):
    thalweg.write("a.csv", "k,v\n" + "".join(f"{n},{n}\n" for n in range(300)))
    thalweg.write("b.csv", "v,k\n" + "".join(f"{n}.5,{n}\n" for n in range(300)))
    rows = thalweg.table({
        "flows": {
            "b": {"source": {"file": {"path": "b.csv"}}},
            "a": {
                "source": {"file": {"path": "a.csv"}},
                "steps": [{"union": {"with": ["b"]}}, {"sort": ["k", "v"]}],
                "sink": {"file": {"path": "out.csv"}},
            },
        }
    }, types=[int, float], **settings)
    assert rows == [(n, v) for n in range(300) for v in (n, n + 0.5)]


def test_busy_burns_the_time_it_says(thalweg):
    thalweg.write("in.txt", "x\n" * 20)
    summary = thalweg.ok({
        "source": {"file": {"path": "in.txt"}},
        "steps": [{"busy": {"for": "10ms"}}],
        "sink": {"discard": {}},
    }, run_parallelism=1)
    assert 0.19 < summary["cpu_seconds"] < 1.0
    assert summary["rows_out"] == 20


def test_flows_share_a_source_and_feed_several_sinks(thalweg, settings):
    table = Table({"k": "int64"}, [(n % 10,) for n in range(5000)])
    thalweg.write("in.csv", table.csv())
    thalweg.ok({
        "flows": {
            "all": {"source": table.source("in.csv"), "steps": [{"derive": {"odd": "k % 2"}}]},
            "counts": {
                "source": {"flow": "all"},
                "steps": [{"group": {"by": ["k"], "aggregate": {"n": "count"}}}, {"sort": ["k"]}],
                "sink": {"file": {"path": "counts.csv"}},
            },
            "odd": {"source": {"flow": "all"}, "steps": [{"filter": "odd == 1"}], "sink": {"file": {"path": "odd.csv"}}},
        }
    }, **settings)
    assert read_csv(thalweg.read("counts.csv"), [int, int])[1] == [(k, 500) for k in range(10)]
    odd = read_csv(thalweg.read("odd.csv"), [int, int])[1]
    assert odd == [(n % 10, 1) for n in range(5000) if n % 2]


def test_distinct(thalweg, settings):
    check(thalweg, [{"select": ["k", "j", "b"]}, "distinct"], "select distinct k, j, b from t", [int, int, bool],
          settings, ordered=False)


def test_distinct_on_keeps_one_row_a_key(thalweg, settings):
    table = random_table(3000, seed=6)
    thalweg.write("in.csv", table.csv())
    rows = thalweg.table(job(table, [{"distinct": {"on": ["j", "b"]}}]), types=table.python_types, **settings)
    keys = [(row[1], row[4]) for row in rows]
    assert len(keys) == len(set(keys))
    assert set(keys) == {(row[1], row[4]) for row in table.rows}
    known = set(table.rows)
    assert all(row in known for row in rows), "a row is kept whole"


def test_types_survive(thalweg):
    """Every scalar type at its limits, through a sort that moves and copies all columns."""
    columns = {"b": "bool", "i": "int32", "l": "int64", "f": "float32", "g": "float64", "d": "date", "t": "timestamp", "s": "string"}
    rows = [
        (True, -(2**31), -(2**63), 1.5, 5e-324, "0001-01-01", "0001-01-01T00:00:00Z", ""),
        (False, 2**31 - 1, 2**63 - 1, -0.25, 1.7976931348623157e308, "9999-12-31", "9999-12-31T23:59:59.999999Z", "\U0001f388"),
        (None,) * 8,
        (True, 0, 0, 3.0, -2.5, "1970-01-01", "1969-12-31T23:59:59.5Z", "x" * 100_000),
    ]
    table = Table(columns, rows)
    thalweg.write("in.csv", table.csv())
    result = thalweg.table(job(table, [{"sort": ["l"]}]), types=[PYTHON_TYPE[kind] for kind in columns.values()])
    assert result == [rows[0], rows[3], rows[1], rows[2]]
