"""What runs say of themselves is true: what was written, where an error is, which names dangle."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squashkit.oci.digests import DiffID, chain_ids
from tests.support.builders import ImageSpec, compress, docker_archive_old, file, layer, oci_layout
from tests.support.runner import (
    APP,
    BASE,
    COMMAND,
    KEEP_2,
    Arg,
    Json,
    Result,
    assert_fails,
    change_manifest,
    listing_of,
    read_files,
    read_image,
    run,
    run_process,
    sha256,
    squash,
    validate,
)

needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """An archive with the app and its base."""
    docker_archive_old(tmp_path / "app.tar", [APP, BASE])
    return tmp_path / "app.tar"


def run_into(stdout: str, *words: Arg) -> Result:
    """Run as a process whose standard output is a device."""
    with open(stdout, "wb") as out:
        made = subprocess.run(
            [*COMMAND, *map(str, words)], stdout=out, stderr=subprocess.PIPE, timeout=60, check=False
        )
    return Result(made.returncode, b"", made.stderr.decode())


# --- what was written ------------------------------------------------------------------------


@needs_full
@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--json",),
        ("--report", "/dev/full"),
        ("--digest-file", "/dev/full"),
        ("--provenance", "/dev/full"),
        ("--statement", "/dev/full"),
    ],
)
def test_an_image_that_was_written_is_told_of(words: tuple[str, ...], app: Path, tmp_path: Path) -> None:
    """Where the summary or a report finds no space the image is there, and the error says so."""
    stdout = "/dev/null" if "/dev/full" in words else "/dev/full"
    result = run_into(stdout, "squash", f"{app}:app:1", *KEEP_2, "-o", tmp_path / "out.tar", *words)
    assert_fails(result, 1, "No space left", "the image was written to", f"{tmp_path}/out.tar")
    assert "nothing was written" not in result.err
    read_image(tmp_path / "out.tar")


@needs_full
@pytest.mark.parametrize(
    "words",
    [
        ("squash", "app.tar:app:1", *KEEP_2, "-o", "-"),
        ("export", "app.tar:app:1"),
        ("cat", "app.tar:app:1", "/d/n"),
        ("ls", "app.tar:app:1"),
        ("inspect", "app.tar", "--json"),
        ("verify", "app.tar"),
    ],
    ids=lambda words: words[0],
)
def test_a_stream_without_space_is_named(
    words: tuple[str, ...], app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output that takes no more is named as what is not whole."""
    monkeypatch.chdir(app.parent)
    result = run_into("/dev/full", *words)
    assert_fails(result, 1, "standard output", "No space left", "not whole")
    assert "was written" not in result.err


@needs_full
def test_other_things_that_were_written_are_told_of(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So are a root file system, a fleet and a base of the catalogue."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    result = run_into("/dev/full", "export", f"{app}:app:1", "-o", tmp_path / "rootfs.tar")
    assert_fails(result, 1, f"{tmp_path}/rootfs.tar was written")
    words = ("fleet", "squash", app, "--strategy", "built", "--into", f"oci:{tmp_path}/to")
    result = run_into("/dev/full", *words)
    assert_fails(result, 1, "the images were written to")
    assert len(validate(tmp_path / "to")) == 2
    assert_fails(run_into("/dev/full", "base", "add", f"{app}:base:1"), 1, "base:1 was added")


# --- what is not written over ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fifo", "socket", "device", "link"])
@pytest.mark.parametrize("command", ["export", "squash", "fleet"])
def test_a_device_is_no_output(kind: str, command: str, app: Path, tmp_path: Path) -> None:
    """A pipe, a socket or a device, or a link to one, is neither replaced by a file nor written to, with
    --force either."""
    place = tmp_path / "place"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(place))
    elif kind == "link":
        place.symlink_to("/dev/null")
    else:
        try:
            os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    words: dict[str, tuple[Arg, ...]] = {
        "export": ("export", f"{app}:app:1", "-o", place),
        "squash": ("squash", f"{app}:app:1", *KEEP_2, "-o", place),
        "fleet": ("fleet", "squash", app, "--strategy", "built", "--into", place),
    }
    before = place.lstat()
    assert_fails(run(*words[command], "--force"), 2, "regular file")
    after = place.lstat()
    assert (after.st_ino, after.st_mode, after.st_rdev) == (before.st_ino, before.st_mode, before.st_rdev)


@pytest.mark.parametrize("link", ["blobs", "blobs/sha256"])
@pytest.mark.parametrize("there", [True, False])
def test_no_blob_leaves_a_layout(link: str, there: bool, app: Path, tmp_path: Path) -> None:
    """A layout whose folder of blobs is a link that leads elsewhere gets nothing, and nothing is written
    elsewhere."""
    oci_layout(tmp_path / "to", [BASE])
    elsewhere = tmp_path / "elsewhere"
    shutil.rmtree(tmp_path / "to" / link)
    if there:
        elsewhere.mkdir()
    (tmp_path / "to" / link).symlink_to(elsewhere)
    before = listing_of(tmp_path)
    result = run("squash", f"{app}:app:1", *KEEP_2, "-o", f"oci:{tmp_path}/to:x")
    assert_fails(result, 2, "leads out of the layout")
    assert listing_of(tmp_path) == before


def test_a_link_within_a_layout_is_followed(app: Path, tmp_path: Path) -> None:
    """A folder of blobs that is a link within the layout, and a layout that is a link itself, work."""
    oci_layout(tmp_path / "real", [BASE])
    (tmp_path / "real/blobs/sha256").rename(tmp_path / "real/store")
    (tmp_path / "real/blobs/sha256").symlink_to("../store")
    (tmp_path / "to").symlink_to("real")
    assert run("squash", f"{app}:app:1", *KEEP_2, "-o", f"oci:{tmp_path}/to:x").code == 0
    assert run("verify", f"oci:{tmp_path}/to:x").code == 0


@pytest.mark.parametrize("output", ["{}.tar", "oci-archive:{}.tar", "oci:{}:x", "oci:{}"])
def test_the_order_of_tags_changes_no_byte(output: str, app: Path, tmp_path: Path) -> None:
    """Names are a set: the same ones give the same bytes, however often and in whichever order they are
    given."""
    found = []
    orders = (("b:1", "a:2", "a:1"), ("a:1", "b:1", "a:2", "a:1"), ("a:2", "a:1", "b:1"))
    for number, tags in enumerate(orders):
        words = [word for tag in tags for word in ("-t", tag)]
        place = output.format(tmp_path / f"out{number}")
        assert run("squash", f"{app}:app:1", "--keep-layers", "2", *words, "-o", place).code == 0
        (made,) = tmp_path.glob(f"out{number}*")
        found.append(read_files(made) if made.is_dir() else made.read_bytes())
    assert found[0] == found[1] == found[2]


# --- labels that name layers -----------------------------------------------------------------

BUILDPACKS = "io.buildpacks.lifecycle.metadata"
IDS = [sha256(data) for data in APP.layers]


def labelled(**labels: str) -> ImageSpec:
    return replace(APP, config={"config": {"Labels": labels}})


def dangling(report: Json) -> str:
    """The note on labels that dangle; empty where there is none."""
    return "".join(note for note in report["notes"] if note.startswith("These labels"))


@pytest.mark.parametrize("dry", [(), ("-n",)])
def test_labels_that_dangle_are_named(dry: tuple[str, ...], tmp_path: Path) -> None:
    """A label or an annotation that names a squashed layer, by diff_id, chain_id or digest, is named, and
    stays; one that names a kept layer or something else is not."""
    image = labelled(**{
        BUILDPACKS: json.dumps({"runImage": {"topLayer": IDS[1]}, "app": [{"sha": IDS[3]}]}),
        "ostree.final-diffid": IDS[4],
        "bare": IDS[2].removeprefix("sha256:"),
        "chain": chain_ids([DiffID(one) for one in IDS])[-1],
        "kept": IDS[1],
        "kept.chain": chain_ids([DiffID(one) for one in IDS])[1],
        "commit": "0" * 64,
        "words": "sha256: none",
    })  # fmt: skip
    oci_layout(tmp_path / "in", [image])

    def annotate(manifest: Json) -> None:
        manifest["annotations"] = {
            "by.digest": manifest["layers"][3]["digest"], "kept.digest": manifest["layers"][0]["digest"],
        }  # fmt: skip

    change_manifest(tmp_path / "in", annotate)
    output = ("-o", f"oci:{tmp_path}/out:x", *dry)
    note = dangling(squash(tmp_path / "in", "--keep-layers", "2", *output, "--json").json)
    assert note.endswith(f": {BUILDPACKS}, ostree.final-diffid, bare, chain, by.digest."), note
    if not dry:
        labels = read_image(tmp_path / "out").config["config"]["Labels"]
        assert labels == image.config["config"]["Labels"]


def test_labels_of_what_is_unchanged_do_not_dangle(tmp_path: Path) -> None:
    """Where nothing was squashed nothing dangles."""
    oci_layout(tmp_path / "in", [labelled(**{"ostree.final-diffid": IDS[4]})])
    for words in (("--keep-layers", "5"), ("--keep-layers", "2", "--min-saving", "99%")):
        made = squash(tmp_path / "in", *words, "-o", f"oci:{tmp_path}/out:x", "--force", "--json")
        assert dangling(made.json) == ""


def test_a_rebase_names_labels_that_dangle(tmp_path: Path) -> None:
    """Labels that name the old base's layers, and that nobody mends, are named."""
    top = {"runImage": {"topLayer": IDS[1], "reference": "old"}}
    image = labelled(**{BUILDPACKS: json.dumps(top), "sbom": IDS[0], "mine": IDS[4]})
    new = ImageSpec([layer(file("new")), *BASE.layers[1:]], ["new:1"])
    docker_archive_old(tmp_path / "in.tar", [image, BASE, new])
    bases = ("--old-base", "base:1", "--new-base", "new:1", "--no-strict")
    report = run("rebase", f"{tmp_path}/in.tar:app:1", *bases, "-o", tmp_path / "out.tar", "--json").json
    assert dangling(report).endswith(": sbom."), report["notes"]


# --- where, and what -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "told"),
    [
        (None, "has no history to search"),
        ([], "has no history to search"),
        ([{"created_by": "one"}], "does not fit its 5 layers: it tells of 1"),
    ],
)
def test_a_history_that_does_not_fit_is_one(history: Any, told: str, tmp_path: Path) -> None:
    """An image whose history does not fit its layers is not said to have none."""
    docker_archive_old(tmp_path / "in.tar", [replace(APP, history=history)])
    result = run("squash", tmp_path / "in.tar", "--from-step", "one", "-n")
    assert_fails(result, 1, told)


def test_an_archive_within_another_is_named(app: Path, tmp_path: Path) -> None:
    """What lies within a stream that is unpacked, or within a tar, is told as lying there."""
    whole = app.read_bytes()
    broken = bytearray(whole)
    broken[148:156] = b"1234567\0"  # the first header's checksum
    inputs: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "twice.tar.gz": (gzip.compress(gzip.compress(whole)), ("within the gzip stream", "unpack it once")),
        "sum.tar.gz": (gzip.compress(bytes(broken)), ("within the gzip stream", "byte 0")),
        "nothing.gz": (gzip.compress(b""), ("within the gzip stream, it is empty",)),
        "outer.tar": (layer(file("deep/app.tar", whole)), ("it holds deep/app.tar",)),
        "outer.tar.zst": (compress(layer(file("app.tar.gz", b"")), "zstd"), ("it holds app.tar.gz",)),
    }
    for name, (data, told) in inputs.items():
        (tmp_path / name).write_bytes(data)
        for result in (run("ls", tmp_path / name), run_process("ls", "-", stdin=data)):
            assert_fails(result, 4, *told)


def test_diff_says_in_which_image_a_layer_is_bad(app: Path, tmp_path: Path) -> None:
    """Of two images the one with the fault is named."""
    good = layer(file("a"), file("b"))
    bad = good[:512] + good[512:].replace(b"ustar", b"rusta", 1).replace(b"0000644", b"9999999", 1)
    docker_archive_old(tmp_path / "bad.tar", [ImageSpec([bad], ["bad:1"])])
    for words in ((f"{app}:app:1", tmp_path / "bad.tar"), (tmp_path / "bad.tar", f"{app}:app:1")):
        assert_fails(run("diff", *words), 4, f"{tmp_path}/bad.tar: layer 0")


@pytest.mark.parametrize(
    "words",
    [
        ("squash", "oci:there", *KEEP_2, "-o", "oci:there:new", "--digest-file", "there/index.json"),
        ("squash", "oci:there", *KEEP_2, "-o", "oci:there:new", "--report", "there/blobs/sha256/new"),
        ("squash", "oci:there", *KEEP_2, "-o", "out.tar", "--report", "there/oci-layout"),
        ("squash", "oci:there", *KEEP_2, "-o", "out.tar", "--provenance", "there/index.json"),
        ("squash", "oci:there", *KEEP_2, "-o", "oci:there:new", "--statement", "there/blobs/sha256/new"),
        ("fleet", "storage", "oci:there", "--csv", "there/index.json"),
    ],
    ids=lambda words: " ".join(map(str, words[-2:])),
)
def test_no_report_is_written_into_a_layout(
    words: tuple[Arg, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells of a run replaces nothing of the images that it reads or writes."""
    monkeypatch.chdir(tmp_path)
    oci_layout(tmp_path / "there", [APP])
    before = read_files(tmp_path / "there")
    assert_fails(run(*words), 2, "there")
    assert read_files(tmp_path / "there") == before
