"""The report of an extraction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from squashkit.amounts import count, size, some
from squashkit.errors import show_path, show_text
from squashkit.oci.graph import Image, StoredLayer
from squashkit.plan.extract.packages import Package
from squashkit.report.provenance import Provenance
from squashkit.report.squash import Report
from squashkit.report.stored import (
    delta_json,
    differing,
    is_one_kind,
    kinds,
    known_size,
    left_out_told,
    moved,
    stored_size,
    transfer_json,
)
from squashkit.report.text import brief, table
from squashkit.values import frozen

_LISTED = 10
_PATH, _WHY = 48, 20
"""Columns of a path, and of what needs it: with a size they fit 80."""


@frozen
class ExtractReport:
    """What an extraction wrote, or with a dry run would write. Sizes are bytes."""

    job: Report
    """What was written, and where."""
    app: Image
    """The image that it was taken from."""
    why: Mapping[bytes, str]
    """Every path that was chosen, with what needs it: the path of that, `named`, or the word that asked for
    it."""
    sizes: Mapping[bytes, int]
    """Of the paths that are new, bytes of their payloads."""
    in_base: tuple[bytes, ...]
    """What the base has so already."""
    packages: tuple[Package, ...]
    """Those of which something is in the new layer, or in what the base has of it."""
    warnings: tuple[str, ...]
    """What files do not tell, and what is missing for what nobody named."""
    lacking: tuple[str, ...]
    """What is missing and may be."""

    def __repr__(self) -> str:
        return f"<ExtractReport: {brief(self.app.title)}, {len(self.why)} paths, {size(self.size)}>"

    @property
    def size(self) -> int:
        """Bytes of the files that are new."""
        return sum(self.sizes.values())

    @property
    def _before(self) -> Sequence[StoredLayer]:
        """The layers of the image that it was taken from."""
        return self.job.before[self.job.base.layers :]

    @property
    def manifest_digest(self) -> str:
        """The result's; empty in a dry run."""
        return self.job.manifest_digest

    @property
    def store_id(self) -> str:
        """By which the daemon or podman shows the result; empty where it went elsewhere."""
        return self.job.store_id

    def rows(self) -> list[list[str]]:
        """What the image was and what the result is, with a remark where their sizes cannot be compared."""
        before, after = self._before, self.job.after
        alike = stored_size(after) is not None and is_one_kind([*before, *after])
        sizes = [known_size(stored_size(before)), known_size(stored_size(after))]
        return [
            ["layers", str(len(before)), str(len(after)), ""],
            ["stored", *sizes, "" if alike else differing(before, after)],
        ]

    def largest(self, limit: int | None) -> list[tuple[str, int, str]]:
        """The paths that are new, the largest first, each with its bytes and what needs it; with a limit
        only files that have some."""
        ordered = sorted(self.sizes.items(), key=lambda item: (-item[1], item[0]))
        shown = [one for one in ordered if one[1]][:limit] if limit is not None else ordered
        return [(f"/{show_path(path)}", bytes_, self.why[path]) for path, bytes_ in shown]

    @property
    def provenance(self) -> Provenance | None:
        """How the result was made; None where that was not asked for, or nothing was written."""
        return self.job.provenance

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints; docs/results.md documents them."""
        job, before = self.job, self._before
        return {
            "source": job.source,
            "output": job.output,
            "dry_run": job.dry_run,
            "tags": list(job.tags),
            "platform": str(job.image.platform),
            "base": {"layers": job.base.layers, "name": job.base.name} if job.base.layers else None,
            "image_id": {"before": self.app.image_id, "after": job.image_id or None},
            "manifest_digest": job.manifest_digest or None,
            "store_id": job.store_id or None,
            **({"rootfs_digest": job.rootfs_digest} if job.rootfs_digest else {}),
            "layers": {"before": len(self.app.layers), "after": len(job.after)},
            "stored_bytes": {"before": stored_size(before), "after": job.stored_after},
            "compression": {"before": kinds(before), "after": kinds(job.after)},
            "transfer": transfer_json(job.transfer),
            "delta": delta_json(job.delta),
            "bytes": self.size,
            "paths": [
                {"path": show_path(path), "bytes": self.sizes.get(path, 0), "needed_by": show_text(why)}
                for path, why in sorted(self.why.items())
            ],
            "in_base": [show_path(path) for path in self.in_base],
            "packages": [
                {"kind": one.kind, "name": one.name, "version": one.version} for one in self.packages
            ],
            "warnings": [show_text(one) for one in self.warnings],
            "missing": [show_text(one) for one in self.lacking],
            "notes": list(job.notes),
        }

    def text(self, *, verbose: bool = False) -> str:
        """The summary that a person reads."""
        job = self.job
        lines = [*table(["", "before", "after", ""], self.rows(), right={1, 2}), ""]
        if job.base.layers:
            base = f"{job.base.name} ({count(job.base.layers, 'layer')})"
            lines.append(f"On {base}, which has {count(len(self.in_base), 'path')} of it")
        lines += [f"{count(len(self.sizes), 'path')} of {size(self.size)} in the new layer", ""]
        rows = [
            [
                size(bytes_),
                *((path, why) if verbose else (_end(path, _PATH), _start(why.rpartition("/")[2], _WHY))),
            ]
            for path, bytes_, why in self.largest(None if verbose else _LISTED)
        ]
        lines += [*table(["size", "path", "needed by"], rows, right={0}), ""]
        if self.packages:
            named = [f"{one.name} {one.version}" for one in self.packages]
            lines.append(f"Packages: {some(named, None if verbose else _LISTED)}")
        if self.lacking:
            lines.append(f"Missing, as it may be: {some(list(self.lacking), None if verbose else _LISTED)}")
        lines += [f"Warning: {one}" for one in self.warnings]
        lines += job.notes
        if job.delta is not None:
            lines.append(left_out_told(job.delta))
        if job.dry_run:
            lines.append("Dry run: nothing was written.")
        else:
            if job.transfer:
                lines.append(moved(job.transfer))
            lines += job.wrote()
        return "\n".join(map(show_text, lines))


def _start(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _end(text: str, width: int) -> str:
    """The end of a path, which tells more than its beginning."""
    return text if len(text) <= width else f"…{text[1 - width :]}"
