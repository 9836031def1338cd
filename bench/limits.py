"""The machine: processor, memory, and its limits as limits.c measures them."""

import json
import os
import platform
import subprocess
from pathlib import Path

from engines import BUILD


def processor():
    """The model and the vector instructions that matter here."""
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = fields.get("flags", "").split()
    vector = "AVX-512" if "avx512bw" in flags else "AVX2" if "avx2" in flags else ""
    return " ".join(filter(None, [fields.get("model name", platform.machine()), vector]))


def machine(quick=False):
    program = BUILD / "bench/limits"
    subprocess.run(["cc", "-O3", "-march=native", "-ffast-math", "-pthread", str(Path(__file__).parent / "limits.c"), "-o",
                    str(program)], check=True)
    measured = subprocess.run([str(program), str(BUILD / "bench/disk.tmp"), "256" if quick else "4096"], check=True,
                              capture_output=True, text=True).stdout
    return {
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        **json.loads(measured),
    }
