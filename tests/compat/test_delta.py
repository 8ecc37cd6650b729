"""Deltas on real hosts: who takes them, and whether that is what was told beforehand.

The table in docs/delta.md is what these tests find.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.compat import registries, releases, services
from tests.compat.conftest import Person
from tests.compat.registries import downloaded
from tests.compat.releases import FORKY, TRIXIE
from tests.compat.services import CommandFailed
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

Form = Literal["gzip"] | None
ALL_RELEASES = bool(os.environ.get("SQUASHKIT_TEST_NEW"))
SPARE = 64_000
"""What a delta may take beside new layers, config and manifests."""


@dataclass(frozen=True, slots=True)
class Host:
    """Something that keeps images, and takes archives."""

    load: Callable[[Path], object]
    give: Callable[[str, Path], object]
    """Writes an image to an archive: what is not whole cannot be given."""
    place: str = ""
    """How squashkit calls it; empty where it does not know it."""


def _docker(daemon: services.Docker, person: Person) -> Host:
    person.use_daemon(daemon)
    return Host(
        lambda path: daemon.run("load", "--quiet", "--input", path),
        lambda name, path: daemon.run("save", "--output", path, name),
        "docker-daemon:",
    )


def _podman(podman: services.Podman, person: Person) -> Host:
    if isinstance(podman, releases.NewPodman):
        person.env |= podman.environment()
    person.env["CONTAINERS_STORAGE_CONF"] = str(podman.storage_conf)
    return Host(
        lambda path: podman.run("load", "--quiet", "--input", path),
        lambda name, path: podman.run("save", "--format", "docker-archive", "--output", path, name),
        "containers-storage:",
    )


def _containerd(containerd: services.Containerd) -> Host:
    return Host(
        lambda path: containerd.run("images", "import", path),
        lambda name, path: containerd.run("images", "export", path, f"docker.io/library/{name}"),
    )


HOSTS = ["docker", "podman", "containerd", "trixie-overlay2", "trixie-containerd"]
if ALL_RELEASES:
    HOSTS += ["trixie-podman", "trixie-ctr"]
    HOSTS += [f"forky-{kind}" for kind in ("overlay2", "containerd", "podman", "ctr")]
KNOWN = [one for one in HOSTS if not one.endswith("ctr") and one != "containerd"]
"""Those whose images squashkit can ask for."""


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture(scope="module")
def started() -> dict[str, object]:
    """The hosts that were asked for so far."""
    return {}


@pytest.fixture(params=HOSTS)
def host(
    request: pytest.FixtureRequest,
    state: Path,
    stack: ExitStack,
    started: dict[str, object],
    person: Person,
) -> Host:
    """A host, whose daemon is the person's."""
    name = request.param
    if name in ("docker", "podman", "containerd"):
        started[name] = request.getfixturevalue(name)
    if name not in started:
        release = TRIXIE if name.startswith("trixie") else FORKY
        match name.partition("-")[2]:
            case "podman":
                started[name] = releases.new_podman(state, release)
            case "ctr":
                started[name] = stack.enter_context(releases.new_containerd(state, release))
            case store:
                by_manifest = store == "containerd"
                started[name] = stack.enter_context(
                    releases.new_docker(state, release, by_manifest=by_manifest)
                )
    tool = started[name]
    if isinstance(tool, services.Docker):
        return _docker(tool, person)
    if isinstance(tool, services.Podman):
        return _podman(tool, person)
    assert isinstance(tool, services.Containerd)
    return _containerd(tool)


def release_of(seed: str, number: int) -> ImageSpec:
    """A release of an app: all have a base of 300 kB, and each something of its own."""
    base = ImageSpec(
        [layer(file("noise", noise(300_000, f"base {seed}"))), layer(directory("d"), file("d/a"))]
    )
    return on_base(
        base,
        layer(file("app", noise(20_000, f"{seed} {number}"))),
        layer(whiteout("d/a"), file("d/b", str(number).encode())),
        tags=[f"{seed}:{number}"],
    )


def told(person: Person, host: Host, image: str, old: Path) -> Path:
    """What tells which layers the host has: its own have-list, or where squashkit does not know it the
    archive that it took."""
    if not host.place:
        return old
    done = person.run("inspect", "--have-list", f"{host.place}{image}")
    assert done.code == 0, done.err
    listed = old.with_suffix(".txt")
    listed.write_bytes(done.out)
    return listed


@pytest.mark.parametrize(
    ("there", "sent"), [(None, "gzip"), ("gzip", None)], ids=["plain-gzip", "gzip-plain"]
)
def test_a_delta_loads(
    there: Form, sent: Form, host: Host, person: Person, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A host that has a release takes the next one without its base, with the tool that it has for
    archives, and then has all of it; that was told beforehand. A host without the release is told, too."""
    seed = request.node.callspec.id.replace("-", "")
    old, new, delta = (tmp_path / name for name in ("old.tar", "new.tar", "delta.tar"))
    docker_archive_25(old, [release_of(seed, 1)], compress=there)
    docker_archive_25(new, [release_of(seed, 2)], compress=sent)
    host.load(old)
    have = told(person, host, f"{seed}:1", old)
    report = person.squash(new, "--keep-layers", "2", "--have", have, "-o", delta)
    assert report["delta"]["left_out_bytes"] > 300_000
    assert delta.stat().st_size < report["result_layers"][-1]["size"] + SPARE
    done = person.run("verify", delta, "--have", have)
    assert done.code == 0, done.out
    host.load(delta)
    host.give(f"{seed}:2", tmp_path / "given.tar")
    assert person.run("verify", tmp_path / "given.tar").code == 0
    assert person.run("diff", new, tmp_path / "given.tar").code == 0

    if host.place:  # docker's own storage and podman give plain layers out
        words = ("--have", f"{host.place}{seed}:1", "-o", tmp_path / "whole.tar")
        done = person.run("squash", delta, *words)
        refused = report["delta"]["store"] == "graphdriver" and sent == "gzip"
        assert done.code == refused, done.err
        assert refused or person.run("diff", new, tmp_path / "whole.tar").code == 0

    stranger = tmp_path / "stranger.tar"
    docker_archive_25(stranger, [release_of(f"{seed}x", 1)], compress=there)
    host.load(stranger)
    have = told(person, host, f"{seed}x:1", stranger)
    done = person.run("verify", delta, "--have", have)
    assert done.code == 3
    assert b"lacking" in done.out


# --- what verify guards against ------------------------------------------------------------------

WITHOUT = {
    "docker": ("refused", "whole"),
    "podman": ("refused", "refused"),
    "containerd": ("refused", "broken"),
    "trixie-overlay2": ("refused", "whole"),
    "trixie-containerd": ("refused", "broken"),
    "trixie-podman": ("refused", "refused"),
    "trixie-ctr": ("refused", "broken"),
    "forky-overlay2": ("refused", "whole"),
    "forky-containerd": ("broken", "broken"),
    "forky-podman": ("refused", "refused"),
    "forky-ctr": ("refused", "broken"),
}
"""What a host makes of a delta whose base it has not, and of one whose base it has stored otherwise: some
take it without a word, and what they have then is broken."""


def outcome(host: Host, person: Person, delta: Path, name: str) -> str:
    """What becomes of a delta on a host."""
    given = delta.with_name("given.tar")
    try:
        host.load(delta)
    except CommandFailed:
        return "refused"
    try:
        host.give(name, given)
    except CommandFailed:
        return "broken"
    return "whole" if person.run("verify", given).code == 0 else "broken"


@pytest.mark.parametrize("lacks", ["the base", "its blobs"])
def test_without_what_it_needs(
    lacks: str, host: Host, person: Person, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Whether a host refuses a delta that it cannot make whole. Where it does not, verify is the guard."""
    name = request.node.callspec.params["host"]
    seed = f"lacks{lacks}{name}".replace("-", "").replace(" ", "")
    old, packed, new, delta = (tmp_path / f"{part}.tar" for part in ("old", "packed", "new", "delta"))
    docker_archive_25(old, [release_of(seed, 1)])
    docker_archive_25(packed, [release_of(seed, 1)], compress="gzip")
    docker_archive_25(new, [release_of(seed, 2)])
    person.squash(new, "--keep-layers", "2", "--have", packed, "-o", delta)
    absent, otherwise = WITHOUT[name]
    if lacks == "the base":
        assert outcome(host, person, delta, f"{seed}:2") == absent
        return
    host.load(old)
    assert outcome(host, person, delta, f"{seed}:2") == otherwise
    done = person.run("verify", delta, "--have", told(person, host, f"{seed}:1", old))
    if host.place:
        assert (done.code == 0) == (otherwise == "whole")
    else:
        assert b"it is not stored there as sha256:" in done.out


def test_in_oci_form(host: Host, person: Person, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """An OCI archive with layers left out is loaded by containerd's stores and podman, and not by docker
    with its own storage."""
    name = request.node.callspec.params["host"]
    seed = f"oci{name}".replace("-", "")
    old, new, delta = (tmp_path / f"{part}.tar" for part in ("old", "new", "delta"))
    docker_archive_25(old, [release_of(seed, 1)])
    docker_archive_25(new, [release_of(seed, 2)])
    host.load(old)
    person.squash(new, "--keep-layers", "2", "--have", old, "--format", "oci", "-o", delta)
    takes = name != "docker" and not name.endswith("overlay2")
    assert outcome(host, person, delta, f"{seed}:2") == ("whole" if takes else "refused")


@pytest.mark.parametrize("host", KNOWN, indirect=True)
def test_all_that_a_host_has(
    host: Host, person: Person, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Without an image the have-list is of all of them, those that are not whole left out: what a test
    before left there does no harm."""
    seed = f"all{request.node.callspec.params['host']}".replace("-", "")
    docker_archive_25(tmp_path / "old.tar", [release_of(seed, 1)])
    host.load(tmp_path / "old.tar")
    one = person.run("inspect", "--have-list", f"{host.place}{seed}:1").out.decode().splitlines()
    place = [] if host.place == "docker-daemon:" else [host.place]
    done = person.run("inspect", "--have-list", *place)
    assert done.code == 0, done.err
    first, *lines = done.out.decode().splitlines()
    assert first == one[0]
    assert {*one[1:]} <= {*lines}
    assert len(lines) == len({*lines})


# --- registries ----------------------------------------------------------------------------------


def test_a_registry_tells_what_its_readers_have(state: Path, person: Person, tmp_path: Path) -> None:
    """An image in a registry, or a have-list of a place there, is known by its documents alone; its blobs
    are fetched only where a delta becomes whole."""
    oci_layout(tmp_path / "old", [release_of("remote", 1)])
    oci_layout(tmp_path / "new", [release_of("remote", 2)])
    words = (f"oci:{tmp_path / 'new'}", "--keep-layers", "2")
    with registries.registry(state) as registry:
        target = f"docker://{registry.host}/deltas/remote:1"
        flags = ["--dest-tls-verify=false", "--quiet"]
        services.run(["skopeo", "copy", *flags, f"oci:{tmp_path / 'old'}", target])
        layers = registry.layers("deltas/remote", "1")
        mark = registry.mark()
        done = person.run("inspect", "--have-list", f"docker://{registry.host}/deltas/")
        assert done.code == 0, done.err
        assert done.out.startswith(b"store: registry\n")
        listed = tmp_path / "listed.txt"
        listed.write_bytes(done.out)
        for number, have in enumerate((target, listed)):
            delta = tmp_path / f"{number}.tar"
            report = person.squash(*words, "--have", have, "-o", f"oci-archive:{delta}")["delta"]
            assert report["store"] == "registry"
            assert {one["digest"] for one in report["left_out"]} == {*layers[:2]}
        assert not {*layers} & {*downloaded(registry.log(mark))}
        for have in (target, listed):
            assert person.run("verify", tmp_path / "0.tar", "--have", have).code == 0
        person.squash(tmp_path / "0.tar", "--have", target, "-o", f"oci-archive:{tmp_path / 'whole.tar'}")
    person.squash(*words, "-o", f"oci-archive:{tmp_path / 'direct.tar'}")
    assert (tmp_path / "whole.tar").read_bytes() == (tmp_path / "direct.tar").read_bytes()
