"""Fleets in real registries and daemons take what the accounting says, under every strategy."""

from __future__ import annotations

import random
from pathlib import Path

import docker as docker_sdk
import pytest

from squashkit.cli.fleet import STRATEGIES
from tests.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    layer,
    oci_layout,
    on_base,
    whiteout,
)
from tests.cli import Json
from tests.compat import services
from tests.compat.conftest import Person
from tests.compat.registries import Registry


def noise(size: int, seed: str) -> bytes:
    return random.Random(seed).randbytes(size)


def fleet() -> list[ImageSpec]:
    """A base, a middle layer with a cache that each app deletes, apps in releases, an app of its own."""
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
    alone = ImageSpec([layer(file("x", b"x" * 40_000)), layer(whiteout("x"), file("y", b"y"))], ["alone:1"])
    return [base, middle, *apps, alone]


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


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_registries_and_hosts_take_what_was_predicted(
    strategy: str, sources: list[str], state: Path, registry: Registry, person: Person
) -> None:
    """To the byte: the layers in a registry, and what docker counts once it has pulled them all."""
    into = f"docker://{registry.host}/{strategy}"
    told = person.run("fleet", "storage", *sources, "--json").json["strategies"]
    predicted: dict[str, Json] = {one["strategy"]: one for one in told}
    done = person.run("fleet", "squash", *sources, "--into", into, "--strategy", strategy, "--json")
    assert done.code == 0, done.err
    stored = layers_of(registry, strategy)
    expected = predicted[STRATEGIES[strategy]]
    assert sum(stored.values()) == expected["registry_bytes"] == done.json["stored_bytes"]["written"]
    with services.docker(state, f"fleet-{strategy}") as daemon:
        for one in fleet():
            daemon.run("pull", "--quiet", f"{registry.host}/{strategy}/{one.tags[0]}")
        client = docker_sdk.DockerClient(base_url=daemon.env["DOCKER_HOST"])
        assert client.df()["LayersSize"] == expected["host_bytes"]
        client.close()


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


def test_a_daemons_images_are_a_fleet(
    images_registry: Registry, docker: services.Docker, person: Person
) -> None:
    """docker-daemon: means all that a daemon has a name for."""
    person.use_daemon(docker)
    done = person.run("fleet", "storage", "docker-daemon:", "--estimate", "--json")
    assert done.code == 0, done.err
    assert {"app:1", "base:1"} <= set(done.json["images"])
    assert len(done.json["images"]) == len(docker.tags())
