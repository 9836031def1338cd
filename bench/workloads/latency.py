"""A tiny job, from the start of the process to its exit; mawk on the same file shows what a process costs."""

import data
import engines
from case import Case, expect

TITLE = "A tiny job: three rows, group and sort"


def cases(quick):
    def build(path):
        path.write_text("a,b\n2,x\n1,y\n2,z\n")
    path = data.make("tiny.csv", build)
    job = {
        "source": {"file": {"path": str(path)}},
        "steps": [{"group": {"by": ["a"], "aggregate": {"n": "count"}}}, {"sort": ["a"]}],
        "sink": {"file": {"path": "out.csv"}},
    }

    def verify(engine, folder, figures):
        return expect((folder / "out.csv").read_text() == "a,n\n1,1\n2,2\n", "the two rows")

    yield Case(
        "latency", "3 rows",
        {"thalweg": lambda folder: engines.thalweg(folder, job),
         "duckdb": lambda folder: engines.duckdb(folder, f"copy (select a, count(*) n from read_csv('{path}') group by a order by a) "
                                                         "to 'out.csv' (header true)"),
         "mawk": lambda folder: engines.shell(folder, f"{{ echo a,n; mawk -F, 'NR > 1 {{c[$1]++}} END {{for (k in c) print k \",\" c[k]}}' "
                                                      f"{path} | sort; }} >out.csv")},
        verify, runs=3 if quick else 25,
        goals=[("within 10 ms", lambda f: f["thalweg"]["wall_seconds"] <= 0.010, ("thalweg",))],
    )
