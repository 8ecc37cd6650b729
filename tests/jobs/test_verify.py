"""`squashkit verify`: every fault is found and told, warnings apart, and absence is proved or refuted."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import (
    ImageSpec,
    digest,
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
from tests.support.faults import DOCKER, LAST, LAYERS, OK, PLACES, STREAMS, break_layout
from tests.support.runner import (
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


@pytest.mark.parametrize(("where", "name"), PLACES, ids=[f"{where}: {name}" for where, name in PLACES])
def test_a_layout_that_breaks_its_word_is_bad(where: str, name: str, tmp_path: Path) -> None:
    """Every wrong digest, size, count and document of a layout is a fault that names its place; what is
    no image, or cannot be squashed, is told as that."""
    word = break_layout(tmp_path, where, name)
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
    change_config(tmp_path, lambda c: c["history"].append(c["history"][0]))
    change_manifest(tmp_path, lambda m: m.update(layers="x"), 1)
    told = faults(tmp_path)
    for word in ("layer 0", "layer 3", "the history tells of 6 layers, there are 5", "manifests[1].layers"):
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
    for word in ("opaque marker and whiteout", "and 3 more", "lower layer: /up",
                 "twice in a layer (file, then file): /twice", "an absolute name: /abs",
                 "behind the end"):  # fmt: skip
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
    """Bytes behind a tar's end, layers that are broken and blobs of no image are places."""
    docker_archive_old(tmp_path / "a.tar", [ImageSpec([OK + b"junk" * 256], ["a:1"])])
    assert "behind the end" in places(tmp_path / "a.tar", "nosuch")[0]
    docker_archive_old(tmp_path / "c.tar", [ImageSpec([OK[:900]], ["a:1"])])
    assert "could not be read" in places(tmp_path / "c.tar", "nosuch", 4)[0]
    oci_layout(tmp_path / "d", [APP])
    put_blob(tmp_path / "d", gzip.compress(layer(file("old", SECRET))))
    assert "a blob of no image" in places(tmp_path / "d", "nosuch")[0]
    stray = put_blob(tmp_path / "d", json.dumps({"note": "hunter2"}).encode())
    (tmp_path / "d" / blob_path(stray["digest"])).read_bytes()
    assert any("note" in line for line in places(tmp_path / "d", "*hunter2*"))


def test_a_sparse_file_hides_no_content(tmp_path: Path) -> None:
    """A content that must be absent is found whatever parts of it are stored as holes, and no other is."""
    sparse_layer = layer(sparse("s", 4096, [(1024, b"x" * 512)]))
    docker_archive_old(tmp_path / "b.tar", [ImageSpec([sparse_layer], ["a:1"])])
    content = bytes(1024) + b"x" * 512 + bytes(2560)
    assert "/s" in places(tmp_path / "b.tar", digest(content))[0]
    assert places(tmp_path / "b.tar", DIGEST, 0) == places(tmp_path / "b.tar", "nosuch", 0) == []


def test_faults_come_before_what_is_present(tmp_path: Path) -> None:
    """An image with faults that also holds the secret exits with 4."""
    oci_layout(tmp_path, [secret_image()])
    change_config(tmp_path, lambda c: c["history"].append(c["history"][0]))
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
    assert lines[0].startswith("absent   nosuch: no path of any layer is named so")
    assert lines[1] == "PRESENT  /root/.ssh/id_rsa: in 1 place"
    assert lines[2].endswith("/root/.ssh/id_rsa (file, dead: hidden by a layer above)")
    assert result.code == 3


def one_layer(tmp_path: Path, *members: Any, more: Any = ()) -> Path:
    """A docker archive of one layer on another."""
    path = tmp_path / "one.tar"
    docker_archive_old(path, [ImageSpec([OK, layer(*members), *more], ["app:1"])])
    return path


HIDDEN: dict[str, tuple[list[Any], list[str]]] = {
    "what AUFS left": (
        [directory(".wh..wh.orph"), file(".wh..wh.orph/id_rsa", SECRET)], ["id_rsa", DIGEST]),
    "a whiteout with data": ([directory("e"), file("e/.wh.x", SECRET)], [DIGEST, "/e/x"]),
    "an opaque marker": ([directory("r"), file("r/.wh..wh..opq", SECRET)], ["/r", DIGEST]),
    "a way through a symlink of its layer": (
        [directory("usr"), symlink("l", "usr"), file("l/secret", SECRET)], ["/usr/secret", "/l/secret"]),
    "a glob over a symlink": (
        [directory("usr"), symlink("bin", "usr"), file("usr/secret")],
        ["/bin/secret", "/b?n/secret", "/bi[n]/secret", "/*/secret", "/x/../bin/secret"]),
    "names that are not ASCII": ([file("café.key")], ["caf?.key", "caf[é].key", "caf[!x].key"]),
    "an odd name": ([file("a*b[c]")], [r"a\*b[[]c]", "a?b[[]c?", "a\\*b\\[c\\]"]),
    "a link's target": ([symlink("s", "/root/key")], ["/root/key"]),
    "an xattr": ([file("x", xattrs={"user.k": SECRET})], [DIGEST]),
    "a folder with a slash": ([directory("deep"), directory("deep/.ssh")], [".ssh/"]),
    "a doubled slash": ([directory("d//"), file("d//secret")], ["/d/secret"]),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_what_is_hidden_is_found(name: str, tmp_path: Path) -> None:
    """Markers, leftovers, ways through symlinks, odd names: every pattern that means it finds it."""
    members, patterns = HIDDEN[name]
    path = one_layer(tmp_path, *members)
    for pattern in patterns:
        assert any("layer 1" in line for line in places(path, pattern)), pattern


def test_values_in_text_are_found(tmp_path: Path) -> None:
    """A content is found as an argument of a build, behind any `=`, and in quotes."""
    steps = ["RUN |1 TOKEN=hunter2 /bin/sh -c x", "ENV A=b=hunter2", 'ENV B="hunter2"', "T=hunter2; x"]
    for number, step in enumerate(steps):
        folder = tmp_path / str(number)
        oci_layout(folder, [APP])
        change_config(folder, lambda c, step=step: c["history"][0].update(created_by=step))  # type: ignore[misc]
        assert any("history[0].created_by" in line for line in places(folder, DIGEST)), step
    folder = tmp_path / "paths"
    oci_layout(folder, [APP])
    change_config(folder, lambda c: c["history"][0].update(created_by="rm /root//.ssh/id_rsa."))
    assert places(folder, "/root/.ssh/id_rsa")


def test_words_of_the_format_are_no_places(tmp_path: Path) -> None:
    """Field names of a config tell nothing."""
    oci_layout(tmp_path, [APP])
    for word in ("config", "history", "rootfs", "created"):
        assert places(tmp_path, word, 0) == []


def test_what_lies_beside_the_images_is_looked_at(tmp_path: Path) -> None:
    """Members of the archive that belong to no image, and annotations of the index."""
    files = docker_files()
    path = write_archive(tmp_path / "a.tar", files | {"id_rsa": SECRET, "x/layer.tar": layer(file("y"))})
    assert any(line.startswith("id_rsa") for line in places(path, "id_rsa"))
    assert any(line.startswith("id_rsa") for line in places(path, DIGEST))
    assert any(line.startswith("x/layer.tar") for line in places(path, "nosuch"))
    oci_layout(tmp_path / "l", [APP])
    change_index(tmp_path / "l", lambda i: i.update(annotations={"note": "hunter2"}))
    assert any(line.startswith("index.json") for line in places(tmp_path / "l", "*hunter2*"))


def test_images_of_one_config_are_all_looked_at(tmp_path: Path) -> None:
    """Two entries with one config and other blobs are two images."""
    entry = json.loads(docker_files()["manifest.json"])[0]  # type: ignore[arg-type]
    evil = {**entry, "RepoTags": ["bad:1"], "Layers": ["evil.tar", *entry["Layers"][1:]]}
    files = docker_files() | {"manifest.json": json.dumps([evil, entry]).encode(),
                              "evil.tar": layer(file("id_rsa", SECRET))}  # fmt: skip
    path = write_archive(tmp_path / "a.tar", files)
    assert "layer 0" in faults(path)
    assert places(path, "id_rsa", 4)


def test_too_many_symlinks_prove_nothing(tmp_path: Path) -> None:
    """A search that is given up is told as a place."""
    layers = [
        layer(directory("a"), symlink("a/cur", f"r{i}"), symlink(f"a/r{i}/cur", f"/x{i}"))
        for i in range(600)
    ]
    docker_archive_old(tmp_path / "a.tar", [ImageSpec(layers, ["app:1"])])
    assert any("more symlinks" in line for line in places(tmp_path / "a.tar", "/a/cur/cur/secret"))


@pytest.mark.parametrize("pattern", ["0" * 64, "[z-a]", "SHA256:" + "0" * 64, "sha512:" + "0" * 128])
def test_a_pattern_that_is_none_is_a_usage_error(pattern: str, tmp_path: Path) -> None:
    """Bad ranges and other digests are told, not taken for names."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    result = run("verify", tmp_path / "app.tar", "--absent", pattern)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_many_stars_take_no_time(tmp_path: Path) -> None:
    """Names and labels that make a careless search go back and forth for minutes."""
    path = one_layer(tmp_path, *(file(f"{'a' * 90}{i}/{'a' * 200}") for i in range(50)))
    assert places(path, "*a*a*a*a*a*a*b", 0) == []
    labels = {"config": {"Labels": {"x": "a" * 100_000}}}
    oci_layout(tmp_path / "l", [ImageSpec([OK], ["a:1"], config=labels)])
    assert places(tmp_path / "l", "*a*.pem", 0) == []


def test_no_image_proves_nothing(tmp_path: Path) -> None:
    """Where an image cannot be read, nothing is absent."""
    path = write_archive(tmp_path / "a.tar", docker_files(Config="nope.json"))
    assert any("could not be read" in line for line in places(path, "id_rsa", 4))


def test_patterns_of_bytes_print_as_text(tmp_path: Path) -> None:
    """A pattern that is no UTF-8 is shown escaped, in text and in JSON."""
    docker_archive_old(tmp_path / "app.tar", [ImageSpec([layer(file(b"caf\xe9"))], ["app:1"])])
    result = run("verify", tmp_path / "app.tar", "--absent", "caf\udce9", "--json")
    assert result.code == 3
    assert list(result.json["absent"]) == ["caf\\xe9"]
