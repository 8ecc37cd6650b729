"""What a squash of a whole fleet wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from squashkit.amounts import count, size, sizes
from squashkit.errors import show_text
from squashkit.plan.documents import Transfer
from squashkit.plan.fleet.strategies import Strategy
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.fleet.titles import TITLES
from squashkit.report.squash import Report
from squashkit.report.stored import moved, transfer_json
from squashkit.report.text import Fit, table


@dataclass(frozen=True, slots=True)
class SquashedFleet:
    """What a squash of a whole fleet wrote."""

    fleet: FleetReport
    """What the fleet takes as it was built, and by the strategy."""
    strategy: Strategy
    """What was carried out."""
    outputs: tuple[tuple[str, Report], ...]
    """For each image where it went, and its own report."""
    transfer: Transfer | None = None
    """Bytes to and from daemons and registries, for all images together; None where there is neither."""

    def __repr__(self) -> str:
        images = count(len(self.outputs), "image")
        return f"<SquashedFleet: {images}, {self.strategy.name}, {size(self.stored)}>"

    @property
    def stored(self) -> int:
        """Bytes of the different layers that were written, as they are stored there."""
        layers = {layer.digest: layer.size for _, one in self.outputs for layer in one.after}
        return sum(layers.values())

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints. Sizes are bytes."""
        return {
            "strategy": TITLES[self.strategy.name],
            "registry_bytes": {
                "as_built": self.fleet.strategies[0].registry,
                "squashed": self.strategy.registry,
            },
            "written_bytes": self.stored,
            "transfer": transfer_json(self.transfer),
            **self.fleet.unknown_json(),
            "no_longer_shared": self.fleet.no_longer_shared(self.strategy).json(),
            "notes": list(self.fleet.notes),
            "images": {
                name: {"output": output, **report.json()}
                for name, (output, report) in zip(self.fleet.names, self.outputs, strict=True)
            },
        }

    def lines(self) -> list[str]:
        """A table with a line for each image, and what all of them take."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        head, rows = self.rows()
        return [
            *table(head, rows, right={0, 1, 2, 3}, fit=Fit(width, wrap=[4])),
            "",
            self.together(),
            *([moved(self.transfer)] if self.transfer is not None else []),
            *self.fleet.notes,
        ]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The table: its head, and a row for each image."""
        built = self.fleet.strategies[0]
        stacks = built.stacks, self.strategy.stacks
        taken = (sizes([sum(blob.stored for blob in stack) for stack in side]) for side in stacks)
        layers = ([f"{len(stack):,}" for stack in side] for side in stacks)
        outputs = (show_text(output) for output, _ in self.outputs)
        rows = [list(row) for row in zip(*layers, *taken, outputs, strict=True)]
        return ["layers", "after", "registry", "after", "written as"], rows

    def together(self) -> str:
        """What all of them take."""
        built = self.fleet.strategies[0]
        return (
            f"Together {size(self.stored)} of layers were written, each of them once. In a registry"
            f" they take {size(self.strategy.registry)}, as built {size(built.registry)}."
        )
