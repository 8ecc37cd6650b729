"""The scanner reads every tar as Go's archive/tar reads it, by which all consumers of layers read.

Where Go is not installed its recorded answers serve for the fixed inputs, and random chains are skipped.
"""

from __future__ import annotations

import dataclasses
import functools
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from squashkit.errors import InvalidLayer
from squashkit.layers import entry as own
from squashkit.layers import tar
from squashkit.layers.entry import GLOBAL, SYMLINK
from squashkit.layers.headers import rewrite
from squashkit.layers.pax import parse_pax
from tests.fuzz.golang import kind, smaller
from tests.support.builders import layer, sparse
from tests.support.go_chains import LIMIT, chain
from tests.support.go_inputs import GROUPS, INPUTS
from tests.support.go_oracle import (
    KNOWN_TYPES,
    Dumper,
    Entry,
    Reading,
    compare,
    digest,
    dumper,
    from_go,
    narrow,
    read_with_squashkit,
    recorded,
)
from tests.support.go_programs import have_go
from tests.support.tar_blocks import BLOCK, END, GNU, block, long_name, member, padded, pax
from tests.support.tar_corpus import unavailable

SEEDS = range(3000)


@pytest.fixture(scope="session")
def go() -> Iterator[Dumper]:
    """Go itself."""
    if not have_go():
        unavailable("go is not installed")
    with dumper() as program:
        yield program


@pytest.fixture(scope="session")
def answers() -> dict[str, Any]:
    """Go's recorded answers to the fixed inputs."""
    for name, data in INPUTS.items():
        assert recorded()[name]["sha256"] == digest(data), (
            f"python -m tests.support.go_oracle: {name} is new"
        )
    return {name: recorded()[name]["answer"] for name in INPUTS}


@pytest.mark.parametrize("group", GROUPS)
def test_fixed_inputs(answers: dict[str, Any], group: str) -> None:
    """What archive/tar's own tests show, and what once misled squashkit, is read as Go reads it."""
    faults = []
    for name, data in INPUTS.items():
        if name.startswith(f"{group}/"):
            verdict = compare(from_go(answers[name]), read_with_squashkit(data))
            faults += [f"{name}: {verdict}"] * verdict.fault
    assert not faults, "\n".join(faults)


def test_answers_are_what_go_says(go: Dumper, answers: dict[str, Any]) -> None:
    """The recorded answers are those of the Go that is installed, whichever its version."""
    for name, data in INPUTS.items():
        assert go.answer(data) == answers[name], name


@functools.cache
def chains() -> list[bytes]:
    """Random tars, those of the first seeds."""
    return [chain(seed) for seed in SEEDS]


@pytest.fixture(scope="session")
def readings(go: Dumper) -> list[Reading]:
    """What Go makes of the random tars."""
    return [go.read(data) for data in chains()]


def test_random_chains(readings: list[Reading]) -> None:
    """No chain of headers is read otherwise, refused or taken by squashkit alone, but for a reason."""
    faults = []
    for seed, data, theirs in zip(SEEDS, chains(), readings, strict=True):
        verdict = compare(theirs, read_with_squashkit(data))
        faults += [f"seed {seed}: {verdict}"] * verdict.fault
    assert not faults, "\n".join(faults)


def test_chains_are_worth_their_time(readings: list[Reading]) -> None:
    """Random tars are as often read as refused, and all that matters stands in many of them."""
    seen: Counter[str] = Counter()
    for reading in readings:
        seen["error" if reading.error else "end"] += 1
        for entry in reading.entries:
            seen[entry.typeflag.decode("latin-1")] += 1
            seen["sparse"] += entry.holes is not None
            seen["xattrs"] += bool(entry.xattrs)
            seen["long"] += len(entry.name) > 100
            seen["fraction"] += entry.mtime % 1_000_000_000 > 0
            seen["other type"] += entry.typeflag not in KNOWN_TYPES
    few = {what: count for what, count in seen.items() if len(what) > 1 or what in "0123456"}
    assert min(few["error"], few["end"]) > len(SEEDS) // 4
    assert min(few.values()) > 10, few


def test_narrow_windows() -> None:
    """A tar is read alike whole and through windows of 512 bytes."""
    for data in (*INPUTS.values(), *chains()):
        if len(data) > 100 * BLOCK:
            continue
        assert read_with_squashkit(data, narrow(data)) == read_with_squashkit(data)


@pytest.mark.parametrize("over", [False, True])
def test_large_sparse_maps(go: Dumper, over: bool) -> None:
    """A sparse map may have 1 MiB, as extension headers may; one block more is refused."""
    blocks = LIMIT // BLOCK + over
    old = block(b"s", b"S", magic=GNU, more=b"\1", realsize=b"7")
    more = (bytes(504) + b"\1" + bytes(7)) * (blocks - 1) + bytes(BLOCK)
    version = ((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"7"))
    zeros = b"0".rjust(blocks * BLOCK - 1, b"0") + b"\n"
    for data in (old + more + END, pax(*version) + member(b"s", zeros) + END):
        theirs, ours = go.read(data), read_with_squashkit(data)
        assert (ours.error is not None) == over
        assert not compare(theirs, ours).fault
        assert over or len(theirs.entries) == 1


# --- what is written ---


@functools.cache
def readable() -> list[tuple[str, bytes, own.Entry, Entry]]:
    """The records of tars that squashkit reads to their ends, each behind its tar's name and bytes."""
    random = {f"seed {seed}": data for seed, data in zip(SEEDS[:1000], chains(), strict=False)}
    found = []
    for name, data in (INPUTS | random).items():
        reading = read_with_squashkit(data)
        if reading.error is None:
            records = [record for record in tar.scan_bytes(data) if record.typeflag != GLOBAL]
            found += [(name, data, *pair) for pair in zip(records, reading.entries, strict=True)]
    return found


def differences(go: Dumper, name: str, data: bytes, entry: Entry) -> list[str]:
    """In what Go's reading of a tar of one entry differs from this one."""
    verdict = compare(go.read(data + END), Reading((entry,), None))
    return [] if verdict.kind == "same" else [f"{name}: {verdict}"]


def test_records_stand_alone(go: Dumper) -> None:
    """The bytes of a record, copied anywhere else, mean to Go what they meant where they stood."""
    faults = []
    for name, data, record, entry in readable():
        moved = dataclasses.replace(entry, end=entry.end - record.start)
        faults += differences(go, name, padded(data[record.start : record.end]), moved)
    assert not faults, "\n".join(faults)


CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "a short name": {"name": b"n"},
    "a long name": {"name": b"d/" + b"\xff" * 200},
    "attributes": {"attributes": (0o4751, 4_294_967_294, 3_000_000, -1_500_000_000)},
    "other xattrs": {"xattrs": {b"user.k": b"\0v="}},
    "no xattrs": {"xattrs": {}},
    "a link": {"linkname": b"t" * 101},
}
"""What changes when headers are written anew."""


def changed(entry: Entry, *, attributes: tuple[int, ...] = (), **changes: Any) -> Entry:
    """What Go must read of an entry of which something was changed."""
    changes |= dict(zip(("mode", "uid", "gid", "mtime"), attributes, strict=False))
    if "linkname" in changes:
        changes |= {"typeflag": b"1", "devices": (0, 0), "size": 0, "holes": None, "content": None}
    return dataclasses.replace(entry, **changes)


@pytest.mark.parametrize("change", CHANGES)
def test_headers_written_anew(go: Dumper, change: str) -> None:
    """Whatever chain a record had, what is written anew means to Go what was understood, but for what was
    to change, and no reader understands it otherwise."""
    asked = CHANGES[change]
    faults = []
    for name, data, record, entry in readable():
        try:
            blocks = rewrite(record, data[record.start : record.data], **asked)
        except InvalidLayer as error:
            if "extended header would be" not in str(error):
                raise
            continue
        stored = b"" if "linkname" in asked else data[record.data : record.data + record.size]
        understood = changed(entry, **asked, end=len(blocks) + len(stored))
        faults += differences(go, name, blocks + padded(stored), understood)
        (again,) = tar.scan_bytes(blocks + padded(stored))
        if understood.typeflag != SYMLINK or understood.linkname:  # an empty target stays odd
            faults += [f"{name}: {again.odd}"] * bool(again.odd)
    assert not faults, "\n".join(faults)


def payload_of(blocks: bytes) -> bytes:
    """The records of a tar's first header."""
    assert blocks[156:157] == b"x"
    return blocks[512 : 512 + int(blocks[124:135], 8)]


def test_repeated_records_survive_in_their_order() -> None:
    """A GNU sparse 0.0 map is a list of repeated records: a new name leaves it as it is."""
    data = layer(sparse("d/old", 9000, [(n * 1024, b"x" * 9) for n in range(5)], form="0.0"))
    record = next(tar.scan_bytes(data))
    before = parse_pax(payload_of(data))
    after = parse_pax(payload_of(rewrite(record, data[: record.data], name=b"n" * 101)))
    assert [pair for pair in after if pair[0] != b"path"] == before


# --- archive/tar's own files ---


def own_files() -> dict[str, Path]:
    """The files of archive/tar's testdata that came with Go, by their names."""
    root = subprocess.run(
        ["go", "env", "GOROOT"], check=True, capture_output=True, text=True
    ).stdout.strip()
    files = {path.stem: path for path in (Path(root) / "src/archive/tar/testdata").glob("*.tar")}
    if not files:
        unavailable("archive/tar's testdata is not installed")
    return files


def test_own_files_of_archive_tar(go: Dumper) -> None:
    """The files by which archive/tar is tested are read as Go reads them."""
    faults = []
    for name, path in sorted(own_files().items()):
        data = path.read_bytes()
        verdict = compare(go.read(data), read_with_squashkit(data))
        faults += [f"{name}: {verdict}"] * verdict.fault
    assert not faults, "\n".join(faults)


def test_restated_files_show_the_same(go: Dumper) -> None:
    """Each restated file has the types, the forms and the end of the file that it stands for."""

    def gist(reading: Reading) -> tuple[Any, ...]:
        shapes = [(e.typeflag, e.holes is None, bool(e.xattrs), bool(e.linkname)) for e in reading.entries]
        return shapes, reading.error

    files = own_files()
    restated = {
        name.removeprefix("testdata/"): data
        for name, data in INPUTS.items()
        if name.startswith("testdata/")
    }
    common = sorted(files.keys() & restated.keys())
    assert len(common) > 30
    for name in common:
        assert gist(go.read(restated[name])) == gist(go.read(files[name].read_bytes())), name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("testdata/gnu-multi-hdrs", [b"GNU2/GNU2/long-path-name"]),
        ("testdata/pax-multi-hdrs", [b"bar"]),
        ("testdata/gnu-long-nul", [b"0123456789"]),
        ("testdata/gnu-not-utf8", [b"hi\x80\x81\x82\x83bye"]),
        ("testdata/invalid-go17", [b"a" * 97 + b"/foo"]),
        ("testdata/trailing-slash", [b"123456789/" * 30]),
        ("testdata/pax-path-hdr", []),
        ("layer/pax-twice", [b"d/", b"short"]),
        ("layer/gnu-name-then-pax", [b"d/", b"d/gnu"]),
        ("layer/gnu-magic-prefix", [b"a/" + b"b" * 80 + b"/c/" + b"f" * 60, b"z"]),
        ("layer/pax-then-global", [b"secret"]),
        ("layer/sparse-name-without-version", [b"secret"]),
        ("layer/an empty GNU name, then a pax one", [b"d/", b"d/pax"]),
        ("sparse records/beside a long name", [b"realname"]),
    ],
)
def test_names(name: str, expected: list[bytes]) -> None:
    """These names are the right ones, whatever Go and the scanner agree upon."""
    reading = read_with_squashkit(INPUTS[name])
    assert ([entry.name for entry in reading.entries], reading.error) == (expected, None)


# --- the oracle itself ---


def other(value: Any) -> Any:
    """Another value of the same type, or one where there is none."""
    if value is None:
        return "something"
    return value + type(value)(b"x") if isinstance(value, bytes) else None


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Entry)])
def test_a_difference_in_any_field_is_told(field: str) -> None:
    """Two readings that differ in one field of one entry are read otherwise."""
    mine = read_with_squashkit(member(b"a", b"x") + member(b"b", b"y") + END)
    first, second = mine.entries
    theirs = Reading((first, dataclasses.replace(second, **{field: other(getattr(second, field))})), None)
    verdict = compare(theirs, mine)
    assert (verdict.kind, verdict.detail.split()[0], verdict.fault) == ("read otherwise", field, True)
    assert compare(mine, mine).kind == "same"


def test_what_one_side_alone_refuses_is_told() -> None:
    """An error on one side and an entry too few are differences; an error on both sides is none."""
    whole = read_with_squashkit(member(b"a") + member(b"b") + END)
    part = Reading(whole.entries[:1], None)
    broken = Reading(whole.entries[:1], "broken")
    assert compare(whole, part).kind == compare(part, whole).kind == "read otherwise"
    assert compare(whole, broken).kind == "refused by squashkit alone"
    assert compare(broken, whole).kind == "taken by squashkit alone"
    assert compare(broken, Reading((), "also broken")).kind == "same"
    assert all(compare(a, b).fault for a, b in ((whole, broken), (broken, whole)))


def test_only_what_is_meant_is_excused(go: Dumper) -> None:
    """A type that squashkit refuses on purpose is excused, and no other refusal beside it."""
    data = member(b"a") + block(b"volume", b"V") + END
    there = go.read(data)
    meant = compare(there, Reading(there.entries[:1], "unknown type V"))
    assert (meant.kind, meant.fault) == ("refused by squashkit alone", False)
    assert compare(there, Reading((), "something else")).fault


def test_tars_are_made_smaller() -> None:
    """What a difference needs stays in a tar, and what it does not need goes."""
    noise = long_name(b"elsewhere") + member(b"x" * 90, b"data" * 400, prefix=b"p")
    data = noise + pax((b"uid", b"7")) + member(b"needed", b"more data", uid=b"0000123") + noise + END

    def holds(tried: bytes) -> bool:
        return any(entry.name == b"needed" for entry in read_with_squashkit(tried).entries)

    assert holds(data)
    less = smaller(data, holds)
    assert holds(less)
    assert len(less) <= 2 * BLOCK
    assert less[108:116] == block()[108:116]


def test_differences_of_one_cause_are_one_kind() -> None:
    """Names and numbers in an error do not make it another one."""
    whole = read_with_squashkit(member(b"a") + END)
    one, two = (compare(whole, Reading((), f"uid is no number: {text}")) for text in ("b'1x'", "b'9:\"'"))
    assert kind(one) == kind(two) == "refused by squashkit alone: uid is no number: B"
