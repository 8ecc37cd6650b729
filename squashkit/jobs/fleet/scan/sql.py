"""A person's own questions to a scan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from squashkit.arguments import checked
from squashkit.options import Run
from squashkit.report.fleet.answer import SqlAnswer
from squashkit.transports.tables.folder import ScanFolder
from squashkit.transports.tables.query import open_tables


@checked
def fleet_sql(scan: Path | str, question: str, *, run: Run = Run()) -> SqlAnswer:
    """What SQL finds in the tables of a scan. DuckDB reads these, and nothing else.

    Raises UsageError where the question is not one statement that reads, or DuckDB cannot make sense of it,
    TransportError where there is no scan, InvalidImage where a file of it is broken.
    """
    with answering(scan, question, run=run) as answer:
        return replace(answer, rows=tuple(answer.rows))


@contextmanager
def answering(scan: Path | str, question: str, *, run: Run) -> Iterator[SqlAnswer]:
    """The same, whose rows come while they are asked for."""
    with open_tables(ScanFolder.open(Path(scan)), run.jobs) as tables:
        found = tables.answer(question)
        yield SqlAnswer(tuple(found.columns), found.rows)
