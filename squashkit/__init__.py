"""Squash the layers of a container image above its base, without unpacking them.

    reference ──▶ Source ──▶ Image ──▶ Decision ──▶ LayerPlan ──▶ Sink ──▶ Report
                  transports   oci       plan          plan      transports  report

`squash` and `rebase` do the whole job, `measure_fleet` and `squash_fleet` for many images; each command of
the command line has its function here. The other names are their parts.
"""

from squashkit.version import __version__ as __version__

TYPE_CHECKING = False  # as in typing, which takes long to import

_NAMES = {
    "errors": ("SquashkitError",),
    "jobs.base.tell": (
        "base_add",
        "base_list",
        "base_remove",
        "check_base",
        "find_base",
    ),
    "jobs.base.many": ("check_all",),
    "jobs.diff": ("diff",),
    "jobs.export": (
        "Exported",
        "export",
    ),
    "jobs.extract": ("extract",),
    "jobs.fleet.advise": ("fleet_advise",),
    "jobs.fleet.freed": ("fleet_freed",),
    "jobs.fleet.manifests": ("measure_manifests",),
    "jobs.fleet.measure": ("measure_fleet",),
    "jobs.fleet.pull": ("fleet_pull",),
    "jobs.fleet.report": ("fleet_page",),
    "jobs.fleet.scan.duplicates": ("fleet_duplicates",),
    "jobs.fleet.scan.storage": ("measure_scan",),
    "jobs.fleet.scan.sql": ("fleet_sql",),
    "jobs.fleet.scan.scan": ("scan_fleet",),
    "jobs.fleet.squash": ("squash_fleet",),
    "jobs.have_list": ("have_list",),
    "jobs.inspect": ("inspect", "inspect_tree"),
    "jobs.patch": ("rebase_below",),
    "jobs.paths": (
        "cat",
        "ls",
        "which",
        "which_glob",
    ),
    "jobs.rebase": (
        "rebase",
        "rebase_platforms",
    ),
    "jobs.replay": ("replay",),
    "jobs.report": ("report_page",),
    "jobs.rollback": ("put_back",),
    "jobs.squash": (
        "squash",
        "squash_platforms",
    ),
    "jobs.verify": ("verify",),
    "jobs.waste": ("waste",),
    "layers.changeset": (
        "Changeset",
        "parse_changeset",
    ),
    "layers.rootfs": ("Rootfs",),
    "layers.tar": (
        "scan",
        "scan_bytes",
    ),
    "oci.compression": ("Compression",),
    "oci.documents": ("Platform",),
    "oci.have": ("Have",),
    "oci.graph": (
        "Image",
        "Layer",
        "LayerGraph",
    ),
    "options": (
        "Access",
        "ByRecipe",
        "Extract",
        "FleetOptions",
        "Replace",
        "Gates",
        "History",
        "Keep",
        "Limits",
        "Merge",
        "MinSaving",
        "Patch",
        "Read",
        "Rebase",
        "Run",
        "Spread",
        "Which",
        "Write",
    ),
    "plan.known": ("KnownBase",),
    "plan.segments": ("Segment",),
    "plan.squash": (
        "LayerPlan",
        "plan_squash",
    ),
    "progress": (
        "Note",
        "Notify",
        "Progress",
    ),
    "report.base": (
        "CatalogueReport",
        "CheckedBases",
        "CurrentReport",
        "FoundReport",
    ),
    "report.diff": ("DiffReport",),
    "report.extract": ("ExtractReport",),
    "report.fleet.advice": ("AdviceReport",),
    "report.fleet.answer": ("SqlAnswer",),
    "report.fleet.duplicates": ("DuplicatesReport",),
    "report.fleet.freed": ("FreedReport",),
    "report.fleet.pull": ("PullReport",),
    "report.fleet.scan": ("ScanReport",),
    "report.fleet.shape": ("ShapeReport",),
    "report.fleet.squash": ("SquashedFleet",),
    "report.fleet.storage": ("FleetReport",),
    "report.inspect": ("InspectReport",),
    "report.listing": ("ListReport",),
    "report.markdown.report": ("markdown",),
    "report.patch": ("PatchReport",),
    "report.platforms": ("IndexReport",),
    "report.provenance": ("Provenance",),
    "report.rebase": ("RebaseReport",),
    "report.sarif": ("sarif",),
    "report.squash": ("Report",),
    "report.trace": ("TraceReport", "TracesReport"),
    "report.tree": ("TreeReport",),
    "report.verify": (
        "ReplayedImage",
        "Verdict",
    ),
    "report.waste": ("WasteReport",),
    "transports.open": ("open_source",),
    "transports.reference": ("parse_reference",),
    "transports.session": ("Session",),
}
"""The public names, by their modules."""
_WHERE = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_WHERE)

if TYPE_CHECKING:
    from typing import Any

    from squashkit.errors import SquashkitError as SquashkitError
    from squashkit.jobs.base.many import check_all as check_all
    from squashkit.jobs.base.tell import base_add as base_add
    from squashkit.jobs.base.tell import base_list as base_list
    from squashkit.jobs.base.tell import base_remove as base_remove
    from squashkit.jobs.base.tell import check_base as check_base
    from squashkit.jobs.base.tell import find_base as find_base
    from squashkit.jobs.diff import diff as diff
    from squashkit.jobs.export import Exported as Exported
    from squashkit.jobs.export import export as export
    from squashkit.jobs.extract import extract as extract
    from squashkit.jobs.fleet.advise import fleet_advise as fleet_advise
    from squashkit.jobs.fleet.freed import fleet_freed as fleet_freed
    from squashkit.jobs.fleet.manifests import measure_manifests as measure_manifests
    from squashkit.jobs.fleet.measure import measure_fleet as measure_fleet
    from squashkit.jobs.fleet.pull import fleet_pull as fleet_pull
    from squashkit.jobs.fleet.report import fleet_page as fleet_page
    from squashkit.jobs.fleet.scan.duplicates import fleet_duplicates as fleet_duplicates
    from squashkit.jobs.fleet.scan.scan import scan_fleet as scan_fleet
    from squashkit.jobs.fleet.scan.sql import fleet_sql as fleet_sql
    from squashkit.jobs.fleet.scan.storage import measure_scan as measure_scan
    from squashkit.jobs.fleet.squash import squash_fleet as squash_fleet
    from squashkit.jobs.have_list import have_list as have_list
    from squashkit.jobs.inspect import inspect as inspect
    from squashkit.jobs.inspect import inspect_tree as inspect_tree
    from squashkit.jobs.patch import rebase_below as rebase_below
    from squashkit.jobs.paths import cat as cat
    from squashkit.jobs.paths import ls as ls
    from squashkit.jobs.paths import which as which
    from squashkit.jobs.paths import which_glob as which_glob
    from squashkit.jobs.rebase import rebase as rebase
    from squashkit.jobs.rebase import rebase_platforms as rebase_platforms
    from squashkit.jobs.replay import replay as replay
    from squashkit.jobs.report import report_page as report_page
    from squashkit.jobs.rollback import put_back as put_back
    from squashkit.jobs.squash import squash as squash
    from squashkit.jobs.squash import squash_platforms as squash_platforms
    from squashkit.jobs.verify import verify as verify
    from squashkit.jobs.waste import waste as waste
    from squashkit.layers.changeset import Changeset as Changeset
    from squashkit.layers.changeset import parse_changeset as parse_changeset
    from squashkit.layers.rootfs import Rootfs as Rootfs
    from squashkit.layers.tar import scan as scan
    from squashkit.layers.tar import scan_bytes as scan_bytes
    from squashkit.oci.compression import Compression as Compression
    from squashkit.oci.documents import Platform as Platform
    from squashkit.oci.graph import Image as Image
    from squashkit.oci.graph import Layer as Layer
    from squashkit.oci.graph import LayerGraph as LayerGraph
    from squashkit.oci.have import Have as Have
    from squashkit.options import Access as Access
    from squashkit.options import ByRecipe as ByRecipe
    from squashkit.options import Extract as Extract
    from squashkit.options import FleetOptions as FleetOptions
    from squashkit.options import Gates as Gates
    from squashkit.options import History as History
    from squashkit.options import Keep as Keep
    from squashkit.options import Limits as Limits
    from squashkit.options import Merge as Merge
    from squashkit.options import MinSaving as MinSaving
    from squashkit.options import Patch as Patch
    from squashkit.options import Read as Read
    from squashkit.options import Rebase as Rebase
    from squashkit.options import Replace as Replace
    from squashkit.options import Run as Run
    from squashkit.options import Spread as Spread
    from squashkit.options import Which as Which
    from squashkit.options import Write as Write
    from squashkit.plan.known import KnownBase as KnownBase
    from squashkit.plan.segments import Segment as Segment
    from squashkit.plan.squash import LayerPlan as LayerPlan
    from squashkit.plan.squash import plan_squash as plan_squash
    from squashkit.progress import Note as Note
    from squashkit.progress import Notify as Notify
    from squashkit.progress import Progress as Progress
    from squashkit.report.base import CatalogueReport as CatalogueReport
    from squashkit.report.base import CheckedBases as CheckedBases
    from squashkit.report.base import CurrentReport as CurrentReport
    from squashkit.report.base import FoundReport as FoundReport
    from squashkit.report.diff import DiffReport as DiffReport
    from squashkit.report.extract import ExtractReport as ExtractReport
    from squashkit.report.fleet.advice import AdviceReport as AdviceReport
    from squashkit.report.fleet.answer import SqlAnswer as SqlAnswer
    from squashkit.report.fleet.duplicates import DuplicatesReport as DuplicatesReport
    from squashkit.report.fleet.freed import FreedReport as FreedReport
    from squashkit.report.fleet.pull import PullReport as PullReport
    from squashkit.report.fleet.scan import ScanReport as ScanReport
    from squashkit.report.fleet.shape import ShapeReport as ShapeReport
    from squashkit.report.fleet.squash import SquashedFleet as SquashedFleet
    from squashkit.report.fleet.storage import FleetReport as FleetReport
    from squashkit.report.inspect import InspectReport as InspectReport
    from squashkit.report.listing import ListReport as ListReport
    from squashkit.report.markdown.report import markdown as markdown
    from squashkit.report.patch import PatchReport as PatchReport
    from squashkit.report.platforms import IndexReport as IndexReport
    from squashkit.report.provenance import Provenance as Provenance
    from squashkit.report.rebase import RebaseReport as RebaseReport
    from squashkit.report.sarif import sarif as sarif
    from squashkit.report.squash import Report as Report
    from squashkit.report.trace import TraceReport as TraceReport
    from squashkit.report.trace import TracesReport as TracesReport
    from squashkit.report.tree import TreeReport as TreeReport
    from squashkit.report.verify import ReplayedImage as ReplayedImage
    from squashkit.report.verify import Verdict as Verdict
    from squashkit.report.waste import WasteReport as WasteReport
    from squashkit.transports.open import open_source as open_source
    from squashkit.transports.reference import parse_reference as parse_reference
    from squashkit.transports.session import Session as Session


def __getattr__(name: str) -> "Any":
    """Import a part when it is first used: `squashkit --help` needs none of them."""
    if name in _WHERE:
        from importlib import import_module

        return getattr(import_module(f"squashkit.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'squashkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
