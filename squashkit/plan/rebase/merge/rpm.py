"""rpm's database in SQLite: the packages of both sides, their headers byte for byte, and the rows that say
which package has a name, a file or a sum."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection
from dataclasses import field

from squashkit.errors import show_path
from squashkit.plan.packages.rpm.header import KEY, RpmPackage, read_header
from squashkit.plan.packages.rpm.relations import RpmUnmet, is_later_rpm, rpm_unmet
from squashkit.plan.packages.rpm.sqlite import Database, Row, Text, Value, read_database, write_database
from squashkit.plan.rebase.contents import is_file
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.picks import Picks
from squashkit.plan.rebase.merge.sides import Sides, Tree
from squashkit.plan.rebase.model import Kind, Risk
from squashkit.values import frozen

DATABASES = (b"usr/lib/sysimage/rpm/rpmdb.sqlite", b"var/lib/rpm/rpmdb.sqlite")
_WAL, _SHM = b"-wal", b"-shm"
"""What SQLite has beside a database: changes that are not in it yet, and an index of these."""
_PACKAGES, _SEQUENCE = "Packages", "sqlite_sequence"
_OF_SQLITE = "sqlite_"
_MOST_PACKAGES = 1 << 30


@frozen
class _Entry:
    """A package of a database."""

    header: RpmPackage
    number: int = field(compare=False)
    """By which the rows of the other tables mean it."""

    @property
    def name(self) -> bytes:
        return self.header.name

    @property
    def version(self) -> bytes:
        return self.header.version

    @property
    def files(self) -> tuple[bytes, ...]:
        return self.header.files


@frozen
class _Side:
    """A database, and its packages in their order."""

    database: Database
    entries: tuple[_Entry, ...]

    @classmethod
    def read(cls, tree: Tree, place: bytes | None) -> _Side | None:
        """None where there is no database, or one that is not as rpm leaves it."""
        data = tree.text(place) if place is not None else None
        waiting = tree.node((place or b"") + _WAL)
        if data is None or (is_file(waiting) and waiting.entry.realsize):
            return None
        try:
            database = read_database(data)
            entries = [_entry(row) for row in database.tables[_PACKAGES].rows]
        except (ValueError, KeyError, IndexError, struct.error):
            return None
        # rpm counts packages in 32 bits. A row of a list is a key, a package that has it, and as which one.
        lists = (database.tables[name] for name in _lists(database))
        is_sound = all(0 < one.number < _MOST_PACKAGES for one in entries) and all(
            len(row.values) == 3 and isinstance(row.values[1], int) for one in lists for row in one.rows
        )
        is_sound = is_sound and _SEQUENCE in database.tables
        return cls(database, tuple(entries)) if is_sound else None

    def by_key(self, several: Collection[bytes]) -> dict[bytes, _Entry]:
        """The packages by name and architecture; by version, too, where there may be several of them."""
        keys = ((_key(one), one) for one in self.entries)
        return {key + b"-" + one.version if key in several else key: one for key, one in keys}


def _entry(row: Row) -> _Entry:
    _, blob = row.values
    header = read_header(blob) if isinstance(blob, bytes) else None
    if header is None:
        raise ValueError("a header without a name")
    return _Entry(header, row.number)


def _key(one: _Entry) -> bytes:
    return one.name + b"." + one.header.architecture


def _lists(database: Database) -> list[str]:
    """The tables that say which packages have a name, a file or a sum."""
    return [name for name in database.tables if name != _PACKAGES and not name.startswith(_OF_SQLITE)]


def merge_rpm(sides: Sides, changes: Changes) -> None:
    """Put rpm's database together where a layer above has one of its own. The result's is where the new
    base has it: Fedora has moved it."""
    trees = sides.old, sides.app, sides.new
    places = [next((path for path in DATABASES if is_file(tree.node(path))), None) for tree in trees]
    _, ours, there = places
    if there is None or ours is None or not (sides.is_above(ours) or sides.is_above(there)):
        return
    old, app, new = (_Side.read(tree, place) for tree, place in zip(trees, places, strict=True))
    if old is None or app is None or new is None or _lists(app.database) != _lists(new.database):
        effect = "nothing of rpm's is merged: scanners go by the list of the layer above"
        changes.leave(ours, "another form", effect)
        return
    counts = [Counter(map(_key, side.entries)) for side in (old, app, new)]
    several = {key for side in counts for key, count in side.items() if count > 1 or key.startswith(KEY)}
    by_key = [side.by_key(several) for side in (old, app, new)]
    picks = Picks.of(by_key[0], by_key[1], by_key[2], is_later_rpm)
    changes.put(there, write_database(_joined(picks, app, new)), Kind.PACKAGES, picks.changed)
    if ours != there:
        for suffix in (b"", _WAL, _SHM):
            changes.hide(ours + suffix, Kind.PACKAGES)
    picks.settle(sides, changes)
    _keep_settings(sides, changes, picks)
    changes.conflicts += picks.lower_versions(there)
    known = {
        (one.package.name, one.relation)
        for side in (app, new)
        for one in rpm_unmet(entry.header for entry in side.entries)
    }
    ours_names = {picks.app[key].name for key in picks.ours}
    for one in rpm_unmet(entry.header for entry in picks.packages):
        if (one.package.name, one.relation) not in known:
            changes.conflicts.append(_broken(one, one.package.name in ours_names, there))


def _joined(picks: Picks[_Entry], app: _Side, new: _Side) -> Database:
    """The new base's database without the packages that are not the result's, and with the image's under
    the numbers that come next."""
    tables, others = new.database.tables, app.database.tables
    theirs = {picks.new[key].number for key in picks.theirs}
    last = max((one.number for one in new.entries), default=0)
    numbers = sorted(picks.app[key].number for key in picks.ours)
    ours: dict[Value, int] = {number: last + n for n, number in enumerate(numbers, 1)}
    rows = {_SEQUENCE: [Row(1, (Text(_PACKAGES.encode()), last + len(ours)))]}
    rows[_PACKAGES] = [row for row in tables[_PACKAGES].rows if row.number in theirs]
    rows[_PACKAGES] += [
        Row(ours[row.number], row.values) for row in others[_PACKAGES].rows if row.number in ours
    ]
    for name in _lists(new.database):
        kept = [row.values for row in tables[name].rows if row.values[1] in theirs]
        added = [row.values for row in others[name].rows if row.values[1] in ours]
        kept += [(key, ours[package], which) for key, package, which in added]
        rows[name] = [Row(number, values) for number, values in enumerate(kept, 1)]
    return new.database.with_rows({name: tuple(some) for name, some in rows.items()})


def _keep_settings(sides: Sides, changes: Changes, picks: Picks[_Entry]) -> None:
    """Settings of a package that the image upgraded, and that rpm left as the old base had them: the new
    base's are for another version."""
    for key in sorted(picks.ours & picks.new.keys()):
        for path in picks.app[key].header.settings:
            real = sides.app.real(path)
            if sides.app.node(real) is not None and sides.is_new_base(real):
                changes.copy(real, sides.app, Kind.PACKAGES, (show_path(picks.app[key].name),))


def _broken(one: RpmUnmet, is_ours: bool, path: bytes) -> Risk:
    name = show_path(one.package.name)
    word = "conflicts with" if one.is_conflict else "needs"
    old = f"{name} {show_path(one.package.version)} {word} {show_path(one.shown)}"
    effect = (
        f"the {'image' if is_ours else 'new base'} brings it; rpm would refuse this: build the image anew"
    )
    return Risk(Kind.DEPENDS, path, old, "not so", None, effect, True, name)
