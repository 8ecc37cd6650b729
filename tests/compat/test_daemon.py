"""Images in daemons and in podman's storage: what squashkit asks of them and leaves in them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat import registries, services
from tests.compat.conftest import Person, available
from tests.compat.rebases import SIZE, assert_comes_once, rebase_specs, rebased_from_files, rebased_layers
from tests.compat.registries import Fault, Proxy, Registry
from tests.compat.rootfs import Snapshot, assert_same
from tests.support.builders import ImageSpec, docker_archive_25, file, layer
from tests.support.runner import assert_fails

LOAD, SAVE = r"/images/load", r"/images/get"
"""The requests that bring an image into a daemon, and out of it."""

SQUASHED = "app:squashed"


@pytest.fixture(scope="module")
def source_rootfs(images_registry: Registry, docker: services.Docker) -> Snapshot:
    """The root file system of the app, as docker shows it."""
    return docker.snapshots("app:1")["app:1"]


@pytest.fixture(scope="module")
def archive(
    images_registry: Registry, docker: services.Docker, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The app and its base as `docker save` writes them."""
    path = tmp_path_factory.mktemp("saved") / "app.tar"
    docker.run("save", "--output", path, "app:1", "base:1")
    return path


@pytest.fixture
def daemon(images_registry: Registry, docker: services.Docker, person: Person) -> Iterator[services.Docker]:
    """The daemon that built the app, which is the person's; what a test leaves in it is removed."""
    before = docker.tags()
    person.use_daemon(docker)
    yield docker
    for name, image in docker.tags().items():
        if before.get(name) != image:
            docker.run("rmi", "--force", name)
    for name in ("app:1", "base:1"):
        docker.run("tag", before[name], name)


@pytest.fixture
def proxied(daemon: services.Docker, person: Person, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy before the daemon, which the person takes for the daemon itself."""
    socket_path = daemon.folder / f"proxy-{tmp_path.name}"
    with registries.proxy(daemon.folder / "sock", socket_path=socket_path) as proxy:
        person.use_daemon(f"unix://{socket_path}")
        yield proxy


@pytest.fixture
def other(state: Path, tmp_path: Path) -> Iterator[services.Docker]:
    """A second daemon that holds nothing."""
    with services.docker(state, f"docker-{tmp_path.name}") as made:
        yield made


def assert_squashed(docker: services.Docker, name: str, expected: Snapshot) -> None:
    """The image has the base's layers and one more, and the app's root file system."""
    layers = docker.layers(name)
    assert layers[:-1] == docker.layers("base:1")
    assert_same([(name, expected, docker.snapshots(name)[name])])


# --- in one daemon ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["app:1", "--keep-base", "base:1", "-t", SQUASHED],
        ["docker-daemon:app:1", "--keep-base", "docker-daemon:base:1", "-t", SQUASHED],
        ["docker-daemon:app:1", "--keep-base", "base:1", "-o", f"docker-daemon:{SQUASHED}"],
        ["app:1", "--keep-base", "{host}/base:1", "-t", SQUASHED],
        ["docker.io/library/app:1", "--keep-base", "docker.io/library/base:1", "-t", SQUASHED],
        ["{host}/app:1", "--keep-base", "{host}/base:1", "-t", SQUASHED],
        ["app:1", "--keep-layers", "2", "-t", SQUASHED],
        ["app:1", "--from-step", "COPY file", "-t", SQUASHED],
    ],
    ids=" ".join,
)
def test_a_squash_in_a_daemon(
    arguments: list[str],
    daemon: services.Docker,
    images_registry: Registry,
    person: Person,
    source_rootfs: Snapshot,
) -> None:
    """The result is beside its source, with the base's layers and one more, and no other tag has moved."""
    before = daemon.tags()
    report = person.squash(*(word.format(host=images_registry.host) for word in arguments))
    assert_squashed(daemon, SQUASHED, source_rootfs)
    after = daemon.tags()
    assert after.pop(SQUASHED) == report["image_id"]["after"]
    assert after == before
    config, source = daemon.inspect(SQUASHED)["Config"], daemon.inspect("app:1")["Config"]
    assert config["Env"] == source["Env"]


def test_several_tags(daemon: services.Docker, person: Person) -> None:
    """Every -t is a name of the result."""
    names = [SQUASHED, "team/app:2", "registry.test:5000/app:3"]
    before = daemon.tags()
    options = [word for name in names for word in ("-t", name)]
    report = person.squash("app:1", "--keep-base", "base:1", *options)
    assert daemon.tags() == before | dict.fromkeys(names, report["image_id"]["after"])


def test_a_name_without_a_tag_is_the_latest(daemon: services.Docker, person: Person) -> None:
    """NAME means NAME:latest, for what is read and for what is written."""
    daemon.run("tag", "app:1", "newest:latest")
    report = person.squash("newest", "--keep-base", "base:1", "-t", "result")
    assert daemon.tags()["result:latest"] == report["image_id"]["after"]


@pytest.mark.parametrize("name", ["app:1", "docker.io/library/app:1", "newest", "newest:latest"])
def test_the_sources_tag_is_not_moved_by_accident(
    name: str, daemon: services.Docker, person: Person
) -> None:
    """A tag that is the source's own, however it is written, is a usage error."""
    daemon.run("tag", "app:1", "newest:latest")
    before = daemon.tags()
    source = "app:1" if "app" in name else "newest"
    done = person.run("squash", source, "--keep-base", "base:1", "-t", name)
    assert_fails(done, 2, "--replace")
    assert daemon.tags() == before


def test_replace_moves_the_sources_tag(
    daemon: services.Docker, person: Person, source_rootfs: Snapshot
) -> None:
    """--replace gives the result its source's tag, and the source stays there without one."""
    before = daemon.tags()
    daemon.run("tag", "app:1", "app:replaced")
    report = person.squash("app:replaced", "--keep-base", "base:1", "--replace")
    assert_squashed(daemon, "app:replaced", source_rootfs)
    assert daemon.tags() == before | {"app:replaced": report["image_id"]["after"]}
    assert daemon.inspect(before["app:1"])["RootFS"]


def test_a_path_goes_before_a_name(
    daemon: services.Docker, archive: Path, person: Person, tmp_path: Path
) -> None:
    """A bare name that is a file here is that file, and docker-daemon: says what is meant."""
    shutil.copy(archive, person.home / "newest")
    daemon.run("tag", "base:1", "newest:latest")
    output = tmp_path / "out.tar"
    report = person.squash("newest:app:1", "--keep-base", "base:1", "-o", output)
    assert report["layers"]["before"] == 7
    report = person.squash("docker-daemon:newest", "--all", "-o", tmp_path / "other.tar")
    assert report["layers"]["before"] == 2


def test_a_squash_with_a_check(daemon: services.Docker, person: Person, source_rootfs: Snapshot) -> None:
    """--check compares the result with its source before it gets its name."""
    report = person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED, "--check")
    assert report["checked"]
    assert_squashed(daemon, SQUASHED, source_rootfs)


def test_a_daemon_over_tcp(daemon: services.Docker, person: Person, source_rootfs: Snapshot) -> None:
    """DOCKER_HOST may be an address, too."""
    with registries.proxy(daemon.folder / "sock") as proxy:
        person.use_daemon(f"tcp://{proxy.host}")
        person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED)
        assert proxy.seen("POST", LOAD)
    assert_squashed(daemon, SQUASHED, source_rootfs)


# --- what is asked of it ---------------------------------------------------------------------


def test_only_the_new_layer_is_loaded(
    proxied: Proxy, daemon: services.Docker, person: Person, source_rootfs: Snapshot
) -> None:
    """A daemon that holds the base is sent the new layer and not the base."""
    person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED)
    (load,) = proxied.seen("POST", LOAD)
    assert 200_000 < load.up < 400_000
    assert daemon.inspect("base:1")["Size"] > 4_000_000
    assert_squashed(daemon, SQUASHED, source_rootfs)


def test_all_is_loaded_where_the_base_is_not(
    archive: Path, other: services.Docker, person: Person, source_rootfs: Snapshot
) -> None:
    """A daemon without the base is sent all of the image."""
    person.use_daemon(other)
    source = f"docker-archive:{archive}:app:1"
    person.squash(source, "--keep-base", "base:1", "-o", f"docker-daemon:{SQUASHED}")
    assert other.tags().keys() == {SQUASHED}
    assert_same([("app", source_rootfs, other.snapshots(SQUASHED)[SQUASHED])])


def test_a_base_removed_meanwhile_is_loaded_too(
    archive: Path, state: Path, other: services.Docker, person: Person, source_rootfs: Snapshot
) -> None:
    """Where the daemon lacks what it seemed to have, the image still comes out whole or not at all."""
    other.run("load", "--quiet", "--input", archive)
    socket_path = other.folder / "proxy"

    def remove() -> None:
        other.run("rmi", "--force", "app:1", "base:1")

    with registries.proxy(other.folder / "sock", socket_path=socket_path) as proxy:
        person.use_daemon(f"unix://{socket_path}")
        fault = proxy.add(Fault("POST", LOAD, 1, call=remove))
        source = f"docker-archive:{archive}:app:1"
        done = person.run("squash", source, "--keep-base", "base:1", "-o", f"docker-daemon:{SQUASHED}")
        assert fault.hits
    if done.code:
        assert_fails(done, 5)
        assert SQUASHED not in other.tags()
    else:
        assert_same([("app", source_rootfs, other.snapshots(SQUASHED)[SQUASHED])])


def test_the_base_is_looked_up_by_inspect_alone(proxied: Proxy, person: Person) -> None:
    """Of the base in the daemon only what inspect says is asked for, and the source comes out once."""
    person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED)
    assert proxied.seen("GET", r"/images/.*base.*/json")
    saved = proxied.seen("GET", SAVE)
    assert len(saved) == 1
    assert "base" not in saved[0].path


def test_a_dry_run_only_reads(proxied: Proxy, daemon: services.Docker, person: Person) -> None:
    """--dry-run sends the daemon nothing."""
    before = daemon.tags()
    report = person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED, "--dry-run")
    assert report["dry_run"]
    assert proxied.requests
    assert proxied.writes() == []
    assert daemon.tags() == before


def test_the_report_tells_what_moved(proxied: Proxy, person: Person) -> None:
    """Bytes that went into the daemon are those that it was sent."""
    transfer = person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED)["transfer"]
    (load,) = proxied.seen("POST", LOAD)
    (save,) = proxied.seen("GET", SAVE)
    assert 0 < transfer["up"] <= load.up
    assert 0 < transfer["down"] <= save.down
    assert transfer["not_moved"] > 4_000_000


def test_an_image_that_is_there_is_not_sent(
    proxied: Proxy, daemon: services.Docker, person: Person, tmp_path: Path
) -> None:
    """An id is that of a config, which names all layers: an image of this id gets its names, wherever it
    came from."""
    person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED)
    archive = tmp_path / "squashed.tar"
    daemon.run("save", "--output", archive, SQUASHED)
    before = daemon.tags()[SQUASHED]
    loads = len(proxied.seen("POST", LOAD))
    place = ["--all", "--min-saving", "99%", "-t", "again:1", "-o", "docker-daemon:again:1"]
    for source in (SQUASHED, f"docker-archive:{archive}"):
        transfer = person.squash(source, *place)["transfer"]
        assert transfer["up"] == 0
        assert 4_000_000 < transfer["not_moved"] < archive.stat().st_size
        assert daemon.tags()["again:1"] == before
        daemon.run("rmi", "again:1")
    assert len(proxied.seen("POST", LOAD)) == loads


@pytest.mark.parametrize("by_id", [(), ("base",), ("image", "base")], ids="-".join)
def test_image_and_new_base_come_in_one_archive(
    by_id: tuple[str, ...], proxied: Proxy, daemon: services.Docker, person: Person, tmp_path: Path
) -> None:
    """What an image and its new base both have leaves the daemon once, whether they are asked for by names
    or by ids, and the result is that of archives."""
    seed = "-".join(("together", *by_id))
    docker_archive_25(tmp_path / "all.tar", list(rebase_specs(seed).values()))
    daemon.run("load", "--quiet", "--input", tmp_path / "all.tar")
    image, new_base = (
        daemon.inspect(name)["Id"] if what in by_id else name
        for what, name in (("image", f"{seed}:1"), ("base", f"{seed}-new:1"))
    )
    made = assert_comes_once(person, proxied, seed, image, new_base)
    assert daemon.layers(f"{seed}:rebased") == rebased_layers(seed)
    assert made == rebased_from_files(person, tmp_path, seed)


def test_an_extract_and_its_base_come_in_one_archive(proxied: Proxy, person: Person) -> None:
    """A base that an extract goes onto is read with the image."""
    words = ("extract", "app:1", "/app/big", "--keep-base", "base:1", "-t", SQUASHED)
    done = person.run(*words, "--json")
    assert done.code == 0, done.err
    assert len(proxied.seen("GET", SAVE)) == 1


@pytest.mark.parametrize("other", ["app:1", "base:1", "app:copy"])
def test_two_images_to_compare_come_once(
    other: str, proxied: Proxy, daemon: services.Docker, person: Person
) -> None:
    """Of two images that are compared each is the one that was asked for, and no layer comes twice."""
    daemon.run("tag", "app:1", "app:copy")
    done = person.run("diff", "docker-daemon:app:1", f"docker-daemon:{other}", "--json")
    assert done.code == (3 if other == "base:1" else 0), done.err
    assert ("etc/changed" in done.text) == (other == "base:1")
    sent = sum(save.down for save in proxied.seen("GET", SAVE))
    if other == "base:1":
        assert 0 < sent < 1.3 * daemon.inspect("app:1")["Size"]


def test_a_new_base_that_is_not_there(daemon: services.Docker, person: Person) -> None:
    """A new base that the daemon does not have is told by its name."""
    done = person.run("rebase", "app:1", "--old-base", "base:1", "--new-base", "none:1", "-t", SQUASHED)
    assert_fails(done, 5, "none:1")


# --- into it and out of it -------------------------------------------------------------------


@pytest.mark.parametrize("holds_base", [True, False])
def test_from_a_registry_into_a_daemon(
    holds_base: bool,
    registry: Registry,
    other: services.Docker,
    docker: services.Docker,
    person: Person,
    source_rootfs: Snapshot,
) -> None:
    """An image goes from a registry into a daemon, whether the base is there or not."""
    person.use_daemon(other)
    place = f"docker://{registry.host}/"
    if holds_base:
        other.run("pull", "--quiet", f"{registry.host}/base:1")
    person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "-o", f"docker-daemon:{SQUASHED}")
    assert other.layers(SQUASHED)[:-1] == docker.layers("base:1")
    assert_same([("app", source_rootfs, other.snapshots(SQUASHED)[SQUASHED])])


@pytest.mark.parametrize("target", ["{}/out.tar", "docker-archive:{}/out.tar", "oci-archive:{}/out.tar"])
def test_from_a_daemon_into_a_file(
    target: str,
    daemon: services.Docker,
    other: services.Docker,
    umoci: services.Umoci,
    images_registry: Registry,
    person: Person,
    tmp_path: Path,
) -> None:
    """What comes from a daemon into a file holds the base, too."""
    output = target.format(tmp_path)
    person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED, "-o", output)
    read = f"docker-archive:{tmp_path}/out.tar:{SQUASHED}" if "oci" not in target else output
    expected = umoci.snapshot(f"docker://{images_registry.host}/app:1", "--src-tls-verify=false")
    assert_same([(target, expected, umoci.snapshot(read))])


def test_a_daemon_as_base_of_an_archive(
    archive: Path, daemon: services.Docker, person: Person, tmp_path: Path
) -> None:
    """A base that only the daemon knows is the base of an image in a file."""
    daemon.run("save", "--output", tmp_path / "alone.tar", "app:1")
    output = tmp_path / "out.tar"
    report = person.squash(
        tmp_path / "alone.tar", "--keep-base", "docker-daemon:base:1", "-t", SQUASHED, "-o", output
    )
    assert report["base"]["layers"] == 2
    assert report["layers"]["after"] == 3


def test_both_ways_give_the_same_image(
    archive: Path, daemon: services.Docker, person: Person, tmp_path: Path
) -> None:
    """The daemon's own image and the one that `docker save` wrote are squashed to the same image."""
    one = person.squash("app:1", "--keep-base", "base:1", "-t", SQUASHED)
    two = person.squash(
        f"{archive}:app:1", "--keep-base", "base:1", "-t", SQUASHED, "-o", tmp_path / "x.tar"
    )
    assert one["image_id"]["after"] == two["image_id"]["after"] == daemon.tags()[SQUASHED]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["ls", "app:1", "/etc"], "changed"),
        (["ls", "docker-daemon:app:1", "/etc"], "changed"),
        (["cat", "docker-daemon:app:1", "/etc/changed"], "new\n"),
        (["which", "app:1", "/etc/old"], "rm /app/cache /etc/old"),
        (["inspect", "docker-daemon:app:1"], "chmod 750 /app/big"),
        (["verify", "docker-daemon:app:1"], ""),
        (["diff", "docker-daemon:app:1", "app:1"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_looking_at_images_in_a_daemon(
    command: list[str], expected: str, proxied: Proxy, person: Person
) -> None:
    """Every command that looks takes an image in a daemon, and only reads."""
    done = person.run(*command)
    assert done.code == 0, done.err
    assert expected in done.text
    assert proxied.seen("GET", SAVE)
    assert proxied.writes() == []


# --- what goes wrong -------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["source", "base", "target"])
@pytest.mark.parametrize("host", ["unix://{home}/nothing", "unix://{home}/file", "tcp://127.0.0.1:{port}"])
def test_a_daemon_that_is_not_there(
    host: str, role: str, archive: Path, person: Person, tmp_path: Path
) -> None:
    """Where no daemon answers it is one clear line that tells where it was sought."""
    (person.home / "file").write_text("no socket")
    with registries.proxy() as gone:
        pass
    address = host.format(home=person.home, port=gone.port)
    person.use_daemon(address)
    source = "docker-daemon:app:1" if role == "source" else f"docker-archive:{archive}:app:1"
    base = "docker-daemon:base:1" if role == "base" else "base:1"
    output = f"docker-daemon:{SQUASHED}" if role == "target" else str(tmp_path / "out.tar")
    done = person.run("squash", source, "--keep-base", base, "-o", output)
    assert_fails(done, 5, address.partition("://")[2])
    assert not (tmp_path / "out.tar").exists()


def test_an_image_that_is_not_there(daemon: services.Docker, person: Person) -> None:
    """A name that the daemon does not know is one clear line that has it, as source and as base."""
    before = daemon.tags()
    for source, base in (("docker-daemon:none:1", "base:1"), ("none:1", "base:1"), ("app:1", "none:1")):
        done = person.run("squash", source, "--keep-base", base, "-t", SQUASHED)
        assert done.code in ({5} if "none" in source else {1, 5}), done.err
        assert_fails(done, done.code, "none:1")
    assert daemon.tags() == before


def _said(message: str) -> bytes:
    error = {"errorDetail": {"message": message}, "error": message}
    return json.dumps(error).encode() + b"\r\n"


FAULTS: dict[str, tuple[Fault, str]] = {
    "save is cut": (Fault("GET", SAVE, cut_down=1_000_000), ""),
    "save is cut at once": (Fault("GET", SAVE, cut_down=0), ""),
    "save is refused": (Fault("GET", SAVE, answer=500, body=b'{"message":"no way"}'), "no way"),
    "save is no tar": (Fault("GET", SAVE, answer=200, body=b"x" * 2048), ""),
    "inspect is refused": (Fault("GET", "/json", answer=500, body=b'{"message":"no way"}'), "no way"),
    "inspect is no JSON": (Fault("GET", "/images/.*/json", answer=200, body=b"<html>"), ""),
    "load is cut": (Fault("POST", LOAD, cut_up=100_000), ""),
    "load is refused": (Fault("POST", LOAD, answer=403, body=b'{"message":"no way"}'), "no way"),
    "load fails midway": (Fault("POST", LOAD, answer=200, body=_said("disk is full")), "disk is full"),
}
EITHER = {"save is no tar": {4, 5}}
"""Where two exit codes are right."""


@pytest.mark.parametrize("name", FAULTS)
def test_faults_on_the_way(name: str, proxied: Proxy, daemon: services.Docker, person: Person) -> None:
    """What goes wrong is one clear line with the daemon's own words, and nothing is tagged."""
    template, words = FAULTS[name]
    before = daemon.tags()
    fault = proxied.add(template)
    try:
        done = person.run("squash", "app:1", "--keep-base", "base:1", "-t", SQUASHED)
    finally:
        proxied.faults.clear()
    assert fault.hits
    assert done.code in EITHER.get(name, {5}), (done.code, done.err)
    assert_fails(done, done.code, words)
    assert daemon.tags() == before


def test_a_wrong_byte_is_not_squashed(proxied: Proxy, daemon: services.Docker, person: Person) -> None:
    """A byte of a layer that changed on its way out of the daemon is found by the layer's diff_id."""
    before = daemon.tags()
    fault = proxied.add(Fault("GET", SAVE, flip=3_500_000))
    assert_fails(person.run("squash", "app:1", "--keep-base", "base:1", "-t", SQUASHED), 4)
    assert fault.hits
    assert daemon.tags() == before


@pytest.mark.parametrize("when", [(LOAD, "POST", 50_000), (SAVE, "GET", 0)], ids=["load", "save"])
def test_a_daemon_that_dies(
    when: tuple[str, str, int], archive: Path, state: Path, person: Person, tmp_path: Path
) -> None:
    """A daemon that is killed in the middle leaves one clear line, and no tag when it is back."""
    path, method, at = when
    name = f"dies-{tmp_path.name}"
    with services.docker(state, name) as dying:
        dying.run("load", "--quiet", "--input", archive)
        socket_path = dying.folder / "proxy"
        with registries.proxy(dying.folder / "sock", socket_path=socket_path) as proxy:
            person.use_daemon(f"unix://{socket_path}")
            fault = proxy.add(Fault(method, path, call=dying.kill, call_at=at))
            done = person.run("squash", "app:1", "--keep-base", "base:1", "-t", SQUASHED)
            assert fault.hits
        assert_fails(done, 5)
    with services.docker(state, name) as again:
        assert again.tags().keys() == {"app:1", "base:1"}


def test_a_base_that_is_none(
    daemon: services.Docker, proxied: Proxy, person: Person, tmp_path: Path
) -> None:
    """An image that is not the base is told before the source comes out of the daemon."""
    before = daemon.tags()
    done = person.run("squash", "base:1", "--keep-base", "app:1", "-t", SQUASHED)
    assert_fails(done, 1, "is not based on")
    assert proxied.writes() == []
    assert daemon.tags() == before


# --- podman ----------------------------------------------------------------------------------


@pytest.fixture
def filled_podman(archive: Path, podman: services.Podman, person: Person) -> Iterator[services.Podman]:
    """Podman with the app and its base, by the names that it gives them; emptied in the end."""
    podman.run("load", "--quiet", "--input", archive)
    person.env["CONTAINERS_STORAGE_CONF"] = str(podman.storage_conf)
    person.env["TMPDIR"] = str(podman.folder)
    yield podman
    podman.run("rmi", "--all", "--force")


def named(podman: services.Podman, name: str) -> str:
    """The whole name of the one image that goes by this name, in whichever registry."""
    names = [
        one for image in json.loads(podman.run("images", "--format", "json")) for one in image["Names"]
    ]
    (found,) = {one for one in names if one.endswith(f"/{name}")}
    return str(found)


def assert_podmans(podman: services.Podman, name: str, source: str) -> None:
    """The image has the base's layers and one more, and its source's root file system."""
    base, app = named(podman, "base:1"), named(podman, source)
    layers = podman.inspect(name)["RootFS"]["Layers"]
    assert layers[:-1] == podman.inspect(base)["RootFS"]["Layers"]
    found = podman.snapshots(app, name)
    assert_same([(name, found[app], found[name])])


@pytest.mark.parametrize("prefix", ["", "localhost/"])
def test_podman_through_its_socket(prefix: str, filled_podman: services.Podman, person: Person) -> None:
    """DOCKER_HOST may be podman's API, which is read and loaded as docker is."""

    def squash() -> None:
        with filled_podman.service() as host:
            person.use_daemon(host)
            person.squash(f"{prefix}app:1", "--keep-base", f"{prefix}base:1", "-t", f"{prefix}{SQUASHED}")

    available(squash)
    assert_podmans(filled_podman, named(filled_podman, SQUASHED), "app:1")


@pytest.mark.parametrize(
    "arguments",
    [
        ["containers-storage:localhost/app:1", "--keep-base", "containers-storage:localhost/base:1"],
        ["containers-storage:localhost/app:1", "--keep-layers", "2"],
        ["ARCHIVE:app:1", "--keep-base", "base:1"],
        ["ARCHIVE:app:1", "--keep-base", "containers-storage:localhost/base:1"],
    ],
    ids=" ".join,
)
def test_podmans_storage(
    arguments: list[str], filled_podman: services.Podman, archive: Path, person: Person
) -> None:
    """containers-storage: is read and written without any daemon."""
    said = [word.replace("ARCHIVE", f"docker-archive:{archive}") for word in arguments]
    person.squash(*said, "-o", f"containers-storage:localhost/{SQUASHED}")
    assert_podmans(filled_podman, named(filled_podman, SQUASHED), "app:1")


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("transport", ["docker-daemon", "containers-storage"])
def test_podman_gives_image_and_new_base_together(
    transport: str, by_id: bool, filled_podman: services.Podman, person: Person, tmp_path: Path
) -> None:
    """Podman gives what both have once, through its socket too, and each is the one that was asked for."""
    seed = f"together-{transport}-{'id' if by_id else 'name'}"
    docker_archive_25(tmp_path / "all.tar", list(rebase_specs(seed).values()))
    filled_podman.run("load", "--quiet", "--input", tmp_path / "all.tar")
    new_base = f"localhost/{seed}-new:1"
    if by_id:
        new_base = f"sha256:{filled_podman.inspect(new_base)['Id']}"
    socket_path = filled_podman.folder / tmp_path.name
    with (
        filled_podman.service() as host,
        registries.proxy(Path(host.removeprefix("unix://")), socket_path=socket_path) as proxy,
    ):
        person.use_daemon(f"unix://{socket_path}")
        image, old, new = (
            f"{transport}:{name}" for name in (f"localhost/{seed}:1", f"localhost/{seed}-old:1", new_base)
        )
        done = person.run(
            *("rebase", image, "--old-base", old, "--new-base", new),
            *("-t", f"localhost/{seed}:rebased", "--json"),
        )
        assert done.code == 0, done.err
        assert SIZE < done.json["transfer"]["down"] < 1.5 * SIZE
        assert len(proxy.seen("GET", SAVE)) == (transport == "docker-daemon")
    layers = filled_podman.inspect(f"localhost/{seed}:rebased")["RootFS"]["Layers"]
    assert layers == rebased_layers(seed)
    assert done.json["image_id"]["after"] == rebased_from_files(person, tmp_path, seed)


def test_podmans_storage_and_a_registry(
    registry: Registry, filled_podman: services.Podman, person: Person
) -> None:
    """An image goes from podman's storage into a registry, with the base's own blobs."""
    place, blobs = f"docker://{registry.host}/", registry.blobs()
    source = "containers-storage:localhost/app:1"
    person.squash(source, "--keep-base", f"{place}base:1", "-o", f"{place}other:1")
    assert registry.layers("other", "1")[:-1] == registry.layers("base", "1")
    assert len(registry.blobs() - blobs) == 3


def test_podmans_storage_without_the_image(filled_podman: services.Podman, person: Person) -> None:
    """A name that the storage does not have is one clear line that has it."""
    output = f"containers-storage:localhost/{SQUASHED}"
    done = person.run("squash", "containers-storage:localhost/none:1", "--all", "-o", output)
    assert_fails(done, 5, "none:1")


def test_looking_into_podmans_storage(filled_podman: services.Podman, person: Person) -> None:
    """The commands that look take images in podman's storage."""
    done = person.run("cat", "containers-storage:localhost/app:1", "/etc/changed")
    assert (done.code, done.out) == (0, b"new\n"), done.err


def test_a_manifest_list_of_podmans_is_not_narrowed(
    podman: services.Podman, person: Person, tmp_path: Path
) -> None:
    """A name that means a list of images that are there does not move to one of them in silence."""
    person.env["CONTAINERS_STORAGE_CONF"] = str(podman.storage_conf)
    person.env["TMPDIR"] = str(podman.folder)
    platforms = ("linux/amd64", "linux/arm64")
    images = [
        ImageSpec([layer(file("base")), layer(file("app", one.encode()))], [f"one:{number}"], platform=one)
        for number, one in enumerate(platforms)
    ]
    podman.run("manifest", "create", "localhost/list:1")
    try:
        for number, image in enumerate(images):
            docker_archive_25(tmp_path / f"{number}.tar", [image])
            podman.run("load", "--quiet", "--input", tmp_path / f"{number}.tar")
            name = named(podman, f"one:{number}")
            podman.run("manifest", "add", "localhost/list:1", f"containers-storage:{name}")
        words = ("squash", tmp_path / "0.tar", "--all", "-o", "containers-storage:localhost/list:1")
        assert_fails(person.run(*words), 2, *platforms)
        assert not podman.run("manifest", "inspect", "localhost/list:1").isspace()
        report = person.squash(*words[1:], "--platform", platforms[0])
        assert [note for note in report["notes"] if platforms[1] in note]
    finally:
        podman.run("rmi", "--all", "--force")
