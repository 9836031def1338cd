"""Partitions that fall silent: connections that stay open, or are gone, and hold the watermark back for a while only."""

import csv

import pytest

from live import Live, connect, free_port, wait_until
from test_checkpoint import values_of
from test_late import over_tcp


def job(port, **window):
    flow = over_tcp(port, tumbling="1s", **window)
    flow["source"]["tcp"]["columns"]["key"] = "string"
    flow["run"] = {"checkpoint": {"dir": "state", "every": "20ms"}}
    return flow


def rows_of(thalweg):
    return [(r["key"], r["window_start"], int(r["n"])) for p in sorted((thalweg.folder / "out.csv").glob("part-*"))
            for r in csv.DictReader(p.open())]


def at(second):
    return f"2026-01-01T00:00:{second:02}Z"


def send(s, second, key):
    s.sendall(f"{at(second)},{key}\n".encode())


def seen(thalweg):
    """How many rows have passed the clock, as the newest checkpoint knows."""
    try:
        return int(values_of(thalweg, "window#0")["rows"])
    except (ValueError, FileNotFoundError):
        return 0


def send_and_wait(thalweg, s, second, key):
    before = seen(thalweg)
    send(s, second, key)
    wait_until(lambda: seen(thalweg) > before)


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("gone", [False, True], ids=["silent", "closed"])
@pytest.mark.parametrize("options", [{}, {"run_parallelism": 1}, {"run_parallelism": 8}], ids=["", "1", "8"])
def test_a_silent_connection_holds_nothing_back(thalweg, gone, options):
    port = free_port()
    with Live(thalweg, job(port, idle="300ms"), **options) as live:
        with connect(port) as slow, connect(port) as fast:
            send_and_wait(thalweg, slow, 1, "slow")
            if gone:
                slow.close()
            send(fast, 2, "fast")
            send(fast, 30, "fast")
            # No more rows come: time alone lets the windows before 00:30 go.
            wait_until(lambda: len(rows_of(thalweg)) == 2)
            assert sorted(rows_of(thalweg)) == [("fast", at(2), 1), ("slow", at(1), 1)]
            if not gone:
                send(slow, 3, "late")
                send(slow, 31, "slow")
                wait_until(lambda: "late" in (thalweg.folder / "late.json").read_text())
        summary = live.stop()
    assert summary["late_records"] == (0 if gone else 1)


def test_a_connection_that_is_not_silent_holds_back(thalweg):
    """With patience nothing is late of the slow one, and the windows of the fast one come out with it."""
    port = free_port()
    with Live(thalweg, job(port)) as live:
        with connect(port) as slow, connect(port) as fast:
            send_and_wait(thalweg, slow, 1, "slow")
            send_and_wait(thalweg, fast, 30, "fast")
            send_and_wait(thalweg, slow, 3, "slow")
            wait_until(lambda: rows_of(thalweg) == [("slow", at(1), 1)])
            send(slow, 31, "slow")
            wait_until(lambda: len(rows_of(thalweg)) == 2)
        summary = live.stop()
    assert summary["late_records"] == 0


@pytest.mark.parametrize("idle", ["0s", "often"])
def test_wrong_patience(thalweg, idle):
    result = thalweg.run(job(free_port(), idle=idle))
    assert result.exit == 2 and "option 'idle' of window" in result.stderr
