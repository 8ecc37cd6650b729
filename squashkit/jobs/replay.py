"""An image made again by its recipe, from the old one alone.

A recipe is believed in nothing. What it makes of a squash is held against the image that it is made of,
before it is written (plan/recipe/prove.py); a job whose result is another root file system than its
source's is done anew, and its plan held against the recipe's. Both must come to the image_id that the
recipe promises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from squashkit.arguments import checked, texts
from squashkit.engine.carry_out import Task
from squashkit.engine.layers import LayerStore
from squashkit.engine.stream import read_padded
from squashkit.errors import BaseUnknown, CheckFailed, ImageNotFound, InvalidRecipe, UsageError, show_text
from squashkit.jobs.choose import Chosen
from squashkit.jobs.decide import Bases
from squashkit.jobs.ends import decide_targets, guard_tags, open_ends, would_harm
from squashkit.jobs.held import Held, alike_of, base_of
from squashkit.jobs.leave_out import exclusions_of
from squashkit.jobs.recipes import read_recipe
from squashkit.jobs.reports import notes_on, reports_of, transferred
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import HeaderOf
from squashkit.oci.graph import Image
from squashkit.options import ByRecipe, Merge, Read, Run, Write
from squashkit.plan.documents import is_base_kept
from squashkit.plan.recipe.model import FLEET, REBASE, ImageNote, Recipe, merge_of
from squashkit.plan.recipe.prove import plan_by_recipe
from squashkit.plan.segments import Decision, parse_segments
from squashkit.plan.squash import LayerPlan, squash_planner
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.platforms import IndexReport
from squashkit.transports.open import open_source
from squashkit.transports.reference import parse_reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.wording import Option


class Replayed(Protocol):
    """What was made again: a Report, a RebaseReport, an IndexReport of these, or of a fleet a
    SquashedFleet."""

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""


@checked
def replay(
    recipe: Path | str,
    sources: Sequence[str] | str,
    output: str | None,
    *,
    merge: Merge = Merge(),
    clamp_mtime: str | None = None,
    read: Read = Read(),
    write: Write = Write(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Replayed:
    """Make the images of a recipe again, of the old ones that `sources` name, and write them: for a rebase
    they name the image, its new base, and its old base where that was named; for a fleet all of it, and
    `output` is where `squash_fleet` would put it.

    What is written is what the recipe says (its image_id), and its root file system is exactly that of the
    old image, or what a rebase makes of it; otherwise CheckFailed says why and nothing is written. What a
    recipe leaves out on purpose `merge` must leave out, too, and a time that it clamps others to must be
    `clamp_mtime`. For which platforms it is, the recipe says. The reports note whether the manifest is the
    recipe's, too: that depends on how the kept layers are stored in the sources, and on the compressor.

    Raises InvalidRecipe, UsageError, ImageNotFound where no source has the old image; otherwise as
    `squash` and `rebase`.
    """
    held = Held(read_recipe(Path(recipe)))
    if output is not None and would_harm(Path(recipe), output):
        raise UsageError(f"{recipe} is the recipe, an input, which is never written to")
    try:
        return _replay(
            *(held, texts(sources), output, merge, clamp_mtime, read, write, run),
            progress=progress,
            notify=notify,
        )
    except BaseUnknown as error:
        raise UsageError(
            "a base that the recipe is of is not known here: of a rebase name it behind the new one, of a"
            " fleet have it where it was"
        ) from error


def prove(by: ByRecipe, run: Run, progress: Progress | None) -> Held:
    """Make the images of a recipe again, without writing them. Raises as `replay` does."""
    held = Held(read_recipe(by.file), writes=False)
    sources = texts(by.sources)
    _replay(held, sources, None, by.merge, by.clamp_mtime, Read(), Write(), run, progress=progress)
    return held


def _replay(
    held: Held,
    sources: Sequence[str],
    output: str | None,
    merge: Merge,
    clamp_mtime: str | None,
    read: Read,
    write: Write,
    run: Run,
    *,
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Replayed:
    if not sources:
        raise UsageError("no source: name the old image, of which the recipe makes the new one")
    if write.recipe is not None or write.provenance:
        raise UsageError(
            "a replay writes no recipe and no provenance: those of the squash are of the same image"
        )
    if clamp_mtime != held.recipe.options.get("clamp_mtime"):
        mine = held.recipe.options.get("clamp_mtime")
        raise CheckFailed(
            "the recipe and the caller differ on the times of files; nothing was written. It has",
            *((" ", Option("clamp_mtime", mine)) if mine else (" no ", Option("clamp_mtime"))),
        )
    if held.recipe.job == FLEET:
        _refuse_other(Merge(), merge)
        if held.writes and output is None:
            raise UsageError("where does the fleet go? ", Option("output", example="oci:DIR"))
        from squashkit.jobs.fleet.squash import squash_again  # most recipes are of no fleet

        return squash_again(
            held, sources, output, force=write.force, run=run, progress=progress, notify=notify
        )
    read = held.reading(read)
    if held.recipe.job == REBASE:
        _refuse_other(Merge(), merge)
        from squashkit.jobs.rebase import rebase_again  # nor of a rebase

        done = rebase_again(
            held, sources, output, read=read, write=write, run=run, progress=progress, notify=notify
        )
        return done if held.recipe.index else next(iter(done.reports.values()))
    squash = _Squash(held, merge_of(held.recipe.options))
    _refuse_other(squash.merge, merge)
    with (
        open_ends(sources[:1], output, read, run, progress, notify) as (session, first),
        LayerStore(session, verify=read.verify, fetch_base=read.fetch_base) as layers,
    ):
        source = _source_with(held.recipe, session, first, sources[1:], read)
        bases = Bases(session, read.choice)
        decisions = squash.decisions(source)
        write = held.form(output, source, decisions[0].image, write)
        targets = decide_targets(output, source, decisions, bases, read, write)
        guard = guard_tags(source, decisions, targets[0], read)
        tasks = squash.tasks(decisions, layers)
        notes = [
            notes_on(source, one, to, Chosen([one.image]), task.history)
            for one, to, task in zip(decisions, targets, tasks, strict=True)
        ]
        delivery = held.deliver(layers, tasks, targets, guard)
        moved = transferred(session, [delivery], delivery.output)
        reports = [
            held.told(report, note, target)
            for report, note, target in zip(
                reports_of(source, delivery, targets, notes, moved),
                held.recipe.images,
                targets,
                strict=True,
            )
        ]
        if not held.recipe.index:
            return reports[0]
        by_platform = {str(report.image.platform): report for report in reports}
        return IndexReport(MappingProxyType(by_platform), delivery.index or "", transfer=moved)


def _refuse_other(mine: Merge, allowed: Merge) -> None:
    """Raises CheckFailed where a recipe leaves out other things than the caller does, or reads paths
    through symlinks in another way: then what it makes is another root file system than the caller's."""
    if (
        {*texts(mine.drop_caches)} == {*texts(allowed.drop_caches)}
        and {*texts(mine.exclude)} == {*texts(allowed.exclude)}
        and mine.also_base == allowed.also_base
        and mine.symlink_parents == allowed.symlink_parents
    ):
        return
    has = [
        *(Option("Merge.drop_caches", show_text(text)) for text in texts(mine.drop_caches)),
        *(Option("Merge.exclude", show_text(text)) for text in texts(mine.exclude)),
        *([Option("Merge.also_base", True)] if mine.also_base else []),
        Option("Merge.symlink_parents", mine.symlink_parents),
    ]
    raise CheckFailed(
        "the recipe makes another root file system than the caller's options do, and nothing was written."
        " It has",
        *(part for option in has for part in (" ", option)),
    )


def _source_with(
    recipe: Recipe, session: Session, first: Source, others: Sequence[str], read: Read
) -> Source:
    """The source that has all images of which the recipe makes others."""
    wanted = {recipe.sources[note.source].image_id for note in recipe.images}
    looked_at = [first]
    for reference in ("", *others):
        if reference:
            looked_at.append(open_source(session, parse_reference(reference), read.choice))
        if wanted <= {image.image_id for image in looked_at[-1].images}:
            return looked_at[-1]
    raise ImageNotFound(
        f"no {', '.join(sorted(wanted))} in {', '.join(source.title for source in looked_at)}: the recipe"
        " is of that image",
        reference=looked_at[-1].title,
    )


class _Squash:
    """A squash, done again."""

    def __init__(self, held: Held, merge: Merge) -> None:
        self._held = held
        self.merge = merge
        self._exclusions = exclusions_of(merge.drop_caches, merge.exclude)

    def decisions(self, source: Source) -> list[Decision]:
        """What becomes of each image of the source. Raises InvalidRecipe where that cannot be."""
        recipe = self._held.recipe
        by_id = {image.image_id: image for image in source.images}
        found = [_decision(by_id[recipe.sources[note.source].image_id], note) for note in recipe.images]
        return [one.remade() for one in found] if self._exclusions else found

    def tasks(self, decisions: Sequence[Decision], layers: LayerStore) -> list[Task]:
        """How each is carried out. Where nothing is left out, the plan is the recipe's, once it is known to
        be right; else it is made anew."""
        tasks = []
        for one, note in zip(decisions, self._held.recipe.images, strict=True):
            task = Task(
                one,
                squash_planner(one.segments, self.merge, self._exclusions),
                note.history,
                base_kept=is_base_kept(one.image, one.base),
                needs_all=bool(self._exclusions),
                image_id=note.image_id,
            )
            if self._exclusions:
                tasks.append(self._held.task(task, note))
            else:
                tasks.append(replace(task, plan=partial(self._plan, layers, one, note)))
        return tasks

    def _plan(
        self,
        layers: LayerStore,
        decision: Decision,
        note: ImageNote,
        changesets: Mapping[int, Changeset],
        header_of: HeaderOf,
    ) -> LayerPlan:
        image = decision.image
        places, alike = alike_of(image.layers, list(changesets))

        def read(index: int, start: int, end: int) -> bytes:
            data = bytearray(end - start)
            layer = image.layers[index]
            read_padded(layers.bytes_of(layer), start, memoryview(data), layer.where)
            return bytes(data)

        pieces = self._held.pieces(note, places)
        return plan_by_recipe(changesets, decision.segments, pieces, read, alike, self.merge)


def _decision(image: Image, note: ImageNote) -> Decision:
    total = len(image.layers)
    misfit = InvalidRecipe(f"the recipe does not fit {image.title}, which has {total} layers")
    if note.segments.count(",") >= max(total, 1) or len(note.made) > total or note.base.layers > total:
        raise misfit
    try:
        segments = parse_segments(note.segments, total) if note.segments or total else []
    except UsageError as error:
        raise misfit from error
    return Decision(image, base_of(image, note.base), segments)
