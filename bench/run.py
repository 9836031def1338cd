"""make bench: each workload, engines in turn (A B A B), verified outside the clock, into a table.

  bench/run.py [--engines thalweg,duckdb,...|all] [--runs N] [--quick] [--no-docs] [WORKLOAD...]

A workload is a file in bench/workloads with `cases(quick)`, an iterable of Case. Results go to
build/bench/WORKLOAD.json and into docs/PERFORMANCE.md between its markers.
"""

import argparse
import importlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import engines
import limits
import report
from engines import BUILD, ROOT

OUT = BUILD / "bench"
# In the order of the table; every file in bench/workloads is one of them.
WORKLOADS = ["wordcount", "sort", "groupby", "join", "csv", "keys", "size", "stateless", "latency", "memory", "kafka", "stream", "window"]
SLOW = {"spark": 1, "mawk": 2, "sort": 3}  # runs of engines that take long


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--engines", default="thalweg,duckdb,sort,mawk,streams,flink,zeromq,raw", help="a list, or all (with Spark: long)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small data and two runs: shows that the benchmark works")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/PERFORMANCE.md as it is")
    arguments = parser.parse_args()
    unknown = set(arguments.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    return arguments


def measure(argv, folder):
    """One run of a command: its figures, and the engine's own summary if it prints one."""
    result = folder / "figures.json"
    environment = {**os.environ, "TMPDIR": str(folder)}
    with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
        subprocess.run([sys.executable, "-S", str(Path(__file__).parent / "launch.py"), str(result), *argv],
                       cwd=folder, stdout=stdout, stderr=stderr, env=environment, check=True)
    figures = json.loads(result.read_text())
    output = (folder / "stdout").read_text(errors="replace")
    if figures["exit"] != 0:
        raise SystemExit(f"{' '.join(argv)[:200]} ended with {figures['exit']}\n{output[-2000:]}\n"
                         + (folder / "stderr").read_text(errors="replace")[-2000:])
    if output.startswith("{"):
        figures["summary"] = json.loads(output)
        # Whoever sends to a live job measures by itself, without the starts of processes.
        figures["wall_seconds"] = figures["summary"].get("measured_seconds", figures["wall_seconds"])
    for line in output.splitlines():
        if "JOB_SECONDS=" in line:
            figures["job_seconds"] = float(line.split("=")[1])
    return figures


def prepare_folder(case, engine):
    folder = OUT / "run" / case / engine
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def run_case(case, chosen, runs):
    names = [name for name in case.engines if name in chosen or name.split(",")[0] in chosen]
    asked = case.runs or runs
    wanted = {name: min(asked, SLOW.get(name.split(",")[0], asked)) for name in names}
    figures = {name: [] for name in names}
    verified = {}
    for turn in range(-1, max(wanted.values(), default=0)):
        for name in names:
            # The turn before the first warms caches; an engine of a single run has no such turn.
            if turn >= wanted[name] or (turn < 0 and (wanted[name] == 1 or case.runs == 1)):
                continue
            folder = prepare_folder(case.name, name)
            argv = case.engines[name](folder)
            measured = measure(argv, folder)
            if turn >= 0:
                figures[name].append(measured)
            if name not in verified:
                verified[name] = case.verify(name, folder, measured)
            print(f"  {case.name:24} {name:14} {'warm' if turn < 0 else turn + 1:>4}  {measured['wall_seconds']:8.3f} s  "
                  f"{measured['cpu_seconds']:8.3f} CPU s  {measured['peak_rss_bytes'] / 2**20:8.0f} MiB", file=sys.stderr, flush=True)
            if case.discard:
                shutil.rmtree(folder)
    return {"case": case.name, "title": case.title, "unit": case.unit, "amount": case.amount, "verified": verified,
            "engines": {name: summarise(runs) for name, runs in figures.items()},
            "goals": [[text, bool(check({n: summarise(r) for n, r in figures.items()}))] for text, check, needs in case.goals
                      if all(n in figures for n in needs)]}


def summarise(runs):
    walls = [run["wall_seconds"] for run in runs]
    result = {
        "runs": len(runs),
        "wall_seconds": statistics.median(walls),
        "least_seconds": min(walls),
        "most_seconds": max(walls),
        "cpu_seconds": statistics.median(run["cpu_seconds"] for run in runs),
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
    }
    jobs = [run["job_seconds"] for run in runs if "job_seconds" in run]
    if jobs:
        result["job_seconds"] = statistics.median(jobs)
    summaries = [run["summary"] for run in runs if "spilled_bytes" in run.get("summary", {})]
    if summaries:
        result["spilled_bytes"] = max(s["spilled_bytes"] for s in summaries)
        result["bottleneck"] = summaries[-1]["bottleneck"]
    return result


def main():
    arguments = parse_arguments()
    chosen = engines.ENGINES if arguments.engines == "all" else arguments.engines.split(",")
    missing = [name for name in chosen if name not in engines.available()]
    if missing:
        print(f"not set up and left out: {', '.join(missing)}", file=sys.stderr)
        chosen = [name for name in chosen if name not in missing]
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "machine.json").write_text(json.dumps(limits.machine(quick=arguments.quick), indent=1))
    for name in arguments.workloads or WORKLOADS:
        workload = importlib.import_module(f"workloads.{name}")
        print(f"{name}: {workload.TITLE}", file=sys.stderr, flush=True)
        cases = [run_case(case, chosen, 2 if arguments.quick else arguments.runs) for case in workload.cases(arguments.quick)]
        result = {"workload": name, "title": workload.TITLE, "time": time.strftime("%Y-%m-%d", time.gmtime()),
                  "quick": arguments.quick, "host": platform.machine(), "cases": cases}
        path = OUT / (f"{name}-quick.json" if arguments.quick else f"{name}.json")
        path.write_text(json.dumps(result, indent=1))
        print(report.workload_table(result))
    shutil.rmtree(OUT / "run", ignore_errors=True)
    if not arguments.quick and not arguments.no_docs:
        report.write(ROOT / "docs/PERFORMANCE.md", OUT, WORKLOADS)


if __name__ == "__main__":
    main()
