"""Images in registries: what squashkit reads, moves and writes, as registries, proxies and tools see it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat import registries, services, small
from tests.compat.conftest import Person
from tests.compat.registries import (
    HOST,
    Fault,
    Registry,
    assert_whole,
    downloaded,
    mounted,
    new_layer,
    uploaded,
)
from tests.compat.rootfs import Snapshot, assert_same
from tests.support.runner import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    assert_fails,
    read_image,
)

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


@pytest.mark.parametrize("options", [[], ["--min-saving", "99%"]], ids=["squashed", "unchanged"])
def test_what_a_registry_holds_is_checked(
    options: list[str], registry: Registry, person: Person, umoci: services.Umoci, source_rootfs: Snapshot
) -> None:
    """--check reads the result back from the registry, and then it gets its tag."""
    words = [f"docker://{registry.host}/app:1", "--keep-base", f"docker://{registry.host}/base:1"]
    report = person.squash(*words, "-o", f"docker://{registry.host}/app:checked", "--check", *options)
    assert (report["checked"], report["changed"]) == (True, not options)
    assert registry.tags("app")["checked"] == report["manifest_digest"]
    there = umoci.snapshot(f"docker://{registry.host}/app:checked", PLAIN)
    assert_same([("app", source_rootfs, there)])


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
    "target", ["docker-archive:{}/out.tar", "oci-archive:{}/out.tar", "oci:{}/out:result"]
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
    done = person.run("squash", f"{place}multi:1", *arguments)
    assert done.code in (4, 5)
    assert_fails(done, done.code, "linux/arm64", lost)
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
            assert transfer.keys() == {"down", "up", "not_moved", "proof"}
            if run == "warm":
                assert transfer["not_moved"] == registry.size(base)
            assert registry.size(fetched) <= transfer["down"] <= registry.size(fetched) + DOCUMENTS
            assert transfer["down"] <= sum(one.down for one in proxy.seen("GET"))
            sent = sum(one.up for one in proxy.writes())
            layer = new_layer(registry, run, "1")
            assert registry.size([layer]) <= transfer["up"] <= sent
            assert sent <= registry.size([layer]) + DOCUMENTS


def test_a_base_of_the_other_registry_is_mounted_there(
    registry: Registry, person: Person, state: Path
) -> None:
    """On the way from one registry into another, which has the base, its blobs stay where they are: they
    come down once, for their names, and do not go up."""
    with registries.registry(state, like=registry) as other:
        base = other.layers("base", "1")
        for digest in {*registry.layers("app", "1")} - {*base}:
            other.forget("app", digest)
        mark, place = other.mark(), f"docker://{other.host}/"
        words = ("--keep-base", f"{place}base:1", "-o", f"{place}moved:1")
        for _ in ("entries are read", "entries are remembered"):
            here = registry.mark()
            person.squash(f"docker://{registry.host}/app:1", *words)
        log = other.log(mark)
        assert uploaded(log) == {
            new_layer(other, "moved", "1"),
            other.manifest("moved", "1")["config"]["digest"],
        }
        assert mounted(log) == set(base)
        assert not {*downloaded(registry.log(here)), *downloaded(log)} & set(base)


def test_what_moved_is_told_of_where_it_came_from(
    registry: Registry, person: Person, tmp_path: Path
) -> None:
    """What comes from a registry is not said to be read from the file beside it, and what all platforms
    together moved is told once."""
    place = f"docker://{registry.host}/"
    archive = tmp_path / "app.tar"
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", archive, "-t", "app:1")
    words = ("--old-base", f"{place}base:1", "--new-base", f"{place}base-oci:1", "-o", tmp_path / "new.tar")
    told = person.run("rebase", archive, *words).text
    assert f" read from {registry.host}" in told
    assert f"read from {archive}" not in told
    every = ("squash", f"{place}multi:1", "--keep-layers", "1", "--platform", "all")
    assert person.run(*every, "-o", f"{place}multi:2").text.count("Moved: ") == 1
    report = person.run(*every, "-o", f"{place}multi:2", "--json").json
    assert report["transfer"]["up"] > 0
    assert {one["transfer"] for one in report["platforms"].values()} == {None}


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
        (["inspect", "{}multi:1", "--platform", "linux/arm64"], "  step 2"),
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
