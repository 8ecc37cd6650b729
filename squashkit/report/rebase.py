"""The report of a rebase: one value serves the dry run, the summary and `--json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from squashkit.amounts import count
from squashkit.errors import show_path, show_text
from squashkit.oci.graph import Image
from squashkit.plan.base import Base
from squashkit.plan.rebase.fit import Fitted
from squashkit.plan.rebase.inherit import Change
from squashkit.plan.rebase.merge.changes import Merged
from squashkit.plan.rebase.model import Copied, Kind, Risk
from squashkit.report.provenance import Provenance
from squashkit.report.squash import Report
from squashkit.report.stored import left_out_told, moved
from squashkit.report.text import brief, shorten, table
from squashkit.values import frozen

_LISTED = 8
_NAMES = 4
_CONFLICTS = (Kind.PACKAGES, Kind.DEPENDS, Kind.ACCOUNTS)
_MANY = 3
"""So many risks that are alike are told as one."""


@frozen
class RebaseReport:
    """What a rebase did, or with a dry run would do. Sizes are bytes."""

    app: Image
    """The source's image."""
    old: Base
    """The base that it had."""
    new: Base
    """The base that it has now."""
    source: str
    """What was read, as people call it."""
    fitted: Fitted
    """The layers on the new base, and which of them were made anew."""
    risks: tuple[Risk, ...]
    """What the exchange may break."""
    copied: tuple[Copied, ...]
    """Files of the old base that layers above hold again."""
    merged: tuple[Merged, ...]
    """What one last layer holds: put together from both sides, or taken from one of them."""
    changes: tuple[Change, ...]
    """Settings that follow the new base."""
    squash: bool
    """Whether the layers above the base become one."""
    allowed: frozenset[Kind]
    """Kinds of errors that stop nothing."""
    stopped_by: frozenset[Kind]
    """Kinds of warnings that stop it, too."""
    takes_new: bool = False
    """Whether old content in the layers gave way to the new base's."""
    dry_run: bool = False
    """Whether nothing was to be written."""
    job: Report | None = None
    """What was written. None where nothing was tried."""

    def __repr__(self) -> str:
        return (
            f"<RebaseReport: {brief(self.app.title)}, {brief(self.old.name)} -> {brief(self.new.name)},"
            f" {count(len(self.risks), 'risk')}>"
        )

    @property
    def stopping(self) -> list[Risk]:
        """What stops the rebase: errors that are not allowed, and warnings at which it is to stop. No
        permission mends a layer that cannot be unpacked."""
        return [risk for risk in self.risks if self._stops(risk)]

    def _stops(self, risk: Risk) -> bool:
        if risk.kind in self.stopped_by or risk.kind is Kind.LINK:
            return True
        return risk.stops and risk.kind not in self.allowed

    @property
    def manifest_digest(self) -> str:
        """The result's; empty in a dry run."""
        return self.job.manifest_digest if self.job is not None else ""

    @property
    def store_id(self) -> str:
        """By which the daemon or podman shows the result; empty where it went elsewhere."""
        return self.job.store_id if self.job is not None else ""

    @property
    def provenance(self) -> Provenance | None:
        """How the result was made; None where that was not asked for, or nothing was written."""
        return self.job.provenance if self.job is not None else None

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints; docs/rebase.md documents them."""
        job = self.job.json() if self.job is not None else {}
        above = len(self.fitted.above) + bool(self.merged)
        stopping = {id(risk) for risk in self.stopping}
        return {
            "source": self.source,
            "output": job.get("output"),
            "dry_run": self.dry_run,
            "checked": job.get("checked", False),
            "changed": job.get("changed", False),
            "tags": job.get("tags", []),
            "platform": str(self.app.platform),
            "old_base": _base(self.old),
            "new_base": _base(self.new),
            "image_id": {"before": self.app.image_id, "after": job.get("image_id", {}).get("after")},
            "manifest_digest": job.get("manifest_digest"),
            "store_id": job.get("store_id"),
            **({"rootfs_digest": job["rootfs_digest"]} if "rootfs_digest" in job else {}),
            "layers": {
                "before": len(self.app.layers),
                "after": job["layers"]["after"] if job else self.new.layers + above,
            },
            "remade_layers": sorted(self.fitted.remade),
            "risks": [
                {
                    "kind": risk.kind.value,
                    "severity": "error" if risk.stops else "warning",
                    "stops": id(risk) in stopping,
                    "path": show_path(risk.path),
                    "package": risk.package or None,
                    "old": risk.old,
                    "new": risk.new,
                    "layer": risk.layer,
                    "effect": risk.effect,
                }
                for risk in self.risks
            ],
            "merged": [
                {
                    "path": show_path(one.path),
                    "kind": one.kind.value,
                    "from": one.origin,
                    "packages": list(one.packages),
                }
                for one in self.merged
            ],
            "conflicts": [
                {
                    "kind": risk.kind.value,
                    "key": risk.package or show_path(risk.path),
                    "image": risk.old,
                    "new_base": risk.new,
                    "paths": [show_path(risk.path)],
                    "stops": id(risk) in stopping,
                }
                for risk in self.risks
                if risk.stops and risk.kind in _CONFLICTS
            ],
            "copied_up": [
                {
                    "path": show_path(copied.path),
                    "layer": copied.layer,
                    "same_content": copied.same_content,
                    "changed_below": copied.changed_below,
                }
                for copied in self.copied
            ],
            "config": [
                {"field": change.field, "before": change.before, "after": change.after}
                for change in self.changes
            ],
            "stored_bytes": job.get("stored_bytes", {}).get("after"),
            "result_layers": job.get("result_layers", []),
            "transfer": job.get("transfer"),
            "delta": job.get("delta"),
            "notes": job.get("notes", []),
        }

    def text(self, *, verbose: bool = False) -> str:
        """The summary that a person reads after a rebase."""
        limit = None if verbose else _LISTED
        lines = [
            f"Old base: {_told(self.old, self.old.evidence)}",
            f"New base: {_told(self.new, self.new.name)}",
            self.above(),
            "",
        ]
        if self.changes:
            lines += ["Settings that follow the new base:", *self._changes(limit), ""]
        if self.merged:
            lines += ["Merged, in one last layer:", *self._merged(limit), ""]
        lines += [*self._risks(limit), ""]
        lines += self._written()
        return "\n".join(map(show_text, lines))

    def above(self) -> str:
        """What became of the layers above the base."""
        above, remade = len(self.fitted.above), len(self.fitted.remade)
        if self.squash and above > 1:
            return f"Above:    {count(above, 'layer')}, merged into one"
        if not above:
            return f"Above:    nothing: {self.app.title} has no layer above the old base"
        text = f"Above:    {count(above, 'layer')}, "
        if not remade:
            return text + "byte for byte as they were"
        return text + f"{remade} of them made anew to fit"

    def _changes(self, limit: int | None) -> list[str]:
        rows = [
            [f"  {show_text(change.field)}", show_value(change.before), show_value(change.after)]
            for change in self.changes[:limit]
        ]
        return [*table(["", "before", "after"], rows), *_more(self.changes, limit)]

    def _merged(self, limit: int | None) -> list[str]:
        """What was merged, by kind: the first paths, and the packages that are as the new base has them."""
        if limit is None:
            rows = [[f"  {one.kind.value}", f"/{show_path(one.path)}", one.origin] for one in self.merged]
            return table(["", "path", "from"], rows)
        lines = []
        for kind in dict.fromkeys(one.kind for one in self.merged):
            paths = [one for one in self.merged if one.kind is kind]
            more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
            lines.append(f"  {kind.value:9} /{show_path(paths[0].path)}{more}")
            names = sorted({name for one in paths for name in one.packages})
            if names:
                lines.append(f"  {'':9} {count(len(names), 'package')}: {_first(names)}")
        return lines

    def _risks(self, limit: int | None) -> list[str]:
        if not self.risks:
            return ["Nothing in the layers above depends on what differs between the bases."]
        errors = sum(risk.stops for risk in self.risks)
        warnings = len(self.risks) - errors
        told = [count(errors, "error")] if errors else []
        told += [count(warnings, "warning")] if warnings else []
        lines = [f"At risk ({' and '.join(told)}), what the layers go by -> what the new base has:"]
        if limit is None:
            return [*lines, *(f"  {line}" for line in self.risk_lines(self.risks))]
        some, more = self.grouped_lines(self.risks, limit)
        lines += [f"  {line}" for line in some]
        return lines if more is None else [*lines, f"  {more}(-v lists them)"]

    def grouped_lines(self, risks: Sequence[Risk], limit: int) -> tuple[list[str], str | None]:
        """The first risks, errors before warnings. Contents that many files of one package, or of one
        folder, keep are told as one. Where some are left out the second part says how many, or nothing."""
        groups: dict[object, list[Risk]] = {}
        for risk in sorted(risks, key=lambda risk: not risk.stops):
            alike = (risk.kind, risk.stops, risk.layer, risk.effect, risk.package or _folder(risk.path))
            groups.setdefault(alike if risk.kind is Kind.CONTENT else id(risk), []).append(risk)
        lines = []
        for group in list(groups.values())[:limit]:
            if len(group) < _MANY:
                lines += self.risk_lines(group)
                continue
            first = group[0]
            whose = f"of {show_text(first.package)}" if first.package else f"in /{_folder(first.path)}"
            some = f"{len(group):,} files {whose}, /{show_path(first.path)} among them"
            lines.append(f"{first.kind.value:9} {some}{self._layer(first)}")
            lines.append(f"{'':9} {show_text(first.effect)}")
        more = sum(map(len, list(groups.values())[limit:]))
        is_short = more or any(len(group) >= _MANY for group in groups.values())
        return lines, (f"and {more:,} more " * bool(more)) if is_short else None

    def risk_lines(self, risks: Sequence[Risk]) -> list[str]:
        """Each risk on two lines: where and what, then what will be seen."""
        lines = []
        for risk in risks:
            whose = f" ({show_text(risk.package)})" if risk.package else ""
            where = f"/{show_path(risk.path)}{whose}: " if risk.path else ""
            old, new = show_text(risk.old), show_text(risk.new)
            lines.append(f"{risk.kind.value:9} {where}{old} -> {new}{self._layer(risk)}")
            lines.append(f"{'':9} {show_text(risk.effect)}")
        return lines

    def _layer(self, risk: Risk) -> str:
        if risk.layer is None:
            return ""
        return f" (in layer {self.old.layers + risk.layer}, the {_ordinal(risk.layer + 1)} above the base)"

    def _written(self) -> list[str]:
        job = self.job
        if job is None:
            return ["Nothing was written."]
        lines = list(job.notes)
        if job.delta is not None:
            lines.append(left_out_told(job.delta))
        if job.dry_run:
            return [*lines, "Dry run: nothing was written."]
        if job.checked:
            lines.append("Checked: read back, it is the layers on the new base.")
        if job.transfer:
            lines.append(moved(job.transfer))
        lines += job.wrote()
        return lines


def _base(base: Base) -> dict[str, Any]:
    return {
        "layers": base.layers,
        "name": base.name or None,
        "evidence": base.evidence,
        "image_id": base.image.image_id if base.image is not None else None,
    }


def _told(base: Base, name: str) -> str:
    """A base with the image that its name means, and when that was made, where they are known: the old base
    and the new one often have one name."""
    text = f"{count(base.layers, 'layer')}, {show_text(name)}"
    if base.image is None:
        return text
    created = base.image.config.created
    made = f", made {show_text(created[:10])}" if created else ""
    return f"{text} ({base.image.image_id[:19]}{made})"


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return show_text(", ".join(names[:_NAMES])) + more


def _folder(path: bytes) -> str:
    """The topmost folders of a path: two at most."""
    return show_path(b"/".join(path.split(b"/")[:-1][:2]))


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def show_value(value: Any) -> str:
    """A setting as text, on one line."""
    if value is None:
        return "(not set)"
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 60)


def _more(items: Sequence[object], limit: int | None) -> list[str]:
    more = len(items) - len(items[:limit])
    return [f"  and {more:,} more (-v lists them)"] if more else []
