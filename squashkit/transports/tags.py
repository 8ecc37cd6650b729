"""What a tag means before it is moved: one that means several platforms loses none of them in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from squashkit.errors import InvalidImage, UnsupportedImage, UsageError, show_text
from squashkit.oci.documents import Platform
from squashkit.oci.gojson import fold, load_json
from squashkit.oci.graph import Image, Layer
from squashkit.transports.blobs import Container
from squashkit.transports.layout.index import list_images


@dataclass(slots=True)
class TagGuard:
    """Says whether tags may move to results that are for fewer platforms."""

    results: Mapping[str, Sequence[Platform]]
    """For each tag, by its name, the platforms of what it is to mean."""
    chosen: bool = False
    """Whether one platform was asked for by name: then tags lose the others, which is told."""
    source: Sequence[Platform] = ()
    """The platforms that --platform all would take."""
    elsewhere: str = "-t or -o gives another name"
    """How else the result can be written."""
    lost: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What each tag loses."""

    def check(self, tag: str, means: Sequence[Platform]) -> None:
        """Raises UsageError where a tag that means several platforms now would lose some, and nobody chose
        one of them."""
        result = self.results[tag]
        lost = [one for one in means if not any(one.matches(other) for other in result)]
        if len(means) < 2 or not lost:
            return
        if self.chosen:
            self.lost[tag] = tuple(map(_shown, lost))
            return
        ways = [self.elsewhere]
        if all(any(one.matches(other) for other in self.source) for one in means):
            ways.insert(0, "--platform all writes all of them")
        if len(result) == 1:
            ways.append(f"--platform {_shown(result[0])} moves it all the same")
        raise UsageError(
            f"{show_text(tag)} means images for {_listed(means)}, and would lose {_listed(lost)}:"
            f" {'; '.join(ways)}"
        )

    def notes(self) -> list[str]:
        """What tags lose, for people."""
        return [
            f"{show_text(tag)} meant images for {', '.join(lost)}, too, and no longer does."
            for tag, lost in self.lost.items()
        ]


def _shown(platform: Platform) -> str:
    return show_text(str(platform))


def _listed(platforms: Iterable[Platform]) -> str:
    return ", ".join(map(_shown, platforms))


def whole_platforms(container: Container, is_there: Callable[[Layer], bool]) -> list[Platform]:
    """The platforms of the images in a container whose blobs are all there, each once. What is no image
    (attestations, artifacts) and what cannot be read is for none."""
    images: list[Image] = []
    with suppress(InvalidImage, UnsupportedImage):
        images = list_images(container, []).images
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
