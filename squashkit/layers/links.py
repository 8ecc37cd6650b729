"""The symlinks of a layer that stand while it is unpacked, and where paths lead through them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from squashkit.errors import InvalidLayer
from squashkit.layers.entry import DIRECTORY, SYMLINK, Entry, is_hard_link, link_target

LONGEST: Final = 4096  # PATH_MAX: nothing leads further
MAX_SYMLINKS: Final = 40  # Linux's own limit (path_resolution(7))


class StandingLinks:
    """The symlinks that stand while a layer's entries are unpacked in their order."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.targets: dict[bytes, tuple[bytes, int]] = {}
        """Of each symlink's path where it leads, and which entry it is."""
        self._replaced: dict[bytes, int] = {}
        """Of each path above a symlink which entry last took a whole tree's place."""
        self._above = set(_above(entry.path for entry in entries if entry.typeflag == SYMLINK))
        self._entries = entries
        self._next = 0

    def advance(self, offset: int) -> None:
        """Unpack what starts before an offset of the tar: whatever is put on a symlink takes its place."""
        entries, targets = self._entries, self.targets
        for index in range(self._next, len(entries)):
            entry = entries[index]
            path, typeflag = entry.path, entry.typeflag
            if entry.start >= offset:
                break
            self._next = index + 1
            if path in self._above and typeflag != DIRECTORY:
                self._replaced[path] = index
            if typeflag == SYMLINK:
                targets[path] = entry.linkname, index
            elif targets:
                link = targets.get(link_target(entry)) if is_hard_link(entry) else None
                if link is not None:
                    targets[path] = link[0], index
                else:
                    targets.pop(path, None)

    def followed(self, path: bytes) -> bytes:
        """Where a directory's path leads. Raises InvalidLayer for a loop."""
        parts = path.split(b"/")[::-1]
        at = b""
        newest = -1  # of what took the place of a tree that `at` is in
        followed = 0
        while parts:
            part = parts.pop()
            if part in (b"", b"."):
                continue
            if part == b"..":
                parts.extend(at.split(b"/")[-2::-1])
                at, newest = b"", -1
                continue
            step = at + b"/" + part if at else part
            target, index = self.targets.get(step, (b"", -1))
            if index <= newest:
                at = step
                newest = max(newest, self._replaced.get(step, -1))
                continue
            followed += 1
            if followed > MAX_SYMLINKS:
                raise InvalidLayer("a loop of symlinks", path=path)
            parts.extend(target.split(b"/")[::-1])
            if not target.startswith(b"/"):
                parts.extend(at.split(b"/")[::-1])
            at, newest = b"", -1
        return at


def _above(paths: Iterable[bytes]) -> Iterator[bytes]:
    for path in paths:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            yield path
