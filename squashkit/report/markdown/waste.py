"""What an image wastes, as a comment on the change that builds it."""

from __future__ import annotations

from collections.abc import Iterator

from squashkit.amounts import count, size
from squashkit.oci.steps import shown
from squashkit.plan.waste.model import Cause
from squashkit.report.markdown.page import (
    LIMIT,
    Part,
    fence,
    name,
    page,
    path,
    prose,
    row,
    step,
    table,
    told,
)
from squashkit.report.waste import MEANS, WasteReport

_ROWS = 25
"""Of a list, unless all are asked for."""
_OPEN = 5
"""Changes to the Dockerfile that are read without unfolding."""


def waste_page(report: WasteReport, limit: int = LIMIT) -> str:
    """The verdict first, then what to change, then where the bytes are: what is long is folded."""
    rows = None if report.verbose else _ROWS
    parts = [
        Part(head=f"### {_verdict(report)}"),
        *_gates(report),
        Part(head=" ".join(_facts(report))),
        *_causes(report),
        *_mends(report, rows),
        *_dead(report, rows),
        *_live(report, rows),
        _layers(report),
        *_patches(report, rows),
    ]
    return page(parts, limit)


def _verdict(report: WasteReport) -> str:
    what = f"{size(report.wasted.dead)} wasted" if report.wasted.dead else "nothing is wasted"
    if any(True for _ in report.judged()):
        what = f"{'Passed' if report.passed else 'Failed'}: {what}"
    return f"{what[0].upper()}{what[1:]} in {name(report.image.title)}"


def _gates(report: WasteReport) -> Iterator[Part]:
    rows = [
        row([f"`{gate}`", limit, found, "passed" if passed else "**failed**"])
        for gate, limit, found, passed in report.judged()
    ]
    if rows:
        yield Part(rows, table(["gate", "limit", "found", ""], {1, 2}))


def _facts(report: WasteReport) -> Iterator[str]:
    wasted, base = report.wasted, report.base
    where = "above the base" if base else "of the image"
    total = sum(one.uncompressed for one in report.layers)
    layers = count(len(report.layers), "layer")
    yield f"{prose(str(report.image.platform))}, {layers}, {size(total)} uncompressed."
    if base:
        yield f"The base has {count(base.layers, 'layer')}: {prose(base.evidence)}."
    if wasted.dead:
        yield (
            f"Wasted are {wasted.percent:.1f} % of the files {where}; the efficiency is"
            f" {wasted.efficiency:.1f} %."
        )
    if wasted.dead_of_base:
        yield f"The layers above kill {size(wasted.dead_of_base)} of the base, which stay with it."
    if report.saving is not None and report.saving.size is not None:
        merged = count(len(report.layers) - report.base_layers, "layer")
        yield f"Squashing the {merged} {where} saves {size(report.saving.size)} uncompressed."


def _causes(report: WasteReport) -> Iterator[Part]:
    rows = [
        row([cause.value, MEANS[cause], f"{files:,}", size(amount)])
        for cause, (files, amount) in report.by_cause().items()
        if files
    ]
    if rows:
        yield Part(rows, table(["dead because", "", "files", "size"], {2, 3}))


def _mends(report: WasteReport, limit: int | None) -> Iterator[Part]:
    listed = report.mends[:limit]
    commands = [shown(one.layer.created_by) for one in report.layers]
    rows = []
    for number, one in enumerate(listed, 1):
        text = told(one.text, [commands[layer] for layer in one.layers])
        rows.append(f"{number}. {text}{f' (line {one.line})' if one.line is not None else ''}")
    if rows:
        yield Part(rows[:_OPEN], "**What to write instead**\n")
    if rest := rows[_OPEN:]:
        more = len(report.mends) - len(listed)
        yield Part(rest, folded=f"{count(len(report.mends) - _OPEN, 'more change')}", more=more)


def _patches(report: WasteReport, limit: int | None) -> Iterator[Part]:
    rows = [
        f"For change {number}:\n\n{fence(one.diff, 'diff')}\n"
        for number, one in enumerate(report.mends[:limit], 1)
        if one.diff is not None
    ]
    if rows:
        yield Part(rows, folded="Patches for the Dockerfile")


def _dead(report: WasteReport, limit: int | None) -> Iterator[Part]:
    rows = [
        row(
            [
                path(one.path),
                size(one.size),
                _why(one.cause, one.changed),
                str(one.layer),
                str(one.killed_by),
            ]
        )
        for one in report.dead[:limit]
    ]
    if rows:
        head = table(["path", "size", "cause", "layer", "killed by"], {1, 3, 4})
        yield Part(
            rows,
            head,
            f"{count(len(report.dead), 'dead file')}, the largest first",
            len(report.dead) - len(rows),
        )


def _why(cause: Cause, changed: tuple[str, ...]) -> str:
    return f"{cause.value} ({', '.join(changed)})" if changed else cause.value


def _live(report: WasteReport, limit: int | None) -> Iterator[Part]:
    rows = [
        row([f"`{one.rule}`", size(one.size), f"{len(one.paths):,}", str(one.layer), path(one.paths[0])])
        for one in report.live[:limit]
    ]
    if rows:
        total = size(sum(one.size for one in report.live))
        head = table(["rule", "size", "files", "layer", "the largest"], {1, 2, 3})
        yield Part(rows, head, f"Lives, and is not needed: {total}", len(report.live) - len(rows))


def _layers(report: WasteReport) -> Part:
    rows = [
        row(
            [
                f"{one.layer.index}{' (base)' if one.layer.index < report.base_layers else ''}",
                size(one.uncompressed),
                size(one.dead) if one.dead else "",
                step(shown(one.layer.created_by)),
            ]
        )
        for one in report.layers
    ]
    head = table(["layer", "size", "dead", "created by"], {0, 1, 2})
    return Part(rows, head, count(len(rows), "layer"))
