"""What an image made of its old base's packages and accounts, noted in its history: the next rebase's old
base is the new one of this, and may have the same by chance, or lack what the image removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from squashkit.errors import show_path

K = TypeVar("K")
V = TypeVar("V")

PACKAGES, USERS, GROUPS = "packages", "users", "groups"


@dataclass(slots=True)
class Record:
    """Names, by what they are of."""

    own: dict[str, set[bytes]] = field(default_factory=dict)
    """What the image brought, or changed."""
    removed: dict[str, set[bytes]] = field(default_factory=dict)
    """What it removed."""

    @classmethod
    def parse(cls, text: str) -> Record:
        """From a comment in the history; nothing where that says something else."""
        record = cls()
        for part in text.split("; "):
            title, sign, names = part.partition(": ")
            word, _, what = title.partition(" ")
            if sign and what and word in ("own", "removed"):
                found = record.own if word == "own" else record.removed
                found[what] = {name.encode("utf-8", "surrogateescape") for name in names.split()}
        return record

    def text(self) -> str:
        """As a comment."""
        parts = [
            f"{word} {what}: {' '.join(map(show_path, sorted(names)))}"
            for word, table in (("own", self.own), ("removed", self.removed))
            for what, names in sorted(table.items())
            if names
        ]
        return "; ".join(parts)

    def seen_from(
        self,
        what: str,
        old: Mapping[K, V],
        name_of: Callable[[K], bytes],
        stub: Callable[[bytes], tuple[K, V]],
    ) -> dict[K, V]:
        """The old base as the image's first one was, as far as that matters: without what is the image's
        own, and with what it removed."""
        own, removed = self.own.get(what, set()), self.removed.get(what, set())
        found = {key: value for key, value in old.items() if name_of(key) not in own}
        known = {name_of(key) for key in old}
        return found | dict(stub(name) for name in removed - known)
