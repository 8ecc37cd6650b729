"""The blocks of gzip streams: where they lie, and the errors of streams that are damaged."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from ctypes import CDLL
from functools import cache, partial

import pytest

from squashkit.errors import InvalidImage, PlanError
from squashkit.oci.media import Codec
from squashkit.transports.codecs import decompress
from squashkit.transports.deflate import library
from squashkit.transports.deflate.index import BlockIndex
from squashkit.transports.deflate.read import inflate
from tests.support.gzips import DATA, SMALL, STREAMS, by_zlib, stream
from tests.support.puff import DYNAMIC, FIXED, STORED, Block, puff


def cut(stored: bytes, size: int) -> Iterator[bytes]:
    return (stored[at : at + size] for at in range(0, len(stored), size))


def indexed(stored: bytes, size: int = 1 << 20) -> tuple[bytes, BlockIndex]:
    index = BlockIndex()
    return b"".join(inflate(cut(stored, size), index)), index


@cache
def blocks(name: str) -> list[Block]:
    """As `puff` finds them."""
    plain, stored = stream(name)
    found, blocks = puff(stored)
    assert found == plain
    return blocks


@pytest.fixture(autouse=True)
def _no_library_kept() -> Iterator[None]:
    library.find.cache_clear()
    yield
    library.find.cache_clear()


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_the_plain_bytes_are_those_that_decompress_gives(name: str) -> None:
    """Every make of gzip is read as isal reads it."""
    plain, stored = stream(name)
    assert indexed(stored)[0] == b"".join(decompress(Codec.GZIP, [stored])) == plain


@pytest.mark.parametrize("name", SMALL)
def test_blocks_lie_where_a_plain_inflate_finds_them(name: str) -> None:
    """Ends, members, final blocks and checksums are those that a decoder of its own finds bit by bit."""
    plain, stored = stream(name)
    index = indexed(stored)[1]
    expected = blocks(name)
    assert list(index.ends) == [block.end_bit for block in expected]
    assert list(index.plain_ends) == [block.end for block in expected]
    assert list(index.checksums) == [zlib.crc32(plain[block.start : block.end]) for block in expected]
    finals = [number for number, block in enumerate(expected) if block.final]
    assert list(index.member_ends) == [number + 1 for number in finals]
    assert list(index.member_plain_ends) == [expected[number].end for number in finals]
    firsts = [0, *(number + 1 for number in finals[:-1])]
    assert list(index.member_starts) == [expected[number].first_bit for number in firsts]
    assert len(index) == len(expected)


def test_the_streams_have_blocks_of_all_kinds_at_all_bits() -> None:
    """What the tests read would be little worth if it had only dynamic blocks, or few bit offsets."""
    found = Counter(block.kind for name in SMALL for block in blocks(name) if block.end > block.start)
    assert min(found[STORED], found[FIXED], found[DYNAMIC]) > 5
    assert {block.first_bit % 8 for block in blocks("many blocks")} == set(range(8))
    assert any(block.start - block.lowest > 32_000 for block in blocks("many blocks"))


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 70_001])
@pytest.mark.parametrize("name", ["many blocks", "members", "noise", "sync", "named", "empty"])
def test_the_index_does_not_depend_on_how_the_stream_comes(name: str, size: int) -> None:
    """Stored bytes in pieces of any size give the same index."""
    stored = stream(name)[1]
    assert indexed(stored, size) == indexed(stored)


def test_no_piece_is_larger_than_a_mebibyte() -> None:
    """A stream that grows a thousandfold does not come in one piece."""
    sizes = [len(piece) for piece in inflate([stream("zeros")[1]], BlockIndex())]
    assert max(sizes) == 1 << 20
    assert sum(sizes) == 3_000_000


def test_nothing_is_an_empty_stream() -> None:
    """No bytes at all are no member and no error, as they are for decompress."""
    assert indexed(b"") == (b"", BlockIndex())
    assert list(decompress(Codec.GZIP, [])) == []


GOOD = by_zlib(DATA[:3000], memory=1)
DAMAGED: dict[str, tuple[bytes, str]] = {
    "cut in the header": (GOOD[:7], "ends too early"),
    "cut in the data": (GOOD[:700], "ends too early"),
    "cut in the trailer": (GOOD[:-3], "ends too early"),
    "no gzip": (b"PK\3\4" + GOOD, "damaged gzip stream"),
    "wrong method": (b"\x1f\x8b\x07" + GOOD[3:], "damaged gzip stream"),
    "wrong checksum": (GOOD[:-8] + bytes(4) + GOOD[-4:], "damaged gzip stream"),
    "wrong size": (GOOD[:-4] + bytes(4), "damaged gzip stream"),
    "wrong block type": (GOOD[:10] + b"\x07" + GOOD[11:], "damaged gzip stream"),
    "second member cut": (GOOD + GOOD[:500], "ends too early"),
    "second member damaged": (GOOD + GOOD[:-8] + bytes(8), "damaged gzip stream"),
    "bytes behind": (GOOD + b"something else", "bytes behind the end"),
    "few bytes behind": (GOOD + b"x", "bytes behind the end"),
    "few bytes of a member behind": (GOOD + b"\x1f\x8b\x08", "bytes behind the end"),
    "bytes behind the padding": (GOOD + bytes(600) + b"x", "bytes behind the end"),
    "a member behind the padding": (GOOD + bytes(600) + GOOD, "bytes behind the end"),
}


@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_damage_is_told_as_decompress_tells_it(name: str, size: int) -> None:
    """The same streams are refused, in the same words but for the library's own."""
    stored, message = DAMAGED[name]
    with pytest.raises(InvalidImage, match=message) as refused:
        list(inflate(cut(stored, size), BlockIndex(), "layer 3"))
    with pytest.raises(InvalidImage, match=message) as expected:
        list(decompress(Codec.GZIP, cut(stored, size), "layer 3"))
    assert str(refused.value).split(":")[0] == str(expected.value).split(":")[0]


@pytest.mark.parametrize("size", [1, 100, 1 << 20])
def test_zeros_behind_the_last_member_are_padding(size: int) -> None:
    """Padding is counted, whatever the pieces."""
    told: list[int] = []
    index = BlockIndex()
    assert b"".join(inflate(cut(GOOD + bytes(700), size), index, padded=told.append)) == DATA[:3000]
    assert told == [700]
    assert len(index.member_ends) == 1


def test_a_member_that_ends_too_early_is_not_in_the_index() -> None:
    """Nobody copies blocks of a member whose checksum was not seen."""
    index = BlockIndex()
    with pytest.raises(InvalidImage):
        list(inflate([GOOD + GOOD[:-1]], index))
    assert list(index.member_plain_ends) == [3000]
    assert [run.end for run in index.runs(0, 0, 9000)] == [run.end for run in index.runs(0, 0, 3000)]


@pytest.mark.parametrize("ending", ["read", "closed", "damaged", "failed"])
def test_zlib_is_always_let_go(ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """inflateEnd is called once, however reading ends."""
    real = library.find()
    calls: list[str] = []

    def begin(stream: object) -> int:
        calls.append("begin")
        return real.begin(stream)

    def end(stream: object) -> int:
        calls.append("end")
        return real.end(stream)

    counted = library.Library(real.name, begin, real.inflate, real.reset, end)
    monkeypatch.setattr(library, "find", lambda: counted)
    monkeypatch.setattr(library.find, "cache_clear", lambda: None, raising=False)

    def failing() -> Iterator[bytes]:
        yield GOOD[:100]
        raise RuntimeError

    if ending == "closed":
        reading = inflate([stream("zeros")[1]], BlockIndex())
        assert next(reading)
        assert isinstance(reading, Iterator)
        reading.close()  # type: ignore[attr-defined]
    elif ending == "failed":
        with pytest.raises(RuntimeError):
            list(inflate(failing(), BlockIndex()))
    elif ending == "damaged":
        with pytest.raises(InvalidImage):
            list(inflate([DAMAGED["wrong checksum"][0]], BlockIndex()))
    else:
        assert b"".join(inflate([GOOD * 3], BlockIndex())) == DATA[:3000] * 3
    assert calls == ["begin", "end"]


def test_an_inflater_that_was_closed_does_nothing() -> None:
    """Its stream is freed: another call would read what is no longer there."""
    with library.Inflater() as inflater:
        inflater.give(memoryview(GOOD)[:100])
    with pytest.raises(ValueError, match="closed"):
        inflater.step()


def test_an_inflater_takes_no_more_than_its_buffer_holds() -> None:
    """More bytes than that are refused, and so are bytes over those that were not used."""
    with library.Inflater() as inflater:
        with pytest.raises(ValueError, match=r"."):
            inflater.give(memoryview(bytes(library.BUFFER + 1)))
        inflater.give(memoryview(GOOD))
        with pytest.raises(ValueError, match="not used up"):
            inflater.give(memoryview(GOOD))


def places() -> list[str]:
    """Where this machine has a zlib that can be called."""
    found = []
    for name, opened in library._PLACES.items():
        try:
            library._library(name, opened())
        except (OSError, ImportError, AttributeError, TypeError, ValueError):
            continue
        found.append(name)
    return found


def test_zlib_ng_can_be_called() -> None:
    """The wheels that squashkit depends on have the functions: nothing else is needed."""
    assert library.find().name == "zlib_ng"


@pytest.mark.parametrize("place", places())
@pytest.mark.parametrize("name", ["many blocks", "noise", "members", "sync", "partial", "empty"])
def test_all_libraries_give_the_same_index(name: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied must not depend on the machine's zlib."""
    plain, stored = stream(name)
    expected = indexed(stored)
    library.find.cache_clear()
    monkeypatch.setattr(library, "_PLACES", {place: library._PLACES[place]})
    assert library.find().name == place
    for size in (1, 5000):
        assert indexed(stored, size) == expected == (plain, expected[1])


def missing() -> CDLL:
    raise OSError("cannot open shared object file")


PLACES: dict[str, tuple[Callable[[], CDLL], str]] = {
    "not there": (missing, "cannot open"),
    "built in": (partial(library._module, "itertools"), "built into Python"),
    "no module": (partial(library._module, "no_such_module_here"), "No module named"),
    "no zlib": (partial(library._module, "isal.isal_zlib"), "zlibVersion"),
}


@pytest.mark.parametrize("name", sorted(PLACES))
def test_it_is_said_where_no_zlib_can_be_called(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has what was tried, and why it is nothing."""
    opened, message = PLACES[name]
    monkeypatch.setattr(library, "_PLACES", {"somewhere": opened})
    with pytest.raises(PlanError, match=f"somewhere: .*{message}"):
        list(inflate([gzip.compress(b"x")], BlockIndex()))
