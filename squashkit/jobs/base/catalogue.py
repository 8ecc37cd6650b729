"""The user's catalogue of bases: a small SQLite file that says which layers a base has, or had.

An image whose lower layers are those of a base in it stands on that base, whatever it says of itself. Older
versions of a base stay in it: what was built on them is known by them.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from squashkit.engine.entries import home_folder
from squashkit.errors import Unavailable
from squashkit.oci.digests import DiffID, Digest, chain_ids
from squashkit.oci.documents import Platform
from squashkit.oci.names import same_name
from squashkit.plan.known import KnownBase
from squashkit.transports.reference import PLACES

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
_FIELDS = "reference, platform, image_id, digest, diff_ids, config, seen"


def data_folder() -> Path:
    """Where a user's programs keep what cannot be made anew (XDG Base Directory Specification)."""
    given = os.environ.get("XDG_DATA_HOME", "")
    base = Path(given) if os.path.isabs(given) else home_folder() / ".local" / "share"
    return base / "squashkit"


def name_of(base: KnownBase) -> str:
    """By which a base was added, without the transport."""
    name = base.reference
    for place in PLACES:
        name = name.removeprefix(place)
    return name


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The catalogue in a file, which need not be there yet. Every method raises Unavailable where the file
    cannot be read or written."""

    path: Path

    @classmethod
    def of_user(cls) -> Catalogue:
        return cls(data_folder() / "bases.sqlite")

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
        with self._open() as database:
            database.executescript(_SCHEMA)
            database.execute(f"INSERT OR REPLACE INTO base VALUES ({', '.join('?' * len(row))})", row)

    def _make_private(self) -> None:
        """Configs may hold what others should not read: the file and its folder are the user's alone, those
        that an earlier version made included."""
        if not self.path.exists():
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for path, mode in ((self.path.parent, 0o700), (self.path, 0o600)):
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                with suppress(PermissionError):  # somebody else's, who let the user in
                    path.chmod(mode)

    def bases(self) -> list[KnownBase]:
        """All of them, by name, the latest first."""
        return self._select("ORDER BY reference, seen DESC", ())

    def remove(self, reference: str) -> int:
        """Forget a base by the reference that it was added by, or by its image_id; how many went."""
        if not self.path.exists():
            return 0
        with self._open() as database:
            found = database.execute(
                "DELETE FROM base WHERE reference = ? OR image_id = ?", (reference, reference)
            )
            return found.rowcount

    def find(
        self, diff_ids: Sequence[DiffID], platform: Platform, names: Sequence[str] | None = None
    ) -> KnownBase | None:
        """The base with the most layers of which all lie at the bottom of a stack; of several with the same
        layers the one seen last. With `names` a base that has one of them; without, none that is the whole
        stack, since no image is its own base."""
        chain = chain_ids(diff_ids)
        chain = chain[:-1] if names is None else chain
        marks = ", ".join("?" * len(chain))
        order = f"WHERE chain_id IN ({marks}) ORDER BY layers DESC, seen DESC"
        found = self._select(order, chain) if chain else []
        for base in found:
            named = names is None or same_name(name_of(base), *names)
            if named and base.platform.matches(platform):
                return base
        return None

    def _select(self, rest: str, values: Sequence[str]) -> list[KnownBase]:
        if not os.path.exists(self.path):  # nor where it may not be looked for
            return []
        with self._open() as database:
            return [
                KnownBase(
                    reference,
                    Platform.parse(platform),
                    Digest(image_id),
                    digest,
                    tuple(DiffID(one) for one in diff_ids.split()),
                    config,
                    seen,
                )
                for reference, platform, image_id, digest, diff_ids, config, seen in database.execute(
                    f"SELECT {_FIELDS} FROM base {rest}", values
                )
            ]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self._make_private()
            with closing(sqlite3.connect(self.path, timeout=10)) as database, database:
                yield database
        except (sqlite3.Error, ValueError, OSError) as error:
            raise Unavailable(
                f"the catalogue of bases {self.path} cannot be used: {error}; move it away, and add the"
                " bases again",
                reference=str(self.path),
            ) from error
