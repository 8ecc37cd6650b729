"""Databases of packages: the one of a layer above hides the new base's, and scanners go by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from squashkit.errors import show_path
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Inode
from squashkit.plan.packages.owners import APK, STATUS
from squashkit.plan.packages.rpm.forms import rpm_packages
from squashkit.plan.packages.versions import is_later
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.model import Kind, Risk, Side
from squashkit.plan.rebase.origin import Origin
from squashkit.plan.rebase.risks.facts import Detectors, Facts, below, path_is, show_have, show_some

_RPM = tuple(
    folder + name
    for folder in (b"var/lib/rpm/", b"usr/lib/sysimage/rpm/")
    for name in (b"Packages", b"Packages.db", b"rpmdb.sqlite")
)
_FOLDERS = (
    b"var/lib/dpkg/",
    b"var/lib/rpm/",
    b"usr/lib/sysimage/rpm/",
    b"lib/apk/",
    b"usr/lib/apk/",
    b"var/lib/pacman/",
)
_PACMAN = b"var/lib/pacman/local/"


def _dpkg(facts: Facts) -> Iterator[Risk]:
    return _versions(facts, _dpkg_versions)


def _apk(facts: Facts) -> Iterator[Risk]:
    return _versions(facts, _apk_versions)


def _versions(facts: Facts, parse: Callable[[bytes], dict[str, str] | None]) -> Iterator[Risk]:
    """Which packages are listed in other versions than the files have."""
    new, old, contents = facts.new, facts.old, facts.contents
    if new is None:
        yield from _moved(facts)
        return
    listed, real = contents.text(facts.above), contents.text(new)
    shown = parse(listed) if listed is not None else None
    there = parse(real) if real is not None else None
    if shown is None or there is None:
        effect = "it lists what the old base had; scanners go by it"
        yield facts.risk(Kind.PACKAGES, "another database", "its own database", effect)
        return
    hidden = {name: version for name, version in there.items() if shown.get(name) != version}
    before = (parse(contents.text(old, Side.OLD) or b"") if old is not None else None) or {}
    gone = [name for name in before if name in shown and name not in there]
    hidden |= dict.fromkeys(gone, "(not there)")
    if hidden:
        old_text = show_some(f"{name} {shown.get(name, '(not listed)')}" for name in hidden)
        new_text = show_some(f"{name} {version}" for name, version in hidden.items())
        effect = "packages are listed in the versions on the left; the files are those on the right"
        yield facts.risk(Kind.PACKAGES, old_text, new_text, effect)


def _rpm(facts: Facts) -> Iterator[Risk]:
    if facts.new is None:
        yield from _moved(facts)
        return
    yield from _versions(facts, _rpm_versions)


def _moved(facts: Facts) -> Iterator[Risk]:
    """The new base has no such database there; has it one elsewhere?"""
    for family in (_RPM, APK) if facts.old is not None else ():
        for other in family if facts.path in family else ():
            node = node_at(facts.fitted.tree, other)
            if isinstance(node, Inode) and node.layer < facts.fitted.bottom:
                effect = (
                    "the new base's own lies elsewhere; what layers above installed is not listed in it"
                )
                yield facts.risk(Kind.PACKAGES, "a database", f"one at /{show_path(other)}", effect)
                return


def _pacman(facts: Facts) -> Iterator[Risk]:
    """Pacman has a folder for each package in its version."""
    if facts.path.endswith(b"/desc"):
        effect = "pacman lists this version, whatever the new base has"
        yield facts.risk(Kind.PACKAGES, show_have(facts.old), show_have(facts.new), effect)


def _nothing(facts: Facts) -> Iterator[Risk]:
    """What lies beside a database goes with it."""
    yield from ()


DETECTORS: Detectors = (
    (path_is(STATUS), _dpkg),
    (path_is(*APK), _apk),
    (path_is(*_RPM), _rpm),
    (below(_PACMAN), _pacman),
    (below(*_FOLDERS), _nothing),
)


def _rpm_versions(data: bytes) -> dict[str, str] | None:
    """Packages and their versions of rpm's database; None for one of a form that is not read."""
    packages = rpm_packages(data)
    if packages is None:
        return None
    return {show_path(name): show_path(one.version) for name, one in packages.items()}


def _dpkg_versions(text: bytes) -> dict[str, str]:
    """Installed packages and their versions, of dpkg's status file."""
    return _stanzas(text, b"Package: ", b"Version: ", b"Status: ", b" installed")


def _apk_versions(text: bytes) -> dict[str, str]:
    """Installed packages and their versions, of apk's database."""
    return _stanzas(text, b"P:", b"V:")


def _stanzas(
    text: bytes, name: bytes, version: bytes, status: bytes = b"", wanted: bytes = b""
) -> dict[str, str]:
    found = {}
    for stanza in text.split(b"\n\n"):
        fields: Mapping[bytes, bytes] = {
            key: line[len(key) :]
            for line in stanza.split(b"\n")
            for key in (name, version, status)
            if key and line.startswith(key)
        }
        if name in fields and (not status or fields.get(status, b"").endswith(wanted)):
            found[show_path(fields[name])] = show_path(fields.get(version, b""))
    return found


def find_stale(fitted: Fitted, origin: Origin) -> Iterator[Risk]:
    """Packages that the layers brought and whose source the new base has in a later version: a rebase does
    not patch what the layers brought. Of dpkg."""
    node = node_at(fitted.tree, STATUS)
    if not isinstance(node, Inode) or node.layer < fitted.bottom:
        return
    newest: dict[bytes, bytes] = {}
    for built in origin.there.values():
        if is_later(built.source_version, newest.get(built.source, b"")):
            newest[built.source] = built.source_version
    for name, built in sorted(origin.ours.items()):
        latest = newest.get(built.source, b"")
        brought = name not in origin.before and name not in origin.there
        if brought and is_later(latest, built.source_version):
            effect = "the layers brought it, and a rebase does not patch it: build the image anew"
            shown = show_path(name)
            old = f"{shown} {show_path(built.version)}"
            new = f"{show_path(built.source)} {show_path(latest)}"
            layer = node.layer - fitted.bottom
            yield Risk(Kind.STALE, b"", old, new, layer, effect, package=shown)
