"""What new layers take before anything is compressed: about how much, and between which bounds that lies.

Of a compressed layer it is known what it takes as a whole, and not how that is spread over its files. So
what a part of it takes is estimated: a header takes what most do, and all files are held to compress alike.
What a fleet saves lies between bounds: the files that a strategy stores more often than others may be those
that compress best, or worst. Where one bound is a loss, nobody knows before it is measured.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from squashkit.layers.blocks import BLOCK
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import DIRECTORY, Entry
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.digests import DiffID
from squashkit.oci.media import Codec
from squashkit.plan.fleet.storage import Stack, StackLayer
from squashkit.values import frozen

_HEADER, _HEADER_LEAST, _HEADER_MOST = 40, 8, 80
"""About what a block of a header takes once it is compressed, and what at least and at most."""
_FRAME, _FRAME_MOST = 20, 60
"""What a compressed layer takes beside its members."""
_APART = 3
"""How many times better, or worse, the files of one part of a layer may compress than those of another."""
_SHRINKS = 0.1
"""What of a plain layer is stored at least once it is compressed."""
_ANEW = {Codec.ZSTD: (0.9, 1.25)}
_ANEW_GZIP = (0.99, 1.01)
"""What bytes take once they are deflated anew, of what they take now, by how they are compressed now: at
least, and at most. Nobody knows with which level gzip was told to work."""


class Bounds(NamedTuple):
    """Between which two numbers of bytes something lies."""

    least: int
    most: int


@frozen
class Part:
    """Of a part of a layer the blocks of headers, and the bytes of files and of the tar."""

    blocks: int
    payload: int
    plain: int

    def __add__(self, other: Part) -> Part:
        return Part(self.blocks + other.blocks, self.payload + other.payload, self.plain + other.plain)

    def __sub__(self, other: Part) -> Part:
        return Part(self.blocks - other.blocks, self.payload - other.payload, self.plain - other.plain)


_EMPTY = Part(0, 0, 0)


@frozen
class PackedLayer:
    """A layer as it is stored, and what is where in its tar."""

    diff_id: DiffID
    stored: int
    codec: Codec
    """How it is compressed; NONE where it counts as it is."""
    whole: Part
    """All that it holds."""
    members: Sequence[Entry]
    """In the order of its tar."""
    _starts: array[int]
    _blocks: array[int]
    """Of headers, before each member, but for directories'."""
    _folders: array[int]
    """Of directories' headers, before each member."""
    _payload: array[int]
    """Bytes of files, before each member."""

    @classmethod
    def of(cls, diff_id: DiffID, changeset: Changeset, stored: int, codec: Codec) -> PackedLayer:
        entries = changeset.members
        starts = array("q", (one.start for one in entries))
        own = [(one.headers // BLOCK, one.typeflag == DIRECTORY) for one in entries]
        blocks = array("q", accumulate((n * (not is_folder) for n, is_folder in own), initial=0))
        folders = array("q", accumulate((n * is_folder for n, is_folder in own), initial=0))
        payload = array("q", accumulate((one.size for one in entries), initial=0))
        whole = Part(blocks[-1] + folders[-1], payload[-1], changeset.diff_size)
        return cls(diff_id, stored, codec, whole, entries, starts, blocks, folders, payload)

    @property
    def is_plain(self) -> bool:
        return self.codec is Codec.NONE

    def part(self, start: int, end: int) -> Part:
        """What stands between two places of the tar, but for directories: their headers stand together in
        a new layer, and compress there as new ones do."""
        return self._up_to(end) - self._up_to(start)

    def folders(self, start: int, end: int) -> int:
        """Blocks of the headers of directories that begin between two places of the tar."""
        first, last = (bisect_left(self._starts, place) for place in (start, end))
        return self._folders[last] - self._folders[first]

    def _up_to(self, place: int) -> Part:
        at = bisect_right(self._starts, place) - 1
        if at < 0:
            return _EMPTY
        entry = self.members[at]
        blocks, folders, payload = self._blocks[at], self._folders[at], self._payload[at]
        if place >= entry.data:
            if entry.typeflag == DIRECTORY:
                folders += entry.headers // BLOCK
            else:
                blocks += entry.headers // BLOCK
            payload += min(place - entry.data, entry.size)
        return Part(blocks, payload, place - folders * BLOCK)

    @property
    def ratio(self) -> float:
        """What of the bytes of its files is stored, about."""
        if self.is_plain:
            return 1.0
        files = self.stored - _FRAME - _HEADER * self.whole.blocks
        return min(1.0, max(0.0, files / max(self.whole.payload, 1)))

    @property
    def block(self) -> float:
        """What a block of a header takes, about."""
        if self.is_plain:
            return BLOCK
        return min(_HEADER, max(0, self.stored - _FRAME) / max(self.whole.blocks, 1))

    def about(self, part: Part) -> float:
        """What a part of it takes."""
        if self.is_plain:
            return part.plain
        return self.block * part.blocks + self.ratio * part.payload


def about(packed: Mapping[int, PackedLayer], pieces: Iterable[Piece]) -> float:
    """What a new layer takes that is put together from these layers' pieces. Where one of them counts as it
    is, new headers do, too."""
    block = BLOCK if any(one.is_plain for one in packed.values()) else _HEADER
    total = float(_FRAME)
    for piece in pieces:
        if isinstance(piece, Copy):
            layer = packed[piece.layer]
            total += layer.about(layer.part(piece.start, piece.end))
            total += layer.folders(piece.start, piece.end) * block
        else:
            total += len(piece) // BLOCK * block
    return total


# --- bounds ----------------------------------------------------------------------------------


@frozen
class Made:
    """Of a new layer that was not compressed: which bytes of which layers it holds."""

    layers: Sequence[PackedLayer]
    spans: array[int]
    """The place of a layer among these, and where in its tar a span begins and ends: three for each."""
    blocks: int
    """Of new headers, and of directories'."""
    twin: StackLayer | None = None
    """A layer that the fleet has and that is the same tar. It may be another blob, as its compressor was
    another."""

    @classmethod
    def of(
        cls, packed: Mapping[int, PackedLayer], pieces: Iterable[Piece], twin: StackLayer | None
    ) -> Made:
        places = {number: place for place, number in enumerate(packed)}
        spans = array("q")
        blocks = 0
        for piece in pieces:
            if isinstance(piece, bytes):
                blocks += len(piece) // BLOCK
            else:
                spans.extend((places[piece.layer], piece.start, piece.end))
                blocks += packed[piece.layer].folders(piece.start, piece.end)
        return cls(tuple(packed.values()), spans, blocks, twin)


def bounds_of_saving(built: Sequence[Stack], stacks: Sequence[Stack], made: Mapping[str, Made]) -> Bounds:
    """Between what lies what a strategy saves in a registry, of what was built: less than nothing where it
    takes more. `made` are new layers by what they are put together from."""
    before, after = _blobs(built), _blobs(stacks)
    least = most = 0
    parts: list[Made] = []
    for one in (
        made[name] for name in {blob.made: None for stack in stacks for blob in stack if blob.made}
    ):
        if one.twin is None:
            parts.append(one)
        elif one.twin.is_plain:  # compressed it is the same blob
            after[one.twin.key] = one.twin
        else:
            stored = one.twin.stored
            least -= round(stored * _ANEW_GZIP[1])
            most -= 0 if one.twin.key in after else round(stored * _ANEW_GZIP[0])
    known = _known(before) - _known(after)
    plain = {blob.tar: blob.stored for blob in (*before.values(), *after.values()) if blob.is_plain}
    fewer = Counter(blob.tar for blob in before.values() if blob.is_plain)
    fewer.subtract(blob.tar for blob in after.values() if blob.is_plain)
    gains: list[int] = []
    for layer, times in _times(parts):
        classes = _classes(layer, times)
        if layer.is_plain:
            kept = fewer.pop(layer.diff_id, 0)
            gains += ((kept - n) * part.plain for n, part in classes.items())
        else:
            costs = _costs(layer, classes)
            least -= costs.most
            most -= costs.least
    gains += (n * plain[tar] for tar, n in fewer.items())
    blocks = sum(one.blocks for one in parts)
    of_plain = _plain_gain(gains)
    least += known + of_plain.least - _HEADER_MOST * blocks - _FRAME_MOST * len(parts)
    most += known + of_plain.most - _HEADER_LEAST * blocks - _FRAME * len(parts)
    return Bounds(least, most)


def _blobs(stacks: Iterable[Stack]) -> dict[str, StackLayer]:
    """The different blobs that are not new."""
    return {blob.key: blob for stack in stacks for blob in stack if not blob.made}


def _known(blobs: Mapping[str, StackLayer]) -> int:
    return sum(blob.stored for blob in blobs.values() if not blob.is_plain)


def _plain_gain(gains: Iterable[int]) -> Bounds:
    """Between what lies what is won and lost of plain layers, once both are compressed."""
    gains = list(gains)
    won, lost = sum(max(0, gain) for gain in gains), sum(max(0, -gain) for gain in gains)
    least = (won - _APART * lost) * _SHRINKS if won >= _APART * lost else won * _SHRINKS - lost
    most = (_APART * won - lost) * _SHRINKS if lost >= _APART * won else won - lost * _SHRINKS
    return Bounds(round(least), round(most))


def _times(parts: Iterable[Made]) -> Iterable[tuple[PackedLayer, list[tuple[int, int]]]]:
    """Each layer, with the places in its tar where one more new layer begins, or ceases, to hold it."""
    times: dict[DiffID, tuple[PackedLayer, list[tuple[int, int]]]] = {}
    for one in parts:
        spans = iter(one.spans)
        for place, start, end in zip(spans, spans, spans, strict=True):
            layer = one.layers[place]
            times.setdefault(layer.diff_id, (layer, []))[1].extend(((start, 1), (end, -1)))
    return times.values()


def _classes(layer: PackedLayer, times: Sequence[tuple[int, int]]) -> dict[int, Part]:
    """How much of a layer so many new layers hold, by how many they are."""
    classes: dict[int, Part] = defaultdict(lambda: _EMPTY)
    left = layer.whole
    at = n = 0
    for place, change in sorted(times):
        if n and place > at:
            part = layer.part(at, place)
            classes[n] += part
            left -= part
        n += change
        at = place
    return {**classes, 0: left}


def _costs(layer: PackedLayer, classes: Mapping[int, Part]) -> Bounds:
    """What those parts of a compressed layer take, each as often as it is held: all of them once take what
    the layer does, and those that are held more often compress worse than the others, or better."""
    ordered = sorted(classes)
    found = []
    for split in range(len(ordered) + 1):
        for apart in (_APART, 1 / _APART):
            weights = {n: apart if place < split else 1.0 for place, n in enumerate(ordered)}
            found.append(sum(n * size for n, size in _spread(layer, classes, weights).items()))
    factors = _ANEW.get(layer.codec, _ANEW_GZIP)
    return Bounds(round(min(found) * factors[0]), round(max(found) * factors[1]))


def _spread(
    layer: PackedLayer, classes: Mapping[int, Part], weights: Mapping[int, float]
) -> dict[int, float]:
    """What each part of a layer takes if their files compress so much worse than those of the others. None
    takes more than it has bytes."""
    taken = {n: layer.block * part.blocks for n, part in classes.items()}
    left = layer.stored - _FRAME - sum(taken.values())
    open_ = {n for n, part in classes.items() if part.payload}
    while open_ and left > 0:
        total = sum(weights[n] * classes[n].payload for n in open_)
        full = {n for n in open_ if left * weights[n] >= total}
        for n in full or open_:
            taken[n] += classes[n].payload if full else left * weights[n] * classes[n].payload / total
        left -= sum(classes[n].payload for n in full) if full else left
        open_ -= full
    return taken
