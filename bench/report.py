"""From results to Markdown."""

import json

BEGIN = "<!-- written by make bench: begin -->"
END = "<!-- written by make bench: end -->"
HEAD = """# Performance

What `make bench` measured, on data from `thalweg generate` and from fixed seeds. Two threads each.
Engines take turns (A B A B) after one warm-up; the time is that of the whole process from start to
exit, the page cache warm; the median stands first, the least and the most behind it. CPU time and
peak memory are of the whole tree of processes (10 MiB are the launcher's own, so less is not seen). Every answer was compared with an independent one
outside the clock. For Spark the time of the job alone, without its start, counts in ratios.

"""


def seconds(value):
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def size(value):
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def rate(amount, unit, elapsed):
    value = amount / elapsed
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.2f} {prefix}{unit}/s"
    return f"{value:.1f} {unit}/s"


def workload_table(result):
    lines = [f"### {result['title']}", "", "| | engine | median (least - most), runs | CPU | peak memory | rate | Thalweg is faster by |",
             "|---|---|---|---|---|---|---|"]
    goals = []
    for case in result["cases"]:
        own = case["engines"].get("thalweg")
        for name, figures in case["engines"].items():
            wall = figures["wall_seconds"]
            if not figures["runs"]:
                continue
            counted = figures.get("job_seconds", wall)
            ratio = f"{counted / own['wall_seconds']:.1f}" if own and own["runs"] and not name.startswith("thalweg") else ""
            elapsed = f"{seconds(wall)} ({seconds(figures['least_seconds'])} - {seconds(figures['most_seconds'])}), {figures['runs']}"
            if "job_seconds" in figures:
                elapsed += f"; job {seconds(figures['job_seconds'])}"
            speed = rate(case["amount"], case["unit"], wall) if case["amount"] else ""
            lines.append(f"| {case['title']} | {name} | {elapsed} | {seconds(figures['cpu_seconds'])} | "
                         f"{size(figures['peak_rss_bytes'])} | {speed} | {ratio} |")
        goals += [f"- {'reached' if met else 'NOT reached'}: {text}" for text, met in case["goals"]]
    checks = sorted({text for case in result["cases"] for text in case["verified"].values()})
    lines += ["", f"Verified: {'; '.join(checks)}.", *goals, ""]
    return "\n".join(lines)


def machine_text(machine):
    return (f"Machine: {machine['processor']}, {machine['processors']} processors, {machine['memory_gib']} GiB. Limits: memory read "
            f"{machine['memory_read']:.1f} GB/s, triad {machine['memory_triad']:.1f} GB/s with two threads; disk write "
            f"{machine['disk_write']:.1f} GB/s, read {machine['disk_read']:.1f} GB/s past the page cache.\n")


def write(path, results, order):
    """Puts the tables of all results that there are between the markers, and keeps the text around."""
    machine = json.loads((results / "machine.json").read_text())
    tables = [machine_text(machine)]
    for name in order:
        file = results / f"{name}.json"
        if file.exists():
            tables.append(workload_table(json.loads(file.read_text())))
    body = f"{BEGIN}\n{chr(10).join(tables)}\n{END}\n"
    text = path.read_text() if path.exists() else HEAD + body
    if BEGIN not in text:
        text += "\n" + body
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1].lstrip("\n") if END in rest else ""
    path.parent.mkdir(exist_ok=True)
    path.write_text(before + body + after)
