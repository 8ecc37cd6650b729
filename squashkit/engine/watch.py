"""Files that are read in passes of their own, which must all see the same bytes."""

from __future__ import annotations

import os
from dataclasses import field

from squashkit.values import mutable


@mutable
class Watch:
    """How files were when they were first read: size in bytes, mtime and ctime in ns."""

    _before: dict[int, tuple[tuple[int, int, int], str]] = field(default_factory=dict)

    def add(self, fd: int, name: str) -> None:
        """Remember how an open file is now, unless it is known; `name` is what people call it."""
        self._before.setdefault(fd, (_state(fd), name))

    @property
    def changed(self) -> str | None:
        """What people call a file that was written to since; None where there is none."""
        return next((name for fd, (before, name) in self._before.items() if _state(fd) != before), None)

    def forget(self) -> None:
        """Begin anew."""
        self._before.clear()


def _state(fd: int) -> tuple[int, int, int]:
    there = os.fstat(fd)
    return there.st_size, there.st_mtime_ns, there.st_ctime_ns
