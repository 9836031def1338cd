"""Endless flows that are stopped, killed and gone on with: the parts of all runs together are what one run without a
fault would have given."""

import csv
import json
import random
import shutil
import signal
import subprocess
import time

import pytest

from test_window import distinct_of, events, expected, first_rows, micros, parts

WINDOW = {"sliding": {"size": "800ms", "every": "300ms"}, "lateness": "200ms"}
SHAPE = (800_000, 300_000, 200_000)


def job(rate="20000/s", window=WINDOW, every="50ms", **generate):
    return {
        "source": {"generate": {"kind": "events", "keys": 7, "interval": "1ms", "out_of_order": 0.3, "delay": "2s", "seed": 1,
                                "rate": rate, **generate}},
        "steps": [{"window": {"time": "ts", **window}},
                  {"group": {"by": ["key"], "aggregate": {"n": "count", "s": "sum(value)", "d": "count_distinct(value)"}}}],
        "sink": {"file": {"path": "out.csv/"}},
        "run": {"checkpoint": {"dir": "state", "every": every}},
    }


def start(thalweg, flow, **options):
    return thalweg.start(flow, **options)


def stop(process):
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    return json.loads(stdout)


def manifest(thalweg):
    newest = max((thalweg.folder / "state").glob("*.json"))
    text = newest.read_text()
    return json.loads("\n".join(line for line in text.splitlines() if not line.startswith("#")))


def rows_saved(thalweg):
    """How many rows the newest checkpoint knows of; it may be taken away while it is looked at."""
    for path in sorted((thalweg.folder / "state").glob("*.json"), reverse=True):
        try:
            parts = json.loads(path.read_text().rsplit("#", 1)[0])["parts"]
            return int(next(p["values"]["rows"] for p in parts if "generate" in p["id"]))
        except FileNotFoundError:
            pass
    return 0


def wait_for_rows(thalweg, process, more=4000):
    """Until checkpoints know of so many more rows."""
    least = rows_saved(thalweg) + more
    end = time.monotonic() + 60
    while rows_saved(thalweg) < least:
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.02)


def stops_and_kills(thalweg, flow, draw, turns):
    """Killed twice at random moments, then told to stop, and so on; goes on with the test after each stop."""
    for n in range(turns):
        process = thalweg.start(flow, run_parallelism=draw.choice([1, 2, 8]), run_memory=draw.choice(["32MiB", "1GiB"]))
        if n % 3 < 2:
            time.sleep(draw.uniform(0.05, 0.4))
            process.kill()
            process.communicate()
        else:
            wait_for_rows(thalweg, process)
            stop(process)
            yield


def values_of(thalweg, part):
    return next(p["values"] for p in manifest(thalweg)["parts"] if p["id"].endswith(part))


def result_of(folder):
    found = {}
    for file in parts(folder):
        for r in csv.DictReader(file):
            at = (micros(r["window_start"]), int(r["key"]))
            assert at not in found, f"the window {at} came twice"
            found[at] = (int(r["n"]), float(r["s"]), int(r["d"]))
    return found


def check(thalweg):
    """Every window that the last watermark has passed is there once and right, and no other."""
    rows = int(values_of(thalweg, "generate#0")["rows"])
    watermark = int(values_of(thalweg, "group#0")["watermark"])
    data = events(thalweg, rows)
    groups, _ = expected(data, *SHAPE, live=True)
    closed = {k: v for k, v in groups.items() if k[0] + SHAPE[0] <= watermark}
    found = result_of(thalweg.folder / "out.csv")
    assert {k: v[0] for k, v in found.items()} == {k: v[0] for k, v in closed.items()}
    for k, v in found.items():
        assert v[1] == pytest.approx(closed[k][1], rel=1e-9)
        assert v[2] <= v[0]
    assert len(closed) > 7
    return rows


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("options", [{}, {"run_parallelism": 8, "run_batch_rows": 5}], ids=["", "8"])
def test_stopped_and_gone_on_with(thalweg, options):
    flow = job()
    before = 0
    for n in range(3):
        process = start(thalweg, flow, **options)
        wait_for_rows(thalweg, process)
        stop(process)
        rows = check(thalweg)
        assert rows > before
        before = rows


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(thalweg, seed):
    draw = random.Random(seed)
    print("seed", seed)
    flow = job(every="20ms")
    for n in range(12):
        process = start(thalweg, flow, run_parallelism=draw.choice([1, 2, 8]), run_memory=draw.choice(["32MiB", "1GiB"]))
        time.sleep(draw.uniform(0.03, 0.5))
        process.kill()
        process.communicate()
        if n % 4 == 3:
            process = start(thalweg, flow)
            wait_for_rows(thalweg, process)
            stop(process)
            check(thalweg)


@pytest.mark.sanitized
@pytest.mark.parametrize("killed", [False, True])
def test_distinct_rows_of_windows_over_stops(thalweg, killed):
    flow = job(every="20ms")
    flow["steps"][1] = {"distinct": ["key"]}
    for n in range(6):
        process = start(thalweg, flow, run_parallelism=1 + n % 3)
        time.sleep(0.3)
        if killed and n < 5:
            process.kill()
            process.communicate()
        else:
            stop(process)
    watermark = int(values_of(thalweg, "distinct#0")["watermark"])
    first = first_rows(events(thalweg, int(values_of(thalweg, "generate#0")["rows"])), *SHAPE, live=True)
    assert distinct_of(thalweg.folder / "out.csv") == {k: v for k, v in first.items() if k[0] + SHAPE[0] <= watermark}


def test_text_goes_on_in_the_middle_of_a_chunk(thalweg):
    flow = {
        "source": {"generate": {"kind": "text", "rate": "30000/s", "seed": 3, "ordered": "all"}},
        "sink": {"file": {"path": "out.txt/"}},
        "run": {"checkpoint": {"dir": "state", "every": "50ms"}},
    }
    for n in range(4):
        process = start(thalweg, flow)
        wait_for_rows(thalweg, process)
        if n == 1:
            process.kill()
            process.communicate()
        else:
            stop(process)
    lines = [line for file in parts(thalweg.folder / "out.txt") for line in file]
    result = thalweg.command("generate", "text", "--bytes", "20MB", "--seed", "3", "-o", "-")
    assert lines == result.stdout.splitlines(keepends=True)[: len(lines)]
    assert len(lines) == int(values_of(thalweg, "generate#0")["rows"]) > 12000


def begun(thalweg, flow=None):
    process = start(thalweg, flow or job())
    wait_for_rows(thalweg, process)
    stop(process)


@pytest.mark.parametrize("change, message", [
    (lambda f: f["steps"][0]["window"].update(lateness="1s"), 'was "lateness 0.2 s" and is "lateness 1 s" now'),
    (lambda f: f["steps"][1]["group"]["aggregate"].update(m="max(value)"), "d count_distinct(float64), m max(float64)\" now"),
    (lambda f: f["source"]["generate"].update(seed=2), "seed 2"),
    (lambda f: f["steps"].pop(), "'main/group#0', which is gone"),
])
def test_a_changed_job_is_told_what_changed(thalweg, change, message):
    begun(thalweg)
    flow = job()
    change(flow)
    before = sorted(p.name for p in (thalweg.folder / "out.csv").iterdir())
    result = thalweg.run(flow)
    assert result.exit == 2, result
    assert message in result.stderr and "deleting the checkpoints" in result.stderr
    assert sorted(p.name for p in (thalweg.folder / "out.csv").iterdir()) == before


def test_a_changed_rate_or_parallelism_is_no_other_job(thalweg):
    begun(thalweg)
    process = start(thalweg, job(rate="5000/s"), run_parallelism=5)
    wait_for_rows(thalweg, process, 1000)
    stop(process)
    check(thalweg)


@pytest.mark.parametrize("damage", ["cut", "flip", "rows", "empty"])
def test_a_torn_checkpoint_is_refused(thalweg, damage):
    begun(thalweg)
    newest = max((thalweg.folder / "state").glob("*.json"))
    text = newest.read_bytes()
    if damage == "cut":
        newest.write_bytes(text[: len(text) // 2])
    elif damage == "flip":
        newest.write_bytes(text.replace(b'"watermark"', b'"watermarl"'))
    elif damage == "empty":
        newest.write_bytes(b"")
    else:
        rows = newest.with_suffix(".rows")
        data = bytearray(rows.read_bytes())
        data[100] ^= 1
        rows.write_bytes(data)
    result = thalweg.run(job())
    assert result.exit == 1, result
    assert "damaged" in result.stderr and newest.stem in result.stderr


def test_a_table_that_each_run_reads_again_is_told(thalweg):
    thalweg.write("table.csv", "ts,key,value\n2024-01-01T00:00:00Z,99,0.5\n")
    flow = {"flows": {"table": {"source": {"file": {"path": "table.csv", "columns": {"ts": "timestamp", "key": "int64", "value": "float64"}}}},
                      "main": {**job(), "steps": [{"union": {"with": ["table"]}}]}}}
    flow["run"] = flow["flows"]["main"].pop("run")
    thalweg.write("job.yaml", json.dumps(flow))
    assert "each row takes effect at least once (because of file)" in thalweg.command("explain", "job.yaml").stdout
    told = thalweg.command("check", "job.yaml", "--set", "run.guarantee=exactly_once")
    assert told.exit == 2 and "can hold at_least_once, not exactly_once: because of file" in told.stderr


def test_one_run_at_a_time_fills_a_folder(thalweg):
    process = start(thalweg, job())
    wait_for_rows(thalweg, process)
    other = shutil.copytree(thalweg.folder, thalweg.folder / "other", ignore=shutil.ignore_patterns("state", "out.csv", "other"))
    flow = job()
    flow["sink"]["file"]["path"] = str(thalweg.folder / "out.csv") + "/"
    (other / "job.yaml").write_text(json.dumps(flow))
    second = subprocess.run(thalweg.argv("run", "job.yaml"), cwd=other, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1 and "another run is writing there" in second.stderr
    stop(process)
    check(thalweg)


def test_a_full_disk_for_checkpoints_ends_the_run(thalweg):
    import resource

    flow = job(keys=100000, rate="200000/s", window={"tumbling": "1h"})  # no output, a large state
    thalweg.write("job.yaml", json.dumps(flow))
    process = subprocess.Popen(thalweg.argv("run", "job.yaml"), cwd=thalweg.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000)))
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1
    assert b"checkpoint file state/" in stderr and b"File too large" in stderr
    assert not list((thalweg.folder / "state").glob("*.tmp"))


def test_the_command(thalweg):
    def command(*words):
        return thalweg.command("checkpoint", *words)

    assert command("list", "state").stdout == "no checkpoints\n"
    assert command("inspect", "state").exit == 1
    begun(thalweg)
    listed = command("list", "state")
    assert listed.exit == 0 and len(listed.stdout.splitlines()) == 2 and "parts  job" in listed.stdout
    newest, older = (line.split()[0] for line in listed.stdout.splitlines())
    assert int(newest) == int(older) + 1
    shown = command("inspect", "state").stdout
    assert shown.startswith(f"checkpoint {newest} of job") and "main/group#0  windows of 0.8 s; by key int64; n count()" in shown
    assert "partitions: 1" in shown and "states" in shown
    assert command("inspect", "state", older).stdout.startswith(f"checkpoint {older} of job")
    assert command("verify", "state").stdout == "whole\n"
    rows = max((thalweg.folder / "state").glob("*.rows"))
    data = bytearray(rows.read_bytes())
    data[70] ^= 1
    rows.write_bytes(data)
    assert command("verify", "state").exit == 1
    assert command("delete", "state").exit == 2
    assert command("delete", "state", newest).exit == 0
    assert command("verify", "state").stdout == "whole\n", "the one before"
    assert command("delete", "state", "--all").exit == 0
    assert command("list", "state").stdout == "no checkpoints\n"
    for wrong in (["remove", "state"], ["list"], ["inspect", "state", "x"], ["list", "state", "1", "2"]):
        assert command(*wrong).exit == 2
