"""What programs look things up in: the loader's cache, certificates, alternatives."""

from __future__ import annotations

import re
from collections.abc import Iterator

from squashkit.errors import show_path
from squashkit.plan.rebase.model import Kind, Risk, Side
from squashkit.plan.rebase.risks.facts import (
    Detectors,
    Facts,
    below,
    path_is,
    show_have,
    show_some,
    show_target,
)

_ALTERNATIVES = (b"etc/alternatives/", b"var/lib/dpkg/alternatives/", b"var/lib/alternatives/")
_LIBRARIES = b"etc/ld.so.cache"
_AUTHORITIES = (
    b"etc/ssl/certs/ca-certificates.crt",
    b"etc/ssl/cert.pem",
    b"etc/pki/tls/certs/ca-bundle.crt",
    b"etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    b"etc/ssl/ca-bundle.pem",
)
_LIBRARY = re.compile(rb"(?:.*/)?([\w.+-]+\.so(?:\.[\w.+-]*)?)")
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END", re.DOTALL)


def _loader(facts: Facts) -> Iterator[Risk]:
    """Which of the new base's libraries the loader does not find."""
    if facts.new is None:
        return
    ours, theirs = facts.contents.text(facts.above), facts.contents.text(facts.new)
    missing = _libraries(theirs) - _libraries(ours) if ours is not None and theirs is not None else {b"?"}
    if missing:
        names = show_some(sorted(show_path(name) for name in missing)) if missing != {b"?"} else "its own"
        effect = "the loader does not find these by the cache above; run ldconfig in a layer of the app"
        yield facts.risk(Kind.CACHES, "not listed", names, effect)


def _certificates(facts: Facts) -> Iterator[Risk]:
    """Which of the new base's CAs are unknown, and which that it dropped are trusted."""
    old, new, contents = facts.old, facts.new, facts.contents
    if new is None:
        return
    texts = [contents.text(facts.above), contents.text(new), contents.text(old, Side.OLD) if old else b""]
    if any(text is None for text in texts):
        effect = "the CAs are those of the layer above, whatever the new base trusts"
        yield facts.risk(Kind.CACHES, show_have(old), "its own CAs", effect)
        return
    ours, theirs, before = (set(_CERTIFICATE.findall(text or b"")) for text in texts)
    missing, distrusted = len(theirs - ours), len((ours & before) - theirs)
    if missing or distrusted:
        effect = f"{missing} of the new base's CAs are unknown, {distrusted} that it dropped trusted"
        yield facts.risk(Kind.CACHES, f"{len(before)} CAs", f"{len(theirs)} CAs", effect)


def _alternatives(facts: Facts) -> Iterator[Risk]:
    """Where the layer chose among what the old base had."""
    old, new = facts.old, facts.new
    if new is not None and old is not None and not facts.contents.is_same(facts.above, new):
        effect = "the layer's choice stands, made among what the old base had"
        yield facts.risk(Kind.CACHES, show_target(old), show_target(new), effect)


DETECTORS: Detectors = (
    (path_is(_LIBRARIES), _loader),
    (path_is(*_AUTHORITIES), _certificates),
    (below(*_ALTERNATIVES), _alternatives),
)


def _libraries(cache: bytes) -> set[bytes]:
    """The libraries that a cache of the loader lists, by their sonames: strings with zeros around them
    (glibc, sysdeps/generic/dl-cache.h). Its magic looks like one."""
    found = map(_LIBRARY.fullmatch, cache.split(b"\0"))
    return {match[1] for match in found if match is not None and b"ld.so.cache" not in match[0]}
