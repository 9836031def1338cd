"""Word count, the first job: against Python's Counter, awk and sort."""

import collections
import gzip
import random
import subprocess

import pytest

from harness import read_csv


def text(words, seed, vocabulary=3000):
    """Zipf-like lines with all kinds of ASCII white space between the words."""
    rng = random.Random(seed)
    names = [f"w{n:x}" if n % 7 else f"long-word-beyond-sixteen-bytes-{n}" for n in range(vocabulary)]
    names[3], names[5] = "über", "日本語"
    weights = [1 / (rank + 1) for rank in range(vocabulary)]
    chosen = rng.choices(names, weights, k=words)
    gaps = rng.choices([" ", " ", " ", "\t", "  ", "\n", "\n\n", "\r\n", " \v", "\f"], k=words)
    return "".join(word + gap for word, gap in zip(chosen, gaps))


def job(path, sort=True):
    steps = [
        {"split_words": {"from": "line", "into": "word"}},
        {"group": {"by": ["word"], "aggregate": {"n": "count"}}},
    ]
    if sort:
        steps.append({"sort": {"by": ["-n", "word"]}})
    return {
        "name": "wordcount",
        "source": {"file": {"path": path, "format": "lines"}},
        "steps": steps,
        "sink": {"file": {"path": "out.csv"}},
    }


def expected(content):
    counts = collections.Counter(content.encode().split())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(word.decode(), count) for word, count in ordered]


def test_every_setting_gives_the_same_bytes(thalweg, settings):
    content = text(40_000, seed=1)
    thalweg.write("in.txt", content)
    summary = thalweg.ok(job("in.txt"), **settings)
    header, rows = read_csv(thalweg.read("out.csv"), [str, int])
    assert header == ["word", "n"]
    assert rows == expected(content)
    assert summary["rows_out"] == len(rows)
    assert summary["bytes_in"] == len(content.encode())


@pytest.mark.sanitized
@pytest.mark.threaded
def test_under_sanitizers(thalweg):
    content = text(20_000, seed=2)
    thalweg.write("in.txt", content)
    rows = thalweg.table(job("in.txt"), types=[str, int], run_parallelism=4, run_batch_rows=100)
    assert rows == expected(content)


def test_against_awk_and_sort(thalweg):
    thalweg.write("in.txt", text(300_000, seed=3, vocabulary=50_000))
    thalweg.ok(job("in.txt"))
    pipeline = (
        "LC_ALL=C mawk '{for(i=1;i<=NF;i++)c[$i]++} END{for(w in c)print w\",\"c[w]}' "
        "RS='[\\n]' FS='[ \\t\\n\\v\\f\\r]+' in.txt | LC_ALL=C sort -t, -k2,2nr -k1,1"
    )
    answer = subprocess.run(["sh", "-c", pipeline], cwd=thalweg.folder, capture_output=True, check=True).stdout
    lines = [line for line in answer.splitlines() if not line.startswith(b",")]
    assert thalweg.read("out.csv").splitlines()[1:] == lines


def test_lowercase(thalweg):
    thalweg.write("in.txt", "The the THE ÄPFEL äpfel\nthe\n")
    steps = [
        {"split_words": {"from": "line", "into": "word", "lowercase": True}},
        {"group": {"by": ["word"], "aggregate": {"n": "count"}}},
    ]
    rows = thalweg.table({**job("in.txt"), "steps": steps}, types=[str, int])
    assert sorted(rows) == [("the", 4), ("äpfel", 2)]


def test_many_compressed_files_below_folders(thalweg):
    """Thousands of small .gz files, as the kernel's documentation is."""
    everything = []
    for number in range(2000):
        content = text(20, seed=number, vocabulary=200)
        everything.append(content)
        thalweg.write(f"doc/{number % 13}/{number % 7}/part{number}.txt.gz", gzip.compress(content.encode(), 1))
    rows = thalweg.table(job("doc/**/*.gz"), types=[str, int])
    assert rows == expected("\n".join(everything))


def test_words_across_block_borders(thalweg):
    """Long words of random length shift over every border of blocks that a reader may use."""
    rng = random.Random(4)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(1, 3000))) for _ in range(6000)]
    content = "".join(word + rng.choice([" ", "\n"]) for word in words)
    thalweg.write("in.txt", content)
    assert thalweg.table(job("in.txt"), types=[str, int], run_parallelism=8) == expected(content)


def test_no_words_still_make_the_file_with_its_header(thalweg):
    thalweg.write("in.txt", "  \n\n\t\n")
    assert thalweg.ok(job("in.txt"))["rows_out"] == 0
    assert thalweg.read("out.csv") == b"word,n\n"
