"""Layers whose headers or content readers understand differently, each with what is right.

An image of them has three layers: a base with `d/gone` and `d/kept`, the odd layer, and one more on top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tests.support.builders import (
    SPARSE,
    ImageSpec,
    Member,
    char,
    directory,
    extension,
    fifo,
    file,
    hardlink,
    layer,
    raw,
    sparse,
    symlink,
    whiteout,
)

BASE = layer(directory("d", mode=0o750), file("d/gone", b"secret"), file("d/kept", b"kept"))
TOP = layer(file("top"))
WHITEOUT = "d/.wh.gone"
LONG = extension("L", WHITEOUT.encode() + b"\0")
HOLES: Sequence[tuple[int, bytes]] = [(512 * n, bytes([65 + n]) * 512) for n in range(0, 40, 3)]


class Odd(NamedTuple):
    """A layer, and which readers take it."""

    members: Sequence[Member]
    refused_by: frozenset[str] = frozenset()

    @property
    def layers(self) -> list[bytes]:
        return [BASE, layer(directory("d", mode=0o750), *self.members), TOP]

    def image(self, tag: str) -> ImageSpec:
        return ImageSpec(self.layers, [tag])


DOCKER_UMOCI = frozenset({"docker", "umoci"})
UMOCI = frozenset({"umoci"})
DOCKER = frozenset({"docker"})

DELETING = {
    "two x headers, the first names another": Odd(
        [raw(WHITEOUT, before=extension("x", {"path": b"d/kept2"}), records={"mtime": b"1"})]
    ),
    "two x headers, the last names it": Odd(
        [raw("d/x", before=extension("x", {"path": b"d/y"}), records={"path": WHITEOUT.encode()})]
    ),
    "a GNU long name, then a pax path": Odd([raw("d/x", before=LONG, records={"path": b"d/y"})]),
    "a pax path, then a GNU long name": Odd(
        [raw("d/x", before=extension("x", {"path": b"d/y"}) + LONG, magic="gnu")]
    ),
    "two GNU long names": Odd([raw("d/x", before=extension("L", b"d/y\0") + LONG, magic="gnu")]),
    "an empty GNU long name": Odd([raw(WHITEOUT, before=extension("L", b"d/y\0") + extension("L", b"\0"))]),
    "a prefix in a GNU header": Odd([raw(".wh.gone", magic="gnu", prefix=b"d")]),
    "a sparse name without a version": Odd([raw(WHITEOUT, records={"GNU.sparse.name": b"d/y"})]),
    "a sparse name of an unknown version": Odd(
        [raw(WHITEOUT, records={"GNU.sparse.major": b"2", "GNU.sparse.name": b"d/y"})]
    ),
    "a global header between": Odd(
        [raw(WHITEOUT, before=extension("x", {"path": b"d/y"}) + extension("g", {"comment": b"c"}))], UMOCI
    ),
    "a way through a symlink of the layer": Odd([symlink("k", "d"), whiteout("k/gone")]),
    "a way through an absolute symlink": Odd([symlink("d/k", "/d"), whiteout("d/k/gone")]),
    "a way through two symlinks": Odd([symlink("k", "l"), symlink("l", "d/../d"), whiteout("k/gone")]),
    "a way through a symlink that was another": Odd(
        [symlink("k", "e"), symlink("k", "d"), whiteout("k/gone")], DOCKER
    ),
    "a way through a hard link to a symlink": Odd(
        [symlink("l", "d"), hardlink("k", "l"), whiteout("k/gone")]
    ),
    "a way through a tree that was made twice": Odd(
        [symlink("t/k", "/e"), file("t"), directory("t"), symlink("t/k", "/d"), whiteout("t/k/gone")],
        DOCKER,
    ),
    "a path that is taken back": Odd([raw(WHITEOUT, records=[("path", b"d/y"), ("path", b"")])]),
    "a name with `..` inside": Odd([file("d/nowhere/../.wh.gone")]),
    "an absolute name": Odd([file("/d/.wh.gone")]),
}
"""Each deletes `d/gone`, whatever other readers of tars make of it."""

CONTENT: dict[str, Odd] = {
    f"sparse {form}{' with ./' * bool(dot)}": Odd(
        [sparse(f"{dot}d/s", 21_000, HOLES, form=form)], DOCKER_UMOCI if form == "old" else frozenset()
    )
    for form in SPARSE
    for dot in ("", "./")
}
CONTENT |= {
    "a global header that is named as a whiteout": Odd([raw(WHITEOUT, type=b"g")], UMOCI),
    "a global header with the path of a whiteout": Odd(
        [Member(b"g", raw=extension("g", {"path": WHITEOUT.encode()}))], UMOCI
    ),
    "a contiguous file": Odd([raw("d/c", b"content", type=b"7")], DOCKER_UMOCI),
    "a file of type NUL": Odd([raw("d/c", b"content", type=b"\0")]),
    "owners below zero": Odd(
        [raw("d/c", b"c", uid=b"\xff" * 7 + b"\xfe", gid=b"\xff" * 7 + b"\xfd", magic="gnu")]
    ),
    "pax owners below zero": Odd([raw("d/c", b"c", records={"uid": b"-2", "gid": b"-3"})]),
    "pax numbers with signs and zeros": Odd([raw("d/c", b"c", records={"uid": b"+0007", "gid": b"00008"})]),
    "a hard link with a pax target and a GNU one": Odd(
        [
            file("d/a", b"a"),
            raw("d/l", before=extension("K", b"d/a\0"), records={"linkpath": b"d/nowhere"}, type=b"1"),
        ]
    ),
    "a link's target with `..` inside": Odd([file("d/a", b"a"), hardlink("d/l", "d/x/../a")]),
    "a size on a symlink": Odd([raw("d/l", type=b"2", linkname=b"kept", size=b"00000000777"), file("d/z")]),
    "a device whose mode says that it is a file": Odd(
        [raw("d/n", type=b"3", mode=b"0100644", devmajor=b"0000001", devminor=b"0000003")], UMOCI
    ),
    "a device and a file whose modes say what they are": Odd(
        [
            raw("d/n", type=b"3", mode=b"0020644", devmajor=b"0000001", devminor=b"0000003"),
            raw("d/c", b"c", mode=b"0100640"),
        ]
    ),
    "a symlink with a long target": Odd([symlink("d/l", "t" * 300)]),
}
"""Each adds something that must come out as it went in."""

ODD = DELETING | CONTENT

KINDS: dict[str, Callable[[str], Member]] = {
    "file": lambda name: file(name, b"x"),
    "empty file": file,
    "old file": lambda name: raw(name, b"x", type=b"\0"),
    "contiguous": lambda name: raw(name, b"x", type=b"7"),
    "sparse": lambda name: sparse(name, 2000, [(512, b"x")]),
    "old sparse": lambda name: sparse(name, 2000, [(512, b"x")], form="old"),
    "hard link": lambda name: hardlink(name, "d/kept"),
    "symlink": lambda name: symlink(name, "kept"),
    "directory": directory,
    "device": lambda name: char(name, 1, 3),
    "fifo": fifo,
}
