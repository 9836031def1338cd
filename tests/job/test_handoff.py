"""One slow message holds up nothing behind it, unless order is asked for."""

import time

import pytest

from live import connect, free_port


def lines(folder):
    return [line.split("-")[1].strip() for part in sorted(folder.glob("part-*")) for line in open(part)]


@pytest.mark.parametrize("ordered", ["none", "all"])
def test_a_slow_message_among_fast_ones(thalweg, ordered):
    port = free_port()
    flow = {
        "source": {"tcp": {"listen": f"127.0.0.1:{port}", "ordered": ordered}},
        "steps": [{"busy": {"from": "header"}}],
        "sink": {"file": {"path": "out/", "format": "lines"}},
        "run": {"checkpoint": {"dir": "state", "every": "100ms"}, "parallelism": 2},
    }
    process = thalweg.start(flow)
    client = connect(port)
    client.sendall(b"C003000-slow\n" + b"".join(b"C000000-%d\n" % n for n in range(500)))
    client.close()
    time.sleep(0.5)
    process.send_signal(15)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    found = lines(thalweg.folder / "out")
    assert sorted(found) == sorted(["slow", *map(str, range(500))])
    if ordered == "all":
        assert found == ["slow", *map(str, range(500))]
    else:
        assert found.index("slow") > 400, "the fast ones went by"
