"""The independent answer: DuckDB over the same rows, and tables of random typed rows."""

import datetime
import decimal
import random

import duckdb

from harness import write_csv

SQL_TYPE = {
    "bool": "BOOLEAN",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "string": "VARCHAR",
}
PYTHON_TYPE = {
    "bool": bool,
    "int32": int,
    "int64": int,
    "float32": float,
    "float64": float,
    "date": str,
    "timestamp": str,
    "string": str,
}


class Table:
    """Named, typed columns and rows of Python values; dates and timestamps as text."""

    def __init__(self, columns, rows):
        self.columns = columns  # name -> type of the job file
        self.rows = rows

    def csv(self):
        return write_csv(list(self.columns), self.rows)

    def source(self, path):
        return {"file": {"path": path, "format": "csv", "columns": dict(self.columns)}}

    @property
    def python_types(self):
        return [PYTHON_TYPE[kind] for kind in self.columns.values()]


class Oracle:
    def __init__(self):
        self.connection = duckdb.connect(config={"threads": 2})
        self.connection.execute("set preserve_insertion_order = true")

    def add(self, name, table):
        """The table under its name, with its row order in the column _row."""
        kinds = {**table.columns, "_row": "int64"}
        values = [*zip(*table.rows), range(len(table.rows))] if table.rows else [()] * len(kinds)
        columns = ", ".join(f'unnest(?::{SQL_TYPE[kind]}[]) "{column}"' for column, kind in kinds.items())
        self.connection.execute(f'create table "{name}" as select {columns}', list(map(list, values)))

    def rows(self, sql):
        return [tuple(map(plain, row)) for row in self.connection.execute(sql).fetchall()]


def plain(value):
    """A value as the harness reads it from CSV."""
    if isinstance(value, datetime.datetime):
        text = value.strftime("%Y-%m-%dT%H:%M:%S")
        if value.microsecond:
            text += f".{value.microsecond:06d}".rstrip("0")
        return text + "Z"
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


WORDS = ["", "a", "b", "aa", "ab", "Ab", "prefix-common", "prefix-common-1", "prefix-common-2", "prefix", "ähre", "Äpfel",
         "日本語", "日本", "emoji 🎈", 'quote"d', "comma,ted", "line\nbreak", "cr\r\nlf", " blank ", "null", "NULL", "0", "-1", "é",
         "e\u0301", "ß", "x" * 15, "x" * 16, "x" * 17, "x" * 12, "x" * 13, "y" * 300]
INT64_EXTREMES = [-(2**63), 2**63 - 1, 0, -1, 1, 2**31, -(2**31) - 1]
INT32_EXTREMES = [-(2**31), 2**31 - 1, 0, -1]


def random_value(kind, rng):
    """A value of a type; floats are multiples of 1/64, so that their sums are exact."""
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "int32":
        return rng.choice(INT32_EXTREMES) if rng.random() < 0.05 else rng.randint(-50, 50)
    if kind == "int64":
        return rng.choice(INT64_EXTREMES) if rng.random() < 0.03 else rng.randint(-1000, 1000)
    if kind in ("float32", "float64"):
        return rng.randint(-(2**15), 2**15) / 64
    if kind == "date":
        return (datetime.date(1969, 6, 1) + datetime.timedelta(days=rng.randint(0, 900))).isoformat()
    if kind == "timestamp":
        moment = datetime.datetime(1969, 12, 30) + datetime.timedelta(microseconds=rng.randint(0, 10**12))
        if rng.random() < 0.5:
            moment = moment.replace(microsecond=0)
        return plain(moment)
    if kind == "string":
        return rng.choice(WORDS) if rng.random() < 0.7 else "".join(rng.choices("abcdeé ", k=rng.randint(0, 9)))
    raise ValueError(kind)


ALL_TYPES = {
    "k": "int64",
    "j": "int32",
    "f": "float64",
    "s": "string",
    "b": "bool",
    "d": "date",
    "t": "timestamp",
}


def random_table(rows, seed, columns=None, nulls=0.1, small_ints=True):
    """Rows of every type; k has few distinct values and no extremes, unless small_ints is off."""
    rng = random.Random(seed)
    columns = columns or ALL_TYPES

    def value(name, kind):
        if rng.random() < nulls:
            return None
        if kind == "int64" and small_ints:
            return rng.randint(-40, 40)
        if kind == "int32" and small_ints:
            return rng.randint(-9, 9)
        return random_value(kind, rng)

    return Table(dict(columns), [tuple(value(n, k) for n, k in columns.items()) for _ in range(rows)])
