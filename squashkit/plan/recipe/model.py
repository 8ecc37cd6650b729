"""A recipe as values: sources, the new layers as spans of theirs, and the digests that came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from squashkit.arguments import texts
from squashkit.errors import CheckFailed, InvalidRecipe, UsageError, show_text
from squashkit.layers.pieces import Copy, Piece
from squashkit.oci.digests import DiffID, Digest
from squashkit.oci.documents import Platform
from squashkit.options import STRATEGIES, FleetOptions, Format, History, Merge, Rebase
from squashkit.values import frozen

SQUASH, REBASE, FLEET = "squash", "rebase", "fleet"
JOBS = (SQUASH, REBASE, FLEET)
_SHOWN = 200  # signs of a message


def merge_options(merge: Merge) -> dict[str, Any]:
    """How layers became one, as a recipe has it."""
    return {
        "whiteouts": merge.whiteouts,
        "symlink_parents": merge.symlink_parents,
        "drop_caches": texts(merge.drop_caches),
        "exclude": texts(merge.exclude),
        "also_base": merge.also_base,
    }


def merge_of(options: Mapping[str, Any]) -> Merge:
    """How a recipe has layers become one. Raises InvalidRecipe."""
    if options.keys() != merge_options(Merge()).keys():
        raise InvalidRecipe("its options are not those of a squash")
    try:
        return Merge(**options)
    except (UsageError, TypeError) as error:
        raise InvalidRecipe(f"its options: {show_text(str(error)[:_SHOWN])}") from error


def rebase_options(how: Rebase) -> dict[str, Any]:
    """How layers came onto another base, as a recipe has it. What the bases were called is not in it."""
    return {
        "squash": how.squash,
        "config": how.config,
        "allow": sorted(how.allowed),
        "strict": how.strict,
        "stop_on": sorted(how.stopping),
        "merge": sorted(how.merging),
        "take_new": sorted(how.taking),
    }


def rebase_of(options: Mapping[str, Any], onto: str, old_base: str | None) -> Rebase:
    """How a recipe has layers come onto another base. Raises InvalidRecipe."""
    if options.keys() != rebase_options(Rebase("")).keys():
        raise InvalidRecipe("its options are not those of a rebase")
    try:
        return Rebase(onto, old_base, **options)
    except (UsageError, TypeError) as error:
        raise InvalidRecipe(f"its options: {show_text(str(error)[:_SHOWN])}") from error


def fleet_options(strategy: str, fleet: FleetOptions) -> dict[str, Any]:
    """How a fleet was squashed, as a recipe has it."""
    return {
        "strategy": strategy,
        "bases": fleet.named,
        "minimise": fleet.minimise,
        "max_layers": fleet.max_layers,
        "estimate": fleet.estimate,
        "platform": None if fleet.choice is None else str(fleet.choice),
        "exclude": texts(fleet.exclude),
        "clamp_mtime": fleet.clamp_mtime,
        "stable_from": fleet.published,
    }


def fleet_of(options: Mapping[str, Any]) -> tuple[str, FleetOptions]:
    """By which strategy a recipe has a fleet squashed, and how. Raises InvalidRecipe."""
    if options.keys() != fleet_options("", FleetOptions()).keys():
        raise InvalidRecipe("its options are not those of a fleet")
    rest = dict(options)
    strategy = rest.pop("strategy")
    if strategy not in STRATEGIES:
        raise InvalidRecipe(f"no strategy is named {strategy!r:.40}")
    try:
        return strategy, FleetOptions(**rest)
    except (UsageError, TypeError) as error:
        raise InvalidRecipe(f"its options: {show_text(str(error)[:_SHOWN])}") from error


@frozen
class BlobNote:
    """A layer that new ones are made of, or that stays, as it was stored."""

    diff_id: DiffID
    digest: str
    """Of its blob; empty where nobody stated one."""
    size: int
    """Bytes of its blob."""


@frozen
class SourceNote:
    """An image that was read."""

    image_id: Digest
    manifest: str
    """The digest of its manifest; empty where it was read from where there is none."""
    platform: Platform
    layers: tuple[int, ...]
    """Base first, each by its place among the recipe's blobs."""


@frozen
class BaseNote:
    """The base that was kept, as the result's manifest tells of it."""

    layers: int
    name: str = ""
    """As it was asked for."""
    image_name: str = ""
    manifest: str = ""
    """The digest of its manifest; empty where that was not read."""
    image_id: str = ""
    """Empty where only was known where it ends."""


@frozen
class MadeLayer:
    """A new layer: what it is made of, and what came out."""

    pieces: tuple[Piece, ...]
    """Its tar but for the end blocks: spans of the recipe's blobs (`Copy.layer` is one's place among them),
    and headers as bytes."""
    diff_id: DiffID
    digest: Digest
    """Of its blob."""
    size: int
    """Bytes of its blob."""
    compress: str
    """How it was compressed, as `Write.compress` has it."""
    compressor: str
    """The library that did it, and its version; empty where it is plain."""


@frozen
class ImageNote:
    """One image that was made."""

    source: int
    """The image that it was made of, by its place among the sources."""
    segments: str
    """What became of that one's layers, as `Keep.segments` has it; empty where it has none."""
    base: BaseNote
    history: History
    made: tuple[int | None, ...]
    """What each run became, by its place among the recipe's layers; None where that is no layer."""
    format: Format
    """`docker` or `oci`."""
    image_id: Digest
    manifest: Digest


@frozen
class Recipe:
    """All that is needed to make images of others again, but the bytes of these."""

    job: str
    """One of JOBS."""
    made_by: str
    """What wrote it, and its version."""
    options: Mapping[str, Any]
    """Those of the job by which what was made is told apart from all else that it could have made."""
    blobs: tuple[BlobNote, ...]
    sources: tuple[SourceNote, ...]
    layers: tuple[MadeLayer, ...]
    images: tuple[ImageNote, ...]
    index: str = ""
    """The digest of the index of several platforms; empty where there is none."""

    def __repr__(self) -> str:
        return f"<Recipe: {self.job}, {len(self.images)} images, {len(self.layers)} new layers>"

    @property
    def is_of_fleet(self) -> bool:
        return self.job == FLEET

    def pieces_in(self, made: MadeLayer, places: Mapping[DiffID, int]) -> tuple[Piece, ...]:
        """A new layer's pieces as spans of an image's layers, whose places are given. Raises CheckFailed
        where it is made of others."""
        pieces: list[Piece] = []
        for piece in made.pieces:
            if isinstance(piece, Copy):
                diff_id = self.blobs[piece.layer].diff_id
                if diff_id not in places:
                    raise CheckFailed(f"the recipe takes bytes of a layer that is not at hand: {diff_id}")
                piece = Copy(places[diff_id], piece.start, piece.end)
            pieces.append(piece)
        return tuple(pieces)
