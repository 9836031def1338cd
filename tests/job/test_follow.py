"""Folders that go on getting files: every row of every complete file comes out once, however the files come and however
often the run is stopped, killed and gone on with."""

import collections
import gzip
import json
import os
import random
import time

import pytest

from live import Live, settle, wait_until
from test_checkpoint import stop as stop_at_once


def job(path="in/*.txt", sink="out.txt/", every="50ms", checkpoint=True, **options):
    flow = {
        "source": {"file": {"path": path, "follow": True, **options}},
        "sink": {"file": {"path": sink}},
        "run": {},
    }
    if checkpoint:
        flow["run"]["checkpoint"] = {"dir": "state", "every": every}
    return flow


class Writer:
    """An instrument: writes lines that tell where they come from, and knows what it wrote."""

    def __init__(self, folder, seed=1):
        self.folder = folder / "in"
        self.folder.mkdir(exist_ok=True)
        self.draw = random.Random(seed)
        self.lines = []
        self.n = 0

    def text(self, rows):
        self.n += 1
        lines = [f"{self.n} {i} {'x' * self.draw.randrange(30)}" for i in range(rows)]
        self.lines += lines
        return "".join(line + "\n" for line in lines).encode()

    def place(self, name, data):
        """Under another name first."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = target.with_name("." + target.name)
        hidden.write_bytes(data)
        hidden.rename(target)

    def renamed(self, rows=5, name=None):
        data = self.text(rows)
        self.place(name or f"{self.n:06}.txt", data)

    def written(self, rows=5, pieces=3, pause=0.0, name=None):
        data = self.text(rows)
        with open(self.folder / (name or f"{self.n:06}.txt"), "wb") as file:
            for i in range(pieces):
                file.write(data[len(data) * i // pieces:len(data) * (i + 1) // pieces])
                file.flush()
                time.sleep(pause)

    def compressed(self, rows=50):
        data = gzip.compress(self.text(rows))
        self.place(f"{self.n:06}.txt", data)


def came(thalweg, folder="out.txt"):
    lines = []
    for part in sorted((thalweg.folder / folder).glob("[!.]*")):
        lines += part.read_text().splitlines()
    return lines


def check(thalweg, writer):
    found, wanted = collections.Counter(came(thalweg)), collections.Counter(writer.lines)
    assert not found - wanted, f"{sum((found - wanted).values())} rows too many, as {list(found - wanted)[:3]}"
    assert not wanted - found, f"{sum((wanted - found).values())} rows are missing, as {list(wanted - found)[:3]}"


def kill(process):
    process.kill()
    process.communicate()


def stop(process):
    settle(0.3)  # it hears signals by then
    return stop_at_once(process)


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("options", [{}, {"run_parallelism": 8, "run_batch_rows": 5}], ids=["", "8"])
def test_files_that_are_there_and_files_that_come(thalweg, options):
    writer = Writer(thalweg.folder)
    for _ in range(30):
        writer.renamed()
    with Live(thalweg, job("in/**/*.txt"), **options) as live:
        for i in range(40):
            writer.renamed(name=f"a{i}.txt")
            writer.compressed()
            writer.renamed(name=f"deep/{i % 5}/er/{i}.txt")
        (thalweg.folder / "other").mkdir()
        for i in range(5):
            (thalweg.folder / "other" / f"{i}.txt").write_bytes(writer.text(3))
        (thalweg.folder / "other").rename(thalweg.folder / "in" / "moved")
        writer.renamed(rows=60000, name="large.txt")
        writer.written(pieces=5, pause=0.02)
        wait_until(lambda: len(came(thalweg)) >= len(writer.lines), timeout=60)
        summary = live.stop()
    check(thalweg, writer)
    assert summary["rows_in"] == len(writer.lines)


def test_existing_files_come_first_in_order_and_positions_grow(thalweg):
    writer = Writer(thalweg.folder)
    for i in (3, 1, 2):
        writer.place(f"{i}.txt", f"row {i}\n".encode())
    with Live(thalweg, job("in/", sink="out.txt/", checkpoint=False, settle="0s")) as live:
        settle(1.5)
        writer.place("0.txt", b"row 0\n")
        settle()
        live.stop()
    assert came(thalweg) == ["row 1", "row 2", "row 3", "row 0"]


def test_thousands_of_small_files(thalweg):
    writer = Writer(thalweg.folder)
    with Live(thalweg, job()) as live:
        for _ in range(5000):
            writer.renamed(rows=2)
        wait_until(lambda: len(came(thalweg)) == len(writer.lines))
        live.stop()
    check(thalweg, writer)


def test_slow_writers_are_waited_for(thalweg):
    """A pause longer than `settle` while the file is open does no harm."""
    writer = Writer(thalweg.folder)
    with Live(thalweg, job(settle="200ms")) as live:
        settle()
        writer.written(pieces=3, pause=0.5)
        path = writer.folder / "appended.txt"
        for _ in range(8):
            with open(path, "ab") as file:
                file.write(writer.text(1))
            time.sleep(0.05)
        assert not any(line.startswith(f"{writer.n} ") for line in came(thalweg))
        wait_until(lambda: len(came(thalweg)) == len(writer.lines))
        live.stop()
    check(thalweg, writer)


def test_links_are_whole_at_once(thalweg):
    writer = Writer(thalweg.folder)
    (thalweg.folder / "a").write_bytes(writer.text(3))
    (thalweg.folder / "b").write_bytes(writer.text(3))
    with Live(thalweg, job(settle="1h", every="20ms")) as live:
        settle()
        os.link(thalweg.folder / "a", writer.folder / "a.txt")
        os.symlink(thalweg.folder / "b", writer.folder / "b.txt")
        wait_until(lambda: len(came(thalweg)) == 6)
        live.stop()
    check(thalweg, writer)


def test_a_file_that_got_its_name_by_linking_what_had_none(thalweg):
    """As our own file sink makes them."""
    writer = Writer(thalweg.folder)
    with Live(thalweg, job(settle="100ms")) as live:
        settle()
        file = os.open(writer.folder, os.O_TMPFILE | os.O_WRONLY)
        os.write(file, writer.text(4))
        os.link(f"/proc/self/fd/{file}", writer.folder / "x.txt", src_dir_fd=file, follow_symlinks=True)  # linkat
        os.close(file)
        wait_until(lambda: len(came(thalweg)) == 4)
        live.stop()
    check(thalweg, writer)


def test_names_that_are_never_read(thalweg):
    writer = Writer(thalweg.folder)
    with Live(thalweg, job("in/**", checkpoint=False)) as live:
        settle()
        for name in (".hidden", "a.tmp", "b.part", ".folder/a"):
            writer.place(name, b"never\n")
        writer.renamed(name="yes")
        settle()
        live.stop()
    check(thalweg, writer)


def test_each_file_once_and_another_in_its_place_too(thalweg):
    writer = Writer(thalweg.folder)
    with Live(thalweg, job(settle="0s", every="20ms")) as live:
        settle()
        for i in range(5):
            writer.renamed(name="same.txt")
            wait_until(lambda: len(came(thalweg)) == len(writer.lines))
            with open(writer.folder / "same.txt", "ab") as file:
                file.write(b"too late\n")
        os.remove(writer.folder / "same.txt")
        writer.renamed(name="same.txt")
        wait_until(lambda: len(came(thalweg)) == len(writer.lines))
        live.stop()
    check(thalweg, writer)


@pytest.mark.sanitized
def test_stopped_and_gone_on_with(thalweg):
    writer = Writer(thalweg.folder)
    for n in range(4):
        process = thalweg.start(job("in/**/*.txt"))
        for i in range(100):
            writer.renamed(name=f"{n}/{i}.txt")
        summary = stop(process)
        for i in range(20):
            writer.renamed()  # while nobody looks
    assert summary["status"] == "done"
    time.sleep(1.1)
    stop(thalweg.start(job("in/**/*.txt")))
    check(thalweg, writer)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments(thalweg, seed):
    writer = Writer(thalweg.folder, seed)
    draw = random.Random(seed)
    flow = job("in/**/*.txt", every="20ms", settle="100ms")
    for n in range(12):
        process = thalweg.start(flow, run_parallelism=draw.choice([1, 2, 8]), run_memory=draw.choice(["32MiB", "1GiB"]))
        end = time.monotonic() + draw.uniform(0.05, 0.5)
        while time.monotonic() < end:
            draw.choice([writer.renamed, writer.written, writer.compressed])(rows=draw.choice([0, 1, 20, 20000]))
            if draw.random() < 0.2:
                writer.renamed(rows=10, name=f"f{n}/{writer.n}.txt")
        kill(process)
    time.sleep(1.1)
    stop(thalweg.start(flow))
    check(thalweg, writer)


def killed_within(thalweg, flow):
    """Kills a run as soon as a checkpoint stands in the middle of a file; False: it was through."""

    def is_within():
        newest = max((thalweg.folder / "state").glob("*.json"), default=None)
        try:
            return newest and newest.name not in before and b"parts_done" in newest.read_bytes()
        except FileNotFoundError:
            return False

    before = {path.name for path in (thalweg.folder / "state").glob("*.json")}
    process = thalweg.start(flow, run_parallelism=2)
    end = time.monotonic() + 2
    while time.monotonic() < end and not is_within():
        time.sleep(0.005)
    kill(process)
    return bool(is_within())


@pytest.mark.parametrize("quoted", [False, True])
def test_killed_within_a_large_file(thalweg, quoted):
    writer = Writer(thalweg.folder)
    rows = [f"{i},{'y' * (i % 90)}" for i in range(600_000)]
    text = "id,text\n" + "".join((f'{i},"a\n{i}"' if quoted else row) + "\n" for i, row in enumerate(rows))
    writer.place("large.csv", text.encode())
    flow = job("in/*.csv", sink="out.csv/", every="20ms", columns={"id": "int64", "text": "string"})
    flow["steps"] = [{"busy": {"for": "4us"}}, {"select": ["id"]}]
    os.utime(writer.folder / "large.csv", (1, 1))
    taken = sum(killed_within(thalweg, flow) for _ in range(5))
    process = thalweg.start(flow)
    stop(process)
    ids = [int(line) for part in sorted((thalweg.folder / "out.csv").glob("[!.]*")) for line in part.read_text().split()[1:]]
    assert sorted(ids) == list(range(600_000))
    assert taken, "no run was killed within the file"


def test_a_large_file_that_is_gone_or_changed_is_told(thalweg):
    writer = Writer(thalweg.folder)
    flow = job(every="20ms")
    flow["steps"] = [{"busy": {"for": "4us"}}]
    writer.renamed(rows=400_000, name="large.txt")
    os.utime(writer.folder / "large.txt", (1, 1))
    assert killed_within(thalweg, flow)
    os.remove(writer.folder / "large.txt")
    result = thalweg.run(flow)
    assert result.exit == 1, result
    assert "in/large.txt" in result.stderr and "the rest is lost: it is gone" in result.stderr
    flow["run"]["on_bad_record"] = "skip"
    process = thalweg.start(flow)
    settle()
    assert stop(process)["bad_records"] == 1


def bad_job(policy="skip", **options):
    flow = job(settle="100ms", every="20ms", **options)
    flow["run"]["on_bad_record"] = policy
    return flow


@pytest.mark.sanitized
@pytest.mark.parametrize("trouble", ["torn", "forbidden", "folder", "cut", "broken link"])
def test_bad_files_do_not_end_a_run_that_skips(thalweg, trouble):
    thalweg.drop_privileges()
    writer = Writer(thalweg.folder)
    process = thalweg.start(bad_job(path="in/**/*.txt"))
    settle()
    if trouble == "torn":
        whole = gzip.compress("".join(f"torn {i * 7919 % 10007}\n" for i in range(20000)).encode())
        writer.place("bad.txt", whole[: len(whole) // 2])
    elif trouble == "forbidden":
        path = thalweg.folder / "x"
        path.write_bytes(b"secret\n")
        path.chmod(0)
        path.rename(writer.folder / "bad.txt")
    elif trouble == "folder":
        path = thalweg.folder / "x"
        path.mkdir()
        path.chmod(0)
        path.rename(writer.folder / "bad")
    elif trouble == "broken link":
        os.symlink("nowhere", thalweg.folder / "x")
        (thalweg.folder / "x").rename(writer.folder / "bad.txt")
    else:
        data = ("cut " + "z" * 60 + "\n").encode() * 1_000_000
        hidden = writer.folder / ".bad"
        hidden.write_bytes(data)
        hidden.rename(writer.folder / "bad.txt")
        os.truncate(writer.folder / "bad.txt", 100)
    for _ in range(5):
        writer.renamed()
    wait_until(lambda: set(writer.lines) <= set(came(thalweg)))
    summary = stop(process)
    assert summary["bad_records"] == 1 or trouble == "cut"
    kept = [line for line in came(thalweg) if not line.startswith(("torn", "cut"))]
    assert sorted(kept) == sorted(writer.lines)


@pytest.mark.parametrize("policy", ["fail", "dead_letter"])
def test_a_torn_file_is_told_with_its_path(thalweg, policy):
    writer = Writer(thalweg.folder)
    process = thalweg.start(bad_job({"dead_letter": "dead.json"} if policy == "dead_letter" else policy))
    settle()
    writer.place("torn.txt", gzip.compress(os.urandom(100000))[:5000])
    if policy == "fail":
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == 1
        assert b"in/torn.txt" in stderr and b"ends early" in stderr
    else:
        settle()
        stop(process)
        letter = json.loads((thalweg.folder / "dead.json").read_text())
        assert letter["file"] == "in/torn.txt" and "ends early" in letter["reason"]


def test_another_header_is_one_bad_file(thalweg):
    writer = Writer(thalweg.folder)
    writer.place("a.csv", b"a,b\n1,2\n")
    flow = job("in/*.csv", sink="out.csv/")
    flow["run"]["on_bad_record"] = "skip"
    with Live(thalweg, flow) as live:
        settle(1.2)
        writer.place("b.csv", b"a,c\n3,4\n")
        writer.place("c.csv", b"b,a\n6,5\n")
        settle()
        assert live.stop()["bad_records"] == 1
    assert [line for line in came(thalweg, "out.csv") if line != "a,b"] == ["1,2", "5,6"]


@pytest.mark.parametrize("options, message", [
    ({"path": "nothing/"}, "cannot follow 'nothing/'"),
    ({"path": "in/a.txt"}, "no folder and no pattern"),
    ({"path": "in/*.csv"}, "set columns"),
    ({"path": "in/*.json"}, "set columns"),
    ({"path": "-"}, "standard input ('-') cannot be followed"),
    ({"path": "in/", "follow": False, "settle": "1s"}, "is for 'follow: true'"),
])
def test_what_is_wrong_is_told_when_the_job_is_checked(thalweg, options, message):
    (thalweg.folder / "in").mkdir()
    result = thalweg.run(job(**options) if "follow" not in options else
                         {**job(), "source": {"file": options}})
    assert result.exit == 2, result
    assert message in result.stderr


def test_another_folder_is_another_job(thalweg):
    Writer(thalweg.folder)
    (thalweg.folder / "other").mkdir()
    stop_after = thalweg.start(job())
    settle()
    stop(stop_after)
    result = thalweg.run(job("other/*.txt"))
    assert result.exit == 2 and '"other/*.txt as lines" now' in result.stderr, result


def test_a_folder_that_goes_and_comes_back(thalweg):
    writer = Writer(thalweg.folder)
    with Live(thalweg, job("in/**/*.txt", every="20ms")) as live:
        settle()
        writer.renamed(name="a/1.txt")
        wait_until(lambda: len(came(thalweg)) == len(writer.lines))
        writer.folder.rename(thalweg.folder / "away")
        settle()
        writer.folder.mkdir()
        writer.renamed(name="b/2.txt")
        wait_until(lambda: len(came(thalweg)) == len(writer.lines))
        settle(1.5)
        writer.renamed(name="b/3.txt")
        wait_until(lambda: len(came(thalweg)) == len(writer.lines))
        live.stop()
    check(thalweg, writer)
