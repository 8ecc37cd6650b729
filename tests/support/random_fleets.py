"""Fleets made from a seed, and their layers as jobs have them once they are read."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from squashkit.engine.layers import LayerStore
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.members import Fleet
from squashkit.jobs.fleet.prices import Pricing
from squashkit.oci.compression import Compression
from squashkit.oci.media import Codec
from squashkit.options import Run
from squashkit.plan.fleet.trie import Trie
from squashkit.transports.session import Session
from tests.support.builders import (
    ImageSpec,
    Member,
    directory,
    docker_archive_25,
    file,
    hardlink,
    layer,
    on_base,
    opaque,
    symlink,
    whiteout,
)


def random_layer(chance: random.Random) -> bytes:
    """A few files in three directories, and some of what may lie there deleted or made a directory."""
    members: list[Member] = [directory(name) for name in "abc"]
    free = [f"{folder}/{name}" for folder in "abc" for name in "xyz"]
    chance.shuffle(free)
    for path in free[: chance.randint(0, 4)]:
        members.append(file(path, chance.randbytes(chance.randint(0, 2000))))
    for path in free[4 : 4 + chance.randint(0, 3)]:
        members.append(whiteout(path))
    if chance.random() < 0.2:
        members.append(file(f"{free[8]}/deep", chance.randbytes(300)))
    return layer(*members)


def random_fleet(folder: Path, seed: int) -> list[str]:
    """Some images that share lower layers, each in an archive of its own."""
    chance = random.Random(seed)
    images: list[ImageSpec] = []
    for number in range(chance.randint(1, 4)):
        stem = chance.choice(images) if images else ImageSpec([])
        shared = ImageSpec(stem.layers[: chance.randint(0, len(stem.layers))])
        new = [random_layer(chance) for _ in range(chance.randint(1, 3))]
        images.append(on_base(shared, *new, tags=[f"app{number}:1"]))
    paths = [folder / f"{number}.tar" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        docker_archive_25(path, [image], compress="gzip")
    return [str(path) for path in paths]


def alike_layer(chance: random.Random, contents: list[bytes]) -> bytes:
    """A layer of files that others have, too: in directories of other times and modes, as hard links, some
    deleted."""
    members: list[Member] = [
        directory(name, mtime=chance.choice([0, 0, 1, 2]), mode=chance.choice([0o755, 0o755, 0o700]))
        for name in "abc"
    ]
    free = [f"{folder}/{name}" for folder in "abc" for name in "wxyz"]
    chance.shuffle(free)
    for path in free[: chance.randint(0, 5)]:
        members.append(file(path, chance.choice(contents), mode=chance.choice([0o644, 0o644, 0o755])))
    for path in free[5 : 5 + chance.randint(0, 3)]:
        members.append(whiteout(path))
    if chance.random() < 0.3:
        members.append(file(f"{free[8]}/deep/deeper", chance.choice(contents)))
    if chance.random() < 0.2:
        members += [directory("d"), file("d/f", contents[0]), hardlink("d/g", "d/f")]
    if chance.random() < 0.2:
        members += [directory("e"), directory("e/empty", mode=chance.choice([0o700, 0o755]))]
    if chance.random() < 0.1:
        members += [directory(".", mode=chance.choice([0o700, 0o755]))]
    if chance.random() < 0.1:
        members.append(whiteout("a") if chance.random() < 0.5 else opaque("b"))
    if chance.random() < 0.1:
        members = [one for one in members if not one.name.startswith((b"c", b".wh.c"))]
        members.append(symlink("c", "a"))
    return layer(*members)


def alike_fleet(folder: Path, seed: int) -> tuple[list[Path], list[ImageSpec]]:
    """Images on one base or two, which come first, whose files are often the same; each in an archive."""
    chance = random.Random(seed)
    contents = [chance.randbytes(chance.randint(0, 3000)) for _ in range(6)]

    def layers(most: int) -> list[bytes]:
        return [alike_layer(chance, contents) for _ in range(chance.randint(1, most))]

    images = [ImageSpec(layers(3), [f"base{number}:1"]) for number in range(chance.randint(1, 2))]
    bases = [*images]
    for number in range(chance.randint(2, 6)):
        images.append(on_base(chance.choice(bases), *layers(4), tags=[f"app{number}:1"]))
    paths = [folder / f"{number}.tar" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        docker_archive_25(path, [image], compress=chance.choice(["gzip", "gzip", None]))
    return paths, images


@contextmanager
def opened(references: list[str], tmp_dir: Path) -> Iterator[tuple[Pricing, Trie]]:
    """The layers of a fleet, read."""
    with Session(Run(jobs=1, tmp_dir=tmp_dir)) as session, LayerStore(session) as store:
        members = Fleet(session, None).members(references)
        layers = FleetLayers(store, members)
        layers.read()
        yield Pricing(layers, Compression.of(Codec.GZIP)), Trie([member.image for member in members])
