"""An image's layers, its base, and what a squash would give, as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import show_path, show_text
from squashkit.oci.digests import Digest
from squashkit.oci.graph import Image, Layer, crowded
from squashkit.oci.media import Codec
from squashkit.oci.steps import hide_arguments
from squashkit.plan.base import Base
from squashkit.report.text import Fit, brief, percent, shorten, shorten_step, table
from squashkit.values import frozen

SHORT = 19
"""How much of a digest is enough to tell layers apart: `sha256:` and twelve digits."""


@frozen
class LayerFacts:
    """What is known of one layer. Sizes are bytes; those of a layer whose blob is not there are None."""

    layer: Layer
    codec: Codec
    stored: int | None
    digest: Digest | None
    """Of the blob, where it is stated or the blob is plain."""
    uncompressed: int | None = None
    entries: int | None = None
    markers: int = 0
    """Bytes of whiteouts and opaque markers, most of which a squash makes vanish."""
    dead_entries: int = 0
    dead_bytes: int = 0
    """Payload of its files that layers above replace or delete."""
    dead_length: int = 0
    """Bytes of these entries in the tar, headers and padding included."""


@frozen
class DeadEntry:
    """A file that is dead, and the layer that holds it."""

    path: bytes
    size: int
    """Bytes of its payload."""
    layer: int


@frozen
class SquashEstimate:
    """What merging the layers [start, stop) would give, about: `after` is what outlives the run."""

    start: int
    stop: int
    before: int
    after: int


@frozen
class InspectReport:
    """One image."""

    image: Image
    """The image itself."""
    reference: str
    """How a person names it on the command line."""
    layers: tuple[LayerFacts, ...]
    """Base first. Sizes are bytes."""
    base: Base | None
    """Its base, and by what that is known; None where it is not known."""
    verified: bool
    """Whether every digest was checked."""
    verbose: bool
    """Whether people are told whole digests and commands."""
    worst: tuple[DeadEntry, ...] = ()
    """The largest dead files."""
    candidates: tuple[Base, ...] = ()
    """Where the base may end, if nothing says it."""
    rootfs_digest: str = ""
    """The digest of its root file system; empty unless it was asked for."""

    def __repr__(self) -> str:
        base = self.base.name or self.base.evidence if self.base else "unknown"
        layers = count(len(self.layers), "layer")
        return f"<InspectReport: {brief(self.image.title)}, {layers}, base {brief(base)}>"

    @property
    def squash(self) -> SquashEstimate | None:
        """What could be squashed: the layers above the base, or all where no base is known. None where
        that is less than two layers, or a layer is not there."""
        start = self.base.layers if self.base else 0
        run = self.layers[start:]
        if len(run) < 2 or any(facts.uncompressed is None for facts in self.layers):
            return None
        before = sum(facts.stored or 0 for facts in run)
        tars = sum(facts.uncompressed or 0 for facts in run)
        alive = max(0, tars - sum(facts.dead_length + facts.markers for facts in run))
        return SquashEstimate(start, len(self.layers), before, alive * before // tars if tars else 0)

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        image, squash = self.image, self.squash
        descriptor = image.manifest_descriptor
        return {
            "names": list(image.names),
            "platform": str(image.platform),
            "image_id": image.image_id,
            "manifest_digest": descriptor.digest if descriptor else None,
            **({"rootfs_digest": self.rootfs_digest} if self.rootfs_digest else {}),
            "created": image.config.created,
            "verified": self.verified,
            "base": {"layers": self.base.layers, "name": self.base.name, "evidence": self.base.evidence}
            if self.base
            else None,
            "layers": [
                {
                    "layer": facts.layer.index,
                    "created_by": hide_arguments(facts.layer.created_by),
                    "stored": facts.stored,
                    "compression": facts.codec.value,
                    "uncompressed": facts.uncompressed,
                    "entries": facts.entries,
                    "dead": {"entries": facts.dead_entries, "bytes": facts.dead_bytes}
                    if facts.entries is not None
                    else None,
                    "digest": facts.digest,
                    "diff_id": facts.layer.diff_id,
                    "chain_id": facts.layer.chain_id,
                }
                for facts in self.layers
            ],
            "worst": [
                {"path": f"/{show_path(one.path)}", "bytes": one.size, "layer": one.layer}
                for one in self.worst
            ],
            "base_candidates": [
                {"layers": base.layers, "name": base.name, "evidence": base.evidence}
                for base in self.candidates
            ],
            "squash": {
                "from": squash.start,
                "to": squash.stop - 1,
                "stored": {"before": squash.before, "after_about": squash.after},
            }
            if squash
            else None,
        }

    def lines(self) -> list[str]:
        """What a person reads: the image, a table of its layers, and what to do about them."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        image = self.image
        stored = sum(facts.stored or 0 for facts in self.layers)
        entries = sum(facts.entries or 0 for facts in self.layers)
        descriptor = image.manifest_descriptor
        lines = [
            show_text(", ".join(image.names)) or "(no name)",
            (
                f"{image.platform}, {count(len(self.layers), 'layer')}, {size(stored)} stored,"
                f" {entries:,} entries"
            ),
            f"image_id {image.image_id}",
            *([f"manifest {descriptor.digest}"] if descriptor else []),
            *([f"rootfs   {self.rootfs_digest}"] if self.rootfs_digest else []),
            "",
            *self._table(width),
            "",
            *self._worst(width),
            *self._advice(width),
        ]
        if said := crowded(len(image.layers)):
            lines.append(f"Warning: {said}.")
        if self.verified:
            lines.append("Verified: every digest, size and diff_id is right.")
        return lines

    def _table(self, width: int | None) -> list[str]:
        head = ["layer", "stored", "uncompressed", "entries", "dead", "diff_id", "created by"]
        rows = [
            [
                str(facts.layer.index),
                _known(facts.stored),
                _known(facts.uncompressed),
                "?" if facts.entries is None else f"{facts.entries:,}",
                size(facts.dead_bytes) if facts.dead_bytes else "",
                facts.layer.diff_id[:SHORT],
                shorten_step(facts.layer.created_by, 46),
            ]
            for facts in self.layers
        ]
        top, *lines = table(head, rows, right={0, 1, 2, 3, 4}, fit=Fit(width, leave_out=[5], shorten=[6]))
        shown = [top]
        for facts, line in zip(self.layers, lines, strict=True):
            shown.append(line)
            if self.verbose:
                shown += [f"       {what}  {value}" for what, value in _identity(facts) if value]
            if self.base and facts.layer.index == self.base.layers - 1:
                known = self.base.evidence
                if width is not None:
                    known = shorten(known, max(1, width - len("------ base:  ------")))
                shown.append(f"------ base: {known} ------")
        return shown

    def _worst(self, width: int | None) -> Iterator[str]:
        """The files that most bytes are dead of, and how to see the others."""
        if self.worst:
            yield f"The largest dead files; squashkit waste {self.reference} tells all, and why:"
        for one in self.worst:
            where = f" of layer {one.layer}"
            path = shorten(f"/{show_path(one.path)}", max(20, (width or 100) - 8 - len(where)))
            yield f"{size(one.size):>8}  {path}{where}"
        if self.worst:
            yield ""

    def _advice(self, width: int | None) -> list[str]:
        squash = self.squash
        missing = [str(facts.layer.index) for facts in self.layers if facts.stored is None]
        if missing:
            return [f"Not there: the blobs of layer {', '.join(missing)}. What is dead is not known."]
        above = "above the base" if self.base else "of the image"
        if squash is None:
            return [f"There is nothing to squash{' above the base' if self.base else ''}."]
        if not self.base:
            return [
                "What its base is is not known; squash takes --keep-base REF or --keep-layers N.",
                *self._may_end(width),
            ]
        keep = f"--keep-base {self.base.name}" if self.base.name else f"--keep-layers {squash.start}"
        saved = squash.before - squash.after
        if saved < squash.before / 100:
            return [f"Squashing the layers {above} would save next to nothing."]
        return [
            (
                f"The {squash.stop - squash.start} layers {above} are {size(squash.before)} stored; as one"
                f" they would be about {size(squash.after)} ({percent(saved, squash.before)} less):"
            ),
            f"  squashkit squash {self.reference} {keep} -t NAME -o OUTPUT",
        ]

    def _may_end(self, width: int | None) -> Iterator[str]:
        """Where the base may end, with what to pass."""
        for base in self.candidates:
            why = shorten(base.evidence, max(20, (width or 100) - 22))
            yield f"  --keep-layers {base.layers:<3} {why}"


def _known(value: int | None) -> str:
    return "?" if value is None else size(value)


def _identity(facts: LayerFacts) -> list[tuple[str, str]]:
    return [
        ("diff_id   ", facts.layer.diff_id),
        ("chain_id  ", facts.layer.chain_id),
        ("digest    ", facts.digest or ""),
        ("created by", show_text(" ".join(hide_arguments(facts.layer.created_by).split()))),
    ]
