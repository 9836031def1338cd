"""A small job in which the Nth allocation, write, read or open fails, for every N that there is (a
spread of them where there are many): it ends with one message, never with a crash, a hang or a
result that is half there."""

import json
import os
import subprocess

import pytest

from harness import ROOT

POINTS_MAX = int(os.environ.get("THALWEG_FAILURE_POINTS", "60"))


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    path = tmp_path_factory.mktemp("shim") / "fail_calls.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", str(ROOT / "tests/job/fail_calls.c"), "-o", str(path), "-ldl"], check=True)
    return path


def rows():
    return "k,v\n" + "".join(f"{n % 100},{n}\n" for n in range(3000))


JOB = {
    "flows": {
        "names": {"source": {"file": {"path": "names.csv"}}},
        "main": {
            "source": {"file": {"path": "in.csv"}},
            "steps": [
                {"filter": "v % 3 != 1"},
                {"group": {"by": ["k"], "aggregate": {"n": "count", "s": "sum(v)", "d": "count_distinct(v)"}}},
                {"join": {"with": "names", "on": ["k"], "how": "left"}},
                {"sort": ["-n", "k"]},
            ],
            "sink": {"file": {"path": "out/result.csv"}},
        },
    }
}
SPILLING = {
    "source": {"file": {"path": "large.csv"}},
    "steps": [{"sort": ["s"]}, {"group": {"by": ["s"], "aggregate": {"n": "count"}}}, {"sort": ["s"]}],
    "sink": {"file": {"path": "out/result.csv"}},
    "run": {"memory": "32MiB"},
}


def points(total):
    """All of 1..total, or a spread that has the first and the last ones."""
    if total <= POINTS_MAX:
        return range(1, total + 1)
    third = POINTS_MAX // 3
    step = (total - 2 * third) / third
    return sorted({*range(1, third + 1), *(third + int(n * step) for n in range(1, third + 1)), *range(total - third + 1, total + 1)})


@pytest.mark.parametrize("kind", ["malloc", "write", "read", "open"])
@pytest.mark.parametrize("after", ["once", "from then on"])
@pytest.mark.parametrize("name", ["small", "spilling"])
def test_failing_calls(thalweg, shim, kind, after, name):
    thalweg.write("in.csv", rows())
    thalweg.write("names.csv", "k,name\n" + "".join(f"{n},name {n}\n" for n in range(0, 100, 2)))
    if name == "spilling":
        thalweg.write("large.csv", "s\n" + "".join(f"{n * 7919 % 700001:09d}{'x' * 90}\n" for n in range(500_000)))
    (thalweg.folder / "out").mkdir()
    plan = JOB if name == "small" else SPILLING
    arguments = thalweg.job_arguments(plan, False, {"run_parallelism": 2})

    def run(at):
        env = thalweg.environment({
            "LD_PRELOAD": str(shim), "FAIL_KIND": kind, "FAIL_AT": str(at), "FAIL_COUNT": "calls",
            "FAIL_ON": "1" if after != "once" else "0",
        })
        return subprocess.run(thalweg.argv(*arguments, "--quiet"), cwd=thalweg.folder, env=env, capture_output=True,
                              text=True, timeout=120)

    good = run(0)
    assert good.returncode == 0, good
    expected = thalweg.read("out/result.csv")
    total = int(thalweg.read("calls"))
    assert total > 0, f"no call of {kind} was seen"
    failed = 0
    chosen = points(total) if name == "small" else list(points(total))[::4]
    for at in chosen:
        (thalweg.folder / "out/result.csv").unlink(missing_ok=True)
        result = run(at)
        where = f"{kind} {at} of {total} ({after}): {result}"
        assert result.returncode in (0, 1, 2), where
        if result.returncode == 0:
            assert thalweg.read("out/result.csv") == expected, where
        else:
            failed += 1
            assert len(result.stderr.strip().splitlines()) == 1, where
            assert not list((thalweg.folder / "out").iterdir()), where
    assert failed > 0 or after == "once", "no failing call was ever noticed"


def test_a_passing_failure_is_retried(thalweg, shim):
    """One read that fails once must not end the run: the task is retried without redoing the others."""
    thalweg.write("in.txt", "some text\n" * 1_000_000)
    plan = {"source": {"file": {"path": "in.txt"}}, "steps": [{"group": {"by": ["line"], "aggregate": {"n": "count"}}}],
            "sink": {"file": {"path": "out.csv"}}}
    arguments = thalweg.job_arguments(plan, True, {"run_parallelism": 2})
    outcomes = []
    for at in range(1, 8):
        env = thalweg.environment({"LD_PRELOAD": str(shim), "FAIL_KIND": "read", "FAIL_AT": str(at), "FAIL_COUNT": "calls"})
        process = subprocess.run(thalweg.argv(*arguments), cwd=thalweg.folder, env=env, capture_output=True, text=True, timeout=60)
        outcomes.append(process.returncode)
        if process.returncode == 0:
            assert json.loads(process.stdout)["rows_in"] == 1_000_000
            assert thalweg.read("out.csv") == b"line,n\nsome text,1000000\n"
    assert 0 in outcomes, outcomes
