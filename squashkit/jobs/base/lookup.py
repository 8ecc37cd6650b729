"""A base that a person names: looked up in the image's own container, by path, by reference, by digest.

What is found is held against the image's diff_ids (plan/base.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from squashkit.errors import ImageNotFound, InvalidImage, TransportError, UsageError, show_text
from squashkit.jobs.choose import absent_of, refuse_without_images
from squashkit.oci.digests import is_digest
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image
from squashkit.plan.base import (
    Base,
    base_of,
    choose_image,
    find_by_digest,
    matches,
    name_of,
    not_found,
)
from squashkit.transports.layout.index import refuse_unsupported
from squashkit.transports.reference import Reference, parse_reference
from squashkit.transports.source import Source, machine_platform
from squashkit.wording import Option, Words

OpenBase = Callable[[Reference, Platform], Source]
"""Opens a base that lies elsewhere, for a platform."""


def named_base(
    image: Image,
    source: Source,
    here: Sequence[Image],
    name: str,
    open_base: OpenBase,
) -> Base:
    """The base by name in the same archive, by reference elsewhere, or by digest."""
    if here:
        fitting = [other for other in here if other.platform.matches(image.platform)] or here
        based = [other for other in fitting if other.diff_ids == image.diff_ids[: len(other.diff_ids)]]
        return base_of(image, (based or fitting)[0], name)
    tried = [f"an image in {source.title}"]
    if is_digest(name):
        base = find_by_digest(image, name)
        if base is not None:
            return base
        tried += ["a chain_id", "a diff_id"]
        if source.store is None:
            raise not_found(name, tried, image, _way(source))
        try:
            other = open_base(Reference(source.reference.transport, name), image.platform)
        except ImageNotFound as error:
            tried.append(f"an image of {source.store.title}")
            raise not_found(name, tried, image, _way(source)) from error
        return base_of(image, other.images[0], name)
    try:
        reference = _parse(name, source, "base")
        other = open_base(reference, image.platform)
    except TransportError as error:
        if reference.guessed:
            tried += ["a path", "an image of docker"]
        elif reference.is_file and not os.path.exists(reference.path):
            tried.append("a path")
        else:
            raise
        raise not_found(name, tried, image, _way(source), error) from error
    base_image = choose_image(
        other.images, reference.image, image.platform, machine_platform(), other.example
    )
    base = base_of(image, base_image, _title(base_image, reference))
    image_name = _image_name(reference)
    return replace(base, image_name=image_name) if image_name else base


def open_new_base(
    name: str,
    source: Source,
    images: Sequence[Image],
    open_base: OpenBase,
) -> list[Base]:
    """The base that images are to be put on: its image for each of theirs.

    Like an old one it is looked for in the image's own container, then by reference. Where there is none
    for a platform, the one there is. Raises ImageNotFound, UsageError, InvalidImage where a layer's blob is
    not there, and what `open_base` raises.
    """
    here = [other for other in source.images if matches(other, name)]
    where, reference = source, None
    if not here:
        reference = _parse(name, source, "new base")
        where = open_base(reference, images[0].platform)
        refuse_without_images(where)
    bases = []
    for image in images:
        found = here or list(where.images)
        wanted = reference.image if reference is not None else None
        fitting = [other for other in found if other.platform.matches(image.platform)]
        absent = [one.platform for one in absent_of(where, wanted if reference is not None else name)]
        if not fitting and any(one is not None and one.matches(image.platform) for one in absent):
            raise ImageNotFound(
                f"the index of the new base {name} names an image for"
                f" {show_text(str(image.platform))}, but its blobs are not there",
                reference=name,
            )
        base = choose_image(fitting or found, wanted, None, machine_platform(), where.example)
        refuse_unsupported(base)
        _refuse_without_blobs(base, where)
        title = base.title if reference is None else _title(base, reference)
        image_name = (_image_name(reference) if reference else "") or name_of(base, name)
        evidence = Words(Option("Rebase.onto", name))
        bases.append(Base(len(base.layers), evidence, base, title, image_name))
    return bases


def _parse(name: str, source: Source, what: str) -> Reference:
    """Where a base lies by its name: a bare one is a name in the store that the image is in, if it is in
    one. Raises UsageError for standard input."""
    reference = parse_reference(name)
    if reference.is_stdio:
        raise UsageError(f"the {what} cannot come from standard input")
    return reference.near(source.reference)


def _title(base: Image, reference: Reference) -> str:
    """What people call a base that a reference led to."""
    return base.title if base.names and reference.is_file else str(reference)


def _image_name(reference: Reference) -> str:
    """The name that a reference has for an image in a store or a registry; empty for a file or a digest."""
    return "" if reference.is_file or is_digest(reference.path) else reference.path


def _refuse_without_blobs(base: Image, where: Source) -> None:
    """Raises InvalidImage where a layer of the new base is not there: later its layers are the image's."""
    for layer in base.layers:
        if not layer.blobs:
            digest = layer.descriptor.digest if layer.descriptor else layer.diff_id
            raise InvalidImage(
                f"the blob {digest} is not in {where.title}",
                where=f"the new base {base.title} ({show_text(str(base.platform))}), layer {layer.index}",
            )


def _way(source: Source) -> str:
    """How to come by a base that was not found."""
    if source.reference.is_file:
        save = "docker save {image} {base} -o both.tar"
        return f"Save it with the image ({save}), pass the base's own archive"
    return "Pass it as docker://HOST/NAME"
