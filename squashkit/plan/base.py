"""Choosing an image among several, and the layers of it that belong to its base.

Every answer is checked by diff_ids: a base is a prefix of its image. Compressed digests never count,
since the same layer compresses differently from one tool to the next.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from squashkit.errors import (
    BaseAmbiguous,
    BaseNotFound,
    ImageNotFound,
    NotBasedOn,
    PlanError,
    TransportError,
    UsageError,
    layer_table,
    show_text,
)
from squashkit.oci.digests import DiffID, is_digest
from squashkit.oci.documents import ImageConfig, Platform
from squashkit.oci.graph import Image, LayerGraph, shared_prefix
from squashkit.oci.media import BASE_CHAIN, BASE_DIGEST, BASE_NAME
from squashkit.oci.names import same_name
from squashkit.values import frozen
from squashkit.wording import Option, Text


@frozen
class Base:
    """Where an image's base ends. `image` is the base's own image where it was read, `evidence` says
    in words how it is known."""

    layers: int
    evidence: str
    image: Image | None = None
    name: str = ""
    """The base as it was asked for."""
    image_name: str = ""
    """Its name, where it has one: not a path, not a digest, and no transport before it."""
    catalogued: bool = False
    """Whether only the catalogue says it. `name` is then the reference that it was added by."""


def matches(image: Image, reference: str) -> bool:
    """Whether a reference means this image: one of its names, its image_id or its manifest's digest."""
    if is_digest(reference):
        digest = image.manifest_descriptor.digest if image.manifest_descriptor else None
        return reference in (image.image_id, digest)
    return same_name(reference, *image.names)


def choose_image(
    images: Sequence[Image],
    reference: str | None,
    platform: Platform | None,
    machine: Platform,
    example: str,
    absent: Sequence[Platform] = (),
) -> Image:
    """The one image that is meant. `example` is a reference to one of them, as in `app.tar:REF`.

    Without a platform an index with several gives the machine's. Raises ImageNotFound where nothing
    fits, UsageError where more than one does, both with the choices.
    """
    where = example.removesuffix(":REF")
    found = _named(images, reference, where)
    if platform is not None:
        fitting = [image for image in found if image.platform.matches(platform)]
        if not fitting:
            raise ImageNotFound(
                f"no image for {show_text(str(platform))} in {where}"
                + (" (its index names one, its blobs are not there)" if platform in absent else ""),
                reference=where,
                choices=_titles(found),
                details=choices(found),
            )
        found = [image for image in fitting if image.platform == platform] or fitting
    unique = list({image.image_id: image for image in found}.values())
    if len(unique) > 1 and len({image.platform for image in unique}) > 1:
        unique = [image for image in unique if image.platform.matches(machine)] or unique
    if len(unique) > 1:
        way: Text = (f"{where} holds several images; name one as {example}",)
        if len({image.platform for image in unique}) > 1:
            way += (", or pass ", Option("Which.platform"))
        raise UsageError(*way, details=choices(unique))
    return unique[0]


def every_platform(images: Sequence[Image], reference: str | None, example: str) -> list[Image]:
    """All images of the index that is meant, in its order: each for a platform of its own.

    Raises ImageNotFound and UsageError as `choose_image` does.
    """
    where = example.removesuffix(":REF")
    found = list({image.image_id: image for image in _named(images, reference, where)}.values())
    platforms = Counter(image.platform for image in found)
    several = ", ".join(str(platform) for platform, number in platforms.items() if number > 1)
    if several or len({image.names[:1] for image in found}) > 1:
        which = f"several images for {several}" if several else "several images"
        raise UsageError(f"{where} holds {which}; name one as {example}", details=choices(found))
    return found


def _named(images: Sequence[Image], reference: str | None, where: str) -> list[Image]:
    """The images that a reference means. Raises ImageNotFound where there is none."""
    found = [image for image in images if reference is None or matches(image, reference)]
    if not found:
        what = f"no image {reference!r}" if reference else "no image"
        raise ImageNotFound(
            f"{what} in {where}", reference=where, choices=_titles(images), details=choices(images)
        )
    return found


def _titles(images: Iterable[Image]) -> list[str]:
    return [show_text(", ".join(image.names)) or image.image_id for image in images]


def choices(images: Sequence[Image]) -> str:
    """The images there are, a line each."""
    if not images:
        return ""
    lines = [
        f"\n  {title}  ({show_text(str(image.platform))}, {_layers(len(image.layers))})"
        for title, image in zip(_titles(images[:20]), images, strict=False)
    ]
    more = f"\n  and {len(images) - 20} more" if len(images) > 20 else ""
    return "; there are:" + "".join(lines) + more


def base_of(image: Image, base: Image, name: str) -> Base:
    """The base, checked to be a prefix. Raises NotBasedOn with the history."""
    shared = shared_prefix(image.diff_ids, base.diff_ids)
    wanted = len(base.diff_ids)
    if shared < wanted:
        raise NotBasedOn(
            f"{image.title} is not based on {name}: {shared} of the base's {wanted} layers agree with the"
            f" image's {len(image.layers)}, counted from below",
            shared=shared,
            wanted=wanted,
            steps=steps_of(image),
        )
    return Base(wanted, f"{name}, found by its layers' diff_ids", base, name, name_of(base, name))


def name_of(image: Image, asked: str) -> str:
    """The name of an image that was asked for by it, or by something else."""
    known = same_name(asked, *image.names)
    return asked if known and not is_digest(asked) else next(iter(image.names), "")


def find_by_digest(image: Image, digest: str) -> Base | None:
    """A base given as the chain_id or the diff_id of its top layer, None where the image has neither.

    Raises BaseAmbiguous where the diff_id stands at several positions.
    """
    found = [layer.index for layer in image.layers if layer.diff_id == DiffID(digest)]
    if len(found) > 1:  # the lowest layer's diff_id is its chain_id too
        positions = ", ".join(str(index) for index in found)
        raise BaseAmbiguous(
            f"{digest} is the diff_id of several layers ({positions}); pass the chain_id of a higher one",
            reference=digest,
            positions=found,
        )
    for layer in image.layers:
        if layer.chain_id == digest:
            return Base(layer.index + 1, f"chain_id of layer {layer.index}", name=digest)
    return Base(found[0] + 1, f"diff_id of layer {found[0]}", name=digest) if found else None


def labels_of(config: ImageConfig) -> Mapping[str, Any]:
    """The labels in a config; none where they are no object."""
    labels = config.settings.get("Labels")
    return labels if isinstance(labels, dict) else {}


def stated_base(image: Image) -> tuple[str, str]:
    """The name and the digest by which an image names its base, in the manifest's annotations or else in
    the config's labels; empty where it does not."""
    annotations = image.manifest.annotations if image.manifest else {}
    if BASE_NAME not in annotations and BASE_DIGEST not in annotations:
        annotations = labels_of(image.config)
    return str(annotations.get(BASE_NAME) or ""), str(annotations.get(BASE_DIGEST) or "")


def base_by_note(image: Image) -> Base | None:
    """The base that a rebase or a squash noted in an image, if the image still stands on it."""
    noted = image.manifest.annotations.get(BASE_CHAIN) if image.manifest else None
    for layer in image.layers:
        if layer.chain_id == noted:
            return Base(layer.index + 1, f"the annotation {BASE_CHAIN}", name=layer.chain_id)
    return None


def history_hint(image: Image) -> str:
    """What the history lets one guess of the base, for people: it decides nothing. Empty where that is
    nothing."""
    layers = 0
    for entry in image.config.history or ():
        comment = str(entry.raw.get("comment") or "")
        if comment.startswith("FROM ") and layers:  # podman and buildah, on the first step of their own
            return f"the history has {show_text(comment)!r} above {_layers(layers)}"
        layers += not entry.empty_layer
    first = (image.config.history or ())[:2]
    if len(first) == 2 and first[1].empty_layer and first[1].created_by.endswith(_SHELLS):
        return f"the history begins as official images do, with {_layers(1)} and its shell"
    return ""


_SHELLS = ('CMD ["bash"]', 'CMD ["/bin/bash"]', 'CMD ["/bin/sh"]', 'CMD ["sh"]')


def _layers(number: int) -> str:
    return f"{number} layer{'s' * (number != 1)}"


def base_by_annotations(image: Image, at_hand: Iterable[Image]) -> Base | None:
    """The base that an image's annotations name, where its manifest is available to verify it. Raises
    NotBasedOn where they are wrong."""
    name, digest = stated_base(image)
    for other in at_hand:
        descriptor = other.manifest_descriptor
        if digest and descriptor and descriptor.digest == digest:
            base = base_of(image, other, name or other.title)
            told = f"the annotation {BASE_DIGEST}"
            return replace(base, evidence=told, image_name=name or base.image_name)
    return None


def known_base(image: Image, graph: LayerGraph) -> Base | None:
    """The base that can be told without being asked for: by the image's annotations, else the nearest
    image of the same source that it stands on. None where neither says it."""
    try:
        base = base_by_annotations(image, graph.images)
    except NotBasedOn:  # the annotations are wrong
        base = None
    if base is not None:
        return base
    for other in graph.bases_of(image):
        twin = other.names[:1] == image.names[:1]  # the same image for another platform
        if other.names and other.platform == image.platform and not twin:
            return Base(len(other.layers), f"{other.title}, which lies beside it", other, other.names[0])
    return None


def candidate_bases(image: Image, graph: LayerGraph) -> Iterator[Base]:
    """Where the base of an image may end that nothing tells: at images of the same source that it stands
    on, and where its history sets a command in the middle, as most bases do at their end. The one with the
    most layers first, each end once, none at the last layer."""
    found = {len(other.layers): other.title for other in graph.bases_of(image)}
    ends = {layers: Base(layers, f"{title}, which it stands on") for layers, title in found.items()}
    if image.config.history is not None and image.config.layer_history is not None:
        layers = 0
        for entry in image.config.history:
            layers += not entry.empty_layer
            if (
                entry.empty_layer
                and _SETS_COMMAND.match(entry.created_by)
                and 0 < layers < len(image.layers)
            ):
                step = entry.created_by.removeprefix("/bin/sh -c #(nop) ").strip()
                ends.setdefault(layers, Base(layers, f"there the history has {step}"))
    yield from (ends[layers] for layers in sorted(ends, reverse=True))


_SETS_COMMAND = re.compile(r"(?:/bin/sh -c #\(nop\) +)?(?:CMD|ENTRYPOINT) ")
_COUNT = Option("Keep.layers", example="N")


def base_from_step(image: Image, text: str) -> Base:
    """Everything below the one step whose created_by contains the text is the base."""
    history = image.config.history
    if not history:
        raise PlanError("the image has no history to search; pass ", _COUNT)
    if image.config.layer_history is None:
        steps = sum(not entry.empty_layer for entry in history)
        raise PlanError(
            f"the image's history does not fit its {_layers(len(image.layers))}: it tells of {steps}; ",
            "pass ",
            _COUNT,
        )
    found = [layer for layer in image.layers if text in layer.created_by]
    if len(found) != 1:
        count = f"{len(found)} steps" if found else "no step"
        raise PlanError(
            f"{count} of {image.title} with {text!r}; one is needed",
            details=f"\n{layer_table(steps_of(image), counts=True)}",
        )
    return Base(found[0].index, f"the step {found[0].index} that contains {text!r}")


def not_found(
    reference: str, tried: Sequence[str], image: Image, way: str, because: TransportError | None = None
) -> BaseNotFound:
    """What to say where a base answers to no name, path or digest. `way` says how to come by it, `because`
    what the last place said where it was looked for."""
    steps = steps_of(image)
    text: Text
    if is_digest(reference):
        way = ""
        text = (f"no base {reference}: it is neither {', nor '.join(tried)}",)
    else:
        way = way.format(image=image.title, base=reference)
        text = (f"no base {reference!r}: looked for it as {', as '.join(tried)}",)
        text += (": ", *because.parts) if because is not None else ()
    return BaseNotFound(
        *text,
        reference=reference,
        tried=tried,
        details=f".\n{way}, or a digest:\n{layer_table(steps)}" if way else f":\n{layer_table(steps)}",
        way=way,
        steps=steps,
    )


def steps_of(image: Image) -> list[str]:
    """What made each layer of an image, in a line each, base first: as the history has it, which is what
    `--from-step` looks for."""
    from squashkit.oci.steps import hide_arguments  # an image whose base is known has no use for it

    steps = []
    for layer in image.layers:
        step = show_text(" ".join(hide_arguments(layer.created_by).split())) or f"({layer.diff_id[:19]})"
        steps.append(step if len(step) <= 80 else step[:79] + "…")
    return steps
