"""Sends events by the clock and receives what windows of a second give: windows.py HOST:PORT LISTEN_PORT RATE KEYS SECONDS.
Prints how long after the event that passed the watermark each result came. One thread, a millisecond a turn."""

import json
import os
import select
import socket
import sys
import time

address, back, rate, keys, seconds = sys.argv[1], *map(int, sys.argv[2:])
per_turn = rate // 1000
listener = socket.create_server(("127.0.0.1", back))
host, port = address.split(":")
deadline = time.monotonic() + 10
while True:
    try:
        out = socket.create_connection((host, int(port)))
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.01)
out.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
into = None
passed, delays, received, n = None, [], 0, 0
start = time.monotonic()
behind = 0.0


def receive(until):
    """What comes by then."""
    global into, received
    while True:
        left = until - time.monotonic()
        ready = select.select([into or listener], [], [], max(left, 0))[0]
        if ready and not into:
            into = listener.accept()[0]
        elif ready:
            data = into.recv(1 << 20)
            if not data:
                return
            delay = time.monotonic() - passed
            lines = data.count(b"\n")
            received += lines
            delays.append((delay, lines))
        if left <= 0:
            return


for turn in range(seconds * 1000 + 1):
    due = start + turn / 1000
    receive(due)
    behind = max(behind, time.monotonic() - due)
    stamp = time.strftime("2026-01-01T00:%M:%S", time.gmtime(turn // 1000)) + f".{turn % 1000:03d}Z"
    lines = "".join(f"{stamp},{(n + i) % keys}\n" for i in range(per_turn)).encode()
    n += per_turn
    if turn % 1000 == 0:
        passed = time.monotonic()
    out.sendall(lines)
receive(time.monotonic() + 0.5)
out.close()
delays.sort()


def percentile(p):
    wanted = p * sum(lines for _, lines in delays)
    for delay, lines in delays:
        wanted -= lines
        if wanted <= 0:
            return delay


print(json.dumps({"sent": n, "received": received, "p50_ms": round(percentile(0.5) * 1e3, 3), "p99_ms": round(percentile(0.99) * 1e3, 3),
                  "most_ms": round(delays[-1][0] * 1e3, 3), "sender_behind_ms": round(behind * 1e3, 3)}), flush=True)
if os.fork() == 0:  # what the job still has when it is told to end
    os.close(1)
    while into.recv(1 << 20):
        pass
