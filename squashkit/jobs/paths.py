"""What lies at a path of an image: what `ls` lists, a file for `cat`, which layers hold or hide it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial

from squashkit.arguments import checked
from squashkit.engine.view import View
from squashkit.errors import PathNotFound, UsageError
from squashkit.jobs.look import each, one_platform, only
from squashkit.layers.changeset import opaque_of, whiteout_of
from squashkit.layers.compare import iter_nodes, kind_of
from squashkit.layers.entry import REGULAR
from squashkit.layers.lookup import node_at, resolve
from squashkit.layers.rootfs import Directory, Inode
from squashkit.layers.search import parse_pattern
from squashkit.layers.trace import Traces
from squashkit.options import Run, Which
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.listing import Listed, ListReport
from squashkit.report.trace import TraceReport, TracesReport
from squashkit.wording import Option


@checked
def ls(
    image: str,
    path: str = "/",
    *,
    layer: int | None = None,
    recursive: bool = False,
    whiteouts: bool = False,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> ListReport:
    """What the directory at a path of an image's root file system holds, or what lies there if it is none.
    With `layer` the entries of one layer at and below the path, in the order of their tar.

    Raises PathNotFound, UsageError for a layer that is not there.
    """
    look = partial(list_path, path=path, layer=layer, recursive=recursive, whiteouts=whiteouts)
    return only(each(image, look, one_platform(which), run, progress, notify))


@checked
def which(
    image: str,
    path: str,
    *,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> TraceReport:
    """Every layer of an image that holds a path or hides it, copies that nobody sees included. Raises
    PathNotFound."""
    look = partial(trace_path, path=path)
    return only(each(image, look, one_platform(which), run, progress, notify))


@checked
def which_glob(
    image: str,
    glob: str,
    *,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> TracesReport:
    """The same for every path that a glob means: `*` and `?` within a name, `**` across directories; one
    without a slash means that name in every directory. Raises PathNotFound where there is none, UsageError
    for what is no glob."""
    look = partial(trace_glob, glob=glob)
    return only(each(image, look, one_platform(which), run, progress, notify))


@checked
def cat(
    image: str,
    path: str,
    *,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> bytes:
    """The content of a file of an image's root file system; symlinks are followed inside it. Raises
    PathNotFound, TooLarge."""

    def content(view: View) -> bytes:
        return b"".join(view.content(find_file(view, path)))

    return only(each(image, content, one_platform(which), run, progress, notify))


def list_path(
    view: View, path: str, *, layer: int | None, recursive: bool, whiteouts: bool, long: bool = False
) -> ListReport:
    """What `ls` tells of an open image."""
    if whiteouts and layer is None:
        raise UsageError(Option("whiteouts"), " needs ", Option("layer"), ": a root file system has none")
    if layer is None:
        return ListReport(tuple(_of_rootfs(view, path, recursive=recursive)), (), long=long)
    hidden = _hidden(view, layer, path) if whiteouts else ()
    return ListReport(_of_layer(view, layer, path), hidden, long=long)


def _of_rootfs(view: View, path: str, *, recursive: bool) -> Iterator[Listed]:
    node = view.find(path, follow=True)
    if not isinstance(node, Directory):
        yield Listed.of_node(view.name_of(path), node)
        return
    for child_path, child in iter_nodes(node, recursive=recursive):
        yield Listed.of_node(child_path, child)


def _of_layer(view: View, layer: int, path: str) -> tuple[Listed, ...]:
    top = view.name_of(path)
    entries = view.changeset(layer).entries
    return tuple(Listed.of_entry(e.path, e) for e in entries if _is_below(e.path, top))


def _hidden(view: View, layer: int, path: str) -> tuple[bytes, ...]:
    """The markers of a layer, by the names that they have in its tar."""
    changeset, top = view.changeset(layer), view.name_of(path)
    whiteouts = [whiteout_of(hidden) for hidden in changeset.whiteouts if _is_below(hidden, top)]
    opaques = [opaque_of(directory) for directory in changeset.opaques if _is_below(directory, top)]
    return (*whiteouts, *opaques)


def _is_below(path: bytes, top: bytes) -> bool:
    return not top or path == top or path.startswith(top + b"/")


def trace_path(view: View, path: str) -> TraceReport:
    """What `which` tells of a path of an open image."""
    name = view.name_of(path)
    known = Traces(view.changesets, view.rootfs, view.same)
    traces = tuple(known.of(name))
    there = resolve(view.rootfs, os.fsencode(path), follow=False)
    if not traces:  # a directory on the way may be a symlink
        name = _real(view, path) or name
        traces = tuple(known.of(name))
    if not traces and there is None:
        raise PathNotFound(f"no layer of {view.title} holds or hides it", path=name)
    return TraceReport(name, there is not None, traces, _steps(view))


def trace_glob(view: View, glob: str) -> TracesReport:
    """What `which` tells of all paths that a glob means."""
    known = Traces(view.changesets, view.rootfs, view.same)
    found = _meant(known, glob)
    if not found:
        raise PathNotFound(f"no layer of {view.title} holds or hides such a path", path=os.fsencode(glob))
    steps = _steps(view)
    reports = [
        TraceReport(path, node_at(view.rootfs, path) is not None, tuple(known.of(path)), steps)
        for path in found
    ]
    return TracesReport(glob, tuple(reports))


def trace(view: View, text: str) -> TraceReport | TracesReport:
    """The same of a path, or if there is none and it may be a glob, of that."""
    try:
        return trace_path(view, text)
    except PathNotFound:
        if not set("*?[") & set(text):
            raise
    return trace_glob(view, text)


def _steps(view: View) -> tuple[str, ...]:
    return tuple(layer.created_by for layer in view.image.layers)


def _meant(known: Traces, glob: str) -> list[bytes]:
    """The paths that a glob means, and not what lies below them. Raises UsageError for what is none."""
    try:
        pattern = parse_pattern(glob)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if not isinstance(pattern.paths, re.Pattern):
        return []
    search = pattern.paths.search
    is_name = "/" not in glob.rstrip("/")
    found = []
    for path in known.paths():
        text = path.decode("utf-8", "surrogateescape")
        hit = search(text.rpartition("/")[2] if is_name else text)
        if hit is not None and hit.end() == len(hit.string):
            found.append(path)
    return sorted(found)


def _real(view: View, path: str) -> bytes | None:
    """A path with the symlinks of its directories followed, None where these lead nowhere."""
    head, _, tail = os.fsencode(path).rstrip(b"/").rpartition(b"/")
    parent = resolve(view.rootfs, head, follow=True)
    return parent.child_path(tail) if isinstance(parent, Directory) else None


def find_file(view: View, path: str) -> Inode:
    """The file at a path of an open image. Raises PathNotFound for what is none."""
    node = view.find(path, follow=True)
    if not isinstance(node, Inode) or node.entry.typeflag != REGULAR:
        raise PathNotFound(f"is a {kind_of(node)}, not a file", path=view.name_of(path))
    return node
