"""Ending early: signals, kill -9, and what stays on the disk afterwards."""

import json
import os
import signal
import subprocess
import time

import pytest

SORT = {
    "source": {"file": {"path": "in.txt"}},
    "steps": [{"sort": ["line"]}],
    "sink": {"file": {"path": "out/result.txt"}},
    "run": {"memory": "32MiB", "spill": "spill", "parallelism": 2},
}


def large_input(thalweg, rows=3_000_000):
    with open(thalweg.folder / "in.txt", "w") as file:
        for n in range(rows):
            file.write(f"{n * 7919 % 10000019:012d} {'x' * 70}\n")
    (thalweg.folder / "spill").mkdir()
    (thalweg.folder / "out").mkdir()


def slow(rows=2_000_000):
    """A job that takes minutes of computing."""
    return {
        "source": {"generate": {"kind": "records", "rows": rows}},
        "steps": [{"busy": {"for": "1ms"}}],
        "sink": {"file": {"path": "out.dat", "format": "records"}},
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@pytest.mark.parametrize("after", [0.05, 0.5])
def test_a_signal_ends_a_job_within_a_second(thalweg, number, after):
    process = thalweg.start(slow(), run_parallelism=4)
    time.sleep(after)
    assert process.poll() is None
    sent = time.monotonic()
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=20)
    assert time.monotonic() - sent < 1.0
    assert process.returncode == 130, stderr
    summary = json.loads(stdout)
    assert summary["status"] == "interrupted"
    assert [p.name for p in thalweg.folder.iterdir()] == ["job.yaml"], "no output, whole or half"


@pytest.mark.parametrize("after", [0.2, 0.6, 1.2])
def test_a_signal_while_sorting_and_spilling(thalweg, after):
    large_input(thalweg)
    process = thalweg.start(SORT)
    time.sleep(after)
    running = process.poll() is None
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert time.monotonic() - sent < 1.0
    assert process.returncode == 130 if running else process.returncode in (0, 130)
    assert not list((thalweg.folder / "spill").iterdir())
    if process.returncode == 130:
        assert not list((thalweg.folder / "out").iterdir())


@pytest.mark.parametrize("after", [0.1, 0.4, 0.8, 1.2])
def test_kill_leaves_nothing_half_written(thalweg, after):
    large_input(thalweg)
    process = thalweg.start(SORT)
    time.sleep(after)
    process.kill()
    process.communicate(timeout=20)
    assert not list((thalweg.folder / "spill").iterdir()), "no spill file outlives the process"
    if process.returncode != 0:  # a fast machine may be done first
        assert not (thalweg.folder / "out/result.txt").exists()
    summary = thalweg.ok(SORT)
    assert summary["spilled_bytes"] > 0
    assert [p.name for p in (thalweg.folder / "out").iterdir()] == ["result.txt"]


def test_kill_keeps_the_earlier_output(thalweg):
    thalweg.write("out.dat", "earlier")
    process = thalweg.start(slow())
    time.sleep(0.5)
    process.kill()
    process.communicate(timeout=20)
    assert thalweg.read("out.dat") == b"earlier"


def test_a_spill_file_has_no_name(thalweg):
    """Looked at while the job runs: nothing to find in the folder, yet files are open in it."""
    large_input(thalweg)
    process = thalweg.start(SORT)
    seen_open = False
    while process.poll() is None:
        assert not list((thalweg.folder / "spill").iterdir())
        try:
            names = [os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{process.pid}/fd")]
        except OSError:
            continue
        seen_open |= any("/spill/" in name for name in names)
        time.sleep(0.01)
    process.communicate()
    assert process.returncode == 0 and seen_open


def test_an_interrupt_while_reading_a_pipe_that_is_silent(thalweg):
    """Nothing comes on standard input, so only the signal can end it."""
    reader, writer = os.pipe()
    arguments = thalweg.job_arguments({"source": {"file": {"path": "-", "format": "lines"}}, "sink": {"discard": {}}}, True, {})
    process = subprocess.Popen(thalweg.argv(*arguments), cwd=thalweg.folder, stdin=reader, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    os.close(reader)
    time.sleep(0.4)
    assert process.poll() is None
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    os.close(writer)
    assert time.monotonic() - sent < 1.0 and process.returncode == 130


def test_a_tiny_job_ends_at_once(thalweg):
    thalweg.write("in.csv", "a,b\n1,x\n2,y\n1,z\n")
    job = {
        "source": {"file": {"path": "in.csv"}},
        "steps": [{"group": {"by": ["a"], "aggregate": {"n": "count"}}}, {"sort": ["a"]}],
        "sink": {"file": {"path": "out.csv"}},
    }
    seconds = sorted(thalweg.run(job).seconds for _ in range(15))
    assert seconds[7] < 0.05, "median; the benchmark holds it to 10 ms on a quiet machine"


def hidden(folder):
    return sorted(p.name for p in folder.iterdir() if "thalweg" in p.name)


def test_kill_leaves_no_dead_letters_under_any_name(thalweg):
    """Half of the records are bad, and the run is slow: killed in the middle, it must leave what was there."""
    thalweg.write("in.csv", "a\n" + "1\nx\n" * 100_000)
    thalweg.write("bad.jsonl", "earlier")
    job = {"source": {"file": {"path": "in.csv", "columns": {"a": "int64"}}}, "steps": [{"busy": {"for": "1ms"}}],
           "sink": {"file": {"path": "out.csv"}}, "run": {"on_bad_record": {"dead_letter": "bad.jsonl"}}}
    process = thalweg.start(job)
    time.sleep(0.5)
    names = hidden(thalweg.folder)
    assert process.poll() is None
    process.kill()
    process.communicate(timeout=20)
    assert not names and not hidden(thalweg.folder)
    assert thalweg.read("bad.jsonl") == b"earlier" and not (thalweg.folder / "out.csv").exists()
    job["steps"] = []
    assert thalweg.ok(job)["bad_records"] == 100_000
    assert thalweg.read("bad.jsonl").count(b"\n") == 100_000 and not hidden(thalweg.folder)


def test_dead_letters_go_to_a_device_and_through_a_link(thalweg):
    thalweg.write("in.csv", "a\n1\nx\n")
    job = {"source": {"file": {"path": "in.csv", "columns": {"a": "int64"}}}, "sink": {"discard": {}},
           "run": {"on_bad_record": {"dead_letter": "/dev/null"}}}
    assert thalweg.ok(job)["bad_records"] == 1
    assert not os.path.isfile("/dev/null")
    thalweg.write("old", "old")
    os.symlink("old", thalweg.folder / "link")
    job["run"]["on_bad_record"]["dead_letter"] = "link"
    thalweg.ok(job)
    assert (thalweg.folder / "link").is_symlink() and b"data" in thalweg.read("old")
    for path in ("folder", "missing/bad.jsonl"):
        (thalweg.folder / "folder").mkdir(exist_ok=True)
        job["run"]["on_bad_record"]["dead_letter"] = path
        result = thalweg.run(job)
        assert result.exit == 1 and "dead letters" in result.stderr + result.stdout, result
