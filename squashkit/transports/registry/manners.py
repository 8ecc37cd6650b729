"""How a registry takes uploads. What one upload found out about that holds for all others to the host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

CHUNK = 16 << 20
"""Bytes of an upload that are sent at a time. ECR, for one, takes no less than 5 MiB."""
_SMALLEST = 64 << 10


class Way(Enum):
    """How the bytes of a blob are sent (distribution-spec, "Pushing blobs"). Where one is refused, one that
    stands further below may do."""

    CHUNKS = "PATCHes with a Content-Range, then a PUT; what is one chunk alone in the PUT"
    STREAM = "one PATCH without a Content-Range, then a PUT; as docker and skopeo do it"
    WHOLE = "one PUT"


@dataclass(slots=True)
class Manners:
    """How one registry takes uploads, as far as its answers told. Safe to use from several threads."""

    way: Way = Way.CHUNKS
    chunk: int = CHUNK
    """Bytes to send at a time."""
    least: int = 0
    """The fewest bytes of a chunk that is not the last one (OCI-Chunk-Min-Length)."""
    _known: bool = False
    """Whether it took a chunk, or refused all."""
    _first: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Until a first chunk was answered no other one is sent: what is refused travels in vain once."""
        if self._known:
            yield
            return
        with self._first:
            yield

    def take_at_least(self, stated: str) -> None:
        """The registry stated how small chunks may be."""
        if stated.isascii() and stated.isdigit():
            self.least = max(self.least, int(stated[:18]))
            self.chunk = max(self.chunk, self.least)

    def took(self) -> None:
        """It took a chunk."""
        self._known = True

    def smaller(self, tried: int) -> bool:
        """So many bytes were too many. False where it takes no fewer."""
        if self.chunk >= tried:
            smaller = max(tried // 2, self.least, _SMALLEST)
            if smaller >= tried:
                return False
            self.chunk = smaller
        return True

    def change(self, way: Way, to: Way) -> None:
        """A way was refused; another one is next, unless somebody found one meanwhile."""
        if self.way is way:
            self.way = to
        self._known = True
