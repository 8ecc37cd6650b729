"""What runs of a fleet take: priced in one pass over each image, and merged once for all images."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from squashkit.engine.layers import LayerStore
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.members import Fleet
from squashkit.jobs.fleet.prices import Pricing
from squashkit.oci.compression import Compression
from squashkit.oci.media import Codec
from squashkit.options import Run
from squashkit.plan.fleet.trie import LayerRun, Trie
from squashkit.plan.segments import Segment
from squashkit.transports.session import Session
from tests.support.builders import (
    ImageSpec,
    Member,
    directory,
    docker_archive_25,
    file,
    layer,
    on_base,
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


@contextmanager
def opened(references: list[str], tmp_dir: Path) -> Iterator[tuple[Pricing, Trie]]:
    """The layers of a fleet, read."""
    with Session(Run(jobs=1, tmp_dir=tmp_dir)) as session, LayerStore(session) as store:
        members = Fleet(session, None).members(references)
        layers = FleetLayers(store, members)
        layers.read()
        yield Pricing(layers, Compression.of(Codec.GZIP)), Trie([member.image for member in members])


def every_run(trie: Trie) -> Iterator[tuple[int, LayerRun]]:
    """Each run of each image, for every image that has it."""
    for number in range(len(trie.images)):
        path = trie.path(number)
        for stop in range(len(path)):
            for above in [None, *path[:stop]]:
                yield number, LayerRun(above, path[stop])


@pytest.mark.parametrize("seed", range(25))
def test_a_run_is_priced_as_it_is_merged(seed: int, tmp_path: Path) -> None:
    """On a host exactly; in a registry about, and exactly once it is merged. Every image that has a run
    gets what it would get if it were alone."""
    references = random_fleet(tmp_path, seed)
    with opened(references, tmp_path) as (pricing, trie):
        runs = list(every_run(trie))
        host = [pricing.price(number, run, host=True).cost for number, run in runs]
        about = [pricing.price(number, run, host=False).cost for number, run in runs]
        exact = []
        for number, run in runs:
            below = [Segment(index, index + 1, True) for index in range(run.start)]
            *_, blobs = pricing.blobs(number, [*below, Segment(run.start, run.stop, False)])
            exact.append((sum(b.stored for b in blobs), sum(b.content for b in blobs)))
        again = [pricing.price(number, run, host=False).cost for number, run in runs]
    assert host == [content for _, content in exact]
    assert again == [stored for stored, _ in exact]
    for guess, (stored, _) in zip(about, exact, strict=True):
        assert abs(guess - stored) < 400 + stored // 10
    for number, reference in enumerate(references):
        with opened([reference], tmp_path) as (alone, _):
            for (image, run), found in zip(runs, exact, strict=True):
                if image == number:
                    below = [Segment(index, index + 1, True) for index in range(run.start)]
                    *_, blobs = alone.blobs(0, [*below, Segment(run.start, run.stop, False)])
                    assert found == (sum(b.stored for b in blobs), sum(b.content for b in blobs))


def test_the_same_layers_elsewhere_may_be_the_same_blob(tmp_path: Path) -> None:
    """Two runs of the same two layers on different bases: the same blob where nothing below shows in it,
    another where a whiteout hides what one base has."""
    top = [layer(file("x", b"x" * 900)), layer(whiteout("old"), file("y", b"y" * 900))]
    keys = []
    for number, other in enumerate(("new", "old")):
        folder = tmp_path / str(number)
        folder.mkdir()
        docker_archive_25(folder / "a.tar", [ImageSpec([layer(file("a", b"a")), *top], ["a:1"])])
        docker_archive_25(folder / "b.tar", [ImageSpec([layer(file(other, b"b")), *top], ["b:1"])])
        with opened([str(folder / "a.tar"), str(folder / "b.tar")], tmp_path) as (pricing, trie):
            paths = [trie.path(0), trie.path(1)]
            runs = [LayerRun(path[0], path[2]) for path in paths]
            keys.append([pricing.price(number, run, host=False).key for number, run in enumerate(runs)])
    assert keys[0][0] == keys[0][1]
    assert keys[1][0] != keys[1][1]
