"""What a squash of a whole fleet wrote."""

from __future__ import annotations

from typing import Any

from squashkit.amounts import count, size, sizes
from squashkit.errors import show_text
from squashkit.plan.documents import Transfer
from squashkit.plan.fleet.strategies import Strategy
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.fleet.titles import TITLES
from squashkit.report.patch import Outcome, PatchReport
from squashkit.report.squash import Report
from squashkit.report.stored import moved, transfer_json
from squashkit.report.text import Fit, table
from squashkit.values import frozen


@frozen
class SquashedFleet:
    """What a squash of a whole fleet wrote."""

    fleet: FleetReport
    """What the fleet takes as it was built, and by the strategy."""
    strategy: Strategy
    """What was carried out."""
    outputs: tuple[tuple[str, Report], ...]
    """For each image that was written where it went, and its own report."""
    transfer: Transfer | None = None
    """Bytes to and from daemons and registries, for all images together; None where there is neither."""
    moves: PatchReport | None = None
    """What became of each image's own tag; None where images went elsewhere."""

    def __repr__(self) -> str:
        images = count(len(self.outputs), "image")
        return f"<SquashedFleet: {images}, {self.strategy.name}, {size(self.stored)}>"

    @property
    def stored(self) -> int:
        """Bytes of the different layers that were written, as they are stored there."""
        layers = {layer.digest: layer.size for _, one in self.outputs for layer in one.after}
        return sum(layers.values())

    @property
    def _places(self) -> list[str]:
        """For each image where it went, or its own tag."""
        if self.moves is None:
            return [output for output, _ in self.outputs]
        return [f"docker://{tag.name}" for tag in self.moves.tags]

    @property
    def exit_code(self) -> int:
        """The worst of all tags that were to move; 0 where images went elsewhere."""
        return self.moves.exit_code if self.moves is not None else 0

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints. Sizes are bytes."""
        reports = dict(self.outputs)
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
                name: {"output": place, **reports[place].json()}
                for name, place in zip(self.fleet.names, self._places, strict=True)
                if place in reports
            },
            **(self.moves.moves_json() if self.moves is not None else {}),
        }

    def lines(self) -> list[str]:
        """A table with a line for each image, and what all of them take."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        head, rows = self.rows()
        return [
            *table(head, rows, right={0, 1, 2, 3}, fit=Fit(width, wrap=[len(head) - 1])),
            *self.reasons(),
            "",
            self.together(),
            *([moved(self.transfer)] if self.transfer is not None else []),
            *self.fleet.notes,
            *self.ways(),
        ]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """The table: its head, and a row for each image."""
        built = self.fleet.strategies[0]
        befores, afters, outcomes = [], [], []
        for number in range(len(self._places)):
            tag = self.moves.tags[number] if self.moves is not None else None
            stays = tag is not None and tag.outcome is not Outcome.MOVED
            befores.append(built.stacks[number])
            afters.append(built.stacks[number] if stays else self.strategy.stacks[number])
            outcomes += [tag.outcome.value] if tag is not None else []
        stacks = befores, afters
        taken = (sizes([sum(blob.stored for blob in stack) for stack in side]) for side in stacks)
        layers = ([f"{len(stack):,}" for stack in side] for side in stacks)
        columns = [*layers, *taken, *([outcomes] if outcomes else []), list(map(show_text, self._places))]
        rows = [list(row) for row in zip(*columns, strict=True)]
        head = ["layers", "after", "registry", "after"]
        return [*head, *(["written as"] if self.moves is None else ["outcome", "tag"])], rows

    def reasons(self) -> list[str]:
        """Why tags stay as they are, each reason once."""
        return self.moves.reasons() if self.moves is not None else []

    def ways(self) -> list[str]:
        """How many tags moved, and how to go back or on."""
        if self.moves is None:
            return []
        lines = ["", *self.moves.summary()]
        has_failed = any(tag.outcome is Outcome.FAILED for tag in self.moves.tags)
        if self.moves.rollback and (has_failed or self.moves.is_interrupted):
            way = f"--rollback {self.moves.rollback} goes on"
            lines.append(f"The same command with {way}: images are read as they were before.")
        return lines

    def together(self) -> str:
        """What all of them take."""
        built = self.fleet.strategies[0]
        return (
            f"Together {size(self.stored)} of layers were written, each of them once. In a registry"
            f" they take {size(self.strategy.registry)}, as built {size(built.registry)}."
        )
