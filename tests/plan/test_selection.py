"""Which image is meant, which of its layers are kept, and what is said where that is not clear."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from squashkit.transports.source import machine_platform
from tests.support.builders import (
    ImageSpec,
    compress,
    digest,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    image_id,
    layer,
    oci_archive,
    oci_layout,
    on_base,
    symlink,
    whiteout,
)
from tests.support.model import apply_layers, differences
from tests.support.runner import (
    APP,
    BASE,
    BASE_DIGEST,
    BASE_NAME,
    KEEP_2,
    KEEP_BASE,
    KEPT,
    Json,
    Result,
    assert_fails,
    assert_same_rootfs,
    blob_path,
    change_manifest,
    read_image,
    run,
    run_process,
    sha256,
    snapshot,
    squash,
    validate,
)

TOTAL = len(APP.layers)
NAMED = ("-t", "new:1")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """`docker save app`: the image alone."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    return tmp_path / "app.tar"


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """`docker save app base`."""
    docker_archive_old(tmp_path / "both.tar", [APP, BASE])
    return tmp_path / "both.tar"


def assert_kept(path: Path, kept: int, source: ImageSpec = APP) -> None:
    """So many layers are the source's, and one more holds the rest."""
    image = read_image(path)
    assert len(image.layers) == kept + (1 if kept < len(source.layers) else 0)
    assert_same_rootfs(source.layers, image.layers, kept)


def chain_id(layers: list[bytes]) -> str:
    """The digest of a stack of layers, as the OCI image-spec defines it."""
    chain = digest(layers[0])
    for one in layers[1:]:
        chain = sha256(f"{chain} {digest(one)}".encode())
    return chain


# --- --keep-base -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["base:1", "library/base:1", "docker.io/library/base:1", "localhost/base:1", image_id(BASE)]
)
def test_the_base_may_lie_in_the_same_archive(name: str, both: Path) -> None:
    """--keep-base takes any form of a name, or the image_id, of an image beside the one to squash,
    which then needs no reference."""
    squash(both, "--keep-base", name, *NAMED, "-o", both.parent / "out.tar")
    assert_kept(both.parent / "out.tar", KEPT)


@pytest.mark.parametrize(
    "base",
    [
        "{}/base.tar", "{}/base.tar:base:1", "docker-archive:{}/base.tar",
        "docker-archive:{}/base.tar:base:1", "{}/layout", "oci:{}/layout", "oci:{}/layout:base:1",
        "{}/oci.tar", "oci-archive:{}/oci.tar", "oci-archive:{}/oci.tar:docker.io/library/base:1",
    ],
)  # fmt: skip
def test_the_base_may_lie_elsewhere(base: str, app: Path) -> None:
    """--keep-base takes a path or a transport reference to the base's own archive or layout, however
    its layers are compressed there."""
    folder = app.parent
    docker_archive_old(folder / "base.tar", [BASE])
    oci_layout(folder / "layout", [BASE], compress="zstd")
    oci_archive(folder / "oci.tar", [BASE], compress="gzip")
    squash(app, "--keep-base", base.format(folder), *NAMED, "-o", folder / "out.tar")
    assert_kept(folder / "out.tar", KEPT)


def test_the_base_may_be_a_digest(app: Path) -> None:
    """--keep-base takes the chain_id or the diff_id of the base's top layer, and the manifest's digest
    of an image available."""
    output = app.parent / "out.tar"
    for count in range(1, TOTAL + 1):
        for name in (chain_id(list(APP.layers[:count])), digest(APP.layers[count - 1])):
            squash(app, "--keep-base", name, *NAMED, "-o", output, "--force")
            if count < TOTAL - 1:  # a single layer is left as it is
                assert_kept(output, count)
            else:
                assert read_image(output).image_id == image_id(APP)
    folder = app.parent / "layout"
    manifest = oci_layout(folder, [APP, BASE])[1]
    squash(f"{folder}:app:1", "--keep-base", manifest, *NAMED, "-o", output, "--force")
    assert_kept(output, KEPT)


def test_a_diff_id_that_stands_twice_lists_its_positions(tmp_path: Path) -> None:
    """A diff_id at two positions is an error that names both and the ways out; a chain_id is not."""
    image = on_base(BASE, BASE.layers[1], layer(file("n")), layer(file("m")), tags=["app:1"])
    source, output = tmp_path / "source.tar", tmp_path / "out.tar"
    docker_archive_old(source, [image])
    result = run("squash", source, "--keep-base", digest(BASE.layers[1]), *NAMED, "-o", output)
    assert_fails(result, 1, "1, 2", "chain_id", "--keep-layers")
    squash(source, "--keep-base", chain_id(list(image.layers[:3])), *NAMED, "-o", output)
    assert_kept(output, 3, image)


@pytest.mark.parametrize("base", ["other:1", "{}/other.tar"])
def test_a_base_that_is_no_prefix_says_what_agrees(base: str, tmp_path: Path) -> None:
    """The error counts the layers that agree, shows the steps with their numbers, and suggests the
    --keep-layers that keeps what is shared."""
    other = ImageSpec([BASE.layers[0], layer(file("other")), layer(file("more"))], ["other:1"])
    source = tmp_path / "source.tar"
    docker_archive_old(source, [APP, other] if base == "other:1" else [APP])
    docker_archive_old(tmp_path / "other.tar", [other])
    words = ("--keep-base", base.format(tmp_path), *NAMED, "-o", tmp_path / "out.tar")
    result = run("squash", source, *words)
    assert_fails(result, 1, "1 of the base's 3 layers", f"the image's {TOTAL}", "--keep-layers 1")
    assert re.search(r"^ +1 +RUN step 0$", result.err, re.MULTILINE)
    assert re.search(rf"^ +{TOTAL} +RUN step {TOTAL - 1}$", result.err, re.MULTILINE)
    assert not (tmp_path / "out.tar").exists()


def test_a_base_that_shares_nothing_is_told_so(both: Path) -> None:
    """Where no layer agrees, none is suggested."""
    docker_archive_old(both.parent / "far.tar", [ImageSpec([layer(file("far"))], ["far:1"])])
    words = ("--keep-base", both.parent / "far.tar", "-o", both.parent / "out.tar")
    result = run("squash", f"{both}:app:1", *words)
    assert_fails(result, 1, "0 of the base's 1 layers", "another version")
    assert "--keep-layers" not in result.err


def test_a_base_of_the_same_files_in_other_layers_is_none(tmp_path: Path) -> None:
    """Compressed digests never count: only the same uncompressed layers are the same base."""
    members = (file("a", b"a"), file("b", b"b"))
    image = ImageSpec([layer(*members), layer(file("c")), layer(whiteout("c"))], ["app:1"])
    base = ImageSpec([layer(*reversed(members))], ["base:1"])
    docker_archive_old(tmp_path / "source.tar", [image, base])
    words = ("--keep-base", "base:1", "-o", tmp_path / "out.tar")
    assert_fails(run("squash", tmp_path / "source.tar", *words), 1, "0 of the base's 1 layers")


def test_a_base_that_is_longer_than_the_image_is_none(both: Path) -> None:
    """An image is not based on one that was made from it."""
    words = ("--keep-base", "app:1", *NAMED, "-o", both.parent / "out.tar")
    result = run("squash", f"{both}:base:1", *words)
    assert_fails(result, 1, f"{KEPT} of the base's {TOTAL} layers", "--keep-layers 2")


def test_a_digest_that_is_not_there_is_told(app: Path) -> None:
    """A digest that names nothing available is an error that says where it was looked for."""
    base = "sha256:" + "0" * 64
    result = run("squash", app, "--keep-base", base, *NAMED, "-o", app.parent / "out.tar")
    assert_fails(result, 1, base, "nor a chain_id, nor a diff_id", "--keep-layers", "RUN step 0")


@pytest.mark.parametrize("base", ["fedora:28", "nowhere.tar", "oci:nowhere"])
def test_a_base_that_is_not_there_says_how_to_get_it(base: str, app: Path) -> None:
    """For `docker save app` alone the error says that the archive must hold the base too or that REF
    may be the base's own archive, and shows the layers."""
    result = run("squash", app, "--keep-base", base, *NAMED, "-o", app.parent / "out.tar")
    assert_fails(result, 1, base, "docker save app:1", "archive", "--keep-layers", "RUN step 0")
    assert not (app.parent / "out.tar").exists()


@pytest.mark.parametrize("base", ["-", "", "docker:/base:1", "docker://base:"])
def test_a_base_that_cannot_be_read_is_a_usage_error(base: str, app: Path) -> None:
    """Standard input, nothing, and transports that are not there are refused as bases."""
    result = run("squash", app, "--keep-base", base, *NAMED, "-o", app.parent / "out.tar")
    assert_fails(result, 2)


def test_a_damaged_base_archive_names_itself(app: Path) -> None:
    """A base archive that is no image says so, with its path and exit code 4."""
    bad = app.parent / "bad.tar"
    bad.write_bytes(b"nothing " * 200)
    words = ("--keep-base", bad, *NAMED, "-o", app.parent / "out.tar")
    assert_fails(run("squash", app, *words), 4, str(bad))


def test_a_base_archive_with_several_images_needs_a_reference(app: Path) -> None:
    """A base archive that holds more than one image is an error that lists them."""
    others = app.parent / "others.tar"
    docker_archive_old(others, [BASE, ImageSpec([layer(file("x"))], ["x:1"])])
    words = (*NAMED, "-o", app.parent / "out.tar")
    assert_fails(run("squash", app, "--keep-base", others, *words), 2, "\n  base:1", "\n  x:1")
    squash(app, "--keep-base", f"{others}:base:1", *words)


def test_an_image_that_is_its_base_goes_through_unchanged(both: Path) -> None:
    """An image with nothing above its base is written unchanged, said so, with exit code 0."""
    output = both.parent / "out.tar"
    result = squash(f"{both}:base:1", "--keep-base", "base:1", *NAMED, "-o", output)
    assert "nothing to squash" in result.text
    assert read_image(output).image_id == image_id(BASE)


def test_the_base_of_several_platforms_is_the_image_s(tmp_path: Path) -> None:
    """Where the base has several platforms, the one of the image is taken."""
    platforms = ("linux/amd64", "linux/arm64")
    bases = [ImageSpec([layer(file(one))], ["base:1"], platform=one) for one in platforms]
    apps = [on_base(base, layer(file("n")), layer(whiteout("n")), tags=["app:1"]) for base in bases]
    oci_layout(tmp_path / "base", bases, nested=True)
    oci_layout(tmp_path / "app", apps, nested=True)
    for app, platform in zip(apps, platforms, strict=True):
        output = tmp_path / f"{platform[6:]}.tar"
        words = ("--keep-base", f"oci:{tmp_path}/base:base:1", "--platform", platform, "-o", output)
        squash(tmp_path / "app", *words)
        assert read_image(output).config["architecture"] == platform[6:]
        assert read_image(output).layers == (app.layers[0],)


# --- the other ways --------------------------------------------------------------------------


@pytest.mark.parametrize("count", range(TOTAL + 1))
def test_keep_layers_counts_from_the_base(count: int, app: Path) -> None:
    """--keep-layers N keeps N layers; where fewer than two are left there is nothing to squash."""
    output = app.parent / "out.tar"
    result = squash(app, "--keep-layers", str(count), *NAMED, "-o", output)
    if TOTAL - count < 2:
        assert "nothing to squash" in result.text
        assert read_image(output).image_id == image_id(APP)
    else:
        assert_kept(output, count)


@pytest.mark.parametrize("count", ["-1", str(TOTAL + 1), "many", "1.5", ""])
def test_keep_layers_must_fit_the_image(count: str, app: Path) -> None:
    """A count that the image does not have, or no count, is a usage error."""
    result = run("squash", app, "--keep-layers", count, *NAMED, "-o", app.parent / "out.tar")
    assert_fails(result, 2, "--keep-layers")


def test_from_step_squashes_from_one_step(app: Path) -> None:
    """--from-step squashes the step whose command contains the text and all above it."""
    output = app.parent / "out.tar"
    squash(app, "--from-step", "step 2", *NAMED, "-o", output)
    assert_kept(output, 2)


@pytest.mark.parametrize(("text", "found"), [("nothing like it", "no step"), ("RUN", f"{TOTAL} steps")])
def test_from_step_must_find_one_step(text: str, found: str, app: Path) -> None:
    """No step, or several, are an error that lists the steps."""
    result = run("squash", app, "--from-step", text, *NAMED, "-o", app.parent / "out.tar")
    assert_fails(result, 1, found, repr(text), "RUN step 0", f"RUN step {TOTAL - 1}")


def test_from_step_needs_a_history(tmp_path: Path) -> None:
    """An image without a history says so and names --keep-layers."""
    docker_archive_old(tmp_path / "app.tar", [ImageSpec(APP.layers, ["app:1"], history=None)])
    words = ("--from-step", "x", *NAMED, "-o", tmp_path / "out.tar")
    assert_fails(run("squash", tmp_path / "app.tar", *words), 1, "history", "--keep-layers")


def test_from_step_takes_no_step_without_a_layer(app: Path) -> None:
    """A step that made no layer is not one to squash from."""
    result = run("squash", app, "--from-step", "ENV N=0", *NAMED, "-o", app.parent / "out.tar")
    assert_fails(result, 1, "no step")


def test_all_squashes_everything(app: Path) -> None:
    """--all gives one layer without a whiteout."""
    output = app.parent / "out.tar"
    result = squash(app, "--all", *NAMED, "-o", output)
    assert_kept(output, 0)
    assert "No base kept" in result.text
    assert b".wh." not in read_image(output).layers[0]


@pytest.mark.parametrize(
    ("segments", "kept"),
    [
        ("5", []), ("=2,3", [0, 1]), ("2,=3", [2, 3, 4]), ("=1,3,=1", [0, 4]), ("2,3", []),
        ("=5", [0, 1, 2, 3, 4]), ("=1,=1,2,=1", [0, 1, 4]), ("1,1,3", [0, 1]),
    ],
)  # fmt: skip
def test_segments_partition_the_layers(segments: str, kept: list[int], app: Path) -> None:
    """--segments keeps the runs with `=` byte for byte, and those of one layer; each other becomes one
    layer, and the root file system is the same above every kept layer."""
    output = app.parent / "out.tar"
    squash(app, "--segments", segments, *NAMED, "-o", output)
    made = read_image(output).layers
    runs = [part.strip() for part in segments.split(",")]
    counts = [int(part.removeprefix("=")) if part.startswith("=") else 1 for part in runs]
    assert len(made) == sum(counts)
    assert [APP.layers.index(one) for one in made if one in APP.layers] == kept
    for position, one in enumerate(made):
        if one in APP.layers:
            below = APP.layers.index(one) + 1
            assert_same_rootfs(APP.layers[:below], made[: position + 1])
    assert_same_rootfs(APP.layers, made)


@pytest.mark.parametrize(
    "segments",
    ["", "=2", "=2,4", "6", "=2,x,1", "=2,0,3", "=2,-1,4", "2;3", "=,5", "==2,3", "=2,3,", "=1,\xb2,2",
     "=2," + "9" * 5000],
)  # fmt: skip
def test_bad_segments_are_a_usage_error(segments: str, app: Path) -> None:
    """Runs that do not add up to the image's layers, or are no numbers, are refused."""
    result = run("squash", app, "--segments", segments, *NAMED, "-o", app.parent / "out.tar")
    assert_fails(result, 2, "--segments")


def test_the_ways_exclude_one_another(both: Path) -> None:
    """Only one of the ways to say what is kept may be given."""
    ways = (
        ("--keep-base", "base:1"), ("--keep-layers", "1"), ("--from-step", "x"), ("--all",),
        ("--segments", "5"),
    )  # fmt: skip
    for number, one in enumerate(ways):
        for other in ways[number + 1 :]:
            result = run("squash", both, *one, *other, "-o", both.parent / "out.tar")
            assert_fails(result, 2, one[0], other[0])


def test_nothing_given_says_what_to_pass(both: Path) -> None:
    """Without any of them a usage error names the options, shows the layers, and never guesses, though
    it may point at an image available."""
    result = run("squash", f"{both}:app:1", *NAMED, "-o", both.parent / "out.tar")
    options = ("--keep-base", "--keep-layers", "--from-step", "--segments", "--all")
    assert_fails(result, 2, *options, "RUN step 0", "--keep-base base:1")
    assert not (both.parent / "out.tar").exists()


# --- annotations -----------------------------------------------------------------------------


def annotate(layout: Path, digest: str) -> None:
    """Say in the manifest of a layout's first image which base it has."""

    def change(manifest: Json) -> None:
        manifest["annotations"] = {BASE_NAME: "docker.io/library/base:1", BASE_DIGEST: digest}

    change_manifest(layout, change)


def test_annotations_name_a_base_that_is_at_hand(tmp_path: Path) -> None:
    """With none of the options the annotated base is kept, where its manifest is there to verify it."""
    layout, output = tmp_path / "layout", tmp_path / "out.tar"
    annotate(layout, oci_layout(layout, [APP, BASE])[1])
    result = squash(f"{layout}:app:1", *NAMED, "-o", output)
    assert_kept(output, KEPT)
    assert BASE_DIGEST in result.text


def test_annotations_of_a_base_elsewhere_are_not_believed(tmp_path: Path) -> None:
    """Where the annotated manifest is not available, the usage error asks for an option."""
    layout = tmp_path / "layout"
    base = oci_layout(tmp_path / "elsewhere", [BASE])[0]
    oci_layout(layout, [APP])
    annotate(layout, base)
    result = run("squash", f"{layout}:app:1", *NAMED, "-o", tmp_path / "out.tar")
    assert_fails(result, 2, "--keep-base")


def test_annotations_that_lie_are_an_error(tmp_path: Path) -> None:
    """An annotated base that the image does not stand on is refused, not squashed by."""
    layout = tmp_path / "layout"
    other = ImageSpec([BASE.layers[0], layer(file("other"))], ["base:1"])
    annotate(layout, oci_layout(layout, [APP, other])[1])
    result = run("squash", f"{layout}:app:1", *NAMED, "-o", tmp_path / "out.tar")
    assert_fails(result, 1, "1 of the base's 2 layers")


# --- how the rest is merged ------------------------------------------------------------------

REMADE = ImageSpec(
    [
        layer(directory("d"), file("d/a"), file("d/b"), symlink("l", "d")),
        layer(whiteout("d")),
        layer(directory("d", mode=0o700), file("d/n")),
    ],
    ["app:1"],
)


def names(data: bytes) -> list[str]:
    """The members of a layer."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


def test_whiteouts_are_explicit_or_opaque(tmp_path: Path) -> None:
    """A directory that was removed and made again hides what it had one by one, or with --whiteouts
    opaque by its marker alone: the root file system is the same."""
    docker_archive_old(tmp_path / "app.tar", [REMADE])
    made = {}
    for kind in ("explicit", "opaque"):
        output = tmp_path / f"{kind}.tar"
        squash(tmp_path / "app.tar", "--keep-layers", "1", "--whiteouts", kind, "-o", output)
        assert_kept(output, 1, REMADE)
        made[kind] = names(read_image(output).layers[1])
    assert made["explicit"] == ["d", "d/.wh.a", "d/.wh.b", "d/n"]
    assert made["opaque"] == ["d", "d/.wh..wh..opq", "d/n"]
    squash(tmp_path / "app.tar", "--keep-layers", "1", "-o", tmp_path / "default.tar")
    assert (tmp_path / "default.tar").read_bytes() == (tmp_path / "explicit.tar").read_bytes()


def test_a_path_through_a_lower_symlink_has_two_readings(tmp_path: Path) -> None:
    """It means a directory in the symlink's place, and the summary names the path; or with
    --symlink-parents follow a file where the symlink leads."""
    image = ImageSpec(
        [layer(directory("t"), symlink("l", "t")), layer(file("l/x", b"x")), layer(file("z"))], ["app:1"]
    )
    docker_archive_old(tmp_path / "app.tar", [image])
    for reading, path in (("overlay", "l/x"), ("follow", "t/x")):
        output = tmp_path / f"{reading}.tar"
        words = ("--keep-layers", "1", "--symlink-parents", reading, "-o", output)
        result = squash(tmp_path / "app.tar", *words)
        if reading == "overlay":
            assert re.search(r"^Contested: .*symlink.*: l\b", result.text, re.MULTILINE)
        expected = apply_layers(image.layers, symlink_parents=reading)  # type: ignore[arg-type]
        found = apply_layers(read_image(output).layers)
        assert differences(expected, found) == []
        assert path.encode() in found.nodes


@pytest.fixture
def baseless(tmp_path: Path) -> tuple[Path, Path]:
    """A layout without the blobs of the image's base, and one to write into that has them."""
    source, output = tmp_path / "source", tmp_path / "output"
    oci_layout(source, [APP])
    oci_layout(output, [BASE])
    for one in BASE.layers:
        (source / blob_path(sha256(compress(one, "gzip")))).unlink()
    return source, output


def test_a_base_that_must_be_known_is_asked_for(baseless: tuple[Path, Path]) -> None:
    """Where what lies below must be known and is not available, the error names the layers and --blind,
    and nothing is written."""
    source, output = baseless
    before = snapshot(output)
    result = run("squash", source, *KEEP_2, "-o", f"oci:{output}")
    assert_fails(result, 1, "layer 0", "--blind")
    assert snapshot(output) == before


def test_blind_goes_on_and_says_so(baseless: tuple[Path, Path]) -> None:
    """--blind merges all the same and says that nothing is guaranteed; into a layout that has the base,
    the image is whole."""
    source, output = baseless
    result = squash(source, *KEEP_2, "--blind", "-o", f"oci:{output}", "--report", output / "report")
    assert "Not guaranteed" in result.text
    report = json.loads((output / "report").read_bytes())
    (output / "report").unlink()
    assert report["guaranteed"] is False
    image = validate(output)[-1]
    assert image.layers[:KEPT] == tuple(BASE.layers)
    assert_same_rootfs(APP.layers, image.layers, KEPT)
    words = (*KEEP_2, "--blind", "-o", output.parent / "out.tar")
    assert_fails(run("squash", source, *words), 4, "layer 0")
    assert not (output.parent / "out.tar").exists()


def test_blind_changes_nothing_where_all_is_known(app: Path) -> None:
    """With the base available --blind gives the same bytes, and the guarantee."""
    for name, words in (("seen.tar", ()), ("blind.tar", ("--blind",))):
        result = squash(app, *KEEP_2, *words, "-o", app.parent / name)
        assert "Not guaranteed" not in result.text
    assert (app.parent / "seen.tar").read_bytes() == (app.parent / "blind.tar").read_bytes()


# --- which image -----------------------------------------------------------------------------


def test_several_images_need_a_reference(both: Path) -> None:
    """Without one the error lists them, and how to name one."""
    result = run("squash", both, *KEEP_2, "-o", both.parent / "out.tar")
    assert_fails(result, 2, "several images", f"{both}:REF", "\n  app:1", "\n  base:1")


def test_several_images_on_standard_input_need_one_too(both: Path) -> None:
    """The way to name an image that the error shows works for standard input as well."""
    result = run("squash", "-", *KEEP_2, stdin=both.read_bytes())
    assert_fails(result, 2, "\n  app:1", "\n  base:1")
    found = re.search(r"(\S+):REF", result.err)
    assert found is not None, result.err
    named = squash(f"{found[1]}:app:1", *KEEP_2, stdin=both.read_bytes())
    assert_same_rootfs(APP.layers, read_image(named.out).layers, 2)


def test_the_base_does_not_count_among_the_images(both: Path) -> None:
    """Of two images one is the base: the other is meant, in whichever order they stand."""
    docker_archive_old(both, [BASE, APP])
    squash(both, *KEEP_BASE, "-o", both.parent / "out.tar")
    assert_kept(both.parent / "out.tar", KEPT)
    docker_archive_old(both, [BASE, APP, ImageSpec([layer(file("x"))], ["x:1"])])
    result = run("squash", both, *KEEP_BASE, "-o", both.parent / "out2.tar")
    assert_fails(result, 2, "\n  app:1", "\n  x:1")
    assert "\n  base:1" not in result.err


PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v6", "linux/arm/v7", "linux/s390x")


@pytest.fixture
def platforms(tmp_path: Path) -> Path:
    """A layout of one image for several platforms, each with its own layer."""
    images = [
        ImageSpec([layer(file(one)), layer(file("n")), layer(whiteout("n"))], ["app:1"], platform=one)
        for one in PLATFORMS
    ]
    oci_layout(tmp_path / "layout", images, nested=True, attestations=True, absent=["linux/riscv64"])
    return tmp_path / "layout"


@pytest.mark.parametrize("platform", PLATFORMS)
def test_platform_takes_one_of_an_index(platform: str, platforms: Path) -> None:
    """--platform takes that platform's image, and the result's descriptor says which it is."""
    output = platforms.parent / "out.tar"
    squash(platforms, "--keep-layers", "1", "--platform", platform, "-o", output)
    image = read_image(output)
    assert image.layers[0] == layer(file(platform))
    keys = ("os", "architecture", "variant")
    assert "/".join(image.descriptors[0]["platform"].get(k, "") for k in keys).strip("/") == platform


def test_the_default_platform_is_this_machine_s(platforms: Path) -> None:
    """Without --platform an index gives the image of the machine that it runs on."""
    here = str(machine_platform())
    if here not in PLATFORMS:
        pytest.skip(f"no image for {here}")
    output = platforms.parent / "out.tar"
    squash(platforms, "--keep-layers", "1", "-o", output)
    assert read_image(output).layers[0] == layer(file(here))


def test_an_ambiguous_platform_lists_the_choices(platforms: Path) -> None:
    """linux/arm fits two variants: an error that lists both."""
    words = ("--keep-layers", "1", "--platform", "linux/arm", "-o", platforms.parent / "out.tar")
    assert_fails(run("squash", platforms, *words), 2, "linux/arm/v6", "linux/arm/v7")


@pytest.mark.parametrize("platform", ["linux/riscv64", "linux/mips", "windows/amd64", "linux/arm/v5"])
def test_a_platform_that_is_not_there_lists_those_that_are(platform: str, platforms: Path) -> None:
    """An index without the platform, or without its blobs, is an error that lists what there is."""
    words = ("--keep-layers", "1", "--platform", platform, "-o", platforms.parent / "out.tar")
    result = run("squash", platforms, *words)
    assert_fails(result, 5, platform, *PLATFORMS)
    assert ("blobs are not there" in result.err) == (platform == "linux/riscv64")


def test_a_single_image_of_another_platform_needs_no_asking(tmp_path: Path) -> None:
    """One image is taken whatever its platform; asked for another platform it is not."""
    source, output = tmp_path / "app.tar", tmp_path / "out.tar"
    docker_archive_old(source, [ImageSpec(APP.layers, ["app:1"], platform="linux/s390x")])
    squash(source, *KEEP_2, "-o", output)
    assert read_image(output).config["architecture"] == "s390x"
    words = (*KEEP_2, "--platform", "linux/arm64", "-o", output, "--force")
    assert_fails(run("squash", source, *words), 5, "linux/arm64", "linux/s390x")


# --- whether it is worth it ------------------------------------------------------------------


def saving(result: Result) -> tuple[int, int]:
    """Stored bytes before and after, from a report."""
    stored = result.json["stored_bytes"]
    assert stored["saved"] == stored["before"] - stored["after"]
    return stored["before"], stored["after"]


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("place", ["file", "layout", "pipe"])
def test_min_saving_decides_to_the_byte(codec: str, place: str, tmp_path: Path) -> None:
    """--min-saving squashes where just that much is saved of the squashed layers' stored bytes, and
    writes the image through unchanged, said so, where it is a byte more, into every kind of output."""
    source, output = tmp_path / "layout", tmp_path / "out"
    oci_layout(source, [APP], compress=None if codec == "none" else codec)  # type: ignore[arg-type]
    ends = {"file": str(output), "layout": f"oci:{output}", "pipe": "-"}
    words = (*KEEP_2, "-o", ends[place], "--report", tmp_path / "report.json")
    before, after = saving(squash(source, *KEEP_2, "-o", tmp_path / "x.tar", "--json"))
    base = sum(len(blob) for blob in read_image(tmp_path / "x.tar").blobs[:2])
    saved = before - after
    share = 100 * saved / (before - base)
    assert saved > 0
    for least, enough in (
        (str(saved), True), (f"{saved + 1}B", False),
        (f"{share - 0.01:.4f}%", True), (f"{share + 0.01:.4f}%", False), ("0", True), ("100%", False),
    ):  # fmt: skip
        result = squash(source, *words, "--min-saving", least, "--force")
        image = read_image(result.out if place == "pipe" else output)
        told = result.err if place == "pipe" else result.text
        if enough:
            assert_same_rootfs(APP.layers, image.layers, 2)
            assert len(image.layers) == 3
        else:
            assert image.image_id == image_id(APP)
            assert image.layers == tuple(APP.layers)
            assert "--min-saving" in told
        if place == "layout":
            shutil.rmtree(output)


@pytest.mark.parametrize(
    ("text", "enough"),
    [("52.7KB", True), ("52.8 kb", False), ("51.5KiB", True), ("51.6 KiB", False), ("1GB", False)],
)
def test_min_saving_takes_units(text: str, enough: bool, tmp_path: Path) -> None:
    """A size may have a unit, of 1000 or of 1024, and a run of which nothing is left is measured too."""
    image = ImageSpec([layer(file("n", bytes(50_688))), layer(whiteout("n"))], ["app:1"])
    docker_archive_old(tmp_path / "app.tar", [image])
    words = ("--all", "--min-saving", text, "-o", tmp_path / "out.tar", "--json")
    report = squash(tmp_path / "app.tar", *words).json
    assert report["changed"] == enough
    assert ("--min-saving" in "".join(report["notes"])) != enough


@pytest.mark.parametrize(
    "text", ["", "5 percent", "-5%", "%", "5%%", "1e3", "nan%", "inf", "5XB", "9" * 400]
)
def test_min_saving_must_be_an_amount(text: str, tmp_path: Path) -> None:
    """What is neither a share nor a size is a usage error, and so is a size without end."""
    docker_archive_old(tmp_path / "app.tar", [APP])
    result = run("squash", tmp_path / "app.tar", *KEEP_2, "--min-saving", text, "-o", tmp_path / "out.tar")
    assert_fails(result, 2, "--min-saving")


def test_a_negative_saving_is_shown_as_one(tmp_path: Path) -> None:
    """Where a squash makes the image larger, the report has a negative number and the summary says
    `more`; --min-saving 0 does not let it."""
    source, output = tmp_path / "layout", tmp_path / "out"
    lean = on_base(BASE, *(layer(file(name, b"x" * 99_000)) for name in "ab"), tags=["lean:1"])
    oci_layout(source, [lean], compress="zstd")
    words = (*KEEP_2, "--compress", "gzip:1", "-o", f"oci:{output}:a", "--force")
    before, after = saving(squash(source, *words, "--json"))
    assert after > before
    assert re.search(r"more \(\d", squash(source, *words).text)
    squash(source, *words, "--min-saving", "0")
    assert read_image(output).image_id == image_id(lean)


def test_a_dry_run_heeds_min_saving(tmp_path: Path) -> None:
    """A dry run says of a plain image whether --min-saving would leave it unchanged."""
    docker_archive_25(tmp_path / "app.tar", [APP])
    words = (tmp_path / "app.tar", *KEEP_2, "--json", "--dry-run")
    assert squash(*words, "--min-saving", "1%").json["changed"]
    report = squash(*words, "--min-saving", "100%").json
    assert not report["changed"]
    assert report["stored_bytes"]["saved"] == 0


def test_a_single_layer_above_the_base_is_kept(app: Path) -> None:
    """A run of one layer is kept byte for byte, so a squash of a squash changes nothing."""
    once, twice = app.parent / "once.tar", app.parent / "twice.tar"
    squash(app, *KEEP_2, "-o", once)
    result = run_process("squash", once, *KEEP_2, "-o", twice)
    assert "nothing to squash" in result.text
    assert twice.read_bytes() == once.read_bytes()
