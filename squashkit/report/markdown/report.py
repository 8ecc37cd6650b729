"""Any report as Markdown."""

from __future__ import annotations

from typing import TypeAlias

from squashkit.report.extract import ExtractReport
from squashkit.report.fleet.advice import AdviceReport
from squashkit.report.fleet.shape import ShapeReport
from squashkit.report.fleet.squash import SquashedFleet
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.markdown.fleet import advice_page, patch_page, shape_page, squashed_page, storage_page
from squashkit.report.markdown.image import extract_page, rebase_page, squash_page
from squashkit.report.markdown.page import LIMIT
from squashkit.report.markdown.waste import waste_page
from squashkit.report.patch import PatchReport
from squashkit.report.platforms import IndexReport
from squashkit.report.rebase import RebaseReport
from squashkit.report.squash import Report
from squashkit.report.waste import WasteReport

OneReport: TypeAlias = (
    Report
    | RebaseReport
    | ExtractReport
    | FleetReport
    | ShapeReport
    | AdviceReport
    | SquashedFleet
    | PatchReport
    | WasteReport
)


def markdown(*reports: OneReport | IndexReport[Report] | IndexReport[RebaseReport]) -> str:
    """Reports as Markdown, for a comment on a change or the summary of a pipeline, one below the other.

    Long lists are folded, and all together is shorter than GitHub's limit for a comment. Names, paths and
    commands of images mark up nothing. Raises TypeError for what is no report that has such a form.
    """
    whole: list[OneReport] = []
    for report in reports:
        if isinstance(report, IndexReport):
            whole += report.reports.values()
        else:
            whole.append(report)
    limit = LIMIT // max(1, len(whole)) - 2
    return "\n\n".join(_page(report, limit) for report in whole)


def _page(report: OneReport, limit: int) -> str:
    match report:
        case WasteReport():
            return waste_page(report, limit)
        case Report():
            return squash_page(report, limit)
        case RebaseReport():
            return rebase_page(report, limit)
        case ExtractReport():
            return extract_page(report, limit)
        case FleetReport():
            return storage_page(report, limit)
        case ShapeReport():
            return shape_page(report, limit)
        case AdviceReport():
            return advice_page(report, limit)
        case SquashedFleet():
            return squashed_page(report, limit)
        case PatchReport():
            return patch_page(report, limit)
    raise TypeError(f"{type(report).__name__} has no form in Markdown")
