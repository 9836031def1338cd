"""`run.latency`: a goal for a row's way through, and how it was met."""

from live import Live, connect, free_port


def job(port, cost, **run):
    return {
        "source": {"tcp": {"listen": f"127.0.0.1:{port}"}},
        "steps": [{"busy": {"for": cost}}, {"select": {"n": "length(line)"}}],
        "sink": "discard",
        "run": {"parallelism": 2, **run},
    }


def through(thalweg, flow, port, messages):
    with Live(thalweg, flow) as live:
        with connect(port) as client:
            for message in messages:
                client.sendall(message + b"\n")
            client.shutdown(1)
            assert client.recv(1) == b"", "all was read when the source closes its side"
        summary = live.stop()
    assert summary["rows_out"] == len(messages)
    return summary


def test_the_summary_says_how_it_was_met(thalweg):
    port = free_port()
    summary = through(thalweg, job(port, "20ms", latency="100ms"), port, [b"a" * 100] * 10)
    met = summary["latency"]
    assert met["goal_seconds"] == 0.1 and met["rows"] == 10
    assert 0.02 <= met["p50_seconds"] <= met["p99_seconds"], "each has 20 ms of work before it"
    assert met["p99_seconds"] <= summary["wall_seconds"]


def test_without_a_goal_nothing_is_measured(thalweg):
    port = free_port()
    assert "latency" not in through(thalweg, job(port, "1ms"), port, [b"a"] * 10)


def test_waiting_in_the_log_counts(thalweg):
    """Rows that overflowed came when they were read, not when they are read back."""
    port = free_port()
    flow = job(port, "1ms", latency="10ms", memory="32MiB", parallelism=1)
    flow["source"]["tcp"]["overflow"] = "disk"
    summary = through(thalweg, flow, port, [b"x" * 60_000] * 300)
    assert summary["spilled_bytes"] > 0
    assert summary["latency"]["rows"] == 300 and summary["latency"]["p99_seconds"] > 0.1, "more than a hundred stood before it"


def test_a_flow_that_ends_has_none(thalweg):
    result = thalweg.run({"source": {"generate": {"kind": "records", "rows": 10}}, "sink": "discard", "run": {"latency": "10ms"}})
    assert result.exit == 2 and "run.latency is for flows that never end" in result.stderr, result
