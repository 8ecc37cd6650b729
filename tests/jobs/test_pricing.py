"""What runs of a fleet take: priced in one pass over each image, and merged once for all images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from squashkit.plan.fleet.trie import LayerRun, Trie
from squashkit.plan.segments import Segment
from tests.support.builders import (
    ImageSpec,
    docker_archive_25,
    file,
    layer,
    whiteout,
)
from tests.support.random_fleets import opened, random_fleet


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
