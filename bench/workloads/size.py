"""Cost per byte of a word count from 1 MB to 10 GB: it should be flat. The CPU time counts, without that of the smallest run,
which is the start; few words, so that their number does not grow with the input. (1 MB is one split: one processor.)"""

import data
import engines
from answers import rows as read_rows
from case import Case, expect
from workloads.wordcount import job

TITLE = "Word count by size of the input, 1,000 different words"
FLAT = 1.25
costs = {}


def cases(quick):
    sizes = ["10KB", "100MB", "1MB", "10MB", "1GB"]
    if not quick:
        sizes.append("10GB")
    for size in sizes:
        path = data.text(size, 1_000)
        amount = path.stat().st_size

        def verify(engine, folder, figures, amount=amount):
            costs.setdefault(amount, figures["cpu_seconds"])
            found = read_rows(folder / "out.csv")
            # Each word and the blank behind it are bytes of the file.
            total = sum((len(str(word).encode()) + 1) * int(n) for word, n in found if isinstance(word, str))
            return expect(abs(total - amount) <= 0.01 * amount, "the words found make up the file's bytes")

        def flat(figures, amount=amount):
            (least, start), (usual, cost) = sorted(costs.items())[0], list(costs.items())[1]
            return (figures["thalweg"]["cpu_seconds"] - start) / (amount - least) <= FLAT * (cost - start) / (usual - least)

        yield Case(f"size-{size}", size, {"thalweg": lambda folder, path=path: engines.thalweg(folder, job(path))}, verify, amount,
                   "B", runs=1 if size == "10GB" else 0,
                   goals=[(f"{size} within {FLAT} times the CPU time per byte of 100 MB", flat, ("thalweg",))] if
                   size not in ("10KB", "100MB") else [])
