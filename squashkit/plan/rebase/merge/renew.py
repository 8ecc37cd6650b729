"""Files of the old base's packages that the layers above hold again with the old content, as after a
`chmod -R`: the new base's content in their place, with what the image made of their attributes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Set

from squashkit.layers.entry import REGULAR, SYMLINK, is_hard_link, link_target
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Attributes, Directory, Inode
from squashkit.plan.rebase.contents import Contents
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.merge.changes import Changes, Made, Merged
from squashkit.plan.rebase.merge.keyed import merge_keyed, of_one
from squashkit.plan.rebase.model import Kind, Side
from squashkit.plan.rebase.origin import Origin
from squashkit.values import frozen

_SIGNED = (b"security.ima", b"security.evm")
"""Hashes and signatures of what a file held."""


@frozen
class Renewed:
    """A file that takes the new base's content."""

    path: bytes
    source: bytes
    """Where the bases have it: elsewhere if dpkg was told to put it here."""


def find_renewed(
    fitted: Fitted, origin: Origin, contents: Contents, layers: Set[int]
) -> dict[bytes, Renewed]:
    """The files that can take it, by path: what only these layers above the base hold, counted from the
    lowest. What an earlier rebase renewed is renewed again, whatever layers these are.

    Left out is a file that shares its inode with one that stays.
    """
    diverted = {path: was for was, path in origin.diverted.items()}
    found: dict[bytes, Renewed] = {}
    holders: dict[bytes, set[int]] = defaultdict(set)
    for number, changeset in enumerate(fitted.above):
        for entry in changeset.entries:
            holders[entry.path].add(number)
    for path in _candidates(fitted):
        above = node_at(fitted.app, path)
        if not isinstance(above, Inode) or above.layer < len(fitted.old):
            continue
        number = above.layer - len(fitted.old)
        if number < len(fitted.above) and not holders[path] <= layers:
            continue
        source = path if node_at(origin.old, path) is not None else diverted.get(path, b"")
        was, there = node_at(origin.old, source), node_at(origin.new, source)
        kinds = {node.entry.typeflag for node in (was, above, there) if isinstance(node, Inode)}
        if (
            not isinstance(was, Inode)
            or isinstance(there, Directory)
            or kinds not in ({REGULAR}, {SYMLINK})
        ):
            continue
        if not origin.is_code(source) or (there is not None and there.entry.sparse is not None):
            continue
        if _is_same(contents, was, above) and (
            number == len(fitted.above) or not contents.do_agree(was, there)
        ):
            found[path] = Renewed(path, source)
    return _whole_groups(fitted, found)


def _candidates(fitted: Fitted) -> Iterator[bytes]:
    yield from sorted(fitted.touched)
    if fitted.earlier is not None:
        yield from (entry.path for entry in fitted.earlier.entries if entry.typeflag == REGULAR)


def _is_same(contents: Contents, was: Inode, above: Inode) -> bool:
    """Whether a file has its old content: both are of the image as it was."""
    if was.entry.typeflag == SYMLINK:
        return was.entry.linkname == above.entry.linkname
    if was.entry.realsize != above.entry.realsize:
        return False
    return contents.digest(was, Side.OLD) == contents.digest(above, Side.OLD)


def _whole_groups(fitted: Fitted, found: dict[bytes, Renewed]) -> dict[bytes, Renewed]:
    """Without names of an inode that has others which stay: a link to nothing could not be unpacked."""
    links = [
        (entry.path, link_target(entry))
        for changeset in fitted.above
        for entry in changeset.entries
        if is_hard_link(entry)
    ]
    while staying := {target for path, target in links if target in found and path not in found}:
        for path in staying:
            del found[path]
    return found


def renew(fitted: Fitted, origin: Origin, found: Mapping[bytes, Renewed], changes: Changes) -> None:
    """Have the result hold them, once the layers hold them no longer: where nothing of their attributes is
    the image's own, the new base's files are seen by themselves."""
    first: dict[tuple[Inode, Inode], bytes] = {}
    for path, one in sorted(found.items()):
        changes.settled.add(path)
        was, ours = node_at(origin.old, one.source), node_at(fitted.app, path)
        there = node_at(origin.new, one.source)
        package = (origin.package_of(one.source),)
        if not isinstance(there, Inode):
            changes.hide(path, Kind.CONTENT, package)
            continue
        assert isinstance(was, Inode) and isinstance(ours, Inode)
        attributes = _merged(was.effective(), ours.effective(), there.effective())
        shown = node_at(fitted.tree, path)
        is_seen = isinstance(shown, Inode) and shown.layer < fitted.bottom and path == one.source
        if is_seen and attributes == there.effective():
            continue
        link = first.setdefault((ours, there), path)
        if there.entry.typeflag == SYMLINK:
            changes.made[path] = Made(attributes, target=there.entry.linkname)
        else:
            changes.made[path] = Made(attributes, source=there, link=b"" if link == path else link)
        changes.merged.append(Merged(path, Kind.CONTENT, "new base", package))


def _merged(old: Attributes, app: Attributes, new: Attributes) -> Attributes:
    """What the image changed of a file's attributes, and of the rest what the new base has."""
    xattrs = merge_keyed(old.xattrs, app.xattrs, new.xattrs)
    mode = of_one(old.mode, app.mode, new.mode)
    if (app.uid, app.gid) != (old.uid, old.gid) and app.mode == old.mode:  # as chown(2) clears them
        mode &= ~0o6000
        xattrs.pop(b"security.capability", None)
    return Attributes(
        mode,
        of_one(old.uid, app.uid, new.uid),
        of_one(old.gid, app.gid, new.gid),
        new.mtime,
        {name: value for name, value in xattrs.items() if name not in _SIGNED},
    )
