"""What a fleet takes under each strategy: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
from itertools import chain
from typing import Any

from squashkit.amounts import count, size, sizes
from squashkit.options import STRATEGIES
from squashkit.plan.fleet.pull import pulled_blobs
from squashkit.plan.fleet.storage import (
    lost_layers,
    lost_on_hosts,
    releases,
)
from squashkit.plan.fleet.strategies import ALL, BASE, BEST, BUILT, CARVE, Strategy
from squashkit.report.fleet.bases import WAYS_OUT, UnknownBase, list_unknown
from squashkit.report.fleet.sharing import LostRun, NoLongerShared
from squashkit.report.fleet.titles import TITLES, show_segments
from squashkit.report.text import Fit, table
from squashkit.values import frozen

UNSURE = "unsure"
"""What stands in place of what an estimate saves or costs where it cannot tell which it is."""
_WORTH = 0.005
"""The share of all bytes that squashing a fleet must save to be advised."""


@frozen
class FleetReport:
    """What a fleet takes under each strategy. The first is as it was built."""

    names: tuple[str, ...]
    """Of the images."""
    references: int
    """Layers of all images."""
    nodes: int
    """Different layers on different parents."""
    entries: int
    """Entries of all different layers."""
    merged: int
    """Entries of all different runs that were merged for it."""
    strategies: tuple[Strategy, ...]
    """As built first, then the others, as far as they are known."""
    minimise: str
    """What the best cut was to make least: `registry` or `host`."""
    estimate: bool
    """Whether stored sizes are estimates."""
    is_scanned: bool
    """Whether layers were read: else only what was built is known, and nothing of hosts."""
    files_once: int | None = None
    """Bytes of all different contents of files, None where that is not known."""
    notes: tuple[str, ...] = ()
    """What a person should know besides."""
    unknown: tuple[UnknownBase, ...] = ()
    """Images of which no base is known: as built under every strategy but `all`."""
    wanted: frozenset[str] = frozenset(STRATEGIES)
    """The strategies that are to be told."""

    def __repr__(self) -> str:
        images, layers = count(len(self.names), "image"), count(self.blobs, "layer")
        return f"<FleetReport: {images}, {layers}, {len(self.strategies):,} strategies>"

    @property
    def shown(self) -> list[Strategy]:
        """The strategies that are told."""
        return [one for one in self.strategies if one.name in self.wanted]

    def _has(self, *names: str) -> bool:
        """Whether strategies are known, and told."""
        return {*names} <= {one.name for one in self.shown}

    @property
    def blobs(self) -> int:
        """Different layers as a registry has them, whatever they lie on."""
        return len({blob.key for stack in self.strategies[0].stacks for blob in stack})

    @property
    def updates(self) -> list[tuple[int, int]]:
        """Which images are releases of one repository, one after the other, as they are named."""
        return releases(self.names)

    @property
    def crossing(self) -> int | None:
        """From how many images on squashing all of them takes more than they take as built; None where it
        never does."""
        if not self.is_scanned or not self._has(ALL) or self.is_unsure(ALL):
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

    def is_unsure(self, name: str) -> bool:
        """Whether an estimate cannot tell if a strategy saves or costs; on a host it can."""
        return self.minimise != "host" and self.strategy(name).is_unsure

    def no_longer_shared(self, strategy: Strategy) -> NoLongerShared:
        """What of the fleet as it was built a strategy merges away."""
        built = self.strategies[0].stacks
        runs = [
            LostRun(self.names[one.image], one.start, one.stop, one.stored)
            for one in lost_layers(built, strategy.stacks)
        ]
        return NoLongerShared(runs, lost_on_hosts(built, strategy.stacks))

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints. Sizes are bytes."""
        return {
            "images": list(self.names),
            **self.unknown_json(),
            "layers": {"references": self.references, "blobs": self.blobs, "chains": self.nodes},
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
                        {
                            "from": self.names[a],
                            "to": self.names[b],
                            "pulled": one.update(a, b),
                            "pulled_by_blob": pulled_blobs([one.stacks[a], one.stacks[b]])[1],
                        }
                        for a, b in self.updates
                    ],
                }
                for one in self.shown
            ],
        }

    def _strategy_json(self, strategy: Strategy) -> dict[str, Any]:
        segments = zip(self.names, strategy.segments, strict=True)
        return {
            "strategy": TITLES[strategy.name],
            "registry_bytes": strategy.registry,
            "documents_bytes": strategy.documents,
            "estimated": strategy.is_estimated or (self.estimate and strategy.name != BUILT),
            "saves_bytes": strategy.saves and strategy.saves._asdict(),
            "host_bytes": strategy.host if self.is_scanned else None,
            "containerd_bytes": strategy.containerd if self.is_scanned else None,
            "layers": strategy.layers,
            "most_layers": max((len(stack) for stack in strategy.stacks), default=0),
            "pulled": {"by_chain": strategy.pulled, "by_blob": pulled_blobs(strategy.stacks)},
            "segments": {name: show_segments(one) for name, one in segments},
            **self._carved_json(strategy),
        }

    @staticmethod
    def _carved_json(strategy: Strategy) -> dict[str, Any]:
        if strategy.least is None:
            return {}
        return {
            "is_best_cut": strategy.carved is None,
            "lower_bound_bytes": strategy.least,
            "published_bytes": strategy.carved.published if strategy.carved is not None else 0,
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
        for one in self.shown:
            layers = 0
            for number, (registry, host) in enumerate(one.growth):
                layers += len(one.stacks[number])
                held = host if self.is_scanned else ""
                rows.writerow([TITLES[one.name], number + 1, registry, held, layers, one.pulled[number]])
        return out.getvalue()

    def lines(self) -> list[str]:
        """A table with a line for each strategy, and what to make of it."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        head, rows = self.rows()
        right = set(range(1, len(head)))
        lines = [
            self.subject(),
            "",
            *table(head, rows, right=right, fit=Fit(width, leave_out=[5, 6])),
            "",
            self.answer(),
        ]
        lines += [*self.caveat(), *self.of_carving(), *self.growing(), *self.of_unsure()]
        return [*lines, *chain.from_iterable(self.of_unknown()), *self.notes]

    def subject(self) -> str:
        """How many images and layers it is about."""
        images = count(len(self.names), "image")
        return f"{images}, {count(self.references, 'layer')}, {self.blobs:,} of them different"

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The table: its head, and a row for each strategy."""
        built = self.strategies[0]
        about = " (about)" if self.estimate else ""
        head = ["strategy", f"registry{about}", "", "host", "", "layers", "pulled"]
        shown = self.shown
        guesses = ["~" * one.is_estimated for one in shown]
        registry = sizes([one.registry for one in shown])
        host = sizes([*(one.host for one in shown), self.files_once or 0])
        pulled = sizes([sum(one.pulled) for one in shown])
        rows = [
            [
                TITLES[one.name],
                guess + registry[at],
                UNSURE if one.is_unsure else _change(one.registry, built.registry),
                host[at] if self.is_scanned else "",
                _change(one.host, built.host),
                f"{one.layers:,}",
                guess + pulled[at],
            ]
            for at, (one, guess) in enumerate(zip(shown, guesses, strict=True))
        ]
        if updates := self.updates:
            head.append("update")
            average = [sum(one.update(a, b) for a, b in updates) // len(updates) for one in shown]
            for row, guess, text in zip(rows, guesses, sizes(average), strict=True):
                row.append(guess + text)
        if self.files_once is not None:
            bound = ["every file once", "", "", host[-1], _change(self.files_once, built.host)]
            rows.append([*bound, *[""] * (len(head) - len(bound))])
        return head, rows

    def caveat(self) -> list[str]:
        """What the best cut costs that no column counts, where it is advised."""
        if not self.is_scanned or not self._has(BEST) or not self.is_worthwhile:
            return []
        lost = self.no_longer_shared(self.strategy(BEST))
        return [f"The best cut merges {lost} that images outside the fleet may share."]

    def of_carving(self) -> list[str]:
        """What carving saves, and how near it comes to what is possible; or why it was not done."""
        if not self.is_scanned or not self._has(CARVE) or self.is_unsure(CARVE):
            return []
        carved = self.strategy(CARVE)
        if carved.carved is None:
            return [f"Carving it would save nothing more: {TITLES[CARVE]} is the best cut."]
        assert carved.least is not None
        over = f"{100 * (carved.registry - carved.least) / max(carved.least, 1):.1f} %"
        near = f"{over} above the least in a registry, where each file is stored once for each of its times"
        about = "about " * self.estimate
        if there := carved.carved.published:
            taken = f"{about}{size(carved.registry)} in a registry, of which {size(there)} are published"
            return [f"Carved, it takes {taken} already: {near}."]
        if not self._has(BEST):
            return [f"Carved, it takes {size(self._taken(CARVE))}: {near}."]
        saved = self._taken(BEST) - self._taken(CARVE)
        return [f"Carving saves {about}{size(saved)} more than the best cut: {near}."]

    def growing(self) -> list[str]:
        """From where on squashing all of them costs more than it saves, if not from the first."""
        if self.crossing is None or self.crossing <= 1:
            return []
        return [f"In this order, squashing all takes more than as built from {self.crossing:,} images on."]

    def of_unsure(self) -> list[str]:
        """What the word in the table means, where it stands there."""
        if not any(one.is_unsure for one in self.shown):
            return []
        return [f"{UNSURE}: an estimate cannot tell whether that takes less than as built, or more."]

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
        if not self._has(BEST, ALL, BASE):
            least = min(self.shown, key=self.cost)
            return f"The least of these: {TITLES[least.name]}, {size(self.cost(least))}."
        best, built, whole, base = map(self._taken, (BEST, BUILT, ALL, BASE))
        if self.is_unsure(BEST):
            saves = self.strategy(BEST).saves
            assert saves is not None
            return (
                "An estimate cannot tell whether the best cut saves anything: it takes between"
                f" {size(saves.most)} less and {size(-saves.least)} more."
            )
        less = min((whole, TITLES[ALL]), (base, TITLES[BASE]))
        if self.unknown or self.is_unsure(ALL):
            # Squashed whole they lose bases that nobody here knows: that is no saving.
            less = base, TITLES[BASE]
        if built <= min(best, less[0]):
            if self.unknown:
                return "With the bases that are known there is nothing to squash."
            return "Do not squash: as it was built this fleet takes least."
        about = "about " * self.estimate
        if less[0] < best * (1 - _WORTH):
            return (
                f"The best cut saves {about}{size(built - best)}; {less[1]}, which shares less, takes"
                f" {about}{size(best - less[0])} less still."
            )
        saved = f"{about}{size(built - best)} ({100 * (built - best) / built:.1f} %)"
        if not self.is_worthwhile:
            start = "With the bases that are known" if self.unknown else "Do not squash:"
            return f"{start} the best cut would save {saved}, and change digests for that."
        text = f"The best cut saves {saved}"
        if whole > best and not self.is_unsure(ALL):
            about = "about " * (self.estimate or self.strategy(ALL).is_estimated)
            text += f"; squashing each image whole would take {about}{size(whole - best)} more than that"
        return text + "."

    @property
    def is_worthwhile(self) -> bool:
        """Whether the best cut saves enough to be worth new digests, as far as that is known."""
        return not self.is_unsure(BEST) and self._taken(BEST) < self._taken(BUILT) * (1 - _WORTH)

    def _taken(self, name: str) -> int:
        """What the fleet takes under a strategy."""
        return self.cost(self.strategy(name))

    def cost(self, strategy: Strategy) -> int:
        """What is to be least."""
        return strategy.taken(self.minimise, self.updates)


def _change(value: int, before: int) -> str:
    if not before or value == before:
        return ""
    return f"{100 * (value - before) / before:+.1f} %"
