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
    │   ├── BaseAmbiguous(reference, positions)
    │   ├── NotBasedOn(shared, wanted)
    │   ├── RebaseConflict(report)            the layers do not fit the new base
    │   └── TooLarge                          it takes more space than may be taken
    ├── CheckFailed                           what was written is not what was read
    ├── PathNotFound(path)                    no such file in an image, or not one that is asked for
    └── TransportError(reference)
        ├── ImageNotFound(choices)
        ├── Unauthorized                      credentials are wanted, or not enough
        ├── Unavailable                       nobody answers, or gives up in the middle
        │   └── BlobMissing                   a registry lacks what a manifest there names
        └── Interrupted                       Ctrl-C, while something got its name

An error names its subject and the way out; its fields say the same to a program. `exit_code` is what
the command line returns for it. Options that a message speaks of are named as Python knows them; the
command line has names of its own for them (cli/hints.py).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from squashkit.wording import Option, Text, shown


class SquashkitError(Exception):
    """The root of the tree. Catch it to catch everything squashkit raises on purpose."""

    exit_code = 1

    def __init__(self, *message: str | Option, details: str = "") -> None:
        super().__init__(shown(message))
        self.text = message
        self.details = details
        """Lines that follow: what there is to choose from."""
        self.context: tuple[str, ...] = ()
        """What the message is about, the widest first: a platform, an image, a layer."""

    @property
    def message(self) -> str:
        """What is wrong, without its context and details."""
        return shown(self.text)

    @property
    def options(self) -> tuple[Option, ...]:
        """The options that the message speaks of."""
        return tuple(part for part in self.text if isinstance(part, Option))

    @property
    def parts(self) -> Text:
        """The message with its context and without details: for one that has it in itself."""
        return (*(f"{subject}: " for subject in self.context), *self.text)

    def __str__(self) -> str:
        return self.within(self.message) + self.details

    def within(self, message: str) -> str:
        """A message about the same."""
        return ": ".join((*self.context, message))

    def inside(self, subject: str) -> None:
        """Say about what more it is; an empty subject adds nothing."""
        if subject:
            self.context = (subject, *self.context)


class UsageError(SquashkitError):
    """Options that contradict each other, or an output that must not be overwritten."""

    exit_code = 2


class BaseUnknown(UsageError):
    """Nothing says which layers of an image are the base, and nobody was asked for it. `near` is the name
    of an image beside it that it stands on, `steps` says what made each layer."""

    def __init__(
        self, *message: str | Option, image: str = "", near: str = "", steps: Sequence[str] = ()
    ) -> None:
        near_by = f"\n{image} stands on {near}." if near else ""
        super().__init__(*message, details=(f"\n{layer_table(steps)}" if steps else "") + near_by)
        self.image = image
        self.near = near
        self.steps = tuple(steps)


class InvalidReference(SquashkitError):
    """A reference that is no `transport:details`."""

    exit_code = 2


class InvalidImage(SquashkitError):
    """An image, or a container of images, that breaks its specification.

    `where` names the place, for example `manifest.layers[3].digest`, `diff_id` the layer at fault, where it
    is known to be one of an image's.
    """

    exit_code = 4

    def __init__(self, *message: str | Option, where: str = "", diff_id: str = "") -> None:
        super().__init__(*message)
        self.inside(where)
        self.where = where
        self.diff_id = diff_id

    def in_layer(self, where: str, diff_id: str = "") -> None:
        """Say in which layer it was found."""
        if not self.where:
            self.where = where
            self.inside(where)
        if self.where == where:
            self.diff_id = diff_id


class DigestMismatch(InvalidImage):
    """Bytes that are not those that their digest or size promised."""

    def __init__(self, where: str, *, expected: str, actual: str, diff_id: str = "") -> None:
        super().__init__(f"expected {expected}, found {actual}", where=where, diff_id=diff_id)
        self.expected = expected
        self.actual = actual


class InvalidLayer(InvalidImage):
    """A layer that is no legal tar of a changeset. `path` is the entry at fault, where one is."""

    def __init__(self, message: str, *, path: bytes = b"", where: str = "") -> None:
        super().__init__(message)
        self.inside(show_path(shortened(path)))
        self.path = path
        self.where = ""
        if where:
            self.in_layer(where)


class InvalidRecipe(SquashkitError):
    """What was given as a recipe is none, or is damaged."""

    exit_code = 4

    def __init__(self, *message: str | Option, where: str = "") -> None:
        super().__init__(*message)
        self.inside(where)


class UnsupportedImage(SquashkitError):
    """A valid image of a kind that cannot be squashed. `what` names the kind."""

    exit_code = 4

    def __init__(self, *message: str | Option, what: str) -> None:
        super().__init__(*message)
        self.what = what


class PlanError(SquashkitError):
    """A valid image and a request that cannot be met."""


class BaseNotFound(PlanError):
    """No image answers to the base's reference. `tried` lists where it was looked for, `way` says how to
    come by it, `steps` what made each layer of the image."""

    def __init__(
        self,
        *message: str | Option,
        reference: str,
        tried: Sequence[str],
        details: str = "",
        way: str = "",
        steps: Sequence[str] = (),
    ) -> None:
        super().__init__(*message, details=details)
        self.reference = reference
        self.tried = tuple(tried)
        self.way = way
        self.steps = tuple(steps)


class BaseAmbiguous(PlanError):
    """A diff_id that several layers have, at `positions`."""

    def __init__(self, *message: str | Option, reference: str, positions: Sequence[int]) -> None:
        super().__init__(*message)
        self.reference = reference
        self.positions = tuple(positions)


class NotBasedOn(PlanError):
    """The base is no prefix of the image: only `shared` of its `wanted` layers agree. `steps` says what
    made each layer of the image."""

    def __init__(self, *message: str | Option, shared: int, wanted: int, steps: Sequence[str]) -> None:
        super().__init__(*message, details=f"\n{layer_table(steps)}")
        self.shared = shared
        self.wanted = wanted
        self.steps = tuple(steps)


class RebaseConflict(PlanError):
    """A rebase that would break the image. `report` has every risk, and which of them stop it."""

    exit_code = 3

    def __init__(self, *message: str | Option, report: Any) -> None:
        super().__init__(*message)
        self.report = report


class Incomplete(PlanError):
    """What is to be extracted is not all there, or lies on the base otherwise."""

    exit_code = 3


class TooLarge(PlanError):
    """More would be kept, or inflated, than is free or than was allowed."""


class TransportError(SquashkitError):
    """An image that could not be read or written where `reference` says."""

    exit_code = 5

    def __init__(self, *message: str | Option, reference: str, details: str = "") -> None:
        super().__init__(*message, details=details)
        self.reference = reference


class ImageNotFound(TransportError):
    """The place was read and the image is not in it. `choices` are the images that are."""

    def __init__(
        self, *message: str | Option, reference: str, choices: Sequence[str] = (), details: str = ""
    ) -> None:
        super().__init__(*message, reference=reference, details=details)
        self.choices = tuple(choices)


class Unauthorized(TransportError):
    """A registry wants credentials, or these do not suffice."""


class Unavailable(TransportError):
    """A daemon or registry that does not answer, refuses, or stops in the middle."""


class BlobMissing(Unavailable):
    """A registry that lacks a blob which a manifest there names."""


class Interrupted(TransportError):
    """Ctrl-C at a moment at which it is not known whether something got its name."""

    exit_code = 130


def is_full(error: OSError) -> bool:
    """Whether a file system, or what somebody may have of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


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


def first_line(error: BaseException) -> str:
    """What an error says, in the line that a table has for it."""
    return (without_secrets(str(error)).splitlines() or [""])[0]


_WORST = (130, 5, 4, 1, 2, 3, 6)


def worst_of(codes: Collection[int]) -> int:
    """The exit code of much work together: the first of 130, 5, 4, 1, 2, 3 and 6 that occurred."""
    return next((code for code in _WORST if code in codes), 0)


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
        super().__init__(message)
        self.inside(f"/{show_path(path)}")
        self.path = path


class CheckFailed(SquashkitError):
    """What was written, read back, differs from its source, or what a recipe makes differs from what it
    says. It has not got its name."""

    exit_code = 3


@contextmanager
def inside(subject: str) -> Iterator[None]:
    """Errors from inside begin with what they are about; an empty subject adds nothing."""
    try:
        yield
    except SquashkitError as error:
        error.inside(subject)
        raise


_LISTED = 20
"""The most layers that an error lists."""


def layer_table(steps: Sequence[str], *, counts: bool = False) -> str:
    """Layers by what made them, base first; of many the first and the last, and how many are between. It
    `counts`: with the number that it takes to keep each and all below it."""
    lines = ["  keep  layer created by" if counts else "  layer  created by"]
    total = len(steps)
    left_out = range(_LISTED // 2, total - _LISTED // 2) if total > _LISTED else range(0)
    for index, step in enumerate(steps):
        if index in left_out:
            if index == left_out.start:
                lines.append(f"        and {len(left_out):,} more")
            continue
        lines.append(f"  {index + 1:4}  {step}" if counts else f"  {index:5}  {step}")
    return "\n".join(lines)


class Cancelled(Exception):
    """Work of another thread has failed or was interrupted; this one stops. It never leaves squashkit."""
