"""Comparison of small result tables in CSV, floats within a tolerance, in any order."""

import csv
import math

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


def close(a, b, relative):
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=relative, abs_tol=relative)
    return a == b


def same_tables(relative=1e-9):
    """A check that all engines leave the same rows in out.csv; the first answer is kept."""
    first = {}

    def check(engine, folder, figures):
        found = rows(folder / "out.csv")
        expect(found, f"{engine} left rows")
        if not first:
            first.update(engine=engine, rows=found)
        other = first["rows"]
        expect(len(found) == len(other), f"{engine} left {len(found)} rows, {first['engine']} {len(other)}")
        for a, b in zip(found, other):
            expect(len(a) == len(b) and all(close(x, y, relative) for x, y in zip(a, b)),
                   f"{engine} {a} is {first['engine']} {b}")
        return f"same rows as {first['engine']}" if engine != first["engine"] else "kept for the comparison"
    return check
