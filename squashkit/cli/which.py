"""`squashkit which`."""

from __future__ import annotations

import os

import click

from squashkit.cli.shared import Looking, json_option, look_options
from squashkit.engine.view import View
from squashkit.errors import PathNotFound
from squashkit.layers.rootfs import Directory, resolve
from squashkit.layers.trace import iter_traces
from squashkit.report.trace import TraceReport


@click.command(
    short_help="Tell which layers hold or hide a path.",
    epilog="""\b
Examples:
  squashkit which app.tar /usr/lib/os-release
  squashkit which app.tar:app:latest /root/.ssh/id_ed25519
""",
)
@click.argument("image")
@click.argument("path")
@json_option("what each layer does at the path")
@look_options
def which(image: str, path: str, as_json: bool, looking: Looking) -> None:
    """Tell every layer of IMAGE that holds PATH or hides it, copies that nobody sees included.

    Where a directory of PATH is a symlink in the image, what it leads to is meant.
    """
    reports = ((view.image.platform, _trace(view, path)) for view in looking.each(image))
    looking.show(reports, as_json=as_json)


def _trace(view: View, path: str) -> TraceReport:
    name = view.name_of(path)
    traces = list(iter_traces(name, view.changesets, view.rootfs, view.is_same_file))
    there = resolve(view.rootfs, os.fsencode(path), follow=False)
    if not traces:  # a directory on the way may be a symlink
        name = _real(view, path) or name
        traces = list(iter_traces(name, view.changesets, view.rootfs, view.is_same_file))
    if not traces and there is None:
        raise PathNotFound(f"no layer of {view.title} holds or hides it", path=name)
    created_by = [layer.created_by for layer in view.image.layers]
    return TraceReport(name, there is not None, traces, created_by)


def _real(view: View, path: str) -> bytes | None:
    """A path with the symlinks of its directories followed, None where these lead nowhere."""
    head, _, tail = os.fsencode(path).rstrip(b"/").rpartition(b"/")
    parent = resolve(view.rootfs, head, follow=True)
    return parent.child_path(tail) if isinstance(parent, Directory) else None
