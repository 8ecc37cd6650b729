"""A squash, reference to report: read an image, keep its base, merge the rest, write it.

These are the functions to read first.
"""

from __future__ import annotations

from types import MappingProxyType

from squashkit.arguments import checked
from squashkit.engine.carry_out import Task
from squashkit.engine.deliver import deliver
from squashkit.engine.layers import LayerStore
from squashkit.engine.write import Stock
from squashkit.errors import UsageError
from squashkit.jobs.base.used import remember
from squashkit.jobs.decide import Bases, decide, keep_all
from squashkit.jobs.ends import decide_targets, guard_tags, open_ends
from squashkit.jobs.leave_out import exclusions_of
from squashkit.jobs.provenance import index_provenance, parameters_of, with_provenance
from squashkit.jobs.recipes import recipe_of, refuse_file, write_recipe
from squashkit.jobs.reports import notes_on, reports_of, transferred
from squashkit.oci.documents import ALL
from squashkit.options import History, Keep, Merge, Read, Run, Write
from squashkit.plan.documents import is_base_kept
from squashkit.plan.recipe.model import SQUASH, merge_options
from squashkit.plan.squash import squash_planner
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.platforms import IndexReport
from squashkit.report.squash import Report
from squashkit.wording import Option


@checked
def squash(
    image: str,
    output: str | None,
    *,
    keep: Keep | str | None = None,
    merge: Merge = Merge(),
    history: History = History(),
    read: Read = Read(),
    write: Write = Write(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Report:
    """Squash the image that a reference names and write the result to another reference.

    In a dry run, or without an output, nothing is written and the report tells what would be. The root file
    system of what is written is exactly the source's, but for what `merge` leaves out, and its kept layers
    are the source's byte for byte; otherwise nothing is written and a SquashkitError says why. `keep` as a
    text names the base.
    `notify` gets messages for people while the work goes on. OSError comes through as it is (a full disk, a
    closed pipe).
    """
    if read.choice == ALL:
        raise UsageError("all platforms are the work of squash_platforms")
    (report,) = squash_platforms(
        image,
        output,
        keep=keep,
        merge=merge,
        history=history,
        read=read,
        write=write,
        run=run,
        progress=progress,
        notify=notify,
    ).reports.values()
    return report


@checked
def squash_platforms(
    image: str,
    output: str | None,
    *,
    keep: Keep | str | None = None,
    merge: Merge = Merge(),
    history: History = History(),
    read: Read = Read(platform=ALL),
    write: Write = Write(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> IndexReport[Report]:
    """Squash every platform of the index that a reference names and write a new index of the results.

    What is no image (attestations, artifacts) stays out. All else is as for `squash`, for all platforms
    together: nothing has a name before every one of them is right.
    """
    exclusions = exclusions_of(merge.drop_caches, merge.exclude)
    refuse_file(write.recipe_file)
    if merge.blind and write.recipe is not None:
        raise UsageError(
            Option("Merge.blind", True),
            ": what is not known to be right has no recipe; leave ",
            Option("Write.recipe"),
            " out",
        )
    with (
        open_ends([image], output, read, run, progress, notify) as (session, source),
        LayerStore(session, verify=read.verify, fetch_base=read.fetch_base) as layers,
    ):
        bases = Bases(session, read.choice)
        keep = Keep.of(keep)
        if source.is_delta and keep == Keep():
            decisions, chosen = keep_all(source, read)
        else:
            decisions, chosen = decide(source, keep, read, bases)
        if exclusions:
            decisions = [one.remade() for one in decisions]
        targets = decide_targets(output, source, decisions, bases, read, write)
        guard = guard_tags(source, decisions, targets[0], read)
        decisions = [bases.add_blobs(one, source, targets[0]) for one in decisions]
        notes = [
            notes_on(source, one, to, chosen, history) for one, to in zip(decisions, targets, strict=True)
        ]
        tasks = [
            Task(
                one,
                squash_planner(one.segments, merge, exclusions),
                history,
                base_kept=is_base_kept(one.image, one.base),
                why_unchanged="there is nothing to squash" + " and nothing to leave out" * bool(exclusions),
                needs_all=bool(exclusions),
            )
            for one in decisions
        ]
        asked = parameters_of("squash", image, output, Keep.of(keep), merge, history, read, write)
        delivery = deliver(layers, tasks, targets, guard, Stock())
        if write.recipe_file is not None and targets[0].writes:
            recipe = recipe_of(SQUASH, merge_options(merge), delivery, tasks, targets)
            write_recipe(write.recipe_file, recipe)
        if targets[0].writes:
            remember(one.base for one in decisions)
        moved = transferred(session, [delivery], delivery.output)
        reports = reports_of(source, delivery, targets, notes, moved)
        made_from = [{"source": one.image, "base": one.base.image} for one in decisions]
        reports = with_provenance(reports, targets, asked, made_from, [source, *bases.sources])
        return IndexReport(
            MappingProxyType({str(report.image.platform): report for report in reports}),
            delivery.index or "",
            tuple(chosen.missing),
            moved,
            index_provenance(delivery, reports, targets[0]),
        )
