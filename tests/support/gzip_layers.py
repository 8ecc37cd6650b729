"""An image whose layers some maker of gzip compressed, large enough for deflate blocks to be copied."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

from tests.support import builders
from tests.support.builders import ImageSpec, directory, file, layer, noise, oci_layout, whiteout
from tests.support.go_programs import have_go
from tests.support.gzips import by_go, by_program, by_zlib, data

TEXT = data(7, 3_000_000)
"""What is kept of it is copied in runs; every level deflates it, if not equally well."""
PLAIN = [
    layer(file("base", b"b" * 3000)),
    layer(
        directory("d"),
        file("d/first", noise(2000, "first")),
        file("d/long", TEXT[:2_000_000]),
        file("d/gone", TEXT[400_000:600_000]),
        file("d/last", TEXT[2_000_000:]),
    ),
    layer(directory("d"), file("d/first", b"anew"), whiteout("d/gone"), file("d/more", TEXT[:700_000])),
]


def members_of(plain: bytes) -> bytes:
    """As stargz has it: many members, of which each ends with a final block."""
    cuts = [0, 512, 1024, *range(300_000, len(plain), 300_000), len(plain)]
    return b"".join(gzip.compress(plain[a:b], 6, mtime=0) for a, b in pairwise(cuts))


MAKES: dict[str, Callable[[bytes], bytes]] = {
    "gzip": by_program("gzip", "-6", "-c"),
    "zlib": by_zlib,
    "members": members_of,
    "with zeros behind": lambda plain: by_zlib(plain) + bytes(700),
}
if have_go():
    MAKES["go"] = by_go("-1")


def layout(
    folder: Path, make: Callable[[bytes], bytes] = by_zlib, layers: Sequence[bytes] = tuple(PLAIN)
) -> Path:
    """An image whose layers are compressed by a maker."""

    def compressed(plain: bytes, how: builders.Compress) -> bytes:
        return make(plain) if how == "gzip" else plain

    with patch.object(builders, "compress", compressed):
        oci_layout(folder, [ImageSpec(list(layers), ["app:1"])])
    return folder


def shared(blob: bytes, sources: Sequence[bytes]) -> float:
    """The share of a blob that stands in its sources, by samples of 32 bytes."""
    places = range(0, len(blob) - 32, 997)
    return sum(any(blob[at : at + 32] in one for one in sources) for at in places) / len(places)
