"""Stores of images on this host: the docker daemon, and podman's storage. Both give and take archives.

A store loads an archive in which the blobs of layers that it has are left out. docker's own storage and
podman's know layers by their chain_ids; containerd's image store, which docker may use, by the digests of
their blobs. What a store says of an image without giving it (`inspect`) is enough to know a base by.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from typing import Any, BinaryIO, Protocol

from squashkit.amounts import together
from squashkit.errors import ImageNotFound, show_text
from squashkit.oci.digests import DiffID, Digest, chain_ids, is_digest
from squashkit.oci.documents import Descriptor, HistoryEntry, ImageConfig, Platform
from squashkit.oci.gojson import TEXTS, Leaf, Struct
from squashkit.oci.graph import Image, stack_layers
from squashkit.oci.have import HeldLayer, Keeper
from squashkit.oci.names import same_name
from squashkit.oci.shapes import SETTINGS_SHAPE
from squashkit.transports.archive.reader import Archive
from squashkit.transports.contracts import Written
from squashkit.transports.room import Room
from squashkit.values import frozen

_LISTED = 20
"""The most images that an error lists."""

STORED_SHAPE = Struct(
    {
        "Id": Leaf.TEXT,
        "RepoTags": TEXTS,
        "RepoDigests": TEXTS,
        "RootFS": Struct({"Layers": TEXTS}),
        "Os": Leaf.TEXT,
        "Architecture": Leaf.TEXT,
        "Variant": Leaf.TEXT,
        "Size": Leaf.NUMBER,
        "Config": SETTINGS_SHAPE,
    }
)
"""What docker and podman say of an image when they are asked to inspect it."""


@frozen
class StoredImage:
    """What a store says of an image. `id` is the store's own, `size` about what its archive takes."""

    asked: str
    id: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    """Under which names and manifest digests registries have it, as in `host/app@sha256:...`."""
    diff_ids: tuple[DiffID, ...]
    platform: Platform
    size: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The `config` of its config."""

    @property
    def name(self) -> str:
        """What to ask the store for: a name with a tag where it was asked for by name, else the id."""
        return next((name for name in self.names if same_name(name, self.asked)), self.id)


def not_there(store: str, asked: str, names: Sequence[str]) -> ImageNotFound:
    """A store has no image of a name, but those of these names."""
    listed = "".join(f"\n  {show_text(name)}" for name in names[:_LISTED])
    more = f"\n  and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    way = "" if is_digest(asked) else f" (`{store} pull {asked}` gets it)"
    there = f"; there are:{listed}{more}" if names else ""
    return ImageNotFound(f"{store} has no image {asked!r}{way}{there}", reference=asked, choices=names)


def not_whole(store: str, images: Sequence[StoredImage], lacking: str) -> ImageNotFound:
    """A store does not have all blobs of images, as containerd's image store where they were pulled for
    another platform, or content was removed."""
    names = [one for image in images for one in (image.name, *image.names)[:2] if not is_digest(one)]
    pull = [f"`{store} pull {name}`" for name in dict.fromkeys(names)]
    way = f"; {' and '.join(pull)} gets what is missing" if pull else ""
    asked = together([image.asked for image in images])
    return ImageNotFound(f"{store} does not have all of {asked}: {lacking}{way}", reference=asked)


Count = Callable[[int], None]
"""Hears of bytes as they pass."""


class Store(Protocol):
    """A store that is open. Every method raises Unavailable where it does not answer or refuses."""

    title: str
    """How people call it."""

    def inspect(self, name: str) -> StoredImage:
        """Raises ImageNotFound with the images there are."""

    def steps(self, image: StoredImage) -> list[str]:
        """What made an image, the first step first: each as its history's `created_by`."""

    def names(self) -> list[str]:
        """The names of all its images, with their tags."""

    def platforms(self, name: str) -> list[Platform]:
        """The platforms whose images a name means, as far as they are there; none where it means a single
        image or nothing, or where the store does not tell."""

    def save(self, images: Sequence[StoredImage], tmp_dir: Room, progress: Count) -> Archive:
        """Different images in one archive, which is a file without a name."""

    def is_classic(self) -> bool:
        """Whether it knows images by the digests of their configs and layers by their chain_ids;
        containerd's image store has images by their manifests or indexes, and layers by their blobs."""

    def keeper(self) -> Keeper:
        """What keeps its layers."""

    def held(self, images: Sequence[StoredImage], progress: Count) -> list[HeldLayer]:
        """The layers of images, with their stored blobs as far as the store tells them. Raises
        ImageNotFound where blobs are not there."""

    def is_whole(
        self, there: StoredImage, written: Written, left_out: Collection[Digest], progress: Count
    ) -> bool:
        """Whether all of what was written and loaded is there, blobs that were left out too. `progress`
        hears of bytes that are given out to show it."""

    def load(self, archive: BinaryIO, progress: Count) -> None:
        """Take the images of an archive in."""

    def tag(self, image: str, name: str) -> None:
        """Give an image a name, which another one loses."""

    def untag(self, name: str) -> None: ...

    def remove(self, image: str) -> None:
        """Remove an image that has no name."""


def by_chain(
    images: Sequence[StoredImage], blob_of: Callable[[DiffID], Descriptor | None]
) -> list[HeldLayer]:
    """The layers of images of which a store tells the diff_ids."""
    return [
        HeldLayer(chain_id, diff_id, blob_of(diff_id))
        for image in images
        for chain_id, diff_id in zip(chain_ids(image.diff_ids), image.diff_ids, strict=True)
    ]


def bare_image(stored: StoredImage, steps: Sequence[str]) -> Image:
    """An image of which no more is known than its layers' diff_ids, its settings, and the steps that made
    it, without a word of which of them made a layer."""
    history = [{"created_by": step} for step in steps]
    raw = {"config": dict(stored.settings), "history": history}
    entries = tuple(HistoryEntry(step, False, entry) for step, entry in zip(steps, history, strict=True))
    config = ImageConfig(stored.diff_ids, entries or None, stored.platform, None, raw, b"")
    nothing = [None] * len(stored.diff_ids)
    return Image(
        names=stored.names or (stored.asked,),
        image_id=Digest(stored.id),
        config=config,
        layers=stack_layers(config, nothing, nothing, stored.asked),
        manifest=None,
        manifest_descriptor=None,
    )
