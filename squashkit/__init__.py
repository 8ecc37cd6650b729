"""Squash the layers of a container image above its base, without unpacking them.

    reference ──open_source──▶ Source ──load──▶ Image, Changesets
                                                      │
                                    which layers are the base ──▶ Segments
                                                      │
                                   plan_squash, plan_rebase ──▶ LayerPlan ──▶ Report
                                                      │
                                Sink ◀────────── write kept and new layers

`squash` and `rebase` do the whole job, `measure_fleet` and `squash_fleet` for many images; the other names
are their parts.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Access": "transports.remote",
    "Changeset": "changeset",
    "Compression": "compression",
    "FleetOptions": "fleet_job",
    "FleetReport": "report.fleet",
    "HistoryOptions": "metadata",
    "Image": "graph",
    "IndexReport": "report.squash",
    "Keep": "selection",
    "Layer": "graph",
    "LayerGraph": "graph",
    "LayerPlan": "planner",
    "MinSaving": "options",
    "Options": "options",
    "RebaseOptions": "rebase_job",
    "RebaseReport": "report.rebase",
    "Report": "report.squash",
    "Rootfs": "rootfs",
    "Segment": "planner",
    "SquashkitError": "errors",
    "measure_fleet": "fleet_job",
    "open_source": "source",
    "parse_changeset": "changeset",
    "parse_reference": "transports",
    "plan_squash": "planner",
    "rebase": "rebase_job",
    "rebase_platforms": "rebase_job",
    "scan": "tar",
    "squash": "job",
    "squash_fleet": "fleet_job",
    "squash_platforms": "job",
}

if TYPE_CHECKING:
    from squashkit.changeset import Changeset, parse_changeset
    from squashkit.compression import Compression
    from squashkit.errors import SquashkitError
    from squashkit.fleet_job import FleetOptions, measure_fleet, squash_fleet
    from squashkit.graph import Image, Layer, LayerGraph
    from squashkit.job import squash, squash_platforms
    from squashkit.metadata import HistoryOptions
    from squashkit.options import MinSaving, Options
    from squashkit.planner import LayerPlan, Segment, plan_squash
    from squashkit.rebase_job import RebaseOptions, rebase, rebase_platforms
    from squashkit.report.fleet import FleetReport
    from squashkit.report.rebase import RebaseReport
    from squashkit.report.squash import IndexReport, Report
    from squashkit.rootfs import Rootfs
    from squashkit.selection import Keep
    from squashkit.source import open_source
    from squashkit.tar import scan
    from squashkit.transports import parse_reference
    from squashkit.transports.remote import Access

__all__ = [
    "Access",
    "Changeset",
    "Compression",
    "FleetOptions",
    "FleetReport",
    "HistoryOptions",
    "Image",
    "IndexReport",
    "Keep",
    "Layer",
    "LayerGraph",
    "LayerPlan",
    "MinSaving",
    "Options",
    "RebaseOptions",
    "RebaseReport",
    "Report",
    "Rootfs",
    "Segment",
    "SquashkitError",
    "measure_fleet",
    "open_source",
    "parse_changeset",
    "parse_reference",
    "plan_squash",
    "rebase",
    "rebase_platforms",
    "scan",
    "squash",
    "squash_fleet",
    "squash_platforms",
]


def __getattr__(name: str) -> Any:
    """Import a part when it is first used: `squashkit --help` needs none of them."""
    if name in _WHERE:
        return getattr(import_module(f"squashkit.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'squashkit' has no attribute {name!r}")
