"""Files of SQLite as they are written here, held against SQLite itself."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from squashkit.plan.packages.rpm.sqlite import Row, Text, read_database, write_database

PAGES = (512, 1024, 4096, 65536)


def made(path: Path, *statements: str) -> bytes:
    """A file that SQLite wrote."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    return path.read_bytes()


def some(path: Path, random: random.Random, page: int, tables: int, most: int) -> bytes:
    """Tables with values of every type and of many sizes."""
    integers = [None, 0, 1, -1, 127, 128, -129, 1 << 20, 1 << 30, -(1 << 40), 1 << 62, -(1 << 63)]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA page_size={page}")
        for table in range(tables):
            connection.execute(
                f"CREATE TABLE 't {table}' (k INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT, b BLOB, n, f REAL)"
            )
            for _ in range(random.choice([0, 1, 5, most])):
                values = (
                    "".join(random.choices("abcé", k=random.choice([0, 3, 30, 400]))),
                    random.randbytes(random.choice([0, 1, 9, 100, 5000])),
                    random.choice(integers),
                    random.choice([None, 1.5, 2.0, -3.25]),
                )
                connection.execute(f"INSERT INTO 't {table}' (a, b, n, f) VALUES (?, ?, ?, ?)", values)
            for columns in ("a", "n, b", "f"):
                connection.execute(f"CREATE INDEX '{table} {columns}' ON 't {table}'({columns})")
        connection.execute("DELETE FROM 't 0' WHERE n IS NULL")
        connection.commit()
    return path.read_bytes()


def checked(data: bytes, path: Path) -> None:
    """SQLite finds nothing wrong with a file, its indexes included."""
    path.write_bytes(data)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("tables", [1, 40])
def test_what_is_written_is_what_was_read(page: int, tables: int, tmp_path: Path) -> None:
    """The same rows and indexes; and written again the same bytes, whatever wrote them before."""
    data = some(tmp_path / "a", random.Random(page), page, tables, 2000 // tables)
    database = read_database(data)
    out = write_database(database)
    checked(out, tmp_path / "b")
    assert read_database(out).parts == database.parts
    assert write_database(read_database(out)) == out


@pytest.mark.parametrize("count", range(0, 160, 3))
def test_pages_at_every_fill(count: int, tmp_path: Path) -> None:
    """Trees of one page, of two, and of pages above pages, at each step between."""
    text = "x" * 90
    data = made(
        tmp_path / "a",
        "PRAGMA page_size=512",
        "CREATE TABLE t (k INTEGER PRIMARY KEY, a)",
        "CREATE INDEX i ON t(a)",
        *(f"INSERT INTO t VALUES ({number * 3}, '{number:03}{text}')" for number in range(count)),
    )
    out = write_database(read_database(data))
    checked(out, tmp_path / "b")
    assert read_database(out).parts == read_database(data).parts


def test_other_rows(tmp_path: Path) -> None:
    """A database with other rows has these, and the order of them in its indexes."""
    data = made(tmp_path / "a", "CREATE TABLE t (k INTEGER PRIMARY KEY, a TEXT)", "CREATE INDEX i ON t(a)")
    rows = (Row(1, (1, Text(b"b"))), Row(1 << 40, (1 << 40, Text(b"a"))))
    out = write_database(read_database(data).with_rows({"t": rows}))
    checked(out, tmp_path / "b")
    with closing(sqlite3.connect(tmp_path / "b")) as connection:
        found = connection.execute("SELECT k, a FROM t ORDER BY a").fetchall()
    assert found == [(1 << 40, "a"), (1, "b")]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE u (k TEXT PRIMARY KEY)",
        "CREATE TABLE u (k TEXT PRIMARY KEY) WITHOUT ROWID",
        "CREATE TABLE u (k, j GENERATED ALWAYS AS (k) STORED)",
        "CREATE TABLE u (rowid TEXT, k)",
        "CREATE TABLE u (k, OID)",
        "CREATE INDEX i ON t(a DESC)",
        "CREATE INDEX i ON t(a COLLATE NOCASE)",
        "CREATE INDEX i ON t(a) WHERE a > 1",
        "CREATE INDEX i ON t(a + 1)",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE TRIGGER r AFTER DELETE ON t BEGIN SELECT 1; END",
    ],
)
def test_more_than_plain_tables_is_refused(statement: str, tmp_path: Path) -> None:
    """What is not known is not written."""
    data = made(tmp_path / "a", "CREATE TABLE t (k INTEGER PRIMARY KEY, a)", statement)
    with pytest.raises(ValueError, match=r"plain one|index of its own"):
        read_database(data)


@pytest.mark.parametrize("data", [b"", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(4096)])
def test_what_sqlite_cannot_read(data: bytes) -> None:
    """It is refused."""
    with pytest.raises(ValueError, match="."):
        read_database(data)


def test_texts_in_another_encoding(tmp_path: Path) -> None:
    """They are refused: a text would be written in UTF-8."""
    data = made(tmp_path / "a", "PRAGMA encoding='UTF-16'", "CREATE TABLE t (k)")
    with pytest.raises(ValueError, match="UTF-8"):
        read_database(data)
