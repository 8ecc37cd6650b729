"""Image names as docker writes and means them: `app`, `app:1`, `docker.io/library/app:1`."""

from __future__ import annotations

import re

from squashkit.errors import InvalidReference
from squashkit.oci.digests import is_digest

_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_CREDENTIALS = re.compile(r"[^@/]*:.*@(?!sha\d+:)|.*@(?!sha\d+:).*/", re.DOTALL)
"""`user:password@host` or `token@host/name`, of which no message is to say a word."""
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)


def normalise_name(name: str) -> str:
    """The full name that a short one stands for: `app` is `docker.io/library/app:latest`.

    Raises InvalidReference for what is no image name.
    """
    if _CREDENTIALS.match(name):
        raise InvalidReference(
            "a user's name and password do not belong before an image's name; docker login keeps them, or"
            " --authfile names a file that does"
        )
    bare, _, digest = name.partition("@")
    repository, tag = _split_tag(bare)
    domain, slash, path = repository.partition("/")
    if not slash or not ("." in domain or ":" in domain or domain == "localhost"):
        domain, path = "docker.io", repository
    domain = domain.lower()
    if not _DOMAIN.fullmatch(domain):
        raise InvalidReference(f"not a host: {domain!r} in {name!r}")
    if domain in ("docker.io", "index.docker.io"):
        domain = "docker.io"
        path = path if "/" in path else f"library/{path}"
    if not all(_REPOSITORY.fullmatch(part) for part in path.split("/")):
        raise InvalidReference(f"not an image name: {name!r} (lower case letters, digits, . _ - /)")
    if tag and not _TAG.fullmatch(tag):
        raise InvalidReference(f"not a tag: {tag!r} in {name!r}")
    if digest:
        if not is_digest(digest):
            raise InvalidReference(f"not a sha256 digest: {digest!r} in {name!r}")
        return f"{domain}/{path}@{digest}"
    return f"{domain}/{path}:{tag or 'latest'}"


def familiar_name(name: str) -> str:
    """The short form that docker shows, always with a tag: `app:latest`."""
    full = normalise_name(name)
    return full.removeprefix("docker.io/").removeprefix("library/")


def is_tag(text: str) -> bool:
    """Whether a text may be a tag alone."""
    return _TAG.fullmatch(text) is not None


def repository_of(name: str) -> str:
    """The repository with its host: `docker.io/library/app` of `app:1`."""
    full = normalise_name(name)
    return full.partition("@")[0] if "@" in full else full.rpartition(":")[0]


def same_name(a: str, b: str) -> bool:
    """Whether two names mean the same image: as they stand, or after normalising.

    podman writes `localhost/app` for what docker calls `app`; both are taken for one.
    """
    return a == b or bool(_forms(a) & _forms(b))


def _forms(name: str) -> set[str]:
    try:
        full = normalise_name(name)
    except InvalidReference:
        return {name}
    return {full.removeprefix("docker.io/library/").removeprefix("localhost/")}


def _split_tag(name: str) -> tuple[str, str]:
    head, colon, tag = name.rpartition(":")
    if colon and not tag:
        raise InvalidReference(f"not an image name: {name!r} ends in a colon")
    return (head, tag) if colon and "/" not in tag else (name, "")
