"""Deltas from archive to archive: what stays out, how it comes back, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.builders import (
    Compress,
    ImageSpec,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    kaniko_archive,
    layer,
    noise,
    oci_archive,
    oci_layout,
    on_base,
    whiteout,
)
from tests.support.runner import (
    Arg,
    Json,
    assert_fails,
    blob_path,
    change_manifest,
    put_blob,
    read_files,
    run,
    sha256,
    spawn,
    squash,
    write_archive,
)

NEEDS = "dev.squashkit.delta.needs"
SPARE = 64_000
"""What a delta may take beside new layers, those of an unknown digest, config and manifests."""
BASE = ImageSpec(
    [layer(directory("d"), file("d/noise", noise(200_000, "base"))), layer(file("d/a", b"a" * 3000))],
    ["base:1"],
)
OLD = on_base(BASE, layer(file("app", noise(40_000, "old"))), tags=["app:1"])
NEW = on_base(
    BASE,
    layer(file("app", noise(30_000, "new")), file("gone", noise(9000, "gone"))),
    layer(whiteout("gone"), file("z", b"z")),
    tags=["app:2"],
)
KEEP = ("--keep-layers", "2")
Writer = Callable[[Path, list[ImageSpec]], Any]
FORMS: dict[str, Writer] = {
    "docker": docker_archive_25,
    "docker, old": docker_archive_old,
    "docker, gzip": lambda path, images: docker_archive_25(path, images, compress="gzip"),
    "docker, no manifests": kaniko_archive,
    "oci": oci_archive,
    "oci, plain": lambda path, images: oci_archive(path, images, compress=None),
    "oci, zstd": lambda path, images: oci_archive(path, images, compress="zstd"),
    "layout": oci_layout,
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with both releases as docker saves them."""
    monkeypatch.chdir(tmp_path)
    docker_archive_25(tmp_path / "old.tar", [OLD])
    docker_archive_25(tmp_path / "new.tar", [NEW])
    return tmp_path


@pytest.fixture
def delta(made: Path) -> Path:
    """A delta between them."""
    squash("new.tar", *KEEP, "--have", "old.tar", "-o", "delta.tar")
    docker_archive_25(made / "base.tar", [BASE])
    return made / "delta.tar"


def have_list(place: Arg, keeper: str, blobs: bool = True) -> Path:
    """The have-list of a place, as one that keeps layers so would write it."""
    done = run("inspect", "--have-list", place)
    assert done.code == 0, done.err
    _, *lines = done.out.decode().splitlines()
    if not blobs:
        lines = [" ".join([*line.split()[:2], "-"]) for line in lines]
    path = Path(f"{keeper}-{blobs}.txt")
    path.write_text("\n".join([f"store: {keeper}", *lines, ""]))
    return path


def needs(archive: Path) -> set[str]:
    """What an archive says that it needs."""
    index = json.loads(read_files(archive)["index.json"])
    return set(filter(None, index.get("annotations", {}).get(NEEDS, "").split(",")))


# --- what stays out ------------------------------------------------------------------------------


@pytest.mark.parametrize("there", ["docker", "docker, gzip", "docker, no manifests", "oci, zstd"])
@pytest.mark.parametrize("form", FORMS)
def test_the_base_stays_out(form: str, there: str, made: Path) -> None:
    """Whatever form the releases have, what both have does not travel, the delta says what it lacks, and
    with the old release it is whole."""
    FORMS[there](made / "had", [OLD])
    FORMS[form](made / "source", [NEW])
    output = ("-o", "oci-archive:out.tar") if form == "layout" else ("-o", "out.tar")
    report = squash("source", *KEEP, "--have", "had", *output, "--json").json
    size = (made / "out.tar").stat().st_size
    assert size <= report["result_layers"][-1]["size"] + SPARE
    assert report["delta"]["left_out_bytes"] > 200_000
    assert needs(made / "out.tar") == {one["digest"] for one in report["delta"]["left_out"]}
    lacking = {blob_path(digest) for digest in needs(made / "out.tar")}
    assert not lacking & read_files(made / "out.tar").keys()
    assert run("verify", "out.tar", "--have", "had").code == 0
    squash("out.tar", "--have", "had", "-o", "whole.tar")
    assert run("verify", "whole.tar").code == 0
    assert run("diff", "source", "whole.tar").code == 0


@pytest.mark.parametrize("form", ["docker", "docker, gzip", "oci", "oci, plain", "oci, zstd"])
@pytest.mark.parametrize(
    "words", [KEEP, ("--keep-layers", "4"), (*KEEP, "--min-saving", "90%")], ids=" ".join
)
def test_made_whole_it_is_what_it_would_have_been(form: str, words: tuple[str, ...], made: Path) -> None:
    """Where the old release holds the same blobs, a delta made whole is byte for byte what is written
    without one: of a squash, of a copy, and of an image that stays as it is."""
    for name, image in (("had", OLD), ("source", NEW)):
        FORMS[form](made / name, [image])
    squash("source", *words, "-o", "direct.tar")
    squash("source", *words, "--have", "had", "-o", "delta.tar")
    squash("delta.tar", "--have", "had", "-o", "whole.tar")
    assert (made / "whole.tar").read_bytes() == (made / "direct.tar").read_bytes()
    assert (made / "delta.tar").stat().st_size < 80_000


@pytest.mark.parametrize("blobs", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("keeper", ["graphdriver", "podman", "containerd", "registry", "files"])
def test_by_a_have_list(keeper: str, blobs: bool, made: Path) -> None:
    """What a host tells of itself: where it does not tell by which blob it knows a layer, that travels,
    unless it knows it without."""
    kaniko_archive(made / "packed.tar", [NEW])
    listed = have_list("old.tar", keeper, blobs)
    for source, stays_out in (
        ("new.tar", blobs or keeper in ("graphdriver", "podman")),
        ("packed.tar", blobs),
    ):
        report = squash(source, *KEEP, "--have", listed, "-o", "out.tar", "--force", "--json").json
        assert (report["delta"]["left_out_bytes"] > 200_000) == stays_out
        assert report["delta"]["store"] == keeper
        assert bool(needs(made / "out.tar")) == stays_out
        told = run("verify", "out.tar", "--have", listed)
        assert told.code == 0, told.err


def test_nothing_in_common(made: Path) -> None:
    """Where nothing stays out, the archive is whole and says nothing of a delta."""
    docker_archive_25(made / "other.tar", [ImageSpec([layer(file("x"))], ["other:1"])])
    done = squash("new.tar", *KEEP, "--have", "other.tar", "-o", "out.tar")
    assert b"Nothing stays out of the archive: other.tar has none" in done.out
    squash("new.tar", *KEEP, "-o", "direct.tar")
    assert (made / "out.tar").read_bytes() == (made / "direct.tar").read_bytes()


def test_several_that_have_parts(made: Path) -> None:
    """Of several images each layer counts that one of them has."""
    docker_archive_25(made / "base.tar", [replace(BASE, layers=BASE.layers[:1])])
    report = squash(
        "new.tar",
        "--keep-layers",
        "4",
        "--have",
        "base.tar",
        "--have",
        "new.tar",
        "-o",
        "out.tar",
        "--json",
    ).json
    assert len(report["delta"]["left_out"]) == 4
    assert report["delta"]["have"] == "base.tar and new.tar"


def test_a_host_and_what_it_was_given_besides(made: Path) -> None:
    """Beside a host's have-list an archive counts as what that host has, too, in whatever order."""
    listed = have_list("old.tar", "graphdriver", blobs=False)
    for haves in (("--have", listed, "--have", "new.tar"), ("--have", "new.tar", "--have", listed)):
        report = squash("new.tar", "--keep-layers", "4", *haves, "-n", "--json").json["delta"]
        assert report["store"] == "graphdriver"
        assert len(report["left_out"]) == 4


def test_one_image_of_an_archive(made: Path) -> None:
    """A reference to one of an archive's images means that alone; one that is not there is told."""
    docker_archive_25(made / "both.tar", [NEW, ImageSpec([layer(file("x"))], ["other:1"])])
    report = squash("new.tar", *KEEP, "--have", "both.tar:other:1", "-n", "--json").json
    assert report["delta"]["left_out"] == []
    assert_fails(run("squash", "new.tar", *KEEP, "--have", "both.tar:none:1", "-n"), 5, "none:1", "app:2")


def test_a_layer_on_others_travels(made: Path) -> None:
    """A kept layer above a merged run lies on other layers than in the old release, and a layer that stands
    twice in the image is there only where both are."""
    docker_archive_25(made / "had.tar", [NEW])
    report = squash("new.tar", "--segments", "=1,2,=1", "--have", "had.tar", "-o", "out.tar", "--json").json
    assert len(report["delta"]["left_out"]) == 1
    twice = on_base(BASE, *BASE.layers, layer(file("y")), tags=["twice:1"])
    docker_archive_25(made / "twice.tar", [twice])
    report = squash("twice.tar", "--keep-layers", "5", "--have", "old.tar", "-o", "t.tar", "--json").json
    assert report["delta"]["left_out"] == []
    squash("twice.tar", "--keep-layers", "5", "--have", "twice.tar", "-o", "u.tar")
    squash("u.tar", "--have", "twice.tar", "-o", "whole.tar")
    assert run("diff", "twice.tar", "whole.tar").code == 0


def test_a_dry_run_tells_the_same(made: Path) -> None:
    """What would stay out is known before anything is written."""
    words = ("new.tar", *KEEP, "--have", "old.tar", "-o", "out.tar")
    dry = squash(*words, "--dry-run")
    assert b"Left out of the archive: 2 layers, 207 KB, which old.tar has." in dry.out
    assert not (made / "out.tar").exists()
    assert squash(*words, "-n", "--json").json["delta"] == squash(*words, "--json").json["delta"]


@pytest.mark.parametrize("there", ["docker", "docker, gzip"])
def test_a_delta_is_checked(there: str, made: Path) -> None:
    """`--check` reads back what travels, with the source's layers in the place of what does not."""
    FORMS[there](made / "had", [OLD])
    done = squash("new.tar", *KEEP, "--have", "had", "-o", "out.tar", "--check")
    assert b"Checked" in done.out


@pytest.mark.parametrize("form", ["docker", "oci"])
def test_a_delta_through_pipes(form: str, made: Path) -> None:
    """From a pipe and into one, with a have-list from a third; and a delta from a pipe becomes whole."""
    FORMS[form](made / "source", [NEW])
    FORMS[form](made / "had", [OLD])
    listed = have_list("had", "containerd")
    source = (made / "source").read_bytes()
    piped = run("squash", "-", *KEEP, "--have", listed, "-o", "-", stdin=source)
    assert piped.code == 0, piped.err
    squash("source", *KEEP, "--have", listed, "-o", "filed.tar")
    files = read_files(made / "filed.tar")
    assert read_files(piped.out) == files
    assert len(piped.out) < SPARE + 31_000
    whole = run("squash", "-", "--have", "had", "-o", "whole.tar", stdin=piped.out)
    assert whole.code == 0, whole.err
    assert run("diff", "source", "whole.tar").code == 0
    by_pipe = squash("source", *KEEP, "--have", "-", "-o", "third.tar", stdin=listed.read_bytes())
    assert by_pipe.code == 0
    assert read_files(made / "third.tar") == files


def test_a_have_list_of_a_substituted_process(made: Path) -> None:
    """`--have <(ssh host squashkit inspect --have-list)` reads a pipe that is no standard input."""
    listed = have_list("old.tar", "podman")
    command = f'"$@" --have <(cat {listed})'
    words = [sys.executable, "-m", "squashkit", "squash", "new.tar", *KEEP, "-o", "out.tar", "--json"]
    done = subprocess.run(["bash", "-c", command, "bash", *words], capture_output=True, check=True)
    assert len(json.loads(done.stdout)["delta"]["left_out"]) == 2


PLATFORMS = ("linux/amd64", "linux/arm64")


def index_image(platform: str, number: int) -> ImageSpec:
    """A release for a platform, on a base of 100 kB."""
    layers = [
        layer(file("base", noise(100_000, platform))),
        layer(file("a", noise(900, f"{platform} {number}"))),
    ]
    return ImageSpec(layers, [f"app:{number}"], platform=platform)


@pytest.mark.parametrize("compress", [None, "gzip", "zstd"])
def test_every_platform(compress: Compress, made: Path) -> None:
    """Of an index each platform leaves out its own base, and the index says what all of them need."""

    def index(name: str, number: int) -> None:
        images = [index_image(one, number) for one in PLATFORMS]
        oci_layout(made / name, images, nested=True, compress=compress)

    index("had", 1)
    index("source", 2)
    words = ("source", "--keep-layers", "1", "--platform", "all")
    squash(*words, "-o", "oci-archive:direct.tar")
    report = squash(*words, "--have", "oci:had", "-o", "oci-archive:delta.tar", "--json").json
    left = [one["digest"] for each in report["platforms"].values() for one in each["delta"]["left_out"]]
    assert len(left) == 2
    assert needs(made / "delta.tar") == set(left)
    assert_fails(run("ls", "delta.tar", "--platform", "linux/arm64"), 4, "is a delta")
    squash("delta.tar", "--have", "oci:had", "--platform", "all", "-o", "whole.tar")
    assert (made / "whole.tar").read_bytes() == (made / "direct.tar").read_bytes()
    everywhere = run("verify", "delta.tar", "--have", "oci:had", "--json").json["delta"]["needed"]
    assert [one["platform"] for one in everywhere if one["there"]] == list(PLATFORMS)
    oci_layout(made / "arm", [index_image(PLATFORMS[1], 1)], compress=compress)
    listed = have_list("arm", "containerd")
    done = run("verify", "delta.tar", "--have", listed, "--platform", "all", "--json")
    assert done.code == 3
    assert [one["there"] for one in done.json["delta"]["needed"]] == [False, True]
    squash("source", "--keep-layers", "1", "--platform", "linux/arm64", "-o", "oci-archive:arm.tar")
    squash("delta.tar", "--have", "oci:arm", "--platform", "linux/arm64", "-o", "oci-archive:one.tar")
    assert run("diff", "arm.tar", "one.tar").code == 0


def test_a_rebase_and_an_extract(made: Path) -> None:
    """Deltas come of every command that writes an image, and each of them makes a delta whole."""
    patched = ImageSpec([BASE.layers[0], layer(file("d/a", b"b" * 3000))], ["base:2"])
    docker_archive_25(made / "base.tar", [BASE])
    docker_archive_25(made / "patched.tar", [patched])
    words = ("--old-base", "base.tar", "--new-base", "patched.tar")
    squash("new.tar", "--keep-layers", "4", "--have", "old.tar", "-o", "delta.tar")
    for source, have in (("new.tar", ()), ("delta.tar", ("--have", "old.tar"))):
        done = run("rebase", source, *words, *have, "-o", f"rebased-{source}")
        assert done.code == 0, done.err
    assert (made / "rebased-new.tar").read_bytes() == (made / "rebased-delta.tar").read_bytes()
    done = run("rebase", "new.tar", *words, "--have", "patched.tar", "-o", "out.tar", "--json")
    assert len(done.json["delta"]["left_out"]) == 2
    squash("out.tar", "--have", "patched.tar", "-o", "whole.tar")
    assert (made / "whole.tar").read_bytes() == (made / "rebased-new.tar").read_bytes()
    done = run("extract", "new.tar", "/app", "--keep-base", "base.tar", "--have", "old.tar", "-o", "e.tar")
    assert done.code == 0, done.err
    assert b"Left out of the archive: 2 layers" in done.out
    assert len(needs(made / "e.tar")) == 2


# --- what is refused -----------------------------------------------------------------------------

READERS = [
    ("squash", "delta.tar", "--all", "-o", "out.tar"),
    ("rebase", "delta.tar", "--old-base", "base.tar", "--new-base", "new.tar", "-o", "out.tar"),
    ("rebase", "new.tar", "--old-base", "base.tar", "--new-base", "delta.tar", "-o", "out.tar"),
    ("extract", "delta.tar", "/app", "-o", "out.tar"),
    ("squash", "new.tar", "--keep-base", "delta.tar", "-o", "out.tar"),
    ("squash", "new.tar", *KEEP, "--have", "delta.tar", "-o", "out.tar"),
    ("inspect", "delta.tar"),
    ("inspect", "--have-list", "delta.tar"),
    ("verify", "delta.tar"),
    ("verify", "oci-archive:delta.tar"),
    ("ls", "delta.tar"),
    ("cat", "delta.tar", "/app"),
    ("which", "delta.tar", "/app"),
    ("export", "delta.tar"),
    ("diff", "new.tar", "delta.tar"),
    ("waste", "delta.tar"),
    ("report", "delta.tar", "-o", "out.html"),
    ("base", "find", "delta.tar"),
    ("fleet", "storage", "old.tar", "delta.tar"),
    ("fleet", "pull", "delta.tar"),
]


@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_a_delta_alone_is_refused(words: tuple[str, ...], delta: Path) -> None:
    """Every command that reads images says by name what it is, and what to do."""
    assert_fails(run(*words), 4, "delta.tar is a delta: 2 layers stayed out", "--have OLD")
    assert not Path("out.tar").exists()


def test_a_delta_of_a_delta(delta: Path) -> None:
    """Where layers are only told, a delta can become neither whole nor another delta."""
    listed = have_list("old.tar", "containerd")
    done = run("squash", "delta.tar", *KEEP, "--have", listed, "-o", "out.tar")
    assert_fails(done, 2, "no delta is made of one", "--have IMAGE")
    assert not Path("out.tar").exists()


def test_the_wrong_image_makes_nothing_whole(delta: Path) -> None:
    """What an image does not hold, or holds stored otherwise, is told, and nothing is written."""
    docker_archive_25(Path("packed.tar"), [OLD], compress="gzip")
    docker_archive_25(Path("other.tar"), [ImageSpec([layer(file("x"))], ["other:1"])])
    for name, told in (
        ("packed.tar", "it has the same layers, stored otherwise"),
        ("other.tar", "2 blobs"),
    ):
        done = run("squash", "delta.tar", "--have", name, "-o", "out.tar")
        assert_fails(done, 1, name, told, sha256(BASE.layers[0]))
    assert not Path("out.tar").exists()


def test_more_is_missing_than_it_says(delta: Path) -> None:
    """A delta that lost a blob which it does not name is no delta of that."""
    files = read_files(delta)
    (lost,) = json.loads(files["manifest.json"])[0]["Layers"][-1:]
    write_archive(delta, {name: data for name, data in files.items() if name != lost})
    for words in (
        ("squash", "delta.tar", "--have", "new.tar", "-o", "out.tar"),
        ("verify", "delta.tar", "--have", "new.tar"),
    ):
        assert_fails(run(*words), 4, lost.rpartition("/")[2], "does not say that it was left out")


def test_a_delta_that_no_longer_says_so(delta: Path) -> None:
    """Without its annotation it is an archive that lacks blobs, and no delta is made of that either."""
    files = read_files(delta)
    index = json.loads(files["index.json"])
    del index["annotations"]
    write_archive(delta, files | {"index.json": json.dumps(index).encode()})
    for have in ((), ("--have", "old.tar")):
        done = run("squash", "delta.tar", "--keep-layers", "3", *have, "-o", "out.tar")
        assert_fails(done, 4, f"the blob {sha256(BASE.layers[0])} is not in delta.tar")
    write_archive(delta, files | {"index.json": files["index.json"].replace(b'"sha256:', b'"5', 1)})
    done = run("verify", "delta.tar", "--have", "old.tar")
    assert done.code == 4
    assert not Path("out.tar").exists()


def test_damage_in_what_travels(delta: Path) -> None:
    """A delta that will load is told bad where its own blobs are."""
    files = read_files(delta)
    (name,) = json.loads(files["manifest.json"])[0]["Layers"][-1:]
    write_archive(delta, files | {name: files[name][:-512] + b"x" * 512})
    done = run("verify", "delta.tar", "--have", "old.tar", "--json")
    assert done.code == 4
    assert done.json["delta"]["loads"]


FOR_DOCKER, FOR_CONTAINERD = ("--have", "g.txt"), ("--have", "c.txt")
MISUSED = {
    "a layout": (("new.tar", *KEEP, "--have", "old.tar", "-o", "oci:out"), "is none"),
    "a registry": (("new.tar", *KEEP, "--have", "old.tar", "-o", "docker://localhost:1/a:1"), "is none"),
    "a daemon": (("new.tar", *KEEP, "--have", "old.tar", "-o", "docker-daemon:a:1"), "is none"),
    "the old image": (("new.tar", *KEEP, "--have", "old.tar", "-o", "old.tar", "--force"), "is an input"),
    "the have-list": (("new.tar", *KEEP, "--have", "g.txt", "-o", "g.txt", "--force"), "is an input"),
    "OCI's form": (
        ("new.tar", *KEEP, "--have", "g.txt", "-o", "out", "--format", "oci"),
        "--format docker",
    ),
    "two kinds": (
        ("new.tar", *KEEP, "--have", "g.txt", "--have", "c.txt", "-o", "out"),
        "graphdriver and containerd",
    ),
    "a report": (("new.tar", *KEEP, "--have", "g.txt", "-o", "out", "--report", "g.txt"), "is an input"),
    "standard input twice": (("-", *KEEP, "--have", "-", "-o", "out"), "standard input holds the image"),
    "no file": (("new.tar", *KEEP, "--have", "docker-daemon:", "-o", "out"), "names no image"),
    "an empty text": (("new.tar", *KEEP, "--have", "", "-o", "out"), "empty reference"),
}


@pytest.mark.parametrize("name", MISUSED)
def test_what_makes_no_sense(name: str, made: Path) -> None:
    """What cannot leave anything out, or would write over what says so, is refused before anything is
    written."""
    have_list("old.tar", "graphdriver", blobs=False).rename("g.txt")
    have_list("old.tar", "containerd").rename("c.txt")
    before = {path: path.read_bytes() for path in made.iterdir()}
    words, told = MISUSED[name]
    assert_fails(run("squash", *words, stdin=(made / "new.tar").read_bytes()), 2, told)
    assert {path: path.read_bytes() for path in made.iterdir()} == before


BAD = {
    "no list": (b"store: podman\nhello\n", 4, "line 2"),
    "half a line": (b"store: podman\nsha256:12", 4, "cut off"),
    "binary": (b"store: \xff\xfe", 4, "ASCII"),
    "neither": (b"hello\n", 4, "tar"),
    "nothing": (b"", 4, "empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_have_list(name: str, made: Path) -> None:
    """One clear line says what is wrong, and nothing is written."""
    data, code, told = BAD[name]
    (made / "bad.txt").write_bytes(data)
    assert_fails(run("squash", "new.tar", *KEEP, "--have", "bad.txt", "-o", "out.tar"), code, told)
    assert_fails(run("verify", "new.tar", "--have", "none.tar"), 5, "none.tar")
    assert_fails(
        run("squash", "new.tar", *KEEP, "--have", "-", "-o", "out.tar", stdin=data[7:]), 4, "have-list"
    )
    assert not (made / "out.tar").exists()


def test_an_old_image_that_lies(made: Path) -> None:
    """A blob that the old image says to be the base's layer, and that is another, is never named: the bytes
    are looked at."""
    oci_layout(made / "had", [OLD])
    other = put_blob(made / "had", gzip.compress(layer(file("evil")), mtime=0))

    def swap(manifest: Json) -> None:
        manifest["layers"][0] |= {"digest": other["digest"], "size": other["size"]}

    change_manifest(made / "had", swap)
    done = run("squash", "new.tar", *KEEP, "--have", "oci:had", "-o", "out.tar")
    assert_fails(done, 4, "layer 0", sha256(BASE.layers[0]))
    assert not (made / "out.tar").exists()


def test_many_images_are_no_archive(made: Path) -> None:
    """A rebase of all images of a place writes to a registry, where nothing need stay out."""
    words = ("--from", "docker://localhost:1/team/", "--new-base", "old.tar", "--have", "old.tar")
    assert_fails(run("rebase", *words), 2, "--have is for an archive")


# --- what verify tells ---------------------------------------------------------------------------


def test_it_will_not_load(delta: Path) -> None:
    """Exit code 3, and what is lacking where; by a have-list of the host alone it is proof."""
    docker_archive_25(Path("other.tar"), [ImageSpec([layer(file("x"))], ["other:1"])])
    docker_archive_25(Path("above.tar"), [ImageSpec([layer(file("x")), *BASE.layers], ["above:1"])])
    for name, why in (("other.tar", "it is not there"), ("above.tar", "it lies on other layers there")):
        done = run("verify", "delta.tar", "--have", name)
        assert done.code == 3
        assert f"layer 0 ({sha256(BASE.layers[0])[:19]}): {why}" in done.text
        assert done.text.splitlines()[-1].startswith("It will not load; no faults: 1 image, 3 layers")
    told = run("verify", "delta.tar", "--have", "old.tar").text
    assert "It will load where all of old.tar is: that has the 2 layers that it needs" in told
    told = run("verify", "delta.tar", "--have", have_list("old.tar", "containerd")).text
    assert "It will load: containerd-True.txt has the 2 layers that it needs" in told


def test_stored_otherwise_there(delta: Path) -> None:
    """docker's own storage asks for no digest, containerd's store for nothing else."""
    docker_archive_25(Path("packed.tar"), [OLD], compress="gzip")
    codes = {
        keeper: run("verify", "delta.tar", "--have", have_list("packed.tar", keeper)).code
        for keeper in ("graphdriver", "podman", "containerd", "files")
    }
    assert codes == {"graphdriver": 0, "podman": 0, "containerd": 3, "files": 0}
    told = run("verify", "delta.tar", "--have", "packed.tar").text
    assert told.count("docker's own storage takes that alone") == 2


def test_a_secret_in_what_stayed_out(delta: Path) -> None:
    """What is not there cannot be shown to be without something; with the layers at hand it can."""
    assert run("verify", "delta.tar", "--have", "old.tar", "--absent", "/secret").code == 0
    listed = have_list("old.tar", "podman")
    done = run("verify", "delta.tar", "--have", listed, "--absent", "/secret", "--json")
    assert done.code == 3
    assert [one["where"][:7] for one in done.json["absent"]["/secret"]] == ["layer 0", "layer 1"]


def test_a_whole_image_needs_nobody(made: Path) -> None:
    """There is nothing to tell of an image that is whole."""
    done = run("verify", "new.tar", "--have", "old.tar")
    assert done.code == 0
    assert "It is whole, and needs nothing of old.tar" in done.text


# --- have-lists ----------------------------------------------------------------------------------


def test_a_have_list_of_several(made: Path) -> None:
    """Each layer of all images stands once, with how it is stored."""
    docker_archive_25(made / "packed.tar", [OLD], compress="gzip")
    done = run("inspect", "--have-list", "old.tar", "new.tar", "packed.tar")
    first, *lines = done.out.decode().splitlines()
    assert first == "store: files"
    assert len(lines) == len(set(lines)) == 3 + 2 + 3
    assert sum(line.endswith("+gzip") for line in lines) == 3


def test_a_blob_that_nothing_describes(made: Path) -> None:
    """Of a compressed layer in an archive without manifests the digest is found by reading it."""
    kaniko_archive(made / "packed.tar", [OLD])
    lines = run("inspect", "--have-list", "packed.tar").out.decode().splitlines()[1:]
    names = [name for name in read_files(made / "packed.tar") if name.endswith(".tar.gz")]
    assert {line.split()[2] for line in lines} == {f"sha256:{name[:64]}" for name in names}


def test_have_list_stands_alone(made: Path) -> None:
    """It has a form of its own, and one image at a time is shown otherwise."""
    assert_fails(run("inspect", "--have-list", "old.tar", "--json"), 2, "--json means nothing beside it")
    assert_fails(run("inspect", "old.tar", "new.tar"), 2, "one IMAGE")
    assert_fails(run("inspect"), 2, "one IMAGE")


def test_from_python(made: Path) -> None:
    """The same with functions: a have-list is a value, whose lines go where they are needed."""
    import squashkit

    have = squashkit.have_list("old.tar")
    Path("have.txt").write_text("".join(f"{line}\n" for line in have.lines()))
    report = squashkit.squash(
        "new.tar",
        "out.tar",
        keep=squashkit.Keep(layers=2),
        read=squashkit.Read(have="have.txt"),
        write=squashkit.Write(tags="app:2"),
    )
    assert report.delta is not None
    assert len(report.delta.left_out) == 2
    verdict = squashkit.verify("out.tar", have="have.txt")
    assert verdict.loading is not None
    assert verdict.loading.loads
    with pytest.raises(squashkit.SquashkitError, match="Read\\(have=OLD\\)"):
        squashkit.ls("out.tar")


@pytest.mark.parametrize("source", ["new.tar", "delta.tar"])
def test_a_killed_run(source: str, delta: Path) -> None:
    """SIGKILL, whenever it comes, leaves no delta and no image under its name that is not whole, and the
    next run goes through and leaves nothing else."""
    keep = KEEP if source == "new.tar" else ()
    words = ("squash", source, *keep, "--have", "old.tar", "-o")
    assert run(*words, "right.tar").code == 0
    before = set(os.listdir())
    for number in range(4):
        with spawn(*words, "out.tar", "--force") as process:
            time.sleep(0.1 + number / 20)
            process.kill()
        out = Path("out.tar")
        assert not out.exists() or out.read_bytes() == Path("right.tar").read_bytes()
    assert run(*words, "out.tar", "--force").code == 0
    assert set(os.listdir()) == {*before, "out.tar"}
