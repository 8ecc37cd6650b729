"""What is wrong with an image gets one clear line and the right exit code, and nothing is written."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    char,
    compress,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    kaniko_archive,
    layer,
    oci_archive,
    oci_layout,
)
from tests.support.faults import (
    DOCKER,
    FRAME,
    LAST,
    LAYERS,
    OK,
    PLACES,
    STREAMS,
    assert_refused,
    break_layout,
    plain,
)
from tests.support.runner import (
    APP,
    KEEP_2,
    KEPT,
    D,
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
    spawn,
    squash,
    write_archive,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


# --- archives -------------------------------------------------------------------------------


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


# --- layouts --------------------------------------------------------------------------------


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
    code = 5 if what == "manifest" and how in ("gone", "folder", "pipe") else 4
    assert_fails(Result(process.returncode, b"", err.decode()), code)
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


# --- layers ---------------------------------------------------------------------------------


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
    assert_fails(result, 4, f"layer {index}", word)
    assert_refused(source, tmp_path, 4, f"layer {index}")


def test_what_is_found_while_the_new_layer_is_written_is_told(tmp_path: Path) -> None:
    """A kept layer's damage that stops the writing of the new one is what the message tells."""
    layers = [OK, *APP.layers[1:], layer(file("large", bytes(64 << 20)))]
    files = docker_files(ImageSpec(layers, ["app:1"])) | {"0.tar": FRAME[:-3]}
    source = write_archive(tmp_path / "source.tar", files)
    assert_fails(run("squash", source, *KEEP_2, "-o", tmp_path / "probe.tar"), 4, "layer 0", "zstd")


# --- the other commands ---------------------------------------------------------------------


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
