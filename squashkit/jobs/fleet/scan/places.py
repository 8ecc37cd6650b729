"""Where a layer of a fleet lies, as plain values that another process understands."""

from __future__ import annotations

import os

from squashkit.jobs.fleet.members import Member
from squashkit.jobs.fleet.scan.batches import Place
from squashkit.oci.graph import Layer
from squashkit.oci.media import Codec
from squashkit.transports.layout.folder import Folder
from squashkit.transports.source import Source
from squashkit.transports.stored import codec_of, digest_of, is_remote, nearest, size_of


def place_of(member: Member, layer: Layer) -> Place:
    """That of a layer of an image."""
    digest, size, codec = stated(layer)
    return Place(
        layer.diff_id,
        digest,
        size,
        layer.descriptor.media_type if layer.descriptor is not None else "",
        codec.value,
        layer.index,
        member.source.reference,
        member.reference,
        is_there=bool(layer.blobs),
        is_portable=bool(layer.blobs) and _is_portable(member.source, layer),
    )


def stated(layer: Layer) -> tuple[str, int, Codec]:
    """What is known of a layer's blob before it is read, which may be nowhere: digest, bytes, codec."""
    if layer.blobs:
        return digest_of(layer), size_of(layer), codec_of(layer)
    described = layer.descriptor
    return (
        (described.digest, described.size, described.codec)
        if described is not None
        else ("", 0, Codec.NONE)
    )


def _is_portable(source: Source, layer: Layer) -> bool:
    """Whether another process can open what a layer lies in: a registry, a folder, or a file as it is."""
    if is_remote(layer) or isinstance(source.container, Folder):
        return True
    return not source.reference.is_stdio and source.is_file(os.fstat(nearest(layer).open().fd))
