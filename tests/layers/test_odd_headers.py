"""What readers understand differently is judged as Go reads it, and written so that all read it alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from squashkit.layers import tar
from tests.support.builders import (
    ImageSpec,
    Name,
    directory,
    docker_archive_old,
    fifo,
    file,
    hardlink,
    layer,
    opaque,
    raw,
    sparse,
    symlink,
    whiteout,
)
from tests.support.harness import export_layers, plan_layers, squash_layers
from tests.support.linter import lint
from tests.support.model import apply_layers
from tests.support.odd import BASE, CONTENT, DELETING, HOLES, KINDS, ODD, Odd
from tests.support.runner import assert_fails, run, squash

KEEP_1 = [(0, 1, True), (1, 3, False)]


def merged(odd: Odd) -> list[bytes]:
    """An image's layers, those above the base merged."""
    return squash_layers(odd.layers, KEEP_1)


@pytest.mark.parametrize("name", DELETING)
def test_what_a_layer_deletes_stays_deleted(name: str, tmp_path: Path) -> None:
    """A whiteout behind whatever headers hides its file, to all readers of the result."""
    result = merged(DELETING[name])
    assert [r.name for r in tar.scan_bytes(result[1]) if b".wh." in r.name] == [b"d/.wh.gone"]
    assert b"d/gone" not in apply_layers(result).nodes
    assert b"d/kept" in apply_layers(result).nodes
    docker_archive_old(tmp_path / "odd.tar", [DELETING[name].image("odd:1")])
    squash(tmp_path / "odd.tar", "--keep-layers", "1", "-o", tmp_path / "out.tar", "--check")
    assert run("diff", tmp_path / "odd.tar", tmp_path / "out.tar").code == 0
    assert b"gone" not in run("ls", "-R", tmp_path / "odd.tar", "/d").out


@pytest.mark.parametrize("name", ODD)
def test_the_result_is_in_the_safe_subset(name: str) -> None:
    """A merged layer, and an export, hold nothing that a reader refuses or understands in another way."""
    assert lint([BASE], merged(ODD[name])[1]) == []
    for data in (merged(ODD[name])[1], export_layers(ODD[name].layers)):
        assert [record.odd for record in tar.scan_bytes(data) if record.odd] == []


@pytest.mark.parametrize("name", [name for name in CONTENT if name.startswith("sparse")])
def test_a_sparse_file_comes_out_with_its_content(name: str, tmp_path: Path) -> None:
    """Whichever of its forms a sparse file has, merged and exported it is the same bytes to all readers."""
    content = bytearray(21_000)
    for offset, data in HOLES:
        content[offset : offset + len(data)] = data
    for layers in (merged(CONTENT[name]), [export_layers(CONTENT[name].layers)]):
        node = apply_layers(layers).nodes[b"d/s"]
        assert node.content == bytes(content)


def test_equal_contents_are_equal_in_whatever_form(tmp_path: Path) -> None:
    """A dense file and each sparse form of the same bytes do not differ; another map does."""
    dense = bytearray(21_000)
    for offset, data in HOLES:
        dense[offset : offset + len(data)] = data
    moved = [(offset + 1, data) for offset, data in HOLES]
    files = {form: sparse("s", 21_000, HOLES, form=form) for form in ("old", "0.0", "0.1", "1.0")}
    files |= {"dense": file("s", bytes(dense)), "cut": sparse("s", 21_000, [(n, d[:9]) for n, d in HOLES])}
    files |= {"moved": sparse("s", 21_000, moved)}
    for name, member in files.items():
        docker_archive_old(tmp_path / name, [ImageSpec([layer(member)], ["s:1"])])
    for name in files:
        code = run("diff", tmp_path / "1.0", tmp_path / name).code
        assert code == (3 if name in ("cut", "moved") else 0), name


def test_a_hole_is_compared_by_its_length(tmp_path: Path) -> None:
    """Two files of a petabyte of zeros are compared at once, and one with a byte in it differs."""
    size = 1 << 50
    for name, pieces in {"a": [(0, b"x")], "b": [(0, b"x"), (size // 2, b"\0")], "c": [(1, b"x")]}.items():
        image = ImageSpec([layer(sparse("s", size, pieces))], ["s:1"])
        docker_archive_old(tmp_path / name, [image])
    assert run("diff", tmp_path / "a", tmp_path / "b").code == 0
    assert run("diff", tmp_path / "a", tmp_path / "c").code == 3


def test_kept_types_that_tools_refuse_are_told(tmp_path: Path) -> None:
    """Types S and 7 in a kept layer are told by the squash and by verify; merged they are no matter."""
    odd = layer(sparse("s", 9000, HOLES[:2], form="old"), raw("c", b"x", type=b"7"))
    image = ImageSpec([odd, layer(file("a")), layer(file("b"))], ["t:1"])
    docker_archive_old(tmp_path / "t.tar", [image])
    kept = squash(tmp_path / "t.tar", "--keep-layers", "1", "-o", tmp_path / "kept.tar").out.decode()
    assert "type S" in kept
    assert "type 7" in kept
    told = run("verify", tmp_path / "t.tar").out.decode()
    assert "type S" in told
    assert "type 7" in told
    merged = squash(tmp_path / "t.tar", "--all", "-o", tmp_path / "all.tar").out.decode()
    assert "type " not in merged
    assert "warning" not in run("verify", tmp_path / "all.tar").out.decode()


CONSTRUCTS = {
    "hard link to itself": [file("d/a"), hardlink("d/a", "d/a")],
    "hard link with other attributes than its file's": [file("d/a", mode=0o600), hardlink("d/l", "d/a")],
    "directory not listed by a layer that changes what it holds": [whiteout("d/gone")],
    "one path twice in a layer (directory, then file)": [directory("x"), file("x")],
    "one path twice in a layer (file, then symlink)": [file("x"), symlink("./x", "y")],
    "one path twice in a layer (fifo, then directory)": [fifo("x"), directory("/x")],
    "opaque marker in the root": [opaque("")],
    "a symlink to nothing": [symlink("d/l", "")],
    "has a name of 256 bytes": [file("d/" + "n" * 256)],
    "is a path of 4,201 bytes": [file("/".join(["p" * 100] * 42)[:4201])],
    "is a link to a path of 4,096 bytes": [symlink("l", "t" * 4096)],
}


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_what_tools_apply_differently_is_told(construct: str, tmp_path: Path) -> None:
    """verify names what consumers of layers disagree on, or cannot make, in words."""
    image = ImageSpec([BASE, layer(*CONSTRUCTS[construct])], ["c:1"])
    docker_archive_old(tmp_path / "c.tar", [image])
    told = run("verify", tmp_path / "c.tar").out.decode()
    assert construct in " ".join(told.split()), told


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
def test_a_path_that_stands_twice_is_told(first: str, second: str) -> None:
    """In all pairs of types, spelled alike or not, a plan lists the path as contested."""
    for spelled in ("d/x", "./d/x"):
        members = [file("d/kept"), KINDS[first]("d/x"), KINDS[second](spelled)]
        layers = [BASE, layer(directory("d"), *members), layer(file("top"))]
        contested = plan_layers(layers, KEEP_1).contested
        assert [c.path for c in contested if c.construct.startswith("one path twice")] == [b"d/x"]


LONG: dict[str, Name] = {
    "a name of 256 bytes": "d/" + "n" * 256,
    "a path of 4,096 bytes": ("p" * 100 + "/") * 40 + "p" * 56,
    "a whiteout's name of 256 bytes": b"d/.wh." + b"n" * 256,
}


@pytest.mark.parametrize("name", LONG)
def test_names_that_no_system_holds_are_refused(name: str, tmp_path: Path) -> None:
    """A squash and an export refuse in one line what no consumer can make; a layer that is kept may hold
    it."""
    image = ImageSpec([BASE, layer(file(LONG[name])), layer(file("top"))], ["l:1"])
    docker_archive_old(tmp_path / "l.tar", [image])
    result = run("squash", tmp_path / "l.tar", "--keep-layers", "1", "-o", tmp_path / "out.tar")
    assert_fails(result, 4, "bytes; systems take", "--segments =2,1")
    assert len(result.err) < 600
    assert_fails(run("export", tmp_path / "l.tar", "-o", tmp_path / "rootfs.tar"), 4, "bytes; systems take")
    assert not (tmp_path / "out.tar").exists()
    squash(tmp_path / "l.tar", "--segments", "=2,1", "-o", tmp_path / "out.tar")


@pytest.mark.parametrize("size", [255, 256])
def test_names_as_long_as_systems_hold_are_merged(size: int) -> None:
    """255 bytes of a name, and of a whiteout's without its `.wh.`, are taken; 4,095 of a path, too."""
    members = [file("d/" + "n" * 255), file(("p" * 100 + "/") * 40 + "p" * 55), symlink("l", "t" * 4095)]
    base = layer(file("w" * 255))
    result = squash_layers([base, layer(*members), layer(whiteout("w" * 255))], KEEP_1)
    assert len(apply_layers(result).nodes) == 3 + 41


def test_directories_that_no_layer_lists_are_limited(tmp_path: Path) -> None:
    """Few long names imply a great many directories: refused in a line before they take memory."""
    names = ["/".join([str(n), *"d" * 2000]) for n in range(300)]
    image = ImageSpec([BASE, layer(*map(file, names)), layer(file("top"))], ["l:1"])
    docker_archive_old(tmp_path / "l.tar", [image])
    result = run("squash", tmp_path / "l.tar", "--keep-layers", "1", "-o", tmp_path / "out.tar")
    assert_fails(result, 4, "directories that no layer lists")


def test_listed_directories_are_not_counted() -> None:
    """However many directories layers list, in whatever order, none is too many."""
    names = [f"{n}/{'d' * 100}" for n in range(3000)]
    deep = [member for name in names for member in (file(f"{name}/f"), directory(name))]
    assert plan_layers([BASE, layer(*deep), layer(file("top"))], KEEP_1).layers


TRACES = ["origin", "impure", "nlink", "uuid", "protattr"]
MARKS = ["opaque", "redirect", "metacopy", "whiteout", "whiteouts"]


@pytest.mark.parametrize("value", [b"", b"y", b"\0\xff"])
@pytest.mark.parametrize("prefix", ["trusted", "user"])
def test_traces_of_overlay_are_carried(prefix: str, value: bytes, tmp_path: Path) -> None:
    """What overlay file systems leave behind goes along, whatever its value, and is told."""
    xattrs = {f"{prefix}.overlay.{name}": value for name in TRACES}
    members = [directory("d", xattrs=xattrs), file("d/f", xattrs=xattrs)]
    image = ImageSpec([BASE, layer(*members), layer(file("top"))], ["o:1"])
    docker_archive_old(tmp_path / "o.tar", [image])
    told = squash(tmp_path / "o.tar", "--keep-layers", "1", "-o", tmp_path / "out.tar", "--check")
    assert "trace" in told.out.decode()
    assert run("diff", tmp_path / "o.tar", tmp_path / "out.tar").code == 0


@pytest.mark.parametrize("value", [b"", b"n"])
@pytest.mark.parametrize("mark", [f"{p}.overlay.{m}" for p in ("trusted", "user") for m in MARKS])
def test_marks_of_overlay_are_refused_with_the_way_out(mark: str, value: bytes, tmp_path: Path) -> None:
    """A mark that changes its meaning in a merge is refused whatever its value; the segments that are named
    keep its layer, and work."""
    odd = layer(file("d/f", xattrs={mark: value}))
    others = [layer(file(name)) for name in "abce"]
    image = ImageSpec([BASE, *others[:2], odd, *others[2:]], ["o:1"])
    docker_archive_old(tmp_path / "o.tar", [image])
    result = run("squash", tmp_path / "o.tar", "--keep-layers", "1", "-o", tmp_path / "out.tar")
    assert_fails(result, 4, "d/f", mark, "--segments =1,2,=1,2")
    squash(tmp_path / "o.tar", "--segments", "=1,2,=1,2", "-o", tmp_path / "out.tar", "--check")
