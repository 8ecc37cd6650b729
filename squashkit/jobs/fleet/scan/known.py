"""What a scan tells of layers that nobody reads: their entries, headers, and what their files hold."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from squashkit.engine.entries import HeaderBlocks, unpack_headers
from squashkit.errors import InvalidImage
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import Entry
from squashkit.oci.digests import DiffID, Digest
from squashkit.transports.tables.query import Tables
from squashkit.transports.tables.schema import digest_text, raw_digest

_HELD = 64
"""Layers whose header blocks are held."""
_ASKED = "diff_id IN (SELECT unnest(?::BLOB[]))"


@dataclass(slots=True)
class ScannedLayers:
    """The layers of a scan, while its tables are open."""

    tables: Tables
    _blocks: Any = field(init=False)
    """Gives the header blocks of a layer."""
    _wanted: list[bytes] = field(default_factory=list, init=False)
    """The layers that are asked about: a scan may have many others."""
    _digests: dict[tuple[DiffID, int], bytes] = field(default_factory=dict, init=False)
    """Of files, by their layers and where their headers begin."""

    def __post_init__(self) -> None:
        self._blocks = lru_cache(_HELD)(lambda diff_id: HeaderBlocks(self._headers(diff_id)))

    def changesets(self, wanted: Collection[DiffID]) -> dict[DiffID, Changeset]:
        """What these layers hold. Raises InvalidImage where the scan does not have them whole."""
        self._wanted = [bytes.fromhex(diff_id.removeprefix("sha256:")) for diff_id in wanted]
        found: dict[DiffID, Changeset] = {}
        rows: Any = self.tables.ask(f"SELECT diff_id, headers FROM headers WHERE {_ASKED}", [self._wanted])
        for raw, headers in rows:
            diff_id = DiffID(digest_text(raw))
            try:
                found[diff_id] = unpack_headers(headers)
            except (ValueError, struct.error) as error:
                raise InvalidImage(
                    f"the headers of layer {diff_id} are broken: {error}", where=str(self.tables.folder)
                ) from error
        for diff_id in wanted:
            if diff_id not in found:
                raise self._no_headers(diff_id)
        return found

    def header(self, diff_id: DiffID, entry: Entry) -> bytes:
        """The header blocks of an entry of a layer."""
        blocks: HeaderBlocks = self._blocks(diff_id)
        return blocks.read(entry.start, entry.data)

    def content_digest(self, diff_id: DiffID, entry: Entry) -> bytes:
        """The sha256 of what a file of a layer holds."""
        if not self._digests:
            question = f"SELECT diff_id, start, digest FROM entries WHERE type = 'file' AND {_ASKED}"
            rows: Any = self.tables.ask(question, [self._wanted])
            self._digests = {(DiffID(digest_text(raw)), start): digest for raw, start, digest in rows}
        try:
            return self._digests[diff_id, entry.start]
        except KeyError as error:
            raise InvalidImage(
                f"the entries of layer {diff_id} are not whole; scan into a new folder",
                where=str(self.tables.folder),
            ) from error

    def has_read(self, diff_id: DiffID, digest: Digest) -> bool:
        """Whether it was this blob that a layer was read from, and so was seen to be it: images may have a
        layer in several."""
        question = "SELECT count(*) FROM layers WHERE diff_id = ? AND digest = ? AND error IS NULL"
        rows: Any = list(self.tables.ask(question, [raw_digest(diff_id), raw_digest(digest)]))
        return bool(rows[0][0])

    def _headers(self, diff_id: DiffID) -> bytes:
        question = "SELECT headers FROM headers WHERE diff_id = ?"
        rows: Any = list(self.tables.ask(question, [raw_digest(diff_id)]))
        if not rows:
            raise self._no_headers(diff_id)
        return bytes(rows[0][0])

    def _no_headers(self, diff_id: DiffID) -> InvalidImage:
        return InvalidImage(f"the headers of layer {diff_id} are not there", where=str(self.tables.folder))
