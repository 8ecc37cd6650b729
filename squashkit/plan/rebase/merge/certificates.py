"""The bundle of certificates that programs trust, put together as update-ca-certificates does: those that
the configuration wants, in its order, then those of the image's own, sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from squashkit.layers.compare import iter_nodes
from squashkit.layers.rootfs import Directory, Inode
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.databases import CONF, SHARED
from squashkit.plan.rebase.merge.sides import Sides, Tree
from squashkit.plan.rebase.risks.model import Kind

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
    for name in sorted({*sides.app.names(_FOLDER), *sides.new.names(_FOLDER), *sides.old.names(_FOLDER)}):
        path = _FOLDER + b"/" + name
        if path != BUNDLE and sides.is_as_old(path):  # all of the links are made anew, by both
            changes.copy(path, sides.new, Kind.CACHES)


def _bundle(tree: Tree, read: Read) -> bytes | None:
    """None where the configuration is not there, or a certificate that it wants."""
    conf = read(CONF)
    if conf is None:
        return None
    parts = []
    for path in (*_wanted(conf), *_local(tree)):
        text = read(tree.real(path))
        if text is None:
            return None
        parts.append(text if text.endswith(b"\n") else text + b"\n")
    return b"".join(parts)


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
