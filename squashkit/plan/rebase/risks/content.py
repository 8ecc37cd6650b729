"""Files of the old base whose content lies above: it stays, whatever the new base has.

What a package of the old base lists was patched with it, so a tag that hides the patch claims what it does
not have: an error. Other files of a base are made or configured, and told as a warning.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from squashkit.errors import show_path
from squashkit.layers.entry import REGULAR, SYMLINK
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Inode
from squashkit.plan.rebase.contents import Contents, is_file
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.model import Kind, Risk, Side, show_node
from squashkit.plan.rebase.origin import Origin, files_of
from squashkit.plan.rebase.risks.facts import Facts, show_some

_WORTH_A_LOOK = 1024
"""Bytes: shorter files are alike by chance."""


def find_hidden(facts: Facts) -> Iterator[Risk]:
    """Whether a copy hides other content of the new base's, or outlives it."""
    if not _is_copy(facts):
        return
    if facts.new is not None and facts.contents.is_same(facts.above, facts.new):
        return
    origin, path = facts.origin, facts.path
    if origin.is_own(path):
        return
    if path in origin.diverted and not facts.same:
        return  # dpkg keeps this place free for what the image has there
    if not facts.same and origin.is_removed(origin.package_of(path)):
        return  # another package of the image has it now
    package, is_error = origin.package_of(path), origin.is_code(path)
    if not facts.same and origin.is_ahead(package):
        return
    assert facts.old is not None
    if facts.new is None:
        old, new = "a file", "nothing"
        effect = "the old base's file stays, though the new base has it no longer"
        is_error = is_error and facts.same
    else:
        old, new = show_node(facts.old), show_node(facts.new)
        if is_file(facts.new) and is_file(facts.old):
            old, new = _sizes(facts.old, facts.new)
        kept = "keeps the old base's content" if facts.same else "was made from the old base's"
        effect = f"the copy above {kept}; the new base's is not seen"
        is_error = is_error and (facts.same or not origin.is_settings(path))
    yield Risk(Kind.CONTENT, path, old, new, facts.layer, effect, is_error, package)


def _is_copy(facts: Facts) -> bool:
    """Whether a file lies above in a copy, or a package's symlink as it was: a `chown -R` copies these,
    too. Where others lead is the image's choice."""
    if facts.old is None:
        return False
    types = {inode.entry.typeflag for inode in (facts.old, facts.above)}
    is_link = types == {SYMLINK} and facts.same and facts.origin.is_code(facts.path)
    return types == {REGULAR} or is_link


def find_copies(fitted: Fitted, origin: Origin, contents: Contents) -> Iterator[Risk]:
    """Files of the old base's packages that the layers have in other places (`cp /bin/bash /opt`), and that
    the new base has otherwise: an error where dpkg was told to divert the file there."""
    sizes: dict[int, list[tuple[bytes, Inode]]] = defaultdict(list)
    for path, inode in files_of(origin.old):
        size = inode.entry.realsize
        if (size >= _WORTH_A_LOOK or path in origin.diverted) and origin.is_code(path):
            sizes[size].append((path, inode))
    alike: dict[int, dict[bytes, list[tuple[bytes, Inode]]]] = {}
    for path, bases in sorted(fitted.touched.items()):
        above = node_at(fitted.tree, path)
        if not is_file(above) or above.layer < fitted.bottom or bases.old is not None:
            continue
        size = above.entry.realsize
        if size in sizes and size not in alike:
            alike[size] = _by_content(sizes[size], contents)
        for was, inode in alike[size].get(contents.digest(above), ()) if size in sizes else ():
            there = node_at(origin.new, was)
            if contents.do_agree(inode, there):
                continue
            diverted = origin.diverted.get(was) == path
            if not diverted and size < _WORTH_A_LOOK:
                continue
            moved = "dpkg diverted it there" if diverted else "the layer copied it"
            effect = f"it keeps the old base's content; {moved}"
            old, new = f"a copy of /{show_path(was)}", "other content" if there is not None else "nothing"
            layer = above.layer - fitted.bottom
            package = origin.package_of(was)
            yield Risk(Kind.CONTENT, path, old, new, layer, effect, diverted, package)
            break


def find_emptied(fitted: Fitted, origin: Origin, changes: Changes) -> Iterator[Risk]:
    """Folders of which the layers took everything away (`rm -rf folder/*`), and in which the new base has
    something new: a rebuild would take that away, too, if it did not name what it removes."""
    for path, directory in sorted(origin.old.directories.items()):
        app, there = (tree.directories.get(path) for tree in (fitted.app, fitted.tree))
        if not path or not directory.children or app is None or there is None:
            continue
        if not directory.children.keys().isdisjoint(app.children):
            continue
        news = [
            there.child_path(name)
            for name, node in sorted(there.children.items())
            if node.layer < fitted.bottom and name not in directory.children
        ]
        if shown := [one for one in news if changes.made.get(one, one) is not None]:
            old = f"{len(directory.children):,} entries, which the layers removed"
            effect = (
                "what the new base has more than the old one is there: remove it, if all was meant to go"
            )
            new = show_some(f"/{show_path(one)}" for one in shown)
            yield Risk(Kind.PARENT, path, old, new, None, effect, is_error=False)


def _by_content(
    files: Iterable[tuple[bytes, Inode]], contents: Contents
) -> dict[bytes, list[tuple[bytes, Inode]]]:
    """Files of the old base, those of the same content together."""
    found: dict[bytes, list[tuple[bytes, Inode]]] = defaultdict(list)
    for path, inode in files:
        found[contents.digest(inode, Side.OLD)].append((path, inode))
    return found


def _sizes(old: Inode, new: Inode) -> tuple[str, str]:
    before, after = old.entry.realsize, new.entry.realsize
    return _bytes(before, "byte"), _bytes(after, "other byte" if before == after else "byte")


def _bytes(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
