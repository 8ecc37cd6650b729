"""What hosts download for images that have others already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from squashkit.arguments import checked, texts
from squashkit.engine.layers import LayerStore
from squashkit.errors import UsageError, show_text
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.measure import GZIP, titles_of
from squashkit.jobs.fleet.members import Fleet
from squashkit.jobs.fleet.prices import Pricing
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.fleet.scan.where import scan_at
from squashkit.options import FleetOptions, Run
from squashkit.plan.fleet.pull import pulls
from squashkit.progress import Progress, Silent
from squashkit.report.fleet.pull import PullReport
from squashkit.transports.session import Session


@checked
def fleet_pull(
    references: Sequence[str] | str,
    *,
    have: Sequence[str] | str = (),
    fleet: FleetOptions = FleetOptions(),
    run: Run = Run(),
    progress: Progress | None = None,
) -> PullReport:
    """For each image the bytes that a host downloads which has the images of `have`, and nothing without.

    References are those of `measure_fleet`. No layer is read: sizes are those that manifests state, and of
    plain layers their own. Raises what opening the images does.
    """
    for text in (*texts(references), *texts(have)):
        if scan_at(text) is not None:
            raise UsageError(f"{show_text(text)} is a scan; the page of `fleet report` tells it of a scan")
    with for_many_images(), Session(run, progress or Silent()) as session, LayerStore(session) as store:
        there = Fleet(session, fleet.choice)
        had = there.members(texts(have)) if texts(have) else []
        asked = replace(there, exclude=texts(fleet.exclude), notes=[])
        images = asked.members(texts(references))
        prices = Pricing(FleetLayers(store, [*had, *images]), GZIP, estimate=True)
        stacks = [
            [prices.layer(number, layer) for layer in member.image.layers]
            for number, member in enumerate(prices.members)
        ]
        each, together = pulls(stacks[: len(had)], stacks[len(had) :])
        notes = (*there.notes, *asked.notes)
        return PullReport(
            tuple(titles_of(had)), tuple(titles_of(images)), tuple(each), together, notes, prices.has_plain
        )
