"""What a strategy merges away that images outside the fleet may share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import show_text
from squashkit.report.fleet.bases import LISTED
from squashkit.values import frozen


@frozen
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


@frozen
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
        more = len(self.runs) - LISTED
        return [
            "layers are merged that images outside the fleet may share:",
            *(run.line() for run in self.runs[:LISTED]),
            *([f"  and {count(more, 'run')} more"] if more > 0 else []),
            f"  together {self}",
        ]
