"""Windows of event time against an independent computation: endless flows that are stopped, and bounded ones."""

import csv
import io
import json
import math
import signal
import subprocess
import time
from collections import defaultdict
from datetime import datetime, timezone

import pytest

MICROS = 1_000_000
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
INTERVAL = 1000  # microseconds of event time between rows


def micros(text):
    t = datetime.fromisoformat(text.replace("Z", "+00:00"))
    d = t - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (d.days * 86400 + d.seconds) * MICROS + d.microseconds


def events(thalweg, rows, out_of_order=0.3, delay="2s", seed=1, keys=7, interval="1ms"):
    result = thalweg.command("generate", "events", "--rows", rows, "--keys", keys, "--out-of-order", out_of_order, "--delay", delay,
                             "--interval", interval, "--seed", seed, "-o", "-")
    assert result.exit == 0, result
    return [(micros(r["ts"]), int(r["key"]), float(r["value"])) for r in csv.DictReader(io.StringIO(result.stdout))]


def windows_of(t, size, every):
    start = t // every * every
    while start + size > t:
        yield start
        start -= every


def expected(rows, size, every, lateness, live):
    """{(start, key): [count, sum]} and how many rows were late."""
    groups, late, greatest = defaultdict(lambda: [0, 0.0]), 0, -math.inf
    for t, key, value in rows:
        watermark = greatest - lateness if live else -math.inf
        if t // every * every + size <= watermark:
            late += 1
        for start in windows_of(t, size, every):
            if start + size > watermark:
                g = groups[start, key]
                g[0] += 1
                g[1] += value
        greatest = max(greatest, t)
    return groups, late


def parts(folder):
    assert not list(folder.glob(".*")), "nothing hidden is left"
    for path in sorted(folder.glob("part-*")):
        with open(path) as file:
            yield file


def result_of(folder):
    rows = [row for file in parts(folder) for row in csv.DictReader(file)]
    found = {}
    for r in rows:
        at = (micros(r["window_start"]), int(r["key"]))
        assert at not in found, f"the window {at} came twice"
        found[at] = [int(r["n"]), float(r["s"])]
    return found


def check(found, groups):
    assert {k: v[0] for k, v in found.items()} == {k: v[0] for k, v in groups.items()}
    for k, v in found.items():
        assert v[1] == pytest.approx(groups[k][1], rel=1e-9)


def job(window, **generate):
    return {
        "source": {"generate": {"kind": "events", "keys": 7, "interval": "1ms", "out_of_order": 0.3, "delay": "2s", "seed": 1, **generate}},
        "steps": [{"window": {"time": "ts", **window}}, {"group": {"by": ["key"], "aggregate": {"n": "count", "s": "sum(value)"}}}],
        "sink": {"file": {"path": "out.csv/"}},
    }


SHAPES = [
    ({"tumbling": "1s", "lateness": "500ms"}, 1_000_000, 1_000_000, 500_000),
    ({"tumbling": "700ms"}, 700_000, 700_000, 0),
    ({"sliding": {"size": "800ms", "every": "300ms"}, "lateness": "200ms"}, 800_000, 300_000, 200_000),
]


def run_endless(thalweg, flow, seconds=1.0, **options):
    process = thalweg.start(flow, **options)
    time.sleep(seconds)
    assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    summary = json.loads(stdout)
    assert summary["status"] == "done"
    return summary


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("shape", SHAPES, ids=["tumbling", "in-order", "sliding"])
@pytest.mark.parametrize("options", [{}, {"run_parallelism": 1}, {"run_parallelism": 8, "run_batch_rows": 5}], ids=["", "1", "8"])
def test_an_endless_flow_that_is_stopped(thalweg, shape, options):
    window, size, every, lateness = shape
    summary = run_endless(thalweg, job(window, rate="20000/s"), **options)
    rows = events(thalweg, summary["rows_in"])
    groups, late = expected(rows, size, every, lateness, live=True)
    assert late > 0
    assert summary["late_records"] == late
    check(result_of(thalweg.folder / "out.csv"), groups)


@pytest.mark.parametrize("shape", SHAPES, ids=["tumbling", "in-order", "sliding"])
def test_nothing_is_late_in_a_bounded_flow(thalweg, shape):
    window, size, every, lateness = shape
    result = thalweg.run(job(window, rows=20000))
    assert result.exit == 0, result
    assert result.summary["late_records"] == 0
    groups, _ = expected(events(thalweg, 20000), size, every, lateness, live=False)
    check(result_of(thalweg.folder / "out.csv"), groups)


def test_every_aggregate_of_a_window(thalweg):
    flow = job({"tumbling": "1s", "lateness": "2s"}, rate="20000/s")
    flow["steps"][1]["group"] = {"by": ["window_end", "key"],
                                 "aggregate": {"d": "count_distinct(value)", "f": "first(value)", "l": "last(value)", "n": "count",
                                               "s": "sum(value)", "c": "collect(value)"}}
    flow["sink"] = {"file": {"path": "out.json/"}}
    summary = run_endless(thalweg, flow)
    rows = events(thalweg, summary["rows_in"])
    assert summary["late_records"] == 0
    groups = defaultdict(list)
    for t, key, value in rows:
        groups[t // MICROS * MICROS + MICROS, key].append(value)
    found = [json.loads(line) for file in parts(thalweg.folder / "out.json") for line in file]
    assert list(found[0])[:3] == ["window_end", "key", "window_start"]
    assert {(micros(r["window_end"]), r["key"]): r["c"] for r in found} == groups
    for r in found:
        values = groups[micros(r["window_end"]), r["key"]]
        assert (r["d"], r["f"], r["l"], r["n"]) == (len(set(values)), values[0], values[-1], len(values))


def first_rows(rows, size, every, lateness, live):
    """The first row of each key in each window that took it."""
    found, greatest = {}, -math.inf
    for t, key, value in rows:
        watermark = greatest - lateness if live else -math.inf
        for start in windows_of(t, size, every):
            if start + size > watermark:
                found.setdefault((start, key), (t, value))
        greatest = max(greatest, t)
    return found


def distinct_of(folder):
    rows = [r for file in parts(folder) for r in csv.DictReader(file)]
    assert list(rows[0]) == ["ts", "key", "value", "window_start", "window_end"]
    found = {(micros(r["window_start"]), int(r["key"])): (micros(r["ts"]), float(r["value"])) for r in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("shape", SHAPES, ids=["tumbling", "in-order", "sliding"])
@pytest.mark.parametrize("options", [{}, {"run_parallelism": 8, "run_batch_rows": 5}], ids=["", "8"])
def test_distinct_rows_of_each_window(thalweg, shape, options):
    window, size, every, lateness = shape
    flow = job(window, rate="20000/s")
    flow["steps"][1] = {"distinct": ["key"]}
    summary = run_endless(thalweg, flow, **options)
    assert distinct_of(thalweg.folder / "out.csv") == first_rows(events(thalweg, summary["rows_in"]), size, every, lateness, live=True)


@pytest.mark.parametrize("shape", SHAPES, ids=["tumbling", "in-order", "sliding"])
def test_distinct_rows_of_each_window_of_a_bounded_flow(thalweg, shape):
    window, size, every, lateness = shape
    flow = job(window, rows=20000)
    flow["steps"][1] = {"distinct": ["key"]}
    assert thalweg.run(flow).exit == 0
    assert distinct_of(thalweg.folder / "out.csv") == first_rows(events(thalweg, 20000), size, every, lateness, live=False)


@pytest.mark.parametrize("generate", [{"rows": 20000}, {"rate": "20000/s"}], ids=["bounded", "endless"])
def test_the_window_goes_on_behind_distinct(thalweg, generate):
    flow = job({"tumbling": "700ms"}, out_of_order=0, **generate)
    flow["steps"] = [flow["steps"][0], {"distinct": ["key", "window_end"]}, {"group": {"by": [], "aggregate": {"n": "count"}}}]
    n = run_endless(thalweg, flow)["rows_in"] if "rate" in generate else thalweg.run(flow).summary["rows_in"]
    keys = defaultdict(set)
    for t, key, _ in events(thalweg, n, out_of_order=0):
        keys[t // 700_000 * 700_000].add(key)
    found = {micros(r["window_start"]): int(r["n"]) for file in parts(thalweg.folder / "out.csv") for r in csv.DictReader(file)}
    assert found == {start: len(k) for start, k in keys.items()}


def test_windows_are_given_while_the_flow_runs(thalweg):
    flow = job({"tumbling": "100ms"}, rate="5000/s", out_of_order=0)
    flow["sink"] = "stdout"
    thalweg.write("job.yaml", json.dumps(flow))
    process = subprocess.Popen(thalweg.argv("run", "job.yaml", "-q"), cwd=thalweg.folder, stdout=subprocess.PIPE)
    line = process.stdout.readline()
    assert line.startswith(b"key,window_start")
    start = time.monotonic()
    assert process.stdout.readline()
    assert time.monotonic() - start < 2
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)


def test_a_second_signal_interrupts(thalweg):
    flow = job({"tumbling": "100ms"}, rate="1000/s")
    flow["steps"].insert(0, {"busy": {"for": "10s"}})
    process = thalweg.start(flow)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert process.poll() is None, "it waits for what it has taken"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=15)
    assert process.returncode == 130
    assert not list((thalweg.folder / "out.csv").glob("*")), "nothing, whole or half"


@pytest.mark.parametrize("steps, message", [
    (["distinct"], "distinct needs all rows, and what comes before it never ends"),
    ([{"sort": ["ts"]}], "sort needs all rows"),
    ([{"group": {"by": ["key"], "aggregate": {"n": "count"}}}], "group needs all rows"),
    ([{"window": {"time": "value", "tumbling": "1s"}}], "'value' is no timestamp"),
    ([{"window": {"time": "ts"}}], "one of tumbling, sliding and session"),
    ([{"window": {"time": "ts", "sliding": {"size": "1s", "every": "2s"}}}], "every is more than size"),
    ([{"window": {"time": "ts", "tumbling": "1s"}}, {"select": ["key"]}, "distinct"], "the window's column window_start is gone"),
    ([{"window": {"time": "ts", "tumbling": "1s"}}, {"window": {"time": "ts", "tumbling": "1s"}}], "there is a window already"),
])
def test_wrong_jobs(thalweg, steps, message):
    flow = job({"tumbling": "1s"}, rate="100/s")
    flow["steps"] = steps
    flow["sink"] = {"file": {"path": "out.csv/"}}
    result = thalweg.run(flow)
    assert result.exit == 2
    assert any(message in e for e in result.errors), result


@pytest.mark.parametrize("between", [{"sort": ["-value"]}, {"filter": "value >= 0"}, {"limit": 20000}], ids=["sort", "filter", "limit"])
def test_a_window_lasts_until_the_group(thalweg, between):
    flow = job({"tumbling": "1s"}, rows=20000)
    flow["steps"].insert(1, between)
    assert thalweg.run(flow).exit == 0
    groups, _ = expected(events(thalweg, 20000), MICROS, MICROS, 0, live=False)
    check(result_of(thalweg.folder / "out.csv"), groups)


def test_a_group_by_the_window_alone(thalweg):
    flow = job({"tumbling": "1s"}, rows=20000)
    flow["steps"][1] = {"group": {"by": []}}
    assert thalweg.run(flow).exit == 0
    found = [row for file in parts(thalweg.folder / "out.csv") for row in csv.DictReader(file)]
    assert sorted(micros(r["window_end"]) for r in found) == sorted({t // MICROS * MICROS + MICROS for t, _, _ in events(thalweg, 20000)})


def enriched(how="left", **generate):
    return {"flows": {
        "names": {"source": {"file": {"path": "names.csv"}}},
        "events": {
            "source": {"generate": {"kind": "events", "keys": 7, "interval": "1ms", "seed": 1, "rate": "20000/s", **generate}},
            "steps": [{"join": {"with": "names", "on": ["key"], "how": how}}, {"window": {"time": "ts", "tumbling": "1s"}},
                      {"group": {"by": ["name"], "aggregate": {"n": "count"}}}],
            "sink": {"file": {"path": "out.csv/"}}},
    }}


@pytest.mark.sanitized
def test_events_meet_a_table(thalweg):
    thalweg.write("names.csv", "key,name\n0,zero\n1,one\n2,two\n3,three\n3,drei\n")
    summary = run_endless(thalweg, enriched())
    expected_rows = defaultdict(int)
    for t, key, _ in events(thalweg, summary["rows_in"] - 5, out_of_order=0):
        for name in {0: ["zero"], 1: ["one"], 2: ["two"], 3: ["three", "drei"]}.get(key, [""]):
            expected_rows[t // MICROS * MICROS, name] += 1
    found = {(micros(r["window_start"]), r["name"]): int(r["n"]) for file in parts(thalweg.folder / "out.csv") for r in csv.DictReader(file)}
    assert found == expected_rows


def test_a_table_must_fit_when_the_flow_never_ends(thalweg):
    with open(thalweg.folder / "names.csv", "w") as file:
        file.write("key,name\n")
        for n in range(600_000):
            file.write(f"{n},{'x' * 60}{n}\n")
    result = thalweg.run(enriched(), run_memory="32MiB")
    assert result.exit == 1
    assert "the right side of a join must fit in memory" in result.stderr


@pytest.mark.parametrize("how", ["right", "full"])
def test_an_endless_flow_has_no_rows_without_a_partner(thalweg, how):
    thalweg.write("names.csv", "key,name\n0,zero\n")
    result = thalweg.run(enriched(how))
    assert result.exit == 2 and "known at the end only" in result.stderr, result
