"""Deflate blocks of gzip layers go over into a squashed one: whichever tool wrote them, and only if all of
it inflates to what was planned."""

from __future__ import annotations

import gzip
import random
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from squashkit.engine.layers import LayerStore
from squashkit.engine.splice import find_parts
from squashkit.layers.pieces import Piece
from squashkit.oci.graph import Layer
from squashkit.transports.deflate import library
from squashkit.transports.deflate.splice import Part
from tests.support.builders import file, layer
from tests.support.gzip_layers import MAKES, PLAIN, layout, shared
from tests.support.gzips import by_program, by_zlib
from tests.support.runner import (
    Arg,
    assert_fails,
    assert_same_rootfs,
    read_image,
    run,
    squash,
    unpack,
    validate,
)

KEEP_1: tuple[Arg, ...] = ("--keep-layers", "1", "--check")


def squashed(source: Path, output: Path, *more: Arg) -> bytes:
    """The new layer's blob; image and root file system are right."""
    result = squash(source, *KEEP_1, "-o", f"oci:{output}:x", *more)
    assert result.code == 0, result.err
    validate(output)
    image = read_image(output)
    assert_same_rootfs(PLAIN, image.layers, keep=1)
    return image.blobs[1]


@pytest.mark.parametrize("make", MAKES)
def test_what_survives_is_copied(make: str, tmp_path: Path) -> None:
    """Of every maker most of the blob is the source's own deflate data; with a level none is, and the
    bytes are those that a plain source gives."""
    source = layout(tmp_path / "app", MAKES[make])
    blobs = read_image(source).blobs
    copied = squashed(source, tmp_path / "copied")
    assert shared(copied, blobs) > 0.7
    for decode in (gzip.decompress, by_program("gzip", "-dc")):
        assert decode(copied) == unpack(copied)
    anew = squashed(source, tmp_path / "anew", "--compress", "gzip:6")
    assert shared(anew, blobs) < 0.3
    plain = layout(tmp_path / "plain", lambda plain: plain)
    assert anew == squashed(plain, tmp_path / "from-plain", "--compress", "gzip")
    assert len(copied) < 1.02 * len(anew)


def test_the_bytes_depend_on_nothing_but_the_source(tmp_path: Path) -> None:
    """Neither on the number of threads nor on the form of the source."""
    source = layout(tmp_path / "app")
    blobs = {squashed(source, tmp_path / f"{jobs}", "--jobs", jobs) for jobs in "124"}
    assert run("squash", source, "--keep-layers", "3", "-o", f"oci-archive:{tmp_path}/app.tar:x").code == 0
    blobs.add(squashed(tmp_path / "app.tar", tmp_path / "archive"))
    assert len(blobs) == 1


def test_a_squash_of_a_squash_copies_again(tmp_path: Path) -> None:
    """A spliced layer is a source like any other."""
    first = tmp_path / "first"
    squashed(layout(tmp_path / "app"), first)
    again = squash(first, "--all", "--check", "-o", f"oci:{tmp_path}/again:x")
    assert again.code == 0, again.err
    blob = read_image(tmp_path / "again").blobs[0]
    assert shared(blob, read_image(first).blobs) > 0.7


def test_what_is_badly_deflated_is_deflated_anew(tmp_path: Path) -> None:
    """Nobody squashes an image to keep what a hasty level left."""
    words = [random.Random(3).randbytes(3).hex().encode() for _ in range(500)]
    text = b" ".join(random.Random(4).choices(words, k=500_000))
    layers = [PLAIN[0], layer(file("a", text)), layer(file("b"))]
    source = layout(tmp_path / "app", lambda plain: by_zlib(plain, level=1), layers)
    for name, more in {"default": [], "anew": ["--compress", "gzip:6"]}.items():
        assert run("squash", source, *KEEP_1, "-o", f"oci:{tmp_path}/{name}:x", *more).code == 0
    blob = read_image(tmp_path / "default").blobs[1]
    assert blob == read_image(tmp_path / "anew").blobs[1]
    assert len(blob) < 0.9 * len(read_image(source).blobs[1])


def test_no_zlib_that_tells_blocks_is_a_way_out_not_other_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes may not depend on the machine. A level that is asked for needs no such zlib, nor does an
    image without gzip layers."""
    source = layout(tmp_path / "app")
    plain = layout(tmp_path / "plain", lambda plain: plain)
    monkeypatch.setattr(library, "_PLACES", {})
    library.find.cache_clear()
    try:
        result = run("squash", source, *KEEP_1, "-o", f"oci:{tmp_path}/out:x")
        assert_fails(result, 1, "--compress gzip:6", "deflate blocks")
        assert not (tmp_path / "out").exists()
        squashed(source, tmp_path / "anew", "--compress", "gzip:6")
        squashed(plain, tmp_path / "from-plain", "--compress", "gzip")
    finally:
        library.find.cache_clear()


def before_writing(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Have something happen once it is decided which blocks are copied."""

    def change_then(layers: LayerStore, sources: Sequence[Layer], pieces: Sequence[Piece]) -> list[Part]:
        found = find_parts(layers, sources, pieces)
        assert found
        change()
        return found

    monkeypatch.setattr("squashkit.engine.write.find_parts", change_then)


@pytest.mark.parametrize("damage", ["changed", "cut"])
def test_a_source_that_changes_before_its_blocks_are_copied(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was verified when it was read; what is copied from it later is inflated again."""
    source = layout(tmp_path / "app")

    def change_it() -> None:
        for path in (source / "blobs/sha256").iterdir():
            blob = path.read_bytes()
            if len(blob) < 100_000:
                continue
            middle = len(blob) // 2
            changed = blob[:middle] + bytes(40) + blob[middle + 40 :]
            path.write_bytes(changed if damage == "changed" else blob[:middle])

    before_writing(monkeypatch, change_it)
    result = run("squash", source, *KEEP_1, "-o", f"oci:{tmp_path}/out:x")
    assert_fails(result, 3 if damage == "changed" else 4)
    assert ("gzip layer" if damage == "changed" else "the end of the file") in result.err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails while the new layer is written is not taken for damage of it."""
    source = layout(tmp_path / "app")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before_writing(monkeypatch, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard)))
    try:
        result = run("squash", source, *KEEP_1, "-o", f"oci:{tmp_path}/out:x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_fails(result, 1, "File too large")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("size", [300_000, 1_500_000])
def test_small_layers_are_sampled_too(level: int, size: int, tmp_path: Path) -> None:
    """Blocks may be larger than what is looked at of a small layer: then a whole one is."""
    words = [random.Random(3).randbytes(3).hex().encode() for _ in range(500)]
    text = b" ".join(random.Random(4).choices(words, k=size // 7))
    layers = [PLAIN[0], layer(file("a", text)), layer(file("b"))]
    source = layout(tmp_path / "app", lambda plain: by_zlib(plain, level=level), layers)
    assert run("squash", source, *KEEP_1, "-o", f"oci:{tmp_path}/out:x").code == 0
    assert len(read_image(tmp_path / "out").blobs[1]) < 0.9 * len(read_image(source).blobs[1])
