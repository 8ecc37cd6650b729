"""What was done with every platform of an index: a report for each, and the new index."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

from squashkit.amounts import count
from squashkit.errors import show_text
from squashkit.plan.documents import Transfer
from squashkit.report.provenance import Provenance
from squashkit.report.stored import moved, transfer_json
from squashkit.values import frozen


class OneReport(Protocol):
    """The report of a single image."""

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""

    def text(self, *, verbose: bool = False) -> str:
        """The summary that a person reads."""


R = TypeVar("R", bound=OneReport)


@frozen
class IndexReport(Generic[R]):
    """What a squash or a rebase of every platform did."""

    reports: Mapping[str, R]
    """By platform."""
    index_digest: str = ""
    """Of the new index; empty where none was written."""
    missing: tuple[str, ...] | None = None
    """Platforms that were left out, since their blobs are not there; None where that is not told."""
    transfer: Transfer | None = None
    """Bytes to and from daemons and registries, for all platforms together; None where there is neither."""
    provenance: Provenance | None = None
    """How the images of the new index were made; None where that was not asked for, or none was written."""

    def __repr__(self) -> str:
        kind = type(next(iter(self.reports.values()))).__name__ if self.reports else "none"
        return f"<IndexReport: {count(len(self.reports), 'platform')} ({kind})>"

    @property
    def manifest_digest(self) -> str:
        """Of the new index: what a reference to it may be pinned to."""
        return self.index_digest

    @property
    def store_id(self) -> str:
        """By which a daemon shows the index."""
        return self.index_digest

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints; each platform's are those of a single image."""
        return {
            "index_digest": self.index_digest or None,
            **({"missing": list(self.missing)} if self.missing is not None else {}),
            "transfer": transfer_json(self.transfer),
            "platforms": {platform: report.json() for platform, report in self.reports.items()},
        }

    def text(self, *, verbose: bool = False) -> str:
        """The summaries of all platforms, each under its heading, and the digest of the index."""
        parts = [
            f"==> {show_text(platform)} <==\n{report.text(verbose=verbose)}"
            for platform, report in self.reports.items()
        ]
        if self.transfer is not None and self.index_digest:
            parts.append(moved(self.transfer))
        if self.index_digest:
            parts.append(f"index {self.index_digest}, {count(len(self.reports), 'platform')}")
        return "\n\n".join(parts)
