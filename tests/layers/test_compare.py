"""`squashkit diff`: what differs, told once and in words; what does not matter, told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    Member,
    block,
    char,
    directory,
    docker_archive_old,
    fifo,
    file,
    hardlink,
    layer,
    oci_layout,
    on_base,
    symlink,
    whiteout,
)
from tests.support.runner import APP, BASE, KEEP_2, Arg, Result, assert_fails, run, squash


def archive(path: Path, *layers: bytes) -> Path:
    docker_archive_old(path, [ImageSpec(list(layers), ["app:1"])])
    return path


def diff(tmp_path: Path, left: list[Member], right: list[Member], *args: Arg) -> Result:
    """Two images of one layer each, compared."""
    a = archive(tmp_path / "a.tar", layer(*left))
    b = archive(tmp_path / "b.tar", layer(*right))
    return run("diff", a, b, *args)


FILE = file("f", b"one", mode=0o644, mtime=5)


@pytest.mark.parametrize(
    ("left", "right", "line"),
    [
        ([], [FILE], "+ /f  (file)"),
        ([directory("d")], [], "- /d  (directory)"),
        ([FILE], [symlink("f", "x")], "M /f  type file -> symlink"),
        ([fifo("f")], [directory("f")], "M /f  type fifo -> directory"),
        ([FILE], [file("f", b"one", mode=0o4755, mtime=5)], "M /f  mode 0644 -> 4755"),
        ([directory("d")], [directory("d", mode=0o700)], "M /d  mode 0755 -> 0700"),
        ([FILE], [file("f", b"one", uid=1, gid=2, mtime=5)], "M /f  owner 0:0 -> 1:2"),
        (
            [FILE],
            [file("f", b"one", mtime=6.5)],
            "M /f  mtime 1970-01-01 00:00:05 -> 1970-01-01 00:00:06.5",
        ),
        (
            [file("f", xattrs={"user.a": b"1", "user.b": b"\xff"})],
            [file("f", xattrs={"user.a": b"1", "user.c": b"x"})],
            "M /f  xattrs user.b=\\xff -> user.c=x",
        ),
        ([symlink("l", "a")], [symlink("l", "b")], "M /l  target a -> b"),
        ([char("c", 1, 3)], [char("c", 1, 5)], "M /c  device 1:3 -> 1:5"),
        ([block("c", 1, 3)], [char("c", 1, 3)], "M /c  type block device -> character device"),
        ([FILE], [file("f", b"three", mtime=5)], "M /f  size 3 -> 5"),
        ([FILE], [file("f", b"two", mtime=5)], "M /f  content"),
        (
            [file("a", b"x"), hardlink("b", "a")],
            [file("a", b"x"), file("b", b"x")],
            "M /a  hard links a, b -> a",
        ),
        ([FILE], [file("f", b"two", mode=0o600, mtime=5)], "M /f  mode 0644 -> 0600; content"),
        ([], [file("new\nline")], "+ /new\\nline  (file)"),
    ],
)
def test_each_difference_has_a_line(
    left: list[Member], right: list[Member], line: str, tmp_path: Path
) -> None:
    """Each kind of difference is one line for its path, and exit code 3."""
    result = diff(tmp_path, left, right)
    assert (result.code, result.err) == (3, "")
    assert result.out.decode().splitlines() == [line, "", "Different: 1 path"]


def test_a_squash_is_the_same(tmp_path: Path) -> None:
    """An image and its squash do not differ; the squash is in another form, from standard input."""
    docker_archive_old(tmp_path / "app.tar", [APP, BASE])
    squash(f"{tmp_path}/app.tar:app:1", *KEEP_2, "-o", f"oci:{tmp_path}/out")
    result = run(
        "diff", "docker-archive:-:app:1", f"oci:{tmp_path}/out", stdin=(tmp_path / "app.tar").read_bytes()
    )
    assert (result.code, result.out.decode()) == (0, "The same: 9 paths\n")


def test_a_cut_group_is_told_but_the_same(tmp_path: Path) -> None:
    """Names of one inode that a layer boundary cuts are no difference, and are listed."""
    base = ImageSpec([layer(file("a", b"x"))], ["base:1"])
    app = on_base(base, layer(file("z")), layer(hardlink("b", "a"), hardlink("c", "a")), tags=["app:1"])
    docker_archive_old(tmp_path / "app.tar", [app])
    squash(tmp_path / "app.tar", "--keep-layers", "1", "-o", tmp_path / "out.tar")
    result = run("diff", tmp_path / "app.tar", tmp_path / "out.tar")
    assert result.code == 0
    assert result.out.decode().splitlines() == [
        "Hard links cut at a layer boundary, which is no difference: /a",
        "The same: 4 paths",
    ]
    document = json.loads(run("diff", tmp_path / "app.tar", tmp_path / "out.tar", "--json").out)
    assert document["same"] is True
    assert [split["left"] for split in document["split_hard_links"]] == ["a, b, c"]


def test_a_group_cut_elsewhere_differs(tmp_path: Path) -> None:
    """Names of one inode from one layer that the other side holds apart are a difference."""
    result = diff(
        tmp_path,
        [file("a", b"x"), hardlink("b", "a"), hardlink("c", "a")],
        [file("a", b"x"), hardlink("b", "a"), file("c", b"x")],
    )
    assert result.code == 3
    assert "hard links a, b, c -> a, b" in result.out.decode()


def test_a_part_that_is_cut_again_differs(tmp_path: Path) -> None:
    """Where a layer boundary cuts a group rightly, names of one layer that were parted still count."""
    a = archive(tmp_path / "a.tar", layer(file("a", b"x")), layer(hardlink("b", "a"), hardlink("c", "a")))
    b = archive(tmp_path / "b.tar", layer(file("a", b"x")), layer(file("b", b"x"), file("c", b"x")))
    result = run("diff", a, b)
    assert result.code == 3
    assert result.out.decode().splitlines()[0] == "M /b  hard links a, b, c -> b"


def test_kinds_can_be_ignored(tmp_path: Path) -> None:
    """--ignore leaves kinds out, and says so; what is left decides."""
    left, right = [FILE], [file("f", b"one", uid=1, mtime=6)]
    assert diff(tmp_path, left, right, "--ignore", "mtime").code == 3
    result = diff(tmp_path, left, right, "--ignore", "mtime,owner")
    assert (result.code, result.out.decode()) == (0, "The same: 1 path (not counting mtime, owner)\n")
    linked = [file("a"), hardlink("b", "a")], [file("a"), file("b")]
    assert diff(tmp_path, *linked, "--ignore", "hard-links").code == 0
    assert_fails(diff(tmp_path, left, right, "--ignore", "colour"), 2, "colour", "hard-links")


def test_output_is_limited(tmp_path: Path) -> None:
    """--limit cuts the list and says how much is left, 0 does not, --stat only counts, JSON has all."""
    left, right = [file(f"f{i}") for i in range(5)], [file("f0", b"x")]
    lines = diff(tmp_path, left, right, "--limit", "2").out.decode().splitlines()
    assert lines[:3] == ["M /f0  size 0 -> 1", "- /f1  (file)", "... and 3 more; --limit 0 shows all"]
    assert len(diff(tmp_path, left, right, "--limit", "0").out.decode().splitlines()) == 7
    stat = diff(tmp_path, left, right, "--stat").out.decode().split()
    assert stat == ["difference", "paths", "removed", "4", "size", "1", "Different:", "5", "paths"]
    document = json.loads(diff(tmp_path, left, right, "--json", "--limit", "1").out)
    assert (document["same"], document["counts"]) == (False, {"removed": 4, "size": 1})
    assert len(document["differences"]) == 5


def test_content_of_shared_layers_is_not_read(tmp_path: Path) -> None:
    """A file that lies at one place of one layer on both sides is the same without reading its data:
    damage there is not seen here (`--no-verify` is what this is like)."""
    base = ImageSpec([layer(file("f", b"x" * 2000))], ["base:1"])
    app = on_base(base, layer(file("g")), tags=["app:1"])
    oci_layout(tmp_path / "images", [base, app])
    for path in (tmp_path / "images/blobs/sha256").iterdir():
        data = path.read_bytes()
        path.write_bytes(data.replace(b"x" * 2000, b"x" * 1000 + b"y" * 1000))
    result = run("diff", f"oci:{tmp_path}/images:base:1", f"oci:{tmp_path}/images:app:1")
    assert result.out.decode().splitlines() == ["+ /g  (file)", "", "Different: 1 path"]


def test_deleted_names_differ(tmp_path: Path) -> None:
    """What a layer hides is not there."""
    a = archive(tmp_path / "a.tar", layer(file("f"), file("g")))
    b = archive(tmp_path / "b.tar", layer(file("f"), file("g")), layer(whiteout("g")))
    assert run("diff", a, b).out.decode().splitlines()[0] == "- /g  (file)"


def test_faults_of_the_request(tmp_path: Path) -> None:
    """A missing file is 5, a damaged image 4, two images from standard input 2."""
    a = archive(tmp_path / "a.tar", layer(FILE))
    assert_fails(run("diff", a, tmp_path / "none.tar"), 5, "No such file")
    assert_fails(run("diff", "-", "-", stdin=a.read_bytes()), 2, "standard input")
    (tmp_path / "bad.tar").write_bytes(a.read_bytes()[:700])
    assert_fails(run("diff", a, tmp_path / "bad.tar"), 4, "tar")
    assert_fails(run("diff", a, a, "--tmp-dir", tmp_path / "none"), 2, "--tmp-dir")
