"""`--stable-from`: published layers stay as they are, be they told by images or by a scan of them."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path

import pytest

from tests.support.builders import (
    Compress,
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    layer,
    oci_layout,
    on_base,
)
from tests.support.carved import LIBRARY, SYSTEM, always_carve, apps, next_release, write
from tests.support.random_fleets import alike_fleet
from tests.support.runner import Json, assert_fails, change_manifest, put_blob, run
from tests.support.scans import contents, scan


def carve(paths: list[Path], into: Path, *words: str | Path) -> Json:
    """Squash a fleet so; what is told."""
    done = run("fleet", "squash", *paths, "--into", f"oci:{into}", "--strategy", "carve", "--json", *words)
    assert done.code == 0, done.err
    return done.json


def told(done: Json) -> Json:
    """The same without where it was written."""
    return {name: value for name, value in done.items() if name not in ("written", "images", "outputs")}


def layers_of(layout: Path, name: str) -> list[str]:
    """An image's diff_ids."""
    layers = run("inspect", f"oci:{layout}:{name}", "--json").json["layers"]
    return [one["diff_id"] for one in layers]


def layout_with(folder: Path, name: str, image: ImageSpec, blob: bytes) -> Path:
    """A layout with an image whose upper layer is stored so."""
    oci_layout(folder / name, [image])
    stored = put_blob(folder / name, blob)
    change_manifest(folder / name, lambda manifest: manifest["layers"][1].update(stored))
    return folder / name


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Three images that were carved together, as a layout."""
    (tmp_path / "apps").mkdir()
    carve(write(tmp_path / "apps", SYSTEM, *apps()), tmp_path / "published")
    return tmp_path / "published"


@pytest.fixture
def release(tmp_path: Path) -> list[Path]:
    """The base, and the next release of one of the three."""
    return write(tmp_path, SYSTEM, next_release())


def test_a_scan_gives_what_its_images_give(published: Path, release: list[Path], tmp_path: Path) -> None:
    """The same bytes in all files of the layout, and the same report."""
    scan(published, "--into", tmp_path / "scan")
    by_images = carve(release, tmp_path / "images", "--stable-from", published)
    by_scan = carve(release, tmp_path / "tables", "--stable-from", tmp_path / "scan")
    assert contents(tmp_path / "images") == contents(tmp_path / "tables")
    assert told(by_images) == told(by_scan)
    carve(release, tmp_path / "alone")
    assert contents(tmp_path / "alone") != contents(tmp_path / "tables")


@pytest.mark.parametrize("seed", range(3))
def test_any_fleet_is_carved_alike_by_a_scan(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links, whiteouts, plain published layers and compressed ones among them."""
    always_carve(monkeypatch)
    paths, images = alike_fleet(tmp_path, seed)
    bases: list[str | Path] = []
    for path, one in zip(paths, images, strict=True):
        bases += ["--base", path] if one.tags[0].startswith("base") else []
    first = [path for path, one in zip(paths, images, strict=True) if one.tags[0] != "app0:1"]
    into = tmp_path / "first.tar" if seed % 2 else f"oci:{tmp_path}/first"
    words = [*first, "--into", into, "--strategy", "carve", *bases]
    assert run("fleet", "squash", *words).code == 0
    before = into if isinstance(into, Path) else Path(into.removeprefix("oci:"))
    scan(before, "--into", tmp_path / "scan")
    by_images = carve(paths, tmp_path / "images", "--stable-from", before, *bases)
    by_scan = carve(paths, tmp_path / "tables", "--stable-from", tmp_path / "scan", *bases)
    assert contents(tmp_path / "images") == contents(tmp_path / "tables")
    assert told(by_images) == told(by_scan)


@pytest.mark.parametrize("compress", ["gzip", None])
def test_published_layers_stay_as_they_are_stored(compress: Compress, tmp_path: Path) -> None:
    """Whoever compressed them; plain ones are compressed as new ones are. What was told is there."""
    one = layer(directory("opt"), file("opt/library", LIBRARY))
    oci_layout(tmp_path / "before", [on_base(SYSTEM, one, tags=["before:1"])], compress=compress)
    scan(tmp_path / "before", "--into", tmp_path / "scan")
    release = write(tmp_path, SYSTEM, next_release())
    by_images = carve(release, tmp_path / "images", "--stable-from", tmp_path / "before")
    by_scan = carve(release, tmp_path / "tables", "--stable-from", tmp_path / "scan")
    assert contents(tmp_path / "images") == contents(tmp_path / "tables")
    assert told(by_images) == told(by_scan)
    assert f"sha256:{hashlib.sha256(one).hexdigest()}" in layers_of(tmp_path / "tables", "third:2")
    old, new = (
        {path.name for path in (tmp_path / name / "blobs/sha256").iterdir()}
        for name in ("before", "tables")
    )
    assert len(old & new) == 2 * (compress is not None)  # with the base's
    again = run("fleet", "storage", tmp_path / "tables", "--strategies", "built", "--json").json
    assert again["strategies"][0]["registry_bytes"] == by_scan["registry_bytes"]["squashed"]


@pytest.mark.parametrize("fleet_is_scan", [False, True])
def test_storage_counts_published_layers(
    fleet_is_scan: bool, published: Path, release: list[Path], tmp_path: Path
) -> None:
    """By images and by a scan alike, also where the fleet is a scan: nothing is read that a scan knows."""
    scan(published, "--into", tmp_path / "scan")
    scan(*release, "--into", tmp_path / "fleet")
    fleet = [tmp_path / "fleet"] if fleet_is_scan else release
    words = ("--strategies", "best,carve", "--estimate", "--json")
    wanted = run("fleet", "storage", *release, *words, "--stable-from", published).json
    (_, carved) = wanted["strategies"]
    blobs = {path.name: path.stat().st_size for path in (published / "blobs/sha256").iterdir()}
    assert carved["published_bytes"] in {a + b for a in blobs.values() for b in blobs.values()}
    by_images = run("fleet", "storage", *fleet, *words, "--stable-from", published).json
    published.rename(tmp_path / "hidden")
    if fleet_is_scan:
        for path in release:
            path.unlink()
    by_scan = run("fleet", "storage", *fleet, *words, "--stable-from", tmp_path / "scan").json
    assert by_images["strategies"] == by_scan["strategies"] == wanted["strategies"]
    text = run("fleet", "storage", *fleet, *words[:3], "--stable-from", tmp_path / "scan").text
    assert "Carved, it takes about 113 KB in a registry, of which 100 KB are published already: " in text


@pytest.mark.parametrize("is_true", [True, False])
def test_a_blob_that_no_scan_has_read_is_looked_at(is_true: bool, tmp_path: Path) -> None:
    """An image may have a layer in another blob than the one that was scanned: that must be the layer."""
    one = layer(directory("opt"), file("opt/library", LIBRARY))
    image = on_base(SYSTEM, one, tags=["before:1"])
    scan(layout_with(tmp_path, "read", image, gzip.compress(one, 6)), "--into", tmp_path / "scan")
    blob = gzip.compress(one if is_true else one.replace(b"library", b"LIBRARY"), 1)
    other = layout_with(tmp_path, "other", image, blob)
    assert scan(other, "--into", tmp_path / "scan")["layers"]["read"] == 0
    release = write(tmp_path, SYSTEM, next_release())
    words: list[str | Path] = ["--strategy", "carve", "--stable-from", tmp_path / "scan"]
    done = run("fleet", "squash", *release, *words, "--into", f"oci:{tmp_path}/tables")
    if is_true:
        assert done.code == 0, done.err
        carve(release, tmp_path / "images", "--stable-from", other)
        assert contents(tmp_path / "images") == contents(tmp_path / "tables")
        assert (tmp_path / "tables/blobs/sha256" / hashlib.sha256(blob).hexdigest()).exists()
    else:
        assert done.code == 4
        assert "/other:before:1: layer 1 " in done.err.splitlines()[-1]
        assert not (tmp_path / "tables").exists()


def test_new_layers_are_made_of_the_fleet_alone(tmp_path: Path) -> None:
    """Nothing is copied out of a published layer that no image has all of: it need not be there."""
    more = layer(directory("opt"), file("opt/library", LIBRARY), file("opt/more", b"more"))
    oci_layout(tmp_path / "before", [on_base(SYSTEM, more, tags=["before:1"])])
    scan(tmp_path / "before", "--into", tmp_path / "scan")
    (tmp_path / "before").rename(tmp_path / "hidden")
    fleet = write(tmp_path, SYSTEM, *apps())
    carve(fleet, tmp_path / "tables", "--stable-from", tmp_path / "scan")
    carve(fleet, tmp_path / "alone")
    assert contents(tmp_path / "tables") == contents(tmp_path / "alone")


def test_what_a_scan_names_and_is_gone_is_told(
    published: Path, release: list[Path], tmp_path: Path
) -> None:
    """In one line, where bytes of it are to be copied: nothing is written."""
    scan(published, "--into", tmp_path / "scan")
    published.rename(tmp_path / "hidden")
    into = f"oci:{tmp_path}/out"
    words: list[str | Path] = ["fleet", "squash", *release, "--strategy", "carve", "--into", into]
    done = run(*words, "--stable-from", tmp_path / "scan")
    assert done.code == 5
    assert (
        f"{published}:one:1, where the scan {tmp_path}/scan has found layers: " in done.err.splitlines()[-1]
    )
    assert not (tmp_path / "out").exists()


def test_a_scan_of_other_layers_is_told(published: Path, release: list[Path], tmp_path: Path) -> None:
    """Tables that do not belong together, or lack headers, end a run in one line."""
    scan(published, "--into", tmp_path / "scan")
    into = f"oci:{tmp_path}/out"
    words: list[str | Path] = ["fleet", "squash", *release, "--strategy", "carve", "--into", into]
    shutil.rmtree(tmp_path / "scan/headers")
    assert_fails(run(*words, "--stable-from", tmp_path / "scan"), 4, "are not there")
    scan(published, "--into", tmp_path / "scan")
    scan(release[0], "--into", tmp_path / "other")
    shutil.copy(tmp_path / "other/image_layers/images.parquet", tmp_path / "scan/image_layers")
    assert_fails(run(*words, "--stable-from", tmp_path / "scan"), 4, "scan again")


def test_what_is_left_out_of_the_fleet_may_be_published(published: Path, tmp_path: Path) -> None:
    """`--exclude` says which images are squashed, not which layers there are."""
    docker_archive_25(tmp_path / "both.tar", [SYSTEM, *apps(), next_release()], compress="gzip")
    before = set(layers_of(published, "third:1"))
    both = [tmp_path / "both.tar"]
    done = carve(both, tmp_path / "out", "--exclude", "third:1", "--stable-from", f"oci:{published}")
    assert len(before & {*layers_of(tmp_path / "out", "third:2")}) == 3
    assert done["strategy"] == "carved"


def test_a_scan_is_no_image(published: Path, release: list[Path], tmp_path: Path) -> None:
    """It is not squashed, nor measured with others."""
    scan(published, "--into", tmp_path / "scan")
    words: list[str | Path] = ["fleet", "squash", tmp_path / "scan", "--into", f"oci:{tmp_path}/out"]
    assert_fails(run(*words), 2, " is a scan, which is measured alone and has no bytes to be copied")
    assert_fails(
        run("fleet", "storage", tmp_path / "scan", *release), 2, " is a scan, which is measured alone"
    )
