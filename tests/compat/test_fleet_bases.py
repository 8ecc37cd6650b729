"""The bases of fleets in real registries and daemons: what is looked up there, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.compat import services
from tests.compat.conftest import Person
from tests.compat.registries import Registry
from tests.support.builders import ImageSpec, docker_archive_25, oci_layout
from tests.support.fleets import SYSTEM, wasteful
from tests.support.runner import BASE_DIGEST, BASE_NAME, assert_fails, change_manifest

APPS = [replace(wasteful(SYSTEM, "app"), tags=[f"app:{n}"]) for n in (1, 2)]


def push(registry: Registry, folder: Path, *images: ImageSpec, base: str = "", digest: str = "") -> None:
    """Put images into the registry below team/, with annotations where a base is named."""
    for one in images:
        name = one.tags[0]
        place = folder / name.replace(":", "-")
        oci_layout(place, [one])
        if base:
            named = {BASE_NAME: base, BASE_DIGEST: digest}
            change_manifest(place, lambda manifest, named=named: manifest.update(annotations=named))  # type: ignore[misc]
        target = f"docker://{registry.host}/team/{name}"
        services.run(["skopeo", "copy", "--dest-tls-verify=false", f"oci:{place}", target])


def test_a_base_that_an_image_names_is_looked_up_in_its_registry(
    tmp_path: Path, registry: Registry, person: Person
) -> None:
    """Its annotations are held against the base there, which is then kept."""
    push(registry, tmp_path, replace(SYSTEM, tags=["base:1"]))
    digest = registry.tags("team/base")["1"]
    push(registry, tmp_path, *APPS, base=f"{registry.host}/team/base:1", digest=digest)
    into = f"docker://{registry.host}/out"
    done = person.run("fleet", "squash", f"docker://{registry.host}/team/app/", "--into", into, "--json")
    assert done.code == 0, done.err
    assert done.json["unknown_base"] == []
    for tag in ("1", "2"):
        layers = registry.layers("out/app", tag)
        assert layers[:2] == registry.layers("team/base", "1")
        assert len(layers) == 3


@pytest.mark.parametrize("named", [True, False])
def test_the_command_that_advice_gives_squashes_there(
    named: bool, tmp_path: Path, registry: Registry, person: Person
) -> None:
    """It names the base by its tag, whether an image names the base or --base does with a digest, and a
    next release is squashed by it to the layers that it has with the fleet."""
    push(registry, tmp_path, replace(SYSTEM, tags=["base:1"]))
    digest = registry.tags("team/base")["1"]
    base = f"docker://{registry.host}/team/base:1"
    push(registry, tmp_path, *APPS, base=f"{registry.host}/team/base:1" if named else "", digest=digest)
    words = [] if named else ["--base", f"{base}@{digest}"]
    place = f"docker://{registry.host}/team/app"
    done = person.run("fleet", "advise", f"{place}/", *words, "--json")
    assert done.code == 0, done.err
    (advice,) = done.json["repositories"]
    assert advice["recipe"] == f"squashkit squash IMAGE --keep-base {base}"
    push(registry, tmp_path, replace(wasteful(SYSTEM, "next"), tags=["app:3"]))
    words = advice["recipe"].replace("IMAGE", f"{place}:3").split()[1:]
    done = person.run(*words, "-o", f"{place}:3-squashed", "--compress", "gzip:6")
    assert done.code == 0, done.err
    into = f"docker://{registry.host}/together"
    together = person.run("fleet", "squash", f"{place}:3", base, "--into", into)
    assert together.code == 0, together.err
    alone = registry.layers("team/app", "3-squashed")
    assert alone == registry.layers("together/team/app", "3")
    assert alone[:2] == registry.layers("team/base", "1")


def test_a_base_of_another_registry_is_not_looked_up(
    tmp_path: Path, registry: Registry, person: Person
) -> None:
    """No registry is asked that the fleet is not read from; which base to name is told."""
    digest = "sha256:" + "0" * 64
    push(registry, tmp_path, *APPS, base="registry.invalid/base:1", digest=digest)
    before = registry.blobs()
    words = (
        "fleet",
        "squash",
        f"docker://{registry.host}/team/app/",
        "--into",
        f"docker://{registry.host}/out",
    )
    done = person.run(*words)
    assert_fails(done, 2, "2 of 2 images", f"--base docker://registry.invalid/base@{digest}")
    assert registry.blobs() == before


def test_a_base_that_is_gone_or_another_makes_nothing_known(
    tmp_path: Path, registry: Registry, person: Person
) -> None:
    """Annotations that cannot be verified, or are wrong, stop the squash of their images and no report."""
    push(registry, tmp_path, ImageSpec([b"".join(SYSTEM.layers[:1])], ["other:1"]))
    push(registry, tmp_path, ImageSpec([wasteful(SYSTEM, "x").layers[2]], ["wrong:1"]))
    host = registry.host
    gone = "sha256:" + "0" * 64
    push(registry, tmp_path, APPS[0], base=f"{host}/team/other:1", digest=gone)
    wrong = registry.tags("team/wrong")["1"]
    push(registry, tmp_path, APPS[1], base=f"{host}/team/wrong:1", digest=wrong)
    done = person.run("fleet", "storage", f"docker://{host}/team/app/", "--json")
    assert done.code == 0, done.err
    names = [f"{host}/team/app:{n}" for n in (1, 2)]
    assert done.json["unknown_base"] == names
    assert (
        done.json["base_hints"][names[0]] == f"it names its base: --base docker://{host}/team/other@{gone}"
    )
    assert "whose layers it does not have" in done.json["base_hints"][names[1]]


@pytest.mark.parametrize("named", [True, False])
def test_part_of_a_daemons_images(
    named: bool, tmp_path: Path, docker: services.Docker, registry: Registry, person: Person
) -> None:
    """An image of a daemon without its base is left alone, until --base names that: in the daemon, say."""
    images = [replace(SYSTEM, tags=["fleet-base:1"]), replace(APPS[0], tags=["fleet-app:1"])]
    docker_archive_25(tmp_path / "all.tar", images)
    docker.run("load", "--quiet", "--input", tmp_path / "all.tar")
    person.use_daemon(docker)
    words = "fleet", "squash", "docker-daemon:fleet-app:1", "--into", tmp_path / "out.tar"
    done = person.run(*words, *(["--base", "docker-daemon:fleet-base:1"] if named else []))
    if not named:
        assert_fails(done, 2, "1 of 1 image", "fleet-app:1 (4 layers)")
        assert not (tmp_path / "out.tar").exists()
        return
    assert done.code == 0, done.err
    whole = person.run("fleet", "storage", tmp_path / "out.tar", "--no-scan", "--json").json
    assert whole["strategies"][0]["segments"]["fleet-app:1"] == "=3"
