"""The planner over layers available as bytes: what the property tests squash and rebase with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from squashkit.layers import tar
from squashkit.layers.changeset import Changeset, parse_changeset
from squashkit.layers.merge import SquashedLayer
from squashkit.layers.pieces import Copy
from squashkit.options import Merge
from squashkit.plan.leave_out import Exclusion
from squashkit.plan.rebase.fit import fit, rebased_segments
from squashkit.plan.segments import Segment
from squashkit.plan.squash import KeptLayer, LayerPlan, plan_export, plan_squash, squash_planner


def read_changeset(layer: bytes) -> Changeset:
    """What a layer's tar says."""
    return parse_changeset(tar.scan_bytes(layer), len(layer))


def plan_layers(
    layers: Sequence[bytes],
    segments: Sequence[tuple[int, int, bool]],
    *,
    whiteouts: str = "explicit",
    symlink_parents: str = "overlay",
    blind: bool = False,
    hidden: Sequence[int] = (),
    exclusions: Sequence[Exclusion] = (),
    also_base: bool = False,
) -> LayerPlan:
    """Plan over tar bytes; layers whose index is in `hidden` are not shown to the planner. With exclusions
    a run of one layer is made anew, too."""
    changesets = {index: read_changeset(layer) for index, layer in enumerate(layers) if index not in hidden}
    remake = bool(exclusions)
    planner = squash_planner(
        [Segment(*segment, remake=remake and not segment[2]) for segment in segments],
        Merge(whiteouts, symlink_parents, blind, also_base=also_base),  # type: ignore[arg-type]
        exclusions,
    )
    return planner(changesets, lambda index, record: layers[index][record.start : record.data])


def render(layers: Sequence[bytes], layer: KeptLayer | SquashedLayer) -> bytes:
    """The bytes of a planned layer."""
    if isinstance(layer, KeptLayer):
        return layers[layer.index]
    rendered = b"".join(
        # What is missing of the padding at a tar's very end counts as zeros, as the writer has it.
        layers[piece.layer][piece.start : piece.end].ljust(piece.end - piece.start, b"\0")
        if isinstance(piece, Copy)
        else piece
        for piece in layer.pieces
    )
    rendered += tar.END_OF_ARCHIVE
    assert len(rendered) == layer.diff_size
    return rendered


def export_layers(layers: Sequence[bytes]) -> bytes:
    """The root file system of a stack of layers, as one tar."""
    changesets = {index: read_changeset(layer) for index, layer in enumerate(layers)}
    plan = plan_export(changesets, lambda index, record: layers[index][record.start : record.data])
    return render(layers, plan) if plan.pieces else tar.END_OF_ARCHIVE


def squash_layers(
    layers: list[bytes],
    segments: list[tuple[int, int, bool]],
    *,
    whiteouts: str = "explicit",
    symlink_parents: str = "overlay",
    blind: bool = False,
    exclusions: Sequence[Exclusion] = (),
    also_base: bool = False,
) -> list[bytes]:
    """The layer tars of the squashed image, base first."""
    plan = plan_layers(
        layers,
        segments,
        whiteouts=whiteouts,
        symlink_parents=symlink_parents,
        blind=blind,
        exclusions=exclusions,
        also_base=also_base,
    )
    return [render(layers, layer) for layer in plan.layers if isinstance(layer, KeptLayer) or layer.pieces]


@dataclass(frozen=True, slots=True)
class Rebased:
    """What became of layers on another base."""

    layers: list[bytes]
    """All of the result, base first."""
    above: list[bytes | None]
    """What became of each layer above the base, None where nothing is left; with a squash, of all."""
    remade: frozenset[int]
    risks: list[tuple[str, bytes, bool]]
    """The kind of each, its path, and whether it is an error. With a link among them, nothing is made."""

    def has(self, kind: str) -> bool:
        """Whether a risk of this kind was told."""
        return any(kind == told for told, _, _ in self.risks)


def rebase_layers(
    old: Sequence[bytes], new: Sequence[bytes], above: Sequence[bytes], *, squash: bool = False
) -> Rebased:
    """Put the layers above an old base on a new one."""
    lower, onto, upper = ([read_changeset(layer) for layer in part] for part in (old, new, above))
    fitted = fit(lower, onto, upper)
    risks = [(risk.kind.value, risk.path, risk.stops) for risk in fitted.risks]
    if any(kind == "link" for kind, _, _ in risks):
        return Rebased([], [], fitted.remade, risks)
    layers = [*new, *above]
    segments = rebased_segments(fitted, squash=squash)
    plan = plan_squash(
        fitted.changesets, segments, lambda index, record: layers[index][record.start : record.data]
    )
    made = [
        render(layers, layer) if isinstance(layer, KeptLayer) or layer.pieces else None
        for layer in plan.layers
    ]
    whole = [layer for layer in made if layer is not None]
    return Rebased(whole, made[len(new) :], fitted.remade, risks)
