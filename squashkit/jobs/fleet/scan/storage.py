"""What a scanned fleet takes under each strategy. No layer is read again: its headers are in the scan.

Bytes on a host, and plain ones, are exact. What a merged layer takes in a registry is estimated, by the
ratios at which its sources are compressed: a scan does not have the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from squashkit.arguments import checked, texts
from squashkit.engine.layers import LayerStore
from squashkit.jobs.fleet.layers import FleetLayers
from squashkit.jobs.fleet.measure import OpenFleet
from squashkit.jobs.fleet.members import Fleet
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.fleet.published import published_members
from squashkit.jobs.fleet.scan.images import scanned_members
from squashkit.options import FleetOptions, Run
from squashkit.plan.fleet.strategies import BUILT
from squashkit.progress import Progress, Silent
from squashkit.report.fleet.storage import FleetReport
from squashkit.transports.session import Session

ESTIMATED = (
    "From a scan: what merged layers take in a registry is estimated, at the ratios at which their sources"
    " are compressed; bytes on a host are exact."
)


@checked
def measure_scan(
    scan: Path | str,
    *,
    fleet: FleetOptions = FleetOptions(),
    built_only: bool = False,
    run: Run = Run(),
    progress: Progress | None = None,
) -> FleetReport:
    """What the images of a scan take, as `measure_fleet` tells it with `estimate`. Images of which a layer
    was not read are left out, and a note names them; `built_only` measures them as they were built alone.

    Raises TransportError where there is no scan, InvalidImage where it is broken, UsageError where no image
    of it is whole, and what opening the bases that are named does.
    """
    fleet = replace(fleet, estimate=True)
    with (
        for_many_images(),
        Session(run, progress or Silent()) as session,
        scanned_fleet(Path(scan), fleet, session) as opened,
    ):
        if built_only:
            return opened.report(opened.measure([BUILT], fleet), fleet, scan=False)
        opened.check_limit(fleet.rows, fleet)
        opened = opened.read(estimate=True)
        measured = opened.measure(fleet.rows, fleet)
        opened.fleet.notes.append(ESTIMATED)
        return opened.report(measured, fleet, once=opened.layers.files_once())


@contextmanager
def scanned_fleet(scan: Path, fleet: FleetOptions, session: Session) -> Iterator[OpenFleet]:
    """The images of a scan as a fleet. Its layers are read from the scan, while it is open. Raises as
    `measure_scan` does."""
    with LayerStore(session) as store:
        members, notes = scanned_members(scan, session)
        found = Fleet(session, fleet.choice, texts(fleet.exclude), notes)
        members = found.without_excluded(members)
        layers = FleetLayers(store, members, published=published_members(found, fleet.published))
        yield OpenFleet.over(layers, found, fleet, estimate=True)
