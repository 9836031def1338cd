"""A live job at capacity for some seconds, its memory looked at five times a second: steady.py THALWEG JOB.yaml SECONDS
[PORT, where a peer accepts and never reads]. Prints the job's summary and by how much the resident size grows in an hour,
by a straight line through the last three quarters of the time."""

import json
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

thalweg, job, seconds, *port = sys.argv[1:]
silent = [socket.create_server(("127.0.0.1", int(p))) for p in port]
process = subprocess.Popen([thalweg, "run", job, "--json"], stdout=subprocess.PIPE)
start, seen = time.monotonic(), []
while (now := time.monotonic() - start) < float(seconds):
    with open(f"/proc/{process.pid}/status") as file:
        seen.append((now, int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024))
    time.sleep(0.2)
for listener in silent:
    listener.close()
process.send_signal(signal.SIGTERM)
if silent:
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)  # what nobody reads can't be drained
summary = json.loads(process.communicate(timeout=60)[0])
late = [(t, m) for t, m in seen if t > float(seconds) / 4]
slope = statistics.linear_regression(*zip(*late)).slope
print(json.dumps({**summary, "first_mib": late[0][1], "last_mib": late[-1][1], "growth_mib_per_hour": round(slope * 3600, 1)}))
