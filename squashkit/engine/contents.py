"""Contents of an image's files, for whoever searches them for what they need."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from squashkit.engine.elf import MAGIC, BrokenElf, read_elf
from squashkit.engine.view import View
from squashkit.errors import UsageError
from squashkit.layers.rootfs import Inode
from squashkit.plan.extract.elf import Elf


class FileStream(io.RawIOBase):
    """A file of an image, to be read from any place; holes are zeros."""

    def __init__(self, view: View, inode: Inode) -> None:
        self._view = view
        self._inode = inode
        self._at = 0
        self._size = inode.entry.realsize

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, as in any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        """The next bytes; fewer at the end."""
        target = memoryview(buffer)
        data = self._view.read_at(self._inode, self._at, len(target))
        target[: len(data)] = data
        self._at += len(data)
        return len(data)


@dataclass(slots=True)
class FileContents:
    """The contents of one image's files; headers of ELF files are read once."""

    view: View
    _elves: dict[Inode, Elf | None] = field(default_factory=dict)

    def head(self, inode: Inode, limit: int) -> bytes:
        """The first bytes of a file."""
        return self.view.read_at(inode, 0, limit)

    def elf(self, inode: Inode) -> Elf | None:
        """What its header asks of the loader; None where it is no ELF file, or a broken one. Raises
        UsageError without pyelftools."""
        if inode not in self._elves:
            self._elves[inode] = self._read(inode)
        return self._elves[inode]

    def _read(self, inode: Inode) -> Elf | None:
        if self.head(inode, len(MAGIC)) != MAGIC:
            return None
        try:
            return read_elf(io.BufferedReader(FileStream(self.view, inode), 64 << 10))
        except BrokenElf:
            return None
        except ImportError as error:
            raise UsageError(
                "what programs need is read by pyelftools: pip install 'squashkit[extract]'"
            ) from error
