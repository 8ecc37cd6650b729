"""Files that a layer copied up: the old base's content stays, whatever the new base has."""

from __future__ import annotations

from collections.abc import Iterator

from squashkit.layers.rootfs import Inode
from squashkit.plan.rebase.risks.facts import Facts, is_file
from squashkit.plan.rebase.risks.model import Kind, Risk, show_node


def find_stale(facts: Facts) -> Iterator[Risk]:
    """Whether a copy hides other content of the new base's, or outlives it."""
    if not is_file(facts.old) or not is_file(facts.above):
        return
    if facts.new is None:
        effect = "the old base's file stays, though the new base has it no longer"
        yield facts.risk(Kind.CONTENT, "a file", "nothing", effect)
        return
    if facts.contents.is_same(facts.above, facts.new):
        return
    kept = "keeps the old base's content" if facts.same else "was made from the old base's"
    effect = f"the copy above {kept}; the new base's is not seen"
    assert facts.old is not None
    old, new = (
        _sizes(facts.old, facts.new) if is_file(facts.new) else (show_node(facts.old), show_node(facts.new))
    )
    yield facts.risk(Kind.CONTENT, old, new, effect)


def _sizes(old: Inode, new: Inode) -> tuple[str, str]:
    before, after = old.entry.record.realsize, new.entry.record.realsize
    return _bytes(before, "byte"), _bytes(after, "other byte" if before == after else "byte")


def _bytes(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
