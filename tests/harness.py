"""The planner over layers at hand as bytes: what the property tests squash with."""

from __future__ import annotations

from collections.abc import Sequence

from squashkit import tar
from squashkit.changeset import parse_changeset
from squashkit.merge import Copy, SquashedLayer
from squashkit.planner import KeptLayer, LayerPlan, Segment, plan_export, plan_squash


def plan_layers(
    layers: Sequence[bytes],
    segments: Sequence[tuple[int, int, bool]],
    *,
    whiteouts: str = "explicit",
    symlink_parents: str = "overlay",
    blind: bool = False,
    hidden: Sequence[int] = (),
) -> LayerPlan:
    """Plan over tar bytes; layers whose index is in `hidden` are not shown to the planner."""
    changesets = {
        index: parse_changeset(tar.scan_bytes(layer), len(layer))
        for index, layer in enumerate(layers)
        if index not in hidden
    }
    return plan_squash(
        changesets,
        [Segment(*segment) for segment in segments],
        lambda index, record: layers[index][record.start : record.data],
        opaque=whiteouts == "opaque",
        follow_lower_symlinks=symlink_parents == "follow",
        blind=blind,
    )


def render(layers: Sequence[bytes], layer: KeptLayer | SquashedLayer) -> bytes:
    """The bytes of a planned layer."""
    if isinstance(layer, KeptLayer):
        return layers[layer.index]
    rendered = b"".join(
        layers[piece.layer][piece.start : piece.end] if isinstance(piece, Copy) else piece
        for piece in layer.pieces
    )
    rendered += tar.END_OF_ARCHIVE
    assert len(rendered) == layer.diff_size
    return rendered


def export_layers(layers: Sequence[bytes]) -> bytes:
    """The root file system of a stack of layers, as one tar."""
    changesets = {
        index: parse_changeset(tar.scan_bytes(layer), len(layer)) for index, layer in enumerate(layers)
    }
    plan = plan_export(
        changesets, lambda index, record: layers[index][record.start : record.data]
    )
    return render(layers, plan) if plan.pieces else tar.END_OF_ARCHIVE


def squash_layers(
    layers: list[bytes],
    segments: list[tuple[int, int, bool]],
    *,
    whiteouts: str = "explicit",
    symlink_parents: str = "overlay",
    blind: bool = False,
) -> list[bytes]:
    """The layer tars of the squashed image, base first."""
    plan = plan_layers(
        layers, segments, whiteouts=whiteouts, symlink_parents=symlink_parents, blind=blind
    )
    return [
        render(layers, layer)
        for layer in plan.layers
        if isinstance(layer, KeptLayer) or layer.pieces
    ]
