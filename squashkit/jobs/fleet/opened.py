"""A fleet whose layers are read: of images, or of a scan that is named alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from squashkit.engine.layers import LayerStore
from squashkit.jobs.fleet.measure import OpenFleet
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.fleet.scan.storage import ESTIMATED, scanned_fleet
from squashkit.jobs.fleet.scan.where import scan_at
from squashkit.options import FleetOptions, Run
from squashkit.plan.fleet.strategies import BEST
from squashkit.progress import Progress, Silent
from squashkit.transports.session import Session


@contextmanager
def read_fleet(
    references: Sequence[str], options: FleetOptions, run: Run, progress: Progress | None
) -> Iterator[tuple[OpenFleet, FleetOptions]]:
    """The fleet, and how to look at it: of a scan new layers are estimated. Raises as `measure_fleet` and
    `measure_scan` do, where the best cut is wanted."""
    scan = scan_at(references[0]) if len(references) == 1 else None
    with for_many_images(), Session(run, progress or Silent()) as session:
        if scan is not None:
            options = replace(options, estimate=True)
            with scanned_fleet(scan, options, session) as opened:
                opened.check_limit([BEST], options)
                opened.fleet.notes.append(ESTIMATED)
                yield opened.read(estimate=True), options
            return
        with LayerStore(session) as layers:
            opened = OpenFleet.of(layers, references, options, estimate=options.estimate)
            opened.check_limit([BEST], options)
            opened = opened.without_bad_layers(options).read(estimate=options.estimate)
            yield opened, options
