"""An image that a person walks through: opened once, then asked for one thing after another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from squashkit.engine.view import View
from squashkit.errors import UsageError
from squashkit.jobs.decide import Bases, base_beside
from squashkit.jobs.look import one_platform, open_images
from squashkit.jobs.waste import base_above
from squashkit.layers.lookup import node_at
from squashkit.layers.rootfs import Cause as Ended
from squashkit.layers.trace import Traces
from squashkit.options import Keep, Run, Which
from squashkit.plan.waste.model import Cause, DeadFile
from squashkit.plan.waste.savings import Saving, find_savings
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.explore.changes import Item, Mark, follow_layers
from squashkit.report.explore.texts import Details, Explored, layer_lines
from squashkit.report.listing import Listed
from squashkit.report.trace import TraceReport
from squashkit.transports.reference import parse_reference


@dataclass(slots=True)
class Exploration:
    """An open image. One thread at a time may use it."""

    explored: Explored
    view: View
    _traces: Traces | None = None
    _savings: tuple[Saving, ...] | None = None

    def savings(self) -> tuple[Saving, ...]:
        """What a squash would save, for every number of kept layers."""
        if self._savings is None:
            view, history = self.view, self.explored.history
            dead = [
                DeadFile(
                    *(one.path, one.entry.size, one.entry.length, one.layer, one.by),
                    Cause.DELETED if one.cause is Ended.DELETED else Cause.OVERWRITTEN,
                )
                for one in history.rootfs.dropped
            ]
            changesets = list(view.changesets.values())
            header_of = view.layers.header_of(view.image)
            base_layers = self.explored.base_layers
            self._savings = tuple(find_savings(changesets, header_of, dead, base_layers))
        return self._savings

    def details(self, path: bytes, item: Item | None) -> Details:
        """What lies at a path, and what layers did there. `item` is the one that is looked at, None where
        no layer lists the path."""
        view, history = self.view, self.explored.history
        if self._traces is None:
            self._traces = Traces(view.changesets, history.rootfs, view.same)
        steps = tuple(layer.created_by for layer in view.image.layers)
        node = node_at(history.rootfs, path)
        trace = TraceReport(path, node is not None, tuple(self._traces.of(path)), steps)
        if item is None or item.entry is None:
            return Details(None, "", trace)
        gone = item.mark is Mark.REMOVED
        where = f"a layer below; removed by layer {item.layer}" if gone else f"layer {item.layer}"
        return Details(Listed.of_entry(path, item.entry), where, trace)


@contextmanager
def open_exploration(
    image: str,
    keep: Keep = Keep(),
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Iterator[Exploration]:
    """Open the image that a reference names, and follow its layers. `keep` says which of them are the base,
    as for `waste`. Raises UsageError for standard input, and what opening and reading the image raises."""
    if parse_reference(image).is_stdio:
        raise UsageError("standard input is the keyboard's here; name the archive by its path")
    with open_images([image], one_platform(which), run, progress, notify) as (opened,):
        bases = Bases(opened.session, which.choice)
        here, candidates = base_beside(opened.source, keep)
        (one,) = opened.images(candidates)
        base = base_above(opened, one, here, keep, bases)
        with opened.view(one) as view:
            changesets = list(view.changesets.values())
            progress = opened.session.progress

            def begin(layer: int) -> None:
                progress.stage(f"Applying layer {layer} of {len(changesets)}", None)
                progress.advance(0)

            history = follow_layers(changesets, begin)
            progress.close()
            sizes = [changeset.diff_size for changeset in changesets]
            layers = layer_lines(one, sizes, history, base)
            explored = Explored(
                one.title, str(one.platform), base, opened.reference(one), tuple(layers), history
            )
            yield Exploration(explored, view)
