"""Bases in registries and daemons: found by provenance and annotations, looked up by name, never read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat import services
from tests.compat.conftest import Person
from tests.compat.registries import Registry, downloaded
from tests.support.builders import ImageSpec, directory, file, layer, oci_layout, on_base
from tests.support.runner import Json

BASE = ImageSpec([layer(directory("etc"), file("etc/base", b"base\n" * 2000))], ["base:1"])
NEWER = ImageSpec([layer(directory("etc"), file("etc/base", b"newer\n" * 2000))], ["base:1"])
APP = on_base(BASE, layer(file("app", b"app\n" * 900)), tags=["app:1"])


def push(folder: Path, target: str, *, whole: bool = False) -> None:
    """A layout's image into a registry, byte for byte, its index and all with `whole`."""
    flags = ["--dest-tls-verify=false", "--quiet", *(["--all", "--preserve-digests"] if whole else [])]
    words = ["skopeo", "--insecure-policy", "copy", *flags]
    services.run([*words, f"oci:{folder}", f"docker://{target}"])


def provenance(name: str, digest: str) -> Json:
    """What BuildKit states of a build that took in this image."""
    material = {"uri": f"pkg:docker/{name}@1", "digest": {"sha256": digest.removeprefix("sha256:")}}
    predicate = {"buildDefinition": {"resolvedDependencies": [material]}}
    return {"predicateType": "https://slsa.dev/provenance/v1", "predicate": predicate}


def test_provenance_in_a_registry_names_the_base(
    registry: Registry, person: Person, umoci: services.Umoci, tmp_path: Path
) -> None:
    """The attestation beside an image is read, the base that it names is fetched and held against the
    layers, and a squash keeps it; no layer is downloaded for the answer."""
    oci_layout(tmp_path / "base", [BASE])
    push(tmp_path / "base", f"{registry.host}/proved-base:1")
    at = registry.tags("proved-base")["1"]
    stated = provenance(f"{registry.host}/proved-base", at)
    oci_layout(tmp_path / "app", [APP], nested=True, attestations=True, stated=stated)
    push(tmp_path / "app", f"{registry.host}/proved:1", whole=True)
    mark = registry.mark()
    done = person.run("base", "find", f"docker://{registry.host}/proved:1", "--json")
    assert done.code == 0, done.err
    base = done.json["base"]
    assert (base["layers"], base["name"]) == (1, f"{registry.host}/proved-base:1")
    assert "provenance" in base["evidence"]
    layers = {*registry.layers("proved-base", "1")}
    assert not layers & set(downloaded(registry.log(mark)))
    report = person.squash(f"docker://{registry.host}/proved:1", "-o", f"docker://{registry.host}/proved:2")
    assert report["base"]["layers"] == 1


@pytest.mark.parametrize("command", ["squash", "rebase"])
def test_a_base_that_was_used_is_known_to_who_looks(
    command: str, registry: Registry, person: Person, umoci: services.Umoci, tmp_path: Path
) -> None:
    """`base list` says how it came there, `base find` knows it, and `base remove` takes it out; a squash
    without a base does as it did before."""
    oci_layout(tmp_path / "base", [BASE])
    oci_layout(tmp_path / "app", [APP])
    push(tmp_path / "base", f"{registry.host}/used-base:1")
    push(tmp_path / "app", f"{registry.host}/used:1")
    image, base = (f"docker://{registry.host}/{name}:1" for name in ("used", "used-base"))
    options = ["--keep-base"] if command == "squash" else ["--old-base", "--new-base"]
    words = [command, image, *(word for option in options for word in (option, base))]
    assert person.run(*words, "--dry-run").code == 0
    assert person.run("base", "list", "--json").json["bases"] == []
    assert person.run(*words, "-o", f"oci:{tmp_path}/out:used:2").code == 0
    (listed,) = person.run("base", "list", "--json").json["bases"]
    assert (listed["reference"], listed["added"]) == (base, False)
    found = person.run("base", "find", image, "--json").json["base"]
    assert (found["name"], found["layers"], found["sure"]) == (base, 1, "matched")
    assert person.run("squash", image, "--dry-run").code == 2
    assert person.run("base", "remove", base).code == 0
    assert person.run("base", "list", "--json").json["bases"] == []


def test_a_base_in_a_registry_is_checked(
    registry: Registry, person: Person, umoci: services.Umoci, tmp_path: Path
) -> None:
    """By the annotation that a squash wrote, `base check` sees that the base's tag has moved."""
    oci_layout(tmp_path / "base", [BASE])
    oci_layout(tmp_path / "newer", [NEWER])
    oci_layout(tmp_path / "app", [on_base(BASE, *APP.layers[1:], layer(file("b")), tags=["app:1"])])
    host = registry.host
    push(tmp_path / "base", f"{host}/moving:1")
    push(tmp_path / "app", f"{host}/moved:1")
    before = registry.tags("moving")["1"]
    person.squash(
        f"docker://{host}/moved:1",
        "--keep-base",
        f"docker://{host}/moving:1",
        "-o",
        f"docker://{host}/moved:2",
    )
    done = person.run("base", "check", f"docker://{host}/moved:2", "--json")
    assert (done.code, done.json["current"]) == (0, True), done.err
    push(tmp_path / "newer", f"{host}/moving:1")
    mark = registry.mark()
    done = person.run("base", "check", f"docker://{host}/moved:2", "--json")
    assert (done.code, done.json["current"]) == (3, False), done.err
    assert done.json["built_on"]["digest"] == before
    assert done.json["now"]["digest"] == registry.tags("moving")["1"]
    layers = {*registry.layers("moving", "1"), *registry.layers("moved", "2")}
    assert not layers & set(downloaded(registry.log(mark)))


def test_bases_of_a_daemon_and_a_registry_are_added_without_a_layer(
    images_registry: Registry, docker: services.Docker, person: Person
) -> None:
    """What `inspect` and a config say is enough for the catalogue."""
    person.use_daemon(docker)
    mark = images_registry.mark()
    assert person.run("base", "add", f"docker://{images_registry.host}/base-oci:1", "base:1").code == 0
    layers = {*images_registry.layers("base-oci", "1"), *images_registry.layers("base", "1")}
    assert not layers & set(downloaded(images_registry.log(mark)))
    done = person.run("base", "find", "app:1", "--json")
    assert done.code == 0, done.err
    assert done.json["base"]["layers"] == len(docker.layers("base:1"))
