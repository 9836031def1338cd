"""dedupe against an independent computation: by event time in endless and bounded flows, through stops and kills."""

import csv
import json
import math
import random
import time

import pytest

from test_checkpoint import stop, values_of
from test_window import events, micros, parts, run_endless


def expected(rows, within, lateness=0, live=True):
    """The rows that are let through, and how many are late."""
    kept, seen, late, greatest = [], {}, 0, -math.inf
    for t, key, value in rows:
        if live and t + within <= greatest - lateness:
            late += 1
        elif all(abs(t - other) >= within for other in seen.setdefault(key, [])):
            seen[key].append(t)
            kept.append((t, key, value))
        greatest = max(greatest, t)
    return kept, late


def result_of(folder):
    return [(micros(r["ts"]), int(r["key"]), float(r["value"])) for file in parts(folder) for r in csv.DictReader(file)]


def job(dedupe, **generate):
    return {
        "source": {"generate": {"kind": "events", "keys": 7, "interval": "1ms", "out_of_order": 0.3, "delay": "2s", "seed": 1, **generate}},
        "steps": [{"dedupe": {"on": "key", "time": "ts", **dedupe}}],
        "sink": {"file": {"path": "out.csv/"}},
    }


SHAPES = [
    ({"within": "100ms", "lateness": "500ms"}, 100_000, 500_000),
    ({"within": "1s"}, 1_000_000, 0),
    ({"within": "20ms"}, 20_000, 0),
    ({"within": "20us", "lateness": "3s"}, 20, 3_000_000),
]
IDS = ["100ms", "1s", "20ms", "20us"]


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
@pytest.mark.parametrize("options", [{}, {"run_parallelism": 8, "run_batch_rows": 5}], ids=["", "8"])
def test_an_endless_flow(thalweg, shape, options):
    dedupe, within, lateness = shape
    summary = run_endless(thalweg, job(dedupe, rate="20000/s"), **options)
    kept, late = expected(events(thalweg, summary["rows_in"]), within, lateness)
    assert summary["late_records"] == late
    assert (late > 0) == (lateness < 2_000_000 and within < 1_000_000 or within == 1_000_000)
    assert sorted(result_of(thalweg.folder / "out.csv")) == sorted(kept)


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_a_bounded_flow(thalweg, shape, settings):
    dedupe, within, _ = shape
    result = thalweg.run(job(dedupe, rows=5000), **settings)
    assert result.exit == 0, result
    assert result.summary["late_records"] == 0
    assert result_of(thalweg.folder / "out.csv") == expected(events(thalweg, 5000), within, live=False)[0]


def test_a_bounded_flow_without_a_time_has_arrived_at_once(thalweg, settings):
    draw = random.Random(5)
    words = [draw.choice(["", "a", "b" * 40, "b" * 41, "c"]) + str(draw.randrange(300)) for _ in range(5000)]
    thalweg.write("in.csv", "w,n\n" + "".join(f"{w},{i}\n" for i, w in enumerate(words)))
    flow = {"source": {"file": {"path": "in.csv"}}, "steps": [{"dedupe": {"on": ["w"], "within": "1us"}}], "sink": {"file": {"path": "out.csv"}}}
    result = thalweg.run(flow, **settings)
    assert result.exit == 0, result
    first = {}
    for i, w in enumerate(words):
        first.setdefault(w, i)
    with open(thalweg.folder / "out.csv") as file:
        assert [(r["w"], int(r["n"])) for r in csv.DictReader(file)] == list(first.items())


def test_keys_of_any_type(thalweg, settings):
    draw = random.Random(6)
    values = [None, -0.0, 0.0, 1.5]
    rows = [{"l": [draw.randrange(3) for _ in range(draw.randrange(3))], "x": draw.choice(values), "n": i} for i in range(3000)]
    thalweg.write("in.json", "".join(json.dumps(r) + "\n" for r in rows))
    flow = {"source": {"file": {"path": "in.json", "columns": {"l": "list<int64>", "x": "float64", "n": "int64"}}},
            "steps": [{"dedupe": {"on": ["l", "x"], "within": "1us"}}], "sink": {"file": {"path": "out.json"}}}
    result = thalweg.run(flow, **settings)
    assert result.exit == 0, result
    first = {}
    for r in rows:
        first.setdefault((tuple(r["l"]), None if r["x"] is None else r["x"] + 0.0), r["n"])
    found = [json.loads(line)["n"] for line in (thalweg.folder / "out.json").read_text().splitlines()]
    assert found == sorted(first.values())


def test_by_the_time_of_arrival(thalweg):
    flow = job({}, rate="1000/s")
    flow["steps"] = [{"dedupe": {"on": ["key"], "within": "300ms"}}]
    run_endless(thalweg, flow, seconds=1.2)
    counts = {}
    for _, key, _ in result_of(thalweg.folder / "out.csv"):
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 7 and all(2 <= n <= 8 for n in counts.values()), counts


@pytest.mark.sanitized
@pytest.mark.parametrize("killed", [False, True])
def test_over_stops_and_kills(thalweg, killed):
    draw = random.Random(3)
    flow = job({"within": "100ms", "lateness": "500ms"}, rate="20000/s")
    flow["run"] = {"checkpoint": {"dir": "state", "every": "20ms"}}
    for n in range(8):
        process = thalweg.start(flow, run_parallelism=1 + n % 3)
        time.sleep(draw.uniform(0.05, 0.4))
        if killed and n < 7:
            process.kill()
            process.communicate()
        else:
            time.sleep(0.2)
            stop(process)
    rows = events(thalweg, int(values_of(thalweg, "generate#0")["rows"]))
    assert len(rows) > 10000
    assert sorted(result_of(thalweg.folder / "out.csv")) == sorted(expected(rows, 100_000, 500_000)[0])


def test_old_rows_are_forgotten(thalweg):
    flow = job({"within": "100ms"}, rate="3000000/s", keys=10000000, out_of_order=0, interval="1us")
    flow["sink"] = "discard"
    summary = run_endless(thalweg, flow, seconds=3, run_memory="64MiB")
    assert summary["rows_in"] > 2_000_000


def test_too_much_to_remember(thalweg):
    flow = job({"within": "1h"}, rows=3000000, keys=10000000)
    flow["sink"] = "discard"
    result = thalweg.run(flow, run_memory="32MiB")
    assert result.exit == 1, result
    assert "dedupe remembers" in result.stderr and "'within' is too long" in result.stderr


def test_rows_without_a_time_are_bad(thalweg):
    thalweg.write("in.csv", "ts,k\n2026-01-01T00:00:00Z,1\n,1\n2026-01-01T00:00:00Z,1\n,2\n")
    flow = {"source": {"file": {"path": "in.csv", "columns": {"ts": "timestamp", "k": "int64"}}},
            "steps": [{"dedupe": {"on": ["k"], "within": "1s", "time": "ts"}}], "sink": {"file": {"path": "out.csv"}}}
    result = thalweg.run(flow)
    assert result.exit == 1 and "dedupe: the time is null" in result.stderr
    result = thalweg.run(flow, run_on_bad_record="skip")
    assert result.exit == 0 and result.summary["bad_records"] == 2 and result.summary["rows_out"] == 1
    flow["steps"].append({"limit": 1})
    assert thalweg.run(flow).exit == 0


@pytest.mark.parametrize("dedupe, message", [
    ({"within": "1s", "time": "value"}, "'value' is no timestamp"),
    ({"within": "1s", "time": "t"}, "unknown column 't'"),
    ({"within": "1s", "on": ["x"]}, "unknown column 'x'"),
    ({}, "within"),
])
def test_wrong_jobs(thalweg, dedupe, message):
    flow = job({}, rate="100/s")
    flow["steps"] = [{"dedupe": dedupe}]
    result = thalweg.run(flow)
    assert result.exit == 2
    assert any(message in e for e in result.errors), result


def test_a_changed_span_is_told(thalweg):
    flow = job({"within": "1s"}, rate="1000/s")
    flow["run"] = {"checkpoint": {"dir": "state", "every": "20ms"}}
    process = thalweg.start(flow)
    time.sleep(0.4)
    stop(process)
    flow["steps"][0]["dedupe"]["within"] = "2s"
    result = thalweg.run(flow)
    assert result.exit == 2
    assert 'was "on key int64; within 1 s of ts, lateness 0 s" and is "on key int64; within 2 s of ts, lateness 0 s" now' in result.stderr, result


def test_explain_says_that_it_must_fit(thalweg):
    thalweg.write("job.yaml", json.dumps(job({"within": "10m"}, rows=100)))
    told = thalweg.command("explain", "job.yaml")
    assert told.exit == 0
    assert "move into dedupe (in row order, remembers keys for 600 s of event time)" in told.stdout
    assert "what a step remembers must fit" in told.stdout
