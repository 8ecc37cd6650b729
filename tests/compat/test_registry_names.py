"""Whose tags move, which layers are believed, and what a saving is, in registries and daemons."""

from __future__ import annotations

import base64
import json
import urllib.request
from pathlib import Path

import pytest

from tests.compat import registries, services
from tests.compat.conftest import Person
from tests.compat.registries import UPLOAD, Fault, Registry, downloaded, uploaded
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    file,
    layer,
    oci_archive,
    on_base,
)
from tests.support.runner import BASE_DIGEST, BASE_NAME, OCI_MANIFEST, assert_fails

BASE = ImageSpec([layer(directory("etc"), file("etc/base", b"base\n" * 2000))], ["base:1"])
ONE, TWO = (layer(file("app", line * 9000)) for line in (b"one\n", b"two\n"))
APP = on_base(BASE, ONE, TWO, tags=["app:1"])


def push(umoci: services.Umoci, folder: Path, spec: ImageSpec, target: str) -> None:
    """An image as OCI in a registry."""
    path = folder / "pushed.tar"
    oci_archive(path, [spec], compress="gzip")
    umoci.copy(f"oci-archive:{path}", f"docker://{target}", "--dest-tls-verify=false", "--format", "oci")


# --- whose tags move -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "output",
    [
        "docker://{host}/app:1",
        "docker://{other}/app:1",
        "docker://{host}/base:1",
        "docker://{other}/base:1",
    ],
)
def test_tags_that_were_read_stay(output: str, registry: Registry, person: Person) -> None:
    """Neither the source's tag nor the base's moves, by whatever name of its host it is written to."""
    before = registry.tags("app") | registry.tags("base")
    names = {"host": registry.host, "other": f"localhost:{registry.port}"}
    words = [f"docker://{registry.host}/app:1", "--keep-base", f"docker://{registry.host}/base:1"]
    assert_fails(person.run("squash", *words, "-o", output.format(**names)), 2)
    assert registry.tags("app") | registry.tags("base") == before


def test_the_bases_name_in_a_daemon_stays(
    images_registry: Registry, docker: services.Docker, person: Person
) -> None:
    """A base that is kept keeps its name in a daemon, too."""
    person.use_daemon(docker)
    before = docker.tags()
    assert_fails(person.run("squash", "app:1", "--keep-base", "base:1", "-t", "base:1"), 2, "the base")
    assert docker.tags() == before


def test_replace_moves_the_tag_that_was_read(registry: Registry, person: Person) -> None:
    """--replace moves the source's tag in a registry, with further tags beside it."""
    place, before = f"docker://{registry.host}/", registry.tags("app")["1"]
    report = person.squash(f"{place}app:1", "--keep-base", f"{place}base:1", "--replace", "-t", "more")
    tags = registry.tags("app")
    assert tags["1"] == tags["more"] == report["manifest_digest"] != before


def test_what_changed_meanwhile_is_not_replaced(registry: Registry, person: Person) -> None:
    """Where somebody else moved the tag since it was read, --replace leaves theirs."""
    somebody, theirs = Person(person.home / "else"), []

    def move() -> None:
        words = ("--keep-layers", "1", "--replace")
        theirs.append(somebody.squash(f"docker://{registry.host}/app:1", *words)["manifest_digest"])

    with registries.proxy((registries.HOST, registry.port)) as proxy:
        proxy.add(Fault("PUT", UPLOAD, 1, call=move))
        place = f"docker://{proxy.host}/"
        done = person.run("squash", f"{place}app:1", "--keep-base", f"{place}base:1", "--replace")
    assert_fails(done, 2, "no longer")
    assert [registry.tags("app")["1"]] == theirs


@pytest.mark.parametrize(
    "options",
    [
        ["-o", "{place}app:new", "--push-by-digest"],
        ["-o", "{place}app", "--push-by-digest", "-t", "new"],
        ["-o", "{place}app:new", "--replace"],
        ["-o", "app:new"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_told(options: list[str], registry: Registry, person: Person) -> None:
    """Nothing that was asked for is dropped without a word, and no image goes into a file by mistake."""
    place = f"docker://{registry.host}/"
    words = [word.format(place=place) for word in options]
    assert_fails(person.run("squash", f"{place}app:1", "--keep-base", f"{place}base:1", *words), 2)
    assert not list(person.home.glob("app*"))


# --- tags that mean several platforms --------------------------------------------------------

SEVERAL = ("linux/amd64", "linux/arm64")


@pytest.mark.parametrize("name", ["multi", "multi-docker", "attested"])
@pytest.mark.parametrize(
    "words",
    [["--replace"], ["-o", "{place}{name}:new", "-t", "there"], ["--replace", "--dry-run"]],
    ids=" ".join,
)
def test_a_tag_of_several_platforms_is_not_narrowed(
    words: list[str], name: str, registry: Registry, person: Person
) -> None:
    """Nothing is sent where a tag would lose platforms in silence; all of them, or one that is asked for,
    move it."""
    place, source = f"docker://{registry.host}/", f"docker://{registry.host}/{name}:1"
    copy_tag(registry, name, "1", "there")
    before, tags, mark = registry.blobs(), registry.tags(name), registry.mark()
    said = [source, "--keep-layers", "1", *(word.format(place=place, name=name) for word in words)]
    assert_fails(person.run("squash", *said), 2, *SEVERAL, "--platform all", "--platform linux/amd64")
    assert (registry.blobs(), registry.tags(name)) == (before, tags)
    assert not [one for one in registry.log(mark) if one.writes]
    if "--dry-run" in words:
        return
    person.squash(*said, "--platform", "all")
    assert len(registry.manifest(name, "1" if "--replace" in words else "there")["manifests"]) == 2
    report = person.squash(*said[:3], "-o", f"{place}{name}:there", "--platform", "linux/arm64")
    assert [note for note in report["notes"] if note.startswith(f"{registry.host}/{name}:there meant")]
    assert registry.config(name, "there")["architecture"] == "arm64"


def test_a_platform_that_a_registry_lost_is_none(registry: Registry, person: Person) -> None:
    """A platform whose manifest or layer is gone does not keep a tag from moving."""
    place = f"docker://{registry.host}/"
    for name, lose in (("multi", "manifest"), ("multi-docker", "layer")):
        digest = registry.manifest(name, "1")["manifests"][1]["digest"]
        if lose == "layer":
            registry.forget(name, registry.layers(name, digest)[1])
        else:
            url = f"http://{registry.host}/v2/{name}/manifests/{digest}"
            urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=30).close()
        person.squash(f"{place}{name}:1", "--keep-layers", "1", "--replace")
        assert registry.config(name, "1")["architecture"] == "amd64"


def test_a_tag_that_came_to_mean_several_platforms_meanwhile(registry: Registry, person: Person) -> None:
    """What a tag means is looked at again before it moves."""
    with registries.proxy((registries.HOST, registry.port)) as proxy:
        proxy.add(Fault("PUT", UPLOAD, 1, call=lambda: copy_tag(registry, "multi", "1", "new")))
        place = f"docker://{proxy.host}/"
        done = person.run("squash", f"{place}multi:1", "--keep-layers", "1", "-o", f"{place}multi:new")
    assert_fails(done, 2, *SEVERAL)
    assert registry.tags("multi")["new"] == registry.tags("multi")["1"]


def test_a_fleet_narrows_no_tag(registry: Registry, person: Person) -> None:
    """`fleet squash --force` moves no tag of several platforms unless one is chosen, and looks before it
    writes the first image."""
    place, before = f"docker://{registry.host}/", registry.blobs()
    words = ["fleet", "squash", f"{place}app:1", f"{place}multi:1", "--strategy", "built", "--force"]
    for name in ("app", "multi"):
        copy_tag(registry, name, "1", "1", f"team/{name}")
    before = registry.blobs()
    done = person.run(*words, "--into", f"{place}team")
    assert_fails(done, 2, *SEVERAL, "--into another place")
    assert registry.blobs() == before
    done = person.run(*words, "--into", f"{place}team", "--platform", "linux/amd64")
    assert done.code == 0, done.err
    assert "linux/arm64" in done.text


def copy_tag(registry: Registry, name: str, tag: str, new: str, repository: str | None = None) -> None:
    """Have another tag mean what one means, in another repository perhaps."""
    services.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
         "--dest-tls-verify=false", f"docker://{registry.host}/{name}:{tag}",
         f"docker://{registry.host}/{repository or name}:{new}"]
    )  # fmt: skip


# --- which layers are believed ---------------------------------------------------------------


def test_a_base_that_lies_is_found_out(
    state: Path, registry: Registry, umoci: services.Umoci, person: Person, tmp_path: Path
) -> None:
    """A base whose manifest names another blob for a layer than its config says gives no result."""
    docker_archive_25(tmp_path / "app.tar", [APP])
    evil = ImageSpec([layer(directory("etc"), file("etc/base", b"evil\n" * 2000))], ["base:1"])
    push(umoci, tmp_path, evil, f"{registry.host}/lying:evil")
    push(umoci, tmp_path, BASE, f"{registry.host}/lying:good")
    lie = registry.manifest("lying", "evil") | {"config": registry.manifest("lying", "good")["config"]}
    request = urllib.request.Request(
        f"http://{registry.host}/v2/lying/manifests/1", json.dumps(lie).encode(),
        {"Content-Type": OCI_MANIFEST}, method="PUT",
    )  # fmt: skip
    urllib.request.urlopen(request, timeout=30).close()
    words = (f"{tmp_path}/app.tar:app:1", "--keep-base", f"docker://{registry.host}/lying:1")
    with registries.registry(state) as other:
        assert_fails(person.run("squash", *words, "-o", f"docker://{other.host}/app:1"), 4)
        assert other.tags("app") == {}


def test_the_base_that_annotations_name_is_fetched(registry: Registry, person: Person) -> None:
    """What squashkit wrote of the base is enough to keep it the next time."""
    place = f"docker://{registry.host}/"
    person.squash(f"{place}app-oci:1", "--keep-base", f"{place}base-oci:1", "-o", f"{place}app-oci:2")
    annotations = registry.manifest("app-oci", "2")["annotations"]
    assert annotations[BASE_NAME] == f"{registry.host}/base-oci:1"
    assert annotations[BASE_DIGEST] == registry.tags("base-oci")["1"]
    mark = registry.mark()
    report = person.squash(f"{place}app-oci:2", "-o", f"{place}app-oci:3")
    assert report["base"]["layers"] == len(registry.layers("base-oci", "1"))
    assert not set(registry.layers("base-oci", "1")) & uploaded(registry.log(mark))


def test_credentials_for_one_path_are_for_that_path(
    state: Path, images_registry: Registry, person: Person
) -> None:
    """A password for HOST/TEAM is sent for that team's images alone."""
    users = {"ada": "secret"}
    with registries.registry(state, like=images_registry, users=users) as registry:
        auth = base64.b64encode(b"ada:secret").decode()
        for key, code in ((f"{registry.host}/other", 5), (f"{registry.host}/app", 0), (registry.host, 0)):
            path = person.home / "auth.json"
            path.write_text(json.dumps({"auths": {key: {"auth": auth}}}))
            done = person.run("ls", f"docker://{registry.host}/app:1", "/etc", "--authfile", path)
            assert done.code == code, (key, done.err)


# --- what a saving is ------------------------------------------------------------------------


def test_compression_is_no_saving(registry: Registry, person: Person, tmp_path: Path) -> None:
    """An archive without waste saves nothing on its way into a registry, however well it compresses."""
    lean = on_base(BASE, layer(file("a", b"a" * 90_000)), layer(file("b", b"b" * 90_000)), tags=["app:1"])
    docker_archive_25(tmp_path / "app.tar", [lean])
    output = f"docker://{registry.host}/lean:1"
    words = (f"{tmp_path}/app.tar:app:1", "--keep-layers", "1", "--min-saving", "10%", "-o", output)
    report = person.squash(*words)
    assert (report["changed"], report["stored_bytes"]["saved"]) == (False, None)
    assert len(registry.layers("lean", "1")) == 3


def test_looking_again_fetches_no_layer(registry: Registry, person: Person) -> None:
    """The entries of layers that were listed once are remembered."""
    name = f"docker://{registry.host}/app:1"
    layers = set(registry.layers("app", "1"))
    first = person.run("ls", name, "-R")
    mark = registry.mark()
    again = person.run("ls", name, "-R")
    assert first.code == 0
    assert first.out == again.out
    assert not layers & set(downloaded(registry.log(mark)))
