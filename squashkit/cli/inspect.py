"""`squashkit inspect`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import click

from squashkit.cli.output import say
from squashkit.cli.shared import Looking, Opened, json_option, look_options, show_report
from squashkit.engine.view import View
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.jobs.base.find import base_by_catalogue
from squashkit.oci.graph import Image, Layer
from squashkit.oci.media import Codec
from squashkit.plan.base import known_base
from squashkit.report.inspect import InspectReport, LayerFacts
from squashkit.report.tree import TreeReport


@click.command(
    short_help="Show the layers of an image, its base, and what a squash would give.",
    epilog="""\b
Examples:
  squashkit inspect app.tar
  squashkit inspect app.tar:app:latest -v
  squashkit inspect all.tar --dot | dot -Tsvg > layers.svg
""",
)
@click.argument("image")
@click.option("-v", "--verbose", is_flag=True, help="Print whole digests, chain_ids and commands, too.")
@click.option("--verify", is_flag=True, help="Read everything and check its digests.")
@click.option("--dot", is_flag=True, help="Print the tree of layers as a graph for Graphviz.")
@json_option("it")
@look_options
def inspect(image: str, verbose: bool, verify: bool, dot: bool, as_json: bool, looking: Looking) -> None:
    """Show the layers of IMAGE: where each comes from, its size, what of it is dead, where the base ends.

    Dead is what layers above replace or delete: it is in the image and nobody sees it. Of an archive
    with several images, the tree of layers that they share, unless one is named.
    """
    with looking.open(image) as (opened,):
        source = opened.source
        several = len({one.image_id for one in source.images}) > 1
        whole = source.reference.image is None and looking.platform is None and several
        if dot or whole:
            for one in source.images if verify else ():
                with opened.view(one, verify=True) as view:
                    view.settle()
            tree = TreeReport(source.title, source.example, source.graph, partial(_size, opened), verify)
            if dot:
                say(tree.dot())
            else:
                show_report(tree, as_json=as_json)
            return
        reports = (
            (one.platform, _report(opened, one, verify=verify, verbose=verbose)) for one in opened.images()
        )
        looking.show(reports, as_json=as_json)


def _report(opened: Opened, image: Image, *, verify: bool, verbose: bool) -> InspectReport:
    source = opened.source
    reference = source.title
    if len({one.image_id for one in source.images}) > 1:
        reference = source.example.removesuffix("REF") + image.title
    base = known_base(image, source.graph) or base_by_catalogue(image, Catalogue.of_user())
    facts = [_stored_facts(opened, layer) for layer in image.layers]
    if all(layer.member is not None for layer in image.layers):
        with opened.view(image, verify=verify) as view:
            facts = _all_facts(view, facts)
            view.settle()
    else:
        verify = False
    return InspectReport(image, reference, facts, base, verify, verbose)


def _size(opened: Opened, layer: Layer) -> int | None:
    there = layer.member is not None or layer.descriptor is not None
    return opened.source.size(layer) if there else None


def _stored_facts(opened: Opened, layer: Layer) -> LayerFacts:
    source = opened.source
    if layer.member is None and layer.descriptor is None:
        return LayerFacts(layer, Codec.NONE, None, None)
    size = source.size(layer) if layer.member is not None else None
    return LayerFacts(layer, source.codec(layer), size, source.digest(layer) or None)


def _all_facts(view: View, stored: list[LayerFacts]) -> list[LayerFacts]:
    """With what the layers' headers say."""
    entries: Counter[int] = Counter()
    dead: Counter[int] = Counter()
    for dropped in view.rootfs.dropped:
        entries[dropped.layer] += 1
        dead[dropped.layer] += dropped.entry.record.length
    return [
        replace(
            facts,
            uncompressed=changeset.diff_size,
            entries=changeset.count,
            markers=sum(entry.record.length for entry in changeset.markers),
            dead_entries=entries[index],
            dead_bytes=dead[index],
        )
        for facts, (index, changeset) in zip(stored, view.changesets.items(), strict=True)
    ]
