"""The layers of an image: where each comes from, its size, what of it is dead, where the base ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from heapq import nlargest

from squashkit.arguments import checked
from squashkit.engine.view import View
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.jobs.base.find import base_by_catalogue
from squashkit.jobs.look import Opened, one_platform, open_images
from squashkit.oci.graph import Image, Layer
from squashkit.oci.media import Codec
from squashkit.options import Run, Which
from squashkit.plan.base import candidate_bases, known_base
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.inspect import DeadEntry, InspectReport, LayerFacts
from squashkit.report.tree import TreeReport
from squashkit.transports.stored import codec_of, digest_of, size_of

_WORST = 3


@checked
def inspect(
    image: str,
    *,
    verify: bool = False,
    rootfs_digest: bool = False,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> InspectReport:
    """Look at an image's layers; with `verify` every digest is checked, with `rootfs_digest` that of its
    root file system is told. Raises what opening and reading the image raises."""
    with open_images([image], one_platform(which), run, progress, notify) as (opened,):
        (one,) = opened.images()
        return inspect_image(opened, one, verify=verify, rootfs_digest=rootfs_digest)


@checked
def inspect_tree(
    image: str,
    *,
    verify: bool = False,
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> TreeReport:
    """Look at all images of an archive or a layout, as the tree of the layers that they share; with
    `verify` every digest is checked. Raises what opening and reading them raises."""
    with open_images([image], Which(), run, progress, notify) as (opened,):
        return tree(opened, verify=verify)


def inspect_image(
    opened: Opened, image: Image, *, verify: bool, verbose: bool = False, rootfs_digest: bool = False
) -> InspectReport:
    """The same of one image of an open source."""
    source = opened.source
    base = known_base(image, source.graph) or base_by_catalogue(image, Catalogue.of_user())
    candidates = () if base is not None else tuple(candidate_bases(image, source.graph))
    facts = [_stored_facts(layer) for layer in image.layers]
    worst: list[DeadEntry] = []
    digest = ""
    if image.is_whole or rootfs_digest:
        with opened.view(image, verify=verify, keep=rootfs_digest) as view:
            facts = _all_facts(view, facts)
            worst = _worst(view)
            digest = _rootfs_digest(view) if rootfs_digest else ""
            view.settle()
    else:
        verify = False
    return InspectReport(
        image,
        opened.reference(image),
        tuple(facts),
        base,
        verify,
        verbose,
        tuple(worst),
        candidates,
        digest,
    )


def tree(opened: Opened, *, verify: bool) -> TreeReport:
    """The layers that all images of an open source share; with `verify` each image is read."""
    source = opened.source
    for one in source.images if verify else ():
        with opened.view(one, verify=True) as view:
            view.settle()
    sizes = {layer.chain_id: _size(layer) for layer in source.graph.layers.values()}
    return TreeReport(source.title, source.example, source.graph, sizes, verify)


def _size(layer: Layer) -> int | None:
    return size_of(layer) if layer.blobs or layer.descriptor is not None else None


def _stored_facts(layer: Layer) -> LayerFacts:
    if not layer.blobs and layer.descriptor is None:
        return LayerFacts(layer, Codec.NONE, None, None)
    size = size_of(layer) if layer.blobs else None
    return LayerFacts(layer, codec_of(layer), size, digest_of(layer) or None)


def _worst(view: View) -> list[DeadEntry]:
    found = nlargest(_WORST, view.rootfs.dropped, key=lambda one: (one.entry.size, -one.layer))
    dead = [DeadEntry(one.path, one.entry.size, one.layer) for one in found]
    return [one for one in dead if one.size]


def _rootfs_digest(view: View) -> str:
    from squashkit.engine.rootfs_digest import rootfs_digest  # most looks have no use for it

    return rootfs_digest(view.layers, view.image)


def _all_facts(view: View, stored: Sequence[LayerFacts]) -> list[LayerFacts]:
    """With what the layers' headers say."""
    entries: Counter[int] = Counter()
    dead: Counter[int] = Counter()
    lengths: Counter[int] = Counter()
    for entry, layer, *_ in view.rootfs.dropped:
        entries[layer] += 1
        dead[layer] += entry.size
        lengths[layer] += entry.length
    return [
        replace(
            facts,
            uncompressed=changeset.diff_size,
            entries=changeset.count,
            markers=sum(entry.length for entry in changeset.markers),
            dead_entries=entries[index],
            dead_bytes=dead[index],
            dead_length=lengths[index],
        )
        for facts, (index, changeset) in zip(stored, view.changesets.items(), strict=True)
    ]
