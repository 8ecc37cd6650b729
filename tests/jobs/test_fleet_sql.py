"""`squashkit fleet sql` and `fleet duplicates`: a scan answers, and is only read."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.builders import ImageSpec, docker_archive_25, file, layer
from tests.support.runner import Arg, Result, assert_fails, run, spawn
from tests.support.scans import contents, rows, scan, wide_fleet


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of two images."""
    folder = tmp_path_factory.mktemp("scanned")
    scan(*wide_fleet(folder, images=2, layers=3), "--into", folder / "scan")
    return folder / "scan"


def sql(folder: Path, question: str, *options: Arg) -> Result:
    return run("fleet", "sql", folder, question, *options)


def test_an_answer_is_a_table_json_or_csv(scanned: Path) -> None:
    """All with the same rows; digests in hex, paths as text, NULL as null or nothing."""
    question = (
        "select path, size, digest, link from entries where path in ('opt/same', 'base') order by all"
    )
    wanted = [
        (row["path"].decode(), row["size"], row["digest"].hex(), None)
        for row in rows(scanned, "entries")
        if row["path"] in (b"opt/same", b"base")
    ]
    found = json.loads(sql(scanned, question, "--json").out)
    assert [tuple(row.values()) for row in found] == sorted(wanted)
    assert list(found[0]) == ["path", "size", "digest", "link"]
    lines = list(csv.reader(io.StringIO(sql(scanned, question, "--csv").out.decode())))
    assert lines == [
        ["path", "size", "digest", "link"],
        *([one[0], str(one[1]), one[2], ""] for one in sorted(wanted)),
    ]
    shown = sql(scanned, question).text.splitlines()
    assert shown[0].split() == ["path", "size", "digest", "link"]
    assert [line.split() for line in shown[1:]] == [[a, str(b), c] for a, b, c, _ in sorted(wanted)]


def test_names_and_values_of_all_kinds_are_shown(scanned: Path) -> None:
    """A name that stands twice, bytes that are no text, what steers a terminal, infinity, lists."""
    question = (
        "select 1 a, 2 a, '\\xff\\x41'::blob b, chr(27) c, 'inf'::double d, [1, 2] e, true f, null g,"
        " map{'k'::blob: 'v'::blob} h, 0.5::decimal(9, 1) i, 10::hugeint * 10 j"
    )
    (row,) = json.loads(sql(scanned, question, "--json").out)
    assert row == {
        "a": 1,
        "a_1": 2,
        "b": "\\xffA",
        "c": "\x1b",
        "d": "inf",
        "e": [1, 2],
        "f": True,
        "g": None,
        "h": {"k": "v"},
        "i": 0.5,
        "j": 100,
    }
    for options in ([], ["--csv"]):
        assert "\x1b" not in sql(scanned, question, *options).out.decode()


def test_a_long_table_says_that_there_is_more(scanned: Path) -> None:
    """Its first thousand rows are shown; CSV has all."""
    question = "select range n from range(2500)"
    assert sql(scanned, question).text.splitlines()[-1].startswith("... and more")
    assert len(sql(scanned, question).text.splitlines()) == 1002
    assert len(sql(scanned, question, "--csv").out.splitlines()) == 2501


WRITES = [
    "copy entries to 'FOLDER/out.csv'",
    "with x as (copy (select 1) to 'FOLDER/out.parquet') select 1",
    "with x as (insert into layers values (1) returning *) from x",
    "explain analyze copy (select 1) to 'FOLDER/out.parquet'",
    "insert into layers select * from layers",
    "create table t as select 1",
    "drop view layers",
    "attach 'FOLDER/out.db'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "pragma enable_profiling",
    "export database 'FOLDER/out'",
    "call enable_logging()",
    "select 1; select 2",
    "",
    ";",
    "/* nothing */",
]


@pytest.mark.parametrize("question", WRITES)
def test_what_does_not_read_is_refused(question: str, scanned: Path, tmp_path: Path) -> None:
    """One line, exit code 2, and nothing is written, in the scan or beside it."""
    before = contents(scanned)
    for folder in (tmp_path, scanned):
        assert_fails(sql(scanned, question.replace("FOLDER", str(folder))), 2, "a scan is only read")
    assert contents(scanned) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "source",
    [
        "read_text('/etc/passwd')",
        "read_csv('FILE')",
        "read_parquet('SCAN/layers/*.parquet')",
        "read_parquet('https://registry.example/a.parquet')",
        "glob('/etc/*')",
        "'FILE'",
        "query('from read_blob(''FILE'')')",
        "enable_logging('QueryLog', storage = 'file')",
        "folder",
        "nothing_of_this_name",
    ],
)
def test_no_other_file_is_read(source: str, scanned: Path, tmp_path: Path) -> None:
    """Not by functions, names, addresses, nor variables of the program."""
    (tmp_path / "file.csv").write_text("secret\n1\n")
    source = source.replace("FILE", str(tmp_path / "file.csv")).replace("SCAN", str(scanned))
    done = sql(scanned, f"select * from {source}")
    assert_fails(done, 2)
    assert "secret" not in done.out.decode() + done.err


def test_mistakes_are_told_in_one_line(scanned: Path, tmp_path: Path) -> None:
    """What DuckDB says, without its drawing; where there is no scan, what makes one."""
    assert_fails(sql(scanned, "selec 1"), 2, "syntax error")
    assert_fails(sql(scanned, "select error('told')"), 2, "told")
    assert_fails(sql(scanned, "select '\udcff'"), 2, "no text")
    assert_fails(sql(scanned, "select 1", "--json", "--csv"), 2, "exclude each other")
    assert_fails(sql(tmp_path / "none", "select 1"), 5, "does not exist", "fleet scan")
    assert_fails(sql(tmp_path, "select 1"), 5, "is no scan")
    assert_fails(run("fleet", "duplicates", tmp_path), 5, "is no scan")


def test_a_broken_file_is_a_fault_of_the_scan(scanned: Path, tmp_path: Path) -> None:
    """Exit code 4, and its name."""
    copy = shutil.copytree(scanned, tmp_path / "scan")
    (copy / "entries" / "zz.parquet").write_bytes(b"junk")
    assert_fails(sql(copy, "select sum(size) from entries"), 4, "delete that file")
    assert_fails(run("fleet", "duplicates", copy), 4, "delete that file")


@pytest.mark.parametrize("how", ["of another table", "a fifo"])
def test_a_file_that_is_no_part_of_its_table(how: str, scanned: Path, tmp_path: Path) -> None:
    """Exit code 4, and its name, by every command; nothing is answered from it."""
    copy = shutil.copytree(scanned, tmp_path / "scan")
    file = next((copy / "entries").iterdir())
    file.unlink()
    if how == "a fifo":
        os.mkfifo(file)
    else:
        shutil.copy(copy / "images" / "images.parquet", file)
    for done in (sql(copy, "select count(*) from entries"), run("fleet", "storage", copy)):
        assert_fails(done, 4, "delete that file")
        assert file.name in done.err


def test_numbers_keep_their_digits(scanned: Path) -> None:
    """More of them than a float has, too."""
    question = "select 12345678901234567890.1234567891 as a, 1.50 as b, 12345678901234567890123 as c"
    row = {"a": "12345678901234567890.1234567891", "b": 1.5, "c": 12345678901234567890123}
    assert json.loads(sql(scanned, question, "--json").out) == [row]


def test_an_interrupt_is_heard(scanned: Path) -> None:
    """Also while DuckDB works on what would take hours."""
    question = "select count(*) from range(100000000000) a where hash(a.range) % 7 = 3"
    with spawn("fleet", "sql", scanned, question) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, b"interrupted" in err) == (130, True)


def test_a_layer_that_two_shards_read_counts_once(scanned: Path, tmp_path: Path) -> None:
    """As where they saw different images: whichever file is taken, all of it is."""
    folder = tmp_path / "scan"
    first, second = wide_fleet(tmp_path, images=2, layers=3)
    scan(second, "--into", tmp_path / "other")
    scan(first, second, "--into", folder)
    assert contents(folder) == contents(scanned) | contents(folder)
    for table in ("layers", "entries", "headers"):
        for path in (tmp_path / "other" / table).iterdir():
            shutil.copy(path, folder / table)
    for question in ("select count(*), sum(size) from entries", "select count(*), sum(size) from layers"):
        assert sql(folder, question).out == sql(scanned, question).out


# --- duplicates ------------------------------------------------------------------------------


def test_duplicates_are_counted_over_different_layers(tmp_path: Path) -> None:
    """In several layers and in one; a layer that two images have counts once, an empty file is none."""
    same = layer(file("a", b"x" * 700), file("empty"), file("other-empty"))
    images = [
        ImageSpec(
            [same, layer(file("b/a", b"x" * 700), file("b/c", b"x" * 700), file("own", b"o"))], ["a:1"]
        ),
        ImageSpec([same, layer(file("mine", b"m" * 10))], ["b:1"]),
    ]
    docker_archive_25(tmp_path / "a.tar", images)
    scan(tmp_path / "a.tar", "--into", tmp_path / "scan")
    found = run("fleet", "duplicates", tmp_path / "scan", "--json").json
    assert found["files"] == {"count": 7, "bytes": 3 * 700 + 11}
    assert found["contents"] == {"count": 4, "bytes": 700 + 11}
    assert (found["duplicate_bytes"], found["repeated_contents"], found["unread_layers"]) == (1400, 1, 0)
    digest = hashlib.sha256(b"x" * 700).hexdigest()
    assert found["duplicates"] == [
        {
            "digest": f"sha256:{digest}",
            "size": 700,
            "copies": 3,
            "duplicate_bytes": 1400,
            "layers": 2,
            "images": 2,
            "path": "a",
        }
    ]
    said = run("fleet", "duplicates", tmp_path / "scan", "--limit", "0").text
    assert said.splitlines()[-1] == "and 1 more content with copies"


def test_layers_that_are_not_read_are_told(tmp_path: Path) -> None:
    """A scan that is not whole says so, and one without any layer has no duplicates."""
    docker_archive_25(tmp_path / "a.tar", [ImageSpec([b"no tar" * 200], ["a:1"])])
    scan(tmp_path / "a.tar", "--into", tmp_path / "scan", code=4)
    found = run("fleet", "duplicates", tmp_path / "scan", "--json").json
    assert (found["files"]["count"], found["unread_layers"]) == (0, 1)
