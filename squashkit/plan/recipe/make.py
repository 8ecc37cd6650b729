"""A recipe of what was done: pure, from plans and from what was written by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from squashkit.layers.merge import SquashedLayer
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.compression import Compression
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.graph import Image, Layer, StoredLayer
from squashkit.options import Format, History
from squashkit.plan.base import Base
from squashkit.plan.documents import Result
from squashkit.plan.recipe.model import BaseNote, BlobNote, ImageNote, MadeLayer, Recipe, SourceNote
from squashkit.plan.segments import Segment
from squashkit.plan.squash import KeptLayer
from squashkit.values import frozen
from squashkit.version import __version__


@frozen
class Form:
    """How a result is stored."""

    format: Format
    compression: Compression
    compressor: str
    """The library that compresses, and its version."""


@dataclass(slots=True)
class RecipeNotes:
    """A recipe in the making: each blob, source and new layer stands in it once."""

    _blobs: dict[DiffID, tuple[int, BlobNote]] = field(default_factory=dict)
    _sources: dict[SourceNote, int] = field(default_factory=dict)
    _layers: dict[DiffID, tuple[int, MadeLayer]] = field(default_factory=dict)
    _images: list[ImageNote] = field(default_factory=list)

    def source(self, image: Image) -> int:
        """Note an image that was read: its place among the sources."""
        note = SourceNote(
            image.image_id,
            image.manifest_descriptor.digest if image.manifest_descriptor else "",
            image.platform,
            tuple(map(self._blob, image.layers)),
        )
        return self._sources.setdefault(note, len(self._sources))

    def image(
        self, result: Result, source: Image, layers: Sequence[Layer], history: History, form: Form
    ) -> None:
        """Note an image that was written. `layers` are those that the plan's spans are of."""
        assert result.manifest is not None
        made = [
            None if stored is None else self._made(planned.pieces, stored, layers, form)
            for planned, stored in _new_layers(result)
        ]
        kept = [Segment(0, len(result.image.layers), True)] if result.image.layers else []
        self._images.append(
            ImageNote(
                self.source(source),
                _segments_text(result.plan.segments if result.changed else kept),
                _base_note(result.base),
                history,
                tuple(made),
                form.format,
                Digest(result.image_id),
                result.manifest.digest,
            )
        )

    def recipe(self, job: str, options: Mapping[str, Any], index: str) -> Recipe:
        """All that was noted."""
        return Recipe(
            job,
            f"squashkit {__version__}",
            options,
            tuple(blob for _, blob in self._blobs.values()),
            tuple(self._sources),
            tuple(layer for _, layer in self._layers.values()),
            tuple(self._images),
            index,
        )

    def _blob(self, layer: Layer) -> int:
        if layer.diff_id not in self._blobs:
            stated = layer.descriptor or (layer.blobs[0].descriptor if layer.blobs else None)
            digest, size = (stated.digest, stated.size) if stated is not None else ("", 0)
            self._blobs[layer.diff_id] = len(self._blobs), BlobNote(layer.diff_id, digest, size)
        return self._blobs[layer.diff_id][0]

    def _made(
        self, pieces: Sequence[Piece], stored: StoredLayer, layers: Sequence[Layer], form: Form
    ) -> int:
        if stored.diff_id not in self._layers:
            spans = tuple(
                Copy(self._blob(layers[piece.layer]), piece.start, piece.end)
                if isinstance(piece, Copy)
                else piece
                for piece in pieces
            )
            compress = str(form.compression)
            layer = MadeLayer(spans, stored.diff_id, stored.digest, stored.size, compress, form.compressor)
            self._layers[stored.diff_id] = len(self._layers), layer
        return self._layers[stored.diff_id][0]


def _new_layers(result: Result) -> Iterator[tuple[SquashedLayer, StoredLayer | None]]:
    """What each run became; None where that is no layer, or the empty one of an image without others."""
    if not result.changed:
        return
    stored = iter(result.after)
    for planned in result.plan.layers:
        if isinstance(planned, KeptLayer):
            next(stored)
        else:
            yield planned, next(stored) if planned.pieces else None


def _segments_text(segments: Sequence[Segment]) -> str:
    return ",".join(f"{'=' * segment.keep}{len(segment)}" for segment in segments)


def _base_note(base: Base) -> BaseNote:
    image = base.image
    described = image.manifest_descriptor if image is not None else None
    return BaseNote(
        base.layers,
        base.name,
        base.image_name,
        described.digest if described is not None else "",
        image.image_id if image is not None else "",
    )
