"""Comparison of result tables in CSV, floats within a tolerance, in any order."""

import csv
import shutil
import tempfile

from case import expect


def rows(path, header=True):
    with open(path, newline="") as file:
        found = list(csv.reader(file))
    return sorted(map(tuple, (map(number, row) for row in (found[1:] if header else found))), key=key)


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def key(row):
    return tuple((0, f"{v:.6e}") if isinstance(v, float) else (1, v) for v in row)


def same_tables(relative=1e-9):
    """A check that all engines leave the same rows in out.csv, in any order; the first answer is kept. DuckDB compares,
    whoever wrote them: Python would take hours for ten million rows."""
    kept = tempfile.TemporaryDirectory()
    first = {}

    def check(engine, folder, figures):
        found = folder / "out.csv"
        if not first:
            first.update(engine=engine, path=shutil.copy(found, kept.name))
            return "kept for the comparison"
        compare_tables(found, first["path"], relative, f"{engine} beside {first['engine']}")
        return f"same rows as {first['engine']}"
    return check


def compare_tables(path, other, relative, who):
    """Sorted by what is no float, then by floats, the n-th row of one is the n-th of the other."""
    import duckdb
    link = duckdb.connect()
    kinds = [[row[1] for row in link.execute(f"describe from {table(p)}").fetchall()] for p in (path, other)]
    expect(len(kinds[0]) == len(kinds[1]), f"{who}: as many columns")
    merged = [a if a == b else "DOUBLE" if {a, b} <= {"DOUBLE", "BIGINT"} else "VARCHAR" for a, b in zip(*kinds)]
    order = ", ".join(sorted((f"c{i}" for i in range(len(merged))), key=lambda c: (merged[int(c[1:])] == "DOUBLE", int(c[1:]))))
    for name, p in (("a", path), ("b", other)):
        link.execute(f"create table {name} as from {table(p, merged)} order by {order}")
    counts = [link.execute(f"select count(*) from {name}").fetchone()[0] for name in "ab"]
    expect(counts[0] == counts[1] > 0, f"{who}: {counts[0]} rows, {counts[1]}")
    same = " and ".join(
        f"(a.c{i} is not distinct from b.c{i}" + (f" or abs(a.c{i} - b.c{i}) <= {relative} * greatest(abs(a.c{i}), abs(b.c{i}), 1))"
                                                  if kind == "DOUBLE" else ")") for i, kind in enumerate(merged))
    wrong = link.execute(f"select a.*, b.* from a positional join b where ({same}) is not true limit 1").fetchall()
    expect(not wrong, f"{who}: {wrong}")


def table(path, kinds=None):
    with open(path) as file:
        n = len(next(csv.reader(file)))
    if kinds:
        columns = ", ".join(f"'c{i}': '{kind}'" for i, kind in enumerate(kinds))
        return f"read_csv('{path}', header = true, columns = {{{columns}}})"
    return f"read_csv('{path}', header = true, names = [{', '.join(repr(f'c{i}') for i in range(n))}])"
