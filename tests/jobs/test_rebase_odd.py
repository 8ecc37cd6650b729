"""Odd layers on another base: what is easily lost without a word is told or done right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.builders import (
    directory,
    docker_archive_old,
    file,
    hardlink,
    layer,
    on_base,
    symlink,
    whiteout,
)
from tests.support.harness import rebase_layers
from tests.support.model import apply_layers, differences, rebased
from tests.support.moves import (
    BOTH,
    LIB,
    MERGED,
    NOTHING,
    STATUS,
    UNMERGED,
    copied,
    dpkg,
    passes,
    passwd,
    place,
    stops,
    told,
    within,
)
from tests.support.runner import BASE, run, run_process


def test_a_deletion_behind_a_symlink_is_not_lost_in_silence(tmp_path: Path) -> None:
    """What the app deleted in lib/, and a base with lib -> usr/lib has again, is told as a difference in
    types."""
    moved = place(tmp_path, LIB, MERGED, [whiteout("lib/libc.so")])
    assert ("type", "error", "lib") in told(stops(moved, "type"))


def test_an_unlisted_directory_over_a_file_is_told(tmp_path: Path) -> None:
    """x/y without an entry for x, where the new base has a file x, is told before the file is replaced."""
    moved = place(tmp_path, [NOTHING], [file("x", b"important")], [file("x/y")])
    assert told(stops(moved, "type")) == [("type", "error", "x")]


def test_a_pipe_gets_no_text_of_a_conflict(tmp_path: Path) -> None:
    """With -o - and --report a conflict leaves standard output empty: `docker load` reads it."""
    place(tmp_path, *BOTH)
    words = (
        "--old-base",
        "old:1",
        "--new-base",
        tmp_path / "new.tar",
        "-t",
        "x:1",
        "-o",
        "-",
        "--report",
        tmp_path / "r",
    )
    result = run_process("rebase", *words, stdin=(tmp_path / "app.tar").read_bytes())
    assert (result.code, result.out) == (3, b"")


@pytest.mark.parametrize("words", [(), ("--no-strict",)])
def test_a_hard_link_to_what_is_a_directory_now(words: tuple[str, ...], tmp_path: Path) -> None:
    """A layer that cannot be unpacked there is a conflict, and the image is not called invalid."""
    moved = place(tmp_path, [file("a", b"a")], within("a/z"), [hardlink("b", "a")])
    result = moved.run(*words)
    assert result.code == 3, result.err
    assert ("link", "error", "b") in told(result)


def test_a_hard_link_before_its_layers_own_file(tmp_path: Path) -> None:
    """A link to the old base's file is a conflict, though the layer writes a file of that name later."""
    moved = place(tmp_path, [file("a", b"a")], [NOTHING], [hardlink("b", "a"), file("a", b"own")])
    result = moved.run()
    assert result.code == 3, result.err


def test_a_hard_link_to_a_file_put_through_a_symlink() -> None:
    """A link to a file that the same layer put there through its own symlink is no conflict."""
    old, new = [layer(directory("d"), file("d/f"))], [layer(directory("d"))]
    above = [layer(directory("d"), symlink("l", "d"), file("l/f", b"own"), hardlink("h", "d/f"))]
    assert differences(rebased(old, new, above), apply_layers([*new, *above])) == []
    assert not rebase_layers(old, new, above).has("link")


def test_a_nested_directory_that_is_gone_and_not_listed(tmp_path: Path) -> None:
    """A directory that the layer does not list is an error, also below one that it does."""
    old = [directory("a"), directory("a/b", mode=0o700), file("a/b/x")]
    moved = place(tmp_path, old, [NOTHING], [directory("a"), file("a/b/y")])
    assert ("parent", "error", "a/b") in told(stops(moved, "parent"))


def test_a_directory_that_the_layer_deleted_is_not_brought_back() -> None:
    """A directory that the layer deletes and implies anew gets nothing of the old base's."""
    old, new = [layer(directory("d", mode=0o700), file("d/x"))], [layer(file("q"))]
    above = [layer(whiteout("d"), file("d/y"))]
    result = rebase_layers(old, new, above)
    assert differences(rebased(old, new, above), apply_layers(result.layers)) == []
    assert not result.has("parent")


def test_a_directory_reached_through_a_symlink_of_the_layer() -> None:
    """A directory behind the layer's own symlink is needed as others are, and told."""
    old, new = [layer(directory("d", mode=0o700), file("d/a"))], [layer(file("q"))]
    above = [layer(symlink("l", "d"), file("l/x"))]
    result = rebase_layers(old, new, above)
    assert result.has("parent")
    assert differences(rebased(old, new, above), apply_layers(result.layers)) == []


def test_packages_that_the_new_base_dropped(tmp_path: Path) -> None:
    """Packages that the layer's list has from the old base, and the new base has not, are told."""
    moved = place(
        tmp_path,
        within(STATUS, dpkg(libc="1", old="1")),
        within(STATUS, dpkg(libc="1")),
        [file(STATUS, dpkg(libc="1", old="1", app="1"))],
    )
    assert told(passes(moved, *UNMERGED)) == [("packages", "warning", STATUS)]


def test_a_user_that_is_gone(tmp_path: Path) -> None:
    """A `User` that only the old base knows is told: no container would start."""
    config = {"config": {"User": "node"}}
    moved = place(
        tmp_path,
        within("etc/passwd", passwd(node=1000)),
        within("etc/passwd", passwd()),
        [file("x")],
        app_config=config,
    )
    assert "accounts" in [kind for kind, _, _ in told(moved.run())]


def test_owners_of_what_is_gone(tmp_path: Path) -> None:
    """The owner of a file that a later layer deleted is not told."""
    moved = place(
        tmp_path,
        within("etc/passwd", passwd(a=101)),
        within("etc/passwd", passwd(a=102)),
        [file("x", uid=101)],
        [whiteout("x")],
    )
    assert told(passes(moved)) == []


@pytest.mark.parametrize(
    "path", ["etc/passwd", STATUS, "etc/ld.so.cache", "etc/ssl/certs/ca-certificates.crt"]
)
def test_every_copy_is_in_copied_up(path: str, tmp_path: Path) -> None:
    """Databases and caches are in `copied_up` as all files are, whether the bases agree or not."""
    for new, changed in ((b"old", False), (b"new", True)):
        moved = place(tmp_path, within(path, b"old"), within(path, new), [file(path, b"app's")])
        assert copied(passes(moved, *UNMERGED, "--force")) == [(path, 0, False, changed)]


def test_content_over_what_is_no_file_any_more(tmp_path: Path) -> None:
    """Where the new base has a symlink or a directory, the risk says that."""
    moved = place(
        tmp_path, [file("f", b"a")], [symlink("f", "g"), file("g")], [file("f", b"a", mode=0o600)]
    )
    (risk,) = passes(moved).json["risks"]
    assert "symlink" in risk["new"]
    moved = place(tmp_path, [file("f", b"a")], within("f/x"), [file("f", b"b")])
    assert "nothing" not in [risk["new"] for risk in moved.run("--force").json["risks"]]


def test_a_loop_of_symlinks_names_its_layer(tmp_path: Path) -> None:
    """A path through symlinks of its own layer that lead in a circle is told with the layer."""
    loop = layer(symlink("a", "b"), symlink("b", "a"), file("a/x"))
    docker_archive_old(tmp_path / "base.tar", [BASE])
    docker_archive_old(tmp_path / "app.tar", [on_base(BASE, loop, tags=["app:1"])])
    words = ("--old-base", tmp_path / "base.tar", "--new-base", tmp_path / "base.tar")
    result = run("rebase", tmp_path / "app.tar", *words, "-o", tmp_path / "out.tar")
    assert result.code == 4
    assert result.err.startswith("squashkit: layer 2: ")
    assert result.err.endswith("a loop of symlinks\n")
    assert not (tmp_path / "out.tar").exists()
