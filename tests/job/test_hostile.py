"""Clients that mean no good, or go about it in masses: the others are served meanwhile, memory and descriptors stay few.
(Single bad messages: test_tcp.py; single slow requests: test_http.py.)"""

import os
import socket
import threading
import time

import pytest

from live import Live, connect, free_port, output, reset, wait_until
from test_http import answers, post
from test_http import job as http_job
from test_tcp import job as stream_job

MANY = 1000


def descriptors(live):
    return len(os.listdir(f"/proc/{live.process.pid}/fd"))


def lines(thalweg):
    return output(thalweg, "out.txt").decode().splitlines()


@pytest.mark.sanitized
def test_a_thousand_requests_that_drip(thalweg):
    """Each sends a byte of its header now and then, and never all of it."""
    port = free_port()
    with Live(thalweg, http_job(port, memory="64MiB", timeout="2s")) as live:
        connect(port).close()
        clients = [connect(port) for _ in range(MANY)]
        over = threading.Event()

        def drip():
            for byte in b"POST /in HTTP/1.1\r\nX: " + b"y" * 100:
                for s in clients:
                    try:
                        s.send(bytes([byte]))
                    except OSError:
                        pass
                if over.wait(0.05):
                    return
        dripping = threading.Thread(target=drip)
        dripping.start()
        slowest = 0
        for i in range(20):
            begin = time.monotonic()
            assert post(port, f"good {i}\n").status == 202
            slowest = max(slowest, time.monotonic() - begin)
        assert slowest < 5, "who is quick is served meanwhile"
        if thalweg.build == "release":
            assert live.rss() < 128 << 20
        wait_until(lambda: descriptors(live) < 100, timeout=30)  # they are given up, one after the other
        over.set()
        dripping.join()
        told = [s for s in clients[:50] if answers(s, 1) == [408]]
        [s.close() for s in clients]
        live.stop()
    assert len(told) > 40, "and most could read why"
    assert lines(thalweg) == [f"good {i}" for i in range(20)]


@pytest.mark.sanitized
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_connections_that_come_and_go(thalweg, kind):
    """Thousands, most of which say nothing, some of which break: those that send are heard, and none leaves a trace."""
    where = free_port() if kind == "tcp" else str(thalweg.folder / "s")
    listen = f"127.0.0.1:{where}" if kind == "tcp" else where
    with Live(thalweg, stream_job({kind: {"listen": listen}}, memory="64MiB", on_bad_record="skip")) as live:
        connect(where).close()
        wait_until(lambda: descriptors(live) > 3)
        before = descriptors(live)

        def client(n):
            for i in range(500):
                s = connect(where)
                if i % 5 == 0:
                    s.sendall(f"{n} {i}\n".encode())
                    s.shutdown(socket.SHUT_WR)
                    assert s.recv(1) == b"", "it is read to its end"
                if i % 5 == 1:
                    reset(s)
                else:
                    s.close()
        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        wait_until(lambda: descriptors(live) <= before)
        if thalweg.build == "release":
            assert live.rss() < 100 << 20
        summary = live.stop()
    assert summary["bad_records"] == 0
    assert sorted(lines(thalweg)) == sorted(f"{n} {i}" for n in range(4) for i in range(0, 500, 5))


@pytest.mark.sanitized
def test_more_connections_than_descriptors(thalweg):
    """Who finds no descriptor is served when others have gone."""
    port = free_port()
    thalweg.prefix = ["prlimit", "--nofile=64"]
    with Live(thalweg, stream_job({"tcp": {"listen": f"127.0.0.1:{port}"}}, memory="64MiB")) as live:
        clients = [connect(port) for _ in range(200)]
        for i, s in enumerate(clients):
            s.sendall(f"{i}\n".encode())
            s.shutdown(socket.SHUT_WR)
        for s in clients:
            assert s.recv(1) == b""
        live.stop()
    assert sorted(map(int, lines(thalweg))) == list(range(200))
