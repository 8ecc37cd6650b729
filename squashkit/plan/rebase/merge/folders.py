"""Folders that the layers list as the old base has them, since they put something there: mode, owner and
xattrs follow the new base."""

from __future__ import annotations

from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Attributes, Directory, Node
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.merge.changes import Changes, Made, Merged
from squashkit.plan.rebase.merge.keyed import merge_keyed, of_one
from squashkit.plan.rebase.model import Kind
from squashkit.plan.rebase.origin import Origin


def follow_folders(fitted: Fitted, origin: Origin, changes: Changes) -> None:
    """Have each folder that all sides have be what the new base made of it, but for what the image changed
    itself."""
    for path in sorted(fitted.touched.keys() - changes.made.keys() - {b""}):
        old, app, new, result = (
            _attributes(node_at(tree, path)) for tree in (origin.old, fitted.app, origin.new, fitted.tree)
        )
        if old is None or app is None or new is None or result is None:
            continue
        mode, uid, gid = map(of_one, old[:3], app[:3], new[:3])
        merged = Attributes(mode, uid, gid, result.mtime, merge_keyed(old.xattrs, app.xattrs, new.xattrs))
        if merged != result:
            changes.made[path] = Made(merged, is_folder=True)
            changes.merged.append(
                Merged(path, Kind.CONTENT, "new base" if merged[:3] == new[:3] else "both")
            )


def _attributes(node: Node | None) -> Attributes | None:
    """A folder's, where a layer states them."""
    if not isinstance(node, Directory) or node.entry is None:
        return None
    return Attributes.of(node.entry)
