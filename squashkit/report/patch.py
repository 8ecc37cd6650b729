"""What became of every tag below a place in a registry: one value for the table, Markdown and `--json`."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Any

from squashkit.amounts import count, some
from squashkit.errors import show_text, worst_of
from squashkit.oci.digests import Digest
from squashkit.report.text import Fit, table
from squashkit.values import frozen

_SHORT = 19
_NAMED = 5
"""The most tags that are named for one reason."""


class Outcome(Enum):
    """What became of a tag."""

    MOVED = "moved"
    WOULD_MOVE = "would move"
    BACK = "put back"
    CURRENT = "current"
    """It, or the tag for it, is on the new base already."""
    NOT_BASED = "not based"
    """It does not stand on the old base, or nobody knows what its base is."""
    UNCHANGED = "unchanged"
    """It would be what it is."""
    BASE = "base"
    """Images stand on it: a base never moves."""
    MADE = "made"
    """An earlier run made it, from another tag."""
    LEFT = "left"
    """Somebody else made or moved the tag that would be moved."""
    REFUSED = "refused"
    """It does not fit the new base."""
    FAILED = "failed"


_WORK = frozenset({Outcome.MOVED, Outcome.WOULD_MOVE, Outcome.LEFT, Outcome.REFUSED, Outcome.FAILED})
"""Of tags that are not on the new base."""


@frozen
class PatchedTag:
    """One tag."""

    name: str
    """With its host and repository."""
    outcome: Outcome
    why: str = ""
    """In a line, where that is not plain."""
    before: Digest | None = None
    """What the tag meant that was moved, or would be; None where it was not there."""
    after: Digest | None = None
    """What it means now."""
    code: int = 0
    """The exit code of its rebase."""
    target: str = ""
    """The tag that was moved, where that is another one."""

    @property
    def is_work(self) -> bool:
        """Whether there was something to do."""
        return self.outcome in _WORK

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "why": self.why or None,
            "tag": self.target or self.name,
            "before": self.before,
            "after": self.after,
            "exit_code": self.code,
        }


@frozen
class PatchReport:
    """All tags."""

    place: str
    """As it was asked for; empty where tags were put back."""
    new_base: str
    """The same."""
    tags: tuple[PatchedTag, ...]
    """In the order in which they were looked at."""
    dry_run: bool
    """Whether nothing was to be written."""
    rollback: str = ""
    """The file that puts moved tags back; empty where none was written."""
    notes: tuple[str, ...] = ()
    """What was left out."""
    is_interrupted: bool = False
    """Whether it ended before the last tag."""

    def __repr__(self) -> str:
        return f"<PatchReport: {count(len(self.tags), 'tag')}>"

    @property
    def exit_code(self) -> int:
        """The worst of all tags."""
        codes = {tag.code for tag in self.tags} | ({130} if self.is_interrupted else set())
        return worst_of(codes)

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "place": self.place,
            "new_base": self.new_base,
            "dry_run": self.dry_run,
            **self.moves_json(),
            "notes": list(self.notes),
        }

    def moves_json(self) -> dict[str, Any]:
        """Those of them that tell of the tags."""
        return {
            "interrupted": self.is_interrupted,
            "rollback": self.rollback or None,
            "tags": [tag.json() for tag in self.tags],
        }

    def lines(self) -> list[str]:
        """A table, why tags stay as they are, and what it comes to."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        lines = []
        if self.tags:
            rows = [cells[:3] for cells in self.rows()]
            lines = table(["tag", "outcome", "now"], rows, fit=Fit(width, leave_out=[2], wrap=[0]))
        return [*lines, *self.reasons(), "", *self.summary()]

    def reasons(self) -> list[str]:
        """Why tags stay as they are, each reason once."""
        names: dict[str, list[str]] = {}
        for tag in self.tags:
            if tag.why:
                names.setdefault(tag.why, []).append(self._short(tag))
        told = [show_text(f"{some(which, _NAMED)}: {why}") for why, which in names.items()]
        return ["", *told] if told else []

    def rows(self) -> list[list[str]]:
        """A row a tag: what became of it, what it means now, and why."""
        return [
            [
                show_text(self._short(tag)),
                tag.outcome.value,
                (tag.after or "")[:_SHORT],
                show_text(tag.why),
            ]
            for tag in self.tags
        ]

    def _short(self, tag: PatchedTag) -> str:
        """A tag's name below the place, and which other one moves."""
        name = tag.name.removeprefix(self.place.removeprefix("docker://"))
        return f"{name} -> {tag.target.rpartition(':')[2]}" if tag.target else name

    def summary(self) -> list[str]:
        """How many tags had which outcome, and how to put them back."""
        counts = Counter(tag.outcome for tag in self.tags)
        told = [f"{counts[outcome]:,} {outcome.value}" for outcome in Outcome if counts[outcome]]
        below = f" below {self.place}" if self.place else ""
        lines = [f"{count(len(self.tags), 'tag')}{below}: {', '.join(told) or 'nothing to do'}."]
        lines += self.notes
        if self.rollback and counts[Outcome.MOVED]:
            lines.append(f"To put them back: squashkit rebase --rollback {self.rollback}")
        if self.is_interrupted:
            lines.append("Interrupted: the tags above have what is said of them, the rest is as it was.")
        if self.dry_run:
            lines.append("Dry run: nothing was written.")
        return lines
