"""What goes wrong gets one clear line and the right exit code, and leaves what was there as it was."""

from __future__ import annotations

import array
import fcntl
import gzip
import json
import lzma
import os
import random
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import (
    ImageSpec,
    Member,
    char,
    compress,
    digest,
    directory,
    docker_archive_25,
    docker_archive_old,
    fifo,
    file,
    hardlink,
    kaniko_archive,
    layer,
    oci_archive,
    oci_layout,
    on_base,
    sparse,
    symlink,
    whiteout,
)
from tests.support.runner import (
    APP,
    BASE,
    COMMAND,
    KEEP_2,
    KEEP_BASE,
    KEPT,
    OCI,
    Arg,
    Change,
    D,
    Json,
    Result,
    assert_fails,
    assert_same_rootfs,
    blob_path,
    change_config,
    change_index,
    change_manifest,
    docker_files,
    put_blob,
    read_image,
    run,
    run_process,
    snapshot,
    spawn,
    squash,
    validate,
    write_archive,
)
from tests.support.runner import (
    listing_of as listing,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OK = layer(file("z", b"z" * 600))
LAST = len(APP.layers) - 1
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")


def assert_refused(
    source: Arg, folder: Path, code: int, *words: str, args: tuple[Arg, ...] = KEEP_2
) -> None:
    """A squash of this source fails so, whatever the output is: a new file, an old one with --force, a
    new layout, one that is there, a pipe. Nothing in the folder changes and nothing is left there."""
    places = folder / "places"
    places.mkdir()
    (places / "old.tar").write_bytes(b"old")
    oci_layout(places / "there", [BASE])
    before = snapshot(folder), listing(folder)
    outputs: tuple[tuple[Arg, ...], ...] = (
        (places / "new.tar",), (places / "old.tar", "--force"), (f"oci:{places}/new",),
        (f"oci:{places}/there",), ("-",),
    )  # fmt: skip
    for output in outputs:
        assert_fails(run("squash", source, *args, "-o", *output), code, *words)
        assert (snapshot(folder), listing(folder)) == before
    shutil.rmtree(places)


# --- archives --------------------------------------------------------------------------------


def plain(cut: int | None = None) -> bytes:
    """A docker archive, cut short."""
    files = docker_files()
    members = (file(name, data) for name, data in files.items() if isinstance(data, bytes))
    return layer(*members)[:cut]


def flipped(at: int) -> bytes:
    """A docker archive with one bit turned."""
    data = bytearray(plain())
    data[at] ^= 1
    return bytes(data)


NO_ARCHIVE = {
    "empty": (b"", "empty"),
    "one byte": (b"x", "tar ends"),
    "half a header": (plain(300), "tar ends"),
    "text": (b"This is no archive.\n" * 60, "no tar header"),
    "a header with a bit turned": (flipped(10), "no tar header"),
    "a later header with a bit turned": (flipped(len(plain()) - 3 * 512 - 400), "checksum"),
    "cut inside a layer": (plain(20_000), "tar ends inside data"),
    "a file system": (layer(directory("bin"), file("bin/sh", b"x")), "docker export"),
    "gzip, cut": (gzip.compress(plain())[:-200], "ends too early"),
    "gzip, a bit turned": (gzip.compress(plain(), 0)[:4000] + b"\xff" * 60, "gzip"),
    "gzip twice": (gzip.compress(gzip.compress(plain())), "no tar header"),
    "zstd, cut": (zstd.compress(plain())[:-5], "ends too early"),
    "xz, cut": (lzma.compress(plain())[:-50], "ends too early"),
    "a magic and no more": (b"\x1f\x8b", "ends too early"),
}


@pytest.mark.parametrize("name", NO_ARCHIVE)
def test_what_is_no_archive_is_refused(name: str, tmp_path: Path) -> None:
    """A file that is no whole image archive is invalid (4), says why, and names the file; so does one
    from standard input."""
    data, why = NO_ARCHIVE[name]
    source = tmp_path / "source.tar"
    source.write_bytes(data)
    assert_refused(source, tmp_path, 4, str(source), why)
    result = run("squash", "-", *KEEP_2, stdin=data)
    assert_fails(result, 4, "standard input", why)
    assert result.out == b""


DOCKER: dict[str, tuple[dict[str, bytes | Member], str]] = {
    "manifest.json is no JSON": (docker_files() | {"manifest.json": b"\xff{"}, "manifest.json"),
    "manifest.json is no list": (docker_files() | {"manifest.json": b"{}"}, "manifest.json"),
    "manifest.json is deep": (docker_files() | {"manifest.json": b"[" * 200_000}, "manifest.json"),
    "manifest.json lists nothing": (docker_files() | {"manifest.json": b"[]"}, "manifest.json"),
    "an entry is no object": (docker_files() | {"manifest.json": b"[1]"}, "manifest.json[0]"),
    "no layers": (docker_files(Layers=None), "manifest.json[0].Layers"),
    "layers that are no names": (docker_files(Layers=[1, 2, 3, 4, 5]), "manifest.json[0].Layers"),
    "tags that are no names": (docker_files(RepoTags=[1]), "manifest.json[0].RepoTags"),
    "no config": (docker_files(Config=None), "manifest.json[0].Config"),
    "a config that is not there": (docker_files(Config="nope.json"), "nope.json"),
    "a config outside": (docker_files(Config="../config.json"), "../config.json"),
    "a layer outside": (docker_files(Layers=["../../etc/passwd"] + ["1.tar"] * 4), "../../etc/passwd"),
    "too few layers": (docker_files(Layers=["0.tar", "1.tar"]), "2 layers and 5 diff_ids"),
    "names that are no text": (docker_files(Layers=["\ud800"] + ["1.tar"] * 4), "manifest.json"),
    "a config name that is no text": (docker_files(Config="\ud800"), "manifest.json"),
    "a squashed layer is not there": (docker_files(Layers=["0.tar"] * 4 + ["x"]), "layer 4"),
    "a kept layer is not there": (docker_files(Layers=["x"] + ["1.tar"] * 4), "layer 0"),
    "a layer that is no file": (docker_files() | {"3.tar": fifo("3.tar")}, "layer 3"),
    "a config with a digest as its name that is not its own": (
        {("f" * 64 + ".json" if k == "config.json" else k): v for k, v in docker_files().items()}
        | {"manifest.json": docker_files(Config="f" * 64 + ".json")["manifest.json"]},
        "sha256:ffff",
    ),
    "a member name that leads out": (docker_files() | {"../evil": b"x"}, "../evil"),
    "a symlink to itself": (docker_files() | {"3.tar": symlink("3.tar", "3.tar")}, "3.tar"),
    "a loop of symlinks": (
        docker_files() | {"3.tar": symlink("3.tar", "x/y"), "x/y": symlink("x/y", "../3.tar")}, "3.tar",
    ),
    "a dangling symlink": (docker_files() | {"3.tar": symlink("3.tar", "nowhere")}, "nowhere"),
    "a symlink that leads out": (docker_files() | {"3.tar": symlink("3.tar", "../../x")}, "../../x"),
    "a symlink to the host": (docker_files() | {"3.tar": symlink("3.tar", "/etc/passwd")}, "etc/passwd"),
    "a dangling hard link": (docker_files() | {"3.tar": hardlink("3.tar", "nowhere")}, "nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCKER)
def test_a_docker_archive_that_breaks_its_word_is_refused(name: str, tmp_path: Path) -> None:
    """Bad documents, links that lead nowhere, in circles or out, and layers that are not there: each is
    invalid (4), and the message names the place."""
    files, word = DOCKER[name]
    source = write_archive(tmp_path / "source.tar", files)
    assert_refused(source, tmp_path, 4, word)


def test_absolute_member_names_stay_inside(tmp_path: Path) -> None:
    """An absolute member name means the archive's own root, never the host's."""
    files = {f"/{name}": data for name, data in docker_files().items()}
    source = write_archive(tmp_path / "source.tar", files)
    squash(source, *KEEP_2, "-o", tmp_path / "out.tar")
    assert_same_rootfs(APP.layers, read_image(tmp_path / "out.tar").layers, 2)


@pytest.mark.parametrize("index", [0, 3], ids=["kept", "squashed"])
@pytest.mark.parametrize("write", [docker_archive_old, docker_archive_25, kaniko_archive])
def test_a_layer_with_a_bit_turned_is_refused(
    write: Callable[..., object], index: int, tmp_path: Path
) -> None:
    """Content that does not match its digest stops the run and names the layer, be it kept or squashed,
    plain or compressed; --no-verify goes on where the damage can be read over."""
    source = tmp_path / "source.tar"
    write(source, [APP])
    data = source.read_bytes()
    packed = write is kaniko_archive
    part = compress(APP.layers[index], "gzip")[-20:-8] if packed else b"x" * 90
    if not packed:
        part = APP.layers[index][512 * 3 : 512 * 3 + 1] + APP.layers[index][512 * 3 + 1 : 512 * 4]
    at = data.index(part)
    source.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert_refused(source, tmp_path, 4, f"layer {index}")


def test_no_verify_reads_on(tmp_path: Path) -> None:
    """--no-verify takes a layer whose content does not match its digest, and writes what it found."""
    source, output = tmp_path / "source.tar", tmp_path / "out.tar"
    write_archive(source, docker_files() | {"0.tar": layer(D, file("d/a", b"Z")), "3.tar": OK})
    assert_refused(source, tmp_path, 4, "sha256:")
    result = run("squash", source, *KEEP_2, "--no-verify", "-o", output)
    assert result.code == 0, result.err
    assert b"z" * 600 in output.read_bytes()


# --- layouts ---------------------------------------------------------------------------------


def set_layer(index: int, **fields: Any) -> Change:
    """Change the descriptor of a layer."""
    return lambda manifest: manifest["layers"][index].update(fields)


def nothing(digit: str) -> str:
    """The digest of nothing that is there."""
    return "sha256:" + digit * 64


def replaced(data: bytes) -> Change:
    """Put other bytes in the document's place."""
    return lambda value: data


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
MANIFESTS: dict[str, tuple[Change, str]] = {
    "no object": (replaced(b"[]"), "index.json.manifests[0]"),
    "no JSON": (replaced(b"{"), "index.json.manifests[0]"),
    "schema 1": (replaced(b'{"schemaVersion":1,"fsLayers":[]}'), "schema 1"),
    "no layers": (lambda m: m.update(layers=None), "manifests[0].layers"),
    "a layer too few": (lambda m: m["layers"].pop() and None, "4 layers and 5 diff_ids"),
    "a layer that is no object": (lambda m: m.update(layers=["x"] * 5), "layers[0]"),
    "a config with a wrong digest": (
        lambda m: m["config"].update(digest=nothing("1")), "manifests[0].config"),
    "a config with a wrong size": (lambda m: m["config"].update(size=3), "expected 3 bytes"),
    "no config": (lambda m: m.pop("config") and None, "manifests[0].config"),
    "a kept layer that is another": (
        lambda m: m["layers"].__setitem__(0, m["layers"][1]), "layer 0"),
    "a squashed layer that is another": (
        lambda m: m["layers"].__setitem__(3, m["layers"][2]), "layer 3"),
    "a kept layer that is not there": (set_layer(0, digest=nothing("2")), "layer 0"),
    "a squashed layer that is not there": (set_layer(3, digest=nothing("2")), nothing("2")),
    "a wrong size of a kept layer": (set_layer(0, size=3), "layer 0"),
    "a wrong size of a squashed layer": (set_layer(3, size=3), "layer 3"),
    "a negative size": (set_layer(3, size=-1), "layers[3].size"),
    "a size that is no number": (set_layer(3, size="9"), "layers[3].size"),
    "a digest that leads out": (set_layer(3, digest="sha256:../../x"), "layers[3].digest"),
    "a digest of another kind": (set_layer(3, digest="sha512:" + "0" * 128), "sha512"),
    "an unknown media type": (set_layer(3, mediaType="application/x-layer"), "application/x-layer"),
    "an unknown media type of a kept layer": (
        set_layer(0, mediaType="application/x-layer"), "application/x-layer"),
    "an encrypted layer": (
        set_layer(3, mediaType=f"{OCI}layer.v1.tar+gzip+encrypted"), "layer 3 is encrypted"),
    "a foreign layer": (
        set_layer(0, mediaType=FOREIGN, urls=["x"], digest=nothing("e")), "layer 0 is a foreign layer"),
    "a layer that must not be distributed": (
        set_layer(0, mediaType=f"{OCI}layer.nondistributable.v1.tar+gzip", digest=nothing("e")),
        "layer 0"),
    "annotations that are no text": (lambda m: m.update(annotations={"a": 1}), "annotations[a]"),
    "an artifact": (
        lambda m: m["config"].update(mediaType=f"{OCI}empty.v1+json")
        or m.update(artifactType="application/x-thing"),
        "application/x-thing"),
    "a chart": (
        lambda m: m["config"].update(mediaType="application/vnd.cncf.helm.config.v1+json"),
        "application/vnd.cncf.helm.config.v1+json"),
}  # fmt: skip
CONFIGS: dict[str, tuple[Change, str]] = {
    "no object": (replaced(b"1"), "manifests[0].config"),
    "no JSON": (replaced(b"}"), "manifests[0].config"),
    "a number of no end": (replaced(b'{"n":' + b"9" * 5000 + b"}"), "manifests[0].config"),
    "depth without end": (replaced(b'{"a":' * 100_000), "manifests[0].config"),
    "Windows": (lambda c: c.update(os="windows"), "Windows"),
    "no rootfs": (lambda c: c.pop("rootfs") and None, "0 diff_ids"),
    "a diff_id too few": (lambda c: c["rootfs"]["diff_ids"].pop() and None, "4 diff_ids"),
    "a diff_id that is none": (
        lambda c: c["rootfs"]["diff_ids"].__setitem__(1, "x"), "rootfs.diff_ids[1]"),
    "a wrong diff_id of a kept layer": (
        lambda c: c["rootfs"]["diff_ids"].__setitem__(1, nothing("3")), "layer 1"),
    "a wrong diff_id of a squashed layer": (
        lambda c: c["rootfs"]["diff_ids"].__setitem__(3, nothing("3")), "layer 3"),
    "a history that is no list": (lambda c: c.update(history="x"), "config.history"),
    "a history entry that is no object": (lambda c: c.update(history=[None]), "history[0]"),
    "a step that is no text": (
        lambda c: c["history"][0].update(created_by=5), "history[0].created_by"),
    "a time that is no text": (lambda c: c.update(created=5), "config.created"),
}  # fmt: skip
INDEXES: dict[str, tuple[Change, str]] = {
    "no object": (replaced(b"[]"), "index.json"),
    "no JSON": (replaced(b"\xff"), "index.json"),
    "no manifests": (lambda i: i.pop("manifests") and None, "index.json.manifests"),
    "an entry that is no object": (lambda i: i.update(manifests=["x"]), "manifests[0]"),
    "a manifest with a wrong size": (lambda i: i["manifests"][0].update(size=1), "expected 1 bytes"),
    "a manifest that is not there": (
        lambda i: i["manifests"][0].update(digest=nothing("4")), "linux/amd64"),
    "a platform that is no object": (
        lambda i: i["manifests"][0].update(platform="linux"), "manifests[0].platform"),
    "nothing in it": (lambda i: i.update(manifests=[]), "no image"),
}  # fmt: skip
PLACES = [
    *(("manifest", name) for name in MANIFESTS),
    *(("config", name) for name in CONFIGS),
    *(("index", name) for name in INDEXES),
]


def break_layout(layout: Path, where: str, name: str) -> str:
    """Make a layout with this one fault; returns the word that tells it."""
    oci_layout(layout, [APP])
    table, alter = {
        "manifest": (MANIFESTS, change_manifest),
        "config": (CONFIGS, change_config),
        "index": (INDEXES, change_index),
    }[where]
    change, word = table[name]
    alter(layout, change)
    return word


@pytest.mark.parametrize(("where", "name"), PLACES, ids=[f"{where}: {name}" for where, name in PLACES])
def test_a_layout_that_breaks_its_word_is_refused(where: str, name: str, tmp_path: Path) -> None:
    """Wrong digests, sizes and counts, unknown types, and kinds of images that cannot be squashed: each
    is refused with code 4, and the message names the place; an image that is not there with 5, a base
    that must be known and is not with 1."""
    layout = tmp_path / "layout"
    word = break_layout(layout, where, name)
    code = {"a manifest that is not there": 5, "nothing in it": 5}
    assert_refused(layout, tmp_path, code.get(name, 4), word)


@pytest.mark.parametrize("what", ["manifest", "config", "layer"])
@pytest.mark.parametrize("how", ["gone", "turned", "longer", "folder", "pipe"])
def test_a_damaged_blob_is_refused(what: str, how: str, tmp_path: Path) -> None:
    """A blob that is not there, has a bit turned, has bytes added, or is no file at all is refused, and
    nothing waits for a pipe that nobody writes to."""
    layout = tmp_path / "layout"
    index = oci_layout(layout, [APP])[0]
    manifest = json.loads((layout / blob_path(index)).read_bytes())
    named = {
        "manifest": index, "config": manifest["config"]["digest"],
        "layer": manifest["layers"][3]["digest"],
    }  # fmt: skip
    path = layout / blob_path(named[what])
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.unlink()
    if how == "turned":
        path.write_bytes(data)
    elif how == "longer":
        data[-3] ^= 1
        path.write_bytes(data + b"\n")
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    output = tmp_path / "out.tar"
    with spawn("squash", layout, *KEEP_2, "-o", output) as process:
        try:
            _, err = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("it waits")
    assert process.returncode in (4, 5)
    assert_fails(Result(process.returncode, b"", err.decode()), process.returncode)
    assert not output.exists()


UNKNOWN = {
    "binary": (b"\0\1\2", "application/x-binary"),
    "JSON": (b'{"a":1}', "application/x-json"),
    "schema 1": (b'{"schemaVersion":1}', "application/vnd.docker.distribution.manifest.v1+json"),
    "an artifact of old": (b'{"blobs":[]}', "application/vnd.oci.artifact.manifest.v1+json"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_entries_of_an_index_are_passed_over(name: str, tmp_path: Path) -> None:
    """An entry of a type that squashkit does not know beside the image does not keep it from being
    read."""
    data, media_type = UNKNOWN[name]
    layout = tmp_path / "layout"
    oci_layout(layout, [APP])
    blob = put_blob(layout, data)
    change_index(layout, lambda i: i["manifests"].append({"mediaType": media_type, **blob}))
    squash(layout, *KEEP_2, "-o", tmp_path / "out.tar")
    assert_same_rootfs(APP.layers, read_image(tmp_path / "out.tar").layers, 2)


def test_text_that_is_no_unicode_is_told(tmp_path: Path) -> None:
    """A lone surrogate in a document is either carried over or refused, never a crash."""
    for number, (alter, change) in enumerate(
        [
            (change_config, lambda c: c["config"].update(Env=["X=\ud800"])),
            (change_config, lambda c: c["history"][1].update(created_by="\ud800")),
            (change_manifest, lambda m: m.update(annotations={"a": "\ud800"})),
        ]
    ):
        layout = tmp_path / str(number)
        oci_layout(layout, [APP])
        alter(layout, change)
        result = run("squash", layout, *KEEP_2, "-o", tmp_path / f"{number}.tar")
        if result.code:
            assert_fails(result, 4)
        else:
            read_image(tmp_path / f"{number}.tar")


# --- layers ----------------------------------------------------------------------------------


def pax(**records: bytes) -> bytes:
    """A layer of one file with these pax records."""
    return layer(file("p", b"x", records={key.replace("_", "."): v for key, v in records.items()}))


LAYERS: dict[str, tuple[bytes, str]] = {
    "text": (b"no layer " * 100, "no tar header"),
    "a few bytes": (b"hello", "tar ends"),
    "half a header": (OK[:300], "tar ends inside the header"),
    "half its data": (OK[:900], "z: the tar ends inside data"),
    "a header with a bit turned": (bytes([OK[0] ^ 1]) + OK[1:], "no tar header at byte 0"),
    "a second header of junk": (layer(file("a"), end=False) + b"junk" * 128, "byte 512"),
    "a lone zero block before more": (
        layer(file("a"), end=False) + bytes(512) + layer(file("b")), "zero block"),
    "an unknown type": (layer(Member(b"v", b"V")), "v: unknown type"),
    "a multi-volume part": (layer(Member(b"v", b"M")), "v: unknown type"),
    "`..` first": (layer(file("../x")), "../x"),
    "`..` behind a directory": (layer(file("a/../../x")), "a/../../x"),
    "`..` of a directory": (layer(directory("a/../..")), "a/../.."),
    "`..` in a whiteout": (layer(file("../.wh.x")), "../.wh.x"),
    "`..` in a hard link": (layer(hardlink("a", "../x")), "../x"),
    "`..` in an absolute hard link": (layer(hardlink("a", "/../x")), "../x"),
    "`..` in a sparse name": (layer(sparse("../x", 9, [(0, b"x")])), "../x"),
    "a bare whiteout": (layer(file(".wh.")), ".wh."),
    "a whiteout of `.`": (layer(file("d/.wh..")), "d/.wh.."),
    "a whiteout of `..`": (layer(file("d/.wh...")), "d/.wh..."),
    "an entry below a whiteout": (layer(file("d/.wh.x/y")), "d/.wh.x/y"),
    "a hard link to nothing": (layer(hardlink("a", "nothing")), "a hard link to nothing"),
    "a hard link to itself": (layer(hardlink("n", "n")), "a hard link to n"),
    "a hard link to a directory": (layer(hardlink("a", "d")), "a hard link to the directory d"),
    "a hard link to the root": (layer(hardlink("a", "./")), "a"),
    "a root that is no directory": (layer(file("./", b"x")), "root"),
    "a way through a file": (layer(file("f"), file("f/x")), "f"),
    "a loop of symlinks": (layer(symlink("s", "s"), file("s/x")), "s"),
    "a size that is no number": (pax(size=b"x"), "p: pax size"),
    "a size below zero": (pax(size=b"-1"), "p: a size of -1 bytes"),
    "a size without end": (pax(size=b"9" * 30), "p"),
    "a size of thousands of digits": (pax(size=b"9" * 5000), "p"),
    "a uid of thousands of digits": (pax(uid=b"9" * 5000), "p"),
    "a uid that no tool can read": (pax(uid=b"9" * 30), "p"),
    "a time of thousands of digits": (pax(mtime=b"9" * 5000), "p"),
    "a time that is none": (pax(mtime=b"soon"), "p: pax mtime"),
    "a name with a NUL": (pax(path=b"a\0b"), "a"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["plain", "compressed"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_is_no_changeset_is_refused(name: str, form: str, tmp_path: Path) -> None:
    """A layer that is no legal tar of a changeset is invalid (4): the message names the layer and, where
    there is one, the path; so it is whether the layer is stored plain or compressed."""
    bad, word = LAYERS[name]
    image = ImageSpec([*APP.layers[:LAST], bad], ["app:1"])
    source = tmp_path / "source"
    if form == "plain":
        docker_archive_old(source, [image])
    else:
        oci_layout(source, [image])
    assert_refused(source, tmp_path, 4, word, f"layer {LAST}")


UNSUPPORTED = {
    "a whiteout device": (char("dev", 0, 0), "dev", "0:0"),
    "an overlay xattr": (file("o", xattrs={"trusted.overlay.opaque": b"y"}), "o", "overlay"),
    "an overlay xattr of a user": (file("o", xattrs={"user.overlay.metacopy": b""}), "o", "overlay"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_changes_its_meaning_is_refused(name: str, tmp_path: Path) -> None:
    """What overlay file systems take for their own cannot be merged: unsupported (4), naming the path;
    in a kept layer it is carried over."""
    member, path, word = UNSUPPORTED[name]
    image = ImageSpec([layer(file("a")), layer(member), layer(file("b"))], ["app:1"])
    source = tmp_path / "source.tar"
    docker_archive_old(source, [image])
    assert_refused(source, tmp_path, 4, path, word, args=("--all",))
    squash(source, "--keep-layers", "2", "-t", "new:1", "-o", tmp_path / "out.tar")
    assert read_image(tmp_path / "out.tar").layers[1] == image.layers[1]


PACKED = gzip.compress(OK)
FRAME = zstd.compress(OK)
STREAMS: dict[str, tuple[bytes, str]] = {
    "gzip, cut": (PACKED[:-9], "gzip"),
    "gzip without its end": (PACKED[:-8], "gzip"),
    "gzip with a wrong checksum": (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "gzip"),
    "gzip with a wrong length": (PACKED[:-4] + b"\0\0\0\0", "gzip"),
    "gzip with junk behind it": (PACKED + b"junk that is no member", "gzip"),
    "gzip with a second member cut": (PACKED + PACKED[:-9], "gzip"),
    "a gzip magic and no more": (b"\x1f\x8b", "gzip"),
    "gzip of an unknown method": (b"\x1f\x8b\x09" + PACKED[3:], "gzip"),
    "zstd, cut": (FRAME[:-3], "zstd"),
    "zstd with junk behind it": (FRAME + b"junk that is no frame", "zstd"),
    "zstd with a bit turned": (FRAME[:9] + bytes([FRAME[9] ^ 64]) + FRAME[10:], "zstd"),
    "zstd with a skippable frame cut": (FRAME + b"\x50\x2a\x4d\x18\xff\0\0\0", "zstd"),
    "xz": (lzma.compress(OK), "xz"),
}  # fmt: skip


@pytest.mark.parametrize("index", [0, 3], ids=["kept", "squashed"])
@pytest.mark.parametrize("name", STREAMS)
def test_a_damaged_stream_is_refused(name: str, index: int, tmp_path: Path) -> None:
    """A compressed layer that cannot be unpacked to its end is invalid (4), kept or squashed, and the
    message names the layer."""
    blob, word = STREAMS[name]
    layers = list(APP.layers)
    layers[index] = OK
    files = docker_files(ImageSpec(layers, ["app:1"])) | {f"{index}.tar": blob}
    source = write_archive(tmp_path / "source.tar", files)
    result = run("squash", source, *KEEP_2, "-o", tmp_path / "probe.tar")
    assert_fails(result, 4, f"layer {index}")
    assert word in result.err or "sha256:" in result.err
    assert_refused(source, tmp_path, 4, f"layer {index}")


def test_what_is_found_while_the_new_layer_is_written_is_told(tmp_path: Path) -> None:
    """A kept layer's damage that stops the writing of the new one is what the message tells."""
    layers = [OK, *APP.layers[1:], layer(file("large", bytes(64 << 20)))]
    files = docker_files(ImageSpec(layers, ["app:1"])) | {"0.tar": FRAME[:-3]}
    source = write_archive(tmp_path / "source.tar", files)
    assert_fails(run("squash", source, *KEEP_2, "-o", tmp_path / "probe.tar"), 4, "layer 0", "zstd")


# --- places ----------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A docker archive of the image and its base."""
    (tmp_path / "in").mkdir()
    docker_archive_old(tmp_path / "in/app.tar", [APP, BASE])
    return tmp_path / "in/app.tar"


def privileged(*words: Arg) -> list[str]:
    """A command without the privilege to pass over permissions, which root has."""
    if not IS_ROOT:
        return [str(word) for word in words]
    if shutil.which("setpriv") is None:
        pytest.skip("root reads everything, and setpriv is not there")
    drop = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}", *map(str, words)]


def run_bare(*words: Arg) -> Result:
    """Run `squashkit squash` without the privilege to pass over permissions."""
    made = subprocess.run(privileged(*COMMAND, "squash", *words), capture_output=True, timeout=60)
    return Result(made.returncode, made.stdout, made.stderr.decode())


@pytest.mark.parametrize("name", ["nowhere.tar", "no/where.tar", "oci:nowhere", "docker-archive:nowhere"])
def test_a_missing_input_is_named(name: str, tmp_path: Path) -> None:
    """An input that is not there is an error of its medium (5) that names it."""
    result = run("squash", name, *KEEP_2, "-o", tmp_path / "out.tar")
    assert_fails(result, 5, name.rpartition(":")[2])
    assert listing(tmp_path) == []


def test_an_input_that_cannot_be_read_is_named(app: Path, tmp_path: Path) -> None:
    """Without permission to read an archive or a layout's blob the run fails with 5 and says so."""
    oci_layout(tmp_path / "layout", [APP])
    blob = next(path for path in (tmp_path / "layout/blobs/sha256").iterdir())
    for source, locked in ((app, app), (tmp_path / "layout", blob)):
        locked.chmod(0)
        words = (f"{source}:app:1", *KEEP_2, "-o", tmp_path / "out.tar")
        assert_fails(run_bare(*words), 5, str(locked), "ermission denied")
        assert not (tmp_path / "out.tar").exists()


def test_an_output_that_cannot_be_written_is_named(app: Path, tmp_path: Path) -> None:
    """Without permission to write in the output's folder, or in --tmp-dir, the run fails with one line
    that names it."""
    locked = tmp_path / "locked"
    locked.mkdir()
    oci_layout(tmp_path / "layout", [BASE])
    for path in (locked, tmp_path / "layout/blobs/sha256"):
        path.chmod(0o555)
    source = f"{app}:app:1"
    for words in (
        ("-o", locked / "out.tar"),
        ("-o", f"oci:{locked}/out"),
        ("-o", f"oci:{tmp_path}/layout"),
    ):
        result = run_bare(source, *KEEP_2, *words)
        assert result.code in (1, 5)
        assert_fails(result, result.code, str(locked if "locked" in str(words[1]) else tmp_path / "layout"))
    kaniko_archive(tmp_path / "packed.tar", [APP])
    packed = (tmp_path / "packed.tar", *KEEP_2, "-o", tmp_path / "out.tar", "--tmp-dir", locked)
    result = run_bare(*packed)
    assert result.code in (1, 5)
    assert_fails(result, result.code, str(locked))
    assert listing(locked) == []
    assert not (tmp_path / "out.tar").exists()


def test_an_output_in_a_folder_that_is_not_there_is_named(app: Path, tmp_path: Path) -> None:
    """The folder of an archive is not made up."""
    words = (f"{app}:app:1", *KEEP_2, "-o", tmp_path / "no/where/out.tar")
    assert_fails(run("squash", *words), 5, str(tmp_path / "no/where"))
    assert not (tmp_path / "no").exists()


def test_an_existing_output_needs_force(app: Path, tmp_path: Path) -> None:
    """An output that is there is a usage error (2) and stays; --force replaces it in one step, with the
    permissions of a new file."""
    output = tmp_path / "out.tar"
    output.write_bytes(b"old")
    words = (f"{app}:app:1", *KEEP_2, "-o", output)
    assert_fails(run("squash", *words), 2, str(output), "--force")
    assert output.read_bytes() == b"old"
    with output.open("rb") as old:
        squash(*words, "--force")
        assert old.read() == b"old"
    read_image(output)
    mask = os.umask(0)
    os.umask(mask)
    assert output.stat().st_mode & 0o777 == 0o666 & ~mask
    assert listing(tmp_path) == ["in", "in/app.tar", "out.tar"]


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_a_dangling_symlink_is_an_output_that_is_there(
    force: tuple[str, ...], app: Path, tmp_path: Path
) -> None:
    """A symlink to nothing is something: it needs --force like any other, and then gives way."""
    output = tmp_path / "out.tar"
    output.symlink_to("nowhere")
    result = run("squash", f"{app}:app:1", *KEEP_2, "-o", output, *force)
    if force:
        assert result.code == 0, result.err
        read_image(output)
    else:
        assert_fails(result, 2, str(output), "exists")
        assert output.is_symlink()


def same(app: Path, how: str) -> Path:
    """Another name of the input."""
    other = app.parent / "other.tar"
    if how == "symlink":
        other.symlink_to(app)
    elif how == "hard link":
        other.hardlink_to(app)
    else:
        return app.parent / "../in" / app.name
    return other


@pytest.mark.parametrize("how", ["path", "symlink", "hard link"])
def test_the_input_is_never_the_output(how: str, app: Path) -> None:
    """An output that is the input, under whatever name, is refused, also with --force."""
    output = same(app, how)
    before = app.read_bytes()
    for words in ((output,), (output, "--force"), (f"docker-archive:{output}", "--force")):
        assert_fails(run("squash", f"{app}:app:1", *KEEP_2, "-o", *words), 2, "input")
        assert app.read_bytes() == before
        assert output.samefile(app)


def test_standard_input_is_never_the_output(app: Path) -> None:
    """A file that is read as standard input is an input too."""
    before = app.read_bytes()
    with app.open("rb") as stdin:
        result = _run_with(stdin, "squash", *KEEP_BASE, "-o", app, "--force")
    assert_fails(result, 2, "input")
    assert app.read_bytes() == before


def _run_with(stdin: Any, *words: Arg, stdout: Any = subprocess.PIPE) -> Result:
    with spawn(*words, stdin=stdin, stdout=stdout) as process:
        out, err = process.communicate(timeout=60)
    return Result(process.returncode, out or b"", err.decode())


def test_standard_output_is_never_the_input(app: Path) -> None:
    """`squashkit squash app.tar -o - >> app.tar` is refused before a byte is added."""
    before = app.read_bytes()
    with app.open("ab") as stdout:
        words = ("squash", f"{app}:app:1", *KEEP_2, "-o", "-")
        result = _run_with(subprocess.DEVNULL, *words, stdout=stdout)
    assert_fails(result, 2, "input")
    assert app.read_bytes() == before


def test_the_base_is_never_the_output(app: Path) -> None:
    """The archive that --keep-base names is read: it is an input too."""
    base = app.parent / "base.tar"
    docker_archive_old(base, [BASE])
    before = base.read_bytes()
    words = (f"{app}:app:1", "--keep-base", base, "-t", "new:1", "-o", base, "--force")
    assert_fails(run("squash", *words), 2, str(base), "input")
    assert base.read_bytes() == before


def test_nothing_is_written_into_an_input_layout_but_an_image(tmp_path: Path) -> None:
    """An archive is not written over a file of the layout that is read."""
    layout = tmp_path / "layout"
    oci_layout(layout, [APP])
    before = snapshot(layout)
    blob = next((layout / "blobs/sha256").iterdir())
    for output in (layout / "index.json", blob):
        result = run("squash", layout, *KEEP_2, "-o", output, "--force")
        assert_fails(result, 2, str(layout), "input")
    assert snapshot(layout) == before


def test_a_report_replaces_no_input_and_no_output(app: Path, tmp_path: Path) -> None:
    """--report FILE that is the input or the output is a usage error, before anything is written."""
    before = app.read_bytes()
    output = tmp_path / "out.tar"
    for report in (app, output):
        words = (f"{app}:app:1", *KEEP_2, "-o", output, "--report", report)
        assert_fails(run("squash", *words), 2, "--report")
    assert app.read_bytes() == before
    assert not output.exists()


@pytest.mark.parametrize("report", ["no/where.json", "."])
def test_a_report_that_cannot_be_written_is_told_first(report: str, app: Path, tmp_path: Path) -> None:
    """Where the report cannot be written, nothing else is."""
    output = tmp_path / "out.tar"
    words = (f"{app}:app:1", *KEEP_2, "-o", output, "--report", tmp_path / report)
    result = run("squash", *words)
    assert result.code in (1, 2, 5)
    assert_fails(result, result.code, str(tmp_path))
    assert not output.exists()


SPECIAL = {"a device": "/dev/null", "a folder": ".", "a folder of files": "files", "a pipe": "pipe"}


@pytest.mark.parametrize("name", SPECIAL)
def test_an_output_that_is_no_file_is_refused(name: str, app: Path, tmp_path: Path) -> None:
    """Devices, pipes by name, and folders that are no layouts are no outputs, with or without --force."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/notes").write_bytes(b"mine")
    os.mkfifo(tmp_path / "pipe")
    output = tmp_path / SPECIAL[name]
    for words in ((output,), (output, "--force")):
        assert_fails(run("squash", f"{app}:app:1", *KEEP_2, "-o", *words), 2, str(output))
    assert (tmp_path / "files/notes").read_bytes() == b"mine"
    assert_fails(run("squash", f"{app}:app:1", *KEEP_2, "-o", f"oci:{tmp_path}/files"), 2)
    assert listing(tmp_path / "files") == ["notes"]


LAYOUTS: dict[str, bytes] = {
    "no JSON": b"{", "no object": b"[]", "manifests that are none": b'{"manifests":null}',
    "an entry that is none": b'{"manifests":["x"]}',
    "annotations that are none": b'{"manifests":[{"annotations":"x"}]}',
    "depth without end": b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_broken_layout_is_not_written_into(name: str, app: Path, tmp_path: Path) -> None:
    """An index.json that cannot be understood is invalid (4), named, and left as it is."""
    layout = tmp_path / "layout"
    oci_layout(layout, [BASE])
    (layout / "index.json").write_bytes(LAYOUTS[name])
    before = snapshot(layout)
    result = run("squash", f"{app}:app:1", *KEEP_2, "-o", f"oci:{layout}")
    assert_fails(result, 4, str(layout / "index.json"))
    assert snapshot(layout) == before


def test_names_of_others_in_a_layout_are_left_alone(app: Path, tmp_path: Path) -> None:
    """What other tools wrote as names, and documents that are odd but legal, do not keep a run from
    adding to a layout."""
    layout = tmp_path / "layout"
    oci_layout(layout, [BASE])
    odd = {"io.containerd.image.name": "BAD Name", "org.opencontainers.image.ref.name": "1"}

    def change(index: Json) -> None:
        index["manifests"][0]["annotations"] = odd
        index["annotations"] = {"a": "é"}

    change_index(layout, change)
    squash(f"{app}:app:1", *KEEP_2, "-o", f"oci:{layout}")
    assert json.loads((layout / "index.json").read_bytes())["manifests"][0]["annotations"] == odd


@pytest.mark.parametrize("how", ["cut", "turned"])
def test_a_damaged_blob_in_the_output_layout_is_told(how: str, tmp_path: Path) -> None:
    """A kept blob that the output layout has already, but damaged, is not taken for good: the run fails
    (4), names it, and does not alter it."""
    source, layout = tmp_path / "source", tmp_path / "layout"
    oci_layout(source, [APP])
    oci_layout(layout, [BASE])
    name = digest(compress(BASE.layers[0], "gzip"))
    blob = layout / blob_path(name)
    data = bytearray(blob.read_bytes())
    data[-9] ^= 1
    blob.write_bytes(data[:-1] if how == "cut" else data)
    before = snapshot(layout)
    result = run("squash", source, *KEEP_2, "-o", f"oci:{layout}")
    assert_fails(result, 4, name)
    assert snapshot(layout) == before


# --- the machine -----------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not IS_ROOT or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


LARGE = ImageSpec(
    [layer(file("a", b"a")), layer(file("b", random.Random(1).randbytes(2_000_000))), layer(file("c"))],
    ["app:1"],
)
# Its last member is short, so what it unpacks to is not what its last bytes promise.
UNPACKED = layer(file("b", bytes(3_000_000)))
SURPRISE = gzip.compress(UNPACKED[:-1024]) + gzip.compress(UNPACKED[-1024:])


def test_space_is_compared_before_the_start(small_disk: Path, tmp_path: Path) -> None:
    """Where the space cannot be enough the run fails (1) before it starts, and says how much it needs
    and how much there is."""
    docker_archive_old(tmp_path / "app.tar", [LARGE])
    (small_disk / "old.tar").write_bytes(b"old")
    for words in ((small_disk / "new.tar",), (small_disk / "old.tar", "--force"), (f"oci:{small_disk}/x",)):
        result = run("squash", tmp_path / "app.tar", "--keep-layers", "1", "-o", *words)
        assert_fails(result, 1, "MB are needed", "1.0 MB are free")
    assert listing(small_disk) == ["old.tar"]
    assert (small_disk / "old.tar").read_bytes() == b"old"


@pytest.mark.parametrize("place", ["output", "layout", "tmp-dir", "standard input"])
def test_a_full_disk_is_told(place: str, small_disk: Path, tmp_path: Path) -> None:
    """A disk that fills while the run works is one line (1) that says so; the old output stays, and
    nothing is left behind."""
    layers = [layer(file("a", bytes(3_000_000))), UNPACKED, OK]
    files = docker_files(ImageSpec(layers, ["app:1"]))
    packed = {"0.tar": zstd.compress(layers[0]), "1.tar": SURPRISE}
    source = write_archive(tmp_path / "app.tar", files | packed)
    (small_disk / "old.tar").write_bytes(b"old")
    words: tuple[Arg, ...] = ("--keep-layers", "1", "-t", "new:1")
    if place == "output":  # the kept layer must be stored plain there, and nothing says its size before
        words = (*words, "-o", small_disk / "old.tar", "--force", "--tmp-dir", tmp_path)
    elif place == "layout":
        words = (*words, "-o", f"oci:{small_disk}/layout", "--tmp-dir", tmp_path)
    else:
        words = (*words, "-o", tmp_path / "out.tar", "--tmp-dir", small_disk)
    if place in ("standard input", "layout"):
        docker_archive_old(source, [LARGE])
    if place == "standard input":
        result = run_process("squash", *words, stdin=source.read_bytes())
    else:
        result = run("squash", source, *words)
    assert_fails(result, 1)
    assert "no space left" in result.err or "MB are free" in result.err
    assert listing(small_disk) == ["old.tar"]
    assert (small_disk / "old.tar").read_bytes() == b"old"
    assert not (tmp_path / "out.tar").exists()


def test_a_limit_on_files_is_told(tmp_path: Path) -> None:
    """A file that may not grow further (ulimit -f) is one line (1), and nothing is left behind."""
    docker_archive_old(tmp_path / "app.tar", [LARGE])
    (tmp_path / "out").mkdir()
    script = 'ulimit -f 1024; exec "$@"'
    words = (*COMMAND, "squash", tmp_path / "app.tar", "--keep-layers", "1", "-o", tmp_path / "out/x.tar")
    made = subprocess.run(["sh", "-c", script, "sh", *map(str, words)], capture_output=True, timeout=60)
    assert_fails(Result(made.returncode, b"", made.stderr.decode()), 1, "File too large")
    assert listing(tmp_path / "out") == []


def test_a_reader_that_goes_away_is_told(tmp_path: Path) -> None:
    """A closed pipe is one line (1): the image is not whole."""
    docker_archive_old(tmp_path / "app.tar", [LARGE])
    with spawn("squash", tmp_path / "app.tar", "--keep-layers", "1", "-o", "-") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        process.wait(60)
    assert_fails(Result(process.returncode, b"", err), 1, "standard output")


def test_a_summary_that_nobody_reads_harms_nothing(app: Path, tmp_path: Path) -> None:
    """The image is whole though the reader of the summary went away, and nothing else is said."""
    read, write = os.pipe()
    os.close(read)
    result = _run_with(
        subprocess.DEVNULL, "squash", f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar", stdout=write
    )
    os.close(write)
    assert "Traceback" not in result.err
    assert result.code in (0, 1)
    read_image(tmp_path / "out.tar")


@pytest.mark.parametrize("stream", ["<&-", ">&-", "2>&-"])
def test_closed_streams_harm_nothing(stream: str, app: Path, tmp_path: Path) -> None:
    """A run whose standard input, output or error is closed writes its file and exits with 0."""
    words = (*COMMAND, "squash", f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar")
    script = f'exec "$@" {stream}'
    made = subprocess.run(["sh", "-c", script, "sh", *map(str, words)], capture_output=True, timeout=60)
    assert (made.returncode, made.stderr) == (0, b"")
    read_image(tmp_path / "out.tar")


@pytest.mark.parametrize(("stream", "word"), [("<&-", "-"), (">&-", "app.tar")])
def test_closed_streams_that_are_needed_are_told(stream: str, word: str, app: Path) -> None:
    """Standard input that is to be read, and standard output that is to be written, must be open."""
    words = (*COMMAND, "squash", word if word == "-" else f"{app}:app:1", *KEEP_2, "-o", "-")
    script = f'exec "$@" {stream}'
    made = subprocess.run(["sh", "-c", script, "sh", *map(str, words)], capture_output=True, timeout=60)
    assert made.returncode in (2, 5)
    assert_fails(Result(made.returncode, b"", made.stderr.decode()), made.returncode)


def test_a_system_without_unnamed_files_gets_the_same(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file cannot be made without a name, hidden ones give the same bytes, replace an old output
    as well, and are gone after a run that fails."""
    words = (f"{app}:app:1", *KEEP_2)
    squash(*words, "-o", tmp_path / "with.tar")
    # What an older kernel makes of the flag: an ordinary open of the folder, which fails.
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY, raising=False)
    squash(*words, "-o", tmp_path / "without.tar")
    squash(*words, "-o", tmp_path / "without.tar", "--force")
    squash(*KEEP_BASE, "-o", tmp_path / "piped.tar", stdin=app.read_bytes())
    squash(*words, "-o", f"oci:{tmp_path}/layout")
    assert (tmp_path / "without.tar").read_bytes() == (tmp_path / "with.tar").read_bytes()
    assert read_image(tmp_path / "layout").layers == read_image(tmp_path / "with.tar").layers
    read_image(tmp_path / "piped.tar")
    assert not [name for name in listing(tmp_path) if "/." in f"/{name}"]
    for path in ("with.tar", "without.tar", "piped.tar"):
        (tmp_path / path).unlink()
    shutil.rmtree(tmp_path / "layout")
    write_archive(app, docker_files() | {"3.tar": OK})
    assert_refused(app, tmp_path, 4, "layer 3")


# --- interrupts ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that takes seconds to squash with the highest level of gzip: eight letters in no
    order have matches everywhere."""
    path = tmp_path_factory.mktemp("slow") / "slow.tar"
    text = random.Random(3).randbytes(24_000_000).translate(bytes(b % 8 for b in range(256)))
    image = on_base(BASE, layer(file("text", text), file("w")), layer(whiteout("w")), tags=["app:1"])
    docker_archive_old(path, [image])
    return path


def start_slow(slow: Path, *output: Arg) -> subprocess.Popen[bytes]:
    """Start a squash of it that is sure to be still at work when it has begun to write."""
    words = ("squash", slow, *KEEP_2, "--format", "oci", "--compress", "gzip:9", "--jobs", "1")
    return spawn(*words, "-o", *output, start_new_session=True)


def wait_for_file(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until the process has a file in this folder, named or not, with something in it."""
    limit = time.monotonic() + 30
    while time.monotonic() < limit:
        assert process.poll() is None, "it was done too soon"
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            try:
                inside = os.readlink(link).startswith(f"{folder}/")
                if inside and link.stat().st_size:
                    return
            except OSError:
                continue
        time.sleep(0.01)
    raise AssertionError("it never began to write")


@needs_proc
@pytest.mark.parametrize("place", ["new file", "old file", "new layout", "layout"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_a_run_that_is_stopped_leaves_nothing(
    number: signal.Signals, place: str, slow: Path, tmp_path: Path
) -> None:
    """Interrupted (130), terminated or killed while it works: the old output stays as it was, and no
    name is left, hidden ones included."""
    (tmp_path / "old.tar").write_bytes(b"old")
    oci_layout(tmp_path / "layout", [ImageSpec([OK], ["other:1"])])
    before = snapshot(tmp_path), listing(tmp_path)
    output: dict[str, tuple[Arg, ...]] = {
        "new file": (tmp_path / "new.tar",),
        "old file": (tmp_path / "old.tar", "--force"),
        "new layout": (f"oci:{tmp_path}/new",),
        "layout": (f"oci:{tmp_path}/layout",),
    }
    with start_slow(slow, *output[place]) as process:
        wait_for_file(process, tmp_path)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err.strip() == b"squashkit: interrupted; nothing was written"
    else:
        assert process.returncode == -number
        assert err == b""
    assert snapshot(tmp_path) == before[0]
    made = [name for name in listing(tmp_path) if name not in before[1]]
    if number == signal.SIGINT:
        assert made == []
    else:  # empty folders of a layout that was to be are no harm
        assert set(made) <= {"new", "new/blobs", "new/blobs/sha256"}


def wait_for_work(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until the process has had a processor for so long."""
    limit = time.monotonic() + 60
    spent = 0.0
    while spent < seconds:
        assert process.poll() is None, "it was done too soon"
        assert time.monotonic() < limit, "it does not work"
        time.sleep(0.05)
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@needs_proc
def test_an_interrupt_is_heard_while_zstd_is_at_work(slow: Path, tmp_path: Path) -> None:
    """Ctrl-C in the midst of a compression that takes half a minute ends the run long before that, with
    130, and nothing is written."""
    words = ("squash", slow, *KEEP_2, "--compress", "zstd:19", "--jobs", "2", "-o", "oci:new")
    with spawn(*words, cwd=tmp_path, start_new_session=True) as process:
        wait_for_work(process, 1.5)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - began
    assert (process.returncode, err.strip()) == (130, b"squashkit: interrupted; nothing was written")
    assert listing(tmp_path) == []
    assert took < 15


def wait_until_full(process: subprocess.Popen[bytes], fd: int) -> None:
    """Until the pipe that the process writes to takes no more."""
    limit = time.monotonic() + 30
    waiting = array.array("i", [0])
    before = -1
    while not waiting[0] or waiting[0] != before:
        assert process.poll() is None, "it was done too soon"
        assert time.monotonic() < limit, "it never filled the pipe"
        before = waiting[0]
        time.sleep(0.05)
        fcntl.ioctl(fd, termios.FIONREAD, waiting)


@pytest.mark.parametrize("reader", [pytest.param("stays", marks=needs_proc), "goes"])
def test_an_interrupted_pipe_ends(reader: str, tmp_path: Path) -> None:
    """Ctrl-C while standard output is full ends the run with 130, whether its reader waits or is gone."""
    docker_archive_old(tmp_path / "app.tar", [LARGE])
    words = ("squash", tmp_path / "app.tar", "--keep-layers", "2", "-o", "-")
    with spawn(*words, start_new_session=True) as process:
        assert process.stdout is not None
        wait_until_full(process, process.stdout.fileno())
        process.send_signal(signal.SIGINT)
        if reader == "goes":
            process.stdout.close()
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail("it waits for its reader")
    assert code == 130


@needs_proc
def test_an_interrupt_while_it_waits_for_input(tmp_path: Path) -> None:
    """Ctrl-C while standard input is waited for ends the run with 130 and one line."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    output = tmp_path / "out.tar"
    with spawn("squash", *KEEP_2, "-o", output, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write((tmp_path / "app.tar").read_bytes()[:9000])
        process.stdin.flush()
        wait_for_file(process, tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        err = process.stderr.read()
        code = process.wait(20)
        process.stdin.close()
    assert (code, err.strip()) == (130, b"squashkit: interrupted; nothing was written")
    assert listing(tmp_path) == ["app.tar"]


# --- options ---------------------------------------------------------------------------------


USAGE: dict[str, tuple[str, ...]] = {
    "an unknown option": ("--nope",),
    "two images": ("another.tar",),
    "an unknown format": ("--format", "tar"),
    "an unknown codec": ("--compress", "lz4"),
    "a level of nothing": ("--compress", "none:1"),
    "a level too high": ("--compress", "gzip:10"),
    "a level of none": ("--compress", "zstd:0"),
    "a level that is no number": ("--compress", "gzip:x"),
    "a level that is no digit": ("--compress", "gzip:\xb2"),
    "half a platform": ("--platform", "linux"),
    "too much of a platform": ("--platform", "a/b/c/d"),
    "no threads": ("--jobs", "0"),
    "too many threads": ("--jobs", "65"),
    "unknown whiteouts": ("--whiteouts", "none"),
    "unknown parents": ("--symlink-parents", "x"),
    "an unknown history": ("--history", "x"),
    "a time that is none": ("--created", "yesterday"),
    "a time without a zone": ("--created", "2018-05-01T12:00:00"),
    "a day that is none": ("--created", "2018-02-30T12:00:00Z"),
    "an hour that is none": ("--created", "2018-05-01T25:00:00Z"),
    "digits of another script": ("--created", "٢٠١٨-05-01T12:00:00Z"),
    "a temporary folder that is none": ("--tmp-dir", "/nowhere/at/all"),
    "a name in capitals": ("-t", "APP:1"),
    "a name of nothing": ("-t", ""),
    "a tag of nothing": ("-t", "app:"),
    "a tag that is none": ("-t", "app:a b"),
    "a name with a digest": ("-t", "app@sha256:" + "0" * 64),
    "an output of nothing": ("-o", ""),
    "an output without a path": ("-o", "oci:"),
    "an output to a daemon in another form": ("-o", "docker-daemon:app:1", "--format", "oci"),
    "an output to a daemon by digest": ("-o", f"docker-daemon:app@sha256:{'0' * 64}"),
    "an output to no registry's name": ("-o", "docker://App"),
    "an output to a registry by digest": ("-o", f"docker://localhost:1/app@sha256:{'0' * 64}"),
    "a tag in another repository": ("-o", "docker://localhost:1/app:1", "-t", "localhost:1/other:1"),
    "a tag to replace in a file": ("-o", "x.tar", "--replace"),
    "a digest alone for a file": ("-o", "x.tar", "--push-by-digest"),
    "an archive in two forms": ("-o", "oci-archive:x.tar", "--format", "docker"),
    "a layout in docker's form": ("-o", "oci:x", "--format", "docker"),
}  # fmt: skip


@pytest.mark.parametrize("name", USAGE)
def test_bad_options_are_a_usage_error(
    name: str, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options that are wrong or do not fit together are a usage error (2), before anything is written."""
    monkeypatch.chdir(tmp_path)
    output = () if "-o" in USAGE[name] else ("-o", "out.tar")
    assert_fails(run("squash", f"{app}:app:1", *KEEP_2, *output, *USAGE[name]), 2)
    assert listing(tmp_path) == ["in", "in/app.tar"]


@pytest.mark.parametrize("epoch", ["-1", "x", "1.5", "99999999999999", "9" * 30, "\xb2"])
def test_a_bad_epoch_is_a_usage_error(epoch: str, app: Path, tmp_path: Path) -> None:
    """A SOURCE_DATE_EPOCH that is no number of seconds, or no time that a calendar has, is refused."""
    words = (f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar")
    result = run("squash", *words, env={"SOURCE_DATE_EPOCH": epoch})
    assert_fails(result, 2, "SOURCE_DATE_EPOCH")


@pytest.mark.parametrize("image", ["", "docker:/x", "docker-daemon:", "docker-archive:", "oci:"])
def test_a_bad_reference_is_a_usage_error(image: str, tmp_path: Path) -> None:
    """A reference that names nothing, or a transport that is not there, is refused with what there is."""
    word = "NAME" if image == "docker-daemon:" else "PATH" if image else "path"
    assert_fails(run("squash", image, *KEEP_2, "-o", tmp_path / "out.tar"), 2, word)


def test_no_output_says_what_to_pass(app: Path) -> None:
    """A file without -o names -o and --dry-run."""
    assert_fails(run("squash", f"{app}:app:1", *KEEP_2), 2, "-o PATH", "--dry-run")


def test_an_image_is_never_written_to_a_terminal(app: Path) -> None:
    """Where standard output or input is a terminal, a usage error says what to do instead."""
    pty = pytest.importorskip("pty")
    master, terminal = pty.openpty()
    for words, stdin in (
        ((f"{app}:app:1", "-o", "-"), subprocess.DEVNULL),
        ((f"{app}:app:1", "-o", "docker-archive:-"), subprocess.DEVNULL),
        (("-",), app.open("rb")),
    ):
        result = _run_with(stdin, "squash", *words, *KEEP_BASE, stdout=terminal)
        assert_fails(result, 2, "terminal", "-o PATH")
    assert_fails(_run_with(terminal, "squash", *KEEP_BASE), 2, "IMAGE")
    os.close(terminal)
    os.close(master)


# --- what is said ----------------------------------------------------------------------------


def test_json_goes_to_standard_output(app: Path, tmp_path: Path) -> None:
    """--json prints the report and nothing else; --report writes the same to a file."""
    words = (f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar", "--report", tmp_path / "report.json")
    result = squash(*words, "--json")
    assert result.json == json.loads((tmp_path / "report.json").read_bytes())
    assert result.err == ""


@pytest.mark.parametrize("output", [("-o", "-"), ("-o", "docker-archive:-"), ("-o", "oci-archive:-")])
def test_json_and_the_image_do_not_share_standard_output(
    output: tuple[str, ...], app: Path, tmp_path: Path
) -> None:
    """With the image on standard output --json needs --report; without it nothing is written."""
    words = (f"{app}:app:1", *KEEP_2, *output, "--json")
    refused = run("squash", *words)
    assert_fails(refused, 2, "--report")
    assert refused.out == b""
    result = squash(*words, "--report", tmp_path / "report.json")
    image = read_image(result.out)
    assert json.loads((tmp_path / "report.json").read_bytes())["image_id"]["after"] == image.image_id


def test_messages_go_to_standard_error(app: Path, tmp_path: Path) -> None:
    """The summary goes to standard output with a file, and to standard error with the image there; -q
    says nothing at all, and no bar is drawn where there is no terminal."""
    words = (f"{app}:app:1", *KEEP_2)
    with_file = squash(*words, "-o", tmp_path / "1.tar")
    assert "Wrote new:1" in with_file.text
    assert with_file.err == ""
    assert "Wrote new:1" in squash(*words, "-o", "-").err
    for quiet in ("-q", "--quiet"):
        result = squash(*words, "-o", tmp_path / f"{quiet}.tar", quiet)
        assert (result.out, result.err) == (b"", "")
        assert squash(*words, "-o", "-", quiet).err == ""


CONTESTED = on_base(
    ImageSpec([layer(D, file("d/a"), symlink("l", "d"))], ["base:1"]),
    layer(*(file(f"l/{n}") for n in range(9))),
    layer(directory("d"), whiteout("d/a")),
    tags=["app:1"],
)


def test_verbose_says_more(tmp_path: Path) -> None:
    """-v lists every contested path, and the space that is needed and free, on standard error."""
    docker_archive_old(tmp_path / "app.tar", [CONTESTED])
    words = (tmp_path / "app.tar", "--keep-layers", "1", "-t", "new:1", "--dry-run")
    report = squash(*words, "--json").json
    brief, verbose = squash(*words), squash(*words, "-v")
    assert len(report["contested"]) >= 1
    for one in report["contested"]:
        assert one["path"] in verbose.text
    assert len(verbose.text) >= len(brief.text)
    real = squash(*words[:-1], "-o", tmp_path / "out.tar", "-v")
    assert "free" in real.err


def test_a_dry_run_writes_nothing(app: Path, tmp_path: Path) -> None:
    """--dry-run leaves no file, needs no output, and says so."""
    before = listing(tmp_path)
    for words in ((), ("-o", tmp_path / "out.tar"), ("-o", "-"), ("-o", f"oci:{tmp_path}/layout")):
        for flag in ("--dry-run", "-n"):
            result = squash(f"{app}:app:1", *KEEP_2, *words, flag)
            assert "nothing was written" in result.text
            assert listing(tmp_path) == before


@pytest.mark.parametrize(
    "keep", [("--keep-layers", "2"), ("--all",), ("--segments", "=1,2,2"), ("--keep-layers", "5")]
)
def test_a_dry_run_s_numbers_are_the_real_ones(keep: tuple[str, ...], app: Path, tmp_path: Path) -> None:
    """For plain output a dry run reports what the real run then does: layers, bytes, what is dropped."""
    words = (f"{app}:app:1", *keep, "-t", "new:1", "--json")
    planned = squash(*words, "--dry-run").json
    done = squash(*words, "-o", tmp_path / "out.tar").json
    same = (
        "source", "changed", "base", "tags", "platform", "layers", "stored_bytes", "shared_bytes",
        "new_layers", "dropped", "contested", "copied_links", "links_into_new_layers", "guaranteed",
    )  # fmt: skip
    assert {key: planned[key] for key in same} == {key: done[key] for key in same}
    assert [one["size"] for one in planned["result_layers"]] == [
        one["size"] for one in done["result_layers"]
    ]
    assert (planned["dry_run"], planned["output"]) == (True, None)


def test_a_dry_run_knows_its_output(app: Path, tmp_path: Path) -> None:
    """With -o a dry run is of that output: its form decides what may be asked for, and its reference
    names the result."""
    words = (f"{app}:app:1", "--keep-layers", "2", "--compress", "zstd", "--json")
    output = ("-o", f"oci:{tmp_path}/layout:v2")
    planned, done = squash(*words, *output, "--dry-run").json, squash(*words, *output).json
    assert planned["tags"] == done["tags"]
    refused = run("squash", *words, "-o", tmp_path / "x.tar", "--dry-run")
    assert_fails(refused, 2, "--format oci")


def test_a_dry_run_finds_the_same_faults(tmp_path: Path) -> None:
    """A layer that does not match its digest fails in a dry run too."""
    write_archive(tmp_path / "app.tar", docker_files() | {"3.tar": OK})
    assert_fails(run("squash", tmp_path / "app.tar", *KEEP_2, "--dry-run"), 4, "layer 3")


def test_the_temporary_folder_is_left_empty(tmp_path: Path) -> None:
    """--tmp-dir is used for what must be unpacked, and nothing stays there; nor in the output's folder."""
    kaniko_archive(tmp_path / "app.tar", [APP])
    for name in ("tmp", "out"):
        (tmp_path / name).mkdir()
    words = (*KEEP_2, "--tmp-dir", tmp_path / "tmp")
    squash(tmp_path / "app.tar", *words, "-o", tmp_path / "out/x.tar")
    squash(*words, "-o", tmp_path / "out/y.tar", stdin=(tmp_path / "app.tar").read_bytes())
    assert listing(tmp_path / "tmp") == []
    assert listing(tmp_path / "out") == ["x.tar", "y.tar"]


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(place: str, tmp_path: Path) -> None:
    """--debug, before or after the command, shows where it failed, and keeps the exit code."""
    words = ["squash", str(tmp_path / "nowhere.tar"), "--all", "-o", str(tmp_path / "out.tar")]
    words = ["--debug", *words] if place == "before" else [*words, "--debug"]
    result = run_process(*words)
    assert "Traceback (most recent call last)" in result.err
    assert "nowhere.tar" in result.err
    assert result.code == 5


def test_paths_that_are_no_text_are_carried(app: Path, tmp_path: Path) -> None:
    """Input and output names that are no UTF-8 are read, written and reported under a strict encoding."""
    odd = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.tar")
    try:
        os.link(app, odd)
    except OSError:
        pytest.skip("this file system has only names that are text")
    env = {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8:strict"}
    for number, words in enumerate([(), ("--json",), ("--report", str(tmp_path / "report.json"))]):
        output = os.fsdecode(bytes(tmp_path) + b"/\xe9%d.tar" % number)
        result = run_process("squash", f"{odd}:app:1", *KEEP_2, "-o", output, *words, env=env)
        assert result.code == 0, result.err
        assert os.path.exists(output)
    assert json.loads((tmp_path / "report.json").read_bytes())["layers"]["after"] == 3


def test_a_summary_fits_any_encoding(tmp_path: Path) -> None:
    """What a terminal cannot show is replaced, not a crash."""
    image = on_base(
        ImageSpec([layer(directory("é"), symlink("é/l", "."))], ["base:1"]),
        layer(file("é/l/x")),
        layer(whiteout("é/l/y")),
        tags=["app:1"],
    )
    docker_archive_old(tmp_path / "app.tar", [image])
    for words in ((), ("--json",), ("-v",)):
        result = run_process(
            "squash", tmp_path / "app.tar", "--keep-layers", "1", "--dry-run", *words,
            env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        )  # fmt: skip
        assert result.code == 0, result.err


def test_control_signs_do_not_reach_the_terminal(tmp_path: Path) -> None:
    """Names and steps from an image cannot move a terminal's cursor or colour it."""
    evil = "\x1b[2J\r\x07evil"
    history: list[Json] = [{"created_by": f"{evil} {n}"} for n in range(len(APP.layers))]
    source = tmp_path / "app.tar"
    docker_archive_old(source, [ImageSpec(APP.layers, ["app:1"], history=history)])
    results = [run("squash", source, "--keep-layers", "9", "-o", tmp_path / "out.tar")]
    bad = layer(file(f"{evil}/../../x"))
    docker_archive_old(source, [ImageSpec([*APP.layers[:LAST], bad], ["app:1"])])
    results.append(run("squash", source, *KEEP_2, "-o", tmp_path / "out.tar"))
    write_archive(source, docker_files(RepoTags=[f"{evil}:1"]))
    results.append(run("squash", f"{source}:x", *KEEP_2, "-o", tmp_path / "out.tar"))
    write_archive(source, docker_files(Config=evil))
    results.append(run("squash", source, *KEEP_2, "-o", tmp_path / "out.tar"))
    for result in results:
        assert result.code != 0
        assert "evil" in result.err
        for sign in "\x1b\r\x07":
            assert sign not in result.err


# --- the other commands ----------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    """`completion` prints a script for each shell, and refuses others."""
    result = run("completion", shell)
    assert result.code == 0
    assert "_SQUASHKIT_COMPLETE" in result.text
    assert_fails(run("completion", "cmd"), 2)


@pytest.mark.parametrize("words", [(), ("squash",), ("demo",), ("completion",)])
def test_every_help_has_an_example(words: tuple[str, ...]) -> None:
    """--help and -h of every command show how it is called."""
    for flag in ("--help", "-h"):
        result = run(*words, flag)
        assert result.code == 0
        assert "Example" in result.text
        assert "squashkit " + " ".join(words) in result.text


def test_no_command_and_unknown_ones_are_usage_errors() -> None:
    """Without a command there is help, with an unknown one a usage error."""
    assert run().code in (0, 2)
    assert_fails(run("squish"), 2, "squish")


def test_the_version_is_told() -> None:
    """--version prints it."""
    import squashkit

    assert squashkit.__version__ in run("--version").text


def test_the_demo_leaves_what_it_is_asked_to(tmp_path: Path) -> None:
    """`demo --keep DIR` leaves archives there that are what it showed."""
    result = run("demo", "--keep", tmp_path / "demo")
    assert result.code == 0, result.err
    assert "Checked" in result.text
    assert len(validate(tmp_path / "demo/app-squashed.tar")) == 1


def test_an_oci_archive_is_verified_like_a_layout(tmp_path: Path) -> None:
    """A bit turned in any blob of an OCI archive is found, wherever it is."""
    source = tmp_path / "app.tar"
    oci_archive(source, [APP])
    data = source.read_bytes()
    for number in range(KEPT + 1):
        at = data.index(compress(APP.layers[number], "gzip")) + 25
        source.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        result = run("squash", source, *KEEP_2, "-o", tmp_path / "out.tar")
        assert_fails(result, 4, f"layer {number}")
        assert not (tmp_path / "out.tar").exists()
