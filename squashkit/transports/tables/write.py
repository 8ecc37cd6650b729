"""Tables to Parquet, by pyarrow. The same rows give the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from squashkit.errors import UsageError
from squashkit.transports.tables.schema import BLOB, BLOBS, BOOLEAN, INTEGER, TABLES, TEXT, Row

MISSING = "scans need duckdb and pyarrow: pip install 'squashkit[fleet]'"
_ROWS = 1 << 20
"""Rows of a row group: what a reader takes in at once."""


class TableWriter:
    """One file of one table, put together row by row."""

    def __init__(self, table: str) -> None:
        self._arrow = arrow()
        self._schema = arrow_schema(table)
        self._batches: list[Any] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Take in rows, which are packed at once: a layer may have a million of them."""
        if not rows:
            return
        arrays = [
            self._arrow.array(values, type=field.type)
            for values, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._batches.append(self._arrow.record_batch(arrays, schema=self._schema))

    def data(self) -> bytes:
        """The file, with the rows that were taken in."""
        sink = self._arrow.BufferOutputStream()
        table = self._arrow.Table.from_batches(self._batches, schema=self._schema)
        import_module("pyarrow.parquet").write_table(
            table, sink, compression="zstd", row_group_size=_ROWS, store_schema=False
        )
        return bytes(sink.getvalue())


def table_file(table: str, rows: Iterable[Row]) -> bytes:
    """One file of a table, with all of its rows."""
    writer = TableWriter(table)
    writer.add(list(rows))
    return writer.data()


def arrow() -> Any:
    """pyarrow. Raises UsageError where it is not installed."""
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError as error:
        raise UsageError(MISSING) from error


def arrow_schema(table: str) -> Any:
    """A table's columns as pyarrow has them."""
    library = arrow()
    types = {
        BLOB: library.binary(),
        TEXT: library.string(),
        INTEGER: library.int64(),
        BOOLEAN: library.bool_(),
        BLOBS: library.map_(library.binary(), library.binary()),
    }
    return library.schema([(column.name, types[column.type]) for column in TABLES[table]])
