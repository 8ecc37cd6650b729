"""Images in registries: what squashkit reads, moves and writes, as registries, proxies and tools see it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli import (
    CONFIG_TYPE,
    DOCKER_MANIFEST,
    LAYER_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    assert_fails,
    read_image,
    spawn,
)
from tests.compat import registries, services, small
from tests.compat.conftest import Person, available
from tests.compat.registries import (
    BLOB,
    HOST,
    UPLOAD,
    Authority,
    Fault,
    Proxy,
    Registry,
    TokenServer,
    downloaded,
    mounted,
    uploaded,
)
from tests.compat.rootfs import Snapshot
from tests.compat.test_tools import assert_same

DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
PLAIN = "--src-tls-verify=false"
USER, PASSWORD = "ada", "pa:ss-word"
DOCUMENTS = 1 << 16
"""More than all the configs, manifests and tokens of one run are, in bytes."""


# --- what is asked of a result ---------------------------------------------------------------


@pytest.fixture(scope="module")
def source_rootfs(images_registry: Registry, umoci: services.Umoci) -> Snapshot:
    """The root file system of the app."""
    return umoci.snapshot(f"docker://{images_registry.host}/app:1", PLAIN)


@pytest.fixture(scope="module")
def archive(
    images_registry: Registry, docker: services.Docker, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The app and its base as `docker save` writes them."""
    path = tmp_path_factory.mktemp("saved") / "app.tar"
    docker.run("save", "--output", path, "app:1", "base:1")
    return path


def new_layer(registry: Registry, repository: str, reference: str) -> str:
    """The digest of the one layer above the base, whose own layers are as they were stored."""
    base = registry.layers("base", "1")
    layers = registry.layers(repository, reference)
    assert layers[:-1] == base
    return layers[-1]


def assert_whole(registry: Registry, repository: str, reference: str, media_type: str) -> None:
    """Manifest, config and layers are there, and of one family of media types."""
    manifest = registry.manifest(repository, reference)
    assert manifest["mediaType"] == media_type
    assert manifest["config"]["mediaType"] == CONFIG_TYPE[media_type]
    for one in [manifest["config"], *manifest["layers"]]:
        assert len(registry.blob(one["digest"])) == one["size"]
    assert {one["mediaType"] for one in manifest["layers"]} <= LAYER_TYPES[media_type].keys()
    diff_ids = registry.config(repository, reference)["rootfs"]["diff_ids"]
    assert len(diff_ids) == len(manifest["layers"])


def assert_tag_came_last(registry: Registry, since: int, tag: str) -> None:
    """Of all that changed something, the tag was written last, and nothing else was tagged."""
    writes = [one for one in registry.log(since) if one.writes]
    assert (writes[-1].method, writes[-1].status) == ("PUT", 201)
    assert writes[-1].path.endswith(f"/manifests/{tag}")
    others = [one.path for one in writes[:-1] if "/manifests/" in one.path]
    assert all("/manifests/sha256:" in path for path in others)


# --- the demonstration -----------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["{host}/base:1", "docker://{host}/base:1"])
def test_daemon_to_registry_moves_one_layer(
    keep: str, state: Path, docker: services.Docker, registry: Registry, person: Person, tmp_path: Path
) -> None:
    """An app that a daemon built on a pulled base goes up as three blobs and comes down as one layer."""
    base = registry.layers("base", "1")
    docker.run("pull", "--quiet", f"{registry.host}/base:1")
    person.use_daemon(docker)
    before, mark = registry.blobs(), registry.mark()
    output = f"docker://{registry.host}/squashed:1"
    person.squash("app:1", "--keep-base", keep.format(host=registry.host), "-o", output)

    layer = new_layer(registry, "squashed", "1")
    config = registry.manifest("squashed", "1")["config"]["digest"]
    assert registry.blobs() - before == {layer, config, registry.tags("squashed")["1"]}
    log = registry.log(mark)
    assert uploaded(log) == {layer, config}
    assert not set(base) & set(downloaded(log))

    with services.docker(state, f"docker-{tmp_path.name}") as other:
        other.run("pull", "--quiet", f"{registry.host}/base:1")
        mark = registry.mark()
        other.run("pull", "--quiet", f"{registry.host}/squashed:1")
        assert sorted(downloaded(registry.log(mark))) == sorted([layer, config])
        there = other.snapshots(f"{registry.host}/squashed:1").popitem()[1]
    here = docker.snapshots("app:1")["app:1"]
    assert_same([("app", here, there)])


# --- from registry to registry ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "target", "options", "media_type"),
    [
        ("app", "app", [], DOCKER_MANIFEST),
        ("app", "other", [], DOCKER_MANIFEST),
        ("app-oci", "app-oci", [], OCI_MANIFEST),
        ("app-oci", "deep/er/other", [], OCI_MANIFEST),
        ("app", "other", ["--format", "oci"], OCI_MANIFEST),
        ("app-oci", "other", ["--format", "docker"], DOCKER_MANIFEST),
    ],
)
def test_registry_to_registry(
    source: str,
    target: str,
    options: list[str],
    media_type: str,
    registry: Registry,
    person: Person,
    umoci: services.Umoci,
    source_rootfs: Snapshot,
) -> None:
    """Kept blobs stay where they are, those above come down once, one layer goes up, the tag comes last."""
    base, app = registry.layers("base", "1"), registry.layers("app", "1")
    mark, tags = registry.mark(), registry.tags(target)
    place = f"docker://{registry.host}/"
    person.squash(
        f"{place}{source}:1", "--keep-base", f"{place}base:1", "-o", f"{place}{target}:new", *options
    )

    assert_whole(registry, target, "new", media_type)
    layer = new_layer(registry, target, "new")
    config = registry.manifest(target, "new")["config"]["digest"]
    log = registry.log(mark)
    assert uploaded(log) == {layer, config}
    assert mounted(log) == (set() if source == target else set(base))
    layers = [digest for digest in downloaded(log) if digest in app]
    assert sorted(layers) == sorted(set(app)), "each blob comes down once"
    assert_tag_came_last(registry, mark, "new")
    assert registry.tags(target).items() >= tags.items()
    result = umoci.snapshot(f"docker://{registry.host}/{target}:new", PLAIN)
    assert_same([(target, source_rootfs, result)])


@pytest.mark.parametrize("keep", ["base:1", "base-oci:1", "base@{digest}"])
def test_a_base_in_a_registry_goes_by_tag_or_digest(keep: str, registry: Registry, person: Person) -> None:
    """However it is named, the base is kept."""
    place = f"docker://{registry.host}/"
    name = keep.format(digest=registry.tags("base")["1"])
    person.squash(f"{place}app:1", "--keep-base", place + name, "-o", f"{place}app:new")
    new_layer(registry, "app", "new")


def test_a_source_in_a_registry_goes_by_digest(registry: Registry, person: Person) -> None:
    """An image that is named by its digest gives the same result as by its tag."""
    place = f"docker://{registry.host}/"
    sources = [f"{place}app:1", f"{place}app@{registry.tags('app')['1']}"]
    for number, source in enumerate(sources):
        person.squash(source, "--keep-layers", "2", "-o", f"{place}app:by-{number}")
    assert registry.tags("app")["by-0"] == registry.tags("app")["by-1"]


def test_a_cache_of_the_base_changes_no_byte_and_moves_none(registry: Registry, person: Person) -> None:
    """With the base's entries in the cache the result is the same, and no byte of the base comes down."""
    base, place = registry.layers("base", "1"), f"docker://{registry.host}/"
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o"]
    down = []
    for target in ("cold", "warm"):
        mark = registry.mark()
        person.squash(*arguments, f"{place}{target}:1")
        down.append([one for one in downloaded(registry.log(mark)) if one in base])
    assert sorted(down[0]) == sorted(base)
    assert down[1] == []
    assert (person.cache / "squashkit").is_dir()
    assert registry.tags("cold") == registry.tags("warm")


def test_the_cache_serves_another_repository_and_another_image(
    registry: Registry, person: Person, umoci: services.Umoci, source_rootfs: Snapshot
) -> None:
    """What is known of a base holds wherever its layers are, and gives the right root file system."""
    base, place = registry.layers("base", "1"), f"docker://{registry.host}/"
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}app:first")
    mark = registry.mark()
    person.squash(f"{place}app-oci:1", "--keep-base", f"{place}base-oci:1", "-o", f"{place}app-oci:new")
    assert not set(base) & set(downloaded(registry.log(mark)))
    result = umoci.snapshot(f"docker://{registry.host}/app-oci:new", PLAIN)
    assert_same([("app-oci", source_rootfs, result)])


def test_a_base_that_may_not_be_fetched(registry: Registry, person: Person) -> None:
    """--no-fetch-base fails without a cache, downloads nothing of the base, and does no harm with one."""
    base, place = registry.layers("base", "1"), f"docker://{registry.host}/"
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}app:new"]
    mark = registry.mark()
    assert_fails(person.run("squash", *arguments, "--no-fetch-base"), 1, "--no-fetch-base")
    assert not set(base) & set(downloaded(registry.log(mark)))
    assert "new" not in registry.tags("app")
    person.squash(*arguments[:-1], f"{place}app:fetched")
    person.squash(*arguments, "--no-fetch-base")
    assert registry.tags("app")["new"] == registry.tags("app")["fetched"]


def test_a_damaged_cache_is_no_danger(registry: Registry, person: Person) -> None:
    """Whatever somebody does to the files of the cache, the result is the same or there is none."""
    place = f"docker://{registry.host}/"
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o"]
    person.squash(*arguments, f"{place}app:good")
    files = [path for path in person.cache.rglob("*") if path.is_file()]
    assert files
    damages: list[Callable[[bytes], bytes]] = [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"x" + data[1:],
        lambda data: data[:-9] + b"y" + data[-8:],
    ]
    for number, damage in enumerate(damages):
        for path in files:
            path.write_bytes(damage(path.read_bytes()))
        done = person.run("squash", *arguments, f"{place}app:bad-{number}")
        assert "Traceback" not in done.err
        assert done.code == 0, done.err
        assert registry.tags("app")[f"bad-{number}"] == registry.tags("app")["good"]


def test_to_a_registry_without_the_base(
    state: Path, registry: Registry, person: Person, umoci: services.Umoci, source_rootfs: Snapshot
) -> None:
    """Where the base is not, it is brought along as it is, and the image is whole."""
    with registries.registry(state) as empty:
        place = f"docker://{registry.host}/"
        output = f"docker://{empty.host}/app:new"
        person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", output)
        assert empty.layers("app", "new")[:-1] == registry.layers("base", "1")
        assert_whole(empty, "app", "new", DOCKER_MANIFEST)
        assert len(empty.blobs()) == 5
        assert_same([("app", source_rootfs, umoci.snapshot(output, PLAIN))])


def test_a_registry_that_does_not_mount(registry: Registry, person: Person) -> None:
    """Where a blob is not mounted, the image gets it in another way and is whole."""
    with registries.proxy((HOST, registry.port)) as proxy:
        fault = proxy.add(Fault("POST", "mount=", no_query=True))
        place = f"docker://{proxy.host}/"
        person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}other:1")
        assert fault.hits
    new_layer(registry, "other", "1")
    assert_whole(registry, "other", "1", DOCKER_MANIFEST)


def test_a_registry_with_relative_addresses(state: Path, images_registry: Registry, person: Person) -> None:
    """An address for an upload that has no host is the registry's own."""
    with registries.registry(state, like=images_registry, relative=True) as registry:
        place = f"docker://{registry.host}/"
        person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}other:1")
        new_layer(registry, "other", "1")
        assert_whole(registry, "other", "1", DOCKER_MANIFEST)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_layers_that_come_twice(
    how: str, registry: Registry, person: Person, umoci: services.Umoci
) -> None:
    """A blob that is several layers of an image comes down once, and kept ones stay as they are packed."""
    place, mark = f"docker://{registry.host}/", registry.mark()
    source, base = f"{place}repeating-{how}:1", f"{place}repeating-base-{how}:1"
    person.squash(source, "--keep-base", base, "-o", f"{place}other:1")
    kept = registry.layers(f"repeating-base-{how}", "1")
    layers = registry.layers("other", "1")
    assert layers[:-1] == kept
    assert_whole(registry, "other", "1", OCI_MANIFEST)
    kinds = [one["mediaType"].rpartition("+")[2] for one in registry.manifest("other", "1")["layers"]]
    assert kinds == [how] * 3
    log = registry.log(mark)
    down = downloaded(log)
    assert len(down) == len(set(down))
    assert not uploaded(log) & set(kept)
    found = [umoci.snapshot(one, PLAIN) for one in (source, f"{place}other:1")]
    assert_same([(how, found[0], found[1])])


def test_a_name_without_a_tag_is_the_latest(registry: Registry, person: Person) -> None:
    """HOST/NAME means HOST/NAME:latest, for what is written and for what is read."""
    place = f"docker://{registry.host}/"
    person.squash(f"{place}app:1", "--keep-layers", "2", "-o", f"{place}newest")
    assert registry.tags("newest").keys() == {"latest"}
    done = person.run("cat", f"{place}newest", "/etc/changed")
    assert (done.code, done.out) == (0, b"new\n"), done.err


# --- other sources, other targets ------------------------------------------------------------


@pytest.mark.parametrize("source", ["daemon", "archive"])
def test_kept_layers_get_the_registrys_digests(
    source: str,
    archive: Path,
    docker: services.Docker,
    registry: Registry,
    person: Person,
    umoci: services.Umoci,
    source_rootfs: Snapshot,
) -> None:
    """Plain layers from elsewhere are the base's own blobs in the registry, found by what they hold."""
    person.use_daemon(docker)
    image = {"daemon": "docker-daemon:app:1", "archive": f"docker-archive:{archive}:app:1"}[source]
    before, mark = registry.blobs(), registry.mark()
    output = f"docker://{registry.host}/other:1"
    person.squash(image, "--keep-base", f"docker://{registry.host}/base:1", "-o", output)
    layer = new_layer(registry, "other", "1")
    assert len(registry.blobs() - before) == 3
    log = registry.log(mark)
    assert uploaded(log) == {layer, registry.manifest("other", "1")["config"]["digest"]}
    assert not set(registry.layers("base", "1")) & set(downloaded(log))
    assert_tag_came_last(registry, mark, "1")
    assert_same([("app", source_rootfs, umoci.snapshot(output, PLAIN))])


@pytest.mark.parametrize("source", ["daemon", "archive"])
def test_without_a_base_in_the_registry_all_is_packed(
    source: str,
    state: Path,
    archive: Path,
    docker: services.Docker,
    images_registry: Registry,
    person: Person,
    umoci: services.Umoci,
    source_rootfs: Snapshot,
) -> None:
    """Kept layers that no registry has packed yet go up with gzip."""
    person.use_daemon(docker)
    image = {"daemon": "docker-daemon:app:1", "archive": f"docker-archive:{archive}:app:1"}[source]
    with registries.registry(state) as empty:
        output = f"docker://{empty.host}/app:1"
        person.squash(image, "--keep-base", "base:1", "-o", output)
        layers = empty.layers("app", "1")
        assert len(layers) == 3
        assert [empty.blob(digest)[:2] for digest in layers] == [b"\x1f\x8b"] * 3
        assert empty.config("app", "1")["rootfs"]["diff_ids"][:2] == docker.layers("base:1")
        assert_same([("app", source_rootfs, umoci.snapshot(output, PLAIN))])


@pytest.mark.parametrize(
    "target", ["docker-archive:{}/out.tar", "oci-archive:{}/out.tar", "oci:{}/out:new"]
)
def test_from_a_registry_into_a_file(
    target: str,
    registry: Registry,
    person: Person,
    umoci: services.Umoci,
    source_rootfs: Snapshot,
    tmp_path: Path,
) -> None:
    """What comes from a registry into a file is whole, base included."""
    place, output = f"docker://{registry.host}/", target.format(tmp_path)
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-t", "app:new", "-o", output)
    image = read_image(tmp_path / ("out" if target.startswith("oci:") else "out.tar"))
    base = registry.config("base", "1")["rootfs"]["diff_ids"]
    assert image.config["rootfs"]["diff_ids"][:-1] == base
    read = output + ":app:new" if output.startswith("docker-archive:") else output
    assert_same([(target, source_rootfs, umoci.snapshot(read))])


# --- every platform --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "index_type", "media_type"),
    [
        ("multi", [], OCI_INDEX, OCI_MANIFEST),
        ("multi-docker", [], DOCKER_LIST, DOCKER_MANIFEST),
        ("multi-docker", ["--format", "oci"], OCI_INDEX, OCI_MANIFEST),
        ("multi", ["--format", "docker"], DOCKER_LIST, DOCKER_MANIFEST),
    ],
)
def test_every_platform_of_an_index(
    name: str,
    options: list[str],
    index_type: str,
    media_type: str,
    registry: Registry,
    person: Person,
    umoci: services.Umoci,
) -> None:
    """A new index has every platform squashed above its own base, and gets its tag last."""
    place, mark = f"docker://{registry.host}/", registry.mark()
    base = f"{place}{name.replace('multi', 'multi-base')}:1"
    arguments = [f"{place}{name}:1", "--platform", "all", "--keep-base", base, "-o", f"{place}{name}:new"]
    person.squash(*arguments, *options)
    old, new = registry.manifest(name, "1"), registry.manifest(name, "new")
    assert new["mediaType"] == index_type
    assert [one["platform"] for one in new["manifests"]] == [one["platform"] for one in old["manifests"]]
    for before, after in zip(old["manifests"], new["manifests"], strict=True):
        assert after["mediaType"] == media_type
        assert len(registry.blob(after["digest"])) == after["size"]
        assert_whole(registry, name, after["digest"], media_type)
        layers = registry.layers(name, after["digest"])
        assert len(layers) == 2
        assert layers[0] == registry.layers(name, before["digest"])[0]
    assert_tag_came_last(registry, mark, "new")
    for platform in small.PLATFORMS:
        arch = f"--override-arch={platform.partition('/')[2]}"
        one, two = (
            _with_arch(umoci, f"docker://{registry.host}/{name}:{tag}", arch) for tag in ("1", "new")
        )
        assert one
        assert_same([(platform, one, two)])


def _with_arch(umoci: services.Umoci, source: str, option: str) -> Snapshot:
    layout = umoci.folder / f"arch-{time.monotonic_ns()}"
    command = [
        "skopeo",
        "--insecure-policy",
        option,
        "copy",
        "--quiet",
        PLAIN,
        source,
        f"oci:{layout}:image",
    ]
    services.run(command)
    return umoci.snapshot(f"oci:{layout}:image")


def test_attestations_stay_out(registry: Registry, person: Person) -> None:
    """What describes the old images is not in the new index, and that is told."""
    place = f"docker://{registry.host}/"
    assert len(registry.manifest("attested", "1")["manifests"]) == 4
    arguments = ["--platform", "all", "--keep-layers", "1", "-o", f"{place}attested:new"]
    report = person.squash(f"{place}attested:1", *arguments)
    assert len(registry.manifest("attested", "new")["manifests"]) == 2
    assert any("Attestations" in note for one in report["platforms"].values() for note in one["notes"])


def test_one_platform_of_an_index(registry: Registry, person: Person) -> None:
    """--platform takes one image out of an index."""
    place = f"docker://{registry.host}/"
    arguments = ["--keep-base", f"{place}multi-base:1", "-o", f"{place}multi:arm"]
    person.squash(f"{place}multi:1", "--platform", "linux/arm64", *arguments)
    assert registry.config("multi", "arm")["architecture"] == "arm64"
    assert len(registry.layers("multi", "arm")) == 2


def test_a_platform_that_fails_tags_nothing(registry: Registry, person: Person) -> None:
    """Where one platform cannot be read the index is not written, and the platform is named."""
    lost = registry.layers("multi", registry.manifest("multi", "1")["manifests"][1]["digest"])[1]
    registry.forget("multi", lost)
    place = f"docker://{registry.host}/"
    arguments = ["--platform", "all", "--keep-layers", "1", "-o", f"{place}multi:new"]
    assert_fails(person.run("squash", f"{place}multi:1", *arguments), 5, "linux/arm64")
    assert registry.tags("multi").keys() == {"1"}


# --- what is written, and what is not --------------------------------------------------------


@pytest.mark.parametrize("platform", [[], ["--platform", "all"]])
def test_a_dry_run_changes_nothing(platform: list[str], registry: Registry, person: Person) -> None:
    """--dry-run only reads: no blob, no tag, not even an upload that is begun."""
    mark, blobs = registry.mark(), registry.blobs()
    place, name = f"docker://{registry.host}/", "multi" if platform else "app"
    output = f"{place}other:1"
    report = person.squash(f"{place}{name}:1", "--keep-layers", "1", *platform, "--dry-run", "-o", output)
    log = registry.log(mark)
    assert log
    assert [one for one in log if one.writes] == []
    assert registry.blobs() == blobs
    if not platform:
        assert report["dry_run"]
        assert report["transfer"]["up"] == 0


@pytest.mark.parametrize("platform", [[], ["--platform", "all"]])
def test_a_push_by_digest_has_no_tag(
    platform: list[str], registry: Registry, person: Person, tmp_path: Path
) -> None:
    """--push-by-digest writes the image and no tag; --digest-file says which one it is."""
    place, name = f"docker://{registry.host}/", "multi" if platform else "app"
    before, file = registry.digests(name), tmp_path / "digest"
    arguments = ["--keep-layers", "1", "-o", f"{place}{name}", "--push-by-digest", "--digest-file", file]
    person.squash(f"{place}{name}:1", *platform, *arguments)
    assert registry.tags(name).keys() == {"1"}
    digest = file.read_text().strip()
    assert digest in registry.digests(name) - before
    assert len(registry.digests(name) - before) == (3 if platform else 1)


@pytest.mark.parametrize("platform", [[], ["--platform", "all"]])
def test_a_digest_file_has_the_digest_of_what_was_pushed(
    platform: list[str], registry: Registry, person: Person, tmp_path: Path
) -> None:
    """--digest-file holds the digest that the tag stands for, of the index where there is one."""
    place, name = f"docker://{registry.host}/", "multi" if platform else "app"
    arguments = ["--keep-layers", "1", "-o", f"{place}{name}:new", "--digest-file", tmp_path / "digest"]
    report = person.squash(f"{place}{name}:1", *platform, *arguments)
    digest = (tmp_path / "digest").read_text().strip()
    assert digest == registry.tags(name)["new"]
    assert digest == report["index_digest" if platform else "manifest_digest"]


def test_a_digest_file_of_a_failure_is_not_written(
    registry: Registry, person: Person, tmp_path: Path
) -> None:
    """Where nothing was pushed there is no digest to be told."""
    with registries.proxy((HOST, registry.port)) as proxy:
        proxy.add(Fault("PUT", "/manifests/", answer=403))
        place = f"docker://{proxy.host}/"
        arguments = ["--keep-layers", "2", "-o", f"{place}app:new", "--digest-file", tmp_path / "digest"]
        assert_fails(person.run("squash", f"{place}app:1", *arguments), 5)
    assert not (tmp_path / "digest").exists()


def test_the_report_tells_what_moved(registry: Registry, person: Person) -> None:
    """Bytes that came down, went up and stayed where they are, as the proxy counted them."""
    base, app = registry.layers("base", "1"), registry.layers("app", "1")
    with registries.proxy((HOST, registry.port)) as proxy:
        place = f"docker://{proxy.host}/"
        for run, fetched in (("cold", app), ("warm", app[len(base) :])):
            proxy.requests.clear()
            arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}{run}:1"]
            transfer = person.squash(f"{place}app:1", *arguments)["transfer"]
            assert transfer.keys() == {"down", "up", "not_moved"}
            if run == "warm":
                assert transfer["not_moved"] == registry.size(base)
            assert registry.size(fetched) <= transfer["down"] <= registry.size(fetched) + DOCUMENTS
            assert transfer["down"] <= sum(one.down for one in proxy.seen("GET"))
            sent = sum(one.up for one in proxy.writes())
            layer = new_layer(registry, run, "1")
            assert registry.size([layer]) <= transfer["up"] <= sent
            assert sent <= registry.size([layer]) + DOCUMENTS


# --- who may -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def token_server(authority: Authority) -> Iterator[TokenServer]:
    """A server of tokens that knows one user."""
    with registries.token_server(authority, {USER: PASSWORD, "reader": PASSWORD}) as tokens:
        tokens.grants = lambda user, repository, actions: (
            [one for one in actions if one == "pull"] if user == "reader" else actions if user else []
        )
        yield tokens


@pytest.fixture(scope="module")
def guarded(
    state: Path, images_registry: Registry, token_server: TokenServer
) -> Iterator[dict[str, Registry]]:
    """Registries that ask who is there: by password, and by token."""
    with ExitStack() as stack:
        basic = registries.registry(state, users={USER: PASSWORD}, like=images_registry)
        bearer = registries.registry(state, tokens=token_server, like=images_registry)
        yield {
            "basic": available(lambda: stack.enter_context(basic)),
            "bearer": available(lambda: stack.enter_context(bearer)),
        }


def auth_file(folder: Path, host: str, name: str, password: str) -> Path:
    """A file of credentials, as podman and skopeo keep it."""
    Person(folder).log_in(host, name, password)
    return folder / "docker" / "config.json"


def credential_helper(person: Person, folder: Path, host: str, password: str = PASSWORD) -> None:
    """A program that knows one password, on the PATH."""
    folder.mkdir()
    answer = json.dumps({"ServerURL": host, "Username": USER, "Secret": password})
    script = folder / "docker-credential-squashkit-test"
    script.write_text(
        f"#!/bin/sh\nread server\n"
        f'if [ "$1" = get ] && [ "$server" = "{host}" ]; then echo \'{answer}\'\n'
        f"else echo 'credentials not found in native keychain'; exit 1; fi\n"
    )
    script.chmod(0o755)
    person.env["PATH"] = f"{folder}:{os.environ['PATH']}"


Way = Callable[[Person, str, Path], list[str | Path]]


def _docker_config(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in(host, USER, PASSWORD)
    return []


def _authfile(person: Person, host: str, folder: Path) -> list[str | Path]:
    return ["--authfile", auth_file(folder / "auth", host, USER, PASSWORD)]


def _authfile_first(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in(host, USER, "an old one")
    return _authfile(person, host, folder)


def _variable(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.env["REGISTRY_AUTH_FILE"] = str(auth_file(folder / "auth", host, USER, PASSWORD))
    return []


def _helper(person: Person, host: str, folder: Path) -> list[str | Path]:
    credential_helper(person, folder / "bin", host)
    config = {"credHelpers": {host: "squashkit-test"}}
    (person.config / "config.json").write_text(json.dumps(config))
    return []


def _store(person: Person, host: str, folder: Path) -> list[str | Path]:
    credential_helper(person, folder / "bin", host)
    config = {"credsStore": "squashkit-test", "auths": {host: {}}}
    (person.config / "config.json").write_text(json.dumps(config))
    return []


WAYS: dict[str, Way] = {
    "DOCKER_CONFIG": _docker_config,
    "--authfile": _authfile,
    "--authfile before DOCKER_CONFIG": _authfile_first,
    "REGISTRY_AUTH_FILE": _variable,
    "credHelpers": _helper,
    "credsStore": _store,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_credentials_are_found(
    kind: str, way: str, guarded: dict[str, Registry], person: Person, tmp_path: Path
) -> None:
    """Credentials come from where docker, podman and skopeo keep them, for both kinds of registries."""
    registry = guarded[kind]
    place, tag = f"docker://{registry.host}/", re.sub(r"\W", "_", way)
    options = WAYS[way](person, registry.host, tmp_path)
    mark = registry.mark()
    arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}{kind}:{tag}"]
    person.squash(f"{place}app:1", *arguments, *options)
    new_layer(registry, kind, tag)
    assert not uploaded(registry.log(mark)) & set(registry.layers("base", "1"))


def _nothing(person: Person, host: str, folder: Path) -> list[str | Path]:
    return []


def _wrong(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in(host, USER, "wrong-" + PASSWORD)
    return []


def _for_another_host(person: Person, host: str, folder: Path) -> list[str | Path]:
    person.log_in("other.test", USER, PASSWORD)
    return []


def _empty_store(person: Person, host: str, folder: Path) -> list[str | Path]:
    credential_helper(person, folder / "bin", "other.test")
    (person.config / "config.json").write_text('{"credsStore": "squashkit-test"}')
    return []


NO_WAYS: dict[str, Way] = {
    "nothing": _nothing,
    "wrong password": _wrong,
    "for another host": _for_another_host,
    "empty store": _empty_store,
}


@pytest.mark.parametrize("way", NO_WAYS)
@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_without_credentials_nothing_is_done(
    kind: str, way: str, guarded: dict[str, Registry], person: Person, tmp_path: Path
) -> None:
    """A refusal is told in one line that names the registry, shows no password, and changes nothing."""
    registry = guarded[kind]
    options = NO_WAYS[way](person, registry.host, tmp_path)
    place, before = f"docker://{registry.host}/", registry.blobs()
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}no:1", *options]
    done = person.run("squash", *arguments)
    assert_fails(done, 5, registry.host)
    assert PASSWORD not in person.run("squash", *arguments, "--debug").err
    assert registry.tags("no") == {}
    assert registry.blobs() == before


def test_who_may_only_read_writes_nothing(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """Without the right to push reading goes on and a squash fails, with nothing tagged."""
    registry = guarded["bearer"]
    place = f"docker://{registry.host}/"
    person.log_in(registry.host, "reader", PASSWORD)
    assert person.run("cat", f"{place}app:1", "/etc/changed").out == b"new\n"
    done = person.run("squash", f"{place}app:1", "--keep-layers", "2", "-o", f"{place}no:1")
    assert_fails(done, 5, registry.host)
    assert registry.tags("no") == {}


def test_public_images_need_no_credentials(
    guarded: dict[str, Registry],
    token_server: TokenServer,
    person: Person,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Where anybody may read, nobody has to say who he is: to read, not to write."""
    registry = guarded["bearer"]
    monkeypatch.setattr(
        token_server, "grants", lambda user, repository, actions: [one for one in actions if one == "pull"]
    )
    place, asked = f"docker://{registry.host}/", len(token_server.asked)
    arguments = [f"{place}app:1", "--keep-base", f"{place}base:1", "-o"]
    person.squash(*arguments, tmp_path / "out.tar")
    assert {one.user for one in token_server.asked[asked:]} == {""}
    assert_fails(person.run("squash", *arguments, f"{place}no:1"), 5, registry.host)
    assert registry.tags("no") == {}


def test_a_token_for_a_mount_covers_both_repositories(
    guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """A mount is asked for with a token that lets read there and write here, and is granted."""
    registry = guarded["bearer"]
    place, asked = f"docker://{registry.host}/", len(token_server.asked)
    person.log_in(registry.host, USER, PASSWORD)
    mark = registry.mark()
    arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}for-mount:1"]
    person.squash(f"{place}app:1", *arguments)
    assert mounted(registry.log(mark)) == set(registry.layers("base", "1"))
    scopes = [" ".join(one.scopes) for one in token_server.asked[asked:]]
    assert any(re.search(r"for-mount:\S*push", one) and one.count("repository:") > 1 for one in scopes)
    assert all(one.user == USER for one in token_server.asked[asked:])
    assert len(scopes) <= 8, "a token is asked for once, and used again"


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_token_that_is_refused_midway_is_asked_for_again(
    kind: str, guarded: dict[str, Registry], token_server: TokenServer, person: Person
) -> None:
    """A 401 in the middle of the work is answered with new credentials, not with an error."""
    registry = guarded[kind]
    challenge = {
        "basic": 'Basic realm="tests"',
        "bearer": f'Bearer realm="{token_server.url}/token",service="{registries.SERVICE}"',
    }[kind]
    with registries.proxy((HOST, registry.port)) as proxy:
        layer = registry.layers("app", "1")[-1]
        headers = {"WWW-Authenticate": challenge}
        fault = proxy.add(Fault("GET", f"/blobs/{layer}", 1, answer=401, headers=headers))
        place = f"docker://{proxy.host}/"
        person.log_in(proxy.host, USER, PASSWORD)
        person.squash(f"{place}app:1", "--keep-layers", "2", "-o", f"{place}midway:1")
        assert fault.hits == 1


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_redirect_gets_no_credentials(
    kind: str, guarded: dict[str, Registry], person: Person, umoci: services.Umoci, source_rootfs: Snapshot
) -> None:
    """Blobs that the registry has elsewhere are fetched there, without a word of who is asking."""
    registry = guarded[kind]
    with (
        registries.store(registry) as elsewhere,
        registries.proxy((HOST, registry.port)) as proxy,
    ):
        fault = proxy.add(Fault("GET", BLOB, redirect=f"http://localhost:{elsewhere.port}"))
        place = f"docker://{proxy.host}/"
        person.log_in(proxy.host, USER, PASSWORD)
        person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}redirected:1")
        assert fault.hits
        assert {one.status for one in elsewhere.requests} == {200}
        assert not any("authorization" in one.headers for one in elsewhere.requests)
        assert all("authorization" in one.headers for one in proxy.seen("GET", BLOB))
    new_layer(registry, "redirected", "1")


# --- TLS and proxies -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure(state: Path, images_registry: Registry, authority: Authority) -> Iterator[Registry]:
    """A registry behind TLS, with a certificate that no machine trusts by itself."""
    with registries.registry(
        state, authority=authority, hosts=[HOST, "localhost", "registry.test"], like=images_registry
    ) as registry:
        yield registry


@pytest.fixture(scope="module")
def strict(state: Path, images_registry: Registry, authority: Authority) -> Iterator[Registry]:
    """A registry that knows its clients by their certificates."""
    with registries.registry(state, authority=authority, clients=True, like=images_registry) as registry:
        yield registry


@pytest.fixture(scope="module")
def other_authority(state: Path) -> Authority:
    """One that signed nothing here."""
    return available(lambda: Authority(state / "other-authority"))


@pytest.mark.parametrize("host", [HOST, "localhost"])
@pytest.mark.parametrize(
    ("which", "options", "code"),
    [
        ("secure", ["--cert-dir", "own"], 0),
        ("secure", ["--tls-verify=false"], 0),
        ("secure", [], 5),
        ("secure", ["--cert-dir", "other"], 5),
        ("strict", ["--cert-dir", "client"], 0),
        ("strict", ["--cert-dir", "own"], 5),
    ],
)
def test_tls(
    which: str,
    options: list[str],
    code: int,
    host: str,
    secure: Registry,
    strict: Registry,
    authority: Authority,
    other_authority: Authority,
    person: Person,
) -> None:
    """A certificate is trusted where --cert-dir or --tls-verify=false says so, else there is a hint."""
    registry = {"secure": secure, "strict": strict}[which]
    folders = {
        "own": authority.folder_for_clients(),
        "client": authority.folder_for_clients(client=True),
        "other": other_authority.folder_for_clients(),
    }
    said = [str(folders.get(word, word)) for word in options]
    place, tag = f"docker://{host}:{registry.port}/", re.sub(r"\W", "_", "-".join(["t", host, *options]))
    arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}tls:{tag}"]
    done = person.run("squash", f"{place}app:1", *arguments, *said)
    if code:
        assert_fails(done, code, f"{host}:{registry.port}")
        assert "--cert-dir" in done.err or "--tls-verify" in done.err
        assert tag not in registry.tags("tls")
    else:
        assert done.code == 0, done.err
        new_layer(registry, "tls", tag)


def test_a_tunnel_through_a_proxy(secure: Registry, authority: Authority, person: Person) -> None:
    """HTTPS_PROXY leads to a registry that nobody but the proxy can find."""
    with registries.proxy(names={"registry.test:443": (HOST, secure.port)}) as proxy:
        person.use_proxies(https_proxy=f"http://{proxy.host}")
        options = ["--cert-dir", authority.folder_for_clients()]
        place = "docker://registry.test/"
        arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}tunnel:1"]
        person.squash(f"{place}app:1", *arguments, *options)
        assert {one.path for one in proxy.seen("CONNECT")} == {"registry.test:443"}
    new_layer(secure, "tunnel", "1")


def test_plain_requests_through_a_proxy(registry: Registry, person: Person) -> None:
    """HTTP_PROXY leads to a registry without TLS, where --tls-verify=false allows that."""
    with registries.proxy(names={"registry.test:5000": (HOST, registry.port)}) as proxy:
        person.use_proxies(http_proxy=f"http://{proxy.host}", https_proxy=f"http://{proxy.host}")
        place = "docker://registry.test:5000/"
        arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}plain:1", "--tls-verify=false"]
        person.squash(f"{place}app:1", *arguments)
        assert proxy.seen("GET", "^http://registry.test:5000/v2/")
    new_layer(registry, "plain", "1")


def test_some_hosts_need_no_proxy(registry: Registry, person: Person) -> None:
    """What NO_PROXY lists is asked directly."""
    with registries.proxy() as proxy:
        address = f"http://{proxy.host}"
        person.use_proxies(http_proxy=address, https_proxy=address, no_proxy="127.0.0.1,localhost")
        place = f"docker://{registry.host}/"
        person.squash(f"{place}app:1", "--keep-layers", "2", "-o", f"{place}app:new")
        assert proxy.requests == []


# --- what goes wrong on the way --------------------------------------------------------------

COPIED, LAST = 2, -1
"""A layer of 200 kB above the base, and the topmost, a very small one."""

FAULTS: dict[str, tuple[Fault, int]] = {
    "slow blob": (Fault("GET", "layer", pause=0.05), 0),
    "blob cut once": (Fault("GET", "layer", 1, cut_down=100_000), 0),
    "blob cut twice": (Fault("GET", "layer", 2, cut_down=100_000), 0),
    "blob cut always": (Fault("GET", "layer", cut_down=10_000), 5),
    "blob cut at once, always": (Fault("GET", "layer", cut_down=0), 5),
    "base blob cut once": (Fault("GET", "base", 1, cut_down=500_000), 0),
    "config cut always": (Fault("GET", "config", cut_down=10), 5),
    "manifest cut always": (Fault("GET", "/manifests/", cut_down=10), 5),
    "429 for a manifest": (Fault("GET", "/manifests/", 1, answer=429, headers={"Retry-After": "1"}), 0),
    "429 for a blob": (Fault("GET", "layer", 1, answer=429, headers={"Retry-After": "1"}), 0),
    "429 for an upload": (Fault("POST", "/uploads/", 1, answer=429, headers={"Retry-After": "1"}), 0),
    "500 twice for a blob": (Fault("GET", "layer", 2, answer=500), 0),
    "503 twice for an upload": (Fault("POST", "/uploads/", 2, answer=503), 0),
    "502 once for the tag": (Fault("PUT", "/manifests/new", 1, answer=502), 0),
    "500 always for a blob": (Fault("GET", "layer", answer=500), 5),
    "500 always for the tag": (Fault("PUT", "/manifests/new", answer=500), 5),
    "403 for an upload": (Fault("POST", "/uploads/", answer=403), 5),
    "403 for the tag": (Fault("PUT", "/manifests/new", answer=403), 5),
    "400 for the tag": (Fault("PUT", "/manifests/new", answer=400), 5),
    "404 for a blob": (Fault("GET", "layer", answer=404), 5),
    "no JSON for a manifest": (Fault("GET", "/manifests/1", answer=200, body=b"<html>"), 5),
    "wrong byte in a blob": (Fault("GET", "layer", flip=100_000), 4),
    "wrong byte in the last one": (Fault("GET", "last", flip=20), 4),
    "wrong byte in the base": (Fault("GET", "base", flip=500_000), 4),
    "wrong byte in the config": (Fault("GET", "config", flip=30), 4),
    "wrong byte in the manifest": (Fault("GET", "/manifests/sha256:", flip=30), 4),
    "upload cut once": (Fault("PATCH|PUT", UPLOAD, 1, cut_up=1000), 0),
    "upload cut always": (Fault("PATCH|PUT", UPLOAD, cut_up=1000), 5),
}
EITHER = {"no JSON for a manifest": {4, 5}}
"""Where two exit codes are right."""


@pytest.mark.parametrize("name", FAULTS)
def test_faults_on_the_way(name: str, registry: Registry, person: Person) -> None:
    """What passes is tried again, what lasts is one clear line and no tag, and no wrong byte gets in."""
    template, code = FAULTS[name]
    app = registry.layers("app", "1")
    paths = {
        "layer": f"/blobs/{app[COPIED]}",
        "last": f"/blobs/{app[LAST]}",
        "base": f"/blobs/{app[0]}",
        "config": f"/blobs/{registry.manifest('app', '1')['config']['digest']}",
    }
    before = registry.tags("app")
    with registries.proxy((HOST, registry.port)) as proxy:
        fault = proxy.add(replace(template, path=paths.get(template.path, template.path)))
        place = f"docker://{proxy.host}/"
        source = f"app@{before['1']}" if "manifest" in name else "app:1"
        if "JSON" in name:
            source = "app:1"
        arguments = ["--keep-base", f"{place}base:1", "-o", f"{place}app:new"]
        done = person.run("squash", f"{place}{source}", *arguments)
        assert fault.hits
    if code:
        assert done.code in EITHER.get(name, {code}), (done.code, done.err)
        assert_fails(done, done.code)
        assert registry.tags("app") == before
    else:
        assert done.code == 0, done.err
        new_layer(registry, "app", "new")
        assert_whole(registry, "app", "new", DOCKER_MANIFEST)


def test_a_blob_goes_on_where_it_was_cut(registry: Registry, person: Person) -> None:
    """After a cut not everything comes again: the rest of the blob does, and the same image is made."""
    place = f"docker://{registry.host}/"
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}app:uncut")
    person.forget()
    base = registry.layers("base", "1")[1]
    with registries.proxy((HOST, registry.port)) as proxy:
        proxy.add(Fault("GET", f"/blobs/{base}", 1, cut_down=1_500_000))
        place = f"docker://{proxy.host}/"
        person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"{place}app:cut")
        first, second = proxy.seen("GET", f"/blobs/{base}")
        assert re.fullmatch(r"bytes=\d+-", second.headers.get("range", ""))
        assert second.status == 206
        assert first.down + second.down < registry.size([base]) + (1 << 20)
    assert registry.tags("app")["cut"] == registry.tags("app")["uncut"]


@pytest.mark.parametrize("missing", ["source", "base", "target"])
def test_a_registry_that_is_not_there(missing: str, registry: Registry, person: Person) -> None:
    """Where nobody listens it is one clear line that names the host."""
    with registries.proxy() as gone:
        pass
    hosts = dict.fromkeys(("source", "base", "target"), registry.host) | {missing: gone.host}
    arguments = [
        "--keep-base",
        f"docker://{hosts['base']}/base:1",
        "-o",
        f"docker://{hosts['target']}/no:1",
    ]
    assert_fails(person.run("squash", f"docker://{hosts['source']}/app:1", *arguments), 5, gone.host)
    assert registry.tags("no") == {}


@pytest.mark.parametrize("name", ["app:none", "none:1", "app@sha256:" + "0" * 64])
@pytest.mark.parametrize("role", ["source", "base"])
def test_an_image_that_is_not_there(role: str, name: str, registry: Registry, person: Person) -> None:
    """A tag, a repository or a digest that the registry does not have is one clear line that names it."""
    place = f"docker://{registry.host}/"
    names = {"source": "app:1", "base": "base:1"} | {role: name}
    arguments = ["--keep-base", place + names["base"], "-o", f"{place}no:1"]
    done = person.run("squash", place + names["source"], *arguments)
    assert done.code in ({5} if role == "source" else {1, 5}), done.err
    assert_fails(done, done.code, name)
    assert registry.tags("no") == {}


def test_a_base_of_another_image(registry: Registry, person: Person) -> None:
    """A base that the image is not built on is refused before anything moves."""
    mark, place = registry.mark(), f"docker://{registry.host}/"
    arguments = ["--keep-base", f"{place}multi:1", "--platform", "linux/amd64", "-o", f"{place}no:1"]
    assert_fails(person.run("squash", f"{place}app:1", *arguments), 1, "is not based on")
    log = registry.log(mark)
    assert not [one for one in log if one.writes]
    assert not set(downloaded(log)) & set(registry.layers("app", "1"))


def test_an_interrupt_leaves_no_tag(registry: Registry, person: Person) -> None:
    """Ctrl-C in the middle of an upload ends the run, and nothing is tagged."""
    with registries.proxy((HOST, registry.port)) as proxy:
        place = f"docker://{proxy.host}/"
        arguments = [f"{place}app:1", "--keep-layers", "2", "-o", f"{place}app:new"]

        def interrupt() -> None:
            process.send_signal(signal.SIGINT)
            process.wait(30)

        fault = proxy.add(Fault("PATCH|PUT", UPLOAD, 1, call=interrupt, call_at=1))
        process = spawn("squash", *arguments, env=person.env, cwd=person.home)
        _, said = process.communicate(timeout=60)
        assert fault.hits == 1
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert registry.tags("app").keys() == {"1"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["docker://", "-o", "x.tar"],
        ["docker://HOST", "-o", "x.tar"],
        ["docker://HOST/", "-o", "x.tar"],
        ["docker://HOST/UPPER:1", "-o", "x.tar"],
        ["docker://HOST/app@sha256:12", "-o", "x.tar"],
        ["docker://HOST/app:1", "-o", "docker://HOST/app@sha256:" + "0" * 64],
        ["docker://HOST/app:1", "-o", "x.tar", "--push-by-digest"],
        ["docker://HOST/app:1", "-o", "docker://HOST/app:1"],
        ["docker://HOST/app:1", "-o", "docker://HOST/app:x", "--cert-dir", "not-there"],
        ["docker://HOST/app:1", "-o", "docker://HOST/app:x", "--authfile", "not-there"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_a_usage_error(
    arguments: list[str], registry: Registry, person: Person
) -> None:
    """References that name nothing, and options that do not fit, are told before anything moves."""
    mark, before = registry.mark(), registry.tags("app")
    said = [word.replace("HOST", registry.host) for word in arguments]
    done = person.run("squash", *said, "--keep-layers", "2")
    assert_fails(done, 2)
    assert not [one for one in registry.log(mark) if one.writes]
    assert registry.tags("app") == before


def test_the_sources_tag_moves_where_that_is_asked_for(registry: Registry, person: Person) -> None:
    """--replace puts the result where its source was, and the source stays to be had by its digest."""
    place, before = f"docker://{registry.host}/", registry.tags("app")["1"]
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "--replace")
    assert registry.tags("app")["1"] != before
    new_layer(registry, "app", "1")
    assert before in registry.digests("app")


# --- the commands that look ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["ls", "{}app:1", "/etc"], "changed"),
        (["cat", "{}app:1", "/etc/changed"], "new\n"),
        (["cat", "{}app@{digest}", "/etc/kept"], "kept\n"),
        (["which", "{}app:1", "/etc/old"], "rm /app/cache /etc/old"),
        (["inspect", "{}app:1"], "chmod 750 /app/big"),
        (["inspect", "{}multi:1", "--platform", "linux/arm64"], "RUN step 2"),
        (["verify", "{}app:1"], ""),
        (["verify", "{}multi:1", "--platform", "all"], ""),
        (["diff", "{}app:1", "{}app-oci:1"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_looking_at_images_in_a_registry(
    command: list[str], expected: str, images_registry: Registry, person: Person
) -> None:
    """Every command that looks takes an image in a registry, and only reads."""
    registry = images_registry
    mark, place = registry.mark(), f"docker://{registry.host}/"
    said = [word.format(place, digest=registry.tags("app")["1"]) for word in command]
    done = person.run(*said)
    assert done.code == 0, done.err
    assert expected in done.text
    log = registry.log(mark)
    assert log
    assert not [one for one in log if one.writes]


def test_a_comparison_across_places(
    images_registry: Registry, docker: services.Docker, archive: Path, person: Person
) -> None:
    """One image in a registry, a daemon and an archive has no differences."""
    person.use_daemon(docker)
    here = f"docker://{images_registry.host}/app:1"
    for there in ("docker-daemon:app:1", f"docker-archive:{archive}:app:1"):
        done = person.run("diff", here, there)
        assert done.code == 0, done.err
    done = person.run("diff", here, "docker-daemon:base:1")
    assert done.code == 3, done.err


def test_an_export_from_a_registry(
    images_registry: Registry, person: Person, tmp_path: Path, proxied: Proxy
) -> None:
    """A wrong byte on the way is found by export and verify as in a file."""
    app = images_registry.layers("app", "1")
    proxied.add(Fault("GET", f"/blobs/{app[COPIED]}", flip=100_000))
    place = f"docker://{proxied.host}/"
    assert_fails(person.run("export", f"{place}app:1", "-o", tmp_path / "out.tar"), 4)
    assert not (tmp_path / "out.tar").exists()
    assert person.run("verify", f"{place}app:1").code == 4


@pytest.fixture
def proxied(images_registry: Registry) -> Iterator[Proxy]:
    """A proxy before the registry of the small images."""
    with registries.proxy((HOST, images_registry.port)) as proxy:
        yield proxy
