"""Broken tars are refused with a reason, odd but harmless endings are accepted."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from squashkit.errors import InvalidLayer
from squashkit.layers import tar
from tests.support.tar_corpus import gnu_tar

END = bytes(1024)
CONTENT = b"c" * 700


def header(
    name: bytes = b"file", *, size: int | bytes = 0, typeflag: bytes = b"0", **fields: bytes
) -> bytes:
    """A ustar header block with a right checksum; `fields` stand in it as they are, then NULs."""
    block = bytearray(tarfile.TarInfo("file").tobuf(tarfile.USTAR_FORMAT))
    if isinstance(size, int):
        size = b"%011o" % size
    places = {
        "name": (0, 100), "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12),
        "mtime": (136, 12), "typeflag": (156, 1), "magic": (257, 8), "devmajor": (329, 8),
        "sparse": (386, 97), "more": (482, 1), "realsize": (483, 12),
    }  # fmt: skip
    for key, value in {"name": name, "size": size, "typeflag": typeflag, **fields}.items():
        at, width = places[key]
        assert len(value) <= width
        block[at : at + width] = value.ljust(width, b"\0")
    return sealed(bytes(block))


def sealed(block: bytes, *, signed: bool = False) -> bytes:
    """The block with its checksum, over signed bytes as some old systems had it or unsigned."""
    blank = block[:148] + b" " * 8 + block[156:]
    total = sum(blank) - (256 * sum(byte > 127 for byte in blank) if signed else 0)
    return bytes(blank[:148] + b"%06o\0 " % total + blank[156:])


def padded(payload: bytes) -> bytes:
    return payload + bytes(-len(payload) % 512)


def file(name: bytes = b"file", content: bytes = CONTENT) -> bytes:
    return header(name, size=len(content)) + padded(content)


def extension(typeflag: bytes, payload: bytes) -> bytes:
    return header(b"extension", size=len(payload), typeflag=typeflag) + padded(payload)


def pax(*records: bytes) -> bytes:
    return extension(b"x", b"".join(records))


def names(data: bytes) -> list[bytes]:
    return [record.name for record in tar.scan_bytes(data)]


def fault(data: bytes) -> InvalidLayer:
    with pytest.raises(InvalidLayer) as caught:
        names(data)
    return caught.value


# --- endings ---


@pytest.mark.parametrize("length", [1, 156, 511])
def test_an_end_inside_a_header_is_refused(length: int) -> None:
    """A header block that is cut short is no end of a tar."""
    fault(file(b"first") + header(b"second")[:length])


@pytest.mark.parametrize("missing", [1, 400, 699, 700])
def test_an_end_inside_data_is_refused(missing: int) -> None:
    """A file that lacks bytes of its content is refused, even where it lacks all of them."""
    fault(header(size=len(CONTENT)) + CONTENT[: len(CONTENT) - missing])


@pytest.mark.parametrize("missing", [1, 200, 324])
def test_an_end_inside_the_last_padding_is_accepted(missing: int) -> None:
    """A last block that is not filled up lacks nothing of its file: `umoci insert` writes such."""
    whole = file(b"first") + file(b"last")
    (_, last) = tar.scan_bytes(whole[: len(whole) - missing])
    assert (last.name, last.size, last.end) == (b"last", 700, len(whole))


@pytest.mark.parametrize(
    ("typeflag", "payload"),
    [
        (b"x", b"12 path=new\n29 SCHILY.xattr.user.k=value\n"),
        (b"L", b"n" * 600 + b"\0"),
        (b"K", b"n" * 600 + b"\0"),
        (b"g", b"15 comment=any\n"),
    ],
    ids=["pax", "long name", "long link", "global pax"],
)
def test_an_end_inside_an_extension_is_refused(typeflag: bytes, payload: bytes) -> None:
    """An extension header's payload has to be there to its last byte."""
    whole = file(b"first") + extension(typeflag, payload) + header(b"second") + END
    assert names(whole)[-1] != b"first"
    start = len(file())
    for length in (1, 511, 512, 513, 512 + len(payload) - 1):
        fault(whole[: start + length])


@pytest.mark.parametrize(
    "extended",
    [pax(b"12 path=new\n"), extension(b"L", b"new\0"), extension(b"K", b"new\0")],
    ids=["pax", "long name", "long link"],
)
@pytest.mark.parametrize("ending", [b"", bytes(512), END])
def test_an_extension_of_nothing_is_the_end(extended: bytes, ending: bytes) -> None:
    """What describes the next entry and has none behind it is the tar's end, as Go reads it."""
    assert names(file() + extended + ending) == [b"file"]


def test_an_end_inside_a_sparse_map_is_refused() -> None:
    """The blocks in which an old GNU sparse map goes on belong to the header."""
    block = header(typeflag=b"S", magic=b"ustar  \0", more=b"\1", realsize=b"%011o" % 4096)
    assert names(block + bytes(512) + END) == [b"file"]
    fault(block)
    fault(block + bytes(100))
    fault(block + b"1" * 512)


@pytest.mark.parametrize(
    "ending",
    [
        b"",
        bytes(512),
        END,
        bytes(10_240),
        END + b"junk",
        END + b"junk" * 1000,
        END + file(b"behind"),
    ],
    ids=["no end", "one block", "two blocks", "record", "junk", "long junk", "another tar"],
)
def test_every_ending_at_a_record_boundary_is_accepted(ending: bytes) -> None:
    """No end blocks, one, two, more, and whatever lies behind them end a tar alike."""
    assert names(file(b"first") + file(b"second") + ending) == [b"first", b"second"]


@pytest.mark.parametrize("nothing", [b"", bytes(512), END], ids=["0 bytes", "one block", "two blocks"])
def test_an_empty_tar_has_no_records(nothing: bytes) -> None:
    """A layer may be empty, down to having no byte."""
    assert names(nothing) == []


# --- header fields ---


def test_a_wrong_checksum_is_refused() -> None:
    """A header with one bit changed is no header."""
    for at in (0, 100, 130, 148, 156, 345, 500):
        block = bytearray(header())
        block[at] ^= 1
        fault(bytes(block) + END)


def test_a_checksum_over_signed_bytes_is_accepted() -> None:
    """Old systems summed bytes over 127 as negative numbers."""
    block = sealed(header(b"caf\xe9 \xff\xfe"), signed=True)
    assert block != header(b"caf\xe9 \xff\xfe")
    assert names(block + END) == [b"caf\xe9 \xff\xfe"]


@pytest.mark.parametrize("field", ["mode", "uid", "gid", "size", "mtime"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"x"), (b"", b"8"), (b"1 ", b"7"), (b"-", b"7"), (b"+", b"7"), (b"0o", b"7"),
        (b"0x", b"7"), (b"", b"1_7"), (b"\t", b"7"), (b"", b"7\n"), (b"", b"7\1"),
    ],
)  # fmt: skip
def test_a_bad_octal_number_is_refused(field: str, before: bytes, after: bytes) -> None:
    """Only octal digits count, whatever else a language's own conversion lets pass."""
    width = 12 if field in ("size", "mtime") else 8
    for length in (width, width - 1, 4):
        number = before + after.rjust(length - len(before), b"0")
        assert refused_path(field, number) == b"some/path", number


def refused_path(field: str, number: bytes, typeflag: bytes = b"0") -> bytes:
    block = header(b"some/path", typeflag=typeflag, **{field: number})
    return fault(block + END).path


@pytest.mark.parametrize("number", [b"17", b"17 ", b"  17", b"0000017", b"17\0junk", b" 17\0", b"00000017"])
def test_every_way_of_writing_an_octal_number_is_read(number: bytes) -> None:
    """Numbers may be padded with zeros, blanks or NULs, on either side."""
    (record,) = tar.scan_bytes(header(uid=number, mtime=number) + END)
    assert (record.uid, record.mtime) == (0o17, 0o17 * 10**9)


def test_a_number_may_fill_its_field() -> None:
    """The blank or NUL behind the digits is no must."""
    (record,) = tar.scan_bytes(header(size=b"000000001274", mtime=b"777777777777") + padded(CONTENT))
    assert (record.size, record.mtime) == (700, (8**12 - 1) * 10**9)


@pytest.mark.parametrize("typeflag", [b"0", b"3", b"4", b"5"])
def test_a_bad_device_number_is_refused(typeflag: bytes) -> None:
    """Go reads the numbers of devices in all headers that have a place for them."""
    assert refused_path("devmajor", b"none", typeflag) == b"some/path"


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("size", b"\xff" * 12),
        ("size", b"\xff" * 11 + b"\xfe"),
        ("size", b"\x80\0\0\0\xff" + b"\xff" * 7),
        ("mtime", b"\x80\0\0\0\x80" + bytes(7)),
    ],
    ids=["size -1", "size -2", "size 2**64-1", "mtime 2**63"],
)
def test_a_base_256_number_out_of_range_is_refused(field: str, number: bytes) -> None:
    """Nothing is smaller than empty, and no file has as many bytes as no offset can count."""
    assert refused_path(field, number) == b"some/path"


def test_base_256_numbers_are_read() -> None:
    """Large owners and times before 1970 stand in the header's own fields."""
    block = header(uid=b"\x80\0\0\0\xff\xff\xff\xfe", mtime=b"\xff" * 11 + b"\xf9")
    (record,) = tar.scan_bytes(block + END)
    assert (record.uid, record.mtime) == (2**32 - 2, -7 * 10**9)


@pytest.mark.parametrize(
    "entry",
    [
        header(size=1025),
        header(size=8**11 - 1),
        header(size=b"\x80" + bytes(4) + b"\x7f" + b"\xff" * 6),
        pax(b"15 size=100000\n") + header(size=1024),
    ],
    ids=["ustar", "largest ustar", "base-256", "pax"],
)
def test_a_size_over_the_end_is_refused(entry: bytes) -> None:
    """A file that claims more bytes than there are is cut short."""
    fault(entry + END)


@pytest.mark.parametrize("typeflag", [b"1", b"2", b"3", b"4", b"5", b"6"])
def test_only_files_have_a_payload(typeflag: bytes) -> None:
    """Whatever size a link, device, folder or fifo claims, the next header follows at once."""
    (first, second) = tar.scan_bytes(header(b"a", size=700, typeflag=typeflag) + file(b"b") + END)
    assert (first.size, first.realsize, first.end) == (0, 0, 512)
    assert (second.name, second.start) == (b"b", 512)


# --- pax records ---


@pytest.mark.parametrize(
    "record",
    [
        b"13 path=new\n", b"11 path=new\n", b"11 path=new", b"0 path=new\n", b"5 path=new\n",
        b"-12 path=new\n", b"12path=new\n", b"path=new\n", b" path=new\n", b"x2 path=new\n",
        b"99999999999999999999999 path=new\n", b"9 pathnew\n", b"12 path new\n", b"3 \n", b"12",
    ],
)  # fmt: skip
def test_a_pax_record_with_a_wrong_length_is_refused(record: bytes) -> None:
    """A record is as long as it says, ends with a line feed and has a key and a value."""
    assert names(pax(b"12 path=new\n") + file() + END) == [b"new"]
    fault(pax(record) + file() + END)
    fault(pax(b"11 user=me\n", record) + file() + END)


@pytest.mark.parametrize("key", [b"size", b"uid", b"gid", b"mtime"])
@pytest.mark.parametrize("value", [b"x", b"1x", b"0x1", b"1 ", b"1_0", b"--1", b"1.2.3", b"1e3"])
def test_a_pax_number_that_is_none_is_refused(key: bytes, value: bytes) -> None:
    """Numbers of pax records are decimal digits, with a point in times alone."""
    length = len(key) + len(value) + 3
    record = b"%d %s=%s\n" % (length + (1 if length < 9 else 2), key, value)
    fault(pax(record) + file() + END)


def test_a_negative_pax_size_is_refused() -> None:
    """A file cannot be smaller than empty."""
    fault(pax(b"11 size=-1\n") + file() + END)


# --- types ---


@pytest.mark.parametrize("typeflag", [b"V", b"M", b"D", b"N", b"Z", b"A", b"8", b" ", b"\xff"])
def test_an_unknown_type_is_refused_by_name(typeflag: bytes) -> None:
    """A type that no layer holds stops the scan, and the error says which entry has it."""
    error = fault(file() + header(b"some/path", typeflag=typeflag) + END)
    assert error.path == b"some/path"
    assert "some/path" in str(error)


def test_an_unknown_type_with_a_long_name_is_refused_by_that_name() -> None:
    """The name in the error is the entry's, not what fitted into its header."""
    long = b"some/" + b"p" * 200
    assert fault(extension(b"L", long + b"\0") + header(b"cut", typeflag=b"Z") + END).path == long
    assert fault(pax(b"215 path=" + long + b"\n") + header(b"cut", typeflag=b"Z")).path == long


@pytest.mark.parametrize(
    ("options", "typeflag"),
    [(["--label=a volume"], b"V"), (["--listed-incremental=snapshot"], b"D")],
    ids=["volume label", "incremental folder"],
)
def test_archives_that_are_no_layers_are_refused(
    options: list[str], typeflag: bytes, tmp_path: Path
) -> None:
    """GNU tar's labelled and incremental archives name what is no entry of a layer."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"content")
    gnu_tar("--create", "--format=gnu", *options, "--file=x.tar", "folder", cwd=tmp_path)
    data = (tmp_path / "x.tar").read_bytes()
    assert data[156:157] == typeflag
    assert fault(data).path == data[: data.index(b"\0")]


def test_a_later_volume_is_refused(tmp_path: Path) -> None:
    """The second volume of an archive begins in the middle of a file."""
    (tmp_path / "file").write_bytes(os.urandom(30_000))
    volumes = ["--file=1.tar", "--file=2.tar", "--file=3.tar"]
    gnu_tar("--create", "--format=gnu", "-M", "-L", "20", *volumes, "file", cwd=tmp_path)
    data = (tmp_path / "2.tar").read_bytes()
    assert data[156:157] == b"M"
    assert fault(data).path == b"file"


@pytest.mark.parametrize("magic", [b"", b"ustar\x0000", b"ustar  \0"])
def test_an_old_file_with_a_trailing_slash_is_a_folder(magic: bytes) -> None:
    """Before there was a type for folders, a slash told them from files; of type `0` it is a file."""
    for typeflag, name, kind in ((b"\0", b"d/", b"5"), (b"\0", b"d", b"0"), (b"0", b"d/", b"0")):
        (record,) = tar.scan_bytes(header(name, typeflag=typeflag, magic=magic) + END)
        assert record.typeflag == kind
