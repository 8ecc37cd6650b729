"""gzip, zstd and plain streams, told apart by magic bytes; the same input gives the same bytes.

gzip is read with isal, the fastest, and written with zlib-ng, whose output is the same on every
processor, in chunks of a fixed size: so the bytes do not depend on the number of threads either. zstd is
written by its own multi-threaded mode, whose output depends neither on the number of workers.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from squashkit.errors import Cancelled, InvalidImage
from squashkit.oci.compression import Compression
from squashkit.oci.media import Codec

if TYPE_CHECKING:
    from backports import zstd


MAGIC_SIZE = 6
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Nothing but the method and that the system is unknown (RFC 1952, 2.3): no name, no time."""
CHUNK = 1 << 20
_FED = 64 << 10
"""Bytes that a decoder gets at once. Behind the end of a member or frame it hands back all that is left of
them, as a copy; zstd:chunked and eStargz layers have one for every file."""
_FRAME_HEADER = 18  # bytes: no header of a zstd frame is longer
ZSTD_WINDOW = 512 << 20
"""How far back a zstd stream may look: `zstd --long=29`, and memory that is there."""
_XZ_MEMORY = 600 << 20  # bytes: a dictionary of 512 MiB, and what stands around it
WINDOW = 32 << 10  # deflate looks back no further
_SAMPLES, _SAMPLE = 4, 16 << 10
_WORTH = 0.995


def detect(head: bytes) -> Codec:
    """The codec of a stream, from its first bytes."""
    if head.startswith(b"\x1f\x8b"):
        return Codec.GZIP
    # A zstd stream may begin with a skippable frame (RFC 8878, 3.1.2), as eStargz's rivals make them.
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return Codec.ZSTD
    if head.startswith(b"\xfd7zXZ\0"):
        return Codec.XZ
    if head.startswith(b"BZh"):
        return Codec.BZIP2
    return Codec.NONE


def decompress(
    codec: Codec,
    blocks: Iterable[bytes | memoryview],
    where: str = "",
    padded: Callable[[int], None] = lambda size: None,
) -> Iterator[bytes]:
    """The uncompressed stream in pieces of at most 1 MiB, over all its members or frames.

    Zero bytes after the last gzip member are padding, as gzip(1) takes them: `padded` is told how many they
    are. Raises InvalidImage where the stream is damaged or ends too early, or other bytes lie behind it.
    """
    if codec is Codec.NONE:
        for block in blocks:
            yield bytes(block)
        return
    new_decoder, damaged = _decoding(codec)
    decoder: Any = None
    fresh = True
    padding = 0
    head = rest = b""
    for part in _parts(blocks):
        data = rest + bytes(part)
        rest = b""
        while data or (decoder is not None and not decoder.eof and _wants_more_room(decoder)):
            if decoder is None:
                if not fresh and codec is Codec.GZIP and (padding or data.startswith(b"\0")):
                    padding += len(data)
                    refuse_behind(codec, data.strip(b"\0"), where)
                    break
                if not fresh and len(data) < MAGIC_SIZE:
                    rest = data  # what follows tells what it is
                    break
                if not fresh and detect(data) is not codec:
                    refuse_behind(codec, data, where)
                decoder = new_decoder()
                fresh = False
                head = b""
            head += data[: _FRAME_HEADER - len(head)]
            try:
                out = decoder.decompress(data, CHUNK)
            except (*damaged, OSError, EOFError, ValueError) as error:
                raise _refused(codec, head, error, where) from error
            if out:
                yield out
            if decoder.eof:
                data = decoder.unused_data
                decoder = None
            elif codec is Codec.GZIP:
                data = decoder.unconsumed_tail
            else:
                data = b""
    if decoder is not None:
        raise InvalidImage(f"the {codec.value} stream ends too early", where=where)
    refuse_behind(codec, rest, where)
    if padding:
        padded(padding)


def _parts(blocks: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    for block in blocks:
        view = memoryview(block)
        for at in range(0, len(view), _FED):
            yield view[at : at + _FED]


def _refused(codec: Codec, head: bytes, error: Exception, where: str) -> InvalidImage:
    """Why a stream cannot be read on which its library gave up; `head` is the start of the frame."""
    window = _window_of(head) if codec is Codec.ZSTD else 0
    if window > ZSTD_WINDOW:
        limit = _power(ZSTD_WINDOW)
        message = f"the zstd stream needs a window of {_power(window)}; the limit is {limit}"
        return InvalidImage(message, where=where)
    if codec is Codec.XZ and "Memory usage limit" in str(error):
        return InvalidImage(f"the xz stream needs more memory than {_power(_XZ_MEMORY)}", where=where)
    return InvalidImage(f"damaged {codec.value} stream: {error}", where=where)


def refuse_behind(codec: Codec, rest: bytes, where: str) -> None:
    """Raises InvalidImage where bytes lie behind the last member of a stream."""
    if rest:
        refused = ", which podman, skopeo and umoci refuse" if codec is Codec.GZIP else ""
        raise InvalidImage(f"bytes behind the end of the {codec.value} stream{refused}", where=where)


def _window_of(head: bytes) -> int:
    """How many bytes a zstd frame wants to look back, by its header (RFC 8878, 3.1.1.1); 0 where that is no
    header."""
    if len(head) < 6 or not head.startswith(b"\x28\xb5\x2f\xfd"):
        return 0
    flags = head[4]
    if not flags & 0x20:
        base = 1 << (10 + (head[5] >> 3))
        return base + base // 8 * (head[5] & 7)
    start = 5 + (0, 1, 2, 4)[flags & 3]  # a single segment: the window is the content
    size = (1, 2, 4, 8)[flags >> 6]
    return int.from_bytes(head[start : start + size], "little") + (256 if size == 2 else 0)


def _power(size: int) -> str:
    """A window's size, which is about a power of two."""
    unit, name = (1 << 30, "GiB") if size >= 1 << 30 else (1 << 20, "MiB")
    return f"{size / unit:.4g} {name}"


def _wants_more_room(decoder: Any) -> bool:
    return not getattr(decoder, "needs_input", True)


def _decoding(codec: Codec) -> tuple[Callable[[], Any], tuple[Any, ...]]:
    """What makes a decoder, and the errors by which its library tells damage. No library is imported
    before it is needed."""
    if codec is Codec.GZIP:
        from isal import isal_zlib

        return partial(isal_zlib.decompressobj, wbits=31), (isal_zlib.IsalError,)
    if codec is Codec.ZSTD:
        library = _zstd()
        limit = {library.DecompressionParameter.window_log_max: ZSTD_WINDOW.bit_length() - 1}
        return partial(library.ZstdDecompressor, options=limit), (library.ZstdError,)
    if codec is Codec.XZ:
        from lzma import LZMADecompressor, LZMAError

        return partial(LZMADecompressor, memlimit=_XZ_MEMORY), (LZMAError,)
    from bz2 import BZ2Decompressor

    return BZ2Decompressor, ()


def _zstd() -> Any:
    """The standard library's zstd, from Python 3.14 on, or its backport."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def library_of(codec: Codec) -> str:
    """What compresses, and its version: the bytes may depend on it. Empty where nothing does."""
    if codec is Codec.GZIP:
        from zlib_ng import zlib_ng

        return f"zlib-ng {zlib_ng.ZLIBNG_VERSION}"
    return f"zstd {_zstd().zstd_version}" if codec is Codec.ZSTD else ""


class Compressor:
    """Compresses a stream and hands the bytes to `write` in order.

    `write` is called in the thread that calls `feed` and `close`. Memory: a few chunks of 1 MiB a job.
    Once `cancelled` is set, both raise Cancelled soon, however long the compressor itself goes on.
    """

    def __init__(
        self,
        compression: Compression,
        write: Callable[[bytes], None],
        jobs: int,
        cancelled: threading.Event | None = None,
    ) -> None:
        self._write = write
        self._cancelled = cancelled
        self._zstd: zstd.ZstdCompressor | None = None
        self._gzip: _Gzip | None = None
        if compression.codec is Codec.ZSTD:
            library = _zstd()
            parameter = library.CompressionParameter
            self._zstd = library.ZstdCompressor(
                options={
                    parameter.compression_level: compression.level,
                    parameter.checksum_flag: 1,
                    parameter.nb_workers: max(1, jobs),
                }
            )
        elif compression.codec is Codec.GZIP:
            self._gzip = _Gzip(compression.level, write, jobs)

    def feed(self, block: memoryview) -> None:
        if self._zstd is not None:
            self._write(self._run(partial(self._zstd.compress, block)))
        elif self._gzip is not None:
            self._gzip.feed(bytes(block))
        else:
            self._write(bytes(block))

    def close(self) -> None:
        if self._zstd is not None:
            self._write(self._run(self._zstd.flush))
        elif self._gzip is not None:
            self._gzip.close()

    def _run(self, call: Callable[[], bytes]) -> bytes:
        return call() if self._cancelled is None else _aside(call, self._cancelled)


def _aside(call: Callable[[], bytes], cancelled: threading.Event) -> bytes:
    """What a call returns that may take many seconds, as those of zstd's high levels do. It runs in a
    thread of its own, so that waiting for it ends with an interrupt, or once `cancelled` is set. Then it is
    left to itself: it writes nothing, and a process that exits does not wait for it."""
    answers: SimpleQueue[bytes | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            answers.put(call())
        except BaseException as error:
            answers.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        try:
            # In turns: an interrupt that comes just before a wait begins is seen only after it.
            answer = answers.get(timeout=0.1)
        except Empty:
            if cancelled.is_set():
                raise Cancelled from None
            continue
        if isinstance(answer, BaseException):
            raise answer
        return answer


class _Gzip:
    """One gzip member (RFC 1952) made of chunks that are deflated side by side.

    Each chunk knows the 32 KiB before it and ends on a byte boundary, as in pigz.
    """

    def __init__(self, level: int, write: Callable[[bytes], None], jobs: int) -> None:
        self._level = level
        self._write = write
        self._pool = ThreadPoolExecutor(max(1, jobs))
        self._pending: deque[Future[bytes]] = deque()
        self._limit = 2 * max(1, jobs)
        self._buffer = bytearray()
        self._dictionary = b""
        self._crc = 0
        self._size = 0
        write(GZIP_HEADER)

    def feed(self, block: bytes) -> None:
        self._buffer += block
        while len(self._buffer) > CHUNK:  # one chunk is held back: the last is deflated differently
            self._submit(bytes(self._buffer[:CHUNK]), last=False)
            del self._buffer[:CHUNK]

    def close(self) -> None:
        self._submit(bytes(self._buffer), last=True)
        while self._pending:
            self._write(self._pending.popleft().result())
        self._pool.shutdown()
        self._write(self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little"))

    def _submit(self, chunk: bytes, *, last: bool) -> None:
        from zlib_ng import zlib_ng

        self._crc = zlib_ng.crc32(chunk, self._crc)
        self._size += len(chunk)
        self._pending.append(self._pool.submit(deflate, chunk, self._dictionary, self._level, last))
        self._dictionary = chunk[-WINDOW:]
        while len(self._pending) > self._limit or (self._pending and self._pending[0].done()):
            self._write(self._pending.popleft().result())


def _is_worth_it(chunk: bytes, level: int) -> bool:
    """Whether a chunk seems to shrink, by samples of it. What is compressed already (archives in an image,
    pictures, keys) is stored as it is, at the speed of a copy."""
    from zlib_ng import zlib_ng

    step = len(chunk) // _SAMPLES
    if step < _SAMPLE:
        return True
    samples = b"".join(chunk[at : at + _SAMPLE] for at in range(0, step * _SAMPLES, step))
    return len(zlib_ng.compress(samples, level)) < len(samples) * _WORTH


def deflate(chunk: bytes, dictionary: bytes, level: int, last: bool) -> bytes:
    """A chunk as deflate blocks (RFC 1951), by the at most 32 KiB before it. They end the stream, or at a
    byte boundary."""
    from zlib_ng import zlib_ng

    if not _is_worth_it(chunk, level):
        level = 0
    if dictionary:
        encoder = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15, zdict=dictionary)
    else:
        encoder = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)
    flush = zlib_ng.Z_FINISH if last else zlib_ng.Z_SYNC_FLUSH
    return bytes(encoder.compress(chunk)) + bytes(encoder.flush(flush))
