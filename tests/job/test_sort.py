"""Sorting: stable, nulls last, byte by byte, in memory and far beyond it."""

import random
import subprocess

import pytest

from harness import read_csv, same_rows, write_csv
from oracle import Oracle, Table, random_table


def job(table, keys, limit=None):
    sort = {"by": keys, "limit": limit} if limit is not None else keys
    return {"source": table.source("in.csv"), "steps": [{"sort": sort}], "sink": {"file": {"path": "out.csv"}}}


def order_by(keys):
    """Equal rows keep the order they came in, which _row states."""
    parts = [f"{k.lstrip('-')} {'desc' if k.startswith('-') else 'asc'} nulls last" for k in keys]
    return ", ".join([*parts, "_row"])


def check(thalweg, table, keys, settings=None, limit=None):
    thalweg.write("in.csv", table.csv())
    oracle = Oracle()
    oracle.add("t", table)
    sql = f"select {', '.join(table.columns)} from t order by {order_by(keys)}"
    sql += f" limit {limit}" if limit is not None else ""
    actual = thalweg.table(job(table, keys, limit), types=table.python_types, **(settings or {}))
    same_rows(actual, oracle.rows(sql), ordered=True)


KEYS = [["k"], ["-k"], ["s"], ["-s"], ["f", "-s"], ["b", "-d", "j"], ["-t"], ["j", "b", "-f", "s"], ["-b", "k"]]


@pytest.mark.parametrize("keys", KEYS, ids=[",".join(k) for k in KEYS])
def test_keys_of_every_type(thalweg, keys):
    for parallelism, batch_rows, memory in ((1, 65536, "2GiB"), (2, 100, "32MiB"), (8, 1, "64MiB")):
        check(thalweg, random_table(2500, 51, small_ints=False), keys,
              {"run_parallelism": parallelism, "run_batch_rows": batch_rows, "run_memory": memory})


def test_every_setting(thalweg, settings):
    check(thalweg, random_table(5000, 52), ["-s", "k"], settings)


@pytest.mark.parametrize("limit", [0, 1, 10, 2499, 10_000])
def test_limit(thalweg, limit):
    for parallelism, batch_rows in ((1, 65536), (2, 100), (8, 7)):
        check(thalweg, random_table(2500, 53), ["k", "-s"], {"run_parallelism": parallelism, "run_batch_rows": batch_rows}, limit)


def test_stable_over_few_keys(thalweg, settings):
    table = Table({"k": "int64", "n": "int64"}, [(n * 7919 % 3, n) for n in range(20_000)])
    check(thalweg, table, ["k"], settings)


def test_strings_that_share_long_prefixes(thalweg, settings):
    rng = random.Random(9)
    stems = ["", "p", "p" * 7, "p" * 8, "p" * 9, "p" * 15, "p" * 16, "p" * 17, "p" * 40, "\u00e9" * 9, "日本語日本語"]
    rows = [(rng.choice(stems) + "".join(rng.choices("ab\u0001\u007f\u00ff", k=rng.randint(0, 3))), n) for n in range(4000)]
    for keys in (["s"], ["-s"], ["s", "-n"]):
        check(thalweg, Table({"s": "string", "n": "int64"}, rows), keys, settings)


def test_floats_with_their_odd_values(thalweg):
    values = [0.0, -0.0, 1.5, -1.5, 5e-324, -5e-324, 1e308, -1e308, None]
    rng = random.Random(10)
    rows = [(rng.choice(values), n) for n in range(500)]
    thalweg.write("in.csv", write_csv(["f", "n"], rows))
    table = Table({"f": "float64", "n": "int64"}, rows)
    actual = thalweg.table(job(table, ["f", "n"]), types=[float, int])
    expected = sorted(rows, key=lambda row: (row[0] is None, row[0] if row[0] is not None else 0, row[1]))
    assert actual == expected, "0 and -0 are equal"


def records(count, seed=11):
    rng = random.Random(seed)
    return b"".join(rng.randbytes(10) + f"{n:088d}\r\n".encode() for n in range(count))


def records_job(steps):
    columns = {"key": [0, 10], "rest": [10, 90]}
    return {
        "source": {"file": {"path": "in.dat", "format": "records", "length": 100, "columns": columns}},
        "steps": steps,
        "sink": {"file": {"path": "out.dat", "format": "records"}},
    }


def test_binary_records(thalweg, settings):
    data = records(20_000)
    thalweg.write("in.dat", data)
    thalweg.ok(records_job([{"sort": ["key"]}]), **settings)
    expected = sorted(data[n:n + 100] for n in range(0, len(data), 100))
    assert thalweg.read("out.dat") == b"".join(expected)


def test_larger_than_memory(thalweg):
    """100 MB of records through 32 MiB, the same bytes as with plenty."""
    data = records(1_000_000)
    thalweg.write("in.dat", data)
    expected = b"".join(sorted((data[n:n + 100] for n in range(0, len(data), 100)), key=lambda r: r[:10]))
    for memory, parallelism in (("32MiB", 2), ("64MiB", 8), ("2GiB", 2)):
        summary = thalweg.ok(records_job([{"sort": ["key"]}]), run_memory=memory, run_parallelism=parallelism)
        assert thalweg.read("out.dat") == expected
        assert (summary["spilled_bytes"] > 0) == (memory != "2GiB")
        assert memory == "2GiB" or summary["peak_rss_bytes"] <= (int(memory[:2]) + 64) * 2**20


def test_against_gnu_sort(thalweg):
    rng = random.Random(12)
    thalweg.write("in.txt", "".join("".join(rng.choices("abcXYZ 09_", k=rng.randint(0, 20))) + "\n" for _ in range(200_000)))
    thalweg.ok({
        "source": {"file": {"path": "in.txt"}},
        "steps": [{"sort": ["line"]}],
        "sink": {"file": {"path": "out.txt"}},
    })
    answer = subprocess.run(["sort", "in.txt"], cwd=thalweg.folder, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"},
                            capture_output=True, check=True).stdout
    assert thalweg.read("out.txt") == answer


def test_rows_of_very_different_size(thalweg):
    """Rows between 1 byte and 2 MB at the smallest memory."""
    rng = random.Random(13)
    rows = [(n, "x" * (2_000_000 if n % 97 == 0 else rng.randint(1, 2000))) for n in range(2000)]
    rng.shuffle(rows)
    thalweg.write("in.csv", write_csv(["n", "pad"], rows))
    table = Table({"n": "int64", "pad": "string"}, rows)
    actual = thalweg.table(job(table, ["n"]), types=[int, str], run_memory="32MiB", run_parallelism=2)
    assert actual == sorted(rows)


def test_already_sorted_reversed_and_all_equal(thalweg, settings):
    for rows in ([(n,) for n in range(9000)], [(-n,) for n in range(9000)], [(5,)] * 9000):
        check(thalweg, Table({"n": "int64"}, rows), ["n"], settings)


def test_sorted_rows_go_on_in_order(thalweg, settings):
    """Stateless steps after a sort keep its order."""
    table = random_table(5000, 54)
    thalweg.write("in.csv", table.csv())
    plan = job(table, ["k", "-s"])
    plan["steps"] += [{"filter": "j > 0"}, {"derive": {"twice": "j * 2"}}, {"select": ["k", "s", "twice"]}]
    oracle = Oracle()
    oracle.add("t", table)
    actual = thalweg.table(plan, types=[int, str, int], **settings)
    same_rows(actual, oracle.rows(f"select k, s, j * 2 from t where j > 0 order by {order_by(['k', '-s'])}"), ordered=True)


@pytest.mark.sanitized
@pytest.mark.threaded
def test_under_sanitizers(thalweg):
    check(thalweg, random_table(1500, 55), ["s", "-k"], {"run_parallelism": 4, "run_batch_rows": 50})


def test_a_header_and_order_in_parts(thalweg):
    """Part files by name, one after the other, hold the sorted rows."""
    table = Table({"n": "int64"}, [(n * 7919 % 100_003,) for n in range(100_003)])
    thalweg.write("in.csv", table.csv())
    plan = job(table, ["n"])
    plan["sink"] = {"file": {"path": "out/", "format": "csv"}}
    thalweg.ok(plan, run_parallelism=4)
    rows = []
    for part in sorted((thalweg.folder / "out").iterdir()):
        header, part_rows = read_csv(part.read_bytes(), [int])
        assert header == ["n"]
        rows += part_rows
    assert rows == [(n,) for n in range(100_003)]
