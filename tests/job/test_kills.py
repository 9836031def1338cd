"""A hundred real kills: jobs that end by `kill -9` at any moment, again and again, give in the end what one run without a
fault gives. `make soak` does a thousand (SOAK_KILLS=N: so many); THALWEG_TEST_SEED=N repeats one."""

import os
import random
import time

import pytest

from harness import seed_of
from test_checkpoint import check as check_windows
from test_checkpoint import job as window_job
from test_checkpoint import rows_saved, stop, values_of
from test_dedupe import expected as deduped
from test_dedupe import job as dedupe_job
from test_dedupe import result_of as rows_of
from test_follow import Writer, came
from test_follow import job as follow_job
from test_window import events

KILLS = int(os.environ.get("SOAK_KILLS", "100"))
SOAK = "SOAK_KILLS" in os.environ
SHARES = {"windows": 3, "dedupe": 3, "follow": 2, "followed windows": 2}
CHECKED_EVERY = 10  # kills


class Windows:
    """Events that are made -> sliding windows -> files."""

    def __init__(self, thalweg, draw):
        self.thalweg = thalweg
        self.flow = window_job(every="20ms")

    def work(self, until):
        time.sleep(max(0, until - time.monotonic()))

    def finish(self):
        run_until_more(self.thalweg, self.flow, 4000)
        check_windows(self.thalweg)


class Dedupe(Windows):
    def __init__(self, thalweg, draw):
        self.thalweg = thalweg
        self.flow = dedupe_job({"within": "100ms", "lateness": "500ms"}, rate="20000/s")
        self.flow["run"] = {"checkpoint": {"dir": "state", "every": "20ms"}}

    def finish(self):
        run_until_more(self.thalweg, self.flow, 2000)
        rows = events(self.thalweg, int(values_of(self.thalweg, "generate#0")["rows"]))
        assert sorted(rows_of(self.thalweg.folder / "out.csv")) == sorted(deduped(rows, 100_000, 500_000)[0])


class Follow:
    """A folder that an instrument writes into, all the while."""

    def __init__(self, thalweg, draw):
        self.thalweg, self.draw = thalweg, draw
        self.writer = Writer(thalweg.folder, draw.random())
        self.flow = follow_job("in/**/*.txt", every="20ms", settle="100ms")

    def work(self, until):
        while time.monotonic() < until:
            self.draw.choice([self.writer.renamed, self.writer.written, self.writer.compressed])(rows=self.draw.choice([0, 1, 20, 2000]))
            time.sleep(0.002)

    def finish(self):
        time.sleep(1.1)  # all files rest by then
        stop_soon(self.thalweg.start(self.flow))
        assert sorted(came(self.thalweg)) == sorted(self.writer.lines)


class FollowedWindows(Follow):
    """... -> tumbling windows -> files. Files that came while nobody looked are read after some that came later: rows may
    be late by hours, and each time all is looked at a day is over."""

    def __init__(self, thalweg, draw):
        super().__init__(thalweg, draw)
        self.days, self.rows, self.files = 1, [[]], 0
        self.flow = follow_job("in/*.csv", sink="out.csv/", every="20ms", columns={"ts": "timestamp", "v": "int64"})
        self.flow["steps"] = [{"window": {"time": "ts", "tumbling": "1s", "lateness": "10h"}},
                              {"group": {"by": [], "aggregate": {"n": "count", "s": "sum(v)"}}}]

    def place(self, n):
        """n rows, a millisecond each."""
        day, first = self.rows[-1], len(self.rows[-1])
        day += [self.draw.randrange(1000) for _ in range(n)]
        stamps = [f"1970-01-{self.days:02}T{at // 3600000:02}:{at // 60000 % 60:02}:{at // 1000 % 60:02}.{at % 1000:03}Z" for at in range(first, first + n)]
        self.files += 1
        self.writer.place(f"{self.files:09}.csv", ("ts,v\n" + "".join(f"{t},{v}\n" for t, v in zip(stamps, day[first:]))).encode())

    def work(self, until):
        while time.monotonic() < until:
            self.place(self.draw.choice([1, 20, 500]))
            time.sleep(0.005)

    def finish(self):
        time.sleep(1.1)
        stop_soon(self.thalweg.start(self.flow))
        self.days += 1
        self.rows.append([])
        self.place(1)
        time.sleep(1.1)
        stop_soon(self.thalweg.start(self.flow))
        lines = [line for line in came(self.thalweg, "out.csv") if not line.startswith("window_start")]
        found = sorted(tuple(map(int, line.split(",")[2:])) for line in lines)
        seconds = [day[at:at + 1000] for day in self.rows[:-1] for at in range(0, len(day), 1000)]
        assert found == sorted((len(rows), sum(rows)) for rows in seconds)


KINDS = {"windows": Windows, "dedupe": Dedupe, "follow": Follow, "followed windows": FollowedWindows}


def run_until_more(thalweg, flow, rows):
    """Until checkpoints know of so many more rows."""
    least = rows_saved(thalweg) + rows
    process = thalweg.start(flow)
    end = time.monotonic() + 60
    while rows_saved(thalweg) < least:
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.02)
    stop(process)


def stop_soon(process):
    time.sleep(0.3)  # it hears signals by then
    stop(process)


def kill_one(thalweg, kind, draw):
    process = thalweg.start(kind.flow, run_parallelism=draw.choice([1, 2, 8]), run_memory=draw.choice(["32MiB", "1GiB"]))
    kind.work(time.monotonic() + draw.choice([0.03, 0.1, 0.35]) * draw.random() + 0.02)
    assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()


@pytest.mark.parametrize("name", KINDS)
def test_killed_again_and_again(thalweg, name):
    seed = seed_of(int(time.time()) if SOAK else None)
    draw = random.Random(f"{seed} {name}")
    kind = KINDS[name](thalweg, draw)
    kills = KILLS * SHARES[name] // sum(SHARES.values())
    for n in range(1, kills + 1):
        kill_one(thalweg, kind, draw)
        if n % CHECKED_EVERY == 0 or n == kills:
            kind.finish()
            if SOAK:
                print(f"{name}, seed {seed}: {n} of {kills} kills", flush=True)
