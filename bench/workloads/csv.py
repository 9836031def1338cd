"""CSV parsing: every field of a file of nine columns is parsed to its type and looked at."""

import data
import engines
from answers import same_tables
from case import Case
from workloads.groupby import COLUMNS, source, table

TITLE = "CSV parsing, all columns"


def cases(quick):
    path = data.h2o_groupby(100_000 if quick else 10_000_000)
    amount = path.stat().st_size
    job = {
        "source": source(path),
        "steps": [{"group": {"by": [], "aggregate": {name: f"max({name})" for name in COLUMNS}}}],
        "sink": {"file": {"path": "out.csv"}},
    }
    query = "copy (select " + ", ".join(f"max({name}) {name}" for name in COLUMNS) + f" from {table(path)}) to 'out.csv' (header true)"
    yield Case(
        "csv", f"{amount / 1e6:.0f} MB, 9 columns",
        {"thalweg": lambda folder: engines.thalweg(folder, job), "duckdb": lambda folder: engines.duckdb(folder, query)},
        same_tables(), amount, "B",
        goals=[("at least 1 GB/s", lambda f: amount / f["thalweg"]["wall_seconds"] >= 1e9, ("thalweg",))],
    )
