"""Programs in Go that answer the tests: built where Go is, with what it brings along."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golang"


def have_go() -> bool:
    """Whether this machine has Go."""
    return shutil.which("go") is not None


def build(source: str, folder: Path) -> Path:
    """Build a program of `tests/golang` in a folder, which gets Go's caches too. Nothing is fetched."""
    program = folder / "program"
    environment = os.environ | {
        "GOCACHE": str(folder / "cache"), "GOPATH": str(folder / "path"), "GOENV": "off",
        "GO111MODULE": "off", "GOTOOLCHAIN": "local", "CGO_ENABLED": "0",
    }  # fmt: skip
    subprocess.run(["go", "build", "-o", program, FOLDER / source], check=True, env=environment, cwd=folder)
    return program
