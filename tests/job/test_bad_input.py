"""Bad records, bad files, bad disks: one message with its place, the policy kept, nothing half done."""

import base64
import gzip
import json
import os
import resource
import signal
import subprocess
import time

import pytest

from harness import read_csv

pytestmark = pytest.mark.sanitized


def failure(thalweg, job, **sets):
    """Runs a job that must fail while it runs; returns its one message."""
    arguments = thalweg.job_arguments(job, False, sets)
    result = thalweg.command(*arguments, "--quiet")
    assert result.exit == 1, result
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and "error" in lines[0], result
    assert not (thalweg.folder / "out.csv").exists(), "a failed run leaves no output"
    leftovers = [p.name for p in thalweg.folder.iterdir() if p.name.startswith((".out", "out"))]
    assert not leftovers, leftovers
    return lines[0]


def job(source, steps=(), **run):
    return {"source": {"file": source}, "steps": list(steps), "sink": {"file": {"path": "out.csv"}}, "run": run}


COLUMNS = {"a": "int64", "b": "string"}
# Name, source options, content, number of the bad record, what the message says, the rows that are good.
RECORDS = [
    ("csv-field-missing", {"path": "in.csv", "columns": COLUMNS}, b"a,b\n1,x\n2\n3,z\n", 2, "field", ["1", "3"]),
    ("csv-field-extra", {"path": "in.csv", "columns": COLUMNS}, b"a,b\n1,x\n2,y,z\n3,z\n", 2, "field", ["1", "3"]),
    ("csv-not-a-number", {"path": "in.csv", "columns": COLUMNS}, b"a,b\n1,x\n2,y\ntwo,z\n4,w\n", 3, "int64", ["1", "2", "4"]),
    ("csv-out-of-range", {"path": "in.csv", "columns": COLUMNS}, b"a,b\n9223372036854775808,x\n4,w\n", 1, "range", ["4"]),
    ("csv-int32-range", {"path": "in.csv", "columns": {"a": "int32", "b": "string"}}, b"a,b\n-2147483649,x\n4,w\n", 1, "range", ["4"]),
    ("csv-text-after-quote", {"path": "in.csv", "columns": COLUMNS}, b'a,b\n1,"x"y\n2,z\n', 1, "quote", ["2"]),
    ("csv-not-utf-8", {"path": "in.csv", "columns": COLUMNS}, b"a,b\n1,x\n2,\xff\xfe\n3,z\n", 2, "UTF-8", ["1", "3"]),
    ("csv-bad-date", {"path": "in.csv", "columns": {"a": "int64", "b": "date"}}, b"a,b\n1,2023-02-29\n2,2024-02-29\n", 1, "date", ["2"]),
    ("json-torn", {"path": "in.json", "columns": COLUMNS}, b'{"a":1,"b":"x"}\n{"a":2,"b":\n{"a":3,"b":"z"}\n', 2, "JSON", ["1", "3"]),
    ("json-not-an-object", {"path": "in.json", "columns": COLUMNS}, b'{"a":1}\n[1,2]\n{"a":3}\n', 2, "object", ["1", "3"]),
    ("json-misfit", {"path": "in.json", "columns": COLUMNS}, b'{"a":1}\n{"a":"text"}\n{"a":3}\n', 2, "a", ["1", "3"]),
    ("json-range", {"path": "in.json", "columns": COLUMNS}, b'{"a":1e99}\n{"a":3}\n', 1, "a", ["3"]),
    ("json-not-utf-8", {"path": "in.json", "columns": COLUMNS}, b'{"a":1,"b":"\xc3("}\n{"a":3}\n', 1, "UTF-8", ["3"]),
    ("json-too-deep", {"path": "in.json", "columns": COLUMNS}, b'{"a":1}\n{"a":' + b"[" * 100_000 + b"\n{\"a\":3}\n", 2, "", ["1", "3"]),
    ("edges-text", {"path": "in.txt", "format": "edges", "columns": {"from": "int64", "to": "int64"}}, b"1 2\n3 four\n5 6\n", 2, "four", ["1", "5"]),
    ("edges-short", {"path": "in.txt", "format": "edges"}, b"1 2\n3\n5 6\n", 2, "", ["1", "5"]),
    ("libsvm-index", {"path": "in.libsvm"}, b"1 1:2\n1 x:3\n2 1:1\n", 2, "", ["1", "2"]),
]
IDS = [record[0] for record in RECORDS]


@pytest.mark.parametrize("name,source,content,record,says,good", RECORDS, ids=IDS)
def test_a_bad_record_fails_with_its_place(thalweg, name, source, content, record, says, good):
    thalweg.write(source["path"], content)
    message = failure(thalweg, sink_for(name, job(source)))
    assert source["path"] in message, message
    assert f"record {record}" in message, message
    assert says in message, message


def sink_for(name, plan):
    """CSV has no place for sparse vectors."""
    if name.startswith("libsvm"):
        plan["sink"] = {"file": {"path": "out.libsvm"}}
    return plan


@pytest.mark.parametrize("name,source,content,record,says,good", RECORDS, ids=IDS)
def test_a_bad_record_is_skipped_and_counted(thalweg, name, source, content, record, says, good):
    thalweg.write(source["path"], content)
    summary = thalweg.ok(sink_for(name, job(source, on_bad_record="skip")))
    assert summary["bad_records"] == 1
    if name.startswith("libsvm"):
        rows = [line.split()[0] for line in thalweg.read("out.libsvm").decode().splitlines()]
    else:
        rows = [row[0] for row in read_csv(thalweg.read("out.csv"))[1]]
    assert rows == good


@pytest.mark.parametrize("name,source,content,record,says,good", RECORDS, ids=IDS)
def test_a_bad_record_goes_to_the_dead_letter_file(thalweg, name, source, content, record, says, good):
    """It holds the record as it came, its place and the reason."""
    thalweg.write(source["path"], content)
    plan = sink_for(name, job(source, on_bad_record={"dead_letter": "dead.json"}))
    assert thalweg.ok(plan)["bad_records"] == 1
    letters = [json.loads(line) for line in thalweg.read("dead.json").splitlines()]
    assert len(letters) == 1
    letter = letters[0]
    assert letter["file"].endswith(source["path"]) and letter["record"] == record and says in letter["reason"], letter
    header = 1 if source["path"].endswith(".csv") else 0
    line = content.split(b"\n")[record - 1 + header]
    data = base64.b64decode(letter["data_base64"]) if says == "UTF-8" else letter["data"].encode()
    assert data == line, letter


def test_every_bad_record_is_counted_at_any_setting(thalweg):
    rows = [f"{n},ok" if n % 10 else f"bad{n},x" for n in range(20_000)]
    thalweg.write("in.csv", "a,b\n" + "\n".join(rows) + "\n")
    source = {"path": "in.csv", "columns": COLUMNS}
    for parallelism, batch_rows in ((1, 65536), (4, 100)):
        summary = thalweg.ok(job(source, on_bad_record={"dead_letter": "dead.json"}),
                             run_parallelism=parallelism, run_batch_rows=batch_rows)
        assert summary["bad_records"] == 2000
        letters = [json.loads(line) for line in thalweg.read("dead.json").decode().splitlines()]
        assert sorted(letter["record"] for letter in letters) == list(range(1, 20_000, 10))
        assert read_csv(thalweg.read("out.csv"), [int, str])[1] == [(n, "ok") for n in range(20_000) if n % 10]


def test_the_record_number_is_right_deep_in_a_large_file(thalweg):
    """Several readers share the file, yet records are counted from its beginning."""
    lines = [f'{n},"{"x" * 80}\n{"y" * 20}"' for n in range(200_000)]
    lines[171_717] = "bad,x"
    thalweg.write("in.csv", "a,b\n" + "\n".join(lines) + "\n")
    message = failure(thalweg, job({"path": "in.csv", "columns": COLUMNS}), run_parallelism=4)
    assert "in.csv" in message and "record 171718" in message, message


def test_the_file_is_named_among_many(thalweg):
    for number in range(300):
        thalweg.write(f"in/{number:03}.csv", "a,b\n1,x\n" if number != 217 else "a,b\n1,x\nbad,y\n")
    message = failure(thalweg, job({"path": "in/*.csv", "columns": COLUMNS}), run_parallelism=4)
    assert "in/217.csv" in message and "record 2" in message, message


EXPRESSIONS = [
    ("a // b", "zero"),
    ("a % b", "zero"),
    ("a / b", "zero"),
    ("9223372036854775807 + a", "overflow"),
    ("-9223372036854775807 - 1 - a", "overflow"),
    ("a * 9223372036854775807", "overflow"),
    ("int64(text)", "text"),
    ("int32(a * 10000000000)", "int32"),
    ("date(text)", "text"),
    ("int64(1e300 * a)", "int64"),
]


@pytest.mark.parametrize("expression,says", EXPRESSIONS, ids=[e for e, _ in EXPRESSIONS])
def test_an_expression_that_fails_names_the_record(thalweg, expression, says):
    thalweg.write("in.csv", "a,b,text\n0,1,7\n0,1,8\n2,0,x\n0,1,9\n".replace("7", "2020-01-01").replace("8", "2020-01-01").replace("9", "2020-01-01")
                  if expression.startswith("date") else "a,b,text\n0,1,7\n0,1,8\n2,0,x\n0,1,9\n")
    source = {"path": "in.csv", "columns": {"a": "int64", "b": "int64", "text": "string"}}
    steps = [{"select": {"x": expression}}]
    message = failure(thalweg, job(source, steps))
    assert says in message and "in.csv" in message and "record 3" in message, message
    summary = thalweg.ok(job(source, steps, on_bad_record="skip"))
    assert summary["bad_records"] == 1 and summary["rows_out"] == 3


def test_a_missing_file(thalweg):
    result = thalweg.run(job({"path": "missing.csv"}), json_output=False)
    assert result.exit in (1, 2), result
    assert "missing.csv" in result.stderr and "No such file" in result.stderr, result
    assert len(result.errors) == 1


@pytest.mark.parametrize("what", ["file", "folder", "output"])
def test_without_permission(thalweg, what):
    thalweg.write("closed/in.csv", "a,b\n1,x\n")
    (thalweg.folder / "shut").mkdir()
    plan = job({"path": "closed/*.csv" if what == "folder" else "closed/in.csv"})
    if what == "output":
        plan["sink"]["file"]["path"] = "shut/out.csv"
    mode = {"file": ("closed/in.csv", 0o000), "folder": ("closed", 0o000), "output": ("shut", 0o500)}[what]
    arguments = thalweg.job_arguments(plan, False, {})
    thalweg.drop_privileges()
    os.chmod(thalweg.folder / mode[0], mode[1])
    try:
        result = thalweg.command(*arguments, "--quiet")
    finally:
        os.chmod(thalweg.folder / mode[0], 0o700)
    assert result.exit in (1, 2), result
    assert "ermission denied" in result.stderr and mode[0].split("/")[0] in result.stderr, result
    assert len(result.stderr.strip().splitlines()) == 1, result


def test_a_folder_where_a_file_is_meant(thalweg):
    (thalweg.folder / "in.csv").mkdir()
    result = thalweg.run(job({"path": "in.csv"}), json_output=False)
    assert result.exit in (1, 2) and "in.csv" in result.stderr and len(result.errors) == 1, result


@pytest.mark.parametrize("damage", ["torn", "flipped", "checksum"])
def test_a_damaged_gzip_file(thalweg, damage):
    packed = gzip.compress(b"".join(b"%d,text of row %d\n" % (n, n * 7919) for n in range(100_000)))
    middle = len(packed) // 2
    content = {
        "torn": packed[:middle],
        "flipped": packed[:middle] + bytes([packed[middle] ^ 0xFF]) + packed[middle + 1:],
        "checksum": packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:],
    }[damage]
    thalweg.write("in.csv.gz", content)
    message = failure(thalweg, job({"path": "in.csv.gz", "header": False, "columns": COLUMNS}))
    assert "in.csv.gz" in message, message


@pytest.mark.parametrize("ending,command", [("zst", ["zstd", "-q"]), ("lz4", ["lz4", "-q"])])
def test_other_torn_files(thalweg, ending, command):
    packed = subprocess.run(command, input=b"1,x\n" * 100_000, capture_output=True, check=True).stdout
    thalweg.write(f"in.csv.{ending}", packed[:-5])
    message = failure(thalweg, job({"path": f"in.csv.{ending}", "header": False, "columns": COLUMNS}))
    assert f"in.csv.{ending}" in message, message


def test_records_with_a_torn_end(thalweg):
    thalweg.write("in.dat", b"x" * 1050)
    source = {"path": "in.dat", "format": "records", "length": 100, "columns": {"key": [0, 10]}}
    message = failure(thalweg, job(source))
    assert "in.dat" in message and "record 11" in message, message


def test_a_quote_that_never_closes(thalweg):
    thalweg.write("in.csv", 'a,b\n1,x\n2,"never\n' + "3,z\n" * 1000)
    message = failure(thalweg, job({"path": "in.csv", "columns": COLUMNS}))
    assert "in.csv" in message and "record 2" in message and "quote" in message, message


def test_a_file_cut_while_it_is_read(thalweg):
    thalweg.write("in.txt", b"some text in a line\n" * 3_000_000)
    process = thalweg.start(job({"path": "in.txt"}, [{"busy": {"for": "5us"}}]), run_parallelism=1)
    time.sleep(0.4)
    assert process.poll() is None, "the job must still run for this test to mean anything"
    os.truncate(thalweg.folder / "in.txt", 100_000)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, (process.returncode, stderr)
    assert "in.txt" in json.loads(stdout)["error"]
    assert not (thalweg.folder / "out.csv").exists()


def limit_file_size(size):
    """Writes beyond `size` fail as on a full disk, with an error instead of a signal."""
    def prepare():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return prepare


@pytest.mark.parametrize("mode", ["replace", "append"])
def test_a_full_disk_while_writing(thalweg, mode):
    thalweg.write("in.txt", b"some text\n" * 1_000_000)
    if mode == "append":
        thalweg.write("out.txt", "kept\n")
    plan = {"source": {"file": {"path": "in.txt"}}, "sink": {"file": {"path": "out.txt", "mode": mode}}}
    result = thalweg.command(*thalweg.job_arguments(plan, False, {}), "--quiet", preexec_fn=limit_file_size(1 << 20))
    assert result.exit == 1 and "out.txt" in result.stderr and len(result.stderr.strip().splitlines()) == 1, result
    if mode == "append":
        assert thalweg.read("out.txt") == b"kept\n"
    else:
        assert not (thalweg.folder / "out.txt").exists()


def test_a_full_disk_while_spilling(thalweg):
    thalweg.write("in.txt", "".join(f"line {n * 7919 % 1000003:012d} {'x' * 60}\n" for n in range(1_000_000)))
    (thalweg.folder / "spill").mkdir()
    plan = {
        "source": {"file": {"path": "in.txt"}}, "steps": [{"sort": ["line"]}], "sink": {"file": {"path": "out.txt"}},
        "run": {"memory": "32MiB", "spill": "spill"},
    }
    result = thalweg.command(*thalweg.job_arguments(plan, False, {}), "--quiet", preexec_fn=limit_file_size(1 << 20))
    assert result.exit == 1 and "spill" in result.stderr and len(result.stderr.strip().splitlines()) == 1, result
    assert not list((thalweg.folder / "spill").iterdir())


def test_a_missing_spill_folder(thalweg):
    thalweg.write("in.txt", "".join(f"{n * 7919 % 1000003:020d}{'x' * 80}\n" for n in range(600_000)))
    plan = {
        "source": {"file": {"path": "in.txt"}}, "steps": [{"sort": ["line"]}], "sink": {"file": {"path": "out.txt"}},
        "run": {"memory": "32MiB", "spill": "not/there"},
    }
    result = thalweg.run(plan, json_output=False)
    assert result.exit in (1, 2) and "not/there" in result.stderr and len(result.errors) == 1, result


def test_standard_output_that_cannot_be_written(thalweg):
    thalweg.write("in.csv", "a\n" + "1\n" * 100_000)
    arguments = thalweg.job_arguments({"source": {"file": {"path": "in.csv"}}, "sink": {"stdout": {}}}, False, {})
    with open("/dev/full", "wb") as full:
        process = subprocess.run(thalweg.argv(*arguments, "--quiet"), cwd=thalweg.folder, stdout=full,
                                 stderr=subprocess.PIPE, env=thalweg.environment(), timeout=60)
    assert process.returncode == 1 and b"No space left" in process.stderr, process


def test_a_reader_of_standard_output_that_goes_away(thalweg):
    """As in `thalweg run ... | head`: an end, not a hang and not a signal's mess."""
    thalweg.write("in.csv", "a\n" + "1\n" * 3_000_000)
    arguments = thalweg.job_arguments({"source": {"file": {"path": "in.csv"}}, "sink": {"stdout": {}}}, False, {})
    process = subprocess.Popen(thalweg.argv(*arguments, "--quiet"), cwd=thalweg.folder, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=thalweg.environment())
    assert process.stdout.readline() == b"a\n"
    process.stdout.close()
    assert process.wait(60) in (1, -signal.SIGPIPE, 141)


def test_a_line_of_one_gigabyte(thalweg):
    """It does not fit: one bad record, within the memory that the run may hold."""
    if thalweg.build != "release":
        size = 100_000_000
    else:
        size = 1_000_000_000
    with open(thalweg.folder / "in.txt", "wb") as file:
        file.write(b"first\n")
        for _ in range(size // 10_000_000):
            file.write(b"x" * 10_000_000)
        file.write(b"\nlast\n")
    plan = job({"path": "in.txt"}, memory="64MiB")
    message = failure(thalweg, plan)
    assert "in.txt" in message and "record 2" in message, message
    plan["run"]["on_bad_record"] = "skip"
    summary = thalweg.ok(plan)
    assert summary["bad_records"] == 1
    assert thalweg.read("out.csv") == b"line\nfirst\nlast\n"
    if thalweg.build == "release":
        assert summary["peak_rss_bytes"] <= 128 * 2**20


def test_a_line_of_one_gigabyte_fits_in_plenty(thalweg):
    size = 1_000_000_000 if thalweg.build == "release" else 50_000_000
    with open(thalweg.folder / "in.txt", "wb") as file:
        for _ in range(size // 10_000_000):
            file.write(b"x" * 10_000_000)
        file.write(b"\n")
    plan = job({"path": "in.txt"}, [{"select": {"n": "length(line)"}}], memory="8GiB")
    assert thalweg.table(plan, types=[int]) == [(size,)]


def test_a_dead_letter_file_that_cannot_be_written(thalweg):
    thalweg.write("in.csv", "a,b\nbad,x\n")
    plan = job({"path": "in.csv", "columns": COLUMNS}, on_bad_record={"dead_letter": "not/there/\0x".replace("\0x", "dead.json")})
    (thalweg.folder / "not").write_text("a file where a folder is needed")
    result = thalweg.run(plan, json_output=False)
    assert result.exit in (1, 2) and "not/there/dead.json" in result.stderr and len(result.errors) == 1, result
