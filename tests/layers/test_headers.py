"""Headers written anew: chosen fields change, all others are carried over."""

from __future__ import annotations

import pytest

from squashkit.layers import tar
from squashkit.layers.blocks import BLOCK, number
from squashkit.layers.entry import HARD_LINK, REGULAR, Entry
from squashkit.layers.headers import header, rewrite
from tests.support.builders import Format, directory, file, hardlink, layer, sparse

LONG = b"d/" + b"n" * 180


def one(data: bytes) -> tuple[Entry, bytes]:
    """The first record of a tar, and its header blocks."""
    record = next(tar.scan_bytes(data))
    return record, data[record.start : record.data]


@pytest.mark.parametrize("format", ["pax", "gnu", "ustar"])
@pytest.mark.parametrize("name", [b"short", LONG, b"\xff\xfe"])
def test_a_new_name_leaves_the_rest(format: Format, name: bytes) -> None:
    """A rewritten name, long ones too, is read back; nothing else of the entry changes."""
    source = layer(file("old/name", b"x" * 700, mode=0o4751, uid=7, gid=8, mtime=99), format=format)
    before, blocks = one(source)
    after, _ = one(rewrite(before, blocks, name=name) + source[before.data :])
    directory, _, base = name.rpartition(b"/")
    where = {"directory": directory, "base": base, "written": b""}
    assert after._asdict() == before._asdict() | where | {"headers": after.headers}
    assert after.name == name


def test_extended_records_survive_a_rename() -> None:
    """Binary xattrs and sub-second times go on with the new name."""
    xattrs = {"security.capability": b"\x01\0\0\n=\xff", "user.a": b""}
    before, blocks = one(layer(file("a", b"", mtime=-1.25, xattrs=xattrs)))
    after, _ = one(rewrite(before, blocks, name=LONG) + tar.END_OF_ARCHIVE)
    assert (after.name, after.mtime) == (LONG, -1_250_000_000)
    assert after.xattrs == {b"security.capability": b"\x01\0\0\n=\xff", b"user.a": b""}


def test_a_long_name_gives_way_to_a_short_one() -> None:
    """No old pax or GNU long name is left to override a short new one."""
    formats: tuple[Format, ...] = ("pax", "gnu")
    for format in formats:
        before, blocks = one(layer(file(LONG), format=format))
        after, _ = one(rewrite(before, blocks, name=b"s") + tar.END_OF_ARCHIVE)
        assert after.name == b"s"
        assert after.data == BLOCK


@pytest.mark.parametrize("format", ["pax", "gnu"])
def test_links_get_new_targets(format: Format) -> None:
    """A hard link's target can be changed, to a long one too."""
    before, blocks = one(layer(hardlink("l", "old"), format=format))
    after, _ = one(rewrite(before, blocks, linkname=LONG) + tar.END_OF_ARCHIVE)
    assert (after.typeflag, after.linkname) == (HARD_LINK, LONG)


@pytest.mark.parametrize("format", ["pax", "gnu"])
@pytest.mark.parametrize(
    "attributes",
    [(0o644, 0, 0, 0), (0o7777, 3_000_000, 2_097_152, 5_000_000_000), (0o600, 1, 2, -7_500_000_000)],
)
def test_attributes_are_replaced(format: Format, attributes: tuple[int, int, int, int]) -> None:
    """Owners over 21 bits, sub-second and negative times are written so that they are read back."""
    before, blocks = one(layer(file("a", mtime=12, uid=5), format=format))
    after, _ = one(rewrite(before, blocks, attributes=attributes) + tar.END_OF_ARCHIVE)
    assert (after.mode, after.uid, after.gid, after.mtime) == attributes


def test_xattrs_are_replaced() -> None:
    """All xattrs give way to the new ones."""
    before, blocks = one(layer(file("a", xattrs={"user.old": b"1"})))
    after, _ = one(rewrite(before, blocks, xattrs={b"user.new": b"2"}) + tar.END_OF_ARCHIVE)
    assert after.xattrs == {b"user.new": b"2"}


def test_sparse_maps_survive_a_rename() -> None:
    """A sparse file keeps its size, its map and its data under a new name."""
    source = layer(sparse("s", 1 << 20, [(0, b"a" * 512), (1 << 19, b"b" * 512)]))
    before, blocks = one(source)
    after, _ = one(rewrite(before, blocks, name=b"d/t") + source[before.data :])
    assert after.name == b"d/t"
    assert (after.realsize, after.size) == (before.realsize, before.size)


def test_new_headers() -> None:
    """A header made from nothing has a constant owner and time, and takes long names and huge sizes."""
    made, _ = one(header(LONG, REGULAR, mode=0o644, size=0) + tar.END_OF_ARCHIVE)
    assert (made.name, made.mode, made.uid, made.gid, made.mtime) == (LONG, 0o644, 0, 0, 0)
    huge = header(b"h", REGULAR, mode=0o644, size=1 << 34)
    assert len(huge) == BLOCK
    assert number(huge[124:136], "size", b"h") == 1 << 34


def test_directories_keep_their_header() -> None:
    """A directory's entry holds its header blocks, extended ones included."""
    source = layer(directory("d", xattrs={"user.a": b"1"}))
    record, blocks = one(source)
    assert record.header == blocks


def test_a_file_becomes_a_link() -> None:
    """With a linkname a file, a sparse one too, is a hard link without data that keeps its attributes."""
    plain = file("a", b"x" * 700, mode=0o640, xattrs={"user.k": b"v"})
    for member in (plain, sparse("a", 9000, [(0, b"x" * 512)])):
        record = next(tar.scan_bytes(layer(member)))
        blocks = layer(member)[record.start : record.data]
        after, _ = one(rewrite(record, blocks, name=b"b", linkname=b"a") + tar.END_OF_ARCHIVE)
        assert (after.typeflag, after.name, after.linkname, after.size) == (HARD_LINK, b"b", b"a", 0)
        assert (after.mode, after.xattrs) == (record.mode, record.xattrs)
