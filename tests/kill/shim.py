"""The disk that fails: shim.c, compiled, and what to tell it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

READS = ("read", "open")
WRITES = ("create", "write", "truncate", "fsync", "mkdir", "link", "rename", "unlink", "rmdir")
"""The calls by which something gets onto a disk, and under its name."""


def build(folder: Path) -> Path:
    """Compile the shim; skips where there is no compiler, or another system than Linux."""
    library = folder / "shim.so"
    compiler = shutil.which("gcc")
    if compiler is None or not Path("/proc/self/fd").exists():
        pytest.skip("gcc and /proc are needed")
    source = Path(__file__).with_name("shim.c")
    words: list[str | Path] = [compiler, "-O1", "-Wall", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(words, check=True)
    return library


@dataclass(frozen=True, slots=True)
class Disk:
    """The calls of a process below a folder, and what becomes of them."""

    library: Path
    under: Path
    calls: tuple[str, ...]
    log: Path

    def env(self, at: int = 0, errno: int = 0, *, once: bool = False) -> dict[str, str]:
        """The environment in which call `at` and those after it fail, or only that one with `once`; without
        an errno the process is killed before it. At 0 nothing happens and calls are counted."""
        self.log.unlink(missing_ok=True)
        return {
            "LD_PRELOAD": str(self.library),
            "SHIM_UNDER": str(self.under),
            "SHIM_CALLS": f",{','.join(self.calls)},",
            "SHIM_LOG": str(self.log),
            "SHIM_AT": str(at),
            "SHIM_ERRNO": str(errno),
            **({"SHIM_ONCE": "1"} if once else {}),
        }

    @property
    def count(self) -> int:
        """How many calls there were since `env` was asked for."""
        return self.log.stat().st_size if self.log.exists() else 0
