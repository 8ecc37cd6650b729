"""Digests of root file systems without the product: by the documentation's program, and by the model."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import sys
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

from tests.support.model import Node, Rootfs

PAGE = Path(__file__).parents[2] / "docs/provenance.md"
TYPES = {
    "file": "f", "directory": "d", "symlink": "l", "fifo": "p", "char": "c", "block": "b",
}  # fmt: skip


def program() -> str:
    """The program that the documentation shows."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (text,) = [one for one in found if "tarfile" in one]
    return str(text)


def digest_of_tar(path: Path) -> str:
    """What it prints of a tar of a root file system."""
    out = io.StringIO()
    with patch.object(sys, "argv", ["rootfs.py", str(path)]), contextlib.redirect_stdout(out):
        exec(compile(program(), str(PAGE), "exec"), {})
    return out.getvalue().strip()


def digest_of_model(rootfs: Rootfs) -> str:
    """By the page's definition, of the model's tree."""
    lines = ["squashkit rootfs 1"]
    if rootfs.root is not None:
        lines.append(f"/ {_described(rootfs.root)}")
    for path in sorted(rootfs.nodes):
        node = rootfs.nodes[path]
        first = min(node.names) if node.kind != "directory" else path
        told = _described(node) if first == path else f"h /{quote(first)}"
        lines.append(f"/{quote(path)} {told}")
    return "sha256:" + hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _described(node: Node) -> str:
    fields = [TYPES[node.kind], f"{node.mode:04o}", node.uid, node.gid, int(node.mtime * 10**9)]
    if node.kind == "file":
        fields += [len(node.content), hashlib.sha256(node.content).hexdigest()]
    elif node.kind == "symlink":
        fields.append(quote(node.linkname))
    elif node.kind in ("char", "block"):
        fields.append("{}:{}".format(*node.device))
    fields += [f"{quote(name)}={quote(value)}" for name, value in sorted(node.xattrs.items())]
    return " ".join(map(str, fields))
