"""Sizes, names and references as people write and read them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from squashkit.amounts import count, size, sizes
from squashkit.errors import show_path
from squashkit.oci.digests import DiffID, chain_ids, sha256
from squashkit.oci.documents import Platform
from squashkit.report.text import percent, show_time, table


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (1550, "1.6 KB"), (9_960, "10 KB"),
     (271_300_000, "271 MB"), (999_600, "1.0 MB"),
     (2_700_000_000, "2.7 GB"), (12_000_000_000_000_000, "12 PB")],
)  # fmt: skip
def test_sizes(value: int, text: str) -> None:
    """Bytes read as three digits at most and a unit."""
    assert size(value) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([16_404_269_237_430, 9_346_959_023_195, 47_000_000_000], ["16.4 TB", "9.35 TB", "0.047 TB"]),
        ([999_499, 999_500], ["1.00 MB", "1.00 MB"]),
        ([999, 5, 0], ["999 B", "5 B", "0 B"]),
        ([1000, 99_960, 9_996], ["1.00 KB", "100 KB", "10.0 KB"]),
        ([3 * 10**18], ["3000 PB"]),
        ([], []),
    ],
)
def test_sizes_that_are_compared(values: list[int], texts: list[str]) -> None:
    """They have one unit, that of the greatest, and three digits."""
    assert sizes(values) == texts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [("0", "1970-01-01 00:00:00"), ("1525176000.25", "2018-05-01 12:00:00.25"),
     ("-0.5", "1969-12-31 23:59:59.5"), ("9" * 18, "9" * 18)],
)  # fmt: skip
def test_times(seconds: str, text: str) -> None:
    """Times read as dates in UTC, with the fraction that they have; years past 9999 as numbers."""
    assert show_time(Decimal(seconds)) == text


def test_shares_and_counts() -> None:
    """Shares have one decimal, counts their thousands and a plural."""
    assert (percent(1, 3), percent(1, 0)) == ("33.3 %", "0 %")
    assert (count(1, "layer"), count(1234, "layer")) == ("1 layer", "1,234 layers")


def test_tables_align() -> None:
    """Text stands left, numbers right, and no line ends in spaces."""
    lines = table(["a", "n", ""], [["long name", "1", ""], ["x", "1,000", "note"]], right={1})
    assert lines == ["a              n", "long name      1", "x          1,000  note"]


def test_paths_are_shown_safely() -> None:
    """Control characters and bytes that are no UTF-8 are escaped."""
    assert show_path(b"a\x1b[31m\n\xff\xc3\xa4") == "a\\x1b[31m\\n\\xffä"


def test_platforms() -> None:
    """A variant counts only where both sides name one."""
    arm = Platform.parse("linux/arm/v7")
    assert str(arm) == "linux/arm/v7"
    assert arm.matches(Platform.parse("linux/arm"))
    assert not arm.matches(Platform.parse("linux/arm/v6"))
    with pytest.raises(ValueError, match="not a platform"):
        Platform.parse("linux")


def test_chain_ids() -> None:
    """A chain_id is the digest of the chain_id below and the diff_id (image-spec, config.md)."""
    first, second = map(str, chain_ids([DiffID("sha256:" + digit * 64) for digit in "ab"]))
    assert first == "sha256:" + "a" * 64
    assert second == sha256(b"sha256:" + b"a" * 64 + b" sha256:" + b"b" * 64)
