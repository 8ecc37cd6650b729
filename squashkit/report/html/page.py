"""What the page shows of images, as values and words. Pure.

All texts of others are escaped here as for a terminal: what is no visible sign stands as its number. What
they mean in HTML and in scripts is the template's business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from squashkit.amounts import count, size
from squashkit.errors import show_path, show_text
from squashkit.oci.steps import shown
from squashkit.plan.waste.model import Cause, DeadFile, Mend
from squashkit.report.html.fold import Node, Sized, What, fold
from squashkit.report.text import percent
from squashkit.report.waste import MEANS, WasteReport
from squashkit.values import frozen

NODES = 2000
"""The most rectangles of a picture."""
_DEAD_ROWS, _LIVE_ROWS, _EQUAL_ROWS, _MENDS = 500, 300, 200, 100
"""The most rows of each kind of finding, and changes to the Dockerfile. Of the rest there is a sum."""
_PAIRS = 200
"""The most pairs of layers, of which one killed files of the other, that have rows of their own."""
_PATH, _NAME, _STEP, _TEXT = 200, 48, 300, 1500
"""Characters of a path, of a node's name, of a step and of a sentence that are shown."""
_FEW = 3
"""Layers of a directory that are named."""


@frozen
class ReportedImage:
    """An image that the page is about."""

    waste: WasteReport
    files: tuple[Node, ...]
    """Its root file system, as `fold` gives it."""


class Amount(NamedTuple):
    """Bytes, and how they are shown."""

    bytes: int
    text: str

    @classmethod
    def of(cls, value: int) -> Amount:
        return cls(value, size(value))


@frozen
class Fact:
    """A number of the headline."""

    name: str
    """For programs: what `--json` calls it."""
    label: str
    value: str
    note: str
    number: int
    """Bytes, or how many layers."""


@frozen
class LayerRow:
    """A layer. `content` are bytes of files; of these `dead` are dead, and `shown` are not."""

    index: int
    step: str
    in_base: bool
    stored: Amount
    uncompressed: Amount
    content: Amount
    dead: Amount
    shown: Amount


@frozen
class Finding:
    """A row of the table of findings."""

    kind: str
    """`dead`, `live` or `equal`."""
    why: str
    means: str
    """The same in a sentence."""
    amount: Amount
    files: int
    layer: int | None
    killed_by: int | None
    where: str
    more: str = ""
    """What else is to be said: where a file went, which are the largest."""


@frozen
class Change:
    """What to write instead."""

    parts: tuple[tuple[bool, str], ...]
    """The sentence in pieces: whether each is code, and the piece."""
    saves: Amount | None
    line: int | None
    diff: str


@frozen
class Squashed:
    """One number of the image before and after a squash above the base."""

    what: str
    before: str
    after: str
    saved: str
    is_estimate: bool = False


@frozen
class Boundary:
    """What a squash saves that keeps so many layers."""

    keep: int
    saved: Amount | None
    is_base: bool


@frozen
class Rectangles:
    """A tree as a picture takes it, column by column: a node's number is its place."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    bytes: tuple[int, ...]
    sizes: tuple[str, ...]
    files: tuple[int, ...]
    kinds: str
    """A letter a node: d, f or s for a directory, a file, small ones."""
    layers: tuple[tuple[tuple[int, str], ...], ...]
    """The few with the most bytes, and these."""
    summary: str
    """What it shows, in a sentence."""

    def json(self) -> dict[str, object]:
        """As the script of the page reads it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@frozen
class Section:
    """All of one image."""

    anchor: str
    title: str
    platform: str
    base_layers: int
    base: str
    """Which it is, and how that is known; a sentence in any case."""
    verdict: str
    facts: tuple[Fact, ...]
    layers: tuple[LayerRow, ...]
    bars: str
    """What the bars of layers show, in a sentence; empty where there is nothing to show."""
    files: Rectangles | None
    """None where no file has a byte."""
    dead: Rectangles | None
    """None where nothing is dead."""
    findings: tuple[Finding, ...]
    kinds: tuple[tuple[str, str, int], ...]
    """Kinds of findings: for programs, in words, and how many rows there are."""
    changes: tuple[Change, ...]
    more_changes: int
    squashed: tuple[Squashed, ...]
    """Empty where there is nothing to squash."""
    no_squash: str
    """Then why."""
    command: str
    boundaries: tuple[Boundary, ...]


@frozen
class Page:
    """The whole page."""

    title: str
    sections: tuple[Section, ...]


def page_of(images: Sequence[ReportedImage]) -> Page:
    """What the page shows of these images, in their order."""
    sections = tuple(_section(one, number) for number, one in enumerate(images, 1))
    title = sections[0].title if len(sections) == 1 else count(len(sections), "image")
    return Page(f"{title}: where the bytes are", sections)


KINDS = {"dead": "Dead", "live": "Lives, and is not needed", "equal": "Equal files"}
"""The kinds of findings, in words."""


def _section(image: ReportedImage, number: int) -> Section:
    report = image.waste
    rows = tuple(_layer_rows(report))
    dead = fold((Sized(one.path, one.size, one.layer) for one in report.dead), NODES)
    findings = (*_dead_rows(report.dead), *_live_rows(report), *_equal_rows(report))
    counts = [(kind, KINDS[kind], sum(one.kind == kind for one in findings)) for kind in KINDS]
    squashed = tuple(_squashed(report))
    return Section(
        anchor=f"image-{number}",
        title=_cut(show_text(report.image.title), _PATH),
        platform=_cut(show_text(str(report.image.platform)), _NAME),
        base_layers=report.base_layers,
        base=_base(report),
        verdict=_verdict(report),
        facts=tuple(_facts(report)),
        layers=rows,
        bars=_bars(rows),
        files=_rectangles(image.files, "The root file system") if image.files[0].files else None,
        dead=_rectangles(dead, "What is dead") if report.dead else None,
        findings=tuple(sorted(findings, key=lambda one: -one.amount.bytes)),
        kinds=tuple(one for one in counts if one[2]),
        changes=tuple(map(_change, report.mends[:_MENDS])),
        more_changes=max(0, len(report.mends) - _MENDS),
        squashed=squashed,
        no_squash="" if squashed else _no_squash(report),
        command=show_text(
            f"squashkit squash {report.reference} --keep-layers {report.base_layers} -t NAME -o OUTPUT"
        ),
        boundaries=tuple(
            Boundary(
                one.keep_layers,
                Amount.of(one.size) if one.size is not None else None,
                one.keep_layers == report.base_layers,
            )
            for one in report.savings
        ),
    )


def _base(report: WasteReport) -> str:
    if report.base is None:
        return "Nothing says which layers are the base, so all layers count."
    return f"Base: {count(report.base_layers, 'layer')}, {_cut(show_text(report.base.evidence), _PATH)}."


def _verdict(report: WasteReport) -> str:
    wasted, where = report.wasted, _where(report)
    if not report.dead:
        return "Nothing is dead: no layer holds a file that a later one replaces or deletes."
    said = f"{size(wasted.dead)} of {size(wasted.above)} {where} are dead ({wasted.percent:.1f} %)."
    saving = report.saving
    if saving is not None and saving.size is not None and saving.size > 0:
        merged = len(report.layers) - report.base_layers
        said += f" Squashing the {merged} layers {where} saves {size(saving.size)} uncompressed."
    return said


def _where(report: WasteReport) -> str:
    return "above the base" if report.base else "of the image"


def _facts(report: WasteReport) -> Iterator[Fact]:
    total = sum(one.uncompressed for one in report.layers)
    stored = sum(one.stored for one in report.layers)
    above = sum(one.size for one in report.dead if one.layer >= report.base_layers)
    live, equal = sum(one.size for one in report.live), sum(one.size for one in report.duplicates)
    layers = len(report.layers)
    of_base = f"{report.base_layers:,} of them the base" if report.base else "the base is not known"
    yield Fact("diff_size", "Uncompressed", size(total), f"{size(stored)} stored", total)
    yield Fact("layers", "Layers", f"{layers:,}", of_base, layers)
    share = percent(above, report.wasted.above)
    yield Fact("above_base", "Dead", size(above), f"{share} of the files {_where(report)}", above)
    if report.wasted.dead_of_base:
        of_base = size(report.wasted.dead_of_base)
        yield Fact("of_base", "Dead of the base", of_base, "stays with it", report.wasted.dead_of_base)
    found = f"{count(len(report.live), 'finding')} by rules" if report.live else "by the rules"
    yield Fact("live", "Lives, and is not needed", size(live), found, live)
    groups = count(len(report.duplicates), "group")
    yield Fact("duplicates", "Equal files", size(equal), f"in {groups}", equal)
    if report.saving is not None and report.saving.size is not None:
        saved = report.saving.size
        yield Fact(
            "saving",
            "A squash saves",
            size(saved) if saved > 0 else "nothing",
            f"{percent(max(0, saved), total)} of uncompressed",
            saved,
        )


def _layer_rows(report: WasteReport) -> Iterator[LayerRow]:
    for one in report.layers:
        yield LayerRow(
            one.layer.index,
            _cut(shown(one.layer.created_by), _STEP) or "(no step is told)",
            one.layer.index < report.base_layers,
            Amount.of(one.stored),
            Amount.of(one.uncompressed),
            Amount.of(one.content),
            Amount.of(one.dead),
            Amount.of(one.content - one.dead),
        )


def _bars(rows: Sequence[LayerRow]) -> str:
    if not any(one.content.bytes for one in rows):
        return ""
    largest = max(rows, key=lambda one: one.content.bytes)
    said = (
        f"Bars of {count(len(rows), 'layer')}: bytes of files that containers see, and of dead ones. The"
        f" largest is layer {largest.index} with {largest.content.text}"
    )
    worst = max(rows, key=lambda one: one.dead.bytes)
    if worst.dead.bytes:
        said += f"; most is dead in layer {worst.index}, {worst.dead.text}"
    return f"{said}. The table has all numbers."


# --- pictures ---------------------------------------------------------------------------------


def _rectangles(nodes: Sequence[Node], what: str) -> Rectangles:
    top = sorted(
        (node for node in nodes if node.parent == 0 and node.what is not What.SMALL),
        key=lambda node: (-node.size, node.path),
    )
    largest = ", ".join(f"{_cut(_absolute(node), _NAME)} {size(node.size)}" for node in top[:_FEW])
    total = f"{what}: {size(nodes[0].size)} in {count(nodes[0].files, 'file')}"
    return Rectangles(
        names=tuple(_name(node, nodes) for node in nodes),
        parents=tuple(node.parent for node in nodes),
        bytes=tuple(node.size for node in nodes),
        sizes=tuple(size(node.size) for node in nodes),
        files=tuple(node.files for node in nodes),
        kinds="".join(node.what.value[0] for node in nodes),
        layers=tuple(
            tuple((layer, size(amount)) for layer, amount in node.layers[:_FEW]) for node in nodes
        ),
        summary=f"{total}. The largest: {largest}." if largest else f"{total}.",
    )


def _name(node: Node, nodes: Sequence[Node]) -> str:
    if node.parent < 0:
        return "/"
    if node.what is What.SMALL:
        return _small(node)
    above = nodes[node.parent].path
    below = node.path[len(above) + 1 :] if above else node.path
    return _cut(show_path(below), _NAME) + "/" * (node.what is What.DIRECTORY)


def _small(node: Node) -> str:
    return f"{node.files:,} small file{'' if node.files == 1 else 's'}"


def _absolute(node: Node) -> str:
    return f"/{show_path(node.path)}{'/' * bool(node.path and node.what is not What.FILE)}"


# --- findings ---------------------------------------------------------------------------------


class _Killed(NamedTuple):
    """What dead files have alike that one row may speak of."""

    layer: int
    by: int
    cause: Cause
    changed: tuple[str, ...]


def _dead_rows(dead: Sequence[DeadFile]) -> Iterator[Finding]:
    """Dead files, folded by directory: of the same layer, killed by the same one in the same way."""
    groups: dict[_Killed, list[DeadFile]] = defaultdict(list)
    for one in dead:
        groups[_Killed(one.layer, one.killed_by, one.cause, one.changed)].append(one)
    total = sum(one.size for one in dead)
    sums = {killed: sum(one.size for one in files) for killed, files in groups.items()}
    ordered = sorted(
        groups, key=lambda killed: (-sums[killed], killed.layer, killed.by, killed.cause.value)
    )
    for killed in ordered[:_PAIRS]:
        files = groups[killed]
        rows = max(1, _DEAD_ROWS * sums[killed] // total)
        for node in fold((Sized(one.path, one.size, one.layer) for one in files), 1 + rows):
            if not node.is_open:
                yield _dead_row(killed, node, files)
    rest = ordered[_PAIRS:]
    if rest:
        amount = sum(sums[killed] for killed in rest)
        files_left = sum(len(groups[killed]) for killed in rest)
        where = f"{count(len(rest), 'more pair')} of layers"
        yield Finding("dead", "several", "", Amount.of(amount), files_left, None, None, where)


def _dead_row(killed: _Killed, node: Node, files: Sequence[DeadFile]) -> Finding:
    why = " ".join([killed.cause.value, *(f"({', '.join(killed.changed)})" for _ in killed.changed[:1])])
    more = ""
    if node.what is What.FILE:
        moved = next((one.moved_to for one in files if one.path == node.path and one.moved_to), None)
        more = f"to {_path(moved)}" if moved is not None else ""
    else:
        small = "small " * (node.what is What.SMALL)
        more = f"{node.files:,} {small}{'file' if node.files == 1 else 'files'}"
    where = _cut(_absolute(node), _PATH)
    means = MEANS[killed.cause]
    return Finding(
        "dead", why, means, Amount.of(node.size), node.files, killed.layer, killed.by, where, more
    )


def _live_rows(report: WasteReport) -> Iterator[Finding]:
    for one in report.live[:_LIVE_ROWS]:
        others = f"the largest of {len(one.paths):,} files" if len(one.paths) > 1 else ""
        yield Finding(
            "live",
            _cut(show_text(one.rule), _NAME),
            show_text(one.reason),
            Amount.of(one.size),
            len(one.paths),
            one.layer,
            None,
            _path(one.paths[0]),
            others,
        )
    if rest := report.live[_LIVE_ROWS:]:
        files = sum(len(one.paths) for one in rest)
        amount = Amount.of(sum(one.size for one in rest))
        where = count(len(rest), "more finding")
        yield Finding("live", "several", "", amount, files, None, None, where)


def _equal_rows(report: WasteReport) -> Iterator[Finding]:
    why, means = "equal", "the same bytes under several paths: the size is what storing them once saves"
    for one in report.duplicates[:_EQUAL_ROWS]:
        paths = len(one.paths)
        others = f"and {_path(one.paths[1])}"
        if paths > 2:
            others = f"{others} and {paths - 2:,} more"
        yield Finding(
            "equal", why, means, Amount.of(one.size), paths, None, None, _path(one.paths[0]), others
        )
    if rest := report.duplicates[_EQUAL_ROWS:]:
        files = sum(len(one.paths) for one in rest)
        amount = Amount.of(sum(one.size for one in rest))
        yield Finding("equal", why, means, amount, files, None, None, count(len(rest), "more group"))


# --- what to do -------------------------------------------------------------------------------


def _change(mend: Mend) -> Change:
    saves = Amount.of(mend.size) if mend.size is not None else None
    diff = "\n".join(map(show_text, (mend.diff or "").splitlines()))
    pieces = _cut(show_text(mend.text), _TEXT).split("`")
    is_paired = len(pieces) % 2  # a backtick that is left alone is none that quotes
    parts = enumerate(pieces) if is_paired else [(0, "`".join(pieces))]
    return Change(tuple((bool(at % 2), one) for at, one in parts if one), saves, mend.line, diff)


def _squashed(report: WasteReport) -> Iterator[Squashed]:
    """The image before and after: layers, uncompressed, stored."""
    saving = report.saving
    if saving is None or saving.size is None:
        return
    kept, above = report.layers[: report.base_layers], report.layers[report.base_layers :]
    yield Squashed("layers", f"{len(report.layers):,}", f"{len(kept) + 1:,}", f"{len(above) - 1:,} fewer")
    before = sum(one.uncompressed for one in report.layers)
    yield _less("uncompressed", before, before - saving.size)
    plain = sum(one.uncompressed for one in above)
    stored = sum(one.stored for one in above)
    if not plain or not all(one.stored for one in report.layers):
        return
    after = stored * (plain - saving.size) // plain
    is_plain = all(one.stored == one.uncompressed for one in above)
    below = sum(one.stored for one in kept)
    yield _less("stored", below + stored, below + after, is_estimate=not is_plain)


def _less(what: str, before: int, after: int, *, is_estimate: bool = False) -> Squashed:
    saved = before - after
    share = percent(abs(saved), before)
    said = f"{size(saved)} saved ({share})" if saved >= 0 else f"{size(-saved)} more ({share})"
    return Squashed(what, size(before), size(after), said, is_estimate)


def _no_squash(report: WasteReport) -> str:
    above = len(report.layers) - report.base_layers
    if above < 2:
        return f"There is nothing to squash: {count(above, 'layer')} {_where(report)}."
    return f"The {above} layers {_where(report)} cannot be merged, or it is not known what that saves."


# --- words ------------------------------------------------------------------------------------


def _path(path: bytes) -> str:
    return _cut(f"/{show_path(path)}", _PATH)


def _cut(text: str, width: int) -> str:
    """A text, of a long one its beginning and its end."""
    if len(text) <= width:
        return text
    return f"{text[: width // 2]}…{text[-(width - width // 2 - 1) :]}"
