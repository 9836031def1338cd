"""The five join questions of the db-benchmark (h2o.ai) from CSV; the answer is its check: the number of
rows and two sums."""

import data
import engines
from answers import same_tables
from case import Case

TITLE = "Join, the questions of the h2o.ai db-benchmark, from CSV"

# Name, right side, key, kind.
QUESTIONS = [
    ("q1 small inner on integer", "small", "id1", "inner"),
    ("q2 medium inner on integer", "medium", "id2", "inner"),
    ("q3 medium left on integer", "medium", "id2", "left"),
    ("q4 medium inner on text", "medium", "id5", "inner"),
    ("q5 big inner on integer", "big", "id3", "inner"),
]


def job(paths, right, key, how):
    return {"flows": {
        "y": {"source": {"file": {"path": str(paths[right])}}},
        "x": {"source": {"file": {"path": str(paths["x"])}}, "steps": [
            {"join": {"with": "y", "on": [key], "how": how}},
            {"group": {"by": [], "aggregate": {"n": "count", "v1": "sum(v1)", "v2": "sum(v2)", "longest": f"max({key})"}}},
        ], "sink": {"file": {"path": "out.csv"}}},
    }}


def sql(paths, right, key, how):
    return f"""copy (select count(*) n, sum(v1) v1, sum(v2) v2, max(x.{key}) longest from read_csv('{paths["x"]}') x
        {how} join read_csv('{paths[right]}') y using ({key})) to 'out.csv' (header true)"""


def cases(quick):
    paths = data.h2o_join(1_000_000 if quick else 10_000_000)
    for name, right, key, how in QUESTIONS:
        question = paths, right, key, how
        amount = paths["x"].stat().st_size + paths[right].stat().st_size
        yield Case(
            "join-" + name.split()[0], name,
            {"thalweg": lambda folder, q=question: engines.thalweg(folder, job(*q)),
             "duckdb": lambda folder, q=question: engines.duckdb(folder, sql(*q))},
            same_tables(), amount, "B",
            goals=[(f"{name} at least as fast as DuckDB, reading included",
                    lambda f: f["thalweg"]["wall_seconds"] <= f["duckdb"]["wall_seconds"], ("thalweg", "duckdb"))],
        )
