"""Inflated layers, in files without names."""

from __future__ import annotations

import os
import threading
from dataclasses import field

from squashkit.transports.blobs import Blob, open_unnamed, write_all
from squashkit.transports.room import Room
from squashkit.values import frozen, mutable


@mutable
class Spools:
    """A file for each thread, to which it writes one layer after another: thousands of layers need not be
    as many open files."""

    room: Room
    _files: dict[int, int] = field(default_factory=dict)

    def begin(self, what: str) -> Spool:
        """A place for another layer at the end of this thread's file; `what` it is, for people."""
        thread = threading.get_ident()
        if thread not in self._files:
            self._files[thread] = open_unnamed(self.room.folder)
        fd = self._files[thread]
        return Spool(self.room, fd, os.lseek(fd, 0, os.SEEK_END), what)

    def close(self) -> None:
        """Give back all space."""
        for fd in self._files.values():
            self.room.give_back(os.fstat(fd).st_size)
            os.close(fd)
        self._files.clear()


@frozen
class Spool:
    """Where a layer goes that is being inflated."""

    room: Room
    fd: int
    start: int
    what: str

    def keep(self, block: memoryview) -> None:
        """Append a block. Raises TooLarge."""
        self.room.keep(len(block), self.what)
        write_all(self.fd, block)

    def blob(self, size: int) -> Blob:
        """The layer, once all of its bytes are there."""
        return Blob(self.fd, self.start, size)
