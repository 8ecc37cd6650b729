"""An open container, and the images in it."""

from __future__ import annotations

import os
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING

from squashkit.errors import UsageError, show_path
from squashkit.oci.digests import Digest
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image, LayerGraph
from squashkit.transports.blobs import (
    Container,
    Remote,
)
from squashkit.transports.layout.index import Listing
from squashkit.transports.reference import Reference
from squashkit.values import mutable

if TYPE_CHECKING:
    from squashkit.transports.stores.store import Store, StoredImage


@mutable
class Source:
    """An open container and the images in it."""

    reference: Reference
    container: Container
    images: list[Image]
    listing: Listing
    graph: LayerGraph
    is_docker: bool
    """Whether it has a manifest.json, and so is a docker archive."""
    folder: Path | None = None
    """The layout's folder, where it is one."""
    store: Store | None = None
    """The store that it was read from, where it was."""
    in_store: StoredImage | None = None
    """What that store says of the image."""
    is_delta: bool = False
    """Whether layers were left out of it that another place has."""
    remote: Remote | None = field(init=False)
    """The container, where its blobs lie elsewhere and are fetched when they are asked for."""

    def __post_init__(self) -> None:
        self.remote = self.container if isinstance(self.container, Remote) else None

    @property
    def title(self) -> str:
        if self.reference.is_stdio:
            return "standard input"
        if self.reference.is_file:
            return show_path(os.fsencode(self.reference.path))
        return str(self.reference)

    @property
    def example(self) -> str:
        """A reference to one of its images, as a person would type it."""
        return "docker-archive:-:REF" if self.reference.is_stdio else f"{self.title}:REF"

    @property
    def root(self) -> Digest | None:
        """The digest of what its reference means in a registry: of a manifest or an index."""
        return self.remote.root if self.remote is not None else None

    def is_file(self, there: os.stat_result) -> bool:
        """Whether this is the very file that it was opened from."""
        identity = getattr(self.container, "identity", None)
        return bool(identity == (there.st_dev, there.st_ino))

    def refuse_as_output(self, path: Path) -> None:
        """Raises UsageError where a path is this source, or lies within it: inputs are never written to."""
        if path.is_file() and self.is_file(path.stat()):
            raise UsageError(f"the output {path} is {self.title}, an input, which is never written to")
        if self.folder is not None:
            folder = self.folder.resolve()
            if folder in path.absolute().parents or folder in path.resolve().parents:
                raise UsageError(f"the output {path} lies within {self.title}, which is an input")


def machine_platform() -> Platform:
    """This machine's platform; images are Linux's whatever the machine is."""
    names = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
    machine = os.uname().machine.lower()
    return Platform("linux", names.get(machine, machine), "v7" if machine == "armv7l" else "")
