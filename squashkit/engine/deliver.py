"""Images into one place: one sink, and one commit once all of them are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import partial

from squashkit.engine.carry_out import Done, Task, carry_out
from squashkit.engine.layers import LayerStore
from squashkit.engine.write import Stock
from squashkit.errors import inside
from squashkit.oci.digests import Digest
from squashkit.oci.documents import Descriptor
from squashkit.oci.graph import crowded
from squashkit.plan.documents import image_index, index_annotations, index_type
from squashkit.progress import Note
from squashkit.transports.blobs import Container
from squashkit.transports.contracts import Loading, Sink, Written
from squashkit.transports.sinks import open_sink, try_sink
from squashkit.transports.tags import TagGuard
from squashkit.transports.target import Target
from squashkit.values import frozen


@frozen
class Delivery:
    """What came of images that go to one place."""

    done: Sequence[Done]
    """In their order."""
    output: str | None
    """The place, as people call it; None in a dry run."""
    index: Digest | None
    """Of the index of several platforms."""
    notes: Sequence[str] = ()
    """What people should know of the names that were given."""
    loading: Loading | None = None
    """What a store was sent; None where the place is none."""
    left_out: Mapping[Digest, int] = field(default_factory=dict)
    """Blobs of layers that stayed out of a delta, with their bytes."""


def deliver(
    layers: LayerStore, tasks: Sequence[Task], targets: Sequence[Target], guard: TagGuard, stock: Stock
) -> Delivery:
    """Write images to one place, each in the form that its target says, and give what was written its
    names: of several platforms to an index of theirs. Nothing has a name before all of it is right.

    Raises what opening the place, `carry_out` and `check_result` raise.
    """
    session, target = layers.session, targets[0]
    sink = None
    if target.writes:
        images = [task.decision.image for task in tasks]
        kept = [layer for task in tasks for layer in task.decision.kept]
        sink = open_sink(session, target, guard, images, kept, _lent(tasks, stock))
        notes = sink.notes
    else:
        notes = try_sink(session, target, guard)
    for task in tasks:
        if said := crowded(task.decision.count):
            session.notify(Note(f"the result has {said}", is_warning=True))
    done = carry_out_each(layers, tasks, targets, sink, stock)
    index = None
    left_out = _left_out(done, target, sink)
    if sink is not None:
        written = replace(written_of(done, target, sink), needs=list(left_out))
        index = written.root.digest if target.several else None
        sink.commit([written], partial(_check, layers, done) if target.check else None)
        if target.in_registry is not None:
            for blob in (blob for image in written.images for blob in image.layers):
                stock.repositories.setdefault(blob, target.in_registry.repository)
    if sink is None:
        return Delivery(done, None, index, notes, left_out=left_out)
    return Delivery(done, sink.title, index, notes, sink.loading, left_out)


def _left_out(done: Sequence[Done], target: Target, sink: Sink | None) -> dict[Digest, int]:
    """The blobs of layers that a delta has not."""
    if target.other is None:
        return {}
    if sink is None:
        return {digest: size for one in done for digest, size in one.result.there.items()}
    layers = (layer for one in done for layer in one.result.after)
    return {layer.digest: layer.size for layer in layers if not sink.has(layer.digest, layer.size)}


def carry_out_each(
    layers: LayerStore, tasks: Sequence[Task], targets: Sequence[Target], sink: Sink | None, stock: Stock
) -> list[Done]:
    """Carry tasks out, one after another. Errors name the platform where there are several."""
    done = []
    for task, target in zip(tasks, targets, strict=True):
        with inside(str(task.decision.image.platform) if target.several else ""):
            done.append(carry_out(layers, task, target, sink, stock))
            if target.rootfs_digest and sink is not None:
                done[-1] = _with_rootfs_digest(layers, task, done[-1])
    return done


def _with_rootfs_digest(layers: LayerStore, task: Task, done: Done) -> Done:
    from squashkit.engine.rootfs_digest import planned_digest  # most runs have no use for it

    digest = planned_digest(layers, task.decision.image, done.result.plan, task.sources)
    return replace(done, result=replace(done.result, rootfs_digest=digest))


def written_of(done: Sequence[Done], target: Target, sink: Sink) -> Written:
    """What makes stored images ones with names: of several platforms the index is stored now."""
    images = [one.written for one in done if one.written is not None]
    root = images[0].manifest
    if target.several:
        manifests = [image.manifest for image in images]
        annotations = index_annotations([one.result for one in done])
        index, media_type = image_index(manifests, annotations), index_type(manifests)
        root = Descriptor(media_type, sink.manifest(media_type, index), len(index))
    return Written(root, images, target.tags, target.repo_tags)


def _check(layers: LayerStore, done: Sequence[Done], container: Container) -> None:
    from squashkit.engine.check import check_result  # most runs have no use for it

    for one in done:
        check_result(layers, one, container)


def _lent(tasks: Sequence[Task], stock: Stock) -> dict[Digest, str]:
    """Of what these images will have, what repositories written before have."""
    wanted: set[Digest] = set()
    for task in tasks:
        decision = task.decision
        for layer in decision.image.layers:
            packed = stock.kept.get(layer.diff_id)
            wanted |= {stored.digest for stored in (packed, layer.descriptor) if stored is not None}
        keys = [*task.shared, *(decision.image.place(run.start, run.stop) for run in decision.segments)]
        wanted |= {stock.runs[key].digest for key in keys if key in stock.runs}
    return {digest: stock.repositories[digest] for digest in wanted if digest in stock.repositories}
