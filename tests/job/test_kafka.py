"""The source and the sink `kafka` against a real broker."""

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from harness import ROOT, SANITIZER_ENV, Thalweg, launcher, read_csv
from kafka_broker import PARTITIONS, free_port, locked, shared_broker


@pytest.fixture(scope="session")
def one_broker(tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent  # that of all workers
    with shared_broker(folder / "kafka") as broker:
        yield broker


@pytest.fixture
def broker(one_broker):
    """One that others may use at the same time."""
    with locked(one_broker.folder / "tests.lock", fcntl.LOCK_SH):
        if not one_broker.runs():
            one_broker.start()
        yield one_broker


@pytest.fixture
def own_broker(one_broker):
    """One that may be killed: nobody else uses it meanwhile."""
    with locked(one_broker.folder / "tests.lock", fcntl.LOCK_EX):
        if not one_broker.runs():
            one_broker.start()
        yield one_broker


@pytest.fixture
def name(request):
    return f"{request.node.name.translate(str.maketrans('[]', '..'))}-{os.getpid()}"


def source(broker, topic, group=None, **options):
    return {"kafka": {"brokers": broker.address, "topic": topic, "group": group or f"g-{topic}", **options}}


def sink(broker, topic, **options):
    return {"kafka": {"brokers": broker.address, "topic": topic, **options}}


@contextlib.contextmanager
def running(thalweg, job, env=None, **sets):
    process = thalweg.start(job, env=env, **sets)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def stop(process):
    """Its summary, after the first SIGTERM."""
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr.decode()
    summary = json.loads(stdout)
    assert summary["status"] == "done"
    return summary


def read_all(thalweg, broker, topic, rows, **options):
    """The first rows of a topic, as CSV."""
    job = {"source": source(broker, topic, f"reader-{topic}", **options), "steps": [{"limit": rows}],
           "sink": {"file": {"path": "read.csv"}}}
    return thalweg.table(job, out="read.csv")


COLUMNS = {"n": "int64", "s": "string", "x": "float64", "t": "timestamp", "b": "bool"}
ROWS = [
    ("1", "plain", "0.5", "2026-01-31T05:00:00Z", "true"),
    ("2", "a,b \"quoted\"", None, "1969-12-31T23:59:59.5Z", "false"),
    (None, "", "-1e+30", None, None),
    ("-9223372036854775808", "äöü\u20ac", "3", "2026-01-31T05:00:00.000001Z", "true"),
]


def quoted(value):
    if value is None:
        return ""
    return '"' + value.replace('"', '""') + '"' if value == "" or any(c in value for c in ',"') else value


@pytest.mark.parametrize("format", ["csv", "json"])
def test_rows_come_back_as_they_were(thalweg, broker, name, format):
    thalweg.write("in.csv", "n,s,x,t,b\n" + "".join(",".join(map(quoted, row)) + "\n" for row in ROWS))
    summary = thalweg.ok({"source": {"file": {"path": "in.csv", "columns": COLUMNS}}, "sink": sink(broker, name, format=format, key="s")})
    assert summary["rows_out"] == len(ROWS)
    rows = read_all(thalweg, broker, name, len(ROWS), format=format, columns=COLUMNS)
    assert sorted(rows, key=str) == sorted(ROWS, key=str)


def test_lines_and_records_come_back(thalweg, broker, name):
    lines = [f"line {n} äöü" if n % 7 else "" for n in range(1000)]
    thalweg.write("in.txt", "".join(f"{line}\n" for line in lines))
    thalweg.ok({"source": {"file": {"path": "in.txt"}}, "sink": sink(broker, name, format="lines")})
    assert sorted(r[0] or "" for r in read_all(thalweg, broker, name, 1000, format="lines")) == sorted(lines)
    thalweg.write("in.dat", b"".join(b"%04d-%03d" % (n, n % 1000) for n in range(1000)))
    records = {"format": "records", "length": 8, "columns": {"a": [0, 4], "b": [4, 4]}}
    thalweg.ok({"source": {"file": {"path": "in.dat", **records}}, "sink": sink(broker, name + "-r", format="records")})
    assert sorted(read_all(thalweg, broker, name + "-r", 1000, **records)) == [(f"{n:04d}", f"-{n:03d}") for n in range(1000)]


def test_several_topics_partitions_and_keys(thalweg, broker, name):
    topics = [f"{name}-a", f"{name}-b"]
    sent = set()
    for t, topic in enumerate(topics):
        for p in range(PARTITIONS):
            messages = [f"k{t}{p}{n}:{t}-{p}-{n}" for n in range(100)]
            broker.produce(topic, messages, partition=p, key=":")
            sent |= {tuple(m.split(":")) for m in messages}
    out = f"{name}-out"
    with running(thalweg, {"source": source(broker, topics, name), "sink": sink(broker, out, key="key")}) as process:
        broker.await_values(out, 600)
        summary = stop(process)
    assert summary["rows_in"] == summary["rows_out"] == 600
    copied = broker.consume(out)
    assert {(k, v) for _, k, v in copied} == sent and len(copied) == 600
    # A key has the partition that Java's clients give it.
    again = f"{name}-java"
    broker.kcat("-P", "-t", again, "-K", ":", "-X", "partitioner=murmur2_random",
                stdin="".join(f"{k}:{v}\n" for _, k, v in copied).encode())
    assert {k: p for p, k, _ in broker.consume(again)} == {k: p for p, k, _ in copied}
    assert len({p for p, _, _ in copied}) == PARTITIONS


def test_start_latest_sees_what_comes_later(thalweg, broker, name):
    broker.produce(name, ["old"] * 10, partition=0)
    out = f"{name}-out"
    with running(thalweg, {"source": source(broker, name, start="latest"), "sink": sink(broker, out)}) as process:
        end = time.monotonic() + 20
        while not (values := broker.values(out)):
            broker.produce(name, ["new"], partition=0)
            assert time.monotonic() < end
        stop(process)
    assert set(values) == {"new"}


def test_a_broker_that_is_not_there(thalweg):
    class Nobody:
        address = f"127.0.0.1:{free_port()}"
    result = thalweg.run({"source": source(Nobody, "t"), "sink": {"discard": {}}}, timeout=30)
    assert result.exit == 1 and result.seconds < 15, result
    assert len(result.errors) == 1 and f"no broker of {Nobody.address} answers" in result.errors[0], result


def test_an_unknown_topic(thalweg, broker, name):
    result = thalweg.run({"source": source(broker, name), "sink": {"discard": {}}}, timeout=30)
    assert result.exit == 1 and result.seconds < 10, result
    assert len(result.errors) == 1 and f"have no topic '{name}'" in result.errors[0], result


def test_sigterm_drains_and_the_next_run_goes_on(thalweg, broker, name):
    broker.produce(name, [f"a{n}" for n in range(1000)])
    out = f"{name}-out"
    job = {"source": source(broker, name), "sink": sink(broker, out)}
    with running(thalweg, job) as process:
        broker.await_values(out, 1000)
        assert stop(process)["rows_in"] == 1000
    broker.produce(name, [f"b{n}" for n in range(500)])
    with running(thalweg, job) as process:
        values = broker.await_values(out, 1500)
        assert stop(process)["rows_in"] == 500
    assert sorted(values) == sorted([f"a{n}" for n in range(1000)] + [f"b{n}" for n in range(500)])


def test_a_killed_run_has_its_partitions_again_within_two_seconds(thalweg, broker, name):
    broker.produce(name, ["x"] * 100)
    out = f"{name}-out"
    job = {"source": source(broker, name), "sink": sink(broker, out)}
    with running(thalweg, job) as process:
        broker.await_values(out, 100)
        process.kill()
        process.communicate()
    begin = time.monotonic()
    with running(thalweg, job) as process:
        broker.await_values(out, 200)  # nothing was committed
        assert time.monotonic() - begin < 2
        stop(process)


def test_a_broker_that_is_killed_and_comes_back(thalweg, own_broker, name):
    broker = own_broker
    out = f"{name}-out"
    broker.produce(name, [f"a{n}" for n in range(1000)])
    with running(thalweg, {"source": source(broker, name), "sink": sink(broker, out)}) as process:
        broker.await_values(out, 1000)
        broker.kill()
        time.sleep(0.5)
        broker.start()
        broker.produce(name, [f"b{n}" for n in range(1000)])
        values = broker.await_values(out, 2000)
        summary = stop(process)
    assert summary["rows_in"] == summary["rows_out"] == 2000
    assert summary["warnings"] > 0
    assert sorted(values) == sorted(f"{run}{n}" for run in "ab" for n in range(1000))


def test_a_poison_record(thalweg, broker, name):
    broker.produce(name, ['{"a": 1}', '{"a": 2}', "poison", '{"a": 4}'], partition=1)
    job = {"source": source(broker, name, format="json", columns={"a": "int64"}), "sink": {"file": {"path": "out/", "format": "csv"}}}
    result = thalweg.run(job)
    assert result.exit == 1 and len(result.errors) == 1, result
    assert f"{name}/1" in result.errors[0] and "record 3" in result.errors[0], result
    job["sink"] = sink(broker, f"{name}-out", format="json")
    job["run"] = {"on_bad_record": {"dead_letter": "dead.jsonl"}}
    with running(thalweg, job) as process:
        values = broker.await_values(f"{name}-out", 3)
        assert stop(process)["bad_records"] == 1
    assert sorted(values) == ['{"a":1}', '{"a":2}', '{"a":4}']
    dead = json.loads(thalweg.read("dead.jsonl"))
    assert (dead["file"], dead["record"], dead["data"]) == (f"{name}/1", 3, "poison")


def test_large_messages(thalweg, broker, name):
    sizes = [5, 40_000, 900_000, 5_000_000]
    for n, size in enumerate(sizes):
        thalweg.write(f"in/{n}", bytes([n + 97]) * size)
    job = {"source": {"file": {"path": "in/*", "format": "binary"}}, "sink": sink(broker, name)}
    result = thalweg.run(job)
    assert result.exit == 1 and "message.max.bytes" in result.errors[0], result
    assert "3" in result.errors[0], "the file is named"
    summary = thalweg.ok(job, run_on_bad_record="skip")
    assert (summary["rows_out"], summary["bad_records"]) == (3, 1)
    job["sink"] = sink(broker, f"{name}-2", options={"message.max.bytes": "6000000"})
    assert thalweg.ok(job)["rows_out"] == 4
    copy = {"source": source(broker, f"{name}-2"), "steps": [{"limit": 4}, {"derive": {"n": "length(string(content))"}}],
            "sink": {"file": {"path": "sizes.csv", "format": "csv"}}}
    rows = thalweg.table(copy, out="sizes.csv")
    assert sorted((int(row[2]), set(row[0])) for row in rows) == [(size, {chr(n + 97)}) for n, size in enumerate(sizes)]


def test_secrets_are_not_shown(thalweg, broker, name):
    job = {"source": source(broker, name, options={"sasl.mechanisms": "PLAIN", "security.protocol": "SASL_PLAINTEXT",
                                                    "sasl.username": "me", "sasl.password": "${SECRET}"}), "sink": {"discard": {}}}
    thalweg.write("job.yaml", json.dumps(job))
    env = {"SECRET": "hunter2hunter2"}
    explained = thalweg.command("explain", "job.yaml", env=env)
    assert explained.exit == 0, explained
    result = thalweg.run(job, env=env, timeout=30)
    assert result.exit == 1 and len(result.errors) == 1, result
    job["source"]["kafka"]["options"]["security.protocl"] = "${SECRET}"
    job["source"]["kafka"]["options"]["fetch.wait.max.ms"] = "${SECRET}"
    wrong = thalweg.run(job, env=env)
    assert wrong.exit == 2 and len(wrong.errors) == 2, wrong
    assert "job.yaml:" in wrong.errors[0] and "did you mean 'security.protocol'?" in "".join(wrong.errors), wrong
    for shown in (explained, result, wrong):
        assert "hunter2" not in shown.stdout + shown.stderr


@pytest.mark.parametrize("build", ["asan"])
def test_the_unit_tests_against_a_real_broker(broker, build):
    """They commit epochs and transactions, which no job can ask for one by one."""
    process = subprocess.run([*launcher(build), str(ROOT / f"build/{build}/tests/unit/io/kafka_test")], capture_output=True,
                             env={**os.environ, **SANITIZER_ENV, "THALWEG_KAFKA_BROKERS": broker.address}, timeout=120)
    output = (process.stdout + process.stderr).decode("utf-8", "replace")
    assert process.returncode == 0 and "PASSED" in output, output[-6000:]


# ---- checkpoints ----


def windowed(broker, topic, out, guarantee=None, **run):
    return {
        "source": source(broker, topic, start="earliest", format="json", columns={"ts": "timestamp", "k": "int64", "v": "int64"}),
        "steps": [{"window": {"time": "ts", "tumbling": "1s"}}, {"group": {"by": ["k"], "aggregate": {"n": "count", "s": "sum(v)"}}}],
        "sink": out,
        "run": {"checkpoint": {"dir": "state", "every": "100ms"}, **({"guarantee": guarantee} if guarantee else {}), **run},
    }


def feed(broker, topic, rows, first=0):
    """Rows n = first.. with 1 ms of event time each, to one partition."""
    def stamp(n):
        return datetime.fromtimestamp(1704067200 + n / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"

    lines = "".join(json.dumps({"ts": stamp(n), "k": n % 5, "v": n}) + "\n" for n in range(first, first + rows))
    subprocess.run(["kcat", "-P", "-b", broker.address, "-t", topic, "-p", "0"], input=lines.encode(), check=True, timeout=60)


def windows_of(rows):
    """{(second, key): (count, sum)} of the windows that rows 0 .. rows - 1 close."""
    found = {}
    for n in range(rows):
        key = (n // 1000, n % 5)
        count, total = found.get(key, (0, 0))
        found[key] = (count + 1, total + n)
    closed = (rows - 1) // 1000
    return {k: v for k, v in found.items() if k[0] < closed}


def committed_rows(broker, topic):
    """What a reader of committed messages sees."""
    out = broker.kcat("-C", "-t", topic, "-e", "-X", "isolation.level=read_committed", timeout=60, may_lack_topic=True)
    found = []
    for line in out.decode().splitlines():
        r = json.loads(line)
        second = int(datetime.fromisoformat(r["window_start"].replace("Z", "+00:00")).timestamp()) - 1704067200
        found.append(((second, r["k"]), (r["n"], r["s"])))
    return found


@pytest.mark.parametrize("seed", range(2))
def test_exactly_once_through_kills(thalweg, broker, name, seed):
    draw = random.Random(seed)
    out = sink(broker, f"{name}-out", format="json")
    flow = windowed(broker, name, out, "exactly_once")
    fed = 0
    for n in range(6):
        more = draw.randrange(1500, 4000)
        feed(broker, name, more, fed)
        fed += more
        with running(thalweg, flow, run_parallelism=draw.choice([1, 2, 4])) as process:
            time.sleep(draw.uniform(0.3, 1.5))
            assert process.poll() is None, process.communicate()
            process.kill()
            process.communicate()
    with running(thalweg, flow) as process:
        deadline = time.monotonic() + 30
        while len(committed_rows(broker, f"{name}-out")) < len(windows_of(fed)):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.3)
        stop(process)
    found = committed_rows(broker, f"{name}-out")
    assert len(found) == len(dict(found)), "a window came twice"
    assert dict(found) == windows_of(fed)


def test_a_run_that_was_thought_dead_is_fenced(thalweg, broker, name):
    """It stands still, another one goes on elsewhere from a copy of its checkpoints, and it wakes up."""
    out = f"{name}-out"
    flow = windowed(broker, name, sink(broker, out, format="json"), "exactly_once")
    fed = [0]

    def more():
        feed(broker, name, 3000, fed[0])
        fed[0] += 3000

    def wait_for_all(process):
        end = time.monotonic() + 40
        while len(committed_rows(broker, out)) < len(windows_of(fed[0])):
            assert time.monotonic() < end and process.poll() is None, process.communicate()
            time.sleep(0.3)

    more()
    with running(thalweg, flow) as first:
        wait_for_all(first)
        first.send_signal(signal.SIGSTOP)
        try:
            second = thalweg.run(flow)
            assert second.exit == 1 and "another run is writing there" in second.stderr, second
            other = Thalweg(thalweg.folder / "other", thalweg.build)
            shutil.copytree(thalweg.folder / "state", other.folder / "state")
            more()
            with running(other, flow) as process:
                wait_for_all(process)
                first.send_signal(signal.SIGCONT)
                more()
                _, stderr = first.communicate(timeout=60)
                assert first.returncode == 1, stderr
                assert b"fenced" in stderr.lower(), stderr
                wait_for_all(process)
                stop(process)
        finally:
            if first.poll() is None:
                first.send_signal(signal.SIGCONT)
    found = committed_rows(broker, out)
    assert len(found) == len(dict(found)), "a window came twice"
    assert dict(found) == windows_of(fed[0])


@pytest.mark.parametrize("guarantee", ["exactly_once"])
def test_a_broker_that_restarts_within_transactions(thalweg, own_broker, name, guarantee):
    broker = own_broker
    out = f"{name}-out"
    feed(broker, name, 3000)
    with running(thalweg, windowed(broker, name, sink(broker, out, format="json"), guarantee)) as process:
        end = time.monotonic() + 30
        while len(committed_rows(broker, out)) < len(windows_of(3000)):
            assert time.monotonic() < end and process.poll() is None, process.communicate()
            time.sleep(0.2)
        for turn in range(2):
            broker.kill()
            time.sleep(0.3)
            broker.start()
            feed(broker, name, 3000, 3000 * (turn + 1))
            end = time.monotonic() + 60
            while len(committed_rows(broker, out)) < len(windows_of(3000 * (turn + 2))):
                assert time.monotonic() < end and process.poll() is None, process.communicate()
                time.sleep(0.2)
        stop(process)
    found = committed_rows(broker, out)
    assert len(found) == len(dict(found)), "a window came twice"
    assert dict(found) == windows_of(9000)


def test_kafka_to_files_through_kills(thalweg, broker, name):
    flow = windowed(broker, name, {"file": {"path": "out.csv/"}})
    fed = 0
    for n in range(4):
        feed(broker, name, 3000, fed)
        fed += 3000
        with running(thalweg, flow) as process:
            time.sleep(0.5 + 0.3 * n)
            process.kill()
            process.communicate()
    with running(thalweg, flow) as process:
        time.sleep(3)
        stop(process)
    rows = [line.rstrip("\n").split(",") for part in sorted((thalweg.folder / "out.csv").glob("part-*")) for line in list(open(part))[1:]]
    assert len(rows) == len(windows_of(fed)) == len({(r[0], r[1]) for r in rows})
    assert sum(int(r[3]) for r in rows) == sum(v[0] for v in windows_of(fed).values())
    assert sum(int(r[4]) for r in rows) == sum(v[1] for v in windows_of(fed).values())


@pytest.mark.parametrize("job, message", [
    (lambda b, n: {"source": source(b, n), "sink": sink(b, n + "o"), "run": {"guarantee": "exactly_once"}},
     "this job can hold at_most_once, not exactly_once: because of run.checkpoint, which is not set"),
    (lambda b, n: {"source": source(b, n), "sink": {"stdout": {}}, "run": {"guarantee": "exactly_once", "checkpoint": {"dir": "s"}}},
     "this job can hold at_least_once, not exactly_once: because of stdout"),
    (lambda b, n: {"source": {"generate": {"kind": "records", "rate": "10/s"}}, "sink": sink(b, n, format="records"),
                   "run": {"guarantee": "exactly_once", "checkpoint": {"dir": "s"}}},
     "this job can hold at_least_once, not exactly_once: because of kafka"),
], ids=["checkpoint", "stdout", "source"])
def test_a_guarantee_that_cannot_be_held(thalweg, broker, name, job, message):
    thalweg.write("job.yaml", json.dumps(job(broker, name)))
    result = thalweg.command("check", "job.yaml")
    assert result.exit == 2
    assert message in result.stderr, result


def test_capacity_over_a_topic(thalweg, broker):
    """The generator of `bench capacity` makes a topic, feeds it, and deletes it."""
    grid = {"sizes": 1000, "engines": {"kafka": {"brokers": broker.address}}, "mode": "closed", "in_flight": 8,
            "trial": {"warmup": "100ms", "measured": "300ms"}}
    thalweg.write("grid.yaml", json.dumps(grid))
    result = thalweg.command("bench", "capacity", "grid.yaml", "--json", timeout=120)
    assert result.exit == 0, result
    cell = json.loads(result.stdout)["cells"][0]
    assert cell["trial"]["offered"] > 0 and cell["trial"]["drained"] == 1 and cell["why"] == "", cell
    topics = json.loads(subprocess.run(["kcat", "-b", broker.address, "-L", "-J"], check=True, capture_output=True).stdout)["topics"]
    assert not [t["topic"] for t in topics if t["topic"].startswith("thalweg-")]
