"""`squashkit ls`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from squashkit.cli.shared import Looking, json_option, look_options
from squashkit.engine.view import View
from squashkit.errors import UsageError
from squashkit.layers.changeset import opaque_of, whiteout_of
from squashkit.layers.compare import iter_nodes
from squashkit.layers.rootfs import Directory
from squashkit.report.listing import Listed, ListReport


@click.command(
    short_help="List files of an image or of one layer.",
    epilog="""\b
Examples:
  squashkit ls app.tar
  squashkit ls app.tar:app:latest /etc -l
  squashkit ls app.tar --layer 2 --whiteouts
""",
)
@click.argument("image")
@click.argument("path", default="/")
@click.option(
    "-l",
    "--long",
    is_flag=True,
    help="Print mode, names of the inode, owner, size in bytes and time (UTC) too.",
)
@click.option("-R", "--recursive", is_flag=True, help="List what directories hold, too.")
@click.option(
    "--layer",
    type=click.IntRange(0),
    metavar="N",
    help="List the entries of one layer, counted from the base, 0 first.",
)
@click.option("--whiteouts", is_flag=True, help="With --layer: list what the layer hides, too.")
@json_option("the entries")
@look_options
def ls(
    image: str,
    path: str,
    long: bool,
    recursive: bool,
    layer: int | None,
    whiteouts: bool,
    as_json: bool,
    looking: Looking,
) -> None:
    """List what the directory PATH of IMAGE's root file system holds, or PATH itself if it is none.

    With --layer, the entries of one layer at and below PATH, in the order of their tar.
    """
    if whiteouts and layer is None:
        raise UsageError("--whiteouts needs --layer: a root file system has none")

    def listing(view: View) -> ListReport:
        if layer is None:
            return ListReport(list(_of_rootfs(view, path, recursive=recursive)), (), long=long)
        hidden = _hidden(view, layer, path) if whiteouts else []
        return ListReport(_of_layer(view, layer, path), hidden, long=long)

    reports = ((view.image.platform, listing(view)) for view in looking.each(image))
    looking.show(reports, as_json=as_json)


def _of_rootfs(view: View, path: str, *, recursive: bool) -> Iterator[Listed]:
    node = view.find(path, follow=True)
    if not isinstance(node, Directory):
        yield Listed.of_node(view.name_of(path), node)
        return
    for child_path, child in iter_nodes(node, recursive=recursive):
        yield Listed.of_node(child_path, child)


def _of_layer(view: View, layer: int, path: str) -> list[Listed]:
    top = view.name_of(path)
    entries = view.changeset(layer).entries
    return [Listed.of_record(e.path, e.record) for e in entries if _is_below(e.path, top)]


def _hidden(view: View, layer: int, path: str) -> list[bytes]:
    """The markers of a layer, by the names that they have in its tar."""
    changeset, top = view.changeset(layer), view.name_of(path)
    whiteouts = [whiteout_of(hidden) for hidden in changeset.whiteouts if _is_below(hidden, top)]
    opaques = [opaque_of(directory) for directory in changeset.opaques if _is_below(directory, top)]
    return whiteouts + opaques


def _is_below(path: bytes, top: bytes) -> bool:
    return not top or path == top or path.startswith(top + b"/")
