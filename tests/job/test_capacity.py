"""thalweg bench capacity: whole grids, small; whose limit it is; what is wrong with a grid."""

import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

from harness import ROOT

QUICK = {"trial": {"warmup": "50ms", "measured": "200ms", "messages": 5}, "precision": 0.3}


def measure(thalweg, grid, *words, timeout=60):
    thalweg.write("grid.yaml", json.dumps({**QUICK, **grid}))
    result = thalweg.command("bench", "capacity", "grid.yaml", "--json", *words, timeout=timeout)
    assert result.exit == 0, result
    return result, json.loads(result.stdout)


def test_a_tiny_grid_and_its_page(thalweg):
    result, found = measure(thalweg, {"sizes": [100, "10kB"], "cpu": [0, "2ms"], "engines": ["tcp"], "parallelism": 2}, "-o", "page.html")
    cells = found["cells"]
    assert [(c["size"], c["cpu"]) for c in cells] == [(100, 0), (100, 0.002), (10000, 0), (10000, 0.002)]
    for c in cells:
        assert c["rate"] > 0 and c["trials"] >= 2 and c["network_bound"] > 0, c
        assert 0 < c["trial"]["p50"] <= c["trial"]["p99"] <= c["trial"]["most"], c
        # Whatever the machine does besides, nobody does more work than there are processors.
        assert c["cpu_bound"] is None if c["cpu"] == 0 else c["rate"] <= 1.1 * found["processors"] / c["cpu"], c
    assert cells[0]["rate"] > cells[1]["rate"]
    assert re.search(r"tcp, 10 kB, 2 ms: [0-9.e+]+/s sustained", result.stderr), result
    page = (thalweg.folder / "page.html").read_text()
    plots = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(plots) == 2
    for plot in plots:
        points = [e for e in xml.fromstring(plot).iter() if e.tag.endswith("circle")]
        assert len(points) == 2, "a point for each size"
    assert "http" not in page.replace("http://www.w3.org/2000/svg", ""), "nothing is loaded"


def test_a_slow_generator_is_no_slow_engine(thalweg):
    # A millisecond of work of its own for each message: it can't send a thousand a second, the engine takes far more.
    grid = {"sizes": 100, "generator": {"work": "1ms"}, "latency": "200ms"}
    cell = measure(thalweg, grid)[1]["cells"][0]
    assert cell["generator_bound"], cell
    assert cell["rate"] < 1100, cell
    assert "by itself" in cell["why"], cell


@pytest.mark.sanitized
@pytest.mark.threaded
@pytest.mark.parametrize("engine", ["raw", "tcp", "unix", "http", "follow"])
def test_a_closed_loop_over_each_connector(thalweg, engine):
    cell = measure(thalweg, {"sizes": 1000, "engines": [engine], "mode": "closed", "in_flight": 4, "connections": 1 if engine == "raw" else 2})[1]["cells"][0]
    assert cell["trial"]["offered"] > 0 and cell["trial"]["drained"] == 1, cell  # all that was sent came back
    assert cell["why"] == "", cell


def test_bursts(thalweg):
    cell = measure(thalweg, {"sizes": 1000, "cpu": "1ms", "mode": "burst", "burst": 20})[1]["cells"][0]
    assert cell["rate"] > 0, cell
    # The last of a burst has waited for the others, which take 20 ms of work.
    assert cell["trial"]["most"] > 0.009, cell


ECHO = """
import socket, struct, sys
host, port = sys.argv[1].rsplit(":", 1)
listener = socket.create_server((host, int(port)))
print("now ready", flush=True)
host, port = sys.argv[2].rsplit(":", 1)
back = socket.create_connection((host, int(port)))
while True:
    stream = listener.accept()[0].makefile("rb")
    while len(length := stream.read(4)) == 4:
        message = stream.read(struct.unpack(">I", length)[0])
        if message[8:9] == b"M":
            back.sendall(message[:29] + b"\\n")
"""


def test_an_engine_of_ones_own(thalweg):
    thalweg.write("echo.py", ECHO)
    command = [sys.executable, "echo.py", "{feed}", "{results}"]
    engines = {"mine": {"command": command, "ready": "now ready"}, "broken": {"command": ["sh", "-c", "echo no such thing; exit 3"]}}
    mine, broken = measure(thalweg, {"sizes": 1000, "engines": engines})[1]["cells"]
    assert mine["rate"] > 0, mine
    assert broken["rate"] == 0 and "no such thing" in broken["why"], broken


def test_the_example_and_an_end_by_the_user(thalweg):
    process = subprocess.Popen(thalweg.argv("bench", "capacity", ROOT / "examples/capacity.yaml"), cwd=thalweg.folder, text=True,
                               env={**os.environ, "TMPDIR": str(thalweg.folder)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stderr:  # until the second cell has begun
        if "raw" in line:
            break
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert [line.split()[3] for line in stdout.splitlines()[1:]] == ["tcp"], stdout
    assert not list(thalweg.folder.iterdir()), "nothing is left"


def test_errors_have_places(thalweg):
    thalweg.write("grid.yaml", "sizes: [100, 5]\nengines: [tpc]\nmod: open\n")
    result = thalweg.command("bench", "capacity", "grid.yaml")
    assert result.exit == 2
    assert result.stderr.splitlines()[0].startswith("grid.yaml:3:1: error: ") and "did you mean 'mode'" in result.stderr
    thalweg.write("grid.yaml", "sizes: [100, 5]\nengines: [tpc]\n")
    result = thalweg.command("bench", "capacity", "grid.yaml")
    assert result.exit == 2
    assert [line.split(": ")[0] for line in result.errors] == ["grid.yaml:1:14", "grid.yaml:2:11"]
    assert thalweg.command("bench", "capacity", "none.yaml").exit == 2
    assert thalweg.command("bench").exit == 2
