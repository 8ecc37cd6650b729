"""The user's catalogue of bases: a small SQLite file that says which layers a base has, or had.

An image whose lower layers are those of a base in it stands on that base, whatever it says of itself. Older
versions of a base stay in it: what was built on them is known by them. Bases that were only used lie in
another such file, for those who look: they decide nothing of what is kept, so that a command does the same
whatever ran before it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from squashkit.engine.entries import home_folder
from squashkit.errors import Unavailable
from squashkit.oci.digests import DiffID, Digest, chain_ids
from squashkit.oci.documents import Platform
from squashkit.oci.names import same_name
from squashkit.plan.base import Base
from squashkit.plan.known import KnownBase
from squashkit.transports.reference import PLACES
from squashkit.values import frozen

if TYPE_CHECKING:
    import sqlite3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS base (
    reference TEXT NOT NULL,
    platform TEXT NOT NULL,
    image_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    diff_ids TEXT NOT NULL,
    chain_id TEXT NOT NULL,
    layers INTEGER NOT NULL,
    config BLOB NOT NULL,
    seen TEXT NOT NULL,
    PRIMARY KEY (reference, platform, image_id)
);
CREATE INDEX IF NOT EXISTS base_by_chain ON base (chain_id);
"""
_USED = "used.sqlite"
_FIELDS = "reference, platform, image_id, digest, diff_ids, config, seen"


def data_folder() -> Path:
    """Where a user's programs keep what cannot be made anew (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_DATA_HOME", "")
    base = Path(given) if os.path.isabs(given) else home_folder() / ".local" / "share"
    return base / "squashkit"


def now() -> str:
    """The time, as the catalogue has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def note_used(base: Base) -> None:
    """Add a base that was read to those that were only used. Raises as `Catalogue.add` does."""
    if base.image is not None:
        manifest = base.image.manifest_descriptor
        digest = manifest.digest if manifest is not None else ""
        Catalogue(data_folder() / _USED).add(KnownBase.of(base.image, base.name, digest, now()))


def name_of(base: KnownBase) -> str:
    """By which a base was added, without the transport."""
    name = base.reference
    for place in PLACES:
        name = name.removeprefix(place)
    return name


@frozen
class Catalogue:
    """The catalogue in a file, which need not be there yet. Every method raises Unavailable where the file
    cannot be read or written."""

    path: Path
    used: Path | None = None
    """A file of bases that were only used, where they are to be found, too."""

    @classmethod
    def of_user(cls, *, used: bool = False) -> Catalogue:
        """With those that were only `used`, or without."""
        return cls(data_folder() / "bases.sqlite", data_folder() / _USED if used else None)

    @property
    def _paths(self) -> list[Path]:
        paths = [self.path, *([self.used] if self.used is not None else [])]
        return [path for path in paths if os.path.exists(path)]  # nor where it may not be looked for

    def add(self, base: KnownBase) -> None:
        """Remember a base; one that is known is seen anew."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        chain = chain_ids(base.diff_ids)
        row = (
            base.reference,
            str(base.platform),
            base.image_id,
            base.digest,
            " ".join(base.diff_ids),
            chain[-1] if chain else "",
            len(chain),
            base.config,
            base.seen,
        )
        with self._open(self.path) as database:
            database.executescript(_SCHEMA)
            database.execute(f"INSERT OR REPLACE INTO base VALUES ({', '.join('?' * len(row))})", row)

    def _make_private(self, file: Path) -> None:
        """Configs may hold what others should not read: the file and its folder are the user's alone, those
        that an earlier version made included."""
        if not file.exists():
            os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for path, mode in ((file.parent, 0o700), (file, 0o600)):
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                with suppress(PermissionError):  # somebody else's, who let the user in
                    path.chmod(mode)

    def bases(self) -> list[KnownBase]:
        """All of them, by name, the latest first."""
        found = sorted(self._select("", ()), key=lambda base: base.seen, reverse=True)
        return sorted(found, key=lambda base: base.reference)

    def remove(self, reference: str) -> int:
        """Forget a base by the reference that it was added by, or by its image_id; how many went."""
        gone = 0
        for path in self._paths:
            with self._open(path) as database:
                delete = "DELETE FROM base WHERE reference = ? OR image_id = ?"
                gone += database.execute(delete, (reference, reference)).rowcount
        return gone

    def find(
        self, diff_ids: Sequence[DiffID], platform: Platform, names: Sequence[str] | None = None
    ) -> KnownBase | None:
        """The base with the most layers of which all lie at the bottom of a stack; of several with the same
        layers the one seen last. With `names` a base that has one of them; without, none that is the whole
        stack, since no image is its own base."""
        chain = chain_ids(diff_ids)
        chain = chain[:-1] if names is None else chain
        marks = ", ".join("?" * len(chain))
        found = self._select(f"WHERE chain_id IN ({marks})", chain) if chain else []
        for base in sorted(found, key=lambda base: (len(base.diff_ids), base.seen), reverse=True):
            named = names is None or same_name(name_of(base), *names)
            if named and base.platform.matches(platform):
                return base
        return None

    def _select(self, rest: str, values: Sequence[str]) -> list[KnownBase]:
        found = []
        for path in self._paths:
            with self._open(path) as database:
                rows = database.execute(f"SELECT {_FIELDS} FROM base {rest}", values)
                for reference, platform, image_id, digest, diff_ids, config, seen in rows:
                    ids = tuple(DiffID(one) for one in diff_ids.split())
                    known = (Platform.parse(platform), Digest(image_id), digest, ids, config, seen)
                    found.append(KnownBase(reference, *known, added=path != self.used))
        return found

    @contextmanager
    def _open(self, path: Path) -> Iterator[sqlite3.Connection]:
        import sqlite3  # few have a catalogue

        try:
            self._make_private(path)
            with closing(sqlite3.connect(path, timeout=10)) as database, database:
                yield database
        except (sqlite3.Error, ValueError, OSError) as error:
            raise Unavailable(
                f"the catalogue of bases {path} cannot be used: {error}; move it away, and add the"
                " bases again",
                reference=str(path),
            ) from error
