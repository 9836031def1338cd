#!/usr/bin/env python3
"""Bugs planted on purpose, one for each guarantee: the tests that are named beside it must fail. `make mutants`, or
`make mutants M='torn fencing'` for those whose names hold one of the words.

A copy of the tree is built with one mutant after the other; only what it changes is compiled again."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COPY = ROOT / "build/mutants"
SECONDS_MAX = 180

CRASHES = "unit/sim/checkpoint_faults_test"
SOCKETS = "unit/sim/socket_faults_test"


class Mutant:
    """`old` stands once in `file` and becomes `new`; likewise `also`. tests: unit programs, or arguments of pytest."""

    def __init__(self, name, file, old, new, *tests, also=()):
        self.name, self.changes, self.tests = name, [(file, old, new), *also], tests


MUTANTS = [
    Mutant("the output is committed before the checkpoint is durable", "src/engine/epochs.c",
           "    if (complete && c) status = checkpoint_finish(c, err);\n"
           "    if (complete && status == TW_OK) status = end_epoch(r, err);\n",
           "    if (complete && status == TW_OK) status = end_epoch(r, err);\n"
           "    if (complete && c && status == TW_OK) status = checkpoint_finish(c, err);\n", CRASHES),
    Mutant("the source's position is left out of what is saved", "src/engine/epochs.c",
           "    if (status == TW_OK) status = s->class->save(s, r->epoch, part, err);\n", "", CRASHES),
    Mutant("a sink is saved before all rows of its epoch have come", "src/engine/frontier.c",
           "    if (!f->n) f->now.epoch = epoch;\n", "    f->now.epoch = epoch;\n", CRASHES),
    Mutant("rows of the next epoch do not wait at the sink's door", "src/engine/lane.c",
           "    bool early = l->order.epoch > atomic_load_explicit(&l->gate->epoch, memory_order_acquire);\n",
           "    bool early = false;\n", CRASHES),
    Mutant("a torn checkpoint is taken: its checksum is not looked at", "src/engine/checkpoint.c",
           "    if (!checksum_holds(t)) return torn(path, err);\n", "", "unit/engine/checkpoint_test"),
    Mutant("rows of a damaged checkpoint are taken: their checksum is not looked at", "src/engine/spill.c",
           "    if (frame_checksum(*h, b) != h->checksum) return damaged(s, err);\n", "", "unit/engine/spill_test"),
    Mutant("the rows of a checkpoint are not synced", "src/engine/checkpoint.c",
           "    tw_status status = spill_sync(c->rows, err);\n", "    tw_status status = TW_OK;\n", CRASHES),
    Mutant("parts of the output are not synced", "src/io/file_sink.c",
           "    return growing_folder_prepare(f->growing, true, &f->prepared, err);\n",
           "    return growing_folder_prepare(f->growing, false, &f->prepared, err);\n", CRASHES),
    Mutant("the newest checkpoint is taken, not that of the last transaction", "src/engine/epochs.c",
           "    if (found) *number = strtoull(text_string(&note), NULL, 10);\n", "", CRASHES),
    Mutant("parts that no checkpoint knows stay", "src/io/growing_folder.c",
           "    return number >= (long)f->prepared ? remove_part(f, name, number) : 0;\n", "    return 0;\n", CRASHES),
    Mutant("half a message is whole when the connection breaks", "src/io/stream_source.c",
           "    if (status != TW_ERR_DATA) return status;\n", "    if (status != TW_ERR_DATA) return status;\n    s->ended = true;\n    return TW_OK;\n",
           SOCKETS),
    Mutant("a message whose sender went away is taken as it is", "src/io/framing.c",
           "        if (length > message_max || length > n - at - LENGTH_BYTES) {\n",
           "        if (length > n - at - LENGTH_BYTES) length = (uint32_t)(n - at - LENGTH_BYTES);\n        if (length > message_max) {\n",
           SOCKETS),
    Mutant("http says that it has taken what it has not", "src/io/http_source.c",
           "    h->whole = true;\n", "    h->whole = true;\n    answer(h, 202);\n", SOCKETS),
    Mutant("an answer of http that was lost is taken for a yes", "src/io/sender.c",
           "    i->sent = s->options.read_answer ? 0 : parcel_message_begin(s->options.format, i->parcel, i->sent);\n",
           "    i->sent = parcel_message_begin(s->options.format, i->parcel, i->sent);\n", SOCKETS),
    Mutant("a message that was cut is not sent again", "src/io/sender.c",
           "    i->sent = s->options.read_answer ? 0 : parcel_message_begin(s->options.format, i->parcel, i->sent);\n",
           "    if (s->options.read_answer) i->sent = 0;\n", SOCKETS),
    Mutant("a window is given before the watermark has passed it", "src/step/panes.c",
           "        if (c && c->end <= to->watermark) p->open = c->next;\n",
           "        if (c && c->end <= to->watermark + 20000) p->open = c->next;\n", CRASHES),
    Mutant("what a lane has collected is left out when it is saved", "src/step/panes.c",
           "        for (pane_writer *w = c->writers; w; w = w->next) TRY(group_writer_save(w->inner, to, c->end, err));\n", "", CRASHES),
    Mutant("late rows that a killed run had written stay", "src/engine/dead_letters.c",
           "    return ftruncate(d->appended_to, d->bytes) == 0 ? 0 : errno;\n", "    d->bytes = info.st_size;\n    return 0;\n", CRASHES),
    Mutant("a run that was replaced is not fenced", "src/io/kafka_sink.c",
           "        kafka_set(conf, \"transactional.id\", k->transactional);\n",
           "        char own[80];\n        snprintf(own, sizeof own, \"%.40s-%d\", k->transactional, (int)getpid());\n"
           "        kafka_set(conf, \"transactional.id\", own);\n", "tests/job/test_kafka.py -k thought_dead",
           also=[("src/io/kafka_source.c", "    *member = rd_kafka_consumer_group_metadata(s->client->handle);\n",
                  "    *member = rd_kafka_consumer_group_metadata_new(s->group);\n")]),
]


def copy_tree():
    """What git knows and what is built, with its times."""
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    shutil.rmtree(COPY, ignore_errors=True)
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)
    shutil.copytree(ROOT / "build/release", COPY / "build/release", symlinks=True)
    for name in ("venv", "kafka", ".deps"):
        if (ROOT / "build" / name).exists():
            os.symlink((ROOT / "build" / name).resolve(), COPY / "build" / name)


def build(programs):
    process = subprocess.run(["make", "-s", f"-j{os.cpu_count()}", "build/release/thalweg", *programs], cwd=COPY, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]


def passes(test):
    """What hangs has not passed."""
    if test.startswith("unit/"):
        argv = [COPY / "build/release/tests" / test]
    else:
        argv = ["build/venv/bin/python", "-m", "pytest", "-c", "tests/pytest.ini", "--rootdir", ".", "-x", "-q", *test.split()]
    process = subprocess.Popen(argv, cwd=COPY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        status = process.wait(SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait() == 0
    assert status != 5, f"pytest finds no test: {test}"
    return status == 0


def program_of(test):
    return [f"build/release/tests/{test}"] if test.startswith("unit/") else []


def caught(mutant):
    """Whether each of its tests fails with it."""
    before = {COPY / file: (COPY / file).read_text() for file, _, _ in mutant.changes}
    for file, old, new in mutant.changes:
        text = (COPY / file).read_text()
        assert text.count(old) == 1, f"{mutant.name}: {file} has not what is to be replaced"
        (COPY / file).write_text(text.replace(old, new))
    try:
        build([program for test in mutant.tests for program in program_of(test)])
        missed = [test for test in mutant.tests if passes(test)]
    finally:
        for path, text in before.items():
            path.write_text(text)
    print(f"{'MISSED by ' + ', '.join(missed) if missed else 'caught'}: {mutant.name}", flush=True)
    return not missed


def main():
    words = sys.argv[1:]
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    copy_tree()
    tests = sorted({test for m in chosen for test in m.tests})
    build([program for test in tests for program in program_of(test)])
    for test in tests:
        assert passes(test), f"{test} fails without a mutant"
    missed = [m.name for m in chosen if not caught(m)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} mutants caught")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
