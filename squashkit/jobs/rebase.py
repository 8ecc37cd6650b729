"""A rebase, reference to report: the function to read is `rebase`.

What fits is decided in fit.py, what is at risk in risks/, what is inherited in inherit.py; the rest
is what every work on images does (work.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from typing import Literal

from squashkit.engine.carry_out import Notify
from squashkit.engine.layers import Loader
from squashkit.engine.work import Work
from squashkit.errors import RebaseConflict, UsageError, told_of
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.jobs.selection import Decision, decide, open_new_base
from squashkit.layers.compare import Piece
from squashkit.layers.rootfs import Inode
from squashkit.oci.documents import ALL, ImageConfig
from squashkit.oci.graph import Image, stack_layers
from squashkit.options import Options
from squashkit.plan.base import Base, BaseOption
from squashkit.plan.rebase.fit import fit, plan_rebase
from squashkit.plan.rebase.inherit import Inherited, inherit
from squashkit.plan.rebase.risks.find import find_risks
from squashkit.plan.rebase.risks.model import Kind, Side
from squashkit.plan.squash import Ready, Segment
from squashkit.progress import Progress, Silent
from squashkit.report.platforms import IndexReport
from squashkit.report.rebase import RebaseReport
from squashkit.transports.joined import Joined


@dataclass(frozen=True, slots=True)
class RebaseOptions:
    """How to rebase; `Options.keep.base` names the old base."""

    new_base: str
    squash: bool = False
    """Merge the layers above the base into one."""
    config: Literal["follow", "keep"] = "follow"
    """Whether inherited settings follow the new base."""
    strict: bool = True
    """Stop at errors."""
    allow: frozenset[Kind] = field(default_factory=frozenset)
    """Errors that stop nothing."""


def rebase(
    image: str,
    output: str | None,
    how: RebaseOptions,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    notify: Notify = lambda message: None,
) -> RebaseReport:
    """Put the layers of an image that lie above its base on another base, and write the result.

    Neither base is changed, and layers that need not be made anew are carried over byte for byte. Raises
    RebaseConflict, before anything is written, where what is wrong with that would break the image.
    Otherwise as `squash`.
    """
    if options is not None and options.platform == ALL:
        raise UsageError("all platforms are the work of rebase_platforms")
    (report,), _ = _rebase(image, output, how, options or Options(), progress, notify)
    return report


def rebase_platforms(
    image: str,
    output: str | None,
    how: RebaseOptions,
    options: Options,
    *,
    progress: Progress | None = None,
    notify: Notify = lambda message: None,
) -> IndexReport[RebaseReport]:
    """Rebase every platform of an index, each onto the new base for it, and write a new index."""
    reports, digest = _rebase(image, output, how, options, progress, notify)
    return IndexReport({str(report.app.platform): report for report in reports}, digest)


def _rebase(
    image: str,
    output: str | None,
    how: RebaseOptions,
    options: Options,
    progress: Progress | None,
    notify: Notify,
) -> tuple[list[RebaseReport], str]:
    """A report for each image, and the digest of their index, empty where there is none."""
    with ExitStack() as stack:
        work = Work(stack, image, output, options, progress or Silent(), notify)
        inputs, source = work.inputs, work.inputs.source
        found, chosen = decide(
            source,
            replace(options.keep, option=BaseOption.OLD),
            options.platform,
            inputs.open_base,
            Catalogue.of_user(),
            skip_missing=options.skip_missing,
        )
        images = [one.image for one in found]
        where, new_bases = open_new_base(how.new_base, source, images, inputs.open_new_base)
        inputs.join(where)
        moves = []
        for one, new in zip(found, new_bases, strict=True):
            with _about(one.image, options):
                moves.append(_Move.of(one, new, how))
        work.decide([Decision(move.image, move.new, move.kept) for move in moves])
        readings = []
        for move in moves:
            with _about(move.app, options):
                readings.append(_read(stack, work, move, how, dry_run=options.dry_run))
        reports = [reading.report for reading in readings]
        for report in reports:
            with _about(report.app, options):
                _stop_at_errors(report)
        ready = [reading.plan(how) for reading in readings]
        decisions = [
            Decision(move.image, move.new, plan.plan.segments)
            for move, plan in zip(moves, ready, strict=True)
        ]
        work.begin(decisions, chosen, [reading.loader for reading in readings], ready)
        for report, job in zip(reports, work.jobs, strict=True):
            report.job = job.report
        index = work.finish()
        return reports, index or ""


def _about(image: Image, options: Options) -> AbstractContextManager[None]:
    """Errors from inside name the platform, where there are several."""
    return told_of(str(image.platform) if options.platform == ALL else "")


@dataclass(frozen=True, slots=True)
class _Move:
    """One image on its way from base to base."""

    app: Image
    old: Base
    new: Base
    image: Image
    """The result, as far as it is known: layers of both sources, and the config that it will have."""
    lower: Image
    """The app's own lower layers: what it was built on."""
    inherited: Inherited

    @classmethod
    def of(cls, found: Decision, new: Base, how: RebaseOptions) -> _Move:
        app, old = found.image, found.base
        assert new.image is not None
        lower = replace(app, layers=app.layers[: old.layers], names=())
        known = old.image
        if known is None:
            if how.config == "follow":
                raise UsageError(
                    f"what the image inherits from its base is not known by {old.evidence}: name the old"
                    " base's image, or pass --config keep"
                )
            known = replace(lower, config=_bare_config(app, old.layers))
        digest = new.image.manifest_descriptor.digest if new.image.manifest_descriptor else None
        inherited = inherit(
            app, known, new.image, keep=how.config == "keep", base_name=new.image_name, base_digest=digest
        )
        below, above = new.image.layers, app.layers[old.layers :]
        parts = [*((1, layer) for layer in below), *((0, layer) for layer in above)]
        members = [layer.member and Joined.name(part, layer.member) for part, layer in parts]
        descriptors = [layer.descriptor for _, layer in parts]
        layers = stack_layers(inherited.config, members, descriptors, app.title)
        image = replace(app, config=inherited.config, layers=layers)
        return cls(app, old, new, image, lower, inherited)

    @property
    def kept(self) -> list[Segment]:
        """Every layer as it is, as long as nothing else is known."""
        return [Segment(0, len(self.image.layers), True)]


def _bare_config(app: Image, layers: int) -> ImageConfig:
    """What can be said of a base of which only the layers are known."""
    config = app.config
    return replace(config, diff_ids=config.diff_ids[:layers], history=None, raw={})


@dataclass(slots=True)
class _Reading:
    """All layers of an image, read and held against each other."""

    loader: Loader
    report: RebaseReport

    def plan(self, how: RebaseOptions) -> Ready:
        return plan_rebase(self.report.fitted, self.loader.header_of, squash=how.squash)


def _read(stack: ExitStack, work: Work, move: _Move, how: RebaseOptions, *, dry_run: bool) -> _Reading:
    """Read what the old base, the new base and the layers above have, and see what does not fit."""
    below = stack.enter_context(work.loader(work.inputs.source, move.lower))
    loader = stack.enter_context(work.loader(work.inputs.layers, move.image))
    below.progress.stage("Reading", None)
    loaded = []
    for one in (below, loader):
        here = [one.source.is_here(layer) for layer in one.image.layers]
        loaded.append(one.load(range(len(one.image.layers)), data=here.__getitem__))
    loader.checks += below.checks  # the old base's layers are not copied: nobody else verifies them
    loader.beside.append(below)
    old, result = (list(changesets.values()) for changesets in loaded)
    fitted = fit(old, result[: move.new.layers], result[move.new.layers :])

    def read(side: Side, inode: Inode) -> Iterator[Piece] | None:
        of = below if side is Side.OLD else loader
        if not of.source.is_here(of.image.layers[inode.layer]):
            return None
        return of.pieces(inode.layer, inode.entry)

    assert move.new.image is not None
    user = str(move.inherited.config.settings.get("User") or "")
    found = find_risks(fitted, read, move.app.config, move.new.image.config, user)
    report = RebaseReport(
        app=move.app,
        old=move.old,
        new=move.new,
        source=work.inputs.source.title,
        fitted=fitted,
        risks=found.risks,
        copied=found.copied,
        changes=move.inherited.changes,
        squash=how.squash,
        allowed=how.allow if how.strict else frozenset(Kind),
        dry_run=dry_run,
    )
    return _Reading(loader, report)


_TOLD = 20


def _stop_at_errors(report: RebaseReport) -> None:
    """Raises RebaseConflict where something would break that is not allowed."""
    stopping = report.stopping
    if not stopping:
        return
    kinds = sorted({risk.kind.value for risk in stopping} - {Kind.LINK.value})
    allow = " ".join(f"--allow {kind}" for kind in kinds)
    lines = [f"{report.app.title} does not fit {report.new.name}; nothing was written:"]
    lines += [f"  {line}" for line in report.risk_lines(stopping[:_TOLD])]
    if len(stopping) > _TOLD:
        lines.append(f"  and {len(stopping) - _TOLD:,} more (--json lists them)")
    if allow:
        lines.append(f"{allow} goes on all the same")
    raise RebaseConflict("\n".join(lines), report=report)
