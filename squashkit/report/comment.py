"""What is wasted as a comment for a pull request, in GitHub's and GitLab's Markdown."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from squashkit.amounts import count, size
from squashkit.errors import show_path
from squashkit.plan.waste.model import Cause
from squashkit.report.text import code, markdown, shorten

if TYPE_CHECKING:
    from squashkit.report.waste import WasteReport

LIMIT = 60_000
"""Characters; GitHub takes 65,536."""
_ROWS, _WIDTH, _TEXT = 20, 120, 600
"""Rows of a table, and characters of a path or a command, and of a mend."""


def waste_comment(report: WasteReport) -> str:
    """The whole comment. Parts that would make it too long are left out, the last first, and it says so.
    Nothing that somebody else wrote marks anything up."""
    parts = ["\n".join(_head(report)), *_parts(report)]
    text, left_out = parts[0], 0
    for part in parts[1:]:
        if len(text) + len(part) > LIMIT:
            left_out += 1
        else:
            text += f"\n\n{part}"
    if left_out:
        text += "\n\nMore would not fit into a comment."
    return text + "\n"


def _head(report: WasteReport) -> Iterator[str]:
    wasted, where = report.wasted, "above the base" if report.base else "in all"
    yield f"### {markdown(report.image.title)}: {size(wasted.dead)} dead"
    yield ""
    yield (
        f"{size(wasted.dead)} of {size(wasted.above)} {where} are dead ({wasted.percent:.1f} %), efficiency"
        f" {wasted.efficiency:.1f} %, {count(len(report.layers), 'layer')}."
    )
    judged = list(report.judged())
    if not judged:
        return
    failed = sum(not one.passed for one in judged)
    verdict = f"{failed} of {count(len(judged), 'gate')} failed" if failed else "All gates passed"
    yield ""
    yield f"**{verdict}.** {markdown(report.worst)}".rstrip()
    yield ""
    rows = [["yes" if one.passed else "**no**", code(one.name), one.limit, one.value] for one in judged]
    yield _table(["passed", "gate", "limit", "found"], rows, numbers={2, 3})


def _parts(report: WasteReport) -> Iterator[str]:
    if report.dead:
        amounts: Counter[Cause] = Counter()
        files: Counter[Cause] = Counter()
        for one in report.dead:
            amounts[one.cause] += one.size
            files[one.cause] += 1
        rows = [[size(amounts[cause]), f"{files[cause]:,}", cause.value] for cause in Cause if files[cause]]
        yield _table(["size", "files", "cause"], rows, numbers={0, 1})
    if report.mends:
        lines = [
            f"{number}. {_with_code(shorten(one.text, _TEXT))}"
            + (f" (line {one.line})" if one.line is not None else "")
            for number, one in enumerate(report.mends[:_ROWS], 1)
        ]
        yield "#### What to write instead\n\n" + "\n".join([*lines, *_more(report.mends)])
    for number, mend in enumerate(report.mends[:_ROWS], 1):
        if mend.diff is not None:
            yield _folded(f"The patch of {number}", _fenced(mend.diff))
    if report.dead:
        rows = [
            [size(one.size), one.cause.value, str(one.layer), str(one.killed_by), _path(one.path)]
            for one in report.dead[:_ROWS]
        ]
        table = _table(["size", "cause", "layer", "by", "path"], rows, numbers={0, 2, 3})
        yield _folded("The largest dead files", "\n".join([table, "", *_more(report.dead)]))
    if report.live:
        total = size(sum(one.size for one in report.live))
        rows = [
            [size(one.size), f"{len(one.paths):,}", str(one.layer), code(one.rule), _path(one.paths[0])]
            for one in report.live[:_ROWS]
        ]
        table = _table(["size", "files", "layer", "rule", "the largest"], rows, numbers={0, 1, 2})
        yield _folded(f"Lives, and is not needed: {total}", "\n".join([table, "", *_more(report.live)]))
    rows = [
        [
            str(one.layer.index),
            size(one.uncompressed),
            size(one.dead) if one.dead else "",
            code(shorten(report.step(one.layer), _WIDTH)),
        ]
        for one in report.layers
    ]
    yield _folded("All layers", _table(["layer", "size", "dead", "created by"], rows, numbers={0, 1, 2}))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: set[int]) -> str:
    marks = ["--:" if column in numbers else "---" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, marks, *rows))


def _folded(title: str, body: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def _fenced(diff: str) -> str:
    """A patch as code, in a fence that it does not hold."""
    longest = max(map(len, re.findall("`+", diff)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}diff\n{diff.rstrip()}\n{fence}"


def _with_code(text: str) -> str:
    """A sentence whose parts between backticks are code; the others mark nothing up. A command that has
    backticks itself only looks odd."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return markdown(text)
    marked = (
        f"`{part}`" if number % 2 and part.strip() else markdown(part) for number, part in enumerate(parts)
    )
    return "".join(marked)


def _path(path: bytes) -> str:
    return code(shorten(f"/{show_path(path)}", _WIDTH))


def _more(rows: Sequence[object]) -> list[str]:
    return [f"... and {len(rows) - _ROWS:,} more"] if len(rows) > _ROWS else []
