"""Fleets in real registries and daemons take what the accounting says, under every strategy."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import docker as docker_sdk
import pytest

from squashkit.layers.changeset import DISK_BLOCK
from squashkit.options import STRATEGIES
from squashkit.report.fleet.titles import TITLES
from tests.compat import services
from tests.compat.conftest import Person
from tests.compat.registries import Registry, proxy
from tests.compat.releases import FORKY, TRIXIE, Release, new_docker
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    layer,
    noise,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.runner import Json

RELEASES = [TRIXIE, FORKY] if os.environ.get("SQUASHKIT_TEST_NEW") else [TRIXIE]
CONTENT = "io.containerd.content.v1.content/blobs"
MEASURED = ("--strategies", ",".join(STRATEGIES))


def fleet() -> list[ImageSpec]:
    """A base, a server with a cache that each app deletes, apps in releases, a small base and its app."""
    base = ImageSpec([layer(directory("etc"), file("etc/base", noise(60_000, "base")))], ["base:1"])
    middle = on_base(
        base,
        layer(
            directory("opt"), file("opt/server", noise(20_000, "server")), file("opt/cache", bytes(90_000))
        ),
        tags=["server:1"],
    )
    apps = []
    for name, release in (("shop", 1), ("shop", 2), ("blog", 1)):
        seed = f"{name}{release}"
        apps.append(
            on_base(
                middle,
                layer(directory("opt"), whiteout("opt/cache"), file("app", noise(7000, seed))),
                layer(file("app", noise(6000, f"{seed} again"))),
                tags=[f"{name}:{release}"],
            )
        )
    small = ImageSpec([layer(file("small", noise(900, "small")))], ["small:1"])
    steps = layer(file("x", b"x" * 40_000)), layer(whiteout("x"), file("y", b"y"))
    return [base, middle, *apps, small, on_base(small, *steps, tags=["alone:1"])]


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    """The fleet as archives and a layout: some layers plain, some compressed."""
    references = []
    for number, one in enumerate(fleet()):
        if number % 2:
            oci_layout(tmp_path / f"layout{number}", [one])
            references.append(f"oci:{tmp_path}/layout{number}")
        else:
            docker_archive_25(tmp_path / f"{number}.tar", [one])
            references.append(f"{tmp_path}/{number}.tar")
    return references


def layers_of(registry: Registry, prefix: str) -> dict[str, int]:
    """Every layer that a registry's images below a prefix have, and its size as the registry stores it."""
    found = {}
    for one in fleet():
        name, _, tag = one.tags[0].partition(":")
        for digest in registry.layers(f"{prefix}/{name}", tag):
            found[digest] = registry.size([digest])
    return found


@pytest.mark.parametrize("strategy", TITLES)
def test_registries_and_hosts_take_what_was_predicted(
    strategy: str, sources: list[str], state: Path, registry: Registry, person: Person
) -> None:
    """To the byte: the layers in a registry, all that it stores, and what docker counts once it has pulled
    them."""
    before = registry.blobs()
    into = f"docker://{registry.host}/{strategy}"
    told = person.run("fleet", "storage", *sources, *MEASURED, "--json").json["strategies"]
    predicted: dict[str, Json] = {one["strategy"]: one for one in told}
    done = person.run("fleet", "squash", *sources, "--into", into, "--strategy", strategy, "--json")
    assert done.code == 0, done.err
    stored = layers_of(registry, strategy)
    expected = predicted[TITLES[strategy]]
    assert sum(stored.values()) == expected["registry_bytes"] == done.json["written_bytes"]
    new = registry.blobs() - before
    assert registry.size(new) == expected["registry_bytes"] + expected["documents_bytes"]
    with services.docker(state, f"fleet-{strategy}") as daemon:
        for one in fleet():
            daemon.run("pull", "--quiet", f"{registry.host}/{strategy}/{one.tags[0]}")
        client = docker_sdk.DockerClient(base_url=daemon.env["DOCKER_HOST"])
        assert client.df()["LayersSize"] == expected["host_bytes"]
        client.close()


@pytest.mark.parametrize("release", RELEASES, ids=lambda one: one.name)
def test_containerds_store_takes_what_was_predicted(
    release: Release, sources: list[str], registry: Registry, person: Person
) -> None:
    """The blobs that docker pulled, and the snapshots that lie beside them, to the byte: on a file system
    whose directories take a block, as ext4's do."""
    into = f"docker://{registry.host}/containerd-{release.name}"
    told = person.run("fleet", "storage", *sources, *MEASURED, "--json").json["strategies"]
    (expected,) = [one for one in told if one["strategy"] == "carved"]
    done = person.run("fleet", "squash", *sources, "--into", into, "--strategy", "carve")
    assert done.code == 0, done.err
    with tempfile.TemporaryDirectory() as folder:
        if os.stat(folder).st_blocks * 512 != DISK_BLOCK:
            pytest.skip("directories take no block of 4 KiB here")
        with new_docker(Path(folder), release, by_manifest=True) as daemon:
            for one in fleet():
                daemon.run("pull", "--quiet", f"{into.removeprefix('docker://')}/{one.tags[0]}")
            usage = daemon.ctr("snapshots", "usage", "-b").splitlines()[1:]
            blobs = daemon.folder.rglob(f"{CONTENT}/*/*")
            found = sum(int(line.split()[1]) for line in usage) + sum(one.stat().st_size for one in blobs)
    assert found == expected["containerd_bytes"] + expected["documents_bytes"]


def test_a_registrys_prefix_is_a_fleet(sources: list[str], registry: Registry, person: Person) -> None:
    """docker://HOST/PREFIX/ means all tags of all repositories below, and nothing beside."""
    into = f"docker://{registry.host}/team"
    assert person.run("fleet", "squash", *sources, "--into", into, "--strategy", "built").code == 0
    done = person.run("fleet", "storage", f"{into}/", "--json")
    assert done.code == 0, done.err
    names = {f"{registry.host}/team/{one.tags[0]}" for one in fleet()}
    assert set(done.json["images"]) == names
    estimated = person.run("fleet", "advise", f"{into}/", "--estimate")
    assert estimated.code == 0, estimated.err


def test_a_daemons_images_come_in_one_archive(
    docker: services.Docker, images_registry: Registry, person: Person, tmp_path: Path
) -> None:
    """However many they are, and under however many names: what they share is given out once."""
    docker.run("tag", "app:1", "app:again")
    with proxy(
        Path(docker.env["DOCKER_HOST"].removeprefix("unix://")), socket_path=tmp_path / "s"
    ) as between:
        person.use_daemon(f"unix://{tmp_path}/s")
        named = [f"docker-daemon:{name}" for name in ("base:1", "app:1", "app:again")]
        done = person.run("fleet", "storage", *named, "--estimate", "--json")
        assert done.code == 0, done.err
        assert len(done.json["images"]) == 3
        assert len(between.seen("GET", "/images/.*get")) == 1
    docker.run("rmi", "app:again")


def test_a_daemons_images_are_a_fleet(
    images_registry: Registry, docker: services.Docker, person: Person
) -> None:
    """docker-daemon: means all that a daemon has a name for."""
    person.use_daemon(docker)
    done = person.run("fleet", "storage", "docker-daemon:", "--estimate", "--json")
    assert done.code == 0, done.err
    assert {"app:1", "base:1"} <= set(done.json["images"])
    assert len(done.json["images"]) == len(docker.tags())


def test_an_archive_of_a_fleet_is_loaded_whole(
    sources: list[str], tmp_path: Path, state: Path, person: Person
) -> None:
    """docker loads every image of it by its name, and counts what the table says."""
    told = person.run("fleet", "storage", *sources, *MEASURED, "--json").json["strategies"]
    (expected,) = [one["host_bytes"] for one in told if one["strategy"] == "along the trie"]
    done = person.run("fleet", "squash", *sources, "--into", tmp_path / "all.tar", "--strategy", "trie")
    assert done.code == 0, done.err
    with services.docker(state, "fleet-archive") as daemon:
        daemon.run("load", "--quiet", "--input", tmp_path / "all.tar")
        assert set(daemon.tags()) == {one.tags[0] for one in fleet()}
        client = docker_sdk.DockerClient(base_url=daemon.env["DOCKER_HOST"])
        assert client.df()["LayersSize"] == expected
        client.close()


def test_tags_that_are_there_are_not_moved(sources: list[str], registry: Registry, person: Person) -> None:
    """A second run says so before it does anything; with --force it moves them."""
    into = f"docker://{registry.host}/again"
    assert person.run("fleet", "squash", *sources, "--into", into).code == 0
    before = registry.blobs()
    refused = person.run("fleet", "squash", *sources, "--into", into, "--strategy", "built")
    assert refused.code == 2
    assert "--force" in refused.err
    assert registry.blobs() == before
    assert person.run("fleet", "squash", *sources, "--into", into, "--force").code == 0


def test_a_repositorys_tags_come_as_releases(
    sources: list[str], registry: Registry, person: Person
) -> None:
    """docker://HOST/REPO/ means all tags of one repository, too, 2 before 10."""
    assert person.run("fleet", "squash", *sources, "--into", f"docker://{registry.host}/x").code == 0
    copy = [f"docker://{registry.host}/x/shop:{tag}" for tag in ("1", "10")]
    services.run(["skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", *copy])
    done = person.run("fleet", "storage", f"docker://{registry.host}/x/shop/", "--json")
    assert done.json["images"] == [f"{registry.host}/x/shop:{tag}" for tag in (1, 2, 10)]
    nothing = person.run("fleet", "storage", f"docker://{registry.host}/nothing/")
    assert nothing.code == 5
    assert "nothing below" in nothing.err
