"""Every container form in, every form out: the same root file system, the same base, loadable documents."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from squashkit.engine.layers import LayerStore
from squashkit.jobs.squash import squash
from squashkit.oci.documents import Platform
from squashkit.options import Format, Keep, Run, Write
from squashkit.plan.base import choose_image
from squashkit.transports.open import open_source
from squashkit.transports.reference import parse_reference
from squashkit.transports.session import Session
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    hardlink,
    kaniko_archive,
    layer,
    oci_archive,
    oci_layout,
    on_base,
    skopeo_archive,
    whiteout,
)
from tests.support.linter import lint
from tests.support.model import apply_layers, differences

BASE = ImageSpec(
    layers=[layer(directory("d", mode=0o711), file("d/a", b"A"), file("d/b", b"B"))], tags=["base:1"]
)
APP = on_base(
    BASE,
    layer(directory("d", mode=0o711), file("d/big", b"x" * 5000), file("d/n", b"n"), hardlink("l", "d/n")),
    layer(directory("d", mode=0o711), whiteout("d/big"), whiteout("d/a")),
    layer(directory("d", mode=0o711), file("d/n", b"n", mode=0o755)),
    tags=["app:1"],
)
TWICE = on_base(BASE, *[layer(file("n", b"n"))] * 2, layer(file("z", b"zz")), tags=["app:1"])


def whole(codec: Callable[[bytes], bytes]) -> Callable[[Path, Sequence[ImageSpec]], None]:
    def write(path: Path, images: Sequence[ImageSpec]) -> None:
        docker_archive_old(path, images)
        path.write_bytes(codec(path.read_bytes()))

    return write


FORMS: dict[str, Callable[[Path, Sequence[ImageSpec]], object]] = {
    "docker-old": docker_archive_old,
    "docker-25": docker_archive_25,
    "docker-25-gzip": lambda path, images: docker_archive_25(path, images, compress="gzip"),
    "docker-25-zstd": lambda path, images: docker_archive_25(path, images, compress="zstd"),
    "skopeo": skopeo_archive,
    "kaniko": kaniko_archive,
    "layout": oci_layout,
    "layout-gzip": lambda path, images: oci_layout(path, images, compress="gzip"),
    "layout-zstd": lambda path, images: oci_layout(path, images, compress="zstd"),
    "oci-archive": lambda path, images: oci_archive(path, images, compress="gzip"),
    "whole-gzip": whole(gzip.compress),
    "whole-xz": whole(lzma.compress),
    "whole-bzip2": whole(bz2.compress),
}


def layers_of(reference: str, folder: Path) -> list[bytes]:
    """The uncompressed layers of the one image there."""
    with Session(Run(jobs=1, tmp_dir=folder)) as session, LayerStore(session) as layers:
        source = open_source(session, parse_reference(reference))
        image = choose_image(
            source.images, source.reference.image, None, Platform("linux", "amd64"), reference
        )
        blobs = [layers.bytes_of(one) for one in image.layers]
        return [blob.read_at(0, blob.size) for blob in blobs]


def check_archive(path: Path, *, docker: bool) -> dict[str, Any]:
    """An archive's members are what its documents and their own names say; returns the manifest."""
    with tarfile.open(path) as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    for name, data in members.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(data).hexdigest() == name.rpartition("/")[2]
    index = json.loads(members["index.json"])
    digest = index["manifests"][0]["digest"].removeprefix("sha256:")
    manifest = json.loads(members[f"blobs/sha256/{digest}"])
    for descriptor in [manifest["config"], *manifest["layers"]]:
        data = members["blobs/sha256/" + descriptor["digest"].removeprefix("sha256:")]
        assert len(data) == descriptor["size"]
    assert ("manifest.json" in members) == docker
    if docker:
        entry = json.loads(members["manifest.json"])[0]
        assert entry["RepoTags"] == ["app:new"]
        assert entry["Layers"] == [
            "blobs/sha256/" + one["digest"].removeprefix("sha256:") for one in manifest["layers"]
        ]
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    return manifest  # type: ignore[no-any-return]


@pytest.mark.parametrize("image", [APP, TWICE], ids=["app", "repeated-layer"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_and_out(form: str, image: ImageSpec, tmp_path: Path) -> None:
    """The result of every form, written in every form, is the source's root file system on its base."""
    source = tmp_path / "source"
    FORMS[form](source, [image, BASE])
    expected = apply_layers(image.layers)
    outputs: dict[str, tuple[str, Format | None]] = {
        "docker": (f"{tmp_path}/docker.tar", "docker"),
        "oci": (f"{tmp_path}/oci.tar", "oci"),
        "layout": (f"oci:{tmp_path}/layout", None),
    }
    for name, (output, format) in outputs.items():
        options = Write(tags="app:new", format=format)
        report = squash(f"{source}:app:1", output, keep="base:1", write=options, run=Run(jobs=2))
        assert report.changed
        made = layers_of(output, tmp_path)
        assert made[0] == BASE.layers[0]
        assert lint(BASE.layers, made[1]) == []
        assert differences(expected, apply_layers(made)) == []
        if name != "layout":
            check_archive(Path(output), docker=name == "docker")


@pytest.mark.parametrize("codec", ["none", "gzip", "gzip:1", "zstd"])
def test_compression_and_threads_change_no_content(codec: str, tmp_path: Path) -> None:
    """Stored in any codec the new layer is the same, and the archive is the same from any number of
    threads."""
    source = tmp_path / "source.tar"
    docker_archive_old(source, [APP, BASE])
    made = []
    for jobs in (1, 2, 5):
        output = tmp_path / f"{jobs}.tar"
        options = Write(tags="app:new", format="oci", compress=codec)
        squash(f"{source}:app:1", str(output), keep="base:1", write=options, run=Run(jobs=jobs))
        made.append(output.read_bytes())
    assert made[0] == made[1] == made[2]
    assert differences(apply_layers(APP.layers), apply_layers(layers_of(str(output), tmp_path))) == []


def test_several_runs_and_codecs_share_an_archive(tmp_path: Path) -> None:
    """Two new compressed layers in one archive do not overlap, and a repeated one is stored once."""
    extra = layer(file("m", b"m"))
    image = on_base(BASE, extra, extra, BASE.layers[0], layer(file("k")), layer(file("k")), tags=["app:1"])
    source, output = tmp_path / "s.tar", tmp_path / "o.tar"
    docker_archive_old(source, [image])
    for codec in ("gzip", "none"):
        options = Write(tags="app:new", force=True, compress=codec)
        squash(str(source), str(output), keep=Keep(segments="=1,2,=1,2"), write=options)
        check_archive(output, docker=True)
        assert differences(apply_layers(image.layers), apply_layers(layers_of(str(output), tmp_path))) == []


def test_a_pipe_gives_the_same_bytes_as_a_file(tmp_path: Path) -> None:
    """From standard input to standard output comes the very archive that a file would be."""
    source, output = tmp_path / "s.tar", tmp_path / "o.tar"
    docker_archive_old(source, [APP, BASE])
    squash(f"{source}:app:1", str(output), keep="base:1", write=Write(tags="app:new"))
    command = [sys.executable, "-m", "squashkit", "squash", "--keep-base", "base:1", "-t", "app:new"]
    piped = subprocess.run(command, input=source.read_bytes(), capture_output=True, check=True)
    assert piped.stdout == output.read_bytes()
    assert b"Wrote app:new to standard output" in piped.stderr


def test_an_existing_layout_keeps_what_it_has(tmp_path: Path) -> None:
    """Squashing within a layout adds blobs and a tag; old ones stay, and --force moves only the tag."""
    folder = tmp_path / "layout"
    oci_layout(folder, [APP, BASE], compress="gzip")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    once = Write(tags="app:new")
    squash(f"{folder}:app:1", str(folder), keep="base:1", write=once)
    index = json.loads((folder / "index.json").read_text())
    assert index["manifests"][:-1] == json.loads(before.pop(folder / "index.json"))["manifests"]
    assert all(path.read_bytes() == data for path, data in before.items())
    assert len(list((folder / "blobs/sha256").iterdir())) == len(before) - 1 + 3
    with pytest.raises(Exception, match="app:new already; force=True moves it"):
        squash(f"{folder}:app:1", str(folder), keep="base:1", write=once)
    moved = Write(tags="app:new", force=True)
    squash(f"{folder}:app:1", str(folder), keep=Keep(layers=2), write=moved)
    moved_to = json.loads((folder / "index.json").read_text())["manifests"]
    assert len(moved_to) == len(index["manifests"])
    assert moved_to[-1]["digest"] != index["manifests"][-1]["digest"]
    assert not list(folder.rglob(".*"))


def test_a_failed_run_leaves_nothing(tmp_path: Path) -> None:
    """A layer that does not match its digest leaves no output, the old one, and no empty layout."""
    source = tmp_path / "s.tar"
    docker_archive_old(source, [APP, BASE])
    data = source.read_bytes()
    at = data.index(b"x" * 5000)
    source.write_bytes(data[:at] + b"y" + data[at + 1 :])
    old = tmp_path / "old.tar"
    old.write_bytes(b"old")
    write = Write(tags="app:new", force=True)
    for output in (str(tmp_path / "new.tar"), str(old), f"oci:{tmp_path}/layout"):
        with pytest.raises(Exception, match="layer 1 .*: expected sha256:"):
            squash(f"{source}:app:1", output, keep="base:1", write=write)
    assert old.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == ["old.tar", "s.tar"]
