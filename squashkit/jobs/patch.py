"""Every tag below a place in a registry onto a new base: a rebase a tag, and a row that tells of it.

The result of each goes to its repository by its digest alone; then its tag moves, if that still means what
was read. So a run that is stopped, or one that is repeated, leaves every tag either as it was or right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from squashkit.arguments import checked
from squashkit.errors import (
    BaseNotFound,
    BaseUnknown,
    NotBasedOn,
    RebaseConflict,
    SquashkitError,
    UsageError,
    first_line,
)
from squashkit.jobs.base.lookup import open_new_base
from squashkit.jobs.decide import Bases, decide
from squashkit.jobs.fleet.below import Below
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.rebase import rebase_platforms
from squashkit.jobs.rollback import Moved, Rollback
from squashkit.oci.digests import Digest, sha256
from squashkit.oci.documents import ALL
from squashkit.oci.graph import Image
from squashkit.oci.media import SOURCE_DIGEST
from squashkit.oci.names import ImageName
from squashkit.options import History, Keep, Patch, Read, Rebase, Run, Write
from squashkit.plan.rebase.inherit import MADE_FROM
from squashkit.progress import Notify, Numbered, Progress, Silent, ignore
from squashkit.report.patch import Outcome, PatchedTag, PatchReport
from squashkit.report.platforms import IndexReport
from squashkit.report.rebase import RebaseReport
from squashkit.report.text import json_text
from squashkit.transports.open import open_source
from squashkit.transports.reference import REGISTRY, Reference
from squashkit.transports.registry.tags import meaning_of, move_tag
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.tags import is_index
from squashkit.wording import Option

_NOT_ON_IT = (BaseUnknown, BaseNotFound, NotBasedOn)


@checked
def rebase_below(
    place: str,
    how: Rebase | str,
    *,
    patch: Patch = Patch(),
    history: History = History(),
    write: Write = Write(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> PatchReport:
    """Rebase every tag below `docker://HOST/PREFIX/` that is not on the new base, and move it, or a tag
    beside it. What stops one tag stops no other. A second run moves nothing.

    Raises UsageError where nothing says which tags to move, and what listing the tags raises.
    """
    how = Rebase.of(how)
    if not (place.startswith("docker://") and place.endswith("/")):
        raise UsageError(f"{place} is no place in a registry: docker://HOST/PREFIX/")
    if write.recipe is not None:
        raise UsageError(Option("Write.recipe"), " is for one image: many would write to one file")
    if not write.dry_run and not patch.replace and not patch.tag_suffix:
        raise UsageError(
            "which tags are to move? ",
            *(Option("Write.replace", True), " moves the images' own, "),
            *(Option("Patch.tag_suffix", "-patched"), " makes others beside them"),
        )
    numbered = Numbered(progress or Silent())
    rows: list[PatchedTag] = []
    with for_many_images(), Session(run, numbered, notify) as session:
        below = Below.parse(place, session.registries)
        names = [ImageName.parse(name) for name in below.names()]
        if not names:
            raise below.nothing()
        work = _Work(session, how, patch, history, write, run, numbered, notify)
        is_interrupted = False
        try:
            for number, name in enumerate(names):
                numbered.number, numbered.total = number + 1, len(names)
                row = work.tag(name)
                if row.is_work or patch.select != "outdated":
                    rows.append(row)
        except KeyboardInterrupt:
            is_interrupted = True
        rollback = str(work.rollback.path) if work.rollback.is_begun else ""
        notes = tuple(below.notes([]))
    report = PatchReport(place, how.onto, tuple(rows), write.dry_run, rollback, notes, is_interrupted)
    if patch.reports:
        work.save("summary", json_text(report.json()) + "\n")
    return report


@dataclass(slots=True)
class _Work:
    """What all tags have in common."""

    session: Session
    how: Rebase
    patch: Patch
    history: History
    write: Write
    run: Run
    progress: Progress
    notify: Notify
    rollback: Rollback = field(init=False)
    bases: Bases = field(init=False)

    def __post_init__(self) -> None:
        self.bases = Bases(self.session, ALL)
        self.rollback = Rollback.named(self.patch.rollback, Path(self.patch.reports or "."))

    def tag(self, name: ImageName) -> PatchedTag:
        """Rebase one tag. An interrupt is raised; what else stops it is told in its row."""
        try:
            return self._tag(name)
        except _NOT_ON_IT:
            why = f"it is not on {self.how.old_base}" if self.how.old_base else "its base is not known"
            return PatchedTag(str(name), Outcome.NOT_BASED, why)
        except RebaseConflict as error:
            return PatchedTag(str(name), Outcome.REFUSED, _conflicts(error), code=error.exit_code)
        except SquashkitError as error:
            return PatchedTag(str(name), Outcome.FAILED, first_line(error), code=error.exit_code)
        except Exception as error:  # of one tag: the others must not wait for its mending
            why = f"this is a fault of squashkit, please report it: {type(error).__name__}: {error}"
            return PatchedTag(str(name), Outcome.FAILED, why[:500], code=1)

    def _tag(self, name: ImageName) -> PatchedTag:
        suffix = self.patch.tag_suffix
        target = name.with_tag(name.tag + suffix) if suffix else name
        meaning = meaning_of(self.session.registries, name)
        if meaning is None:
            return PatchedTag(str(name), Outcome.LEFT, "it is there no longer")
        read = sha256(meaning)
        source = self._open(name.with_digest(read))
        if not source.images:
            return PatchedTag(str(name), Outcome.NOT_BASED, "it is no image")
        if suffix and name.tag.endswith(suffix) and all(map(_made_from, source.images)):
            return PatchedTag(str(name), Outcome.MADE)
        bases = open_new_base(self.how.onto, source, source.images, self.bases.open_whole)
        pairs = list(zip(source.images, [one.image for one in bases], strict=True))
        if all(new is not None and _stands_on(image, new) for image, new in pairs):
            return PatchedTag(str(name), Outcome.CURRENT)
        decisions, _ = decide(source, Keep(base=self.how.old_base), Read(ALL), self.bases)
        if all(one.base.layers == len(one.image.layers) for one in decisions):
            return PatchedTag(str(name), Outcome.NOT_BASED, "it is the old base itself")
        before: Digest | None = read
        if suffix:
            made = self._made(target, source, [new for _, new in pairs if new is not None])
            if isinstance(made, PatchedTag):
                return replace(made, name=str(name))
            before = made
        shown = str(target) if suffix else ""
        report = self._rebase(name.with_digest(read), several=is_index(meaning))
        if self.write.dry_run:
            return PatchedTag(str(name), Outcome.WOULD_MOVE, "", before, None, target=shown)
        after = Digest(report.manifest_digest)
        registries = self.session.registries
        if before is None:
            is_moved = move_tag(registries, target, after, None)
        else:
            is_moved = self.rollback.move(registries, Moved(target, before, after), before)
        if not is_moved:
            why = f"{target.tag} was moved meanwhile; the result is @{after}"
            return PatchedTag(str(name), Outcome.LEFT, why, before, None, 1, shown)
        return PatchedTag(str(name), Outcome.MOVED, "", before, after, target=shown)

    def _open(self, name: ImageName) -> Source:
        return open_source(self.session, Reference(REGISTRY, str(name)), ALL)

    def _made(self, target: ImageName, source: Source, new: Sequence[Image]) -> PatchedTag | Digest | None:
        """What the tag beside a tag means that may move, None for nothing; or why it stays: it is somebody
        else's, or what would be made is there."""
        meaning = meaning_of(self.session.registries, target)
        if meaning is None:
            return None
        digest = sha256(meaning)
        there = self._open(target.with_digest(digest)).images
        if not there or not all(map(_made_from, there)):
            why = f"{target.tag} is there, and squashkit did not make it"
            return PatchedTag("", Outcome.LEFT, why, digest, target=str(target))
        made_from = sorted(map(_made_from, there))
        is_right = made_from == sorted(map(_digest_of, source.images))
        if is_right and all(any(_stands_on(image, base) for base in new) for image in there):
            return PatchedTag("", Outcome.CURRENT, target=str(target))
        return digest

    def _rebase(self, name: ImageName, *, several: bool) -> RebaseReport | IndexReport[RebaseReport]:
        """The rebase of one tag, by its digest into its repository, without a name there."""
        done = rebase_platforms(
            f"docker://{name}",
            f"docker://{name.full_repository}",
            self.how,
            history=self.history,
            read=Read(ALL if several else None),
            write=replace(self.write, replace=False, push_by_digest=True),
            run=self.run,
            progress=self.progress,
            notify=self.notify,
        )
        report: RebaseReport | IndexReport[RebaseReport] = done
        if not several:
            (report,) = done.reports.values()
        if self.patch.reports:
            self.save(re.sub(r"[^\w.-]+", "_", str(name)), json_text(report.json()) + "\n")
        return report

    def save(self, name: str, text: str) -> None:
        """Write a report into the folder for them."""
        folder = Path(self.patch.reports)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(text)


def _stands_on(image: Image, base: Image) -> bool:
    """Whether an image begins with a base's layers."""
    count = len(base.diff_ids)
    return bool(count) and image.diff_ids[:count] == base.diff_ids


def _digest_of(image: Image) -> str:
    """What an image is made from is known by: its manifest."""
    return image.manifest_descriptor.digest if image.manifest_descriptor is not None else ""


def _made_from(image: Image) -> str:
    """The manifest from which squashkit made an image: by an annotation, or where a manifest takes none by
    the history; nothing where it did not."""
    annotations = image.manifest.annotations if image.manifest is not None else {}
    if SOURCE_DIGEST in annotations:
        return annotations[SOURCE_DIGEST]
    last = (image.config.history or ())[-1:]
    comments = [str(entry.raw.get("comment") or "") for entry in last]
    return next((one[len(MADE_FROM) :].split(";")[0] for one in comments if one.startswith(MADE_FROM)), "")


def _conflicts(error: RebaseConflict) -> str:
    """The kinds of errors that stop a rebase, and how many there are of each."""
    stopping = error.report.stopping
    kinds: dict[str, int] = {}
    for risk in stopping:
        kinds[risk.kind.value] = kinds.get(risk.kind.value, 0) + 1
    return ", ".join(f"{kind} ({number})" for kind, number in kinds.items())
