"""Contents of files, as the search for what is needed asks for them."""

from __future__ import annotations

from typing import Protocol

from squashkit.layers.rootfs import Inode
from squashkit.plan.extract.elf import Elf


class Contents(Protocol):
    """What lies behind the nodes of a tree."""

    def head(self, inode: Inode, limit: int) -> bytes:
        """The first bytes of a file."""
        ...

    def elf(self, inode: Inode) -> Elf | None:
        """What its header asks of the loader; None where it is no ELF file, or a broken one."""
        ...
