"""Which files of a scanned fleet stand in its layers more than once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from squashkit.arguments import checked
from squashkit.errors import UsageError
from squashkit.options import Run
from squashkit.report.fleet.duplicates import Content, DuplicatesReport
from squashkit.transports.tables.folder import ScanFolder
from squashkit.transports.tables.query import open_tables
from squashkit.transports.tables.schema import digest_text

_FILES = """SELECT digest, any_value(size) AS size, count(*) AS copies, count(DISTINCT diff_id) AS layers,
    min(path) AS path
    FROM entries WHERE type = 'file' AND diff_id IN (SELECT diff_id FROM image_layers) GROUP BY digest"""
_SUMS = f"""SELECT coalesce(sum(copies), 0)::BIGINT, coalesce(sum(size * copies), 0)::BIGINT, count(*),
    coalesce(sum(size), 0)::BIGINT, count(*) FILTER (copies > 1 AND size > 0) FROM ({_FILES})"""
_MOST = f"""WITH most AS (SELECT * FROM ({_FILES}) WHERE copies > 1 AND size > 0
        ORDER BY size * (copies - 1) DESC, digest LIMIT ?),
    held AS (SELECT digest, count(DISTINCT image) AS images FROM (
        SELECT DISTINCT digest, diff_id FROM entries WHERE digest IN (SELECT digest FROM most))
        JOIN (SELECT DISTINCT image, diff_id FROM image_layers) USING (diff_id) GROUP BY digest)
    SELECT digest, size, copies, layers, images, path FROM most JOIN held USING (digest)
    ORDER BY size * (copies - 1) DESC, digest"""
_UNREAD = """SELECT count(DISTINCT diff_id) FROM image_layers
    WHERE diff_id NOT IN (SELECT diff_id FROM layers WHERE error IS NULL)"""


@checked
def fleet_duplicates(scan: Path | str, *, limit: int = 20, run: Run = Run()) -> DuplicatesReport:
    """Which files stand in the different layers of a scan's images more than once, and the bytes of that.

    `limit` is how many contents are listed. Raises TransportError where there is no scan, InvalidImage
    where a file of it is broken.
    """
    if limit < 0:
        raise UsageError(f"limit: {limit} is less than none")
    with open_tables(ScanFolder.open(Path(scan)), run.jobs) as tables:
        sums: Any
        (sums,) = tables.ask(_SUMS)
        files, size, contents, content_size, repeated = sums
        rows: Any = tables.ask(_MOST, [limit])
        listed = tuple(Content(digest_text(digest), *rest) for digest, *rest in rows)
        return DuplicatesReport(
            files, size, contents, content_size, listed, repeated, tables.number(_UNREAD)
        )
