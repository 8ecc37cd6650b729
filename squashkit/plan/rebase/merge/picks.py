"""Which side each package is of, where a database has one entry for each: apk's and rpm's; and what becomes
of their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from squashkit.errors import show_path
from squashkit.plan.packages.owners import one_place
from squashkit.plan.rebase.merge.changes import Changes, lower_version
from squashkit.plan.rebase.merge.packages import hide_files, is_gone, put_back
from squashkit.plan.rebase.merge.sides import Sides
from squashkit.plan.rebase.model import Risk
from squashkit.values import frozen


class Package(Protocol):
    """An entry of a database."""

    @property
    def name(self) -> bytes: ...
    @property
    def version(self) -> bytes: ...
    @property
    def files(self) -> Sequence[bytes]:
        """Its paths, without slashes at the start."""


P = TypeVar("P", bound=Package)


@frozen
class Picks(Generic[P]):
    """What becomes of the packages of three databases, by keys that are one package's in all of them."""

    old: Mapping[bytes, P]
    app: Mapping[bytes, P]
    new: Mapping[bytes, P]
    ours: frozenset[bytes]
    """Those that are the image's."""
    theirs: frozenset[bytes]
    """Those that are the new base's."""
    lower: frozenset[bytes]
    """Those of the image's of which the new base has a later version."""

    @classmethod
    def of(
        cls,
        old: Mapping[bytes, P],
        app: Mapping[bytes, P],
        new: Mapping[bytes, P],
        is_later: Callable[[bytes, bytes], bool],
    ) -> Picks[P]:
        """By what each side changed. `is_later` says whether a version is later than another one."""
        ours, theirs, lower = set(), set(), set()
        for key in {*app, *new}:
            was, own, there = old.get(key), app.get(key), new.get(key)
            if own is None:
                if was is None:
                    theirs.add(key)  # what the image removed stays removed
            elif there is None:
                if was is None or was.version != own.version:
                    ours.add(key)
            elif own.version in (there.version, was.version if was is not None else None):
                theirs.add(key)
            else:
                ours.add(key)
                changed = was is None or was.version != there.version
                if changed and is_later(there.version, own.version):
                    lower.add(key)
        return cls(old, app, new, frozenset(ours), frozenset(theirs), frozenset(lower))

    @property
    def packages(self) -> list[P]:
        """Those of the result: the new base's in their order, then the image's."""
        theirs = [one for key, one in self.new.items() if key in self.theirs]
        return theirs + [one for key, one in self.app.items() if key in self.ours]

    @property
    def changed(self) -> list[str]:
        """The names of the new base's that the image had otherwise, or not at all."""
        keys = [key for key in self.theirs if self.app.get(key) != self.new[key]]
        return sorted(show_path(self.new[key].name) for key in keys)

    def settle(self, sides: Sides, changes: Changes) -> None:
        """Hide files of the new base that are no package's any more: of what the image removed, or has in
        another version. Put back those of a package that the image removed or upgraded, and which another
        one of the new base has."""
        owned = {one_place(path) for one in self.packages for path in one.files}
        removed = [key for key in self.new if key in self.old and key not in self.app]
        for key in [*removed, *(key for key in self.new if key in self.ours)]:
            if key not in self.app and not is_gone(sides, self.old[key].files):
                continue  # a list that was cut to save bytes removes nothing
            one = self.new[key]
            hide_files(sides, changes, one.files, owned, show_path(one.name))
        lost = [key for key in self.old if key not in self.app or key in self.ours]
        owners = {one_place(path): key for key in lost for path in self.old[key].files}
        for key in sorted(self.theirs) if owners else ():
            put_back(sides, changes, self.new[key].files, owners, key)

    def lower_versions(self, path: bytes) -> Iterable[Risk]:
        """The packages whose patch the image's own, lower version hides, in the database at a path."""
        for key in sorted(self.lower):
            name = show_path(self.app[key].name)
            old, new = (f"{name} {show_path(one.version)}" for one in (self.app[key], self.new[key]))
            yield lower_version(path, old, new, name)
