"""Images that are published, and whose layers are to be used again where a fleet is carved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from squashkit.jobs.fleet.members import Fleet, Member
from squashkit.jobs.fleet.scan.images import scanned_members
from squashkit.jobs.fleet.scan.where import scan_at


def published_members(fleet: Fleet, references: Sequence[str]) -> list[Member]:
    """The images that references mean beside a fleet, those of scans among them, in their order. What is
    left out of the fleet by its name counts here all the same: it may be the release before. Raises what
    opening them raises, UsageError where a scan has no image that is whole."""
    beside = replace(fleet, exclude=())
    found: list[Member] = []
    for is_scan, texts in groupby(references, lambda text: scan_at(text) is not None):
        if not is_scan:
            found += beside.published(list(texts))
            continue
        for text in texts:
            members, left_out = scanned_members(text, fleet.session, has_bytes=True)
            found += members
            fleet.notes += [f"Of what is published: {note}" for note in left_out]
    return found
