"""Which base an image has, by what evidence; whether it is current; and the catalogue of bases."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from squashkit.cli.base import base as group
from squashkit.provenance import base_images
from tests.builders import (
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
from tests.cli import APP, BASE, BASE_DIGEST, BASE_NAME, KEPT, assert_fails, read_image, run, squash

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BIGGER = on_base(BASE, layer(file("more", b"more")), tags=["bigger:1"])
LAYERS = len(BASE.layers)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A catalogue for each test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    yield tmp_path / "data/squashkit/bases.sqlite"


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
    assert told is not None and told["name"] == "bigger:1"
    # An image is not its own base.
    told = found(tmp_path / "bigger.tar")
    assert told is not None and told["name"] == "base:1"


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
    assert "outdated" in done.text and done.text.count("sha256:") == 2
    told = run("base", "check", app, "--base", tmp_path / "newer.tar", "--json").json
    assert told["built_on"]["chain_id"] != told["now"]["chain_id"] == digest(layer(file("newer", b"x")))


def test_a_base_without_a_name_cannot_be_looked_up(app: Path) -> None:
    """Where nothing names the base, --base has to."""
    assert_fails(run("base", "check", app), 1, "--base")


# --- the command -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(group.commands))
def test_every_subcommand_is_explained(name: str) -> None:
    """Each subcommand is in the README, and its help has an example."""
    command = group.commands[name]
    assert isinstance(command, click.Command)
    assert f"base {name}" in README
    assert f"squashkit base {name}" in (command.epilog or "")
