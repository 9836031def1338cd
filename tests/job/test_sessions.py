"""Session windows against an independent computation, row by row: bounded flows, endless ones that are stopped, killed ones."""

import json
import math
import random
import time

import pytest

from harness import seed_of
from test_checkpoint import manifest, stop, stops_and_kills, values_of, wait_for_rows
from test_window import events, micros, parts, run_endless

MS = 1000
AGGREGATES = {"n": "count", "s": "sum(value)", "d": "count_distinct(bucket)", "f": "first(value)", "l": "last(value)",
              "lo": "min(value)", "hi": "max(value)", "c": "collect(bucket)", "q": "quantile(bucket, 0.5)"}


class Sessions:
    """What the rows of a flow make, in their order."""

    def __init__(self, gap, lateness=None):
        self.gap, self.lateness = gap, lateness
        self.greatest, self.late = -math.inf, 0
        self.open, self.closed = {}, []

    @property
    def watermark(self):
        return -math.inf if self.lateness is None else self.greatest - self.lateness

    def close(self, key, watermark):
        left = []
        for s in self.open.get(key, []):
            (self.closed if s["last"] + self.gap <= watermark else left).append(s)
        self.open[key] = left

    def add(self, position, t, key, value):
        self.close(key, self.watermark)
        if t + self.gap <= self.watermark:
            self.late += 1
        else:
            mine = {"key": key, "first": t, "last": t, "rows": [(position, t, value)]}
            apart = []
            for s in self.open[key]:
                if t - s["last"] >= self.gap or s["first"] - t >= self.gap:
                    apart.append(s)
                    continue
                mine["first"], mine["last"] = min(mine["first"], s["first"]), max(mine["last"], s["last"])
                mine["rows"] += s["rows"]
            self.open[key] = apart + [mine]
        self.greatest = max(self.greatest, t)
        return self

    def all(self, watermark=math.inf):
        """Those that have ended by the watermark."""
        for key in list(self.open):
            self.close(key, watermark)
        return {(s["first"], s["last"] + self.gap, s["key"]): [r[1:] for r in sorted(s["rows"])] for s in self.closed}


def sessions_of(rows, gap, lateness=None):
    made = Sessions(gap, lateness)
    for position, row in enumerate(rows):
        made.add(position, *row)
    return made


def bucket(value):
    return int(abs(value) * 1000) % 5


def job(gap, lateness="0s", group=None, **generate):
    return {
        "source": {"generate": {"kind": "events", "keys": 7, "interval": "1ms", "seed": 1, **generate}},
        "steps": [{"window": {"time": "ts", "session": {"gap": gap}, "lateness": lateness}},
                  {"derive": {"bucket": "int64(abs(value) * 1000) % 5"}},
                  {"group": group or {"by": ["key"], "aggregate": AGGREGATES}}],
        "sink": {"file": {"path": "out.json/"}},
    }


def found_in(folder):
    found = {}
    for file in parts(folder / "out.json"):
        for r in map(json.loads, file):
            at = (micros(r["window_start"]), micros(r["window_end"]), r["key"])
            assert at not in found, f"the session {at} came twice"
            found[at] = r
    return found


def check(folder, expected):
    found = found_in(folder)
    assert sorted(found) == sorted(expected)
    for at, r in found.items():
        values = [v for _, v in expected[at]]
        buckets = [bucket(v) for v in values]
        assert (r["n"], r["d"], r["f"], r["l"], r["lo"], r["hi"]) == (
            len(values), len(set(buckets)), values[0], values[-1], min(values), max(values)), at
        assert r["c"] == buckets and r["s"] == pytest.approx(sum(values), rel=1e-9, abs=1e-9)
        ranked = sorted(buckets)
        middle = (len(ranked) - 1) / 2
        assert r["q"] == pytest.approx((ranked[math.floor(middle)] + ranked[math.ceil(middle)]) / 2)
    return found


SETTINGS = [{}, {"run_parallelism": 1}, {"run_parallelism": 2, "run_batch_rows": 3}, {"run_parallelism": 8, "run_memory": "32MiB"}]
NAMES = ["", "1", "batches", "8"]
# gap, lateness, how far rows are out of order
DISORDER = [(25 * MS, 60 * MS, "50ms"), (25 * MS, 10 * MS, "50ms"), (40 * MS, 0, "30ms"), (10 * MS, 0, "400ms")]
DISORDER_NAMES = ["in time", "late", "bridges", "very late"]


def option(micros):
    return f"{micros}us"


@pytest.mark.parametrize("options", SETTINGS, ids=NAMES)
@pytest.mark.parametrize("gap", [MS, 25 * MS, 200 * MS, 10**12])
def test_sessions_of_a_bounded_flow(thalweg, gap, options):
    generate = {"out_of_order": 0.3, "delay": "2s", "rows": 5000}
    summary = thalweg.ok(job(option(gap), **generate), **options)
    assert summary["late_records"] == 0
    check(thalweg.folder, sessions_of(events(thalweg, 5000), gap).all())


def live(gap, lateness, delay, rate="20000/s", **more):
    flow = job(option(gap), option(lateness), out_of_order=0.3, delay=delay, rate=rate, **more)
    return flow


def check_endless(thalweg, gap, lateness, delay, options):
    summary = run_endless(thalweg, live(gap, lateness, delay), 0.5, **options)
    made = sessions_of(events(thalweg, summary["rows_in"], delay=delay), gap, lateness)
    assert summary["late_records"] == made.late
    assert (made.late > 0) == (lateness + gap < int(delay[:-2]) * MS)
    check(thalweg.folder, made.all())


@pytest.mark.parametrize("options", SETTINGS, ids=NAMES)
@pytest.mark.parametrize("gap, lateness, delay", DISORDER, ids=DISORDER_NAMES)
def test_sessions_of_an_endless_flow(thalweg, gap, lateness, delay, options):
    check_endless(thalweg, gap, lateness, delay, options)


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("options", SETTINGS[2:], ids=NAMES[2:])
def test_sessions_under_sanitizers(thalweg, options):
    check_endless(thalweg, *DISORDER[1], options)


@pytest.mark.parametrize("options", SETTINGS, ids=NAMES)
@pytest.mark.parametrize("rate", [None, "20000/s"], ids=["bounded", "endless"])
def test_one_key_and_none(thalweg, rate, options):
    """Rows that stand apart in one long chain: pieces of one session lie in many fragments."""
    generate = {"interval": "3ms", "out_of_order": 0.5, "delay": "20ms", "keys": 1, **({"rate": rate} if rate else {"rows": 8000})}
    flow = job("4ms", "20ms" if rate else "0s", group={"by": [], "aggregate": AGGREGATES}, **generate)
    summary = run_endless(thalweg, flow, 0.4, **options) if rate else thalweg.ok(flow, **options)
    rows = [(t, None, v) for t, _, v in events(thalweg, summary["rows_in"], 0.5, "20ms", keys=1, interval="3ms")]
    for path in (thalweg.folder / "out.json").glob("part-*"):
        path.write_text("".join(json.dumps({**json.loads(line), "key": None}) + "\n" for line in path.read_text().splitlines()))
    assert len(check(thalweg.folder, sessions_of(rows, 4 * MS, 20 * MS if rate else None).all())) > 10


def distinct_rows(rows, gap, lateness):
    return {(at[0], at[1], at[2]): v[0] for at, v in sessions_of(rows, gap, lateness).all().items()}


@pytest.mark.parametrize("options", [{}, {"run_parallelism": 8, "run_batch_rows": 3}], ids=["", "8"])
@pytest.mark.parametrize("rate", [None, "20000/s"], ids=["bounded", "endless"])
def test_distinct_rows_of_sessions(thalweg, rate, options):
    flow = job("25ms", "10ms", out_of_order=0.3, delay="50ms", **({"rate": rate} if rate else {"rows": 5000}))
    flow["steps"] = [flow["steps"][0], {"distinct": ["key"]}]
    summary = run_endless(thalweg, flow, 0.4, **options) if rate else thalweg.ok(flow, **options)
    rows = events(thalweg, summary["rows_in"], delay="50ms")
    found = found_in(thalweg.folder)
    assert list(next(iter(found.values()))) == ["ts", "key", "value", "window_start", "window_end"]
    assert {at: (micros(r["ts"]), r["value"]) for at, r in found.items()} == distinct_rows(rows, 25 * MS, 10 * MS if rate else None)


@pytest.mark.parametrize("endless", [False, True])
def test_rows_that_are_filtered_out_make_no_session_but_move_the_watermark(thalweg, endless):
    flow = job("25ms", "10ms", out_of_order=0.3, delay="50ms", **({"rate": "20000/s"} if endless else {"rows": 5000}))
    flow["steps"].insert(1, {"filter": "key == 3"})
    summary = run_endless(thalweg, flow, 0.4) if endless else thalweg.ok(flow)
    made = Sessions(25 * MS, 10 * MS if endless else None)
    for position, row in enumerate(events(thalweg, summary["rows_in"], delay="50ms")):
        if row[1] == 3:
            made.add(position, *row)
        made.greatest = max(made.greatest, row[0])
    check(thalweg.folder, made.all())


def test_a_session_comes_out_while_the_flow_runs(thalweg):
    """Before any stop: one that has ended is there with the next part of the output."""
    flow = live(25 * MS, 60 * MS, "50ms")
    flow["run"] = {"checkpoint": {"dir": "state", "every": "50ms"}}
    process = thalweg.start(flow)
    wait_for_rows(thalweg, process, 3000)
    end = time.monotonic() + 30
    while not any(p.stat().st_size for p in (thalweg.folder / "out.json").glob("part-*")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.02)
    stop(process)


def check_checkpoint(thalweg, delay, gap, lateness, part="group#0"):
    """All sessions that the last watermark has passed, and no others."""
    rows = int(values_of(thalweg, "generate#0")["rows"])
    watermark = int(values_of(thalweg, part)["watermark"])
    made = sessions_of(events(thalweg, rows, delay=delay), gap, lateness)
    assert len(check(thalweg.folder, made.all(watermark))) > 7
    return rows


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("gap, lateness, delay", DISORDER[1::2], ids=DISORDER_NAMES[1::2])
def test_sessions_over_stops_and_kills(thalweg, gap, lateness, delay):
    draw = random.Random(seed_of(gap + lateness))
    flow = live(gap, lateness, delay)
    flow["run"] = {"checkpoint": {"dir": "state", "every": "20ms"}}
    for _ in stops_and_kills(thalweg, flow, draw, 6):
        check_checkpoint(thalweg, delay, gap, lateness)
    shape = next(p["shape"] for p in manifest(thalweg)["parts"] if p["id"].endswith("group#0"))
    assert shape.startswith(f"sessions with a gap of {gap / 1e6:g} s; by key int64; n count()"), shape


def test_many_sessions_in_little_memory(thalweg):
    """Far more than fit: they go to the disk, fragments of one session apart."""
    rows = 200000
    flow = job("20s", rows=rows, keys=15000, out_of_order=0)
    flow["steps"][2]["group"]["aggregate"] = {"n": "count", "s": "sum(value)", "c": "collect(value)"}
    summary = thalweg.ok(flow, run_memory="32MiB")
    assert summary["spilled_bytes"] > 0
    made = sessions_of(events(thalweg, rows, 0, "1s", keys=15000), 20 * MS * 1000)
    expected = {at: [v for _, v in r] for at, r in made.all().items()}
    assert {at: r["c"] for at, r in found_in(thalweg.folder).items()} == expected


@pytest.mark.parametrize("steps, message", [
    ([{"window": {"time": "ts", "session": {}}}, "distinct"], "needs the option 'gap'"),
    ([{"window": {"time": "ts", "session": {"gap": "1s"}, "tumbling": "1s"}}, "distinct"], "one of tumbling, sliding and session"),
    ([{"window": {"time": "ts", "session": {"gap": "1s"}}}], "there is none"),
    ([{"window": {"time": "ts", "session": {"gap": "1s"}}}, {"drop": ["window_watermark"]}, "distinct"], "window_watermark is gone"),
    ([{"window": {"time": "ts", "session": {"gap": "1s"}}}, "distinct", {"group": {"by": ["key"], "aggregate": {"n": "count"}}}],
     "group needs all rows"),
])
def test_wrong_jobs(thalweg, steps, message):
    flow = job("1s", rate="100/s")
    flow["steps"] = steps
    result = thalweg.run(flow)
    assert result.exit == 2
    assert any(message in e for e in result.errors), result
