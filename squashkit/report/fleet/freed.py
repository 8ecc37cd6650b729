"""What a registry would have room for again if tags were deleted: a table for people, JSON for programs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from squashkit.amounts import count, size, sizes
from squashkit.errors import show_text
from squashkit.plan.fleet.freed import Freed, Tag, freed
from squashkit.report.text import Fit, table, wrapped

_LISTED = 20
"""Tags and repositories that a table has. The JSON has all."""


@dataclass(frozen=True)
class FreedReport:
    """What tags and repositories hold, and what nothing else holds."""

    tags: tuple[Tag, ...]
    """All that were looked at."""
    chosen: tuple[int, ...] = ()
    """Those that are to be looked at together, by their places."""
    notes: tuple[str, ...] = ()
    """What a person should know besides."""

    def __repr__(self) -> str:
        return f"<FreedReport: {count(len(self.tags), 'tag')}>"

    @cached_property
    def repositories(self) -> dict[str, list[int]]:
        """The tags of each repository, by their places."""
        found: dict[str, list[int]] = {}
        for number, tag in enumerate(self.tags):
            found.setdefault(tag.repository, []).append(number)
        return found

    @cached_property
    def by_tag(self) -> list[Freed]:
        """What each tag frees if it alone is deleted."""
        return freed(self.tags, [[number] for number in range(len(self.tags))])

    @cached_property
    def by_repository(self) -> list[Freed]:
        """What each repository frees if it alone is deleted."""
        return freed(self.tags, self.repositories.values())

    @cached_property
    def together(self) -> Freed | None:
        """What the chosen tags free if all of them are deleted; None where none was chosen."""
        return freed(self.tags, [self.chosen])[0] if self.chosen else None

    @cached_property
    def taken(self) -> int:
        """Bytes of all blobs of all tags."""
        return freed(self.tags, [range(len(self.tags))])[0].size

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints. Sizes are bytes."""
        names: dict[tuple[str, str], list[str]] = {}
        for tag in self.tags:
            names.setdefault((tag.repository, tag.root), []).append(tag.name)
        return {
            "bytes": self.taken,
            "repositories": [
                {
                    "repository": name,
                    "tags": len(numbers),
                    "bytes": self._held(numbers),
                    "freed_bytes": own.size,
                }
                for (name, numbers), own in zip(self.repositories.items(), self.by_repository, strict=True)
            ],
            "tags": [
                {
                    "tag": tag.name,
                    "digest": tag.root,
                    "bytes": sum(tag.blobs.values()),
                    "freed_bytes": own.size,
                    "same_manifest": [one for one in names[tag.repository, tag.root] if one != tag.name],
                }
                for tag, own in zip(self.tags, self.by_tag, strict=True)
            ],
            "together": {
                "tags": [self.tags[number].name for number in self.chosen],
                "blobs": self.together.blobs,
                "freed_bytes": self.together.size,
            }
            if self.together is not None
            else None,
            "notes": list(self.notes),
        }

    def _held(self, numbers: list[int]) -> int:
        blobs: dict[tuple[str, str], int] = {}
        for number in numbers:
            blobs |= self.tags[number].blobs
        return sum(blobs.values())

    def lines(self) -> list[str]:
        """Tables of repositories and of tags, those first that free most."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        lines = []
        if len(self.repositories) > 1:
            lines += [*self._of_repositories(width), ""]
        lines += [*self._of_tags(width), ""]
        for text in (*self._sentences(), *self.notes):
            lines += wrapped(text, width)
        return lines

    def _of_repositories(self, width: int | None) -> list[str]:
        rows = [
            (name, len(numbers), self._held(numbers), own.size)
            for (name, numbers), own in zip(self.repositories.items(), self.by_repository, strict=True)
        ]
        rows.sort(key=lambda row: -row[3])
        shown = rows[:_LISTED]
        held, free = sizes([row[2] for row in shown]), sizes([row[3] for row in shown])
        cells = [
            [show_text(name), f"{tags:,}", held[at], free[at]] for at, (name, tags, *_) in enumerate(shown)
        ]
        head = ["repository", "tags", "holds", "alone frees"]
        lines = table(head, cells, right={1, 2, 3}, fit=Fit(width, wrap=[0]))
        return [*lines, *_more(len(rows), "repositories")]

    def _of_tags(self, width: int | None) -> list[str]:
        rows = [
            (tag.name, sum(tag.blobs.values()), own.size)
            for tag, own in zip(self.tags, self.by_tag, strict=True)
        ]
        rows.sort(key=lambda row: -row[2])
        shown = rows[:_LISTED]
        held, free = sizes([row[1] for row in shown]), sizes([row[2] for row in shown])
        cells = [[show_text(name), held[at], free[at]] for at, (name, *_) in enumerate(shown)]
        head = ["tag", "holds", "alone frees"]
        lines = table(head, cells, right={1, 2}, fit=Fit(width, wrap=[0]))
        return [*lines, *_more(len(rows), "tags")]

    def _sentences(self) -> list[str]:
        sentences = []
        if self.together is not None:
            tags = count(len(self.chosen), "chosen tag")
            blobs = count(self.together.blobs, "blob")
            sentences.append(f"The {tags} together would free {size(self.together.size)}: {blobs}.")
        times = Counter((tag.repository, tag.root) for tag in self.tags)
        if same := sum(number for number in times.values() if number > 1):
            sentences.append(
                f"{same:,} tags have their manifest in common with others of their repository: what it"
                " holds is free once the last of them is gone."
            )
        sentences.append(
            f"All hold {size(self.taken)}. Nothing but {count(len(self.tags), 'tag')} was looked at: what"
            " else there is may hold the same blobs. Registries have the room once they collect garbage."
        )
        return sentences


def _more(number: int, things: str) -> list[str]:
    return [f"and {number - _LISTED:,} more {things}: --json has all"] if number > _LISTED else []
