"""The digest of a root file system: equal for equal trees and no others, and anybody can compute it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import squashkit
from squashkit import Keep, Write
from tests.support.builders import (
    Compress,
    ImageSpec,
    Member,
    block,
    char,
    directory,
    docker_archive_25,
    docker_archive_old,
    fifo,
    file,
    hardlink,
    layer,
    oci_layout,
    opaque,
    sparse,
    symlink,
    whiteout,
)
from tests.support.generate import random_image
from tests.support.laws import law
from tests.support.listings import digest_of_model, digest_of_tar
from tests.support.model import apply_layers
from tests.support.runner import assert_fails, run

BIG = random.Random(7).randbytes(5 << 20)
"""More than is read at a time."""


def digest_of(image: Path) -> str:
    """What squashkit says."""
    return squashkit.inspect(str(image), rootfs_digest=True).rootfs_digest


def write(folder: Path, layers: list[bytes], compress: Compress = None) -> Path:
    """A layout of one image, in a folder of its own."""
    path = folder / f"image-{len(list(folder.iterdir()))}"
    oci_layout(path, [ImageSpec(layers, ["app:1"])], compress=compress)
    return path


# --- anybody can compute it ------------------------------------------------------------------

ODD = [
    layer(
        directory(".", mode=0o711, mtime=5, xattrs={"user.top": b"1"}),
        directory("d", mode=0o1777, uid=2**32 - 2, gid=3_000_000),
        file("d/big", BIG, mtime=-1),
        hardlink("d/also big", "d/big", mtime=-1),
        hardlink("a big", "d/big", mtime=-1),
        file("d/" + "n" * 200, b"long", mode=0o6755),
        file(b"d/\xff%20\n=", b"odd", xattrs={"user.a=b\n": b"\0\xff =\n", "user.a": b""}),
        sparse("d/sparse", 3 << 20, [(0, b"one"), (2 << 20, b"two")]),
        sparse("d/old sparse", 100_000, [(4096, b"x" * 512)], form="old"),
        sparse("d/hole", 1 << 20, []),
        symlink("link", b"to/\xfe where"),
        hardlink("other link", "link"),
        char("d/tty", 4, 64),
        block("d/sda", 8, 0),
        fifo("d/pipe"),
        file("d/empty"),
        file("not/listed/above", b"1"),
    ),
    layer(directory("d", mtime=7), whiteout("d/pipe"), file("d/new", BIG[:1000])),
]


@pytest.mark.parametrize("compress", [None, "gzip", "zstd"])
def test_the_program_of_the_documentation_agrees(compress: Compress, tmp_path: Path) -> None:
    """It prints, of the exported tar, what squashkit tells of an image with everything in it that a layer
    can hold; and so does the model."""
    image = write(tmp_path, ODD, compress)
    squashkit.export(str(image), str(tmp_path / "rootfs.tar"))
    assert digest_of(image) == digest_of_tar(tmp_path / "rootfs.tar") == digest_of_model(apply_layers(ODD))


@law(60)
@given(seed=st.integers(0, 10**6), compress=st.sampled_from([None, "gzip", "zstd"]))
def test_random_images_agree(
    seed: int, compress: Compress, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the layers hold, contested or not."""
    folder = tmp_path_factory.mktemp("random")
    layers = random_image(random.Random(seed), contested=bool(seed % 2))
    image = write(folder, layers, compress)
    squashkit.export(str(image), str(folder / "rootfs.tar"))
    assert digest_of(image) == digest_of_tar(folder / "rootfs.tar") == digest_of_model(apply_layers(layers))


# --- equal for equal trees, and no others ----------------------------------------------------

PLAIN: dict[str, Member] = {
    "d": directory("d", mode=0o755, mtime=3),
    "d/f": file("d/f", b"content", mode=0o644, mtime=3, xattrs={"user.k": b"v"}),
    "d/g": file("d/g", b"content", mode=0o644, mtime=3, xattrs={"user.k": b"v"}),
    "l": symlink("l", "d"),
    "c": char("c", 1, 3),
}
SAME = {
    "in two layers": [layer(PLAIN["d"], PLAIN["d/f"]), layer(*list(PLAIN.values())[2:], PLAIN["d"])],
    "in another order": [layer(*reversed(list(PLAIN.values())))],
    "over others": [layer(directory("d"), file("d/x"), file("d/f")), layer(opaque("d"), *PLAIN.values())],
    "with an empty layer": [layer(), layer(*PLAIN.values()), layer()],
    "the same layer twice": [layer(*PLAIN.values()), layer(*PLAIN.values())],
    "after a deletion": [layer(*PLAIN.values(), file("x")), layer(whiteout("x"))],
    "as GNU tar": [layer(*(replace(one, records={}) for one in PLAIN.values()), format="gnu"),
                   layer(PLAIN["d/f"], PLAIN["d/g"])],
    "spelled otherwise": [layer(*(replace(one, name=b"./" + one.name) for one in PLAIN.values()))],
}  # fmt: skip


@pytest.mark.parametrize("layers", SAME.values(), ids=SAME)
def test_equal_trees_have_one_digest(layers: list[bytes], tmp_path: Path) -> None:
    """However they are spread over layers."""
    assert digest_of(write(tmp_path, layers)) == digest_of(write(tmp_path, [layer(*PLAIN.values())]))


OTHER: dict[str, Callable[[dict[str, Member]], object]] = {
    "a name more": lambda tree: tree.update(e=file("e")),
    "a name less": lambda tree: tree.pop("l"),
    "type": lambda tree: tree.update(l=file("l")),
    "mode": lambda tree: tree.update(d=replace(tree["d"], mode=0o750)),
    "owner": lambda tree: tree.update(d=replace(tree["d"], uid=1)),
    "group": lambda tree: tree.update(d=replace(tree["d"], gid=1)),
    "time": lambda tree: tree.update(d=replace(tree["d"], mtime=4)),
    "xattr": lambda tree: tree.update({"d/f": file("d/f", b"content", mtime=3, xattrs={"user.k": b"w"})}),
    "no xattr": lambda tree: tree.update({"d/f": file("d/f", b"content", mtime=3)}),
    "target": lambda tree: tree.update(l=symlink("l", "./d")),
    "device": lambda tree: tree.update(c=char("c", 1, 5)),
    "content": lambda tree: tree.update({"d/f": replace(tree["d/f"], data=b"Content")}),
    "size": lambda tree: tree.update({"d/f": replace(tree["d/f"], data=b"content\0")}),
    "hard links": lambda tree: tree.update({"d/g": hardlink("d/g", "d/f", mtime=3)}),
    "the root": lambda tree: tree.update({".": directory(".")}),
}


@pytest.mark.parametrize("change", OTHER.values(), ids=OTHER)
def test_each_difference_counts(change: Callable[[dict[str, Member]], object], tmp_path: Path) -> None:
    """Trees that differ in one thing have different digests."""
    tree = dict(PLAIN)
    change(tree)
    assert digest_of(write(tmp_path, [layer(*tree.values())])) != digest_of(
        write(tmp_path, [layer(*PLAIN.values())])
    )


def test_a_name_is_no_two_names(tmp_path: Path) -> None:
    """No name, target or xattr can be taken for several fields, or lines, of the list."""
    forged = [
        layer(symlink("l", "t user.k=v")),
        layer(symlink("l", "t", xattrs={"user.k": b"v"})),
        layer(symlink("l", "t\n/m l 0777 0 0 0 t")),
        layer(symlink("l", "t"), symlink("m", "t")),
        layer(symlink("l", "t%20user.k=v")),
    ]
    assert len({digest_of(write(tmp_path, [one])) for one in forged}) == len(forged)


@pytest.mark.parametrize("form", [docker_archive_old, docker_archive_25, oci_layout])
def test_every_form_and_every_squash_has_it(form: Callable[..., object], tmp_path: Path) -> None:
    """An archive, a layout, what is squashed of them and how it is compressed: one digest."""
    form(tmp_path / "app", [ImageSpec(ODD, ["app:1"])])
    expected = digest_of_model(apply_layers(ODD))
    assert digest_of(tmp_path / "app") == expected
    for number, compress in enumerate(["none", "gzip", "gzip:6"]):
        output = tmp_path / f"out{number}"
        report = squashkit.squash(
            str(tmp_path / "app"),
            str(output),
            keep=Keep(nothing=True),
            write=Write(compress=compress, provenance=True),
        )
        assert report.rootfs_digest == digest_of(output) == expected


# --- how it is asked for ---------------------------------------------------------------------


def test_people_and_programs_are_told(tmp_path: Path) -> None:
    """Only where it was asked for."""
    image = write(tmp_path, ODD)
    expected = digest_of_model(apply_layers(ODD))
    assert f"\nrootfs   {expected}\n" in run("inspect", image, "--rootfs-digest").text
    assert run("inspect", image, "--rootfs-digest", "--json").json["rootfs_digest"] == expected
    assert "rootfs" not in run("inspect", image).text
    assert "rootfs_digest" not in run("inspect", image, "--json").json


def test_every_platform_has_its_own(tmp_path: Path) -> None:
    """Told under the heading of each."""
    images = [
        ImageSpec([layer(file("a", one.encode()))], ["app:1"], platform=f"linux/{one}")
        for one in ("amd64", "arm64")
    ]
    oci_layout(tmp_path / "app", images, nested=True)
    found = run("inspect", tmp_path / "app", "--platform", "all", "--rootfs-digest", "--json").json
    assert {name: one["rootfs_digest"] for name, one in found.items()} == {
        f"linux/{one}": digest_of_model(apply_layers(image.layers))
        for one, image in zip(("amd64", "arm64"), images, strict=True)
    }


def test_of_several_images_one_is_named(tmp_path: Path) -> None:
    """There is no digest of all of them."""
    docker_archive_25(tmp_path / "a.tar", [ImageSpec(ODD, ["a:1"]), ImageSpec(ODD[:1], ["b:1"])])
    result = run("inspect", tmp_path / "a.tar", "--rootfs-digest")
    assert_fails(result, 2, "--rootfs-digest is of one image")


def test_a_layer_that_is_not_there(tmp_path: Path) -> None:
    """What is not known has no digest."""
    image = write(tmp_path, [layer(file("a", b"1")), layer(file("b", b"2"))])
    max((image / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size).unlink()
    assert_fails(run("inspect", image, "--rootfs-digest"), 4, "is not in")


def test_holes_without_end(tmp_path: Path) -> None:
    """A few bytes of a tar stand for more zeros than anybody hashes: that is said, and nothing written."""
    holes = [sparse(f"hole{number}", 200 << 30, []) for number in range(2)]
    image = write(tmp_path, [layer(*holes), layer(file("a"))])
    assert_fails(run("inspect", image, "--rootfs-digest"), 1, "hole1: ", "429 GB", "take too long")
    words = ("--all", "-o", tmp_path / "out.tar", "--provenance", tmp_path / "p.json")
    assert_fails(run("squash", image, *words), 1, "take too long")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image-0"]
    assert_fails(run("inspect", image, "--rootfs-digest", "--max-size", "1GB"), 1, "--max-size")
