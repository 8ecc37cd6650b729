"""The report of a fleet: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import show_text
from squashkit.plan.fleet.storage import (
    lost_layers,
    lost_on_hosts,
    pulled_blobs,
)
from squashkit.plan.fleet.strategies import ALL, BASE, BEST, BUILT, TRIE, Strategy
from squashkit.plan.squash import Segment
from squashkit.report.squash import Report
from squashkit.report.text import code, markdown, table

TITLES = {
    BUILT: "as built",
    ALL: "squash all",
    BASE: "keep base",
    TRIE: "along the trie",
    BEST: "best cut",
}
"""How reports call the strategies."""
_LISTED = 20
"""Of how many images or runs a text tells one by one. The JSON has all."""
_WORTH = 0.005
"""The share of all bytes that squashing a fleet must save to be advised."""


def show_segments(segments: Sequence[Segment]) -> str:
    """Segments as `squash --segments` takes them; neighbouring kept layers as one run."""
    runs: list[tuple[bool, int]] = []
    for segment in segments:
        kept = segment.is_kept
        if kept and runs and runs[-1][0]:
            runs[-1] = True, runs[-1][1] + len(segment)
        else:
            runs.append((kept, len(segment)))
    return ",".join(f"{'=' * kept}{length}" for kept, length in runs)


@dataclass(frozen=True, slots=True)
class UnknownBase:
    """An image of which no base is known."""

    name: str
    layers: int
    hint: str
    """What may help to name it, empty where nothing does."""

    def line(self, *, as_markdown: bool = False) -> str:
        told = f": {markdown(self.hint) if as_markdown else show_text(self.hint)}" if self.hint else ""
        name = code(self.name) if as_markdown else show_text(self.name)
        return f"{name} ({count(self.layers, 'layer')}){told}"


def list_unknown(unknown: Sequence[UnknownBase], *, as_markdown: bool = False) -> list[str]:
    """The images of which no base is known, a line each."""
    mark = "- " if as_markdown else "  "
    lines = [mark + one.line(as_markdown=as_markdown) for one in unknown[:_LISTED]]
    more = len(unknown) - len(lines)
    return [*lines, f"{mark}and {more:,} more"] if more else lines


WAYS_OUT = "--base REF names it; `squashkit base add REF` remembers it; or add it to the fleet."
"""How to make a base known."""


@dataclass(frozen=True, slots=True)
class LostRun:
    """Layers of an image, [start, stop), that squashing merges away."""

    image: str
    start: int
    stop: int
    stored: int
    """Bytes in a registry."""

    def json(self) -> dict[str, Any]:
        layers = list(range(self.start, self.stop))
        return {"image": self.image, "layers": layers, "registry_bytes": self.stored}

    def line(self) -> str:
        last = self.stop - 1
        which = f"layer {last}" if last == self.start else f"layers {self.start} to {last}"
        return f"  {which} of {show_text(self.image)}, {size(self.stored)}"


@dataclass(frozen=True, slots=True)
class NoLongerShared:
    """What a fleet has as it was built, and not under a strategy: images that are not of the fleet may have
    it, and share it no longer."""

    runs: Sequence[LostRun]
    """Each layer is told of the first image that has it."""
    host: int
    """Bytes of files in layers that hosts share no longer: those above a new layer are among them."""

    @property
    def layers(self) -> int:
        return sum(run.stop - run.start for run in self.runs)

    @property
    def registry(self) -> int:
        return sum(run.stored for run in self.runs)

    def json(self) -> dict[str, Any]:
        return {
            "layers": self.layers,
            "registry_bytes": self.registry,
            "host_bytes": self.host,
            "runs": [run.json() for run in self.runs],
        }

    def __str__(self) -> str:
        """All of it together."""
        where = f"{size(self.registry)} in a registry, {size(self.host)} on a host"
        return f"{count(self.layers, 'layer')} ({where})"

    def lines(self) -> list[str]:
        """What is to be known before it is done; nothing where nothing is."""
        if not self.runs and not self.host:
            return []
        more = len(self.runs) - _LISTED
        return [
            "layers are merged that images outside the fleet may share:",
            *(run.line() for run in self.runs[:_LISTED]),
            *([f"  and {count(more, 'run')} more"] if more > 0 else []),
            f"  together {self}",
        ]


@dataclass(frozen=True, slots=True)
class FleetReport:
    """What a fleet takes under each strategy. The first is as it was built."""

    names: Sequence[str]
    references: int
    """Layers of all images."""
    nodes: int
    """Different layers on different parents."""
    entries: int
    """Entries of all different layers."""
    merged: int
    """Entries of all different runs that were merged for it."""
    strategies: Sequence[Strategy]
    minimise: str
    estimate: bool
    is_scanned: bool
    """Whether layers were read: else only what was built is known, and nothing of hosts."""
    files_once: int | None = None
    """Bytes of all different contents of files, None where that is not known."""
    notes: Sequence[str] = ()
    """What a person should know besides."""
    unknown: Sequence[UnknownBase] = ()
    """Images of which no base is known: as built under every strategy but `all`."""

    @property
    def updates(self) -> list[tuple[int, int]]:
        """Which images are releases of one repository, one after the other, as they are named."""
        last: dict[str, int] = {}
        found = []
        for number, name in enumerate(self.names):
            repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
            if repository in last:
                found.append((last[repository], number))
            last[repository] = number
        return found

    @property
    def crossing(self) -> int | None:
        """From how many images on squashing all of them takes more than they take as built; None where it
        never does."""
        if not self.is_scanned:
            return None
        kind = int(self.minimise == "host")
        built, whole = self.strategies[0].growth, self.strategy(ALL).growth
        more = [w[kind] > b[kind] for b, w in zip(built, whole, strict=True)]
        if not more or not more[-1]:
            return None
        return len(more) - next((n for n, one in enumerate(more[::-1]) if not one), len(more)) + 1

    def strategy(self, name: str) -> Strategy:
        """One of those that were measured, by its name in STRATEGIES."""
        return next(one for one in self.strategies if one.name == name)

    def no_longer_shared(self, strategy: Strategy) -> NoLongerShared:
        """What of the fleet as it was built a strategy merges away."""
        built = self.strategies[0].stacks
        runs = [
            LostRun(self.names[one.image], one.start, one.stop, one.stored)
            for one in lost_layers(built, strategy.stacks)
        ]
        return NoLongerShared(runs, lost_on_hosts(built, strategy.stacks))

    def json(self) -> dict[str, Any]:
        return {
            "images": list(self.names),
            **self.unknown_json(),
            "layer_references": self.references,
            "layers": self.nodes,
            "entries": self.entries,
            "merged_entries": self.merged,
            "minimise": self.minimise,
            "estimate": self.estimate,
            "squash_all_costs_more_from": self.crossing,
            "files_once_bytes": self.files_once,
            "notes": list(self.notes),
            "strategies": [
                {
                    **self._strategy_json(one),
                    "no_longer_shared": self.no_longer_shared(one).json() if self.is_scanned else None,
                    "updates": [
                        {"from": self.names[a], "to": self.names[b], "pulled": one.update(a, b)}
                        for a, b in self.updates
                    ],
                }
                for one in self.strategies
            ],
        }

    def _strategy_json(self, strategy: Strategy) -> dict[str, Any]:
        segments = zip(self.names, strategy.segments, strict=True)
        return {
            "strategy": TITLES[strategy.name],
            "registry_bytes": strategy.registry,
            "documents_bytes": strategy.documents,
            "host_bytes": strategy.host if self.is_scanned else None,
            "layers": strategy.layers,
            "most_layers": max((len(stack) for stack in strategy.stacks), default=0),
            "pulled": {"by_chain": strategy.pulled, "by_blob": pulled_blobs(strategy.stacks)},
            "segments": {name: show_segments(one) for name, one in segments},
        }

    def unknown_json(self) -> dict[str, Any]:
        """The images of which no base is known, and what may help to name some of these."""
        return {
            "unknown_base": [one.name for one in self.unknown],
            "base_hints": {one.name: one.hint for one in self.unknown if one.hint},
        }

    def csv(self) -> str:
        """One line for each strategy and number of images: what the first so many take."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["strategy", "images", "registry_bytes", "host_bytes", "layers", "pulled_bytes"])
        for one in self.strategies:
            layers = 0
            for number, (registry, host) in enumerate(one.growth):
                layers += len(one.stacks[number])
                held = host if self.is_scanned else ""
                rows.writerow([TITLES[one.name], number + 1, registry, held, layers, one.pulled[number]])
        return out.getvalue()

    def lines(self) -> list[str]:
        built = self.strategies[0]
        about = " (about)" if self.estimate else ""
        images = count(len(self.names), "image")
        shared = f"{count(self.references, 'layer')}, {self.nodes:,} of them different"
        head = ["strategy", f"registry{about}", "", "host", "", "layers", "pulled"]
        rows = [
            [
                TITLES[one.name],
                size(one.registry),
                _change(one.registry, built.registry),
                size(one.host) if self.is_scanned else "",
                _change(one.host, built.host),
                str(one.layers),
                size(sum(one.pulled)),
            ]
            for one in self.strategies
        ]
        if self.updates:
            head.append("update")
            for row, one in zip(rows, self.strategies, strict=True):
                sizes = [one.update(a, b) for a, b in self.updates]
                row.append(size(sum(sizes) // len(sizes)))
        if self.files_once is not None:
            bound = ["every file once", "", "", size(self.files_once), _change(self.files_once, built.host)]
            rows.append([*bound, *[""] * (len(head) - len(bound))])
        right = set(range(1, len(head)))
        lines = [f"{images}, {shared}", "", *table(head, rows, right=right), "", self.answer()]
        lines += self.caveat()
        if self.crossing is not None and self.crossing > 1:
            number = f"{self.crossing:,} images"
            lines.append(f"In this order, squashing all takes more than as built from {number} on.")
        return [*lines, *chain.from_iterable(self.of_unknown()), *self.notes]

    def caveat(self) -> list[str]:
        """What the best cut costs that no column counts, where it is advised."""
        if not self.is_scanned or not self.is_worthwhile:
            return []
        lost = self.no_longer_shared(self.strategy(BEST))
        return [f"The best cut merges {lost} that images outside the fleet may share."]

    def of_unknown(self, *, as_markdown: bool = False) -> list[list[str]]:
        """Paragraphs on the images of which no base is known, the list of them in the middle."""
        if not self.unknown:
            return []
        head = f"No base is known of {count(len(self.unknown), 'image')}:"
        stays = f"What has no known base stays as built; {TITLES[ALL]} merges bases, too."
        listed = list_unknown(self.unknown, as_markdown=as_markdown)
        return [[head], listed, [stays] * self.is_scanned + [WAYS_OUT]]

    def answer(self) -> str:
        """The plain answer to whether to squash."""
        if not self.is_scanned:
            return "What squashing would give is known once the layers are read (without --no-scan)."
        best, built, whole, base = map(self._taken, (BEST, BUILT, ALL, BASE))
        less = min((whole, TITLES[ALL]), (base, TITLES[BASE]))
        if self.unknown:  # squashed whole they lose bases that nobody here knows: that is no saving
            less = base, TITLES[BASE]
        if built <= min(best, less[0]):
            if self.unknown:
                return "With the bases that are known there is nothing to squash."
            return "Do not squash: as it was built this fleet takes least."
        if less[0] < best * (1 - _WORTH):
            return (
                f"The best cut saves {size(built - best)}; {less[1]}, which shares less, takes"
                f" {size(best - less[0])} less still."
            )
        saved = f"{size(built - best)} ({100 * (built - best) / built:.1f} %)"
        if not self.is_worthwhile:
            told = "With the bases that are known" if self.unknown else "Do not squash:"
            return f"{told} the best cut would save {saved}, and change digests for that."
        text = f"The best cut saves {saved}"
        if whole > best:
            text += f"; squashing each image whole would take {size(whole - best)} more than that"
        return text + "."

    @property
    def is_worthwhile(self) -> bool:
        """Whether the best cut saves enough to be worth new digests."""
        return self._taken(BEST) < self._taken(BUILT) * (1 - _WORTH)

    def _taken(self, name: str) -> int:
        """What the fleet takes under a strategy."""
        return self.strategy(name).taken(self.minimise)


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

    @property
    def advice(self) -> list[Advice]:
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

    def json(self) -> dict[str, Any]:
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
        unknown = {one.name for one in self.fleet.unknown}
        rows = [
            [
                code(one.name),
                _advised(one, unknown),
                _signed(one.saved) if one.changed else "",
                _signed(one.squash_all_costs) if one.squash_all_costs is not None else "",
                size(one.next_release),
            ]
            for one in self.advice
        ]
        head = ["image", "advice", "saves", "squashing it whole costs", "a next release pulls"]
        marks = ["---", "---", "--:", "--:", "--:"]
        table_ = [f"| {' | '.join(row)} |" for row in (head, marks, *rows)]
        how = " `squashkit fleet squash` with the same images does all of it."
        if unknown:
            how = " `squashkit fleet squash` does it once all bases are known, or without the other images."
        answer = [self.fleet.answer() + how * self.fleet.is_worthwhile]
        texts = ([text] for text in (*self.fleet.caveat(), *map(markdown, self.fleet.notes)))
        paragraphs = [table_, answer, *texts, *self.fleet.of_unknown(as_markdown=True)]
        return [line for one in paragraphs for line in ("", *one)][1:]


@dataclass(frozen=True, slots=True)
class SquashedFleet:
    """What a squash of a whole fleet wrote."""

    fleet: FleetReport
    strategy: Strategy
    outputs: Sequence[tuple[str, Report]]
    """For each image where it went, and its own report."""

    @property
    def stored(self) -> int:
        """Bytes of the different layers that were written."""
        layers = {layer.digest: layer.size for _, one in self.outputs for layer in one.after}
        return sum(layers.values())

    def json(self) -> dict[str, Any]:
        return {
            "strategy": TITLES[self.strategy.name],
            "stored_bytes": {"as_built": self.fleet.strategies[0].registry, "written": self.stored},
            **self.fleet.unknown_json(),
            "no_longer_shared": self.fleet.no_longer_shared(self.strategy).json(),
            "notes": list(self.fleet.notes),
            "images": {
                name: {"output": output, **report.json()}
                for name, (output, report) in zip(self.fleet.names, self.outputs, strict=True)
            },
        }

    def lines(self) -> list[str]:
        built = self.fleet.strategies[0]
        rows = [
            [
                str(len(before)),
                str(len(after)),
                size(sum(blob.stored for blob in before)),
                size(sum(blob.stored for blob in after)),
                show_text(output),
            ]
            for before, after, (output, _) in zip(
                built.stacks, self.strategy.stacks, self.outputs, strict=True
            )
        ]
        head = ["layers", "after", "stored", "after", "written as"]
        return [
            *table(head, rows, right={0, 1, 2, 3}),
            "",
            f"Together {size(self.stored)} of layers were written, each of them once. In a registry they"
            f" take {size(self.strategy.registry)}, as built {size(built.registry)}.",
            *self.fleet.notes,
        ]


def _advised(one: Advice, unknown: Collection[str]) -> str:
    if one.name in unknown:
        return "name its base"
    return f"`--segments {one.segments}`" if one.changed else "do not squash"


def _signed(value: int) -> str:
    return size(value) if value >= 0 else f"-{size(-value)}"


def _change(value: int, before: int) -> str:
    if not before or value == before:
        return ""
    return f"{100 * (value - before) / before:+.1f} %"
