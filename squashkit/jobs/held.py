"""A job that is done again, held against the recipe of the first time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from squashkit.engine.carry_out import Done, Task
from squashkit.engine.deliver import Delivery, carry_out_each, deliver
from squashkit.engine.layers import LayerStore
from squashkit.engine.write import Stock
from squashkit.errors import CheckFailed, ImageNotFound, InvalidRecipe, UsageError, show_text
from squashkit.layers.changeset import Changeset
from squashkit.layers.entry import HeaderOf
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.compression import Compression
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import ALL, Descriptor, ImageConfig
from squashkit.oci.graph import Image, Layer, stack_layers
from squashkit.oci.media import Codec
from squashkit.options import History, Read, Write
from squashkit.plan.base import Base
from squashkit.plan.recipe.model import BaseNote, ImageNote, Recipe
from squashkit.plan.squash import LayerPlan
from squashkit.report.squash import Report
from squashkit.transports.codecs import library_of
from squashkit.transports.nowhere import Nowhere
from squashkit.transports.source import Source
from squashkit.transports.tags import TagGuard
from squashkit.transports.target import Target, decide_target
from squashkit.wording import Option

_SHOWN = 200  # signs of a text of the recipe


@dataclass(slots=True)
class Held:
    """The recipe, and whether what comes out is written or only looked at."""

    recipe: Recipe
    writes: bool = True
    done: list[Done] = field(default_factory=list)
    """What came out."""

    def reading(self, read: Read) -> Read:
        """How sources are read, for the platforms that the recipe is of. Raises UsageError where somebody
        wants others."""
        if read.choice is not None:
            raise UsageError(
                "the recipe says for which platforms it is; leave ", Option("Which.platform"), " out"
            )
        platform = self.recipe.sources[self.recipe.images[0].source].platform
        return replace(read, platform=ALL if self.recipe.index else platform)

    def note_of(self, image: Image) -> ImageNote:
        """What the recipe makes of an image. Raises ImageNotFound where that is nothing."""
        for note in self.recipe.images:
            if self.recipe.sources[note.source].image_id == image.image_id:
                return note
        wanted = ", ".join(self.recipe.sources[note.source].image_id for note in self.recipe.images)
        raise ImageNotFound(
            f"{image.title} is {image.image_id}; the recipe is of {wanted}", reference=image.title
        )

    def base(self, base: Base, note: ImageNote) -> Base:
        """A base that was read, under the names that the recipe has for it. Raises ImageNotFound where it
        is another."""
        image = base.image
        if image is None or image.image_id != note.base.image_id:
            raise ImageNotFound(
                f"{base.name} is not the base that the recipe is of, {note.base.image_id}",
                reference=base.name,
            )
        if note.base.manifest and image.manifest_descriptor is None:
            described = Descriptor("", Digest(note.base.manifest), 0)
            image = replace(image, manifest_descriptor=described)
        return replace(base, image=image, name=note.base.name, image_name=note.base.image_name)

    def form(self, output: str | None, source: Source, image: Image, write: Write) -> Write:
        """With the form and the compression that the recipe has, where nobody wants others, and as far as
        the place takes them."""
        note = self.recipe.images[0]
        usual = decide_target(output, source, image, image.layers, write, several=bool(self.recipe.index))
        if write.format is None and usual.format != note.format:
            write = replace(write, format=note.format)
        made = next((self.recipe.layers[place] for place in note.made if place is not None), None)
        if write.compress is None and made is not None:
            try:
                compression = Compression.parse(made.compress)
            except ValueError as error:
                raise InvalidRecipe(str(error)) from error
            if not (usual.is_registry and compression.codec is Codec.NONE):
                write = replace(write, compress=compression)
        return write

    def task(self, task: Task, note: ImageNote) -> Task:
        """The same task, whose plan must be the recipe's, and whose result the image that this promises."""

        def plan(changesets: Mapping[int, Changeset], header_of: HeaderOf) -> LayerPlan:
            made = task.plan(changesets, header_of)
            layers = task.decision.image.layers if task.sources is None else task.sources
            places, alike = alike_of(layers, range(len(layers)))
            pieces = [_of_alike(run.pieces, alike) for run in made.runs]
            if pieces != self.pieces(note, places):
                raise CheckFailed("the recipe is not what the job plans, done anew; nothing was written")
            return made

        return replace(task, plan=plan, image_id=note.image_id)

    def pieces(self, note: ImageNote, places: Mapping[DiffID, int]) -> list[tuple[Piece, ...]]:
        """What the recipe makes each run's layer of: spans of layers that have these places."""
        layers = self.recipe.layers
        return [
            self.recipe.pieces_in(layers[place], places) if place is not None else () for place in note.made
        ]

    def deliver(
        self, layers: LayerStore, tasks: Sequence[Task], targets: Sequence[Target], guard: TagGuard
    ) -> Delivery:
        """Write the images to one place; or make them, and keep nothing."""
        if self.writes:
            delivery = deliver(layers, tasks, targets, guard, Stock())
        else:
            done = carry_out_each(layers, tasks, targets, Nowhere(), Stock())
            delivery = Delivery(done, None, None)
        self.done += delivery.done
        return delivery

    def told(self, report: Report, note: ImageNote, target: Target) -> Report:
        """With notes of what the recipe brings, and whether the manifest is the recipe's, or why not."""
        brought = _brought(note.history)
        told = [self._told(report, note, target)] if target.writes else []
        return replace(report, notes=(*report.notes, *brought, *told))

    def _told(self, report: Report, note: ImageNote, target: Target) -> str:
        if report.result.manifest is not None and report.result.manifest.digest == note.manifest:
            return "The result is the recipe's, its manifest too."
        stored = {layer.digest for layer in report.after}
        made = [self.recipe.layers[place] for place in note.made if place is not None]
        kept = {layer.diff_id for layer in report.after} - {one.diff_id for one in made}
        whys = []
        if any(
            blob.diff_id in kept and blob.digest and blob.digest not in stored for blob in self.recipe.blobs
        ):
            whys.append("the kept layers are stored as other blobs")
        others = [layer for layer in made if layer.digest not in stored]
        if others:
            mine = library_of(target.compression.codec) or "nothing"
            theirs = others[0].compressor or "nothing"
            whys.append(f"new layers are compressed by {mine}, the recipe's by {theirs}")
        why = " and ".join(whys) or "it is written in another form"
        return f"The result is the recipe's image, by its image_id. Its manifest is another: {why}."


def _brought(history: History) -> list[str]:
    """What of the history is the recipe's own word."""
    said = []
    if history.created is not None:
        said.append(f"the time {history.created}")
    if history.message is not None:
        said.append(f"the comment {show_text(history.message[:_SHOWN])}")
    return [f"The recipe brings {' and '.join(said)} into the history."] if said else []


def alike_of(layers: Sequence[Layer], at_hand: Sequence[int]) -> tuple[dict[DiffID, int], dict[int, int]]:
    """Of layers that are the same bytes, which stands for all: by their diff_id, and by their places. Only
    those at hand count."""
    places: dict[DiffID, int] = {}
    for index in at_hand:
        places.setdefault(layers[index].diff_id, index)
    return places, {index: places[layers[index].diff_id] for index in at_hand}


def _of_alike(pieces: Sequence[Piece], alike: Mapping[int, int]) -> tuple[Piece, ...]:
    """Pieces whose spans are of those layers that stand for all of their like."""
    return tuple(
        piece._replace(layer=alike[piece.layer]) if isinstance(piece, Copy) else piece for piece in pieces
    )


def base_of(image: Image, note: BaseNote) -> Base:
    """The base of an image as the recipe tells of it. Of its image only that is known."""
    if not note.image_id:
        return Base(note.layers, "the recipe", name=note.name, image_name=note.image_name)
    diff_ids = image.diff_ids[: note.layers]
    config = ImageConfig(diff_ids, None, image.platform, None, {}, b"")
    nothing = [None] * len(diff_ids)
    described = Descriptor("", Digest(note.manifest), 0) if note.manifest else None
    layers = stack_layers(config, nothing, nothing, "the recipe")
    known = Image((note.image_name,), Digest(note.image_id), config, layers, None, described)
    return Base(note.layers, "the recipe", known, note.name, note.image_name)
