"""Published layers of a real registry are used again by a scan of them, and nobody downloads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.conftest import Person
from tests.compat.registries import Registry, downloaded, mounted
from tests.support.builders import directory, file, layer, oci_layout, on_base
from tests.support.carved import LIBRARY, SYSTEM, apps, next_release, write
from tests.support.scans import contents


@pytest.fixture
def published(registry: Registry, person: Person, tmp_path: Path) -> set[str]:
    """The layers of three images that were carved together, below `carved`, but for those of the base."""
    (tmp_path / "apps").mkdir()
    paths = write(tmp_path / "apps", SYSTEM, *apps())
    into = f"docker://{registry.host}/carved"
    done = person.run("fleet", "squash", *paths, "--into", into, "--strategy", "carve")
    assert done.code == 0, done.err
    layers = {one for name in ("one", "other", "third") for one in registry.layers(f"carved/{name}", "1")}
    return layers - {*registry.layers("carved/system", "1")}


def carve(person: Person, paths: list[Path], *words: object) -> None:
    done = person.run("fleet", "squash", *paths, "--strategy", "carve", *words)
    assert done.code == 0, done.err


def test_a_scan_gives_what_the_prefix_gives(
    registry: Registry, person: Person, published: set[str], tmp_path: Path
) -> None:
    """The same manifests, to the byte, with the published layers mounted and none of them downloaded; for a
    layout those alone come that the image gets, as they are stored."""
    prefix, release = f"docker://{registry.host}/carved/", write(tmp_path, SYSTEM, next_release())
    done = person.run("fleet", "scan", prefix, "--into", tmp_path / "scan")
    assert done.code == 0, done.err
    came, moved, tags = [], [], []
    for place, reference in (("images", prefix), ("tables", tmp_path / "scan")):
        mark = registry.mark()
        carve(person, release, "--into", f"docker://{registry.host}/{place}", "--stable-from", reference)
        came.append(published & {*downloaded(registry.log(mark))})
        moved.append(published & mounted(registry.log(mark)))
        tags.append([registry.tags(f"{place}/{name}") for name in ("system", "third")])
    assert tags[0] == tags[1]
    assert came == [published, set()]
    assert moved[0] == moved[1] == published & {*registry.layers("tables/third", "2")}
    assert len(moved[0]) == 2
    for place, reference in (("images", prefix), ("tables", tmp_path / "scan")):
        mark = registry.mark()
        carve(person, release, "--into", f"oci:{tmp_path}/{place}", "--stable-from", reference)
        came.append(published & {*downloaded(registry.log(mark))})
    assert came[-1] == moved[0]
    assert contents(tmp_path / "images") == contents(tmp_path / "tables")


def test_a_published_layer_that_is_gone_is_told(
    registry: Registry, person: Person, published: set[str], tmp_path: Path
) -> None:
    """A scan may be older than what the registry has: one line says so, and nothing gets its tag."""
    prefix, release = f"docker://{registry.host}/carved/", write(tmp_path, SYSTEM, next_release())
    assert person.run("fleet", "scan", prefix, "--into", tmp_path / "scan").code == 0
    for digest in published & {*registry.layers("carved/third", "1")}:
        registry.forget("carved/third", digest)
    words = ["fleet", "squash", *release, "--strategy", "carve", "--stable-from", tmp_path / "scan"]
    for into in (f"docker://{registry.host}/next", f"oci:{tmp_path}/next"):
        done = person.run(*words, "--into", into)
        assert done.code == 5
        last = done.err.splitlines()[-1]
        assert f"carved/one:1, where the scan {tmp_path}/scan has found layers: the registry lacks" in last
    assert not (tmp_path / "next").exists()
    assert registry.tags("next/third") == {}


def test_what_is_published_elsewhere_is_copied(registry: Registry, person: Person, tmp_path: Path) -> None:
    """Into a registry, from a layout that was scanned: the very blob, whoever compressed it."""
    one = layer(directory("opt"), file("opt/library", LIBRARY))
    oci_layout(tmp_path / "before", [on_base(SYSTEM, one, tags=["before:1"])])
    release = write(tmp_path, SYSTEM, next_release())
    assert person.run("fleet", "scan", tmp_path / "before", "--into", tmp_path / "scan").code == 0
    tags = []
    for place, reference in (("images", tmp_path / "before"), ("tables", tmp_path / "scan")):
        carve(person, release, "--into", f"docker://{registry.host}/{place}", "--stable-from", reference)
        tags.append(registry.tags(f"{place}/third"))
    assert tags[0] == tags[1]
    layers = [digest.removeprefix("sha256:") for digest in registry.layers("tables/third", "2")]
    there = {path.name for path in (tmp_path / "before/blobs/sha256").iterdir()}
    assert [digest in there for digest in layers] == [True, True, False]
