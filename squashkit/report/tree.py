"""Several images as a tree of the layers that they share, for people, programs and Graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import show_text
from squashkit.oci.digests import ChainID
from squashkit.oci.graph import Image, Layer, LayerGraph
from squashkit.oci.steps import hide_arguments
from squashkit.report.inspect import SHORT
from squashkit.report.text import Fit, shorten, shorten_step, table
from squashkit.values import frozen


@frozen
class TreeReport:
    """The images of one source."""

    title: str
    """Where they are."""
    example: str
    """A reference to one of them, as in `app.tar:REF`."""
    graph: LayerGraph
    """Their layers."""
    sizes: Mapping[ChainID, int | None]
    """How many bytes each layer takes as it is stored, None where its blob is not there."""
    verified: bool = False
    """Whether every digest was checked."""

    @property
    def images(self) -> list[Image]:
        """Each image once."""
        return list({image.image_id: image for image in self.graph.images}.values())

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "images": [
                {
                    "names": list(image.names),
                    "platform": str(image.platform),
                    "image_id": image.image_id,
                    "layers": [layer.chain_id for layer in image.layers],
                }
                for image in self.images
            ],
            "layers": [
                {
                    "chain_id": layer.chain_id,
                    "parent": layer.parent,
                    "diff_id": layer.diff_id,
                    "stored": self.sizes[layer.chain_id],
                    "created_by": hide_arguments(layer.created_by),
                }
                for layer in self.graph.layers.values()
            ],
        }

    def lines(self) -> list[str]:
        """The tree: a line a layer, indented where images part; and who ends where."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        rows = [
            [branch + layer.diff_id[:SHORT], self._size(layer), shorten_step(layer.created_by, 40), names]
            for branch, layer, names in self._rows()
        ]
        sizes = [self.sizes[layer.chain_id] or 0 for layer in self.graph.layers.values()]
        bare = [_name(image) for image in self.images if not image.layers]
        head = ["layer", "stored", "created by", "image"]
        return [
            (
                f"{self.title}: {count(len(self.images), 'image')}, {count(len(sizes), 'different layer')},"
                f" {size(sum(sizes))} stored"
            ),
            "",
            *table(head, rows, right={1}, fit=Fit(width, shorten=[2], wrap=[3])),
            *(f"{name} has no layers" for name in bare),
            "",
            *(["Verified: every digest, size and diff_id is right."] if self.verified else []),
            f"For one image: squashkit inspect {self.example}",
        ]

    def dot(self) -> str:
        """The tree as a graph for Graphviz."""
        lines = ["digraph layers {", "  rankdir=LR;", "  node [shape=box, fontname=sans];"]
        for layer in self.graph.layers.values():
            step = shorten_step(layer.created_by, 40)
            text = "\n".join(filter(None, (layer.diff_id[:SHORT], self._size(layer), step)))
            lines.append(f"  {_quote(layer.chain_id)} [label={_quote(text)}];")
            if layer.parent:
                lines.append(f"  {_quote(layer.parent)} -> {_quote(layer.chain_id)};")
        for image in self.images:
            node = _quote(f"image {image.image_id}")
            lines.append(f"  {node} [shape=ellipse, style=bold, label={_quote(_name(image))}];")
            if image.layers:
                lines.append(f"  {_quote(image.layers[-1].chain_id)} -> {node} [style=dashed];")
        return "\n".join([*lines, "}"])

    def _size(self, layer: Layer) -> str:
        stored = self.sizes[layer.chain_id]
        return "not there" if stored is None else size(stored)

    def _rows(self) -> Iterator[tuple[str, Layer, str]]:
        """Every layer below its parent, with the lines that lead to it and the images that end at it."""
        children: dict[ChainID | None, list[Layer]] = {}
        for layer in self.graph.layers.values():
            children.setdefault(layer.parent, []).append(layer)
        ends: dict[ChainID, list[str]] = {}
        for image in self.images:
            if image.layers:
                ends.setdefault(image.layers[-1].chain_id, []).append(_name(image))
        stack = [("", "", layer) for layer in reversed(children.get(None, []))]
        while stack:
            prefix, branch, layer = stack.pop()
            yield prefix + branch, layer, ", ".join(ends.get(layer.chain_id, ()))
            below = prefix + {"├─ ": "│  ", "└─ ": "   ", "": ""}[branch]
            several = children.get(layer.chain_id, [])
            for i, child in reversed(list(enumerate(several))):
                last = "└─ " if i == len(several) - 1 else "├─ "
                stack.append((below, last if len(several) > 1 else "", child))


def _name(image: Image) -> str:
    return shorten(f"{show_text(', '.join(image.names)) or image.image_id[:SHORT]} ({image.platform})", 60)


def _quote(text: str) -> str:
    """A string of Graphviz's language."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
