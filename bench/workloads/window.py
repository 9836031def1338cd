"""How many of 1,000 keys came in each second of event time, with checkpoints every second: rows made in the engine."""

import csv
import re
import subprocess

import engines
from case import Case, expect, times_faster

TITLE = "Tumbling windows of 1 s, counted by 1,000 keys, checkpoints every second"
KEYS = 1000


def flink(folder, *arguments):
    """Compiled once: Flink sends functions as serialised objects of classes that it must find again."""
    jars, classes = engines.BUILD / "peers/flink/lib/*", engines.BUILD / "bench/flink-classes"
    source = engines.ROOT / "bench/peers/FlinkWindow.java"
    made = classes / "FlinkWindow.class"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["javac", "-cp", str(jars), "-d", str(classes), str(source)], check=True)
    return ["java", "-Xmx3g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", f"{classes}:{jars}", "FlinkWindow",
            *map(str, arguments)]


def cases(quick):
    rows = 1_000_000 if quick else 100_000_000

    def thalweg(folder):
        return engines.thalweg(folder, {
            "source": {"generate": {"kind": "events", "rows": rows, "keys": KEYS, "rate": "1000000000/s"}},
            "steps": [{"window": {"time": "ts", "tumbling": "1s"}}, {"group": {"by": ["key"], "aggregate": {"n": "count"}}}],
            "sink": {"file": {"path": "out/", "format": "csv"}}}, checkpoint={"dir": str(folder / "state"), "every": "1s"})

    def verify(engine, folder, figures):
        if engine == "flink":
            return expect(int(re.search(r"ROWS=(\d+)", (folder / "stdout").read_text()).group(1)) == rows, "every row in a window")
        n = windows = 0
        for path in (folder / "out").iterdir():
            with open(path, newline="") as file:
                for row in csv.DictReader(file):
                    n += int(row["n"])
                    windows += 1
        # 10 us apart: 100,000 rows a window.
        expect(abs(windows - rows // 100_000 * KEYS) <= rows // 100_000, f"{windows} counts")
        return expect(n == rows, "every row in a window")

    yield Case("window", f"{rows / 1e6:g} M rows",
               {"thalweg": thalweg, "flink": lambda folder: flink(folder, rows, KEYS, engines.THREADS, folder / "state")},
               verify, rows, "rows",
               goals=[times_faster("15 times Flink", 15, "flink")])
