"""ELF files, read by pyelftools: an extra, imported when the first file is looked into."""

from __future__ import annotations

from typing import Any, BinaryIO

from squashkit.plan.extract.elf import Elf

MAGIC = b"\x7fELF"
_NODEFLIB = 0x800
"""DF_1_NODEFLIB: the loader's own folders are not searched (elf.h)."""
_ASKING = frozenset({b"dlopen", b"dlmopen", b"iconv_open"})
"""Functions that load what no header names."""
_LOOKUPS = frozenset(
    b"getaddrinfo gethostbyname gethostbyname_r getpwnam getpwnam_r getpwuid getpwuid_r getgrnam getgrnam_r"
    b" getgrgid getgrgid_r getservbyname initgroups getgrouplist".split()
)
"""Functions for which glibc loads modules (nsswitch.conf(5))."""
_MAX_STRINGS = 64 << 20


class BrokenElf(Exception):
    """A file that begins as ELF does and cannot be read as it."""


def read_elf(stream: BinaryIO) -> Elf:
    """Read a file that begins with MAGIC. Raises BrokenElf for what cannot be read as ELF, ImportError
    without pyelftools."""
    from elftools.common.exceptions import ELFError
    from elftools.construct.core import ConstructError
    from elftools.elf.elffile import ELFFile

    try:
        return _read(ELFFile(stream))
    except (ELFError, ConstructError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise BrokenElf(str(error)) from error
    except (OverflowError, MemoryError, RecursionError, UnicodeError, EOFError) as error:
        raise BrokenElf(type(error).__name__) from error


def _read(file: Any) -> Elf:
    interpreter, dynamic = b"", None
    for segment in file.iter_segments():
        kind = segment["p_type"]
        if kind == "PT_INTERP":
            interpreter = segment.data().split(b"\0", 1)[0]
        elif kind == "PT_DYNAMIC":
            dynamic = segment
    tags: dict[str, list[bytes]] = {}
    flags = 0
    imported: set[bytes] = set()
    if dynamic is not None:
        for tag in dynamic.iter_tags():
            name = tag.entry.d_tag
            if name in ("DT_NEEDED", "DT_RPATH", "DT_RUNPATH", "DT_SONAME"):
                attribute = name.removeprefix("DT_").lower()
                tags.setdefault(name, []).append(getattr(tag, attribute).encode("utf-8", "surrogateescape"))
            elif name == "DT_FLAGS_1":
                flags = tag.entry.d_val
        imported = set(_strings(file, dynamic).split(b"\0"))
    return Elf(
        machine=(str(file["e_machine"]), file.elfclass),
        interpreter=interpreter,
        is_dynamic=dynamic is not None,
        soname=(tags.get("DT_SONAME") or [b""])[-1],
        needed=tuple(tags.get("DT_NEEDED", ())),
        rpath=_folders(tags.get("DT_RPATH", ())),
        runpath=_folders(tags.get("DT_RUNPATH", ())),
        has_runpath="DT_RUNPATH" in tags,
        no_defaults=bool(flags & _NODEFLIB),
        loads=frozenset(name.decode() for name in imported & _ASKING),
        looks_up=not imported.isdisjoint(_LOOKUPS),
    )


def _strings(file: Any, dynamic: Any) -> bytes:
    """The names of its symbols. To read the symbols one by one takes 100 times as long."""
    at, size = (
        next((tag.entry.d_val for tag in dynamic.iter_tags(kind)), 0) for kind in ("DT_STRTAB", "DT_STRSZ")
    )
    offset = next(iter(file.address_offsets(at)), None)
    if offset is None:
        return b""
    file.stream.seek(offset)
    data: bytes = file.stream.read(min(size, _MAX_STRINGS))
    return data


def _folders(values: list[bytes] | tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(folder for value in values for folder in value.split(b":") if folder)
