"""A comparison of root file systems sees every kind of difference."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat.rootfs import ROOT, differences, snapshot

CHANGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "content": ("d/file: sha256", lambda top: (top / "d/file").write_bytes(b"DATA")),
    "size": ("d/file: size", lambda top: (top / "d/file").write_bytes(b"data and more")),
    "mode": ("d: mode", lambda top: (top / "d").chmod(0o700)),
    "owner": ("d/file: uid", lambda top: os.chown(top / "d/file", 7, -1)),
    "group": ("link: gid", lambda top: os.lchown(top / "link", -1, 7)),
    "time": ("fifo: mtime_ns", lambda top: os.utime(top / "fifo", ns=(0, 1))),
    "xattr": ("d: xattrs", lambda top: os.setxattr(top / "d", "user.k", b"w")),
    "target": ("link: linkname", lambda top: _relink(top / "link")),
    "type": ("fifo: type", lambda top: _replace(top / "fifo")),
    "hard link": ("d/file: links", lambda top: _replace(top / "other name")),
    "missing": ("link: only in the first", lambda top: (top / "link").unlink()),
    "added": ("new: only in the second", lambda top: (top / "new").touch()),
    "root": (".: mode", lambda top: top.chmod(0o711)),
}


def _relink(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


def _replace(path: Path) -> None:
    data = path.read_bytes() if path.is_file() else b""
    path.unlink()
    path.write_bytes(data)


def tree(top: Path) -> Path:
    """A small root file system with all times alike."""
    (top / "d").mkdir(parents=True)
    (top / "d/file").write_bytes(b"data")
    os.setxattr(top / "d", "user.k", b"v")
    (top / "link").symlink_to("d/file")
    os.mkfifo(top / "fifo")
    (top / "other name").hardlink_to(top / "d/file")
    for path in [top, *top.rglob("*")]:
        os.utime(path, ns=(0, 10**9), follow_symlinks=False)
    return top


def test_equal_trees_have_no_differences(tmp_path: Path) -> None:
    """Two trees that were made alike are the same, and all their paths are seen."""
    first, second = snapshot(tree(tmp_path / "1")), snapshot(tree(tmp_path / "2"))
    assert differences(first, second) == []
    assert first.keys() == {ROOT, b"d", b"d/file", b"fifo", b"link", b"other name"}
    assert first[b"d/file"].links == {b"d/file", b"other name"}


@pytest.mark.skipif(os.geteuid() != 0, reason="changing owners needs root")
@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change: str, tmp_path: Path) -> None:
    """One thing that is changed shows up with its path and its name."""
    expected, make = CHANGES[change]
    first, top = snapshot(tree(tmp_path / "1")), tree(tmp_path / "2")
    make(top)
    lines = differences(first, snapshot(top))
    assert any(line.startswith(expected) for line in lines), lines
