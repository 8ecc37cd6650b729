"""What the header of a program or a library asks of the loader."""

from __future__ import annotations

from squashkit.values import frozen


@frozen
class Elf:
    """What the loader goes by."""

    machine: tuple[str, int]
    """The processor and its word in bits: a library of another is passed over."""
    interpreter: bytes
    """The loader's path; empty of a library and of a static program."""
    is_dynamic: bool
    soname: bytes
    needed: tuple[bytes, ...]
    rpath: tuple[bytes, ...]
    runpath: tuple[bytes, ...]
    has_runpath: bool
    no_defaults: bool
    """Whether the loader's own folders are not searched."""
    loads: frozenset[str]
    """Functions that it names and that load what no header names."""
    looks_up: bool
    """Whether it names functions that look up users, groups or hosts."""
