"""rpm's databases as rpm and Berkeley DB write them: which versions they list, and whose the files are."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from squashkit.plan.packages.rpm import is_later_rpm, rpm_packages
from tests.compat.conftest import available
from tests.compat.services import Unavailable, run
from tests.support.builders import file
from tests.support.moves import NOTHING, passes, place, stops, within

SPEC = """\
Name: {name}
Version: {version}
Release: 1
Epoch: {epoch}
Summary: x
License: x
BuildArch: noarch
%description
x
%install
mkdir -p %{{buildroot}}/usr/bin
echo {version} > %{{buildroot}}/usr/bin/{name}
%files
/usr/bin/{name}
"""
SQLITE, HASH = "rpmdb.sqlite", "Packages"


def _database(folder: Path, packages: dict[str, str]) -> bytes:
    """rpm's own database of these packages, by rpm."""
    for tool in ("rpm", "rpmbuild", "db5.3_load"):
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed")
    folder.mkdir()
    root = folder / "root"
    for name, version in packages.items():
        epoch, _, rest = version.rpartition(":")
        (folder / "spec").write_text(SPEC.format(name=name, version=rest, epoch=epoch or 0))
        run(["rpmbuild", "--quiet", "--define", f"_topdir {folder}", "-bb", folder / "spec"])
    built = list((folder / "RPMS").rglob("*.rpm"))
    place = ["--root", str(root), "--dbpath", "/db", "--define", "_db_backend sqlite"]
    run(["rpm", *place, "--nodeps", "-i", *map(str, built)])
    return (root / "db" / SQLITE).read_bytes()


def database(folder: Path, form: str, **packages: str) -> bytes:
    """A database of these packages in one of its forms."""
    data = available(lambda: _database(folder, packages))
    if form == SQLITE:
        return data
    with sqlite3.connect(folder / "root" / "db" / SQLITE) as connection:
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
