"""What to do with each image of a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from squashkit.arguments import checked
from squashkit.jobs.fleet.measure import measure_fleet
from squashkit.options import STRATEGIES, FleetOptions, Run
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
    every = replace(fleet, strategies=STRATEGIES)
    return AdviceReport(measure_fleet(references, fleet=every, run=run, progress=progress))
