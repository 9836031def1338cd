"""A bad job is refused before any data moves: every error at once, each with file, line, column and
the nearest known name."""

import re

import pytest

pytestmark = pytest.mark.sanitized

ERROR = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+):(?P<column>\d+): error: (?P<message>.+)$")
CSV = "a,b,s\n1,2,x\n"


def errors(thalweg, text, command="check", **env):
    """The errors as (line, column, message), and that there is nothing else."""
    thalweg.write("in.csv", CSV)
    thalweg.write("job.yaml", text)
    result = thalweg.command(command, "job.yaml", env=env)
    assert result.exit == 2, result
    found = []
    for line in result.stderr.strip().splitlines():
        match = ERROR.match(line)
        assert match, f"not FILE:LINE:COLUMN: error: {line!r}"
        assert match["file"] == "job.yaml"
        found.append((int(match["line"]), int(match["column"]), match["message"]))
    assert found == sorted(found, key=lambda e: e[:2])
    return found


def job(steps, source="{ file: { path: in.csv } }"):
    return f"name: t\nsource: {source}\nsteps:\n{steps}\nsink: {{ file: {{ path: out.csv }} }}\n"


# Name, steps (first on line 4), line, column (None: anywhere in the expression), words of the message.
STEPS = [
    ("unknown step", "  - grup: { by: [a] }", 4, 5, ["grup", "group"]),
    ("unknown step without options", "  - distict", 4, 5, ["distict", "distinct"]),
    ("unknown option", "  - sample: { fraction: 0.5, sed: 1 }", 4, 30, ["sed", "seed"]),
    ("missing option", "  - join: { on: [a] }", 4, None, ["with"]),
    ("option of another type", "  - limit: ten", 4, 12, ["ten"]),
    ("negative limit", "  - limit: -1", 4, 12, ["-1"]),
    ("fraction out of range", "  - sample: { fraction: 2 }", 4, 25, ["2"]),
    ("unknown column in select", "  - select: [a, bb]", 4, 17, ["bb", "b"]),
    ("unknown column in group", "  - group: { by: [aa], aggregate: { n: count } }", 4, 19, ["aa", "a"]),
    ("unknown column in sort", "  - sort: [-nope, a]", 4, 12, ["nope"]),
    ("unknown column in an expression", '  - filter: "a > 1 and bbb > 2"', 4, None, ["bbb", "b"]),
    ("unknown column in an aggregate", "  - group: { by: [a], aggregate: { n: sum(c) } }", 4, None, ["c"]),
    ("unknown function", '  - derive: { x: "uper(s)" }', 4, None, ["uper", "upper"]),
    ("unknown aggregate", "  - group: { by: [a], aggregate: { n: summ(a) } }", 4, None, ["summ", "sum"]),
    ("unknown type in a cast", '  - derive: { x: "int46(a)" }', 4, None, ["int46", "int64"]),
    ("text plus number", '  - derive: { x: "a + s" }', 4, None, ["string"]),
    ("not of a number", '  - derive: { x: "not a" }', 4, None, ["bool"]),
    ("filter that is no condition", '  - filter: "a + 1"', 4, None, ["bool"]),
    ("comparison of text and number", '  - filter: "s > 1"', 4, None, ["string"]),
    ("sum of text", "  - group: { by: [a], aggregate: { n: sum(s) } }", 4, None, ["string"]),
    ("torn expression", '  - filter: "a > (1 + "', 4, None, []),
    ("text without an end", '  - filter: "s == \'x"', 4, None, []),
    ("wrong number of arguments", '  - derive: { x: "substr(s)" }', 4, None, ["substr"]),
    ("bad regular expression", '  - filter: "matches(s, \'(\')"', 4, None, []),
    ("quantile out of range", "  - group: { by: [a], aggregate: { n: 'quantile(a, 1.5)' } }", 4, None, ["quantile"]),
    ("unknown flow in join", "  - join: { with: other, on: [a] }", 4, 19, ["other"]),
    ("two steps in one", "  - { limit: 1, distinct: {} }", 4, None, []),
    ("explode of no list", "  - explode: { from: a, into: x }", 4, None, ["list"]),
    ("rename onto a taken name", "  - rename: { a: b }", 4, None, ["b"]),
    ("drop of all columns", "  - drop: [a, b, s]", 4, None, []),
    ("expression too deep", f'  - filter: "{"(" * 5000}a > 1{")" * 5000}"', 4, None, []),
]


@pytest.mark.parametrize("name,steps,line,column,words", STEPS, ids=[s[0] for s in STEPS])
def test_steps(thalweg, name, steps, line, column, words):
    found = errors(thalweg, job(steps))
    assert len(found) == 1, found
    assert found[0][0] == line, found
    if column is not None:
        assert found[0][1] == column, found
    for word in words:
        assert word in found[0][2], found


# Name, whole job, line, column or None, words.
JOBS = [
    ("unknown key", "nam: x\nsource: { file: { path: in.csv } }\nsink: { discard: {} }\n", 1, 1, ["nam", "name"]),
    ("unknown source", "source: { fil: { path: in.csv } }\nsink: { discard: {} }\n", 1, 11, ["fil", "file"]),
    ("unknown sink", "source: { file: { path: in.csv } }\nsink: { stdot: {} }\n", 2, 9, ["stdot", "stdout"]),
    ("unknown format", "source: { file: { path: in.csv, format: cvs } }\nsink: { discard: {} }\n", 1, 41, ["cvs", "csv"]),
    ("unknown setting", "source: { file: { path: in.csv } }\nsink: { discard: {} }\nrun: { paralelism: 2 }\n", 3, 8, ["paralelism", "parallelism"]),
    ("bad size", "source: { file: { path: in.csv } }\nsink: { discard: {} }\nrun: { memory: 5 apples }\n", 3, 16, ["5 apples"]),
    ("too little memory", "source: { file: { path: in.csv } }\nsink: { discard: {} }\nrun: { memory: 1MiB }\n", 3, 16, ["32MiB"]),
    ("no source", "sink: { discard: {} }\n", 1, 1, ["source"]),
    ("no sink", "source: { file: { path: in.csv } }\n", 1, None, ["sink"]),
    ("unknown column type", "source: { file: { path: in.csv, columns: { a: int46 } } }\nsink: { discard: {} }\n", 1, 47, ["int46", "int64"]),
    ("key twice", "name: a\nname: b\nsource: { file: { path: in.csv } }\nsink: { discard: {} }\n", 2, 1, ["name"]),
    ("torn YAML", "source: { file: { path: in.csv }\nsink: [\n", None, None, []),
    ("a tab in YAML", "source:\n\tfile: { path: in.csv }\n", 2, None, []),
    ("no map", "- 1\n- 2\n", 1, 1, []),
    ("nothing", "", 1, 1, []),
    ("flows beside source", "source: { file: { path: in.csv } }\nflows: {}\nsink: { discard: {} }\n", None, None, ["flows"]),
    ("a flow nobody reads", "flows:\n  a: { source: { file: { path: in.csv } } }\n  b: { source: { file: { path: in.csv } }, sink: { discard: {} } }\n", 2, None, ["a"]),
    ("unknown flow", "flows:\n  b: { source: { flow: aa }, sink: { discard: {} } }\n", 2, 24, ["aa"]),
    ("a cycle of two", "flows:\n  a: { source: { flow: b } }\n  b: { source: { flow: a }, sink: { discard: {} } }\n", None, None, ["a", "b"]),
    ("a flow that reads itself", "flows:\n  a: { source: { flow: a }, sink: { discard: {} } }\n", 2, None, ["a"]),
    ("a join with itself", "flows:\n  a:\n    source: { file: { path: in.csv } }\n    steps: [ { join: { with: a, on: [a] } } ]\n    sink: { discard: {} }\n", 4, None, ["a"]),
    ("union of other columns", "flows:\n  a: { source: { file: { path: in.csv } }, steps: [ { drop: [s] } ] }\n  b: { source: { file: { path: in.csv } }, steps: [ { union: { with: [a] } } ], sink: { discard: {} } }\n", 3, None, ["s"]),
    ("join on other types", "flows:\n  a: { source: { file: { path: in.csv } } }\n  b: { source: { file: { path: in.csv } }, steps: [ { join: { with: a, on: { a: s } } } ], sink: { discard: {} } }\n", 3, None, ["string"]),
    ("variable that is not set", "source: { file: { path: \"${THALWEG_NOT_SET}\" } }\nsink: { discard: {} }\n", 1, None, ["THALWEG_NOT_SET"]),
    ("variable that must be set", "source: { file: { path: \"${THALWEG_NOT_SET:?say which file}\" } }\nsink: { discard: {} }\n", 1, None, ["say which file"]),
]


@pytest.mark.parametrize("name,text,line,column,words", JOBS, ids=[j[0] for j in JOBS])
def test_jobs(thalweg, name, text, line, column, words):
    found = errors(thalweg, text)
    assert len(found) == 1 or name in ("a cycle of two", "flows beside source"), found
    if line is not None:
        assert found[0][0] == line, found
    if column is not None:
        assert found[0][1] == column, found
    for word in words:
        assert word in found[0][2], found


def test_all_errors_at_once(thalweg):
    text = """nam: t
source: { file: { path: in.csv, formt: csv } }
steps:
  - grup: { by: [a] }
  - select: [a, bb]
  - filter: "a +"
  - sort: { by: [zz], limt: 3 }
sink: { file: { pth: out.csv } }
run: { parallelism: many }
"""
    lines = [line for line, _, _ in errors(thalweg, text)]
    assert {1, 2, 4, 8, 9} <= set(lines)
    assert len(lines) >= 7
    again = errors(thalweg, text, command="run")
    assert [line for line, _, _ in again] == lines, "run refuses the job as check does"


def test_an_error_in_an_expression_points_into_it(thalweg):
    found = errors(thalweg, job('  - filter: "a > 1 and bbb > 2"'))
    assert found[0][1] == '  - filter: "a > 1 and bbb > 2"'.index("bbb") + 1


def test_values_of_variables_are_not_told(thalweg):
    """A variable may hold a secret; and it cannot change the structure of the job."""
    text = "source: { file: { path: in.csv, format: \"${SECRET}\" } }\nsink: { discard: {} }\n"
    found = errors(thalweg, text, SECRET="hunter2}, x: {y: 1")
    assert "hunter2" not in found[0][2]


def test_error_with_a_long_job(thalweg):
    """Thousands of errors: told up to a bound, and quickly."""
    steps = "\n".join(f"  - nosuch{n}: {{}}" for n in range(5000))
    thalweg.write("in.csv", CSV)
    thalweg.write("job.yaml", job(steps))
    result = thalweg.command("check", "job.yaml", timeout=60)
    assert result.exit == 2 and len(result.stderr.splitlines()) <= 200
    assert result.seconds < 5


@pytest.mark.parametrize("text", [
    b"\xff\xfe\x00\x01", b"\x00" * 100, b"[" * 100_000, b"a: &a [*a]\n", b"{" * 1000, b"? ? ? ?\n",
    b"a: &x [1,1,1,1,1,1,1,1,1]\nb: &y [*x,*x,*x,*x,*x,*x,*x,*x,*x]\nc: &z [*y,*y,*y,*y,*y,*y,*y,*y,*y]\nd: &w [*z,*z,*z,*z,*z,*z,*z,*z]\n"
    b"e: &v [*w,*w,*w,*w,*w,*w,*w,*w]\nf: &u [*v,*v,*v,*v,*v,*v,*v,*v]\ng: [*u,*u,*u,*u,*u,*u,*u,*u]\n",
], ids=["binary", "zeros", "deep list", "own alias", "deep map", "questions", "billion laughs"])
def test_hostile_texts(thalweg, text):
    thalweg.write("job.yaml", text)
    result = thalweg.command("check", "job.yaml", timeout=60)
    assert result.exit == 2 and result.errors, result


def test_steps_behind_a_faulty_one_are_checked(thalweg):
    """Every error that is the user's, and none that follows from another."""
    thalweg.write("in.csv", "a,b\n1,x\n")
    thalweg.write("job.yaml", """\
source: { file: { path: in.csv, columns: { a: int64, b: string } } }
steps:
  - filter: nope > 1
  - derive: { c: a + b, d: a + 1, b2: upper(b) }
  - filter: c > 3 and d > 2
  - filter: upper(d) == 'x'
  - sort: [c, zzz, d]
  - limit: -1
  - distinct: [c, nil]
  - select: { x: c, y: d, z: b2, w: missing }
  - filter: x > 1 or length(z) > 1
  - sort: [a, z, -w]
  - group: { by: [z, x], aggregate: { n: sum(x), m: sum(z) } }
  - derive: { q: whatever }
sink: { file: out.csv }
""")
    result = thalweg.command("check", "job.yaml")
    assert result.exit == 2, result
    found = [(int(line.split(":")[1]), line.split("error: ")[1]) for line in result.errors]
    assert [line for line, _ in found] == [3, 4, 6, 7, 8, 9, 10, 12, 13], result.stderr
    for word, (_, message) in zip(["'nope'", "'+'", "'upper'", "'zzz'", "-1", "'nil'", "'missing'", "'a'", "sum takes"], found):
        assert word in message, message
