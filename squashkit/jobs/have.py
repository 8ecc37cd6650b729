"""What the other side has: told by a have-list, or by an image of it. By that deltas are made whole."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from squashkit.amounts import count, some, together
from squashkit.engine.stream import pump
from squashkit.errors import (
    ImageNotFound,
    InvalidImage,
    PlanError,
    TransportError,
    UsageError,
    show_text,
    why,
)
from squashkit.oci.documents import ALL, Descriptor, Platform, PlatformChoice
from squashkit.oci.graph import Image, Layer, LayerGraph
from squashkit.oci.have import FIRST, Have, HeldLayer, Keeper, parse_have
from squashkit.oci.media import OCI_LAYER
from squashkit.plan.base import matches
from squashkit.transports.open import open_source
from squashkit.transports.other import OtherSide
from squashkit.transports.reference import STDIO, STORES, Reference, parse_reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import StoredBlob, codec_of, digest_of, nearest, size_of
from squashkit.transports.stores.open import open_store
from squashkit.transports.target import Target
from squashkit.wording import Option

_HAVE = Option("Read.have")
_NAMED = 3
_LONGEST = 128 << 20
"""Bytes of a have-list of half a million layers, which is more than any place was seen to have."""


# --- reading what tells it ---------------------------------------------------------------------


def open_other(session: Session, references: Sequence[str], *, whole: bool = False) -> OtherSide:
    """What the other side has by all of these together: have-lists, archives, layouts, references. `whole`
    asks for the bytes of its layers, too, where they are to be had.

    Raises UsageError where they do not fit together, InvalidImage where a have-list is none, and what
    opening an image raises.
    """
    if STDIO in references and any(source.reference.is_stdio for source in session.sources):
        raise UsageError("standard input holds the image; name what its reader has by a path")
    sides = [_open_one(session, text, whole=whole) for text in references]
    keepers = list(dict.fromkeys(side.have.keeper for side in sides))
    hosts = [keeper for keeper in keepers if keeper not in (Keeper.FILES, Keeper.REGISTRY)]
    if len(hosts) > 1 or len({keeper.by_digest for keeper in keepers}) > 1:
        told = " and ".join(keeper.value for keeper in keepers)
        raise UsageError(_HAVE, f": {told} know layers by different things; make a delta for each")
    layers = [layer for side in sides for layer in side.have.layers]
    blobs = {digest: blob for side in sides for digest, blob in side.blobs.items()}
    return OtherSide(
        together([side.title for side in sides]),
        Have((hosts or keepers)[0], tuple(layers)),
        blobs,
        all(side.is_host for side in sides),
    )


def _open_one(session: Session, text: str, *, whole: bool) -> OtherSide:
    listed = _read_have_list(text)
    if listed is not None:
        title = "standard input" if text == STDIO else show_text(text)
        have = parse_have(listed, title)
        return OtherSide(title, have, {}, is_host=have.keeper not in (Keeper.FILES, Keeper.REGISTRY))
    reference = parse_reference(text)
    if reference.transport in STORES and not whole:
        store = session.keep(open_store(reference))
        image = store.inspect(reference.path)
        session.progress.stage(f"Reading from {store.title}", None)
        held = store.held([image], session.progress.advance)
        return OtherSide(str(reference), Have(store.keeper(), tuple(held)), {}, is_host=True)
    source = open_source(session, reference)
    images = _meant(source, reference)
    keeper = source.store.keeper() if source.store is not None else keeper_of(source)
    layers = [layer for image in images for layer in _described(session, image)]
    held = [HeldLayer.of(layer, codec_of(layer)) for layer in layers]
    blobs = {layer.descriptor.digest: nearest(layer) for layer in layers if layer.descriptor is not None}
    return OtherSide(source.title, Have(keeper, tuple(held)), blobs, is_host=source.store is not None)


def _meant(source: Source, reference: Reference) -> Sequence[Image]:
    """The images that a reference means: without a name, all in a container. Raises ImageNotFound."""
    if not source.images:
        raise ImageNotFound(f"{source.title} holds no image", reference=source.title)
    wanted = reference.image
    found = [image for image in source.images if wanted is None or matches(image, wanted)]
    if not found:
        assert wanted is not None
        names = [name for image in source.images for name in image.names]
        listed = f"; there are {some(list(map(show_text, names)), _NAMED)}" if names else ""
        raise ImageNotFound(
            f"{source.title} has no image {show_text(wanted)}{listed}", reference=wanted, choices=names
        )
    return found


def keeper_of(source: Source) -> Keeper:
    """What keeps the layers of a source that is no store."""
    return Keeper.REGISTRY if source.remote is not None else Keeper.FILES


def held_by(session: Session, image: Image) -> list[HeldLayer]:
    """The layers of an image that are there."""
    return [HeldLayer.of(layer, codec_of(layer)) for layer in _described(session, image)]


def _described(session: Session, image: Image) -> Iterator[Layer]:
    """The layers of an image that are there, with descriptors. A compressed blob that nothing describes, as
    in archives without manifests, is read to know its digest."""
    for layer in (layer for layer in image.layers if layer.blobs):
        if layer.descriptor is not None:
            yield layer
            continue
        digest = digest_of(layer)
        if not digest:
            blocks = nearest(layer).blocks(session.cancelled, layer.where)
            _, digest = pump(session, blocks, lambda block: None)
        yield replace(layer, descriptor=Descriptor(OCI_LAYER, digest, size_of(layer)))


# --- deltas --------------------------------------------------------------------------------------


def delta_target(target: Target, other: OtherSide) -> Target:
    """A target that leaves out what the other side has. Raises UsageError where it is no archive, or none
    that can be loaded there."""
    place = target.reference
    if place is not None and (not place.is_file or target.is_layout):
        raise UsageError(
            _HAVE,
            f" leaves layers out of an archive that travels, and {place} is none: pass ",
            Option("output", example="PATH"),
            " or ",
            Option("output", STDIO),
        )
    is_graphdriver = other.have.keeper is Keeper.GRAPHDRIVER
    if is_graphdriver and target.several:
        raise UsageError(
            "docker's own storage keeps one platform of an image; leave ",
            Option("Which.platform", ALL),
            " out",
        )
    if is_graphdriver and target.format == "oci":
        raise UsageError(
            "docker's own storage loads no deltas in OCI's form; pass ", Option("Write.format", "docker")
        )
    return replace(target, other=other)


def make_whole(source: Source, other: OtherSide, choice: PlatformChoice | None) -> None:
    """Give the images of a delta the layers that the other side has: the one that is chosen must be whole,
    or all. Raises UsageError where nothing can be read there, and what `with_layers` raises."""
    if not other.blobs:
        raise UsageError(
            f"{source.title} is a delta, and no delta is made of one; {other.title} has no bytes of layers:"
            " pass ",
            Option("Read.have", example="IMAGE"),
            " to make it whole",
        )
    images = [
        with_layers(
            image, source, other, as_far=isinstance(choice, Platform) and not image.platform.matches(choice)
        )
        for image in source.images
    ]
    source.images[:] = images
    source.listing.images[:] = [image for image in images if image.manifest is not None]
    source.graph = LayerGraph(images)


def with_layers(image: Image, source: Source, other: OtherSide, *, as_far: bool = False) -> Image:
    """An image of a delta with the layers that were left out, by the digests under which it names them;
    `as_far` as they are there.

    Raises PlanError where one is not there, InvalidImage where the delta lacks more than it says.
    """
    needs = source.listing.needs or frozenset()
    layers: list[Layer] = []
    lacking: list[Layer] = []
    for layer in image.layers:
        blob = layer.descriptor
        if not layer.blobs and blob is not None:
            if blob.digest not in needs:
                told = f"the blob {blob.digest} is not in {source.title}"
                why = "which does not say that it was left out"
                raise InvalidImage(f"{told}, {why}", where=f"layer {layer.index}")
            if (found := other.blobs.get(blob.digest)) is None:
                lacking.append(layer)
            else:
                layer = replace(layer, blobs=(StoredBlob(found.container, found.name, blob),))
        layers.append(layer)
    if lacking and not as_far:
        raise _not_held(lacking, source, other)
    return replace(image, layers=tuple(layers))


def _not_held(lacking: Sequence[Layer], source: Source, other: OtherSide) -> PlanError:
    """Why a delta cannot be made whole."""
    diff_ids = {one.diff_id for one in other.have.layers}
    packed = all(layer.diff_id in diff_ids for layer in lacking)
    why = ": it has the same layers, stored otherwise" if packed else ""
    digests = some([layer.descriptor.digest for layer in lacking if layer.descriptor is not None], _NAMED)
    return PlanError(
        f"{other.title} does not hold {count(len(lacking), 'blob')} that {source.title} needs{why}"
        f" ({digests})"
    )


# --- have-lists ----------------------------------------------------------------------------------


def _read_have_list(text: str) -> str | None:
    """The have-list in a file, or what comes through a pipe and must be one; None for anything else.

    Raises InvalidImage where it is no text or too long, TransportError where it cannot be read.
    """
    try:
        if text == STDIO:
            if sys.stdin is None:
                raise UsageError("standard input is closed")
            return _whole_list(sys.stdin.buffer.read, "standard input")
        about = os.stat(text)
        if stat.S_ISDIR(about.st_mode):
            return None
        with open(text, "rb") as file:
            if stat.S_ISREG(about.st_mode) and file.read(len(FIRST)) != FIRST.encode():
                return None
            if file.seekable():
                file.seek(0)
            return _whole_list(file.read, show_text(text))
    except (FileNotFoundError, ValueError):
        return None  # the name of an image, perhaps
    except OSError as error:
        raise TransportError(f"cannot read {show_text(text)}: {why(error)}", reference=text) from error


def _whole_list(read: Callable[[int], bytes], title: str) -> str:
    data = read(_LONGEST + 1)
    if not data.startswith(FIRST.encode()):
        raise InvalidImage("no have-list; only such comes through a pipe", where=title)
    if len(data) > _LONGEST:
        raise InvalidImage(f"a have-list of over {_LONGEST >> 20} MB", where=title)
    try:
        return data.decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidImage("no have-list: it has more than ASCII", where=title) from error
