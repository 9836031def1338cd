"""The sort benchmark's records, file to file, with plenty of memory and with a quarter of the data."""

import data
import engines
from case import Case, same_bytes, times_faster

TITLE = "Sort, records of 100 bytes, file to file"


def job(path):
    columns = {"key": [0, 10], "rest": [10, 90]}
    return {
        "source": {"file": {"path": str(path), "format": "records", "length": 100, "columns": columns}},
        "steps": [{"sort": ["key"]}],
        "sink": {"file": {"path": "out.txt", "format": "records"}},
    }


def sql(path):
    return (f"copy (select line from {engines.lines_of(path)} order by line) to 'out.txt' "
            "(header false, format csv, quote '', escape '', delimiter '\x01')")


def scala(path, folder):
    return f'spark.read.text("{path}").orderBy("value").write.text("{folder}/spark")'


def cases(quick):
    rows = 100_000 if quick else 10_000_000
    path = data.record_lines(rows)
    amount = path.stat().st_size
    same = same_bytes()

    def verify(engine, folder, figures):
        out = folder / "out.txt"
        if engine == "spark":
            with open(out, "wb") as whole:
                for part in sorted((folder / "spark").glob("part-*")):
                    whole.write(part.read_bytes())
        return same(out, engine)

    quarter = f"{max(amount // 4, 32 << 20)}"
    yield Case(
        "sort", f"{rows / 1e6:g} M records, {amount / 1e9:g} GB",
        {
            "thalweg": lambda folder: engines.thalweg(folder, job(path)),
            "thalweg, memory of a quarter": lambda folder: engines.thalweg(folder, job(path), memory=quarter),
            "duckdb": lambda folder: engines.duckdb(folder, sql(path)),
            "sort": lambda folder: engines.shell(folder, f"sort --parallel=2 -S 8G -o out.txt {path}"),
            "spark": lambda folder: engines.spark(folder, scala(path, folder)),
        },
        verify, amount, "B",
        goals=[
            times_faster("2.5 times faster than DuckDB", 2.5, "duckdb"), times_faster("5 times faster than GNU sort", 5, "sort"),
            times_faster("12 times faster than Spark", 12, "spark"),
            ("1.3 s for 1 GB", lambda f: f["thalweg"]["wall_seconds"] <= 1.3, ("thalweg",)),
            ("with a quarter of the data as memory at most 2.5 times as long",
             lambda f: f["thalweg, memory of a quarter"]["wall_seconds"] <= 2.5 * f["thalweg"]["wall_seconds"],
             ("thalweg", "thalweg, memory of a quarter")),
        ],
    )
