"""Questions to a scan's tables, put by DuckDB. pyarrow reads the files: DuckDB itself opens none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Any

from squashkit.errors import InvalidImage, UsageError, show_text
from squashkit.transports.tables.folder import ScanFolder
from squashkit.transports.tables.schema import BATCH, ENTRIES, HEADERS, LAYERS, TABLES, Row
from squashkit.transports.tables.write import MISSING, arrow, arrow_schema
from squashkit.values import frozen

_AT_ONCE = 4096
"""Rows that are taken from DuckDB together."""
_READS_ONLY = "a scan is only read, by one statement: select, with, from, describe or summarize"


@frozen
class Answer:
    """What a question gave: the columns' names, and the rows as they are asked for."""

    columns: Sequence[str]
    rows: Iterator[Row]


@frozen
class Tables:
    """A scan's tables, open to be read. Every layer stands in them once. One question at a time."""

    folder: ScanFolder
    _connection: Any

    def ask(self, question: str, values: Sequence[object] = ()) -> Iterator[Row]:
        """What SQL of our own finds. Raises InvalidImage where a file of the scan is broken."""
        with _told(self.folder):
            found = self._do(lambda: self._connection.execute(question, list(values)))
            while rows := self._do(lambda: found.fetchmany(_AT_ONCE)):
                yield from rows

    def number(self, question: str) -> int:
        """The one number that SQL of our own finds; 0 for none."""
        ((value,),) = self.ask(question)
        assert value is None or isinstance(value, int)
        return value or 0

    def answer(self, question: str) -> Answer:
        """What a person's SQL finds. Raises UsageError where it is not one statement that reads, and for
        what DuckDB cannot make sense of."""
        if not question.isascii() and question != question.encode("utf-8", "replace").decode():
            raise UsageError("the question is no text: it has bytes that are not UTF-8")
        with _refused(self.folder):
            self._refuse_writing(question)
            found = self._do(lambda: self._connection.execute(question))
            columns = [column[0] for column in found.description or ()]
        return Answer(columns, self._rows(found))

    def _rows(self, found: Any) -> Iterator[Row]:
        while True:
            with _refused(self.folder):
                rows = self._do(lambda: found.fetchmany(_AT_ONCE))
            if not rows:
                return
            yield from rows

    def _do(self, call: Callable[[], Any]) -> Any:
        """Have DuckDB do something in another thread: in this one Ctrl-C would not be heard meanwhile."""
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(call)
            try:
                while not wait([future], timeout=0.2).done:
                    pass
            except BaseException:
                self._connection.interrupt()
                raise
            return future.result()

    def _refuse_writing(self, question: str) -> None:
        """What only reads is a SELECT to DuckDB; but one may have a COPY or INSERT in its WITH."""
        statements = self._connection.extract_statements(question)
        if len(statements) != 1 or statements[0].type != _duckdb().StatementType.SELECT:
            raise UsageError(_READS_ONLY)
        ((parsed,),) = self._connection.execute("SELECT json_serialize_sql(?)", [question]).fetchall()
        if not _only_reads(json.loads(parsed)):
            raise UsageError(_READS_ONLY)


def _only_reads(parsed: object) -> bool:
    """Whether a statement has no part that writes, as DuckDB has understood it."""
    todo = [parsed]
    while todo:
        one = todo.pop()
        if isinstance(one, dict):
            if str(one.get("type")).endswith("_QUERY_NODE"):
                return False
            todo += one.values()
        elif isinstance(one, list):
            todo += one
    return True


def check_installed() -> None:
    """Raises UsageError where what scans need is not installed."""
    arrow()
    _duckdb()


@contextmanager
def open_tables(folder: ScanFolder, jobs: int) -> Iterator[Tables]:
    """Open a scan's tables; DuckDB works in so many threads. Raises UsageError where it is not installed,
    InvalidImage where a file of the scan is broken."""
    duckdb = _duckdb()
    # What does not fit into memory goes there, and not into the folder in which a person works.
    with TemporaryDirectory(prefix="squashkit-") as spill, duckdb.connect(":memory:") as connection:
        connection.execute(f"SET threads = {jobs}")
        connection.execute(f"SET temp_directory = {_quoted(spill)}")
        connection.execute("SET python_enable_replacements = false")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        with _told(folder):
            _make_views(folder, connection)
        yield Tables(folder, connection)


def _make_views(folder: ScanFolder, connection: Any) -> None:
    """A view for each table, in which every layer stands once.

    Shards that saw different images may have read the same layer, and a run that was killed may have left
    the entries of a batch without its layers: of what stands there twice one part counts, a good one.
    """
    for table in TABLES:
        connection.register(f"all_{table}", _dataset(folder, table))
    is_plain = folder.names(LAYERS) == folder.names(ENTRIES) == folder.names(HEADERS)
    twice = f"SELECT count(*) - count(DISTINCT diff_id) FROM all_{LAYERS}"
    is_plain = is_plain and not connection.execute(twice).fetchone()[0]
    for table, columns in TABLES.items():
        listed = ", ".join(column.name for column in columns if column != BATCH)
        only = "" if is_plain or BATCH not in columns else _CHOSEN
        connection.execute(f"CREATE TEMP VIEW {table} AS SELECT {listed} FROM all_{table} {only}")


_CHOSEN = f"""WHERE (diff_id, batch) IN (
    SELECT diff_id, arg_min(batch, (error IS NOT NULL, batch)) FROM all_{LAYERS} GROUP BY diff_id)"""


def _dataset(folder: ScanFolder, table: str) -> Any:
    """All files of a table. Those that are not whole are hidden, and left out. Raises InvalidImage for a
    file of another table: where columns lack pyarrow would find nothing in them."""
    arrow()
    schema, files = arrow_schema(table), [os.fspath(path) for path in folder.files(table)]
    try:
        dataset = import_module("pyarrow.dataset").dataset(files, schema=schema, format="parquet")
        for one in dataset.get_fragments():
            if one.physical_schema.names != schema.names:
                raise InvalidImage(
                    f"{show_text(one.path)} has no columns of {table}; delete that file, and scan again",
                    where=str(folder),
                )
    except OSError as error:
        raise _broken(folder, error) from error
    return dataset


@contextmanager
def _told(folder: ScanFolder) -> Iterator[None]:
    """Errors of DuckDB and pyarrow inside are those of a scan whose files are broken."""
    try:
        yield
    except (_duckdb().Error, arrow().ArrowException) as error:
        raise _broken(folder, error) from error


@contextmanager
def _refused(folder: ScanFolder) -> Iterator[None]:
    """Errors of DuckDB inside are those of a question that a person asked, unless a file is broken."""
    try:
        yield
    except (_duckdb().Error, arrow().ArrowException) as error:
        raise (_broken(folder, error) if _READING in str(error) else UsageError(_line(error))) from error


_READING = "reading the stream registered as"
"""What DuckDB says where pyarrow cannot read a file."""


def _broken(folder: ScanFolder, error: Exception) -> InvalidImage:
    return InvalidImage(f"{_line(error)}; delete that file, and scan again", where=str(folder))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _line(error: Exception) -> str:
    """What DuckDB says, in one line, without the marks below a line of the question."""
    return show_text(" ".join(str(error).partition("\nLINE ")[0].split())[:500])


def _duckdb() -> Any:
    """duckdb. Raises UsageError where it is not installed."""
    try:
        return import_module("duckdb")
    except ImportError as error:
        raise UsageError(MISSING) from error
