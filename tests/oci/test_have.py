"""Have-lists: what is written is read again, and what is none is told by its line."""

from __future__ import annotations

import pytest

from squashkit.errors import InvalidImage
from squashkit.oci.digests import ChainID, DiffID, sha256
from squashkit.oci.documents import Descriptor
from squashkit.oci.have import Have, HeldLayer, Keeper, parse_have

LAYER = "application/vnd.oci.image.layer.v1.tar"
A, B, C = (sha256(word) for word in (b"a", b"b", b"c"))
ONE = f"{A} {A} {C} 12 {LAYER}+gzip"


def held(digest: str, blob: Descriptor | None) -> HeldLayer:
    return HeldLayer(ChainID(digest), DiffID(digest), blob)


@pytest.mark.parametrize("keeper", Keeper)
def test_what_is_written_is_read(keeper: Keeper) -> None:
    """A have-list says again what it was written from, each layer once."""
    layers = (
        held(A, Descriptor(f"{LAYER}+gzip", C, 12)),
        held(B, None),
        held(A, Descriptor(f"{LAYER}+gzip", C, 12)),
    )
    lines = list(Have(keeper, layers).lines())
    assert lines == [f"store: {keeper.value}", ONE, f"{B} {B} -"]
    assert parse_have("\n".join(lines) + "\n", "list") == Have(keeper, layers[:2])


def test_a_place_without_layers() -> None:
    """A host that has nothing says so."""
    assert parse_have("store: podman\n", "list") == Have(Keeper.PODMAN, ())


def test_a_media_type_that_would_break_its_line() -> None:
    """A blob whose media type has spaces or lines in it is one that is not told."""
    for odd in ("a b/c", "a/b\nstore: x", "", "layer"):
        assert str(held(A, Descriptor(odd, C, 12))) == f"{A} {A} -"


FAULTS = {
    "nothing": ("", "line 1"),
    "no store": (f"{ONE}\n", "line 1"),
    "another store": (f"store: cri-o\n{ONE}\n", "graphdriver, containerd"),
    "a store in capitals": (f"store: Podman\n{ONE}\n", "line 1"),
    "lines of Windows": (f"store: podman\r\n{ONE}\r\n", "line 1"),
    "cut off": (f"store: podman\n{ONE}\n{ONE[:90]}", "cut off"),
    "an empty line": (f"store: podman\n\n{ONE}\n", "line 2"),
    "one digest": (f"store: podman\n{A} -\n", "line 2"),
    "a short digest": (f"store: podman\n{ONE}\n{A[:-1]} {A} -\n", "line 3"),
    "another algorithm": (f"store: podman\nsha512:{'0' * 128} {A} -\n", "line 2"),
    "no size": (f"store: podman\n{A} {A} {C} {LAYER}\n", "line 2"),
    "a negative size": (f"store: podman\n{A} {A} {C} -1 {LAYER}\n", "line 2"),
    "a size of Arabic digits": (f"store: podman\n{A} {A} {C} ٣ {LAYER}\n", "line 2"),
    "a size without end": (f"store: podman\n{A} {A} {C} {'9' * 5000} {LAYER}\n", "line 2"),
    "two spaces": (f"store: podman\n{A}  {A} -\n", "line 2"),
    "more than there is to say": (f"store: podman\n{ONE} x\n", "line 2"),
    "two diff_ids of a chain": (f"store: podman\n{A} {A} -\n{A} {B} -\n", "line 3"),
    "two layers of a digest": (f"store: podman\n{ONE}\n{B} {B} {C} 12 {LAYER}\n", "line 3"),
    "two sizes of a digest": (f"store: podman\n{ONE}\n{A} {A} {C} 13 {LAYER}\n", "line 3"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_no_have_list(name: str) -> None:
    """Nothing is passed over that may mean something else."""
    text, word = FAULTS[name]
    with pytest.raises(InvalidImage, match="list.*" + word):
        parse_have(text, "list")
