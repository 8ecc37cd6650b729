"""What a scan read, and what it could not read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import show_text, worst_of
from squashkit.values import frozen


@frozen
class BadRow:
    """A layer that could not be read."""

    diff_id: str
    image: str
    """By which it was found."""
    error: str
    exit_code: int
    """What the command line returns for it: 4 for an invalid layer, 5 where its bytes did not come."""


@frozen
class ScanReport:
    """What one run of a scan did. All tables together have what all runs did."""

    into: str
    """The folder of the scan."""
    images: int
    """How many there are."""
    references: int
    """Layers of all images."""
    layers: int
    """Different ones."""
    known: int
    """That were read before."""
    read: int
    """That were read now."""
    read_bytes: int
    """Bytes of these as they are stored."""
    entries: int
    """Members of these."""
    elsewhere: int
    """That are other shards' business, and not there yet."""
    bad: tuple[BadRow, ...]
    """Layers that could not be read now."""
    notes: tuple[str, ...]
    """What a person should know of images that were left out."""

    def __repr__(self) -> str:
        return f"<ScanReport: {count(self.layers, 'layer')}, {self.read:,} read, {len(self.bad):,} bad>"

    @property
    def exit_code(self) -> int:
        """0, or the worst of bad layers: 4 for an invalid one, 5 where bytes did not come."""
        return worst_of({one.exit_code for one in self.bad})

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints. Sizes are bytes."""
        return {
            "into": self.into,
            "images": self.images,
            "layer_references": self.references,
            "layers": {
                "different": self.layers,
                "known": self.known,
                "read": self.read,
                "other_shards": self.elsewhere,
                "bad": len(self.bad),
            },
            "read_bytes": self.read_bytes,
            "entries": self.entries,
            "bad_layers": [
                {"diff_id": one.diff_id, "image": one.image, "error": one.error, "exit_code": one.exit_code}
                for one in self.bad
            ],
            "notes": list(self.notes),
        }

    def lines(self) -> Iterator[str]:
        """For people: what was read, and each layer that was not."""
        layers = count(self.references, "layer")
        yield f"{count(self.images, 'image')}, {layers}, {self.layers:,} of them different"
        parts = [f"{self.read:,} read ({size(self.read_bytes)} stored, {_entries(self.entries)})"]
        parts += [f"{self.known:,} there already"] * bool(self.known)
        parts += [f"{self.elsewhere:,} left to other shards"] * bool(self.elsewhere)
        parts += [f"{len(self.bad):,} not readable"] * bool(self.bad)
        yield f"{', '.join(parts)}: {show_text(self.into)}"
        yield from self.notes
        if self.bad:
            yield ""
            yield "Not read, and tried again by the next scan:"
        for one in self.bad:
            yield f"  {show_text(one.image)}: {one.error}"


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'}"
