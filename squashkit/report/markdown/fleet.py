"""What many images take, what to do with them, and what a squash of all wrote, as Markdown."""

from __future__ import annotations

from itertools import groupby

from squashkit.report.fleet.advice import AdviceReport
from squashkit.report.fleet.shape import ShapeReport
from squashkit.report.fleet.squash import SquashedFleet
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.markdown.image import notes
from squashkit.report.markdown.page import LIMIT, Part, name, page, prose, row, table
from squashkit.report.patch import PatchReport


def storage_page(report: FleetReport, limit: int = LIMIT) -> str:
    """The strategies side by side and the answer; notes are folded."""
    head, rows = report.rows()
    parts = [
        Part(head=f"### {report.subject()}"),
        Part([row(cells) for cells in rows], table(head, range(1, len(head)))),
        Part(head="\n".join([report.answer(), *report.caveat(), *report.growing()])),
        *_unknown(report),
        *notes(report.notes),
    ]
    return page(parts, limit)


def shape_page(report: ShapeReport, limit: int = LIMIT) -> str:
    """The tables of what is stored and shared; notes are folded."""
    parts = [Part(head=f"### {report.subject()}")]
    for head, rows in report.tables():
        parts.append(Part([row(cells) for cells in rows], table(head, range(1, len(head)))))
    return page([*parts, *notes(report.notes)], limit)


def advice_page(report: AdviceReport, limit: int = LIMIT) -> str:
    """The same table as in a file, as much of it as fits."""
    lines = report.fitted(None)
    first, *others = [list(some) for is_text, some in groupby(lines, bool) if is_text]
    parts = [Part(first[2:], "\n".join(first[:2])), *(Part(head="\n".join(some)) for some in others)]
    return page(parts, limit)


def patch_page(report: PatchReport, limit: int = LIMIT) -> str:
    """A line for each tag, and what it comes to."""
    summary, *rest = report.summary()
    rows = [row([name(tag), outcome, name(now), prose(why)]) for tag, outcome, now, why in report.rows()]
    parts = [
        Part(head=f"### {prose(summary)}"),
        *([Part(rows, table(["tag", "outcome", "now", ""]))] if rows else []),
        *(Part(head=prose(line)) for line in rest),
    ]
    return page(parts, limit)


def squashed_page(report: SquashedFleet, limit: int = LIMIT) -> str:
    """A line for each image, and what all of them take; notes are folded."""
    head, rows = report.rows()
    shown = [row([*cells[:-1], name(cells[-1])]) for cells in rows]
    parts = [
        Part(head="### Squashed together"),
        Part(head=report.together()),
        Part(shown, table(head, range(4))),
        *(Part(head=prose(line)) for line in (*report.reasons(), *report.ways()) if line),
        *notes(report.fleet.notes),
    ]
    return page(parts, limit)


def _unknown(report: FleetReport) -> list[Part]:
    paragraphs = report.of_unknown(as_markdown=True)
    return [Part(head="\n".join(map(str, paragraph))) for paragraph in paragraphs]
