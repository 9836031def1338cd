"""Kafka in, derive, Kafka out: messages of 100 bytes, with the broker on the same processors."""

import atexit
import shutil
import subprocess
import sys
import zlib

import data
import engines
from case import Case, expect

sys.path.insert(0, str(engines.ROOT / "tests/job"))
from kafka_broker import JARS, QUICK_TO_WORK, Broker  # noqa: E402

TITLE = "Kafka to Kafka, 100-byte messages in upper case"


def lines(rows):
    def build(path):
        with open(path, "w") as file:
            for n in range(rows):
                file.write(f"{n:012d} {n * 7919 % 1000003:07d} ".ljust(99, "abcdefghij"[n % 10]) + "\n")
    return data.make(f"kafka-{rows}.txt", build)


def checksum(broker, topic, change):
    """Of all values, whatever their order."""
    process = subprocess.Popen(["kcat", "-b", broker.address, "-q", "-C", "-t", topic, "-o", "beginning", "-e"], stdout=subprocess.PIPE)
    n = total = 0
    for line in process.stdout:
        n += 1
        total += zlib.crc32(change(line))
    return n, total


def cases(quick):
    rows = 300_000 if quick else 5_000_000
    folder, into = engines.BUILD / "bench/kafka-broker", "in"
    shutil.rmtree(folder, ignore_errors=True)
    broker = Broker(folder, QUICK_TO_WORK)
    broker.start()
    atexit.register(broker.kill)
    load = {"source": {"file": {"path": str(lines(rows)), "format": "lines"}},
            "sink": {"kafka": {"brokers": broker.address, "topic": into}}}
    subprocess.run(engines.thalweg(folder, load), check=True, stdout=subprocess.DEVNULL)
    expected = checksum(broker, into, bytes.upper)
    turn = [0]

    def until(argv):
        return [sys.executable, str(engines.ROOT / "bench/until_written.py"), broker.address, f"out-{turn[0]}", str(rows), *argv]

    def thalweg(folder, **settings):
        turn[0] += 1
        return until(engines.thalweg(folder, {
            "source": {"kafka": {"brokers": broker.address, "topic": into, "group": f"g-{turn[0]}"}},
            "steps": [{"select": {"content": "upper(string(content))"}}],
            "sink": {"kafka": {"topic": f"out-{turn[0]}"}}}, **settings))

    def thalweg_once(folder):
        return thalweg(folder, guarantee="exactly_once", checkpoint={"dir": str(folder / "state"), "every": "100ms"})

    def streams(folder, guarantee="at_least_once"):
        turn[0] += 1
        return until(["java", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{JARS}/*",
                      str(engines.ROOT / "bench/peers/KafkaStreamsUpper.java"), broker.address, into, f"out-{turn[0]}",
                      guarantee, str(engines.THREADS)])

    def verify(engine, folder, figures):
        return expect(checksum(broker, f"out-{turn[0]}", bytes) == expected, "every message in upper case, once")

    goal = lambda f: f["streams"]["job_seconds"] / f["thalweg"]["job_seconds"] >= 3
    yield Case("kafka", f"{rows / 1e6:g} M messages", {"thalweg": thalweg, "streams": streams}, verify, rows, "messages",
               goals=[("3 times Kafka Streams", goal, ("thalweg", "streams"))])
    # Kafka Streams commits ten times a second then.
    yield Case("kafka-once", f"{rows / 1e6:g} M messages, exactly once",
               {"thalweg": thalweg_once, "streams": lambda folder: streams(folder, "exactly_once_v2")}, verify, rows, "messages",
               goals=[("3 times Kafka Streams, exactly once", goal, ("thalweg", "streams"))])
