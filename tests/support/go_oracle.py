"""What Go makes of a tar, what the scanner makes of it, and how far the two agree.

docker, containerd, podman, skopeo and umoci read layers by Go's archive/tar, so Go is the oracle: a
small program (tests/golang/main.go) reads tars and says what it saw. Where Go is not to be had, the
answers that `python -m tests.support.go_oracle` recorded in tests/golang/answers.json serve for fixed
inputs.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from squashkit.errors import InvalidLayer
from squashkit.layers import tar
from squashkit.layers.blocks import BLOCK, Window
from squashkit.layers.entry import GLOBAL, stored_spans
from tests.support.go_programs import FOLDER, build

ANSWERS = FOLDER / "answers.json"

READABLE = 8 << 20
"""The size up to which the content of a sparse file is compared: one may be exabytes of holes."""

FILES, LINKS, DEVICES = b"\x0007S", b"12", b"34"
KNOWN_TYPES = FILES + b"123456"
"""Those of which layers may be made; a global header (`g`) is an entry to Go and none to squashkit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What counts of an entry, in terms that both readers share.

    Consumers hand owners to the kernel, which takes 32 bits, and twelve bits of the mode. A target
    counts for links alone, device numbers for devices, size and content for files. Times are nanoseconds.
    """

    name: bytes
    typeflag: bytes
    linkname: bytes
    mode: int
    uid: int
    gid: int
    mtime: int
    devices: tuple[int, int]
    xattrs: Mapping[bytes, bytes]
    size: int
    end: int
    """Where the stored bytes end in the tar, their padding not counted."""
    holes: tuple[tuple[int, int], ...] | None
    """The holes of a sparse file (offset, length), None for all others."""
    content: str | None
    """SHA-256 of the content, holes included; None where it is no file, or a sparse one above 8 MiB."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The entries that a reader gave, and the text of the error at which it stopped."""

    entries: tuple[Entry, ...]
    error: str | None


# --- Go ---


class Dumper:
    """The running dumper, which answers one tar at a time."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self) -> None:
        """End the program."""
        self._process.communicate()

    def answer(self, data: bytes) -> dict[str, Any]:
        """What Go says of a tar, as the dumper writes it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(len(data).to_bytes(8, "big") + data)
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the dumper died on a tar of {len(data)} bytes"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def read(self, data: bytes) -> Reading:
        """What Go says of a tar."""
        return from_go(self.answer(data))


@contextmanager
def dumper() -> Iterator[Dumper]:
    """Go, built in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        go = Dumper(build("main.go", Path(folder)))
        try:
            yield go
        finally:
            go.close()


def read_with_go(tars: Sequence[bytes]) -> list[Reading]:
    """What Go says of each tar."""
    with dumper() as go:
        return [go.read(data) for data in tars]


def from_go(answer: Mapping[str, Any]) -> Reading:
    """The dumper's line as a reading."""
    entries = tuple(
        _entry(
            name=bytes.fromhex(entry["name"]),
            typeflag=bytes([entry["type"]]),
            linkname=bytes.fromhex(entry.get("linkname", "")),
            mode=entry.get("mode", 0),
            uid=entry.get("uid", 0),
            gid=entry.get("gid", 0),
            mtime=entry.get("seconds", 0) * 1_000_000_000 + entry.get("nanoseconds", 0),
            devices=(entry.get("devmajor", 0), entry.get("devminor", 0)),
            xattrs={bytes.fromhex(k): bytes.fromhex(v) for k, v in entry.get("xattrs", {}).items()},
            size=entry.get("size", 0),
            end=entry["end"],
            holes=entry.get("holes"),
            content=entry.get("content"),
        )
        for entry in answer["entries"]
        if entry["type"] != GLOBAL[0]
    )
    return Reading(entries, answer["error"])


def _entry(
    *,
    name: bytes,
    typeflag: bytes,
    linkname: bytes,
    mode: int,
    uid: int,
    gid: int,
    mtime: int,
    devices: tuple[int, int],
    xattrs: Mapping[bytes, bytes],
    size: int,
    end: int,
    holes: Iterable[Sequence[int]] | None,
    content: str | None,
) -> Entry:
    """The entry with what no consumer looks at taken away."""
    plain = typeflag in FILES
    return Entry(
        name=name,
        typeflag=b"0" if plain else typeflag,
        linkname=linkname if typeflag in LINKS else b"",
        mode=mode & 0o7777,
        uid=uid % (1 << 32),
        gid=gid % (1 << 32),
        mtime=_within_64_bits(mtime),
        devices=devices if typeflag in DEVICES else (0, 0),
        xattrs=xattrs,
        size=size if plain else 0,
        end=end,
        holes=None if holes is None else tuple((at, length) for at, length in holes if length),
        content=content if plain else None,
    )


def _within_64_bits(mtime: int) -> int:
    """A time of which the seconds wrap around, as they do in Go before the year -292277022399."""
    seconds, nanoseconds = divmod(mtime, 1_000_000_000)
    return ((seconds + (1 << 63)) % (1 << 64) - (1 << 63)) * 1_000_000_000 + nanoseconds


# --- squashkit ---


def read_with_squashkit(data: bytes, window: Window | None = None) -> Reading:
    """What the scanner says of a tar, given whole or by a `window` on it."""
    entries: list[Entry] = []
    try:
        for record in tar.scan(window) if window else tar.scan_bytes(data):
            if record.typeflag == GLOBAL:
                continue
            spans = list(stored_spans(record))
            entries.append(
                _entry(
                    name=record.name,
                    typeflag=record.typeflag,
                    linkname=record.linkname,
                    mode=record.mode,
                    uid=record.uid,
                    gid=record.gid,
                    mtime=record.mtime,
                    devices=(record.devmajor, record.devminor),
                    xattrs=record.xattrs or {},
                    size=record.realsize,
                    end=record.data + record.size,
                    holes=None if record.sparse is None else _holes(spans),
                    content=_content(data, spans) if record.realsize <= READABLE else None,
                )
            )
    except InvalidLayer as error:
        return Reading(tuple(entries), error.message)
    return Reading(tuple(entries), None)


Span = tuple[int | None, int]


def _holes(spans: Iterable[Span]) -> Iterator[tuple[int, int]]:
    """The holes among spans; those between which no byte lies are one, as Go has it."""
    at = 0
    for hole, some in itertools.groupby(
        (span for span in spans if span[1]), key=lambda span: span[0] is None
    ):
        length = sum(n for _, n in some)
        if hole:
            yield at, length
        at += length


def _content(data: bytes, spans: Iterable[Span]) -> str:
    pieces = (bytes(n) if at is None else data[at : at + n] for at, n in spans)
    return hashlib.sha256(b"".join(pieces)).hexdigest()


def narrow(data: bytes) -> Window:
    """A window that shows no more than it must, 512 bytes, as a stream of small pieces does."""
    view = memoryview(data)

    def window(offset: int) -> tuple[memoryview, int]:
        start = min(offset, len(view))
        return view[start : start + BLOCK], start

    return window


# --- how they agree ---

Class = Literal["same", "read otherwise", "refused by squashkit alone", "taken by squashkit alone"]
CLASSES: tuple[Class, ...] = get_args(Class)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How two readings of one tar agree; `detail` says in which field or at which error they part."""

    kind: Class
    detail: str = ""
    reason: str | None = None
    """Why the difference is meant, None for one that is not."""

    @property
    def fault(self) -> bool:
        """Whether this is a difference that nobody meant."""
        return self.kind != "same" and self.reason is None

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" + f" ({self.reason})" * bool(self.reason)


def compare(go: Reading, ours: Reading) -> Verdict:
    """Sort a tar by its two readings."""
    if go.error is not None and ours.error is not None:
        return Verdict("same", "refused by both")
    if go.error is not None:
        return Verdict("taken by squashkit alone", go.error, _reason(MEANT_TO_TAKE, go, ours))
    if ours.error is not None:
        return Verdict("refused by squashkit alone", ours.error, _reason(MEANT_TO_REFUSE, go, ours))
    for mine, other in zip(ours.entries, go.entries, strict=False):
        for field in fields(Entry):
            a, b = getattr(mine, field.name), getattr(other, field.name)
            if a != b:
                return Verdict("read otherwise", f"{field.name} {a!r}, {b!r} to Go")
    if len(ours.entries) != len(go.entries):
        return Verdict("read otherwise", f"entries {len(ours.entries)}, {len(go.entries)} to Go")
    return Verdict("same")


Test = Callable[[Reading, Reading], bool]


def _reason(table: Mapping[str, Test], go: Reading, ours: Reading) -> str | None:
    return next((reason for reason, holds in table.items() if holds(go, ours)), None)


def _refused(holds: Callable[[Entry], bool]) -> Test:
    """Whether this holds for the entry that Go read where squashkit stopped."""

    def test(go: Reading, ours: Reading) -> bool:
        return len(ours.entries) < len(go.entries) and holds(go.entries[len(ours.entries)])

    return test


def _large_map(go: Reading, ours: Reading) -> bool:
    sparse = _refused(lambda entry: entry.holes is not None)
    return sparse(go, ours) and ours.error == "a sparse map that does not end"


MEANT_TO_REFUSE: Mapping[str, Test] = {
    "a type that no consumer of layers knows (V, M, D, N, vendors')": _refused(
        lambda entry: entry.typeflag not in KNOWN_TYPES
    ),
    "a sparse map over 1 MiB, which Go refuses in format 1.0 from 1.24.8 on": _large_map,
    "a NUL in GNU.sparse.name, which Go leaves to the kernel": _refused(lambda entry: b"\0" in entry.name),
}
"""Why squashkit refuses what Go reads."""

MEANT_TO_TAKE: Mapping[str, Test] = {}
"""Why squashkit takes what Go refuses."""


# --- recorded answers ---


def digest(data: bytes) -> str:
    """What an answer names its tar by."""
    return hashlib.sha256(data).hexdigest()


@functools.cache
def recorded() -> Mapping[str, Any]:
    """The recorded answers: under each input's name its SHA-256 and the dumper's line."""
    answers: Mapping[str, Any] = json.loads(ANSWERS.read_text())
    return answers


def record(inputs: Mapping[str, bytes]) -> None:
    """Ask Go and write its answers down."""
    with dumper() as go:
        answers = {
            name: {"sha256": digest(data), "answer": go.answer(data)} for name, data in inputs.items()
        }
    ANSWERS.write_text(
        "{\n"
        + ",\n".join(
            f"{json.dumps(name)}: {json.dumps(answer, separators=(',', ':'))}"
            for name, answer in answers.items()
        )
        + "\n}\n"
    )


def main() -> None:
    """Entry Go's answers to the fixed inputs."""
    from tests.support.go_inputs import INPUTS

    record(INPUTS)
    print(f"{len(INPUTS)} answers in {ANSWERS}", file=sys.stderr)


if __name__ == "__main__":
    main()
