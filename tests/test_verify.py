"""`squashkit verify`: every fault is found and told, warnings apart, and absence is proved or refuted."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    hardlink,
    kaniko_archive,
    layer,
    oci_archive,
    oci_layout,
    on_base,
    opaque,
    skopeo_archive,
    sparse,
    symlink,
    whiteout,
)
from tests.cli import (
    APP,
    BASE,
    Arg,
    Json,
    blob_path,
    change_config,
    change_index,
    change_manifest,
    docker_files,
    put_blob,
    run,
    write_archive,
)
from tests.test_faults import CONFIGS, DOCKER, INDEXES, LAST, LAYERS, MANIFESTS, OK, STREAMS

SECRET = b"hunter2\n"
DIGEST = "sha256:" + hashlib.sha256(SECRET).hexdigest()


def verdict(*args: Arg, code: int, stdin: bytes = b"") -> Json:
    """What `verify --json` found."""
    result = run("verify", *args, "--json", stdin=stdin)
    assert result.code == code, result.err or result.out
    return result.json


def faults(*args: Arg, code: int = 4) -> str:
    """The faults that are listed, a line each."""
    found = verdict(*args, code=code)["faults"]
    return "\n".join(f"{one['where'] or ''} {one['message']}" for one in found)


@pytest.mark.parametrize("form", ["old", "25", "25 gzip", "kaniko", "skopeo", "layout", "archive", "zstd"])
def test_a_whole_image_is_good(form: str, tmp_path: Path) -> None:
    """What other tools write has no faults, in every form, and each blob is read once."""
    path, images = tmp_path / "app", [APP, BASE]
    write: dict[str, Any] = {
        "old": docker_archive_old, "25": docker_archive_25, "kaniko": kaniko_archive,
        "skopeo": lambda path, images: skopeo_archive(path, images[:1]), "layout": oci_layout,
        "archive": oci_archive,
        "25 gzip": lambda path, images: docker_archive_25(path, images, compress="gzip"),
        "zstd": lambda path, images: oci_layout(path, images, compress="zstd"),
    }  # fmt: skip
    write[form](path, images)
    found = verdict(path, code=0)
    assert found["faults"] == []
    assert len(found["images"]) == (1 if form == "skopeo" else 2)
    assert found["entries"] >= sum(len(member) > 0 for member in APP.layers)


def test_the_verdict_in_words(tmp_path: Path) -> None:
    """The last line says what was looked at."""
    docker_archive_old(tmp_path / "app.tar", [APP, BASE])
    result = run("verify", tmp_path / "app.tar")
    assert result.code == 0
    assert result.text.splitlines()[-1] == "Good: 2 images, 7 layers, 5 blobs of 71 KB, 17 entries"


NO_FAULTS = {"an artifact", "a chart", "a manifest that is not there", "nothing in it"}
WARNED = {
    "an unknown media type", "an unknown media type of a kept layer", "an encrypted layer",
    "a foreign layer", "a layer that must not be distributed",
}  # fmt: skip
PLACES = [
    *(("manifest", name) for name in MANIFESTS),
    *(("config", name) for name in CONFIGS),
    *(("index", name) for name in INDEXES),
]


@pytest.mark.parametrize(("where", "name"), PLACES, ids=[f"{where}: {name}" for where, name in PLACES])
def test_a_layout_that_breaks_its_word_is_bad(where: str, name: str, tmp_path: Path) -> None:
    """Every wrong digest, size, count and document of a layout is a fault that names its place; what is
    no image, or cannot be squashed, is told as that."""
    oci_layout(tmp_path, [APP])
    table, alter = {
        "manifest": (MANIFESTS, change_manifest),
        "config": (CONFIGS, change_config),
        "index": (INDEXES, change_index),
    }[where]
    change, word = table[name]
    alter(tmp_path, change)
    result = run("verify", tmp_path)
    said = result.out.decode() + result.err
    assert word in said
    assert result.code == (5 if name in NO_FAULTS and "art" not in name else 0 if name in WARNED else 4)
    assert "Traceback" not in said


@pytest.mark.parametrize("name", DOCKER)
def test_a_docker_archive_that_breaks_its_word_is_bad(name: str, tmp_path: Path) -> None:
    """Bad documents, links that lead nowhere, in circles or out, and layers that are not there."""
    files, word = DOCKER[name]
    result = run("verify", write_archive(tmp_path / "source.tar", files))
    assert result.code == 4
    assert word in result.out.decode() + result.err


@pytest.mark.parametrize("form", ["plain", "compressed"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_that_is_no_changeset_is_bad(name: str, form: str, tmp_path: Path) -> None:
    """A layer that is no legal tar of a changeset is a fault that names the layer and the path."""
    bad, word = LAYERS[name]
    image = ImageSpec([*APP.layers[:LAST], bad], ["app:1"])
    (docker_archive_old if form == "plain" else oci_layout)(tmp_path / "source", [image])
    told = faults(tmp_path / "source")
    assert word in told
    assert f"layer {LAST}" in told


@pytest.mark.parametrize("name", STREAMS)
def test_a_damaged_stream_is_bad(name: str, tmp_path: Path) -> None:
    """A compressed layer that cannot be unpacked to its end is a fault that names the layer."""
    layers = [*APP.layers[:3], OK, *APP.layers[4:]]
    files = docker_files(ImageSpec(layers, ["app:1"])) | {"3.tar": STREAMS[name][0]}
    assert "layer 3" in faults(write_archive(tmp_path / "source.tar", files))


def test_all_faults_are_listed(tmp_path: Path) -> None:
    """One run tells every fault: of several layers, of the documents, of other images."""
    oci_layout(tmp_path, [APP, ImageSpec([OK], ["other:1"])])
    change_manifest(tmp_path, lambda m: m["layers"][0].update(size=3))
    change_config(tmp_path, lambda c: c["rootfs"]["diff_ids"].__setitem__(3, "sha256:" + "3" * 64))
    change_config(tmp_path, lambda c: c["history"].pop(0) and None)
    change_manifest(tmp_path, lambda m: m.update(layers="x"), 1)
    told = faults(tmp_path)
    for word in ("layer 0", "layer 3", "the history tells of 4 layers, there are 5", "manifests[1].layers"):
        assert word in told
    assert len(told.splitlines()) == 4


def test_a_history_that_is_missing_is_no_fault(tmp_path: Path) -> None:
    """Images without any history are legal; an entry without a time is warned of, as umoci fails on it."""
    oci_layout(tmp_path / "a", [APP])
    change_config(tmp_path / "a", lambda c: c.pop("history") and None)
    assert verdict(tmp_path / "a", code=0)["warnings"] == []
    oci_layout(tmp_path / "b", [APP])
    change_config(tmp_path / "b", lambda c: c["history"][0].pop("created") and None)
    assert "umoci" in verdict(tmp_path / "b", code=0)["warnings"][0]["message"]


def test_a_stray_blob_that_is_not_its_name_is_bad(tmp_path: Path) -> None:
    """Blobs of no image must be what their name says, too; of a named image they do not count."""
    oci_layout(tmp_path, [APP])
    (tmp_path / "blobs/sha256" / ("5" * 64)).write_bytes(b"x")
    assert "blobs/sha256/555" in faults(tmp_path)
    assert faults(f"oci:{tmp_path}:app:1", code=0) == ""


def test_contested_constructs_are_warned_of(tmp_path: Path) -> None:
    """What tools apply differently is legal and warned of, once a layer and kind, with how many more."""
    odd = layer(
        directory("d"), whiteout("d/a"), opaque("d"), whiteout("nowhere/x"), hardlink("up", "e/x"),
        file("twice"), file("twice"), file("/abs"), *(whiteout(f"no/{i}") for i in range(3)),
    )  # fmt: skip
    docker_archive_old(tmp_path / "app.tar", [on_base(BASE, odd + b"junk" * 400, tags=["app:1"])])
    warnings = verdict(tmp_path / "app.tar", code=0)["warnings"]
    told = "\n".join(one["message"] for one in warnings)
    for word in ("opaque marker and whiteout", "and 3 more", "lower layer: /up", "twice in a layer: /twice",
                 "an absolute name: /abs", "behind the end"):  # fmt: skip
        assert word in told, told
    assert all("layer 2" in one["where"] for one in warnings)


def test_a_media_type_that_lies_is_warned_of(tmp_path: Path) -> None:
    """A media type that names another compression than the blob's is no fault: first bytes decide."""
    oci_layout(tmp_path, [APP])
    change_manifest(
        tmp_path, lambda m: m["layers"][1].update(mediaType="application/vnd.oci.image.layer.v1.tar")
    )
    (warning,) = verdict(tmp_path, code=0)["warnings"]
    assert "the blob is gzip" in warning["message"]


def test_a_config_of_another_platform_is_bad(tmp_path: Path) -> None:
    """The index and the config must say the same platform."""
    oci_layout(tmp_path, [APP])
    change_index(tmp_path, lambda i: i["manifests"][0]["platform"].update(architecture="s390x"))
    assert "linux/s390x" in faults(tmp_path)


def test_limits_and_standard_input(tmp_path: Path) -> None:
    """--limit shortens what people read, and an archive may come from a pipe."""
    many = layer(*(whiteout(f"no{i}/x") for i in range(5)), *(hardlink(f"l{i}", "d/a") for i in range(3)))
    docker_archive_old(tmp_path / "app.tar", [on_base(BASE, many, tags=["app:1"])])
    result = run("verify", tmp_path / "app.tar", "--limit", "1")
    assert "1 more warning;" in result.text
    assert verdict("-", code=0, stdin=(tmp_path / "app.tar").read_bytes())["source"] == "standard input"


# --- absence ---------------------------------------------------------------------------------


def secret_image(**config: Any) -> ImageSpec:
    """An image whose base holds one secret, whose layers add and delete another."""
    base = ImageSpec([layer(directory("etc"), file("etc/kept.pem", b"k"), symlink("sbin", "etc"))], ["b:1"])
    return ImageSpec(
        [
            *base.layers,
            layer(directory("root"), directory("root/.ssh"), file("root/.ssh/id_rsa", SECRET)),
            layer(whiteout("root/.ssh")),
        ],
        ["app:1"],
        config={"config": config},
    )


def places(path: Path, pattern: str, code: int = 3) -> list[str]:
    """Where a pattern still is, a line a place."""
    found = verdict(path, "--absent", pattern, code=code)["absent"][pattern]
    return [f"{one['where']} {one['path'] or ''} {one['what']}" for one in found]


@pytest.mark.parametrize("form", [docker_archive_old, docker_archive_25, oci_archive, kaniko_archive])
@pytest.mark.parametrize(
    "pattern",
    ["/root/.ssh/id_rsa", "root/.ssh", "id_rsa", "*_rsa", "/root/**/id_*", "/r??t/.ssh/id_[r]sa", DIGEST],
)
def test_a_secret_in_a_dead_layer_is_found(pattern: str, form: Any, tmp_path: Path) -> None:
    """A file that a later layer deletes is in its layer all the same; paths, globs and contents find it,
    in plain and compressed layers, and the whiteout that tells its name."""
    form(tmp_path / "app.tar", [secret_image()])
    found = places(tmp_path / "app.tar", pattern)
    assert any("layer 1" in line and "/root/.ssh/id_rsa file, dead" in line for line in found)
    if pattern == "root/.ssh":
        assert any("layer 2" in line and "whiteout" in line for line in found)


def test_a_squash_makes_it_absent(tmp_path: Path) -> None:
    """Squashed above the base, the secret is nowhere; history's text is searched too."""
    docker_archive_old(tmp_path / "app.tar", [secret_image()])
    out = tmp_path / "out.tar"
    assert run("squash", tmp_path / "app.tar", "--keep-layers", "1", "-o", out).code == 0
    for pattern in ("/root/.ssh/id_rsa", "id_rsa", DIGEST):
        assert places(out, pattern, 0) == []


def test_a_secret_in_a_kept_layer_is_found(tmp_path: Path) -> None:
    """The base counts, and symlinks that layers have lead to what they mean."""
    docker_archive_old(tmp_path / "app.tar", [secret_image()])
    for pattern in ("/etc/kept.pem", "*.pem", "/sbin/kept.pem"):
        assert "layer 0" in places(tmp_path / "app.tar", pattern)[0]
    assert places(tmp_path / "app.tar", "/etc/kept", 0) == []
    assert places(tmp_path / "app.tar", "/kept.pem", 0) == []


def test_a_secret_in_history_and_config_is_found(tmp_path: Path) -> None:
    """Commands of the history, environment values, labels and annotations are searched: for the path, the
    glob, and for a value whose digest it is."""
    image = secret_image(Env=["TOKEN=hunter2", "A=b"], Labels={"note": "see /root/.ssh/id_rsa"})
    oci_layout(tmp_path, [image])
    change_config(tmp_path, lambda c: c["history"][1].update(created_by="COPY id_rsa /root/.ssh/id_rsa"))
    change_manifest(tmp_path, lambda m: m.update(annotations={"key": "hunter2"}))
    found = "\n".join(places(tmp_path, "/root/.ssh/id_rsa"))
    assert "config.history[1].created_by" in found
    assert "config.config.Labels.note" in found
    found = "\n".join(places(tmp_path, "*hunter2*"))
    assert "config.config.Env[0]" in found
    assert "manifest.annotations.key" in found
    assert "config.config.Env[0]" in "\n".join(places(tmp_path, DIGEST))


def test_a_part_of_a_word_is_no_place(tmp_path: Path) -> None:
    """A name in text is found as a whole name alone."""
    oci_layout(tmp_path, [secret_image(Env=["X=my_token_2"])])
    assert places(tmp_path, "token", 0) == []


def test_what_cannot_be_looked_into_proves_nothing(tmp_path: Path) -> None:
    """Bytes behind a tar's end, sparse files, layers that are broken and blobs of no image are places."""
    sparse_layer = layer(sparse("s", 4096, [(0, b"x" * 512)]))
    docker_archive_old(tmp_path / "a.tar", [ImageSpec([OK + b"junk" * 256], ["a:1"])])
    assert "behind the end" in places(tmp_path / "a.tar", "nosuch")[0]
    docker_archive_old(tmp_path / "b.tar", [ImageSpec([sparse_layer], ["a:1"])])
    assert "sparse" in places(tmp_path / "b.tar", DIGEST)[0]
    assert places(tmp_path / "b.tar", "nosuch", 0) == []
    docker_archive_old(tmp_path / "c.tar", [ImageSpec([OK[:900]], ["a:1"])])
    assert "could not be read" in places(tmp_path / "c.tar", "nosuch", 4)[0]
    oci_layout(tmp_path / "d", [APP])
    put_blob(tmp_path / "d", gzip.compress(layer(file("old", SECRET))))
    assert "a blob of no image" in places(tmp_path / "d", "nosuch")[0]
    stray = put_blob(tmp_path / "d", json.dumps({"note": "hunter2"}).encode())
    (tmp_path / "d" / blob_path(stray["digest"])).read_bytes()
    assert any("note" in line for line in places(tmp_path / "d", "*hunter2*"))


def test_faults_come_before_what_is_present(tmp_path: Path) -> None:
    """An image with faults that also holds the secret exits with 4."""
    oci_layout(tmp_path, [secret_image()])
    change_config(tmp_path, lambda c: c["history"].pop(0) and None)
    assert places(tmp_path, "id_rsa", 4)


@pytest.mark.parametrize("pattern", ["", "/", "./", "sha256:abc"])
def test_a_pattern_of_nothing_is_a_usage_error(pattern: str, tmp_path: Path) -> None:
    """A pattern must name something."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    assert run("verify", tmp_path / "app.tar", "--absent", pattern).code == 2


def test_absence_in_words(tmp_path: Path) -> None:
    """Each pattern has a line that says so, or its places."""
    docker_archive_old(tmp_path / "app.tar", [secret_image()])
    result = run("verify", tmp_path / "app.tar", "--absent", "nosuch", "--absent", "/root/.ssh/id_rsa")
    lines = result.text.splitlines()
    assert lines[0] == "absent   nosuch: in no layer, no history and no config"
    assert lines[1] == "PRESENT  /root/.ssh/id_rsa: in 1 place"
    assert lines[2].endswith("/root/.ssh/id_rsa (file, dead: hidden by a layer above)")
    assert result.code == 3
