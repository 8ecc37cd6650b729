"""One target under Atheris: `python -m tests.fuzz.run TARGET SECONDS`. Started by `python -m tests.fuzz`.

An exception is kept with the input that gave it, and the fuzzer goes on; only a hang and a process that
takes too much memory end it. Atheris writes the input of those itself.
"""

from __future__ import annotations

import hashlib
import random
import re
import resource
import sys
import time
import traceback
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # which is there for fuzzing alone

with atheris.instrument_imports(include=["squashkit"]):
    from tests.fuzz.targets import TARGETS, Target

FOLDER = Path("build/fuzz")
CRASHES = FOLDER / "crashes"
SLOW = 10.0
"""Seconds of the processor for one input. Instrumented code takes several times as long as it does."""
LARGE = 256 << 20
"""Bytes by which one input may make the process grow."""
MEMORY = 2048
"""MB of the process, at which libFuzzer ends it."""
WAIT = 300
"""Seconds by the clock for one input, on a machine that others use."""


def main() -> None:
    name, seconds = sys.argv[1:]
    target = TARGETS[name]
    corpus, seeds = FOLDER / "corpus" / name, FOLDER / "seeds" / name
    for folder in (corpus, seeds, CRASHES):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    words = [
        sys.argv[0], f"-max_total_time={seconds}", f"-max_len={target.longest}", f"-rss_limit_mb={MEMORY}",
        f"-timeout={WAIT}", f"-artifact_prefix={CRASHES}/{name}-", "-print_final_stats=1", "-reload=0",
        "-verbosity=0", str(corpus), str(seeds),
    ]  # fmt: skip
    mutator = {"custom_mutator": lambda *given: _mutated(target, *given)} if target.mutate else {}
    atheris.Setup(words, lambda data: judge(target, data), **mutator)
    atheris.Fuzz()


def _mutated(target: Target, data: bytes, longest: int, seed: int) -> bytes:
    assert target.mutate is not None
    return target.mutate(data, random.Random(seed), atheris.Mutate, longest)


def judge(target: Target, data: bytes) -> None:
    """Run one input, and keep it where it is at fault."""
    before, started = _peak(), time.process_time()
    try:
        target.check(data)
    except Exception as error:
        frames = [
            f"{Path(frame.filename).name}:{frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)
            if "/squashkit/" in frame.filename or "/tests/" in frame.filename
        ]
        # Of what an error says, the words tell its kind; names and numbers are the input's.
        words = re.sub(r"""b?'[^']*'|b?"[^"]*"|[\d.]+""", "", str(error).partition("\n")[0])
        keep(target, data, f"{type(error).__name__} {frames[-1]} {words}"[:200], traceback.format_exc())
    spent, grown = time.process_time() - started, _peak() - before
    if spent > SLOW:
        keep(target, data, "slow", f"slow: {spent:.1f} s of the processor\n")
    if grown > LARGE:
        keep(target, data, "large", f"large: the process grew by {grown >> 20} MB\n")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def keep(target: Target, data: bytes, kind: str, told: str) -> None:
    """Write a fault down; of those of a kind the shortest input stays."""
    path = CRASHES / f"{target.name}-{hashlib.sha256(kind.encode()).hexdigest()[:12]}"
    if path.exists() and path.stat().st_size <= len(data):
        return
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(f"{target.name}: {kind}\n\n{told}", errors="backslashreplace")


if __name__ == "__main__":
    main()
