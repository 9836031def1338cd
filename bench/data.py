"""The inputs of all workloads, made once below build/bench-data from fixed seeds."""

import subprocess
import sys

from engines import BUILD, ROOT

DATA = BUILD / "bench-data"


def make(name, build):
    """The path of a data file; build(temporary path) makes it if it is not there."""
    path = DATA / name
    if not path.exists():
        DATA.mkdir(parents=True, exist_ok=True)
        print(f"  making {path.relative_to(ROOT)}", file=sys.stderr, flush=True)
        temporary = path.with_name(name + ".new")
        build(temporary)
        temporary.rename(path)
    return path


def generated(name, *arguments):
    def build(path):
        subprocess.run([str(BUILD / "release/thalweg"), "generate", *map(str, arguments), "-o", str(path)], check=True)
    return make(name, build)


def text(size, vocabulary):
    """Zipf text, for example text("1GB", 1_000_000)."""
    return generated(f"text-{size}-{vocabulary}.txt", "text", "--bytes", size, "--vocabulary", vocabulary, "--seed", 1)


def record_lines(rows):
    """The sort benchmark's records as lines of 100 bytes, so that line-based tools can sort them too:
    the key's bytes become letters that keep its order nearly, the rest the row's number and filling."""
    source = generated(f"records-{rows}.dat", "records", "--rows", rows, "--seed", 1)

    def build(path):
        import numpy
        letters = numpy.frombuffer(b"+-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", dtype=numpy.uint8)
        block = 1_000_000
        with open(source, "rb") as binary, open(path, "wb") as out:
            while chunk := binary.read(block * 100):
                rows_in = numpy.frombuffer(chunk, dtype=numpy.uint8).reshape(-1, 100)
                lines = numpy.empty_like(rows_in)
                lines[:, :10] = letters[rows_in[:, :10] & 63]
                lines[:, 10] = ord(" ")
                lines[:, 11:27] = rows_in[:, 28:44]
                lines[:, 27:99] = letters[rows_in[:, 27:99] & 63]
                lines[:, 99] = ord("\n")
                lines.tofile(out)
    return make(f"records-{rows}.txt", build)


def from_sql(name, query):
    """A CSV file written by DuckDB from a query over hashes of row numbers: the same on every machine."""
    def build(path):
        import duckdb
        connection = duckdb.connect(config={"threads": 2})
        connection.execute("set preserve_insertion_order = true; set enable_progress_bar = false")
        connection.execute(f"copy ({query}) to '{path}' (header true, format csv)")
    return make(name, build)


def uniform(salt, n):
    """SQL for a number below n that depends on the row number i alone."""
    return f"(hash(i, {salt}) % {n})"


def h2o_groupby(rows=10_000_000, k=100):
    """G1_1e7_1e2_0_0 of the db-benchmark: nine columns, no nulls, not sorted (distributions of its
    groupby-datagen.R; other random numbers)."""
    u = uniform
    return from_sql(f"G1_{rows}_{k}.csv", f"""
        select printf('id%03d', {u(1, k)} + 1) id1, printf('id%03d', {u(2, k)} + 1) id2,
               printf('id%010d', {u(3, rows // k)} + 1) id3, {u(4, k)} + 1 id4, {u(5, k)} + 1 id5,
               {u(6, rows // k)} + 1 id6, {u(7, 5)} + 1 v1, {u(8, 15)} + 1 v2,
               printf('%.6f', {u(9, 100_000_000)} / 1e6) v3
        from range({rows}) t(i)""")


def h2o_join(rows=10_000_000):
    """J1_1e7 of the db-benchmark: x and a small, a medium and a big right side. A key is one of 1.1 n
    numbers; each side has n of them, nine tenths of n in common (join-datagen.R)."""
    u = uniform
    small, medium, big = rows // 1_000_000, rows // 1_000, rows

    def key(column, n):
        return f"({u(column, n)} + 1)"

    x = from_sql(f"J1_{rows}_x.csv", f"""
        select id1, id2, id3, 'id' || id1 id4, 'id' || id2 id5, 'id' || id3 id6, printf('%.6f', {u(7, 100_000_000)} / 1e6) v1
        from (select i, {key(1, small)} id1, {key(2, medium)} id2, ((i * 7368787::bigint) % {big}) + 1 id3
              from range({rows}) t(i))""")

    def right(name, n, columns):
        # The right side lacks the first tenth of the left's keys and has as many of its own.
        return from_sql(f"J1_{rows}_{name}.csv", f"""
            select {columns}, printf('%.6f', {u(8, 100_000_000)} / 1e6) v2
            from (select i, ((i * 7368787::bigint + 11) % {n}) + 1 + {n} // 10 k from range({n}) t(i))""")

    return {
        "x": x,
        "small": right("small", small, "k id1, 'id' || k id4"),
        "medium": right("medium", medium, f"(k % {max(small, 1)}) + 1 id1, k id2, 'id' || (k % {max(small, 1)} + 1) id4, 'id' || k id5"),
        "big": right("big", big, f"(k % {max(small, 1)}) + 1 id1, (k % {medium}) + 1 id2, k id3, 'id' || (k % {max(small, 1)} + 1) id4, "
                                 f"'id' || (k % {medium} + 1) id5, 'id' || k id6"),
    }
