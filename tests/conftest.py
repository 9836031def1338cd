"""Fixtures for every test in Python: the command in a folder of its own, and the settings under
which the same job must give the same answer."""

import signal

import pytest

from harness import Thalweg

# (parallelism, rows in a batch, memory): every value of one meets several of the others.
SETTINGS = [
    (1, 65536, "2GiB"),
    (1, 1, "32MiB"),
    (1, 7, "64MiB"),
    (2, 1, "2GiB"),
    (2, 1000, "32MiB"),
    (2, 65536, "64MiB"),
    (8, 7, "2GiB"),
    (8, 1000, "64MiB"),
    (8, 65536, "32MiB"),
]


def pytest_configure(config):
    """A shell starts what runs in the background with SIGINT ignored, and jobs would inherit that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc):
    if "thalweg" in metafunc.fixturenames:
        builds = ["release"]
        if metafunc.definition.get_closest_marker("sanitized"):
            builds.append("asan")
        if metafunc.definition.get_closest_marker("threaded"):
            builds.append("tsan")
        metafunc.parametrize("thalweg", builds, indirect=True)
    if "settings" in metafunc.fixturenames:
        names = [f"p{parallelism}-b{rows}-{memory}" for parallelism, rows, memory in SETTINGS]
        metafunc.parametrize("settings", SETTINGS, indirect=True, ids=names)


@pytest.fixture
def thalweg(request, tmp_path):
    return Thalweg(tmp_path, request.param)


@pytest.fixture
def settings(request):
    parallelism, batch_rows, memory = request.param
    return {"run_parallelism": parallelism, "run_batch_rows": batch_rows, "run_memory": memory}
