"""What a rebase may break in what files hold: package databases, accounts, caches, contents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.builders import (
    Attributes,
    ImageSpec,
    Member,
    directory,
    file,
    layer,
    oci_layout,
    on_base,
    symlink,
    to_text,
    whiteout,
)
from tests.support.moves import (
    NOTHING,
    STATUS,
    UNMERGED,
    Members,
    copied,
    dpkg,
    passes,
    passwd,
    place,
    stops,
    told,
    within,
)
from tests.support.runner import (
    run,
)

# --- package databases ----------------------------------------------------------------------


Versions = Callable[..., bytes]
"""Writes a list of packages and their versions."""


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
        result = passes(moved, *UNMERGED)
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
        assert told(passes(moved, *UNMERGED)) == []


def test_many_versions_are_counted(tmp_path: Path) -> None:
    """Three are shown."""
    names = [f"p{number:02}" for number in range(20)]
    old, new = (dpkg(**dict.fromkeys(names, version)) for version in ("1", "2"))
    moved = place(tmp_path, within(STATUS, old), within(STATUS, new), [file(STATUS, old + b"\n")])
    (risk,) = passes(moved, *UNMERGED).json["risks"]
    assert risk["new"] == "p00 2, p01 2, p02 2 and 17 more"


def test_packages_that_are_not_installed_do_not_count(tmp_path: Path) -> None:
    """dpkg remembers packages whose settings it keeps."""
    removed = dpkg(old="2").replace(b"install ok installed", b"deinstall ok config-files")
    moved = place(
        tmp_path, within(STATUS, dpkg(libc="1")), within(STATUS, dpkg(libc="1") + b"\n" + removed),
        [file(STATUS, dpkg(libc="1", app="1"))],
    )  # fmt: skip
    assert told(passes(moved, *UNMERGED)) == []


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
    (risk,) = (one for one in passes(moved, *UNMERGED).json["risks"] if one["kind"] != "parent")
    assert (risk["kind"], risk["severity"], risk["path"]) == ("packages", "warning", path)
    assert risk["new"] == f"one at /{other}"
    assert "what layers above installed is not listed in it" in risk["effect"]
    for old, new in ((within(path, b"old"), [NOTHING]), ([NOTHING], within(other, b"new"))):
        moved = place(tmp_path, old, new, within(path, b"app's"))
        assert not [one for one in told(passes(moved, "--force", *UNMERGED)) if one[0] == "packages"]


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


# --- contents -------------------------------------------------------------------------------


def test_a_chmod_hides_an_update(tmp_path: Path) -> None:
    """A layer that only changed the mode of a program has the old one's content: a tag of it would claim a
    patch that it has not."""
    moved = place(
        tmp_path,
        within("bin/su", b"bug"),
        within("bin/su", b"fix"),
        [],
        [file("bin/su", b"bug", mode=0o755)],
    )
    stops(moved, "content")
    result = passes(moved, "--allow", "content")
    assert told(result) == [("content", "error", "bin/su")]
    assert copied(result) == [("bin/su", 1, True, True)]
    (risk,) = result.json["risks"]
    assert risk["layer"] == 1
    assert "keeps the old base's content" in risk["effect"]
    assert (risk["old"], risk["new"]) == ("3 bytes", "3 other bytes")


BASE = [
    directory("usr"),
    directory("usr/bin"),
    directory("var"),
    directory("var/lib"),
    directory("var/lib/dpkg"),
]
INFO = "var/lib/dpkg/info"


def packaged(version: str, data: bytes, conf: bytes = b"a") -> Members:
    """A base with a package of a program and a conffile, as dpkg lists them; the program's folder is
    merged."""
    listed = b"/.\n/bin\n/bin/tool\n/etc\n/etc/tool.conf\n"
    status = dpkg(tool=version).replace(b"Description", b"Conffiles:\n /etc/tool.conf 0123\nDescription")
    return [
        *BASE,
        symlink("bin", "usr/bin"),
        file("usr/bin/tool", data),
        file("usr/bin/made", data),
        directory("etc"),
        file("etc/tool.conf", conf),
        file(STATUS, status),
        directory(INFO),
        file(f"{INFO}/tool.list", listed),
    ]


OLD_TOOL, NEW_TOOL = bytes(2000) + b"bug", bytes(2000) + b"fix"
TOOL = packaged("1", OLD_TOOL), packaged("2", NEW_TOOL, b"b")


@pytest.mark.parametrize(
    ("above", "severity", "package"),
    [
        (file("usr/bin/tool", OLD_TOOL, mode=0o700), "error", "tool"),
        (file("usr/bin/tool", OLD_TOOL), "error", "tool"),
        (file("usr/bin/tool", b"own"), "error", "tool"),
        (file("usr/bin/made", OLD_TOOL, mode=0o700), "warning", None),
        (file("etc/tool.conf", b"own"), "warning", "tool"),
        (file("etc/tool.conf", b"a", mode=0o600), "error", "tool"),
        (file("opt", OLD_TOOL), "warning", "tool"),
    ],
    ids=[
        "mode", "nothing", "content", "of no package", "conffile", "mode of a conffile", "copied elsewhere",
    ],
)  # fmt: skip
def test_what_a_package_lists_is_patched_with_it(
    above: Member, severity: str, package: str | None, tmp_path: Path
) -> None:
    """An old file of a package is an error, whatever was changed of it, but for a conffile of the image's
    own; what no package lists is a warning, and so is a copy in another place."""
    moved = place(tmp_path, *TOOL, [above])
    result = passes(moved, "--allow", "content")
    (risk,) = result.json["risks"]
    assert (risk["kind"], risk["severity"], risk["package"]) == ("content", severity, package)
    assert risk["path"] == to_text(above.name)


def test_what_dpkg_diverted_is_not_patched(tmp_path: Path) -> None:
    """The file lies under another name, and is the old one."""
    above = [
        whiteout("usr/bin/tool"),
        file("usr/bin/tool.distrib", OLD_TOOL),
        file("var/lib/dpkg/diversions", b"/usr/bin/tool\n/usr/bin/tool.distrib\n:\n"),
    ]
    moved = place(tmp_path, *TOOL, above)
    (risk,) = stops(moved, "content").json["risks"]
    assert (risk["path"], risk["package"]) == ("usr/bin/tool.distrib", "tool")
    assert risk["old"] == "a copy of /usr/bin/tool"
    assert "dpkg diverted it there" in risk["effect"]


def test_what_lies_where_dpkg_keeps_a_place_free(tmp_path: Path) -> None:
    """The image's own program in the place of a diverted one was not made from that."""
    above = [
        file("usr/bin/tool", b"own"),
        file("var/lib/dpkg/diversions", b"/usr/bin/tool\n/usr/bin/tool.distrib\n:\n"),
    ]
    assert told(passes(place(tmp_path, *TOOL, above))) == []


def test_a_short_file_that_was_diverted_is_not_patched(tmp_path: Path) -> None:
    """Its place is known, so nothing of this is chance."""
    above = [
        whiteout("usr/bin/tool"),
        file("usr/bin/tool.distrib", b"bug"),
        file("var/lib/dpkg/diversions", b"/usr/bin/tool\n/usr/bin/tool.distrib\n:\n"),
    ]
    moved = place(tmp_path, packaged("1", b"bug"), packaged("2", b"fix"), above)
    (risk,) = stops(moved, "content").json["risks"]
    assert risk["path"] == "usr/bin/tool.distrib"


def test_a_file_that_went_to_another_package(tmp_path: Path) -> None:
    """The image put another package in the place of the base's: its file is no copy of that one's."""
    above = [
        file(STATUS, dpkg(other="1")),
        whiteout(f"{INFO}/tool.list"),
        file(f"{INFO}/other.list", b"/bin/tool\n"),
        file("usr/bin/tool", b"other"),
    ]
    assert told(passes(place(tmp_path, *TOOL, above))) == []


def test_short_files_are_alike_by_chance(tmp_path: Path) -> None:
    """A copy is one of a thousand bytes and more."""
    moved = place(tmp_path, packaged("1", b"bug"), packaged("2", b"fix"), [file("opt", b"bug")])
    assert told(passes(moved)) == []


def test_a_package_of_a_source_that_the_new_base_has_newer(tmp_path: Path) -> None:
    """What the layers brought of it is not patched, and said so; what is as new as the base's is not."""

    def listed(**versions: str) -> bytes:
        return dpkg(**versions).replace(b"Package: lib", b"Source: tool\nPackage: lib")

    stale = [("stale", "warning", "")]
    for own, expected in (("1", stale), ("2", []), ("2~rc1", stale)):
        folder = tmp_path / own
        folder.mkdir()
        moved = place(
            folder,
            within(STATUS, dpkg(tool="1")),
            within(STATUS, dpkg(tool="2")),
            [file(STATUS, listed(tool="2", libtool=own, other="1"))],
        )
        result = passes(moved)
        assert told(result) == expected
        if expected:
            (risk,) = result.json["risks"]
            assert (risk["old"], risk["new"], risk["package"]) == (f"libtool {own}", "tool 2", "libtool")
            assert run("rebase", *moved.arguments, "-o", folder / "no", "--stop-on", "stale").code == 3


def test_many_files_of_a_package_are_told_as_one(tmp_path: Path) -> None:
    """In the summary and in the error; -v and JSON have each."""
    names = [f"lib/l{number:03}.so" for number in range(300)]
    old, new, above = (
        [directory("lib"), *(file(name, text + name.encode()) for name in names)]
        for text in (b"bug", b"fix", b"bug")
    )
    moved = place(tmp_path, old, new, above)
    result = stops(moved, "content")
    assert len(result.json["risks"]) == 300
    assert len(result.err.splitlines()) <= 6
    assert "content   300 files in /lib, /lib/l000.so among them (in layer 1, the 1st above" in result.err
    text = run("rebase", *moved.arguments, "--allow", "content", "--dry-run").text
    assert len(text.splitlines()) < 16
    assert len(run("rebase", *moved.arguments, "--allow", "content", "-n", "-v").text.splitlines()) > 600


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
    assert told(result) == []
    assert copied(result) == []


def test_the_last_of_several_copies_counts(tmp_path: Path) -> None:
    """The layer that is named is that of the content that is seen."""
    moved = place(tmp_path, [file("f", b"a")], [file("f", b"b")], [file("f", b"c")], [file("f", b"d")])
    (risk,) = passes(moved).json["risks"]
    assert risk["layer"] == 1


def test_contents_of_compressed_layers_are_compared(tmp_path: Path) -> None:
    """Equal sizes and times do not hide a difference, whatever stores the layers."""
    old, new = (
        ImageSpec([layer(file("f", text, mtime=5))], [name])
        for text, name in ((b"a", "old:1"), (b"b", "new:1"))
    )
    app = on_base(old, layer(file("f", b"a", mode=0o600, mtime=5)), tags=["app:1"])
    for how in ("gzip", "zstd"):
        oci_layout(tmp_path / how, [app, old, new], compress=how)
        where = f"oci:{tmp_path}/{how}"
        result = run(
            "rebase", f"{where}:app:1", "--old-base", "old:1", "--new-base", "new:1", "-n", "--json"
        )
        assert told(result) == [("content", "warning", "f")]


# --- accounts -------------------------------------------------------------------------------


PASSWD, GROUP = "etc/passwd", "etc/group"


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
    result = passes(moved, *UNMERGED)
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
        result = passes(moved, *UNMERGED, "--force")
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
    """Where the new base's list is seen, a system account that a file belongs to may mean another; that the
    same account has another number now is an error."""
    whose: Attributes = {"uid": owner} if path == PASSWD else {"gid": owner}
    own = file("own", b"x", **whose)
    moved = place(tmp_path, within(path, passwd(**old)), within(path, passwd(**new)), [own])
    is_error = expected is not None and new.get("a") != old.get("a")
    result = passes(moved, *(("--allow", "accounts") if is_error else ()))
    severity = "error" if is_error else "warning"
    assert told(result) == [("accounts", severity, "own")] * (expected is not None)
    names = {"id": "uid", "what": "user"} if path == PASSWD else {"id": "gid", "what": "group"}
    sides = [(risk["old"], risk["new"]) for risk in result.json["risks"]]
    assert sides == ([tuple(side.format(**names) for side in expected)] if expected else [])


# --- caches ---------------------------------------------------------------------------------


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
    result = passes(moved, *UNMERGED)
    assert told(result) == [("caches", "warning", CACHE)]
    (risk,) = result.json["risks"]
    assert risk["new"] == "libssl.so.3, libz.so.1"


def test_a_cache_that_lists_all_libraries(tmp_path: Path) -> None:
    """Whatever else it lists, and wherever they lie."""
    new = libraries("libc.so.6", "libz.so.1").replace(b"/lib/", b"/usr/lib/")
    own = file(CACHE, libraries("libz.so.1", "libc.so.6", "libapp.so.1"))
    assert (
        told(
            passes(
                place(tmp_path, within(CACHE, libraries("libc.so.6")), within(CACHE, new), [own]), *UNMERGED
            )
        )
        == []
    )
    same = libraries("libc.so.6")
    moved = place(tmp_path, within(CACHE, same), within(CACHE, same), [file(CACHE, libraries("libapp.so"))])
    assert told(passes(moved, *UNMERGED, "--force")) == []


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
        assert told(result) == [("caches", "warning", path)]
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
    assert told(result) == [("caches", "warning", EDITOR)]
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
