"""Joins within a time range against an independent computation: two endless flows, bounded ones, stops and kills."""

import bisect
import csv
import json
import math
import random
import time
from collections import Counter, defaultdict
from datetime import datetime, timedelta, timezone

import pytest

from harness import seed_of
from live import Live, connect, free_port, settle, wait_until
from test_checkpoint import stop, values_of, wait_for_rows
from test_window import events, micros, parts

HOW = ["inner", "left", "right", "full", "semi", "anti"]
ENDLESS = {"kind": "events", "keys": 20, "interval": "1ms", "out_of_order": 0.3, "delay": "2s", "rate": "10000/s"}


def in_time(rows, lateness):
    """Rows that are not late, and how many are. A row begins with its time."""
    kept, late, greatest = [], 0, -math.inf
    for row in rows:
        if row[0] < greatest - lateness:
            late += 1
        else:
            kept.append(row)
        greatest = max(greatest, row[0])
    return kept, late


def joined(left, right, how, before, after):
    """Rows (time, key, value); of pairs (key, time, value, time, value) with None for a side that has none."""
    by_key, partners = defaultdict(list), set()
    for n, (t, key, _) in enumerate(right):
        if key is not None:
            by_key[key].append((t, n))
    for rows in by_key.values():
        rows.sort()
    out = []
    for t, key, value in left:
        rows = by_key.get(key, []) if key is not None else []
        found = [n for _, n in rows[bisect.bisect_left(rows, (t - before, -1)):bisect.bisect_right(rows, (t + after, math.inf))]]
        partners.update(found)
        if how in ("semi", "anti"):
            if bool(found) == (how == "semi"):
                out.append((key, t, value))
            continue
        out += [(key, t, value, right[n][0], right[n][2]) for n in found]
        if not found and how in ("left", "full"):
            out.append((key, t, value, None, None))
    if how in ("right", "full"):
        out += [(r[1], None, None, r[0], r[2]) for n, r in enumerate(right) if n not in partners]
    return out


def value_of(name, text):
    if text == "":
        return None
    return micros(text) if name.startswith("ts") else float(text) if name.startswith("value") else text if name.startswith("s") else int(text)


def result_of(files):
    return Counter(tuple(value_of(name, text) for name, text in row.items()) for file in files for row in csv.DictReader(file))


def job(join, left, right, **run):
    return {
        "flows": {
            "right": {"source": right},
            "left": {"source": left, "steps": [{"join": {"with": "right", "on": ["key"], "time": "ts", **join}}],
                     "sink": {"file": {"path": "out.csv/"}}},
        },
        "run": run,
    }


def endless(join, **run):
    return job(join, {"generate": {**ENDLESS, "seed": 1}}, {"generate": {**ENDLESS, "seed": 2}}, **run)


def wait_for_output(thalweg, process, size):
    """So many bytes, visible or not."""
    def written():
        return sum(p.stat().st_size for p in (thalweg.folder / "out.csv").glob("**/*") if p.is_file())

    wait_until(lambda: process.poll() is not None or written() > size)


def generated(thalweg, n, seed):
    return events(thalweg, n, keys=20, seed=seed)


RANGES = [("20ms", 20_000, 20_000), ({"after": "30ms"}, 0, 30_000), ({"before": "10ms", "after": "5ms"}, 10_000, 5_000)]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("options", [{}, {"run_parallelism": 1, "run_memory": "32MiB"}, {"run_parallelism": 8, "run_batch_rows": 50}], ids=["2", "1", "8"])
def test_endless_flows(thalweg, how, options):
    within, before, after = RANGES[HOW.index(how) % 3]
    lateness = [0, 300_000, 3_000_000][HOW.index(how) // 2]
    flow = endless({"how": how, "within": within, "lateness": f"{lateness}us"})
    process = thalweg.start(flow, **options)
    wait_for_output(thalweg, process, 100_000)
    summary = stop(process)
    sides, late = [], 0
    for seed, flow in ((1, "left"), (2, "right")):
        n = next(s["rows_out"] for s in summary["steps"] if s["flow"] == flow and s["step"] == "generate")
        rows, n_late = in_time(generated(thalweg, n, seed), lateness)
        sides.append(rows)
        late += n_late
    assert summary["late_records"] == late and (late > 0) == (lateness < 2_000_000)
    expected = joined(*sides, how, before, after)
    assert result_of(parts(thalweg.folder / "out.csv")) == Counter(expected)
    assert len(expected) > 300


def random_rows(draw, n, keys, span):
    """(time, key, value) with null keys, duplicates and times on both sides of 1970."""
    rows = []
    for i in range(n):
        key = None if draw.random() < 0.05 else draw.randrange(keys)
        rows.append((draw.randrange(-span // 2, span // 2), key, float(i)))
    return rows


def write_rows(thalweg, name, rows):
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    lines = [f"{(epoch + timedelta(microseconds=t)).strftime('%Y-%m-%dT%H:%M:%S.%f')}Z,{'' if k is None else k},{v}\n" for t, k, v in rows]
    thalweg.write(name, "ts,key,value\n" + "".join(lines))
    return {"file": {"path": name, "columns": {"ts": "timestamp", "key": "int64", "value": "float64"}}}


@pytest.mark.parametrize("how", HOW)
def test_bounded_flows(thalweg, how, settings):
    seed = seed_of(HOW.index(how) + 1)
    draw = random.Random(seed)
    n, keys, span, before, after = draw.choice([(800, 5, 10_000, 100, 0), (1500, 30, 1_000_000, 9_000, 4_000), (500, 1, 300, 3, 5), (900, 40, 50, 0, 0)])
    left, right = random_rows(draw, n, keys, span), random_rows(draw, n // 2, keys, span)
    flow = job({"how": how, "within": {"before": f"{before}us", "after": f"{after}us"}},
               write_rows(thalweg, "left.csv", left), write_rows(thalweg, "right.csv", right))
    flow["flows"]["left"]["sink"]["file"]["path"] = "out.csv"
    summary = thalweg.ok(flow, **settings)
    assert summary["late_records"] == 0
    with open(thalweg.folder / "out.csv") as file:
        assert result_of([file]) == Counter(joined(left, right, how, before, after))


def test_a_key_that_is_all_rows(thalweg):
    """Far more pairs than rows: they are made in bounded batches."""
    rows = [(i, 1, 0.0) for i in range(3000)]
    flow = job({"within": "1h"}, write_rows(thalweg, "left.csv", rows), write_rows(thalweg, "right.csv", rows))
    flow["flows"]["left"]["sink"] = {"discard": {}}
    summary = thalweg.ok(flow, run_memory="32MiB")
    assert summary["rows_out"] == 9_000_000
    assert summary["peak_rss_bytes"] < 96 << 20


def test_long_text_and_two_keys_of_other_types(thalweg, settings):
    draw = random.Random(seed_of(3))
    sides = []
    for name, kind in (("left", "int32"), ("right", "int64")):
        rows = [(draw.randrange(2000), draw.randrange(4), draw.choice(["", "a", "b" * 30, "b" * 31, "é" * 20])) for _ in range(700)]
        lines = [json.dumps({"at": t * 1000, "k": k, "s": s, f"{name}_text": f"{name}{t:020d}"}) for t, k, s in rows]
        thalweg.write(f"{name}.json", "\n".join(lines) + "\n")
        sides.append(rows)
    def source(name, kind):
        return {"source": {"file": {"path": f"{name}.json", "columns": {"at": "int64", "k": kind, "s": "string", f"{name}_text": "string"}}},
                "steps": [{"derive": {f"{name}_at": "timestamp(at)"}}]}
    flow = {"flows": {"right": source("right", "int64"), "left": source("left", "int32")}}
    flow["flows"]["left"]["steps"].append({"join": {"with": "right", "on": ["k", "s"], "within": "7ms", "time": {"left_at": "right_at"}}})
    flow["flows"]["left"]["steps"].append({"select": ["k", "s", "left_text", "right_text"]})
    flow["flows"]["left"]["sink"] = {"file": {"path": "out.csv"}}
    thalweg.ok(flow, **settings)
    expected = Counter((str(k), s, f"left{t:020d}", f"right{u:020d}") for t, k, s in sides[0] for u, l, r in sides[1]
                       if (k, s) == (l, r) and abs(t - u) <= 7)
    with open(thalweg.folder / "out.csv") as file:
        assert Counter(tuple(row.values()) for row in csv.DictReader(file)) == expected


# ---- through stops and kills ----

CHECKPOINT = {"dir": "state", "every": "20ms"}


def check_saved(thalweg, how, lateness, before, after):
    """Each pair of what was read is there once; who has no partner once, as far as the watermark has told."""
    values = {p: values_of(thalweg, p) for p in ("left/generate#0", "right/generate#0", "left/join#0")}
    left, right = (in_time(generated(thalweg, int(values[f"{flow}/generate#0"]["rows"]), seed), lateness)[0]
                   for seed, flow in ((1, "left"), (2, "right")))
    watermark = int(values["left/join#0"]["watermark"])
    step = max(before + after, lateness) // 8
    expected, found = Counter(joined(left, right, how, before, after)), result_of(parts(thalweg.folder / "out.csv"))
    alone = {"left": [4], "right": [1], "full": [1, 4]}.get(how, [])

    def passed(row, back):
        if how == "anti" or row[-1] is None and 4 in alone:
            return row[1] < watermark - after - back
        return 1 not in alone or row[1] is not None or row[3] < watermark - before - back

    least, most = (Counter({row: n for row, n in expected.items() if passed(row, back)}) for back in (step, 0))
    assert not found - most
    assert not least - found
    assert len(least) > 200
    return sum(int(v["rows"]) for p, v in values.items() if "generate" in p)


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("how", HOW)
def test_stopped_and_gone_on_with(thalweg, how):
    within, before, after = RANGES[HOW.index(how) % 3]
    flow = endless({"how": how, "within": within, "lateness": "300ms"}, checkpoint=CHECKPOINT, guarantee="exactly_once")
    before_rows = 0
    for parallelism in (2, 8):
        process = thalweg.start(flow, run_parallelism=parallelism)
        wait_for_rows(thalweg, process)
        stop(process)
        rows = check_saved(thalweg, how, 300_000, before, after)
        assert rows > before_rows
        before_rows = rows


@pytest.mark.parametrize("how", ["inner", "full", "anti"])
def test_killed_at_random_moments(thalweg, how):
    draw = random.Random(seed_of(7))
    flow = endless({"how": how, "within": "20ms", "lateness": "300ms"}, checkpoint=CHECKPOINT)
    for n in range(6):
        process = thalweg.start(flow, run_parallelism=draw.choice([1, 2, 8]), run_memory=draw.choice(["32MiB", "1GiB"]))
        time.sleep(draw.uniform(0.03, 0.4))
        process.kill()
        process.communicate()
    process = thalweg.start(flow)
    wait_for_rows(thalweg, process)
    stop(process)
    check_saved(thalweg, how, 300_000, 20_000, 20_000)


# ---- what stands around it ----

def test_pairs_leave_before_the_watermark(thalweg):
    """Two connections that stay open: a pair comes out though nothing comes after it; so does a late row's count."""
    ports = [free_port(), free_port(), free_port()]

    def source(port):
        return {"tcp": {"listen": f"127.0.0.1:{port}", "format": "csv", "columns": {"ts": "timestamp", "key": "int64", "value": "float64"}, "header": False}}

    flow = job({"how": "left", "within": "1s", "lateness": "2s"}, source(ports[0]), source(ports[1]))
    flow["flows"]["left"]["sink"] = {"tcp": {"listen": f"127.0.0.1:{ports[2]}", "format": "csv", "header": False}}
    with Live(thalweg, flow) as live:
        out, left, right = connect(ports[2]), connect(ports[0]), connect(ports[1])
        lines = out.makefile()
        left.sendall(b"2026-01-01T00:00:10Z,1,0.5\n2026-01-01T00:00:09Z,2,0.25\n")
        right.sendall(b"2026-01-01T00:00:11Z,1,7\n")
        assert lines.readline() == "1,2026-01-01T00:00:10Z,0.5,2026-01-01T00:00:11Z,7\n"
        left.sendall(b"2026-01-01T00:00:20Z,3,1\n2026-01-01T00:00:17Z,4,1\n")
        right.sendall(b"2026-01-01T00:00:20Z,4,1\n")
        assert lines.readline() == "2,2026-01-01T00:00:09Z,0.25,,\n", "the watermark is 18 s on both sides"
        left.close()
        right.close()
        summary = live.stop()
        assert lines.readline() == "3,2026-01-01T00:00:20Z,1,,\n"
        assert summary["late_records"] == 1
        out.close()


@pytest.mark.parametrize("how", ["inner", "left", "anti"])
def test_windows_from_before_the_join_end_in_time(thalweg, how):
    """The watermark behind the join is so far back that no row comes after its window was closed."""
    within = 2_000 if how == "anti" else 700_000
    flow = endless({"how": how, "within": f"{within}us", "lateness": "100ms"})
    steps = flow["flows"]["left"]["steps"]
    steps.insert(0, {"window": {"time": "ts", "tumbling": "1s", "lateness": "100ms"}})
    steps.append({"group": {"by": ["key"], "aggregate": {"n": "count"}}})
    process = thalweg.start(flow)
    wait_for_output(thalweg, process, 500)
    summary = stop(process)
    sides, late = [], 0
    for seed, name in ((1, "left"), (2, "right")):
        n = next(s["rows_out"] for s in summary["steps"] if s["flow"] == name and s["step"] == "generate")
        rows = generated(thalweg, n, seed)
        if name == "left":  # what comes after the end of its window is late there already
            kept, greatest = [], -math.inf
            for row in rows:
                if (row[0] // 1_000_000 + 1) * 1_000_000 > greatest - 100_000:
                    kept.append(row)
                else:
                    late += 1
                greatest = max(greatest, row[0])
            rows = kept
        rows, n_late = in_time(rows, 100_000)
        late += n_late
        sides.append(rows)
    assert summary["late_records"] == late
    expected = Counter((row[0], row[1] // 1_000_000) for row in joined(*sides, how, within, within))
    found = {}
    for file in parts(thalweg.folder / "out.csv"):
        for row in csv.DictReader(file):
            at = (int(row["key"]), micros(row["window_start"]) // 1_000_000)
            assert at not in found, f"the window {at} came twice"
            found[at] = int(row["n"])
    assert found == expected


def test_what_does_not_fit_is_refused(thalweg):
    flow = endless({"how": "full", "within": "10m"})
    for name, seed in (("left", 1), ("right", 2)):
        flow["flows"][name]["source"]["generate"].update(rate="10000000/s", keys=1_000_000_000, seed=seed)
    flow["flows"]["left"]["sink"] = {"discard": {}}
    result = thalweg.run(flow, run_memory="32MiB")
    assert result.exit == 1, result
    assert "has no room for more rows that wait for a partner in a join: a shorter 'within' or 'lateness'" in result.stderr
    assert result.summary["peak_rss_bytes"] < 96 << 20


def test_both_flows_are_read_though_one_always_has_rows(thalweg):
    flow = endless({"within": "20ms"})
    for name in ("left", "right"):
        flow["flows"][name]["source"]["generate"].update(rate="100000000/s", keys=1000, out_of_order=0)
    process = thalweg.start(flow, run_memory="64MiB", run_parallelism=2)
    wait_for_output(thalweg, process, 10_000_000)
    summary = stop(process)
    rows = [s["rows_out"] for s in summary["steps"] if s["step"] == "generate"]
    assert min(rows) > max(rows) / 2 > 10_000, rows


@pytest.mark.parametrize("change, message", [
    (lambda f, j: j.pop("within") and j.pop("time"), "flow 'right' never ends: it can be joined in a range of time, which 'within' and 'time' give"),
    (lambda f, j: j.pop("within"), "'time' of join: it needs 'within'"),
    (lambda f, j: j.pop("time"), "names the column of the time"),
    (lambda f, j: j.update(time="value"), "'value' is no timestamp"),
    (lambda f, j: j.update(time={"ts": "t"}), "unknown column 't' of flow 'right'"),
    (lambda f, j: j.update(time={"t": "ts"}), "unknown column 't'"),
    (lambda f, j: j.update(within={"before": "1s", "both": "2s"}), "a time both ways, such as 10s, or {before: 5s, after: 10s}"),
    (lambda f, j: j.update(within={}), "a time both ways"),
    (lambda f, j: f["flows"]["right"]["source"]["generate"].update(rate=None, rows=100), "one of the flows ends"),
    (lambda f, j: f["flows"]["left"]["source"]["generate"].update(rate=None, rows=100), "one of the flows ends"),
    (lambda f, j: (j.update(how="full"), f["flows"]["left"]["steps"].insert(0, {"window": {"time": "ts", "tumbling": "1s"}})),
     "have no window: put the window behind the join"),
    (lambda f, j: f["flows"]["left"]["steps"].insert(0, {"window": {"time": "ts", "session": {"gap": "1s"}}}),
     "a session is not known before the group that makes it"),
])
def test_wrong_jobs(thalweg, change, message):
    flow = endless({"within": "1s"})
    change(flow, flow["flows"]["left"]["steps"][0]["join"])
    result = thalweg.run(flow)
    assert result.exit == 2, result
    assert any(message in e for e in result.errors), result


def test_a_changed_range_is_told(thalweg):
    flow = endless({"within": "1s"}, checkpoint=CHECKPOINT)
    process = thalweg.start(flow)
    wait_for_rows(thalweg, process)
    stop(process)
    flow["flows"]["left"]["steps"][0]["join"]["within"] = "2s"
    result = thalweg.run(flow)
    assert result.exit == 2
    assert "inner, with right on key, from 1 s before to 1 s after, lateness 0 s; ts and ts; left: key int64, ts timestamp" in result.stderr, result


def test_explain(thalweg):
    thalweg.write("job.yaml", json.dumps(endless({"within": {"after": "5s"}})))
    told = thalweg.command("explain", "job.yaml")
    assert told.exit == 0
    assert "move into join (inner, with right on key, from 0 s before to 5 s after, lateness 0 s, both sides by hash" in told.stdout
    assert "what a step remembers must fit" in told.stdout


def test_a_reader_that_stands_still_holds_the_flows_back(thalweg):
    """Rows that nobody takes, pairs and those without a partner, do not pile up."""
    port = free_port()
    flow = endless({"how": "full", "within": "2ms"})
    for name in ("left", "right"):
        flow["flows"][name]["source"]["generate"].update(rate="100000000/s", keys=1000, out_of_order=0)
    flow["flows"]["left"]["sink"] = {"tcp": {"listen": f"127.0.0.1:{port}", "format": "csv"}}
    with Live(thalweg, flow, run_memory="64MiB", run_parallelism=2) as live:
        reader = connect(port)
        assert reader.recv(10)
        before = -1
        while live.rss() != before:  # it does not grow any more
            before = live.rss()
            settle(0.3)
        assert live.process.poll() is None and before < 128 << 20
        reader.close()
        live.process.kill()
        live.process.communicate()
