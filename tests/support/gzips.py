"""Gzip streams of all makes, of data with text, noise and long repetitions."""

from __future__ import annotations

import gzip
import random
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from isal import isal_zlib
from zlib_ng import zlib_ng

from squashkit.oci.compression import Compression
from squashkit.transports.codecs import Compressor
from tests.support.go_programs import build, have_go


def data(seed: int, size: int) -> bytes:
    """Text, noise, and pieces of what came up to 40,000 bytes before."""
    chance = random.Random(seed)
    words = [chance.randbytes(chance.randrange(2, 9)).hex().encode() for _ in range(300)]
    made = bytearray()
    while len(made) < size:
        draw = chance.random()
        if draw < 0.6:
            made += b" ".join(chance.choices(words, k=chance.randrange(1, 60)))
        elif draw < 0.7:
            made += chance.randbytes(chance.randrange(1, 2000))
        elif made:
            at = max(0, len(made) - chance.randrange(1, 40_000))
            made += made[at : at + chance.randrange(3, 400)]
    return bytes(made[:size])


DATA = data(1, 140_000)
NOISE = random.Random(2).randbytes(140_000)


def by_zlib(
    plain: bytes, level: int = 6, memory: int = 8, strategy: int = 0, flush: int = 0, every: int = 5000
) -> bytes:
    """By zlib, flushed every so many bytes if at all."""
    encoder = zlib.compressobj(level, zlib.DEFLATED, 31, memory, strategy)
    out = b""
    for at in range(0, len(plain), every):
        out += encoder.compress(plain[at : at + every])
        if flush:
            out += encoder.flush(flush)
    return out + encoder.flush()


def by_compressor(plain: bytes) -> bytes:
    """As squashkit writes layers."""
    out: list[bytes] = []
    compressor = Compressor(Compression.parse("gzip"), out.append, 1)
    compressor.feed(memoryview(plain))
    compressor.close()
    return b"".join(out)


def by_library(library: object, level: int) -> Callable[[bytes], bytes]:
    def compress(plain: bytes) -> bytes:
        encoder = library.compressobj(level, 8, 31)  # type: ignore[attr-defined]
        return bytes(encoder.compress(plain) + encoder.flush())

    return compress


@cache
def go_program() -> Path:
    """Go's gzip, built once."""
    return build("gzip/main.go", Path(tempfile.mkdtemp()))


def by_program(*command: str | Path) -> Callable[[bytes], bytes]:
    return lambda plain: subprocess.run(command, input=plain, capture_output=True, check=True).stdout


def by_go(level: str) -> Callable[[bytes], bytes]:
    """By Go, whose program is built once it is needed."""

    def compress(plain: bytes) -> bytes:
        return by_program(go_program(), level)(plain)

    return compress


def members(plain: bytes) -> bytes:
    """Several, one of them empty."""
    parts = plain[:50_000], b"", plain[50_000:50_003], plain[50_003:]
    return b"".join(by_zlib(part, memory=1) for part in parts)


def named(plain: bytes) -> bytes:
    stored = bytearray(by_zlib(plain, memory=2))
    stored[3] = 8
    return bytes(stored[:10]) + b"layer.tar\0" + bytes(stored[10:])


STREAMS: dict[str, tuple[bytes, Callable[[bytes], bytes]]] = {
    "zlib": (DATA, by_zlib),
    "fast": (DATA, lambda plain: by_zlib(plain, level=1)),
    "best": (DATA, lambda plain: by_zlib(plain, level=9, memory=9)),
    "many blocks": (DATA, lambda plain: by_zlib(plain, memory=1)),
    "few blocks": (DATA, lambda plain: by_zlib(plain, memory=3)),
    "stored": (DATA, lambda plain: by_zlib(plain, level=0)),
    "noise": (NOISE, lambda plain: by_zlib(plain, memory=1)),
    "half noise": (NOISE[:50_000] + DATA[:90_000], lambda plain: by_zlib(plain, memory=2)),
    "fixed": (DATA, lambda plain: by_zlib(plain, memory=1, strategy=zlib.Z_FIXED)),
    "huffman": (DATA, lambda plain: by_zlib(plain, memory=2, strategy=zlib.Z_HUFFMAN_ONLY)),
    "sync": (DATA, lambda plain: by_zlib(plain, flush=zlib.Z_SYNC_FLUSH)),
    "full": (DATA, lambda plain: by_zlib(plain, flush=zlib.Z_FULL_FLUSH)),
    "partial": (DATA, lambda plain: by_zlib(plain, flush=zlib.Z_PARTIAL_FLUSH, every=3001)),
    "blocks": (DATA, lambda plain: by_zlib(plain, flush=zlib.Z_BLOCK, every=3001)),
    "members": (DATA, members),
    "named": (DATA, named),
    "zlib_ng": (DATA, by_library(zlib_ng, 6)),
    "zlib_ng fast": (DATA, by_library(zlib_ng, 1)),
    "isal": (DATA, by_library(isal_zlib, 2)),
    "isal fast": (DATA, by_library(isal_zlib, 0)),
    "squashkit": (DATA * 9, by_compressor),
    "zeros": (bytes(3_000_000), gzip.compress),
    "tiny": (b"x", gzip.compress),
    "empty": (b"", gzip.compress),
}
for program in ("gzip", "pigz"):
    if shutil.which(program):
        STREAMS[program] = DATA * 3, by_program(program, "-c")
if have_go():
    STREAMS["go"] = DATA, by_go("-1")
    STREAMS["go fast"] = DATA + NOISE, by_go("1")
    STREAMS["go huffman"] = DATA, by_go("-2")

SMALL = sorted(name for name in STREAMS if len(STREAMS[name][0]) <= 300_000)
"""Those that `puff` reads in no time."""


@cache
def stream(name: str) -> tuple[bytes, bytes]:
    """The plain bytes, and the stored ones: made once, and only where they are asked for."""
    plain, encode = STREAMS[name]
    return plain, encode(plain)
