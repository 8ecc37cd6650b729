"""The report of a fleet: a table for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from squashkit.fleet import Blob, host_bytes, pulled, pulled_blobs, registry_bytes
from squashkit.planner import Segment
from squashkit.report.text import count, size, table


@dataclass(frozen=True)
class Strategy:
    """One way to keep a fleet: for every image its segments, and the layers that it then has."""

    name: str
    segments: Sequence[tuple[Segment, ...]]
    stacks: Sequence[tuple[Blob, ...]]

    @cached_property
    def registry(self) -> int:
        """Bytes of different blobs."""
        return registry_bytes(self.stacks)

    @cached_property
    def host(self) -> int:
        """Bytes of files in different layers, as docker counts them."""
        return host_bytes(self.stacks)

    @cached_property
    def pulled(self) -> list[int]:
        """Bytes that a host downloads for each next image."""
        return pulled(self.stacks)

    @property
    def layers(self) -> int:
        """Layers of all images, those that they share counted once for each."""
        return sum(len(stack) for stack in self.stacks)

    def json(self, names: Sequence[str]) -> dict[str, Any]:
        return {
            "strategy": self.name,
            "registry_bytes": self.registry,
            "host_bytes": self.host,
            "layers": self.layers,
            "most_layers": max((len(stack) for stack in self.stacks), default=0),
            "pulled": {"by_chain": self.pulled, "by_blob": pulled_blobs(self.stacks)},
            "segments": {
                name: show_segments(segments)
                for name, segments in zip(names, self.segments, strict=True)
            },
        }


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
class FleetReport:
    """What a fleet takes under each strategy. The first is as it was built."""

    names: Sequence[str]
    references: int
    """Layers of all images."""
    nodes: int
    """Different layers on different parents."""
    entries: int
    """Entries of all different layers."""
    strategies: Sequence[Strategy]
    minimise: str
    estimate: bool

    def strategy(self, name: str) -> Strategy:
        return next(one for one in self.strategies if one.name == name)

    def json(self) -> dict[str, Any]:
        return {
            "images": list(self.names),
            "layer_references": self.references,
            "layers": self.nodes,
            "entries": self.entries,
            "minimise": self.minimise,
            "estimate": self.estimate,
            "strategies": [one.json(self.names) for one in self.strategies],
        }

    def csv(self) -> str:
        """One line for each strategy and number of images: what the first so many take."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(["strategy", "images", "registry_bytes", "host_bytes", "layers", "pulled_bytes"])
        for one in self.strategies:
            for number in range(1, len(self.names) + 1):
                stacks = one.stacks[:number]
                layers = sum(len(stack) for stack in stacks)
                rows.writerow(
                    [one.name, number, registry_bytes(stacks), host_bytes(stacks), layers,
                     one.pulled[number - 1]]
                )  # fmt: skip
        return out.getvalue()

    def lines(self) -> list[str]:
        built = self.strategies[0]
        about = " about" if self.estimate else ""
        images = count(len(self.names), "image")
        shared = f"{count(self.nodes, 'layer')}, {count(self.references, 'reference')} to them"
        rows = [
            [
                one.name, size(one.registry), _change(one.registry, built.registry), size(one.host),
                _change(one.host, built.host), str(one.layers), size(sum(one.pulled)),
            ]
            for one in self.strategies
        ]  # fmt: skip
        head = [
            "strategy", f"registry{about}", "", "host", "", "layers", "pulled in this order",
        ]  # fmt: skip
        return [f"{images}, {shared}", "", *table(head, rows, right={1, 2, 3, 4, 5, 6}), "", self._advice()]

    def _advice(self) -> str:
        """The plain answer."""
        kind = "registry" if self.minimise == "registry" else "host"
        best, built = self.strategy("best cut"), self.strategies[0]
        before, after = (getattr(one, kind) for one in (built, best))
        whole = getattr(self.strategy("squash all"), kind)
        if after >= before:
            return "Do not squash: as it was built this fleet takes least."
        text = f"The best cut saves {size(before - after)} ({100 * (before - after) / before:.1f} %)"
        if whole > after:
            text += f"; squashing every image on its own would take {size(whole - after)} more than that"
        return text + "."


def _change(value: int, before: int) -> str:
    if not before or value == before:
        return ""
    return f"{100 * (value - before) / before:+.1f} %"
