"""What differs between the root file systems of two images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from squashkit.arguments import checked, texts
from squashkit.engine.view import View, view_differences
from squashkit.errors import UsageError, inside
from squashkit.jobs.leave_out import exclusions_of
from squashkit.jobs.look import Opened, one_platform, open_images
from squashkit.layers.compare import KINDS, Difference
from squashkit.layers.lookup import node_at
from squashkit.layers.merge import LeftOut
from squashkit.layers.rootfs import Inode, Rootfs
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image
from squashkit.options import Run, Which, parse_time
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.diff import DiffReport

if TYPE_CHECKING:
    from squashkit.plan.leave_out import Exclusion


@checked
def diff(
    a: str,
    b: str,
    *,
    ignoring: Sequence[str] | str = (),
    drop_caches: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
    clamp_mtime: str | None = None,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> DiffReport:
    """Compare the root file systems of two images, entry by entry, contents included; `ignoring` are kinds
    of differences that are left out (`"mtime,owner"`, or several texts). What `drop_caches` and
    `exclude` name, as of a squash, may be missing on one side, and is told apart. Times that are not
    before `clamp_mtime`, as RFC 3339 or in seconds since the epoch, are the same.

    Raises UsageError for a kind that is none and for what these may not name, what opening and
    reading the images raises.
    """
    try:
        ignored = parse_kinds(",".join(texts(ignoring))) if ignoring else ()
    except ValueError as error:
        raise UsageError(f"ignoring: {error}") from error
    try:
        latest = parse_time(clamp_mtime) if clamp_mtime is not None else None
    except ValueError as error:
        raise UsageError(f"clamp_mtime: {error}") from error
    exclusions = exclusions_of(drop_caches, exclude)
    whole = DiffReport(a, b, ignored=ignored, latest=latest)
    ((_, report),) = diff_platforms(a, b, whole, exclusions, one_platform(which), run, progress, notify)
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
    exclusions: Sequence[Exclusion],
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
                reports.append((platform, _compare(report, exclusions, (left, ours), (right, theirs))))
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


def _compare(
    report: DiffReport, exclusions: Sequence[Exclusion], a: tuple[Opened, Image], b: tuple[Opened, Image]
) -> DiffReport:
    with _named(*a) as left, _named(*b) as right:
        entries = sum(len(directory.children) for directory in right.rootfs.directories.values())
        if not exclusions:
            return report.with_found(view_differences(left, right), entries)
        left_out = _MayLack(left.rootfs, right.rootfs, exclusions)
        found = [
            one for one in view_differences(left, right, left_out.rule_of) if not left_out.explains(one)
        ]
        return replace(report.with_found(found, entries), left_out=tuple(left_out.explained))


class _MayLack:
    """What one side may be without: what exclusions mean where it is."""

    def __init__(self, left: Rootfs, right: Rootfs, exclusions: Sequence[Exclusion]) -> None:
        from squashkit.plan.leave_out import Meaning  # most comparisons have no use for it

        self._sides = [(rootfs, Meaning(exclusions, rootfs)) for rootfs in (left, right)]
        self.explained: list[LeftOut] = []
        """The paths that one side is without for that reason."""

    def rule_of(self, path: bytes) -> str:
        """The exclusion that means a path where that is; empty where none does."""
        for rootfs, meaning in self._sides:
            by = meaning.of(path)
            if by is not None and node_at(rootfs, path) is not None:
                return by.name
        return ""

    def explains(self, one: Difference) -> bool:
        """Whether that is why a path is missing on one side."""
        rule = self.rule_of(one.path) if one.what in ("added", "removed") else ""
        if rule:
            nodes = (node_at(rootfs, one.path) for rootfs, _ in self._sides)
            node = next(node for node in nodes if node is not None)
            size = node.entry.size if isinstance(node, Inode) else 0
            self.explained.append(LeftOut(one.path, size, rule, node.layer))
        return bool(rule)
