"""Every format read and written: what goes in comes out, and details that the job file fixes."""

import json
import random
import struct

import pytest

from harness import read_csv, write_csv
from oracle import random_table


def convert(thalweg, source, sink, steps=(), **settings):
    return thalweg.ok({"source": {"file": source}, "steps": list(steps), "sink": {"file": sink}}, **settings)


def through(thalweg, text, columns=None, out="out.csv", **options):
    """CSV text in, CSV bytes out."""
    thalweg.write("in.csv", text)
    source = {"path": "in.csv", **options}
    if columns:
        source["columns"] = columns
    convert(thalweg, source, {"path": out})
    return thalweg.read(out)


@pytest.mark.sanitized
def test_csv_nulls_quotes_and_newlines(thalweg):
    text = 'a,b,c\n1,,""\n"2","x,y","say ""hi"""\n3,"two\nlines","cr\r\nlf"\n,é, spaced \n'
    assert through(thalweg, text, {"a": "int64", "b": "string", "c": "string"}) == text.replace('"2"', "2").encode()


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_csv_line_endings(thalweg, ending, last):
    text = ending.join(["a,b", "1,x", "2,y"]) + (ending if last else "")
    assert through(thalweg, text) == b"a,b\n1,x\n2,y\n"


def test_csv_byte_order_mark(thalweg):
    assert through(thalweg, b"\xef\xbb\xbfa,b\n1,2\n") == b"a,b\n1,2\n"


def test_csv_other_delimiter_and_quote(thalweg):
    thalweg.write("in.csv", "a;b\n'x;y';1\n'it''s';2\n")
    convert(thalweg, {"path": "in.csv", "delimiter": ";", "quote": "'"}, {"path": "out.csv"})
    assert thalweg.read("out.csv") == b'a,b\nx;y,1\nit\'s,2\n'
    convert(thalweg, {"path": "in.csv", "delimiter": ";", "quote": "'"},
            {"path": "out2.csv", "delimiter": "\t"})
    assert thalweg.read("out2.csv") == b"a\tb\nx;y\t1\nit's\t2\n"


def test_csv_without_header(thalweg):
    thalweg.write("in.csv", "1,x\n2,y\n")
    convert(thalweg, {"path": "in.csv", "header": False, "columns": {"n": "int64", "s": "string"}},
            {"path": "out.csv", "header": False})
    assert thalweg.read("out.csv") == b"1,x\n2,y\n"


def test_csv_types_are_inferred(thalweg):
    text = (
        "i,f,b,d,t,s,m\n"
        "1,1.5,true,2026-01-31,2026-01-31T05:00:00Z,x,1\n"
        ",2,false,2026-02-01,2026-01-31 06:00:00.5+01:00,1,y\n"
    )
    thalweg.write("in.csv", text)
    checks = {
        "i": "i + 1", "f": "f * 2", "b": "not b", "d": "year(d)", "t": "hour(t)", "s": "upper(s)", "m": "upper(m)", "time": "t",
    }
    convert(thalweg, {"path": "in.csv"}, {"path": "out.csv"}, [{"select": checks}])
    assert read_csv(thalweg.read("out.csv"))[1] == [
        ("2", "3", "false", "2026", "5", "X", "1", "2026-01-31T05:00:00Z"),
        (None, "4", "true", "2026", "5", "1", "Y", "2026-01-31T05:00:00.5Z"),
    ]


def test_csv_inference_sees_the_first_64_ki_rows(thalweg):
    """A column whose first text comes late in the sample is text; one past the sample is a bad record."""
    rows = ["n"] + ["1"] * 65_535 + ["text"]
    assert through(thalweg, "\n".join(rows) + "\n").endswith(b"\ntext\n")
    rows.insert(1, "1")
    thalweg.write("in.csv", "\n".join(rows) + "\n")
    result = thalweg.run({"source": {"file": {"path": "in.csv"}}, "sink": {"file": {"path": "late.csv"}}})
    assert result.exit == 1 and "65537" in result.summary["error"], result


def test_csv_floats_are_the_shortest_that_read_back(thalweg):
    rng = random.Random(1)
    values = [struct.unpack("<d", rng.randbytes(8))[0] for _ in range(20_000)]
    values = [v for v in values if v == v and abs(v) != float("inf")] + [0.1, 1e22, 1e23, 5e-324, 123456789.0, -0.0, 1e16]
    out = through(thalweg, write_csv(["v"], [(v,) for v in values]), {"v": "float64"}).decode().split("\n")[1:-1]
    assert len(out) == len(values)
    for value, text in zip(values, out):
        assert struct.pack("<d", float(text)) == struct.pack("<d", value), (value, text)
        assert len(text) <= len(repr(value).removesuffix(".0")), (value, text)


@pytest.mark.parametrize("parallelism", [1, 2, 8])
def test_csv_newlines_in_quotes_across_splits(thalweg, parallelism):
    """Whole stretches of the file look like rows but lie inside quotes: a reader that starts in the
    middle must not take them for rows."""
    rng = random.Random(2)
    lines, expected = ["id,text"], []
    for number in range(2000):
        inner = "".join(f'{rng.randrange(10**6)},fake row\n""' if rng.random() < 0.5 else "plain, " for _ in range(rng.randint(0, 3000)))
        text = inner.replace('""', '"')
        lines.append(f'{number},"{inner}"')
        expected.append((number, len(text)))
    thalweg.write("in.csv", "\n".join(lines) + "\n")
    assert (thalweg.folder / "in.csv").stat().st_size > 20_000_000
    rows = thalweg.table({
        "source": {"file": {"path": "in.csv", "columns": {"id": "int64", "text": "string"}}},
        "steps": [{"select": {"id": "id", "size": "length(text)"}}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int, int], run_parallelism=parallelism)
    assert rows == expected


@pytest.mark.parametrize("parallelism", [1, 2, 8])
def test_csv_quotes_that_open_and_close_everywhere(thalweg, parallelism):
    """Random quoted fields; a third hold quotes, commas, CRLF: 30 MB so that several readers share it."""
    rng = random.Random(3)
    pool = []
    for _ in range(500):
        pool.append("".join(rng.choices(['"', ",", "\n", "\r\n", "a", "bc", "é", " "], k=rng.randint(0, 40))))
    rows = [(n, rng.choice(pool), rng.choice(pool)) for n in range(400_000)]
    thalweg.write("in.csv", write_csv(["n", "a", "b"], rows))
    convert(thalweg, {"path": "in.csv", "columns": {"n": "int64", "a": "string", "b": "string"}}, {"path": "out.csv"},
            run_parallelism=parallelism)
    assert thalweg.read("out.csv") == thalweg.read("in.csv")


def test_csv_same_under_every_setting(thalweg, settings):
    table = random_table(3000, 61)
    thalweg.write("in.csv", table.csv())
    convert(thalweg, {"path": "in.csv", "columns": table.columns}, {"path": "out.csv"}, **settings)
    assert read_csv(thalweg.read("out.csv"), table.python_types)[1] == table.rows


@pytest.mark.sanitized
def test_csv_whole_numbers_in_long_runs(thalweg):
    """Short ones may be read several at a time; between them stand some that must not be."""
    random_ = random.Random(5)
    odd = ["", "-5", "+7", "123456789", "-9223372036854775808", "9223372036854775807", "000000012", "9223372036854775808",
           "12a", "1 2", "/", ":", "1.5", "x" * 9]
    fields = []
    while len(fields) < 20_000:
        fields += [str(random_.randrange(10 ** random_.randrange(1, 9))) for _ in range(random_.randrange(120))]
        fields += random_.sample(odd, random_.randrange(3))
    thalweg.write("in.csv", "n,k\n" + "".join(f"{field},{i}\n" for i, field in enumerate(fields)))
    convert(thalweg, {"path": "in.csv", "columns": {"n": "int64", "k": "int64"}}, {"path": "out.csv"}, **{"run.on_bad_record": "skip"})

    def value(text):
        digits = text[1:] if text[:1] in ("-", "+") else text
        return int(text) if digits.isdigit() and -(2**63) <= int(text) < 2**63 else None

    wanted = [f"{'' if field == '' else value(field)},{i}" for i, field in enumerate(fields) if field == "" or value(field) is not None]
    assert thalweg.read("out.csv").decode().splitlines()[1:] == wanted


def test_csv_no_rows_and_no_bytes(thalweg):
    assert through(thalweg, "a,b\n", {"a": "int64", "b": "string"}) == b"a,b\n"
    assert through(thalweg, "", {"a": "int64", "b": "string"}) == b"a,b\n"


def test_csv_declared_columns_are_found_by_name(thalweg):
    thalweg.write("in.csv", "b,a\nx,1\n")
    convert(thalweg, {"path": "in.csv", "columns": {"a": "int64", "b": "string"}}, {"path": "out.csv"}, [{"select": ["a", "b"]}])
    assert thalweg.read("out.csv") == b"a,b\n1,x\n"


def test_lines(thalweg, settings):
    lines = [f"line {n} é" if n % 5 else "" for n in range(5000)]
    thalweg.write("in.txt", "\r\n".join(lines))
    convert(thalweg, {"path": "in.txt"}, {"path": "out.txt"}, **settings)
    assert thalweg.read("out.txt") == ("\n".join(lines) + "\n").encode()


def test_lines_writes_the_only_column_there_is(thalweg):
    thalweg.write("in.txt", "a b\nc\n")
    convert(thalweg, {"path": "in.txt"}, {"path": "out.txt"}, [{"split_words": {"from": "line", "into": "word"}}, {"select": ["word"]}])
    assert thalweg.read("out.txt") == b"a\nb\nc\n"


JSON_LINES = [
    {"i": 1, "f": 1.5, "s": "text", "b": True, "n": None, "deep": {"x": {"y": 7}}, "l": [1, 2]},
    {"i": None, "f": 2, "s": "q\"uote \\ \u00e9 \U0001f388 \n", "b": False, "n": 4, "deep": {"x": {"y": 8}}, "l": []},
    {"i": -(2**63), "f": -1e-300, "s": "", "deep": {}, "more": "ignored?"},
]


@pytest.mark.sanitized
def test_json_types_and_nested_values(thalweg):
    thalweg.write("in.json", "".join(json.dumps(line) + "\n" for line in JSON_LINES))
    columns = {"i": "int64", "f": "float64", "s": "string", "b": "bool", "n": "int64", "deep.x.y": "int64", "l": "list<int64>"}
    convert(thalweg, {"path": "in.json", "columns": columns}, {"path": "out.json"},
            [{"select": {"i": "i", "f": "f", "s": "s", "b": "b", "n": "n", "y": "`deep.x.y`", "l": "l"}}])
    out = [json.loads(line) for line in thalweg.read("out.json").decode().splitlines()]
    for line, row in zip(JSON_LINES, out, strict=True):
        expected = {"i": line["i"], "f": line["f"], "s": line["s"], "b": line.get("b"), "n": line.get("n"),
                    "y": line["deep"].get("x", {}).get("y"), "l": line.get("l")}
        assert {name: row.get(name) for name in expected} == expected


def test_json_without_columns_takes_types_from_the_rows(thalweg):
    lines = [{"a": n, "b": f"v{n}", "c": n / 4, "d": n % 2 == 0} for n in range(3000)]
    thalweg.write("in.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    rows = thalweg.table({
        "source": {"file": {"path": "in.jsonl"}},
        "steps": [{"select": {"a": "a + 1", "b": "upper(b)", "c": "c * 2", "d": "not d"}}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int, str, float, bool])
    assert rows == [(n + 1, f"V{n}", n / 2, n % 2 == 1) for n in range(3000)]


def test_json_round_trip_under_every_setting(thalweg, settings):
    table = random_table(2000, 62)
    thalweg.write("in.csv", table.csv())
    convert(thalweg, {"path": "in.csv", "columns": table.columns}, {"path": "mid.json"}, **settings)
    for line, row in zip(thalweg.read("mid.json").decode().split("\n"), table.rows):
        parsed = json.loads(line)
        assert tuple(parsed.get(name) for name in table.columns) == row
    convert(thalweg, {"path": "mid.json", "columns": table.columns}, {"path": "out.csv"}, **settings)
    assert read_csv(thalweg.read("out.csv"), table.python_types)[1] == table.rows


def test_json_escapes_control_characters(thalweg):
    text = "".join(map(chr, range(1, 32))) + "\x7f\u2028é"
    thalweg.write("in.json", json.dumps({"s": text}) + "\n")
    convert(thalweg, {"path": "in.json"}, {"path": "out.json"})
    out = thalweg.read("out.json")
    assert json.loads(out) == {"s": text} and out.count(b"\n") == 1


def test_records(thalweg, settings):
    rng = random.Random(4)
    data = rng.randbytes(100 * 5000)
    thalweg.write("in.dat", data)
    convert(thalweg, {"path": "in.dat", "format": "records", "length": 100, "columns": {"key": [0, 10], "rest": [10, 90]}},
            {"path": "out.dat", "format": "records"}, **settings)
    assert thalweg.read("out.dat") == data


def test_records_columns_in_another_order(thalweg):
    thalweg.write("in.dat", b"AAbbbbCC" b"DDeeeeFF")
    convert(thalweg, {"path": "in.dat", "format": "records", "length": 8, "columns": {"a": [0, 2], "c": [6, 2]}},
            {"path": "out.dat", "format": "records"}, [{"select": ["c", "a"]}])
    assert thalweg.read("out.dat") == b"CCAAFFDD"


def test_binary_whole_files_with_their_paths(thalweg):
    rng = random.Random(5)
    contents = {f"in/{n:02}.bin": rng.randbytes(rng.randint(0, 100_000)) for n in range(30)}
    for name, content in contents.items():
        thalweg.write(name, content)
    rows = thalweg.table({
        "source": {"file": {"path": "in/*.bin", "format": "binary"}},
        "steps": [{"select": {"path": "path", "size": "length(content)"}}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[str, int])
    assert [(path.removeprefix("./"), size) for path, size in rows] == [(name, len(c)) for name, c in sorted(contents.items())]


def test_libsvm(thalweg):
    lines = ["1 1:0.5 3:2", "-1 2:1", "1", "0 1:1e-3 100:-4.5"]
    thalweg.write("in.libsvm", "\n".join(lines) + "\n")
    convert(thalweg, {"path": "in.libsvm"}, {"path": "out.libsvm"})
    parse = lambda text: [[tuple(map(float, p.split(":"))) if ":" in p else float(p) for p in row.split()] for row in text.splitlines()]
    assert parse(thalweg.read("out.libsvm").decode()) == parse("\n".join(lines))


def test_edges(thalweg, settings):
    text = "".join(f"{n % 97}{' ' if n % 2 else chr(9)}{n * 7 % 1009}\n" for n in range(4000))
    thalweg.write("in.txt", text)
    rows = thalweg.table({
        "source": {"file": {"path": "in.txt", "format": "edges"}},
        "steps": [{"select": {"a": "from", "b": "to"}}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int, int], **settings)
    assert rows == [(n % 97, n * 7 % 1009) for n in range(4000)]


def test_edges_with_weights(thalweg):
    thalweg.write("in.txt", "1 2 0.5\n2 3 1.25\n")
    rows = thalweg.table({
        "source": {"file": {"path": "in.txt", "format": "edges", "columns": {"from": "int64", "to": "int64", "weight": "float64"}}},
        "steps": [{"select": {"a": "from", "w": "weight"}}],
        "sink": {"file": {"path": "out.csv"}},
    }, types=[int, float])
    assert rows == [(1, 0.5), (2, 1.25)]


# Type, texts as JSON has them; CSV has the same without quotes.
SCALARS = {
    "bool": ["true", "false", "null"],
    "int32": ["-2147483648", "2147483647", "null"],
    "int64": ["-9223372036854775808", "9223372036854775807", "null"],
    "float32": ["-0.0", "3.4028235e38", "1e-45", "0.1", "16777216", "null"],
    "float64": ["-0.0", "1.7976931348623157e308", "5e-324", "0.1", "123456789012345680000", "null"],
    "date": ['"0001-01-01"', '"9999-12-31"', "null"],
    "timestamp": ['"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', "null"],
    "string": ['""', '"null"', '"say \\"hi\\", \\n\\u0001\\u0000é"', "null"],
    "binary": ['""', '"AA=="', '"AP8="', '"/+8AIiwKDQ=="', "null"],
}
NESTED = {
    "vector<float32, 3>": ["[1,-0.0,1e-45]", "[null,2,3]", "null"],
    "sparse<float32>": ['{"indices":[],"values":[]}', '{"indices":[0,7,2147483647],"values":[0.1,null,-0.0]}', "null"],
    "list<int64>": ["[]", "[1,null,9223372036854775807]", "null"],
    "list<string>": ['["","a b",null]'],
    "list<binary>": ['["/w==","",null]'],
    "list<list<float64>>": ["[[],[0.1,null],null]"],
    "list<vector<float32, 2>>": ["[[1,2],null]"],
    "list<sparse<float32>>": ['[{"indices":[3],"values":[1]},null]'],
}


@pytest.mark.sanitized
def test_every_type_comes_back_from_json_and_csv(thalweg):
    types = {**SCALARS, **NESTED}
    most = max(map(len, types.values()))
    cell = lambda kind, i: types[kind][i] if i < len(types[kind]) else "null"
    lines = ["{" + ",".join(f'"{kind}":{cell(kind, i)}' for kind in types) + "}" for i in range(most)]
    text = "\n".join(lines) + "\n"
    thalweg.write("in.json", text)
    columns = {kind: kind for kind in types}
    convert(thalweg, {"path": "in.json", "columns": columns}, {"path": "out.json"})
    written = thalweg.read("out.json")
    parse = lambda rows: [json.loads(row, parse_int=lambda n: int(n) if len(n) < 20 else float(n)) for row in rows]
    assert parse(written.decode().splitlines()) == parse(lines)
    convert(thalweg, {"path": "out.json", "columns": columns}, {"path": "again.json"})
    assert thalweg.read("again.json") == written
    assert b'"float64":-0.0' in written

    scalars = {kind: kind for kind in SCALARS}
    convert(thalweg, {"path": "out.json", "columns": scalars}, {"path": "out.csv"})
    convert(thalweg, {"path": "out.csv", "columns": scalars}, {"path": "from_csv.json"})
    convert(thalweg, {"path": "out.json", "columns": scalars}, {"path": "scalars.json"})
    assert thalweg.read("from_csv.json") == thalweg.read("scalars.json")


@pytest.mark.parametrize("kind", NESTED)
def test_csv_refuses_nested_types_on_both_sides(thalweg, kind):
    thalweg.write("in.csv", "a\n1\n")
    thalweg.write("in.json", '{"a":null,"t":""}\n')
    def check(source, sink, *steps):
        thalweg.write("job.yaml", json.dumps({"source": {"file": source}, "steps": list(steps), "sink": {"file": sink}}))
        result = thalweg.command("check", "job.yaml")
        assert result.exit == 2 and len(result.errors) == 1 and kind in result.errors[0], result
        return result.errors[0]
    assert "csv cannot be read as" in check({"path": "in.csv", "columns": {"a": kind}}, {"path": "out.json"})
    assert "CSV has no place for" in check({"path": "in.json", "columns": {"a": kind}}, {"path": "out.csv"})
    assert "csv cannot be read as" in check({"path": "in.json", "columns": {"t": "string"}}, {"path": "out.json"},
                                            {"parse": {"from": "t", "format": "csv", "columns": {"x": kind}}})


@pytest.mark.parametrize("kind,value", [
    ("binary", '"no base64"'), ("binary", '"AA"'), ("binary", "1"), ("sparse<float32>", "[]"), ("sparse<float32>", '{"indices":[1]}'),
    ("sparse<float32>", '{"indices":[1],"values":[]}'), ("sparse<float32>", '{"indices":[1,1],"values":[1,2]}'),
    ("sparse<float32>", '{"indices":[-1],"values":[1]}'), ("sparse<float32>", '{"indices":[1],"values":["x"]}'),
    ("sparse<float32>", '{"indices":[],"values":[1]}'), ("vector<float32, 2>", "[1]"), ("list<binary>", '["="]'),
])
def test_json_values_that_do_not_fit(thalweg, kind, value):
    thalweg.write("in.json", '{"a":' + value + "}\n{}\n")
    summary = thalweg.ok({"source": {"file": {"path": "in.json", "columns": {"a": kind}}},
                          "sink": {"file": {"path": "out.json"}}, "run": {"on_bad_record": "skip"}})
    assert summary["bad_records"] == 1
    assert thalweg.read("out.json") == b'{"a":null}\n'
