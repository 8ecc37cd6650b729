"""What to do with each image of a fleet: Markdown for people, JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import show_text
from squashkit.plan.fleet.strategies import ALL, BEST, BUILT
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.fleet.titles import show_segments
from squashkit.report.text import Fit, code, markdown, table


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do with one image of a fleet. Sizes are bytes in a registry."""

    name: str
    segments: str
    """For `squash --segments`; all kept where it is not to be squashed."""
    changed: bool
    saved: int
    """Of the image's own layers."""
    squash_all_costs: int | None
    """What squashing it whole would take that it does not share with others, compared with this; None where
    its base is not known, which others may share."""
    next_release: int
    """What a host that has it downloads where its uppermost layer changes."""


@dataclass(frozen=True, slots=True)
class AdviceReport:
    """Advice for each image of a fleet."""

    fleet: FleetReport
    """What the fleet takes, measured."""

    def __repr__(self) -> str:
        changed = sum(one.changed for one in self.advice)
        return (
            f"<AdviceReport: {count(len(self.fleet.names), 'image')}, {changed:,} of them to be squashed>"
        )

    @property
    def advice(self) -> list[Advice]:
        """For each image, in the order of the fleet."""
        fleet = self.fleet
        built, best, whole = map(fleet.strategy, (BUILT, BEST, ALL))
        holders = Counter(key for stack in best.stacks for key in {blob.key for blob in stack})
        worthwhile = fleet.is_worthwhile
        unknown = {one.name for one in fleet.unknown}
        found = []
        for number, name in enumerate(fleet.names):
            stacks = built.stacks[number], best.stacks[number], whole.stacks[number]
            before, after, one = (sum(blob.stored for blob in stack) for stack in stacks)
            own = sum(blob.stored for blob in stacks[1] if holders[blob.key] == 1)
            other = [blob.key for blob in stacks[0]] != [blob.key for blob in stacks[1]]
            changed = worthwhile and other
            top = stacks[1][-1].stored if stacks[1] else 0
            text = show_segments(best.segments[number])
            costs = one - own if name not in unknown else None
            found.append(Advice(name, text, changed, before - after, costs, top))
        return found

    @property
    def once(self) -> tuple[int, int]:
        """What the advice costs once: how many layers registries do not have yet, and their bytes."""
        fleet = self.fleet
        built, best = (
            {blob for stack in fleet.strategy(n).stacks for blob in stack} for n in (BUILT, BEST)
        )
        known = {blob.key for blob in built}
        new = {blob.key: blob.stored for blob in best if blob.key not in known and fleet.is_worthwhile}
        return len(new), sum(new.values())

    def costs(self) -> list[str]:
        """That in words, where something is advised."""
        layers, stored = self.once
        if not layers:
            return []
        return [
            f"It costs once: {count(layers, 'new layer')} ({size(stored)}) to store, and to pull again."
        ]

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        best, built = self.fleet.strategy(BEST), self.fleet.strategies[0]
        advised = best if self.fleet.is_worthwhile else built
        return {
            "answer": self.fleet.answer(),
            **self.fleet.unknown_json(),
            "no_longer_shared": self.fleet.no_longer_shared(advised).json(),
            "notes": list(self.fleet.notes),
            "minimise": self.fleet.minimise,
            "estimate": self.fleet.estimate,
            "registry_bytes": {"as_built": built.registry, "advised": best.registry},
            "host_bytes": {"as_built": built.host, "advised": best.host},
            "once": dict(zip(("layers", "bytes"), self.once, strict=True)),
            "images": {
                one.name: {
                    "squash": one.changed,
                    "segments": one.segments,
                    "saved_bytes": one.saved,
                    "squash_all_costs_bytes": one.squash_all_costs,
                    "next_release_pulls_bytes": one.next_release,
                }
                for one in self.advice
            },
        }

    def lines(self) -> list[str]:
        """As Markdown, which pipelines can put into a summary."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns, where a table that fits is read more easily."""
        on_page = width is None
        unknown = {one.name for one in self.fleet.unknown}
        rows = [
            [
                code(one.name) if on_page else show_text(one.name),
                _advised(one, unknown).replace("`", "`" * on_page),
                _signed(one.saved) if one.changed else "",
                _signed(one.squash_all_costs) if one.squash_all_costs is not None else "",
                size(one.next_release),
            ]
            for one in self.advice
        ]
        if on_page:
            head = ["image", "advice", "saves", "squashing it whole costs", "a next release pulls"]
            marks = ["---", "---", "--:", "--:", "--:"]
            table_ = [f"| {' | '.join(row)} |" for row in (head, marks, *rows)]
        else:
            head = ["image", "advice", "saves", "whole costs", "release pulls"]
            table_ = table(head, rows, right={2, 3, 4}, fit=Fit(width, wrap=[0, 1]))
        how = " `squashkit fleet squash` with the same images does all of it."
        if unknown:
            how = " `squashkit fleet squash` does it once all bases are known, or without the other images."
        answer = [self.fleet.answer() + how * self.fleet.is_worthwhile]
        notes = map(markdown, self.fleet.notes) if on_page else self.fleet.notes
        texts = ([text] for text in (*self.costs(), *self.fleet.caveat(), *notes))
        paragraphs = [table_, answer, *texts, *self.fleet.of_unknown(as_markdown=on_page)]
        return [line for one in paragraphs for line in ("", *one)][1:]


def _advised(one: Advice, unknown: Collection[str]) -> str:
    if one.name in unknown:
        return "name its base"
    return f"`--segments {one.segments}`" if one.changed else "do not squash"


def _signed(value: int) -> str:
    return size(value) if value >= 0 else f"-{size(-value)}"
