"""A real Kafka broker for tests, one for all of pytest's workers, and kcat to look at it.

The broker's jars come from scripts/setup (build/kafka/lib). Workers share the broker by a lock on a file:
whoever comes first starts it, whoever leaves last ends it. A test that kills it has it alone.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
JARS = ROOT / "build/kafka/lib"
PARTITIONS = 3
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/logs
num.partitions={partitions}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=10485760
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


QUICK_TO_START = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
QUICK_TO_WORK = ["-Xms1g", "-Xmx1g", "-XX:+UseG1GC"]


def java(*arguments, settings=QUICK_TO_START):
    return ["java", *settings, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{JARS}/*", *map(str, arguments)]


class Broker:
    """A broker whose state lies in a folder that several processes know."""

    def __init__(self, folder, settings=QUICK_TO_START):
        self.folder = Path(folder)
        self.settings = settings
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state = self.folder / "broker.json"

    # ---- its life ----

    @property
    def port(self):
        return json.loads(self.state.read_text())["port"]

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """The first time with a new port and empty logs; later with those that are there."""
        if not self.state.exists():
            port, controller = free_port(), free_port()
            (self.folder / "server.properties").write_text(
                PROPERTIES.format(port=port, controller=controller, folder=self.folder, partitions=PARTITIONS))
            subprocess.run(java("kafka.tools.StorageTool", "format", "-t", "dGhhbHdlZy10ZXN0cy0wMQ", "-c",
                                self.folder / "server.properties"), check=True, capture_output=True, timeout=60)
            self.state.write_text(json.dumps({"port": port}))
        log = open(self.folder / "broker.log", "ab")
        process = subprocess.Popen(java("kafka.Kafka", self.folder / "server.properties", settings=self.settings), stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL, start_new_session=True)
        self.state.write_text(json.dumps({"port": self.port, "pid": process.pid}))
        self.process = process
        end = time.monotonic() + 60
        while subprocess.run(["kcat", "-b", self.address, "-L", "-m", "1"], capture_output=True).returncode:
            assert process.poll() is None and time.monotonic() < end, (self.folder / "broker.log").read_text()[-3000:]
            time.sleep(0.1)

    def kill(self, number=signal.SIGKILL):
        pid = json.loads(self.state.read_text())["pid"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        end = time.monotonic() + 20
        while alive(pid) and time.monotonic() < end:
            if getattr(self, "process", None) and self.process.pid == pid:
                self.process.poll()
            time.sleep(0.02)

    def runs(self):
        return self.state.exists() and alive(json.loads(self.state.read_text()).get("pid", 0))

    # ---- its topics ----

    def kcat(self, *arguments, stdin=None, timeout=30, may_lack_topic=False):
        done = subprocess.run(["kcat", "-b", self.address, "-q", *map(str, arguments)], input=stdin, capture_output=True, timeout=timeout)
        if may_lack_topic and b"Unknown topic" in done.stderr:
            return b""
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def produce(self, topic, messages, partition=None, key=None):
        """One message a line; with `key`, what stands before it in each is the key."""
        where = [] if partition is None else ["-p", partition]
        keyed = [] if key is None else ["-K", key]
        lines = "".join(f"{m}\n" for m in messages).encode()
        self.kcat("-P", "-t", topic, *where, *keyed, "-X", "topic.metadata.refresh.fast.interval.ms=20", stdin=lines)

    def produce_files(self, topic, *paths, partition=0):
        self.kcat("-P", "-t", topic, "-p", partition, "-X", "message.max.bytes=10000000", *paths)

    def consume(self, topic, shown="%p|%k|%s\n"):
        """All there is, as (partition, key, value): only for values without line ends or bars."""
        out = self.kcat("-C", "-t", topic, "-o", "beginning", "-e", "-f", shown, "-X", "topic.metadata.refresh.fast.interval.ms=20",
                        "-X", "fetch.wait.max.ms=10", may_lack_topic=True).decode()
        return [(int(p), k, v) for p, k, v in (line.split("|", 2) for line in out.splitlines())]

    def values(self, topic):
        return [value for _, _, value in self.consume(topic)]

    def await_values(self, topic, n, timeout=20):
        """Until at least n messages are there."""
        end = time.monotonic() + timeout
        while True:
            values = self.values(topic)
            if len(values) >= n:
                return values
            assert time.monotonic() < end, f"{len(values)} of {n} messages in {topic}"
            time.sleep(0.05)

    def committed(self, topic, group):
        """Partition -> committed offset, by a member that only looks."""
        out = subprocess.run(java("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server",
                                  self.address, "--describe", "--group", group), capture_output=True, timeout=60, text=True).stdout
        rows = [line.split() for line in out.splitlines() if topic in line.split()]
        return {int(row[2]): int(row[3]) for row in rows if row[3] != "-"}


def alive(pid):
    try:
        return bool(pid) and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def locked(path, how):
    with open(path, "a") as file:
        fcntl.flock(file, how)
        yield


@contextlib.contextmanager
def shared_broker(folder):
    broker = Broker(folder)
    users = open(broker.folder / "users.lock", "a")
    with locked(broker.folder / "start.lock", fcntl.LOCK_EX):
        fcntl.flock(users, fcntl.LOCK_SH)
        if not broker.runs():
            broker.start()
    yield broker
    with locked(broker.folder / "start.lock", fcntl.LOCK_EX):
        fcntl.flock(users, fcntl.LOCK_UN)
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            broker.kill()
        except BlockingIOError:
            pass
        users.close()
