"""What every layer does at one path, as people and programs read it."""

from __future__ import annotations

from typing import Any

from squashkit.amounts import size
from squashkit.errors import show_path
from squashkit.layers.changeset import OPAQUE
from squashkit.layers.trace import Trace
from squashkit.oci.steps import hide_arguments
from squashkit.report.listing import Listed
from squashkit.report.text import Fit, brief, shorten_step, table
from squashkit.values import frozen


@frozen
class TracesReport:
    """What layers do at all paths that a glob means."""

    glob: str
    """As it was given."""
    reports: tuple[TraceReport, ...]
    """One a path, sorted by path."""

    def __repr__(self) -> str:
        return f"<TracesReport: {brief(self.glob)}, {len(self.reports):,} paths>"

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {"glob": self.glob, "paths": [report.json() for report in self.reports]}

    def lines(self) -> list[str]:
        """The tables of all paths."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        parts = [["", *report.fitted(width)] for report in self.reports]
        return [line for part in parts for line in part][1:]


@frozen
class TraceReport:
    """A path and what layers do there, base first."""

    path: bytes
    """Without the `/` at its beginning."""
    there: bool
    """Whether the root file system has the path."""
    traces: tuple[Trace, ...]
    """A copy or a marker each, base first."""
    created_by: tuple[str, ...]
    """The step that made each layer of the image."""

    def __repr__(self) -> str:
        state = "shown" if self.there else "not shown"
        path = brief("/" + show_path(self.path))
        return f"<TraceReport: {path}, {state}, {len(self.traces):,} copies and markers>"

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "path": "/" + show_path(self.path),
            "shown": self.there,
            "layers": [
                {
                    "layer": trace.layer,
                    "created_by": hide_arguments(self.created_by[trace.layer]),
                    "name": "/" + show_path(trace.path),
                    "entry": Listed.of_entry(trace.entry.path, trace.entry).json() if trace.entry else None,
                    "shown": trace.shown,
                    "fate": trace.fate,
                }
                for trace in self.traces
            ],
        }

    def lines(self) -> list[str]:
        """A table with a line for each copy and each marker."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        rows = []
        for trace in self.traces:
            listed = Listed.of_entry(trace.entry.path, trace.entry) if trace.entry else None
            marker = "opaque marker" if trace.path.endswith(OPAQUE) else "whiteout"
            rows.append(
                [
                    str(trace.layer),
                    listed.kind if listed else marker,
                    size(listed.size) if listed and listed.kind == "file" else "",
                    trace.fate,
                    shorten_step(self.created_by[trace.layer], 44),
                ]
            )
        head = ["layer", "what", "size", "fate", "created by"]
        state = "" if self.there else "  (not in the root file system)"
        if self.there and not any(trace.shown for trace in self.traces):
            state = "  (a directory that no layer lists)"
        title = f"/{show_path(self.path)}{state}"
        fit = Fit(width, shorten=[4], wrap=[3])
        return [title, "", *table(head, rows, right={0, 2}, fit=fit)] if rows else [title]
