"""Messages over TCP on one machine: one connection, no work; beside ZeroMQ (a thread to a thread) and the bare loop of
read and parse, which is the bound. And the latency of TCP to TCP at 10,000 messages a second."""

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


def cases(quick):
    for size, n in SIZES.items():
        yield rate_case(size, n // 40 if quick else n)
    yield latency_case(2 if quick else 10)
