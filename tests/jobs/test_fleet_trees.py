"""Trees of a fleet: a layer is applied once at each place, and every tree is what its layers alone make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from squashkit.errors import InvalidLayer
from squashkit.jobs.fleet import trees
from squashkit.jobs.fleet.prices import Pricing
from squashkit.jobs.fleet.trees import FleetTrees, walk
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import iter_nodes
from squashkit.layers.rootfs import Dropped, Inode, Rootfs
from squashkit.oci.digests import ChainID
from squashkit.oci.graph import Image
from squashkit.plan.segments import Segment
from squashkit.plan.squash import plan_above, plan_squash
from tests.support.builders import ImageSpec, docker_archive_25, file, hardlink, layer, on_base, whiteout
from tests.support.random_fleets import opened, random_fleet


def picture(tree: Rootfs) -> list[tuple[bytes, object]]:
    """What a tree shows, and from which layers."""
    return [
        (path, (node.layer, node.entry, node.attributes) if isinstance(node, Inode) else node.entry_layer)
        for path, node in iter_nodes(tree.root)
    ]


def linked_fleet(folder: Path) -> list[str]:
    """Images that part where a file has two names, and then change one of them."""
    stem = ImageSpec([layer(file("a", b"a" * 700), hardlink("b", "a"), file("c", b"c"))], ["stem:1"])
    images = [
        stem,
        on_base(stem, layer(whiteout("a")), layer(whiteout("b")), tags=["gone:1"]),
        on_base(stem, layer(file("a", b"new")), tags=["replaced:1"]),
        on_base(stem, layer(hardlink("d", "b")), layer(whiteout("a"), whiteout("b")), tags=["third:1"]),
    ]
    docker_archive_25(folder / "linked.tar", images)
    return [str(folder / "linked.tar")]


def fleets(seed: int, folder: Path) -> list[str]:
    return random_fleet(folder, seed) if seed else linked_fleet(folder)


def in_order(dropped: Iterable[Dropped]) -> list[Dropped]:
    return sorted(dropped, key=lambda one: (one.path, one.entry.start, one.layer, one.by))


def alone(image: Image, stop: int, pricing: Pricing) -> tuple[Rootfs, list[Dropped]]:
    """The tree of an image's first layers, made for it alone, and what the last of them ended."""
    tree = Rootfs()
    for index in range(stop):
        tree.dropped.clear()
        tree.apply(changeset_of(image, index, pricing), index)
    return tree, tree.dropped


def changeset_of(image: Image, index: int, pricing: Pricing) -> Changeset:
    return pricing.layers.changesets[image.diff_ids[index]]


@pytest.mark.parametrize("seed", range(12))
def test_each_place_is_walked_once(seed: int, tmp_path: Path) -> None:
    """Parents first, each with the tree and the dead entries that it has where nothing is shared."""
    with opened(fleets(seed, tmp_path), tmp_path) as (pricing, trie):
        places = {layer.chain_id for image in trie.images for layer in image.layers}
        times: Counter[ChainID] = Counter()
        for number, one, tree in walk(trie.images, pricing.layers.changesets):
            assert one.parent is None or times[one.parent] == 1
            times[one.chain_id] += 1
            expected, ended = alone(trie.images[number], one.index + 1, pricing)
            assert trie.images[number].layers[one.index].chain_id == one.chain_id
            assert picture(tree) == picture(expected)
            assert in_order(tree.dropped) == in_order(ended)
        assert times == Counter(dict.fromkeys(places, 1))


@pytest.mark.parametrize("room", [0, 6, 10_000])
@pytest.mark.parametrize("seed", range(12))
def test_a_run_over_a_held_tree_is_planned_as_over_its_layers(
    seed: int, room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was planned before over the same tree, and however few trees are held."""
    monkeypatch.setattr(trees, "_ROOM", room)
    with opened(fleets(seed, tmp_path), tmp_path) as (pricing, trie):
        held = FleetTrees(pricing.layers.changesets)
        for image, start, stop in [*runs(trie.images), *runs(trie.images)]:
            segments = [Segment(n, n + 1, True) for n in range(start)] + [Segment(start, stop, False)]
            header_of = pricing.layers.store.header_of(image)
            whole = pricing.layers.of(image, range(stop))
            own = pricing.layers.of(image, range(start, stop))
            below = held.at(image.layers[:start])
            found = plan_above(below, own, segments, header_of)
            assert found == plan_squash(whole, segments, header_of)
            assert picture(below) == picture(alone(image, start, pricing)[0])


def runs(images: Sequence[Image]) -> Iterator[tuple[Image, int, int]]:
    for image in images:
        for stop in range(2, len(image.layers) + 1):
            for start in range(stop - 1):
                yield image, start, stop


def test_a_fault_below_a_run_names_its_image(tmp_path: Path) -> None:
    """A layer that cannot be applied is told with the image whose run lies on it."""
    broken = layer(file("a"), hardlink("b", "nowhere"))
    image = ImageSpec([broken, layer(file("c")), layer(whiteout("c"))], ["broken:1"])
    docker_archive_25(tmp_path / "broken.tar", [image])
    with opened([str(tmp_path / "broken.tar")], tmp_path) as (pricing, _):
        segments = [Segment(0, 1, True), Segment(1, 3, False)]
        with pytest.raises(InvalidLayer, match=r"broken:1.*layer 0"):
            pricing.blobs(0, segments)
