"""A rebase from place to place: archives, layouts, pipes, platforms, and what goes wrong there."""

from __future__ import annotations

import io
import json
import lzma
import shutil
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import squashkit
from squashkit import Merge, Rebase, Write
from tests.support.builders import (
    ImageSpec,
    compress,
    config_of,
    digest,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    hex_digest,
    kaniko_archive,
    layer,
    oci_layout,
    on_base,
    skopeo_archive,
    symlink,
    whiteout,
)
from tests.support.runner import (
    BASE_DIGEST,
    BASE_NAME,
    Arg,
    Json,
    Result,
    assert_fails,
    blob_path,
    change_config,
    change_index,
    codec_of,
    listing_of,
    read_image,
    read_images,
    run,
    run_process,
    snapshot,
    unpack,
    validate,
)

OLD = ImageSpec([layer(directory("d"), file("d/a", b"a" * 3000)), layer(file("b", b"b"))], ["old:1"])
NEW = ImageSpec([layer(directory("d"), file("d/a", b"A" * 3000))], ["new:1"])
APP = on_base(OLD, layer(file("x", b"x" * 5000)), layer(file("y", b"y"), whiteout("x")), tags=["app:1"])
ABOVE = list(APP.layers[len(OLD.layers) :])
RESULT = [*NEW.layers, *ABOVE]


def rebase(image: Arg, old: Arg, new: Arg, out: Arg, *words: Arg) -> Result:
    """A rebase that must succeed."""
    result = run("rebase", image, "--old-base", old, "--new-base", new, "-o", out, *words)
    assert result.code == 0, result.err
    return result


# --- archives and layouts --------------------------------------------------------------------


@pytest.mark.parametrize("write", [docker_archive_old, docker_archive_25, skopeo_archive, kaniko_archive])
def test_every_archive(write: Callable[[Path, list[ImageSpec]], object], tmp_path: Path) -> None:
    """The image, its base and the new one in whatever form tools leave archives, plain or compressed."""
    write(tmp_path / "app.tar", [APP, OLD])
    write(tmp_path / "new.tar", [NEW])
    (tmp_path / "new.tar.xz").write_bytes(lzma.compress((tmp_path / "new.tar").read_bytes()))
    for number, new in enumerate(("new.tar", "new.tar.xz")):
        out = tmp_path / f"{number}.tar"
        rebase(f"{tmp_path}/app.tar:app:1", "old:1", tmp_path / new, out, "-t", "app:2", "--check")
        image = read_image(out)
        assert list(image.layers) == RESULT
        assert "app:2" in image.names


def test_all_in_one_archive(tmp_path: Path) -> None:
    """Both bases are found by their names beside the image."""
    docker_archive_old(tmp_path / "all.tar", [NEW, APP, OLD])
    result = rebase(f"{tmp_path}/all.tar:app:1", "old:1", "new:1", tmp_path / "out.tar", "--json")
    assert list(read_image(tmp_path / "out.tar").layers) == RESULT
    assert (result.json["old_base"]["name"], result.json["new_base"]["name"]) == ("old:1", "new:1")


def test_the_one_image_of_an_archive_that_is_no_base(tmp_path: Path) -> None:
    """Beside both bases it need not be named; a tag that is said twice is told once."""
    old, new = ImageSpec([layer(file("a"))], ["old:1"]), ImageSpec([layer(file("b"))], ["new:1"])
    app = on_base(old, layer(file("c")), tags=["app:1"])
    docker_archive_old(tmp_path / "all.tar", [old, app, new])
    words = ("--old-base", "old:1", "--new-base", "new:1", "-t", "app:2", "-o", f"oci:{tmp_path}/out:app:2")
    done = run("rebase", tmp_path / "all.tar", *words)
    assert done.code == 0, done.err
    assert "Wrote app:2 to " in done.text
    other = replace(app, tags=["other:1"])
    docker_archive_old(
        tmp_path / "more.tar", [old, app, new, replace(other, layers=[*other.layers, layer(file("d"))])]
    )
    assert run("rebase", tmp_path / "more.tar", *words).code == 2


@pytest.mark.parametrize("how", ["gzip", "zstd", None])
def test_a_layout_in_place(how: str | None, tmp_path: Path) -> None:
    """Only a config, a manifest and the index are written; no blob moves, and the other tags stay."""
    oci_layout(tmp_path / "all", [APP, OLD, NEW], compress=how)  # type: ignore[arg-type]
    before = snapshot(tmp_path / "all")
    where = f"oci:{tmp_path}/all"
    rebase(f"{where}:app:1", "old:1", "new:1", where, "-t", "app:2", "--check")
    after = snapshot(tmp_path / "all")
    assert before.keys() <= after.keys()
    assert len(after) == len(before) + 2
    assert [name for name in before if before[name] != after[name]] == ["index.json"]
    *others, made = validate(tmp_path / "all")
    assert [image.config_data for image in others] == [config_of(one) for one in (APP, OLD, NEW)]
    assert list(made.layers) == RESULT
    assert made.blobs == (*others[2].blobs, *others[0].blobs[2:])


def test_a_tag_of_a_layout_moves_with_force(tmp_path: Path) -> None:
    """And only with it."""
    oci_layout(tmp_path / "all", [APP, OLD, NEW])
    where = f"oci:{tmp_path}/all"
    words = (
        "rebase",
        f"{where}:app:1",
        "--old-base",
        "old:1",
        "--new-base",
        "new:1",
        "-o",
        where,
        "-t",
        "app:1",
    )
    before = snapshot(tmp_path / "all")
    assert_fails(run(*words), 2, "--force")
    assert snapshot(tmp_path / "all") == before
    assert run(*words, "--force").code == 0
    assert list(read_images(tmp_path / "all")[-1].layers) == RESULT


@pytest.mark.parametrize("base", ["gzip", "zstd", None])
@pytest.mark.parametrize("app", ["gzip", "zstd", None])
def test_layers_keep_their_compression(app: str | None, base: str | None, tmp_path: Path) -> None:
    """In a layout each blob is that of where it came from; a docker archive has zstd plain."""
    oci_layout(tmp_path / "app", [APP, OLD], compress=app)  # type: ignore[arg-type]
    oci_layout(tmp_path / "new", [NEW], compress=base)  # type: ignore[arg-type]
    places = {"out": f"oci:{tmp_path}/out:x", "out.tar": f"docker-archive:{tmp_path}/out.tar:x:1"}
    for name, out in places.items():
        rebase(f"oci:{tmp_path}/app:app:1", "old:1", tmp_path / "new", out, "--check")
        image = read_image(tmp_path / name)
        assert list(image.layers) == RESULT
        stored = [how or "none" for how in (base, app, app)]
        if name == "out.tar":
            stored = [how.replace("zstd", "none") for how in stored]
        assert [codec_of(blob) for blob in image.blobs] == stored
    blobs = read_images(tmp_path / "new")[0].blobs + read_images(tmp_path / "app")[0].blobs[2:]
    assert read_image(tmp_path / "out").blobs == blobs


def test_a_merged_layer_is_compressed_as_asked(tmp_path: Path) -> None:
    """`--squash` makes one layer, the only one that is compressed anew."""
    oci_layout(tmp_path / "all", [APP, OLD, NEW])
    where = f"oci:{tmp_path}/all"
    words = ("--squash", "--compress", "zstd", "--check")
    rebase(f"{where}:app:1", "old:1", "new:1", f"oci:{tmp_path}/out:x", *words)
    image = read_image(tmp_path / "out")
    assert [codec_of(blob) for blob in image.blobs] == ["gzip", "zstd"]
    assert b"x" * 100 not in image.layers[1]
    assert image.history[-4:] == ["- RUN step 2", "- ENV N=2", "- RUN step 3", "squashkit squash 2 layers"]


def test_the_annotations_name_the_new_base(tmp_path: Path) -> None:
    """So that the next rebase needs nobody to tell it."""
    newer = ImageSpec([layer(directory("d"), file("d/a", b"newer"))], ["newer:1"])
    digests = oci_layout(tmp_path / "all", [APP, OLD, NEW, newer])
    where = f"oci:{tmp_path}/all"
    rebase(f"{where}:app:1", "old:1", "new:1", where, "-t", "app:2")
    names = {BASE_NAME: "docker.io/library/new:1", BASE_DIGEST: digests[2]}
    made = read_images(tmp_path / "all")[-1]
    assert {key: made.annotations[key] for key in names} == names
    result = run("rebase", f"{where}:app:2", "--new-base", "newer:1", "-o", where, "-t", "app:3", "--json")
    assert result.code == 0, result.err
    assert result.json["old_base"]["layers"] == 1
    made = read_images(tmp_path / "all")[-1]
    assert list(made.layers) == [*newer.layers, *ABOVE]
    assert made.annotations[BASE_DIGEST] == digests[3]


# --- bases of all sizes ----------------------------------------------------------------------

EMPTY = ImageSpec([], ["empty:1"])


@pytest.mark.parametrize("old", [OLD, EMPTY], ids=["", "no old layer"])
@pytest.mark.parametrize("count", [0, 1, 120])
def test_a_base_of_no_or_many_layers(count: int, old: ImageSpec, tmp_path: Path) -> None:
    """All of its layers come in place of all of the old one's."""
    new = ImageSpec([layer(file(f"n{number}")) for number in range(count)], ["new:1"])
    docker_archive_old(tmp_path / "app.tar", [APP])
    docker_archive_old(tmp_path / "old.tar", [old])
    docker_archive_old(tmp_path / "new.tar", [new])
    files = [tmp_path / f"{name}.tar" for name in ("app", "old", "new", "out")]
    result = rebase(*files, "--no-strict", "--json", "--check")
    layers = [*new.layers, *APP.layers[len(old.layers) :]]
    assert list(read_image(tmp_path / "out.tar").layers) == layers
    assert result.json["layers"] == {"before": 4, "after": len(layers)}


def test_an_image_that_is_its_base(tmp_path: Path) -> None:
    """It becomes the new base's layers with its own settings, and nothing is at risk."""
    own = replace(OLD, tags=["app:1"], config={"config": {"User": "1"}})
    docker_archive_old(tmp_path / "app.tar", [own])
    docker_archive_old(tmp_path / "old.tar", [replace(OLD, config={"config": {}})])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    result = rebase(
        tmp_path / "app.tar", tmp_path / "old.tar", tmp_path / "new.tar", tmp_path / "out.tar", "--json"
    )
    image = read_image(tmp_path / "out.tar")
    assert list(image.layers) == list(NEW.layers)
    assert image.config["config"]["User"] == "1"
    assert result.json["risks"] == []


def test_that_nothing_lies_above_the_old_base_is_said(files: Path) -> None:
    """An image that is its old base becomes the new one, which may not be what was meant."""
    words = ("--new-base", files / "new.tar", "-n")
    result = run("rebase", f"{files}/app.tar:app:1", "--old-base", f"{files}/app.tar:app:1", *words)
    assert result.code == 0
    assert "Above:    nothing: app:1 has no layer above the old base" in result.text


def test_an_image_on_itself(tmp_path: Path) -> None:
    """The same layer may stand in an image more than once."""
    docker_archive_old(tmp_path / "all.tar", [APP, OLD])
    rebase(f"{tmp_path}/all.tar:app:1", "old:1", "app:1", tmp_path / "out.tar", "--check", "-t", "x:1")
    assert list(read_image(tmp_path / "out.tar").layers) == [*APP.layers, *ABOVE]


def test_an_empty_layer_goes_over(tmp_path: Path) -> None:
    """A tar without entries, or without a byte, is a layer as any other."""
    app = on_base(OLD, layer(), b"", layer(), tags=["app:1"])
    docker_archive_old(tmp_path / "app.tar", [app, OLD])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    rebase(f"{tmp_path}/app.tar:app:1", "old:1", tmp_path / "new.tar", tmp_path / "out.tar", "--check")
    assert list(read_image(tmp_path / "out.tar").layers) == [*NEW.layers, layer(), b"", layer()]


def test_the_root_s_own_entry_goes_over(tmp_path: Path) -> None:
    """With its layer if that stays, and into the one that takes its place."""
    root = directory("./", mode=0o711)
    gone = ImageSpec([layer(directory("d"), file("d/a"))], ["old:1"])
    new = ImageSpec([layer(directory("./", mode=0o700), file("n"))], ["new:1"])
    docker_archive_old(tmp_path / "new.tar", [new])
    for members in ([root, file("x")], [root, file("x"), whiteout("d/a")]):
        app = on_base(gone, layer(*members), tags=["app:1"])
        docker_archive_old(tmp_path / "app.tar", [app, gone])
        out = tmp_path / "out.tar"
        rebase(f"{tmp_path}/app.tar:app:1", "old:1", tmp_path / "new.tar", out, "--check", "--force")
        assert read_image(out).layers[1].startswith(layer(root)[:512])


# --- how the old base is named ---------------------------------------------------------------


def test_an_old_base_by_the_digest_of_its_layers(tmp_path: Path) -> None:
    """Only an image says what was inherited: without one the settings stay, and that must be asked for."""
    chain_id = digest(f"{digest(OLD.layers[0])} {digest(OLD.layers[1])}".encode())
    docker_archive_old(tmp_path / "app.tar", [APP])
    docker_archive_old(tmp_path / "new.tar", [replace(NEW, config={"config": {"User": "1"}})])
    for name in (chain_id, digest(OLD.layers[1])):
        words = (tmp_path / "app.tar", name, tmp_path / "new.tar", tmp_path / "out.tar")
        failed = run("rebase", words[0], "--old-base", name, "--new-base", words[2], "-o", words[3])
        assert_fails(failed, 2, "--config keep")
        result = rebase(*words, "--config", "keep", "--force", "--json")
        assert result.json["old_base"]["layers"] == 2
        image = read_image(tmp_path / "out.tar")
        assert list(image.layers) == RESULT
        assert image.config["config"] == json.loads(config_of(APP))["config"]


def test_an_old_base_by_its_image_id(tmp_path: Path) -> None:
    """Where the image is available, its id names it."""
    docker_archive_old(tmp_path / "all.tar", [APP, OLD])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    rebase(f"{tmp_path}/all.tar:app:1", digest(config_of(OLD)), tmp_path / "new.tar", tmp_path / "out.tar")
    assert list(read_image(tmp_path / "out.tar").layers) == RESULT


def test_another_image_is_no_old_base(tmp_path: Path) -> None:
    """How far they agree is told, and nothing is written."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    bases = ("--old-base", tmp_path / "new.tar", "--new-base", tmp_path / "new.tar")
    result = run("rebase", tmp_path / "app.tar", *bases, "-o", tmp_path / "out.tar")
    assert_fails(result, 1, "app:1 is not based on new:1", "--old-base")
    assert "--keep" not in result.err
    assert listing_of(tmp_path) == ["app.tar", "new.tar"]


@pytest.mark.parametrize("base", ["nobody:1", "nowhere.tar", "oci:nowhere", "sha256:" + "0" * 64])
def test_an_old_base_that_is_not_there_is_told_once(base: str, tmp_path: Path) -> None:
    """With the options that a rebase has, and the steps of the layers; why, no more than once."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    words = ("--old-base", base, "--new-base", tmp_path / "new.tar", "-o", tmp_path / "out.tar")
    result = run("rebase", tmp_path / "app.tar", *words)
    assert_fails(result, 1, base, "--old-base", "  layer  created by", "RUN step 0")
    assert "--keep" not in result.err
    assert "((" not in result.err
    assert "))" not in result.err
    assert result.err.count("No such file") <= 1


def test_an_old_base_that_nothing_tells(tmp_path: Path) -> None:
    """An image that lies beside the one that is meant is pointed at, not taken."""
    docker_archive_old(tmp_path / "app.tar", [APP, OLD])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    words = ("--new-base", tmp_path / "new.tar", "-o", tmp_path / "out.tar")
    result = run("rebase", f"{tmp_path}/app.tar:app:1", *words)
    assert_fails(result, 2, "pass --old-base REF", "app:1 stands on old:1: --old-base old:1 names that.")
    assert "--keep" not in result.err


def test_a_digest_of_several_layers_is_no_old_base(tmp_path: Path) -> None:
    """Only a chain_id tells them apart; a rebase has no option that counts layers."""
    again = on_base(OLD, OLD.layers[1], layer(file("x")), tags=["app:1"])
    docker_archive_old(tmp_path / "app.tar", [again])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    words = ("--old-base", digest(OLD.layers[1]), "--new-base", tmp_path / "new.tar", "-n")
    result = run("rebase", tmp_path / "app.tar", *words)
    assert_fails(result, 1, "1, 2", "chain_id")
    assert "--keep" not in result.err


def test_an_annotation_that_lies_is_told_with_the_rebase_s_option(tmp_path: Path) -> None:
    """What the image says of its base is wrong: --old-base says better."""
    other = ImageSpec([layer(file("other"))], ["other:1"])
    (at,) = oci_layout(tmp_path / "other", [other])
    labels = {BASE_NAME: "docker.io/library/other:1", BASE_DIGEST: at}
    oci_layout(tmp_path / "all", [replace(APP, config={"config": {"Labels": labels}}), other, NEW])
    result = run("rebase", f"{tmp_path}/all:app:1", "--new-base", "new:1", "-n")
    assert_fails(result, 1, "app:1 is not based on", "--old-base REF")
    assert "--keep" not in result.err
    assert "--" not in run("base", "find", f"{tmp_path}/all:app:1").err


# --- what must not be written, and what is not there ------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """An archive of the image and its base, and one of the new base."""
    docker_archive_old(tmp_path / "app.tar", [APP, OLD])
    docker_archive_old(tmp_path / "new.tar", [NEW])
    return tmp_path


def bases(files: Path) -> tuple[Arg, ...]:
    """The usual arguments."""
    return f"{files}/app.tar:app:1", "--old-base", "old:1", "--new-base", files / "new.tar"


@pytest.mark.parametrize("target", ["app.tar", "new.tar"])
@pytest.mark.parametrize("option", ["-o", "--report", "--digest-file", "--provenance", "--statement"])
def test_inputs_are_never_written_to(option: str, target: str, files: Path) -> None:
    """Neither the image nor the new base, whatever is forced."""
    before = snapshot(files)
    words = (
        (option, files / target) if option == "-o" else ("-o", files / "out.tar", option, files / target)
    )
    assert_fails(run("rebase", *bases(files), *words, "--force"), 2, "input")
    assert snapshot(files) == before


@pytest.mark.parametrize("which", ["--old-base", "--new-base"])
def test_a_base_does_not_come_through_a_pipe(which: str, files: Path) -> None:
    """Only the image does."""
    words = [*bases(files), "-o", files / "out.tar"]
    words[words.index(which) + 1] = "-"
    assert_fails(run("rebase", *words), 2, "standard input")


def test_a_base_that_is_not_there(files: Path) -> None:
    """A file that is missing, and a name that nobody knows."""
    for new, code in ((files / "none.tar", 5), ("nobody:1", 5)):
        told = "No such file" if code == 5 else "nobody:1"
        bases = ("--old-base", "old:1", "--new-base", new)
        assert_fails(run("rebase", f"{files}/app.tar:app:1", *bases, "-o", files / "out.tar"), code, told)
    words = (f"{files}/app.tar:app:1", "--old-base", "nobody:1", "--new-base", files / "new.tar")
    assert_fails(run("rebase", *words, "-o", files / "out.tar"), 1, "nobody:1")
    assert listing_of(files) == ["app.tar", "new.tar"]


def test_the_new_base_must_be_named(files: Path) -> None:
    """There is no rebase onto nothing."""
    assert_fails(run("rebase", files / "app.tar", "--old-base", "old:1"), 2, "--new-base")


def test_the_digest_file_has_the_result_s_digest(files: Path) -> None:
    """As the report has it."""
    words = ("--digest-file", files / "digest", "--json", "-o", files / "out.tar")
    result = run("rebase", *bases(files), *words)
    assert (files / "digest").read_text().strip() == result.json["manifest_digest"]


def test_a_dry_run_reads_nothing_back(files: Path) -> None:
    """`--check` needs something that was written, to where it can be read."""
    assert_fails(run("rebase", *bases(files), "-n", "--check"), 2, "dry run")
    assert_fails(run_process("rebase", *bases(files), "-o", "-", "--check"), 2, "pipe")


@pytest.mark.parametrize("where", ["app", "new"])
@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_a_layer_that_is_not_what_it_should_be(fault: str, where: str, tmp_path: Path) -> None:
    """A blob that lacks, or whose bytes are others, stops the rebase before the result has a name."""
    oci_layout(tmp_path / "app", [APP, OLD])
    oci_layout(tmp_path / "new", [NEW])
    data = compress({"app": ABOVE[0], "new": NEW.layers[0]}[where], "gzip")
    path = tmp_path / where / blob_path(digest(data))
    path.unlink()
    if fault == "damaged":
        path.write_bytes(compress(layer(file("other", b"other")), "gzip"))
    before = listing_of(tmp_path)
    words = ("--old-base", "old:1", "--new-base", f"oci:{tmp_path}/new", "-o", f"oci:{tmp_path}/out:x")
    result = run("rebase", f"oci:{tmp_path}/app:app:1", *words)
    assert_fails(result, 4, hex_digest(data)[:12] if fault == "missing" else "expected")
    if fault == "missing":
        named = "the new base new:1 (linux/amd64), layer 0: " if where == "new" else ""
        assert f"squashkit: {named}" in result.err
        assert f"is not in {tmp_path}/{where}" in result.err
    assert listing_of(tmp_path) == before


@pytest.mark.parametrize("whose", ["old", "new", "app"])
def test_every_plain_layer_is_verified(whose: str, files: Path) -> None:
    """Those of the old base too, which are read and go nowhere: what they hold decides what is told."""
    name, needle = {
        "old": ("app.tar", b"a" * 3000),
        "new": ("new.tar", b"A" * 3000),
        "app": ("app.tar", b"x" * 5000),
    }[whose]
    data = (files / name).read_bytes()
    at = data.index(needle)
    (files / name).write_bytes(data[:at] + b"!" + data[at + 1 :])
    for words in (("-o", files / "out.tar"), ("-n",)):
        assert_fails(run("rebase", *bases(files), *words), 4, "expected sha256")
    assert listing_of(files) == ["app.tar", "new.tar"]
    assert run("rebase", *bases(files), "-o", files / "out.tar", "--no-verify").code == 0


def test_a_damaged_layer_does_not_reach_a_pipe(files: Path) -> None:
    """What a pipe has sent cannot be taken back."""
    data = (files / "new.tar").read_bytes()
    (files / "new.tar").write_bytes(data.replace(b"A" * 3000, b"A" * 2999 + b"!"))
    result = run_process("rebase", *bases(files), "-o", "-")
    assert (result.code, result.out) == (4, b"")


def test_the_old_bases_layers_may_come_from_the_base_itself(tmp_path: Path) -> None:
    """A layout of an image need not hold the layers of its base; where neither has them the error names the
    image."""
    old, new = (
        ImageSpec([layer(file("a", text))], [f"{name}:1"]) for name, text in (("old", b"1"), ("new", b"2"))
    )
    app = on_base(old, layer(file("x")), tags=["app:1"])
    for name, image in (("old", old), ("new", new), ("app", app)):
        oci_layout(tmp_path / name, [image])
    blobs = {
        name: {path.name for path in (tmp_path / name / "blobs/sha256").iterdir()}
        for name in ("old", "app")
    }
    (shared,) = blobs["old"] & blobs["app"]
    (tmp_path / "app/blobs/sha256" / shared).unlink()
    words = ("--old-base", f"oci:{tmp_path}/old", "--new-base", f"oci:{tmp_path}/new", "-t", "app:2")
    done = run("rebase", tmp_path / "app", *words, "-o", f"oci:{tmp_path}/out", "--check")
    assert done.code == 0, done.err
    assert list(read_image(tmp_path / "out").layers) == [*new.layers, app.layers[1]]
    (tmp_path / "old/blobs/sha256" / shared).unlink()
    done = run("rebase", tmp_path / "app", *words, "-o", f"oci:{tmp_path}/none")
    assert_fails(done, 4, shared, f"is not in {tmp_path}/app")


# --- platforms -------------------------------------------------------------------------------

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")


def one_for(platform: str, name: str) -> ImageSpec:
    """A base for a platform."""
    text = f"{name} for {platform}".encode()
    return ImageSpec([layer(directory("d"), file("d/base", text))], [f"{name}:1"], platform=platform)


OLDS, NEWS = ([one_for(platform, name) for platform in PLATFORMS] for name in ("old", "new"))
APPS = [on_base(old, layer(file("d/x", old.platform.encode())), tags=["app:1"]) for old in OLDS]


@pytest.fixture
def indexes(tmp_path: Path) -> Path:
    """Indexes of the image and of both bases, each for three platforms."""
    for name, images in (("app", APPS), ("old", OLDS), ("new", NEWS)):
        oci_layout(tmp_path / name, images, nested=True, attestations=name == "app")
    return tmp_path


def move_all(folder: Path, *words: Arg, new: str = "new", out: str = "out") -> Result:
    """A rebase of every platform."""
    return run(
        "rebase", folder / "app", "--old-base", f"oci:{folder}/old:old:1", "--new-base",
        f"oci:{folder}/{new}", "--platform", "all", "-t", "app:2", "-o", f"oci:{folder}/{out}", *words,
    )  # fmt: skip


def platforms_of(folder: Path) -> dict[str, list[bytes]]:
    """The layers of each platform of the one index in a layout."""
    (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]

    def document(descriptor: Json) -> Json:
        return dict(json.loads((folder / blob_path(descriptor["digest"])).read_bytes()))

    found = {}
    for descriptor in document(entry)["manifests"]:
        parts = (descriptor["platform"].get(key) for key in ("os", "architecture", "variant"))
        blobs = [folder / blob_path(one["digest"]) for one in document(descriptor)["layers"]]
        found["/".join(filter(None, parts))] = [unpack(path.read_bytes()) for path in blobs]
    return found


def test_every_platform_moves_to_its_own_base(indexes: Path) -> None:
    """A new index has them all, and the report each by its name."""
    result = move_all(indexes, "--check", "--json")
    assert result.code == 0, result.err
    found = platforms_of(indexes / "out")
    assert list(found) == list(result.json["platforms"]) == list(PLATFORMS)
    for app, new in zip(APPS, NEWS, strict=True):
        assert found[app.platform] == [*new.layers, app.layers[1]]
        assert result.json["platforms"][app.platform]["platform"] == app.platform
    (entry,) = json.loads((indexes / "out" / "index.json").read_bytes())["manifests"]
    assert result.json["index_digest"] == entry["digest"]


def test_what_the_index_says_of_the_system_follows(tmp_path: Path) -> None:
    """The new base's os.version stands in the index, too; where it has none there is none."""
    for name, (image, *_) in (("app", APPS), ("old", OLDS), ("new", NEWS)):
        oci_layout(tmp_path / name, [image])
    change_config(tmp_path / "app", lambda config: config.update({"os.version": "10"}))
    change_config(tmp_path / "old", lambda config: config.update({"os.version": "10"}))
    change_config(tmp_path / "new", lambda config: config.update({"os.version": "12"}))
    change_index(
        tmp_path / "app", lambda index: index["manifests"][0]["platform"].update({"os.version": "10"})
    )
    oci_layout(tmp_path / "bare", NEWS[:1])
    for new, expected in (("new", "12"), ("bare", None)):
        result = move_all(tmp_path, "--no-strict", new=new, out=f"on-{new}")
        assert result.code == 0, result.err
        folder = tmp_path / f"on-{new}"
        (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]
        (image,) = json.loads((folder / blob_path(entry["digest"])).read_bytes())["manifests"]
        assert image["platform"].get("os.version") == expected


def test_what_each_platforms_old_base_gave_is_its_own(tmp_path: Path) -> None:
    """Two platforms whose layers above and whose new bases are the same, byte for byte, and whose old bases
    are not: a directory that only the old base had comes with the layer, as each of them had it."""
    olds = [
        ImageSpec([layer(directory("srv", mode=mode))], ["old:1"], platform=platform)
        for mode, platform in ((0o700, "linux/amd64"), (0o711, "linux/arm64"))
    ]
    apps = [on_base(old, layer(file("srv/x", b"x")), tags=["app:1"]) for old in olds]
    news = [ImageSpec([layer(file("new", b"new"))], ["new:1"], platform=old.platform) for old in olds]
    for name, images in (("app", apps), ("old", olds), ("new", news)):
        oci_layout(tmp_path / name, images, nested=True)
    result = move_all(tmp_path, "--allow", "parent")
    assert result.code == 0, result.err
    modes = {}
    for platform, (_, above) in platforms_of(tmp_path / "out").items():
        with tarfile.open(fileobj=io.BytesIO(above)) as tar:
            modes[platform] = tar.getmember("srv").mode
    assert modes == {"linux/amd64": 0o700, "linux/arm64": 0o711}


def test_one_platform_of_an_index(indexes: Path) -> None:
    """Its new base is the one for it."""
    words = (
        "--old-base",
        f"oci:{indexes}/old",
        "--new-base",
        f"oci:{indexes}/new",
        "--platform",
        "linux/arm64",
    )
    result = run("rebase", indexes / "app", *words, "-t", "app:2", "-o", f"oci:{indexes}/out")
    assert result.code == 0, result.err
    assert list(read_image(indexes / "out").layers) == [NEWS[1].layers[0], APPS[1].layers[1]]


def test_a_platform_that_the_new_base_lacks(indexes: Path) -> None:
    """It is an error, and no platform is written."""
    oci_layout(indexes / "less", NEWS[:1], nested=True)
    result = move_all(indexes, new="less")
    assert_fails(result, 3, "linux/arm64: app:1 does not fit", "linux/arm64 -> linux/amd64")
    assert not (indexes / "out").exists()


def test_a_platform_of_the_new_base_without_blobs(indexes: Path) -> None:
    """It is told as what it is; another platform's base does not take its place."""
    oci_layout(indexes / "part", NEWS[:1], nested=True, absent=["linux/arm64"])
    part = f"oci:{indexes}/part"
    for words in ((), ("--no-strict",)):
        result = move_all(indexes, *words, new="part")
        assert_fails(result, 5, f"the new base {part} names an image for linux/arm64, but its blobs")
    (at,) = oci_layout(indexes / "none", NEWS[:1], nested=True)
    (indexes / "none" / blob_path(at)).unlink()
    assert_fails(move_all(indexes, new="none"), 5, f"{indexes}/none", "its blobs are not there")
    assert not (indexes / "out").exists()


def test_a_conflict_of_one_platform_stops_all(indexes: Path) -> None:
    """Nothing has a name before all of it is right."""
    odd = replace(NEWS[1], layers=[layer(file("d", b"no directory"))])
    oci_layout(indexes / "odd", [NEWS[0], odd, NEWS[2]], nested=True)
    result = move_all(indexes, new="odd")
    assert_fails(result, 3, "squashkit: linux/arm64: app:1 does not fit", "/d: a directory -> a file")
    assert not (indexes / "out").exists()
    result = move_all(indexes, "--allow", "type", "--json", new="odd")
    assert result.code == 0
    counts = [len(report["risks"]) for report in result.json["platforms"].values()]
    assert counts == [0, 1, 0]


def test_a_platform_of_the_image_without_blobs(indexes: Path) -> None:
    """It is told, or left out on request."""
    shutil.rmtree(indexes / "app")
    oci_layout(indexes / "app", APPS[:2], nested=True, absent=["linux/arm/v7"])
    assert_fails(move_all(indexes), 5, "linux/arm/v7")
    assert move_all(indexes, "--skip-missing").code == 0
    assert list(platforms_of(indexes / "out")) == list(PLATFORMS[:2])


def test_every_platform_on_its_own_base(indexes: Path) -> None:
    """Nothing changes where nothing moves: each manifest is the one that was read."""
    result = move_all(indexes, "--json", new="old")
    assert result.code == 0, result.err
    known = {path.name for path in (indexes / "app" / "blobs" / "sha256").iterdir()}
    for report in result.json["platforms"].values():
        assert not report["changed"]
        assert report["manifest_digest"][7:] in known


# --- size ------------------------------------------------------------------------------------


def test_the_work_grows_with_the_entries(tmp_path: Path) -> None:
    """Eight times as many files, each deleted or changed by a layer, take eight times as long; with all
    that is slow at the start, no more than sixteen times."""

    def seconds(count: int) -> float:
        names = [f"d/{number // 100}/{number % 100}" for number in range(count)]
        parents = [directory("d"), *(directory(f"d/{number}") for number in range(count // 100))]
        old = ImageSpec([layer(*parents, *(file(name, b"a") for name in names))], ["old:1"])
        changed = [file(name, b"b") if number % 2 else whiteout(name) for number, name in enumerate(names)]
        docker_archive_old(tmp_path / "app.tar", [on_base(old, layer(*changed), tags=["app:1"]), old])
        docker_archive_old(tmp_path / "new.tar", [ImageSpec([*old.layers, layer(file("n"))], ["new:1"])])
        start = time.process_time()
        rebase(f"{tmp_path}/app.tar:app:1", "old:1", tmp_path / "new.tar", tmp_path / "out.tar", "--force")
        return time.process_time() - start

    seconds(100)
    assert seconds(16_000) < 16 * seconds(2_000)


def test_a_check_reads_paths_as_the_rebase_does(tmp_path: Path) -> None:
    """A rebase reads symlinks of lower layers as overlay file systems do, and so does its check."""
    old, new = (layer(directory("t"), symlink("l", "t"), file("v", text)) for text in (b"1", b"2"))
    docker_archive_old(tmp_path / "old.tar", [ImageSpec([old], ["base:1"])])
    docker_archive_old(tmp_path / "new.tar", [ImageSpec([new], ["base:2"])])
    app = ImageSpec([old, layer(file("l/x", b"x")), layer(file("y"))], ["app:1"])
    docker_archive_old(tmp_path / "app.tar", [app])
    how = Rebase(str(tmp_path / "new.tar"), str(tmp_path / "old.tar"), squash=True, strict=False)
    write = Write(tags=("app:2",), check=True)
    report = squashkit.rebase(str(tmp_path / "app.tar"), str(tmp_path / "out.tar"), how, write=write)
    assert report.json()["checked"]
    with pytest.raises(TypeError, match="merge"):  # nor is there a way to ask for it
        squashkit.rebase("app.tar", "out.tar", how, merge=Merge())  # type: ignore[call-arg]
