"""The least that a squash can cost on this machine, from building blocks measured in the same minutes.

Every byte of the source's layers is read and hashed once, every byte of the new layer hashed once, the
output written once, Python started once, and nothing else. Processor time adds up; at best it is spread
evenly over all cores. Machines differ, and one machine from hour to hour, by a factor of two: so a tool's
time is told as a ratio to this.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import resource
import statistics
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 2 << 20
_SIZE = 256 << 20
"""Bytes that each block is measured with."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Processor seconds: of the first three for a GB (10^9 bytes)."""

    sha256: float
    read: float
    write: float
    start: float


@dataclass(frozen=True, slots=True)
class Amounts:
    """Bytes that a squash must move."""

    read: int
    """Of the source's layers."""
    new: int
    """Of the new layer."""
    output: int

    @classmethod
    def of(cls, diff_size: int, output: Path) -> Amounts:
        """From the layers' size in all, and the docker archive that a squash wrote: its uppermost layer is
        the new one."""
        with tarfile.open(output) as archive:
            (manifest,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
            new = archive.getmember(manifest["Layers"][-1]).size
        return cls(diff_size, new, output.stat().st_size)


def measure_blocks(source: Path, work: Path) -> Blocks:
    """Measure each once; `source` is read from the page cache, a file is written in `work`."""
    buffer = memoryview(mmap.mmap(-1, _BLOCK))
    buffer[:] = os.urandom(_BLOCK)
    digest = hashlib.sha256()
    rounds = range(_SIZE // _BLOCK)
    begin = time.process_time()
    for _ in rounds:
        digest.update(buffer)
    hashed = time.process_time()
    with source.open("rb", buffering=0) as file:
        size = max(1, os.fstat(file.fileno()).st_size - _BLOCK)
        opened = time.process_time()
        for number in rounds:
            os.preadv(file.fileno(), [buffer], number * _BLOCK % size)
        was_read = time.process_time()
    path = work / "blocks"
    with path.open("wb", buffering=0) as file:
        created = time.process_time()
        for _ in rounds:
            file.write(buffer)
        written = time.process_time()
    path.unlink()
    gigabytes = _SIZE / 1e9
    return Blocks(
        sha256=(hashed - begin) / gigabytes,
        read=(was_read - opened) / gigabytes,
        write=(written - created) / gigabytes,
        start=_start(),
    )


def _start() -> float:
    """Processor seconds of an interpreter that does nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "-c", "pass"], os.environ), 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def median_of(samples: Sequence[Blocks]) -> Blocks:
    return Blocks(
        *(
            statistics.median(getattr(one, name) for one in samples)
            for name in ("sha256", "read", "write", "start")
        )
    )


def limit(blocks: Blocks, amounts: Amounts, cores: int) -> tuple[float, float]:
    """Seconds of processor time and of wall clock time."""
    work = (
        amounts.read * (blocks.read + blocks.sha256)
        + amounts.new * blocks.sha256
        + amounts.output * blocks.write
    ) / 1e9
    return blocks.start + work, blocks.start + work / cores
