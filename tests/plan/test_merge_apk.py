"""What a rebase merges of apk's database, by what the result holds; fixtures are in the form that apk-tools
writes."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from squashkit.plan.packages.apk import is_later_apk
from tests.support.builders import Member, directory, file, whiteout
from tests.support.model import apply_layers
from tests.support.moves import Place, passes, place, stops, within
from tests.support.runner import read_image

FOLDER = "lib/apk/db"


def package(name: str, version: str, *files: str, needs: str = "", gives: str = "") -> str:
    """A paragraph of apk's database; a file of it is `folder/name`."""
    lines = [f"C:Q1{name}{version}=", f"P:{name}", f"V:{version}", "A:x86_64", "S:1", "I:2", f"T:{name}"]
    lines += [f"D:{needs}"] * bool(needs) + [f"p:{gives}"] * bool(gives)
    for path in files:
        folder, _, last = path.rpartition("/")
        lines += [f"F:{folder}", f"R:{last}", "a:0:0:755", "Z:Q1x="]
    return "\n".join(lines) + "\n"


def database(*packages: str) -> bytes:
    """apk's `installed`."""
    return "".join(one + "\n" for one in packages).encode()


def scripts(*packages: tuple[str, str]) -> bytes:
    """apk's archive of scripts, one a package."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, version in packages:
            member = tarfile.TarInfo(f"{name}-{version}.Q1{name}{version}=.post-install")
            member.size = len(version)
            archive.addfile(member, io.BytesIO(version.encode()))
    return out.getvalue()


def found(moved: Place) -> dict[str, bytes]:
    """What the result's files hold."""
    tree = apply_layers(read_image(moved.out).layers)
    return {path.decode(): node.content for path, node in tree.nodes.items() if node.kind == "file"}


MUSL1, MUSL2 = (package("musl", version, "lib/musl", gives=f"so:musl={version}") for version in ("1", "2"))
APP = package("app", "1-r0", "usr/bin/app", needs="so:musl")


@pytest.mark.parametrize(
    ("old", "app", "new", "expected"),
    [
        ([MUSL1], [MUSL1, APP], [MUSL2], [MUSL2, APP]),
        ([MUSL1], [MUSL2, APP], [MUSL1], [MUSL2, APP]),
        ([MUSL1, APP], [MUSL1], [MUSL2, APP], [MUSL2]),
        ([MUSL1], [MUSL1, APP], [MUSL2, package("ssl", "3")], [MUSL2, package("ssl", "3"), APP]),
        ([MUSL1, package("ssl", "3")], [MUSL1, package("ssl", "3"), APP], [MUSL2], [MUSL2, APP]),
    ],
    ids=["new base's", "image's", "removed", "added", "dropped"],
)
def test_of_each_package_the_paragraph_of_the_side_that_changed_it(
    old: list[str], app: list[str], new: list[str], expected: list[str], tmp_path: Path
) -> None:
    """As their side has them, byte for byte."""
    path = f"{FOLDER}/installed"
    moved = place(
        tmp_path, within(path, database(*old)), within(path, database(*new)), [file(path, database(*app))]
    )
    assert passes(moved).json["risks"] == []
    assert found(moved)[path] == database(*expected)


def whole(
    folder: str, version: str, world: str, *more: tuple[str, str], packed: bool = False
) -> list[Member]:
    """A base with musl in this version, its script and its trigger; the scripts in gzip, if `packed`."""
    packages = [("musl", version), *more]
    return [
        *within(f"{folder}/installed", database(*(package(*one, f"lib/{one[0]}") for one in packages))),
        file(f"{folder}/scripts.tar.gz", gzip.compress(scripts(*packages)))
        if packed
        else file(f"{folder}/scripts.tar", scripts(*packages)),
        file(f"{folder}/triggers", "".join(f"Q1{n}{v}= /usr/{n}\n" for n, v in packages).encode()),
        file(f"lib/musl{version}", version.encode()),
        *within("etc/apk/world", world.encode()),
    ]


@pytest.mark.parametrize("folder", [FOLDER, "usr/lib/apk/db"])
def test_scripts_triggers_and_what_was_asked_for(folder: str, tmp_path: Path) -> None:
    """Each is its package's; where apk 3 has moved its database, the result's lies there, and the old place
    is empty."""
    more = [
        one
        for one in whole(FOLDER, "1", "app\nmusl\n", ("app", "5"))
        if one.name.startswith((b"lib/apk", b"etc/apk"))
    ]
    moved = place(tmp_path, whole(FOLDER, "1", "musl\n"), whole(folder, "2", "musl\nssl\n"), more)
    words = () if folder == FOLDER else ("--allow", "parent")
    passes(moved, *words)
    files = found(moved)
    assert b"P:app" in files[f"{folder}/installed"]
    assert b"V:1\n" not in files[f"{folder}/installed"]
    with tarfile.open(fileobj=io.BytesIO(files[f"{folder}/scripts.tar"])) as archive:
        names = archive.getnames()
    assert names == ["musl-2.Q1musl2=.post-install", "app-5.Q1app5=.post-install"]
    assert files[f"{folder}/triggers"] == b"Q1musl2= /usr/musl\nQ1app5= /usr/app\n"
    assert files["etc/apk/world"] == b"app\nmusl\nssl\n"
    if folder != FOLDER:
        assert not [path for path in files if path.startswith(f"{FOLDER}/")]


@pytest.mark.parametrize(("ours", "theirs"), [(True, True), (True, False), (False, True)])
def test_scripts_in_gzip(ours: bool, theirs: bool, tmp_path: Path) -> None:
    """As apk 3 has them: the result's form is that of the new base, and there is one archive."""
    old = whole(FOLDER, "1", "", packed=ours)
    app = [
        one for one in whole(FOLDER, "1", "", ("app", "5"), packed=ours) if one.name.startswith(b"lib/apk")
    ]
    moved = place(tmp_path, old, whole(FOLDER, "2", "", packed=theirs), app)
    passes(moved)
    files = found(moved)
    there = [name for name in files if "scripts" in name]
    assert there == [f"{FOLDER}/scripts.tar" + ".gz" * theirs]
    with tarfile.open(fileobj=io.BytesIO(files[there[0]])) as archive:
        names = archive.getnames()
    assert names == ["musl-2.Q1musl2=.post-install", "app-5.Q1app5=.post-install"]
    assert gzip.decompress(files[there[0]]) if theirs else True


@pytest.mark.parametrize(
    "data",
    [b"", b"no", gzip.compress(b"no" * 512), gzip.compress(b"x")[:-9]],
    ids=["empty", "no gzip", "no tar", "cut"],
)
def test_scripts_in_gzip_that_are_none(data: bytes, tmp_path: Path) -> None:
    """They stay as they are, and are told; an empty file holds none."""
    own = [file(f"{FOLDER}/installed", database(package("musl", "1"), APP))]
    bases = [whole(FOLDER, version, "", packed=True) for version in "12"]
    moved = place(tmp_path, *bases, [*own, file(f"{FOLDER}/scripts.tar.gz", data)])
    told = [risk["path"] for risk in passes(moved).json["risks"]]
    assert told == [f"{FOLDER}/scripts.tar.gz"] * bool(data)


def test_a_lower_version_and_a_broken_dependency(tmp_path: Path) -> None:
    """Both are errors with both versions; apk's versions are compared as apk does."""
    path = f"{FOLDER}/installed"
    moved = place(
        tmp_path,
        within(path, database(package("ssl", "3.1.2-r0"))),
        within(path, database(package("ssl", "3.1.10-r0"))),
        [file(path, database(package("ssl", "3.1.4-r0")))],
    )
    (risk,) = stops(moved, "packages").json["risks"]
    assert (risk["old"], risk["new"]) == ("ssl 3.1.4-r0", "ssl 3.1.10-r0")
    own = package("app", "1-r0", needs="musl=1")
    moved = place(
        tmp_path,
        within(path, database(MUSL1)),
        within(path, database(MUSL2)),
        [file(path, database(MUSL1, own))],
    )
    (risk,) = stops(moved, "depends").json["risks"]
    assert risk["old"] == "app 1-r0 needs musl=1"


def test_files_of_what_was_removed(tmp_path: Path) -> None:
    """The new base's file of a package that the image removed is hidden; what another package has stays."""
    path = f"{FOLDER}/installed"
    old = [
        *within(path, database(MUSL1, package("ed", "1", "bin/ed"))),
        directory("bin"),
        file("bin/ed", b"1"),
    ]
    new_files = ("bin/ed", "bin/more", "bin/shared")
    new = [
        *within(path, database(package("box", "1", "bin/shared"), MUSL2, package("ed", "2", *new_files))),
        directory("bin"),
        *(file(name, b"2") for name in new_files),
    ]
    moved = place(tmp_path, old, new, [file(path, database(MUSL1)), whiteout("bin/ed")])
    passes(moved)
    assert [name for name in found(moved) if name.startswith("bin/")] == ["bin/shared"]


def test_a_pin_that_the_new_base_does_not_meet(tmp_path: Path) -> None:
    """What was asked for is checked as what a package needs is."""
    old, new = (
        [*within(f"{FOLDER}/installed", database(one)), *within("etc/apk/world", b"musl\n")]
        for one in (MUSL1, MUSL2)
    )
    moved = place(
        tmp_path,
        old,
        new,
        [file(f"{FOLDER}/installed", database(MUSL1, APP)), file("etc/apk/world", b"musl=1\n")],
    )
    (risk,) = stops(moved, "depends").json["risks"]
    assert risk["old"] == "world needs musl=1"


@pytest.mark.parametrize("own", [b"", b"garbage", b"P:x\r\nV:1\r\n\r\n"], ids=["empty", "garbage", "crlf"])
def test_a_list_that_was_cut_removes_nothing(own: bytes, tmp_path: Path) -> None:
    """The files are there still; a list in another form stays, and is told."""
    path = f"{FOLDER}/installed"
    old = [*within(path, database(MUSL1)), file("lib/musl", b"1")]
    new = [*within(path, database(package("musl", "2", "lib/musl", "lib/more"))), file("lib/musl", b"2")]
    moved = place(tmp_path, old, [*new, file("lib/more", b"2")], [file(path, own)])
    result = passes(moved)
    files = found(moved)
    assert (files["lib/musl"], files["lib/more"], files[path]) == (b"2", b"2", own)
    assert bool(result.json["risks"]) == bool(own)


def test_a_file_that_went_to_another_package(tmp_path: Path) -> None:
    """The image removed the one that had it; the new base's other one has it now."""
    path = f"{FOLDER}/installed"
    old = [
        *within(path, database(MUSL1, package("ed", "1", "bin/ed"))),
        directory("bin"),
        file("bin/ed", b"1"),
    ]
    new = [
        *within(path, database(MUSL2, package("box", "1", "bin/ed"))),
        directory("bin"),
        file("bin/ed", b"2"),
    ]
    moved = place(tmp_path, old, new, [file(path, database(MUSL1)), whiteout("bin/ed")])
    passes(moved)
    assert found(moved)["bin/ed"] == b"2"


def test_scripts_that_are_no_archive(tmp_path: Path) -> None:
    """They stay as they are, and are told."""
    no_archive = file(f"{FOLDER}/scripts.tar", b"no" * 512)
    moved = place(
        tmp_path, whole(FOLDER, "1", ""), whole(FOLDER, "2", ""),
        [file(f"{FOLDER}/installed", database(package("musl", "1"), APP)), no_archive],
    )  # fmt: skip
    (risk,) = passes(moved).json["risks"]
    assert risk["path"] == f"{FOLDER}/scripts.tar"


def test_a_later_version_is_no_old_content(tmp_path: Path) -> None:
    """The image upgraded a package past the new base: its file was not made from the old one."""
    path = f"{FOLDER}/installed"
    old, new = (
        [*within(path, database(package("ssl", version, "lib/ssl"))), file("lib/ssl", version.encode())]
        for version in ("1", "2")
    )
    above = [file(path, database(package("ssl", "3", "lib/ssl"))), file("lib/ssl", b"3")]
    assert passes(place(tmp_path, old, new, above)).json["risks"] == []


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        ("1.2.3-r1", "1.2.3-r0"),
        ("1.10", "1.9"),
        ("1.1", "1.01"),
        ("1.2.1", "1.2"),
        ("1.2", "1.2_rc1"),
        ("1.2_p1", "1.2"),
        ("1.2_rc2", "1.2_beta3"),
        ("1.2b", "1.2a"),
        ("10", "9.9"),
    ],
)
def test_versions_are_compared_as_apk_does(later: str, earlier: str) -> None:
    """By numbers, letters, suffixes and revisions."""
    assert is_later_apk(later.encode(), earlier.encode())
    assert not is_later_apk(earlier.encode(), later.encode())
