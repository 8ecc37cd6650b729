"""An entry: where it goes, how its name stands in the tar, and a directory's header out of what is kept of
it."""

from __future__ import annotations

from itertools import permutations

import pytest

from squashkit.errors import InvalidLayer
from squashkit.layers import tar
from squashkit.layers.changeset import parse_changeset
from squashkit.layers.entry import DIRECTORY, DirectoryHeader, Entry, normalise
from tests.support.tar_blocks import END, GNU, USTAR, block, long_name, member, pax

NAMES = (
    b"a", b"a/", b"./a", b"./a/", b"/a", b"/a/", b".", b"./", b"/", b"a/b", b"./a/b", b"/a/b", b"a//b",
    b"a/./b", b"./a/./b/", b"a/../b", b"a/b//", b".a", b"a/.b", b"a/.b/c", b"./.a/b", b"//a/b", b"././a",
    b"./a/b/", b"/a/b/", b"a/b/c/",
    b"/../a", b"a/..", b"a/b/", b".//a", b"/./a/b", b"a/.wh", b"...", b"a/...", b"\xff/\xfe",
)  # fmt: skip


@pytest.mark.parametrize("typeflag", [b"0", b"5"])
@pytest.mark.parametrize("before", range(3))
def test_a_name_stands_as_it_is_written(typeflag: bytes, before: int) -> None:
    """Whatever stands before a member in its tar, its path is its cleaned name, and its name is what the
    header has."""
    for row in permutations(NAMES, 2) if before else [(name,) for name in NAMES]:
        names = row * before or row
        made = b"".join(block(name, typeflag) for name in names) + END
        found = list(tar.scan_bytes(made))
        assert [entry.name for entry in found] == list(names)
        assert [entry.path for entry in found] == [normalise(name) for name in names]
        assert [entry.path.rpartition(b"/")[::2] for entry in found] == [
            (entry.directory, entry.base) for entry in found
        ]


@pytest.mark.parametrize("name", [b"..", b"../a", b"a/../../b", b"./../a"])
def test_a_way_out_of_the_root(name: bytes) -> None:
    """Only a layer is refused for such a name, with the name; a tar that holds one can be listed."""
    entries = list(tar.scan_bytes(block(b"x") + block(name) + END))
    assert entries[1].name == name
    with pytest.raises(InvalidLayer, match="leads out of the root"):
        parse_changeset(entries)


def test_a_directory_is_one_value() -> None:
    """Members of one directory share its path."""
    rows = block(b"usr/lib/", b"5") + block(b"usr/lib/a") + block(b"etc/x") + block(b"usr/lib/b") + END
    _, a, _, b = tar.scan_bytes(rows)
    assert a.directory is b.directory


PLAIN = block(b"d/", b"5", mtime=b"14371573642")
ODD = {
    "plain": PLAIN,
    "another time": block(b"e/", b"5", mtime=b"00000000001"),
    "another owner": block(b"d/", b"5", uid=b"0001750"),
    "spaces": block(b"d/", b"5", mtime=b"14371573642 ", size=b"00000000000 "),
    "a short time": block(b"d/", b"5", mtime=b"1"),
    "a time before 1970": block(b"d/", b"5", mtime=b"\xff" * 12),
    "a time of 12 digits": block(b"d/", b"5", mtime=b"\x80" + bytes(6) + b"\x20\0\0\0\0"),
    "junk behind the name": block(b"d/\0junk", b"5"),
    "a target": block(b"d/", b"5", linkname=b"x"),
    "a target behind NUL": block(b"d/", b"5", linkname=b"\0x"),
    "no slash": block(b"d", b"5"),
    "a lead": block(b"./d/", b"5"),
    "the root": block(b"./", b"5"),
    "a size": block(b"d/", b"5", size=700),
    "an empty size": block(b"d/", b"5", size=b""),
    "a prefix": block(b"d/", b"5", prefix=b"usr"),
    "a prefix behind NUL": block(b"d/", b"5", prefix=b"\0usr"),
    "gnu": block(b"d/", b"5", magic=GNU, gnu_atime=b"00000000012"),
    "100 bytes": block(b"n" * 99 + b"/", b"5"),
    "another end of the sum": PLAIN[:148] + PLAIN[148:154] + b" \0" + PLAIN[156:],
    "a short sum": PLAIN[:148] + PLAIN[148:154].lstrip(b"0").rjust(6) + PLAIN[154:],
    "a type in the mode": block(b"d/", b"5", mode=b"0040755"),
    "type NUL": block(b"d/", b"\0", magic=USTAR),
    "a long name": long_name(b"n" * 120 + b"/") + block(b"n" * 100, b"5", magic=GNU),
    "pax": pax((b"mtime", b"1.5"), (b"SCHILY.xattr.user.a", b"1")) + block(b"d/", b"5"),
}


@pytest.mark.parametrize("first", ODD)
def test_a_directory_gives_its_header_back(first: str) -> None:
    """Byte for byte, after any other directory, twice, and moved to another tar."""
    for second in ODD:
        rows = [ODD[first], ODD[second], ODD[second], member(b"f", b"x"), ODD[first]]
        data = b"".join(rows) + END
        for entry in tar.scan_bytes(data):
            if entry.typeflag == DIRECTORY:
                assert entry.header == data[entry.start : entry.data], (first, second)


def test_alike_directories_share_what_is_kept() -> None:
    """Of directories that differ in name and time alone nothing is kept for each."""
    rows = [block(b"d%d/" % n, b"5", mtime=b"%011o" % (7 * n)) for n in range(9)]
    entries: list[Entry] = list(tar.scan_bytes(b"".join(rows) + END))
    assert len({id(entry.traits) for entry in entries}) == 1
    assert isinstance(entries[0].traits.header, DirectoryHeader)
