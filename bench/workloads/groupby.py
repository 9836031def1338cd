"""The ten group-by questions of the db-benchmark (h2o.ai), each from the CSV file to a CSV file."""

import data
import engines
from answers import same_tables
from case import Case

TITLE = "Group-by, the questions of the h2o.ai db-benchmark, from CSV"

COLUMNS = {"id1": "string", "id2": "string", "id3": "string", "id4": "int64", "id5": "int64", "id6": "int64",
           "v1": "int64", "v2": "int64", "v3": "float64"}
SQL_TYPES = {"string": "varchar", "int64": "bigint", "float64": "double"}


def group(by, **aggregates):
    return {"group": {"by": by, "aggregate": aggregates}}


SQUARES = {"derive": {"p12": "v1 * v2", "p11": "v1 * v1", "p22": "v2 * v2"}}
CORRELATION = "pow(n * s12 - s1 * s2, 2) / (float64(n * s11 - s1 * s1) * float64(n * s22 - s2 * s2))"
# Steps and SQL of each question. Question 6 asks for the median: ours is within 1 % in rank. DuckDB's exact
# one stands beside it, because its approximate one is slower.
QUESTIONS = [
    ("q1 sum v1 by id1", [group(["id1"], v1="sum(v1)")], "select id1, sum(v1) v1 from x group by id1"),
    ("q2 sum v1 by id1, id2", [group(["id1", "id2"], v1="sum(v1)")], "select id1, id2, sum(v1) v1 from x group by id1, id2"),
    ("q3 sum v1, mean v3 by id3", [group(["id3"], v1="sum(v1)", v3="mean(v3)")],
     "select id3, sum(v1) v1, avg(v3) v3 from x group by id3"),
    ("q4 mean v1 to v3 by id4", [group(["id4"], v1="mean(v1)", v2="mean(v2)", v3="mean(v3)")],
     "select id4, avg(v1) v1, avg(v2) v2, avg(v3) v3 from x group by id4"),
    ("q5 sum v1 to v3 by id6", [group(["id6"], v1="sum(v1)", v2="sum(v2)", v3="sum(v3)")],
     "select id6, sum(v1) v1, sum(v2) v2, sum(v3) v3 from x group by id6"),
    ("q6 median v3, sd v3 by id4, id5", [group(["id4", "id5"], median="quantile(v3, 0.5)", sd="stddev(v3)")],
     "select id4, id5, median(v3) median, stddev(v3) sd from x group by id4, id5"),
    ("q7 max v1 - min v2 by id3", [group(["id3"], hi="max(v1)", lo="min(v2)"), {"select": {"id3": "id3", "range": "hi - lo"}}],
     "select id3, max(v1) - min(v2) as range from x group by id3"),
    ("q8 largest two v3 by id6", None, "select id6, v3 from (select id6, v3, row_number() over (partition by id6 order by v3 desc) n "
                                       "from x) where n <= 2"),
    ("q9 r2 of v1, v2 by id2, id4",
     [SQUARES, group(["id2", "id4"], n="count", s1="sum(v1)", s2="sum(v2)", s12="sum(p12)", s11="sum(p11)", s22="sum(p22)"),
      {"select": {"id2": "id2", "id4": "id4", "r2": CORRELATION}}],
     "select id2, id4, pow(corr(v1, v2), 2) r2 from x group by id2, id4"),
    ("q10 sum v3, count by id1 to id6", [group([f"id{n}" for n in range(1, 7)], v3="sum(v3)", count="count")],
     "select id1, id2, id3, id4, id5, id6, sum(v3) v3, count(*) count from x group by all"),
]


def source(path):
    return {"file": {"path": str(path), "columns": COLUMNS}}


def job(path, steps, out="out.csv"):
    sink = {"file": {"path": out}}
    if steps is not None:
        return {"source": source(path), "steps": steps, "sink": sink}
    # The two largest: the largest, and it once more if it is there twice, else the largest of what is below it.
    return {"flows": {
        "x": {"source": source(path), "steps": [{"select": ["id6", "v3"]}]},
        "first": {"source": {"flow": "x"}, "steps": [group(["id6"], top="max(v3)")]},
        "second": {"source": {"flow": "x"}, "steps": [
            {"join": {"with": "first", "on": ["id6"]}},
            group(["id6"], below="max(if(v3 < top, v3, null))", equal="sum(if(v3 == top, 1, 0))", top="max(top)"),
            {"select": {"id6": "id6", "v3": "if(equal > 1, top, below)"}}, {"filter": "not (v3 is null)"}]},
        "both": {"source": {"flow": "first"}, "steps": [{"rename": {"top": "v3"}}, {"union": {"with": ["second"]}}], "sink": sink},
    }}


def table(path):
    columns = ", ".join(f"'{name}': '{SQL_TYPES[kind]}'" for name, kind in COLUMNS.items())
    return f"read_csv('{path}', header = true, columns = {{{columns}}})"


def sql(path, query, out="out.csv"):
    return f"copy ({query.replace('from x', 'from ' + table(path))}) to '{out}' (header true);"


def cases(quick):
    rows = 100_000 if quick else 10_000_000
    path = data.h2o_groupby(rows)
    for name, steps, query in QUESTIONS:
        median = name.startswith("q6")

        yield Case(
            name.split()[0], name,
            {"thalweg": lambda folder, steps=steps: engines.thalweg(folder, job(path, steps)),
             "duckdb": lambda folder, query=query: engines.duckdb(folder, sql(path, query))},
            near_medians(quick) if median else same_tables(), path.stat().st_size, "B",
        )

    def all_questions(folder):
        """One job with all questions, the file read once."""
        flows = {"x": {"source": source(path)}}
        for number, (_, steps, _) in enumerate(QUESTIONS):
            if steps is not None:
                flows[f"q{number}"] = {"source": {"flow": "x"}, "steps": steps, "sink": {"file": {"path": f"q{number}.csv"}}}
        return engines.thalweg(folder, {"flows": flows}, memory="12GiB")

    def all_sql(folder):
        """Loaded once into a table in memory, then the same questions."""
        load = f"create table x as from {table(path)};"
        asked = [f"copy ({query}) to 'q{n}.csv' (header true);" for n, (_, steps, query) in enumerate(QUESTIONS) if steps is not None]
        return engines.duckdb(folder, load + "\n".join(asked))

    checks = {n: near_medians(quick) if n == 5 else same_tables() for n, (_, steps, _) in enumerate(QUESTIONS) if steps is not None}

    def verify(engine, folder, figures):
        for number, check in checks.items():
            (folder / f"q{number}.csv").rename(folder / "out.csv")
            text = check(engine, folder, figures)
        return text

    yield Case("group-all", "all but q8 in one run", {"thalweg": all_questions, "duckdb": all_sql}, verify, path.stat().st_size, "B",
               goals=[("all questions in one run at least as fast as DuckDB, reading included",
                       lambda f: f["thalweg"]["wall_seconds"] <= f["duckdb"]["wall_seconds"], ("thalweg", "duckdb"))])


def near_medians(quick):
    """Same keys and standard deviations; medians of 1,000 uniform values below 100, within 1 % in rank, differ by about 1."""
    from answers import rows
    from case import expect
    first = {}

    def check(engine, folder, figures):
        found = {row[:2]: row[2:] for row in rows(folder / "out.csv")}
        other = first.setdefault("rows", found)
        expect(found.keys() == other.keys(), "keys of q6")
        for key, (median, deviation) in found.items():
            expect(abs(median - other[key][0]) < (2 if not quick else 30) and abs(deviation - other[key][1]) < 1e-6, f"q6 {key} {median} {other[key]}")
        return "medians within the rank that is promised"
    return check
