"""What a tag means before it is moved: one that means several platforms loses none of them in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from squashkit.errors import InvalidImage, UnsupportedImage, UsageError, show_text
from squashkit.oci.documents import ALL, Platform
from squashkit.oci.gojson import fold, load_json
from squashkit.oci.graph import Image, Layer
from squashkit.transports.blobs import Container
from squashkit.transports.layout.index import list_images
from squashkit.values import frozen
from squashkit.wording import Option, Text


@frozen
class TagGuard:
    """Says whether tags may move to results that are for fewer platforms."""

    results: Mapping[str, Sequence[Platform]]
    """For each tag, by its name, the platforms of what it is to mean."""
    chosen: bool = False
    """Whether one platform was asked for by name: then tags lose the others, which is told."""
    source: Sequence[Platform] = ()
    """The platforms that would be taken were all asked for."""
    elsewhere: Text = (Option("Write.tags"), " or ", Option("output"), " gives another name")
    """How else the result can be written."""

    def check(self, tag: str, means: Sequence[Platform]) -> str | None:
        """What people should know of a tag that means these platforms now and will lose some of them.
        Raises UsageError where nobody chose that."""
        result = self.results[tag]
        lost = [one for one in means if not any(one.matches(other) for other in result)]
        if len(means) < 2 or not lost:
            return None
        if self.chosen:
            return f"{show_text(tag)} meant images for {_listed(lost)}, too, and no longer does."
        ways = self.elsewhere
        if all(any(one.matches(other) for other in self.source) for one in means):
            ways = (Option("Which.platform", ALL), " writes all of them; ", *ways)
        if len(result) == 1:
            ways += ("; ", Option("Which.platform", _shown(result[0])), " moves it all the same")
        raise UsageError(
            f"{show_text(tag)} means images for {_listed(means)}, and would lose {_listed(lost)}: ", *ways
        )


def _shown(platform: Platform) -> str:
    return show_text(str(platform))


def _listed(platforms: Iterable[Platform]) -> str:
    return ", ".join(map(_shown, platforms))


def whole_platforms(container: Container, is_there: Callable[[Layer], bool]) -> list[Platform]:
    """The platforms of the images in a container whose blobs are all there, each once. What is no image
    (attestations, artifacts) and what cannot be read is for none."""
    images: list[Image] = []
    with suppress(InvalidImage, UnsupportedImage):
        images = list_images(container, "", []).images
    whole = (image for image in images if all(map(is_there, image.layers)))
    return list(dict.fromkeys(image.platform for image in whole))


def is_index(document: bytes) -> bool:
    """Whether what a tag means is an index, and not a single image."""
    with suppress(InvalidImage):
        value = load_json(document, "")
        return isinstance(value, dict) and any(fold(key) == "manifests" for key in value)
    return False


def is_foreign(layer: Layer) -> bool:
    """Whether a layer's blob need not be where its image is (Windows' base layers)."""
    return layer.descriptor is not None and layer.descriptor.is_foreign
