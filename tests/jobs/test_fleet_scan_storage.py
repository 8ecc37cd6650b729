"""`squashkit fleet storage` of a scan: the numbers of the images themselves, without reading a layer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    global_header,
    hardlink,
    layer,
    noise,
    oci_layout,
    on_base,
    opaque,
    sparse,
    symlink,
    whiteout,
)
from tests.support.fleets import SYSTEM, wasteful
from tests.support.runner import Json, assert_fails, blob_path, read_images, run
from tests.support.scans import scan


def measured(*words: object) -> Json:
    done = run("fleet", "storage", *map(str, words), "--json")
    assert done.code == 0, done.err
    return done.json


def assert_same(folder: Path, *words: object) -> None:
    """A scan of the images in a folder gives every number that they give themselves."""
    paths = sorted(folder.glob("*.tar"))
    scan(*paths, "--into", folder / "scan")
    wanted = measured(*paths, *words, "--estimate")
    hidden = [path.rename(path.with_suffix(".gone")) for path in paths]
    found = measured(folder / "scan", *words)
    for path in hidden:
        path.rename(path.with_suffix(".tar"))
    notes = found.pop("notes")
    assert [note for note in notes if not note.startswith("From a scan: ")] == wanted.pop("notes")
    assert found == wanted


ODD = ImageSpec(
    [
        layer(directory("./d/"), file("./d/g", noise(40, "g")), file("n" * 130, b"long"), format="gnu"),
        layer(file("./d/a", noise(900, "a"), mtime=1.5), sparse("holes", 9000, [(4096, noise(512, "h"))])),
        layer(
            hardlink("h", "d/a"),
            global_header({"comment": b"x"}),
            file("d/a2", noise(5, "b"), xattrs={"user.k": b"v"}),
            symlink("l", "d"),
        ),
        layer(whiteout("d/a"), file("d/a2", noise(700, "c")), directory("opt"), file("opt/x", b"y")),
        layer(opaque("opt"), file("opt/z", noise(100, "z")), global_header({"comment": b"at the end"})),
    ],
    ["odd:1"],
)


@pytest.mark.parametrize("compress", [None, "gzip", "zstd"])
def test_a_scan_gives_the_numbers_of_its_images(compress: str | None, tmp_path: Path) -> None:
    """Renamed, linked, sparse and hidden entries among them, plain layers and compressed ones."""
    images = [
        SYSTEM,
        *(wasteful(SYSTEM, name) for name in ("a", "b")),
        ODD,
        on_base(ODD, layer(file("t", b"t"))),
    ]
    for number, image in enumerate(images):
        docker_archive_25(tmp_path / f"{number}.tar", [image], compress=compress)  # type: ignore[arg-type]
    assert_same(tmp_path)
    base = tmp_path / "base"
    base.mkdir()
    docker_archive_25(base / "base.tar", [SYSTEM])
    assert_same(tmp_path, "--base", base / "base.tar", "--minimise", "host", "--max-layers", 6)


def test_an_image_with_a_bad_layer_is_left_out(tmp_path: Path) -> None:
    """A note names it; where no image is left, that is an error."""
    layout = tmp_path / "layout"
    oci_layout(layout, [wasteful(SYSTEM, "a"), ImageSpec([layer(file("b", b"b"))], ["b:1"])])
    (image,) = [one for one in read_images(layout) if "b:1" in one.names or len(one.layers) == 1]
    (layout / blob_path(image.manifest["layers"][0]["digest"])).write_bytes(b"broken")
    scan(layout, "--into", tmp_path / "scan", code=4)
    found = measured(tmp_path / "scan")
    assert len(found["images"]) == 1
    assert any(
        note.startswith("Left out: 1 image of which a layer was not read") for note in found["notes"]
    )
    scan(f"{layout}:b:1", "--into", tmp_path / "scan", code=4)
    assert_fails(run("fleet", "storage", tmp_path / "scan"), 2, "no image that is whole")


def test_as_built_needs_no_headers(tmp_path: Path) -> None:
    """`--no-scan` tells what was built, as it does of images."""
    docker_archive_25(tmp_path / "a.tar", [wasteful(SYSTEM, "a")], compress="gzip")
    scan(tmp_path / "a.tar", "--into", tmp_path / "scan")
    shutil.rmtree(tmp_path / "scan" / "headers")
    built = measured(tmp_path / "scan", "--no-scan")["strategies"]
    assert built == measured(tmp_path / "a.tar", "--no-scan")["strategies"]
    assert_fails(run("fleet", "storage", tmp_path / "scan"), 4, "headers")
