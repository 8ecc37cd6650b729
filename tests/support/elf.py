"""ELF files as values: as much of one as a loader reads before it maps anything."""

from __future__ import annotations

import struct
from collections.abc import Sequence

X86_64, AARCH64 = 62, 183
_LOAD, _DYNAMIC, _INTERP = 1, 2, 3
_NEEDED, _STRTAB, _STRSZ, _SONAME, _RPATH, _RUNPATH, _FLAGS_1 = 1, 5, 10, 14, 15, 29, 0x6FFFFFFB
NODEFLIB = 0x800


def elf(
    *needed: str,
    interpreter: str = "",
    soname: str = "",
    rpath: str = "",
    runpath: str = "",
    names: Sequence[str] = (),
    flags: int = 0,
    machine: int = X86_64,
    static: bool = False,
    data: bytes = b"",
) -> bytes:
    """A 64-bit little-endian file. `names` stand among those of its symbols, `data` behind all."""
    strings = bytearray(b"\0")

    def at(text: str) -> int:
        place = len(strings)
        strings.extend(text.encode() + b"\0")
        return place

    tags = [(_NEEDED, at(name)) for name in needed]
    tags += [
        (tag, at(text)) for tag, text in ((_SONAME, soname), (_RPATH, rpath), (_RUNPATH, runpath)) if text
    ]
    tags += [(_FLAGS_1, flags)] if flags else []
    for name in names:
        at(name)
    tags += [(_STRSZ, len(strings)), (_STRTAB, 0), (0, 0)]
    programs = 1 if static else 2 + bool(interpreter)
    interp_at = 64 + 56 * programs
    interp = interpreter.encode() + b"\0" if interpreter else b""
    strings_at = interp_at + len(interp)
    dynamic_at = strings_at + len(strings)
    tags[-2] = (_STRTAB, strings_at)
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    end = dynamic_at + len(dynamic)
    headers = [_program(_LOAD, 0, end)]
    if not static:
        headers += [_program(_INTERP, interp_at, len(interp))] if interpreter else []
        headers.append(_program(_DYNAMIC, dynamic_at, len(dynamic)))
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, programs, 64, 0, 0)
    return head + b"".join(headers) + interp + bytes(strings) + dynamic + data


def _program(kind: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 4, offset, offset, offset, size, size, 8)
