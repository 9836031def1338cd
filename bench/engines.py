"""How each engine is started: a job for Thalweg, SQL for DuckDB, a shell line, Scala for Spark.

Each function returns an argv; a run's files are written below `folder`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
THREADS = 2
ENGINES = ["thalweg", "duckdb", "sort", "mawk", "spark", "streams", "flink", "zeromq", "raw"]
# DuckDB takes four fifths of the memory by itself; threads are set as for the others.
DUCKDB = "import duckdb,sys;c=duckdb.connect(config={'threads':%d});c.execute('set enable_progress_bar=false');c.execute(open(sys.argv[1]).read())" % THREADS


def thalweg(folder, job, memory="8GiB", **settings):
    path = folder / "job.yaml"
    path.write_text(json.dumps({"run": {"parallelism": THREADS, "memory": memory, **settings}, **job}, indent=1))
    return [str(BUILD / "release/thalweg"), "run", str(path), "--json"]


def duckdb(folder, sql):
    path = folder / "job.sql"
    path.write_text(sql)
    return [sys.executable, "-c", DUCKDB, str(path)]


def shell(folder, line):
    return ["sh", "-c", "LC_ALL=C; export LC_ALL; " + line]


def spark(folder, scala):
    """The DataFrame API in Scala; the seconds of the job alone are printed, without Spark's own start."""
    path = folder / "job.scala"
    path.write_text(
        'spark.sparkContext.setLogLevel("ERROR")\nval start = System.nanoTime\n' + scala +
        '\nprintln("JOB_SECONDS=" + (System.nanoTime - start) / 1e9)\nSystem.exit(0)\n'
    )
    home = next((BUILD / "peers/spark/lib").glob("python*/site-packages/pyspark"))
    return ["env", f"SPARK_HOME={home}", "SPARK_LOCAL_IP=127.0.0.1", str(home / "bin/spark-shell"), "--master",
            f"local[{THREADS}]", "--driver-memory", "16g", "--conf", "spark.ui.enabled=false", "--conf",
            f"spark.local.dir={folder}", "-i", str(path)]


def available():
    found = ["thalweg", "duckdb"]
    found += [name for name in ("sort", "mawk") if shutil.which(name)]
    if shutil.which("java") and list((BUILD / "peers/spark/lib").glob("python*/site-packages/pyspark")):
        found.append("spark")
    if shutil.which("javac") and shutil.which("kcat") and (BUILD / "kafka/lib").exists():
        found.append("streams")
    if shutil.which("javac") and (BUILD / "peers/flink/lib").exists():
        found.append("flink")
    return found + (["zeromq", "raw"] if Path("/usr/include/zmq.h").exists() else ["raw"])


def blast():
    """The sender and receiver of messages, built when it is older than its source."""
    source, program = ROOT / "bench/net/blast.c", BUILD / "bench/blast"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        zmq = ["-DHAVE_ZMQ", "-lzmq"] if Path("/usr/include/zmq.h").exists() else []
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-pthread", str(source), "-o", str(program), *zmq], check=True)
    return str(program)


def lines_of(path):
    """DuckDB's reader of plain lines: one column, no quotes, a separator that never occurs."""
    return (f"read_csv('{path}', columns={{'line': 'VARCHAR'}}, header=false, auto_detect=false, delim=chr(1), "
            "quote='', escape='')").replace("chr(1)", "'\x01'")


def free_bytes():
    status = os.statvfs(BUILD)
    return status.f_bavail * status.f_frsize
