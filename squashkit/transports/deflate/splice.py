"""Which deflate blocks of its source layers a new layer can be made of, and what must be deflated anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.compression import GZIP_LEVEL
from squashkit.transports.codecs import WINDOW, deflate
from squashkit.transports.deflate.index import BlockIndex, Run

LEAST = 16 << 10
"""Plain bytes of the shortest run that is copied: deflating fewer costs no more."""
_SAMPLES = 4
_SAMPLE, _LEAST_SAMPLE = 256 << 10, 64 << 10
_MOST = 64
"""A sample is about one part of so many of a layer, within these bounds."""
_WORSE = 1.1

Part = Run | Piece


def splice(
    pieces: Iterable[Piece], indexes: Mapping[int, BlockIndex], least: int = LEAST
) -> Iterator[Part]:
    """The same plain bytes, with runs of blocks in place of all that need not be deflated anew: runs of at
    least so many plain bytes. Source layers without an index are not gzip."""
    for piece in pieces:
        if isinstance(piece, bytes) or piece.layer not in indexes:
            yield piece
            continue
        at = piece.start
        for run in indexes[piece.layer].runs(*piece):
            if run.end - run.start < least:
                continue
            if at < run.start:
                yield Copy(piece.layer, at, run.start)
            yield run
            at = run.end
        if at < piece.end:
            yield Copy(piece.layer, at, piece.end)


def is_well_deflated(index: BlockIndex, plain: Callable[[int, int], bytes]) -> bool:
    """Whether a stream is at most a tenth larger than it would be if it were deflated anew, by samples of
    it: crane writes at gzip's level 1, and people squash to save space. `plain` reads the plain stream from
    a place to another."""
    size = index.member_plain_ends[-1] if index.member_plain_ends else 0
    length = max(_LEAST_SAMPLE, min(_SAMPLE, size // _MOST))
    stored = anew = 0
    for at in range(0, size, max(length, size // _SAMPLES)):
        start, end, bits = index.sample(at, length)
        before = plain(max(0, start - WINDOW), start)
        stored += bits // 8
        anew += len(deflate(plain(start, end), before, GZIP_LEVEL, False))
    return stored <= anew * _WORSE
