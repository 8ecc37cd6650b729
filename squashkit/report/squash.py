"""The report of a squash: one value serves the dry run, the summary and `--json`."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from squashkit.amounts import count, size, some
from squashkit.errors import show_path, show_text
from squashkit.layers.merge import LeftOut, SquashedLayer
from squashkit.layers.rootfs import Cause
from squashkit.oci.graph import Image, StoredLayer
from squashkit.plan.base import Base
from squashkit.plan.delta import Delta
from squashkit.plan.documents import Result, Transfer
from squashkit.plan.squash import LayerPlan
from squashkit.report.provenance import Provenance
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
from squashkit.report.text import brief, left_out_rows, percent, summed_by_rule, table
from squashkit.values import frozen

_LISTED = 5


@frozen
class Report:
    """What a squash did, or with a dry run would do. Sizes are bytes."""

    result: Result
    """The image as it was written."""
    source: str
    """What was read, as people call it."""
    output: str | None
    """Where it went; None in a dry run."""
    tags: tuple[str, ...]
    """The names that the result got."""
    dry_run: bool
    """Whether nothing was written."""
    checked: bool
    """Whether what was written was read back and compared."""
    is_pushed: bool
    """Whether it went, or would go, to a registry."""
    transfer: Transfer | None
    """Bytes to and from daemons and registries; None where there is neither."""
    notes: tuple[str, ...]
    """What people should know."""
    delta: Delta | None = None
    """What stayed out of the archive, where that is a delta."""
    store_id: str = ""
    """By which the daemon or podman shows the result; empty where it went elsewhere."""
    provenance: Provenance | None = None
    """How the result was made, for others to check. None where it was not asked for, or nothing was
    written."""

    def __repr__(self) -> str:
        stored = f"{known_size(self.stored_after)} stored"
        if self.is_stored_alike:
            stored = f"{size(self.stored_before)} -> {stored}"
        return (
            f"<Report: {brief(self.image.title)}, {len(self.before)} -> {len(self.after)} layers, {stored}>"
        )

    @property
    def image(self) -> Image:
        """The source's image."""
        return self.result.image

    @property
    def base(self) -> Base:
        """The base that was kept, and by what it is known."""
        return self.result.base

    @property
    def plan(self) -> LayerPlan:
        """What became of each layer."""
        return self.result.plan

    @property
    def before(self) -> tuple[StoredLayer, ...]:
        """The source's layers as they are stored."""
        return self.result.before

    @property
    def after(self) -> tuple[StoredLayer, ...]:
        """The result's. In a dry run new layers have no digest, and what they take is known only of plain
        ones."""
        return self.result.after

    @property
    def changed(self) -> bool:
        """Whether the result is another image than the source."""
        return self.result.changed

    @property
    def image_id(self) -> str:
        """The result's; empty in a dry run."""
        return self.result.image_id

    @property
    def manifest_digest(self) -> str:
        """The result's; empty in a dry run, and of an image in a store that has no manifests."""
        if self.result.manifest is None or (self.store_id and self.store_id == self.image_id):
            return ""
        return self.result.manifest.digest

    @property
    def rootfs_digest(self) -> str:
        """The digest of the result's root file system; empty unless it was asked for."""
        return self.result.rootfs_digest

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What the source has and the result has not, since it was to be left out."""
        return self.plan.left_out if self.changed else ()

    @property
    def runs(self) -> tuple[SquashedLayer, ...]:
        """The layers that were merged."""
        return self.plan.runs

    @property
    def stored_before(self) -> int:
        """Bytes of the source's layers as they are stored."""
        return sum(layer.size for layer in self.before)

    @property
    def stored_after(self) -> int | None:
        """Bytes of the result's; None in a dry run of what would be compressed."""
        return stored_size(self.after)

    @property
    def is_stored_alike(self) -> bool:
        """Whether stored sizes can be compared: not where plain layers became compressed or compressed ones
        plain, which changes their size without any squash; nor where a size is not known."""
        if self.stored_after is None:
            return False
        kept = {self.before[index].diff_id: self.before[index] for index in self.plan.kept}
        new = [layer for layer in self.after if layer.diff_id not in kept]
        merged = [layer for layer in self.before if layer.diff_id not in kept]
        return (not new or is_one_kind([*merged, *new])) and all(
            is_one_kind([kept[layer.diff_id], layer]) for layer in self.after if layer.diff_id in kept
        )

    @property
    def saved(self) -> int | None:
        """Stored bytes that are saved; None where stored sizes cannot be compared. `merged_before` and
        `merged_after` always can."""
        after = self.stored_after
        return self.stored_before - after if after is not None and self.is_stored_alike else None

    @property
    def merged_before(self) -> int:
        """Bytes of the plain tars of the layers that were merged."""
        return sum(run.source_size for run in self.runs)

    @property
    def merged_after(self) -> int:
        """Bytes of the plain tars that they became."""
        return sum(run.diff_size for run in self.runs)

    @property
    def shared_in_registry(self) -> int:
        """Stored bytes of blobs that the source has too, or by which a registry has the base."""
        kept = {(self.before[index].diff_id, self.before[index].codec) for index in self.plan.kept}
        known = {layer.digest for layer in self.before if layer.digest} | self.result.in_registry
        return sum(
            layer.size
            for layer in self.after
            if not layer.is_uncounted and (layer.digest in known or (layer.diff_id, layer.codec) in kept)
        )

    @property
    def shared_on_host(self) -> int | None:
        """Stored bytes of layers with a chain_id that the source has too: the common stack at the bottom.
        None in a dry run that would compress them."""
        pairs = zip(self.before, self.after, strict=False)
        shared = takewhile(lambda pair: pair[0].diff_id == pair[1].diff_id, pairs)
        return stored_size([after for _, after in shared])

    @property
    def update_before(self) -> int | None:
        """Bytes that a host pulls at most which has the release before, as built: all above the base. None
        where that cannot be compared with what it pulls of the result."""
        return stored_size(self.before[self.base.layers :]) if self.is_stored_alike else None

    @property
    def update_after(self) -> int | None:
        """The same where both releases are squashed so."""
        return stored_size(self.after[self.base.layers :])

    def dropped(self, cause: Cause) -> tuple[int, int]:
        """Entries and bytes (headers included) that did not survive for this reason."""
        dead = [d for run in self.runs for d in run.dropped if d.cause is cause]
        return len(dead), sum(d.entry.length for d in dead)

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints; docs/results.md documents them."""
        return {
            "source": self.source,
            "output": self.output,
            "dry_run": self.dry_run,
            "checked": self.checked,
            "changed": self.changed,
            "tags": list(self.tags),
            "platform": str(self.image.platform),
            "base": {
                "layers": self.base.layers,
                "name": self.base.name or None,
                "evidence": self.base.evidence,
            },
            "image_id": {"before": self.image.image_id, "after": self.image_id or None},
            "manifest_digest": self.manifest_digest or None,
            "store_id": self.store_id or None,
            **({"rootfs_digest": self.rootfs_digest} if self.rootfs_digest else {}),
            "layers": {"before": len(self.before), "after": len(self.after)},
            "stored_bytes": {
                "before": self.stored_before,
                "after": self.stored_after,
                "saved": self.saved,
            },
            "compression": {"before": kinds(self.before), "after": kinds(self.after)},
            "merged_plain_bytes": {
                "before": self.merged_before,
                "after": self.merged_after,
                "saved": self.merged_before - self.merged_after,
            },
            "shared_bytes": {"registry": self.shared_in_registry, "host": self.shared_on_host},
            "update_bytes": {"before": self.update_before, "after": self.update_after},
            "transfer": transfer_json(self.transfer),
            "delta": delta_json(self.delta),
            "new_layers": [
                {
                    "from": run.start,
                    "to": run.stop - 1,
                    "entries": {"before": run.source_entries, "after": run.entries},
                    "diff_size": {"before": run.source_size, "after": run.diff_size},
                }
                for run in self.runs
            ],
            "result_layers": [
                {
                    "digest": layer.digest or None,
                    "diff_id": layer.diff_id or None,
                    "size": None if layer.is_uncounted else layer.size,
                    "compression": layer.codec.value,
                }
                for layer in self.after
            ],
            "dropped": {
                cause.value.partition(",")[0]: {"entries": entries, "bytes": dead}
                for cause in Cause
                for entries, dead in [self.dropped(cause)]
            },
            "left_out": left_out_rows(self.left_out),
            "contested": [
                {"construct": c.construct, "path": show_path(c.path), "layer": c.layer}
                for c in self.plan.contested
            ],
            "copied_links": [
                {"path": show_path(link.path), "target": show_path(link.target), "bytes": link.size}
                for run in self.runs
                for link in run.copies
            ],
            "links_into_new_layers": [
                {"layer": layer, "path": show_path(path)} for layer, path in self.plan.links_into_runs
            ],
            "guaranteed": self.plan.guaranteed,
            "space": {"needed": self.result.needed, "free": self.result.free},
            "notes": list(self.notes),
        }

    def text(self, *, verbose: bool = False) -> str:
        """The summary that a person reads after a squash."""
        lines = [*self._sizes(), ""]
        if self.runs:
            lines += [*self._dropped(), ""]
        lines += self._left_out()
        lines += self._constructs(None if verbose else _LISTED)
        lines += self.notes
        if not self.plan.guaranteed:
            lines.append("Not guaranteed: layers below were not available (--blind).")
        if self.delta is not None:
            lines.append(left_out_told(self.delta))
        if self.dry_run:
            lines.append("Dry run: nothing was written.")
        else:
            if self.checked:
                less = ", less what was left out," if self.plan.left_out else ""
                lines.append(
                    f"Checked: read back, it is the source{less} at every kept layer and at the top."
                )
            if self.transfer:
                lines.append(moved(self.transfer))
            lines += self.wrote()
        return "\n".join(map(show_text, lines))

    def wrote(self) -> list[str]:
        """What was written, and where."""
        digests = [f"id       {self.store_id}" if self.store_id else f"image_id {self.image_id}"]
        if self.rootfs_digest:
            digests.append(f"rootfs   {self.rootfs_digest}")
            if self.left_out:
                digests.append("The source's root file system has another digest: some of it was left out.")
            elif any(run.copies for run in self.runs):
                digests.append(
                    "The source's root file system has another digest: hard links became copies."
                )
        if not self.is_pushed:
            return [f"Wrote {', '.join(self.tags) or 'the image'} to {self.output}", *digests]
        names = [f"docker://{tag}" for tag in self.tags] or [f"{self.output}@{self.manifest_digest}"]
        return [f"Wrote {', '.join(names)}", f"digest   {self.manifest_digest}", *digests]

    def rows(self) -> list[list[str]]:
        """What each size was before and is after, with a remark."""
        before, after = self.stored_before, self.stored_after
        told = differing(self.before, self.after) if self.saved is None else _saved(self.saved, before)
        rows = [
            ["layers", str(len(self.before)), str(len(self.after)), ""],
            ["stored", size(before), known_size(after), told],
        ]
        if self.saved is None and self.runs:
            plain, merged = self.merged_before, self.merged_after
            rows.append(["merged, as plain tars", size(plain), size(merged), _saved(plain - merged, plain)])
        blobs = "as a registry has the base" if self.result.in_registry else "the same blobs as the source"
        rows += [
            ["shared in registries", "", size(self.shared_in_registry), blobs],
            ["shared on hosts", "", known_size(self.shared_on_host), "the same layers from below"],
        ]
        if self.update_before is not None:
            update = [size(self.update_before), known_size(self.update_after)]
            rows.append(["pulled by an update", *update, "at most, by hosts with the release before"])
        return rows

    def _sizes(self) -> list[str]:
        layers = count(self.base.layers, "layer")
        base = f"Kept {layers} as the base: {self.base.evidence}" if self.base.layers else "No base kept"
        return [*table(["", "before", "after", ""], self.rows(), right={1, 2}), "", base]

    def _dropped(self) -> list[str]:
        rows = []
        for cause in Cause:
            entries, dead = self.dropped(cause)
            if entries:
                rows.append([cause.value, f"{entries:,}", size(dead)])
        if not rows:
            return ["Nothing was overwritten or deleted between the squashed layers."]
        return table(["dropped because", "entries", "bytes"], rows, right={1, 2})

    def _left_out(self) -> list[str]:
        lines = []
        if rules := summed_by_rule(self.left_out):
            lines += [*table(["left out by", "paths", "bytes"], rules, right={1, 2}), ""]
        if rules := summed_by_rule(self.plan.caches_left):
            told = ", ".join(f"{rule} ({paths}, {dead})" for rule, paths, dead in rules)
            lines.append(f"Caches that kept layers have stay: {told}.")
        return lines

    def _constructs(self, limit: int | None) -> list[str]:
        lines = []
        for kind in dict.fromkeys(contested.construct for contested in self.plan.contested):
            places = [
                f"{show_path(c.path)} (layer {c.layer})" for c in self.plan.contested if c.construct == kind
            ]
            lines.append(f"Contested: {kind}: {some(places, limit)}")
        copies = [
            f"{show_path(link.path)} of {show_path(link.target)} ({size(link.size)})"
            for run in self.runs
            for link in run.copies
        ]
        if copies:
            lines.append("Copied, as no link can leave its layer: " + some(copies, limit))
        links = [f"{show_path(path)} (layer {layer})" for layer, path in self.plan.links_into_runs]
        if links:
            lines.append("Hard links of kept layers into new ones: " + some(links, limit))
        return lines


def _saved(saved: int, before: int) -> str:
    if saved >= 0:
        return f"{size(saved)} saved ({percent(saved, before)})"
    return f"{size(-saved)} more ({percent(-saved, before)})"
