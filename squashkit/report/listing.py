"""Entries of a root file system or of a layer, as `ls -l` shows them."""

from __future__ import annotations

import stat
from base64 import b64encode
from decimal import Decimal
from typing import Any

from squashkit.errors import show_path
from squashkit.layers.compare import attributes_of, kind_of, links_of
from squashkit.layers.entry import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    REGULAR,
    SYMLINK,
    TYPE_NAMES,
    Entry,
)
from squashkit.layers.rootfs import Attributes, Directory, Node
from squashkit.report.text import Fit, show_time, table
from squashkit.values import frozen

_FORMATS = {
    REGULAR: stat.S_IFREG,
    HARD_LINK: stat.S_IFREG,
    SYMLINK: stat.S_IFLNK,
    DIRECTORY: stat.S_IFDIR,
    CHARACTER: stat.S_IFCHR,
    BLOCK_DEVICE: stat.S_IFBLK,
    FIFO: stat.S_IFIFO,
}


@frozen
class Listed:
    """One line of a listing. Sizes are bytes."""

    path: bytes
    kind: str
    typeflag: bytes
    attributes: Attributes
    links: int
    size: int
    target: bytes = b""
    device: tuple[int, int] | None = None

    @classmethod
    def of_node(cls, path: bytes, node: Node) -> Listed:
        """A node of a root file system, with its effective attributes."""
        if isinstance(node, Directory):
            return cls(path, "directory", DIRECTORY, attributes_of(node), 1, 0)
        return cls._of(path, kind_of(node), node.entry, attributes_of(node), links_of(node))

    @classmethod
    def of_entry(cls, path: bytes, entry: Entry) -> Listed:
        """An entry of a layer, as its header says."""
        return cls._of(path, TYPE_NAMES[entry.typeflag], entry, Attributes.of(entry), 1)

    @classmethod
    def _of(cls, path: bytes, kind: str, entry: Entry, attributes: Attributes, links: int) -> Listed:
        device = (entry.devmajor, entry.devminor) if "device" in kind else None
        target = entry.linkname if kind in ("symlink", "hard link") else b""
        return cls(path, kind, entry.typeflag, attributes, links, entry.realsize, target, device)

    @property
    def name(self) -> str:
        return "/" + show_path(self.path)

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "path": self.name,
            "kind": self.kind,
            "mode": f"{self.attributes.mode:04o}",
            "uid": self.attributes.uid,
            "gid": self.attributes.gid,
            "size": self.size,
            "mtime": f"{_seconds(self):f}",
            "links": self.links,
            "target": show_path(self.target) or None,
            "device": list(self.device) if self.device else None,
            "xattrs": {show_path(name): show_path(value) for name, value in self.attributes.xattrs.items()},
        }

    def cells(self) -> list[str]:
        """The columns of the long form."""
        attributes = self.attributes
        size = f"{self.device[0]}, {self.device[1]}" if self.device else str(self.size)
        arrow = {"symlink": " -> ", "hard link": " link to /"}.get(self.kind, "")
        return [
            stat.filemode(_FORMATS[self.typeflag] | attributes.mode) + "+" * bool(attributes.xattrs),
            str(self.links),
            f"{attributes.uid}:{attributes.gid}",
            size,
            show_time(_seconds(self)),
            self.name + arrow + show_path(self.target),
        ]


def _seconds(listed: Listed) -> Decimal:
    return Decimal(listed.attributes.mtime).scaleb(-9).normalize()


@frozen
class ListReport:
    """Entries, and the markers of what a layer hides, in the short form or the long one."""

    listed: tuple[Listed, ...]
    """Entries in the order of their names, or of a layer's tar."""
    hidden: tuple[bytes, ...]
    """The markers of a layer, where they were asked for."""
    long: bool
    """Whether people are told more than the names."""

    def __repr__(self) -> str:
        return f"<ListReport: {len(self.listed):,} listed, {len(self.hidden):,} hidden>"

    def json(self) -> list[dict[str, Any]]:
        """The fields that `--json` prints."""
        document = [one.json() for one in self.listed]
        return document + [{"path": "/" + show_path(name), "kind": "whiteout"} for name in self.hidden]

    def lines(self) -> list[str]:
        """A line an entry. The long form has mode, names of the inode, owner, size in bytes, time in UTC,
        path and target."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        lines = [one.name for one in self.listed]
        if self.long and self.listed:
            head = ["mode", "links", "owner", "size", "time", "path"]
            fit = Fit(width, leave_out=[1, 2], wrap=[5])
            lines = table(head, [one.cells() for one in self.listed], right={1, 3}, fit=fit)
        return [*lines, *("/" + show_path(name) for name in self.hidden)]


def file_json(listed: Listed, content: bytes) -> dict[str, Any]:
    """A file with what it holds: `text`, or `base64` where it is no UTF-8."""
    try:
        return {**listed.json(), "text": content.decode()}
    except UnicodeDecodeError:
        return {**listed.json(), "base64": b64encode(content).decode()}
