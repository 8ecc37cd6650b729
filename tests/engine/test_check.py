"""`squash --check`: what was written is read back before it has a name; a wrong result never has one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from squashkit.engine import check
from squashkit.layers import merge
from squashkit.layers.pieces import Copy, Group, Member, as_members
from squashkit.layers.rootfs import BELOW
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    hardlink,
    layer,
    oci_layout,
    symlink,
)
from tests.support.runner import (
    APP,
    BASE,
    KEEP_2,
    Arg,
    assert_fails,
    listing_of,
    read_image,
    run,
    snapshot,
    squash,
)

FORMS: dict[str, tuple[Arg, ...]] = {
    "plain": (), "gzip": ("--compress", "gzip", "--format", "oci"),
    "zstd": ("--compress", "zstd", "--format", "oci"), "opaque": ("--whiteouts", "opaque"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("keep", [("--keep-layers", "2"), ("--segments", "=1,3,=1"), ("--all",)])
def test_a_right_result_passes(name: str, keep: tuple[Arg, ...], tmp_path: Path) -> None:
    """In every form, with kept layers below and above, and the report says that it was checked."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    words = (*keep, "-t", "new:1", "-o", tmp_path / "out.tar", "--check", *FORMS[name])
    assert squash(tmp_path / "app.tar", *words, "--json").json["checked"] is True
    read_image(tmp_path / "out.tar")


def test_into_a_layout(tmp_path: Path) -> None:
    """A layout is checked before its tag is there, its own blobs and the new ones together."""
    oci_layout(tmp_path / "l", [APP, BASE])
    squash(f"oci:{tmp_path}/l:app:1", *KEEP_2, "-o", f"oci:{tmp_path}/l:new", "--check")
    squash(f"oci:{tmp_path}/l:app:1", *KEEP_2, "-o", f"oci:{tmp_path}/new:new", "--check")


def break_merge(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[list[Member]], object]) -> None:
    """Let the planner make a layer that is wrong."""
    real = merge._by_layer

    def wrong(*args: object) -> list[Group]:
        members = list(as_members(real(*args)))  # type: ignore[arg-type]
        spoil(members)
        return [(BELOW, members)]

    monkeypatch.setattr(merge, "_by_layer", wrong)


FAULTS: dict[str, Callable[[list[Member]], object]] = {
    "a file too few": lambda members: members.pop(),
    "another file's bytes": lambda members: members.__setitem__(
        0, members[0]._replace(pieces=(Copy(2, 1024, 2048), *members[0].pieces[1:]))
    ),
}


@pytest.mark.parametrize("place", ["file", "old file", "layout", "new layout"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_result_gets_no_name(
    fault: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with it: nothing is left, an old output stays, no tag moves."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    (tmp_path / "old.tar").write_bytes(b"old")
    oci_layout(tmp_path / "l", [BASE])
    before = snapshot(tmp_path), listing_of(tmp_path)
    output: dict[str, tuple[Arg, ...]] = {
        "file": (tmp_path / "out.tar",), "old file": (tmp_path / "old.tar", "--force"),
        "layout": (f"oci:{tmp_path}/l:new",), "new layout": (f"oci:{tmp_path}/n:new",),
    }  # fmt: skip
    break_merge(monkeypatch, FAULTS[fault])
    result = run("squash", tmp_path / "app.tar", *KEEP_2, "-o", *output[place], "--check")
    assert result.code == (4 if fault == "another file's bytes" else 3), result.err
    assert (snapshot(tmp_path), listing_of(tmp_path)) == before


def test_the_difference_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the path that is wrong, and where."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    break_merge(monkeypatch, FAULTS["a file too few"])
    result = run("squash", tmp_path / "app.tar", *KEEP_2, "-o", tmp_path / "out.tar", "--check")
    assert result.code == 3
    assert "differs from the source at its top" in result.err
    assert "/d/n  removed" in result.err


def test_every_kept_boundary_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kept layer above a merged run is a place to compare, and the top is; below nothing changes."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    seen: list[str] = []
    real = check._boundaries

    def watched(*args: object) -> object:
        for name in real(*args):  # type: ignore[arg-type]
            seen.append(name)
            yield name

    monkeypatch.setattr(check, "_boundaries", watched)
    words = ("--segments", "=1,2,=2", "-t", "new:1", "-o", tmp_path / "out.tar", "--check")
    squash(tmp_path / "app.tar", *words)
    assert seen == ["at the kept layer 3", "at the kept layer 4", "at its top"]


@pytest.mark.parametrize("output", [("-o", "-"), ("--dry-run",)])
def test_what_cannot_be_read_back_is_a_usage_error(output: tuple[str, ...], tmp_path: Path) -> None:
    """A pipe cannot be read back, and a dry run writes nothing."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    assert_fails(run("squash", tmp_path / "app.tar", *KEEP_2, *output, "--check"), 2, "--check")


def test_followed_symlinks_are_checked_as_followed(tmp_path: Path) -> None:
    """--symlink-parents follow is a reading of its own, and the check knows it."""
    layers = [
        layer(directory("usr"), file("usr/x"), symlink("l", "usr")), layer(file("l/y")), layer(file("z")),
    ]  # fmt: skip
    docker_archive_old(tmp_path / "app.tar", [ImageSpec(layers, ["app:1"])])
    words = ("--keep-layers", "1", "--symlink-parents", "follow", "-o", tmp_path / "out.tar", "--check")
    squash(tmp_path / "app.tar", *words)


def test_a_name_is_the_one_that_a_symlink_led_to(tmp_path: Path) -> None:
    """A file of the base that was written through a symlink of its layer, and a hard link of the run to it:
    the group of names is that of the tree."""
    layers = [layer(symlink("d", "l"), file("d/a")), layer(hardlink("d/ab/abc", "l/a")), layer(file("b"))]
    docker_archive_old(tmp_path / "app.tar", [ImageSpec(layers, ["app:1"])])
    squash(tmp_path / "app.tar", "--keep-layers", "1", "-t", "x:1", "-o", tmp_path / "out.tar", "--check")
