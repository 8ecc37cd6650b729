"""Header chains against Go's archive/tar for as long as is wanted.

    python -m tests.fuzz.golang SECONDS [SEED]

Each tar is sorted by how Go and the scanner read it (tests/support/go_oracle.py), and the counts are
printed. Tars that show differences which nobody meant are made smaller and written to build/golang_fuzz, a
few of each kind; where there are any the exit code is 1.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.support.go_chains import chain
from tests.support.go_oracle import (
    CLASSES,
    Dumper,
    Verdict,
    compare,
    dumper,
    narrow,
    read_with_squashkit,
)
from tests.support.tar_blocks import BLOCK, FIELDS, block, put, sealed, sums

FOLDER = Path(__file__).parents[2] / "build" / "golang_fuzz"
OF_EACH_KIND = 4
TRIES = 1000
"""How often a smaller tar is tried for each one."""


def judge(go: Dumper, data: bytes) -> Verdict:
    """How Go and the scanner agree on a tar, which a narrow window must not change."""
    ours = read_with_squashkit(data)
    assert read_with_squashkit(data, narrow(data)) == ours, "another reading through a narrow window"
    return compare(go.read(data), ours)


def kind(verdict: Verdict) -> str:
    """What differences of one cause share: the class, and the field or the error without its numbers."""
    if verdict.kind == "read otherwise":
        return f"{verdict.kind}: {verdict.detail.split()[0]}"
    bare = re.sub(r"""b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*\"""", "B", verdict.detail)
    return f"{verdict.kind}: {re.sub('[0-9]+', 'N', bare)}"


# --- smaller tars ---


def smaller(data: bytes, holds: Callable[[bytes], bool]) -> bytes:
    """A tar for which `holds` still says yes, with fewer blocks, an earlier end and plainer headers."""
    left = TRIES

    def try_(tried: bytes) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and tried != data and holds(tried)

    length = len(data) + 1
    while len(data) < length:
        length = len(data)
        for blocks in (1024, 256, 64, 16, 8, 6, 5, 4, 3, 2, 1):
            run, at = blocks * BLOCK, 0
            while at < len(data):
                shorter = data[:at] + data[at + run :]
                if try_(shorter):
                    data = shorter
                else:
                    at += max(BLOCK, run // 8)
    for at in range(0, len(data) - BLOCK + 1, BLOCK):
        for field, (start, width) in FIELDS.items():
            for value in (_PLAIN[start : start + width], bytes(width)):
                header = bytearray(data[at : at + BLOCK])
                if f"{sums(header)[0]:06o}".encode() != header[148:154]:
                    continue  # no header, or one whose checksum is what matters
                put(header, field, value)
                changed = data[:at] + sealed(header) + data[at + BLOCK :]
                if try_(changed):
                    data = changed
                    break
    return data


_PLAIN = block()


# --- the run ---


def run(seconds: float, seed: int) -> int:
    """Try seeds from this one on and say what came of it. Returns how many kinds of unmeant difference."""
    counts: Counter[str] = Counter()
    meant: Counter[tuple[str, str]] = Counter()
    examples: defaultdict[str, list[bytes]] = defaultdict(list)
    with dumper() as go:
        ends = time.monotonic() + seconds
        for number in itertools.count(seed):
            if time.monotonic() > ends:
                break
            data = chain(number)
            verdict = judge(go, data)
            counts[verdict.kind] += 1
            if verdict.reason:
                meant[verdict.kind, verdict.reason] += 1
            if verdict.fault:
                what = kind(verdict)
                counts[what] += 1
                examples[what] = sorted([*examples[what], data], key=len)[:OF_EACH_KIND]
        print(f"{number - seed} tars, seeds {seed} to {number - 1}")
        for name in CLASSES:
            print(f"{counts[name]:9} {name}")
            for (of, reason), count in sorted(meant.items()):
                if of == name:
                    print(f"{count:9}   meant: {reason}")
        for what, tars in examples.items():
            print(f"{counts[what]:9} {what}")
            for path in sorted({write(go, data, what) for data in tars}):
                print(f"{'':9}   {path}")
    return len(examples)


def write(go: Dumper, data: bytes, what: str) -> Path:
    """Write a tar that shows a difference of this kind, made smaller, and beside it how it is read."""

    def holds(tried: bytes) -> bool:
        verdict = judge(go, tried)
        return verdict.fault and kind(verdict) == what

    data = smaller(data, holds)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{hashlib.sha256(data).hexdigest()[:12]}.tar"
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(
        f"{judge(go, data)}\n\nGo: {go.read(data)}\n\nsquashkit: {read_with_squashkit(data)}\n"
    )
    return path


def main(arguments: list[str]) -> int:
    """Run for the seconds of the first argument, from the seed of the second or of the clock on."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    seed = int(arguments[1]) if len(arguments) > 1 else time.time_ns() // 1_000_000
    return min(1, run(float(arguments[0]), seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
