"""A rebase, reference to report: the layers above an image's base on another base.

What fits is decided in plan/rebase/fit.py, what is merged in plan/rebase/merge, what is at risk in
plan/rebase/risks, what is inherited in plan/rebase/inherit.py; the rest is what every job that writes does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from squashkit.arguments import checked
from squashkit.engine.carry_out import Task
from squashkit.engine.deliver import Delivery, deliver
from squashkit.engine.layers import LayerStore
from squashkit.engine.made import made_layer
from squashkit.engine.stream import gather
from squashkit.engine.write import Stock
from squashkit.errors import (
    CheckFailed,
    InvalidImage,
    PlanError,
    RebaseConflict,
    UsageError,
    inside,
    show_path,
)
from squashkit.jobs.base.lookup import open_new_base
from squashkit.jobs.base.shared import at_hand
from squashkit.jobs.base.used import remember
from squashkit.jobs.decide import Bases, decide
from squashkit.jobs.ends import decide_targets, guard_tags, open_ends
from squashkit.jobs.held import Held
from squashkit.jobs.provenance import index_provenance, parameters_of, with_provenance
from squashkit.jobs.recipes import recipe_of, refuse_file, write_recipe
from squashkit.jobs.reports import notes_on, reports_of, transferred
from squashkit.layers.changeset import Changeset
from squashkit.layers.compare import content_digest
from squashkit.layers.rootfs import Inode
from squashkit.oci.documents import ALL, ImageConfig, dump_json
from squashkit.oci.graph import Image, Layer, restack
from squashkit.oci.media import DOCKER_MANIFEST
from squashkit.oci.shapes import STALE
from squashkit.oci.steps import Instruction, parse_step
from squashkit.options import History, Keep, Read, Rebase, Run, Write
from squashkit.plan.base import Base
from squashkit.plan.documents import EPOCH
from squashkit.plan.rebase.contents import Contents, is_text
from squashkit.plan.rebase.fit import Fitted, fit, rebased_segments
from squashkit.plan.rebase.inherit import MADE_FROM, Inherited, inherit, on_system
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.find import merge
from squashkit.plan.rebase.merge.layer import plan_layer
from squashkit.plan.rebase.merge.record import PACKAGES, Record
from squashkit.plan.rebase.merge.renew import find_renewed
from squashkit.plan.rebase.model import Copied, Kind, Risk, Side
from squashkit.plan.rebase.origin import Origin
from squashkit.plan.rebase.risks.find import find_risks, platform_risks
from squashkit.plan.recipe.model import REBASE, Recipe, rebase_of, rebase_options
from squashkit.plan.segments import Decision, Segment
from squashkit.plan.squash import plan_squash
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.platforms import IndexReport
from squashkit.report.rebase import RebaseReport
from squashkit.transports.sinks import claim
from squashkit.transports.stored import is_here
from squashkit.transports.target import Target
from squashkit.values import frozen
from squashkit.wording import Option, Text, parts_of


@checked
def rebase(
    image: str,
    output: str | None,
    how: Rebase | str,
    *,
    history: History = History(),
    read: Read = Read(),
    write: Write = Write(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> RebaseReport:
    """Put the layers of an image that lie above its base on another base, and write the result. `how` as a
    text names that base.

    Neither base is changed, and layers that need not be made anew are carried over byte for byte. Raises
    RebaseConflict, before anything is written, where what is wrong with that would break the image.
    Otherwise as `squash`.
    """
    if read.choice == ALL:
        raise UsageError("all platforms are the work of rebase_platforms")
    (report,) = rebase_platforms(
        image,
        output,
        how,
        history=history,
        read=read,
        write=write,
        run=run,
        progress=progress,
        notify=notify,
    ).reports.values()
    return report


@checked
def rebase_platforms(
    image: str,
    output: str | None,
    how: Rebase | str,
    *,
    history: History = History(),
    read: Read = Read(platform=ALL),
    write: Write = Write(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> IndexReport[RebaseReport]:
    """Rebase every platform of an index, each onto the new base for it, and write a new index."""
    return _rebase(
        image, output, Rebase.of(how), history, read, write, run, progress=progress, notify=notify
    )


def rebase_again(
    held: Held,
    sources: Sequence[str],
    output: str | None,
    *,
    read: Read,
    write: Write,
    run: Run,
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> IndexReport[RebaseReport]:
    """Do the rebase of a recipe again. `sources` name the image, the new base, and the old one where that
    was named. Raises CheckFailed where something else comes out, otherwise as `rebase`."""
    if not 2 <= len(sources) <= 3:
        raise UsageError(
            "the recipe is of a rebase: name the image, its new base, and its old base where that was named"
        )
    image, onto, *old = sources
    how = rebase_of(held.recipe.options, onto, old[0] if old else None)
    if not how.strict or how.allowed:
        raise CheckFailed("the recipe goes on at errors that nobody here has allowed; nothing was written")
    history = held.recipe.images[0].history
    return _rebase(image, output, how, history, read, write, run, held, progress=progress, notify=notify)


def _rebase(
    image: str,
    output: str | None,
    how: Rebase,
    history: History,
    read: Read,
    write: Write,
    run: Run,
    held: Held | None = None,
    *,
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> IndexReport[RebaseReport]:
    """Rebase all images that are meant. With a recipe, what comes out must be its images."""
    refuse_file(write.recipe_file)
    if write.recipe is not None and (not how.strict or how.allowed):
        raise UsageError(
            "what goes on at errors has no recipe, which others would follow unasked; leave ",
            Option("Write.recipe"),
            " out",
        )
    if write.least is not None:  # the layers as they were need not fit the new base
        raise UsageError("min_saving: a rebase changes the image whatever it saves; leave it out")
    with (
        open_ends([image, how.onto], output, read, run, progress, notify) as (session, source),
        LayerStore(session, verify=read.verify, fetch_base=read.fetch_base) as layers,
    ):
        bases = Bases(session, read.choice)
        found, chosen = decide(source, Keep(base=how.old_base), read, bases, how.onto)
        onto = open_new_base(how.onto, source, [one.image for one in found], bases.open_whole)
        if held is not None:
            onto = [held.base(new, held.note_of(one.image)) for one, new in zip(found, onto, strict=True)]
            write = held.form(output, source, found[0].image, write)
        moves = [_Move.of(one, new, how, read) for one, new in zip(found, onto, strict=True)]
        targets = decide_targets(output, source, [move.unread for move in moves], bases, read, write)
        guard = guard_tags(source, [move.unread for move in moves], targets[0], read)
        claim(session, targets[0])
        session.progress.stage("Reading", None)
        weighed = [move.weigh(layers, fetch=read.fetch_base) for move in moves]
        reports = [
            move.report(one, source.title, dry_run=write.dry_run)
            for move, one in zip(moves, weighed, strict=True)
        ]
        for move, report in zip(moves, reports, strict=True):
            move.stop_at_errors(report)
        tasks = [
            move.task(one, layers, history, move.note(target))
            for move, one, target in zip(moves, weighed, targets, strict=True)
        ]
        tasks = [
            replace(task, decision=bases.add_blobs(task.decision, source, targets[0])) for task in tasks
        ]
        notes = [
            notes_on(source, task.decision, target, chosen, history)
            for task, target in zip(tasks, targets, strict=True)
        ]
        asked = parameters_of("rebase", image, output, how, history, read, write)
        if held is not None:
            tasks = [
                held.task(task, held.note_of(move.whole)) for task, move in zip(tasks, moves, strict=True)
            ]
            delivery = held.deliver(layers, tasks, targets, guard)
        else:
            delivery = deliver(layers, tasks, targets, guard, Stock())
            if write.recipe_file is not None and targets[0].writes:
                write_recipe(write.recipe_file, _recipe(how, moves, delivery, tasks, targets))
        if targets[0].writes:
            remember(base for move in moves for base in (move.old, move.new))
        moved = transferred(session, [delivery], delivery.output)
        written = reports_of(source, delivery, targets, notes, moved)
        if held is not None:
            written = [
                held.told(job, held.note_of(move.whole), target)
                for job, move, target in zip(written, moves, targets, strict=True)
            ]
        made_from = [
            {"source": move.whole, "old_base": move.old.image, "new_base": move.new.image} for move in moves
        ]
        written = with_provenance(written, targets, asked, made_from, [source, *bases.sources])
        reports = [replace(report, job=job) for report, job in zip(reports, written, strict=True)]
        return IndexReport(
            MappingProxyType({str(one.app.platform): one for one in reports}),
            delivery.index or "",
            transfer=moved,
            provenance=index_provenance(delivery, written, targets[0]),
        )


def _recipe(
    how: Rebase,
    moves: Sequence[_Move],
    delivery: Delivery,
    tasks: Sequence[Task],
    targets: Sequence[Target],
) -> Recipe:
    """What was made of the images that were read, which are those above and both bases."""
    sources = [
        [move.whole, *(base.image for base in (move.new, move.old) if base.image is not None)]
        for move in moves
    ]
    return recipe_of(REBASE, rebase_options(how), delivery, tasks, targets, sources)


@frozen
class _Move:
    """One image on its way from base to base."""

    whole: Image
    """As it was read."""
    app: Image
    """Without what an earlier rebase merged into a layer of its own: that is done anew."""
    old: Base
    new: Base
    image: Image
    """The result, as far as it is known: layers of both sources, and the config that it will have."""
    inherited: Inherited
    how: Rebase
    subject: str
    """What its errors begin with: the platform, where there are several."""

    @classmethod
    def of(cls, found: Decision, new: Base, how: Rebase, read: Read) -> _Move:
        old = found.base
        bases = [layer for base in (old, new) if base.image is not None for layer in base.image.layers]
        whole = replace(found.image, layers=at_hand(found.image.layers, bases))
        app = _without_merged(whole, old)
        subject = str(app.platform) if read.choice == ALL else ""
        assert new.image is not None
        known = old.image
        if known is None or not known.config.raw:
            if how.config == "follow":
                with inside(subject):
                    raise UsageError(
                        "what the image inherits from its base is not known by ",
                        *parts_of(old.evidence),
                        ": name the old base's image, or pass ",
                        Option("Rebase.config", "keep"),
                    )
            lower = app.layers[: old.layers]
            known = replace(app, layers=lower, names=(), config=_bare_config(app, old.layers))
        digest = new.image.manifest_descriptor.digest if new.image.manifest_descriptor else None
        keep = how.config == "keep"
        with inside(subject):
            inherited = inherit(
                app, known, new.image, keep=keep, base_name=new.image_name, base_digest=digest
            )
        lower = at_hand(new.image.layers, whole.layers)
        layers = restack(inherited.config, (*lower, *app.layers[old.layers :]))
        descriptor = on_system(app.manifest_descriptor, inherited.config)
        image = replace(app, config=inherited.config, layers=layers, manifest_descriptor=descriptor)
        return cls(whole, app, old, new, image, inherited, how, subject)

    @property
    def unread(self) -> Decision:
        """Every layer as it is, as long as nothing else is known."""
        return Decision(self.image, self.new, [Segment(0, len(self.image.layers), True)])

    def note(self, target: Target) -> str:
        """What the image was made from, where the history must say it: docker's manifests in a registry
        take no annotations."""
        source = self.whole.manifest_descriptor
        is_docker = self.image.family(target.family) == DOCKER_MANIFEST
        if target.in_registry is None or not is_docker or source is None:
            return ""
        return f"{MADE_FROM}{source.digest}"

    def _read(self, layers: LayerStore) -> tuple[list[Changeset], list[Changeset], Changeset | None]:
        """What the old base and the result hold, and what an earlier rebase merged, if one did."""
        lower = layers.read(self.app.layers[: self.old.layers], layers.keeps)
        result = layers.read(self.image.layers, layers.keeps)
        earlier = layers.read(self.whole.layers[len(self.app.layers) :], layers.keeps)
        return lower, result, earlier[0] if earlier else None

    def weigh(self, layers: LayerStore, *, fetch: bool) -> _Weighed:
        """Put the layers above from the old base on the new one: what that breaks, and what is merged so
        that it does not. Contents that decide are fetched, of bases only to `fetch`."""
        assert self.new.image is not None
        user = str(self.inherited.config.settings.get("User") or "")
        with inside(self.subject):
            old, result, earlier = self._read(layers)
            new, above = result[: self.new.layers], result[self.new.layers :]
            fitted = fit(old, new, above, earlier)
            contents = Contents(_Files(self, layers, fetch))
            origin = Origin.read(fitted, contents, self.record.own.get(PACKAGES, set()))
            renewed = find_renewed(fitted, origin, contents, self._replaceable)
            if renewed:
                fitted = fit(old, new, above, earlier, without=renewed.keys())
            changes = merge(fitted, origin, contents, self.how.merging, renewed, self.record)
            risks = platform_risks(self.app.config, self.new.image.config)
            found = find_risks(fitted, origin, contents, changes, user)
        return _Weighed(fitted, changes, (*risks, *found.risks), tuple(found.copied))

    @property
    def record(self) -> Record:
        """What an earlier rebase noted of the image."""
        for entry in reversed(self.whole.config.history or ()):
            record = Record.parse(str(entry.raw.get("comment") or ""))
            if record.own or record.removed:
                return record
        return Record()

    @property
    def _replaceable(self) -> frozenset[int]:
        """The layers above in which old content gives way to the new base's, if that is wanted: those that
        a RUN made. A COPY or an ADD would copy the same again, and so may a step that is not known."""
        if "content" not in self.how.taking:
            return frozenset()
        steps = [parse_step(layer.created_by) for layer in self.app.layers[self.old.layers :]]
        return frozenset(n for n, step in enumerate(steps) if step.instruction is Instruction.RUN)

    def report(self, weighed: _Weighed, source: str, *, dry_run: bool) -> RebaseReport:
        """What people are told of it, as long as nothing is written."""
        allowed = frozenset(Kind(kind) for kind in self.how.allowed)
        return RebaseReport(
            app=self.whole,
            old=self.old,
            new=self.new,
            source=source,
            fitted=weighed.fitted,
            risks=weighed.risks,
            copied=weighed.copied,
            merged=tuple(weighed.changes.merged),
            changes=self.inherited.changes,
            squash=self.how.squash,
            allowed=allowed if self.how.strict else frozenset(Kind),
            stopped_by=frozenset(map(Kind, self.how.stopping)),
            takes_new=bool(self.how.taking),
            dry_run=dry_run,
        )

    def stop_at_errors(self, report: RebaseReport) -> None:
        """Raises RebaseConflict where something would break that is not allowed."""
        with inside(self.subject):
            _stop_at_errors(report)

    def task(self, weighed: _Weighed, layers: LayerStore, history: History, note: str) -> Task:
        """The rebase as one of the tasks that can be carried out, with a comment in the history."""
        before = self._read(layers)
        image, fitted, changes = self.image, weighed.fitted, weighed.changes
        with inside(self.subject):
            pieces = plan_layer(fitted.tree, changes.made, len(image.layers), layers.header_of(image))
            if pieces:
                step = f"{_MERGED} {', '.join(changes.kinds)}"
                merged = made_layer(layers.session, gather(layers, image.layers, pieces), step)
                image = _stacked(image, merged, history)
                above = (*fitted.above, *layers.read(image.layers[-1:], layers.keeps))
                fitted = replace(fitted, above=above)
            image = _noted(image, note, changes.record)
            segments = rebased_segments(fitted, squash=self.how.squash)
            plan = plan_squash(fitted.changesets, segments, layers.header_of(image))

        def recheck() -> None:
            if self._read(layers) != before:
                raise InvalidImage("it was changed while it was read", where=self.app.layers[-1].source)

        return Task(
            Decision(image, self.new, segments),
            lambda changesets, header_of: plan,
            history,
            fitted=fitted.changesets,
            why_unchanged="it lies on this base already",
            recheck=recheck,
        )


@frozen
class _Weighed:
    """The layers of one image on the new base, and what became of what is in them."""

    fitted: Fitted
    changes: Changes
    risks: tuple[Risk, ...]
    copied: tuple[Copied, ...]


@frozen
class _Files:
    """What the files of both bases and of the layers above hold."""

    move: _Move
    layers: LayerStore
    fetch: bool
    """Whether a base's layers may be fetched for that."""

    def digest(self, side: Side, inode: Inode) -> bytes:
        """What two files of the same content have alike."""
        layer = self._layer(side, inode)
        if is_here(layer):
            return content_digest(self.layers.pieces(layer, inode.entry))
        return self.layers.files_of(layer, is_text).digests[inode.entry.start]

    def text(self, side: Side, inode: Inode) -> bytes:
        """All that a file holds."""
        layer = self._layer(side, inode)
        if not is_here(layer):
            texts = self.layers.files_of(layer, is_text).texts
            if inode.entry.start in texts:
                return texts[inode.entry.start]
        return b"".join(self.layers.content(layer, inode.entry))

    def _layer(self, side: Side, inode: Inode) -> Layer:
        image, base = (
            (self.move.whole, self.move.old) if side is Side.OLD else (self.move.image, self.move.new)
        )
        layer = image.layers[inode.layer]
        if inode.layer < base.layers and not self.fetch and not self._is_known(layer):
            raise PlanError(
                f"{layer.where}: /{show_path(inode.entry.path)} must be read to compare it, which ",
                Option("Read.fetch_base", False),
                " forbids; leave that out once, and its files are remembered",
            )
        return layer

    def _is_known(self, layer: Layer) -> bool:
        """Whether nothing need be fetched to tell what its files hold."""
        layers = self.layers
        return is_here(layer) or layers.is_inflated(layer) or layers.remembered_files(layer) is not None


def _bare_config(app: Image, layers: int) -> ImageConfig:
    """What can be said of a base of which only the layers are known."""
    config = app.config
    return replace(config, diff_ids=config.diff_ids[:layers], history=None, raw={})


_MERGED = "squashkit rebase: merged"
"""How the history names the layer that holds what was merged."""
_HOLDS = "layer "
"""With its diff_id, in the comment of that step: text alone may have come to stand at another layer."""


def _without_merged(app: Image, old: Base) -> Image:
    """An image without the layer into which an earlier rebase merged databases, if its history has that as
    the uppermost above the base."""
    history = app.config.layer_history
    if not history or len(app.layers) == old.layers or not history[-1].created_by.startswith(_MERGED):
        return app
    if f"{_HOLDS}{app.diff_ids[-1]}" not in str(history[-1].raw.get("comment") or "").split("; "):
        return app
    raw: dict[str, Any] = dict(app.config.raw)
    raw["rootfs"] = {**raw["rootfs"], "diff_ids": list(app.diff_ids[:-1])}
    raw["history"] = [dict(entry.raw) for entry in app.config.history or () if entry is not history[-1]]
    config = ImageConfig.parse(dump_json(raw))
    return replace(app, config=config, layers=app.layers[:-1])


def _stacked(image: Image, layer: Layer, history: History) -> Image:
    """An image with one more layer at its top, and in its history where it has one."""
    raw: dict[str, Any] = {key: value for key, value in image.config.raw.items() if key not in STALE}
    raw["rootfs"] = {**raw["rootfs"], "diff_ids": [*image.diff_ids, layer.diff_id]}
    if image.config.layer_history is not None:
        created = history.created or image.config.created or EPOCH
        entries = [dict(entry.raw) for entry in image.config.history or ()]
        raw["history"] = [
            *entries,
            {"created": created, "created_by": layer.created_by, "comment": f"{_HOLDS}{layer.diff_id}"},
        ]
    config = ImageConfig.parse(dump_json(raw))
    return replace(image, config=config, layers=restack(config, (*image.layers, layer)))


def _noted(image: Image, note: str, record: Record) -> Image:
    """An image whose last step has this in its comment, before what is there, unless it has no history."""
    history = [dict(entry.raw) for entry in image.config.history or ()]
    notes = [text for text in (note, record.text()) if text]
    if not notes or not history:
        return image
    old = [
        part for part in str(history[-1].get("comment") or "").split("; ") if not Record.parse(part).text()
    ]
    history[-1]["comment"] = "; ".join(filter(None, [*notes, *old]))
    return replace(image, config=ImageConfig.parse(dump_json({**image.config.raw, "history": history})))


_MOST = 20
"""How many risks an error names."""


def _stop_at_errors(report: RebaseReport) -> None:
    stopping = report.stopping
    if not stopping:
        return
    kinds = sorted(
        {one.kind.value for one in stopping if one.kind not in report.stopped_by} - {Kind.LINK.value}
    )
    lines = [f"{report.app.title} does not fit {report.new.name}; nothing was written:"]
    some, more = report.grouped_lines(stopping, _MOST)
    text: Text = ("\n".join([*lines, *(f"  {line}" for line in some)]),)
    if more is not None:
        text += (f"\n  {more}(", Option("error.report"), " lists them)")
    if Kind.CONTENT.value in kinds and not report.takes_new:
        text += (
            "\n",
            Option("Rebase.take_new", "content"),
            " puts the new base's in the place of old content",
        )
    if kinds:
        allow = [part for kind in kinds for part in (" ", Option("Rebase.allow", kind))]
        text += ("\n", *allow[1:], " goes on all the same")
    raise RebaseConflict(*text, report=report)
