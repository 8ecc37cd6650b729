"""A page about a fleet: what it takes, what squashing saves, what is wasted, pulled and freed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from squashkit.arguments import checked, texts
from squashkit.jobs.fleet.advise import advice_on
from squashkit.jobs.fleet.freed import tags_of
from squashkit.jobs.fleet.opened import read_fleet
from squashkit.jobs.fleet.wasted import find_deaths, find_wasted
from squashkit.options import FleetOptions, Run
from squashkit.plan.fleet.strategies import CARVE
from squashkit.progress import Progress
from squashkit.report.html.fleet import Pictured
from squashkit.report.html.render import check_template, fleet_html
from squashkit.transports.archive.sink import check_free


@checked
def fleet_page(
    references: Sequence[str] | str,
    *,
    fleet: FleetOptions = FleetOptions(),
    run: Run = Run(),
    progress: Progress | None = None,
) -> str:
    """One HTML page about a fleet, for a browser: what it takes and what each strategy saves, a picture of
    its layers, what of them is dead, what to do, what hosts download, and what deleting would free. It has
    all that it needs in itself, and is the same text for the same images.

    References are those of `measure_fleet`, or the folder of a scan. Raises UsageError where jinja2 is not
    installed, and what `measure_fleet` and `measure_scan` do.
    """
    check_template()
    return fleet_html(picture_fleet(texts(references), fleet=fleet, run=run, progress=progress))


def picture_fleet(
    references: Sequence[str], *, fleet: FleetOptions, run: Run, progress: Progress | None
) -> Pictured:
    """What the page shows. Raises what `measure_fleet` and `measure_scan` do."""
    with read_fleet(references, fleet, run, progress) as (opened, options):
        images = tuple(opened.trie.images)
        deaths = find_deaths(opened.layers)
        return Pictured(
            advice_on(opened, options, deaths, also=(CARVE,)),
            images,
            tuple(opened.trie.base_layers(number) for number in range(len(images))),
            find_wasted(opened.layers, deaths),
            tuple(tags_of(opened.layers.store.session, opened.prices, opened.members)),
        )


def check_fleet_page(path: Path, *, force: bool) -> None:
    """Raises UsageError where no page can be made, or something is there that it must not replace."""
    check_template()
    check_free(path, force=force)
