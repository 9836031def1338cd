"""Memory: three large jobs at 256 MiB give what they give with plenty, under the ceiling."""

import data
import engines
from case import Case, expect, same_bytes
from workloads import sort, wordcount

TITLE = "Ceiling of 256 MiB: peak memory stays below 320 MiB, results equal those with plenty"
MEMORY = "256MiB"
CEILING = (256 + 64) * 2**20


def join_inputs(quick):
    rows = 300_000 if quick else 30_000_000
    side = lambda salt: f"""select (i * 7368787::bigint + {salt}) % {rows} k,
        printf('%020d%020d', hash(i, {salt}), hash(i, {salt} + 1)) || 'filling_up' v{salt} from range({rows}) t(i)"""
    return [data.from_sql(f"side{salt}-{rows}.csv", side(salt)) for salt in (1, 2)], rows


def join(paths):
    return {"flows": {
        "b": {"source": {"file": {"path": str(paths[1])}}},
        "a": {"source": {"file": {"path": str(paths[0])}},
              "steps": [{"join": {"with": "b", "on": ["k"]}},
                        {"group": {"by": [], "aggregate": {"n": "count", "k": "sum(k)", "lo": "min(v2)", "hi": "max(v1)"}}}],
              "sink": {"file": {"path": "out.csv"}}},
    }}


def cases(quick):
    words = data.text("20MB" if quick else "2GB", 100_000 if quick else 10_000_000)
    rows = 400_000 if quick else 40_000_000
    records = data.generated(f"records-{rows}.dat", "records", "--rows", rows, "--seed", 1)
    sides, side_rows = join_inputs(quick)
    work = [
        ("wordcount", "word count, 10 M distinct words, 2 GB", wordcount.job(words), "out.csv", words.stat().st_size, None),
        ("sort", "sort of 4 GB", sort.job(records), "out.txt", records.stat().st_size, sorted_records),
        ("join", "join of two files of 2 GB", join(sides), "out.csv", sum(path.stat().st_size for path in sides),
         lambda path: expect(path.read_text().splitlines()[1].startswith(f"{side_rows},{side_rows * (side_rows - 1) // 2},"),
                             "every key meets its own")),
    ]
    for name, title, job, out, amount, check in work:
        same = same_bytes()

        def verify(engine, folder, figures, out=out, same=same, check=check):
            if check:
                check(folder / out)
            text = same(folder / out, engine)
            if "256" in engine:
                expect(figures["summary"]["peak_rss_bytes"] <= CEILING, f"{figures['summary']['peak_rss_bytes'] / 2**20:.0f} MiB of 320")
            return text

        yield Case(
            "memory-" + name, title,
            {"thalweg": lambda folder, job=job: engines.thalweg(folder, job, memory="12GiB"),
             "thalweg, 256 MiB": lambda folder, job=job: engines.thalweg(folder, job, memory=MEMORY)},
            verify, amount, "B", runs=1,
            goals=[(f"{title}: peak below 320 MiB", lambda f: f["thalweg, 256 MiB"]["peak_rss_bytes"] <= CEILING,
                    ("thalweg, 256 MiB",))],
        )


def sorted_records(path):
    """valsort's check: keys never go down."""
    import numpy
    last = b""
    with open(path, "rb") as file:
        while chunk := file.read(100 * 500_000):
            keys = numpy.ascontiguousarray(numpy.frombuffer(chunk, dtype=numpy.uint8).reshape(-1, 100)[:, :10]).view("S10").ravel()
            # numpy's strings of bytes drop zero bytes at the end, which changes no order between different keys.
            expect(bool((keys[1:] >= keys[:-1]).all()) and keys[0] >= last, "sorted keys")
            last = keys[-1]
