"""What ls, cat, which and export say of a real image, beside docker export, umoci and GNU tar."""

from __future__ import annotations

import hashlib
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.compat import images, services
from tests.compat.rootfs import ROOT, differences, snapshot
from tests.support.runner import run

DOCKERS_OWN = {"etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"}


def squashkit(*args: object) -> bytes:
    """Standard output of a command that must succeed."""
    result = run(*map(str, args))
    assert result.code == 0, result.err
    return result.out


@pytest.fixture(scope="module")
def nginx(nginx_archive: Path) -> str:
    """A reference to the real image."""
    return f"docker-archive:{nginx_archive}:{images.NGINX}"


@pytest.fixture(scope="module")
def exported(nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its root file system, as `export` writes it."""
    path = tmp_path_factory.mktemp("export") / "rootfs.tar"
    squashkit("export", nginx, "-o", path)
    return path


@pytest.fixture(scope="module")
def unpacked(umoci: services.Umoci, nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system that umoci makes of it."""
    folder = tmp_path_factory.mktemp("umoci")
    umoci.copy(nginx, f"oci:{folder}/layout:nginx")
    services.run(["umoci", "raw", "unpack", "--image", f"{folder}/layout:nginx", folder / "rootfs"])
    return folder / "rootfs"


def members(path: Path) -> dict[str, tuple[Any, ...]]:
    """What a tar of a root file system holds; a hard link counts as the file that it is."""
    found: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.removeprefix("./").strip("/")
            if member.islnk():
                found[name] = found[member.linkname.removeprefix("./")]
                continue
            content = archive.extractfile(member) if member.isreg() else None
            digest = hashlib.sha256(content.read()).hexdigest() if content else ""
            mtime = 0 if member.isdir() else int(member.mtime)
            owner, mode = (member.uid, member.gid), member.mode & 0o7777
            found[name] = (member.type, mode, owner, mtime, member.linkname, digest)
    return found


def test_export_is_what_docker_exports(
    docker: services.Docker, nginx_archive: Path, exported: Path, tmp_path: Path
) -> None:
    """Entry by entry, but for what docker puts into every container."""
    docker.run("load", "--quiet", "--input", nginx_archive)
    container = docker.run("create", images.NGINX, "x").strip()
    docker.run("export", "--output", tmp_path / "docker.tar", container)
    docker.run("rm", container)
    ours, theirs = members(exported), members(tmp_path / "docker.tar")

    def counts(name: str) -> bool:
        top = name.partition("/")[0]
        return name not in ("", ".") and name not in DOCKERS_OWN and top not in ("dev", "proc", "sys")

    assert {n: v for n, v in ours.items() if counts(n)} == {n: v for n, v in theirs.items() if counts(n)}
    assert len(ours) > 9000


def test_export_is_what_umoci_unpacks(exported: Path, unpacked: Path, tmp_path: Path) -> None:
    """Unpacked by GNU tar, it is umoci's root file system, extended attributes and hard links included."""
    target = tmp_path / "rootfs"
    target.mkdir()
    options = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "--same-permissions"]
    services.run(["tar", "-x", *options, "-C", target, "-f", exported])
    ours, theirs = snapshot(target), snapshot(unpacked)
    del ours[ROOT], theirs[ROOT]
    assert list(differences(ours, theirs)) == []


def test_ls_lists_what_tar_lists(nginx: str, exported: Path) -> None:
    """Names, modes, owners and sizes are those that `tar -tv` prints."""
    lines = services.run(["tar", "-tv", "--numeric-owner", "-f", exported]).splitlines()
    theirs = {}
    for line in lines:
        mode, owner, size, _, _, name = line.split(None, 5)
        name = name.partition(" -> ")[0].partition(" link to ")[0].removeprefix("./").rstrip("/")
        if name and mode[0] not in "hbc":
            theirs["/" + name] = (mode, owner.replace("/", ":"), size)
    listed = squashkit("ls", nginx, "-R", "-l").decode().splitlines()[1:]
    ours = {}
    for line in listed:
        mode, _, owner, size, rest = line.split(None, 4)
        path = rest.split(None, 2)[2].partition(" -> ")[0]
        ours[path] = (mode.rstrip("+"), owner, size)
        if mode[0] in "bc":  # major, minor
            ours[rest.split(None, 3)[3]] = ours.pop(path)
    assert {path: ours[path] for path in theirs} == theirs
    names = {"/" + line.removeprefix("./").rstrip("/") for line in
             services.run(["tar", "-tf", exported]).splitlines()} - {"/"}  # fmt: skip
    assert ours.keys() == names


def test_ls_lists_the_layer_that_tar_lists(nginx: str, tmp_path: Path) -> None:
    """`ls --layer --whiteouts` lists the members of that layer's own tar."""
    for index in (0, 1, 3):
        squashkit("export", nginx, "--layer", index, "-o", tmp_path / f"{index}.tar")
        theirs = services.run(["tar", "-tf", tmp_path / f"{index}.tar"]).splitlines()
        listed = json.loads(squashkit("ls", nginx, "--layer", index, "--whiteouts", "--json"))
        ours = {entry["path"] for entry in listed}
        assert ours == {"/" + name.removeprefix("./").rstrip("/") for name in theirs}


def test_cat_prints_what_umoci_unpacks(nginx: str, unpacked: Path) -> None:
    """Twenty files of the image, byte for byte."""
    files = sorted(path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink())
    for path in random.Random(7).sample(files, 20):
        assert squashkit("cat", nginx, f"/{path.relative_to(unpacked)}") == path.read_bytes(), path


def test_which_names_the_layers_that_tar_finds_it_in(nginx: str, tmp_path: Path) -> None:
    """For twenty paths: the layers whose tar has it; of these one at most is shown."""
    names: dict[str, list[int]] = {}
    for index in range(6):
        squashkit("export", nginx, "--layer", index, "-o", tmp_path / "layer.tar", "--force")
        for name in services.run(["tar", "-tf", tmp_path / "layer.tar"]).splitlines():
            names.setdefault(name.removeprefix("./").rstrip("/"), []).append(index)
    plain = sorted(name for name in names if name and ".wh." not in name and "\\" not in name)
    several = [name for name in plain if len(names[name]) > 1]
    chosen = random.Random(5)
    for name in [*chosen.sample(plain, 12), *chosen.sample(several, 8), "big"]:
        report = json.loads(squashkit("which", nginx, f"/{name}", "--json"))
        held = [one["layer"] for one in report["layers"] if one["entry"] and one["name"] == f"/{name}"]
        assert held == names[name], name
        assert sum(one["shown"] for one in report["layers"]) <= 1


def test_the_real_image_is_good_and_its_waste_is_told(nginx: str) -> None:
    """verify finds no fault, inspect the base and the dead bytes, --absent the deleted package lists."""
    verdict = json.loads(squashkit("verify", nginx, "--json"))
    assert verdict["faults"] == []
    report = json.loads(squashkit("inspect", nginx, "--verify", "--json"))
    assert report["base"]["name"] == images.BASE
    assert report["layers"][4]["dead"]["bytes"] == 100 << 20
    found = run("verify", nginx, "--absent", "*.deb", "--json")
    assert found.code == 3
    places = {(one["where"][:7], one["what"].split()[0]) for one in found.json["absent"]["*.deb"]}
    assert places == {("layer 1", "file,"), ("layer 2", "a")}  # the files, and the whiteouts that hide them


def test_the_squashed_image_is_checked_the_same_and_clean(nginx: str, tmp_path: Path) -> None:
    """Squashed with --check it is the source for diff, has no fault, and the package files are nowhere."""
    output = tmp_path / "squashed.tar"
    squashkit("squash", nginx, "--keep-base", images.BASE, "-t", images.SQUASHED, "-o", output, "--check")
    assert json.loads(squashkit("diff", nginx, output, "--json"))["same"]
    squashkit("verify", output, "--absent", "*.deb")
