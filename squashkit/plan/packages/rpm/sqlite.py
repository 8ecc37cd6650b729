"""SQLite's files, written so that the same rows give the same bytes everywhere (the form of them:
sqlite.org/fileformat2.html).

The library promises no such thing: it stamps its own version into a file, and how full it leaves the pages
is its affair. It reads them here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from squashkit.values import frozen

if TYPE_CHECKING:
    from sqlite3 import Connection

MAGIC = b"SQLite format 3\0"
_HEADER = 100
_FORMAT, _UTF_8 = 4, 1
_ROWIDS = {"rowid", "_rowid_", "oid"}


class Text(bytes):
    """A value of type TEXT."""


Value = int | float | bytes | None
"""Bytes are a BLOB, unless they are a Text."""


class Row(NamedTuple):
    """A row of a table: its rowid, and the values of its columns."""

    number: int
    values: tuple[Value, ...]


@frozen
class Table:
    """A table, and the statement that made it."""

    name: str
    sql: bytes
    alias: int | None
    """The column that is the rowid's other name."""
    rows: tuple[Row, ...]
    """By their rowids."""


@frozen
class Index:
    """The order of a table's rows by some of its columns, and the statement that made it."""

    name: str
    sql: bytes
    table: str
    columns: tuple[int, ...]


@frozen
class Database:
    """All that a file holds."""

    header: bytes
    """The 100 bytes at its start."""
    parts: tuple[Table | Index, ...]
    """In the order in which they were made."""

    @property
    def tables(self) -> dict[str, Table]:
        """By their names."""
        return {one.name: one for one in self.parts if isinstance(one, Table)}

    def with_rows(self, rows: dict[str, tuple[Row, ...]]) -> Database:
        """The same tables with other rows, by the tables' names."""
        parts = [
            replace(one, rows=rows[one.name]) if isinstance(one, Table) and one.name in rows else one
            for one in self.parts
        ]
        return Database(self.header, tuple(parts))


def read_database(data: bytes) -> Database:
    """What a file holds. Raises ValueError where SQLite cannot read it, or where it has more than plain
    tables and ascending indexes of their columns."""
    with opened(data) as connection:
        if len(data) < _HEADER or (_number(data, 44), _number(data, 56)) != (_FORMAT, _UTF_8):
            raise ValueError("not as SQLite writes a database today, in UTF-8")
        return Database(data[:_HEADER], tuple(_parts(connection)))


@contextmanager
def opened(data: bytes) -> Iterator[Connection]:
    """A file, to be asked. Raises ValueError where SQLite cannot read it, then or later."""
    import sqlite3  # few images have such a file

    # A write-ahead log that is empty is none: in memory there is no place for one.
    plain = data[:18] + b"\x01\x01" + data[20:]
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(plain)
        yield connection
    except (sqlite3.Error, UnicodeError) as error:
        raise ValueError(str(error)) from error
    finally:
        connection.close()


def _parts(connection: Connection) -> Iterator[Table | Index]:
    schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    for kind, name, table, sql in schema:
        quoted = '"' + name.replace('"', '""') + '"'
        if kind == "table":
            columns = connection.execute(f"PRAGMA table_xinfo({quoted})").fetchall()
            keys = [number for number, _, _, _, _, key, _ in columns if key]
            names = {column[1].lower() for column in columns}  # one of these would stand for the rowid
            is_plain = names.isdisjoint(_ROWIDS) and not any(hidden for *_, hidden in columns)
            if not is_plain or "WITHOUT" in sql.upper() or len(keys) > 1:
                raise ValueError(f"the table {name} is no plain one")
            connection.text_factory = Text
            selected = connection.execute(f"SELECT rowid, * FROM {quoted} ORDER BY rowid")
            rows = tuple(Row(number, tuple(values)) for number, *values in selected)
            connection.text_factory = str
            yield Table(name, sql.encode(), keys[0] if keys else None, rows)
        elif kind == "index" and sql is not None:
            columns = connection.execute(f"PRAGMA index_xinfo({quoted})").fetchall()
            numbers = tuple(number for _, number, *_ in columns[:-1])
            is_plain = all(
                number >= 0 and not down and order == "BINARY"
                for _, number, _, down, order, _ in columns[:-1]
            )
            if not is_plain or "WHERE" in sql.upper():
                raise ValueError(f"the index {name} is no plain one")
            yield Index(name, sql.encode(), table, numbers)
        else:
            raise ValueError(f"{name} is neither a table nor an index of its own")


def write_database(database: Database) -> bytes:
    """The bytes of a file that holds this. Linear in what it holds, but for sorting the indexes."""
    return _File(database.header).write(database)


_TABLE_INNER, _INDEX_INNER, _INDEX_LEAF, _TABLE_LEAF = 5, 2, 10, 13
_LEAF_HEADER, _INNER_HEADER = 8, 12
_LINK, _POINTER = 4, 2
"""Bytes of a page's number, and of a cell's offset in its page."""


class _Page(NamedTuple):
    """A page of a tree."""

    kind: int
    cells: Sequence[bytes]
    last: bytes = b""
    """Where what comes after the last key is."""


@dataclass(slots=True)
class _File:
    """A file that is being written, page after page; the first is the root of the schema."""

    header: bytes
    pages: list[bytes] = field(default_factory=lambda: [b""])
    size: int = field(init=False)
    """Bytes of a page."""
    usable: int = field(init=False)
    """Those of them that may hold something."""

    def __post_init__(self) -> None:
        (stated,) = struct.unpack_from(">H", self.header, 16)
        self.size = 65536 if stated == 1 else stated
        self.usable = self.size - self.header[20]

    def write(self, database: Database) -> bytes:
        tables, schema = database.tables, []
        for number, one in enumerate(database.parts, 1):
            root, name = self._add(b""), Text(one.name.encode())
            if isinstance(one, Table):
                self._table(root, one)
                values = Text(b"table"), name, name, root, Text(one.sql)
            else:
                self._index(root, one, tables[one.table])
                values = Text(b"index"), name, Text(one.table.encode()), root, Text(one.sql)
            schema.append(Row(number, values))
        self._table(1, Table("sqlite_schema", b"", None, tuple(schema)))
        header = bytearray(self.header)
        struct.pack_into(">III", header, 28, len(self.pages), 0, 0)  # no free pages
        struct.pack_into(">I", header, 52, 0)  # no pages that say which page is whose
        header[92:96] = header[24:28]  # the length is of this change
        return b"".join([header, self.pages[0][_HEADER:], *self.pages[1:]])

    def _table(self, root: int, table: Table) -> None:
        """Rows lie in leaves; above these are the last rowids of all but the last."""
        cells = []
        for number, values in table.rows:
            stored = [None if column == table.alias else value for column, value in enumerate(values)]
            record = _record(stored)
            cells.append(_varint(len(record)) + _varint(number) + self._local(record, self.usable - 35))
        groups = _groups(cells, self._room(root, _LEAF_HEADER), between=0)
        keys = [_varint(table.rows[some.stop - 1].number) for some in groups[:-1]]
        self._grow(root, [_Page(_TABLE_LEAF, cells[some]) for some in groups], keys, _TABLE_INNER)

    def _index(self, root: int, index: Index, table: Table) -> None:
        """Entries lie in leaves, and one between each two leaves above them."""
        entries = [[*(row.values[column] for column in index.columns), row.number] for row in table.rows]
        entries.sort(key=lambda values: [*map(_rank, values)])
        most = (self.usable - 12) * 64 // 255 - 23
        records = map(_record, entries)
        cells = [_varint(len(record)) + self._local(record, most) for record in records]
        groups = _groups(cells, self._room(root, _LEAF_HEADER), between=1)
        keys = [cells[some.stop] for some in groups[:-1]]
        self._grow(root, [_Page(_INDEX_LEAF, cells[some]) for some in groups], keys, _INDEX_INNER)

    def _grow(self, root: int, pages: list[_Page], keys: list[bytes], kind: int) -> None:
        """Put a tree's pages, with a key between each two, below pages of keys, until one is left: the
        root."""
        while len(pages) > 1:
            links = [struct.pack(">I", self._add(self._bytes(page))) for page in pages]
            cells = [link + key for link, key in zip(links, keys, strict=False)]
            groups = _groups(cells, self._room(root, _INNER_HEADER), between=1)
            pages = [_Page(kind, cells[some], links[some.stop]) for some in groups]
            keys = [keys[some.stop] for some in groups[:-1]]
        self.pages[root - 1] = self._bytes(pages[0], _HEADER * (root == 1))

    def _room(self, root: int, header: int) -> int:
        """Bytes of a page for cells, in the tree with this root: that of the first page has less."""
        return self.usable - header - _HEADER * (root == 1)

    def _bytes(self, page: _Page, start: int = 0) -> bytes:
        """A page: what it is, where its cells are, and from its end on these."""
        offsets, end = [], self.usable
        for cell in page.cells:
            end -= len(cell)
            offsets.append(end)
        head = struct.pack(">BHHHB", page.kind, 0, len(offsets), end & 0xFFFF, 0)
        head = bytes(start) + head + page.last + struct.pack(f">{len(offsets)}H", *offsets)
        return (head.ljust(end, b"\0") + b"".join(reversed(page.cells))).ljust(self.size, b"\0")

    def _add(self, page: bytes) -> int:
        """Add a page; its number."""
        self.pages.append(page)
        return len(self.pages)

    def _local(self, record: bytes, most: int) -> bytes:
        """What of a record lies in its cell: all, or its beginning and where the rest is."""
        if len(record) <= most:
            return record
        least, each = (self.usable - 12) * 32 // 255 - 23, self.usable - _LINK
        fitting = least + (len(record) - least) % each
        local = fitting if fitting <= most else least
        first = len(self.pages) + 1
        rest = [record[at : at + each] for at in range(local, len(record), each)]
        for number, part in enumerate(rest, 1):
            following = first + number if number < len(rest) else 0
            self._add((struct.pack(">I", following) + part).ljust(self.size, b"\0"))
        return record[:local] + struct.pack(">I", first)


def _groups(cells: Sequence[bytes], room: int, *, between: int) -> list[slice]:
    """Which cells lie together in a page with room for so many bytes; so many cells stand between two
    pages."""
    groups, start, used = [], 0, 0
    for number, cell in enumerate(cells):
        size = len(cell) + _POINTER
        if number < start:
            continue
        if used + size > room:
            groups.append(slice(start, number))
            start, used = number + between, 0
            if between:
                continue
        used += size
    if between and groups and start == len(cells):  # nothing came after the one between
        groups[-1] = slice(groups[-1].start, groups[-1].stop - 1)
        start -= 1
    return [*groups, slice(start, len(cells))]


def _record(values: Iterable[Value]) -> bytes:
    types, parts = b"", []
    for value in values:
        if value is None:
            kind, part = 0, b""
        elif isinstance(value, bytes):
            kind, part = 2 * len(value) + 12 + isinstance(value, Text), bytes(value)
        elif isinstance(value, float):
            kind, part = 7, struct.pack(">d", value)
        elif value in (0, 1):
            kind, part = 8 + value, b""
        else:
            kind, size = next(
                (kind, size)
                for kind, size in _INTEGERS
                if -(1 << 8 * size - 1) <= value < 1 << 8 * size - 1
            )
            part = value.to_bytes(size, "big", signed=True)
        types += _varint(kind)
        parts.append(part)
    size = len(types) + 1
    while len(_varint(size)) + len(types) != size:
        size += 1
    return b"".join([_varint(size), types, *parts])


_INTEGERS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 6), (6, 8))
"""Types of integers, and their bytes."""


def _varint(value: int) -> bytes:
    """A number in groups of seven bits, the upper ones first; the ninth byte has eight."""
    value &= (1 << 64) - 1
    parts = []
    if value >> 56:
        parts.append(value & 0xFF)
        value = value >> 8
        parts += [0x80 | value >> shift & 0x7F for shift in range(0, 56, 7)]
        return bytes(reversed(parts))
    parts.append(value & 0x7F)
    while value := value >> 7:
        parts.append(0x80 | value & 0x7F)
    return bytes(reversed(parts))


def _rank(value: Value) -> tuple[int, int | float | bytes]:
    """The order of values: nothing, numbers, texts, then bytes."""
    if value is None:
        return 0, 0
    if isinstance(value, bytes):
        return (2 if isinstance(value, Text) else 3), bytes(value)
    return 1, value


def _number(data: bytes, at: int) -> int:
    (value,) = struct.unpack_from(">I", data, at)
    return int(value)
