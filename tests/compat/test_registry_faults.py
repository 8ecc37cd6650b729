"""What goes wrong on the way to a registry: it is repaired, or told in one line, and nothing is tagged."""

from __future__ import annotations

import random
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compat import registries
from tests.compat.conftest import Person
from tests.compat.registries import (
    HOST,
    UPLOAD,
    Fault,
    Proxy,
    Registry,
    assert_whole,
    downloaded,
    new_layer,
)
from tests.support.builders import ImageSpec, docker_archive_25, file, layer
from tests.support.runner import DOCKER_MANIFEST, assert_fails, spawn

COPIED, LAST = 2, -1
"""A layer of 200 kB above the base, and the topmost, a very small one."""

FAULTS: dict[str, tuple[Fault, int]] = {
    "slow blob": (Fault("GET", "layer", pause=0.05), 0),
    "blob cut once": (Fault("GET", "layer", 1, cut_down=100_000), 0),
    "blob cut twice": (Fault("GET", "layer", 2, cut_down=100_000), 0),
    "blob cut again and again": (Fault("GET", "layer", cut_down=50_000), 0),
    "blob cut once, no ranges": (Fault("GET", "layer", 1, cut_down=100_000, no_range=True), 0),
    "blob cut always, no ranges": (Fault("GET", "layer", cut_down=100_000, no_range=True), 5),
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
EITHER = {"no JSON for a manifest": {4, 5}, "404 for a blob": {4, 5}}
"""Where two exit codes are right."""


@pytest.mark.parametrize("name", FAULTS)
def test_faults_on_the_way(
    name: str, registry: Registry, person: Person, request: pytest.FixtureRequest
) -> None:
    """What passes is tried again, what lasts is one clear line and no tag, and no wrong byte gets in; for
    what lasts it waits long enough for a registry to come back."""
    template, code = FAULTS[name]
    waits = request.getfixturevalue("waits") if "always" in name or "again" in name else []
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
    if "always" in name and "upload" not in name:
        assert sum(waits) >= 12
    if code:
        assert done.code in EITHER.get(name, {code}), (done.code, done.err)
        assert_fails(done, done.code)
        assert registry.tags("app") == before
    else:
        assert done.code == 0, done.err
        new_layer(registry, "app", "new")
        assert_whole(registry, "app", "new", DOCKER_MANIFEST)


BIG_FAULTS: dict[str, tuple[list[Fault], int]] = {
    "cut once": ([Fault("PATCH", UPLOAD, 1, cut_up=5_000_000)], 0),
    "cut thrice": ([Fault("PATCH", UPLOAD, 3, cut_up=5_000_000)], 0),
    "refused once": ([Fault("PATCH", UPLOAD, 1, answer=500)], 0),
    "cut and lost": ([Fault("PATCH", UPLOAD, 1, cut_up=5_000_000), Fault("GET", UPLOAD, 1, answer=404)], 0),
    "cut always": ([Fault("PATCH|PUT", UPLOAD, cut_up=1_000_000)], 5),
    "end refused once": ([Fault("PUT", UPLOAD, 1, answer=502)], 0),
    "end cut once": ([Fault("PUT", UPLOAD, 1, cut_up=0)], 0),
    "no chunks": ([Fault("PATCH", UPLOAD, answer=405)], 0),
}


@pytest.fixture(scope="module")
def big_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of two layers with 24 MB that do not compress."""
    path = tmp_path_factory.mktemp("big") / "big.tar"
    noise = random.Random("big").randbytes(24 << 20)
    docker_archive_25(path, [ImageSpec([layer(file("a")), layer(file("noise", noise))], ["big:1"])])
    return path


@pytest.mark.parametrize("name", BIG_FAULTS)
def test_faults_of_a_big_upload(name: str, big_archive: Path, registry: Registry, person: Person) -> None:
    """A big layer goes up in pieces, what was cut goes on or begins anew, and what lasts leaves no tag."""
    faults, code = BIG_FAULTS[name]
    with registries.proxy((HOST, registry.port)) as proxy:
        for fault in faults:
            proxy.add(replace(fault))
        arguments = ["--all", "--compress", "gzip:1", "-o", f"docker://{proxy.host}/big:1"]
        done = person.run("squash", big_archive, *arguments)
        assert all(fault.hits for fault in proxy.faults) or name == "cut and lost"
    if code:
        assert_fails(done, code)
        assert registry.tags("big") == {}
    else:
        assert done.code == 0, done.err
        assert_whole(registry, "big", "1", registry.manifest("big", "1")["mediaType"])
        assert len(registry.layers("big", "1")) == 1


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


def test_a_wrong_byte_is_seen_by_all_that_read(
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
