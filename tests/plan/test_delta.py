"""What stays out of a delta, by what the other side knows layers by."""

from __future__ import annotations

from dataclasses import replace

import pytest

from squashkit.oci.digests import DiffID, Digest, chain_ids, sha256
from squashkit.oci.documents import Descriptor, ImageConfig, Platform
from squashkit.oci.graph import Image, Layer, stack_layers
from squashkit.oci.have import Have, HeldLayer, Keeper
from squashkit.oci.media import DOCKER_MANIFEST, OCI_LAYER, OCI_MANIFEST
from squashkit.plan.delta import find_left_out, find_needed

BY_CHAIN = [Keeper.GRAPHDRIVER, Keeper.PODMAN, Keeper.REGISTRY, Keeper.FILES]
PLAIN, GZIP, ZSTD = "", "+gzip", "+zstd"


def blob(name: str, ending: str) -> Descriptor:
    """How a layer of a name is stored so."""
    digest = sha256(name.encode()) if ending == PLAIN else sha256(f"{name}{ending}".encode())
    return Descriptor(OCI_LAYER + ending, digest, 100 + len(ending))


def image(names: str) -> Image:
    """An image with a layer for each letter, none of which is there."""
    diff_ids = tuple(DiffID(sha256(name.encode())) for name in names)
    config = ImageConfig(diff_ids, None, Platform("linux", "amd64"), None, {}, b"")
    layers = stack_layers(config, [None] * len(names), [None] * len(names), "")
    return Image((), sha256(b"config"), config, layers, None, None)


def own(names: str, ending: str | None) -> list[tuple[Layer, Descriptor | None]]:
    """The layers of an image, stored so; with None their blobs are not known."""
    return [
        (layer, None if ending is None else blob(name, ending))
        for name, layer in zip(names, image(names).layers, strict=True)
    ]


def have(keeper: Keeper, names: str, *endings: str | None) -> Have:
    """What has a stack of these layers, stored in each of these ways; None for a way that is not told."""
    diff_ids = [DiffID(sha256(name.encode())) for name in names]
    return Have(
        keeper,
        tuple(
            HeldLayer(chain_id, diff_id, None if ending is None else blob(name, ending))
            for name, chain_id, diff_id in zip(names, chain_ids(diff_ids), diff_ids, strict=True)
            for ending in endings
        ),
    )


def left_out(
    layers: list[tuple[Layer, Descriptor | None]], stay: int, there: Have, family: str = OCI_MANIFEST
) -> dict[str, Descriptor]:
    """By letters: which blob each layer is named by that stays out."""
    letters = {sha256(name.encode()): name for name in "abcdef"}
    found = find_left_out(layers, stay, there, family)
    return {letters[Digest(diff_id)]: named for diff_id, named in found.items()}


@pytest.mark.parametrize("keeper", BY_CHAIN)
def test_by_chain(keeper: Keeper) -> None:
    """Only the same layers from below stay out, and only as far as the result has them there, too."""
    there = have(keeper, "abc", GZIP)
    assert left_out(own("abd", GZIP), 3, there) == {"a": blob("a", GZIP), "b": blob("b", GZIP)}
    assert left_out(own("abc", GZIP), 1, there) == {"a": blob("a", GZIP)}
    assert left_out(own("bc", GZIP), 2, there) == {}


@pytest.mark.parametrize("keeper", BY_CHAIN)
def test_a_layer_that_comes_again_on_others(keeper: Keeper) -> None:
    """It is one blob for two layers: where one of them is not there, it travels."""
    assert left_out(own("aba", GZIP), 3, have(keeper, "ab", GZIP)).keys() == {"b"}
    assert left_out(own("aba", GZIP), 3, have(keeper, "aba", GZIP)).keys() == {"a", "b"}
    assert left_out(own("aba", GZIP), 2, have(keeper, "aba", GZIP)).keys() == {"b"}


def test_by_digest() -> None:
    """containerd's store has blobs, whatever they lie on, and nothing else is asked for."""
    there = have(Keeper.CONTAINERD, "abc", GZIP)
    assert left_out(own("cxb", GZIP), 0, there).keys() == {"b", "c"}
    assert left_out(own("aba", GZIP), 0, there).keys() == {"a", "b"}
    assert left_out(own("ab", GZIP), 2, have(Keeper.CONTAINERD, "ab", None)) == {}


@pytest.mark.parametrize("keeper", [*BY_CHAIN, Keeper.CONTAINERD])
def test_it_is_named_as_it_is_there(keeper: Keeper) -> None:
    """A layer that is stored otherwise there is named by that; its own blob goes before, where both are."""
    assert left_out(own("a", GZIP), 1, have(keeper, "a", PLAIN)) == {"a": blob("a", PLAIN)}
    assert left_out(own("a", PLAIN), 1, have(keeper, "a", GZIP)) == {"a": blob("a", GZIP)}
    assert left_out(own("a", GZIP), 1, have(keeper, "a", PLAIN, GZIP)) == {"a": blob("a", GZIP)}
    assert left_out(own("a", None), 1, have(keeper, "a", GZIP)) == {"a": blob("a", GZIP)}


def test_where_nobody_tells_the_blob() -> None:
    """docker's own storage asks for no digest, and podman knows plain tars; for all else it travels."""
    told = {
        (keeper, ending): left_out(own("a", ending), 1, have(keeper, "a", None)) != {}
        for keeper in Keeper
        for ending in (PLAIN, GZIP, None)
    }
    assert {key for key, stays_out in told.items() if stays_out} == {
        (Keeper.GRAPHDRIVER, PLAIN),
        (Keeper.GRAPHDRIVER, GZIP),
        (Keeper.PODMAN, PLAIN),
    }


def test_what_a_manifest_cannot_name() -> None:
    """docker's manifests know no zstd, and no manifest should name what no tool knows."""
    there = have(Keeper.CONTAINERD, "a", ZSTD)
    assert left_out(own("a", GZIP), 1, there) == {"a": blob("a", ZSTD)}
    assert left_out(own("a", GZIP), 1, there, DOCKER_MANIFEST) == {}
    assert left_out(own("a", GZIP), 1, have(Keeper.FILES, "a", "+encrypted")) == {}


# --- what is needed ------------------------------------------------------------------------------


def needed(names: str, ending: str, there: Have) -> str:
    """For each layer whether it is there (+), not there (-), or not surely so (?)."""
    layers = image(names).layers
    stored = [
        Layer(one.index, one.diff_id, one.chain_id, one.parent, (), blob(name, ending), "", "")
        for name, one in zip(names, layers, strict=True)
    ]
    bare = image(names)
    delta = Image((), bare.image_id, bare.config, tuple(stored), None, None)
    return "".join("-" if one.lacking else "?" if one.doubt else "+" for one in find_needed(delta, there))


@pytest.mark.parametrize(
    ("keeper", "named", "there", "told"),
    [
        (Keeper.GRAPHDRIVER, GZIP, None, "++--"),
        (Keeper.CONTAINERD, GZIP, GZIP, "++-+"),
        (Keeper.CONTAINERD, PLAIN, GZIP, "----"),
        (Keeper.CONTAINERD, GZIP, None, "----"),
        (Keeper.PODMAN, PLAIN, None, "++--"),
        (Keeper.PODMAN, GZIP, None, "----"),
        (Keeper.PODMAN, GZIP, GZIP, "++--"),
        (Keeper.FILES, GZIP, GZIP, "++--"),
        (Keeper.FILES, GZIP, PLAIN, "??--"),
        (Keeper.REGISTRY, PLAIN, GZIP, "??--"),
    ],
)
def test_what_will_load(keeper: Keeper, named: str, there: str | None, told: str) -> None:
    """A stack whose two lowest layers are there, and the fourth on others, is told by what the other side
    asks for."""
    assert needed("abed", named, have(keeper, "abd", there)) == told


@pytest.mark.parametrize("keeper", [Keeper.GRAPHDRIVER, Keeper.CONTAINERD, Keeper.FILES])
@pytest.mark.parametrize("wrong", ["size", "type"])
def test_what_is_described_otherwise(keeper: Keeper, wrong: str) -> None:
    """A manifest that says another size or compression of a blob than the other side has is told."""
    (layer,) = image("a").layers
    right = blob("a", GZIP)
    media_type = right.media_type if wrong == "size" else OCI_LAYER + ZSTD
    lie = Descriptor(media_type, right.digest, right.size + (wrong == "size"))
    delta = replace(image("a"), layers=(replace(layer, descriptor=lie),))
    (found,) = find_needed(delta, have(keeper, "a", GZIP))
    assert "and the delta says" in found.lacking
