"""Compressed streams: all legal forms are read, and the same input gives the same bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import sys
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from squashkit.errors import InvalidImage
from squashkit.oci.compression import Compression
from squashkit.oci.media import Codec
from squashkit.transports import codecs
from squashkit.transports.codecs import Compressor, decompress, detect

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RANDOM = random.Random(3)
DATA = b"".join(RANDOM.randbytes(900) + b"text " * 300 for _ in range(1500))  # 3.6 MB
SKIPPABLE = b"\x52\x2a\x4d\x18\x04\0\0\0toc!"


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def compressed(text: str, jobs: int, size: int = 1 << 20, data: bytes = DATA) -> bytes:
    """Data through a Compressor, fed in blocks of a size."""
    out: list[bytes] = []
    compressor = Compressor(Compression.parse(text), out.append, jobs)
    for piece in pieces(data, size):
        compressor.feed(memoryview(piece))
    compressor.close()
    return b"".join(out)


STREAMS: dict[str, tuple[Codec, Callable[[], bytes]]] = {
    "plain": (Codec.NONE, lambda: DATA),
    "gzip": (Codec.GZIP, lambda: gzip.compress(DATA)),
    "members": (Codec.GZIP, lambda: gzip.compress(DATA[:1000]) + gzip.compress(DATA[1000:])),
    "padded": (Codec.GZIP, lambda: gzip.compress(DATA) + bytes(700)),
    "zstd": (Codec.ZSTD, lambda: zstd.compress(DATA, options={zstd.CompressionParameter.checksum_flag: 1})),
    "frames": (Codec.ZSTD, lambda: zstd.compress(DATA[:9]) + SKIPPABLE + zstd.compress(DATA[9:])),
    "skippable": (Codec.ZSTD, lambda: SKIPPABLE + zstd.compress(DATA)),
    "xz": (Codec.XZ, lambda: lzma.compress(DATA, preset=1)),
    "bzip2": (Codec.BZIP2, lambda: bz2.compress(DATA, 1)),
}


@cache
def stream_of(name: str) -> bytes:
    """The data in this form: made once, and only where it is asked for."""
    return STREAMS[name][1]()


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("size", [1 << 20, 4096, 333])
def test_streams_are_read(name: str, size: int) -> None:
    """Each codec is told by its magic bytes and read whole, however its bytes arrive."""
    codec, stream = STREAMS[name][0], stream_of(name)
    assert detect(stream) is codec
    assert b"".join(decompress(codec, pieces(stream, size))) == DATA


def test_a_bomb_comes_in_small_pieces() -> None:
    """A stream that inflates a thousandfold is handed over in pieces of at most 1 MiB."""
    for codec, stream in (
        (Codec.GZIP, gzip.compress(bytes(20_000_000))),
        (Codec.ZSTD, zstd.compress(bytes(20_000_000))),
        (Codec.XZ, lzma.compress(bytes(20_000_000))),
    ):
        sizes = [len(piece) for piece in decompress(codec, pieces(stream, 1 << 20))]
        assert sum(sizes) == 20_000_000
        assert max(sizes) <= 1 << 20


class Counted:
    """A decoder, and how many bytes it and others were given."""

    def __init__(self, decoder: Any, given: list[int]) -> None:
        self._decoder = decoder
        self._given = given

    def decompress(self, data: bytes, most: int) -> bytes:
        self._given.append(len(data))
        out = self._decoder.decompress(data, most)
        assert isinstance(out, bytes)
        return out

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)


@pytest.mark.parametrize(
    ("codec", "compress"), [(Codec.GZIP, gzip.compress), (Codec.ZSTD, zstd.compress)], ids=["gzip", "zstd"]
)
def test_many_small_frames_are_read_in_small_steps(
    codec: Codec, compress: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member or frame for every file, as eStargz and zstd:chunked have them: what lies behind each goes
    to the next decoder as a copy, so that must be little even where much is read at once."""
    decoding = codecs._decoding
    given: list[int] = []

    def counted(codec: Codec) -> tuple[Callable[[], Any], tuple[Any, ...]]:
        new, damaged = decoding(codec)
        return lambda: Counted(new(), given), damaged

    monkeypatch.setattr(codecs, "_decoding", counted)
    stream = b"".join(compress(piece) for piece in pieces(DATA, 3000))
    assert b"".join(decompress(codec, [stream])) == DATA
    assert len(given) >= len(DATA) / 3000
    assert sum(given) < 64 * len(stream)


@pytest.mark.parametrize("name", ["gzip", "zstd", "xz", "bzip2"])
def test_damage_is_told(name: str) -> None:
    """A stream that is cut or altered is an InvalidImage."""
    codec, stream = STREAMS[name][0], stream_of(name)
    with pytest.raises(InvalidImage, match="early|damaged"):
        list(decompress(codec, pieces(stream[:-20], 4096)))
    with pytest.raises(InvalidImage):
        list(decompress(codec, pieces(stream[:2000] + bytes(50) + stream[2050:], 4096)))


@pytest.mark.parametrize("text", ["gzip", "gzip:1", "gzip:9", "zstd", "zstd:1", "none"])
def test_the_same_bytes_from_any_number_of_threads(text: str) -> None:
    """Neither threads nor the size of the blocks that are fed change a byte; the result inflates."""
    first = compressed(text, 1)
    assert compressed(text, 4) == first
    assert compressed(text, 2, 300_000) == first
    assert b"".join(decompress(detect(first), [first])) == DATA


def test_gzip_is_one_member_that_others_read() -> None:
    """zlib reads new gzip blobs to the end as a single member, checksum included."""
    decoder = zlib.decompressobj(31)
    assert decoder.decompress(compressed("gzip", 3)) == DATA
    assert decoder.eof
    assert not decoder.unused_data


def test_an_empty_stream_compresses() -> None:
    """Nothing in gives an empty stream that inflates to nothing."""
    for text in ("gzip", "zstd"):
        out: list[bytes] = []
        compressor = Compressor(Compression.parse(text), out.append, 2)
        compressor.close()
        stream = b"".join(out)
        assert b"".join(decompress(detect(stream), [stream])) == b""


@pytest.mark.parametrize("text", ["", "gz", "gzip:0", "gzip:10", "zstd:x", "none:1", "zstd:20", "xz"])
def test_bad_options_are_told(text: str) -> None:
    """A codec or a level that there is not is a ValueError."""
    with pytest.raises(ValueError, match="level|is not"):
        Compression.parse(text)


def test_what_does_not_shrink_is_stored_as_it_is() -> None:
    """Random bytes come out hardly longer than they are, and text beside them shrinks as it does alone."""
    noise = random.Random(1).randbytes(3 << 20)
    text = b"".join(b"%d lines of text\n" % number for number in range(100_000))
    alone, both = (len(compressed("gzip", 2, data=data)) for data in (text, noise + text))
    assert gzip.decompress(compressed("gzip", 2, data=noise + text)) == noise + text
    assert alone < len(text) / 4
    assert both < len(noise) * 1.001 + alone * 1.1
