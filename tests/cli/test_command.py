"""The command: its words, exit statuses, settings, summary; golden output in golden/.

THALWEG_GOLDEN=write rewrites the golden files after a wanted change.
"""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from harness import ROOT

GOLDEN = Path(__file__).parent / "golden"
EXAMPLE_CSV = "city,country,people\nOslo,no,700000\nBergen,no,290000\nPune,in,7000000\n"
EXAMPLE = """name: example
source: { file: { path: cities.csv } }
steps:
  - filter: people > 300000
  - group: { by: [country], aggregate: { n: count, people: sum(people) } }
  - sort: [-people]
sink: { stdout: {} }
run: { parallelism: 2, memory: 256MiB }
"""
STEPS = ["busy", "dedupe", "derive", "distinct", "drop", "explode", "filter", "group", "join", "limit", "parse", "rename", "sample",
         "select", "sort", "split_words", "union"]


def golden(name, text):
    path = GOLDEN / name
    if os.environ.get("THALWEG_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is missing: THALWEG_GOLDEN=write makes it"
    assert text == path.read_text()


@pytest.fixture
def example(thalweg):
    thalweg.write("cities.csv", EXAMPLE_CSV)
    thalweg.write("job.yaml", EXAMPLE)
    return thalweg


@pytest.mark.parametrize("words", [["help"], ["list"], *(["help", step] for step in STEPS)], ids=" ".join)
def test_golden_words(thalweg, words):
    result = thalweg.command(*words)
    assert result.exit == 0 and result.stderr == "", result
    golden("-".join(words) + ".txt", result.stdout)


@pytest.mark.parametrize("name", STEPS)
def test_list_and_help_name_every_step(thalweg, name):
    assert re.search(rf"\b{name}\b", thalweg.command("list").stdout)
    assert name in thalweg.command("help", name).stdout


def test_list_names_connectors_and_formats(thalweg):
    text = thalweg.command("list").stdout
    for name in ("file", "generate", "discard", "stdout", "lines", "csv", "json", "records", "binary", "libsvm", "edges"):
        assert re.search(rf"\b{name}\b", text), name


def test_help_of_an_unknown_step_names_the_nearest(thalweg):
    result = thalweg.command("help", "grup")
    assert result.exit == 2 and "group" in result.stderr, result


def test_version(thalweg):
    result = thalweg.command("version")
    version = re.search(r"^VERSION := (\S+)$", (ROOT / "Makefile").read_text(), re.M)[1]
    assert result.exit == 0 and version in result.stdout and len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["nonsense"], ["run"], ["run", "job.yaml", "--nonsense"], ["run", "a.yaml", "b.yaml"],
                                   ["check"], ["generate"], ["generate", "nonsense"], ["run", "job.yaml", "--set"],
                                   ["run", "job.yaml", "--set", "x"]], ids=lambda words: " ".join(words) or "nothing")
def test_a_wrong_command_line(example, words):
    result = example.command(*words)
    assert result.exit == 2 and result.stderr.strip(), result
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) < 40


def test_an_unknown_command_names_the_nearest(thalweg):
    result = thalweg.command("chek", "job.yaml")
    assert result.exit == 2 and "check" in result.stderr


def test_a_job_file_that_is_not_there(thalweg):
    result = thalweg.command("run", "missing.yaml")
    assert result.exit == 2 and "missing.yaml" in result.stderr and "No such file" in result.stderr


def test_check_of_a_good_job(example):
    result = example.command("check", "job.yaml")
    assert result.exit == 0 and result.stderr == "", result
    golden("check-good.txt", result.stdout)


def test_run_writes_csv_into_a_pipe(example):
    result = example.command("run", "job.yaml", "--quiet")
    assert (result.exit, result.stdout, result.stderr) == (0, "country,n,people\nin,1,7000000\nno,1,700000\n", "")


def test_run_ends_with_a_summary_for_people(example):
    result = example.command("run", "job.yaml")
    assert result.exit == 0 and result.stdout.startswith("country,n,people\n")
    assert result.stderr.strip(), "the summary goes to standard error, so that a pipe gets rows alone"


def test_a_terminal_gets_a_table(example):
    """Columns that line up, numbers to the right."""
    master, slave = pty.openpty()
    process = subprocess.Popen(example.argv("run", "job.yaml", "--quiet"), cwd=example.folder, stdout=slave,
                               stderr=subprocess.PIPE, env={**example.environment(), "TERM": "xterm", "COLUMNS": "80"})
    os.close(slave)
    output = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:
            break
        if not chunk:
            break
        output += chunk
    assert process.wait(30) == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", output.decode()).replace("\r\n", "\n")
    golden("table.txt", text)


SUMMARY = {
    "name": str, "status": str, "error": (str, type(None)), "wall_seconds": (int, float), "cpu_seconds": (int, float),
    "peak_rss_bytes": int, "rows_in": int, "rows_out": int, "bytes_in": int, "bytes_out": int, "bad_records": int,
    "late_records": int, "spilled_bytes": int, "bottleneck": dict, "bound": dict, "steps": list, "warnings": int,
}
STEP = {
    "flow": str, "step": str, "rows_in": int, "rows_out": int, "busy_seconds": (int, float),
    "blocked_seconds": (int, float), "idle_seconds": (int, float),
}


def test_json_summary(example):
    result = example.command("run", "job.yaml", "--json", "--set", "sink={file: {path: out.csv}}")
    assert result.exit == 0, result
    summary = json.loads(result.stdout)
    assert set(SUMMARY) <= set(summary), set(SUMMARY) - set(summary)
    for key, kind in SUMMARY.items():
        assert isinstance(summary[key], kind), (key, summary[key])
    assert summary["name"] == "example" and summary["status"] == "done" and not summary["error"]
    assert summary["rows_in"] == 3 and summary["rows_out"] == 2
    assert summary["bytes_in"] == len(EXAMPLE_CSV) and summary["bytes_out"] == len(example.read("out.csv"))
    assert set(summary["bottleneck"]) == {"resource", "utilization"}
    assert set(summary["bound"]) == {"rows_per_second", "fraction"}
    assert 0 < summary["wall_seconds"] < 5 and summary["peak_rss_bytes"] > 2**20
    for step in summary["steps"]:
        assert set(STEP) <= set(step)
        assert all(isinstance(step[key], kind) for key, kind in STEP.items()), step
    by_name = {step["step"]: step for step in summary["steps"]}
    assert (by_name["filter"]["rows_in"], by_name["filter"]["rows_out"]) == (3, 2)
    assert (by_name["group"]["rows_in"], by_name["group"]["rows_out"]) == (2, 2)
    assert (by_name["sort"]["rows_in"], by_name["sort"]["rows_out"]) == (2, 2)


def test_json_of_a_failed_run(example):
    example.write("cities.csv", "city,country,people\nOslo,no,many\n")
    result = example.command("run", "job.yaml", "--json", "--set", "sink={file: {path: out.csv}}",
                             "--set", "source.file.columns={city: string, country: string, people: int64}")
    assert result.exit == 1, result
    summary = json.loads(result.stdout)
    assert summary["status"] == "failed" and "cities.csv" in summary["error"] and "record 1" in summary["error"]


def test_json_refuses_a_stdout_sink(example):
    result = example.command("run", "job.yaml", "--json")
    assert result.exit == 2 and "stdout" in result.stderr, result
    assert result.stderr.startswith("job.yaml:7:"), result


@pytest.mark.parametrize("setting,out", [
    ("steps[0].filter=people > 1", "country,n,people\nin,1,7000000\nno,2,990000\n"),
    ("steps[2].sort={by: [country], limit: 1}", "country,n,people\nin,1,7000000\n"),
    ("steps[1].group.aggregate.people=max(people)", "country,n,people\nin,1,7000000\nno,1,700000\n"),
    ("run.parallelism=1", "country,n,people\nin,1,7000000\nno,1,700000\n"),
], ids=["expression", "map", "deep", "number"])
def test_set(example, setting, out):
    result = example.command("run", "job.yaml", "--quiet", "--set", setting)
    assert (result.exit, result.stdout) == (0, out), result


@pytest.mark.parametrize("setting,words", [
    ("run.paralelism=2", ["paralelism", "parallelism"]),
    ("steps[9].limit=2", ["9"]),
    ("run.memory=1KiB", ["32MiB"]),
    ("steps[0].filter=nope > 1", ["nope"]),
])
def test_set_that_is_wrong(example, setting, words):
    result = example.command("run", "job.yaml", "--set", setting)
    assert result.exit == 2 and all(word in result.stderr for word in words), result


def test_variables(example):
    example.write("job.yaml", EXAMPLE.replace("cities.csv", '"${DIR:-.}/${FILE}"').replace("300000", "${LEAST:-300000}"))
    assert example.command("run", "job.yaml", "--quiet", env={"FILE": "cities.csv"}).stdout.endswith("no,1,700000\n")
    result = example.command("run", "job.yaml", "--quiet", env={"FILE": "cities.csv", "LEAST": "1", "DIR": ""})
    assert result.stdout.endswith("no,2,990000\n"), result


def test_anchors_merge_keys_and_plain_words(example):
    """YAML 1.1's booleans are text here."""
    text = EXAMPLE.replace("name: example", "name: on")
    text = text.replace("run: { parallelism: 2, memory: 256MiB }", "run: { <<: { parallelism: 1 }, memory: 64MiB }")
    text = text.replace("steps:", "steps: &steps").replace("sink:", "sink: &sink")
    example.write("job.yaml", text)
    result = example.command("run", "job.yaml", "--json", "--set", "sink={file: {path: out.csv}}")
    assert result.exit == 0 and json.loads(result.stdout)["name"] == "on", result


def test_a_job_in_json(example):
    job = {"source": {"file": {"path": "cities.csv"}}, "steps": [{"limit": 1}], "sink": {"stdout": {}}}
    example.write("job.json", json.dumps(job))
    assert example.command("run", "job.json", "--quiet").stdout == "city,country,people\nOslo,no,700000\n"


def test_explain(example):
    """Stages with parallelism, what is fused, where rows move, the worst memory; nothing is run."""
    result = example.command("explain", "job.yaml")
    assert result.exit == 0 and result.stderr == "", result
    for word in ("file", "filter", "group", "sort", "stdout", "memory", "2"):
        assert word in result.stdout, word
    golden("explain.txt", result.stdout)


def test_explain_and_check_write_nothing(example):
    before = sorted(p.name for p in example.folder.iterdir())
    for command in ("explain", "check"):
        assert example.command(command, "job.yaml", "--set", "sink={file: {path: out.csv}}").exit == 0
    assert sorted(p.name for p in example.folder.iterdir()) == before


def test_trace_and_progress_are_taken(example):
    result = example.command("run", "job.yaml", "--progress", "--quiet")
    assert result.exit == 0 and result.stdout.startswith("country,n,people\n"), result


GENERATE = [
    (["text", "--bytes", "100KB", "--vocabulary", "1000"], lambda data: abs(len(data) - 100_000) < 2000),
    (["records", "--rows", "1000"], lambda data: len(data) == 100_000),
    (["points", "--rows", "100", "--columns", "3", "--clusters", "2"], lambda data: data.count(b"\n") == 101),
    (["linear", "--rows", "100", "--columns", "3", "--noise", "0.1"], lambda data: data.startswith(b"y,x0,x1,x2\n")),
    (["graph", "--scale", "8", "--edge-factor", "4"], lambda data: data.count(b"\n") == 1024),
    (["events", "--rows", "100", "--keys", "5"], lambda data: data.startswith(b"ts,key,value\n")),
]


@pytest.mark.parametrize("words,good", GENERATE, ids=[words[0] for words, _ in GENERATE])
def test_generate(thalweg, words, good):
    contents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        result = thalweg.command("generate", *words, "--seed", seed, "-o", name)
        assert result.exit == 0, result
        contents.append(thalweg.read(name))
    assert contents[0] == contents[1] != contents[2]
    assert good(contents[0]), contents[0][:200]


def test_generate_as_a_source_gives_what_the_command_writes(thalweg):
    thalweg.command("generate", "records", "--rows", 5000, "--seed", 7, "-o", "a.dat")
    for parallelism in (1, 4):
        thalweg.ok({
            "source": {"generate": {"kind": "records", "rows": 5000, "seed": 7}},
            "sink": {"file": {"path": "b.dat", "format": "records"}},
        }, run_parallelism=parallelism)
        assert thalweg.read("b.dat") == thalweg.read("a.dat")


def test_examples_are_good_jobs(thalweg):
    """Every example passes check, from the root of the project, once its data is there."""
    for path in sorted(set((ROOT / "examples").glob("*.yaml")) - {ROOT / "examples/capacity.yaml"}):  # which is a grid
        thalweg.write("linux-doc/usr/share/doc/linux-doc-6.1/Documentation/a/b.rst.gz", b"text\n")
        thalweg.write("flights/flights.csv", "year,month,day,carrier,dep_delay,arr_delay,distance,origin,dest,time_hour\n"
                                             "2013,1,1,UA,NA,NA,1400,EWR,IAH,2013-01-01T10:00:00Z\n")
        thalweg.write("flights/airlines.csv", "carrier,name\nUA,United Air Lines Inc.\n")
        thalweg.write("flights/planes.csv", "tailnum,year,manufacturer\nN1,2001,BOEING\n")
        result = thalweg.command("check", path, env={"DATA": str(thalweg.folder)})
        assert result.exit == 0, (path, result)


def test_reference_is_current(thalweg):
    """docs/REFERENCE.md is what the descriptors say: `thalweg help --markdown > docs/REFERENCE.md`."""
    printed = thalweg.command("help", "--markdown")
    assert printed.exit == 0
    assert (ROOT / "docs/REFERENCE.md").read_text() == printed.stdout
