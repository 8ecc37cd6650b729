"""What a squash and a rebase did, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from squashkit.amounts import count, size
from squashkit.errors import show_path
from squashkit.report.extract import ExtractReport
from squashkit.report.markdown.page import LIMIT, Part, name, page, path, prose, row, table
from squashkit.report.rebase import RebaseReport, show_value
from squashkit.report.squash import Report


def squash_page(report: Report, limit: int = LIMIT) -> str:
    """The sizes before and after, then what became of the image; notes are folded."""
    rows = [row([prose(cell) for cell in cells]) for cells in report.rows()]
    told = "To be squashed" if report.dry_run else "Squashed" if report.changed else "Nothing to squash"
    parts = [
        Part(head=f"### {told}: {name(report.image.title)}"),
        Part(rows, table(["", "before", "after", ""], {1, 2})),
        Part(head=_base(report)),
        *_written(report),
        *notes(_squash_notes(report)),
    ]
    return page(parts, limit)


def rebase_page(report: RebaseReport, limit: int = LIMIT) -> str:
    """Both bases, then what is at risk; settings and notes are folded."""
    job = report.job
    bases = [
        row(
            [which, str(base.layers), name(base.name), name(base.image.image_id[:19] if base.image else "")]
        )
        for which, base in (("old base", report.old), ("new base", report.new))
    ]
    if job is None:
        told = "Not put on another base" if report.stopping else "To be put on another base"
    else:
        told = "To be put on another base" if job.dry_run else "Put on another base"
    parts = [
        Part(head=f"### {told}: {name(report.app.title)}"),
        Part(bases, table(["", "layers", "name", "image_id"], {1})),
        Part(head=prose(report.above())),
        *_merged(report),
        *_risks(report),
        *_changes(report),
        *(_written(job) if job is not None else ()),
        *notes(job.notes if job is not None else ()),
    ]
    return page(parts, limit)


def _merged(report: RebaseReport) -> Iterator[Part]:
    """The paths that both sides had, folded."""
    if report.merged:
        shown = [row([path(one.path), one.kind.value, one.origin]) for one in report.merged]
        told = f"{count(len(shown), 'path')} merged"
        yield Part(shown, table(["path", "kind", "from"]), folded=told)


def extract_page(report: ExtractReport, limit: int = LIMIT) -> str:
    """The sizes before and after; paths, packages and notes are folded."""
    job = report.job
    told = "To be extracted" if job.dry_run else "Extracted"
    paths = [
        row([size(bytes_), name(where), name(why) if why.startswith("/") else prose(why)])
        for where, bytes_, why in report.largest(limit=_PATHS)
    ]
    packages = [f"- {prose(f'{one.name} {one.version}')}" for one in report.packages]
    parts = [
        Part(head=f"### {told}: {name(report.app.title)}"),
        Part(
            [row([prose(cell) for cell in cells]) for cells in report.rows()],
            table(["", "before", "after", ""], {1, 2}),
        ),
        *(
            [Part(paths, table(["size", "path", "needed by"], {0}), folded="The largest paths")]
            if paths
            else ()
        ),
        *([Part(packages, folded=count(len(packages), "package"))] if packages else ()),
        *_written(job),
        *notes((*report.warnings, *job.notes)),
    ]
    return page(parts, limit)


_PATHS = 20
"""How many paths are listed."""


def notes(texts: Iterable[str]) -> Iterator[Part]:
    """Remarks, folded."""
    rows = [f"- {prose(text)}" for text in texts]
    if rows:
        yield Part(rows, folded=count(len(rows), "note"))


def _base(report: Report) -> str:
    if not report.base.layers:
        return "No base was kept."
    return f"Kept {count(report.base.layers, 'layer')} as the base: {prose(report.base.evidence)}."


def _written(report: Report) -> Iterator[Part]:
    if report.dry_run:
        yield Part(head="Dry run: nothing was written.")
        return
    names = ", ".join(map(name, report.tags[:10])) or "The image"
    digest = f", manifest {name(report.manifest_digest)}" if report.manifest_digest else ""
    checked = " It was read back and compared." if report.checked else ""
    yield Part(head=f"Written: {names} to {name(report.output or '')}{digest}.{checked}")


def _squash_notes(report: Report) -> Sequence[str]:
    found = list(report.notes)
    if not report.plan.guaranteed:
        found.append("Not guaranteed: layers below were not available.")
    found += [
        f"Contested: {one.construct}: /{show_path(one.path)} (layer {one.layer})"
        for one in report.plan.contested
    ]
    found += [
        f"Copied, as no link can leave its layer: /{show_path(link.path)} ({size(link.size)})"
        for run in report.runs
        for link in run.copies
    ]
    return found


def _risks(report: RebaseReport) -> Iterator[Part]:
    if not report.risks:
        yield Part(head="Nothing in the layers above depends on what differs between the bases.")
        return
    stopping = {id(risk) for risk in report.stopping}
    rows = [
        row(
            [
                f"{risk.kind.value}{' (**stops it**)' if id(risk) in stopping else ''}",
                path(risk.path) if risk.path else "",
                prose(f"{risk.old} -> {risk.new}"),
                prose(risk.effect),
            ]
        )
        for risk in report.risks
    ]
    head = table(["at risk", "where", "what the layers go by -> what there is", "effect"])
    if len(rows) > _OPEN:
        yield Part(rows, head, folded=count(len(rows), "risk"))
    else:
        yield Part(rows, head)


_OPEN = 8
"""Rows that are read without unfolding."""


def _changes(report: RebaseReport) -> Iterator[Part]:
    rows = [
        row([name(one.field), prose(show_value(one.before)), prose(show_value(one.after))])
        for one in report.changes
    ]
    if rows:
        head = table(["setting", "before", "after"])
        yield Part(rows, head, f"{count(len(rows), 'setting')} by the new base")
