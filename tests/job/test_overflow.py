"""`overflow: disk`: what no worker has time for waits in a log on disk, in order, and the sender is done long before."""

import fcntl
import os
import signal
import struct
import termios

import pytest

from live import Live, connect, free_port, output, wait_until

MIB = 1 << 20


def job(port, thalweg, workers=1, overflow="disk", ordered="all", cost="2ms", **run):
    spill = thalweg.folder / "spill"
    spill.mkdir(exist_ok=True)
    return {
        "source": {"tcp": {"listen": f"127.0.0.1:{port}", "overflow": overflow, "ordered": ordered}},
        "steps": [{"busy": {"for": cost}}],
        "sink": {"file": {"path": "out/", "format": "lines"}},
        "run": {"parallelism": workers, "memory": "32MiB", "spill": str(spill), **run},
    }


def message(n, size=60_000):
    return b"%06d" % n + b"x" * size + b"\n"


def numbers(thalweg):
    return [int(line[:6]) for line in output(thalweg, "out").splitlines()]


def sent(client):
    """Until the other side's system has all of it."""
    wait_until(lambda: struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, b"\0" * 4))[0] == 0, 60)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("ordered", ["none", "all"])
def test_the_sender_is_done_while_the_step_works(thalweg, ordered):
    port, n = free_port(), 1000
    flow = job(port, thalweg, ordered=ordered)
    flow["steps"] *= 2
    with Live(thalweg, flow) as live:
        with connect(port, 60) as client:
            for i in range(n):
                client.sendall(message(i))  # 60 MB in all: twice run.memory
            sent(client)
        assert cpu_seconds(live.process.pid) < 0.7 * n * 0.004, "the step has most of its work before it"
        summary = live.stop(120)
    found = numbers(thalweg)
    assert sorted(found) == list(range(n))
    assert ordered == "none" or found == list(range(n))
    assert all(line[6:] == "x" * 60_000 for line in output(thalweg, "out").decode().splitlines())
    assert summary["spilled_bytes"] > 20 * MIB and summary["warnings"] == 0
    if thalweg.build == "release":
        assert summary["peak_rss_bytes"] <= (32 + 64) * MIB
    assert summary["rows_in"] == summary["rows_out"] == n
    assert summary["wall_seconds"] >= n * 0.004, "one worker works on both steps, and another reads"
    assert not list((thalweg.folder / "spill").iterdir())


def test_blocks_without_it(thalweg):
    port = free_port()
    with Live(thalweg, job(port, thalweg, overflow="block")) as live:
        with connect(port, 60) as client:
            for i in range(300):
                client.sendall(message(i))
            sent(client)
        summary = live.stop(120)
    assert numbers(thalweg) == list(range(300)) and summary["spilled_bytes"] == 0


def test_many_senders_keep_their_order(thalweg):
    port, senders, each = free_port(), 8, 4000
    with Live(thalweg, job(port, thalweg, workers=2, ordered="key", cost="50us")) as live:
        clients = [connect(port, 60) for _ in range(senders)]
        for first in range(0, each, 500):
            for k, client in enumerate(clients):
                client.sendall(b"".join(b"%d %06d %s\n" % (k, i, b"y" * 300) for i in range(first, first + 500)))
        for client in clients:
            sent(client)
            client.close()
        summary = live.stop(120)
    by_sender = {}
    for line in output(thalweg, "out").decode().splitlines():
        k, i, _ = line.split()
        by_sender.setdefault(int(k), []).append(int(i))
    assert by_sender == {k: list(range(each)) for k in range(senders)}
    assert summary["rows_out"] == senders * each


def test_a_kill_leaves_nothing_behind(thalweg):
    port = free_port()
    with Live(thalweg, job(port, thalweg, cost="1s")) as live:
        with connect(port, 60) as client:
            for i in range(500):
                client.sendall(message(i))
            spill = str(thalweg.folder / "spill")
            links = lambda: [os.readlink(e.path) for e in os.scandir(f"/proc/{live.process.pid}/fd") if os.path.islink(e.path)]
            wait_until(lambda: any(link.startswith(spill) for link in links()))
            live.process.send_signal(signal.SIGKILL)
            live.process.communicate(timeout=30)
    assert not list((thalweg.folder / "spill").iterdir())


def test_what_is_in_the_log_belongs_to_its_epoch(thalweg):
    """Killed with rows in the log: what the followed epochs made visible is whole, and the source gives the rest again."""
    flow = {
        "source": {"generate": {"kind": "records", "rate": "200000/s", "overflow": "disk", "ordered": "all", "seed": 3}},
        "steps": [{"busy": {"for": "20us"}}],
        "sink": {"file": {"path": "out/", "format": "records"}},
        "run": {"parallelism": 1, "memory": "32MiB", "checkpoint": {"dir": "state", "every": "100ms"}},
    }
    parts = lambda: len(list((thalweg.folder / "out").glob("part-*")))
    for ends in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        with Live(thalweg, flow) as live:
            before = parts() if (thalweg.folder / "out").exists() else 0
            wait_until(lambda: (thalweg.folder / "out").exists() and parts() > before, 60)
            live.process.send_signal(ends)
            summary = live.result()
    assert summary["status"] == "done" and summary["spilled_bytes"] > 0
    found = output(thalweg, "out")
    assert len(found) % 100 == 0 and found
    whole = thalweg.command("generate", "records", "--rows", str(len(found) // 100), "--seed", "3", "-o", "whole.bin")
    assert whole.exit == 0, whole
    assert found == (thalweg.folder / "whole.bin").read_bytes()


def test_bad_records_know_where_they_came_from(thalweg):
    """A row that was on disk still has its record, for dead letters."""
    port, n = free_port(), 4000
    flow = job(port, thalweg, cost="200us", on_bad_record={"dead_letter": "dead.jsonl"})
    flow["steps"].append({"select": {"n": "int64(substr(line, 1, 6))"}})
    flow["sink"]["file"]["format"] = "csv"
    with Live(thalweg, flow) as live:
        with connect(port, 60) as client:
            for i in range(n):
                client.sendall((b"bad!!!" if i % 1000 == 999 else b"%06d" % i) + b"z" * 5000 + b"\n")
            sent(client)
        summary = live.stop(120)
    assert summary["bad_records"] == 4 and summary["spilled_bytes"] > 0
    dead = (thalweg.folder / "dead.jsonl").read_text().splitlines()
    assert len(dead) == 4
    for k, line in enumerate(dead):
        assert f'"record": {1000 * (k + 1)}' in line and '"file": "tcp 127.0.0.1' in line and '"data": "bad!!!zzz' in line


def test_explain_and_check(thalweg):
    port = free_port()
    thalweg.job_arguments(job(port, thalweg), False, {})
    plan = thalweg.command("explain", "job.yaml")
    assert "move into overflow (what workers have no time for waits in a log on disk, which ends with the run), spills" in plan.stdout, plan
    assert "at most once (because of tcp)" in plan.stdout
    ends = {"source": {"generate": {"kind": "records", "rows": 10, "overflow": "disk"}}, "sink": "discard"}
    result = thalweg.run(ends)
    assert result.exit == 2 and "this source comes to an end" in result.stderr, result


def test_a_log_without_order_before_a_window(thalweg):
    """Rows overtake each other in it, so that many would be late: refused before anything is lost."""
    source = {"tcp": {"listen": f"127.0.0.1:{free_port()}", "format": "csv", "header": False,
                      "columns": {"ts": "timestamp", "key": "int64"}, "overflow": "disk"}}
    steps = [{"busy": {"for": "1ms"}}, {"window": {"time": "ts", "tumbling": "1s"}}, {"group": {"by": ["key"], "aggregate": {"n": "count"}}}]
    thalweg.job_arguments({"source": source, "steps": steps, "sink": {"file": {"path": "out/", "format": "csv"}}}, False, {})
    refused = thalweg.command("check", "job.yaml")
    assert refused.exit == 2 and "say ordered: key at the source" in refused.stderr, refused
    source["tcp"]["ordered"] = "key"
    thalweg.job_arguments({"source": source, "steps": steps, "sink": {"file": {"path": "out/", "format": "csv"}}}, False, {})
    assert thalweg.command("check", "job.yaml").exit == 0
