"""`squashkit extract`: what comes along, what is missing, and what the result holds, on made images."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from squashkit import Extract, extract
from squashkit.plan.extract.needs import WITH, commands_in
from tests.support.builders import (
    ImageSpec,
    Member,
    directory,
    docker_archive_25,
    file,
    hardlink,
    layer,
    oci_layout,
    symlink,
    whiteout,
)
from tests.support.elf import AARCH64, NODEFLIB, elf
from tests.support.model import Node, apply_layers
from tests.support.runner import Json, assert_fails, read_images, run

LOADER = "/lib64/ld-linux-x86-64.so.2"
SYSTEM = b"/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0"
MULTIARCH = "usr/lib/x86_64-linux-gnu"
GLIBC: list[Member] = [
    *map(directory, ("usr", "usr/lib", "usr/lib64", MULTIARCH, "usr/bin", "etc")),
    symlink("lib", "usr/lib"),
    symlink("lib64", "usr/lib64"),
    symlink("bin", "usr/bin"),
    file(f"{MULTIARCH}/ld-linux-x86-64.so.2", elf(soname="ld-linux-x86-64.so.2", data=SYSTEM), mode=0o755),
    symlink("usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    file(f"{MULTIARCH}/libc.so.6", elf(soname="libc.so.6", names=["dlopen", "getpwnam"])),
]
"""A tree with usrmerge and the C library of Debian's kind."""
ALWAYS = {
    *("lib64", "usr", "usr/lib", "usr/lib64", MULTIARCH, f"{MULTIARCH}/ld-linux-x86-64.so.2"),
    *("usr/lib64/ld-linux-x86-64.so.2", f"{MULTIARCH}/libc.so.6"),
}
"""What each dynamic program of it brings."""


def program(*needed: str, **said: object) -> bytes:
    return elf(*needed, "libc.so.6", interpreter=LOADER, **said)  # type: ignore[arg-type]


def write(
    folder: Path, *members: Member, config: Json | None = None, tags: Sequence[str] = ("app:1",)
) -> str:
    """An archive with one image of a layer."""
    path = folder / f"{tags[0].replace(':', '-')}.tar"
    docker_archive_25(path, [ImageSpec([layer(*members)], list(tags), {"config": config or {}})])
    return str(path)


def take(image: str, *words: str) -> tuple[Json, dict[str, Node]]:
    """The report of an extraction, and what is in the one layer of its result, or the last."""
    output = Path(image).parent / "out.tar"
    done = run("extract", image, *words, "-t", "small:1", "-o", output, "--json", "--force")
    assert done.code == 0, done.err
    (result,) = read_images(output)
    return done.json, {path.decode(): node for path, node in apply_layers(result.layers).nodes.items()}


def files(nodes: dict[str, Node]) -> set[str]:
    return {path for path, node in nodes.items() if node.kind != "directory"}


# --- programs ---------------------------------------------------------------------------------


def test_a_static_program_comes_alone(tmp_path: Path) -> None:
    """With the directories above it, their attributes, its own, and the config of the image."""
    image = write(
        tmp_path,
        *GLIBC,
        directory("opt", mode=0o711, uid=7),
        file(
            "opt/app", elf(static=True), mode=0o4755, uid=3, mtime=5, records={"SCHILY.xattr.user.a": b"b"}
        ),
        config={"Entrypoint": ["/opt/app"], "Env": ["A=b"], "User": "1000"},
    )
    report, nodes = take(image, "/opt/app")
    assert set(nodes) == {"opt", "opt/app"}
    assert (nodes["opt"].mode, nodes["opt"].uid) == (0o711, 7)
    app = nodes["opt/app"]
    assert (app.mode, app.uid, int(app.mtime), dict(app.xattrs)) == (0o4755, 3, 5, {b"user.a": b"b"})
    (result,) = read_images(tmp_path / "out.tar")
    assert result.config["config"] == {"Entrypoint": ["/opt/app"], "Env": ["A=b"], "User": "1000"}
    assert [one["created_by"] for one in result.config["history"]] == ["squashkit extract /opt/app"]
    assert report["paths"] == [{"path": "opt/app", "bytes": len(app.content), "needed_by": "named"}]


def test_loader_libraries_and_the_symlinks_on_the_way(tmp_path: Path) -> None:
    """A chain of symlinks to a library comes whole, and what a library needs, too; nothing else."""
    image = write(
        tmp_path,
        *GLIBC,
        file(f"{MULTIARCH}/libone.so.1.2", elf("libtwo.so.2", soname="libone.so.1")),
        symlink(f"{MULTIARCH}/libone.so.1", "libone.so.1.2"),
        file(f"{MULTIARCH}/libtwo.so.2", elf(soname="libtwo.so.2")),
        file(f"{MULTIARCH}/libthree.so.3", elf()),
        file("usr/bin/app", program("libone.so.1")),
    )
    report, nodes = take(image, "/bin/app")
    own = {"libone.so.1.2", "libone.so.1", "libtwo.so.2"}
    assert set(nodes) == ALWAYS | {f"{MULTIARCH}/{name}" for name in own} | {
        "bin",
        "lib",
        "usr/bin",
        "usr/bin/app",
    }
    why = {one["path"]: one["needed_by"] for one in report["paths"]}
    assert why[f"{MULTIARCH}/libtwo.so.2"].endswith("libone.so.1")


SEARCHES = {
    "RUNPATH, and its $ORIGIN": (program("libx.so", runpath="$ORIGIN/../x:/nowhere"), "opt/x/libx.so"),
    "RPATH with braces": (program("libx.so", rpath="${ORIGIN}/../x"), "opt/x/libx.so"),
    "RUNPATH with $LIB": (program("libx.so", runpath="/opt/$LIB"), "opt/lib/x86_64-linux-gnu/libx.so"),
    "a path in NEEDED": (program("/opt/x/libx.so"), "opt/x/libx.so"),
    "the loader's own folders": (program("libx.so"), "usr/lib/libx.so"),
    "another processor is passed over": (program("libx.so", runpath="/opt/arm"), "usr/lib/libx.so"),
    "RUNPATH before ld.so.conf": (program("libx.so", runpath="/opt/x"), "opt/x/libx.so"),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_libraries_are_found_as_the_loader_finds_them(name: str, tmp_path: Path) -> None:
    """One library of a name is taken, the one that the loader would."""
    data, found = SEARCHES[name]
    image = write(
        tmp_path,
        *GLIBC,
        *map(directory, ("opt", "opt/x", "opt/arm", "opt/bin", "opt/lib", "opt/lib/x86_64-linux-gnu")),
        *(
            file(f"{folder}/libx.so", elf(soname="libx.so"))
            for folder in ("opt/x", "opt/lib/x86_64-linux-gnu", "usr/lib")
        ),
        file("opt/arm/libx.so", elf(machine=AARCH64)),
        file("opt/bin/app", data),
    )
    _, nodes = take(image, "/opt/bin/app")
    assert {path for path in nodes if path.endswith("libx.so")} == {found}


def test_the_rpath_of_a_program_serves_its_libraries_and_a_runpath_does_not(tmp_path: Path) -> None:
    """DT_RPATH is inherited, DT_RUNPATH is for what the file itself needs (ld.so(8))."""
    members = [
        *GLIBC,
        *map(directory, ("opt", "opt/x")),
        file("opt/x/liba.so", elf("libb.so", soname="liba.so")),
        file("opt/x/libb.so", elf(soname="libb.so")),
    ]
    image = write(tmp_path, *members, file("opt/app", program("liba.so", rpath="/opt/x")))
    assert "opt/x/libb.so" in take(image, "/opt/app")[1]
    image = write(tmp_path, *members, file("opt/app", program("liba.so", runpath="/opt/x")))
    failed = run("extract", image, "/opt/app", "-t", "x:1", "-o", tmp_path / "x.tar")
    assert_fails(failed, 3, "libb.so, which /opt/x/liba.so needs")
    assert not (tmp_path / "x.tar").exists()


def test_the_cache_of_the_loader_comes_where_it_alone_finds_a_library(tmp_path: Path) -> None:
    """A folder of ld.so.conf is known to the loader by ld.so.cache: that goes along, and without it the
    library is missing."""
    members = [
        *GLIBC,
        *map(directory, ("etc/ld.so.conf.d", "opt", "opt/x")),
        file("etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n"),
        file("etc/ld.so.conf.d/x.conf", b"# ours\n/opt/x\n"),
        file("opt/x/libx.so", elf(soname="libx.so")),
        file("opt/app", program("libx.so")),
        file("opt/plain", program()),
    ]
    cache = file("etc/ld.so.cache", b"cache")
    image = write(tmp_path, *members, cache)
    assert {"etc/ld.so.cache", "opt/x/libx.so"} <= files(take(image, "/opt/app")[1])
    assert "etc/ld.so.cache" not in take(image, "/opt/plain")[1]
    image = write(tmp_path, *members)
    assert_fails(run("extract", image, "/opt/app", "-n"), 3, "libx.so, which /opt/app needs")
    image = write(tmp_path, *members[:-2], cache, file("opt/app", program("libx.so", flags=NODEFLIB)))
    assert_fails(run("extract", image, "/opt/app", "-n"), 3, "libx.so, which /opt/app needs")


def test_what_the_loader_may_prefer_comes_too(tmp_path: Path) -> None:
    """A library made for newer processors beside the plain one, and what ld.so.preload names."""
    caps = f"{MULTIARCH}/glibc-hwcaps"
    image = write(
        tmp_path,
        *GLIBC,
        *map(directory, (caps, f"{caps}/x86-64-v3", "opt")),
        file(f"{MULTIARCH}/libx.so", elf(soname="libx.so")),
        file(f"{caps}/x86-64-v3/libx.so", elf(soname="libx.so")),
        file(f"{caps}/x86-64-v3/liby.so", elf(soname="liby.so")),
        file("etc/ld.so.preload", b"# a list\n/opt/libpre.so\n"),
        file("opt/libpre.so", elf("libx.so")),
        file("opt/app", program("libx.so")),
    )
    found = files(take(image, "/opt/app")[1])
    assert {f"{caps}/x86-64-v3/libx.so", "etc/ld.so.preload", "opt/libpre.so"} <= found
    assert f"{caps}/x86-64-v3/liby.so" not in found


def test_musl(tmp_path: Path) -> None:
    """musl's loader is the C library; its folders stand in a file of its own."""
    members = [
        *map(directory, ("lib", "usr", "usr/lib", "usr/local", "usr/local/lib", "opt", "opt/m", "etc")),
        file("lib/ld-musl-x86_64.so.1", elf(soname="libc.musl-x86_64.so.1"), mode=0o755),
        symlink("lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1"),
        file("usr/lib/liba.so", elf("libc.musl-x86_64.so.1")),
        file("opt/m/liba.so", elf("libc.musl-x86_64.so.1")),
        file("app", elf("liba.so", "libc.musl-x86_64.so.1", interpreter="/lib/ld-musl-x86_64.so.1")),
    ]
    image = write(tmp_path, *members)
    loader = {"lib/ld-musl-x86_64.so.1"}
    assert files(take(image, "/app")[1]) == {"app", "usr/lib/liba.so"} | loader
    image = write(tmp_path, *members, file("etc/ld-musl-x86_64.path", b"/opt/m\n/usr/lib"))
    assert files(take(image, "/app")[1]) == {"app", "opt/m/liba.so", "etc/ld-musl-x86_64.path"} | loader


def test_what_is_missing_stops_unless_it_may_be(tmp_path: Path) -> None:
    """A library, an interpreter, a named path: each is exit code 3 with who needs it, and nothing is
    written; --allow-missing lets those go that come from the host."""
    image = write(
        tmp_path,
        *GLIBC,
        file("gpu", program("libcuda.so.1")),
        file("script", b"#!/usr/bin/perl -w\n"),
        file("lost", elf(interpreter="/lib/ld-none.so")),
    )
    for path, words in {
        "/gpu": "libcuda.so.1, which /gpu needs",
        "/script": "/usr/bin/perl, which /script needs",
        "/lost": "/lib/ld-none.so, which /lost needs",
        "/nothing": "\n  /nothing",
    }.items():
        assert_fails(run("extract", image, path, "-o", tmp_path / "x.tar", "-t", "x:1"), 3, words)
    assert not (tmp_path / "x.tar").exists()
    report, nodes = take(image, "/gpu", "--allow-missing", "libcuda*")
    assert report["missing"] == ["libcuda.so.1"]
    assert "gpu" in nodes


def test_folders_and_what_their_symlinks_lead_to(tmp_path: Path) -> None:
    """A named folder comes whole, empty folders too; a symlink out of it brings what it leads to, one that
    dangles stays as it is, and what a plugin in it lacks is a warning."""
    image = write(
        tmp_path,
        *GLIBC,
        *map(directory, ("app", "app/empty", "data")),
        file("data/model", b"model"),
        file("data/other", b"other"),
        symlink("app/model", "../data/model"),
        symlink("app/gone", "/nowhere"),
        file("app/plugin.so", elf("libabsent.so")),
        hardlink("app/twin", "data/other"),
    )
    report, nodes = take(image, "/app")
    assert {"app/empty", "app/model", "data/model", "app/gone", "app/plugin.so", "app/twin"} <= set(nodes)
    assert "data/other" not in nodes
    assert nodes["app/twin"].content == b"other"
    assert any("libabsent.so, which /app/plugin.so needs" in one for one in report["warnings"])


def test_what_is_named_is_needed_though_it_lies_in_a_named_folder(tmp_path: Path) -> None:
    """A program that is named and lacks a library stops the work; in a folder alone it is a warning."""
    image = write(tmp_path, *GLIBC, directory("app"), file("app/prog", program("libabsent.so")))
    for words in (["/app", "/app/prog"], ["/app/prog", "/app"]):
        assert_fails(run("extract", image, *words, "-n"), 3, "libabsent.so, which /app/prog needs")
    assert run("extract", image, "/app", "-n").code == 0


def test_folders_that_lead_to_folders(tmp_path: Path) -> None:
    """Thousands, one leading to the next and the last to the first, are all taken."""
    members = [
        one
        for number in range(3000)
        for one in (directory(f"d{number}"), symlink(f"d{number}/next", f"/d{(number + 1) % 3000}"))
    ]
    _, nodes = take(write(tmp_path, *members), "/d7")
    assert len(nodes) == 6000


# --- scripts and entrypoints ------------------------------------------------------------------


def test_interpreters_of_scripts(tmp_path: Path) -> None:
    """`#!` brings its program, env the one behind it; a shell script's other commands are named."""
    image = write(
        tmp_path,
        *GLIBC,
        directory("opt"),
        file("usr/bin/env", elf(static=True)),
        file("usr/bin/sh", elf(static=True)),
        file("usr/bin/sed", elf(static=True)),
        file("opt/tool", elf(static=True)),
        file("opt/a", b"#!/usr/bin/env -S tool --fast\n"),
        file("opt/b", b"#! /bin/sh -e\nset -x\nA=1 sed -i s/a/b/ x | nosuch\nexec /opt/tool\n"),
        config={"Env": ["PATH=/opt:/usr/bin"]},
    )
    assert files(take(image, "/opt/a")[1]) == {"opt/a", "usr/bin/env", "opt/tool"}
    report, nodes = take(image, "/opt/b")
    assert files(nodes) == {"opt/b", "bin", "usr/bin/sh"}
    assert report["warnings"] == ["/opt/b calls programs that are not in the result: sed, /opt/tool"]


def test_an_interpreter_is_the_file_that_the_kernel_looks_for(tmp_path: Path) -> None:
    """A carriage return is a part of its name, and a folder is none: nothing is taken for it."""
    image = write(
        tmp_path,
        *(directory("d"), file("d/much", b"much"), file("x", elf(static=True))),
        *(file("crlf", b"#!/x\r\n"), file("folder", b"#!/d\n")),
    )
    assert_fails(run("extract", image, "/crlf", "-n"), 3, "/x\\r, which /crlf needs")
    assert_fails(run("extract", image, "/folder", "-n"), 3, "/d, which /folder needs")


def test_the_entrypoint(tmp_path: Path) -> None:
    """The program with what of its arguments are files; of a shell's command the programs in it."""
    tools = [file(f"usr/bin/{name}", elf(static=True)) for name in ("sh", "server", "helper")]
    members = [*GLIBC, *tools, file("conf", b"c"), file("start", b'#!/bin/sh\nhelper\nexec "$@"\n')]

    def started(
        *, entrypoint: list[str] | None = None, cmd: list[str] | None = None
    ) -> tuple[Json, set[str]]:
        image = write(tmp_path, *members, config={"Entrypoint": entrypoint, "Cmd": cmd})
        report, nodes = take(image, "--from-entrypoint")
        return report, files(nodes)

    assert started(entrypoint=["server"], cmd=["-c", "/conf", "/nothing"])[1] == {"usr/bin/server", "conf"}
    assert started(entrypoint=["server", "--"], cmd=["helper"])[1] == {"usr/bin/server", "usr/bin/helper"}
    assert started(entrypoint=["server"], cmd=["conf"])[1] == {"usr/bin/server", "conf"}
    shell = {"bin", "usr/bin/sh"}
    assert started(cmd=["/bin/sh", "-c", "A=b exec server -x && helper"])[1] == shell | {
        "usr/bin/server",
        "usr/bin/helper",
    }
    report, found = started(entrypoint=["/start"], cmd=["server"])
    assert found == shell | {"start", "usr/bin/server"}
    assert report["warnings"] == ["/start calls programs that are not in the result: helper"]
    for nothing in (None, [None], [""]):
        image = write(tmp_path, *members, config={"Entrypoint": nothing})
        assert_fails(run("extract", image, "--from-entrypoint", "-n"), 3, "no entrypoint")


def test_commands_of_a_shell_text() -> None:
    """Words in the place of a command, whatever stands before and between them."""
    text = (
        'if [ -f /x ]; then a "$1"; fi\nX=1 b | c && ! d # e\n(f; g) || exec h\nfor i in 1; do\n j\ndone\n'
    )
    assert list(commands_in(text)) == ["a", "b", "c", "d", "f", "g", "h", "j"]


# --- words, users, folders --------------------------------------------------------------------


def test_words_bring_what_programs_look_for(tmp_path: Path) -> None:
    """Certificates with what their symlinks lead to, time zones, modules that nsswitch.conf names; a word
    of which nothing is there is missing."""
    image = write(
        tmp_path,
        *GLIBC,
        *map(directory, ("etc/ssl", "etc/ssl/certs", "usr/share", "usr/share/ca", "usr/share/zoneinfo")),
        file("etc/ssl/certs/ca-certificates.crt", b"all"),
        symlink("etc/ssl/certs/one.pem", "/usr/share/ca/one.crt"),
        file("usr/share/ca/one.crt", b"one"),
        file("usr/share/zoneinfo/UTC", b"utc"),
        symlink("etc/localtime", "/usr/share/zoneinfo/UTC"),
        file("etc/nsswitch.conf", b"hosts: files [NOTFOUND=return] dns # sss\n"),
        *(file(f"{MULTIARCH}/libnss_{name}.so.2", elf("libc.so.6")) for name in ("dns", "sss")),
        file("app", program()),
    )
    _, nodes = take(image, "/app", "--with", "ca-certificates,tzdata", "--with", "nsswitch")
    assert files(nodes) >= {
        *("etc/ssl/certs/ca-certificates.crt", "etc/ssl/certs/one.pem", "usr/share/ca/one.crt"),
        *("usr/share/zoneinfo/UTC", "etc/localtime", "etc/nsswitch.conf", f"{MULTIARCH}/libnss_dns.so.2"),
    }
    assert f"{MULTIARCH}/libnss_sss.so.2" not in nodes
    assert_fails(run("extract", image, "/app", "--with", "locale", "-n"), 3, "nothing of locale")
    assert_fails(run("extract", image, "/app", "--with", "fonts", "-n"), 2, *WITH)


def test_a_user_by_name_and_the_folder_that_it_starts_in(tmp_path: Path) -> None:
    """The lines of passwd and group come, and no others; WORKDIR is there, with its attributes where the
    source has it."""
    accounts = [
        directory("etc"),
        file("etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/no\n", mode=0o640),
        file("etc/group", b"root:x:0:\nwww:x:34:\nlog:x:9:\n"),
        directory("srv", mode=0o700, uid=33),
        file("app", elf(static=True)),
    ]
    image = write(tmp_path, *accounts, config={"User": "web", "WorkingDir": "/srv"})
    _, nodes = take(image, "/app")
    assert (nodes["etc/passwd"].content, nodes["etc/passwd"].mode) == (b"web:x:33:34::/:/no\n", 0o640)
    assert nodes["etc/group"].content == b"www:x:34:\n"
    assert (nodes["srv"].mode, nodes["srv"].uid) == (0o700, 33)
    image = write(tmp_path, *accounts, config={"User": "web:log", "WorkingDir": "/new/deep"})
    _, nodes = take(image, "/app")
    assert nodes["etc/group"].content == b"log:x:9:\n"
    assert nodes["new/deep"].kind == "directory"
    _, nodes = take(image, "/app", "--with", "passwd")
    assert nodes["etc/passwd"].content.startswith(b"root")
    image = write(tmp_path, *accounts, config={"User": "web", "WorkingDir": "/../srv/./sub/"})
    assert {"srv", "srv/sub"} <= set(take(image, "/app")[1])
    image = write(tmp_path, *accounts, config={"User": "1000:1000"})
    assert files(take(image, "/app")[1]) == {"app"}
    image = write(tmp_path, *accounts, config={"User": "nobody"})
    assert_fails(run("extract", image, "/app", "-n"), 3, "the user nobody")


# --- packages ---------------------------------------------------------------------------------

STANZAS = {
    name: f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n"
    "Description: a\n longer text\n"
    for name, version in (("libc6", "2.36"), ("server", "1"), ("other", "3"), ("gone", "4"))
}


def dpkg() -> list[Member]:
    lists = {
        "libc6:amd64": "/.\n/lib\n/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu/libc.so.6\n",
        "server": "/.\n/usr\n/usr/bin\n/usr/bin/app\n",
        "other": "/.\n/lib\n/usr\n/usr/bin\n/usr/bin/other\n",
        "gone": "/usr/bin/app\n",
    }
    status = "\n".join(STANZAS.values()).replace(
        "Package: gone\nStatus: install", "Package: gone\nStatus: deinstall"
    )
    status = status.replace("deinstall ok installed", "deinstall ok config-files")
    return [
        *map(directory, ("var", "var/lib", "var/lib/dpkg", "var/lib/dpkg/info")),
        file("var/lib/dpkg/status", status.encode(), mtime=77),
        *(file(f"var/lib/dpkg/info/{name}.list", text.encode()) for name, text in lists.items()),
    ]


def test_packages_of_dpkg_are_told_as_distroless_images_tell_them(tmp_path: Path) -> None:
    """A stanza a package of which a file stays; /lib is /usr/lib, and a directory counts for none."""
    image = write(tmp_path, *GLIBC, *dpkg(), file("usr/bin/app", program()), file("usr/bin/other", b""))
    report, nodes = take(image, "/bin/app")
    assert {path for path in files(nodes) if path.startswith("var")} == {
        "var/lib/dpkg/status.d/libc6",
        "var/lib/dpkg/status.d/server",
    }
    status = nodes["var/lib/dpkg/status.d/libc6"]
    assert (status.content.decode(), int(status.mtime)) == (STANZAS["libc6"], 77)
    assert report["packages"] == [
        {"kind": "dpkg", "name": "libc6", "version": "2.36"},
        {"kind": "dpkg", "name": "server", "version": "1"},
    ]


def test_packages_of_apk(tmp_path: Path) -> None:
    """The paragraphs of the packages of which a file stays, word by word."""
    one = b"C:Q1=\nP:one\nV:1-r0\nF:usr\nF:usr/bin\nR:app\nZ:Q1=\n"
    two = b"P:two\nV:2\nF:etc\nR:two.conf\n"
    image = write(
        tmp_path,
        *map(directory, ("lib", "lib/apk", "lib/apk/db", "usr", "usr/bin", "etc")),
        file("lib/apk/db/installed", one + b"\n" + two + b"\n"),
        file("usr/bin/app", elf(static=True)),
        file("etc/two.conf", b""),
    )
    report, nodes = take(image, "/usr/bin/app")
    assert nodes["lib/apk/db/installed"].content.strip() == one.strip()
    assert [one["name"] for one in report["packages"]] == ["one"]


# --- on a base --------------------------------------------------------------------------------


def test_onto_a_base_goes_what_that_lacks(tmp_path: Path) -> None:
    """The base's layers stay; what it has so is left out, its directories keep their attributes, packages
    are added to its own."""
    base = ImageSpec(
        [
            layer(
                directory("usr", mode=0o711),
                *GLIBC[1:],
                *dpkg()[:4],
                file("var/lib/dpkg/status", b"Package: base\n"),
            )
        ],
        ["base:1"],
    )
    docker_archive_25(tmp_path / "base.tar", [base])
    image = write(tmp_path, *GLIBC, *dpkg(), file("usr/bin/app", program()))
    report, nodes = take(image, "/usr/bin/app", "--keep-base", str(tmp_path / "base.tar"))
    (result,) = read_images(tmp_path / "out.tar")
    assert list(result.layers[:1]) == base.layers
    new = apply_layers(result.layers[1:]).nodes
    assert {path.decode() for path, node in new.items() if node.kind != "directory"} == {
        "usr/bin/app",
        "var/lib/dpkg/status.d/libc6",
        "var/lib/dpkg/status.d/server",
    }
    assert nodes["usr"].mode == 0o711
    assert f"{MULTIARCH}/libc.so.6" in report["in_base"]
    assert report["base"] == {"layers": 1, "name": "base:1"}
    assert result.config["history"][-1]["created_by"] == "squashkit extract /usr/bin/app"


def test_onto_a_base_of_before_the_merge_of_lib_and_usr_lib(tmp_path: Path) -> None:
    """What the base has in a directory /lib is found there, and only what it has in neither is new; another
    content there is a conflict, too."""
    loader = elf(soname="ld-linux-x86-64.so.2", data=SYSTEM)
    folders = [*map(directory, ("lib", "lib64", "lib/x86_64-linux-gnu"))]
    old = [
        *folders,
        file("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", loader, mode=0o755),
        symlink("lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
        file("lib/x86_64-linux-gnu/libc.so.6", elf(soname="libc.so.6", names=["dlopen", "getpwnam"])),
    ]
    extra = file(f"{MULTIARCH}/libx.so", elf(soname="libx.so"))
    image = write(tmp_path, *GLIBC, extra, file("opt/app", program("libx.so")))
    docker_archive_25(tmp_path / "base.tar", [ImageSpec([layer(*old)], ["base:1"])])
    words = ("/opt/app", "--keep-base", str(tmp_path / "base.tar"))
    report, nodes = take(image, *words)
    new = {one["path"] for one in report["paths"] if one["bytes"]}
    assert new == {"opt/app", f"{MULTIARCH}/libx.so"}
    assert nodes["lib"].kind == "directory"
    wrong = [*old[:-1], file("lib/x86_64-linux-gnu/libc.so.6", b"another")]
    docker_archive_25(tmp_path / "base.tar", [ImageSpec([layer(*wrong)], ["base:1"])])
    assert_fails(run("extract", image, *words, "-n"), 3, "libc.so.6: the base has it with other content")


def test_what_the_base_has_otherwise_is_never_overwritten(tmp_path: Path) -> None:
    """Another content, another type, a symlink where a directory is wanted: exit code 3, each named."""
    image = write(tmp_path, *GLIBC, file("usr/bin/app", program()), directory("d"), file("d/x", b"x"))
    for name, members in {
        "libc.so.6: the base has it with other content": [
            *GLIBC[:-1],
            file(f"{MULTIARCH}/libc.so.6", b"another"),
        ],
        "is looked for by way of /lib64, in the base a directory without it": [directory("lib64")],
        "/d/x: in the base /d is a symlink": [symlink("d", "/usr")],
    }.items():
        docker_archive_25(tmp_path / "base.tar", [ImageSpec([layer(*members)], ["base:1"])])
        words = ("extract", image, "/usr/bin/app", "/d/x", "--keep-base", tmp_path / "base.tar")
        assert_fails(run(*words, "-t", "x:1", "-o", tmp_path / "x.tar"), 3, name)
    assert not (tmp_path / "x.tar").exists()


# --- images -----------------------------------------------------------------------------------


def test_what_lies_in_several_layers(tmp_path: Path) -> None:
    """The final tree counts: a file of a lower layer, one that was replaced, one that was deleted."""
    layers = [
        layer(file("a", b"old"), file("b", b"b"), file("c", b"c"), hardlink("b2", "b")),
        layer(file("a", b"new"), whiteout("c")),
    ]
    path = tmp_path / "app.tar"
    docker_archive_25(path, [ImageSpec(layers, ["app:1"])], "gzip")
    _, nodes = take(str(path), "/a", "/b2", "/b")
    assert {name: node.content for name, node in nodes.items()} == {"a": b"new", "b": b"b", "b2": b"b"}
    assert nodes["b"].names == {b"b", b"b2"}
    assert_fails(run("extract", path, "/c", "-n"), 3, "/c")


def test_the_same_image_twice_and_other_ends(tmp_path: Path) -> None:
    """Made twice it is the same bytes; a layout as source and as destination, and Python, do as well."""
    members = [*GLIBC, file("usr/bin/app", program())]
    image = write(tmp_path, *members)
    for name in ("one", "two"):
        assert run("extract", image, "/usr/bin/app", "-t", "x:1", "-o", tmp_path / name, "-q").code == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    oci_layout(tmp_path / "layout", [ImageSpec([layer(*members)], ["app"])])
    out = tmp_path / "result"
    done = extract(f"oci:{tmp_path}/layout:app", f"oci:{out}:small", "/usr/bin/app")
    assert done.json()["bytes"] == sum(done.sizes.values())
    (result,) = read_images(out)
    assert b"usr/bin/app" in apply_layers(result.layers).nodes
    with pytest.raises(TypeError):
        extract(image, None, 5)  # type: ignore[arg-type]


def test_bad_words(tmp_path: Path) -> None:
    """Nothing named, all platforms, --check: one clear line each."""
    image = write(tmp_path, file("a", b"a"))
    assert_fails(run("extract", image, "-n"), 2, "name paths, or pass --from-entrypoint")
    assert_fails(run("extract", image, "", "-n"), 2, "a path is empty")
    assert_fails(run("extract", image, "/a", "--platform", "all", "-n"), 2, "one platform")
    assert_fails(run("extract", image, "/a", "--check", "-o", tmp_path / "x.tar", "-t", "x:1"), 2, "check")
    assert Extract.of(["/a", "/b"]).names == ("/a", "/b")


def test_broken_programs_are_told(tmp_path: Path) -> None:
    """What begins as ELF and cannot be read comes along without a traceback."""
    whole = program("libx.so")
    for data in (
        whole[:40],
        whole[:100] + b"\xff" * 200,
        b"\x7fELF" + bytes(60),
        whole.replace(b"\x01\x00\x00\x00", b"\xff\xff\xff\xff"),
    ):
        image = write(tmp_path, *GLIBC, file("app", data))
        done = run("extract", image, "/app", "-n", "--json")
        assert done.code in (0, 3), done.err
        assert "Traceback" not in done.err


def test_without_the_extra(tmp_path: Path) -> None:
    """Without pyelftools one line says what to install; what needs it not works all the same."""
    image = write(tmp_path, *GLIBC, file("app", program()), file("text", b"text"))
    code = "import sys; sys.modules['elftools'] = None; import squashkit.__main__ as m; m.main()"
    words = [sys.executable, "-c", code, "extract", image, "-n"]
    failed = subprocess.run([*words, "/app"], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1
    assert "pip install 'squashkit[extract]'" in failed.stderr
    assert subprocess.run([*words, "/text"], capture_output=True, check=False).returncode == 0
