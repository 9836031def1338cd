"""Cost per row of a group over 100 M rows, from a thousand to a hundred million distinct keys. The rows
are made in the run; the run without the group tells what making them costs."""

import engines
from answers import rows as read_rows
from case import Case, expect

TITLE = "Group by growing numbers of distinct keys"
baseline = {}


def cases(quick):
    rows = 1_000_000 if quick else 100_000_000
    for keys in (0, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000):
        if keys > rows // (100 if quick else 1):
            continue
        source = {"generate": {"kind": "events", "rows": rows, "keys": keys or 1000, "seed": 1}}
        group = [{"group": {"by": ["key"], "aggregate": {"n": "count"}}}] if keys else [{"derive": {"n": "key * 0 + 1"}}]
        job = {"source": source, "sink": {"file": {"path": "out.csv"}},
               "steps": [*group, {"group": {"by": [], "aggregate": {"keys": "count", "rows": "sum(n)"}}}]}

        def verify(engine, folder, figures, keys=keys):
            found, total = read_rows(folder / "out.csv")[0]
            expect(total == rows, "every row is counted once")
            if keys:
                wanted = keys * (1 - (1 - 1 / keys) ** rows)
                expect(abs(found - wanted) <= max(4 * wanted**0.5, 0.002 * wanted), f"{found} keys, {wanted:.0f} expected")
            return "rows and distinct keys as many as the generator must have made"

        def flat(figures, keys=keys):
            net = figures["thalweg"]["wall_seconds"]
            baseline.setdefault(keys, net)
            return net <= 6 * baseline[1_000]

        goals = [(f"{keys:,} keys cost at most 6 times as much a row as 1,000", flat, ("thalweg",))] if keys else []
        yield Case(f"keys-{keys}", f"{keys:,} keys" if keys else "rows made, no keys",
                   {"thalweg": lambda folder, job=job: engines.thalweg(folder, job, memory="12GiB")}, verify, rows, "rows",
                   runs=3, goals=goals)
