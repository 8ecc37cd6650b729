"""The scanner reads every real tar as two independent readers do, Python's tarfile and bsdtar.

Where a reader is wrong or means something else, the expectation here says so and why:

- tarfile takes the bytes from offset 345 on for a name prefix in every header. GNU keeps access and
  change times there (`tar --listed-incremental`), so its names come out as `15301311717/name`.
- tarfile takes the pax records that name a sparse file in the order in which they stand. GNU tar
  gives one with a long name the stand-in `./GNUSparseFile.1234/name` as its path; the name is in
  GNU.sparse.name.
- tarfile applies a global pax header's records to all members, as POSIX has it. libarchive and Go,
  on which every consumer of layers is built, do not, and neither does the scanner.
- tarfile reads a pax time as a float, which cannot hold nanoseconds: here the record's text counts.
- tarfile's size of a sparse file is its logical size, and with sparse format 1.0 its data begins
  behind the map: here stored size and payload are worked out from the map.
- tarfile keeps the old types (NUL, contiguous, GNU sparse) and drops a folder's trailing slash.
- libarchive reads a pax time of -1.5 as -1 seconds and +0.5, which it prints as -1.500000000 (and
  its writer turns -1.5 into -2.5, so bsdtar agrees with itself): the text is right. What it prints
  behind the point are nanoseconds without leading zeros.
- docker and buildah write the file's type into the mode field as well. tarfile and the scanner
  leave it there; bsdtar takes it away, and lists a hard link as what it links to.
  Asked for targets, its mtree crashes on such a link to a symlink: the listing has the targets.
- tarfile and bsdtar want the last block whole. `umoci insert` ends a layer with the last byte of
  its last file, which Go takes for the end: only the scanner gets that, the others the padding too.
- bsdtar lists a pax name that is no UTF-8 with a warning and exit code 1, and copies no archive
  that has one.
"""

from __future__ import annotations

import hashlib
import re
import stat
import tarfile
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from squashkit.engine.entries import EntryCache
from squashkit.layers import tar
from squashkit.layers.changeset import parse_changeset
from squashkit.layers.entry import GLOBAL, Entry
from squashkit.oci.digests import DiffID
from tests.support import tar_corpus
from tests.support.tar_corpus import CORPORA, Corpus, padded, run


class Written(NamedTuple):
    """A corpus as the scanner gets it (`data`) and as the other readers do (`path`)."""

    corpus: Corpus
    path: Path
    data: bytes


def name_of(corpus: Corpus) -> str:
    return corpus.name


@pytest.fixture(scope="session", params=CORPORA, ids=name_of)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    corpus: Corpus = request.param
    path = corpus.write(tmp_path_factory.mktemp(corpus.name))
    data = path.read_bytes()
    path.write_bytes(padded(data))
    return Written(corpus, path, data)


class Member(NamedTuple):
    """What an entry and its twin in tarfile have in common."""

    start: int
    data: int
    size: int
    name: bytes
    typeflag: bytes
    linkname: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    devices: tuple[int, int]
    xattrs: dict[bytes, bytes]
    realsize: int


def entries(data: bytes) -> list[Entry]:
    """The records that are members: global pax headers change none."""
    return [record for record in tar.scan_bytes(data) if record.typeflag != GLOBAL]


def of_entry(record: Entry) -> Member:
    name = record.name.rstrip(b"/") if record.typeflag == b"5" else record.name
    return Member(
        record.start, record.data, record.size, name, record.typeflag, record.linkname,
        record.mode, record.uid, record.gid, record.mtime, (record.devmajor, record.devminor),
        record.xattrs or {}, record.realsize,
    )  # fmt: skip


def of_member(member: tarfile.TarInfo, data: bytes, *, name: str | None = None) -> Member:
    typeflag = {b"\0": b"0", b"7": b"0", b"S": b"0"}.get(member.type, member.type)
    start_of_data, size = member.offset_data, member.size if typeflag == b"0" else 0
    if member.sparse is not None:
        size = sum(length for _, length in sparse_pieces(member))
        if member.pax_headers.get("GNU.sparse.major") == "1":
            map_size = sparse_map_size(data, member)
            start_of_data -= map_size
            size += map_size
    return Member(
        member.offset,
        start_of_data,
        size,
        to_bytes(name or member.pax_headers.get("GNU.sparse.name", member.name)),
        typeflag,
        to_bytes(member.linkname),
        member.mode,
        member.uid,
        member.gid,
        int(Fraction(member.pax_headers.get("mtime", member.mtime)) * 10**9 // 1),
        (member.devmajor, member.devminor) if typeflag in b"34" else (0, 0),
        {
            to_bytes(key.removeprefix("SCHILY.xattr.")): to_bytes(value)
            for key, value in member.pax_headers.items()
            if key.startswith("SCHILY.xattr.")
        },
        member.size if typeflag == b"0" else 0,
    )


def sparse_pieces(member: tarfile.TarInfo) -> list[tuple[int, int]]:
    """Offset and length of each piece of data; the type stubs call this attribute bytes."""
    pieces: Any = member.sparse
    return list(pieces)


def sparse_map_size(data: bytes, member: tarfile.TarInfo) -> int:
    """The blocks that the map of a sparse file of format 1.0 takes in front of the file's data."""
    pieces = sparse_pieces(member)
    numbers = [len(pieces), *(number for piece in pieces for number in piece)]
    text = b"".join(b"%d\n" % number for number in numbers)
    size = -(-len(text) // 512) * 512
    assert data[member.offset_data - size :].startswith(text)
    return size


def to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def test_every_corpus_shows_what_it_is_for(written: Written) -> None:
    """A writer that stopped using a feature of its dialect would be noticed."""
    assert written.corpus.marks <= tar_corpus.marks(written.data)


def test_entries_are_those_that_tarfile_reads(written: Written) -> None:
    """Every field of every entry is what tarfile makes of the same header."""
    records = [of_entry(record) for record in entries(written.data)]
    with tarfile.open(written.path, errors="surrogateescape") as archive:
        members = archive.getmembers()
    names: list[str | None] = [None] * len(members)
    if written.corpus.name == "gnu-tar-incremental":
        assert all(re.match(r"[0-7]{11}/", member.name) for member in members)
        names = [member.name[12:] for member in members]
    assert records == [
        of_member(member, written.data, name=name) for member, name in zip(members, names, strict=True)
    ]
    assert len(records) > 3


def test_payloads_are_what_tarfile_extracts(written: Written) -> None:
    """The bytes of a record's span are the content of its file."""
    with tarfile.open(written.path, errors="surrogateescape") as archive:
        for record, member in zip(entries(written.data), archive, strict=True):
            if member.type in (b"0", b"\0", b"7") and member.sparse is None:
                content = archive.extractfile(member)
                assert content is not None
                assert written.data[record.data : record.data + record.size] == content.read()


def test_records_lie_end_to_end(written: Written) -> None:
    """Records follow each other without gap or overlap, and only zero blocks follow the last."""
    at = 0
    for record in tar.scan_bytes(written.data):
        assert record.start == at
        at = record.end
    assert at <= len(padded(written.data))
    assert not written.data[at:].strip(b"\0")


def test_the_listing_is_the_one_that_bsdtar_prints(written: Written) -> None:
    """Types, modes, owners, sizes, devices, names and targets stand in bsdtar's order."""
    shown = run(
        "bsdtar", "--numeric-owner", "-tvf", written.path, warnings=not written.corpus.all_utf8
    ).decode()
    assert [listed_entry(record) for record in entries(written.data)] == [
        parse_listed(line) for line in shown.splitlines()
    ]


LISTED = re.compile(r"(\S{10})\s+\d+ (\d+)\s+(\d+)\s+([\d,]+) \w{3} [ \d]\d +[\d:]+ (.*)")


def parse_listed(line: str) -> tuple[str, ...]:
    """A line of `bsdtar -tv` without its link count and date, whose form depends on today's."""
    match = LISTED.fullmatch(line)
    assert match, line
    return match.groups()


def listed_entry(record: Entry) -> tuple[str, ...]:
    kinds = {b"0": "-", b"1": "h", b"2": "l", b"3": "c", b"4": "b", b"5": "d", b"6": "p"}
    size, text = str(record.realsize), printable(record.name)
    if record.typeflag in b"34":
        size = f"{record.devmajor},{record.devminor}"
    if record.typeflag == b"1":
        text += f" link to {printable(record.linkname)}"
    if record.typeflag == b"2":
        text += f" -> {printable(record.linkname)}"
    mode = stat.filemode(record.mode)
    if record.typeflag != b"1" or not stat.S_IFMT(record.mode):
        mode = kinds[record.typeflag] + mode[1:]
    return mode, str(record.uid), str(record.gid), size, text


def printable(name: bytes) -> str:
    """A name as bsdtar prints it in a UTF-8 locale."""
    text = name.decode("utf-8", "surrogateescape").replace("\\", "\\\\").replace("\n", "\\n")
    return "".join(f"\\{ord(char) & 0xFF:03o}" if "\udc80" <= char <= "\udcff" else char for char in text)


@pytest.mark.parametrize(
    "written", [corpus for corpus in CORPORA if corpus.all_utf8], indirect=True, ids=name_of
)
def test_times_and_owners_are_those_that_bsdtar_reads(written: Written) -> None:
    """Every mtime, to the nanosecond, and the other numbers stand in bsdtar's mtree."""
    keys = "!all,type,mode,uid,gid,size,time,device"
    tree = run("bsdtar", "-cf-", "--format=mtree", f"--options={keys}", f"@{written.path}")
    lines = [line.split(" ") for line in tree.decode().splitlines()[1:]]
    found = {unescape(name): dict(word.split("=", 1) for word in words) for name, *words in lines}
    records = entries(written.data)
    assert found == {tree_name(record.name): tree_words(record) for record in records}
    assert len(found) == len(records)


def unescape(text: str) -> bytes:
    return re.sub(rb"\\(\d{3})", lambda match: bytes([int(match[1], 8)]), text.encode())


def tree_name(name: bytes) -> bytes:
    """bsdtar's mtree writes every path from `./` on and without a slash at its end."""
    if name in (b".", b"./"):
        return b"/." if name == b"./" else b"."
    return b"./" + name.removeprefix(b"./").rstrip(b"/")


def tree_words(record: Entry) -> dict[str, str]:
    kinds = {b"2": "link", b"3": "char", b"4": "block", b"5": "dir", b"6": "fifo"}
    kind = kinds.get(record.typeflag, "file")
    if record.typeflag == b"1" and stat.S_ISLNK(record.mode):
        kind = "link"
    seconds, nanoseconds = divmod(abs(record.mtime), 10**9)
    words = {
        "time": f"{'-' if record.mtime < 0 and seconds else ''}{seconds}.{nanoseconds}",
        "mode": f"{stat.S_IMODE(record.mode):o}",
        "uid": str(record.uid),
        "gid": str(record.gid),
        "type": kind,
    }
    if kind == "file":
        words["size"] = str(record.realsize)
    if record.typeflag in b"34":
        words["device"] = f"native,{record.devmajor},{record.devminor}"
    return words


@pytest.mark.parametrize("window", [512, 513, 1024, 4000])
def test_the_size_of_the_window_changes_nothing(written: Written, window: int) -> None:
    """However few bytes the scanner is shown at a time, it reads the same records."""

    def show(offset: int) -> tuple[memoryview, int]:
        return memoryview(written.data)[offset : offset + window], offset

    assert list(tar.scan(show)) == list(tar.scan_bytes(written.data))


def test_a_global_pax_header_changes_nothing(tmp_path: Path) -> None:
    """Whatever a global header's records name, no entry gets it, as with libarchive and Go."""
    everyones = {"uid": "4242", "mtime": "1.25", "path": "one for all", "SCHILY.xattr.user.g": "g"}
    (tmp_path / "without").mkdir()
    (tmp_path / "with").mkdir()
    plain = python_pax(tmp_path / "without")
    prefixed = python_pax(tmp_path / "with", everyones)
    shift = len(prefixed.rstrip(b"\0")) - len(plain.rstrip(b"\0"))
    assert shift == 1024
    assert prefixed[shift:].rstrip(b"\0") == plain.rstrip(b"\0")
    assert [of_entry(record) for record in entries(prefixed)] == [
        of_entry(record._replace(start=record.start + shift)) for record in tar.scan_bytes(plain)
    ]


def python_pax(folder: Path, everyones: dict[str, str] | None = None) -> bytes:
    return tar_corpus.python_tar(tarfile.PAX_FORMAT, everyones)(folder).read_bytes()


def test_what_is_remembered_of_it_is_what_it_holds(written: Written, tmp_path: Path) -> None:
    """The entry cache gives the same entries back as the layer itself."""
    cache, data = EntryCache(tmp_path), written.data
    diff_id = DiffID(f"sha256:{hashlib.sha256(data).hexdigest()}")
    recorder = cache.recorder(diff_id)
    assert recorder is not None
    direct = parse_changeset(tar.scan_bytes(data), len(data))
    passing = recorder.recorded(tar.scan_bytes(data), lambda start, stop: data[start:stop])
    assert parse_changeset(passing, len(data)) == direct
    recorder.finish(direct)
    recorder.close()
    assert cache.get(diff_id) == direct
