"""The report of a squash: one value serves the dry run, the summary and `--json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from squashkit.amounts import count, size, some
from squashkit.errors import show_path, show_text
from squashkit.layers.merge import LeftOut, SquashedLayer
from squashkit.layers.rootfs import Cause
from squashkit.oci.graph import Image, StoredLayer
from squashkit.oci.media import Codec
from squashkit.plan.base import Base
from squashkit.plan.documents import Result, Transfer
from squashkit.plan.squash import LayerPlan
from squashkit.report.text import brief, left_out_rows, percent, summed_by_rule, table

_LISTED = 5


@dataclass(frozen=True, slots=True, repr=False)
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
    store_id: str = ""
    """By which the daemon or podman shows the result; empty where it went elsewhere."""

    def __repr__(self) -> str:
        stored = f"{size(self.stored_before)} -> {size(self.stored_after)}"
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
        """The result's. In a dry run a new layer has the size of its plain tar and an empty digest."""
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
    def stored_after(self) -> int:
        """Bytes of the result's."""
        return sum(layer.size for layer in self.after)

    @property
    def is_stored_alike(self) -> bool:
        """Whether stored sizes can be compared: not where plain layers become compressed, which saves bytes
        without any squash, nor where a dry run counts what would be compressed as it is."""
        compressed = any(layer.codec is not Codec.NONE for layer in self.after)
        plain = all(layer.codec is Codec.NONE for layer in self.before)
        return not (compressed and (plain or self.dry_run))

    @property
    def saved(self) -> int:
        """Stored bytes that are saved; of the plain tars where stored ones cannot be compared."""
        if self.is_stored_alike:
            return self.stored_before - self.stored_after
        return sum(run.source_size - run.diff_size for run in self.runs)

    @property
    def shared_in_registry(self) -> int:
        """Bytes of blobs with a digest that the source has too."""
        before = {layer.digest for layer in self.before} | self.result.in_registry
        return sum(layer.size for layer in self.after if layer.digest in before)

    @property
    def shared_on_host(self) -> int:
        """Bytes of layers with a chain_id that the source has too: the common stack at the bottom."""
        shared = 0
        for before, after in zip(self.before, self.after, strict=False):
            if before.diff_id != after.diff_id:
                break
            shared += after.size
        return shared

    @property
    def update_before(self) -> int:
        """Bytes that a host pulls at most which has the release before, as built: all above the base."""
        return sum(layer.size for layer in self.before[self.base.layers :])

    @property
    def update_after(self) -> int:
        """The same where both releases are squashed so."""
        return sum(layer.size for layer in self.after[self.base.layers :])

    def dropped(self, cause: Cause) -> tuple[int, int]:
        """Entries and bytes (headers included) that did not survive for this reason."""
        dead = [d for run in self.runs for d in run.dropped if d.cause is cause]
        return len(dead), sum(d.entry.record.length for d in dead)

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
            "layers": {"before": len(self.before), "after": len(self.after)},
            "stored_bytes": {
                "before": self.stored_before,
                "after": self.stored_after,
                "saved": self.saved,
            },
            "shared_bytes": {"registry": self.shared_in_registry, "host": self.shared_on_host},
            "update_bytes": {"before": self.update_before, "after": self.update_after},
            "transfer": {
                "down": self.transfer.down,
                "up": self.transfer.up,
                "not_moved": self.transfer.not_moved,
                "proof": self.transfer.proof,
            }
            if self.transfer
            else None,
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
                    "size": layer.size,
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
        if self.dry_run:
            lines.append("Dry run: nothing was written.")
        else:
            if self.checked:
                less = ", less what was left out," if self.plan.left_out else ""
                lines.append(
                    f"Checked: read back, it is the source{less} at every kept layer and at the top."
                )
            if self.transfer:
                lines.append(self.moved(self.transfer))
            lines += self.wrote()
        return "\n".join(map(show_text, lines))

    def wrote(self) -> list[str]:
        """What was written, and where."""
        image_id = f"id       {self.store_id}" if self.store_id else f"image_id {self.image_id}"
        if not self.is_pushed:
            return [f"Wrote {', '.join(self.tags) or 'the image'} to {self.output}", image_id]
        names = [f"docker://{tag}" for tag in self.tags] or [f"{self.output}@{self.manifest_digest}"]
        return [f"Wrote {', '.join(names)}", f"digest   {self.manifest_digest}", image_id]

    def moved(self, transfer: Transfer) -> str:
        """What went over the wire."""
        parts = [f"{size(transfer.down)} read from {self.source}"] if transfer.down else []
        if transfer.up:
            parts.append(f"{size(transfer.up)} sent to {self.output}")
        if transfer.not_moved:
            parts.append(f"{size(transfer.not_moved)} there already")
        if transfer.proof:
            parts.append(f"{size(transfer.proof)} read to prove that")
        return f"Moved: {', '.join(parts) or 'nothing'}."

    def rows(self) -> list[list[str]]:
        """What each size was before and is after, with a remark."""
        alike = self.is_stored_alike
        before, after = self.stored_before, self.stored_after
        rows = [
            ["layers", str(len(self.before)), str(len(self.after)), ""],
            ["stored", size(before), size(after), _saved(self.saved, before) if alike else ""],
        ]
        if not alike and self.runs:
            plain = sum(run.source_size for run in self.runs)
            merged = sum(run.diff_size for run in self.runs)
            rows.append(["merged, as plain tars", size(plain), size(merged), _saved(plain - merged, plain)])
        blobs = "as a registry has the base" if self.result.in_registry else "the same blobs as the source"
        rows += [
            ["shared in registries", "", size(self.shared_in_registry), blobs],
            ["shared on hosts", "", size(self.shared_on_host), "the same layers from below"],
        ]
        if alike:
            update = [size(self.update_before), size(self.update_after)]
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
