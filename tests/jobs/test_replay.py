"""`squash --recipe`, `replay` and `verify --recipe`: the same image again, of the old one alone."""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from squashkit import (
    ByRecipe,
    FleetOptions,
    History,
    Keep,
    Merge,
    Rebase,
    Write,
    rebase,
    replay,
    squash,
    squash_fleet,
    squash_platforms,
    verify,
)
from squashkit.errors import CheckFailed, ImageNotFound, InvalidRecipe, UsageError
from squashkit.jobs.recipes import read_recipe
from squashkit.layers.pieces import Copy
from squashkit.oci.digests import sha256
from squashkit.plan.recipe.form import pack
from squashkit.plan.recipe.model import Recipe
from squashkit.report.fleet.squash import SquashedFleet
from squashkit.report.platforms import IndexReport
from squashkit.report.rebase import RebaseReport
from squashkit.report.squash import Report
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    hardlink,
    kaniko_archive,
    layer,
    noise,
    oci_archive,
    oci_layout,
    on_base,
    symlink,
    whiteout,
)
from tests.support.runner import assert_fails, assert_same_rootfs, read_image, read_images, run, validate

BASE = ImageSpec([layer(directory("etc"), file("etc/os", b"12"), file("gone", b"g"))], ["debian:12"])
APP = on_base(
    BASE,
    layer(
        file("a", noise(3000, "a")), file("b", noise(3000, "b")), directory("d"), file("cache", bytes(9000))
    ),
    layer(whiteout("cache"), whiteout("gone"), hardlink("etc/os2", "etc/os"), symlink("l", "a")),
    layer(file("d/x", b"x" * 700, mode=0o600)),
    tags=["app:1"],
)
KEEP = Keep(layers=1)
FORMS: dict[str, Callable[[Path, list[ImageSpec]], Any]] = {
    "docker-archive": docker_archive_old,
    "docker25": docker_archive_25,
    "kaniko": kaniko_archive,
    "oci-archive": oci_archive,
    "oci": oci_layout,
}


def squashed(folder: Path, form: str = "oci", **write: Any) -> tuple[Path, Path, Path]:
    """An image, what a squash made of it, and the recipe."""
    source, output, recipe = folder / "source", folder / "new", folder / "recipe"
    FORMS[form](source, [APP])
    squash(str(source), str(output), keep=KEEP, write=Write(recipe=recipe, tags="app:new", **write))
    return source, output, recipe


def changed(path: Path, change: Callable[[Recipe], Recipe]) -> None:
    """Write a recipe as somebody else might have it."""
    path.write_bytes(pack(change(read_recipe(path))))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compress", ["none", "gzip", "gzip:9", None])
def test_the_same_again(tmp_path: Path, form: str, compress: str | None) -> None:
    """From the old image and the recipe comes the very file that the squash wrote."""
    source, output, recipe = squashed(tmp_path, form, compress=compress)
    again = tmp_path / "again"
    report = replay(recipe, str(source), str(again), write=Write(tags="app:new"))
    assert isinstance(report, Report)
    assert report.notes[-1] == "The result is the recipe's, its manifest too."
    if output.is_file():
        assert again.read_bytes() == output.read_bytes()
    (image,) = validate(again)
    assert_same_rootfs(APP.layers, image.layers, keep=1)
    assert image.layers == read_image(output).layers
    verdict = verify(str(output), by=ByRecipe(recipe, str(source)))
    assert verdict.replayed is not None
    assert [one.same_blobs for one in verdict.replayed] == [True]


def test_a_recipe_changes_nothing(tmp_path: Path) -> None:
    """The result is the same with and without."""
    source, output, _ = squashed(tmp_path, "docker-archive", compress="gzip")
    squash(str(source), str(tmp_path / "plain"), keep=KEEP, write=Write(compress="gzip", tags="app:new"))
    assert (tmp_path / "plain").read_bytes() == output.read_bytes()


def test_it_is_small(tmp_path: Path) -> None:
    """Nothing of the files is in it."""
    _, _, recipe = squashed(tmp_path)
    assert recipe.stat().st_size < 4000
    packed = zlib.decompress(recipe.read_bytes().partition(b"\n")[2])
    assert noise(3000, "a")[:64] not in packed


def test_options_of_the_squash_are_in_it(tmp_path: Path) -> None:
    """History, created and several runs come out alike."""
    source, output, again = (tmp_path / name for name in ("source", "new", "again"))
    oci_layout(source, [on_base(APP, layer(file("e")), layer(file("f")))])
    history = History(created="2020-01-01T00:00:00Z", message="smaller", drop=True)
    write = Write(recipe=tmp_path / "r", tags="n:1")
    squash(str(source), str(output), keep=Keep(segments="=1,2,1,2"), history=history, write=write)
    replay(tmp_path / "r", str(source), str(again), write=Write(tags="n:1"))
    assert read_image(again).config == read_image(output).config
    assert read_image(again).config["created"] == "2020-01-01T00:00:00Z"


def test_the_base_is_told_alike(tmp_path: Path) -> None:
    """The annotations of the manifest are those of the squash, though nobody names the base again."""
    source, output, again = (tmp_path / name for name in ("source", "new", "again"))
    oci_layout(source, [APP, BASE])
    squash(f"oci:{source}:app:1", f"oci:{output}:x", keep="debian:12", write=Write(recipe=tmp_path / "r"))
    report = replay(tmp_path / "r", f"oci:{source}:app:1", f"oci:{again}:x")
    assert isinstance(report, Report)
    assert "its manifest too" in report.notes[-1]
    assert read_image(again).manifest == read_image(output).manifest


def test_an_unchanged_image(tmp_path: Path) -> None:
    """What a squash left as it is, a replay leaves, too."""
    source, output = tmp_path / "source", tmp_path / "new"
    oci_layout(source, [APP])
    squash(str(source), str(output), keep=Keep(layers=4), write=Write(recipe=tmp_path / "r", tags="x:1"))
    report = replay(tmp_path / "r", str(source), str(tmp_path / "again"), write=Write(tags="x:1"))
    assert isinstance(report, Report)
    assert not report.changed
    assert read_image(tmp_path / "again").manifest == read_image(output).manifest


def test_an_image_without_layers(tmp_path: Path) -> None:
    """The one empty layer of an image of which nothing is left."""
    source = tmp_path / "source"
    oci_layout(source, [ImageSpec([layer(file("a")), layer(whiteout("a"))], ["x:1"])])
    squash(str(source), str(tmp_path / "n"), keep=Keep(nothing=True), write=Write(recipe=tmp_path / "r"))
    replay(tmp_path / "r", str(source), str(tmp_path / "again"))
    assert read_image(tmp_path / "again").layers == (bytes(1024),)


def test_platforms(tmp_path: Path) -> None:
    """All of an index, and the index is the same."""
    source, output = tmp_path / "source", tmp_path / "new"
    other = on_base(BASE, layer(file("a", b"1")), layer(file("a", b"2")), tags=["app:1"])
    images = [APP, replace(other, platform="linux/arm64")]
    oci_layout(source, images, nested=True)
    done = squash_platforms(
        f"oci:{source}:app:1", f"oci:{output}:n", keep=KEEP, write=Write(recipe=tmp_path / "r")
    )
    again = replay(tmp_path / "r", f"oci:{source}:app:1", f"oci:{tmp_path / 'again'}:n")
    assert isinstance(again, IndexReport)
    assert again.manifest_digest == done.manifest_digest
    assert (tmp_path / "again" / "index.json").read_bytes() == (output / "index.json").read_bytes()


def test_the_old_image_from_elsewhere(tmp_path: Path) -> None:
    """Of an archive whose layers are stored otherwise comes the same image, and its manifest is told to be
    another."""
    _, output, recipe = squashed(tmp_path, "oci", compress="gzip")
    docker_archive_old(tmp_path / "plain", [APP])
    again = tmp_path / "again"
    report = replay(recipe, str(tmp_path / "plain"), str(again), write=Write(tags="app:new"))
    assert isinstance(report, Report)
    assert report.image_id == read_image(output).image_id
    assert "Its manifest is another: the kept layers are stored as other blobs" in report.notes[-1]


def test_another_compressor(tmp_path: Path) -> None:
    """What another version compressed otherwise is proven by its diff_id, and told."""
    source, output, recipe = squashed(tmp_path, "oci", compress="gzip:6")

    def older(known: Recipe) -> Recipe:
        (made,) = known.layers
        made = replace(made, digest=sha256(b"other bytes"), compressor="zlib-ng 2.0.0")
        (image,) = known.images
        return replace(known, layers=(made,), images=(replace(image, manifest=sha256(b"other")),))

    changed(recipe, older)
    report = replay(recipe, str(source), str(tmp_path / "again"), write=Write(tags="x:1"))
    assert isinstance(report, Report)
    assert report.image_id == read_image(output).image_id
    assert "the recipe's by zlib-ng 2.0.0" in report.notes[-1]


# --- recipes of strangers ----------------------------------------------------------------------


def refused(tmp_path: Path, change: Callable[[list[Any], Recipe], list[Any]], *words: str) -> None:
    """A recipe whose pieces somebody changed writes nothing."""
    source, _, recipe = squashed(tmp_path, "docker-archive")

    def other(known: Recipe) -> Recipe:
        (made,) = known.layers
        return replace(known, layers=(replace(made, pieces=tuple(change(list(made.pieces), known))),))

    changed(recipe, other)
    again = tmp_path / "again"
    result = run("replay", recipe, source, "-o", again, "-t", "x:1")
    assert_fails(result, 3, *words)
    assert not again.exists()
    assert_fails(run("verify", tmp_path / "new", "--recipe", recipe, "--source", source), 3, *words)


def test_two_contents_swapped(tmp_path: Path) -> None:
    """Files of one size that hold each other's bytes: every header and all sizes are right."""

    def swap(pieces: list[Any], known: Recipe) -> list[Any]:
        place = next(
            n for n, one in enumerate(pieces) if isinstance(one, Copy) and one.end - one.start > 7000
        )
        span = pieces[place]
        # a's header, a's data, b's header, b's data: 512 and 3,072 bytes each
        a, b = span.start, span.start + 3584
        halves = [
            (a, a + 512),
            (b + 512, b + 3584),
            (b, b + 512),
            (a + 512, a + 3584),
            (b + 3584, span.end),
        ]
        return [
            *pieces[:place],
            *(Copy(span.layer, start, end) for start, end in halves if start < end),
            *pieces[place + 1 :],
        ]

    refused(tmp_path, swap, "is not what the layers 1 to 3 are", "/a  content", "/b  content")


def test_a_file_more(tmp_path: Path) -> None:
    """A new file, which the recipe brings."""

    def add(pieces: list[Any], known: Recipe) -> list[Any]:
        return [*pieces, layer(file("zz", b"evil"), end=False)]

    refused(tmp_path, add, "/zz  added")


def test_a_mode(tmp_path: Path) -> None:
    """The same file, with a header of the recipe's own."""

    def set_mode(pieces: list[Any], known: Recipe) -> list[Any]:
        extra = layer(file("a", noise(3000, "a"), mode=0o4755), end=False)
        place = next(
            n for n, one in enumerate(pieces) if isinstance(one, Copy) and one.end - one.start > 7000
        )
        span = pieces[place]
        rest = Copy(span.layer, span.start + 3584, span.end)
        data = Copy(span.layer, span.start + 512, span.start + 3584)
        return [*pieces[:place], extra[:512], data, rest, *pieces[place + 1 :]]

    refused(tmp_path, set_mode, "/a  mode")


def test_bytes_from_behind_the_end(tmp_path: Path) -> None:
    """A span that no layer has."""

    def far(pieces: list[Any], known: Recipe) -> list[Any]:
        return [*pieces, Copy(0, 1 << 40, (1 << 40) + 512)]

    refused(tmp_path, far, "from behind its end")


def test_attributes_that_tools_take_from_different_headers(tmp_path: Path) -> None:
    """A file whose first header says another mode than its hard link's: docker takes the one, umoci the
    other."""
    source, recipe = tmp_path / "source", tmp_path / "recipe"
    linked = [file("f", b"x" * 10, mode=0o755), hardlink("g", "f", mode=0o755)]
    docker_archive_old(source, [on_base(BASE, layer(*linked), layer(file("h")), tags=["x:1"])])
    squash(str(source), str(tmp_path / "n"), keep=KEEP, write=Write(recipe=recipe, tags="x:2"))

    def set_mode(known: Recipe) -> Recipe:
        (made,) = known.layers
        span, *others = made.pieces
        assert isinstance(span, Copy)
        head = layer(file("f", b"x" * 10, mode=0o6777), end=False)[:512]
        rest = span._replace(start=span.start + 512)
        return replace(known, layers=(replace(made, pieces=(head, rest, *others)),))

    changed(recipe, set_mode)
    assert_fails(run("replay", recipe, source, "-o", tmp_path / "again", "-t", "x:2"), 3, "hard link")
    assert not (tmp_path / "again").exists()


def test_another_promise(tmp_path: Path) -> None:
    """A right layer in an image that would be another than the recipe says."""
    source, _, recipe = squashed(tmp_path)

    def promise(known: Recipe) -> Recipe:
        (image,) = known.images
        return replace(known, images=(replace(image, image_id=sha256(b"mine")),))

    changed(recipe, promise)
    with pytest.raises(CheckFailed, match="must be"):
        replay(recipe, str(source), str(tmp_path / "again"), write=Write(tags="x:1"))
    assert not (tmp_path / "again").exists()


def test_the_wrong_image(tmp_path: Path) -> None:
    """Of another image it makes nothing."""
    _, _, recipe = squashed(tmp_path)
    oci_layout(tmp_path / "other", [on_base(BASE, layer(file("q")), layer(file("r")))])
    with pytest.raises(ImageNotFound, match="the recipe is of that image"):
        replay(recipe, str(tmp_path / "other"), str(tmp_path / "again"))
    with pytest.raises(ImageNotFound):
        verify(str(tmp_path / "new"), by=ByRecipe(recipe, str(tmp_path / "other")))


def test_what_is_left_out(tmp_path: Path) -> None:
    """A recipe that leaves something out does so only for who says the same."""
    source, output, recipe = (tmp_path / name for name in ("source", "new", "recipe"))
    docker_archive_old(source, [APP])
    merge = Merge(exclude="/d/*")
    squash(str(source), str(output), keep=KEEP, merge=merge, write=Write(recipe=recipe, tags="x:1"))
    again = tmp_path / "again"
    assert_fails(run("replay", recipe, source, "-o", again, "-t", "x:1"), 3, "--exclude /d/*")
    assert not again.exists()
    done = run("replay", recipe, source, "-o", again, "-t", "x:1", "--exclude", "/d/*")
    assert done.code == 0, done.err
    assert again.read_bytes() == output.read_bytes()
    done = run("verify", output, "--recipe", recipe, "--source", source, "--exclude", "/d/*")
    assert done.code == 0, done.err

    def more(known: Recipe) -> Recipe:
        (made,) = known.layers
        return replace(known, layers=(replace(made, pieces=made.pieces[:-1]),))

    changed(recipe, more)
    assert_fails(
        run("replay", recipe, source, "-o", again, "--force", "--exclude", "/d/*"),
        3,
        "not what the job plans",
    )
    assert again.read_bytes() == output.read_bytes()


def test_no_recipe_leaves_out_nothing(tmp_path: Path) -> None:
    """Who leaves out what the recipe does not, is told."""
    source, _, recipe = squashed(tmp_path)
    with pytest.raises(CheckFailed, match="another root file system"):
        replay(recipe, str(source), str(tmp_path / "again"), merge=Merge(exclude="/a"))


def test_paths_through_symlinks(tmp_path: Path) -> None:
    """How the old image is read is the caller's business."""
    source, output, recipe = (tmp_path / name for name in ("source", "new", "recipe"))
    base = ImageSpec([layer(directory("t"), file("t/a", b"A"), symlink("l", "t"))], ["b:1"])
    layers = layer(file("l/x", b"X" * 600)), layer(file("t/a", b"A2"))
    docker_archive_old(source, [on_base(base, *layers, tags=["s:1"])])
    merge = Merge(symlink_parents="follow")
    squash(str(source), str(output), keep=KEEP, merge=merge, write=Write(recipe=recipe, tags="s:2"))
    words = (recipe, source, "-o", tmp_path / "again", "-t", "s:2")
    assert_fails(run("replay", *words), 3, "--symlink-parents follow")
    assert_fails(run("verify", output, "--recipe", recipe, "--source", source), 3, "follow")
    assert run("replay", *words, "--symlink-parents", "follow").code == 0
    assert (tmp_path / "again").read_bytes() == output.read_bytes()


def test_blind(tmp_path: Path) -> None:
    """What is not known to be right has no recipe."""
    with pytest.raises(UsageError, match="has no recipe"):
        squash("x.tar", "y.tar", merge=Merge(blind=True), write=Write(recipe=tmp_path / "r"))


def test_an_image_beside_it(tmp_path: Path) -> None:
    """What the recipe does not make, nobody has proved."""
    source, output, recipe = (tmp_path / name for name in ("source", "new", "recipe"))
    oci_layout(source, [APP])
    squash(str(source), f"oci:{output}:mine", keep=KEEP, write=Write(recipe=recipe))
    squash(str(source), f"oci:{output}:other", keep=Keep(layers=2))
    words = ("--recipe", recipe, "--source", source)
    assert_fails(run("verify", f"oci:{output}", *words), 3, "here is sha256:")
    assert run("verify", f"oci:{output}:mine", *words).code == 0


# --- files -------------------------------------------------------------------------------------


def test_files_that_are_none(tmp_path: Path) -> None:
    """One clear line, and exit code 4; or 5 where there is none."""
    source, _, recipe = squashed(tmp_path)
    (tmp_path / "none").write_bytes(b"")
    for path in (tmp_path / "none", source / "index.json"):
        assert_fails(run("replay", path, source, "-o", tmp_path / "x"), 4, "no recipe")
    for path in (tmp_path / "absent", tmp_path):
        assert_fails(run("replay", path, source, "-o", tmp_path / "x"), 5, "no such file")
    data = recipe.read_bytes().replace(b'"version":1', b'"version":7')
    recipe.write_bytes(data)
    assert_fails(run("replay", recipe, source, "-o", tmp_path / "x"), 4, "version 7")
    assert not (tmp_path / "x").exists()


def test_damaged_ones(tmp_path: Path) -> None:
    """Cut or changed anywhere, it is refused, or is what it was."""
    _, _, path = squashed(tmp_path)
    data, whole = path.read_bytes(), read_recipe(path)
    places = [*range(0, len(data), 7)]
    for place in places:
        for damaged in (data[:place], data[:place] + bytes([data[place] ^ 0x21]) + data[place + 1 :]):
            path.write_bytes(damaged)
            try:
                read_recipe(path)
            except InvalidRecipe:
                continue
            # A text or a digest of the head became another one, which replay holds against the truth.
            assert damaged.partition(b"\n")[2] == data.partition(b"\n")[2]
    path.write_bytes(data)
    assert read_recipe(path) == whole


def test_what_it_says_stays_on_its_line(tmp_path: Path) -> None:
    """Texts of a recipe come into messages on one line, and short."""
    source, _, path = squashed(tmp_path)
    line, _, body = path.read_bytes().partition(b"\n")
    head = json.loads(line)
    head["options"]["exclude"] = ["x\nGood: all"]
    path.write_bytes(json.dumps(head).encode() + b"\n" + body)
    result = run("replay", path, source, "-o", tmp_path / "again")
    assert_fails(result, 3, "x\\nGood: all")
    assert result.err.count("\n") == 1
    head["options"]["exclude"] = []
    head["images"][0]["segments"] = "=1," * 100_000 + "1"
    path.write_bytes(json.dumps(head).encode() + b"\n" + body)
    result = run("replay", path, source, "-o", tmp_path / "again")
    assert_fails(result, 4, "does not fit app:1, which has 4 layers")
    assert len(result.err) < 200


def test_its_words_are_told(tmp_path: Path) -> None:
    """What it brings into the history stands in the summary."""
    source = tmp_path / "source"
    docker_archive_old(source, [APP])
    history = History(created="2031-01-01T00:00:00Z", message="approved")
    write = Write(recipe=tmp_path / "r", tags="x:2")
    squash(str(source), str(tmp_path / "n"), keep=KEEP, history=history, write=write)
    report = replay(tmp_path / "r", str(source), str(tmp_path / "again"), write=Write(tags="x:2"))
    assert isinstance(report, Report)
    (said,) = [note for note in report.notes if "history" in note]
    assert "2031-01-01T00:00:00Z" in said
    assert "approved" in said


def test_it_is_not_written_over(tmp_path: Path) -> None:
    """A recipe is an input."""
    source, _, path = squashed(tmp_path)
    before = path.read_bytes()
    for words in (("-o", path), ("-o", tmp_path / "again", "--report", path)):
        assert_fails(run("replay", path, source, "-t", "x:1", "--force", *words), 2, "input")
    assert path.read_bytes() == before


def test_a_bomb(tmp_path: Path) -> None:
    """Pieces that inflate to more than they say are not inflated."""
    _, _, path = squashed(tmp_path)
    head = path.read_bytes().partition(b"\n")[0]
    path.write_bytes(head + b"\n" + zlib.compress(bytes(50_000_000)))
    with pytest.raises(InvalidRecipe, match="not as many bytes"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("images", [], "of no image"),
        ("images", [{}], "images[0]: base is no object"),
        ("blobs", None, "blobs is no list"),
        ("job", "cook", "a job 'cook'"),
        ("sources", [{"image_id": "x"}], "sources[0]"),
        ("layers", "many", "layers is no list"),
        ("body", {"size": -1, "digest": ""}, "size is -1"),
        ("options", {"blind": True}, "not those of a squash"),
    ],
)
def test_heads_of_strangers(tmp_path: Path, key: str, value: object, words: str) -> None:
    """Fields of other types, and what is not there."""
    source, _, path = squashed(tmp_path)
    line, _, body = path.read_bytes().partition(b"\n")
    head = json.loads(line)
    head[key] = value
    path.write_bytes(json.dumps(head).encode() + b"\n" + body)
    result = run("replay", path, source, "-o", tmp_path / "again")
    assert_fails(result, 4, words)


def test_it_is_written_at_once_or_not(tmp_path: Path) -> None:
    """Where a squash fails, or is a dry run, there is no recipe; where none can be written, no squash."""
    source = tmp_path / "source"
    docker_archive_old(source, [APP])
    recipe = tmp_path / "recipe"
    words = ("squash", source, "--keep-layers", "1", "-t", "x:1")
    assert run(*words, "-o", tmp_path / "n", "--recipe", recipe, "-n").code == 0
    assert not recipe.exists()
    (tmp_path / "taken").write_bytes(b"")
    assert run(*words, "-o", tmp_path / "taken", "--recipe", recipe).code == 2
    assert not recipe.exists()
    result = run(*words, "-o", tmp_path / "n", "--recipe", tmp_path / "absent" / "r")
    assert_fails(result, 2, "no file can be written there")
    assert_fails(run(*words, "-o", tmp_path / "n", "--recipe", source), 2, "is an input")
    assert not (tmp_path / "n").exists()


# --- rebases -----------------------------------------------------------------------------------

NEW_BASE = ImageSpec(
    [layer(directory("etc"), file("etc/os", b"13"), file("gone", b"g2"))],
    ["debian:13"],
    config={"Env": ["A=1"]},
)


PLAIN = on_base(
    BASE,
    layer(directory("d"), file("d/a", noise(900, "a")), whiteout("gone")),
    layer(file("d/a", noise(900, "b")), file("etc/mine", b"m")),
    tags=["app:1"],
)


@pytest.mark.parametrize("squashes", [False, True])
@pytest.mark.parametrize("form", ["docker-archive", "oci"])
def test_a_rebase(tmp_path: Path, form: str, squashes: bool) -> None:
    """The same again of the image and both bases, wherever they lie, whatever these are called there."""
    for name, image in (("app", PLAIN), ("old", BASE), ("new", NEW_BASE)):
        FORMS[form](tmp_path / name, [image])
    output, again, recipe = (tmp_path / name for name in ("out", "again", "r"))
    how = Rebase(str(tmp_path / "new"), str(tmp_path / "old"), squash=squashes)
    rebase(str(tmp_path / "app"), str(output), how, write=Write(recipe=recipe, tags="app:2"))
    elsewhere = [tmp_path / f"{name}2" for name in ("app", "new", "old")]
    for name, image in (("app2", PLAIN), ("old2", BASE), ("new2", NEW_BASE)):
        FORMS[form](tmp_path / name, [image])
    report = replay(recipe, [*map(str, elsewhere)], str(again), write=Write(tags="app:2"))
    assert isinstance(report, RebaseReport)
    assert report.job is not None
    assert read_image(again).config == read_image(output).config
    assert report.job.notes[-1] == "The result is the recipe's, its manifest too."
    verdict = verify(str(output), by=ByRecipe(recipe, [*map(str, elsewhere)]))
    assert verdict.replayed is not None
    assert verdict.replayed[0].same_blobs


def test_a_rebase_of_strangers(tmp_path: Path) -> None:
    """Another base, a base too few, another plan, or another promise: nothing is written."""
    for name, image in (("app", PLAIN), ("old", BASE), ("new", NEW_BASE)):
        docker_archive_old(tmp_path / name, [image])
    output, again, recipe = (tmp_path / name for name in ("out", "again", "r"))
    app, old, new = (str(tmp_path / name) for name in ("app", "old", "new"))
    how = Rebase(new, old, squash=True)
    rebase(app, str(output), how, write=Write(recipe=recipe, tags="app:2"))
    write = Write(tags="app:2")
    with pytest.raises(UsageError, match="its new base"):
        replay(recipe, app, str(again), write=write)
    with pytest.raises(ImageNotFound, match="not the base that the recipe is of"):
        replay(recipe, [app, app, old], str(again), write=write)

    def other(known: Recipe) -> Recipe:
        (made,) = known.layers
        return replace(known, layers=(replace(made, pieces=made.pieces[1:]),))

    whole = recipe.read_bytes()
    changed(recipe, other)
    with pytest.raises(CheckFailed, match="not what the job plans"):
        replay(recipe, [app, new, old], str(again), write=write)
    recipe.write_bytes(whole)
    changed(recipe, lambda known: replace(known, images=(replace(known.images[0], image_id=sha256(b"x")),)))
    with pytest.raises(CheckFailed, match="must be"):
        replay(recipe, [app, new, old], str(again), write=write)
    assert not again.exists()


def test_a_rebase_that_goes_on_at_errors(tmp_path: Path) -> None:
    """It has no recipe, and a recipe that does is not followed."""
    for name, image in (("app", PLAIN), ("old", BASE), ("new", NEW_BASE)):
        docker_archive_old(tmp_path / name, [image])
    app, old, new, recipe = (str(tmp_path / name) for name in ("app", "old", "new", "r"))
    write = Write(recipe=recipe, tags="app:2")
    for how in (Rebase(new, old, strict=False), Rebase(new, old, allow="type")):
        with pytest.raises(UsageError, match="has no recipe"):
            rebase(app, str(tmp_path / "out"), how, write=write)
    rebase(app, str(tmp_path / "out"), Rebase(new, old), write=write)
    changed(tmp_path / "r", lambda known: replace(known, options={**known.options, "strict": False}))
    with pytest.raises(CheckFailed, match="goes on at errors"):
        replay(recipe, [app, new, old], str(tmp_path / "again"), write=Write(tags="app:2"))
    assert not (tmp_path / "again").exists()


# --- fleets ------------------------------------------------------------------------------------


def a_fleet(folder: Path) -> list[str]:
    """Three images on one base, of which two have a layer more, and files alike."""
    shared = layer(directory("lib"), file("lib/x", noise(90_000, "x")), file("lib/t", bytes(9000)))
    images = [
        on_base(BASE, shared, layer(whiteout("lib/t"), file("one")), tags=["one:1"]),
        on_base(BASE, shared, layer(whiteout("lib/t"), file("one")), layer(file("two")), tags=["two:1"]),
        on_base(
            BASE,
            layer(directory("lib"), file("lib/x", noise(90_000, "x")), file("y")),
            layer(file("lib/z", noise(50, "z"))),
            tags=["three:1"],
        ),
    ]
    docker_archive_old(folder / "base", [BASE])
    for image in images:
        docker_archive_old(folder / image.tags[0].partition(":")[0], [image])
    return [str(folder / name) for name in ("one", "two", "three")]


@pytest.mark.parametrize("strategy", ["built", "base", "trie", "best", "carve", "all"])
def test_a_fleet(tmp_path: Path, strategy: str) -> None:
    """One recipe for all of its images, which come out alike, in whatever order they are named."""
    images, recipe = a_fleet(tmp_path), tmp_path / "r"
    fleet = FleetOptions(bases=str(tmp_path / "base"), estimate=True)
    squash_fleet(images, f"oci:{tmp_path / 'out'}", strategy, fleet=fleet, recipe=recipe)
    done = replay(recipe, images[::-1], f"oci:{tmp_path / 'again'}")
    assert isinstance(done, SquashedFleet)
    made = {image.names: image.config for image in read_images(tmp_path / "out")}
    assert {image.names: image.config for image in read_images(tmp_path / "again")} == made
    assert len(made) == 3
    verdict = verify(f"oci:{tmp_path / 'out'}:two:1", by=ByRecipe(recipe, images))
    assert verdict.replayed is not None
    assert [one.same_blobs for one in verdict.replayed] == [True]


def test_a_fleet_of_strangers(tmp_path: Path) -> None:
    """An image too few, other pieces, another promise: nothing is written."""
    images, recipe = a_fleet(tmp_path), tmp_path / "r"
    fleet = FleetOptions(bases=str(tmp_path / "base"), estimate=True)
    squash_fleet(images, f"oci:{tmp_path / 'out'}", "base", fleet=fleet, recipe=recipe)
    again = f"oci:{tmp_path / 'again'}"
    with pytest.raises(ImageNotFound, match="the recipe is of"):
        replay(recipe, [*images[:2], str(tmp_path / "base")], again)
    whole = recipe.read_bytes()

    def other(known: Recipe) -> Recipe:
        made = replace(known.layers[0], pieces=known.layers[0].pieces[1:])
        return replace(known, layers=(made, *known.layers[1:]))

    changed(recipe, other)
    with pytest.raises(CheckFailed, match="not what the job plans"):
        replay(recipe, images, again)
    recipe.write_bytes(whole)
    with pytest.raises(CheckFailed, match="the times of files"):
        replay(recipe, images, again, clamp_mtime="2020-01-01T00:00:00Z")
    assert not (tmp_path / "again").exists()


def test_clamped_times(tmp_path: Path) -> None:
    """A recipe that changes times does so only for who says the same."""
    images, recipe = a_fleet(tmp_path), tmp_path / "r"
    time = "1970-01-01T00:00:00Z"
    fleet = FleetOptions(bases=str(tmp_path / "base"), estimate=True, clamp_mtime=time)
    squash_fleet(images, f"oci:{tmp_path / 'out'}", "carve", fleet=fleet, recipe=recipe)
    with pytest.raises(CheckFailed, match="the times of files"):
        replay(recipe, images, f"oci:{tmp_path / 'again'}")
    replay(recipe, images, f"oci:{tmp_path / 'again'}", clamp_mtime=time)
    words = ("--source", images[0], "--source", images[1], "--source", images[2])
    new = f"oci:{tmp_path / 'out'}:two:1"
    assert_fails(run("verify", new, "--recipe", recipe, *words), 3, "--clamp-mtime")
    assert run("verify", new, "--recipe", recipe, *words, "--clamp-mtime", time).code == 0


def test_a_recipe_to_a_pipe(tmp_path: Path) -> None:
    """What is no file is written to as it is, and stays what it is."""
    source, pipe = tmp_path / "source", tmp_path / "pipe"
    docker_archive_old(source, [APP])
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    done = run("squash", source, "--keep-layers", "1", "-t", "x:1", "-o", tmp_path / "n", "--recipe", pipe)
    reader.join(10)
    assert done.code == 0, done.err
    assert pipe.is_fifo()
    (tmp_path / "r").write_bytes(got[0])
    assert read_recipe(tmp_path / "r").job == "squash"
