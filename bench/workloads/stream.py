"""Messages over TCP on one machine: one connection, no work; beside ZeroMQ (a thread to a thread) and the bare loop of
read and parse, which is the bound. The latency of TCP to TCP at 10,000 messages a second, and of windows behind their
watermark. And memory over time, at capacity and with a peer that stops reading."""

import json
import socket
import sys

import engines
from case import Case, expect, times_faster

TITLE = "Messages over TCP, length-framed"
SIZES = {100: 40_000_000, 1000: 6_000_000, 10_000: 800_000, 100_000: 80_000, 1_000_000: 8_000, 10_000_000: 800}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def live(folder, source_port, sink, sender):
    job = {"source": {"tcp": {"listen": f"127.0.0.1:{source_port}", "framing": "length"}}, "sink": sink}
    argv = engines.thalweg(folder, job, memory="2GiB")
    return [sys.executable, "-S", str(engines.ROOT / "bench/net/live.py"), argv[2], argv[0], *sender]


def rate_case(size, n):
    blast = engines.blast()

    def thalweg(folder):
        port = free_port()
        return live(folder, port, {"discard": {}}, [blast, "send", f"127.0.0.1:{port}", "length", str(size), f"{n}n"])

    def verify(engine, folder, figures):
        printed = json.loads((folder / "stdout").read_text())
        received = printed["rows_in"] if engine == "thalweg" else printed["received"]
        return expect(n <= received <= n + (256 << 10), "all messages arrived")

    goals = [times_faster(f"at least {factor} times ZeroMQ at {size} B", factor, "zeromq")
             for factor in ([3] if size == 100 else [1])]
    if size >= 1000:
        goals.append(times_faster(f"at least 80 % of raw framed TCP at {size} B", 0.8, "raw"))
    label = f"{size} B" if size < 1000 else f"{size // 1000} kB" if size < 1_000_000 else f"{size // 1_000_000} MB"
    return Case(f"stream-{size}", label,
                {"thalweg": thalweg,
                 "zeromq": lambda folder: [blast, "zmq", str(size), f"{n}n"],
                 "raw": lambda folder: [blast, "raw", "length", str(size), f"{n}n"]},
                verify, n, "messages", goals=goals)


def latency_case(seconds):
    blast = engines.blast()

    def thalweg(folder):
        port, back = free_port(), free_port()
        return live(folder, port, {"tcp": {"connect": f"127.0.0.1:{back}", "framing": "length"}},
                    [blast, "latency", f"127.0.0.1:{port}", str(back), "100", "10000", str(seconds)])

    def verify(engine, folder, figures):
        printed = json.loads((folder / "stdout").read_text())
        got = printed["sender"]
        expect(got["received"] == printed["rows_out"] == 10_000 * seconds, "all came back")
        return f"latency from the intended send time p50 {got['p50_us']} us, p99 {got['p99_us']} us, p99.9 {got['p999_us']} us"

    return Case("stream-latency", "TCP to TCP, 10,000 a second", {"thalweg": thalweg}, verify, runs=3)


def windows_case(seconds):
    def thalweg(folder):
        port, back = free_port(), free_port()
        job = {"source": {"tcp": {"listen": f"127.0.0.1:{port}", "format": "csv", "header": False,
                                  "columns": {"ts": "timestamp", "key": "int64"}}},
               "steps": [{"window": {"time": "ts", "tumbling": "1s"}}, {"group": {"by": ["key"], "aggregate": {"n": "count"}}}],
               "sink": {"tcp": {"connect": f"127.0.0.1:{back}", "format": "csv"}}}
        argv = engines.thalweg(folder, job, memory="2GiB")
        return [sys.executable, "-S", str(engines.ROOT / "bench/net/live.py"), argv[2], argv[0],
                sys.executable, "-S", str(engines.ROOT / "bench/net/windows.py"), f"127.0.0.1:{port}", str(back), "100000", "1000",
                str(seconds)]

    def verify(engine, folder, figures):
        got = json.loads((folder / "stdout").read_text())["sender"]
        expect(got["received"] == 1000 * seconds + 1, "every key in every window, and a header")
        goal = "reached" if got["p99_ms"] <= 5 else "NOT reached"
        return (f"results after the event that passed the watermark p50 {got['p50_ms']} ms, p99 {got['p99_ms']} ms "
                f"(5 ms asked: {goal}; the sender was late by {got['sender_behind_ms']} ms at most)")

    return Case("stream-windows", "windows of 1 s, 1,000 keys, 100,000 events a second", {"thalweg": thalweg}, verify, runs=3)


def steady_case(name, label, job, seconds, port=None):
    def thalweg(folder):
        argv = engines.thalweg(folder, job(folder), memory="256MiB", checkpoint={"dir": str(folder / "state"), "every": "1s"})
        return [sys.executable, "-S", str(engines.ROOT / "bench/net/steady.py"), argv[0], argv[2], str(seconds),
                *([str(port)] if port else [])]

    def verify(engine, folder, figures):
        got = json.loads((folder / "stdout").read_text())
        return expect(got["last_mib"] <= 1.1 * got["first_mib"] + 4,
                      f"{got['first_mib']:.1f} MiB, {0.75 * seconds:.0f} s later {got['last_mib']:.1f} MiB "
                      f"({got['growth_mib_per_hour']} MiB an hour), {got['rows_in']} rows")

    return Case(name, label, {"thalweg": thalweg}, verify, runs=1)


def cases(quick):
    for size, n in SIZES.items():
        yield rate_case(size, n // 40 if quick else n)
    yield latency_case(2 if quick else 10)
    yield windows_case(3 if quick else 10)
    events = {"generate": {"kind": "events", "keys": 100_000, "rate": "1000000000/s", "out_of_order": 0.1}}
    count = [{"window": {"time": "ts", "sliding": {"size": "2s", "every": "1s"}, "lateness": "1s"}},
             {"group": {"by": ["key"], "aggregate": {"n": "count", "mean": "mean(value)"}}}]
    seconds = 10 if quick else 120
    yield steady_case("stream-steady", "sliding windows at capacity, checkpoints every second",
                      lambda folder: {"source": events, "steps": count, "sink": {"discard": {}}}, seconds)
    port = free_port()
    yield steady_case("stream-stopped", "a peer that never reads",
                      lambda folder: {"source": events, "sink": {"tcp": {"connect": f"127.0.0.1:{port}", "format": "csv"}}}, seconds // 2, port)
