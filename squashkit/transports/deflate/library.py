"""zlib's inflate by ctypes: the only one that says where deflate blocks end.

No Python module offers Z_BLOCK. But the library of zlib_ng is part of its module, and its functions can be
called there; so can those of zlib where Python's own module was linked with a shared one.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import (
    CDLL,
    POINTER,
    Structure,
    addressof,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_ubyte,
    c_uint,
    c_ulong,
    c_void_p,
    sizeof,
)
from enum import Enum
from functools import cache, partial
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from squashkit.errors import PlanError
from squashkit.values import frozen
from squashkit.wording import Option

BUFFER = 1 << 20
_GZIP = 31  # windowBits: a window of 32 KiB, with gzip's header and trailer around the deflate data
_Z_BLOCK = 5
_OK, _STREAM_END, _BUFFER_ERROR = 0, 1, -5
_UNUSED, _LAST, _STOPPED = 63, 64, 128  # data_type, as zlib.h describes it


class _Stream(Structure):
    """z_stream and zng_stream, which are the same where size_t is as wide as long: not on Windows."""

    _fields_ = (
        ("next_in", c_void_p),
        ("avail_in", c_uint),
        ("total_in", c_size_t),
        ("next_out", c_void_p),
        ("avail_out", c_uint),
        ("total_out", c_size_t),
        ("msg", c_char_p),
        ("state", c_void_p),
        ("zalloc", c_void_p),
        ("zfree", c_void_p),
        ("opaque", c_void_p),
        ("data_type", c_int),
        ("adler", c_ulong),
        ("reserved", c_ulong),
    )


@frozen
class Library:
    """The functions of a zlib that are needed here. They release Python's lock."""

    name: str
    begin: Callable[[Any], int]
    inflate: Callable[[Any, int], int]
    reset: Callable[[Any], int]
    end: Callable[[Any], int]


class At(Enum):
    """Where inflate has stopped."""

    AMID = 0
    """It wants more input or more room."""
    BLOCK = 1
    """Before the first block of a member, or behind any but the last."""
    LAST = 2
    """Behind the last block."""
    END = 3
    """Behind the trailer, whose checksum and size were right."""


@cache
def find() -> Library:
    """The zlib to use: zlib_ng's, else that of Python's own module, else the system's. Blocks end at the
    same places by all of them.

    Raises PlanError where there is none whose functions can be called, with what was tried.
    """
    tried: list[str] = []
    for name, opened in _PLACES.items():
        try:
            return _library(name, opened())
        except (OSError, ImportError, AttributeError, TypeError, ValueError) as error:
            tried.append(f"{name}: {error}")
    raise PlanError(
        "deflate blocks cannot be carried over here, since no zlib can be called that tells where they end;"
        " pass ",
        Option("Write.compress", "gzip:6"),
        f", which deflates all anew ({'; '.join(tried)})",
    )


def _module(name: str) -> CDLL:
    """The library of an extension module, which is loaded by then. A symbol is looked for in it and in
    what it is linked with."""
    path = getattr(import_module(name), "__file__", None)
    if path is None:
        raise ValueError("it is built into Python")
    return CDLL(path)


_PLACES: dict[str, Callable[[], CDLL]] = {
    "zlib_ng": partial(_module, "zlib_ng.zlib_ng"),
    "zlib": partial(_module, "zlib"),
    "python": partial(CDLL, None),
    "libz.so.1": partial(CDLL, "libz.so.1"),
    "libz.dylib": partial(CDLL, "libz.dylib"),
}


def _library(name: str, loaded: CDLL) -> Library:
    """Raises AttributeError where a function is not exported, ValueError where the version is another
    one, whose streams might look different."""
    if sizeof(c_size_t) != sizeof(c_ulong):
        raise ValueError("long is narrower than size_t")
    if hasattr(loaded, "zlibng_version"):
        version, prefix, expected = loaded.zlibng_version, "zng_", b"2."
    else:
        version, prefix, expected = loaded.zlibVersion, "", b"1."
    version.restype = c_char_p
    version.argtypes = ()
    number = version()
    if not number.startswith(expected):
        raise ValueError(f"its version is {number.decode(errors='replace')}")

    def function(name: str, *arguments: Any) -> Any:
        called = loaded[f"{prefix}{name}"]
        called.argtypes = (POINTER(_Stream), *arguments)
        called.restype = c_int
        return called

    rest: tuple[Any, ...] = ()
    if prefix:
        init = function("inflateInit2", c_int)
    else:
        init = function("inflateInit2_", c_int, c_char_p, c_int)
        rest = number, sizeof(_Stream)
    return Library(
        name,
        lambda stream: int(init(stream, _GZIP, *rest)),
        function("inflate", c_int),
        function("inflateReset"),
        function("inflateEnd"),
    )


class Inflater:
    """Inflates gzip members, one after another, and stops behind each block. It is used as a context, by
    one thread at a time.

    zlib keeps the address of the stream, and those of the two buffers: all three are the inflater's own.
    """

    def __init__(self) -> None:
        self._library = find()
        self._input = (c_ubyte * BUFFER)()
        self._output = (c_ubyte * BUFFER)()
        self._in_view = memoryview(self._input).cast("B")
        self.output = memoryview(self._output).cast("B")
        self._stream = _Stream()
        self._given = 0
        if self._library.begin(byref(self._stream)) != _OK:
            raise MemoryError
        self._open = True
        self.make_room()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._library.end(byref(self._stream))

    def restart(self) -> None:
        """Begin the next member."""
        self._library.reset(byref(self._stream))
        self._given = 0
        self._stream.avail_in = 0

    def give(self, data: memoryview) -> None:
        """The next stored bytes, at most BUFFER, once all were taken that were given before."""
        if self._stream.avail_in:
            raise ValueError("bytes that were given are not used up")
        self._in_view[: len(data)] = data  # fails where they are more
        self._given += len(data)
        self._stream.next_in = addressof(self._input)
        self._stream.avail_in = len(data)

    def make_room(self) -> None:
        """Let the output be overwritten from its start."""
        self._stream.next_out = addressof(self._output)
        self._stream.avail_out = BUFFER

    def step(self) -> At:
        """Inflate to the end of the block, of the input or of the room.

        Raises ValueError where the stream is damaged.
        """
        if not self._open:
            raise ValueError("the inflater is closed")
        stream = self._stream
        code = self._library.inflate(byref(stream), _Z_BLOCK)
        if code == _STREAM_END:
            return At.END
        if code == _BUFFER_ERROR and stream.avail_in and stream.avail_out:
            raise ValueError("zlib does not go on")
        if code not in (_OK, _BUFFER_ERROR):
            reason = stream.msg
            raise ValueError(reason.decode(errors="replace") if reason else f"error {code}")
        if not stream.data_type & _STOPPED:
            return At.AMID
        return At.LAST if stream.data_type & _LAST else At.BLOCK

    @property
    def wants_input(self) -> bool:
        return not self._stream.avail_in and bool(self._stream.avail_out)

    @property
    def is_full(self) -> bool:
        return not self._stream.avail_out

    @property
    def unused(self) -> int:
        """How many of the bytes given last were not used."""
        return int(self._stream.avail_in)

    @property
    def written(self) -> int:
        """How many bytes of the output are filled."""
        return BUFFER - int(self._stream.avail_out)

    @property
    def bits(self) -> int:
        """How many bits of the member were used; exact where a block has just ended."""
        return (self._given - self.unused) * 8 - (int(self._stream.data_type) & _UNUSED)
