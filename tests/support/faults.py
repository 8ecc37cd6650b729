"""Images and layers with one fault each, the word that tells it, and a check that nothing is written."""

from __future__ import annotations

import gzip
import lzma
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import (
    ImageSpec,
    Member,
    directory,
    fifo,
    file,
    hardlink,
    layer,
    oci_layout,
    sparse,
    symlink,
)
from tests.support.runner import (
    APP,
    BASE,
    KEEP_2,
    OCI,
    Arg,
    Change,
    assert_fails,
    change_config,
    change_index,
    change_manifest,
    docker_files,
    run,
    snapshot,
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


# --- archives -------------------------------------------------------------------------------


def plain(cut: int | None = None) -> bytes:
    """A docker archive, cut short."""
    files = docker_files()
    members = (file(name, data) for name, data in files.items() if isinstance(data, bytes))
    return layer(*members)[:cut]


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


# --- layouts --------------------------------------------------------------------------------


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


# --- layers ---------------------------------------------------------------------------------


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


# --- the machine ----------------------------------------------------------------------------


LARGE = ImageSpec(
    [layer(file("a", b"a")), layer(file("b", random.Random(1).randbytes(2_000_000))), layer(file("c"))],
    ["app:1"],
)
