"""Every failure squashkit raises on purpose, as one tree.

    SquashkitError
    ├── UsageError                            what was asked for contradicts itself
    │   └── BaseUnknown                       nothing says which layers are the base
    ├── InvalidReference                      cannot parse "transport:details"
    ├── InvalidImage(where)                   "manifest.layers[3].digest: ..."
    │   ├── DigestMismatch(expected, actual)
    │   └── InvalidLayer(path)
    ├── UnsupportedImage(what)
    ├── PlanError                             a valid image, an impossible request
    │   ├── BaseNotFound(reference, tried)
    │   ├── NotBasedOn(shared, wanted)
    │   ├── RebaseConflict(report)            the layers do not fit the new base
    │   └── TooLarge                          it takes more space than may be taken
    ├── CheckFailed                           what was written is not what was read
    ├── PathNotFound(path)                    no such file in an image, or not one that is asked for
    └── TransportError(reference)
        ├── ImageNotFound(choices)
        ├── Unauthorized                      credentials are wanted, or not enough
        ├── Unavailable                       nobody answers, or gives up in the middle
        └── Interrupted                       Ctrl-C, while something got its name

An error names its subject and the way out; its fields say the same to a program. `exit_code` is what
the command line returns for it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class SquashkitError(Exception):
    """The root of the tree. Catch it to catch everything squashkit raises on purpose."""

    exit_code = 1


class UsageError(SquashkitError):
    """Options that contradict each other, or an output that must not be overwritten."""

    exit_code = 2


class BaseUnknown(UsageError):
    """Nothing says which layers are the base, and nobody was asked for it."""


class InvalidReference(SquashkitError):
    """A reference that is no `transport:details`."""

    exit_code = 2


class InvalidImage(SquashkitError):
    """An image, or a container of images, that breaks its specification.

    `where` names the place, for example `manifest.layers[3].digest`.
    """

    exit_code = 4

    def __init__(self, message: str, *, where: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where


class DigestMismatch(InvalidImage):
    """Bytes that are not those that their digest or size promised."""

    def __init__(self, where: str, *, expected: str, actual: str) -> None:
        super().__init__(f"expected {expected}, found {actual}", where=where)
        self.expected = expected
        self.actual = actual


class InvalidLayer(InvalidImage):
    """A layer that is no legal tar of a changeset. `path` is the entry at fault, where one is."""

    def __init__(self, message: str, *, path: bytes = b"", where: str = "") -> None:
        subject = f"{show_path(shortened(path))}: {message}" if path else message
        super().__init__(subject, where=where)
        self.message = message
        self.path = path

    def inside(self, where: str) -> InvalidLayer:
        """The same fault, with the layer in which it was found."""
        return InvalidLayer(self.message, path=self.path, where=where)


class UnsupportedImage(SquashkitError):
    """A valid image of a kind that cannot be squashed. `what` names the kind."""

    exit_code = 4

    def __init__(self, message: str, *, what: str) -> None:
        super().__init__(message)
        self.what = what


class PlanError(SquashkitError):
    """A valid image and a request that cannot be met."""


class BaseNotFound(PlanError):
    """No image answers to the base's reference. `tried` lists where it was looked for."""

    def __init__(self, message: str, *, reference: str, tried: Sequence[str]) -> None:
        super().__init__(message)
        self.reference = reference
        self.tried = tuple(tried)


class NotBasedOn(PlanError):
    """The base is no prefix of the image: only `shared` of its `wanted` layers agree."""

    def __init__(self, message: str, *, shared: int, wanted: int) -> None:
        super().__init__(message)
        self.shared = shared
        self.wanted = wanted


class RebaseConflict(PlanError):
    """A rebase that would break the image. `report` has every risk, and which of them stop it."""

    exit_code = 3

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report


class TooLarge(PlanError):
    """More would be kept, or inflated, than is free or than was allowed."""


class TransportError(SquashkitError):
    """An image that could not be read or written where `reference` says."""

    exit_code = 5

    def __init__(self, message: str, *, reference: str) -> None:
        super().__init__(message)
        self.reference = reference


class ImageNotFound(TransportError):
    """The place was read and the image is not in it. `choices` are the images that are."""

    def __init__(self, message: str, *, reference: str, choices: Sequence[str] = ()) -> None:
        super().__init__(message, reference=reference)
        self.choices = tuple(choices)


class Unauthorized(TransportError):
    """A registry wants credentials, or these do not suffice."""


class Unavailable(TransportError):
    """A daemon or registry that does not answer, refuses, or stops in the middle."""


class Interrupted(TransportError):
    """Ctrl-C at a moment at which it is not known whether something got its name."""

    exit_code = 130


def why(error: OSError) -> str:
    """What the system says of a fault, and what to do where that is not plain."""
    hint = "; raise their limit (ulimit -n)" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    return f"{error.strerror or error}{hint}"


def show_path(path: bytes) -> str:
    """A path of a layer as text for people: undecodable and control bytes are escaped."""
    return show_text(path.decode("utf-8", "backslashreplace"))


_LONG = 300


def shortened(path: bytes) -> bytes:
    """A path as it fits into a line: names of layers may have any length."""
    return path if len(path) <= _LONG else path[:_LONG] + b"..."


def show_text(text: str) -> str:
    """A text that somebody else wrote, on one line and safe for a terminal: all that is no visible sign
    (C0 and C1 controls, DEL, marks that change the direction of writing, line ends) is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_lines(text: str) -> str:
    """The same for several lines: their ends stay."""
    return "\n".join(map(show_text, text.split("\n")))


_USER_INFO = re.compile(
    r"(://)[^\s'\"]*@(?!sha\d+:|DIGEST)"  # docker://user:password@host, http://user:password@proxy
    r"|(?<![^\s'\"(\[=,])[^\s/@:'\"]+:[^\s@'\"]+@(?!sha\d+:)(?=[\w.\[-]+[:/])"  # user:password@host/name
)


def without_secrets(text: str) -> str:
    """A message in which no address tells a user's name or password."""
    return _USER_INFO.sub(r"\1***@", text)


def gist_of(error: BaseException) -> str:
    """What lies at the bottom of an error that wraps others, in one line."""
    inner: Any = error
    while True:
        below = getattr(inner, "reason", None)
        if not isinstance(below, BaseException):
            below = inner.args[0] if inner.args and isinstance(inner.args[0], BaseException) else None
        if below is None:
            below = inner.__cause__ or inner.__context__
        if below is None or below is inner:
            break
        inner = below
    text = str((isinstance(inner, OSError) and inner.strerror) or inner).strip() or type(inner).__name__
    return without_secrets(show_text(text.splitlines()[0][:300]))


class PathNotFound(SquashkitError):
    """A path that an image's root file system does not have, or not as what was asked for."""

    def __init__(self, message: str, *, path: bytes) -> None:
        super().__init__(f"/{show_path(path)}: {message}")
        self.path = path


class CheckFailed(SquashkitError):
    """What was written, read back, differs from its source. It has not got its name."""

    exit_code = 3


@contextmanager
def told_of(subject: str) -> Iterator[None]:
    """Errors from inside begin with what they are about; an empty subject adds nothing."""
    try:
        yield
    except SquashkitError as error:
        if subject:
            error.args = (f"{subject}: {error}",)
        raise


class Cancelled(Exception):
    """Work of another thread has failed or was interrupted; this one stops. It never leaves squashkit."""
