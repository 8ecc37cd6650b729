"""How much may be kept: a folder for temporary files, and a count of what is kept there and written.

A compressed stream can ask for a thousand times its size. So whatever is written while an image is read,
or made, is counted here first, and the work ends before a file system is full.
"""

from __future__ import annotations

import os
import threading
from dataclasses import field
from pathlib import Path
from typing import Any

from squashkit.amounts import size as show_size
from squashkit.errors import TooLarge, show_path
from squashkit.values import mutable
from squashkit.wording import Option

_RESERVE = 20
"""One part of so many of what is free stays free."""
_LIMIT = Option("Run.max_size")
_WAYS = (
    *("free some, write elsewhere (", Option("output"), ", ", Option("Run.tmp_dir")),
    *("), or set a limit (", _LIMIT, ")"),
)


@mutable
class Room:
    """A folder for temporary files, and how much may be kept, in bytes. Safe to use from many threads."""

    _folder: Path | None
    """None for the system's, until something is kept there."""
    _free: int | None
    limit: int | None = None
    """The most that may be kept, wherever, where somebody set it. It holds for all that is inflated, too,
    kept or not."""
    kept: int = 0
    """Bytes of temporary files and of the output, at this moment."""
    inflated: int = 0
    """Bytes that came out of compressed streams, and of holes, so far."""
    _lock: Any = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, folder: Path | None, max_size: int | None = None) -> Room:
        """Room for `max_size` bytes; without that for what is free where the folder lies, less 5 %.
        Without a folder it is the system's."""
        return cls(folder, free_space(folder) if folder is not None else None, max_size)

    @property
    def folder(self) -> Path:
        """Where temporary files go."""
        if self._folder is None:
            from tempfile import gettempdir  # whoever keeps nothing has no use for it

            self._folder = Path(gettempdir())
        return self._folder

    @property
    def free(self) -> int:
        """What was free there at first. A twentieth of it stays free, unless there is a limit."""
        if self._free is None:
            self._free = free_space(self.folder)
        return self._free

    def at(self, path: Path) -> Room:
        """The room for what is written at a path, or below it: this one where a limit was set, or both lie
        on one file system."""
        if self.limit is not None:
            return self
        folder = next(one for one in (path, *path.absolute().parents) if one.is_dir())
        return self if folder.stat().st_dev == self.folder.stat().st_dev else Room.of(folder)

    @property
    def left(self) -> int:
        """Bytes that may still be kept."""
        if self.limit is None:
            return free_space(self.folder) - self.free // _RESERVE
        return self.limit - self.kept

    def check(self, need: int) -> None:
        """Raises TooLarge where so many bytes more will not do."""
        if need <= self.left:
            return
        if self.limit is not None:
            raise TooLarge(
                f"{show_size(need)} are needed for temporary files and the output, and ",
                _LIMIT,
                f" allows {show_size(self.limit)} in all",
            )
        raise TooLarge(
            f"not enough space in {self._where}: {show_size(need)} are needed,"
            f" {show_size(free_space(self.folder))} are free, of which 5 % stay free; ",
            *_WAYS,
        )

    def keep(self, size: int, what: str) -> None:
        """Count bytes that are about to be written; `what` they are of, for people. Raises TooLarge."""
        with self._lock:
            if size and size > self.left:
                raise self._too_large(what, "takes")
            self.kept += size

    def give_back(self, size: int) -> None:
        """Bytes that were kept are so no longer."""
        with self._lock:
            self.kept -= size

    def inflate(self, size: int, what: str) -> None:
        """Count bytes that come out of a compressed stream, or are a hole's. Raises TooLarge where a limit
        was set, and counts nothing then."""
        with self._lock:
            if self.limit is not None and self.inflated + size > self.limit:
                raise self._too_large(what, "inflates to")
            self.inflated += size

    def _too_large(self, what: str, does: str) -> TooLarge:
        if self.limit is not None:
            limit = show_size(self.limit)
            return TooLarge(f"{what}: it {does} more than ", _LIMIT, f" allows, which is {limit} in all")
        return TooLarge(
            f"no space left in {self._where} for {what}: of {show_size(self.free)} that were free 5 % stay"
            " free; ",
            *_WAYS,
        )

    @property
    def _where(self) -> str:
        return show_path(os.fsencode(self.folder))


def as_room(place: Path | Room) -> Room:
    """A folder as the room that is in it."""
    return place if isinstance(place, Room) else Room.of(place)


def free_space(folder: Path) -> int:
    """Bytes that are free on a folder's file system, for this user."""
    there = os.statvfs(folder)
    return there.f_bavail * there.f_frsize
