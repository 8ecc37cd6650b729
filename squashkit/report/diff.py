"""How two root file systems differ, as people and programs read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from typing import Any

from squashkit.amounts import count
from squashkit.errors import show_path
from squashkit.layers.compare import KINDS, SPLIT, Difference
from squashkit.layers.merge import LeftOut
from squashkit.report.text import brief, left_out_rows, show_time, summed_by_rule, table
from squashkit.values import frozen


@frozen
class DiffReport:
    """The differences between two root file systems, those of ignored kinds left out."""

    left: str
    """The one side, as it was named."""
    right: str
    """The other."""
    entries: int = 0
    """Paths of the right one."""
    differences: tuple[Difference, ...] = ()
    """What differs, by path."""
    splits: tuple[Difference, ...] = ()
    """Hard-link groups that a layer boundary cuts: no difference."""
    ignored: tuple[str, ...] = ()
    """Kinds of differences that were left out."""
    left_out: tuple[LeftOut, ...] = ()
    """What one side is without, as it may be."""
    stat: bool = False
    """Tell people only how many paths differ in what."""
    limit: int = 0
    """How many paths to tell people; 0 for all."""
    latest: int | None = None
    """Times are the same that are not before this one, in nanoseconds."""
    only_in: str = ""
    """The side that alone has this platform."""

    def __repr__(self) -> str:
        found = "the same" if self.same else count(len(self.differences), "difference")
        return f"<DiffReport: {brief(self.left)} and {brief(self.right)}, {found}>"

    def with_found(self, found: Iterable[Difference], entries: int) -> DiffReport:
        """The report with what was found, sorted into what counts and what is only told."""
        differences, splits = [], []
        for one in found:
            if one.what == SPLIT:
                splits.append(one)
            elif one.what not in self.ignored and not self._is_clamped(one):
                differences.append(one)
        return replace(self, entries=entries, differences=tuple(differences), splits=tuple(splits))

    def _is_clamped(self, one: Difference) -> bool:
        """Whether times differ that count as the same."""
        if one.what != "mtime" or self.latest is None:
            return False
        return all(Decimal(side) * 10**9 >= self.latest for side in (one.left, one.right))

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.differences and not self.only_in

    @property
    def counts(self) -> dict[str, int]:
        """How many differences there are of each kind that there is."""
        found = Counter(difference.what for difference in self.differences)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "left": self.left,
            "right": self.right,
            "same": self.same,
            "only_in": self.only_in or None,
            "ignored": list(self.ignored),
            "left_out": left_out_rows(self.left_out),
            "counts": self.counts,
            "differences": [_json(difference) for difference in self.differences],
            "split_hard_links": [_json(difference) for difference in self.splits],
        }

    def lines(self) -> list[str]:
        """A line a path, and a last one that says whether they are the same."""
        if self.only_in:
            return [f"Different: only {self.only_in} has this platform"]
        lines: list[str] = []
        paths = [(p, list(found)) for p, found in groupby(self.differences, key=lambda d: d.path)]
        if self.stat and paths:
            rows = [[kind, f"{number:,}"] for kind, number in self.counts.items()]
            lines += [*table(["difference", "paths"], rows, right={1}), ""]
        elif paths:
            shown = paths[: self.limit] if self.limit else paths
            lines += [_line(path, found) for path, found in shown]
            if len(paths) > len(shown):
                lines.append(f"... and {len(paths) - len(shown):,} more; --limit 0 shows all")
            lines.append("")
        if self.splits:
            places = ", ".join(_name(d.path) for d in self.splits[:5])
            more = f" and {len(self.splits) - 5:,} more" if len(self.splits) > 5 else ""
            lines.append(f"Hard links cut at a layer boundary, which is no difference: {places}{more}")
        if rules := summed_by_rule(self.left_out):
            lines += [*table(["left out by", "paths", "bytes"], rules, right={1, 2}), ""]
        but = f" (not counting {', '.join(self.ignored)})" if self.ignored else ""
        if self.same:
            lines.append(f"The same: {count(self.entries, 'path')}{but}")
        else:
            lines.append(f"Different: {count(len(paths), 'path')}{but}")
        return lines


def _line(path: bytes, found: list[Difference]) -> str:
    what = found[0].what
    if what == "added":
        return f"+ {_name(path)}  ({found[0].right})"
    if what == "removed":
        return f"- {_name(path)}  ({found[0].left})"
    changes = [
        f"{d.what} {_value(d.what, d.left)} -> {_value(d.what, d.right)}" if d.left or d.right else d.what
        for d in found
    ]
    return f"M {_name(path)}  {'; '.join(changes)}"


def _value(what: str, text: str) -> str:
    return show_time(Decimal(text)) if what == "mtime" else text


def _name(path: bytes) -> str:
    return "/" + show_path(path)


def _json(difference: Difference) -> dict[str, str | None]:
    return {
        "path": show_path(difference.path),
        "what": difference.what,
        "left": difference.left or None,
        "right": difference.right or None,
    }
