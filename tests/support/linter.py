"""What a squashed layer may hold, checked over its bytes.

All tools apply a layer alike only if it keeps to a safe subset of what tar and the layer format
allow. `lint` names what is outside of it; it knows the squashed tar and the layers below it, not
how the tar was made.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tests.support.builders import END_OF_ARCHIVE
from tests.support.model import (
    Illegal,
    Record,
    Rootfs,
    ancestors,
    apply_layers,
    meaning,
    parent_of,
    read_members,
)

Placed = tuple[str, bytes, Record]

OVERLAY = (b"trusted.overlay.", b"user.overlay.")
OVERLAY_MARKS = (b"opaque", b"redirect", b"metacopy", b"whiteout", b"whiteouts")
"""What overlay file systems read there; the other names are traces that mean nothing to a reader."""


def lint(lower_layers: Sequence[bytes], squashed: bytes) -> list[str]:
    """What is not safe in a squashed layer that lies on `lower_layers`; nothing means safe."""
    try:
        members = [(*meaning(record.name), record) for record in read_members(squashed)]
    except Illegal as error:
        return [f"not a valid layer: {error}"]
    lower = apply_layers(lower_layers)
    return [
        *_plain_tar(squashed, members),
        *_names(squashed, members),
        *_order(members),
        *_parents(members),
        *_whiteouts(members, lower),
        *_links(members),
        *_overlay_words(members),
    ]


def _plain_tar(squashed: bytes, members: Sequence[Placed]) -> list[str]:
    """No global header (it would change members that were copied), and a proper end."""
    found = []
    position = 0
    for _, path, record in members:
        if record.start != position:
            found.append(f"{path!r}: a global header before it")
        position = record.end
    if squashed[position:] != END_OF_ARCHIVE:
        found.append(f"the end: {len(squashed) - position} bytes that are no end of archive")
    return found


def _names(squashed: bytes, members: Sequence[Placed]) -> list[str]:
    """One entry a path, under its plain relative name."""
    found = []
    seen: set[tuple[str, bytes]] = set()
    for what, path, record in members:
        plain = record.name.rstrip(b"/") if record.kind == "directory" else record.name
        if what in ("plnk", "ignore"):
            found.append(f"{path!r}: a leftover of AUFS")
        elif what == "entry" and not path:
            # tarfile takes the slash away, so the name is read from the header itself.
            raw = squashed[record.data_start - 512 :][:100].rstrip(b"\0")
            if raw != b"./":
                found.append(f"b'./': the root's entry is written as {raw!r}")
        elif what == "entry" and plain != path:
            found.append(f"{path!r}: written as {record.name!r}")
        elif what in ("whiteout", "opaque") and b"/".join(_parts(plain)) != plain:
            found.append(f"{path!r}: its whiteout is written as {record.name!r}")
        if (what, path) in seen:
            found.append(f"{path!r}: twice")
        seen.add((what, path))
    for what, path in sorted(seen):
        if what == "whiteout" and ("entry", path) in seen:
            found.append(f"{path!r}: a whiteout and an entry")
    return found


def _parts(name: bytes) -> list[bytes]:
    return [part for part in name.split(b"/") if part not in (b"", b".")]


def _order(members: Sequence[Placed]) -> list[str]:
    """The root; each directory with its whiteouts sorted after it, directories sorted; the rest."""
    found = []
    directories: list[bytes] = []
    whiteouts: list[bytes] = []
    here = b""
    done = False
    for number, (what, path, record) in enumerate(members):
        if what == "entry" and not path:
            if number:
                found.append("b'./': the root's entry is not the first")
        elif what == "entry" and record.kind == "directory":
            if done:
                found.append(f"{path!r}: a directory after entries that are none")
            directories.append(path)
            here, whiteouts = path, []
        elif what in ("whiteout", "opaque"):
            parent = path if what == "opaque" else parent_of(path)
            if done or parent != here:
                found.append(f"{path!r}: its whiteout does not follow its directory")
            if whiteouts and path < whiteouts[-1]:
                found.append(f"{path!r}: its whiteout is not in order")
            whiteouts.append(path)
        elif what == "entry":
            done = True
    keys: list[Callable[[bytes], Any]] = [
        lambda path: path,
        lambda path: path + b"/",
        lambda path: path.split(b"/"),
    ]
    if not any(directories == sorted(directories, key=key) for key in keys):
        found.append(f"directories are not in order: {directories}")
    return found


def _parents(members: Sequence[Placed]) -> list[str]:
    """Every entry and whiteout comes after all its ancestors, listed as directories."""
    found = []
    kinds: dict[bytes, str] = {}
    for what, path, record in members:
        if what == "entry":
            kinds[path] = record.kind
        for above in ancestors(path) + ([path] if what == "opaque" and path else []):
            if kinds.get(above) != "directory":
                found.append(f"{path!r}: {above!r} is not listed as a directory before it")
    return found


def _whiteouts(members: Sequence[Placed], lower: Rootfs) -> list[str]:
    """A whiteout hides a path that the lower has, in a directory that goes on; all look alike."""
    found = []
    hidden = [path for what, path, _ in members if what == "whiteout"]
    opaque = {path for what, path, _ in members if what == "opaque"}
    for what, path, record in members:
        if what == "entry":
            for above in ancestors(path):
                if above in hidden:
                    found.append(f"{path!r}: below the whiteout of {above!r}")
            continue
        if record.kind != "file" or record.content:
            found.append(f"{path!r}: its whiteout is no empty regular file")
        for above in ancestors(path):
            if above in hidden:
                found.append(f"{path!r}: a whiteout below the whiteout of {above!r}")
        inside = [b"", *ancestors(path)] if path else []
        for above in inside:
            if above in opaque:
                found.append(f"{path!r}: a whiteout in or below the opaque {above!r}")
        if what == "whiteout":
            if lower.kind(path) is None:
                found.append(f"{path!r}: a whiteout of what the lower does not have")
            if lower.kind(parent_of(path)) != "directory":
                found.append(f"{path!r}: a whiteout in what is no directory below")
        elif lower.kind(path) != "directory":
            found.append(f"{path!r}: opaque, and no directory below")
    looks = {
        (r.mode, r.uid, r.gid, r.mtime, tuple(r.xattrs), tuple(r.foreign))
        for what, _, r in members
        if what in ("whiteout", "opaque")
    }
    if len(looks) > 1:
        found.append("whiteouts differ in their attributes")
    return found


def _links(members: Sequence[Placed]) -> list[str]:
    """A hard link comes after its target, which is an entry of the layer and no directory."""
    found = []
    before: dict[bytes, str] = {}
    for what, path, record in members:
        if what == "entry" and record.kind == "hardlink":
            target = record.linkname
            if target not in before:
                found.append(f"{path!r}: its target {target!r} is not in the layer before it")
            elif before[target] == "directory":
                found.append(f"{path!r}: a hard link to a directory")
        if what == "entry":
            before[path] = record.kind
    return found


def _overlay_words(members: Sequence[Placed]) -> list[str]:
    """Nothing that overlay file systems take for a whiteout or a marker of their own."""
    found = []
    for _, path, record in members:
        if record.kind == "char" and record.device == (0, 0):
            found.append(f"{path!r}: a character device 0:0")
        for name in record.xattrs:
            if name.startswith(OVERLAY) and name.rpartition(b".overlay.")[2] in OVERLAY_MARKS:
                found.append(f"{path!r}: the xattr {name!r}")
    return found
