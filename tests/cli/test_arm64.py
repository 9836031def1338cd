"""The library and the command compile for ARM64 without a warning, and what needs no threads runs there (make arm64)."""

import subprocess

from harness import ROOT


def test_arm64():
    made = subprocess.run(["make", "arm64"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "arm64: compiled, unit tests passed" in made.stdout
