"""What to do with each image of a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from squashkit.arguments import checked
from squashkit.jobs.fleet.measure import measure_fleet
from squashkit.options import STRATEGIES, FleetOptions, Run
from squashkit.plan.fleet.strategies import CARVE
from squashkit.progress import Progress
from squashkit.report.fleet.advice import AdviceReport


@checked
def fleet_advise(
    references: Sequence[str] | str,
    *,
    fleet: FleetOptions = FleetOptions(),
    run: Run = Run(),
    progress: Progress | None = None,
) -> AdviceReport:
    """For each image by which segments to squash it, so that all of them together take least. Otherwise as
    `measure_fleet`."""
    # Each image is advised by itself, and no carved one can be made so.
    every = replace(fleet, strategies=[one for one in STRATEGIES if one != CARVE])
    return AdviceReport(measure_fleet(references, fleet=every, run=run, progress=progress))
