"""What to do with the images of a fleet: Markdown for people, JSON for programs."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from squashkit.amounts import count, size, sizes, some
from squashkit.errors import show_text
from squashkit.oci.digests import ChainID
from squashkit.oci.names import split_tag
from squashkit.plan.fleet.advice import Finding, Recipe, Why
from squashkit.plan.fleet.storage import StackLayer
from squashkit.plan.fleet.strategies import ALL, BEST, BUILT
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.fleet.titles import show_segments
from squashkit.report.text import Fit, code, markdown, percent, table, wrapped
from squashkit.values import frozen

_SQUASHED, _LEFT, _RECIPES, _NAMED = 40, 10, 20, 5
"""How many rows a text has of what is to be squashed, and of what is left for one reason; how many recipes,
and of how many repositories each. The JSON has all."""
_TOGETHER = "squashkit fleet squash"
ONE_IMAGE = "What does it for one IMAGE of them, its next release included:"
WHY_NONE = "what images share decides where to cut"


@frozen
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


class Group(NamedTuple):
    """Images of one kind that get the same advice for the same reason."""

    kind: Kind
    images: tuple[int, ...]
    """By their places in the fleet."""
    is_whole: bool
    """Whether these are all images of the repository."""
    why: Why
    changed: bool
    saved: int
    """Bytes of their layers in a registry, each layer once."""
    reason: str


class Kind(NamedTuple):
    """Images of one repository that stand on versions of one base."""

    repository: str
    base: str
    """Without tag and digest."""

    @classmethod
    def of(cls, name: str, found: Finding) -> Kind:
        """That of an image."""
        return cls(split_tag(name)[0], split_tag(found.base.partition("@")[0])[0])


def kinds_of(names: Sequence[str], found: Sequence[Finding]) -> dict[Kind, list[int]]:
    """The images of each kind, by their places, in the order of the fleet."""
    kinds: dict[Kind, list[int]] = {}
    for number, (name, one) in enumerate(zip(names, found, strict=True)):
        kinds.setdefault(Kind.of(name, one), []).append(number)
    return kinds


def changed_by(fleet: FleetReport) -> list[bool]:
    """Which images are to be squashed."""
    built, best = fleet.strategy(BUILT), fleet.strategy(BEST)
    return [
        fleet.is_worthwhile and [blob.key for blob in before] != [blob.key for blob in after]
        for before, after in zip(built.stacks, best.stacks, strict=True)
    ]


@frozen
class AdviceReport:
    """Advice for each image of a fleet."""

    fleet: FleetReport
    """What the fleet takes, measured."""
    found: tuple[Finding, ...]
    """For each image why."""
    recipes: tuple[Recipe | None, ...]
    """For each image the command that does it for the next of its kind, too; None where there is none, or
    nothing to do."""

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
        unknown = {one.name for one in fleet.unknown}
        found = []
        for number, (name, changed) in enumerate(zip(fleet.names, changed_by(fleet), strict=True)):
            stacks = built.stacks[number], best.stacks[number], whole.stacks[number]
            before, after, one = (sum(blob.stored for blob in stack) for stack in stacks)
            own = sum(blob.stored for blob in stacks[1] if holders[blob.key] == 1)
            top = stacks[1][-1].stored if stacks[1] else 0
            text = show_segments(best.segments[number])
            costs = one - own if name not in unknown else None
            found.append(Advice(name, text, changed, before - after, costs, top))
        return found

    @property
    def groups(self) -> list[Group]:
        """Images by their repositories, and there by their advice, in the order of the fleet."""
        advice = self.advice
        built, best = self.fleet.strategy(BUILT).stacks, self.fleet.strategy(BEST).stacks
        sizes_of = Counter(split_tag(name)[0] for name in self.fleet.names)
        groups = []
        for kind, numbers in kinds_of(self.fleet.names, self.found).items():
            by_why: dict[Why, list[int]] = {}
            for number in numbers:
                by_why.setdefault(self.found[number].why, []).append(number)
            for why, alike in by_why.items():
                changed = advice[alike[0]].changed
                before, after = ({blob for n in alike for blob in stacks[n]} for stacks in (built, best))
                groups.append(
                    Group(
                        kind,
                        tuple(alike),
                        len(alike) == sizes_of[kind.repository],
                        why,
                        changed,
                        _stored(before) - _stored(after) if changed else 0,
                        self._reason(why, alike),
                    )
                )
        return groups

    def _reason(self, why: Why, numbers: Sequence[int]) -> str:
        """Why these images get the advice that they get."""
        killers: set[ChainID] = set()
        most: Counter[ChainID] = Counter()  # what several images delete of one layer is the same, mostly
        for number in numbers:
            own: Counter[ChainID] = Counter()
            for (upper, lower), bytes_ in self.found[number].kills.items():
                killers.add(upper)
                own[lower] += bytes_
            most |= own
        layers, gone = len(killers), size(sum(most.values()))
        if why is Why.DEAD:
            verb = "deletes or replaces" if layers == 1 else "delete or replace"
            text = f"{count(layers, 'layer')} {verb} {gone}"
        elif why is Why.LITTLE:
            text = f"only {gone} above its base are dead"
        else:
            text = why.value
        is_alone = all(self.found[number].is_alone for number in numbers)
        if why in (Why.DEAD, Why.SMALLER) and is_alone and len(self.fleet.names) > 1:
            text += (
                "; shares nothing above its base"
                if len(numbers) == 1
                else "; they share nothing above their bases"
            )
        return text

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

    def summary(self) -> list[str]:
        """What the whole advice saves and costs."""
        fleet = self.fleet
        changed = sum(changed_by(fleet))
        if not changed:
            return [fleet.answer()]
        built, best, whole = map(fleet.strategy, (BUILT, BEST, ALL))
        about = "about " * fleet.estimate
        in_registry = _saved(built.registry, best.registry, f"{about}{{}} of {{}} in a registry")
        on_host = _saved(built.host, best.host, "{} of {} on a host")
        images = count(len(fleet.names), "image")
        lines = [f"Squash {changed:,} of {images}: that {in_registry}, and {on_host}."]
        lines += self.costs()
        more = fleet.cost(whole) - fleet.cost(best)
        if more > 0 and not fleet.is_unsure(ALL):
            about = "about " * (fleet.estimate or whole.is_estimated)
            lines.append(f"Squashing each image whole would take {about}{size(more)} more than that.")
        if fleet.unknown:
            lines.append(f"`{_TOGETHER}` does it once all bases are known, or without the other images.")
        else:
            lines.append(f"`{_TOGETHER}` with the same images does all of it.")
        return lines

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        best, built = self.fleet.strategy(BEST), self.fleet.strategies[0]
        advised = best if self.fleet.is_worthwhile else built
        names = self.fleet.names
        reasons = {number: group.reason for group in self.groups for number in group.images}
        return {
            "answer": self.fleet.answer(),
            **self.fleet.unknown_json(),
            "no_longer_shared": self.fleet.no_longer_shared(advised).json(),
            "notes": list(self.fleet.notes),
            "minimise": self.fleet.minimise,
            "estimate": self.fleet.estimate,
            "registry_bytes": {"as_built": built.registry, "advised": advised.registry},
            "host_bytes": {"as_built": built.host, "advised": advised.host},
            "once": dict(zip(("layers", "bytes"), self.once, strict=True)),
            "repositories": [
                {
                    "repository": one.kind.repository,
                    "images": [names[number] for number in one.images],
                    "squash": one.changed,
                    "reason": one.reason,
                    "saved_bytes": one.saved,
                    "recipe": _command(self.recipes[one.images[0]]),
                }
                for one in self.groups
            ],
            "images": {
                one.name: {
                    "squash": one.changed,
                    "reason": reasons[number],
                    "segments": one.segments,
                    "saved_bytes": one.saved,
                    "squash_all_costs_bytes": one.squash_all_costs,
                    "next_release_pulls_bytes": one.next_release,
                }
                for number, one in enumerate(self.advice)
            },
        }

    def lines(self) -> list[str]:
        """As Markdown, which pipelines can put into a summary."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns, where a table that fits is read more easily."""
        on_page = width is None
        notes = map(markdown, self.fleet.notes) if on_page else self.fleet.notes
        texts = (wrapped(text, width) for text in (*self.fleet.caveat(), *notes))
        table_ = self._on_page() if on_page else self._on_terminal(width)
        paragraphs = [
            [line for text in self.summary() for line in wrapped(text, width)],
            table_,
            *self._recipes(as_markdown=on_page),
            *texts,
            *self.fleet.of_unknown(as_markdown=on_page),
        ]
        return [line for one in paragraphs if one for line in ("", *one)][1:]

    def _on_page(self) -> list[str]:
        head, rows = self.table_rows(as_markdown=True)
        marks = ["---", "--:", "--:", "---", "---"]
        return [f"| {' | '.join(row)} |" for row in (head, marks, *rows)]

    def _on_terminal(self, width: int | None) -> list[str]:
        head, rows = self.table_rows()
        return table(head, rows, right={1, 2}, fit=Fit(width, wrap=[4, 0]))

    def table_rows(self, *, as_markdown: bool = False) -> tuple[list[str], list[list[str]]]:
        """The head, and a row for each group, those first that save most. Of many with the same advice the
        last are one row."""
        by_advice: dict[str, list[Group]] = {}
        for group in sorted(self.groups, key=lambda group: -group.saved):
            by_advice.setdefault("" if group.changed else group.reason, []).append(group)
        saved = {
            id(group): text
            for groups in [by_advice.get("", [])]
            for group, text in zip(groups, sizes([group.saved for group in groups]), strict=True)
        }
        rows: list[list[str]] = []
        for advice, groups in by_advice.items():
            most = _LEFT if advice else _SQUASHED
            for group in groups[:most]:
                title = self._title(group)
                rows.append(
                    [
                        code(title) if as_markdown else show_text(title),
                        f"{len(group.images):,}",
                        saved.get(id(group), ""),
                        _advised(group),
                        markdown(group.reason) if as_markdown else group.reason,
                    ]
                )
            if more := groups[most:]:
                images = sum(len(group.images) for group in more)
                rows.append([f"and {len(more):,} more", f"{images:,}", "", _advised(more[0]), advice])
        return ["repository", "images", "saves", "advice", "why"], rows

    def _title(self, group: Group) -> str:
        """An image alone by its name, a repository's images by its."""
        if len(group.images) == 1:
            return self.fleet.names[group.images[0]]
        name = group.kind.repository
        return name if group.is_whole else f"{name} (some)"

    def commands(self) -> list[tuple[list[str], str | None]]:
        """What does for one image of a repository what is advised, and holds for the next release: the
        titles of the rows that it is for, and the command; None where there is none."""
        by_recipe: dict[Recipe | None, list[str]] = {}
        for group in sorted(self.groups, key=lambda group: -group.saved):
            if group.changed:
                by_recipe.setdefault(self.recipes[group.images[0]], []).append(self._title(group))
        return [(titles, _command(recipe)) for recipe, titles in by_recipe.items()]

    def _recipes(self, *, as_markdown: bool) -> Iterator[list[str]]:
        """That in words."""
        commands = self.commands()
        if not commands:
            return
        yield [ONE_IMAGE]
        lines = []
        for titles, command in commands[:_RECIPES]:
            shown = [code(one, in_table=False) if as_markdown else show_text(one) for one in titles]
            what = f"none alone: `{_TOGETHER}`, since {WHY_NONE}"
            if command is not None:
                what = code(command, in_table=False) if as_markdown else command
            whose = some(shown, _NAMED)
            lines += [f"- {whose}: {what}"] if as_markdown else [f"  {whose}", f"    {what}"]
        if (more := len(commands) - _RECIPES) > 0:
            lines.append(f"{'-' if as_markdown else ' '} and {count(more, 'more command')}: --json has all")
        yield lines


def _saved(before: int, after: int, words: str) -> str:
    """What is saved of what was taken, in words with a place for each; or what is lost."""
    saved = abs(before - after)
    verb = "saves" if after <= before else "loses"
    return f"{verb} {words.format(size(saved), size(before))} ({percent(saved, before)})"


def _stored(blobs: set[StackLayer]) -> int:
    return sum({blob.key: blob.stored for blob in blobs}.values())


def _advised(group: Group) -> str:
    if group.why is Why.UNKNOWN:
        return "name its base"
    return "squash" if group.changed else "leave as is"


def _command(recipe: Recipe | None) -> str | None:
    """What does it for one image."""
    if recipe is None:
        return None
    option, value = ("--keep-base", recipe.base) if recipe.base else ("--from-step", recipe.step)
    return f"squashkit squash IMAGE {option} {shlex.quote(show_text(value))}"
