"""Cost per byte of a word count from 1 MB to 10 GB: it should be flat."""

import data
import engines
from answers import rows as read_rows
from case import Case, expect
from workloads.wordcount import job

TITLE = "Word count by size of the input, 100,000 different words"
rates = {}


def cases(quick):
    sizes = ["1MB", "10MB"] if quick else ["1MB", "10MB", "100MB", "1GB", "10GB"]
    for size in sizes:
        path = data.text(size, 100_000)
        amount = path.stat().st_size

        def verify(engine, folder, figures, amount=amount):
            found = read_rows(folder / "out.csv")
            # Each word and the blank behind it are bytes of the file.
            total = sum((len(str(word).encode()) + 1) * int(n) for word, n in found if isinstance(word, str))
            return expect(abs(total - amount) <= 0.01 * amount, "the words found make up the file's bytes")

        def flat(figures, size=size, amount=amount):
            rates[size] = amount / figures["thalweg"]["wall_seconds"]
            return rates[size] >= 0.8 * rates.get("100MB", rates[size])

        yield Case(f"size-{size}", size, {"thalweg": lambda folder, path=path: engines.thalweg(folder, job(path))}, verify, amount,
                   "B", runs=1 if size == "10GB" else 0,
                   goals=[(f"{size} within 1.25 times the cost per byte of 100 MB", flat, ("thalweg",))] if size in ("1GB", "10GB") else [])
