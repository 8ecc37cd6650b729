"""What differs between the root file systems of two images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from squashkit.arguments import checked, texts
from squashkit.engine.view import View, view_differences
from squashkit.errors import UsageError, inside
from squashkit.jobs.look import Opened, one_platform, open_images
from squashkit.layers.compare import KINDS
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image
from squashkit.options import Run, Which
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.diff import DiffReport


@checked
def diff(
    a: str,
    b: str,
    *,
    ignoring: Sequence[str] | str = (),
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> DiffReport:
    """Compare the root file systems of two images, entry by entry, contents included; `ignoring` are kinds
    of differences that are left out (`"mtime,owner"`, or several texts).

    Raises UsageError for a kind that is none, what opening and reading the images raises.
    """
    try:
        ignored = parse_kinds(",".join(texts(ignoring))) if ignoring else ()
    except ValueError as error:
        raise UsageError(f"ignoring: {error}") from error
    whole = DiffReport(a, b, ignored=ignored)
    ((_, report),) = diff_platforms(a, b, whole, one_platform(which), run, progress, notify)
    return report


KNOWN_KINDS = ", ".join(kind.replace(" ", "-") for kind in KINDS)


def parse_kinds(text: str) -> tuple[str, ...]:
    """From `mtime,owner`: kinds of differences, a hyphen for the space. Raises ValueError."""
    kinds = tuple(part.strip().replace("-", " ") for part in text.split(","))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ValueError(f"no kind of difference: {', '.join(unknown)}; there are {KNOWN_KINDS}")
    return kinds


def diff_platforms(
    a: str,
    b: str,
    report: DiffReport,
    which: Which,
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> list[tuple[Platform, DiffReport]]:
    """As `diff`, for a single pair of images, or a pair for each platform; `report` says how to tell it."""
    reports = []
    with open_images([a, b], which, run, progress, notify) as (left, right):
        for platform, ours, theirs in _pairs(left.images(), right.images()):
            if ours is None or theirs is None:
                reports.append((platform, replace(report, only_in=b if ours is None else a)))
            else:
                reports.append((platform, _compare(report, left, ours, right, theirs)))
    return reports


def _pairs(
    ours: Sequence[Image], theirs: Sequence[Image]
) -> list[tuple[Platform, Image | None, Image | None]]:
    """The images of both sides, one beside the other: a single pair, or a pair for each platform."""
    if len(ours) == len(theirs) == 1:
        return [(ours[0].platform, ours[0], theirs[0])]
    left, right = ({image.platform: image for image in images} for images in (ours, theirs))
    return [(platform, left.get(platform), right.get(platform)) for platform in left | right]


@contextmanager
def _named(opened: Opened, image: Image) -> Iterator[View]:
    """One of the two images, whose faults say which it is."""
    with ExitStack() as stack:
        with inside(opened.source.title):
            view = stack.enter_context(opened.view(image))
        yield view


def _compare(report: DiffReport, a: Opened, ours: Image, b: Opened, theirs: Image) -> DiffReport:
    with _named(a, ours) as left, _named(b, theirs) as right:
        entries = sum(len(directory.children) for directory in right.rootfs.directories.values())
        return report.with_found(view_differences(left, right), entries)
