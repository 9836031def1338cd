"""Random typed tables through random pipelines, against the same as nested SQL in DuckDB.

Each case is a number: its seed. THALWEG_RANDOM_CASES=N runs N of them (120 without it),
THALWEG_RANDOM_FROM=S starts at seed S. The test's name holds the seed, and a failure prints the job
and the SQL.
"""

import json
import os
import random

import pytest

from harness import read_csv, same_rows
from oracle import PYTHON_TYPE, SQL_TYPE, Oracle, random_table

CASES = int(os.environ.get("THALWEG_RANDOM_CASES", "120"))
FIRST = int(os.environ.get("THALWEG_RANDOM_FROM", "1000"))
NUMERIC = ("int64", "float64")
KINDS = ["int64", "int32", "float64", "string", "bool", "date", "timestamp"]


def quote(name):
    return '"' + name + '"'


class Expressions:
    """Random expressions of a wished type over a schema, as (ours, SQL) pairs. Integers stay small
    enough that no overflow is possible."""

    def __init__(self, rng, schema):
        self.rng = rng
        self.schema = schema

    def columns(self, *kinds):
        return [name for name, kind in self.schema.items() if kind in kinds]

    def column(self, *kinds):
        found = self.columns(*kinds)
        if not found:
            return None
        name = self.rng.choice(found)
        return f"`{name}`", quote(name)

    def literal(self, kind):
        rng = self.rng
        if kind == "int64":
            n = rng.randint(-20, 20)
            return (str(n), f"({n})::bigint") if n >= 0 else (f"({n})", f"({n})::bigint")
        if kind == "float64":
            n = rng.randint(-2000, 2000) / 64
            text = repr(n)
            return (text, f"{text}::double") if n >= 0 else (f"({text})", f"({text})::double")
        if kind == "string":
            text = rng.choice(["", "a", "ab", "prefix", "日", "é", "it's", "x" * 20])
            both = "'" + text.replace("'", "''") + "'"
            return both, both
        if kind == "bool":
            return rng.choice([("true", "true"), ("false", "false")])
        if kind == "date":
            text = f"1970-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}"
            return f"date('{text}')", f"date '{text}'"
        text = f"1970-01-0{rng.randint(1, 9)}T0{rng.randint(0, 9)}:30:00Z"
        return f"timestamp('{text}')", f"timestamp '{text[:-1]}'"

    def of(self, kind, depth=2):
        rng = self.rng
        if depth == 0 or rng.random() < 0.25:
            choices = [kind, "int32"] if kind == "int64" else [kind]
            return (rng.random() < 0.8 and self.column(*choices)) or self.literal(kind)
        return getattr(self, kind)(depth - 1)

    def small(self, depth):
        """An integer of at most a few thousand: a product or a sum may follow."""
        a = self.of("int64", 0)
        return a if self.rng.random() < 0.5 else (f"({a[0]} % 100)", f"({a[1]} % 100)")

    def int64(self, depth):
        rng = self.rng
        a, b = self.small(depth), self.small(depth)
        s = self.of("string", depth)
        condition = self.of("bool", depth)
        d = self.of("date", depth)
        return rng.choice([
            (f"({a[0]} + {b[0]})", f"({a[1]} + {b[1]})"),
            (f"({a[0]} - {b[0]})", f"({a[1]} - {b[1]})"),
            (f"({a[0]} * {b[0]})", f"({a[1]}::bigint * {b[1]})"),
            (f"({a[0]} // 7)", f"({a[1]} // 7)"),
            (f"({a[0]} % 5)", f"({a[1]} % 5)"),
            (f"(-{a[0]})", f"(-{a[1]})"),
            (f"abs({a[0]})", f"abs({a[1]})"),
            (f"length({s[0]})", f"length({s[1]})"),
            (f"coalesce({a[0]}, {b[0]})", f"coalesce({a[1]}, {b[1]})"),
            (f"if({condition[0]}, {a[0]}, {b[0]})", f"(case when {condition[1]} then {a[1]} else {b[1]} end)"),
            (f"int64({condition[0]})", f"({condition[1]})::bigint"),
            (f"(year({d[0]}) + month({d[0]}) * day({d[0]}))", f"(year({d[1]}) + month({d[1]}) * day({d[1]}))"),
            (f"least({a[0]}, {b[0]})", f"(case when {a[1]} is null or {b[1]} is null then null else least({a[1]}, {b[1]}) end)"),
        ])

    def float64(self, depth):
        a, b, i = self.of("float64", depth), self.of("float64", depth), self.small(depth)
        return self.rng.choice([
            (f"({a[0]} + {b[0]})", f"({a[1]} + {b[1]})"),
            (f"({a[0]} - {i[0]})", f"({a[1]} - {i[1]})"),
            (f"({a[0]} * 0.5)", f"({a[1]} * 0.5::double)"),
            (f"({i[0]} / 4)", f"({i[1]} / 4)"),
            (f"floor({a[0]})", f"floor({a[1]})"),
            (f"abs({a[0]})", f"abs({a[1]})"),
            (f"float64({i[0]})", f"({i[1]})::double"),
            (f"sqrt(abs({a[0]}))", f"sqrt(abs({a[1]}))"),
            (f"coalesce({a[0]}, 1.5)", f"coalesce({a[1]}, 1.5::double)"),
            (f"greatest({a[0]}, {b[0]})", f"(case when {a[1]} is null or {b[1]} is null then null else greatest({a[1]}, {b[1]}) end)"),
        ])

    def string(self, depth):
        a, b, i = self.of("string", depth), self.of("string", depth), self.small(depth)
        condition = self.of("bool", depth)
        return self.rng.choice([
            (f"concat({a[0]}, '/', {b[0]})", f"({a[1]} || '/' || {b[1]})"),
            (f"lower({a[0]})", f"lower({a[1]})"),
            (f"substr({a[0]}, 2, 4)", f"substr({a[1]}, 2, 4)"),
            (f"replace({a[0]}, 'a', 'bb')", f"replace({a[1]}, 'a', 'bb')"),
            (f"string({i[0]})", f"({i[1]})::varchar"),
            (f"if({condition[0]}, {a[0]}, {b[0]})", f"(case when {condition[1]} then {a[1]} else {b[1]} end)"),
            (f"coalesce({a[0]}, 'none')", f"coalesce({a[1]}, 'none')"),
        ])

    def bool(self, depth):
        rng = self.rng
        kind = rng.choice(["int64", "float64", "string", "date", "timestamp"])
        a, b = self.of(kind, depth), self.of(kind, depth)
        p, q = self.of("bool", depth), self.of("bool", depth)
        s = self.of("string", depth)
        operator = rng.choice([("==", "="), ("!=", "<>"), ("<", "<"), ("<=", "<="), (">", ">"), (">=", ">=")])
        return rng.choice([
            (f"({a[0]} {operator[0]} {b[0]})", f"({a[1]} {operator[1]} {b[1]})"),
            (f"({a[0]} {operator[0]} {b[0]})", f"({a[1]} {operator[1]} {b[1]})"),
            (f"({p[0]} and {q[0]})", f"({p[1]} and {q[1]})"),
            (f"({p[0]} or {q[0]})", f"({p[1]} or {q[1]})"),
            (f"(not {p[0]})", f"(not {p[1]})"),
            (f"({a[0]} is null)", f"({a[1]} is null)"),
            (f"({s[0]} like '%a%')", f"({s[1]} like '%a%')"),
            (f"starts_with({s[0]}, 'p')", f"starts_with({s[1]}, 'p')"),
            (f"contains({s[0]}, 'b')", f"contains({s[1]}, 'b')"),
            (f"({s[0]} in ('a', 'b', 'ab'))", f"({s[1]} in ('a', 'b', 'ab'))"),
        ])

    def date(self, depth):
        t = self.column("timestamp")
        return (f"date({t[0]})", f"({t[1]})::date") if t else self.of("date", 0)

    def timestamp(self, depth):
        d = self.column("date")
        return (f"timestamp({d[0]})", f"({d[1]})::timestamp") if d else self.of("timestamp", 0)

    def int32(self, depth):
        return self.of("int32", 0)


class Pipeline:
    """A random list of steps over table t (joins meet table u), and the SQL of the same."""

    def __init__(self, rng, left, right):
        self.rng = rng
        self.right = right
        self.schema = dict(left.columns)
        self.sql = f"select {', '.join(map(quote, left.columns))} from t"
        self.steps = []
        self.fresh = 0
        self.joined = False

    def name(self):
        self.fresh += 1
        return f"c{self.fresh}"

    def add(self, step, sql, schema=None):
        self.steps.append(step)
        self.sql = sql
        if schema is not None:
            self.schema = schema

    @property
    def inner(self):
        return f"({self.sql}) x"

    def grow(self, count):
        for _ in range(count):
            getattr(self, self.rng.choice(
                ["filter", "filter", "derive", "derive", "select", "rename", "drop", "group", "distinct", "join", "union", "sort"]
            ))()

    def filter(self):
        ours, sql = Expressions(self.rng, self.schema).bool(2)
        self.add({"filter": ours}, f"select * from {self.inner} where {sql}")

    def derive(self):
        kind = self.rng.choice(["int64", "float64", "string", "bool"])
        ours, sql = Expressions(self.rng, self.schema).of(kind, 3)
        name = self.name()
        if ours.startswith("`"):  # a bare column has its own type
            kind = self.schema[ours.strip("`")]
        self.add({"derive": {name: ours}}, f"select *, {sql} as {name} from {self.inner}", {**self.schema, name: kind})

    def select(self):
        names = self.rng.sample(list(self.schema), self.rng.randint(1, len(self.schema)))
        self.add({"select": names}, f"select {', '.join(map(quote, names))} from {self.inner}", {n: self.schema[n] for n in names})

    def rename(self):
        old = self.rng.choice(list(self.schema))
        new = self.name()
        columns = ", ".join(f"{quote(n)} as {new}" if n == old else quote(n) for n in self.schema)
        self.add({"rename": {old: new}}, f"select {columns} from {self.inner}",
                 {(new if n == old else n): kind for n, kind in self.schema.items()})

    def drop(self):
        if len(self.schema) < 2:
            return
        name = self.rng.choice(list(self.schema))
        left = {n: kind for n, kind in self.schema.items() if n != name}
        self.add({"drop": [name]}, f"select {', '.join(map(quote, left))} from {self.inner}", left)

    def distinct(self):
        self.add("distinct", f"select distinct * from {self.inner}")

    def sort(self):
        """In the middle it changes nothing that is compared, but rows go through it."""
        keys = self.rng.sample(list(self.schema), self.rng.randint(1, len(self.schema)))
        self.add({"sort": [("-" if self.rng.random() < 0.5 else "") + key for key in keys]}, self.sql)

    def group(self):
        rng = self.rng
        by = rng.sample(list(self.schema), rng.randint(0, min(3, len(self.schema))))
        values = [n for n in self.schema if n not in by]
        aggregates, sql, schema = {}, [], {n: self.schema[n] for n in by}
        for _ in range(rng.randint(1, 4)):
            name = self.name()
            kind, ours, theirs = self.aggregate(rng.choice(values) if values else None)
            aggregates[name] = ours
            sql.append(f"{theirs} as {name}")
            schema[name] = kind
        columns = ", ".join([*map(quote, by), *sql])
        grouping = f" group by {', '.join(map(quote, by))}" if by else ""
        self.add({"group": {"by": by, "aggregate": aggregates}}, f"select {columns} from {self.inner}{grouping}", schema)

    def aggregate(self, column):
        if column is None:
            return "int64", "count", "count(*)"
        kind, name = self.schema[column], quote(column)
        choices = [
            ("int64", "count", "count(*)"),
            ("int64", f"count(`{column}`)", f"count({name})"),
            ("int64", f"count_distinct(`{column}`)", f"count(distinct {name})"),
            (kind, f"min(`{column}`)", f"min({name})"),
            (kind, f"max(`{column}`)", f"max({name})"),
        ]
        if kind in ("int32", "int64"):
            # Sums of sums could leave the range: they are counted as floats then.
            choices += [("float64", f"mean(`{column}`)", f"avg({name})")]
        return self.rng.choice(choices)

    def union(self):
        """Its own rows once more, out of another flow."""
        if self.joined or len(self.steps) > 3:
            return
        self.joined = True
        shared = [n for n, kind in self.schema.items() if self.right.columns.get(n) == kind]
        if not shared:
            return
        self.add({"select": shared}, f"select {', '.join(map(quote, shared))} from {self.inner}", {n: self.schema[n] for n in shared})
        self.add({"union": {"with": [f"u:{','.join(shared)}"]}},
                 f"{self.sql} union all select {', '.join(map(quote, shared))} from u")

    def join(self):
        if self.joined:
            return
        kinds = [n for n, kind in self.schema.items() if kind in ("int64", "int32", "string", "date", "bool") and
                 self.right.columns.get(n) == kind]
        kinds = [n for n in kinds if self.schema[n] != "bool"] or kinds
        if not kinds:
            return
        self.joined = True
        keys = self.rng.sample(kinds, min(len(kinds), self.rng.randint(1, 2)))
        how = self.rng.choice(["inner", "left", "right", "full", "semi", "anti"])
        condition = " and ".join(f"x.{quote(k)} = u.{quote(k)}" for k in keys)
        step = {"join": {"with": "u", "on": keys, "how": how}}
        left = [n for n in self.schema if n not in keys]
        if how in ("semi", "anti"):
            word = "exists" if how == "semi" else "not exists"
            columns = ", ".join(quote(n) for n in [*keys, *left])
            self.add(step, f"select {columns} from {self.inner} where {word} (select 1 from u where {condition})",
                     {n: self.schema[n] for n in [*keys, *left]})
            return
        schema = {n: self.schema[n] for n in [*keys, *left]}
        columns = [f"coalesce(x.{quote(k)}, u.{quote(k)}) as {quote(k)}" for k in keys] + [f"x.{quote(n)}" for n in left]
        for n in self.right.columns:
            if n in keys:
                continue
            name = n
            while name in schema:
                name += "_right"
            columns.append(f"u.{quote(n)} as {quote(name)}")
            schema[name] = self.right.columns[n]
        self.add(step, f"select {', '.join(columns)} from {self.inner} {how} join u on {condition}", schema)


def build(rng, left, right):
    pipeline = Pipeline(rng, left, right)
    pipeline.grow(rng.randint(1, 7))
    # What is left is sorted by everything, at times with a limit, so that order is compared as well.
    limit = rng.choice([None, None, 0, 1, 10, 100])
    keys = [("-" if rng.random() < 0.5 else "") + n for n in pipeline.schema]
    order = ", ".join(f"{quote(k.lstrip('-'))} {'desc' if k.startswith('-') else 'asc'} nulls last" for k in keys)
    pipeline.steps.append({"sort": {"by": keys, "limit": limit}} if limit is not None else {"sort": keys})
    sql = f"select * from ({pipeline.sql}) z order by {order}" + (f" limit {limit}" if limit is not None else "")
    flows = {"u": {"source": right.source("u.csv")}}
    for step in pipeline.steps:
        if isinstance(step, dict) and "union" in step:
            shared = step["union"]["with"][0].split(":")[1].split(",")
            flows["part"] = {"source": right.source("u.csv"), "steps": [{"select": shared}]}
            step["union"]["with"] = ["part"]
    if not any(isinstance(step, dict) and "join" in step for step in pipeline.steps):
        del flows["u"]
    flows["main"] = {"source": left.source("t.csv"), "steps": pipeline.steps, "sink": {"file": {"path": "out.csv"}}}
    return {"flows": flows}, sql, pipeline.schema


def random_columns(rng):
    names = ["a", "b", "c", "d", "e", "odd name", "ü"]
    rng.shuffle(names)
    columns = {name: rng.choice(KINDS) for name in names[: rng.randint(2, 6)]}
    return columns


@pytest.mark.parametrize("seed", range(FIRST, FIRST + CASES))
def test_random_pipeline(thalweg, seed):
    rng = random.Random(seed)
    columns = random_columns(rng)
    other = {n: kind for n, kind in columns.items() if rng.random() < 0.7} | {"z": "int64"}
    left = random_table(rng.choice([0, 1, 20, 200, 1000]), seed, columns, nulls=rng.choice([0, 0.1, 0.5]))
    right = random_table(rng.choice([0, 1, 20, 60]), seed + 1, other, nulls=rng.choice([0, 0.1, 0.5]))
    job, sql, schema = build(rng, left, right)
    print(f"seed {seed}\n{json.dumps(job, indent=1, ensure_ascii=False)}\n{sql}")
    oracle = Oracle()
    oracle.add("t", left)
    oracle.add("u", right)
    expected = oracle.rows(sql)
    thalweg.write("t.csv", left.csv())
    thalweg.write("u.csv", right.csv())
    settings = {
        "run_parallelism": rng.choice([1, 2, 8]),
        "run_batch_rows": rng.choice([1, 7, 1000, 65536]),
        "run_memory": rng.choice(["32MiB", "64MiB", "2GiB"]),
    }
    print(settings)
    thalweg.ok(job, **settings)
    header, rows = read_csv(thalweg.read("out.csv"), [PYTHON_TYPE[kind] for kind in schema.values()])
    assert header == list(schema)
    assert len(rows) == len(expected)
    # Floats may differ in their last digits and so swap places among nearly equal rows.
    ordered = "float64" not in schema.values()
    same_rows(rows, expected, ordered=ordered, relative=1e-9)


def test_the_oracle_understands_every_case():
    """The generated SQL is valid and its columns are those that the job promises."""
    oracle_types = {"BOOLEAN": "bool", "INTEGER": "int32", "BIGINT": "int64", "DOUBLE": "float64", "DATE": "date",
                    "TIMESTAMP": "timestamp", "VARCHAR": "string", "HUGEINT": "int64"}
    seen = set()
    for seed in range(100):
        rng = random.Random(seed)
        columns = random_columns(rng)
        other = {n: kind for n, kind in columns.items() if rng.random() < 0.7} | {"z": "int64"}
        left, right = random_table(20, seed, columns), random_table(10, seed + 1, other)
        job, sql, schema = build(rng, left, right)
        oracle = Oracle()
        oracle.add("t", left)
        oracle.add("u", right)
        oracle.rows(sql)
        described = {row[0]: oracle_types[row[1]] for row in oracle.connection.execute("describe " + sql).fetchall()}
        assert list(described) == list(schema), (seed, sql)
        seen |= {next(iter(step)) if isinstance(step, dict) else step for step in job["flows"]["main"]["steps"]}
    assert seen >= {"filter", "derive", "select", "rename", "drop", "group", "distinct", "join", "union", "sort"}
    assert set(SQL_TYPE) >= set(KINDS)
