"""All that a rebase puts at risk: pure but for the contents that it asks for.

At each path that a layer above has and about which the bases do not agree, one detector looks: the first in
the table whose path it is; where there is none, what counts is whether a file was copied up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Directory, Inode
from squashkit.oci.documents import ImageConfig
from squashkit.plan.rebase.contents import Contents, is_file
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.model import ACCOUNTS, Copied, Kind, Risk, Side
from squashkit.plan.rebase.origin import Origin
from squashkit.plan.rebase.risks import accounts, caches, packages
from squashkit.plan.rebase.risks.accounts import BACKUPS, owner_risks, user_risks
from squashkit.plan.rebase.risks.content import find_copies, find_emptied, find_hidden
from squashkit.plan.rebase.risks.facts import Facts
from squashkit.plan.rebase.risks.packages import find_stale

_DETECTORS = (*packages.DETECTORS, *accounts.DETECTORS, *caches.DETECTORS)
_VOLATILE = (
    b"var/log/",
    b"var/cache/",
    b"var/tmp/",
    b"tmp/",
    b"run/",
    b"var/run/",
    b"var/lib/apt/",
    b"var/lib/systemd/",
    b"root/.cache/",
)
"""Folders of what is made anew, or thrown away."""


class Found(NamedTuple):
    """What a rebase puts at risk, and every file of the old base's that lies above in a copy."""

    risks: list[Risk]
    copied: list[Copied]


def find_risks(fitted: Fitted, origin: Origin, contents: Contents, changes: Changes, user: str) -> Found:
    """Hold the layers above against both bases. `changes` is what is merged, and so not at risk; `user` the
    account that the result runs as. First comes what did not fit, then what could not be merged, then the
    rest by path. Of hard links that have lost their targets nothing else is told.
    """
    risks, copied = [*fitted.risks, *changes.conflicts], list[Copied]()
    for path, bases in sorted(fitted.touched.items()):
        above = node_at(fitted.tree, path)
        if not isinstance(above, Inode) or above.layer < fitted.bottom:
            if path in ACCOUNTS:
                risks += owner_risks(fitted, contents, path, bases)
            continue
        if path.startswith(_VOLATILE) or path in BACKUPS or path in changes.settled:
            continue
        agree = contents.do_agree(bases.old, bases.new)
        was, there = (node if isinstance(node, Inode) else None for node in bases)
        same = was is not None and contents.is_same(was, above, Side.OLD)
        facts = Facts(fitted, contents, origin, path, above, was, there, same)
        if is_file(facts.old) and is_file(above):
            copied.append(Copied(path, above.layer - fitted.bottom, facts.same, not agree))
        if not agree and not isinstance(bases.new, Directory):  # a change of type is told as that
            risks += _detect(facts)
    risks += find_copies(fitted, origin, contents)
    emptied = find_emptied(fitted, origin, changes)
    risks += (risk for risk in emptied if not (risk.path + b"/").startswith(_VOLATILE))
    risks += find_stale(fitted, origin)
    risks += user_risks(changes.text(b"etc/passwd"), user)
    return Found(risks, copied)


def _detect(facts: Facts) -> Iterator[Risk]:
    detect = next((detect for fits, detect in _DETECTORS if fits(facts.path)), find_hidden)
    return detect(facts)


def platform_risks(old: ImageConfig, new: ImageConfig) -> list[Risk]:
    """Whether what was made for the one base runs on the other."""
    risks = []
    if not new.platform.matches(old.platform):
        effect = "programs of the layers above do not run on it"
        risks.append(Risk(Kind.PLATFORM, b"", str(old.platform), str(new.platform), None, effect))
    before, after = (str(config.raw.get("os.version") or "") for config in (old, new))
    if before and after and before != after:
        effect = "hosts take an image by the os.version that it was made for"
        risks.append(Risk(Kind.PLATFORM, b"", before, after, None, effect))
    return risks
