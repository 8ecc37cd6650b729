"""`squashkit fleet pull` and `squashkit fleet freed`: of archives and layouts, and of odd fleets."""

from __future__ import annotations

from pathlib import Path

import pytest

from squashkit import fleet_freed, fleet_pull
from squashkit.plan.fleet.pull import pulls
from squashkit.plan.fleet.storage import StackLayer
from tests.support.builders import ImageSpec, oci_layout, on_base
from tests.support.fleets import blob
from tests.support.runner import Json, assert_fails, read_images, run

BASE = ImageSpec([blob("base", 9000)], ["base:1"])
APP = on_base(BASE, blob("app", 700), tags=["app:1"])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A layout with an app in two releases, a tag of the second, and their base; every layer compressed."""
    images = [BASE, APP, on_base(BASE, blob("next", 800), tags=["app:2", "app:latest"])]
    oci_layout(tmp_path / "images", images)
    return tmp_path / "images"


def told(*words: str | Path) -> Json:
    done = run("fleet", *words, "--json")
    assert done.code == 0, done.err
    document: Json = done.json
    return document


def test_what_a_host_downloads(place: Path) -> None:
    """Of each image what the host lacks; of all of them, one after another, each layer once."""
    sizes = [len(data) for data in _blobs(place, "app:1")]
    found = told("pull", f"{place}:app:1", f"{place}:app:2", "--have", f"{place}:base:1")
    assert found["have"] == ["base:1"]
    assert found["images"][0] == {
        "image": "app:1",
        "bytes": sum(sizes),
        "pulled_by_chain_bytes": sizes[1],
        "pulled_by_blob_bytes": sizes[1],
    }
    nothing = told("pull", place)
    once = sum(sizes) + len(_blobs(place, "app:2")[1])
    assert nothing["together"]["pulled_by_chain_bytes"] == once
    assert nothing["together"]["pulled_by_blob_bytes"] == once


def _blobs(place: Path, tag: str) -> list[bytes]:
    return [*read_images(place)[("base:1", "app:1", "app:2").index(tag)].blobs]


def test_hosts_differ_where_layers_move() -> None:
    """By chain a layer on others is a new one, and all that is above one that is missing; by blob it is
    there."""
    a, b, c = (StackLayer(name, size, 0) for name, size in (("a", 1), ("b", 20), ("c", 300)))
    (one, other), together = pulls([[a, b]], [[c, b], [a, b, c, c]])
    assert (one.by_chain, one.by_blob) == (320, 300)
    assert (other.whole, other.by_chain, other.by_blob) == (321, 300, 300)
    assert (together.by_chain, together.by_blob) == (620, 300)


def test_an_image_that_is_there_is_not_downloaded(place: Path) -> None:
    """A host that has the image downloads nothing, and the table says so without a digit too many."""
    done = run("fleet", "pull", f"{place}:app:1", "--have", place)
    assert done.code == 0, done.err
    assert done.text.splitlines()[1].split()[-4:] == ["0", "B", "0", "B"]
    assert "On a host that has base:1, app:1, app:2 and 1 more." in done.text


def test_what_tags_hold_alone(place: Path) -> None:
    """Two tags of one image free nothing alone, and together what the base has not."""
    found = told("freed", place, "--tag", "app:2", "--tag", "*:latest")
    tags = {one["tag"]: one for one in found["tags"]}
    assert tags["app:2"]["freed_bytes"] == tags["app:latest"]["freed_bytes"] == 0
    assert tags["app:latest"]["same_manifest"] == ["app:2"]
    assert found["together"]["tags"] == ["app:2", "app:latest"]
    assert found["together"]["blobs"] == 3
    manifest = tags["app:1"]["freed_bytes"] - len(_blobs(place, "app:1")[1])
    assert 500 < manifest < 2000, "a config and a manifest"
    assert tags["base:1"]["freed_bytes"] < 2000, "others stand on its layer"
    repositories = {one["repository"]: one for one in found["repositories"]}
    assert repositories["app"]["tags"] == 3
    assert sum(one["freed_bytes"] for one in repositories.values()) < found["bytes"]
    text = run("fleet", "freed", place, "--tag", "app:2", "--tag", "*:latest").text
    assert "The 2 chosen tags together would free " in text
    assert "2 tags have their manifest in common with others" in text
    assert "Nothing but 4 tags was looked at" in text


@pytest.mark.parametrize("command", ["pull", "freed"])
def test_what_cannot_be_asked(command: str, place: Path) -> None:
    """No image, one that is not there, and a file that is none are one clear line."""
    assert_fails(run("fleet", command), 2, "needs images")
    assert_fails(run("fleet", command, f"{place}:app:9"), 5, "app:9")
    (place.parent / "bad.tar").write_bytes(b"x" * 2000)
    assert_fails(run("fleet", command, place.parent / "bad.tar"), 4, "no readable image archive")
    if command == "pull":
        assert_fails(run("fleet", "pull", place, "--have", place.parent / "none.tar"), 5, "cannot read")
    else:
        assert_fails(run("fleet", "freed", place, "--tag", "app:2", "--tag", "nope"), 2, "fits nope")


def test_of_a_scan(place: Path, tmp_path: Path) -> None:
    """What tags hold alone is the same by a scan; of downloads it is said where a scan tells them."""
    pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    assert run("fleet", "scan", place, "--into", tmp_path / "scan").code == 0
    assert told("freed", tmp_path / "scan") == told("freed", place)
    assert_fails(run("fleet", "pull", tmp_path / "scan"), 2, "is a scan", "fleet report")
    assert_fails(run("fleet", "pull", place, "--have", tmp_path / "scan"), 2, "is a scan")


def test_from_python(place: Path) -> None:
    """Both are functions, with the same numbers."""
    assert fleet_pull(str(place), have=f"{place}:base:1").json() == told(
        "pull", place, "--have", f"{place}:base:1"
    )
    assert fleet_freed([str(place)], tags="app").json() == told("freed", place, "--tag", "app")
