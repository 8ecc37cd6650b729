"""What is known at a path: what a layer above put there, and what each base has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from squashkit.errors import show_path
from squashkit.layers.entry import SYMLINK
from squashkit.layers.rootfs import Inode
from squashkit.plan.rebase.contents import Contents
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.model import Kind, Risk
from squashkit.plan.rebase.origin import Origin
from squashkit.values import frozen

_SHOWN = 3


@frozen
class Facts:
    """A path at which a layer above put something, and about which the bases do not agree."""

    fitted: Fitted
    contents: Contents
    origin: Origin
    path: bytes
    above: Inode
    """What the result has there."""
    old: Inode | None
    """What the old base has; None for a directory, too."""
    new: Inode | None
    """What the new base has."""
    same: bool
    """Whether the old base's file still has its content above."""

    @property
    def layer(self) -> int:
        """The layer that is seen there, counted from the lowest above the base."""
        return self.above.layer - self.fitted.bottom

    def risk(self, kind: Kind, old: str, new: str, effect: str) -> Risk:
        """A risk at this path, of the layer that is seen there."""
        return Risk(kind, self.path, old, new, self.layer, effect)


Detector = Callable[[Facts], Iterator[Risk]]
"""What is at risk at a path."""
Detectors = tuple[tuple[Callable[[bytes], bool], Detector], ...]
"""Each with the paths that it is for; of several the first."""


def path_is(*paths: bytes) -> Callable[[bytes], bool]:
    """Whether a path is one of these."""
    return frozenset(paths).__contains__


def below(*folders: bytes) -> Callable[[bytes], bool]:
    """Whether a path lies in one of these folders, which end in a slash."""
    return lambda path: path.startswith(folders)


def show_have(inode: Inode | None) -> str:
    """Whether a side has something of its own."""
    return "its own" if inode is not None else "nothing"


def show_target(inode: Inode) -> str:
    """Where a symlink leads."""
    record = inode.entry
    return show_path(record.linkname) if record.typeflag == SYMLINK else "a file"


def show_some(items: Iterable[str]) -> str:
    """The first few of these, and how many more there are."""
    texts = list(items)
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
