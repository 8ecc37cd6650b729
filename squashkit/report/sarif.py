"""What is wasted as a SARIF log (OASIS, Static Analysis Results Interchange Format 2.1.0), for what shows
findings beside the lines of a Dockerfile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from squashkit.errors import UsageError
from squashkit.plan.waste.model import Kind, Mend
from squashkit.version import __version__
from squashkit.wording import Option

if TYPE_CHECKING:
    from squashkit.report.waste import WasteReport

_RULES = {
    Kind.JOIN: "What one step leaves a later one deletes too late",
    Kind.CHOWN: "A change of owner stores files again",
    Kind.CHMOD: "A change of mode stores files again",
    Kind.CACHE_MOUNT: "A cache is left in the image",
    Kind.MULTI_STAGE: "What was only needed to build is left in the image",
    Kind.NO_RECOMMENDS: "Packages are installed that nobody asked for",
    Kind.REMOVE: "What nothing needs is left in the image",
    Kind.IGNORE: "Files are copied that belong to no image",
}
_GATE = "gate"


def sarif_log(runs: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """A whole log of these runs: one an image."""
    return {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": list(runs),
    }


def waste_run(report: WasteReport) -> dict[str, Any]:
    """A run with a result for each mend, and for each gate that failed. Raises UsageError where no
    Dockerfile was given.

    A fingerprint stays as it is from build to build while the steps are written as they are.
    """
    if report.dockerfile is None:
        raise UsageError("a SARIF log names lines of the Dockerfile: pass ", Option("dockerfile"))
    ids = [*(kind.value for kind in _RULES), _GATE]
    texts = [*_RULES.values(), "The image wastes more than it may"]
    seen: Counter[str] = Counter()
    results = []
    for one in report.mends:
        mark = _mark(report, one)
        seen[mark] += 1
        level = "note" if one.size is None else "warning"
        properties = {"bytes": one.size, "layers": list(one.layers)}
        results.append(
            _result(report, one.kind.value, ids, level, one.text, one.line)
            | {"partialFingerprints": {"step/v1": f"{mark}:{seen[mark]}"}, "properties": properties}
        )
    for gate in report.judged():
        if not gate.passed:
            text = f"{gate.name} is {gate.limit}, found {gate.value}. {report.worst}".strip()
            mark = sha256(f"{_GATE} {gate.name}".encode()).hexdigest()
            results.append(
                _result(report, _GATE, ids, "error", text, 1) | {"partialFingerprints": {"step/v1": mark}}
            )
    return {
        "tool": {
            "driver": {
                "name": "squashkit",
                "version": __version__,
                "rules": [
                    {"id": name, "shortDescription": {"text": text}}
                    for name, text in zip(ids, texts, strict=True)
                ],
            }
        },
        "automationDetails": {"id": f"squashkit/{report.image.platform}/"},
        "results": results,
    }


def _result(
    report: WasteReport, rule: str, ids: list[str], level: str, text: str, line: int | None
) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(report.dockerfile or "")}}
    if line is not None:
        place["region"] = {"startLine": line}
    return {
        "ruleId": rule,
        "ruleIndex": ids.index(rule),
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }


def _mark(report: WasteReport, mend: Mend) -> str:
    """What a mend is about, whatever it saves: its kind and the commands of its steps."""
    steps = [report.step(report.layers[index].layer) for index in mend.layers]
    return sha256("\0".join([mend.kind.value, *steps]).encode()).hexdigest()
