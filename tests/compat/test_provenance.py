"""What provenance names is what registries, daemons and unpacked trees have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.compat import services
from tests.compat.conftest import Person
from tests.compat.registries import Registry
from tests.support.listings import digest_of_tar
from tests.support.runner import DOCKER_MANIFEST, OCI_INDEX

Json = dict[str, Any]
CONFIG = "application/vnd.docker.container.image.v1+json"


def told(person: Person, *words: object) -> Json:
    """The statement of a squash that must succeed."""
    person.squash(*words, "--statement", person.home / "statement")
    statement: Json = json.loads((person.home / "statement").read_text())
    return statement


def digests(artifacts: list[Json]) -> dict[str, str]:
    """By their names."""
    return {one["name"]: f"sha256:{one['digest']['sha256']}" for one in artifacts}


def test_a_registry_has_what_is_named(
    registry: Registry, person: Person, umoci: services.Umoci, tmp_path: Path
) -> None:
    """Source, base and result are manifests that the registry has under these digests; and whoever unpacks
    the result with another tool finds the root file system's digest."""
    place = f"docker://{registry.host}/"
    statement = told(person, f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}app:new")
    assert digests(statement["subject"]) == {f"{registry.host}/app:new": registry.tags("app")["new"]}
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert digests(dependencies) == {
        "source": registry.tags("app")["1"],
        "base": registry.tags("base")["1"],
    }
    assert {one["name"]: one["uri"] for one in dependencies} == {
        "source": f"{place}app:1",
        "base": f"{place}base:1",
    }
    assert {one["mediaType"] for one in dependencies} == {DOCKER_MANIFEST}
    umoci.copy(f"{place}app:new", f"oci:{tmp_path}/layout:image", "--src-tls-verify=false")
    services.run(["umoci", "raw", "unpack", "--image", f"{tmp_path}/layout:image", tmp_path / "rootfs"])
    names = sorted(path.name for path in (tmp_path / "rootfs").iterdir())
    tar = ["tar", "--create", "--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner"]
    services.run([*tar, "--file", tmp_path / "rootfs.tar", "--directory", tmp_path / "rootfs", *names])
    (rootfs,) = digests(statement["predicate"]["runDetails"]["byproducts"]).values()
    assert rootfs == digest_of_tar(tmp_path / "rootfs.tar")


def test_an_index_in_a_registry(registry: Registry, person: Person) -> None:
    """The index is what the tag means, and names the images."""
    place = f"docker://{registry.host}/"
    statement = told(
        person, f"{place}multi:1", "--platform", "all", "--keep-layers", "1", "-o", f"{place}multi:new"
    )
    index, *images = statement["subject"]
    assert index["mediaType"] == OCI_INDEX
    assert [*digests([index]).values()] == [registry.tags("multi")["new"]]
    new = registry.manifest("multi", "new")["manifests"]
    assert [f"sha256:{one['digest']['sha256']}" for one in images] == [one["digest"] for one in new]


def test_a_base_that_may_not_be_read(registry: Registry, person: Person) -> None:
    """Then nobody knows what is in it, which is told before anything is written."""
    place = f"docker://{registry.host}/"
    words = (f"{place}app:1", "--keep-layers", "2", "-o", f"{place}app:new", "--no-fetch-base")
    done = person.run("squash", *words, "--provenance", person.home / "p")
    assert done.code == 2
    assert "lies in a registry, which --no-fetch-base does not read" in done.err
    assert "new" not in registry.tags("app")


@pytest.mark.usefixtures("images_registry")
def test_a_daemon_has_what_is_named(docker: services.Docker, person: Person) -> None:
    """docker's own storage knows images by their ids."""
    person.use_daemon(docker)
    statement = told(person, "app:1", "--keep-base", "base:1", "-t", "app:proven")
    try:
        ids = {name: docker.tags()[name] for name in ("app:1", "base:1", "app:proven")}
    finally:
        docker.run("rmi", "--force", "app:proven")
    assert digests(statement["subject"]) == {"app:proven": ids["app:proven"]}
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert digests(dependencies) == {"source": ids["app:1"], "base": ids["base:1"]}
    assert {one.get("mediaType") for one in (*statement["subject"], dependencies[0])} == {CONFIG}
