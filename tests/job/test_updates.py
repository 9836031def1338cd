"""Running results of endless flows without windows: the newest row of each group is what all rows so far give."""

import csv
import json
import random
from collections import defaultdict

import pytest

from harness import seed_of
from live import wait_until
from test_checkpoint import stop, stops_and_kills, values_of, wait_for_rows
from test_window import events, parts, run_endless

AGGREGATES = {"n": "count", "s": "sum(value)", "d": "count_distinct(bucket)", "f": "first(value)", "l": "last(value)",
              "hi": "max(value)", "c": "count(bucket)", "q": "quantile(bucket, 0.5)"}


def bucket(value):
    return int(abs(value) * 1000) % 5


def job(updates="50ms", by=("key",), **generate):
    return {
        "source": {"generate": {"kind": "events", "keys": 7, "interval": "1ms", "out_of_order": 0.3, "delay": "2s", "seed": 1,
                                "rate": "20000/s", **generate}},
        "steps": [{"derive": {"bucket": "int64(abs(value) * 1000) % 5"}},
                  {"group": {"by": list(by), "aggregate": dict(AGGREGATES), "updates": updates}}],
        "sink": {"file": {"path": "out.json/"}},
    }


def results(rows, by_key=True):
    groups = defaultdict(list)
    for _, key, value in rows:
        groups[key if by_key else None].append(value)
    return groups


def newest_of(folder):
    """{key: its row with the greatest number}; what a group says never falls."""
    found, seen = {}, {}
    for file in parts(folder / "out.json"):
        for r in map(json.loads, file):
            at = (r.get("key"), r["update"])
            assert at not in seen, f"{at} came twice"
            seen[at] = r["n"]
            if r["update"] > found.get(at[0], {"update": 0})["update"]:
                found[at[0]] = r
    for key in found:
        counts = [n for (k, _), n in sorted(seen.items(), key=lambda item: item[0][1]) if k == key]
        assert all(a < b for a, b in zip(counts, counts[1:])), f"a row of {key} tells nothing new"
    return found, len(seen)


def check(folder, groups):
    found, n = newest_of(folder)
    assert found.keys() == groups.keys()
    for key, values in groups.items():
        r, buckets = found[key], sorted(map(bucket, values))
        assert (r["n"], r["d"], r["f"], r["l"], r["hi"], r["c"]) == (
            len(values), len(set(buckets)), values[0], values[-1], max(values), len(values)), key
        assert r["s"] == pytest.approx(sum(values), rel=1e-9)
        assert buckets[(len(buckets) - 1) // 2] <= r["q"] <= buckets[len(buckets) // 2]
    return n


SETTINGS = [{}, {"run_parallelism": 1}, {"run_parallelism": 2, "run_batch_rows": 3}, {"run_parallelism": 8, "run_memory": "32MiB"}]


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("by", [["key"], []], ids=["key", "one"])
@pytest.mark.parametrize("options", SETTINGS, ids=["", "1", "batches", "8"])
def test_the_newest_row_is_the_result(thalweg, by, options):
    summary = run_endless(thalweg, job(by=by), 0.5, **options)
    check(thalweg.folder, results(events(thalweg, summary["rows_in"]), bool(by)))


def test_results_come_while_the_flow_runs(thalweg):
    flow = job()
    flow["run"] = {"checkpoint": {"dir": "state", "every": "50ms"}}
    process = thalweg.start(flow)
    wait_until(lambda: any(r["update"] > 3 for f in (thalweg.folder / "out.json").glob("part-*") for r in map(json.loads, f.open())))
    stop(process)


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("updates", ["1ms", "30ms", "1h"])
def test_running_results_through_stops_and_kills(thalweg, updates):
    """Each checkpoint gives what has changed, however seldom it is asked for."""
    draw = random.Random(seed_of(5))
    flow = job(updates, keys=200)
    flow["run"] = {"checkpoint": {"dir": "state", "every": "20ms"}}
    for _ in stops_and_kills(thalweg, flow, draw, 6):
        rows = events(thalweg, int(values_of(thalweg, "generate#0")["rows"]), keys=200)
        given = check(thalweg.folder, results(rows))
        assert given > 200, "some groups came more than once"


def test_only_what_has_changed_is_given(thalweg):
    """Of very many groups: rows given are no more than rows that came."""
    flow = job("1ms", keys=100_000)
    flow["steps"][1]["group"]["aggregate"] = {"n": "count"}
    flow["sink"] = {"file": {"path": "out.csv/"}}
    summary = run_endless(thalweg, flow, 0.5)
    rows = [row for file in parts(thalweg.folder / "out.csv") for row in csv.DictReader(file)]
    assert summary["rows_out"] == len(rows) <= summary["rows_in"]
    newest = {}
    for r in sorted(rows, key=lambda r: int(r["update"])):
        newest[r["key"]] = int(r["n"])
    assert sum(newest.values()) == summary["rows_in"]


def test_groups_that_do_not_fit_are_told(thalweg):
    flow = job(keys=2_000_000, rate="10000000/s")
    result = thalweg.run(flow, run_memory="32MiB")
    assert result.exit == 1 and "the groups of running results must fit" in result.stderr


@pytest.mark.parametrize("change, message", [
    (lambda f: f["steps"][1]["group"].pop("updates"), "'updates: 1s' for running results"),
    (lambda f: f["source"]["generate"].update(rows=100, rate=None), "of an endless flow without a window"),
    (lambda f: f["steps"].insert(0, {"window": {"time": "ts", "tumbling": "1s"}}), "of an endless flow without a window"),
    (lambda f: f["steps"][1]["group"]["aggregate"].update(update="count"), "there is a column 'update' already"),
    (lambda f: f["steps"].append({"sort": ["key"]}), "sort needs all rows"),
])
def test_wrong_jobs(thalweg, change, message):
    flow = job()
    change(flow)
    result = thalweg.run(flow)
    assert result.exit == 2 and any(message in e for e in result.errors), result


def test_a_checkpoint_of_other_results_is_refused(thalweg):
    flow = job()
    flow["run"] = {"checkpoint": {"dir": "state", "every": "20ms"}}
    process = thalweg.start(flow)
    wait_for_rows(thalweg, process)
    stop(process)
    del flow["steps"][1]["group"]["aggregate"]["hi"]
    result = thalweg.run(flow)
    assert result.exit == 2 and 'was "running results; by key int64' in result.stderr
