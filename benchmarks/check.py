"""The root file system of an image as one digest, made with tarfile and none of squashkit's code.

It reads each layer once, as a stream, checks its digest against the config, and applies it to a
tree of nodes. It knows the constructs that the benchmark corpora hold and refuses the contested
ones, so that two equal digests mean two equal root file systems: names, types, modes, owners,
times, extended attributes, contents, link targets, and which names share an inode.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

BLOCK = 1 << 20


@dataclass(slots=True, eq=False)
class Node:
    """An inode: two names that are hard links hold the same Node."""

    kind: bytes = tarfile.DIRTYPE
    owner_and_mode: tuple[int, int, int] = (0, 0, 0o755)
    mtime: float = 0
    content: tuple[Any, ...] = ()
    children: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    """An image's diff_ids, and its root file system as path -> what that path is."""

    diff_ids: list[str]
    rootfs: dict[str, tuple[Any, ...]]

    def digest(self) -> str:
        sha256 = hashlib.sha256()
        for item in sorted(self.rootfs.items()):
            sha256.update(ascii(item).encode() + b"\n")
        return sha256.hexdigest()


class HashingReader:
    """Hashes what is read through it; `finish` reads the rest, which belongs to the digest too."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.source.read(size)
        self.sha256.update(data)
        return data

    def finish(self) -> str:
        while self.read(BLOCK):
            pass
        return "sha256:" + self.sha256.hexdigest()


def read_node(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Node:
    owner_and_mode = (info.uid, info.gid, info.mode & 0o7777)
    node = Node(info.type, owner_and_mode, info.mtime)
    xattrs = sorted(item for item in info.pax_headers.items() if item[0].startswith("SCHILY.xattr."))
    if info.isreg():
        node.kind = tarfile.REGTYPE
        sha256 = hashlib.sha256()
        data = cast(IO[bytes], tar.extractfile(info))
        while piece := data.read(BLOCK):
            sha256.update(piece)
        node.content = (info.size, sha256.hexdigest(), *xattrs)
    elif info.issym():
        node.content = (info.linkname, *xattrs)
    elif info.isdir():
        node.content = tuple(xattrs)
    elif info.isdev():
        node.content = (info.devmajor, info.devminor, *xattrs)
    elif not info.islnk():
        raise ValueError(f"{info.name}: type {info.type!r} is not expected here")
    return node


def parts_of(name: str) -> list[str]:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError(f"{name}: a path with '..' is not expected here")
    return parts


def parent_of(root: Node, parts: list[str]) -> Node:
    node = root
    for part in parts[:-1]:
        node = node.children.setdefault(part, Node())
        if node.kind != tarfile.DIRTYPE:
            raise ValueError(f"{'/'.join(parts)}: a path through no directory is not expected here")
    return node


def find(root: Node, parts: list[str]) -> Node | None:
    node: Node | None = root
    for part in parts:
        node = node.children.get(part) if node is not None else None
    return node


def apply_layer(root: Node, source: IO[bytes]) -> str:
    """Apply one layer to the tree and return its diff_id."""
    reader = HashingReader(source)
    if source.read(2) == b"\x1f\x8b":
        source.seek(0)
        reader = HashingReader(cast(IO[bytes], gzip.GzipFile(fileobj=source)))
    else:
        source.seek(0)
    entries: list[tuple[list[str], Node, str]] = []
    whiteouts: list[list[str]] = []
    stream = cast(IO[bytes], reader)
    with tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK) as tar:
        for info in tar:
            parts = parts_of(info.name)
            if parts and parts[-1].startswith(".wh."):
                whiteouts.append(parts)
            elif parts:
                entries.append((parts, read_node(tar, info), info.linkname))
            cast(Any, tar).members = []  # else tarfile keeps every member it has seen
    diff_id = reader.finish()
    # Whiteouts concern what lies below, wherever they stand in the layer.
    for *parents, name in whiteouts:
        directory = find(root, parents)
        if directory is not None and name == ".wh..wh..opq":
            directory.children.clear()
        elif directory is not None:
            directory.children.pop(name.removeprefix(".wh."), None)
    for parts, node, target in entries:
        children = parent_of(root, parts).children
        if node.kind == tarfile.LNKTYPE:
            inode = find(root, parts_of(target))
            if inode is None or inode.kind == tarfile.DIRTYPE:
                raise ValueError(f"{'/'.join(parts)}: hard link to {target}, which is not there")
            inode.owner_and_mode, inode.mtime = node.owner_and_mode, node.mtime
            node = inode
        there = children.get(parts[-1])
        if there is not None and there.kind == node.kind == tarfile.DIRTYPE:
            node.children = there.children
        children[parts[-1]] = node
    return diff_id


def walk(node: Node, prefix: str = "") -> Iterator[tuple[str, Node]]:
    for name in sorted(node.children):
        child = node.children[name]
        yield prefix + name, child
        yield from walk(child, f"{prefix}{name}/")


def read_image(reference: str) -> Image:
    """Read `docker-archive:PATH[:TAG]` or `oci:DIR[:TAG]`; the tag may be left out of one image."""
    transport, _, rest = reference.partition(":")
    path, _, tag = rest.partition(":")
    reader = {"docker-archive": read_archive, "oci": read_layout}[transport]
    return reader(Path(path), tag)


def read_archive(path: Path, tag: str) -> Image:
    with tarfile.open(path, "r:") as outer:

        def open_member(name: str) -> IO[bytes]:
            return cast(IO[bytes], outer.extractfile(name))

        manifests = json.load(open_member("manifest.json"))
        manifest = choose([(item["RepoTags"] or [], item) for item in manifests], tag)
        config = json.load(open_member(manifest["Config"]))
        return apply_layers(config, (open_member(name) for name in manifest["Layers"]))


def read_layout(path: Path, tag: str) -> Image:
    def open_blob(descriptor: dict[str, Any]) -> BinaryIO:
        digest: str = descriptor["digest"]
        return (path / "blobs" / digest.replace(":", "/")).open("rb")

    index = json.loads((path / "index.json").read_text())
    named = [(list(item.get("annotations", {}).values()), item) for item in index["manifests"]]
    manifest = json.load(open_blob(choose(named, tag)))
    config = json.load(open_blob(manifest["config"]))
    return apply_layers(config, (open_blob(layer) for layer in manifest["layers"]))


def choose(named: list[tuple[list[str], dict[str, Any]]], tag: str) -> dict[str, Any]:
    if len(named) == 1:
        return named[0][1]
    [item] = [item for tags, item in named if tag in tags]
    return item


def apply_layers(config: dict[str, Any], layers: Iterator[IO[bytes]]) -> Image:
    root = Node()
    diff_ids = [apply_layer(root, layer) for layer in layers]
    if diff_ids != config["rootfs"]["diff_ids"]:
        raise ValueError(f"layers have {diff_ids}, the config says {config['rootfs']['diff_ids']}")
    first_names: dict[Node, str] = {}
    rootfs = {
        path: (
            node.kind.decode(),
            *node.owner_and_mode,
            node.mtime,
            *node.content,
            first_names.setdefault(node, path),
        )
        for path, node in walk(root)
    }
    return Image(diff_ids, rootfs)


def differences(left: Image, right: Image) -> list[str]:
    """One line a path that is not the same in both, sorted by path."""
    lines = []
    for path in sorted(left.rootfs.keys() | right.rootfs.keys()):
        before, after = left.rootfs.get(path), right.rootfs.get(path)
        if before != after:
            lines.append(f"{path}: {before} -> {after}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Print an image's rootfs digest, or what differs between two (exit code 1)."
    )
    parser.add_argument("reference", help="docker-archive:PATH[:TAG] or oci:DIR[:TAG]")
    parser.add_argument("other", nargs="?")
    arguments = parser.parse_args()
    image = read_image(arguments.reference)
    if arguments.other is None:
        facts = {"diff_ids": image.diff_ids, "entries": len(image.rootfs)}
        print(json.dumps({**facts, "rootfs": image.digest()}))
        return
    lines = differences(image, read_image(arguments.other))
    print(f"{len(lines)} paths differ")
    print("\n".join(lines[:20]))
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
