"""What a new layer is written from: members in order, held against the safe subset, joined to pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from squashkit.layers.changeset import WHITEOUT
from squashkit.layers.entry import DIRECTORY, Entry
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


Group = tuple[int, Iterable[Entry | Member]]
"""Members of one layer in the making. An entry of that source layer is copied as it stands, as most are,
and needs no value of its own."""


def as_members(groups: Iterable[Group]) -> Iterator[Member]:
    """The same as values of one kind."""
    for layer, members in groups:
        for one in members:
            if isinstance(one, Entry):
                pieces = as_it_stands(layer, one)
                yield Member(layer, one.start, one.path, one.typeflag, None, pieces)
            else:
                yield one


def as_it_stands(layer: int, entry: Entry) -> tuple[Piece, ...]:
    """All bytes of a member."""
    return (Copy(layer, entry.start, entry.end),)


class SafeSubset:
    """The safe subset as a postcondition: a fault here is squashkit's own, and nothing is written.

    `listed` says that every ancestor must be there, which only a blind merge cannot promise.
    """

    def __init__(self, *, listed: bool) -> None:
        self._listed = listed
        self._names: dict[bytes, list[bytes]] = {b"": []}
        """Of each directory what lies in it."""
        self._made: set[bytes] = set()
        """Paths of files that are no copies of entries, as all are that have several names."""
        self._hidden: dict[bytes, list[bytes]] = {}
        """Of each directory what its whiteouts hide."""
        self._last_directory = b""

    def verified(self, members: Iterable[Entry | Member]) -> Iterator[Entry | Member]:
        """The same members, each held against those before it."""
        listed = self._listed
        last, names = b"", self._names[b""]
        for one in members:
            if isinstance(one, Entry):
                _, _, _, directory, name, _, _, _, written = one
                if written or name.startswith(WHITEOUT):
                    raise AssertionError(f"{one.name!r} cannot stay as it stands")
            else:
                directory, _, name = one.path.rpartition(b"/")
            if directory != last:
                found = self._names.get(directory)
                if found is None:
                    if listed:
                        raise AssertionError(f"{one.path!r} comes before its directory")
                    found = self._names[directory] = []
                last, names = directory, found
            if name:  # the root's own entry has none
                names.append(name)
            if not isinstance(one, Entry):
                self._hold(one, directory, name)
            yield one

    def _hold(self, one: Member, directory: bytes, name: bytes) -> None:
        if one.target is not None and one.target not in self._made:
            raise AssertionError(f"{one.path!r} comes before its target")
        if one.typeflag == DIRECTORY:
            self._last_directory = one.path
            self._names.setdefault(one.path, [])
        elif name.startswith(WHITEOUT):
            if self._listed and directory != self._last_directory:
                raise AssertionError(f"{one.path!r} does not follow its directory")
            self._hidden.setdefault(directory, []).append(name[len(WHITEOUT) :])
        else:
            self._made.add(one.path)

    def finish(self) -> None:
        """Hold all members, once there are no more, against one another, and against their whiteouts."""
        for directory, names in self._names.items():
            different = set(names)
            if len(different) < len(names):
                twice = next(name for name, times in Counter(names).items() if times > 1)
                raise AssertionError(f"two entries for {twice!r} in {directory!r}")
            if directory in self._hidden and not different.isdisjoint(self._hidden[directory]):
                raise AssertionError(f"an entry beside its whiteout in {directory!r}")


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
            if not isinstance(one, Entry):
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
