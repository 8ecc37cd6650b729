"""Stored sizes and what was moved, as reports tell them. Plain and compressed sizes are never compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from squashkit.amounts import count, size
from squashkit.oci.graph import StoredLayer
from squashkit.plan.delta import Delta
from squashkit.plan.documents import Transfer


def stored_size(layers: Sequence[StoredLayer]) -> int | None:
    """What layers take as they are stored; None where that is not known of one of them."""
    return None if any(layer.is_uncounted for layer in layers) else sum(layer.size for layer in layers)


def kinds(layers: Sequence[StoredLayer]) -> list[str]:
    """How layers are stored: `none`, `gzip` and so on, each once."""
    return sorted({layer.codec.value for layer in layers})


def is_one_kind(layers: Sequence[StoredLayer]) -> bool:
    """Whether all of them are plain, or all compressed: else their stored sizes cannot be compared."""
    return len({layer.is_plain for layer in layers}) < 2


def differing(before: Sequence[StoredLayer], after: Sequence[StoredLayer]) -> str:
    """Why the stored sizes before and after cannot be compared."""
    told = [" and ".join(kinds(layers)).replace("none", "plain") for layers in (before, after)]
    return f"{told[0]} before, {told[1]} after"


def known_size(value: int | None) -> str:
    """A size, or that it is not known."""
    return "?" if value is None else size(value)


def transfer_json(transfer: Transfer | None) -> dict[str, int] | None:
    """What went over the wire, as `--json` prints it."""
    if transfer is None:
        return None
    return {
        "down": transfer.down,
        "up": transfer.up,
        "not_moved": transfer.not_moved,
        "proof": transfer.proof,
    }


def delta_json(delta: Delta | None) -> dict[str, Any] | None:
    """What stayed out of an archive, as `--json` prints it."""
    if delta is None:
        return None
    return {
        "have": delta.have,
        "store": delta.keeper.value,
        "left_out_bytes": sum(delta.left_out.values()),
        "left_out": [{"digest": digest, "bytes": taken} for digest, taken in delta.left_out.items()],
    }


def left_out_told(delta: Delta) -> str:
    """What stayed out of an archive, in words."""
    if not delta.left_out:
        return f"Nothing stays out of the archive: {delta.have} has none of the layers that are kept."
    layers, taken = count(len(delta.left_out), "layer"), size(sum(delta.left_out.values()))
    return f"Left out of the archive: {layers}, {taken}, which {delta.have} has."


def moved(transfer: Transfer) -> str:
    """What went over the wire, in words."""
    parts = [f"{size(read)} read from {place}" for place, read in transfer.read if read]
    if transfer.up:
        parts.append(f"{size(transfer.up)} sent to {transfer.to}")
    if transfer.not_moved:
        parts.append(f"{size(transfer.not_moved)} there already")
    if transfer.proof:
        parts.append(f"{size(transfer.proof)} read to prove that")
    return f"Moved: {', '.join(parts) or 'nothing'}."
