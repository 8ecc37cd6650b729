"""The bundle of certificates that programs trust, put together as update-ca-certificates does: those that
the configuration wants, in its order, then those of the image's own, sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from squashkit.layers.compare import iter_nodes
from squashkit.layers.entry import SYMLINK
from squashkit.layers.rootfs import Directory, Inode
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.databases import CONF, SHARED
from squashkit.plan.rebase.merge.sides import Sides, Tree
from squashkit.plan.rebase.model import Kind

BUNDLE = b"etc/ssl/certs/ca-certificates.crt"
_LOCAL = b"usr/local/share/ca-certificates"
_FOLDER = b"etc/ssl/certs"

Read = Callable[[bytes], bytes | None]


def merge_certificates(sides: Sides, changes: Changes) -> None:
    """Make the bundle anew where a layer above has one of its own, once the configuration is merged. A
    bundle that somebody made in another way is left, and told."""
    if not sides.is_above(BUNDLE):
        return
    if _bundle(sides.app, sides.app.text) != sides.app.text(BUNDLE):
        return
    bundle = _bundle(sides.result, changes.text)
    if bundle is None:
        return
    changes.put(BUNDLE, bundle, Kind.CACHES)
    wanted = {_link_of(path) for path in _certificates(sides.result, changes.text)}
    names = {name for tree in (sides.app, sides.new, sides.old) for name in tree.names(_FOLDER)}
    for name in sorted(names - {BUNDLE.rpartition(b"/")[2]}):
        path = _FOLDER + b"/" + name
        if name in wanted:
            changes.copy(path, sides.new if sides.new.node(path) is not None else sides.app, Kind.CACHES)
        elif _is_link(sides, path):
            changes.hide(path, Kind.CACHES)
        elif sides.is_as_old(path):  # all of the links by hashes are made anew, by both
            changes.copy(path, sides.new, Kind.CACHES)
    for name in sorted(names):
        path = _FOLDER + b"/" + name
        node = sides.result.node(path) if path not in changes.made else None
        if isinstance(node, Inode) and node.entry.typeflag == SYMLINK:
            target = node.entry.linkname
            if b"/" not in target and changes.made.get(_FOLDER + b"/" + target, target) is None:
                changes.hide(path, Kind.CACHES)


def _link_of(path: bytes) -> bytes:
    """What update-ca-certificates calls the link to a certificate."""
    name = path.rpartition(b"/")[2].removesuffix(b".crt")
    return name.translate(bytes.maketrans(b" ,()", b"__==")) + b".pem"


def _is_link(sides: Sides, path: bytes) -> bool:
    """Whether a path is such a link, in the result or where that has it from."""
    for tree in (sides.result, sides.new, sides.app):
        node = tree.node(path)
        if isinstance(node, Inode) and path.endswith(b".pem"):
            return node.entry.linkname.strip(b"/").startswith((SHARED, _LOCAL + b"/"))
    return False


def _bundle(tree: Tree, read: Read) -> bytes | None:
    """None where the configuration is not there, or a certificate that it wants."""
    if read(CONF) is None:
        return None
    parts = []
    for path in _certificates(tree, read):
        text = read(tree.real(path))
        if text is None:
            return None
        parts.append(text if text.endswith(b"\n") else text + b"\n")
    return b"".join(parts)


def _certificates(tree: Tree, read: Read) -> list[bytes]:
    """The paths of those that are to be trusted, in their order."""
    return [*_wanted(read(CONF) or b""), *_local(tree)]


def _wanted(conf: bytes) -> Iterator[bytes]:
    for line in conf.splitlines():
        name = line.strip()
        if name and not name.startswith((b"#", b"!")):
            yield SHARED + name


def _local(tree: Tree) -> list[bytes]:
    folder = tree.node(_LOCAL)
    if not isinstance(folder, Directory):
        return []
    return sorted(p for p, node in iter_nodes(folder) if isinstance(node, Inode) and p.endswith(b".crt"))
