"""What a rebase may break, kind by kind: where it is told, and where, a step beside it, it is not.

Small images go through the command line; what is said comes from its JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from squashkit.plan.rebase.risks.model import Kind
from tests.support.builders import (
    ImageSpec,
    Json,
    Member,
    config_of,
    digest,
    directory,
    docker_archive_old,
    file,
    hardlink,
    layer,
    oci_layout,
    on_base,
    opaque,
    symlink,
    whiteout,
)
from tests.support.model import apply_layers, table
from tests.support.runner import (
    Result,
    assert_fails,
    assert_same_rootfs,
    read_image,
    run,
    run_process,
    validate,
)

Members = Sequence[Member]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with an image, its old base, and a new one for it."""

    folder: Path
    old: ImageSpec
    new: ImageSpec
    app: ImageSpec

    @property
    def out(self) -> Path:
        """Where the result goes."""
        return self.folder / "out.tar"

    def run(self, *words: str) -> Result:
        """Rebase it; the report is JSON."""
        return run("rebase", *self.arguments, "-o", self.out, "--json", *words)

    @property
    def arguments(self) -> tuple[str | Path, ...]:
        """The image, both bases, and a name for the result."""
        return (
            f"{self.folder}/app.tar:app:1", "--old-base", "old:1", "--new-base", self.folder / "new.tar",
            "-t", "app:2",
        )  # fmt: skip


def place(
    folder: Path, old: Members, new: Members, *above: Members, old_config: Json | None = None,
    new_config: Json | None = None, app_config: Json | None = None,
) -> Place:  # fmt: skip
    """Bases of one layer each, and an image with these layers above the old one."""
    before = ImageSpec([layer(*old)], ["old:1"], old_config or {})
    after = ImageSpec([layer(*new)], ["new:1"], new_config or {})
    app = ImageSpec([*before.layers, *(layer(*one) for one in above)], ["app:1"], app_config or {})
    docker_archive_old(folder / "app.tar", [app, before])
    docker_archive_old(folder / "new.tar", [after])
    return Place(folder, before, after, app)


def told(result: Result) -> list[tuple[str, str, str]]:
    """Kind, severity and path of all that is at risk."""
    return [(risk["kind"], risk["severity"], risk["path"]) for risk in result.json["risks"]]


def passes(moved: Place, *words: str) -> Result:
    """The rebase goes on, and gives what it says."""
    result = moved.run("--check", *words)
    assert result.code == 0, result.err
    image = read_image(moved.out)
    assert list(image.layers[: len(moved.new.layers)]) == list(moved.new.layers)
    if not result.json["remade_layers"]:
        assert list(image.layers) == [*moved.new.layers, *moved.app.layers[len(moved.old.layers) :]]
    return result


def stops(moved: Place, *kinds: str) -> Result:
    """The rebase stops at errors of these kinds alone, says how to go on, and writes nothing."""
    before = sorted(moved.folder.iterdir())
    result = moved.run()
    assert result.code == 3
    assert_fails(Result(3, b"", result.err), 3, "app:1 does not fit new:1; nothing was written")
    assert sorted(moved.folder.iterdir()) == before
    stopping = {risk["kind"] for risk in result.json["risks"] if risk["stops"]}
    assert stopping == set(kinds)
    allowed = [f"--allow {kind}" for kind in kinds if kind != "link"]
    assert all(word in result.err for word in allowed) and result.err.count("--allow") == len(allowed)
    return result


def within(path: str, data: bytes = b"", **fields: int) -> list[Member]:
    """A file, and the directories that lead to it."""
    parts = path.split("/")
    return [*(directory("/".join(parts[:n])) for n in range(1, len(parts))), file(path, data, **fields)]


NOTHING = file("z")

# --- platform --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"architecture": "amd64"}, {"architecture": "arm64"}),
        ({"architecture": "arm", "variant": "v7"}, {"architecture": "arm", "variant": "v6"}),
        ({"os": "linux"}, {"os": "freebsd"}),
        ({"os.version": "1"}, {"os.version": "2"}),
    ],
    ids=["architecture", "variant", "system", "its version"],
)
def test_another_platform_is_an_error(old: Json, new: Json, tmp_path: Path) -> None:
    """What was built for one kind of machine does not run on another; who knows better lets it through, and
    the image says then what it said."""
    moved = place(
        tmp_path, [file("a")], [file("b")], [file("x")], old_config=old, new_config=new, app_config=old
    )
    result = stops(moved, "platform")
    (risk,) = result.json["risks"]
    assert (risk["path"], risk["layer"]) == ("", None)
    assert next(iter(old.values())) in risk["old"] and list(new.values())[-1] in risk["new"]
    passes(moved, "--allow", "platform")
    assert read_image(moved.out).config["architecture"] == old.get("architecture", "amd64")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"architecture": "arm64"}, {"architecture": "arm64", "variant": "v8"}),
        ({"architecture": "arm64", "variant": "v8"}, {"architecture": "arm64"}),
        ({"os.version": "1"}, {}),
    ],
    ids=["variant added", "variant gone", "version gone"],
)
def test_the_same_platform_is_none(old: Json, new: Json, tmp_path: Path) -> None:
    """What only one side states is no difference."""
    moved = place(
        tmp_path, [file("a")], [file("b")], [file("x")], old_config=old, new_config=new, app_config=old
    )
    assert told(passes(moved)) == []


# --- type ------------------------------------------------------------------------------------

LIB = [directory("lib"), file("lib/libc.so", b"1")]
MERGED = [directory("usr"), directory("usr/lib"), file("usr/lib/libc.so", b"2"), symlink("lib", "usr/lib")]


def test_a_directory_that_became_a_symlink(tmp_path: Path) -> None:
    """On a base with /lib -> usr/lib, a layer's /lib would hide all of usr/lib behind it."""
    moved = place(tmp_path, LIB, MERGED, [directory("lib"), file("lib/own.so", b"own")])
    (risk,) = stops(moved, "type").json["risks"]
    assert (risk["path"], risk["old"], risk["new"]) == ("lib", "a directory", "a symlink to usr/lib")
    assert (risk["layer"], risk["severity"]) == (0, "error")
    assert told(passes(moved, "--allow", "type")) == [("type", "error", "lib")]
    found = table(apply_layers(read_image(moved.out).layers))
    assert found["lib"] == "dir 755" and "lib/libc.so" not in found


def test_a_directory_that_became_a_symlink_and_is_not_listed(tmp_path: Path) -> None:
    """It is no other where the layer has only what lies in it."""
    moved = place(tmp_path, LIB, MERGED, [file("lib/own.so", b"own")])
    assert told(stops(moved, "type")) == [("type", "error", "lib")]


def test_a_symlink_that_became_a_directory(tmp_path: Path) -> None:
    """The other way round: a layer that made the symlink anew would hide the new base's directory."""
    moved = place(tmp_path, MERGED, LIB, [symlink("lib", "usr/lib", mtime=5)])
    assert told(stops(moved, "type")) == [("type", "error", "lib")]


def test_beside_a_directory_that_became_a_symlink(tmp_path: Path) -> None:
    """Layers that keep out of it may move."""
    moved = place(tmp_path, [*LIB, directory("usr")], MERGED, [directory("usr"), file("usr/own", b"own")])
    assert told(passes(moved)) == []


def test_a_symlink_on_both_sides_is_one_type(tmp_path: Path) -> None:
    """Where it leads is the layer's choice, as before."""
    moved = place(tmp_path, [symlink("l", "a")], [symlink("l", "b")], [symlink("l", "a", mtime=5)])
    assert told(passes(moved)) == []
    moved = place(tmp_path, [file("f")], [symlink("f", "b")], [symlink("f", "c")])
    assert told(passes(moved, "--force")) == []


@pytest.mark.parametrize(
    "before", [[NOTHING], [file("x")], [symlink("x", "z")]], ids=["new", "file", "link"]
)
def test_a_file_over_a_directory_of_the_new_base(before: Members, tmp_path: Path) -> None:
    """A file of the layer, where the new base alone has a directory, hides all that is in it."""
    moved = place(tmp_path, before, [directory("x"), file("x/y")], [file("x", b"own")])
    assert told(stops(moved, "type"))[0] == ("type", "error", "x")


def test_a_file_that_the_layer_put_over_a_directory(tmp_path: Path) -> None:
    """What it took the place of on the old base, it may take the place of on the new one."""
    moved = place(tmp_path, within("x/a"), within("x/b"), [file("x", b"own")])
    assert told(passes(moved)) == []


def test_a_directory_over_a_file_of_the_new_base(tmp_path: Path) -> None:
    """A directory of the layer, where the new base alone has a file."""
    moved = place(tmp_path, [NOTHING], [file("x", b"new")], [directory("x"), file("x/y")])
    assert told(stops(moved, "type")) == [("type", "error", "x")]
    moved = place(tmp_path, [file("x")], [file("x", b"new")], [directory("x"), file("x/y")])
    assert told(passes(moved)) == []


def test_a_deletion_of_what_is_something_else_now(tmp_path: Path) -> None:
    """A whiteout that was meant for a file would take a whole directory away."""
    moved = place(tmp_path, [file("x")], [directory("x"), file("x/y")], [whiteout("x")])
    assert told(stops(moved, "type")) == [("type", "error", "x")]
    for old, new in (
        (within("x/a"), within("x/b")),
        ([file("x")], [symlink("x", "z")]),
        ([file("x")], [NOTHING]),
        (within("x/a"), [NOTHING]),
        ([NOTHING], within("x/a")),
    ):
        moved = place(tmp_path, old, new, [whiteout("x")])
        assert told(passes(moved, "--force")) == []


# --- parent and what lies in it --------------------------------------------------------------

HOME = [directory("srv", mode=0o750, uid=7), directory("srv/data", mode=0o700, uid=7), file("srv/data/old")]


def test_a_directory_that_is_gone_and_not_listed(tmp_path: Path) -> None:
    """Files without their directory: an error, since the old base's is made for them."""
    moved = place(tmp_path, HOME, [NOTHING], [file("srv/data/new", b"new")])
    assert told(stops(moved, "parent")) == [("parent", "error", "srv")]
    result = passes(moved, "--allow", "parent")
    assert result.json["remade_layers"] == [0]
    found = table(apply_layers(read_image(moved.out).layers))
    assert found == {
        "z": "file 644",
        "srv": "dir 750",
        "srv/data": "dir 700",
        "srv/data/new": "file 644 new",
    }


def test_a_directory_that_is_gone_and_listed(tmp_path: Path) -> None:
    """The layer brings it along, and only its neighbours are gone: a warning, and the layer stays."""
    moved = place(tmp_path, HOME, [NOTHING], [*HOME[:2], file("srv/data/new", b"new")])
    result = passes(moved)
    assert told(result) == [("parent", "warning", "srv")]
    assert result.json["remade_layers"] == []


def test_an_empty_directory_that_is_gone_is_no_loss(tmp_path: Path) -> None:
    """Where nothing lay beside the layer's files, nothing is missed."""
    moved = place(tmp_path, [directory("srv")], [NOTHING], [directory("srv"), file("srv/new")])
    assert told(passes(moved)) == []


def test_a_directory_with_other_attributes_is_the_same(tmp_path: Path) -> None:
    """A directory need not look the same to be there."""
    moved = place(tmp_path, HOME, [directory("srv"), directory("srv/data")], [file("srv/data/new", b"new")])
    assert told(passes(moved)) == []


@pytest.mark.parametrize("listed", [False, True])
def test_a_whiteout_in_a_directory_that_is_gone_is_left_out(listed: bool, tmp_path: Path) -> None:
    """There it hides nothing and would be a broken name. The rest of the layer stays, and other layers keep
    their bytes."""
    gone = [*(HOME[:2] * listed), whiteout("srv/data/old"), file("beside", b"b")]
    moved = place(tmp_path, HOME, [NOTHING], [file("first")], gone, [file("last")])
    result = passes(moved)
    assert result.json["remade_layers"] == [1]
    image = read_image(moved.out)
    assert image.layers[1::2] == (moved.app.layers[1], moved.app.layers[3])
    assert b".wh." not in image.layers[2]
    assert_same_rootfs([*moved.new.layers, *moved.app.layers[1:]], image.layers)


def test_a_layer_of_which_nothing_is_left_is_left_out(tmp_path: Path) -> None:
    """The history tells of its step without a layer."""
    moved = place(tmp_path, HOME, [NOTHING], [whiteout("srv/data/old")], [file("last")])
    assert passes(moved).json["layers"] == {"before": 3, "after": 2}
    image = read_image(moved.out)
    assert list(image.layers) == [moved.new.layers[0], moved.app.layers[2]]
    steps = [step for step in image.history if not step.startswith("- ")]
    assert steps == ["RUN step 0", "RUN step 2"]
    assert "- RUN step 1" in image.history


def test_a_whiteout_of_nothing_in_a_directory_stays(tmp_path: Path) -> None:
    """Where its directory is there, a whiteout that hides nothing is harmless: the layer stays."""
    moved = place(tmp_path, HOME, HOME[:2], [whiteout("srv/data/old")])
    assert passes(moved).json["remade_layers"] == []


def test_an_opaque_marker_in_a_directory_that_is_gone(tmp_path: Path) -> None:
    """It goes as a whiteout does, unless the layer has the directory itself."""
    moved = place(tmp_path, HOME, [NOTHING], [opaque("srv/data"), file("beside")])
    assert passes(moved).json["remade_layers"] == [0]
    moved = place(tmp_path, HOME, [NOTHING], [*HOME[:2], opaque("srv/data"), file("srv/data/new")])
    assert passes(moved, "--force").json["remade_layers"] == []


# --- hard links ------------------------------------------------------------------------------


def test_a_hard_link_to_what_is_gone(tmp_path: Path) -> None:
    """Such a layer cannot be unpacked, and nothing allows that."""
    moved = place(tmp_path, [file("a", b"a")], [NOTHING], [hardlink("b", "a")])
    assert told(stops(moved, "link")) == [("link", "error", "b")]
    for words in (("--no-strict",), *(("--allow", kind) for kind in ("type", "parent"))):
        assert moved.run(*words).code == 3
        assert not moved.out.exists()
    assert moved.run("--allow", "link").code == 2
    assert "Errors of kind link always stop" in " ".join(run("rebase", "--help").text.split())


def test_a_hard_link_to_what_is_there(tmp_path: Path) -> None:
    """It links to the new base's file, or to the layer's own."""
    moved = place(tmp_path, [file("a", b"a")], [file("a", b"A")], [hardlink("b", "a")])
    assert told(passes(moved)) == []
    assert table(apply_layers(read_image(moved.out).layers))["b"] == "file 644 A =a,b"
    moved = place(tmp_path, [file("a", b"a")], [NOTHING], [file("a", b"own"), hardlink("b", "a")])
    kinds = {kind for kind, _, _ in told(passes(moved, "--force"))}
    assert kinds == {"content"}


def test_a_hard_link_of_a_layer_made_anew_is_a_copy(tmp_path: Path) -> None:
    """No new layer links out of itself."""
    old = [file("a", b"a"), *within("d/gone")]
    moved = place(tmp_path, old, [file("a", b"A")], [hardlink("b", "a"), whiteout("d/gone")])
    assert passes(moved).json["remade_layers"] == [0]
    found = table(apply_layers(read_image(moved.out).layers))
    assert (found["a"], found["b"]) == ("file 644 A", "file 644 A")


# --- package databases -----------------------------------------------------------------------

STATUS = "var/lib/dpkg/status"


Versions = Callable[..., bytes]
"""Writes a list of packages and their versions."""


def dpkg(**versions: str) -> bytes:
    """dpkg's list of installed packages."""
    stanza = (
        "Package: {}\nStatus: install ok installed\nArchitecture: all\nVersion: {}\nDescription: x\n  y\n"
    )
    return "\n".join(stanza.format(name, version) for name, version in versions.items()).encode()


def apk(**versions: str) -> bytes:
    """apk's list of installed packages."""
    return "".join(f"C:Q1\nP:{name}\nV:{version}\nA:x\n\n" for name, version in versions.items()).encode()


@pytest.mark.parametrize(
    ("path", "write"),
    [(STATUS, dpkg), ("lib/apk/db/installed", apk), ("usr/lib/apk/db/installed", apk)],
    ids=["dpkg", "apk", "apk in usr"],
)
class TestLists:
    """Databases whose versions can be read."""

    def test_versions_that_the_layer_hides(self, path: str, write: Versions, tmp_path: Path) -> None:
        """Packages of the new base that the layer lists otherwise or not at all."""
        moved = place(
            tmp_path,
            within(path, write(libc="1", ssl="1", same="1")),
            within(path, write(libc="2", ssl="1-1", same="1", tz="9")),
            [file(path, write(libc="1", ssl="1", same="1", app="3"))],
        )
        result = passes(moved)
        assert told(result) == [("packages", "warning", path)]
        (risk,) = result.json["risks"]
        assert risk["old"] == "libc 1, ssl 1, tz (not listed)"
        assert risk["new"] == "libc 2, ssl 1-1, tz 9"

    @pytest.mark.parametrize("why", ["same base", "same versions", "brought up to date", "no database"])
    def test_versions_that_are_right(self, why: str, path: str, write: Versions, tmp_path: Path) -> None:
        """Nothing is hidden where the layer's list has the new base's versions."""
        new = {
            "same base": within(path, write(libc="1")),
            "same versions": within(path, write(libc="1") + b"\n"),
            "brought up to date": within(path, write(libc="2")),
            "no database": [*within(path)[:-1], NOTHING],
        }[why]
        own = write(libc="2" if why == "brought up to date" else "1", app="1")
        moved = place(tmp_path, within(path, write(libc="1")), new, [file(path, own)])
        assert told(passes(moved)) == []


def test_many_versions_are_counted(tmp_path: Path) -> None:
    """Three are shown."""
    names = [f"p{number:02}" for number in range(20)]
    old, new = (dpkg(**dict.fromkeys(names, version)) for version in ("1", "2"))
    moved = place(tmp_path, within(STATUS, old), within(STATUS, new), [file(STATUS, old + b"\n")])
    (risk,) = passes(moved).json["risks"]
    assert risk["new"] == "p00 2, p01 2, p02 2 and 17 more"


def test_packages_that_are_not_installed_do_not_count(tmp_path: Path) -> None:
    """dpkg remembers packages whose settings it keeps."""
    removed = dpkg(old="2").replace(b"install ok installed", b"deinstall ok config-files")
    moved = place(
        tmp_path, within(STATUS, dpkg(libc="1")), within(STATUS, dpkg(libc="1") + b"\n" + removed),
        [file(STATUS, dpkg(libc="1", app="1"))],
    )  # fmt: skip
    assert told(passes(moved)) == []


@pytest.mark.parametrize(
    "path", ["var/lib/rpm/Packages", "var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/Packages.db"]
)
def test_rpm_s_database(path: str, tmp_path: Path) -> None:
    """Its versions are not read; that it is another one is told where the bases differ in it."""
    for new, expected in ((b"new", [("packages", "warning", path)]), (b"old", [])):
        moved = place(tmp_path, within(path, b"old"), within(path, new), [file(path, b"app's")])
        assert told(passes(moved, "--force")) == expected


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("var/lib/rpm/Packages", "usr/lib/sysimage/rpm/rpmdb.sqlite"),
        ("var/lib/rpm/Packages", "var/lib/rpm/rpmdb.sqlite"),
        ("lib/apk/db/installed", "usr/lib/apk/db/installed"),
    ],
)
def test_a_database_that_moved(path: str, other: str, tmp_path: Path) -> None:
    """What the layer wrote lies where the new base's package manager does not look."""
    moved = place(tmp_path, within(path, b"old"), within(other, b"new"), within(path, b"app's"))
    (risk,) = (one for one in passes(moved).json["risks"] if one["kind"] != "parent")
    assert (risk["kind"], risk["severity"], risk["path"]) == ("packages", "warning", path)
    assert risk["new"] == f"one at /{other}"
    assert "what layers above installed is not listed in it" in risk["effect"]
    for old, new in ((within(path, b"old"), [NOTHING]), ([NOTHING], within(other, b"new"))):
        moved = place(tmp_path, old, new, within(path, b"app's"))
        assert not [one for one in told(passes(moved, "--force")) if one[0] == "packages"]


def test_a_database_behind_a_symlink(tmp_path: Path) -> None:
    """The layer's directory in the symlink's place is an error, beside what is told of the database."""
    path, other = "var/lib/rpm/Packages", "usr/lib/sysimage/rpm/rpmdb.sqlite"
    new = [*within(other, b"new"), *within(path)[:2], symlink("var/lib/rpm", "../../usr/lib/sysimage/rpm")]
    moved = place(tmp_path, within(path, b"old"), new, within(path, b"app's"))
    assert told(stops(moved, "type")) == [("type", "error", "var/lib/rpm"), ("packages", "warning", path)]


def test_pacman_s_database(tmp_path: Path) -> None:
    """It has a file a package: one that the layer changed hides the new base's, one that it added none."""
    path, own = "var/lib/pacman/local/ssl-1/desc", "var/lib/pacman/local/app-1/desc"
    moved = place(
        tmp_path, within(path, b"old"), within(path, b"new"), [*within(own, b"a"), file(path, b"own")]
    )
    assert told(passes(moved)) == [("packages", "warning", path)]
    moved = place(tmp_path, within(path, b"old"), within(path, b"new"), within(own, b"a"))
    assert told(passes(moved, "--force")) == []


def test_what_else_lies_beside_the_databases(tmp_path: Path) -> None:
    """Logs and backups say nothing that a program goes by."""
    for path in (
        "var/lib/dpkg/status-old",
        "var/lib/dpkg/info/libc.list",
        "lib/apk/db/scripts.tar",
        "var/log/dpkg.log",
    ):
        moved = place(tmp_path, within(path, b"old"), within(path, b"new"), [file(path, b"app's")])
        assert told(passes(moved, "--force")) == []


# --- contents --------------------------------------------------------------------------------


def copied(result: Result) -> list[tuple[str, int, bool, bool]]:
    """The files that lie above in a copy: path, layer, same content, changed below."""
    return [tuple(one.values()) for one in result.json["copied_up"]]


def test_a_chmod_hides_an_update(tmp_path: Path) -> None:
    """A layer that only changed the mode of a file has the old one's content."""
    moved = place(
        tmp_path,
        within("bin/su", b"bug"),
        within("bin/su", b"fix"),
        [],
        [file("bin/su", b"bug", mode=0o755)],
    )
    result = passes(moved)
    assert told(result) == [("content", "warning", "bin/su")]
    assert copied(result) == [("bin/su", 1, True, True)]
    (risk,) = result.json["risks"]
    assert risk["layer"] == 1 and "keeps the old base's content" in risk["effect"]
    assert (risk["old"], risk["new"]) == ("3 bytes", "3 other bytes")


def test_a_change_hides_an_update(tmp_path: Path) -> None:
    """A layer that changed a file has made it from the old one."""
    moved = place(tmp_path, [file("conf", b"a=1")], [file("conf", b"a=1\nb=2")], [file("conf", b"a=3")])
    result = passes(moved)
    assert told(result) == [("content", "warning", "conf")]
    assert copied(result) == [("conf", 0, False, True)]
    (risk,) = result.json["risks"]
    assert "was made from the old base's" in risk["effect"]
    assert (risk["old"], risk["new"]) == ("3 bytes", "7 bytes")


def test_a_copy_of_what_is_gone_stays(tmp_path: Path) -> None:
    """The new base has no such file any more."""
    moved = place(tmp_path, [file("conf", b"a")], [NOTHING], [file("conf", b"a", mode=0o600)])
    result = passes(moved)
    assert told(result) == [("content", "warning", "conf")]
    assert copied(result) == [("conf", 0, True, True)]


@pytest.mark.parametrize(
    ("old", "new", "above", "copies"),
    [
        ([file("f", b"a")], [file("f", b"a", mode=0o600)], [file("f", b"b")], [("f", 0, False, False)]),
        ([file("f", b"a")], [file("f", b"a")], [file("f", b"a", mode=0o600)], [("f", 0, True, False)]),
        ([file("f", b"a")], [file("f", b"b")], [file("f", b"b")], [("f", 0, False, True)]),
        ([NOTHING], [file("f", b"b")], [file("f", b"c")], []),
        ([file("f", b"a")], [file("f", b"b")], [whiteout("f")], []),
        ([symlink("f", "a")], [symlink("f", "b")], [symlink("f", "c")], []),
        (within("tmp/f", b"a"), within("tmp/f", b"b"), [file("tmp/f", b"c")], []),
        (within("var/log/f", b"a"), within("var/log/f", b"b"), [file("var/log/f", b"c")], []),
        (within("var/lib/apt/f", b"a"), within("var/lib/apt/f", b"b"), [file("var/lib/apt/f", b"c")], []),
    ],
    ids=[
        "bases agree but in attributes", "bases agree", "the update is in the layer", "the layer's own",
        "deleted", "symlinks", "tmp", "log", "apt",
    ],
)  # fmt: skip
def test_contents_that_hide_nothing(
    old: Members, new: Members, above: Members, copies: list[object], tmp_path: Path
) -> None:
    """Only a file of the old base that lies above in a copy, and that the new base has otherwise."""
    result = passes(place(tmp_path, old, new, above))
    assert told(result) == []
    assert copied(result) == copies


def test_a_copy_that_a_later_layer_removed(tmp_path: Path) -> None:
    """What the image does not have hides nothing."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")], [whiteout("f")])
    result = passes(moved)
    assert told(result) == [] and copied(result) == []


def test_the_last_of_several_copies_counts(tmp_path: Path) -> None:
    """The layer that is named is that of the content that is seen."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")], [file("f", b"d")])
    (risk,) = passes(moved).json["risks"]
    assert risk["layer"] == 1


def test_contents_of_compressed_layers_are_compared(tmp_path: Path) -> None:
    """Equal sizes and times do not hide a difference, whatever stores the layers."""
    spec = {"mtime": 5}
    old, new = (
        ImageSpec([layer(file("f", text, **spec))], [name])
        for text, name in ((b"a", "old:1"), (b"b", "new:1"))
    )
    app = on_base(old, layer(file("f", b"a", mode=0o600, **spec)), tags=["app:1"])
    for how in ("gzip", "zstd"):
        oci_layout(tmp_path / how, [app, old, new], compress=how)
        where = f"oci:{tmp_path}/{how}"
        result = run(
            "rebase", f"{where}:app:1", "--old-base", "old:1", "--new-base", "new:1", "-n", "--json"
        )
        assert told(result) == [("content", "warning", "f")]


# --- accounts --------------------------------------------------------------------------------

PASSWD, GROUP = "etc/passwd", "etc/group"


def passwd(**ids: int) -> bytes:
    """Accounts by name; groups are written alike, as far as anybody looks."""
    return b"".join(
        f"{name}:x:{number}:{number}::/:/bin/sh\n".encode() for name, number in {"root": 0, **ids}.items()
    )


@pytest.mark.parametrize("path", [PASSWD, GROUP])
@pytest.mark.parametrize(
    ("new", "own", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "app": 500}, [("no b", "b is 2")]),
        ({"a": 5}, {"a": 1, "app": 500}, [("a is 1", "a is 5")]),
        ({"a": 1, "b": 500}, {"a": 1, "app": 500}, [("no b, app is 500", "b is 500")]),
        ({"a": 1}, {"a": 1, "app": 500}, []),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2, "app": 500}, []),
        ({}, {"a": 1, "app": 500}, []),
    ],
    ids=["unknown", "moved", "taken", "same", "known", "dropped"],
)
def test_accounts_that_the_layer_hides(
    path: str, new: dict[str, int], own: dict[str, int], expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    """Users and groups of the new base that its files belong to, and that the layer's list has not so."""
    moved = place(
        tmp_path, within(path, passwd(a=1)), within(path, passwd(**new)), [file(path, passwd(**own))]
    )
    result = passes(moved)
    assert told(result) == [("accounts", "warning", path)] * len(expected)
    assert [(risk["old"], risk["new"]) for risk in result.json["risks"]] == expected


@pytest.mark.parametrize("name", ["shadow", "gshadow", "subuid", "subgid"])
def test_accounts_without_an_entry(name: str, tmp_path: Path) -> None:
    """Other files about accounts are told of where they lack one of the new base."""
    path = f"etc/{name}"
    for new, expected in ((b"a:1:1\nb:2:1\n", 1), (b"a:9:9\n", 0)):
        moved = place(
            tmp_path, within(path, b"a:1:1\n"), within(path, new), [file(path, b"a:1:1\napp:3:3\n")]
        )
        result = passes(moved, "--force")
        assert told(result) == [("accounts", "warning", path)] * expected
        assert all(risk["new"] == "b" for risk in result.json["risks"])


def test_backups_of_accounts_are_not_looked_at(tmp_path: Path) -> None:
    """Nobody reads them."""
    for path in ("etc/passwd-", "etc/group-", "etc/shadow-"):
        moved = place(tmp_path, within(path, b"a"), within(path, b"b"), [file(path, b"c")])
        assert told(passes(moved, "--force")) == []


@pytest.mark.parametrize(
    ("old", "new", "owner", "expected"),
    [
        ({"a": 101}, {"a": 102}, 101, ("{id} 101 is a", "{id} 101 is no {what}")),
        ({"a": 101}, {"a": 102, "b": 101}, 101, ("{id} 101 is a", "{id} 101 is b")),
        ({"z": 1}, {"z": 1, "b": 101}, 101, ("{id} 101 is no {what}", "{id} 101 is b")),
        ({"a": 101}, {"a": 101, "b": 102}, 101, None),
        ({"a": 101}, {"a": 102}, 0, None),
        ({"a": 101}, {"a": 102}, 1001, None),
        ({"a": 101}, {"a": 102}, 333, None),
    ],
    ids=["moved", "taken", "new", "same", "root", "person", "nobody's"],
)
@pytest.mark.parametrize("path", [PASSWD, GROUP])
def test_owners_of_the_layer_s_files(
    path: str,
    old: dict[str, int],
    new: dict[str, int],
    owner: int,
    expected: tuple[str, str] | None,
    tmp_path: Path,
) -> None:
    """Where the new base's list is seen, a system account that a file belongs to may mean another."""
    own = file("own", b"x", **{"uid" if path == PASSWD else "gid": owner})
    moved = place(tmp_path, within(path, passwd(**old)), within(path, passwd(**new)), [own])
    result = passes(moved)
    assert told(result) == [("accounts", "warning", "own")] * (expected is not None)
    names = {"id": "uid", "what": "user"} if path == PASSWD else {"id": "gid", "what": "group"}
    sides = [(risk["old"], risk["new"]) for risk in result.json["risks"]]
    assert sides == ([tuple(side.format(**names) for side in expected)] if expected else [])


# --- caches ----------------------------------------------------------------------------------

CACHE = "etc/ld.so.cache"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"


def libraries(*names: str) -> bytes:
    """A cache of the loader: a magic, numbers, and sonames with the paths that they mean."""
    strings = b"".join(f"{name}\0/lib/{name}\0".encode() for name in names)
    return b"glibc-ld.so.cache1.1" + bytes(28) + strings


def bundle(*names: str) -> bytes:
    """Certificates, as PEM has them."""
    return "".join(
        f"# {n}\n-----BEGIN CERTIFICATE-----\n{n}\n-----END CERTIFICATE-----\n" for n in names
    ).encode()


def test_libraries_that_the_loader_does_not_find(tmp_path: Path) -> None:
    """Those of the new base that the layer's cache does not list."""
    old, new = libraries("libc.so.6"), libraries("libc.so.6", "libssl.so.3", "libz.so.1")
    moved = place(
        tmp_path, within(CACHE, old), within(CACHE, new), [file(CACHE, libraries("libc.so.6", "libapp.so"))]
    )
    result = passes(moved)
    assert told(result) == [("cache", "warning", CACHE)]
    (risk,) = result.json["risks"]
    assert risk["new"] == "libssl.so.3, libz.so.1"


def test_a_cache_that_lists_all_libraries(tmp_path: Path) -> None:
    """Whatever else it lists, and wherever they lie."""
    new = libraries("libc.so.6", "libz.so.1").replace(b"/lib/", b"/usr/lib/")
    own = file(CACHE, libraries("libz.so.1", "libc.so.6", "libapp.so.1"))
    assert (
        told(passes(place(tmp_path, within(CACHE, libraries("libc.so.6")), within(CACHE, new), [own])))
        == []
    )
    same = libraries("libc.so.6")
    moved = place(tmp_path, within(CACHE, same), within(CACHE, same), [file(CACHE, libraries("libapp.so"))])
    assert told(passes(moved, "--force")) == []


@pytest.mark.parametrize(
    "path",
    [
        BUNDLE,
        "etc/ssl/cert.pem",
        "etc/pki/tls/certs/ca-bundle.crt",
        "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    ],
)
def test_authorities_of_the_layer(path: str, tmp_path: Path) -> None:
    """Those that it does not know, and those that the new base trusts no longer."""
    for new, counts in ((("1", "2", "3"), (2, 0)), (("2",), (1, 1)), ((), (0, 1))):
        moved = place(
            tmp_path,
            within(path, bundle("1")),
            within(path, bundle(*new)),
            [file(path, bundle("1", "own"))],
        )
        result = passes(moved, "--force")
        assert told(result) == [("cache", "warning", path)]
        (risk,) = result.json["risks"]
        assert [int(word) for word in risk["effect"].split() if word.isdigit()] == list(counts)


def test_authorities_that_are_all_known(tmp_path: Path) -> None:
    """A bundle with all of the new base's, and none that it dropped; in whatever order."""
    moved = place(
        tmp_path,
        within(BUNDLE, bundle("1")),
        within(BUNDLE, bundle("1", "2")),
        [file(BUNDLE, bundle("own", "2", "1"))],
    )
    assert told(passes(moved)) == []
    moved = place(
        tmp_path,
        within(BUNDLE, bundle("1", "2")),
        within(BUNDLE, bundle("1")),
        [file(BUNDLE, bundle("1", "own"))],
    )
    assert told(passes(moved, "--force")) == []


EDITOR = "etc/alternatives/editor"


def chosen(target: str) -> list[Member]:
    """An alternative, with the directories that lead to it."""
    return [directory("etc"), directory("etc/alternatives"), symlink(EDITOR, target)]


def test_alternatives_that_were_chosen_among_others(tmp_path: Path) -> None:
    """The layer's choice stands where both bases had one, and not the same."""
    moved = place(tmp_path, chosen("/bin/vi"), chosen("/bin/nano"), [symlink(EDITOR, "/bin/emacs")])
    result = passes(moved)
    assert told(result) == [("cache", "warning", EDITOR)]
    (risk,) = result.json["risks"]
    assert (risk["old"], risk["new"]) == ("/bin/vi", "/bin/nano")


@pytest.mark.parametrize(
    ("old", "new", "own"), [("vi", "vi", "emacs"), ("vi", "nano", "nano"), (None, "nano", "emacs")]
)
def test_alternatives_that_are_right(old: str | None, new: str, own: str, tmp_path: Path) -> None:
    """The bases agree, the layer has the new base's choice, or the old base had none."""
    before = chosen(old) if old else [directory("etc"), directory("etc/alternatives")]
    moved = place(tmp_path, before, chosen(new), [symlink(EDITOR, own)])
    assert told(passes(moved)) == []


# --- what stops, and what is said ------------------------------------------------------------

BOTH = (
    [*LIB, *HOME], [*MERGED, NOTHING],
    [directory("lib"), file("lib/own", b"own"), file("srv/data/new", b"new")],
)  # fmt: skip


def test_errors_are_let_through_kind_by_kind(tmp_path: Path) -> None:
    """Each needs its own permission; without strictness none is needed."""
    moved = place(tmp_path, *BOTH)
    stops(moved, "parent", "type")
    for kind, other in (("type", "parent"), ("parent", "type")):
        result = moved.run("--allow", kind)
        assert result.code == 3
        assert f"--allow {other}" in result.err and f"--allow {kind}" not in result.err
        assert {r["kind"]: r["stops"] for r in result.json["risks"]} == {kind: False, other: True}
    passes(moved, "--allow", "type", "--allow", "parent")
    result = passes(moved, "--no-strict", "--force")
    assert {risk["severity"] for risk in result.json["risks"]} == {"error"}
    assert not any(risk["stops"] for risk in result.json["risks"])


def test_to_allow_all_and_some_is_one_too_many(tmp_path: Path) -> None:
    """A usage error, before anything is read."""
    moved = place(tmp_path, *BOTH)
    assert_fails(moved.run("--no-strict", "--allow", "type"), 2, "--no-strict allows everything")


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_only_what_can_stop_may_be_allowed(kind: str, tmp_path: Path) -> None:
    """There is nothing to allow where nothing stops."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")])
    assert moved.run("--allow", kind).code == (0 if kind in ("platform", "type", "parent") else 2)


def test_warnings_stop_nothing(tmp_path: Path) -> None:
    """They are told on the way."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")])
    result = run("rebase", *moved.arguments, "-o", moved.out)
    assert result.code == 0
    assert "At risk (1 warning), what the layers go by -> what the new base has:\n" in result.text
    assert "content   /f: 1 byte -> 1 other byte (in layer 1, the 1st above the base)\n" in result.text


def test_a_layer_is_named_by_its_number_and_its_place(tmp_path: Path) -> None:
    """In the image as it was, and above either base."""
    above = [[file(f"f{number:02}", b"c")] for number in range(23)]
    names = [f"f{number:02}" for number in range(23)]
    moved = place(tmp_path, *([file(name, text) for name in names] for text in (b"a", b"b")), *above)
    text = run("rebase", *moved.arguments, "-n", "-v").text
    for number, place_ in ((2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (23, "23rd")):
        assert f"(in layer {number}, the {place_} above the base)" in text


def test_bases_of_one_name_are_told_apart(tmp_path: Path) -> None:
    """By the digests of their configs, and when they were made."""
    moved = place(
        tmp_path, [file("f", b"a")], [file("f", b"b")], [file("x")],
        old_config={"created": "2018-05-01T12:00:00Z"}, new_config={"created": "2026-11-26T12:00:00Z"},
    )  # fmt: skip
    result = run("rebase", *moved.arguments, "-n")
    bases = {"Old": (moved.old, "2018-05-01"), "New": (moved.new, "2026-11-26")}
    for name, (image, made) in bases.items():
        which = f"({digest(config_of(image))[:19]}, made {made})"
        assert re.search(rf"(?m)^{name} base: .*{re.escape(which)}$", result.text)
    report = moved.run("-n").json
    assert report["old_base"]["image_id"] == digest(config_of(moved.old))
    assert report["new_base"]["image_id"] == digest(config_of(moved.new))


def test_an_error_lists_no_more_than_twenty(tmp_path: Path) -> None:
    """The others are counted; JSON has them all."""
    names = [f"d{number:02}" for number in range(23)]
    moved = place(tmp_path, [directory(name) for name in names], [file(name) for name in names],
                  [file(f"{name}/x") for name in names])  # fmt: skip
    result = stops(moved, "type")
    assert "/d19: " in result.err and "/d20: " not in result.err
    assert "\n  and 3 more (--json lists them)\n" in result.err
    assert len(result.json["risks"]) == 23


def test_an_old_output_survives_a_conflict(tmp_path: Path) -> None:
    """Even one that was to be replaced; a digest file is not written."""
    moved = place(tmp_path, *BOTH)
    moved.out.write_bytes(b"old")
    assert moved.run("--force", "--digest-file", str(tmp_path / "digest")).code == 3
    assert moved.out.read_bytes() == b"old"
    assert not (tmp_path / "digest").exists()


def test_a_report_is_written_of_a_conflict(tmp_path: Path) -> None:
    """It is what `--json` prints, so that a pipeline knows why."""
    moved = place(tmp_path, *BOTH)
    report = tmp_path / "report.json"
    result = moved.run("--report", str(report))
    assert result.code == 3
    assert json.loads(report.read_bytes()) == result.json
    report.unlink()
    assert run("rebase", *moved.arguments, "-o", moved.out, "-q", "--report", report).out == b""
    assert json.loads(report.read_bytes()) == result.json
    assert result.json["output"] is None and result.json["image_id"]["after"] is None
    assert result.json["result_layers"] == []


def test_a_pipe_gets_no_byte_of_a_conflict(tmp_path: Path) -> None:
    """What comes after it in a pipeline sees nothing."""
    place(tmp_path, *BOTH)
    words = ("--old-base", "old:1", "--new-base", tmp_path / "new.tar", "-t", "x:1")
    result = run_process("rebase", *words, stdin=(tmp_path / "app.tar").read_bytes())
    assert (result.code, result.out) == (3, b"")


def test_a_pipe_gets_the_image(tmp_path: Path) -> None:
    """From standard input to standard output, as other commands do it; the summary goes elsewhere."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")], [whiteout("f")])
    words = ("--old-base", "old:1", "--new-base", tmp_path / "new.tar", "-t", "x:1")
    result = run_process("rebase", *words, stdin=(tmp_path / "app.tar").read_bytes())
    assert result.code == 0, result.err
    (image,) = validate(result.out)
    assert list(image.layers) == [*moved.new.layers, *moved.app.layers[1:]]
    assert "New base: 1 layer, new:1" in result.err


@pytest.mark.parametrize("fits", [True, False])
def test_a_dry_run_tells_and_writes_nothing(fits: bool, tmp_path: Path) -> None:
    """With all that would be told, and the exit code that there would be."""
    moved = (
        place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")])
        if fits
        else place(tmp_path, *BOTH)
    )
    before = sorted(tmp_path.iterdir())
    dry = moved.run("--dry-run")
    assert sorted(tmp_path.iterdir()) == before
    real = moved.run()
    assert dry.code == real.code == (0 if fits else 3)
    if fits:
        assert dry.json["dry_run"] and not real.json["dry_run"]
        assert dry.json["output"] is None
        assert dry.json["changed"] is True
    for name in (
        "risks",
        "copied_up",
        "config",
        "remade_layers",
        "old_base",
        "new_base",
        "layers",
        "platform",
    ):
        assert dry.json[name] == real.json[name]


FIELDS = (
    "source output dry_run checked changed tags platform old_base new_base image_id manifest_digest layers"
    " remade_layers risks copied_up config stored_bytes result_layers transfer notes"
)


def test_the_report_in_json(tmp_path: Path) -> None:
    """Every field, with what was read, what was written and what was found."""
    moved = place(
        tmp_path,
        [*HOME, file("f", b"a")],
        [file("f", b"b")],
        [file("f", b"c"), whiteout("srv/data/old")],
        [file("g")],
        old_config={"config": {"Env": ["A=1"], "Cmd": ["x"]}},
        new_config={"config": {"Env": ["A=2"], "Cmd": ["x"]}},
        app_config={"config": {"Env": ["A=1"], "Cmd": ["y"]}},
    )  # fmt: skip
    report = moved.run("--check").json
    assert report.keys() == set(FIELDS.split())
    image = read_image(moved.out)
    assert report["source"] == str(tmp_path / "app.tar") and report["output"] == str(moved.out)
    assert (report["dry_run"], report["checked"], report["changed"]) == (False, True, True)
    assert report["tags"] == ["app:2"] and report["platform"] == "linux/amd64"
    assert (report["old_base"]["layers"], report["old_base"]["name"]) == (1, "old:1")
    assert (report["new_base"]["layers"], report["new_base"]["name"]) == (1, "new:1")
    assert report["image_id"]["after"] == image.image_id != report["image_id"]["before"]
    assert report["layers"] == {"before": 3, "after": 3}
    assert report["remade_layers"] == [0]
    assert report["config"] == [{"field": "Env.A", "before": "1", "after": "2"}]
    assert report["copied_up"] == [{"path": "f", "layer": 0, "same_content": False, "changed_below": True}]
    (risk,) = report["risks"]
    assert risk.keys() == {"kind", "severity", "stops", "path", "old", "new", "layer", "effect"}
    assert report["stored_bytes"] == sum(map(len, image.blobs))
    assert [one["diff_id"] for one in report["result_layers"]] == image.config["rootfs"]["diff_ids"]
    assert report["transfer"] is None


def test_the_table_of_settings(tmp_path: Path) -> None:
    """A person sees what follows the new base, before and after."""
    moved = place(
        tmp_path,
        [file("a")],
        [file("b")],
        [file("x")],
        old_config={"config": {"Env": ["PATH=/bin"], "User": "1"}},
        new_config={"config": {"Env": ["PATH=/sbin"]}},
        app_config={"config": {"Env": ["PATH=/x:/bin"], "User": "1"}},
    )  # fmt: skip
    result = run("rebase", *moved.arguments, "-n")
    lines = [line.split() for line in result.text.splitlines()]
    assert ["Env.PATH", "/x:/bin", "/x:/sbin"] in lines
    assert ["User", "1", "(not", "set)"] in lines
    kept = run("rebase", *moved.arguments, "-n", "--config", "keep")
    assert "Env.PATH" not in kept.text


def test_many_risks_are_listed_on_request(tmp_path: Path) -> None:
    """Eight and a count, or all with -v."""
    names = [f"f{number:02}" for number in range(11)]
    moved = place(tmp_path, *([file(name, text) for name in names] for text in (b"a", b"b", b"c")))
    result = run("rebase", *moved.arguments, "-n")
    assert "At risk (11 warnings)," in result.text and "and 3 more (-v lists them)" in result.text
    assert "/f10" not in result.text
    assert "/f10" in run("rebase", *moved.arguments, "-n", "-v").text


def test_nothing_at_risk_is_said(tmp_path: Path) -> None:
    """No news is told as such."""
    moved = place(tmp_path, [file("a")], [file("b")], [file("x")])
    assert (
        "Nothing in the layers above depends on what differs between the bases."
        in run("rebase", *moved.arguments, "-n").text
    )


def test_names_that_terminals_take_for_orders(tmp_path: Path) -> None:
    """A path of a layer is shown with its control signs escaped."""
    name = b"a\x1b[31m\n\xff"
    moved = place(tmp_path, [file(name, b"a")], [file(name, b"b")], [file(name, b"c")])
    result = run("rebase", *moved.arguments, "-n")
    assert "\x1b" not in result.text and "a\\x1b[31m\\n\\xff" in result.text
    assert moved.run("-n").json["risks"][0]["path"] == "a\\x1b[31m\\n\\xff"


def test_merged_layers_are_told_of_alike(tmp_path: Path) -> None:
    """What is at risk does not depend on how the layers go over."""
    moved = place(
        tmp_path, [*HOME, file("f", b"a")], [file("f", b"b")], [file("f", b"c")], [whiteout("srv/data/old")]
    )
    apart, merged = moved.run(), moved.run("--squash", "--force", "--check")
    assert merged.code == 0, merged.err
    for name in ("risks", "copied_up", "config", "remade_layers"):
        assert merged.json[name] == apart.json[name]
    assert len(read_image(moved.out).layers) == merged.json["layers"]["after"] == 2
