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
    "Access": "transports.registry.access",
    "Changeset": "layers.changeset",
    "Compression": "transports.codecs",
    "FleetOptions": "jobs.fleet.job",
    "FleetReport": "report.fleet.storage",
    "HistoryOptions": "plan.documents",
    "Image": "oci.graph",
    "IndexReport": "report.platforms",
    "Keep": "jobs.selection",
    "Layer": "oci.graph",
    "LayerGraph": "oci.graph",
    "LayerPlan": "plan.squash",
    "MinSaving": "options",
    "Options": "options",
    "RebaseOptions": "jobs.rebase",
    "RebaseReport": "report.rebase",
    "Report": "report.squash",
    "Rootfs": "layers.rootfs",
    "Segment": "plan.squash",
    "SquashkitError": "errors",
    "measure_fleet": "jobs.fleet.job",
    "open_source": "transports.source",
    "parse_changeset": "layers.changeset",
    "parse_reference": "transports.reference",
    "plan_squash": "plan.squash",
    "rebase": "jobs.rebase",
    "rebase_platforms": "jobs.rebase",
    "scan": "layers.tar",
    "squash": "jobs.squash",
    "squash_fleet": "jobs.fleet.job",
    "squash_platforms": "jobs.squash",
}

if TYPE_CHECKING:
    from squashkit.errors import SquashkitError
    from squashkit.jobs.fleet.job import FleetOptions, measure_fleet, squash_fleet
    from squashkit.jobs.rebase import RebaseOptions, rebase, rebase_platforms
    from squashkit.jobs.selection import Keep
    from squashkit.jobs.squash import squash, squash_platforms
    from squashkit.layers.changeset import Changeset, parse_changeset
    from squashkit.layers.rootfs import Rootfs
    from squashkit.layers.tar import scan
    from squashkit.oci.graph import Image, Layer, LayerGraph
    from squashkit.options import MinSaving, Options
    from squashkit.plan.documents import HistoryOptions
    from squashkit.plan.squash import LayerPlan, Segment, plan_squash
    from squashkit.report.fleet.storage import FleetReport
    from squashkit.report.platforms import IndexReport
    from squashkit.report.rebase import RebaseReport
    from squashkit.report.squash import Report
    from squashkit.transports.codecs import Compression
    from squashkit.transports.reference import parse_reference
    from squashkit.transports.registry.access import Access
    from squashkit.transports.source import open_source

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
