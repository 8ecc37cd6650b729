"""Spliced gzip streams: what may be copied is copied, and every decoder reads the result."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from zlib_ng import zlib_ng

from squashkit.layers.pieces import Copy, Piece
from squashkit.transports.deflate.index import BlockIndex, Run
from squashkit.transports.deflate.read import inflate
from squashkit.transports.deflate.splice import LEAST, Part, splice
from squashkit.transports.deflate.write import _PADDING, write
from tests.support.go_programs import have_go
from tests.support.gzips import DATA, SMALL, STREAMS, by_program, go_program, stream
from tests.support.puff import Block, puff

WINDOW = 32 << 10
NAMES = sorted(STREAMS)
DECODERS = {"zlib": zlib.decompress, "isal": isal_zlib.decompress, "zlib_ng": zlib_ng.decompress}

Pieces = Sequence[Piece]


@cache
def index_of(name: str) -> BlockIndex:
    index = BlockIndex()
    assert b"".join(inflate([stream(name)[1]], index)) == stream(name)[0]
    return index


@cache
def blocks_of(name: str) -> list[Block]:
    return puff(stream(name)[1])[1]


def plain_of(pieces: Pieces) -> bytes:
    """The new tar: sources are numbered as NAMES has them."""
    return b"".join(
        piece if isinstance(piece, bytes) else stream(NAMES[piece.layer])[0][piece.start : piece.end]
        for piece in pieces
    )


def parts_of(pieces: Pieces, least: int = LEAST) -> list[Part]:
    sources = {piece.layer for piece in pieces if isinstance(piece, Copy)}
    return list(splice(pieces, {source: index_of(NAMES[source]) for source in sources}, least))


def written(parts: Sequence[Part], jobs: int = 1, level: int = 6) -> bytes:
    return b"".join(
        write(
            parts,
            lambda layer, start, end: stream(NAMES[layer])[0][start:end],
            lambda layer, start, end: stream(NAMES[layer])[1][start:end],
            level,
            jobs,
        )
    )


def runs_in(parts: Sequence[Part]) -> list[Run]:
    return [part for part in parts if isinstance(part, Run)]


@st.composite
def edges(draw: st.DrawFn, name: str) -> int:
    """A place in a source's plain stream: often about the end of a block, or a window behind it."""
    plain = len(stream(name)[0])
    if draw(st.booleans()):
        return draw(st.integers(0, plain))
    place = draw(st.sampled_from([0, *index_of(name).plain_ends]))
    return min(plain, max(0, place + draw(st.sampled_from([0, WINDOW])) + draw(st.integers(-1, 1))))


@st.composite
def spans(draw: st.DrawFn, name: str) -> Copy:
    one, other = draw(edges(name)), draw(edges(name))
    return Copy(NAMES.index(name), min(one, other), max(one, other))


def pieces() -> st.SearchStrategy[list[Piece]]:
    """Copys of sources of all makes, some of which go on where the one before ends, and new bytes."""
    return st.lists(
        st.one_of(st.sampled_from(SMALL).flatmap(spans), st.sampled_from(SMALL).flatmap(spans),
                  st.binary(max_size=3000)),
        max_size=8,
    )  # fmt: skip


def allowed(blocks: Sequence[Block], start: int, end: int) -> set[int]:
    """The blocks that may be copied, by the rule's own words."""
    firsts: dict[int, int] = {}
    for block in blocks:
        firsts.setdefault(block.member, block.start)
    return {
        block.first_bit
        for block in blocks
        if block.end <= end and max(firsts[block.member], block.start - WINDOW) >= start
    }


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SMALL).flatmap(lambda name: st.tuples(st.just(name), spans(name))))
def test_all_that_may_be_copied_is_and_nothing_else(case: tuple[str, Copy]) -> None:
    """A run has the blocks that lie in a span with the 32 KiB before them, or with all of their member:
    each of them but those of empty runs."""
    name, span = case
    blocks = blocks_of(name)
    copied: list[Block] = []
    for run in index_of(name).runs(0, span.start, span.end):
        within = [b for b in blocks if run.first_bit <= b.first_bit and b.end_bit <= run.end_bit]
        assert (within[0].first_bit, within[-1].end_bit) == (run.first_bit, run.end_bit)
        assert (within[0].start, within[-1].end) == (run.start, run.end)
        assert run.final_bit == (within[-1].first_bit if within[-1].final else None)
        assert len({block.member for block in within}) == 1
        assert run.checksum == zlib.crc32(stream(name)[0][run.start : run.end])
        copied += within
    expected = allowed(blocks, span.start, span.end)
    assert {block.first_bit for block in copied} <= expected
    missed = [b for b in blocks if b.first_bit in expected and b not in copied]
    assert not any(block.end > block.start for block in missed)
    assert all(block.lowest >= span.start for block in copied)


@settings(max_examples=300, deadline=None)
@given(pieces(), st.sampled_from([1, 2000, LEAST]))
def test_three_decoders_read_what_was_spliced(pieces: list[Piece], least: int) -> None:
    """Random pieces of random sources give the new tar, byte for byte."""
    plain = plain_of(pieces)
    stored = written(parts_of(pieces, least))
    for name, decode in DECODERS.items():
        assert decode(stored, 31) == plain, name


@settings(max_examples=60, deadline=None)
@given(pieces())
def test_the_pieces_stay_the_same(pieces: list[Piece]) -> None:
    """Runs stand for the plain bytes in whose place they are, and none is shorter than the least."""
    parts = parts_of(pieces)
    assert all(run.end - run.start >= LEAST for run in runs_in(parts))
    again = [Copy(part.layer, part.start, part.end) if isinstance(part, Run) else part for part in parts]
    assert plain_of(again) == plain_of(pieces)


@settings(max_examples=40, deadline=None)
@given(pieces(), st.integers(2, 5))
def test_the_number_of_jobs_changes_nothing(pieces: list[Piece], jobs: int) -> None:
    """The same sources and pieces give the same bytes."""
    parts = parts_of(pieces, 1)
    assert written(parts, jobs) == written(parts)


@settings(max_examples=30, deadline=None)
@given(pieces())
def test_what_was_spliced_is_a_source_again(pieces: list[Piece]) -> None:
    """The index of a result has one member, and its blocks can be copied in turn."""
    plain = plain_of(pieces)
    stored = written(parts_of(pieces, 1))
    index = BlockIndex()
    assert b"".join(inflate([stored], index)) == plain
    assert len(index.member_ends) == 1
    parts = list(splice([Copy(0, 0, len(plain))], {0: index}, 1))
    again = write(parts, lambda _, a, b: plain[a:b], lambda _, a, b: stored[a:b], 6, 1)
    assert isal_zlib.decompress(b"".join(again), 31) == plain
    assert sum(run.end - run.start for run in runs_in(parts)) == len(plain)


@pytest.mark.parametrize(
    "name", ["many blocks", "sync", "partial", "fixed", "noise", "squashkit", "zlib_ng"]
)
def test_a_long_span_is_copied_but_for_its_ends(name: str) -> None:
    """Of a source without its first bytes, only the window and one block at each end are deflated."""
    plain = stream(name)[0]
    pieces: Pieces = [b"new", Copy(NAMES.index(name), 5000, len(plain))]
    parts = parts_of(pieces)
    widest = max(
        b - a for a, b in zip([0, *index_of(name).plain_ends], index_of(name).plain_ends, strict=False)
    )
    anew = sum(part.end - part.start for part in parts if isinstance(part, Copy))
    assert len(runs_in(parts)) == 1
    assert anew <= WINDOW + 2 * widest
    assert isal_zlib.decompress(written(parts), 31) == plain_of(pieces)


def test_a_span_one_byte_short_of_the_window_copies_one_block_less() -> None:
    """A block whose farthest byte may be gone is deflated anew, though it is one of 32,768."""
    index = index_of("many blocks")
    end = len(DATA)
    block = next(place for place in index.plain_ends if place > WINDOW)
    exact = next(index.runs(0, block - WINDOW, end))
    short = next(index.runs(0, block - WINDOW + 1, end))
    assert exact.start == block
    assert short.start > block


def test_a_source_without_an_index_is_deflated() -> None:
    """A layer that is no gzip gives its plain bytes, as new bytes are given."""
    pieces: Pieces = [Copy(3, 0, 100_000), b"x"]
    assert list(splice(pieces, {})) == pieces


@pytest.mark.parametrize("pieces", [[], [b""], [b"x"], [bytes(1 << 20)], [bytes(2_500_000)]], ids=len)
def test_streams_without_runs(pieces: list[bytes]) -> None:
    """Nothing, a byte and full chunks are sound streams as well."""
    for decode in DECODERS.values():
        assert decode(written(pieces), 31) == b"".join(pieces)


@pytest.mark.parametrize("bit", range(8))
def test_empty_blocks_lead_to_every_bit_of_a_byte(bit: int) -> None:
    """Behind the padding a block begins at that bit, and all decoders take it."""
    padding, bits = _PADDING[bit]
    assert bits % 8 == bit
    stored = (padding | 0b011 << bits).to_bytes((bits + 17) // 8, "little")
    for decode in DECODERS.values():
        assert decode(stored, -15) == b""
    trailer = bytes(8)
    plain, blocks = puff(b"\x1f\x8b\x08" + bytes(7) + stored + trailer)
    assert plain == b""
    assert blocks[-1].first_bit == 80 + bits


@cache
def aligned() -> list[Piece]:
    """Pieces whose runs begin and end at every bit."""
    source = NAMES.index("many blocks")
    found: dict[tuple[int, int], Copy] = {}
    blocks = [block for block in blocks_of("many blocks") if block.start >= WINDOW and not block.final]
    for number, first in enumerate(blocks):
        for last in blocks[number : number + 30]:
            span = Copy(source, first.start - WINDOW, last.end)
            found.setdefault((first.first_bit % 8, last.end_bit % 8), span)
    return [piece for span in found.values() for piece in (span, b"|")]


def test_runs_begin_and_end_at_every_bit() -> None:
    """All pairs of first and last bits are read by all decoders."""
    pieces = aligned()
    parts = parts_of(pieces, 1)
    stored = written(parts)
    assert len({(run.first_bit % 8, run.end_bit % 8) for run in runs_in(parts)}) == 64
    for decode in DECODERS.values():
        assert decode(stored, 31) == plain_of(pieces)


@pytest.mark.skipif(shutil.which("gzip") is None, reason="no gzip")
def test_gnu_gzip_reads_what_was_spliced() -> None:
    """GNU gzip has an inflate of its own."""
    pieces = aligned()
    assert by_program("gzip", "-dc")(written(parts_of(pieces, 1))) == plain_of(pieces)


@pytest.mark.skipif(not have_go(), reason="no Go")
def test_go_reads_what_was_spliced() -> None:
    """Go's own inflate is what container engines use."""
    pieces = aligned()
    assert by_program(go_program())(written(parts_of(pieces, 1))) == plain_of(pieces)


def test_runs_stay_as_they_are() -> None:
    """Between its first and last byte a run has the source's own bytes, and the stream has gzip's header,
    the same for all."""
    source = NAMES.index("many blocks")
    parts = parts_of([b"a" * 1000, Copy(source, 1000, 100_000), b"b" * 1000, Copy(source, 20_000, 120_000)])
    kinds = [type(part).__name__ for part in parts]
    assert kinds == ["bytes", "Copy", "Run", "Copy", "bytes", "Copy", "Run", "Copy"]
    stored = written(parts)
    assert stored.startswith(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
    first = runs_in(parts)[0]
    inner = stream("many blocks")[1][(first.first_bit >> 3) + 1 : first.end_bit >> 3]
    assert stored.count(inner) == 1
    assert stored[-10:-8] == b"\x03\x00"
