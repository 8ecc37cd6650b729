"""What images share by their manifests alone: a table for people, JSON for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from squashkit.amounts import count, size, sizes
from squashkit.errors import show_text
from squashkit.oci.manifests import BROKEN, Kind, Unlisted
from squashkit.plan.fleet.shape import PERCENTS, Percentiles, Shape
from squashkit.report.text import Fit, percent, table
from squashkit.values import frozen

_FAULTS = 10
"""How many faults are told."""


@dataclass(slots=True)
class LeftOut:
    """What lies beside images, and is none that can be counted."""

    kinds: Counter[Kind] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """What is wrong with the first that are broken, and where they lie."""

    def __bool__(self) -> bool:
        return bool(self.kinds)

    def __str__(self) -> str:
        """How many of each kind, the most first."""
        return ", ".join(
            f"{number:,} {kind.value[number != 1]}" for kind, number in self.kinds.most_common()
        )

    def add(self, one: Unlisted, path: str = "") -> None:
        """One that lies at this path."""
        self.kinds[one.kind] += 1
        if one.why and len(self.faults) < _FAULTS:
            self.faults.append(f"{show_text(path)}: {one.why}")

    def update(self, other: LeftOut) -> None:
        """All that was left out elsewhere."""
        self.kinds.update(other.kinds)
        self.faults += other.faults[: _FAULTS - len(self.faults)]

    def notes(self) -> list[str]:
        """A line on all of it, and one for each fault that is told."""
        if not self:
            return []
        broken = sum(number for kind, number in self.kinds.items() if kind in BROKEN)
        more = broken - len(self.faults)
        return [
            f"Left out: {self}.",
            *(f"  {fault}" for fault in self.faults),
            *([f"  and {more:,} more that are broken"] if more else []),
        ]


@frozen
class ShapeReport:
    """What images share, counted by their manifests alone."""

    shape: Shape
    """The numbers."""
    left_out: LeftOut
    """What was found beside images."""

    def __repr__(self) -> str:
        return f"<ShapeReport: {count(self.shape.images, 'image')}, {count(self.shape.blobs, 'blob')}>"

    @property
    def notes(self) -> list[str]:
        """What a person should know besides."""
        notes = self.left_out.notes()
        if number := self.shape.contradicted:
            notes.append(f"Manifests differ on the size of {count(number, 'blob')}; the greatest counts.")
        return notes

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints. Sizes are bytes."""
        shape = self.shape
        return {
            "images": shape.images,
            "repositories": shape.repositories,
            "layers": {
                "references": shape.references,
                "blobs": shape.blobs,
                "chains": shape.chains,
                "left_along_trie": shape.left_along_trie,
            },
            "bytes": {
                "sum": shape.sum,
                "once_in_repositories": shape.once_in_repositories,
                "once": shape.once,
            },
            "sharing": {"all": shape.shared, "in_repositories": shape.shared_in_repositories},
            "percentiles": {
                "layers_an_image": _by_name(shape.layers_an_image),
                "bytes_an_image": _by_name(shape.bytes_an_image),
                "bytes_a_layer": _by_name(shape.bytes_a_layer),
            },
        }

    def lines(self) -> list[str]:
        """Tables of what is stored, of what is shared by hosts, and of how images and layers differ."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns; on a narrow one without shares, p25, p99, p10, p75."""
        lines = [self.subject()]
        for head, rows in self.tables():
            columns = range(1, len(head))
            fit = Fit(width, leave_out=(2, 6, 1, 4) if len(head) > len(PERCENTS) else (2,))
            lines += ["", *table(head, rows, right=columns, fit=fit)]
        return [*lines, *([""] if self.notes else []), *self.notes]

    def subject(self) -> str:
        """How many images it is about."""
        images, where = count(self.shape.images, "image"), self.shape.repositories
        return f"{images} in {where:,} {'repository' if where == 1 else 'repositories'}"

    def tables(self) -> list[tuple[list[str], list[list[str]]]]:
        """The tables, each with its head."""
        return [
            (["stored", "size", "shared"], self._stored()),
            (["layers", "number", "share"], self._layers()),
            (["", *(f"p{n}" for n in PERCENTS), "max"], self._percentiles()),
        ]

    def _stored(self) -> list[list[str]]:
        shape = self.shape
        titles = ("each image by itself", "once in each repository", "once")
        shown = sizes([shape.sum, shape.once_in_repositories, shape.once])
        times = (None, shape.shared_in_repositories, shape.shared)
        return [
            [title, taken, f"{factor:.2f} times" if factor else ""]
            for title, taken, factor in zip(titles, shown, times, strict=True)
        ]

    def _layers(self) -> list[list[str]]:
        shape = self.shape
        return [
            ["of all images", f"{shape.references:,}", ""],
            ["different blobs", f"{shape.blobs:,}", ""],
            ["different chains", f"{shape.chains:,}", ""],
            [
                "left if merged along the trie",
                f"{shape.left_along_trie:,}",
                percent(shape.left_along_trie, shape.chains),
            ],
        ]

    def _percentiles(self) -> list[list[str]]:
        shape = self.shape
        return [
            ["layers an image", *("" if n is None else f"{n:,}" for n in shape.layers_an_image.values)],
            *(
                [title, *("" if n is None else size(n) for n in found.values)]
                for title, found in (
                    ("bytes an image", shape.bytes_an_image),
                    ("bytes a layer", shape.bytes_a_layer),
                )
            ),
        ]


def _by_name(found: Percentiles) -> dict[str, int | None]:
    names = [*(f"p{n}" for n in PERCENTS), "max"]
    return dict(zip(names, found.values, strict=True))
