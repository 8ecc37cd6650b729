"""Image names as docker writes and means them: `app`, `app:1`, `docker.io/library/app:1`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from squashkit.errors import InvalidReference
from squashkit.oci.digests import Digest, is_digest
from squashkit.oci.media import CONTAINERD_NAME, REF_NAME
from squashkit.values import frozen
from squashkit.wording import Option

_DOCKER_HUB, _OFFICIAL = "docker.io", "library"
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_CREDENTIALS = re.compile(r"[^@/]*:.*@(?!sha\d+:)|.*@(?!sha\d+:).*/", re.DOTALL)
"""`user:password@host` or `token@host/name`, of which no message is to say a word."""
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


@frozen
class ImageName:
    """An image's name, in full however short it was written: `app` is `docker.io/library/app:latest`.

    Names that mean the same are equal. One with a digest has no tag: the digest alone says what is meant.
    """

    host: str
    repository: str
    """On its host: `library/app`."""
    tag: str = "latest"
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """From `[HOST/]REPOSITORY[:TAG][@DIGEST]`. Raises InvalidReference for what is no image name."""
        if _CREDENTIALS.match(text):
            raise InvalidReference(
                "a user's name and password do not belong before an image's name; docker login keeps them,",
                " or ",
                Option("Access.authfile"),
                " names a file that does",
            )
        bare, _, digest = text.partition("@")
        if bare.endswith(":"):
            raise InvalidReference(f"not an image name: {bare!r} ends in a colon")
        name, tag = split_tag(bare)
        host, slash, repository = name.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, repository = _DOCKER_HUB, name
        host = host.lower()
        if not _DOMAIN.fullmatch(host):
            raise InvalidReference(f"not a host: {host!r} in {text!r}")
        if host in (_DOCKER_HUB, f"index.{_DOCKER_HUB}"):
            host = _DOCKER_HUB
            repository = repository if "/" in repository else f"{_OFFICIAL}/{repository}"
        if not all(_REPOSITORY.fullmatch(part) for part in repository.split("/")):
            raise InvalidReference(f"not an image name: {text!r} (lower case letters, digits, . _ - /)")
        if tag and not _TAG.fullmatch(tag):
            raise InvalidReference(f"not a tag: {tag!r} in {text!r}")
        if not digest:
            return cls(host, repository, tag or "latest")
        if not is_digest(digest):
            raise InvalidReference(f"not a sha256 digest: {digest!r} in {text!r}")
        return cls(host, repository, "", Digest(digest))

    @classmethod
    def of(cls, text: str) -> ImageName | None:
        """The name that a text is, None where it is none: archives and layouts may hold any text."""
        try:
            return cls.parse(text)
        except InvalidReference:
            return None

    @property
    def full_repository(self) -> str:
        """The repository with its host: `docker.io/library/app`."""
        return f"{self.host}/{self.repository}"

    @property
    def reference(self) -> str:
        """The digest or the tag, as registries are asked for it."""
        return self.digest or self.tag

    @property
    def familiar(self) -> str:
        """The short form that docker shows, always with a tag or a digest: `app:latest`."""
        short = str(self).removeprefix(f"{_DOCKER_HUB}/")
        official = short.removeprefix(f"{_OFFICIAL}/")
        return short if "/" in official else official

    def with_tag(self, tag: str) -> ImageName:
        """What this tag means in the same repository."""
        return replace(self, tag=tag, digest=None)

    def with_digest(self, digest: Digest) -> ImageName:
        """The manifest or index of this digest in the same repository."""
        return replace(self, tag="", digest=digest)

    def __str__(self) -> str:
        return f"{self.full_repository}{'@' if self.digest else ':'}{self.reference}"


def is_tag(text: str) -> bool:
    """Whether a text may be a tag alone."""
    return _TAG.fullmatch(text) is not None


def fits(name: str, glob: str) -> bool:
    """Whether a glob means a name, with its tag or digest or without; `*` stands for slashes, too."""
    repository = split_tag(name.partition("@")[0])[0]
    return fnmatchcase(name, glob) or fnmatchcase(repository, glob)


def split_tag(text: str) -> tuple[str, str]:
    """A name and its tag as they are written, the tag empty where there is none. A port is no tag."""
    name, colon, tag = text.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (text, "")


def same_name(name: str, *others: str) -> bool:
    """Whether a name means the same image as one of others: as they stand, or as image names.

    podman writes `localhost/app` for what docker calls `app`; both are taken for one.
    """
    meant = _meaning(name)
    return any(_meaning(other) == meant for other in others)


def _meaning(text: str) -> ImageName | str:
    name = ImageName.of(text)
    if name is not None and name.host == "localhost":
        return replace(name, host=_DOCKER_HUB, repository=f"{_OFFICIAL}/{name.repository}")
    return name or text


def names_of(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """The names that a descriptor's annotations give an image, the fullest first. What is no image name
    stands as it is written."""
    names = []
    if full := annotations.get(CONTAINERD_NAME):
        name = ImageName.of(full)
        names.append(name.familiar if name is not None else full)
    if ref := annotations.get(REF_NAME):
        names.append(ref)
    return tuple(names)


def name_annotations(name: ImageName, ref_name: str | None = None) -> dict[str, str]:
    """The annotations by which containerd, podman and skopeo find an image of this name.

    containerd imports nothing without its own one, and podman takes the other for the tag.
    """
    return {CONTAINERD_NAME: str(name), REF_NAME: ref_name or name.reference}
