"""Late rows that are kept: each once, as it came, through stops and kills too."""

import json
import math
import random

import pytest

from harness import seed_of
from live import Live, connect, free_port
from test_checkpoint import check, stop, stops_and_kills, values_of, wait_for_rows
from test_checkpoint import job as checkpointed
from test_window import SHAPES, events, expected, run_endless
from test_window import check as check_windows
from test_window import job as windowed
from test_window import result_of


def late_records(rows, size, every, lateness):
    """Their numbers, from 1."""
    greatest, late = -math.inf, []
    for number, (t, _, _) in enumerate(rows, 1):
        if t // every * every + size <= greatest - lateness:
            late.append(number)
        greatest = max(greatest, t)
    return late


def letters(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


SETTINGS = [{}, {"run_parallelism": 1}, {"run_parallelism": 8, "run_batch_rows": 5}]


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("options", SETTINGS, ids=["", "1", "8"])
@pytest.mark.parametrize("shape", SHAPES, ids=["tumbling", "in-order", "sliding"])
def test_late_rows_are_kept_in_their_order(thalweg, shape, options):
    window, size, every, lateness = shape
    summary = run_endless(thalweg, windowed({**window, "late": {"dead_letter": "late.json"}}, rate="20000/s"), 0.5, **options)
    rows = events(thalweg, summary["rows_in"])
    kept = letters(thalweg.folder / "late.json")
    assert [r["record"] for r in kept] == late_records(rows, size, every, lateness)
    assert all(r["file"] == "generate" and r["reason"].startswith("window: late for the watermark 202") for r in kept)
    assert summary["late_records"] == len(kept) > 0 and summary["bad_records"] == 0
    check_windows(result_of(thalweg.folder / "out.csv"), expected(rows, size, every, lateness, live=True)[0])


@pytest.mark.sanitized
def test_late_rows_through_kills(thalweg):
    draw = random.Random(seed_of(11))
    flow = checkpointed(every="20ms")
    flow["steps"][0]["window"]["late"] = {"dead_letter": "late.json"}
    for _ in stops_and_kills(thalweg, flow, draw, 9):
        rows = check(thalweg)
        late = late_records(events(thalweg, rows), 800_000, 300_000, 200_000)
        assert [r["record"] for r in letters(thalweg.folder / "late.json")] == late
        assert int(values_of(thalweg, "window#0")["dead_letter_bytes"]) == (thalweg.folder / "late.json").stat().st_size


def test_letters_that_were_taken_away_do_not_come_again(thalweg):
    flow = checkpointed(every="20ms")
    flow["steps"][0]["window"]["late"] = {"dead_letter": "late.json"}
    late = []
    for n in range(3):
        process = thalweg.start(flow)
        wait_for_rows(thalweg, process)
        stop(process)
        late += [r["record"] for r in letters(thalweg.folder / "late.json")]
        (thalweg.folder / "late.json").unlink()
    rows = events(thalweg, int(values_of(thalweg, "generate#0")["rows"]))
    assert late == late_records(rows, 800_000, 300_000, 200_000)


def over_tcp(port, **window):
    return {
        "source": {"tcp": {"listen": f"127.0.0.1:{port}", "framing": "newline", "format": "csv", "header": False,
                           "columns": {"ts": "timestamp", "key": "int64"}}},
        "steps": [{"window": {"time": "ts", "late": {"dead_letter": "late.json"}, **window}},
                  {"group": {"by": ["key"], "aggregate": {"n": "count"}}}],
        "sink": {"file": {"path": "out.csv/"}},
    }


@pytest.mark.parametrize("window, late_second", [({"tumbling": "1s"}, 5), ({"session": {"gap": "3s"}}, 4)], ids=["tumbling", "session"])
def test_a_late_row_is_kept_as_it_came(thalweg, window, late_second):
    port = free_port()
    with Live(thalweg, over_tcp(port, **window)) as live:
        with connect(port) as s:
                s.sendall(f'2026-01-01T00:00:07.5Z,1\n2026-01-01 00:00:0{late_second}.50,"2"\n2026-01-01T00:00:07Z,1\n'.encode())
        summary = live.stop()
    assert summary["rows_in"] == 3 and summary["late_records"] == 1
    (letter,) = letters(thalweg.folder / "late.json")
    assert letter["data"] == f'2026-01-01 00:00:0{late_second}.50,"2"'
    assert letter["record"] == 2 and letter["reason"] == "window: late for the watermark 2026-01-01T00:00:07.5Z"


def test_nothing_late_is_an_empty_file(thalweg):
    thalweg.write("late.json", "of the run before\n")
    run_endless(thalweg, windowed({"tumbling": "1s", "lateness": "2s", "late": {"dead_letter": "late.json"}}, rate="20000/s"), 0.3)
    assert thalweg.read("late.json") == b""


def test_a_failed_run_leaves_the_file_as_it_was(thalweg):
    thalweg.write("late.json", "of the run before\n")
    flow = windowed({"tumbling": "1s", "late": {"dead_letter": "late.json"}}, rate="20000/s")
    flow["steps"].insert(0, {"derive": {"x": "1 // (int64(year(ts)) - 2026)"}})
    flow["steps"][2]["group"]["aggregate"]["x"] = "sum(x)"
    assert thalweg.run(flow).exit == 1
    assert thalweg.read("late.json") == b"of the run before\n"


@pytest.mark.parametrize("late, message", [("keep", "drop"), ({"dead_letter": "folder"}, "cannot write the dead letters 'folder'"),
                                           ({}, "dead_letter")])
def test_wrong_places_for_late_rows(thalweg, late, message):
    (thalweg.folder / "folder").mkdir()
    result = thalweg.run(windowed({"tumbling": "1s", "late": late}, rate="100/s"))
    assert result.exit in (1, 2) and message in result.stderr, result
