"""`squashkit ls` and `squashkit cat`: what an image holds, and the bytes of a file, without unpacking."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.builders import (
    SPARSE,
    ImageSpec,
    Sparse,
    block,
    directory,
    docker_archive_25,
    docker_archive_old,
    file,
    hardlink,
    layer,
    oci_layout,
    opaque,
    sparse,
    symlink,
    whiteout,
)
from tests.support.model import apply_layers, differences
from tests.support.runner import Arg, assert_fails, run

IMAGE = ImageSpec(
    [
        layer(
            directory("usr"), directory("usr/bin"), file("usr/bin/sh", b"#!", mode=0o644),
            symlink("bin", "usr/bin"), file("gone", b"x"), directory("old"), file("old/f"),
        ),
        layer(
            whiteout("gone"), directory("old", mode=0o1777), opaque("old"), directory("usr"),
            hardlink("bash", "usr/bin/sh"), block("disk", 8, 1), symlink("usr/loop", "loop"),
            file("usr/caps", b"c", uid=5, gid=6, xattrs={"user.k": b"v"}),
        ),
    ],
    ["app:1"],
)  # fmt: skip


@pytest.fixture
def image(tmp_path: Path) -> Path:
    docker_archive_old(tmp_path / "app.tar", [IMAGE])
    return tmp_path / "app.tar"


def lines(*args: Arg) -> list[str]:
    result = run(*args)
    assert (result.code, result.err) == (0, "")
    return result.out.decode().splitlines()


def test_a_directory_is_listed(image: Path) -> None:
    """The root by default, any directory by its path, through symlinks of the image too."""
    assert lines("ls", image) == ["/bash", "/bin", "/disk", "/old", "/usr"]
    assert lines("ls", image, "/usr/") == ["/usr/bin", "/usr/caps", "/usr/loop"]
    assert lines("ls", image, "usr/../bin/.") == ["/usr/bin/sh"]
    assert lines("ls", image, "old") == []
    assert lines("ls", image, "bin/sh") == ["/bin/sh"]


def test_recursive(image: Path) -> None:
    """-R goes down, each directory followed by what it holds."""
    assert lines("ls", image, "-R", "/usr") == ["/usr/bin", "/usr/bin/sh", "/usr/caps", "/usr/loop"]


def test_the_long_form(image: Path) -> None:
    """-l has mode, names of the inode, owner, size or device, time, path and target."""
    rows = [line.split() for line in lines("ls", "-l", image)]
    date = ["1970-01-01", "00:00:00"]
    assert rows == [
        ["mode", "links", "owner", "size", "time", "path"],
        ["-rw-r--r--", "2", "0:0", "2", *date, "/bash"],
        ["lrwxrwxrwx", "1", "0:0", "0", *date, "/bin", "->", "usr/bin"],
        ["brw-r--r--", "1", "0:0", "8,", "1", *date, "/disk"],
        ["drwxrwxrwt", "1", "0:0", "0", *date, "/old"],
        ["drwxr-xr-x", "1", "0:0", "0", *date, "/usr"],
    ]
    caps = lines("ls", "-l", image, "/usr/caps")[1].split()
    assert caps[:3] == ["-rw-r--r--+", "1", "5:6"]


def test_a_layer(image: Path) -> None:
    """--layer lists what one layer holds, --whiteouts what it hides too, by the markers' names."""
    assert lines("ls", image, "--layer", "0", "/usr") == ["/usr", "/usr/bin", "/usr/bin/sh"]
    assert lines("ls", image, "--layer", "1", "--whiteouts") == [
        "/old", "/usr", "/bash", "/disk", "/usr/loop", "/usr/caps", "/.wh.gone", "/old/.wh..wh..opq",
    ]  # fmt: skip
    assert lines("ls", image, "--layer", "1", "--whiteouts", "/old") == ["/old", "/old/.wh..wh..opq"]
    assert lines("ls", "-l", image, "--layer", "1", "/bash")[1].endswith("/bash link to /usr/bin/sh")
    assert_fails(run("ls", image, "--layer", "2"), 2, "0 to 1")
    assert_fails(run("ls", image, "--whiteouts"), 2, "--layer")


def test_json(image: Path) -> None:
    """--json has every column, and xattrs."""
    (caps,) = json.loads(run("ls", image, "/usr/caps", "--json").out)
    assert caps == {
        "path": "/usr/caps", "kind": "file", "mode": "0644", "uid": 5, "gid": 6, "size": 1, "mtime": "0",
        "links": 1, "target": None, "device": None, "xattrs": {"user.k": "v"},
    }  # fmt: skip
    hidden = json.loads(run("ls", image, "--layer", "1", "--whiteouts", "--json").out)[-2:]
    assert hidden == [
        {"path": "/.wh.gone", "kind": "whiteout"},
        {"path": "/old/.wh..wh..opq", "kind": "whiteout"},
    ]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("path", ["/usr/bin/sh", "bin/sh", "bash"])
def test_a_file_is_printed(path: str, compressed: bool, tmp_path: Path) -> None:
    """cat gives a file's bytes by any of its names, from plain and compressed layers, and from a pipe."""
    if compressed:
        docker_archive_25(tmp_path / "app.tar", [IMAGE], compress="gzip")
    else:
        docker_archive_old(tmp_path / "app.tar", [IMAGE])
    assert run("cat", tmp_path / "app.tar", path).out == b"#!"
    assert run("cat", "-", path, stdin=(tmp_path / "app.tar").read_bytes()).out == b"#!"


def test_binary_content(tmp_path: Path) -> None:
    """Bytes come out as they are, over several blocks; an empty file is nothing."""
    data = bytes(range(256)) * 9000
    oci_layout(tmp_path / "app", [ImageSpec([layer(file("f", data), file("e"))])])
    assert run("cat", f"oci:{tmp_path}/app", "f").out == data
    assert run("cat", f"oci:{tmp_path}/app", "e").out == b""


def test_what_is_no_file(image: Path, tmp_path: Path) -> None:
    """A path that is not there, a directory, a device and a loop are one line each."""
    for command in ("ls", "cat"):
        assert_fails(run(command, image, "/gone"), 1, "/gone", "not in app:1")
        assert_fails(run(command, image, "/usr/loop"), 1, "/usr/loop")
        assert_fails(run(command, image, "/usr/caps/x"), 1, "/usr/caps/x")
    assert_fails(run("cat", image, "/usr"), 1, "directory")
    assert_fails(run("cat", image, "/disk"), 1, "block device")


@pytest.mark.parametrize("form", SPARSE)
def test_a_sparse_file_is_printed_with_its_holes(form: Sparse, tmp_path: Path) -> None:
    """What is printed of a sparse file is its content, zeros where nothing is stored."""
    pieces = [(1000, b"x"), (3000, b"y" * 600)]
    docker_archive_old(tmp_path / "s.tar", [ImageSpec([layer(sparse("s", 5000, pieces, form=form))])])
    content = bytes(1000) + b"x" + bytes(1999) + b"y" * 600 + bytes(1400)
    assert run("cat", tmp_path / "s.tar", "s").out == content


# --- which -----------------------------------------------------------------------------------


def traces(path: Path, name: str) -> list[tuple[int, str, str]]:
    found = run("which", path, name, "--json").json["layers"]
    return [(one["layer"], one["name"], one["fate"]) for one in found]


def test_every_copy_is_told(tmp_path: Path) -> None:
    """Each layer that holds a path or hides it, and what became of each copy."""
    layers = [
        layer(directory("d"), file("d/f", b"1"), file("d/g")),
        layer(file("d/f", b"22")),
        layer(whiteout("d/f")),
        layer(file("d/f", b"3")),
        layer(directory("d"), opaque("d")),
        layer(whiteout("d/f"), file("x")),
    ]
    docker_archive_old(tmp_path / "a.tar", [ImageSpec(layers, ["app:1"])])
    assert traces(tmp_path / "a.tar", "/d/f") == [
        (0, "/d/f", "dead: overwritten by layer 1"),
        (1, "/d/f", "dead: deleted by layer 2"),
        (2, "/d/.wh.f", "hides that of layer 1"),
        (3, "/d/f", "dead: deleted by layer 4"),
        (4, "/d/.wh..wh..opq", "hides that of layer 3"),
        (5, "/d/.wh.f", "hides nothing"),
    ]
    assert traces(tmp_path / "a.tar", "x") == [(5, "/x", "shown")]
    text = run("which", tmp_path / "a.tar", "/d/f").text
    assert text.startswith("/d/f  (not in the root file system)")


def test_what_was_rewritten_is_compared(tmp_path: Path) -> None:
    """A copy of the same size and time is told to be the same only where its content is, holes or not."""
    dense = bytes(1000) + b"x" * 24
    layers = [
        layer(file("f", dense, mtime=5)),
        layer(file("f", dense, mtime=5, mode=0o600)),
        layer(file("f", b"y" * 1024, mtime=5)),
        layer(sparse("s", 1024, [(1000, b"x" * 24)])),
        layer(file("f", b"z" * 1024, mtime=5)),
    ]
    docker_archive_old(tmp_path / "a.tar", [ImageSpec(layers, ["app:1"])])
    assert [fate for _, _, fate in traces(tmp_path / "a.tar", "f")] == [
        "dead: rewritten by layer 1 with the same content",
        "dead: overwritten by layer 2",
        "dead: overwritten by layer 4",
        "shown",
    ]


def test_directories_links_and_what_stands_in_the_way(image: Path, tmp_path: Path) -> None:
    """Attributes of a directory, a name of several, a symlink on the way, a file in a directory's place."""
    assert traces(image, "/usr")[-1] == (1, "/usr", "shown")
    assert traces(image, "/bin/sh") == [(0, "/usr/bin/sh", "shown")]
    assert traces(image, "/bash") == [(1, "/bash", "shown")]
    layers = [layer(directory("d"), file("d/f"), file("a", b"1"), hardlink("b", "a")),
              layer(file("d")), layer(whiteout("a"))]  # fmt: skip
    docker_archive_old(tmp_path / "b.tar", [ImageSpec(layers, ["app:1"])])
    assert traces(tmp_path / "b.tar", "d/f")[-1] == (1, "/d", "no directory: hides that of layer 0")
    assert traces(tmp_path / "b.tar", "a")[0][2] == "the name is gone, its content is shown as /b"
    assert_fails(run("which", image, "/nowhere"), 1, "/nowhere", "no layer")


# --- export ----------------------------------------------------------------------------------


def exported(path: Path, *args: Arg) -> bytes:
    result = run("export", path, *args)
    assert (result.code, result.err) == (0, "")
    return result.out


@pytest.mark.parametrize("write", [docker_archive_old, docker_archive_25, oci_layout])
def test_a_root_file_system_as_one_tar(write: object, tmp_path: Path) -> None:
    """The exported tar is the root file system, entry by entry, and holds no markers."""
    assert callable(write)
    write(tmp_path / "app", [IMAGE])
    data = exported(tmp_path / "app")
    assert b".wh." not in data
    assert differences(apply_layers(IMAGE.layers), apply_layers([data])) == []
    out = tmp_path / "out.tar"
    assert run("export", tmp_path / "app", "-o", out).text == f"Wrote {len(data):,} bytes to PATH\n"
    assert out.read_bytes() == data
    assert_fails(run("export", tmp_path / "app", "-o", out), 2, "--force")
    assert run("export", tmp_path / "app", "-o", out, "--force", "--json").json["bytes"] == len(data)


def test_one_layer_byte_for_byte(tmp_path: Path) -> None:
    """--layer gives the layer's own tar, uncompressed."""
    oci_layout(tmp_path / "app", [IMAGE])
    for index, data in enumerate(IMAGE.layers):
        assert exported(tmp_path / "app", "--layer", str(index)) == data
    assert_fails(run("export", tmp_path / "app", "--layer", "2"), 2, "layers 0 to 1")


def test_damaged_bytes_are_not_exported(image: Path) -> None:
    """Every digest is checked before the first byte, or the name."""
    data = image.read_bytes()
    at = data.index(b"#!")
    image.write_bytes(data[:at] + b"x" + data[at + 1 :])
    result = run("export", image)
    assert (result.code, result.out) == (4, b"")
    assert run("export", image, "-o", image.parent / "out.tar").code == 4
    assert sorted(path.name for path in image.parent.iterdir()) == ["app.tar"]


def test_cat_as_json(image: Path) -> None:
    """--json has the file's attributes and its text, or base64."""
    assert run("cat", image, "/bin/sh", "--json").json["text"] == "#!"
    assert run("cat", image, "/bin/sh", "--json").json["path"] == "/usr/bin/sh"


def test_the_input_is_never_exported_over(image: Path, tmp_path: Path) -> None:
    """Not even with --force, and nothing is written into a layout that is read."""
    before = image.read_bytes()
    assert_fails(run("export", image, "-o", image, "--force"), 2, "an input")
    assert image.read_bytes() == before
    oci_layout(tmp_path / "l", [IMAGE])
    assert_fails(run("export", f"oci:{tmp_path}/l", "-o", tmp_path / "l/x.tar"), 2, "an input")


def test_a_hard_linked_symlink_stays_one(tmp_path: Path) -> None:
    """A symlink with two names, whose target's text is one of them, is exported as one inode."""
    layers = [layer(directory("l"), symlink("l/a", "a"), hardlink("a", "l/a"))]
    docker_archive_old(tmp_path / "a.tar", [ImageSpec(layers, ["app:1"])])
    data = exported(tmp_path / "a.tar")
    assert differences(apply_layers(layers), apply_layers([data])) == []


def test_which_takes_globs(image: Path) -> None:
    """All paths that layers hold or hide, each as it is told alone."""
    found = run("which", image, "usr/*", "--json").json
    assert found["glob"] == "usr/*"
    assert [one["path"] for one in found["paths"]] == ["/usr/bin", "/usr/caps", "/usr/loop"]
    for one in found["paths"]:
        assert one == run("which", image, one["path"], "--json").json
    assert [one["path"] for one in run("which", image, "g?ne", "--json").json["paths"]] == ["/gone"]
    text = run("which", image, "/**/[bs]*h").text
    assert text.index("/bash") < text.index("/usr/bin/sh")
    assert_fails(run("which", image, "/nowhere/*"), 1, "no layer")
    assert_fails(run("which", image, "[z-a]"), 2, "no glob")


def test_a_name_that_looks_like_a_glob(tmp_path: Path) -> None:
    """It is itself where it is there."""
    docker_archive_old(tmp_path / "a.tar", [ImageSpec([layer(file("a*"), file("ab"))], ["app:1"])])
    assert run("which", tmp_path / "a.tar", "a*", "--json").json["path"] == "/a*"


def test_which_follows_what_was_applied(tmp_path: Path) -> None:
    """An entry counts where it was put; a repeated link, the root and implied directories are told."""
    layers = [layer(directory("./"), directory("usr"), symlink("l", "usr"), file("l/x"), file("a")),
              layer(hardlink("b", "a"), file("n/f"))]  # fmt: skip
    docker_archive_old(tmp_path / "a.tar", [ImageSpec(layers, ["app:1"])])
    path = tmp_path / "a.tar"
    assert traces(path, "/usr/x") == [(0, "/l/x", "shown")]
    assert traces(path, "/l/x") == [(0, "/l/x", "shown")]
    assert traces(path, "/")[0][2] == "shown"
    assert run("which", path, "/n").text == "/n  (a directory that no layer lists)\n"


def test_many_names_of_one_inode_are_quick(tmp_path: Path) -> None:
    """20,000 names of one file are listed and compared in no time."""
    links = [hardlink(f"l{i}", "f") for i in range(20_000)]
    docker_archive_old(tmp_path / "a.tar", [ImageSpec([layer(file("f", b"x"), *links)], ["app:1"])])
    assert len(lines("ls", tmp_path / "a.tar", "-l")) == 20_002
    assert run("diff", tmp_path / "a.tar", tmp_path / "a.tar").code == 0


def test_a_glob_finds_a_match_below_a_match(tmp_path: Path) -> None:
    """A name that fits counts in a folder whose name fits, too."""
    members = [directory("a.d"), directory("a.d/b.d"), file("a.d/c"), file("a.d/b.d/c.d")]
    docker_archive_old(tmp_path / "a.tar", [ImageSpec([layer(*members)], ["app:1"])])
    for glob in ("*.d", "**/*.d"):
        found = run("which", tmp_path / "a.tar", glob, "--json").json["paths"]
        assert [one["path"] for one in found][-2:] == ["/a.d/b.d", "/a.d/b.d/c.d"]
