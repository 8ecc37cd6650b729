"""What hosts download for images: a table for people, JSON for programs."""

from __future__ import annotations

from typing import Any

from squashkit.amounts import count, sizes, some
from squashkit.errors import show_text
from squashkit.plan.fleet.pull import Pull
from squashkit.report.text import Fit, table
from squashkit.values import frozen

_NAMED = 3


@frozen
class PullReport:
    """What a host downloads for images, by what it has."""

    have: tuple[str, ...]
    """The images that it has."""
    names: tuple[str, ...]
    """The images that it pulls."""
    pulls: tuple[Pull, ...]
    """For each of them."""
    together: Pull
    """For all of them, one after another."""
    notes: tuple[str, ...] = ()
    """What a person should know besides."""
    has_plain: bool = False
    """Whether plain layers are among them, which a registry would have compressed."""

    def __repr__(self) -> str:
        return f"<PullReport: {count(len(self.names), 'image')}, {count(len(self.have), 'image')} there>"

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints. Sizes are bytes."""
        return {
            "have": list(self.have),
            "images": [
                {"image": name, **_json(one)} for name, one in zip(self.names, self.pulls, strict=True)
            ],
            "together": _json(self.together),
            "notes": self._notes(),
        }

    def lines(self) -> list[str]:
        """A line for each image."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        head, rows = self.rows()
        lines = [*table(head, rows, right={1, 2, 3}, fit=Fit(width, wrap=[0])), "", self.subject()]
        return [*lines, *self._notes()]

    def subject(self) -> str:
        """Of what host it is told."""
        if not self.have:
            return "On a host that has none of their layers. --have REF names what one has."
        has = some([show_text(name) for name in self.have], _NAMED)
        return f"On a host that has {has}."

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The table: its head, a row for each image, and one for all of them where there are several."""
        names = [show_text(name) for name in self.names]
        pulls = list(self.pulls)
        if len(pulls) > 1:
            names.append("all, in this order")
            pulls.append(self.together)
        columns = ([pull[at] for pull in pulls] for at in range(3))
        rows = [list(row) for row in zip(names, *map(sizes, columns), strict=True)]
        return ["image", "size", "by chain (docker)", "by blob (containerd)"], rows

    def _notes(self) -> list[str]:
        plain = "Plain layers count as they are; a registry has them compressed, mostly."
        return [*self.notes, *([plain] if self.has_plain else [])]


def _json(pull: Pull) -> dict[str, int]:
    return {
        "bytes": pull.whole,
        "pulled_by_chain_bytes": pull.by_chain,
        "pulled_by_blob_bytes": pull.by_blob,
    }
