"""docker of newer releases, with its own storage and with containerd's: what a squash asks of it and
leaves in it."""

from __future__ import annotations

import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from tests.compat import registries
from tests.compat.conftest import Person
from tests.compat.rebases import SIZE, assert_comes_once, rebase_specs, rebased_from_files, rebased_layers
from tests.compat.registries import Fault
from tests.compat.releases import (
    FORKY,
    TRIXIE,
    NewDocker,
    Release,
    inside,
    new_containerd,
    new_docker,
    new_podman,
)
from tests.compat.services import Umoci, run
from tests.compat.small import real_base
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    layer,
    oci_archive,
    on_base,
    whiteout,
)
from tests.support.runner import assert_fails

NOISE = 1 << 20
ATTESTATION = "vnd.docker.reference.type"
LOAD = r"/images/load"
INFO = r"/info$"
ALL_RELEASES = bool(os.environ.get("SQUASHKIT_TEST_NEW"))
"""Testing moves daily, so its daemons are not part of every run."""


RELEASES = [TRIXIE, FORKY] if ALL_RELEASES else [TRIXIE]
DAEMONS = [(release, by_manifest) for release in RELEASES for by_manifest in (True, False)]


def named(param: tuple[Release, bool]) -> str:
    """A daemon of a release, with the store that it has."""
    release, by_manifest = param
    return f"{release.name}-{'containerd' if by_manifest else 'overlay2'}"


with_containerds_store = pytest.mark.parametrize(
    "daemon", [one for one in DAEMONS if one[1]], ids=named, indirect=True
)
"""For what docker's own storage does not have."""


@pytest.fixture(scope="module")
def started() -> dict[tuple[str, bool], NewDocker]:
    """The daemons that were asked for so far."""
    return {}


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


releases = pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)


@pytest.fixture(params=DAEMONS, ids=named)
def daemon(
    request: pytest.FixtureRequest,
    state: Path,
    stack: ExitStack,
    started: dict[tuple[str, bool], NewDocker],
    person: Person,
) -> NewDocker:
    """A daemon, which is the person's."""
    release, by_manifest = request.param
    key = release.name, by_manifest
    if key not in started:
        started[key] = stack.enter_context(new_docker(state, release, by_manifest=by_manifest))
    person.use_daemon(started[key])
    return started[key]


def specs(seed: str) -> list[ImageSpec]:
    """A base of two layers with a megabyte that does not compress, and an app on it. No other test has
    these blobs."""
    noise = random.Random(seed).randbytes(NOISE)
    lower = [layer(file("noise", noise)), layer(directory("d"), file("d/a", b"a"))]
    base = ImageSpec(lower, [f"{seed}-base:1"])
    app = on_base(
        base,
        layer(file("big", random.Random(f"app {seed}").randbytes(NOISE)), file("d/b", b"b")),
        layer(whiteout("big"), directory("d"), whiteout("d/a")),
        tags=[f"{seed}:1"],
    )
    return [base, app]


def platforms(seed: str) -> list[ImageSpec]:
    """An image of three layers for two platforms, of which amd64 is the first."""
    return [
        on_base(
            ImageSpec([layer(file("base", f"{one} {seed}".encode()))], [f"{seed}-base:1"], platform=one),
            layer(file("a", one.encode() * 999)),
            layer(file("a", b"short")),
            tags=[f"{seed}:1"],
        )
        for one in ("linux/amd64", "linux/arm64")
    ]


def load(daemon: NewDocker, folder: Path, seed: str, compress: Literal["gzip"] | None) -> None:
    path = folder / "loaded.tar"
    docker_archive_25(path, specs(seed), compress=compress)
    daemon.run("load", "--quiet", "--input", path)


def assert_squashed(daemon: NewDocker, seed: str) -> None:
    """The result has the base's layers and one more, and the source's files."""
    layers = daemon.layers(f"{seed}:squashed")
    assert layers[:-1] == daemon.layers(f"{seed}-base:1")
    assert daemon.exported(f"{seed}:squashed") == daemon.exported(f"{seed}:1")


@pytest.mark.parametrize("compress", [None, "gzip"])
def test_only_what_is_new_is_sent(
    compress: Literal["gzip"] | None, daemon: NewDocker, person: Person, tmp_path: Path
) -> None:
    """The base stays where it is, the id that is told is the one that docker shows, and nothing lies about
    afterwards."""
    seed = f"new-{compress or 'plain'}"
    load(daemon, tmp_path, seed, compress)
    before = daemon.image_ids()
    report = person.squash(f"{seed}:1", "--keep-base", f"{seed}-base:1", "-t", f"{seed}:squashed")
    assert_squashed(daemon, seed)
    assert report["transfer"]["not_moved"] >= NOISE
    assert report["transfer"]["up"] < 100_000
    shown = daemon.inspect(f"{seed}:squashed")["Id"]
    assert report["store_id"] == shown
    assert report["manifest_digest"] == (shown if daemon.by_manifest else None)
    assert daemon.image_ids() == {*before, shown}
    saved = json.loads(daemon.run("image", "inspect", shown))[0]["RepoTags"]
    assert saved == [f"{seed}:squashed"]


def test_a_base_that_went_meanwhile_is_sent(daemon: NewDocker, person: Person, tmp_path: Path) -> None:
    """A daemon that loads an archive without blobs that it no longer has, and says nothing, is found out:
    the image is whole in the end."""
    seed = "gone"
    load(daemon, tmp_path, seed, "gzip")
    expected = daemon.exported(f"{seed}:1")

    def remove() -> None:
        daemon.run("rmi", "--force", f"{seed}:1", f"{seed}-base:1")

    with registries.proxy(daemon.folder / "sock", socket_path=daemon.folder / tmp_path.name) as proxy:
        person.use_daemon(f"unix://{daemon.folder}/{tmp_path.name}")
        proxy.add(Fault("GET", INFO, 1))  # it is asked of the source's daemon, then of the target's
        fault = proxy.add(Fault("GET", INFO, 1, call=remove))
        person.squash(f"{seed}:1", "--keep-base", f"{seed}-base:1", "-t", f"{seed}:squashed")
        assert fault.hits
        # docker 26 may keep the layers of an image that was removed in its own storage.
        assert len(proxy.seen("POST", LOAD)) == 2 or not daemon.by_manifest
    assert daemon.exported(f"{seed}:squashed") == expected


def test_a_proof_that_shows_nothing_is_none(daemon: NewDocker, person: Person, tmp_path: Path) -> None:
    """Where what is read back as a proof is no archive, all is sent."""
    seed = "unproved"
    load(daemon, tmp_path, seed, "gzip")
    with registries.proxy(daemon.folder / "sock", socket_path=daemon.folder / tmp_path.name) as proxy:
        person.use_daemon(f"unix://{daemon.folder}/{tmp_path.name}")
        fault = proxy.add(Fault("GET", r"/images/sha256:\w+/get", answer=200))
        person.squash(f"{seed}:1", "--keep-base", f"{seed}-base:1", "-t", f"{seed}:squashed")
        assert len(proxy.seen("POST", LOAD)) == 1 + fault.hits
    assert_squashed(daemon, seed)


def test_a_load_that_breaks_off_leaves_no_name(daemon: NewDocker, person: Person, tmp_path: Path) -> None:
    """Nothing has a new name after a load that was cut."""
    seed = "cut"
    load(daemon, tmp_path, seed, None)
    before = daemon.tags()
    with registries.proxy(daemon.folder / "sock", socket_path=daemon.folder / tmp_path.name) as proxy:
        person.use_daemon(f"unix://{daemon.folder}/{tmp_path.name}")
        proxy.add(Fault("POST", LOAD, -1, cut_up=2000))
        done = person.run("squash", f"{seed}:1", "--keep-base", f"{seed}-base:1", "-t", f"{seed}:squashed")
    assert_fails(done, 5)
    assert daemon.tags() == before


@with_containerds_store
@pytest.mark.parametrize("what", ["a kept layer", "a squashed layer", "the config"])
def test_a_blob_that_is_not_there_is_told(
    what: str, daemon: NewDocker, person: Person, tmp_path: Path
) -> None:
    """An image of which containerd's store lacks a blob is one clear line with its name, what docker shows
    of what is missing, and how to get it; as the source of a squash, and as the new base of a rebase."""
    seed = what.replace(" ", "-")
    load(daemon, tmp_path, seed, "gzip")
    docker_archive_25(tmp_path / "other.tar", list(rebase_specs(f"{seed}-other").values()))
    daemon.run("load", "--quiet", "--input", tmp_path / "other.tar")
    manifest = daemon.inspect(f"{seed}:1")["Id"]
    stored = json.loads(daemon.content("get", manifest))
    blobs = {"the config": stored["config"], "a kept layer": stored["layers"][0]}
    daemon.content("rm", blobs.get(what, stored["layers"][-1])["digest"])
    squash = ("squash", f"{seed}:1", "--keep-layers", "2", "-t", f"{seed}:squashed")
    bases = ("--old-base", f"{seed}-other-old:1", "--new-base", f"{seed}:1")
    for command in (squash, ("rebase", f"{seed}-other:1", *bases, "-t", f"{seed}:squashed")):
        # Without the config docker 26 says that it has no such image.
        told = "has no image" if (what, daemon.release) == ("the config", TRIXIE) else manifest
        assert_fails(person.run(*command), 5, f"{seed}:1", told, f"`docker pull {seed}:1`")
    assert f"{seed}:squashed" not in daemon.tags()


@with_containerds_store
def test_an_image_of_another_platform_alone(
    daemon: NewDocker, state: Path, umoci: Umoci, person: Person, tmp_path: Path
) -> None:
    """Of an index of which another platform was pulled docker gives nothing: what is missing is told by its
    digest, and what to do about it helps."""
    oci_archive(tmp_path / "many.tar", platforms("another"), nested=True)
    with registries.registry(state) as registry:
        name = f"{registry.host}/another:1"
        umoci.copy(
            f"oci-archive:{tmp_path}/many.tar", f"docker://{name}", "--all", "--dest-tls-verify=false"
        )
        daemon.run("pull", "--quiet", "--platform", "linux/arm64", name)
        words = (
            "squash",
            name,
            "--keep-layers",
            "1",
            "-t",
            "another:squashed",
            "--platform",
            "linux/arm64",
        )
        (absent, _) = registry.manifest("another", "1")["manifests"]
        assert_fails(person.run(*words), 5, name, absent["digest"], f"`docker pull {name}`")
        daemon.run("pull", "--quiet", name)
        done = person.run(*words)
    assert done.code == 0, done.err
    assert len(daemon.layers("another:squashed")) == 2


@pytest.mark.parametrize("by_id", [(), ("image",), ("base",), ("image", "base")], ids="-".join)
def test_image_and_new_base_come_in_one_archive(
    by_id: tuple[str, ...], daemon: NewDocker, person: Person, tmp_path: Path
) -> None:
    """What both have leaves the daemon once, whether they are asked for by names or by ids, and the result
    is that of archives."""
    seed = "-".join(("together", *by_id))
    docker_archive_25(tmp_path / "all.tar", list(rebase_specs(seed).values()))
    daemon.run("load", "--quiet", "--input", tmp_path / "all.tar")
    image, new_base = (
        daemon.inspect(name)["Id"] if what in by_id else name
        for what, name in (("image", f"{seed}:1"), ("base", f"{seed}-new:1"))
    )
    with registries.proxy(daemon.folder / "sock", socket_path=daemon.folder / tmp_path.name) as proxy:
        person.use_daemon(f"unix://{daemon.folder}/{tmp_path.name}")
        made = assert_comes_once(person, proxy, seed, image, new_base)
    assert daemon.layers(f"{seed}:rebased") == rebased_layers(seed)
    assert made == rebased_from_files(person, tmp_path, seed)


def test_an_index_stays_one(daemon: NewDocker, person: Person, tmp_path: Path) -> None:
    """All platforms of an image go back under one name where the store has indexes, and provenance names
    the index as it does; where it has none that is told before anything is written."""
    path = tmp_path / "many.tar"
    oci_archive(path, platforms("many"), nested=True)
    words = ["--keep-layers", "1", "--platform", "all", "-o", "docker-daemon:many:squashed"]
    done = person.run("squash", path, *words, "--json", "--statement", tmp_path / "statement")
    if not daemon.by_manifest:
        assert_fails(done, 2)
        assert "many:squashed" not in daemon.tags()
        return
    assert done.code == 0, done.err
    assert daemon.inspect("many:squashed")["Id"] == done.json["index_digest"]
    index = json.loads((tmp_path / "statement").read_text())["subject"][0]
    assert f"sha256:{index['digest']['sha256']}" == done.json["index_digest"]
    again = person.run("inspect", "docker-daemon:many:squashed", "--json")
    assert again.code == 0, again.err
    found = {image["platform"]: len(image["layers"]) for image in again.json["images"]}
    assert found == {"linux/amd64": 2, "linux/arm64": 2}


ATTESTED = """\
FROM {base}
COPY --from={base} /etc /copied
RUN chmod 700 /copied
RUN rm -r /copied && echo told >/said
"""


@with_containerds_store
@pytest.mark.parametrize("platform", [(), ("--platform", "all")], ids="-".join)
def test_a_build_with_attestations(platform: tuple[str, ...], daemon: NewDocker, person: Person) -> None:
    """What BuildKit attests of a build is of that build and stays out, which is told; the result runs."""
    base, app, result = (f"attested{len(platform)}-{name}:1" for name in ("base", "app", "squashed"))
    path = daemon.folder / "base.tar"
    docker_archive_25(path, [replace(real_base(), tags=[base])])
    daemon.run("load", "--quiet", "--input", path)
    daemon.build(ATTESTED.format(base=base), "--provenance=mode=max", "--tag", app)
    built = json.loads(daemon.content("get", daemon.inspect(app)["Id"]))["manifests"]
    assert [ATTESTATION in one.get("annotations", {}) for one in built] == [False, True]
    done = person.run("squash", app, "--keep-base", base, "-t", result, *platform, "--json")
    assert done.code == 0, done.err
    (report,) = done.json["platforms"].values() if platform else [done.json]
    assert [note for note in report["notes"] if "Attestations" in note]
    assert ATTESTATION not in daemon.content("get", daemon.inspect(result)["Id"])
    assert daemon.layers(result)[:-1] == daemon.layers(base)
    assert daemon.exported(result) == daemon.exported(app)
    assert daemon.run("run", "--rm", "--network", "none", result, "cat", "/said") == "told\n"


# --- podman and containerd -------------------------------------------------------------------


@releases
@pytest.mark.parametrize("transport", ["docker-daemon", "containers-storage"])
def test_podman(transport: str, release: Release, state: Path, person: Person) -> None:
    """podman gives and takes images through its socket and by its command, and what comes out is right."""
    podman = new_podman(state, release)
    docker_archive_25(podman.folder / "all.tar", list(rebase_specs("app").values()))
    podman.run("load", "--quiet", "--input", podman.folder / "all.tar")
    person.env |= podman.environment()
    app, old, new = (f"{transport}:localhost/{name}:1" for name in ("app", "app-old", "app-new"))
    with podman.service() as host:
        person.use_daemon(host)
        report = person.squash(app, "--keep-base", old, "-t", "localhost/app:squashed")
        done = person.run(
            *("rebase", app, "--old-base", old, "--new-base", new, "-t", "localhost/app:rebased", "--json")
        )
    assert done.code == 0, done.err
    for sent in (report["transfer"], done.json["transfer"]):
        assert SIZE < sent["down"] < 1.5 * SIZE
        assert sent["up"] < 0.5 * SIZE
    before = podman.files("localhost/app:1")
    assert podman.files("localhost/app:squashed") == before
    after = podman.files("localhost/app:rebased")
    assert {name for name in before if after[name] != before[name]} == {"./d/release"}
    assert podman.inspect("localhost/app:rebased")["RootFS"]["Layers"] == rebased_layers("app")


@releases
def test_containerd(release: Release, state: Path, person: Person) -> None:
    """What ctr exports is squashed and rebased, and what of that ctr imports is right."""
    specs = rebase_specs("app")
    with new_containerd(state, release) as containerd:
        given, exported, squashed, rebased = (containerd.folder / f"{name}.tar" for name in range(4))
        docker_archive_25(given, list(specs.values()))
        containerd.run("images", "import", "--no-unpack", given)
        containerd.run("images", "export", exported, *(f"docker.io/library/{name}" for name in specs))
        app, old, new = (f"{exported}:docker.io/library/{name}:1" for name in ("app", "app-old", "app-new"))
        person.squash(app, "--keep-base", old, "-t", "app:squashed", "-o", squashed)
        bases = ("--old-base", old, "--new-base", new)
        done = person.run("rebase", app, *bases, "-t", "app:rebased", "-o", rebased)
        assert done.code == 0, done.err
        for path in (squashed, rebased):
            containerd.run("images", "import", "--no-unpack", path)
        before, same, after = (
            containerd.files(f"docker.io/library/app:{tag}") for tag in ("1", "squashed", "rebased")
        )
    assert same == before
    assert {name for name in before if after[name] != before[name]} == {"./d/release"}


@pytest.mark.skipif(not ALL_RELEASES, reason="Debian has crane from testing on")
@pytest.mark.parametrize("compress", ["none", "gzip", "gzip:6", "zstd"])
def test_crane_validates_what_is_written(compress: str, state: Path, person: Person) -> None:
    """Images and indexes in a registry and docker archives are whole to go-containerregistry: every digest,
    size, diff_id and count is right. It inflates layers by gzip alone, so of others only the documents are
    looked at."""
    folder = Path(tempfile.mkdtemp(dir=state))

    def validate(*words: str | Path) -> None:
        fast = [] if compress.startswith("gzip") else ["--fast"]
        assert "PASS" in run([*inside(FORKY), "crane", "validate", *fast, *words])

    docker_archive_25(folder / "app.tar", specs("crane"), compress="gzip")
    oci_archive(folder / "many.tar", platforms("crane"), nested=True)
    app, base = (f"{folder}/app.tar:{name}:1" for name in ("crane", "crane-base"))
    how = ("--keep-base", base, "--compress", compress)
    with registries.registry(state) as registry:
        place = f"docker://{registry.host}/crane"
        person.squash(app, *how, "-o", f"{place}:app")
        person.squash(
            *(folder / "many.tar", "--platform", "all", "--keep-layers", "1", "--compress", compress),
            *("-o", f"{place}:many"),
        )
        for tag in ("app", "many"):
            validate("--insecure", "--remote", f"{registry.host}/crane:{tag}")
    if compress != "zstd":  # which docker archives cannot hold
        person.squash(app, *how, "-t", "crane:2", "-o", f"docker-archive:{folder}/out.tar")
        validate("--tarball", folder / "out.tar")
