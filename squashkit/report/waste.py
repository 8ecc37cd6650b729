"""Where the bytes of an image went, as people and programs read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Any

from squashkit.amounts import count, size, some
from squashkit.errors import show_path, show_text
from squashkit.oci.digests import Digest
from squashkit.oci.graph import Image, Layer
from squashkit.oci.steps import hide_arguments, shown
from squashkit.plan.base import Base
from squashkit.plan.waste.alive import Duplicates
from squashkit.plan.waste.dive import Dive, DiveFacts
from squashkit.plan.waste.dive_ci import Verdict
from squashkit.plan.waste.dockerfile import Dockerfile
from squashkit.plan.waste.gates import Gate, Wasted
from squashkit.plan.waste.match import Match
from squashkit.plan.waste.model import Cause, DeadFile, Finding, Mend
from squashkit.plan.waste.savings import Saving
from squashkit.report.text import Fit, brief, shorten, table
from squashkit.values import frozen

TOP = 10
"""Rows of a list, unless all are asked for."""
_WIDTH = 100
"""Columns of sentences where no terminal says how many it has."""
MEANS = {
    Cause.ATTRIBUTES: "stored again, since mode, owner or xattrs changed",
    Cause.IDENTICAL: "stored again, though nothing changed",
    Cause.MOVED: "stored again under another name",
    Cause.OVERWRITTEN: "something else took its place",
    Cause.DELETED: "deleted by a later layer",
}
"""What each cause is, in words."""
_DONE = {
    Cause.ATTRIBUTES: "stored again",
    Cause.IDENTICAL: "stored again",
    Cause.MOVED: "moved",
    Cause.OVERWRITTEN: "overwritten",
    Cause.DELETED: "deleted",
}


@frozen
class WastedLayer:
    """One layer; sizes in bytes."""

    layer: Layer
    digest: Digest | None
    """Of the blob, where it is stated or the blob is plain."""
    stored: int
    uncompressed: int
    content: int
    """Payload of all its files."""
    dead: int
    """Payload of those that are dead."""


@frozen
class WasteReport:
    """One image. All sizes are bytes, those of files are payload."""

    image: Image
    """The image that it is about."""
    reference: str
    """How a person names it on the command line."""
    base: Base | None
    """Its base, and by what that is known; None where it is not known: then all layers count."""
    layers: tuple[WastedLayer, ...]
    """Base first."""
    wasted: Wasted
    """What gates go by."""
    dead: tuple[DeadFile, ...]
    """The largest first."""
    savings: tuple[Saving, ...]
    """What a squash would save, by the number of kept layers."""
    live: tuple[Finding, ...]
    """Caches and leftovers of the root file system, the largest first."""
    mends: tuple[Mend, ...]
    """What to write in the Dockerfile instead."""
    duplicates: tuple[Duplicates, ...]
    """Files of the root file system that hold the same bytes."""
    dive: Dive
    """What dive says of the image."""
    dive_facts: DiveFacts
    """And what its number is made of."""
    gates: tuple[Gate, ...] = ()
    """Each that was set, with what was found."""
    dive_gates: tuple[Verdict, ...] = ()
    """Those of a `.dive-ci` file, by dive's numbers."""
    dockerfile: Dockerfile | None = None
    """What the image was built from, where that was given."""
    match: Match | None = None
    """Which steps are in the Dockerfile that was given; None where none was."""
    verbose: bool = False
    """Whether people are told all rows, and the patches of mends."""

    def __repr__(self) -> str:
        dead = size(self.wasted.dead)
        return f"<WasteReport: {brief(self.image.title)}, {dead} dead, {len(self.mends)} mends>"

    @property
    def passed(self) -> bool:
        """Whether every gate was passed."""
        return all(gate.passed for gate in self.gates) and all(one.passed for one in self.dive_gates)

    @property
    def base_layers(self) -> int:
        """Of how many layers the base is known to be."""
        return self.base.layers if self.base else 0

    @property
    def saving(self) -> Saving | None:
        """What squashing the layers above the base saves; None where there is nothing to squash, or it is
        not known."""
        if len(self.layers) - self.base_layers < 2:
            return None
        saving = self.savings[self.base_layers]
        return saving if saving.size is not None else None

    def by_cause(self) -> dict[Cause, tuple[int, int]]:
        """Files that are dead for each cause, and their bytes."""
        files: Counter[Cause] = Counter()
        amounts: Counter[Cause] = Counter()
        for one in self.dead:
            files[one.cause] += 1
            amounts[one.cause] += one.size
        return {cause: (files[cause], amounts[cause]) for cause in Cause}

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        causes = {cause.value: amount for cause, (_, amount) in self.by_cause().items()}
        return {
            "names": list(self.image.names),
            "platform": str(self.image.platform),
            "image_id": self.image.image_id,
            "base": {"layers": self.base.layers, "name": self.base.name, "evidence": self.base.evidence}
            if self.base
            else None,
            "layers": [
                {
                    "index": one.layer.index,
                    "diff_id": one.layer.diff_id,
                    "digest": one.digest,
                    "created_by": hide_arguments(one.layer.created_by),
                    "in_base": one.layer.index < self.base_layers,
                    "size": one.stored,
                    "diff_size": one.uncompressed,
                    "content_size": one.content,
                    "dead_size": one.dead,
                }
                for one in self.layers
            ],
            "dead": {
                "bytes": sum(causes.values()),
                "above_base": sum(one.size for one in self.dead if one.layer >= self.base_layers),
                "of_base": self.wasted.dead_of_base,
                "causes": causes,
                "paths": [
                    {
                        "path": _path(one.path),
                        "bytes": one.size,
                        "cause": one.cause.value,
                        "layer": one.layer,
                        "killed_by": one.killed_by,
                        "changed": list(one.changed),
                        "moved_to": _path(one.moved_to) if one.moved_to is not None else None,
                    }
                    for one in self.dead
                ],
            },
            "savings": [
                {
                    "keep_layers": one.keep_layers,
                    "bytes": one.size,
                    "dead": one.dead,
                    "copied": one.copied,
                    "overhead": one.overhead,
                }
                for one in self.savings
            ],
            "live": [
                {
                    "rule": one.rule,
                    "bytes": one.size,
                    "layer": one.layer,
                    "paths": [_path(path) for path in one.paths],
                    "reason": one.reason,
                    "mend": one.mend,
                }
                for one in self.live
            ],
            "mends": [
                {
                    "kind": one.kind.value,
                    "layers": list(one.layers),
                    "bytes": one.size,
                    "text": one.text,
                    "line": one.line,
                    "diff": one.diff,
                }
                for one in self.mends
            ],
            "duplicates": {
                "bytes": sum(one.size for one in self.duplicates),
                "groups": [
                    {"bytes": one.size, "paths": [_path(path) for path in one.paths]}
                    for one in self.duplicates
                ],
            },
            "dive": {
                "efficiency": self.dive.efficiency,
                "wasted_bytes": self.dive.wasted_bytes,
                "counted_double": self.dive_facts.counted_double,
                "unseen": self.dive_facts.unseen,
            },
            "gates": [
                {"gate": one.name, "limit": one.limit, "value": one.value, "passed": one.passed}
                for one in self.gates
            ]
            + [
                {"gate": f"dive {one.rule}", "limit": one.limit, "value": one.found, "passed": one.passed}
                for one in self.dive_gates
            ],
        }

    def lines(self) -> list[str]:
        """What a person reads."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        parts = [
            list(self._head(width)),
            list(self._dead(width)),
            list(self._live(width)),
            list(self._unplaced(width)),
            list(self._mends(width)),
            list(self._duplicates(width)),
            list(self._dive(width)),
            list(self._gates()),
        ]
        lines: list[str] = []
        for part in parts:
            if part:
                lines += [*([""] if lines else []), *part]
        return lines

    def _head(self, width: int | None) -> Iterator[str]:
        total = sum(one.uncompressed for one in self.layers)
        yield (
            f"{show_text(self.image.title)}, {self.image.platform}, {count(len(self.layers), 'layer')},"
            f" {size(total)} uncompressed"
        )
        rows = [
            [
                str(one.layer.index),
                size(one.uncompressed),
                size(one.dead) if one.dead else "",
                shown(one.layer.created_by),
            ]
            for one in self.layers
        ]
        top, *lines = table(
            ["layer", "size", "dead", "created by"],
            rows,
            right={0, 1, 2},
            fit=Fit(width or _WIDTH, shorten=[3]),
        )
        yield ""
        yield top
        for one, line in zip(self.layers, lines, strict=True):
            yield line
            if self.base and one.layer.index == self.base.layers - 1:
                yield f"------ base: {shorten(self.base.evidence, (width or _WIDTH) - 20)} ------"

    def _dead(self, width: int | None) -> Iterator[str]:
        wasted, where = self.wasted, "above the base" if self.base else "of the image"
        dead = sum(one.size for one in self.dead if one.layer >= self.base_layers)
        if not self.dead and not wasted.dead:
            yield "Nothing is dead: no layer holds a file that a later one replaces or deletes."
            return
        what = "Dead" if wasted.dead == dead else "Dead, or not needed"
        yield from _sentences(
            f"{what}: {size(wasted.dead)} of {size(wasted.above)} {where} ({wasted.percent:.1f} %),"
            f" efficiency {wasted.efficiency:.1f} %.",
            width,
        )
        if wasted.dead_of_base:
            yield f"Of the base's files {size(wasted.dead_of_base)} are dead, and stay with it."
        if not self.dead:
            return
        rows = [
            [size(amount), f"{files:,}", cause.value, MEANS[cause]]
            for cause, (files, amount) in self.by_cause().items()
            if files
        ]
        yield ""
        yield from table(["size", "files", "cause", ""], rows, right={0, 1}, fit=Fit(width, shorten=[3]))
        yield ""
        rows = [
            [
                size(one.size),
                " ".join([one.cause.value, *(f"({', '.join(one.changed)})" for _ in one.changed[:1])]),
                str(one.layer),
                str(one.killed_by),
                _path(one.path),
            ]
            for one in self._some(self.dead)
        ]
        head = ["size", "cause", "layer", "by", "path"]
        yield from table(head, rows, right={0, 2, 3}, fit=Fit(width, shorten=[4]))
        yield from self._more(self.dead)
        if self.saving is not None and self.saving.size is not None and self.saving.size <= 0:
            yield ""
            yield from _sentences(f"Squashing the layers {where} would save nothing.", width)
        elif self.saving is not None and self.saving.size is not None:
            yield ""
            yield from _sentences(
                f"Squashing the {len(self.layers) - self.base_layers} layers {where} saves"
                f" {size(self.saving.size)} uncompressed:",
                width,
            )
            yield f"  squashkit squash {self.reference} --keep-layers {self.base_layers} -t NAME -o OUTPUT"

    def _live(self, width: int | None) -> Iterator[str]:
        if not self.live:
            return
        yield f"Lives, and is not needed: {size(sum(one.size for one in self.live))}"
        yield ""
        rows = [
            [size(one.size), f"{len(one.paths):,}", str(one.layer), one.rule, _path(one.paths[0])]
            for one in self._some(self.live)
        ]
        head = ["size", "files", "layer", "rule", "the largest"]
        yield from table(head, rows, right={0, 1, 2}, fit=Fit(width, shorten=[4]))
        yield from self._more(self.live)

    def _mends(self, width: int | None) -> Iterator[str]:
        if not self.mends:
            return
        yield "What to write instead:"
        for number, one in enumerate(self._some(self.mends), 1):
            line = f" (line {one.line})" if one.line is not None else ""
            yield from _sentences(f"{number:2}. {one.text}{line}", width, "    ")
            if self.verbose and one.diff is not None:
                yield from ["", *one.diff.splitlines(), ""]
        yield from self._more(self.mends)

    def _unplaced(self, width: int | None) -> Iterator[str]:
        """What the Dockerfile that was given does not have."""
        if self.match is None or not self.match.missing:
            return
        if self.match.is_other:
            said = "The Dockerfile is of another image, so no line of it is named."
        else:
            numbers = some([str(layer) for layer in self.match.missing], None)
            word = "step" if len(self.match.missing) == 1 else "steps"
            said = f"The Dockerfile has no line for {word} {numbers}."
        yield from _sentences(said, width)

    def _duplicates(self, width: int | None) -> Iterator[str]:
        if not self.duplicates:
            return
        total = sum(one.size for one in self.duplicates)
        yield f"Equal files under several paths: storing each once would save {size(total)}"
        if self.verbose:
            yield ""
            rows = [
                [size(one.size), str(len(one.paths)), ", ".join(map(_path, one.paths))]
                for one in self.duplicates
            ]
            yield from table(["size", "files", "paths"], rows, right={0, 1}, fit=Fit(width, shorten=[2]))

    def _dive(self, width: int | None) -> Iterator[str]:
        facts = self.dive_facts
        wasted = size(self.dive.wasted_bytes)
        said = [f"dive says: efficiency {100 * self.dive.efficiency:.1f} %, {wasted} wasted."]
        if facts.counted_double:
            said.append(
                f"It counts {size(facts.counted_double)} double, as it adds up every copy of a path."
            )
        if facts.unseen:
            said.append(f"It does not see {size(facts.unseen)}, most often of deleted directories.")
        if facts.alive:
            said.append(f"Of what it counts, {size(facts.alive)} are not dead.")
        yield from _sentences(" ".join(said), width)

    def _gates(self) -> Iterator[str]:
        for name, limit, found, passed in self.judged():
            yield f"{_verdict(passed)}: {name} {limit}, found {found}"
        if self.worst:
            yield self.worst

    def judged(self) -> Iterator[tuple[str, str, str, bool]]:
        """Every gate that was set: its name, its limit and what was found in words, and whether it was
        passed."""
        for gate in self.gates:
            limit, value = _amount(gate.name, gate.limit), _amount(gate.name, gate.value)
            yield f"--{gate.name}", limit, value, gate.passed
        for one in self.dive_gates:
            if one.limit is not None:
                limit, value = (_dive_amount(one.rule, amount) for amount in (one.limit, one.found))
                yield one.rule, limit, value, one.passed

    @property
    def worst(self) -> str:
        """The largest dead file, where a gate failed; empty otherwise."""
        if self.passed or not self.dead:
            return ""
        worst = next((one for one in self.dead if one.layer >= self.base_layers), self.dead[0])
        return (
            f"The worst: {_path(worst.path)}, {size(worst.size)}, made by layer {worst.layer},"
            f" {_DONE[worst.cause]} by layer {worst.killed_by}"
        )

    def _some(self, rows: Sequence[Any]) -> Sequence[Any]:
        return rows if self.verbose else rows[:TOP]

    def _more(self, rows: Sequence[Any]) -> Iterator[str]:
        if not self.verbose and len(rows) > TOP:
            yield f"... and {len(rows) - TOP:,} more (-v)"


def _path(path: bytes) -> str:
    return f"/{show_path(path)}"


def _verdict(passed: bool) -> str:
    return "passed" if passed else "failed"


def _amount(gate: str, value: float) -> str:
    if gate == "max-wasted":
        return size(int(value))
    return f"{value:g}" if gate == "max-layers" else f"{value:.4g} %"


def _dive_amount(rule: str, value: float) -> str:
    return size(int(value)) if rule == "highestWastedBytes" else f"{value:.4g}"


def _sentences(text: str, width: int | None, indent: str = "") -> list[str]:
    return wrap(show_text(text), width or _WIDTH, subsequent_indent=indent, break_on_hyphens=False)
