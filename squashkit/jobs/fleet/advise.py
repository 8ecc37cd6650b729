"""What to do with each image of a fleet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from squashkit.arguments import checked, texts
from squashkit.jobs.fleet.measure import OpenFleet
from squashkit.jobs.fleet.opened import read_fleet
from squashkit.jobs.fleet.wasted import Deaths, find_deaths
from squashkit.options import FleetOptions, Run
from squashkit.plan.fleet.advice import Advised, Recipe
from squashkit.plan.fleet.strategies import ALL, BASE, BEST, BUILT, TRIE
from squashkit.progress import Progress
from squashkit.report.fleet.advice import AdviceReport, changed_by, kinds_of

_NEEDED = (BUILT, ALL, BASE, TRIE, BEST)
"""The strategies that advice is made of."""


@checked
def fleet_advise(
    references: Sequence[str] | str,
    *,
    fleet: FleetOptions = FleetOptions(),
    run: Run = Run(),
    progress: Progress | None = None,
) -> AdviceReport:
    """For each image by which segments to squash it, so that all of them together take least, and why; for
    each repository the command that does so with its next release, too. A reference may be the folder of a
    scan, if it is the only one; otherwise as `measure_fleet`."""
    with read_fleet(texts(references), fleet, run, progress) as (opened, options):
        return advice_on(opened, options, find_deaths(opened.layers))


def advice_on(
    opened: OpenFleet, options: FleetOptions, deaths: Deaths, also: Sequence[str] = ()
) -> AdviceReport:
    """What to do with the images of a fleet whose layers were read, by what their layers end of others;
    `also` strategies are measured that nothing is advised by."""
    options = replace(options, strategies=(*_NEEDED, *also))
    measured = opened.measure(options.rows, options, () if options.estimate else (ALL,))
    report = opened.report(measured, options)
    by_name = {one.name: one for one in measured}
    built, merged, best = (by_name[name] for name in (BUILT, BASE, BEST))
    changed = changed_by(report)
    advised = Advised(opened.trie, built.stacks, merged.stacks, best.stacks, best.segments, changed)
    found = advised.findings(opened.base_names, deaths.kills)
    kinds = [
        squashed
        for numbers in kinds_of(report.names, found).values()
        if (squashed := [number for number in numbers if changed[number]])
    ]
    recipes: list[Recipe | None] = [None] * len(report.names)
    for kind, recipe in zip(
        kinds, advised.recipes(kinds, found, on_hosts=options.minimise == "host"), strict=True
    ):
        for number in kind:
            recipes[number] = recipe
    return AdviceReport(report, tuple(found), tuple(recipes))
