"""Finds the layer that a fleet has already where a run of layers would become the same tar.

Nothing is compressed for it. Members are compared by what is known of them, and then by their bytes where
these are here, or by the digests of files where a scan has them.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from itertools import zip_longest

from squashkit.engine.stream import gather
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.layers import tar
from squashkit.layers.entry import REGULAR, Entry
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.digests import DiffID
from squashkit.oci.graph import Layer
from squashkit.transports.stored import is_here
from squashkit.values import frozen

_NO_DATA = memoryview(tar.END_OF_ARCHIVE)


@frozen
class Twins:
    """The different layers of a fleet, to be found by what they hold."""

    layers: FleetLayers
    members_of: Callable[[DiffID], Sequence[Entry]]
    """The members of a layer, in the order of its tar."""
    _by_size: dict[int, list[DiffID]] = field(default_factory=dict, init=False)
    """By the bytes of their tars."""

    def find(self, sources: Sequence[Layer], pieces: Sequence[Piece]) -> DiffID | None:
        """The layer that is the tar which these layers' pieces make; None where there is none."""
        if not self._by_size:
            for layer in self.layers.different:
                size = self.layers.changesets[layer.diff_id].diff_size
                self._by_size.setdefault(size, []).append(layer.diff_id)
        size = sum(piece.end - piece.start if isinstance(piece, Copy) else len(piece) for piece in pieces)
        of_this_size = self._by_size.get(size + len(tar.END_OF_ARCHIVE), ())
        return next((one for one in of_this_size if self._is_same(one, sources, pieces)), None)

    def _is_same(self, diff_id: DiffID, sources: Sequence[Layer], pieces: Sequence[Piece]) -> bool:
        changeset = self.layers.changesets[diff_id]
        entries = self.members_of(diff_id)
        if changeset.odd or changeset.junk or any(one.sparse is not None for one in entries):
            return False

        def members(number: int) -> Sequence[Entry]:
            return self.members_of(sources[number].diff_id)

        if any(made != one for made, one in zip_longest(_made(pieces, members), entries)):
            return False
        if all(is_here(sources[piece.layer]) for piece in pieces if isinstance(piece, Copy)):
            digest = hashlib.sha256()
            for block in gather(self.layers.store, sources, pieces):
                digest.update(block)
            return diff_id == f"sha256:{digest.hexdigest()}"
        if not self.layers.has_contents:
            return True
        contents = _contents(pieces, members)
        return all(
            self._digest(diff_id, one) == self._digest(sources[number].diff_id, entry)
            for one in entries
            if one.typeflag == REGULAR and one.size
            for number, entry in [contents[one.data]]
        )

    def _digest(self, diff_id: DiffID, entry: Entry) -> bytes:
        return self.layers.content_digest(diff_id, entry)


def _made(pieces: Sequence[Piece], members: Callable[[int], Sequence[Entry]]) -> Iterator[Entry]:
    """The members of the tar that pieces make of layers that have these members."""
    at = 0
    for piece in pieces:
        if isinstance(piece, Copy):
            move = at - piece.start
            for entry in _within(piece, members(piece.layer)):
                if entry.start >= piece.start:
                    yield entry._replace(start=entry.start + move)
            at += piece.end - piece.start
        else:
            yield from (entry._replace(start=entry.start + at) for entry in _headers(piece))
            at += len(piece)


def _contents(
    pieces: Sequence[Piece], members: Callable[[int], Sequence[Entry]]
) -> dict[int, tuple[int, Entry]]:
    """From which layer, and which member there, data come, by where in the new tar they are."""
    at = 0
    found = {}
    for piece in pieces:
        if isinstance(piece, Copy):
            for entry in _within(piece, members(piece.layer)):
                found[entry.data - piece.start + at] = piece.layer, entry
        at += piece.end - piece.start if isinstance(piece, Copy) else len(piece)
    return found


def _within(piece: Copy, members: Sequence[Entry]) -> Iterator[Entry]:
    """The members of a layer whose data, at least, begins in a span."""
    for at in range(bisect_left(members, piece.start, key=lambda one: one.data), len(members)):
        if members[at].start >= piece.end:
            return
        yield members[at]


def _headers(piece: bytes) -> Iterator[Entry]:
    """The members whose headers these are. Data of the last one is elsewhere."""
    headers = memoryview(piece)
    return tar.scan(lambda at: (headers, 0) if at < len(headers) else (_NO_DATA, at))
