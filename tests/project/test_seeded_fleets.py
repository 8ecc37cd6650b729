"""The seeded fleets of the benchmarks share as images of public registries do (docs/fleet.md)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

import pytest

from benchmarks import public
from squashkit.oci.manifests import ListedLayer
from squashkit.plan.fleet.shape import PERCENTS, Gathered, Percentiles, Shape
from tests.support.builders import Json
from tests.support.runner import run

TARS = "a1622a26c9610837407ae611d637ca75d391a20d11ff3520affb70ef8520be83"


def counted(images: Iterable[tuple[int, list[ListedLayer]]]) -> Shape:
    """The shape of images of numbered repositories."""
    gathered = Gathered()
    for repository, layers in images:
        gathered.add(repository, layers)
    return gathered.shape()


def percentile(percentiles: Percentiles, percent: int) -> int:
    value = percentiles.values[PERCENTS.index(percent)]
    assert value is not None
    return value


def document(layout: Path, digest: str) -> Json:
    found: Json = json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_text())
    return found


def manifests(layout: Path) -> list[Json]:
    index = json.loads((layout / "index.json").read_text())
    return [document(layout, image["digest"]) for image in index["manifests"]]


@pytest.mark.parametrize("images", [100, 300, 1000])
def test_images_are_planned_as_they_are_in_public_registries(images: int) -> None:
    """Sharing is within 15 % of theirs; layers, their sizes, and who has the same lie as theirs."""
    planned = public.plan(images)
    shape = counted(
        (image.repository, [ListedLayer(str(layer.number), layer.size) for layer in image.layers])
        for image in planned
    )
    assert shape.images == len(planned) == images
    assert shape.shared == pytest.approx(1.76, rel=0.15)
    assert shape.shared_in_repositories == pytest.approx(1.47, rel=0.15)
    assert [percentile(shape.layers_an_image, percent) for percent in (10, 25, 50, 75)] == [1, 2, 5, 10]
    assert percentile(shape.layers_an_image, 90) in (15, 16)
    assert 53 <= percentile(shape.layers_an_image, 99) <= 65
    sizes = [percentile(shape.bytes_a_layer, percent) for percent in (10, 25, 50, 75, 90)]
    assert sizes == pytest.approx([236, 772, 994_000, 28_575_000, 132_646_000], rel=0.15)
    assert percentile(shape.bytes_a_layer, 99) == pytest.approx(1.159e9, rel=0.3)  # one of few

    had = Counter(layer for image in planned for layer in image.layers)
    spans = ((1, 1, 80.8), (2, 2, 8.5), (3, 10, 8.3), (11, images, 2.4))
    for low, high, percent in spans:
        share = 100 * sum(low <= number <= high for number in had.values()) / len(had)
        assert share == pytest.approx(percent, rel=0.4, abs=6 if high < 11 else 1), (low, share)
    releases = sorted(Counter(image.repository for image in planned).values())
    assert releases[len(releases) // 2] <= 6  # most repositories are small
    assert sum(releases[-len(releases) // 10 :]) > images / 4  # a tenth of them has much


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small fleet, written: a byte stands for twenty thousand."""
    folder = tmp_path_factory.mktemp("public") / "fleet"
    public.make(folder, 300, scale=20_000)
    return folder


def test_images_are_written_as_they_are_planned(layout: Path) -> None:
    """A layer takes the planned bytes, or those of a small tar; sharing is as in public registries."""
    planned = public.plan(300)
    written = [
        [ListedLayer(layer["digest"], layer["size"]) for layer in manifest["layers"]]
        for manifest in manifests(layout)
    ]
    shape = counted(zip((image.repository for image in planned), written, strict=True))
    assert shape.shared == pytest.approx(1.76, rel=0.15)
    assert shape.shared_in_repositories == pytest.approx(1.47, rel=0.15)
    wanted = sum(layer.size for image in planned for layer in image.layers) / 20_000
    assert shape.sum == pytest.approx(wanted, rel=0.1)
    for image, layers in zip(planned, written, strict=True):
        for layer, made in zip(image.layers, layers, strict=True):
            assert made.size == pytest.approx(layer.size / 20_000, rel=0.15, abs=300)


def test_the_files_are_the_same_everywhere(layout: Path) -> None:
    """The layers' tars are as they were before. Compressed they may differ, by the zlib that did it."""
    diff_ids = [
        document(layout, manifest["config"]["digest"])["rootfs"]["diff_ids"]
        for manifest in manifests(layout)
    ]
    assert sha256(json.dumps(diff_ids).encode()).hexdigest() == TARS


def test_some_files_are_dead_and_some_are_repeated(tmp_path: Path) -> None:
    """Merging along the trie saves, carving saves more, and each image's base is one of the fleet."""
    public.make(tmp_path / "fleet", 60, scale=20_000)
    rows = ("--strategies", "built,trie,carve")
    done = run("fleet", "storage", f"oci:{tmp_path / 'fleet'}", *rows, "--json")
    assert done.code == 0, done.err
    assert done.json["unknown_base"] == []
    built, trie, carved = (row["registry_bytes"] for row in done.json["strategies"])
    assert trie < 0.97 * built
    assert carved < 0.996 * trie
