"""A bad record ends a run only if the rows before it are not enough: whatever the batches, blocks and threads."""

import pytest

pytestmark = pytest.mark.sanitized

COLUMNS = {"a": "int64", "b": "string"}


def numbered(form, n):
    return "".join(form.format(i) for i in range(1, n + 1)).encode()


def records(n):
    return b"".join(b"%04dgood" % i for i in range(1, n + 1))


# Source, five good records, the bad one, more good ones, and what the message says.
FORMATS = {
    "csv-value": ({"path": "in.csv", "columns": COLUMNS}, b"a,b\n" + numbered("{0},x\n", 5), b"six,x\n", numbered("{0},y\n", 90), "six"),
    "csv-fields": ({"path": "in.csv", "columns": COLUMNS}, b"a,b\n" + numbered("{0},x\n", 5), b"6\n", numbered("{0},y\n", 90), "1 field"),
    "json": ({"path": "in.json", "columns": COLUMNS}, numbered('{{"a":{0}}}\n', 5), b'{"a":\n', numbered('{{"a":{0}}}\n', 90), "JSON"),
    "lines": ({"path": "in.txt"}, numbered("{0}\n", 5), b"\xff\n", numbered("{0}\n", 90), "UTF-8"),
    "edges": ({"path": "in.txt", "format": "edges"}, numbered("{0} 1\n", 5), b"6\n", numbered("{0} 1\n", 90), "two vertices"),
    "libsvm": ({"path": "in.libsvm"}, numbered("{0} 1:1\n", 5), b"x 1:1\n", numbered("{0} 1:1\n", 90), "label"),
    "torn": ({"path": "in.bin", "format": "records", "length": 8, "columns": {"a": [0, 4], "b": [4, 4]}}, records(5), b"0006", b"", "torn"),
}


def job(source, steps, limit, batch_rows, parallelism):
    return {
        "source": {"file": source},
        "steps": steps + [{"limit": limit}],
        "sink": {"file": {"path": "out.json"}},
        "run": {"batch_rows": batch_rows, "parallelism": parallelism},
    }


def outcome(thalweg, plan):
    """Rows written, or the message of the failure."""
    result = thalweg.command(*thalweg.job_arguments(plan, False, {}), "--quiet")
    out = thalweg.folder / "out.json"
    if result.exit == 0:
        rows = out.read_text().splitlines()
        out.unlink()
        return len(rows), ""
    assert result.exit == 1 and not out.exists(), result
    return None, result.stderr


SHAPES = [(1, 1), (2, 2), (5, 1), (6, 2), (7, 1), (8192, 2)]


@pytest.mark.parametrize("name", FORMATS)
def test_rows_before_a_bad_record_come_first(thalweg, name):
    source, good, bad, more, says = FORMATS[name]
    thalweg.write(source["path"], good + bad + more)
    for batch_rows, parallelism in SHAPES:
        assert outcome(thalweg, job(source, [], 5, batch_rows, parallelism)) == (5, ""), (batch_rows, parallelism)
        rows, message = outcome(thalweg, job(source, [], 6, batch_rows, parallelism))
        assert rows is None and says in message and "record 6" in message, message


STEPS = {
    "filter": [{"filter": "10 // (3000 - a) < 99"}],
    "derive": [{"derive": {"c": "10 // (3000 - a)"}}],
    "two": [{"derive": {"c": "10 // (3500 - a)"}}, {"filter": "10 // (3000 - a) < 99"}],
    "parse": [{"select": {"t": "if(a == 3000, 'x', concat('{\"v\": ', string(a), '}'))"}},
              {"parse": {"from": "t", "format": "json", "columns": {"v": "int64"}}}],
    "queue": [{"filter": "10 // (3000 - a) < 99"}, {"busy": "1us"}],
    "after a queue": [{"busy": "1us"}, {"derive": {"c": "10 // (3000 - a)"}}],
    "two limits": [{"derive": {"c": "10 // (3000 - a)"}}, {"limit": 4000}],
}


@pytest.mark.parametrize("name", STEPS)
def test_rows_before_one_that_cannot_be_computed_come_first(thalweg, name):
    thalweg.write("in.csv", b"a\n" + numbered("{0}\n", 5000))
    source = {"path": "in.csv", "columns": {"a": "int64"}}
    for batch_rows, parallelism in [(0, 2), (1000, 1), (999, 2)]:
        assert outcome(thalweg, job(source, STEPS[name], 2999, batch_rows, parallelism)) == (2999, "")
        rows, message = outcome(thalweg, job(source, STEPS[name], 3000, batch_rows, parallelism))
        assert rows is None and "record 3000" in message, message


def test_a_bad_record_of_a_later_block_does_not_overtake(thalweg):
    """Blocks are 1 MiB; the bad record stands at the start of the third."""
    line = "{0:09d}," + "x" * 89 + "\n"
    n = 3 * 2**20 // 100
    rows = [line.format(i) for i in range(1, n + 1)]
    bad = 2 * 2**20 // 100 + 50
    rows[bad - 1] = "bad\n"
    thalweg.write("in.csv", ("a,b\n" + "".join(rows)).encode())
    source = {"path": "in.csv", "columns": COLUMNS}
    for parallelism in (1, 4):
        for _ in range(3):
            assert outcome(thalweg, job(source, [], bad - 1, 0, parallelism)) == (bad - 1, "")
        rows_given, message = outcome(thalweg, job(source, [], bad, 0, parallelism))
        assert rows_given is None and f"record {bad}" in message, message


def test_a_broken_file_after_the_rows(thalweg):
    thalweg.write("1.csv", b"a\n1\n2\n")
    thalweg.write("2.csv", b"wrong\n3\n")
    source = {"path": ["1.csv", "2.csv"], "columns": {"a": "int64"}}
    for parallelism in (1, 2):
        assert outcome(thalweg, job(source, [], 2, 0, parallelism)) == (2, "")
        rows, message = outcome(thalweg, job(source, [], 3, 0, parallelism))
        assert rows is None and "2.csv" in message, message


def test_a_union_keeps_the_order_of_failures(thalweg):
    thalweg.write("1.csv", b"a\n1\n2\n")
    thalweg.write("2.csv", b"a\n3\nbad\n")
    flow = lambda path: {"source": {"file": {"path": path, "columns": {"a": "int64"}}}}
    for limit, rows in ((3, 3), (4, None)):
        plan = {
            "flows": {
                "second": flow("2.csv"),
                "first": {**flow("1.csv"), "steps": [{"union": {"with": ["second"]}}, {"limit": limit}],
                          "sink": {"file": {"path": "out.json"}}},
            }
        }
        assert outcome(thalweg, plan)[0] == rows
