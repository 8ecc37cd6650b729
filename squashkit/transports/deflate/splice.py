"""Which deflate blocks of its sources a new tar can be made of, and what must be deflated anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from squashkit.transports.deflate.index import BlockIndex, Run

LEAST = 16 << 10
"""Plain bytes of the shortest run that is copied: deflating fewer costs no more."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range of a source's plain stream."""

    source: int
    start: int
    end: int


def splice(
    pieces: Iterable[Span | bytes], indexes: Mapping[int, BlockIndex], least: int = LEAST
) -> Iterator[Run | Span | bytes]:
    """The same plain bytes, with runs of blocks in place of all that need not be deflated anew: runs of at
    least so many plain bytes. Sources without an index are not gzip."""
    for piece in _merged(pieces):
        if isinstance(piece, bytes) or piece.source not in indexes:
            yield piece
            continue
        at = piece.start
        for run in indexes[piece.source].runs(piece.source, piece.start, piece.end):
            if run.end - run.start < least:
                continue
            if at < run.start:
                yield Span(piece.source, at, run.start)
            yield run
            at = run.end
        if at < piece.end:
            yield Span(piece.source, at, piece.end)


def _merged(pieces: Iterable[Span | bytes]) -> Iterator[Span | bytes]:
    """Without empty ones, and with spans that go on where the one before ends as one."""
    last: Span | None = None
    for piece in pieces:
        if isinstance(piece, bytes):
            if not piece:
                continue
            if last is not None:
                yield last
                last = None
            yield piece
        elif piece.start < piece.end:
            if last is not None and (last.source, last.end) == (piece.source, piece.start):
                last = replace(last, end=piece.end)
                continue
            if last is not None:
                yield last
            last = piece
    if last is not None:
        yield last
