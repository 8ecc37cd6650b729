"""Fleets of several batches, what a scan of them holds, and what pyarrow alone reads there."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow.parquet

from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    layer,
    noise,
    on_base,
    whiteout,
)
from tests.support.fleets import blob
from tests.support.runner import Json, run

TABLES = ("images", "image_layers", "layers", "entries")


def fleet(*, images: int = 3, layers: int = 25) -> list[ImageSpec]:
    """Images on one base, with more layers together than a batch has."""
    base = ImageSpec([blob("base", 40_000), layer(directory("etc"), file("etc/old", b"old"))], ["base:1"])
    found = []
    for number in range(images):
        steps = [
            layer(
                directory("opt"),
                file(f"opt/{number}-{step}", noise(900, f"{number}{step}")),
                file("opt/same", b"s"),
            )
            for step in range(layers)
        ]
        found.append(on_base(base, *steps, layer(whiteout("etc/old")), tags=[f"app{number}:1"]))
    return found


def wide_fleet(folder: Path, *, images: int = 3, layers: int = 25) -> list[Path]:
    """The same, each in an archive of its own."""
    paths = [folder / f"{number}.tar" for number in range(images)]
    for path, one in zip(paths, fleet(images=images, layers=layers), strict=True):
        docker_archive_25(path, [one], compress="gzip")
    return paths


def scan(*words: object, code: int = 0) -> Json:
    """What a scan says that ends with this code."""
    done = run("fleet", "scan", *map(str, words), "--json")
    assert done.code == code, done.err
    return done.json


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, file by file."""
    found: list[dict[str, Any]] = []
    for path in sorted((folder / table).glob("*.parquet")):
        found += pyarrow.parquet.ParquetFile(path).read().to_pylist()
    return found


def contents(folder: Path) -> dict[str, str]:
    """Every file of a scan, hidden ones included, and what tells whether its bytes are the same."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
