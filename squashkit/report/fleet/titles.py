"""How reports call strategies, and how they show segments."""

from __future__ import annotations

from collections.abc import Sequence

from squashkit.plan.fleet.strategies import ALL, BASE, BEST, BUILT, CARVE, TRIE
from squashkit.plan.segments import Segment

TITLES = {
    BUILT: "as built",
    ALL: "squash all",
    BASE: "keep base",
    TRIE: "along the trie",
    BEST: "best cut",
    CARVE: "carved",
}
"""How reports call the strategies."""


def show_segments(segments: Sequence[Segment]) -> str:
    """Segments as `squash --segments` takes them; neighbouring kept layers as one run."""
    runs: list[tuple[bool, int]] = []
    for segment in segments:
        kept = segment.is_kept
        if kept and runs and runs[-1][0]:
            runs[-1] = True, runs[-1][1] + len(segment)
        else:
            runs.append((kept, len(segment)))
    return ",".join(f"{'=' * kept}{length}" for kept, length in runs)
