"""Runs the command on jobs and reads what they leave; shared by all tests in Python.

A job is a dict or YAML text; options such as run_memory="32MiB" become --set run.memory=32MiB.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0:exitcode=99:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "exitcode=99:halt_on_error=1:second_deadlock_stack=1",
}


def binary(build):
    return ROOT / "build" / build / "thalweg"


def launcher(build):
    """The thread sanitizer of gcc 12 needs address space randomisation off."""
    return ["setarch", platform.machine(), "-R"] if build == "tsan" else []


class Result:
    def __init__(self, process, stdout, stderr, seconds):
        self.exit = process.returncode
        self.stdout = stdout
        self.stderr = stderr
        self.seconds = seconds
        self._summary = None

    @property
    def summary(self):
        """The object that --json prints; an error if there is any other output."""
        if self._summary is None:
            self._summary = json.loads(self.stdout)
        return self._summary

    @property
    def errors(self):
        """The lines of standard error that say what is wrong."""
        return [line for line in self.stderr.splitlines() if "error:" in line]

    def __repr__(self):
        return f"exit {self.exit} after {self.seconds:.2f} s\n{self.stdout[-2000:]}\n{self.stderr[-4000:]}"


class Thalweg:
    """The command of one build, working in a folder of its own."""

    def __init__(self, folder, build="release"):
        self.folder = Path(folder)
        self.build = build
        self.path = binary(build)
        self.prefix = []
        assert self.path.exists(), f"{self.path} is missing: run make test, not pytest alone"

    def drop_privileges(self):
        """Root reads everything: the capabilities that allow it are dropped for the commands that follow."""
        drop = "-dac_override,-dac_read_search"
        if os.geteuid() == 0:
            self.prefix = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"]

    def argv(self, *arguments):
        return [*self.prefix, *launcher(self.build), str(self.path), *map(str, arguments)]

    def environment(self, env=None):
        return {**os.environ, **SANITIZER_ENV, **(env or {})}

    def command(self, *arguments, stdin=None, env=None, timeout=300, text=True, preexec_fn=None):
        start = time.monotonic()
        process = subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment(env),
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=preexec_fn,
        )
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"no end after {timeout} s: {arguments}\n{stderr.decode('utf-8', 'replace')}")
        if text:
            stdout = stdout.decode("utf-8", "replace")
        return Result(process, stdout, stderr.decode("utf-8", "replace"), time.monotonic() - start)

    def job_arguments(self, job, json_output, sets):
        """Writes the job beside its data; returns the arguments of `run`."""
        if isinstance(job, dict):
            job = json.dumps(job, indent=1, ensure_ascii=False)
        name = sets.pop("job_name", "job.yaml")
        (self.folder / name).write_text(job)
        arguments = ["run", name, "--json"] if json_output else ["run", name]
        for key, value in sets.items():
            arguments += ["--set", f"{key.replace('run_', 'run.', 1)}={value}"]
        return arguments

    def run(self, job, *, json_output=True, env=None, timeout=300, stdin=None, text=True, **sets):
        arguments = self.job_arguments(job, json_output, sets)
        return self.command(*arguments, env=env, timeout=timeout, stdin=stdin, text=text)

    def ok(self, job, **options):
        """Runs a job that must be done; returns its summary."""
        result = self.run(job, **options)
        assert result.exit == 0, result
        assert result.summary["status"] == "done", result
        assert result.stderr.strip() == "" or not result.errors, result
        return result.summary

    def start(self, job, env=None, **sets):
        """Starts a job in the background; the caller ends it."""
        arguments = self.job_arguments(job, True, sets)
        return subprocess.Popen(
            self.argv(*arguments),
            cwd=self.folder,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def write(self, name, content):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    def read(self, name):
        return (self.folder / name).read_bytes()

    def table(self, job, out="out.csv", types=None, **options):
        """Runs a job and returns the rows of its CSV sink."""
        self.ok(job, **options)
        return read_csv(self.read(out), types)[1]


def read_csv(data, types=None):
    """(header, rows) of CSV as the job file fixes it: an unquoted empty field is None.

    types: one of str, int, float, bool per column, or None to leave text.
    """
    records, record, position, size = [], [], 0, len(data)
    text = data.decode()
    size = len(text)
    while position < size:
        if text[position] == '"':
            parts, position = [], position + 1
            while True:
                end = text.index('"', position)
                parts.append(text[position:end])
                position = end + 1
                if position < size and text[position] == '"':
                    parts.append('"')
                    position += 1
                    continue
                break
            value = "".join(parts)
        else:
            end = position
            while end < size and text[end] not in ",\n":
                end += 1
            value = text[position:end] or None
            position = end
        record.append(value)
        assert position < size, "the last line has no end"
        if text[position] == "\n":
            records.append(record)
            record = []
        else:
            assert text[position] == ",", f"stray text after a quoted field at {position}"
            if position + 1 < size and text[position + 1] == "\n":
                record.append(None)
                records.append(record)
                record = []
                position += 1
        position += 1
    header = records[0] if records else []
    rows = [tuple(row) for row in records[1:]]
    for row in rows:
        assert len(row) == len(header), (header, row)
    if types:
        convert = [CONVERT[kind] for kind in types]
        rows = [tuple(None if v is None else c(v) for c, v in zip(convert, row)) for row in rows]
    return header, rows


CONVERT = {str: str, int: int, float: float, bool: {"true": True, "false": False}.__getitem__, None: str}


def write_csv(header, rows):
    """The same dialect, from Python values."""
    lines = [",".join(map(field, header))]
    lines += [",".join(map(field, row)) for row in rows]
    return "\n".join(lines) + "\n"


def field(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str):
        if value == "" or any(c in value for c in ',"\n\r'):
            return '"' + value.replace('"', '""') + '"'
        return value
    return str(value)


def same_rows(actual, expected, ordered=False, relative=1e-12):
    """Asserts equal rows; floats may differ by `relative`, order counts only if it is said."""
    if not ordered:
        actual, expected = sorted(actual, key=order_key), sorted(expected, key=order_key)
    assert len(actual) == len(expected), f"{len(actual)} rows, expected {len(expected)}" + difference(actual, expected)
    for number, (a, e) in enumerate(zip(actual, expected)):
        assert same_row(a, e, relative), f"row {number}: {a!r}, expected {e!r}"


def difference(actual, expected):
    only_a = [row for row in actual[:10000] if row not in set(map(tuple, expected[:100000]))][:3]
    only_e = [row for row in expected[:10000] if row not in set(map(tuple, actual[:100000]))][:3]
    return f"; only in the result: {only_a}, only expected: {only_e}"


def same_row(a, b, relative):
    return len(a) == len(b) and all(same_value(x, y, relative) for x, y in zip(a, b))


def same_value(a, b, relative):
    if isinstance(a, float) and isinstance(b, (float, int)) and b is not True and b is not False:
        if a != a or b != b:
            return a != a and b != b
        return a == b or abs(a - b) <= relative * max(abs(a), abs(b))
    return a == b


def order_key(row):
    """Total order over rows with nulls; floats rounded so that tiny differences do not reorder."""
    return tuple(
        (0, "") if v is None else (1, f"{v:.9e}") if isinstance(v, float) else (2, str(v)) for v in row
    )


def seed_of(request_seed=None):
    """THALWEG_TEST_SEED or the given seed; printed so that a failure can be repeated."""
    seed = int(os.environ.get("THALWEG_TEST_SEED", request_seed or 1))
    print(f"seed {seed}", file=sys.stderr)
    return seed
