"""Real tars in every dialect that layers come in, each written by a tool that speaks it.

A corpus is a folder of awkward files and the command that archives it, so a claim about a dialect
rests on what its writer does and not on what somebody remembers of it. Parts that only root can
make (devices, owners, trusted attributes) are left out for others.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest

from tests.compat import services

ROOT = os.geteuid() == 0
UTF8_UTC = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}

Part = Callable[[Path], None]


class Corpus(NamedTuple):
    """One tar: its name, how it is written, and what its headers must show to be of use."""

    name: str
    write: Callable[[Path], Path]
    marks: frozenset[str]
    all_utf8: bool = True
    """Whether every pax record that names a file is UTF-8, which bsdtar insists on."""


def unavailable(reason: str) -> NoReturn:
    """Skip on a person's machine; fail where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def gnu_tar(*arguments: str | Path, cwd: Path | None = None) -> None:
    """Run GNU tar, which is called gtar where another tar came first."""
    command = "gtar" if shutil.which("gtar") else "tar"
    if b"GNU tar" not in run(command, "--version"):
        unavailable("GNU tar is not installed")
    run(command, *arguments, cwd=cwd)


def run(*command: str | Path, cwd: Path | None = None, warnings: bool = False) -> bytes:
    """The standard output of a command that must succeed; `warnings` lets it exit with 1."""
    if shutil.which(command[0]) is None:
        unavailable(f"{command[0]} is not installed")
    done = subprocess.run(
        [os.fspath(word) for word in command],
        check=False, capture_output=True, timeout=120, cwd=cwd, env={**os.environ, **UTF8_UTC},
    )  # fmt: skip
    assert done.returncode in (0, int(warnings)), f"{command}: {done.stderr.decode(errors='replace')}"
    return done.stdout


# --- parts of a folder ---


def plain(tree: Path) -> None:
    """What every dialect can say, v7 included."""
    for size in (0, 1, 511, 512, 513, 10_000):
        _file(tree / f"size-{size}", os.urandom(size))
    _file(tree / "setuid", b"#!", mode=0o4755)
    _file(tree / "unreadable", b"shadow", mode=0o000 if ROOT else 0o400)
    _file(tree / ("n" * 97), b"99 bytes with its ./")
    for name in ("two  blanks", "an -> arrow", "new\nline", "back\\slash", "é", "a=b #c*"):
        _file(tree / name, name.encode())
    (tree / "empty folder").mkdir()
    (tree / "sticky").mkdir()
    (tree / "sticky").chmod(0o1777)
    _file(tree / "sticky" / "deeper", b"deeper")
    os.link(tree / "setuid", tree / "sticky" / "link to setuid")
    os.symlink("nowhere/at all", tree / "dangling")
    os.link(tree / "dangling", tree / "link to a symlink", follow_symlinks=False)
    os.symlink(b"l" * 99, os.fsencode(tree / "symlink-99"))


def byte_names(tree: Path) -> None:
    """Names and targets that are no UTF-8."""
    _file(Path(os.fsdecode(os.fsencode(tree) + b"/caf\xe9")), b"latin 1")
    os.symlink(b"caf\xe9", os.fsencode(tree / "symlink to bytes"))


def long_byte_names(tree: Path) -> None:
    """The same, too long for the name field."""
    folder = os.fsencode(tree) + b"/" + b"\xff" * 200
    os.mkdir(folder)
    _file(Path(os.fsdecode(folder + b"/" + b"\xfe" * 200)), b"long")
    os.symlink(b"\xfd" * 300, os.fsencode(tree / "symlink to many bytes"))


def special(tree: Path) -> None:
    """A fifo, and devices with numbers of one byte."""
    os.mkfifo(tree / "fifo", 0o640)
    if ROOT:
        os.mknod(tree / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(tree / "sdb1", 0o660 | stat.S_IFBLK, os.makedev(8, 17))
        os.link(tree / "null", tree / "second null")


def high_devices(tree: Path) -> None:
    """Device numbers as large as Linux has them."""
    if ROOT:
        os.mknod(tree / "high", 0o600 | stat.S_IFBLK, os.makedev(4095, 1_048_575))


def split_names(tree: Path) -> None:
    """Names that fit ustar's two fields: exactly 100 bytes, just over, and all of 155 and 100."""
    _file(tree / ("h" * 98), b"100 bytes with its ./")
    (tree / ("p" * 50)).mkdir()
    _file(tree / ("p" * 50) / ("q" * 48), b"101 bytes")
    deep = tree / ("r" * 90) / ("s" * 62)
    deep.mkdir(parents=True)
    _file(deep / ("t" * 100), b"256 bytes")
    os.symlink("u" * 100, tree / "symlink-100")


def long_names(tree: Path) -> None:
    """Names and targets that need a header of their own, and one that needs two blocks of it."""
    deep = tree / ("v" * 200) / ("w" * 200) / ("x" * 200)
    deep.mkdir(parents=True)
    _file(deep / "é", b"deep")
    os.link(deep / "é", tree / "y long link")
    os.link(deep / "é", deep / "z long link")
    _file(tree / ("o" * 99), b"101 bytes")
    (tree / ("d" * 98)).mkdir()  # 100 bytes, 101 with its slash
    for length in (101, 257, 511, 512, 1500):
        os.symlink("t" * length, tree / f"symlink-{length}")


def large_ids(tree: Path) -> None:
    """Owners beyond what seven octal digits hold."""
    if ROOT:
        for name, uid, gid in (("uid", 2_097_152, 7), ("gid", 7, 4_294_967_294)):
            _file(tree / f"large {name}", b"")
            os.chown(tree / f"large {name}", uid, gid)


def early_and_late(tree: Path) -> None:
    """Times before 1970, between seconds, and beyond what eleven octal digits hold."""
    for name, nanoseconds in (
        ("minus one and a half", -1_500_000_000), ("minus a half", -500_000_000),
        ("minus 2**31", -(2**31) * 10**9), ("minus three", -3 * 10**9),
        ("zero", 0), ("one nanosecond", 1), ("hundredths", 1_020_000_000),
        ("all digits", 1_234_567_890_123_456_789), ("late", (2**33 + 5) * 10**9),
    ):  # fmt: skip
        _file(tree / name, b"")
        os.utime(tree / name, ns=(nanoseconds, nanoseconds))


def holes(tree: Path) -> None:
    """Sparse files: few pieces and many, all hole, holes at either end, 9 GiB, a long name."""
    _sparse(tree / "pieces-3", pieces=3, size=300_000)
    _sparse(tree / "pieces-60", pieces=60, size=60 * 65_536)
    _sparse(tree / "all hole", pieces=0, size=1 << 20)
    _sparse(tree / "9 GiB", pieces=3, size=9 << 30)
    _sparse(tree / ("sparse" * 30), pieces=5, size=400_000)
    with (tree / "data at both ends").open("wb") as stream:
        stream.write(b"first" * 1000)
        stream.seek(1 << 20)
        stream.write(b"last")


def attributes(tree: Path) -> None:
    """Extended attributes: binary, empty, long, on a folder."""
    file, folder = tree / "with attributes", tree / "folder with attributes"
    _file(file, b"content")
    folder.mkdir()
    try:
        os.setxattr(file, "user.binary", b"\0\n=\xff 12 a=b\n\0")
        os.setxattr(file, "user.empty", b"")
        os.setxattr(file, "user.long", bytes(range(256)) * 4)
        os.setxattr(file, "user.é", "é".encode())
        os.setxattr(folder, "user.folder", b"folders have them too")
    except OSError as error:
        unavailable(f"{tree} has no extended attributes: {error}")
    if ROOT:
        os.setxattr(file, "trusted.thing", b"\1\2")
        os.setxattr(file, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))


def attribute_names(tree: Path) -> None:
    """The separator of pax records in an attribute's name: some writers escape it, Go refuses."""
    _file(tree / "attribute names", b"")
    try:
        os.setxattr(tree / "attribute names", "user.a=b%3D", b"1=2")
    except OSError as error:
        unavailable(f"{tree} has no extended attributes: {error}")


def _file(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.write_bytes(content)
    path.chmod(mode)


def _sparse(path: Path, *, pieces: int, size: int) -> None:
    with path.open("wb") as stream:
        for number in range(pieces):
            stream.seek(number * 65_536 + 32_768)
            stream.write(b"piece %d" % number)
        stream.truncate(size)


def make_tree(folder: Path, parts: Iterable[Part]) -> Path:
    tree = folder / "tree"
    tree.mkdir()
    for part in parts:
        part(tree)
    return tree


# --- writers ---


def _gnu_tar(*options: str, parts: tuple[Part, ...]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tree, out = make_tree(folder, parts), folder / "corpus.tar"
        gnu_tar("--create", "--sort=name", *options, "--file", out, "-C", tree, ".")
        return out

    return write


def _gnu_tar_incremental(folder: Path) -> Path:
    """Files alone: an incremental archive of folders holds types that are no layer's."""
    tree, out = make_tree(folder, [plain]), folder / "corpus.tar"
    names = sorted(path.name for path in tree.iterdir() if not path.is_dir())
    snapshot = f"--listed-incremental={folder / 'snapshot'}"
    gnu_tar("--create", "--format=gnu", snapshot, "--file", out, "-C", tree, "--", *names)
    return out


def _bsdtar(*options: str, parts: tuple[Part, ...]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        tree, out = make_tree(folder, parts), folder / "corpus.tar"
        run("bsdtar", "-c", *options, "-f", out, "-C", tree, ".")
        return out

    return write


def _umoci_insert(folder: Path) -> Path:
    layout = _umoci_layout(folder)
    tree = make_tree(folder, (*GO_PARTS, byte_names, long_byte_names))
    run("umoci", "insert", "--image", f"{layout}:corpus", tree, "/inserted")
    return _top_layer(folder, layout)


def _umoci_repack(folder: Path) -> Path:
    layout, bundle = _umoci_layout(folder), folder / "bundle"
    run("umoci", "unpack", "--image", f"{layout}:corpus", bundle)
    for part in GO_PARTS:
        part(bundle / "rootfs")
    run("umoci", "repack", "--image", f"{layout}:corpus", bundle)
    return _top_layer(folder, layout)


def _umoci_layout(folder: Path) -> Path:
    _need_root()
    run("umoci", "init", "--layout", folder / "layout")
    run("umoci", "new", "--image", f"{folder / 'layout'}:corpus")
    return folder / "layout"


def _buildah_copy(folder: Path) -> Path:
    _need_root()
    tree, layout = make_tree(folder, GO_PARTS), folder / "layout"
    store = ("--root", folder / "root", "--runroot", folder / "run", "--storage-driver", "vfs")
    container = run("buildah", *store, "from", "scratch").decode().strip()
    run("buildah", *store, "copy", container, tree, "/")
    run("buildah", *store, "commit", "--disable-compression", container, f"oci:{layout}:corpus")
    run("buildah", *store, "rm", container)
    return _top_layer(folder, layout)


def _skopeo_archive(folder: Path) -> Path:
    """The archive of an image, not one of its layers: it is scanned too."""
    layout = _umoci_layout(folder)
    run("umoci", "insert", "--image", f"{layout}:corpus", make_tree(folder, [plain]), "/")
    out = folder / "corpus.tar"
    copy = ("skopeo", "--insecure-policy", "copy", "--quiet")
    run(*copy, f"oci:{layout}:corpus", f"docker-archive:{out}:corpus:latest")
    return out


def _docker_archive(folder: Path) -> Path:
    out = folder / "corpus.tar"
    out.write_bytes(_docker_save())
    return out


def _docker_layer(folder: Path) -> Path:
    out = folder / "corpus.tar"
    with tarfile.open(fileobj=io.BytesIO(_docker_save())) as archive:
        (layer,) = (name for name in archive.getnames() if name.endswith("/layer.tar"))
        content = archive.extractfile(layer)
        assert content is not None
        out.write_bytes(content.read())
    return out


@functools.cache
def _docker_save() -> bytes:
    """What the daemon saves of an image whose one layer it made of a tar of everything."""
    # The daemon takes a while to start, and two corpora come of what it saves.
    try:
        with services.state_folder() as state, services.docker(state) as docker:
            context = state / "context"
            context.mkdir()
            _gnu_tar("--format=posix", *_XATTRS, parts=GO_PARTS)(context)
            (context / "Dockerfile").write_text("FROM scratch\nADD corpus.tar /\n")
            (context / ".dockerignore").write_text("tree\n")
            docker.run("build", "--quiet", "--tag", "corpus", context)
            docker.run("save", "--output", state / "saved.tar", "corpus")
            return (state / "saved.tar").read_bytes()
    except services.Unavailable as reason:
        unavailable(str(reason))


def _need_root() -> None:
    if not ROOT:
        unavailable("this writer needs root to keep owners and devices")


def _top_layer(folder: Path, layout: Path) -> Path:
    def blob(descriptor: dict[str, str]) -> bytes:
        return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()

    (manifest,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    layer = blob(json.loads(blob(manifest))["layers"][-1])
    out = folder / "corpus.tar"
    out.write_bytes(gzip.decompress(layer) if layer.startswith(b"\x1f\x8b") else layer)
    return out


def python_tar(format_: int, headers: dict[str, str] | None = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        out = folder / "corpus.tar"
        with tarfile.open(out, "w", format=format_, pax_headers=headers) as archive:
            for member, content in python_members(format_):
                archive.addfile(member, io.BytesIO(content))
        return out

    return write


def python_members(format_: int) -> Iterable[tuple[tarfile.TarInfo, bytes]]:
    """Members that need no root and no file system: devices and owners are only numbers here."""

    def member(name: str, type_: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.type = type_
        for key, value in fields.items():
            setattr(info, key, value)
        return info

    long = format_ != tarfile.USTAR_FORMAT
    yield member("folder", tarfile.DIRTYPE, mode=0o1777), b""
    yield member("folder/file", size=5, mode=0o6755, uid=12, gid=34), b"hello"
    yield member("old file", tarfile.AREGTYPE, size=3), b"old"
    yield member("contiguous", tarfile.CONTTYPE, size=513), bytes(513)
    yield member("caf\udce9", size=1), b"x"
    yield member("p" * 100 + "/" + "q" * 100, size=1), b"x"
    yield member("hard", tarfile.LNKTYPE, linkname="folder/file"), b""
    yield member("soft", tarfile.SYMTYPE, linkname="caf\udce9"), b""
    yield member("fifo", tarfile.FIFOTYPE), b""
    yield member("tty", tarfile.CHRTYPE, devmajor=5, devminor=1), b""
    yield member("disk", tarfile.BLKTYPE, devmajor=0o7777777, devminor=0o7777777), b""
    yield member("largest ustar ids", uid=0o7777777, gid=0o7777777), b""
    yield member("largest ustar time", mtime=8**11 - 1), b""
    if long:
        yield member("é" * 200, size=2), b"ab"
        yield member("long hard", tarfile.LNKTYPE, linkname="é" * 200), b""
        yield member("long soft", tarfile.SYMTYPE, linkname="t" * 600), b""
        yield member("large ids", uid=2**31, gid=2**32 - 2), b""
        yield member("early", mtime=-7), b""
        yield member("late", mtime=8**11), b""
    if format_ == tarfile.PAX_FORMAT:
        yield member("early half", mtime=-1.5), b""
        yield member("ten digits", pax_headers={"mtime": "1.1234567899"}), b""
        records = {"SCHILY.xattr.user.bytes": "\0=\n\udcff", "SCHILY.xattr.user.k": "", "c": "d"}
        yield member("attributes", size=1, pax_headers=records), b"x"


MODERN: tuple[Part, ...] = (
    plain, special, high_devices, split_names, long_names, large_ids, early_and_late,
)  # fmt: skip
GO_PARTS: tuple[Part, ...] = (*MODERN, attributes)

_XATTRS = ("--xattrs", "--xattrs-include=*")
_SPARSE = (*MODERN, holes)


def _corpus(
    name: str, write: Callable[[Path], Path], marks: str, root: str = "", *, all_utf8: bool = True
) -> Corpus:
    return Corpus(name, write, frozenset((marks + " " + root * ROOT).split()), all_utf8)


CORPORA = [
    _corpus("gnu-tar-v7", _gnu_tar("--format=v7", parts=(plain, byte_names)), "NUL 1 2 5"),
    _corpus(
        "gnu-tar-ustar",
        _gnu_tar("--format=ustar", parts=(plain, byte_names, special, high_devices, split_names)),
        "0 1 2 5 6 prefix", "3 4",
    ),
    *(
        _corpus(
            f"gnu-tar-{dialect}",
            _gnu_tar(
                f"--format={dialect}", "--sparse",
                parts=(*_SPARSE, byte_names, long_byte_names),
            ),
            "0 1 2 5 6 L K L+K S map-blocks base-256", "3 4",
        )
        for dialect in ("gnu", "oldgnu")
    ),
    _corpus("gnu-tar-incremental", _gnu_tar_incremental, "0 1 2 prefix"),
    *(
        _corpus(
            f"gnu-tar-posix-sparse-{version}",
            _gnu_tar(
                "--format=posix", "--sparse", f"--sparse-version={version}", *_XATTRS,
                parts=(*_SPARSE, attributes, attribute_names),
            ),
            f"0 1 2 5 6 x path linkpath mtime SCHILY.xattr {record}", "3 4 uid gid",
        )
        for version, record in (
            ("0.0", "GNU.sparse.offset"), ("0.1", "GNU.sparse.map"), ("1.0", "GNU.sparse.major"),
        )
    ),
    _corpus(
        "gnu-tar-posix-bytes",
        _gnu_tar("--format=posix", parts=(byte_names, long_byte_names)),
        "x path linkpath", all_utf8=False,
    ),
    _corpus(
        "gnu-tar-posix-comment",
        _gnu_tar("--format=posix", "--pax-option=comment=for all", parts=(plain, long_names)),
        "g x path comment",
    ),
    _corpus("bsdtar-v7", _bsdtar("--format=v7tar", parts=(plain, byte_names)), "NUL 1 2"),
    _corpus(
        "bsdtar-ustar",
        _bsdtar("--format=ustar", parts=(plain, byte_names, special, split_names)),
        "0 1 2 5 6 prefix", "3 4",
    ),
    _corpus(
        "bsdtar-gnutar",
        _bsdtar(
            "--format=gnutar",
            parts=(
                plain, byte_names, special, split_names, long_names, long_byte_names, large_ids,
                early_and_late,
            ),
        ),
        "0 1 2 5 6 L K", "3 4 base-256",
    ),
    _corpus(
        "bsdtar-pax",
        _bsdtar(
            "--format=pax", "--xattrs",
            parts=(*_SPARSE, byte_names, long_byte_names, attributes, attribute_names),
        ),
        "0 1 2 5 6 x path linkpath hdrcharset mtime SCHILY.xattr LIBARCHIVE.xattr GNU.sparse.major",
        "3 4 uid gid",
    ),
    _corpus(
        "umoci-insert", _umoci_insert, "0 1 2 3 4 5 6 x path SCHILY.xattr unpadded", all_utf8=False
    ),
    _corpus("umoci-repack", _umoci_repack, "0 1 2 3 4 5 6 x path SCHILY.xattr"),
    _corpus("buildah-copy", _buildah_copy, "0 1 2 3 4 5 6 x path SCHILY.xattr"),
    _corpus("docker-layer", _docker_layer, "0 1 2 3 4 5 6 x path SCHILY.xattr"),
    _corpus("docker-archive", _docker_archive, "0 5"),
    _corpus("skopeo-docker-archive", _skopeo_archive, "0"),
    _corpus("python-ustar", python_tar(tarfile.USTAR_FORMAT), "NUL 0 1 2 3 4 5 6 7 prefix"),
    _corpus("python-gnu", python_tar(tarfile.GNU_FORMAT), "NUL 0 1 2 3 4 5 6 7 L K base-256"),
    _corpus(
        "python-pax", python_tar(tarfile.PAX_FORMAT),
        "NUL 0 1 2 3 4 5 6 7 x path linkpath uid gid mtime hdrcharset SCHILY.xattr",
    ),
    _corpus(
        "python-pax-comment", python_tar(tarfile.PAX_FORMAT, {"comment": "for all"}), "g x comment"
    ),
]  # fmt: skip


def padded(data: bytes) -> bytes:
    """A tar whose last block is whole, as every reader but Go's wants it."""
    return data + bytes(-len(data) % 512)


def marks(data: bytes) -> set[str]:
    """The features of dialects that a tar shows: types of header blocks, pax keys, number forms."""
    found = {"unpadded"} if len(data) % 512 else set()
    with tarfile.open(fileobj=io.BytesIO(padded(data)), errors="surrogateescape") as archive:
        for member in archive:
            for key in member.pax_headers:
                found.add(".".join(key.split(".")[:2]) if ".xattr." in key else key)
            at, kinds = member.offset, ""
            while True:
                block = data[at : at + 512]
                kinds += block[156:157].decode().replace("\0", "N")
                if kinds[-1] not in "xLK":
                    break
                at += 512 + (int(block[124:135], 8) + 511) // 512 * 512
            found |= {"NUL" if kind == "N" else kind for kind in kinds}
            found |= {"L+K"} if "L" in kinds and "K" in kinds else set()
            found |= {"prefix"} if block[345] else set()
            numbers = {block[108], block[116], block[124], block[136]}
            found |= {"base-256"} if numbers & {128, 255} else set()
            found |= {"map-blocks"} if kinds[-1] == "S" and block[482] else set()
        found |= {"g"} if archive.pax_headers else set()
    return found
