"""Files that stand in a fleet's layers more than once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from squashkit.amounts import count, size, sizes
from squashkit.errors import show_path
from squashkit.report.text import Fit, percent, table
from squashkit.values import frozen


@frozen
class Content:
    """What several files hold alike."""

    digest: str
    size: int
    """Bytes of one of them."""
    copies: int
    """How many files there are of it, in all different layers."""
    layers: int
    """Different layers that have one."""
    images: int
    """Images that have such a layer."""
    path: bytes
    """Of one of them, the first by its name."""

    @property
    def duplicate(self) -> int:
        """Bytes of all copies but one."""
        return self.size * (self.copies - 1)


@frozen
class DuplicatesReport:
    """Files of a fleet's different layers, and which of them hold the same. Bytes are those of the files,
    before layers are compressed."""

    files: int
    """Of all different layers."""
    bytes: int
    """Of these."""
    contents: int
    """Different contents."""
    content_bytes: int
    """Of each content once."""
    listed: tuple[Content, ...]
    """Those that take most beside one copy, the most first."""
    repeated: int
    """How many contents there are of which there is more than one file."""
    unread: int
    """Layers of the images that could not be read, or were not yet."""

    def __repr__(self) -> str:
        return f"<DuplicatesReport: {count(self.files, 'file')}, {self.duplicate_bytes:,} bytes twice>"

    @property
    def duplicate_bytes(self) -> int:
        """Bytes of all files but one of each content."""
        return self.bytes - self.content_bytes

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints. Sizes are bytes."""
        return {
            "files": {"count": self.files, "bytes": self.bytes},
            "contents": {"count": self.contents, "bytes": self.content_bytes},
            "duplicate_bytes": self.duplicate_bytes,
            "repeated_contents": self.repeated,
            "unread_layers": self.unread,
            "duplicates": [
                {
                    "digest": one.digest,
                    "size": one.size,
                    "copies": one.copies,
                    "duplicate_bytes": one.duplicate,
                    "layers": one.layers,
                    "images": one.images,
                    "path": show_path(one.path),
                }
                for one in self.listed
            ],
        }

    def lines(self) -> list[str]:
        """For people: the sums, and a table of what takes most."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        return list(self._lines(width))

    def _lines(self, width: int | None) -> Iterator[str]:
        share = percent(self.duplicate_bytes, self.bytes)
        yield (
            f"{count(self.files, 'file')} ({size(self.bytes)}) in different layers,"
            f" {count(self.contents, 'content')} ({size(self.content_bytes)}):"
        )
        yield f"{size(self.duplicate_bytes)} ({share}) are there more than once, before compression."
        if self.unread:
            yield f"{count(self.unread, 'layer')} of the images not counted: not read (fleet scan again)."
        if self.listed:
            yield ""
            head = ["twice", "size", "copies", "layers", "images", "path"]
            twice = sizes([one.duplicate for one in self.listed])
            single = sizes([one.size for one in self.listed])
            rows = [
                [
                    *(twice[at], single[at]),
                    *(f"{number:,}" for number in (one.copies, one.layers, one.images)),
                    f"/{show_path(one.path)}",
                ]
                for at, one in enumerate(self.listed)
            ]
            yield from table(head, rows, right=range(5), fit=Fit(width, shorten=[5]))
        more = self.repeated - len(self.listed)
        if more > 0:
            yield f"and {count(more, 'more content')} with copies"
