"""Small images that a fleet is made of, and what `squashkit fleet storage` counts of them."""

from __future__ import annotations

from pathlib import Path

from squashkit.options import STRATEGIES
from tests.support.builders import ImageSpec, Json, docker_archive_25, file, layer, noise, on_base, whiteout
from tests.support.runner import run


def blob(name: str, size: int) -> bytes:
    """A layer of one file."""
    return layer(file(name, noise(size, name)))


def write(folder: Path, *images: ImageSpec) -> list[Path]:
    """Each image in an archive of its own."""
    paths = [folder / f"{number}.tar" for number in range(len(images))]
    for path, one in zip(paths, images, strict=True):
        docker_archive_25(path, [one], compress="gzip")
    return paths


def storage(*words: object) -> dict[str, Json]:
    """The strategies of `fleet storage`, by name, all of them measured."""
    done = run("fleet", "storage", *map(str, words), "--strategies", ",".join(STRATEGIES), "--json")
    assert done.code == 0, done.err
    return {one["strategy"]: one for one in done.json["strategies"]}


SYSTEM = ImageSpec([blob("system", 9000), blob("settings", 300)], ["system:1"])


def wasteful(base: ImageSpec, name: str) -> ImageSpec:
    """An app that deletes what it brought."""
    cache = f"{name}.cache"
    steps = layer(file(cache, noise(5000, name))), layer(whiteout(cache), file(name, b"x"))
    return on_base(base, *steps, tags=[f"{name}:1"])


def largest_blob(folder: Path) -> Path:
    """A layout's largest blob."""
    return max((folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)


def damage(path: Path, at: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
