"""rpm's databases as rpm and Berkeley DB write them: which versions they list, and whose the files are."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest

from squashkit.plan.packages.rpm.forms import rpm_packages
from squashkit.plan.packages.rpm.header import Relation, RpmPackage, read_header
from squashkit.plan.packages.rpm.relations import is_later_rpm, rpm_unmet
from tests.compat.conftest import available
from tests.compat.services import Unavailable, run
from tests.support.builders import Member, directory, file, whiteout
from tests.support.model import apply_layers
from tests.support.moves import NOTHING, Place, passes, place, stops, within
from tests.support.runner import read_image
from tests.support.runner import run as squashkit

SPEC = """\
Name: {name}
Version: {version}
Release: 1
Epoch: {epoch}
Summary: x
License: x
BuildArch: noarch
{relations}
%description
x
%install
mkdir -p %{{buildroot}}/usr/bin %{{buildroot}}/etc %{{buildroot}}/usr/share/{program}
echo {version} > %{{buildroot}}/usr/bin/{program}
echo {setting} > %{{buildroot}}/etc/{program}.conf
for number in $(seq {files}); do echo {version} > %{{buildroot}}/usr/share/{program}/{version}-$number; done
%files
/usr/bin/{program}
/usr/share/{program}
%config(noreplace) /etc/{program}.conf
"""
SQLITE, HASH = "rpmdb.sqlite", "Packages"
DATABASE = "usr/lib/sysimage/rpm"


def build(
    folder: Path, name: str, version: str, relations: str = "", setting: int = 1, files: int = 1
) -> Path:
    """A package, by rpmbuild; of `several` any number can be there."""
    for tool in ("rpm", "rpmbuild", "db5.3_load"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed")
    epoch, _, rest = version.rpartition(":")
    program = name + rest * (name == "several")
    text = SPEC.format(
        name=name,
        program=program,
        version=rest,
        epoch=epoch or 0,
        relations=relations,
        setting=setting,
        files=files,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.spec").write_text(text)
    run(["rpmbuild", "--quiet", "--define", f"_topdir {folder}", "-bb", folder / f"{name}.spec"])
    return folder / "RPMS" / "noarch" / f"{name}-{rest}-1.noarch.rpm"


def rpm(root: Path, *words: str | Path) -> str:
    """What rpm says of a root file system, or does in it."""
    where: list[str | Path] = ["--root", root, "--dbpath", f"/{DATABASE}", "--define", "_db_backend sqlite"]
    return run(["rpm", *where, *words])


def _database(folder: Path, packages: dict[str, str]) -> bytes:
    """rpm's own database of these packages, by rpm."""
    built = [build(folder / "built", name, version) for name, version in packages.items()]
    rpm(folder / "root", "--nodeps", "-i", *built)
    return (folder / "root" / DATABASE / SQLITE).read_bytes()


def database(folder: Path, form: str, **packages: str) -> bytes:
    """A database of these packages in one of its forms."""
    data = available(lambda: _database(folder, packages))
    if form == SQLITE:
        return data
    with sqlite3.connect(folder / "root" / DATABASE / SQLITE) as connection:
        headers = [row[0] for row in connection.execute("SELECT blob FROM Packages")]
    lines = ["VERSION=3", "format=bytevalue", "type=hash", "HEADER=END", " 00000000", " 05000000"]
    for number, header in enumerate(headers, 1):
        lines += [f" {number.to_bytes(4, 'little').hex()}", f" {header.hex()}"]
    dump, path = folder / "dump", folder / HASH
    dump.write_text("\n".join([*lines, "DATA=END", ""]))
    run(["db5.3_load", "-f", dump, path])
    return path.read_bytes()


FORMS = [("var/lib/rpm", HASH), ("var/lib/rpm", SQLITE), ("usr/lib/sysimage/rpm", SQLITE)]


@pytest.mark.parametrize(("folder", "form"), FORMS)
def test_versions_that_the_layer_hides(folder: str, form: str, tmp_path: Path) -> None:
    """They are told by name, as dpkg's are; a file is its package's."""
    old, new, app = (
        database(tmp_path / name, form, **packages)
        for name, packages in (
            ("old", {"tool": "1", "same": "1"}),
            ("new", {"tool": "2", "same": "1"}),
            ("app", {"tool": "1", "same": "1", "app": "2:3"}),
        )
    )
    path = f"{folder}/{form}"
    bases = [
        [*within(path, data), *within("usr/bin/tool", text)]
        for data, text in ((old, b"1\n"), (new, b"2\n"))
    ]
    if folder.startswith("usr"):
        bases = [[one for one in base if one.name != b"usr" or base.index(one) == 0] for base in bases]
    moved = place(tmp_path, *bases, [file(path, app)])
    (risk,) = passes(moved).json["risks"]
    assert (risk["kind"], risk["old"], risk["new"]) == ("packages", "tool 1-1", "tool 2-1")
    moved = place(tmp_path, *bases, [file("usr/bin/tool", b"1\n", mode=0o700)])
    (risk,) = stops(moved, "content").json["risks"]
    assert risk["package"] == "tool"


def tree(root: Path) -> dict[str, bytes]:
    """The files of a root file system."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def members(files: dict[str, bytes]) -> list[Member]:
    """The same as members of a layer, with their folders."""
    folders = {str(folder) for path in files for folder in PurePosixPath(path).parents} - {"."}
    return [directory(one) for one in sorted(folders)] + [file(path, data) for path, data in files.items()]


def facts(root: Path) -> dict[str, str]:
    """What rpm says of a root file system: packages and their headers, whose each file is, what gives and
    needs a name, and what it finds wrong."""
    paths = sorted(f"/{path}" for path in tree(root) if not path.startswith(DATABASE))
    every = [
        "-qa",
        "--qf",
        "%{nevra} %{sigmd5} %{sha1header} [%{filenames}] [%{requires}] [%{provides}]\\n",
    ]
    return {
        "packages": "\n".join(sorted(rpm(root, *every).splitlines())),
        "owners": rpm(root, "-qf", *paths),
        "given": "\n".join(sorted(rpm(root, "-q", "--whatprovides", "base", "app", "tool").splitlines())),
        "needed": "\n".join(sorted(rpm(root, "-q", "--whatrequires", "base", "tool").splitlines())),
        "wrong": rpm(root, "-Va", "--nomtime"),
    }


@dataclass(frozen=True, slots=True)
class Roots:
    """Root file systems that rpm made: two bases, an image on the old one, and a rebuild on the new one."""

    old: Path
    new: Path
    app: Path
    rebuilt: Path

    def moved(self, folder: Path) -> Place:
        """The image and the bases, to be rebased."""
        old, new, app = (tree(root) for root in (self.old, self.new, self.app))
        own = {path: data for path, data in app.items() if old.get(path) != data}
        gone = [whiteout(path) for path in old if path not in app]
        folder.mkdir(exist_ok=True)
        return place(folder, members(old), members(new), [*members(own), *gone])


def _roots(folder: Path) -> Roots:
    old, new, app, rebuilt = (folder / name for name in ("old", "new", "app", "rebuilt"))
    for root, version in ((old, "1"), (new, "2")):
        place = folder / f"built{version}"
        setting, files = int(version), 700 * int(version)
        rpm(
            root,
            "-i",
            build(place, "base", version, files=files),
            build(place, "tool", version, setting=setting),
            build(place, "several", version),
            build(place, "gone", version),
            build(place, "same", "1"),
            *([build(place, "fresh", "1")] if version == "2" else []),
        )
    own = folder / "own"
    added = build(own, "app", "3", "Requires: base >= 1, tool", files=300), build(own, "several", "4")
    upgraded = build(own, "tool", "5")
    for base, root in ((old, app), (new, rebuilt)):
        shutil.copytree(base, root)
        rpm(root, "-i", *added)
        rpm(root, "-U", upgraded)
        rpm(root, "-e", "gone")
    return Roots(old, new, app, rebuilt)


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Roots:
    """A package that the image adds, one that it upgrades, one that it removes, and one of which it has two
    versions."""
    return available(lambda: _roots(tmp_path_factory.mktemp("roots")))


def unpacked(moved: Place, folder: Path) -> Path:
    """The files of a result."""
    for path, node in apply_layers(read_image(moved.out).layers).nodes.items():
        if node.kind == "file":
            target = folder / path.decode()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(node.content)
    return folder


def test_a_merge_is_what_a_rebuild_has(roots: Roots, tmp_path: Path) -> None:
    """By all that rpm says of both; the bytes are the same each time, and SQLite finds nothing wrong."""
    moved = roots.moved(tmp_path)
    assert passes(moved, "--merge", "rpm").json["risks"] == []
    first = moved.out.read_bytes()
    moved.out.unlink()
    passes(moved, "--merge", "rpm")
    assert moved.out.read_bytes() == first
    result = unpacked(moved, tmp_path / "result")
    found = facts(result)
    assert found == facts(roots.rebuilt)
    assert rpm(result, "-q", "several", "fresh").split() == [
        "several-2-1.noarch",
        "several-4-1.noarch",
        "fresh-1-1.noarch",
    ]
    with sqlite3.connect(result / DATABASE / SQLITE) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    rpm(result, "-e", "app")
    assert "app" not in rpm(result, "-qa").split("-")


def test_from_base_to_base_to_base(roots: Roots, tmp_path: Path) -> None:
    """The same layers as in one step."""
    first = roots.moved(tmp_path)
    passes(first, "--merge", "rpm")
    third = tmp_path / "third"
    shutil.copytree(roots.new, third)
    rpm(third, "-U", build(tmp_path / "built", "base", "2.5", files=9))
    direct = replace(roots, new=third).moved(tmp_path / "direct")
    passes(direct, "--merge", "rpm")
    words = ("--old-base", first.folder / "new.tar", "--new-base", direct.folder / "new.tar")
    out = tmp_path / "again.tar"
    again = squashkit("rebase", first.out, *words, "-t", "app:3", "-o", out, "--merge", "rpm")
    assert again.code == 0, again.err
    assert read_image(out).layers == read_image(direct.out).layers
    assert rpm(unpacked(direct, tmp_path / "result"), "-q", "base") == "base-2.5-1.noarch\n"


def test_what_stops_a_merge(tmp_path: Path) -> None:
    """A version of the image's that is lower than the new base's; and a package that needs, or must not
    have beside it, what the new base has now."""

    def made(name: str, app: str = "", **packages: str) -> bytes:
        folder = tmp_path / f"built-{name}"
        built = [build(folder, *one) for one in packages.items()]
        built += [build(folder, "app", "1", app)] if app else []
        rpm(tmp_path / name, "--nodeps", "-i", *built)
        return (tmp_path / name / DATABASE / SQLITE).read_bytes()

    app = "Requires: base < 2, missing, (this if that)\nConflicts: same > 1.5"
    old, new, own = available(
        lambda: [
            made("old", base="1", same="1", tool="1"),
            made("new", base="3", same="2", tool="3~rc1"),
            made("own", app, base="1", same="1", tool="2"),
        ]
    )
    path = f"{DATABASE}/{SQLITE}"
    moved = place(tmp_path, within(path, old), within(path, new), [file(path, own)])
    result = moved.run("--merge", "rpm")
    assert result.code == 3
    assert [(one["kind"], one["image"], one["new_base"]) for one in result.json["conflicts"]] == [
        ("packages", "tool 2-1", "tool 3~rc1-1"),
        ("depends", "app 1-1 needs base < 2", "not so"),
        ("depends", "app 1-1 conflicts with same > 1.5", "not so"),
    ]
    assert passes(moved, "--merge", "rpm", "--allow", "packages", "--allow", "depends").json["merged"]


@pytest.mark.parametrize(
    ("statement", "is_merged"),
    [
        ("UPDATE Name SET rowid = 9223372036854775807", True),
        ("UPDATE Packages SET hnum = 9223372036854775807", False),
        ("UPDATE Packages SET hnum = -1", False),
        ("CREATE TABLE more (rowid TEXT, key)", False),
        ("DROP TABLE Sigmd5", False),
    ],
)
def test_odd_databases(statement: str, is_merged: bool, tmp_path: Path) -> None:
    """One with numbers that none can follow, or with more or less than rpm's has, is left and told; what is
    written SQLite finds nothing wrong with."""
    old, new = (database(tmp_path / name, SQLITE, tool=name[-1]) for name in ("o1", "n2"))
    path = tmp_path / "odd"
    path.write_bytes(new[:18] + b"\x01\x01" + new[20:])
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    own = database(tmp_path / "own3", SQLITE, tool="1", added="3")
    place_ = f"{DATABASE}/{SQLITE}"
    moved = place(tmp_path, within(place_, old), within(place_, path.read_bytes()), [file(place_, own)])
    result = passes(moved, "--merge", "rpm")
    assert [one["path"] for one in result.json["merged"]] == [place_] * is_merged
    assert ("another form" in [risk["old"] for risk in result.json["risks"]]) is not is_merged
    if is_merged:
        out = unpacked(moved, tmp_path / "result") / place_
        with sqlite3.connect(out) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def header(**tags: tuple[int, int, list[object]]) -> bytes:
    """A header with these values, by their tags."""
    index, store = b"", b""
    for tag, kind, values in tags.values():
        index += struct.pack(">IIII", tag, kind, len(store), len(values))
        if kind == 4:
            store += b"".join(struct.pack(">I", value) for value in values)
        else:
            store += b"".join(bytes(value) + b"\0" for value in values)  # type: ignore[call-overload]
    return struct.pack(">II", len(index) // 16, len(store)) + index + store


def test_headers_that_grow_when_they_are_read() -> None:
    """A long folder before many names is no header, and is refused before it is put together."""
    many = 60_000
    blob = header(
        name=(1000, 6, [b"a"]),
        indexes=(1116, 4, [0] * many),
        bases=(1117, 8, [b"f"] * many),
        folders=(1118, 8, [b"d" * 200_000]),
    )
    with pytest.raises(ValueError, match="^$"):
        read_header(blob)


def test_relations_in_great_numbers() -> None:
    """What is given in more versions than any name has counts as met: nobody waits for all pairs."""
    given = [Relation(b"x", 8, b"%d" % number) for number in range(8000)]
    wanted = [Relation(b"x", 4, b"%d" % (number + 9000)) for number in range(8000)]
    package = RpmPackage(b"a", b"1-1", b"noarch", (), (), tuple(given), tuple(wanted), ())
    assert list(rpm_unmet([package])) == []
    few = replace(package, provides=tuple(given[:900]), requires=tuple(wanted[:2] * 1000))
    assert len(list(rpm_unmet([few]))) == 2


@pytest.mark.parametrize("waiting", [b"", b"changes"])
def test_a_database_that_moved(waiting: bytes, tmp_path: Path) -> None:
    """The result's is where the new base has it, and the old place is empty. With changes beside it that
    are not in it yet nothing is merged."""
    old, new, app = (
        database(tmp_path / name, SQLITE, **packages)
        for name, packages in (
            ("old", {"tool": "1"}),
            ("new", {"tool": "2"}),
            ("app", {"tool": "1", "app": "3"}),
        )
    )
    before, after = f"var/lib/rpm/{SQLITE}", f"{DATABASE}/{SQLITE}"
    moved = place(
        tmp_path,
        within(before, old),
        [*within(after, new), directory("var"), directory("var/lib"), directory("var/lib/rpm")],
        [file(before, app), file(f"{before}-wal", waiting), file(f"{before}-shm", bytes(9))],
    )
    result = passes(moved, "--merge", "rpm")
    found = unpacked(moved, tmp_path / "result")
    if waiting:
        assert "another form" in [risk["old"] for risk in result.json["risks"]]
        assert (found / after).read_bytes() == new
        return
    assert result.json["risks"] == []
    assert not (found / "var").exists()
    assert sorted(rpm(found, "-qa").split()) == ["app-3-1.noarch", "tool-2-1.noarch"]


@pytest.mark.parametrize(
    "data", [b"", b"RpmP" + bytes(4096), b"SQLite format 3\0" + bytes(4096), bytes(8192)]
)
def test_a_form_that_is_not_read(data: bytes, tmp_path: Path) -> None:
    """It is told as another database."""
    assert rpm_packages(data) is None
    path = f"var/lib/rpm/{SQLITE}"
    moved = place(tmp_path, within(path, b"old"), [*within(path, data), NOTHING], [file(path, b"own")])
    (risk,) = passes(moved).json["risks"]
    assert risk["old"] == "another database"


@pytest.mark.parametrize(
    ("later", "earlier"),
    [
        ("1:1-1", "9-9"),
        ("1.10-1", "1.9-1"),
        ("1-2", "1-1"),
        ("1.0-1", "1.0~rc1-1"),
        ("1.0^git1-1", "1.0-1"),
    ],
)
def test_versions_are_compared_as_rpm_does(later: str, earlier: str) -> None:
    """By epochs, runs of digits and letters, tildes and carets."""
    assert is_later_rpm(later.encode(), earlier.encode())
    assert not is_later_rpm(earlier.encode(), later.encode())
