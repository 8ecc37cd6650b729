"""Where images live: one module a medium, named as skopeo names them.

`parse_reference` reads what a person writes; the modules open it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from squashkit.errors import InvalidReference

STDIO = "-"
TRANSPORTS = ("docker-archive", "oci-archive", "oci")


@dataclass(frozen=True, slots=True)
class Reference:
    """`transport:path[:image]`. `transport` is empty for a bare path, whose content tells what it is;
    the path `-` is standard input or output."""

    transport: str
    path: str
    image: str | None = None

    def __str__(self) -> str:
        image = f":{self.image}" if self.image else ""
        return f"{self.transport}:{self.path}{image}" if self.transport else self.path + image

    @property
    def is_stdio(self) -> bool:
        return self.path == STDIO


def parse_reference(text: str) -> Reference:
    """From a path, `-`, or `docker-archive:PATH[:REF]`, `oci-archive:PATH[:REF]`, `oci:DIR[:REF]`.

    A bare path may have `:REF` too, where no file has that whole name and one has the part before it.
    Raises InvalidReference.
    """
    if not text:
        raise InvalidReference("an empty reference; expected a path, `-` or transport:path")
    transport, colon, rest = text.partition(":")
    if colon and transport in TRANSPORTS:
        path, _, image = rest.partition(":")
        if not path:
            raise InvalidReference(f"{text!r} names no path; expected {transport}:PATH[:REF]")
        return Reference(transport, path, image or None)
    if colon and not Path(text).exists():
        if Path(transport).exists() or transport == STDIO:
            return Reference("", transport, rest or None)
        if transport in ("docker-daemon", "docker", "containers-storage", "dir", "ostree", "tarball"):
            raise InvalidReference(
                f"the transport {transport!r} is not supported; use a path, `-`,"
                " docker-archive:PATH[:REF], oci-archive:PATH[:REF] or oci:DIR[:REF]"
                " (`docker save` writes an archive)"
            )
    return Reference("", text)
