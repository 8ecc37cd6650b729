"""Where images live: one module a medium, named as skopeo names them.

`parse_reference` reads what a person writes; the modules open it.
"""

from __future__ import annotations

import os
import re
from dataclasses import field, replace

from squashkit.arguments import checked
from squashkit.errors import InvalidReference
from squashkit.oci.digests import is_digest
from squashkit.oci.names import ImageName, split_tag
from squashkit.values import frozen

STDIO = "-"
FILES = ("docker-archive", "oci-archive", "oci")
DAEMON = "docker-daemon"
STORES = (DAEMON, "containers-storage")
REGISTRY = "docker"
PLACES = (f"{REGISTRY}://", *(f"{store}:" for store in STORES))
"""What stands before an image's name where it says in which registry or store that is."""
_FOREIGN = ("dir", "ostree", "tarball", "sif", "docker-tar")
ARCHIVES = (".tar", ".tgz", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2", ".oci")
"""Ends of names that archives have."""
_HOST = re.compile(r"localhost\b|[\w-]+\.|\[")
KNOWN = (
    "a path, `-`, docker-archive:PATH[:REF], oci-archive:PATH[:REF], oci:DIR[:REF], docker-daemon:NAME,"
    " containers-storage:NAME or docker://HOST/NAME"
)


@frozen
class Reference:
    """`transport:path[:image]`. `transport` is empty for a bare path, whose content tells what it is;
    the path `-` is standard input or output. For a daemon or a registry the path is the image's name."""

    transport: str
    path: str
    image: str | None = None
    guessed: bool = False
    """A bare name that is no file here, and so is taken for one of the docker daemon's."""
    name: ImageName | None = field(init=False, repr=False, compare=False)
    """What the path names in a store or a registry; None for a file, and for a digest without a name."""

    def __post_init__(self) -> None:
        named = self.transport == REGISTRY or (self.transport in STORES and not is_digest(self.path))
        object.__setattr__(self, "name", ImageName.parse(self.path) if named else None)

    def __str__(self) -> str:
        if self.guessed:
            return self.path
        if self.transport == REGISTRY:
            return f"docker://{self.path}"
        image = f":{self.image}" if self.image else ""
        return f"{self.transport}:{self.path}{image}" if self.transport else self.path + image

    @property
    def is_stdio(self) -> bool:
        return self.path == STDIO and self.is_file

    @property
    def is_file(self) -> bool:
        """Whether it lies in the file system (or comes through a pipe)."""
        return self.transport in ("", *FILES)

    @property
    def in_registry(self) -> ImageName | None:
        """The name of an image in a registry; None for one that lies elsewhere."""
        return self.name if self.transport == REGISTRY else None

    def near(self, other: Reference) -> Reference:
        """What a bare name means beside an image of a store: one in the same store."""
        if self.guessed and other.transport in STORES:
            return replace(self, transport=other.transport)
        return self

    @property
    def has_tag(self) -> bool:
        """Whether the path has a tag, or a digest, of its own."""
        return bool(split_tag(self.path)[1])


@checked
def parse_reference(text: str) -> Reference:
    """From any of the forms in `KNOWN`.

    What a bare text means depends on the files that there are, which are looked for here and nowhere
    else: it is a path, or a path with `:REF` where no file has the whole name and one has the part before
    it. What is the name of no file, and may be an image's, means the docker daemon's. Raises
    InvalidReference.
    """
    if not text:
        raise InvalidReference(f"an empty reference; expected {KNOWN}")
    transport, colon, rest = text.partition(":")
    if colon and transport in FILES:
        path, _, image = rest.partition(":")
        if not path:
            raise InvalidReference(f"{text!r} names no path; expected {transport}:PATH[:REF]")
        return Reference(transport, path, image or None)
    if colon and transport in STORES:
        return _named(transport, rest, f"{transport}:NAME[:TAG]", text)
    if text.startswith("docker://"):
        name = text.removeprefix("docker://")
        reference = _named(REGISTRY, name, "docker://HOST/NAME[:TAG|@DIGEST]", text)
        if "/" not in name and _HOST.match(name):
            raise InvalidReference(f"{text!r} names a host and no image; expected docker://HOST/NAME")
        return reference
    return _find(text) or _without_file(text)


def _find(text: str) -> Reference | None:
    """The file that a bare text names, or the image in one; None where there is no such file."""
    if os.path.exists(text):  # which Path asks by raising, of names too long or out of reach
        return Reference("", text)
    path, colon, image = text.partition(":")
    if colon and (os.path.exists(path) or path == STDIO):
        return Reference("", path, image or None)
    return None


def _without_file(text: str) -> Reference:
    """What a bare text means that names no file."""
    transport, colon, rest = text.partition(":")
    if colon and (transport in _FOREIGN or (transport == REGISTRY and rest.startswith("/"))):
        raise InvalidReference(f"the transport {transport!r} is not supported; use {KNOWN}")
    if _may_be_name(text):
        return Reference(DAEMON, text, guessed=True)
    return Reference("", text)


def _named(transport: str, name: str, form: str, text: str) -> Reference:
    if not name:
        raise InvalidReference(f"{text!r} names no image; expected {form}")
    return Reference(transport, name)


def _may_be_name(text: str) -> bool:
    """Whether a text that is no file's name may be an image's. What looks like a path is one."""
    if text == STDIO or text.startswith(("/", "./", "../", "~")):
        return False
    if text.endswith((*ARCHIVES, ".json", "/")):
        return False
    return is_digest(text) or ImageName.of(text) is not None
