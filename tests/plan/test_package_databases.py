"""Versions, sources and owners of packages, against dpkg where it is at hand."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from squashkit.plan.packages.owners import Built, find_owners, installed
from squashkit.plan.packages.versions import is_later

IN_ORDER = (
    b"1~~", b"1~~a", b"1~", b"1", b"1-0~bpo1", b"1-1~deb12u1", b"1-1", b"1-1+b1", b"1-1+deb12u1",
    b"1-1+deb12u2", b"1-1.1", b"1-2", b"1-10", b"1a", b"1+", b"1.0~rc1", b"1.0",
    b"1.0.1", b"1.2-1-1", b"1.9", b"1.10", b"2", b"1:0.1",
)  # fmt: skip
"""As deb-version(7) orders them."""


def test_versions_are_in_order() -> None:
    """Each is later than all before it, and none than itself."""
    for at, version in enumerate(IN_ORDER):
        assert [is_later(version, other) for other in IN_ORDER] == [at > n for n in range(len(IN_ORDER))]


PARTS = st.text("01~+.a-b", max_size=6)


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="this machine has no dpkg")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds("{}{}".format, st.sampled_from("0129"), PARTS), min_size=2, max_size=2))
def test_versions_compare_as_dpkg_says(pair: list[str]) -> None:
    """Whatever they are made of."""
    one, other = (text.rstrip("-") for text in pair)
    said = subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False)
    assert is_later(one.encode(), other.encode()) == (said.returncode == 0)


def test_sources_of_packages() -> None:
    """A package without a field is its own source; the source's version is the package's unless it says
    otherwise; what is not installed is none."""
    status = (
        b"Package: a\nStatus: install ok installed\nVersion: 1-1+b1\nSource: s (1-1)\n\n"
        b"Package: b\nStatus: install ok installed\nVersion: 2\nSource: s\n\n"
        b"Package: c\nStatus: hold ok installed\nVersion: 3\n\n"
        b"Package: d\nStatus: deinstall ok config-files\nVersion: 4\n\n"
        b"Package: e\nStatus: unknown ok not-installed\nVersion: 5\n"
    )
    assert installed(status) == {
        b"a": Built(b"1-1+b1", b"s", b"1-1"),
        b"b": Built(b"2", b"s", b"2"),
        b"c": Built(b"3", b"c", b"3"),
    }


FILES = {
    b"var/lib/dpkg/status": b"Package: a\nConffiles:\n /etc/a.conf 01 obsolete\n /etc/b 02\nEnhances: x\n",
    b"var/lib/dpkg/info/a:amd64.list": b"/.\n/lib\n/lib/a.so\n/etc/a.conf\n",
    b"var/lib/dpkg/status.d/b.md5sums": b"0123  usr/bin/b\n",
    b"lib/apk/db/installed": b"P:c\nV:1\nF:usr/bin\nR:c\nZ:Q1\nF:\nR:top\n",
}


@pytest.mark.parametrize(
    ("path", "package"),
    [
        (b"usr/lib/a.so", "a"),
        (b"lib/a.so", "a"),
        (b"bin/b", "b"),
        (b"usr/bin/c", "c"),
        (b"top", "c"),
        (b"usr/share/x", None),
    ],
)
def test_owners_of_files(path: bytes, package: str | None) -> None:
    """By dpkg's lists, distroless' sums and apk's database, /lib and /usr/lib being one."""
    assert find_owners(FILES.get, FILES).of(path) == package


def test_conffiles_stand_in_the_status() -> None:
    """Obsolete ones too."""
    owners = find_owners(FILES.get, FILES)
    assert [owners.is_conffile(path) for path in (b"etc/a.conf", b"etc/b", b"lib/a.so")] == [
        True,
        True,
        False,
    ]
