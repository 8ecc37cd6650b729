"""All that is merged in a rebase, in the order in which the one needs the other: pure but for the contents
that are asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from squashkit.errors import show_path
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import DIRECTORY
from squashkit.plan.packages.owners import INFO, STATUS
from squashkit.plan.rebase.contents import Contents
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.merge.accounts import FILES, merge_accounts
from squashkit.plan.rebase.merge.alternatives import FOLDER, LINKS, merge_alternatives
from squashkit.plan.rebase.merge.apk import merge_apk
from squashkit.plan.rebase.merge.certificates import BUNDLE, merge_certificates
from squashkit.plan.rebase.merge.changes import Changes
from squashkit.plan.rebase.merge.databases import DIVERSIONS, DPKG, diversions, merge_databases
from squashkit.plan.rebase.merge.dpkg import (
    Choice,
    broken_relations,
    choose,
    lower_versions,
    note_packages,
    status_of,
    unready,
)
from squashkit.plan.rebase.merge.folders import follow_folders
from squashkit.plan.rebase.merge.loader import CACHE, merge_loader_cache
from squashkit.plan.rebase.merge.packages import PackageFiles
from squashkit.plan.rebase.merge.record import Record
from squashkit.plan.rebase.merge.renew import Renewed, renew
from squashkit.plan.rebase.merge.rpm import DATABASES, merge_rpm
from squashkit.plan.rebase.merge.sides import Sides, Tree
from squashkit.plan.rebase.model import Kind, Side
from squashkit.plan.rebase.origin import Origin

_FORMAT = INFO + b"/format"
_UPDATES = DPKG + b"updates"


def merge(
    fitted: Fitted,
    origin: Origin,
    contents: Contents,
    wanted: Collection[str],
    renewed: Mapping[bytes, Renewed],
    record: Record,
) -> Changes:
    """What the last layer must hold for the image to be as one that was built on the new base. `wanted` are
    `packages`, `accounts`, `caches` and `rpm`, or some of them; `renewed` is left out of the layers
    already; `record` is what an earlier rebase noted."""
    old, app = (Tree(tree, Side.OLD, contents) for tree in (origin.old, fitted.app))
    new, result = (Tree(tree, Side.NEW, contents) for tree in (origin.new, fitted.tree))
    sides = Sides(old, app, new, result, fitted.bottom)
    changes = Changes(sides)
    if "packages" in wanted:
        _merge_packages(sides, changes, record)
        merge_apk(sides, changes)
    if "rpm" in wanted:
        merge_rpm(sides, changes)
    if "accounts" in wanted:
        merge_accounts(sides, changes, fitted, record)
    if "caches" in wanted:
        merge_alternatives(sides, changes)
        merge_certificates(sides, changes)
        merge_loader_cache(sides, changes)
    renew(fitted, origin, renewed, changes)
    if "packages" in wanted:
        follow_folders(fitted, origin, changes)
    if fitted.earlier is not None:
        _carry_over(fitted.earlier, sides, changes, wanted)
    return changes


def _carry_over(earlier: Changeset, sides: Sides, changes: Changes, wanted: Collection[str]) -> None:
    """What an earlier rebase merged, replaced or hid, and this one has no reason to do again: where that
    made a difference to that rebase's base it is still the image's own, else it follows the new base. Of
    merges that are not wanted nothing is: the layers' own databases are seen again, and told."""
    files = (entry.path for entry in earlier.entries if entry.typeflag != DIRECTORY)
    for path in (*files, *earlier.whiteouts):
        if path not in changes.settled and _merge_of(path) in wanted:
            tree = sides.new if sides.is_as_old(path) else sides.app
            changes.copy(path, tree, Kind.PACKAGES)


def _merge_of(path: bytes) -> str:
    """In the merge of what a path was made."""
    if path.startswith((FOLDER + b"/", LINKS)) or path in (CACHE, BUNDLE):
        return "caches"
    if path.startswith(tuple(DATABASES)):
        return "rpm"
    return "accounts" if path in FILES else "packages"


def _merge_packages(sides: Sides, changes: Changes, record: Record) -> None:
    choices: list[Choice] = []
    place = sides.result.real(STATUS)
    if place != STATUS and sides.new.text(STATUS) is not None:
        effect = "the layers have put a symlink on the way to dpkg's database, which is not merged there"
        changes.leave(STATUS, f"/{show_path(place)}", effect)
    trees = (sides.old, sides.app, sides.new) if sides.is_above(STATUS) else ()
    texts = [text for tree in trees if (text := tree.text(STATUS)) is not None]
    if len(texts) == 3:
        old, app, new = texts
        why = _why_not(sides, old, app, new)
        if why:
            effect = "nothing of dpkg is merged: scanners go by the list of the layer above"
            changes.leave(STATUS, why, effect)
            return
        choices = choose(old, app, new, record)
        note_packages(choices, changes.record)
        status = status_of(choices)
        changed = [one.name for one in choices if one.app is not None and one.text != one.app.text]
        changed += [one.name for one in choices if one.app is None and one.text is not None]
        changes.put(STATUS, status, Kind.PACKAGES, changed)
        changes.conflicts += lower_versions(choices)
        changes.conflicts += broken_relations(app, status, choices)
    merge_databases(sides, changes, choices)
    if choices:
        PackageFiles(sides, changes, choices, diversions(changes.text(DIVERSIONS) or b"")).settle()


def _why_not(sides: Sides, *texts: bytes) -> str:
    """Why dpkg's database cannot be merged; empty where it can."""
    for tree in (sides.app, sides.new):
        if any(tree.names(_UPDATES)):
            return f"/{show_path(_UPDATES)} has changes that dpkg has not taken over"
        if tree.text(_FORMAT) not in (b"1\n", None):
            return f"/{show_path(_FORMAT)} is another than 1"
    return next((why for why in map(unready, texts) if why), "")
