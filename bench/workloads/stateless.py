"""Steps without exchange: both processors should be at work all the time."""

import data
import engines
from case import Case, expect
from workloads.groupby import source

TITLE = "Filter and derive without exchange, CSV to nothing"


def cases(quick):
    rows = 100_000 if quick else 10_000_000
    path = data.h2o_groupby(rows)
    job = {
        "source": source(path),
        "steps": [
            {"filter": "v1 > 1 and not starts_with(id1, 'id09')"},
            {"derive": {"score": "sqrt(v3) * v2 + ln(v3 + 1)", "name": "concat(upper(id2), '-', substr(id3, 5, 4))"}},
            {"filter": "score > 10"},
        ],
        "sink": {"discard": {}},
    }

    def verify(engine, folder, figures):
        import duckdb
        from workloads.groupby import table
        wanted = duckdb.sql(f"select count(*) from {table(path)} where v1 > 1 and not starts_with(id1, 'id09') "
                            "and sqrt(v3) * v2 + ln(v3 + 1) > 10").fetchall()[0][0]
        return expect(figures["summary"]["rows_out"] == wanted, "as many rows as DuckDB keeps")

    yield Case("stateless", f"{rows / 1e6:g} M rows", {"thalweg": lambda folder: engines.thalweg(folder, job)}, verify,
               path.stat().st_size, "B",
               goals=[("both processors busy above 95 %",
                       lambda f: f["thalweg"]["cpu_seconds"] / f["thalweg"]["wall_seconds"] > 0.95 * engines.THREADS, ("thalweg",))])
