"""Which base an image has, by what evidence; whether it is current; and the catalogue of bases."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click
import pytest

from squashkit.cli.base import base as group
from squashkit.errors import ImageNotFound
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import Platform
from squashkit.plan.evidence import base_images
from squashkit.plan.known import KnownBase
from squashkit.transports.reference import Reference
from tests.support.builders import (
    ImageSpec,
    Json,
    digest,
    docker_archive_25,
    docker_archive_old,
    file,
    layer,
    oci_layout,
    on_base,
)
from tests.support.docs_images import write_files
from tests.support.runner import (
    APP,
    BASE,
    BASE_DIGEST,
    BASE_NAME,
    KEPT,
    assert_fails,
    read_image,
    run,
    squash,
)

PAGE = (Path(__file__).parents[2] / "docs/rebase.md").read_text(encoding="utf-8")
BIGGER = on_base(BASE, layer(file("more", b"more")), tags=["bigger:1"])
LAYERS = len(BASE.layers)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue for each test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data/squashkit/bases.sqlite"


def labelled(image: ImageSpec, **labels: str) -> ImageSpec:
    """An image with these labels."""
    return replace(image, config={**image.config, "config": {"Labels": labels}})


def found(image: str | Path) -> Json | None:
    """The base that `base find` tells in JSON, None where it tells none and says so."""
    done = run("base", "find", image, "--json")
    told = done.json["base"]
    assert done.code == (0 if told else 1)
    return dict(told) if told else None


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An archive of the image alone, which says nothing of its base."""
    docker_archive_old(tmp_path / "app.tar", [replace(APP, tags=["app:1"])])
    return tmp_path / "app.tar"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An archive of the base."""
    docker_archive_25(tmp_path / "base.tar", [BASE])
    return tmp_path / "base.tar"


# --- evidence --------------------------------------------------------------------------------


def test_a_base_that_nothing_tells_is_not_known(app: Path) -> None:
    """Without evidence there is no answer, and exit code 1."""
    assert found(app) is None
    assert "not known" in run("base", "find", app).text


def test_labels_name_a_base_that_is_at_hand(tmp_path: Path) -> None:
    """The OCI's labels in a config do as well as the manifest's annotations."""
    (named,) = oci_layout(tmp_path / "base", [BASE])
    image = labelled(APP, **{BASE_NAME: "docker.io/library/base:1", BASE_DIGEST: named})
    oci_layout(tmp_path / "both", [image, BASE])
    told = found(f"{tmp_path}/both:app:1")
    assert told is not None
    assert (told["layers"], told["name"], told["sure"]) == (LAYERS, "docker.io/library/base:1", "stated")


def test_labels_of_another_base_are_refused(tmp_path: Path) -> None:
    """What an image says of its base is held against its layers."""
    other = ImageSpec([layer(file("other", b"x"))], ["other:1"])
    (named,) = oci_layout(tmp_path / "other", [other])
    image = labelled(APP, **{BASE_NAME: "docker.io/library/other:1", BASE_DIGEST: named})
    oci_layout(tmp_path / "both", [image, other])
    assert_fails(run("base", "find", f"{tmp_path}/both:app:1"), 1, "is not based on")


def buildpacks(top: str) -> str:
    return json.dumps({"runImage": {"topLayer": top, "reference": "run@sha256:" + "0" * 64}})


def test_buildpacks_name_the_top_layer_of_their_run_image(tmp_path: Path) -> None:
    """The label's topLayer says where the base ends."""
    top = digest(BASE.layers[-1])
    image = labelled(APP, **{"io.buildpacks.lifecycle.metadata": buildpacks(top)})
    docker_archive_old(tmp_path / "app.tar", [image])
    told = found(tmp_path / "app.tar")
    assert told is not None
    assert told["layers"] == LAYERS
    assert "buildpacks" in told["evidence"]


@pytest.mark.parametrize("text", [buildpacks("sha256:" + "1" * 64), "{}", "no JSON", "[]"])
def test_buildpacks_labels_that_say_nothing_are_passed_over(text: str, tmp_path: Path) -> None:
    """A top layer that the image does not have is no evidence, and neither is nonsense."""
    image = labelled(APP, **{"io.buildpacks.lifecycle.metadata": text})
    docker_archive_old(tmp_path / "app.tar", [image])
    assert found(tmp_path / "app.tar") is None


def statement(*digests: str, version: str) -> Json:
    """Provenance of a build that took these images in."""
    materials = [
        {
            "uri": f"pkg:docker/stage{number}@1?platform=linux%2Famd64",
            "digest": {"sha256": one.removeprefix("sha256:")},
        }
        for number, one in enumerate(digests)
    ]
    predicate = (
        {"materials": materials}
        if version == "v0.2"
        else {"buildDefinition": {"resolvedDependencies": materials}}
    )
    return {"predicateType": f"https://slsa.dev/provenance/{version}", "predicate": predicate}


@pytest.mark.parametrize("version", ["v0.2", "v1"])
def test_provenance_names_the_base_among_what_a_build_took_in(version: str, tmp_path: Path) -> None:
    """Of several images that a build took in the one that the result stands on is its base."""
    other = ImageSpec([layer(file("tool", b"x"))], ["tool:1"])
    tool, at = oci_layout(tmp_path / "bases", [other, BASE])
    stated = statement(tool, at, version=version)
    oci_layout(tmp_path / "all", [APP, BASE, other], attestations=True, stated=stated)
    told = found(f"{tmp_path}/all:app:1")
    assert told is not None
    assert (told["layers"], told["name"]) == (LAYERS, "stage1:1")
    assert "provenance" in told["evidence"]


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"predicate": {"materials": [1]}}', b"\xff"])
def test_provenance_that_is_not_understood_says_nothing(text: bytes) -> None:
    """A statement of another form names no images."""
    assert base_images(text) == []


def test_the_history_alone_decides_nothing(tmp_path: Path) -> None:
    """podman's FROM is a hint for people, and no base."""
    created = "2018-05-01T12:00:00Z"
    history: list[Json] = [{"created": created, "created_by": f"{i}"} for i in range(len(APP.layers))]
    history[LAYERS]["comment"] = "FROM localhost/base:1"
    docker_archive_old(tmp_path / "app.tar", [replace(APP, history=history)])
    done = run("base", "find", tmp_path / "app.tar")
    assert done.code == 1
    assert "FROM localhost/base:1" in done.text
    assert_fails(run("squash", tmp_path / "app.tar", "-o", tmp_path / "out.tar"), 2, "nothing says")


# --- the catalogue ---------------------------------------------------------------------------


def test_the_catalogue_knows_a_base_by_its_layers(app: Path, base: Path) -> None:
    """A base that was added is found below images that do not name it."""
    assert run("base", "add", base).code == 0
    told = found(app)
    assert told is not None
    assert (told["name"], told["layers"], told["sure"]) == ("base:1", LAYERS, "matched")


def test_the_base_with_the_most_layers_is_the_nearest(tmp_path: Path, base: Path) -> None:
    """Of several bases that an image stands on, the one with the most layers is its base."""
    docker_archive_25(tmp_path / "bigger.tar", [BIGGER])
    image = on_base(BIGGER, layer(file("app", b"x")), tags=["app:1"])
    docker_archive_old(tmp_path / "app.tar", [image])
    for one in (tmp_path / "bigger.tar", base):
        assert run("base", "add", one).code == 0
    told = found(tmp_path / "app.tar")
    assert told is not None
    assert told["name"] == "bigger:1"
    # An image is not its own base.
    told = found(tmp_path / "bigger.tar")
    assert told is not None
    assert told["name"] == "base:1"


def test_another_platform_is_another_base(tmp_path: Path, app: Path) -> None:
    """The same layers for another platform are no base of an image."""
    docker_archive_25(tmp_path / "arm.tar", [replace(BASE, platform="linux/arm64")])
    assert run("base", "add", tmp_path / "arm.tar", "--platform", "linux/arm64").code == 0
    assert found(app) is None


def test_older_versions_stay(tmp_path: Path, app: Path, base: Path) -> None:
    """A base that has moved on is still known below what was built on it before."""
    assert run("base", "add", base).code == 0
    newer = ImageSpec([layer(file("newer", b"x"))], BASE.tags)
    docker_archive_25(tmp_path / "newer.tar", [newer])
    assert run("base", "add", tmp_path / "newer.tar").code == 0
    assert found(app) is not None
    listed = run("base", "list", "--json").json["bases"]
    assert [one["reference"] for one in listed] == ["base:1", "base:1"]
    assert {len(one["diff_ids"]) for one in listed} == {1, LAYERS}
    assert all(len(one["diff_ids"]) == len(one["chain_ids"]) for one in listed)


def test_squash_goes_by_the_catalogue_and_says_so(tmp_path: Path, app: Path, base: Path) -> None:
    """Without --keep-base the catalogue's base is kept, and the summary names its source."""
    assert_fails(run("squash", app, "-o", tmp_path / "out.tar"), 2, "nothing says")
    assert run("base", "add", base).code == 0
    done = squash(app, "-t", "new:1", "-o", tmp_path / "out.tar")
    assert "by the catalogue of bases" in done.text
    assert len(read_image(tmp_path / "out.tar").layers) == KEPT + 1


def test_bases_are_removed(base: Path, app: Path) -> None:
    """What was removed is no longer found, and what is not there cannot be removed."""
    assert run("base", "add", base).code == 0
    assert run("base", "remove", "base:1").code == 0
    assert found(app) is None
    assert_fails(run("base", "remove", "base:1"), 1, "base list")


def test_looking_makes_no_catalogue(data: Path, app: Path) -> None:
    """A catalogue comes into being with its first base."""
    assert run("base", "list").text.startswith("The catalogue is empty")
    found(app)
    assert not data.exists()


def test_a_broken_catalogue_is_told(data: Path, app: Path) -> None:
    """A file that is no catalogue stops what would go by it, with what to do."""
    data.parent.mkdir(parents=True)
    data.write_bytes(b"this is no database, and long enough to be seen as none" * 9)
    assert_fails(run("base", "list"), 5, str(data), "move it away")
    assert_fails(run("base", "find", app), 5, str(data))


def test_the_catalogue_is_the_users_alone(data: Path, base: Path) -> None:
    """Neither its file nor its folder can be read by others, one that an earlier version made included."""
    umask = os.umask(0)
    try:
        for _ in range(2):
            assert run("base", "add", f"{base}:base:1").code == 0
            modes = [stat.S_IMODE(one.stat().st_mode) for one in (data, data.parent)]
            assert modes == [0o600, 0o700]
            data.chmod(0o644)
            data.parent.chmod(0o755)
    finally:
        os.umask(umask)


def test_the_catalogue_is_sqlite(data: Path, base: Path) -> None:
    """Other programs can read the catalogue."""
    assert run("base", "add", base).code == 0
    rows = sqlite3.connect(data).execute("SELECT reference, layers FROM base").fetchall()
    assert rows == [("base:1", LAYERS)]


# --- is it current? --------------------------------------------------------------------------


def test_a_base_that_did_not_move_is_current(app: Path, base: Path) -> None:
    """Exit code 0 where the image begins with the layers that the base has now."""
    done = run("base", "check", app, "--base", base, "--json")
    assert (done.code, done.json["current"]) == (0, True)


def test_a_base_that_moved_is_outdated(tmp_path: Path, app: Path, base: Path) -> None:
    """Exit code 3 where it does not, with what the image was built on and what the name means now."""
    run("base", "add", base)
    docker_archive_25(tmp_path / "newer.tar", [ImageSpec([layer(file("newer", b"x"))], ["base:1"])])
    done = run("base", "check", app, "--base", tmp_path / "newer.tar")
    assert done.code == 3
    assert "outdated" in done.text
    assert done.text.count("sha256:") == 2
    told = run("base", "check", app, "--base", tmp_path / "newer.tar", "--json").json
    assert told["built_on"]["chain_id"] != told["now"]["chain_id"] == digest(layer(file("newer", b"x")))


def test_an_image_on_another_base_is_told_apart(tmp_path: Path, app: Path, base: Path) -> None:
    """Exit code 6 where it stands on no version of that base that is known, whatever else it stands on."""
    docker_archive_25(tmp_path / "other.tar", [ImageSpec([layer(file("other", b"x"))], ["other:1"])])
    done = run("base", "check", app, "--base", tmp_path / "other.tar")
    assert done.code == 6
    head = f"not based: app:1 does not stand on {tmp_path}/other.tar, in any version that is known here"
    assert done.out.decode().splitlines()[0] == head
    assert "base add" in done.text
    run("base", "add", base)
    done = run("base", "check", app, "--base", tmp_path / "other.tar")
    assert (done.code, done.out.decode().splitlines()[:2]) == (6, [head, "  built on base:1"])
    told = run("base", "check", app, "--base", tmp_path / "other.tar", "--json").json
    assert (told["status"], told["current"]) == ("not based", False)
    assert told["built_on"] == {"digest": None, "chain_id": None}
    nameless = tmp_path / "nameless.tar"
    docker_archive_old(nameless, [ImageSpec([layer(file("newer", b"x"))], [])])
    assert run("base", "check", app, "--base", nameless).code == 6


def test_a_base_below_the_nearest_one_is_outdated_too(tmp_path: Path, base: Path) -> None:
    """The catalogue knows of the versions of a base below bases that were built on it."""
    docker_archive_25(tmp_path / "bigger.tar", [BIGGER])
    run("base", "add", base, tmp_path / "bigger.tar")
    image = on_base(BIGGER, layer(file("app", b"x")), tags=["app:1"])
    docker_archive_old(tmp_path / "app.tar", [image])
    docker_archive_25(tmp_path / "newer.tar", [ImageSpec([layer(file("newer", b"x"))], BASE.tags)])
    done = run("base", "check", tmp_path / "app.tar", "--base", tmp_path / "newer.tar", "--json")
    assert (done.code, done.json["status"], done.json["base"]["layers"]) == (3, "outdated", LAYERS)


def test_an_image_with_no_layer_above_its_base_is_outdated_too(tmp_path: Path, base: Path) -> None:
    """A Dockerfile without a step that writes leaves the base's layers alone."""
    run("base", "add", base)
    docker_archive_old(tmp_path / "app.tar", [replace(BASE, tags=["app:1"])])
    docker_archive_25(tmp_path / "newer.tar", [ImageSpec([layer(file("newer", b"x"))], BASE.tags)])
    done = run("base", "check", tmp_path / "app.tar", "--base", tmp_path / "newer.tar", "--json")
    assert (done.code, done.json["base"]["layers"]) == (3, LAYERS)


def test_one_outdated_platform_makes_an_image_outdated(tmp_path: Path) -> None:
    """Of several answers the one that asks for work counts."""
    newer = layer(file("newer", b"x"))
    platforms = ("linux/amd64", "linux/arm64")
    olds = [ImageSpec([layer(file("old", p.encode()))], ["base:1"], platform=p) for p in platforms]
    oci_layout(tmp_path / "old", olds[:1], nested=True)
    apps = [on_base(one, layer(file("app")), tags=["app:1"]) for one in olds]
    oci_layout(tmp_path / "app", apps, nested=True)
    oci_layout(tmp_path / "new", [replace(one, layers=[newer]) for one in olds], nested=True)
    words = ("base", "check", tmp_path / "app", "--base", tmp_path / "new", "--platform", "all", "--json")
    assert run(*words).code == 6
    assert run("base", "add", tmp_path / "old", "--platform", "all").code == 0
    done = run(*words)
    assert done.code == 3
    assert [one["status"] for one in done.json.values()] == ["outdated", "not based"]


def test_a_base_that_the_image_names_and_that_is_elsewhere_is_outdated(tmp_path: Path, base: Path) -> None:
    """What the image says of its base is enough to tell that it meant that one."""
    image = labelled(APP, **{BASE_NAME: "newer:1", BASE_DIGEST: "sha256:" + "0" * 64})
    docker_archive_old(tmp_path / "app.tar", [image])
    docker_archive_25(tmp_path / "newer.tar", [ImageSpec([layer(file("newer", b"x"))], ["newer:1"])])
    done = run("base", "check", tmp_path / "app.tar", "--base", tmp_path / "newer.tar")
    assert done.code == 3
    assert "built on sha256:" + "0" * 64 in done.text
    # A name alone says which base is meant, and not which version.
    docker_archive_old(tmp_path / "named.tar", [labelled(APP, **{BASE_NAME: "newer:1"})])
    done = run("base", "check", tmp_path / "named.tar", "--base", tmp_path / "newer.tar")
    assert (done.code, "built on a version that it does not tell" in done.text) == (3, True)
    # Another base's digest is none of this one's.
    run("base", "add", base)
    docker_archive_25(tmp_path / "base2.tar", [ImageSpec([layer(file("newer", b"x"))], ["base:1"])])
    told = run("base", "check", tmp_path / "app.tar", "--base", tmp_path / "base2.tar", "--json").json
    assert told["status"] == "outdated"
    assert told["built_on"]["digest"] is None


def test_a_base_without_a_name_cannot_be_looked_up(app: Path) -> None:
    """Where nothing names the base, --base has to."""
    assert_fails(run("base", "check", app), 1, "--base")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The references that bases are looked up by; nobody answers."""
    found: list[str] = []

    def refuse(session: object, reference: Reference, *_: object) -> NoReturn:
        found.append(f"{reference.transport}:{reference.path}")
        raise ImageNotFound("nobody answers", reference=str(reference))

    monkeypatch.setattr("squashkit.jobs.decide.open_base", refuse)
    return found


def test_a_base_of_an_archive_is_not_looked_up_elsewhere(app: Path, base: Path, asked: list[str]) -> None:
    """A name that only an archive gave its base says nothing of where that is kept, and nobody is asked."""
    assert run("base", "add", base).code == 0
    assert_fails(run("base", "check", app), 1, "nothing says where its base base:1 is kept; --base REF")
    assert asked == []


def test_a_base_beside_an_image_is_not_looked_up_in_a_registry(tmp_path: Path, asked: list[str]) -> None:
    """Where the image states a digest alone, the base's name is the archive's word."""
    (at,) = oci_layout(tmp_path / "base", [BASE])
    oci_layout(tmp_path / "both", [labelled(APP, **{BASE_DIGEST: at}), BASE])
    assert_fails(run("base", "check", f"{tmp_path}/both:app:1"), 1, "--base REF does")
    assert asked == []


def test_where_a_name_is_looked_up(data: Path, tmp_path: Path, base: Path, asked: list[str]) -> None:
    """As the base was added, or where the image names it: in a registry."""
    docker_archive_old(tmp_path / "app.tar", [replace(APP, tags=["app:1"])])
    for reference in ("docker://registry.example/base:1", "docker-daemon:base:1"):
        Catalogue(data).add(known(reference))
        assert_fails(run("base", "check", tmp_path / "app.tar"), 5, "--base REF asks elsewhere")
        Catalogue(data).remove(reference)
    named = labelled(APP, **{BASE_NAME: "registry.example/base:2", BASE_DIGEST: "sha256:" + "0" * 64})
    docker_archive_old(tmp_path / "named.tar", [named])
    assert run("base", "check", tmp_path / "named.tar").code == 5
    registry = "docker:registry.example/base"
    assert asked == [f"{registry}:1", "docker-daemon:base:1", f"{registry}:2"]


def known(reference: str) -> KnownBase:
    """The base, as the catalogue has it from somewhere."""
    diff_ids = tuple(DiffID(digest(one)) for one in BASE.layers)
    platform = Platform("linux", "amd64")
    return KnownBase(reference, platform, Digest(diff_ids[0]), "", diff_ids, b"", "2026-01-01T00:00:00Z")


# --- the command -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(group.commands))
def test_every_subcommand_is_explained(name: str) -> None:
    """Each subcommand is in the page on rebase, and its help has an example."""
    command = group.commands[name]
    assert isinstance(command, click.Command)
    assert f"base {name}" in PAGE
    assert f"squashkit base {name}" in (command.epilog or "")


def test_the_examples_with_an_archive_are_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They name one image of the archive that the other examples use."""
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    run("base", "add", "fedora.tar")
    texts = [PAGE, *(command.epilog or "" for command in (group, *group.commands.values()))]
    pattern = re.compile(r"squashkit base (?:find|check) (\S+\.tar\S*)")
    found = [name for text in texts for name in pattern.findall(text)]
    assert len(found) >= 4
    for name in set(found):
        assert run("base", "find", name).code == 0, name


def test_image_ids_on_the_page_are_whole() -> None:
    """As they are printed."""
    page = (Path(__file__).parents[2] / "docs/rebase.md").read_text(encoding="utf-8")
    found = re.findall(r"(?m)^image_id sha256:(\w+)$", page)
    assert found
    assert {len(one) for one in found} == {64}
