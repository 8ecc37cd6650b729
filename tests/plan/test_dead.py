"""Dead files: by which layer, killed by which, and why."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from squashkit.layers.compare import content_digest
from squashkit.plan.waste.model import Cause, DeadFile
from tests.support.builders import (
    char,
    directory,
    file,
    hardlink,
    layer,
    noise,
    opaque,
    sparse,
    symlink,
    whiteout,
)
from tests.support.waste import dead_in, savings_of

A, B = noise(900, "a"), noise(900, "b")
BASE = layer(directory("d"), file("d/f", A), file("d/g", B))

Row = tuple[bytes, int, int, int, str, tuple[str, ...]]


def rows(*layers: bytes) -> list[Row]:
    """(path, size, layer, killed by, cause, changed) of all dead files."""
    return [
        (one.path, one.size, one.layer, one.killed_by, one.cause.value, one.changed)
        for one in dead_in(layers)[1]
    ]


CASES: dict[str, tuple[list[bytes], list[Row]]] = {
    "chmod": (
        [BASE, layer(file("d/f", A, mode=0o755))],
        [(b"d/f", 900, 0, 1, "attributes", ("mode",))],
    ),
    "chown and setfattr": (
        [BASE, layer(file("d/f", A, uid=7, xattrs={"user.k": b"v"}))],
        [(b"d/f", 900, 0, 1, "attributes", ("owner", "xattrs"))],
    ),
    "touch": ([BASE, layer(file("d/f", A, mtime=99))], [(b"d/f", 900, 0, 1, "identical", ())]),
    "other bytes of equal size and time": (
        [BASE, layer(file("d/f", B, mode=0o755))],
        [(b"d/f", 900, 0, 1, "overwritten", ())],
    ),
    "deleted": ([BASE, layer(whiteout("d/f"))], [(b"d/f", 900, 0, 1, "deleted", ())]),
    "deleted with its folder": (
        [BASE, layer(whiteout("d"))],
        [(b"d/f", 900, 0, 1, "deleted", ()), (b"d/g", 900, 0, 1, "deleted", ())],
    ),
    "the folder is a file now": (
        [BASE, layer(file("d"))],
        [(b"d/f", 900, 0, 1, "deleted", ()), (b"d/g", 900, 0, 1, "deleted", ())],
    ),
    "a folder is in its place": (
        [BASE, layer(directory("d/f"))],
        [(b"d/f", 900, 0, 1, "overwritten", ())],
    ),
    "emptied and made again": (
        [BASE, layer(directory("d"), opaque("d"), file("d/f", A, mode=0o600))],
        [(b"d/f", 900, 0, 1, "attributes", ("mode",)), (b"d/g", 900, 0, 1, "deleted", ())],
    ),
    "whiteout beside the entry": (
        [BASE, layer(whiteout("d/f"), file("d/f", A))],
        [(b"d/f", 900, 0, 1, "identical", ())],
    ),
    "moved": (
        [BASE, layer(whiteout("d/f"), file("d/z", A))],
        [(b"d/f", 900, 0, 1, "moved", ())],
    ),
    "copied over another": (
        [BASE, layer(file("d/g", A), whiteout("d/f"))],
        [(b"d/f", 900, 0, 1, "moved", ()), (b"d/g", 900, 0, 1, "overwritten", ())],
    ),
    "two of one content, one new place": (
        [layer(file("f", A), file("g", A)), layer(whiteout("f"), whiteout("g"), file("z", A))],
        [(b"f", 900, 0, 1, "moved", ()), (b"g", 900, 0, 1, "deleted", ())],
    ),
    "two of one content, two new places, told in order": (
        [
            layer(file("g", A)),
            layer(file("f", A)),
            layer(whiteout("f"), whiteout("g"), file("y", A), file("z", A)),
        ],
        [(b"g", 900, 0, 2, "moved", ()), (b"f", 900, 1, 2, "moved", ())],
    ),
    "what was there with that content is no new place": (
        [layer(file("f", A), file("g", A)), layer(whiteout("f"), file("g", A, mode=0o600))],
        [(b"f", 900, 0, 1, "deleted", ()), (b"g", 900, 0, 1, "attributes", ("mode",))],
    ),
    "twice in one layer": (
        [layer(file("f", A), file("f", B))],
        [(b"f", 900, 0, 0, "overwritten", ())],
    ),
    "twice in one layer, the same": (
        [layer(file("f", A), file("f", A, mode=0o600))],
        [(b"f", 900, 0, 0, "attributes", ("mode",))],
    ),
    "in the base and again and again": (
        [BASE, layer(file("d/f", A, mode=0o755)), layer(file("d/f", A, mode=0o700))],
        [(b"d/f", 900, 0, 1, "attributes", ("mode",)), (b"d/f", 900, 1, 2, "attributes", ("mode",))],
    ),
    "a name less is no death": (
        [layer(file("f", A), hardlink("l", "f")), layer(whiteout("f"))],
        [],
    ),
    "the last name is judged where it stood": (
        [
            layer(file("f", A), hardlink("l", "f")),
            layer(whiteout("f")),
            layer(file("l", A, mode=0o755)),
        ],
        [(b"f", 900, 0, 2, "attributes", ("mode",))],
    ),
    "names that go together are judged by the first": (
        [
            layer(file("a", A), hardlink("b", "a")),
            layer(file("a", A, mode=0o600), file("b", B)),
        ],
        [(b"a", 900, 0, 1, "attributes", ("mode",))],
    ),
    "a linked file is named where it was": (
        [
            layer(directory("d"), symlink("l", "d"), file("l/x", A), hardlink("y", "d/x")),
            layer(whiteout("d/x"), whiteout("y")),
        ],
        [(b"d/x", 900, 0, 1, "deleted", ())],
    ),
    "links had changed its attributes": (
        [
            layer(file("f", A), hardlink("l", "f", mode=0o755)),
            layer(whiteout("l")),
            layer(file("f", A, mode=0o755)),
        ],
        [(b"f", 900, 0, 2, "identical", ())],
    ),
    "a link takes its place": (
        [layer(file("f", A), file("g", A, mode=0o600)), layer(hardlink("f", "g", mode=0o600))],
        [(b"f", 900, 0, 1, "attributes", ("mode",))],
    ),
    "through a symlink of its own layer": (
        [layer(directory("d"), symlink("s", "d"), file("s/f", A)), layer(whiteout("d/f"), file("d/h", A))],
        [(b"d/f", 900, 0, 1, "moved", ())],
    ),
    "moved through a symlink of its own layer": (
        [BASE, layer(symlink("s", "d"), file("s/h", A), whiteout("d/f"))],
        [(b"d/f", 900, 0, 1, "moved", ())],
    ),
    "no bytes, no row": (
        [layer(file("f"), symlink("s", "x" * 99), char("c", 5, 1)), layer(*map(whiteout, "fsc"))],
        [],
    ),
    "sparse: what is stored": (
        [layer(sparse("f", 1 << 20, [(4096, A)], form="old")), layer(whiteout("f"))],
        [(b"f", 900, 0, 1, "deleted", ())],
    ),
    "sparse and whole are one content": (
        [
            layer(sparse("f", 200_000, [(70_000, A)], form="old")),
            layer(file("f", bytes(70_000) + A + bytes(129_100), mode=0o600)),
            layer(whiteout("f"), sparse("g", 200_000, [(70_000, A)], form="old")),
        ],
        [
            (b"f", 200_000, 1, 2, "moved", ()),
            (b"f", 900, 0, 1, "attributes", ("mode",)),
        ],
    ),
    "kept by AUFS and never named": (
        [layer(directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", A))],
        [(b".wh..wh.plnk/1.2", 900, 0, 0, "deleted", ())],
    ),
    "kept by AUFS and named": (
        [layer(directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", A), hardlink("f", ".wh..wh.plnk/1.2"))],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_cause_of_death(case: str) -> None:
    """What died, by whom and why, is that and nothing else; what is not dead adds up to the rest."""
    layers, expected = CASES[case]
    assert rows(*layers) == expected


def test_where_it_went_is_told() -> None:
    """Of a file that was moved the new place is known."""
    (one,) = dead_in([BASE, layer(whiteout("d/f"), file("d/z", A))])[1]
    assert one == DeadFile(b"d/f", 900, 1536, 0, 1, Cause.MOVED, (), b"d/z")


def test_the_largest_stands_first() -> None:
    """Ties go by layer and path."""
    layers = [layer(file("b", A), file("a", A), file("c", A + A)), layer(*map(whiteout, "abc"))]
    assert [row[0] for row in rows(*layers)] == [b"c", b"a", b"b"]


@pytest.mark.parametrize("seed", range(20))
def test_a_digest_is_of_the_content_however_it_is_stored(seed: int) -> None:
    """Pieces of any length, and holes for zeros, make no difference; another place of a byte does."""

    chance = random.Random(seed)
    size = chance.choice([1, 65_535, 65_536, 65_537, 200_000, 262_144])
    content = bytearray(size)
    for _ in range(3):
        at = chance.randrange(size)
        content[at : at + 50] = chance.randbytes(min(50, size - at))
    cuts = sorted({0, size, *(chance.randrange(size) for _ in range(6))})
    pieces = [bytes(content[a:b]) for a, b in pairwise(cuts)]
    holes = [len(one) if not any(one) else one for one in pieces]
    assert content_digest(holes) == content_digest(pieces) == content_digest([bytes(content)])
    content[size // 2] ^= 1
    assert content_digest([bytes(content)]) != content_digest(pieces)
    assert content_digest([*holes, 1]) != content_digest(holes)


def test_a_terabyte_of_holes_is_digested_at_once() -> None:
    """Nothing is read of what is not there."""
    assert content_digest([1 << 40, b"x"]) != content_digest([1 << 40, b"y"])


def test_savings_of_a_chmod() -> None:
    """What is dead, and what a squash saves, by the byte."""
    layers = [
        BASE,
        layer(directory("d"), file("d/f", A)),
        layer(directory("d"), file("d/f", A, mode=0o755)),
    ]
    none, one, two = savings_of(layers)
    assert (none.dead, none.copied) == (1800, 0)
    assert none.size == sum(map(len, layers)) - (512 + 2 * 1536 + 1024)
    assert (one.dead, one.copied, one.size) == (900, 0, 1536 + 512 + 1024)
    assert (two.dead, two.copied, two.overhead, two.size) == (0, 0, 0, 0)


def test_a_squash_may_cost() -> None:
    """A link into a kept layer becomes a copy, which is told apart."""
    layers = [layer(file("f", A * 5)), layer(hardlink("l", "f")), layer(file("z"))]
    one = savings_of(layers)[1]
    assert (one.dead, one.copied) == (0, 4500)
    assert (one.size, one.overhead) == (1024 - 4608, 1024 - 4608 + 4500)


def test_boundaries_below_what_cannot_be_merged_have_no_number() -> None:
    """A mark of overlay file systems can be kept, not merged."""
    layers = [BASE, layer(char("c", 0, 0)), layer(file("d/f", A)), layer(file("d/f", B))]
    assert [one.size is None for one in savings_of(layers)] == [True, True, False, False]


def test_of_many_layers_the_base_and_the_worst_are_planned() -> None:
    """Beyond 40 layers ten boundaries have numbers, and that of the base."""
    layers = [layer(file("f", noise(100 + i, str(i)))) for i in range(50)]
    found = savings_of(layers, base_layers=33)
    assert [one.keep_layers for one in found if one.size is not None] == [*range(10), 33, 49]
    assert found[3].dead == sum(100 + i for i in range(3, 49))
    assert found[20].dead is None
    assert len(found) == 50
