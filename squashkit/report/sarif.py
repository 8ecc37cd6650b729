"""What an image wastes, as SARIF 2.1.0: hosts of code show it at the lines of the Dockerfile.

A message of SARIF has links in square brackets and placeholders in braces; both are escaped where they are
somebody's text.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any
from urllib.parse import quote

from squashkit.amounts import size
from squashkit.errors import UsageError, show_path, show_text
from squashkit.oci.steps import COPIES, parse_step, show_parsed
from squashkit.plan.waste.dockerfile import Dockerfile
from squashkit.plan.waste.model import Finding, Kind, Mend
from squashkit.report.waste import WasteReport
from squashkit.values import frozen
from squashkit.version import __version__

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "squashkitWaste/v1"
"""The name of the fingerprints. A new way to make them is a new version."""
_PATHS = 10
"""Of one result."""
_KINDS = {
    Kind.JOIN: "A later RUN deletes or changes what an earlier one made. Join them.",
    Kind.CHOWN: "Files are stored again for another owner. Set it where they are copied.",
    Kind.CHMOD: "Files are stored again for another mode. Set it where they are copied.",
    Kind.CACHE_MOUNT: "A cache is stored in a layer. Mount one while the step runs.",
    Kind.MULTI_STAGE: "Files are stored and deleted later. Make them in a stage of its own, or mount them.",
    Kind.NO_RECOMMENDS: "Packages bring others along that nobody asked for.",
    Kind.REMOVE: "Files are stored that a later step replaces. Leave them out, or delete them at once.",
    Kind.IGNORE: "The build context has files that no image needs. Name them in .dockerignore.",
}
_GATE = "More is wasted than a gate allows."
_PLACEHOLDER = re.compile(r"\{(\d+)\}")


def sarif(*reports: WasteReport) -> dict[str, Any]:
    """Waste as one SARIF 2.1.0 document with a run for each report: a result for each change to the
    Dockerfile that avoids dead files, each finding among files that live, and each gate that failed.

    Raises UsageError where a report was made without a Dockerfile, whose lines the results stand at.
    """
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [_run(report) for report in reports]}


@frozen
class _Result:
    """One result, before its rule has a number."""

    rule: str
    about: str
    """The rule's sentence."""
    usual: str
    """The rule's level."""
    level: str
    text: str
    line: int | None
    steps: Sequence[int]
    """Layers."""
    properties: Mapping[str, Any] = field(default_factory=dict)


def _run(report: WasteReport) -> dict[str, Any]:
    dockerfile = report.dockerfile
    if dockerfile is None:
        raise UsageError("SARIF tells the lines of a Dockerfile, and none was given")
    results = [*_gates(report), *_dead(report), *_live(report)]
    rules = {one.rule: one for one in results}
    numbers = {name: number for number, name in enumerate(sorted(rules))}
    marks = _fingerprints(report, results)
    platform = re.sub(r"[^\w.]+", "-", str(report.image.platform))
    return {
        "tool": {
            "driver": {
                "name": "squashkit",
                "version": __version__,
                "rules": [_rule(rules[name]) for name in numbers],
            }
        },
        "automationDetails": {"id": f"squashkit-waste/{platform}/"},
        "columnKind": "unicodeCodePoints",
        "results": [
            {
                "ruleId": one.rule,
                "ruleIndex": numbers[one.rule],
                "level": one.level,
                "message": {"text": _escaped(one.text)},
                "locations": [_location(dockerfile, one.line)],
                "partialFingerprints": {FINGERPRINT: mark},
                "properties": dict(one.properties),
            }
            for one, mark in zip(results, marks, strict=True)
        ],
        "properties": {
            "image": show_text(report.image.title),
            "platform": show_text(str(report.image.platform)),
            "deadBytes": report.wasted.dead,
            "deadBytesOfBase": report.wasted.dead_of_base,
            "efficiency": report.wasted.efficiency,
        },
    }


def _rule(one: _Result) -> dict[str, Any]:
    return {
        "id": one.rule,
        "name": "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]+", one.rule)),
        "shortDescription": {"text": _escaped(one.about)},
        "help": {"text": _escaped(one.about)},
        "defaultConfiguration": {"level": one.usual},
    }


def _gates(report: WasteReport) -> Iterator[_Result]:
    for gate, limit, found, passed in report.judged():
        if not passed:
            rule = f"gate/{gate.removeprefix('--')}"
            yield _Result(rule, _GATE, "error", "error", f"{gate} {limit}: found {found}.", None, ())


def _dead(report: WasteReport) -> Iterator[_Result]:
    """A change that avoids dead files is about two steps, one for files that live about theirs alone."""
    for one in report.mends:
        if len(one.layers) > 1:
            counts = one.layers[0] >= report.base_layers and not report.passed
            level = "error" if counts else "warning"
            rule = f"dead/{one.kind.value}"
            dead = sum(each.size for each in report.dead if {each.layer, each.killed_by} <= set(one.layers))
            properties = {"bytes": dead, "layers": list(one.layers), **_promised(one)}
            yield _Result(
                rule, _KINDS[one.kind], "warning", level, one.text, one.line, one.layers, properties
            )


def _promised(one: Mend) -> dict[str, Any]:
    """What a change saves, and how it is made, where that can be told."""
    saved = {"savedBytes": one.size} if one.size is not None else {}
    return saved | ({"patch": one.diff} if one.diff is not None else {})


def _live(report: WasteReport) -> Iterator[_Result]:
    alone = [one for one in report.mends if len(one.layers) == 1]
    for found in report.live:
        mend = next((one for one in alone if _is_of(one, found)), None)
        text = mend.text if mend is not None else found.mend
        if found.reason not in text:
            text = f"{size(found.size)} live and are not needed. {found.reason} {text}"
        properties = {
            "bytes": found.size,
            "layers": [found.layer],
            "kind": mend.kind.value if mend is not None else found.kind.value,
            "files": len(found.paths),
            "paths": [f"/{show_path(path)}" for path in found.paths[:_PATHS]],
        }
        line = mend.line if mend is not None else None
        rule = f"live/{found.rule}"
        yield _Result(rule, found.reason, "note", "note", text, line, [found.layer], properties)


def _is_of(mend: Mend, found: Finding) -> bool:
    return mend.layers == (found.layer,) and (found.mend in mend.text or found.reason in mend.text)


def _location(dockerfile: Dockerfile, line: int | None) -> dict[str, Any]:
    """The instruction that begins at a line; without one the last FROM, of whose base or image it is."""
    instructions = dockerfile.instructions
    if line is None:
        line = next(one.first for one in reversed(instructions) if one.keyword == "FROM")
    last = next((one.last for one in instructions if one.first == line), line)
    return {
        "physicalLocation": {
            "artifactLocation": _place(dockerfile.path),
            "region": {"startLine": line, "endLine": last},
        }
    }


def _place(path: str) -> dict[str, str]:
    """A path as a URI: one in the folder that squashkit runs in is relative, as hosts of code want it."""
    below = os.path.relpath(path)
    if os.path.isabs(path) and below.startswith(".."):
        return {"uri": f"file://{quote(os.fsencode(path))}"}
    return {"uri": quote(os.fsencode(below)), "uriBaseId": "%SRCROOT%"}


def _fingerprints(report: WasteReport, results: Sequence[_Result]) -> list[str]:
    """What says in the next build, too, which result it is: its rule and the steps that it is about, in
    words. Numbers of layers, sizes, lines and hashes of what was copied change from build to build.
    """
    steps = {one.layer.index: _words(one.layer.created_by) for one in report.layers}
    seen: dict[str, int] = {}
    found = []
    for one in results:
        words = [steps[layer] if layer >= report.base_layers else "the base" for layer in one.steps]
        text = "\0".join([one.rule, *dict.fromkeys(words)])
        seen[text] = number = seen.get(text, -1) + 1
        found.append(hashlib.sha256(f"{text}\0{number}".encode(errors="backslashreplace")).hexdigest()[:32])
    return found


def _words(created_by: str) -> str:
    step = parse_step(created_by)
    return (
        f"{step.instruction.value} {step.destination}" if step.instruction in COPIES else show_parsed(step)
    )


def _escaped(text: str) -> str:
    escaped = re.sub(r"([\\\[\]])", r"\\\1", show_text(text))
    return _PLACEHOLDER.sub(r"{{\1}}", escaped)
