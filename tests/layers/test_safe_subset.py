"""What a new layer is held against before it is written: a fault in it is squashkit's own."""

from __future__ import annotations

import pytest

from squashkit.layers import tar
from squashkit.layers.entry import DIRECTORY, HARD_LINK, REGULAR, Entry
from squashkit.layers.pieces import Member, SafeSubset
from squashkit.layers.rootfs import BELOW
from tests.support.tar_blocks import END, block


def copied(name: bytes, typeflag: bytes = REGULAR) -> Entry:
    """An entry that is copied as it stands."""
    (entry,) = tar.scan_bytes(block(name, typeflag) + END)
    return entry


def made(path: bytes, typeflag: bytes = REGULAR, target: bytes | None = None) -> Member:
    return Member(BELOW, 0, path, typeflag, target, ())


ROOT, D, E = made(b"", DIRECTORY), made(b"d", DIRECTORY), made(b"e", DIRECTORY)
FAULTS: dict[str, list[Entry | Member]] = {
    "two entries": [ROOT, D, copied(b"d/a"), copied(b"d/a")],
    "two entries, one made": [ROOT, D, made(b"d/a"), copied(b"d/a")],
    "two directories": [ROOT, D, D],
    "before its directory": [ROOT, copied(b"d/a"), D],
    "no directory": [ROOT, D, copied(b"d/e/a")],
    "before its target": [ROOT, D, made(b"d/l", HARD_LINK, b"d/a"), made(b"d/a")],
    "a whiteout elsewhere": [ROOT, D, E, made(b"d/.wh.a")],
    "a whiteout beside its entry": [ROOT, D, made(b"d/.wh.a"), copied(b"d/a")],
    "a whiteout beside its directory": [ROOT, made(b".wh.d"), D],
    "a name with a lead": [ROOT, D, copied(b"./d/a")],
    "a name that is cleaned": [ROOT, D, copied(b"d//a")],
    "a copied whiteout": [ROOT, D, copied(b"d/.wh.a")],
}


def hold(members: list[Entry | Member]) -> None:
    safe = SafeSubset(listed=True)
    list(safe.verified(members))
    safe.finish()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault: str) -> None:
    """Each kind of what consumers read differently, or refuse."""
    with pytest.raises(AssertionError):
        hold(FAULTS[fault])


def test_what_is_safe_passes() -> None:
    """Directories, each with its whiteouts, then files and links to them."""
    link = made(b"e/l", HARD_LINK, b"d/f")
    hold([ROOT, D, made(b"d/.wh.gone"), E, copied(b"d/a"), made(b"d/f"), link, copied(b"b")])
