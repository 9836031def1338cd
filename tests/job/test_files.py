"""Paths, compression, modes and parts: what a file source finds and a file sink leaves."""

import bz2
import gzip
import json
import subprocess

import pytest

from harness import read_csv

COMPRESS = {
    "gz": lambda data: gzip.compress(data),
    "zst": lambda data: subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout,
    "lz4": lambda data: subprocess.run(["lz4", "-q"], input=data, capture_output=True, check=True).stdout,
}
EXPAND = {
    "gz": lambda data: gzip.decompress(data),
    "zst": lambda data: subprocess.run(["zstd", "-dq"], input=data, capture_output=True, check=True).stdout,
    "lz4": lambda data: subprocess.run(["lz4", "-dq"], input=data, capture_output=True, check=True).stdout,
}


def copy(source, sink, steps=()):
    return {"source": {"file": source}, "steps": list(steps), "sink": {"file": sink}}


def lines(count, start=0):
    return "".join(f"line {n} of some text\n" for n in range(start, start + count)).encode()


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_input_is_told_by_its_first_bytes(thalweg, ending):
    content = lines(200_000)
    thalweg.write("in.txt", COMPRESS[ending](content))
    thalweg.ok(copy({"path": "in.txt"}, {"path": "out.txt"}))
    assert thalweg.read("out.txt") == content


@pytest.mark.parametrize("ending", COMPRESS)
def test_an_output_ending_chooses_compression(thalweg, ending):
    content = lines(200_000)
    thalweg.write("in.txt", content)
    thalweg.ok(copy({"path": "in.txt"}, {"path": f"out.txt.{ending}"}))
    packed = thalweg.read(f"out.txt.{ending}")
    assert len(packed) < len(content) / 3
    assert EXPAND[ending](packed) == content
    thalweg.ok(copy({"path": f"out.txt.{ending}"}, {"path": "back.txt"}))
    assert thalweg.read("back.txt") == content


@pytest.mark.parametrize("ending", COMPRESS)
def test_several_members_in_one_file(thalweg, ending):
    members = [lines(1000, 1000 * n) for n in range(20)]
    members.insert(5, b"")
    thalweg.write(f"in.txt.{ending}", b"".join(COMPRESS[ending](member) for member in members))
    thalweg.ok(copy({"path": f"in.txt.{ending}"}, {"path": "out.txt"}))
    assert thalweg.read("out.txt") == b"".join(members)


@pytest.mark.parametrize("ending", COMPRESS)
def test_format_comes_from_the_ending_before_the_compression(thalweg, ending):
    thalweg.write(f"in.csv.{ending}", COMPRESS[ending](b"a,b\n1,x\n"))
    thalweg.ok(copy({"path": f"in.csv.{ending}"}, {"path": f"out.json.{ending}"}))
    assert json.loads(EXPAND[ending](thalweg.read(f"out.json.{ending}"))) == {"a": 1, "b": "x"}


def test_a_compressed_file_that_expands_a_thousandfold(thalweg):
    content = (b"0" * 99 + b"\n") * 3_000_000
    thalweg.write("in.gz", gzip.compress(content, 6))
    summary = thalweg.ok({
        "source": {"file": {"path": "in.gz", "format": "lines"}},
        "steps": [{"group": {"by": ["line"], "aggregate": {"n": "count"}}}],
        "sink": {"file": {"path": "out.csv"}},
    }, run_memory="32MiB")
    assert thalweg.read("out.csv") == b"line,n\n" + b"0" * 99 + b",3000000\n"
    assert summary["peak_rss_bytes"] <= 96 * 2**20


def test_globs_take_paths_byte_by_byte(thalweg, settings):
    names = ["a/z.txt", "a/b/c.txt", "a-b/x.txt", "A/y.txt", "a/b.txt", "a/b/d/e.txt", "a/no.log", "é/u.txt", "a/10.txt", "a/9.txt"]
    for name in names:
        thalweg.write("in/" + name, f"{name}\n")
    thalweg.ok(copy({"path": "in/**/*.txt"}, {"path": "out.txt"}), **settings)
    expected = sorted((f"in/{name}" for name in names if name.endswith(".txt")), key=lambda name: name.encode())
    assert thalweg.read("out.txt").decode().splitlines() == [name.removeprefix("in/") for name in expected]
    thalweg.ok(copy({"path": "in/a/*.txt"}, {"path": "out.txt"}))
    assert thalweg.read("out.txt") == b"a/10.txt\na/9.txt\na/b.txt\na/z.txt\n"


def test_a_list_of_paths(thalweg):
    for name in ("b", "a", "c"):
        thalweg.write(f"{name}.txt", f"{name}\n")
    thalweg.ok(copy({"path": ["c.txt", "[ab].txt"]}, {"path": "out.txt"}))
    assert thalweg.read("out.txt") == b"a\nb\nc\n"


def test_files_without_a_last_line_end_do_not_run_together(thalweg):
    for number in range(300):
        thalweg.write(f"in/{number:03}.txt", f"{number}")
    thalweg.ok(copy({"path": "in/*"}, {"path": "out.txt"}))
    assert thalweg.read("out.txt").decode().split() == [str(n) for n in range(300)]


def test_many_csv_files_each_with_its_header(thalweg, settings):
    for number in range(200):
        thalweg.write(f"in/{number:03}.csv", f"n,s\n{number},x\n" if number % 10 else "n,s\n")
    rows = thalweg.table(copy({"path": "in/*.csv"}, {"path": "out.csv"}), types=[int, str], **settings)
    assert rows == [(n, "x") for n in range(200) if n % 10]


def test_standard_input(thalweg):
    job = copy({"path": "-", "format": "lines"}, {"path": "out.txt"})
    result = thalweg.run(job, stdin=lines(100_000))
    assert result.exit == 0, result
    assert thalweg.read("out.txt") == lines(100_000)


def test_standard_input_compressed(thalweg):
    result = thalweg.run(copy({"path": "-", "format": "lines"}, {"path": "out.txt"}), stdin=gzip.compress(lines(50_000)))
    assert result.exit == 0, result
    assert thalweg.read("out.txt") == lines(50_000)


def test_stdout_in_a_pipe_is_csv(thalweg):
    thalweg.write("in.csv", "a,b\n1,x\n2,\n")
    result = thalweg.run({"source": {"file": {"path": "in.csv"}}, "sink": {"stdout": {}}}, json_output=False)
    assert result.exit == 0, result
    assert result.stdout == "a,b\n1,x\n2,\n"


def test_modes(thalweg):
    thalweg.write("in.txt", "new\n")
    thalweg.write("out.txt", "old\n")
    result = thalweg.run(copy({"path": "in.txt"}, {"path": "out.txt", "mode": "fail"}))
    assert result.exit in (1, 2) and "out.txt" in result.stderr + result.stdout, result
    assert thalweg.read("out.txt") == b"old\n"
    thalweg.ok(copy({"path": "in.txt"}, {"path": "out.txt", "mode": "append"}))
    assert thalweg.read("out.txt") == b"old\nnew\n"
    thalweg.ok(copy({"path": "in.txt"}, {"path": "out.txt", "mode": "replace"}))
    assert thalweg.read("out.txt") == b"new\n"
    thalweg.ok(copy({"path": "in.txt"}, {"path": "out.txt"}))
    assert thalweg.read("out.txt") == b"new\n"
    thalweg.ok(copy({"path": "in.txt"}, {"path": "fresh.txt", "mode": "fail"}))
    assert thalweg.read("fresh.txt") == b"new\n"


def test_append_to_csv_writes_no_second_header(thalweg):
    thalweg.write("in.csv", "a\n1\n")
    for _ in range(2):
        thalweg.ok(copy({"path": "in.csv"}, {"path": "out.csv", "mode": "append"}))
    assert thalweg.read("out.csv") == b"a\n1\n1\n"


def test_replace_keeps_the_permissions_and_leaves_nothing_beside(thalweg):
    thalweg.write("in.txt", "x\n")
    thalweg.ok(copy({"path": "in.txt"}, {"path": "new/folder/out.txt"}))
    assert sorted(p.name for p in (thalweg.folder / "new/folder").iterdir()) == ["out.txt"]
    assert (thalweg.folder / "new/folder/out.txt").stat().st_mode & 0o444 == 0o444


def test_a_folder_gets_parts_that_hold_all_rows_in_order(thalweg):
    content = lines(500_000)
    thalweg.write("in.txt", content)
    thalweg.ok(copy({"path": "in.txt"}, {"path": "out/", "format": "lines"}), run_parallelism=2)
    parts = sorted((thalweg.folder / "out").iterdir())
    assert parts and all(part.is_file() for part in parts)
    assert b"".join(part.read_bytes() for part in parts) == content


def test_parts_are_replaced_as_a_whole(thalweg):
    """Parts of an earlier, larger run do not stay among those of a later one."""
    thalweg.write("in.txt", lines(500_000))
    thalweg.ok(copy({"path": "in.txt"}, {"path": "out/"}), run_parallelism=4)
    thalweg.write("in.txt", lines(10))
    thalweg.ok(copy({"path": "in.txt"}, {"path": "out/"}), run_parallelism=1)
    assert b"".join(p.read_bytes() for p in sorted((thalweg.folder / "out").iterdir())) == lines(10)


def test_an_empty_file_and_an_empty_glob_result(thalweg):
    thalweg.write("empty.txt", "")
    thalweg.ok(copy({"path": "empty.txt"}, {"path": "out.txt"}))
    assert thalweg.read("out.txt") == b""
    result = thalweg.run(copy({"path": "nothing/*.txt"}, {"path": "out2.txt"}))
    assert result.exit in (1, 2), "a glob without a match is most likely a mistake"
    assert "nothing/*.txt" in result.stderr + result.stdout


def test_input_and_output_may_be_the_same_path(thalweg):
    """Outputs appear when the run is over, so a file can be replaced by its own result."""
    thalweg.write("in.txt", lines(100_000))
    thalweg.ok(copy({"path": "in.txt"}, {"path": "in.txt"}, [{"limit": 99_999}]))
    assert thalweg.read("in.txt") == lines(99_999)


def test_unknown_compression_is_text(thalweg):
    """Bytes of a bz2 file are no UTF-8 text: a bad record that names its place, not garbage."""
    thalweg.write("in.txt", bz2.compress(lines(1000)))
    result = thalweg.run(copy({"path": "in.txt", "format": "lines"}, {"path": "out.txt"}))
    assert result.exit == 1 and "UTF-8" in result.summary["error"], result


def test_csv_in_parts_has_a_header_each(thalweg):
    thalweg.write("in.csv", "n\n" + "".join(f"{n}\n" for n in range(300_000)))
    thalweg.ok(copy({"path": "in.csv"}, {"path": "out/", "format": "csv"}), run_parallelism=2)
    total = []
    for part in sorted((thalweg.folder / "out").iterdir()):
        header, rows = read_csv(part.read_bytes(), [int])
        assert header == ["n"]
        total += rows
    assert total == [(n,) for n in range(300_000)]
