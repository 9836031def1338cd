"""What is not Python: every unit test program, every fuzz corpus, the check of houses."""

import os
import subprocess

import pytest

from harness import ROOT, SANITIZER_ENV, launcher

def builds(name):
    """The thread sanitizer is for programs that have threads."""
    text = (ROOT / "tests" / f"{name}.c").read_text()
    if "failing_malloc.h" in text:  # it takes the place of malloc, as sanitizers do
        return ["release"]
    threaded = any(sign in text for sign in ("pthread", "run_start", "fakes.h", "collect.h", "tables.h", "tw_job"))
    return ["release", "asan", *(["tsan"] if threaded else [])]


def run(argv, build="release", timeout=600):
    process = subprocess.run([*launcher(build), *map(str, argv)], cwd=ROOT, capture_output=True, timeout=timeout,
                             env={**os.environ, **SANITIZER_ENV})
    output = (process.stdout + process.stderr).decode("utf-8", "replace")
    assert process.returncode == 0, f"{argv[0]} ended with {process.returncode}\n{output[-8000:]}"
    return output


def sources(folder, suffix):
    return sorted(str(path.relative_to(ROOT / "tests").with_suffix("")) for path in (ROOT / "tests" / folder).rglob(f"*{suffix}"))


@pytest.mark.parametrize("name,build", [(name, build) for name in sources("unit", "_test.c") for build in builds(name)])
def test_unit(name, build):
    output = run([ROOT / "build" / build / "tests" / name], build)
    assert "PASSED" in output and "FAILED" not in output, output[-4000:]


@pytest.mark.parametrize("name", sources("fuzz", "_fuzz.c"))
def test_fuzz_corpus(name):
    """Every input that fuzzing once found of interest, and damaged copies of it, under sanitizers."""
    corpus = ROOT / "tests/fuzz/corpus" / name.split("/")[-1].removesuffix("_fuzz")
    assert any(corpus.iterdir()), f"{corpus} has no seed"
    run([ROOT / "build/asan/tests" / name, corpus])


def test_houses():
    run([ROOT / "scripts/check_houses"])


@pytest.mark.parametrize("line,breach", [
    ('#include "step/sort.h"', "base may not include step"),
    ("int a; ", "blank at the end"),
    ("\tint a;", "tab"),
    ("\n" * 901, "longer than 900 lines"),
])
def test_houses_are_really_checked(tmp_path, line, breach):
    for house, may in (("base", "nothing"), ("step", "base")):
        (tmp_path / "src" / house).mkdir(parents=True)
        (tmp_path / "src" / house / "README.md").write_text(f"# {house}\n\nMay include: {may}\n")
    (tmp_path / "src/base/file.c").write_text(line + "\n")
    process = subprocess.run([ROOT / "scripts/check_houses", tmp_path], capture_output=True, text=True)
    assert process.returncode == 1 and breach in process.stdout, process


def test_installed_library(tmp_path):
    """make install below DESTDIR, then a C program built with pkg-config, shared and static."""
    run(["make", "-s", "install", "PREFIX=/opt/thalweg", f"DESTDIR={tmp_path}"])
    root = tmp_path / "opt/thalweg"
    assert (root / "lib/libthalweg.so").is_symlink() and (root / "lib/libthalweg.so.0").is_symlink()
    program = tmp_path / "main.c"
    headers = sorted(path.name for path in (root / "include/thalweg").glob("*.h"))
    includes = "".join(f"#include <thalweg/{name}>\n" for name in headers)
    program.write_text(includes + "#include <stdio.h>\nint main(void) { puts(tw_status_name(TW_ERR_IO)); return 0; }\n")
    env = {**os.environ, "PKG_CONFIG_PATH": str(root / "lib/pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": "",
           "LD_LIBRARY_PATH": str(root / "lib")}
    config = ["pkg-config", f"--define-variable=prefix={root}"]
    for standard in (["cc", "-std=c17"], ["c++", "-x", "c++", "-std=c++17"]):
        flags = subprocess.run([*config, "--cflags", "--libs", "thalweg"], env=env, capture_output=True, text=True, check=True)
        subprocess.run([*standard, "-Wall", "-Wextra", "-Werror", program, "-o", tmp_path / "shared", "-x", "none", *flags.stdout.split()],
                       env=env, check=True)
        answer = subprocess.run([tmp_path / "shared"], env=env, capture_output=True, text=True, check=True)
        assert answer.stdout == "TW_ERR_IO\n"
    flags = subprocess.run([*config, "--static", "--cflags", "--libs", "thalweg"], env=env, capture_output=True, text=True, check=True)
    static = [str(root / "lib/libthalweg.a") if flag == "-lthalweg" else flag for flag in flags.stdout.split()]
    subprocess.run(["cc", "-std=c17", program, "-o", tmp_path / "static", *static], env=env, check=True)
    answer = subprocess.run([tmp_path / "static"], capture_output=True, text=True, check=True)
    assert answer.stdout == "TW_ERR_IO\n"
    version = subprocess.run([root / "bin/thalweg", "version"], capture_output=True, text=True, check=True).stdout
    told = subprocess.run([*config, "--modversion", "thalweg"], env=env, capture_output=True, text=True, check=True).stdout
    assert told.strip() in version


def test_the_library_shows_only_its_public_names():
    names = run(["nm", "-D", "--defined-only", ROOT / "build/release/libthalweg.so"]).split("\n")
    functions = [line.split()[-1] for line in names if " T " in line]
    assert functions and all(name.startswith("tw_") for name in functions), [n for n in functions if not n.startswith("tw_")][:5]
