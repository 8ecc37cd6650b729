"""What pulls move and deletions free in real servers is what `fleet pull` and `fleet freed` say."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from squashkit.jobs.fleet.freed import fleet_freed
from squashkit.jobs.fleet.report import picture_fleet
from squashkit.options import FleetOptions, Run
from tests.compat import registries, services
from tests.compat.conftest import Person
from tests.compat.registries import Registry, downloaded
from tests.support.builders import ImageSpec, file, layer, oci_layout, on_base
from tests.support.fleets import blob
from tests.support.runner import Json, assert_fails

BASE = ImageSpec([blob("pulled base", 60_000)], ["base:1"])
RUNTIME = on_base(BASE, blob("pulled runtime", 20_000))
TWICE = blob("twice", 4000)
IMAGES = {
    "base:1": BASE,
    "shop:1": on_base(RUNTIME, blob("shop1", 7000)),
    "shop:2": on_base(RUNTIME, blob("shop2", 8000), TWICE, blob("between", 50), TWICE),
    "other:1": ImageSpec(
        [blob("pulled other base", 900), blob("pulled runtime", 20_000), blob("other", 300)]
    ),
}
"""The runtime's layer stands on another base in the last of them, and one image has a layer twice."""


@pytest.fixture(scope="module")
def filled(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with these images; a second tag of a manifest, and a copy in another repository; and an
    index of two platforms, one of which has layers of another image."""
    folder = tmp_path_factory.mktemp("images")
    with registries.registry(state) as made:

        def copy(place: str, name: str) -> None:
            flags = ["--all", "--dest-tls-verify=false", "--src-tls-verify=false"]
            services.run(["skopeo", "copy", *flags, place, f"docker://{made.host}/{name}"])

        for number, (name, image) in enumerate(IMAGES.items()):
            oci_layout(folder / str(number), [image])
            copy(f"oci:{folder / str(number)}", f"team/{name}")
        copy(f"docker://{made.host}/team/shop:2", "team/shop:latest")
        copy(f"docker://{made.host}/team/shop:1", "mirror/shop:1")
        arm = ImageSpec([layer(file("arm", b"a" * 900)), blob("arm", 5000)], platform="linux/arm64")
        amd = on_base(RUNTIME, blob("amd", 3000))
        oci_layout(folder / "both", [amd, arm], nested=True)
        copy(f"oci:{folder / 'both'}", "team/both:1")
        yield made


def asked(person: Person, *words: str) -> Json:
    done = person.run("fleet", *words, "--json")
    assert done.code == 0, done.err
    return done.json


# --- pulls -----------------------------------------------------------------------------------


def pulled(registry: Registry, since: int, repository: str, tag: str) -> int:
    """Bytes of the layers that were downloaded since a mark, each as often as it was."""
    layers = {*registry.layers(repository, tag)}
    return sum(registry.size([one]) for one in downloaded(registry.log(since)) if one in layers)


PULLS = [("shop:2", ["shop:1"]), ("other:1", ["shop:1"]), ("shop:1", ["base:1"]), ("shop:2", [])]


def predicted(person: Person, registry: Registry, image: str, have: list[str]) -> Json:
    place = f"docker://{registry.host}/team"
    words = [word for one in have for word in ("--have", f"{place}/{one}")]
    mark = registry.mark()
    (told,) = asked(person, "pull", f"{place}/{image}", *words)["images"]
    assert isinstance(told, dict)
    read = {*downloaded(registry.log(mark))}
    assert not read & {*registry.layers("team/" + image.split(":")[0], image.split(":")[1])}
    return told


def test_docker_downloads_what_is_told_by_chain(
    docker: services.Docker, filled: Registry, person: Person
) -> None:
    """With its own storage: a layer on another base is downloaded once more, one that an image has twice is
    downloaded once."""
    for image, have in PULLS:
        told = predicted(person, filled, image, have)
        for one in have:
            docker.run("pull", "--quiet", f"{filled.host}/team/{one}")
        mark = filled.mark()
        docker.run("pull", "--quiet", f"{filled.host}/team/{image}")
        repository, tag = f"team/{image}".split(":")
        assert pulled(filled, mark, repository, tag) == told["pulled_by_chain_bytes"], image
        for one in (*have, image):
            docker.run("rmi", f"{filled.host}/team/{one}")


def test_containerd_downloads_what_is_told_by_blob(
    containerd: services.Containerd, filled: Registry, person: Person
) -> None:
    """It keeps blobs by their digests."""
    for image, have in PULLS:
        told = predicted(person, filled, image, have)
        for one in have:
            containerd.run("images", "pull", "--plain-http", f"{filled.host}/team/{one}")
        mark = filled.mark()
        containerd.run("images", "pull", "--plain-http", f"{filled.host}/team/{image}")
        repository, tag = f"team/{image}".split(":")
        assert pulled(filled, mark, repository, tag) == told["pulled_by_blob_bytes"], image
        for one in (*have, image):
            containerd.run("images", "rm", "--sync", f"{filled.host}/team/{one}")


def test_podman_downloads_what_is_told_by_blob(
    podman: services.Podman, filled: Registry, person: Person
) -> None:
    """A layer that it has on others it takes from there. (One that an image has twice it may download
    twice.)"""
    for image, have in PULLS[1:3]:
        told = predicted(person, filled, image, have)
        for one in have:
            podman.run("pull", "--tls-verify=false", f"{filled.host}/team/{one}")
        mark = filled.mark()
        podman.run("pull", "--tls-verify=false", f"{filled.host}/team/{image}")
        repository, tag = f"team/{image}".split(":")
        assert pulled(filled, mark, repository, tag) == told["pulled_by_blob_bytes"], image
        for one in (*have, image):
            podman.run("rmi", f"{filled.host}/team/{one}")


# --- deletions -------------------------------------------------------------------------------


def delete(registry: Registry, repository: str, digest: str) -> None:
    url = f"http://{registry.host}/v2/{repository}/manifests/{digest}"
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=20) as answer:
        assert answer.status == 202


def collect_garbage(registry: Registry) -> int:
    """Bytes that the registry's own garbage collection frees."""
    before = registry.size(registry.blobs())
    services.run(["docker-registry", "garbage-collect", registry.folder / "config.yml"])
    return before - registry.size(registry.blobs())


DELETED = {
    "a tag": ["team/shop:1", "mirror/shop:1"],
    "one of two repositories": ["team/shop:1"],
    "two tags of a manifest": ["team/shop:2", "team/shop:latest"],
    "an index": ["team/both:1"],
    "a base that others stand on": ["team/base:1"],
    "a repository": ["team/shop:1", "team/shop:2", "team/shop:latest"],
    "nearly all": ["team/*"],
}


def test_garbage_collection_frees_what_is_told(state: Path, filled: Registry, person: Person) -> None:
    """A registry's own collection gives back, to the byte, what was told of these tags together; and of
    each one alone, where it alone has its manifest."""
    for title, names in DELETED.items():
        with registries.registry(state, like=filled) as mine:
            words = [word for name in names for word in ("--tag", f"{mine.host}/{name}")]
            told = asked(person, "freed", f"docker://{mine.host}/", *words)
            for name in told["together"]["tags"]:
                repository, _, tag = name.removeprefix(f"{mine.host}/").rpartition(":")
                if tag not in mine.tags(repository):
                    continue  # it went with the manifest that it had in common with another
                root = mine.tags(repository)[tag]
                for child in mine.manifest(repository, root).get("manifests", []):
                    delete(mine, repository, child["digest"])
                delete(mine, repository, root)
            assert collect_garbage(mine) == told["together"]["freed_bytes"], title
            assert told["bytes"] == filled.size(filled.blobs())


def test_what_one_tag_frees(filled: Registry, person: Person) -> None:
    """A tag whose manifest has another tag frees nothing, and a repository what nothing else has."""
    told = asked(person, "freed", f"docker://{filled.host}/")
    tags = {one["tag"].removeprefix(f"{filled.host}/"): one for one in told["tags"]}
    assert tags["team/shop:2"]["freed_bytes"] == tags["team/shop:latest"]["freed_bytes"] == 0
    assert tags["team/shop:2"]["same_manifest"] == [f"{filled.host}/team/shop:latest"]
    assert tags["mirror/shop:1"]["freed_bytes"] == 0
    repositories = {one["repository"]: one for one in told["repositories"]}
    alone = filled.layers("team/shop", "2")[2:]
    shop = repositories[f"{filled.host}/team/shop"]
    assert shop["tags"] == 3
    documents = {filled.tags("team/shop")["2"], filled.manifest("team/shop", "2")["config"]["digest"]}
    assert shop["freed_bytes"] == filled.size({*alone, *documents})


def test_a_page_tells_the_same(filled: Registry) -> None:
    """The page about a fleet, which opens one platform, counts all of an index, too."""
    place = [f"docker://{filled.host}/team/", f"docker://{filled.host}/mirror/"]
    page = picture_fleet(place, fleet=FleetOptions(estimate=True), run=Run(), progress=None)
    shown = {(tag.root, tuple(sorted(tag.blobs.items()))) for tag in page.tags}
    told = {(tag.root, tuple(sorted(tag.blobs.items()))) for tag in fleet_freed(place).tags}
    assert shown == told
    assert len(page.tags) == 7


def test_tags_that_there_are_not(filled: Registry, person: Person) -> None:
    """A glob that fits nothing is refused, and so is a place without tags."""
    assert_fails(person.run("fleet", "freed", f"docker://{filled.host}/", "--tag", "nope"), 2, "fits nope")
    assert_fails(person.run("fleet", "freed", f"docker://{filled.host}/nothing/"), 5, "nothing")
    assert_fails(person.run("fleet", "pull", f"docker://{filled.host}/team/shop:9"), 5, "shop:9")
