"""Runs an engine until a topic has N messages: until_written.py BROKERS TOPIC N ARGV...

Prints JOB_SECONDS, from the first message to the last as the broker sees them, and ends the engine by SIGTERM. It looks
20 times a second.
"""

import re
import signal
import subprocess
import sys
import time

brokers, topic, wanted, argv = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]


def written():
    partitions = len(re.findall(r"partition \d+, leader", subprocess.run(
        ["kcat", "-b", brokers, "-L", "-t", topic], capture_output=True, text=True).stdout))
    ask = [word for p in range(partitions) for word in ("-t", f"{topic}:{p}:-1")]
    out = subprocess.run(["kcat", "-b", brokers, "-Q", *ask], capture_output=True, text=True).stdout
    return sum(int(n) for n in re.findall(r"offset (\d+)", out))


engine = subprocess.Popen(argv, stdout=sys.stderr)
first, deadline = None, time.monotonic() + 600
while (n := written()) < wanted:
    first = first or (n and (time.monotonic(), n))
    if engine.poll() is not None or time.monotonic() > deadline:
        sys.exit(f"the engine ended with {engine.returncode} after {n} of {wanted} messages")
    time.sleep(0.05)
last = time.monotonic()
if not first:
    sys.exit("all messages came at once: too few to measure")
print(f"JOB_SECONDS={(last - first[0]) * wanted / (wanted - first[1])}")
engine.send_signal(signal.SIGTERM)
try:
    engine.wait(60)
except subprocess.TimeoutExpired:
    engine.kill()
