"""Recipes where images are: of what a registry or a daemon has, the same image is made again there."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.compat import services
from tests.compat.conftest import Person
from tests.compat.registries import Registry
from tests.compat.rootfs import assert_same
from tests.support.builders import ImageSpec, docker_archive_old, file, layer, noise, whiteout
from tests.support.runner import assert_fails, run_process, spawn


def test_in_a_registry(registry: Registry, person: Person) -> None:
    """The very manifest, by its digest; and another image of the repository is told from it."""
    place = f"docker://{registry.host}/"
    report = person.squash(
        f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}app:new", "--recipe", "recipe"
    )
    done = person.run("replay", "recipe", f"{place}app:1", "-o", f"{place}app:again", "--json")
    assert done.code == 0, done.err
    tags = registry.tags("app")
    assert tags["again"] == tags["new"] == report["manifest_digest"]
    assert "The result is the recipe's, its manifest too." in done.json["notes"]
    words = ("--recipe", "recipe", "--source", f"{place}app:1")
    assert person.run("verify", f"{place}app:new", *words).code == 0
    assert_fails(person.run("verify", f"{place}app:1", *words), 3, "the recipe makes")


def test_every_platform_of_an_index(registry: Registry, person: Person) -> None:
    """The index is the same, by its digest."""
    place = f"docker://{registry.host}/"
    words = (f"{place}multi:1", "--platform", "all", "--keep-layers", "1")
    person.squash(*words, "-o", f"{place}multi:new", "--recipe", "recipe")
    done = person.run("replay", "recipe", f"{place}multi:1", "-o", f"{place}multi:again")
    assert done.code == 0, done.err
    assert registry.tags("multi")["again"] == registry.tags("multi")["new"]


def test_a_host_that_has_the_old_image(
    registry: Registry, docker: services.Docker, person: Person, tmp_path: Path
) -> None:
    """A squash of an archive, and its recipe alone goes to a daemon that has the old image: there it comes
    to the same image, whose files docker shows as it shows the old one's."""
    docker.run("save", "--output", tmp_path / "app.tar", "app:1", "base:1")
    words = (tmp_path / "app.tar:app:1", "--keep-base", "base:1", "-t", "app:small")
    report = person.squash(*words, "-o", tmp_path / "small.tar", "--recipe", tmp_path / "recipe")
    assert (tmp_path / "recipe").stat().st_size < 8000
    person.use_daemon(docker)
    done = person.run("replay", tmp_path / "recipe", "app:1", "-t", "app:replayed")
    assert done.code == 0, done.err
    try:
        found = docker.run("image", "inspect", "--format", "{{.Id}}", "app:replayed").strip()
        assert found == report["image_id"]["after"]
        shown = docker.snapshots("app:1", "app:replayed")
        assert_same([("docker", shown["app:1"], shown["app:replayed"])])
    finally:
        docker.run("image", "rm", "app:replayed")


@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.8, 0.95])
def test_a_replay_that_is_killed(tmp_path: Path, person: Person, share: float) -> None:
    """It leaves nothing under the result's name, or all of it."""
    size = 40_000_000
    layers = [layer(file("os")), layer(file("a", noise(size, "a")), file("b")), layer(whiteout("b"))]
    docker_archive_old(tmp_path / "old.tar", [ImageSpec(layers, ["app:1"])])
    words = ("--keep-layers", "1", "-t", "app:2", "-o", tmp_path / "new.tar", "--recipe", tmp_path / "r")
    person.squash(tmp_path / "old.tar", *words)
    again = ("replay", tmp_path / "r", tmp_path / "old.tar", "-t", "app:2", "-o", tmp_path / "again.tar")
    began = time.monotonic()
    assert run_process(*again, env=person.env).code == 0
    took = time.monotonic() - began
    whole = (tmp_path / "new.tar").read_bytes()
    assert (tmp_path / "again.tar").read_bytes() == whole
    (tmp_path / "again.tar").unlink()
    with spawn(*again, env=person.env) as process:
        time.sleep(took * share)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    if (tmp_path / "again.tar").exists():
        assert (tmp_path / "again.tar").read_bytes() == whole
        (tmp_path / "again.tar").unlink()
    assert run_process(*again, env=person.env).code == 0
    assert (tmp_path / "again.tar").read_bytes() == whole
