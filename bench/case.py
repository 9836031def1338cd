"""One thing measured: the same work for several engines, and the check of their answers."""

import hashlib
from dataclasses import dataclass, field
from typing import Callable


@dataclass
class Case:
    name: str
    title: str
    engines: dict  # name -> function(folder) -> argv
    verify: Callable  # (engine, folder, figures) -> text that says what was checked; raises if it is wrong
    amount: float = 0  # of units in the input, for a rate; 0: no rate
    unit: str = ""
    runs: int = 0  # how many runs each; 0: as many as asked for
    discard: bool = True  # remove the outputs after the check
    goals: list = field(default_factory=list)  # (text, function(figures by engine) -> bool, engines that it needs)


def times_faster(text, factor, peer, engine="thalweg"):
    """The goal that a peer takes at least `factor` times as long; Spark's own start is not counted."""
    def check(figures):
        other = figures[peer]
        return other.get("job_seconds", other["wall_seconds"]) / figures[engine]["wall_seconds"] >= factor
    return text, check, (engine, peer)


def same_bytes():
    """A check that all engines leave the same bytes: the first answer is kept, as a digest."""
    first = {}

    def check(path, engine):
        digest = hashlib.blake2b()
        with open(path, "rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
        first.setdefault("digest", digest.hexdigest())
        first.setdefault("engine", engine)
        if digest.hexdigest() != first["digest"]:
            raise SystemExit(f"{engine} left other bytes than {first['engine']}: {path}")
        return f"same bytes as {first['engine']}"
    return check


def expect(condition, text):
    if not condition:
        raise SystemExit(f"verification failed: {text}")
    return text
