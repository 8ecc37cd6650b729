"""Whether an image wastes more than it may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from squashkit.options import Gates
from squashkit.plan.waste.model import DeadFile, Finding
from squashkit.values import frozen


@frozen
class Wasted:
    """What gates go by, in bytes of payload."""

    dead: int
    """Of dead files that were made above the base."""
    dead_of_base: int
    """Of files of the base that are dead."""
    above: int
    """Of all files above the base."""
    total: int
    """Of all files."""
    layers: int

    @property
    def percent(self) -> float:
        """Of a hundred bytes above the base, those that are dead."""
        return 100 * self.dead / self.above if self.above else 0.0

    @property
    def efficiency(self) -> float:
        """Of a hundred bytes, those that are not dead."""
        return 100 - 100 * self.dead / self.total if self.total else 100.0


@frozen
class Gate:
    """One gate: bytes, shares of a hundred, or layers."""

    name: str
    limit: float
    value: float
    passed: bool


def measure(
    dead: Sequence[DeadFile], live: Sequence[Finding], payloads: Sequence[int], base_layers: int
) -> Wasted:
    """What dead files, and these findings, take of layers of so many bytes of payload each."""
    above = sum(one.size for one in dead if one.layer >= base_layers)
    return Wasted(
        above + sum(one.size for one in live if one.layer >= base_layers),
        sum(one.size for one in dead) - above,
        sum(payloads[base_layers:]),
        sum(payloads),
        len(payloads),
    )


def judge(wasted: Wasted, gates: Gates) -> Iterator[Gate]:
    """Every gate that was set."""
    is_small = wasted.dead < gates.floor
    if gates.most is not None:
        yield Gate("max-wasted", gates.most, wasted.dead, wasted.dead <= gates.most)
    if (most := gates.max_wasted_percent) is not None:
        yield Gate("max-wasted-percent", most, wasted.percent, is_small or wasted.percent <= most)
    if (least := gates.min_efficiency) is not None:
        yield Gate("min-efficiency", least, wasted.efficiency, is_small or wasted.efficiency >= least)
    if gates.max_layers is not None:
        yield Gate("max-layers", gates.max_layers, wasted.layers, wasted.layers <= gates.max_layers)
