"""What a new layer is written from: members in order, held against the safe subset, joined to pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from squashkit.layers.changeset import WHITEOUT
from squashkit.layers.record import DIRECTORY, Record
from squashkit.layers.rootfs import BELOW


class Copy(NamedTuple):
    """Bytes [start, end) of a source layer's uncompressed tar."""

    layer: int
    start: int
    end: int


Piece = Copy | bytes


class Member(NamedTuple):
    """One entry of a layer in the making. Those that are no directories sort by their place in the
    source: layer, then offset."""

    layer: int
    start: int
    path: bytes
    typeflag: bytes
    target: bytes | None
    pieces: tuple[Piece, ...]


Group = tuple[int, Iterable[Record | Member]]
"""Members of one layer in the making. A record stands for an entry of that source layer which is copied as
it stands, as most are, and needs no value of its own."""


def as_members(groups: Iterable[Group]) -> Iterator[Member]:
    """The same as values of one kind."""
    for layer, members in groups:
        for one in members:
            if isinstance(one, Record):
                pieces = as_it_stands(layer, one)
                yield Member(layer, one.start, one.name, one.typeflag, None, pieces)
            else:
                yield one


def as_it_stands(layer: int, record: Record) -> tuple[Piece, ...]:
    """All bytes of a member."""
    return (Copy(layer, record.start, record.end),)


class SafeSubset:
    """The safe subset as a postcondition: a fault here is squashkit's own, and nothing is written.

    `listed` says that every ancestor must be there, which only a blind merge cannot promise.
    """

    def __init__(self, *, listed: bool) -> None:
        self._listed = listed
        self._seen: set[bytes] = {b""}
        self._hidden: set[bytes] = set()
        self._last_directory = self._last_parent = b""

    def verified(self, members: Iterable[Record | Member]) -> Iterator[Record | Member]:
        """The same members, each held against those before it."""
        seen, listed, last_parent = self._seen, self._listed, self._last_parent
        for one in members:
            if isinstance(one, Record):
                path, typeflag, target = one.name, one.traits.typeflag, None
            else:
                path, typeflag, target = one.path, one.typeflag, one.target
            parent, _, name = path.rpartition(b"/")
            if path in seen and path:
                raise AssertionError(f"two entries for {path!r}")
            if listed and parent != last_parent and parent not in seen:
                raise AssertionError(f"{path!r} comes before its directory")
            if target is not None and target not in seen:
                raise AssertionError(f"{path!r} comes before its target")
            if typeflag == DIRECTORY:
                self._last_directory = path
            elif name.startswith(WHITEOUT):
                if listed and parent != self._last_directory:
                    raise AssertionError(f"{path!r} does not follow its directory")
                self._hidden.add(path[: len(path) - len(name)] + name[len(WHITEOUT) :])
            seen.add(path)
            last_parent = parent
            yield one
        self._last_parent = last_parent

    def finish(self) -> None:
        """Hold whiteouts against all members, once there are no more."""
        if not self._hidden.isdisjoint(self._seen):
            raise AssertionError(
                f"entries beside their whiteouts: {sorted(self._hidden & self._seen)[:3]!r}"
            )


def join_pieces(groups: Iterable[Group]) -> tuple[tuple[Piece, ...], int]:
    """What members are written from, and how many they are: neighbouring spans become one, and so do
    neighbouring headers."""
    entries = 0
    joined: list[Piece] = []
    headers = bytearray()
    layer = start = end = BELOW
    for source, members in groups:
        for one in members:
            entries += 1
            if not isinstance(one, Record):
                pieces = one.pieces
            elif source == layer and one.start == end:
                end = one.end
                continue
            else:
                pieces = as_it_stands(source, one)
            for piece in pieces:
                if isinstance(piece, bytes):
                    if layer != BELOW:
                        joined.append(Copy(layer, start, end))
                        layer = BELOW
                    headers += piece
                    continue
                if headers:
                    joined.append(bytes(headers))
                    headers.clear()
                if piece.layer == layer and piece.start == end:
                    end = piece.end
                    continue
                if layer != BELOW:
                    joined.append(Copy(layer, start, end))
                layer, start, end = piece
    if headers:
        joined.append(bytes(headers))
    if layer != BELOW:
        joined.append(Copy(layer, start, end))
    return tuple(joined), entries
