"""Word count: the counts of all words of a Zipf text, sorted, file to file."""

import collections

import data
import engines
from case import Case, expect, same_bytes, times_faster

TITLE = "Word count, Zipf text to sorted CSV"


def job(path):
    return {
        "source": {"file": {"path": str(path), "format": "lines"}},
        "steps": [
            {"split_words": {"from": "line", "into": "word"}},
            {"group": {"by": ["word"], "aggregate": {"n": "count"}}},
            {"sort": ["-n", "word"]},
        ],
        "sink": {"file": {"path": "out.csv"}},
    }


def sql(path):
    return f"""copy (
        select word, count(*) n from (select unnest(string_split(line, ' ')) word from {engines.lines_of(path)})
        where word <> '' group by word order by n desc, word) to 'out.csv' (header true)"""


def awk(path):
    return ("mawk '{for (i = 1; i <= NF; i++) c[$i]++} END {for (w in c) print w \",\" c[w]}' " + str(path) +
            " | sort -t, -k2,2nr -k1,1 >body; { echo word,n; cat body; } >out.csv")


def scala(path, folder):
    return f"""
        import spark.implicits._
        spark.read.text("{path}").select(explode(split($"value", "\\\\s+")).as("word")).where($"word" =!= "")
          .groupBy("word").count().orderBy($"count".desc, $"word").write.csv("{folder}/spark")"""


def cases(quick):
    path = data.text("10MB" if quick else "1GB", 10_000 if quick else 1_000_000)
    same = same_bytes()
    answer = {}

    def verify(engine, folder, figures):
        if engine == "spark":
            rows = sum(1 for part in (folder / "spark").glob("part-*") for _ in open(part, "rb"))
            return expect(rows == answer.get("rows", rows), "as many words as the others found")
        out = folder / "out.csv"
        if "rows" not in answer:
            answer["rows"] = sum(1 for _ in open(out, "rb")) - 1
            check_counts(path, out)
        return same(out, engine)

    yield Case(
        "wordcount", f"{path.stat().st_size / 1e9:.2f} GB",
        {
            "thalweg": lambda folder: engines.thalweg(folder, job(path)),
            "duckdb": lambda folder: engines.duckdb(folder, sql(path)),
            "mawk": lambda folder: engines.shell(folder, awk(path)),
            "spark": lambda folder: engines.spark(folder, scala(path, folder)),
        },
        verify, path.stat().st_size, "B",
        goals=[times_faster("4 times faster than DuckDB", 4, "duckdb"), times_faster("20 times faster than Spark", 20, "spark"),
               ("1.0 s for 1 GB", lambda f: f["thalweg"]["wall_seconds"] <= 1.0, ("thalweg",))],
    )


def check_counts(path, out):
    """The first 64 MB counted by Python must not exceed what was found, and the total must be exact."""
    with open(path, "rb") as file:
        total = 0
        part = collections.Counter(file.read(1 << 26).split()[:-1])
        file.seek(0)
        rest = b""
        while chunk := file.read(1 << 24):
            words = (rest + chunk).split()
            rest = b"" if (rest + chunk)[-1:].isspace() else words.pop()
            total += len(words)
        total += bool(rest)
    with open(out, "rb") as file:
        next(file)
        found = {word: int(count) for word, count in (line.rstrip(b"\n").rsplit(b",", 1) for line in file)}
    expect(sum(found.values()) == total, "the total of all counts")
    expect(all(found[word] >= count for word, count in part.items()), "words of the first 64 MB")
