"""`squashkit fleet scan`, and what answers from it: `sql`, `duplicates`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import click

from squashkit.cli import complete
from squashkit.cli.help import READING, REGISTRIES, Command, option
from squashkit.cli.output import send_text, terminal_width, written
from squashkit.cli.shared import (
    access_options,
    check_forms,
    debug_option,
    jobs_option,
    json_option,
    listed_option,
    max_size_option,
    parsed,
    read_list,
    show_report,
    tmp_dir_option,
)
from squashkit.errors import UsageError, show_text
from squashkit.jobs.fleet.scan.duplicates import fleet_duplicates
from squashkit.jobs.fleet.scan.scan import scan_fleet
from squashkit.jobs.fleet.scan.sql import answering
from squashkit.jobs.fleet.scan.where import scan_at
from squashkit.oci.documents import Platform
from squashkit.options import (
    Access,
    FleetOptions,
    Limits,
    Run,
    Spread,
    parse_rate,
    parse_scheduler,
    parse_shard,
)
from squashkit.progress import shown


def references_of(images: Sequence[str], listed: Sequence[IO[bytes]]) -> list[str]:
    """The references of a fleet, those of files included. Raises UsageError where there are none."""
    references = [*images, *(one for file in listed for one in read_list(file))]
    if not references:
        empty = f"{listed[0].name} names none" if listed else "none was given"
        raise UsageError(f"a fleet needs images, and {empty}; name some, or --from FILE")
    return references


platform_option = option(
    "--platform",
    section=READING,
    metavar="OS/ARCH",
    callback=parsed(Platform.parse),
    shell_complete=complete.one_platform,
    help="The platform to take from indexes. Default: this machine's.",
)
exclude_option = option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Leave out images of such a name, with its tag or without; * stands for slashes, too. Any number"
    " of times.",
)


@click.command(
    cls=Command,
    short_help="Read every layer of a fleet once, into tables.",
    epilog="""\b
Examples:
  squashkit fleet scan docker://registry.example/team/ --into scan
  squashkit fleet scan docker://registry.example/ --into scan --shard 3/8
  squashkit fleet scan a.tar b.tar --into scan --json
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@option(
    "--into",
    required=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the scan. Layers that are there are not read again.",
)
@option(
    "--shard",
    default="1/1",
    metavar="K/N",
    callback=parsed(lambda text: (parse_shard(text), text)[1]),
    help="Read one of N parts, K from 1 to N. Each may run elsewhere, on a copy of the folder or on the"
    " same one: files have names of their own, and those of all parts are the whole.",
)
@option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Read in N processes of a Dask cluster that is made here and ends with the scan. Needs"
    " 'squashkit[cluster]'.",
)
@option(
    "--scheduler",
    metavar="ADDRESS",
    callback=parsed(parse_scheduler),
    help="Read on a Dask cluster: tls://HOST:PORT, with the certificates of Dask's configuration; tcp:// on"
    " this machine alone. What lies in registries is read there, with the workers' own credentials.",
)
@option(
    "--connections",
    section=REGISTRIES,
    type=click.IntRange(1),
    metavar="N",
    help="At most N connections to registries at a time, of all processes and workers together.",
)
@option(
    "--requests-per-second",
    section=REGISTRIES,
    metavar="R",
    callback=parsed(parse_rate),
    help="At most R requests a second, of all together: 20, 0.5. With --shard K/N each part takes one Nth"
    " of R and of --connections.",
)
@listed_option
@exclude_option
@platform_option
@access_options
@jobs_option("Processes")
@tmp_dir_option("the system's")
@max_size_option
@json_option("the report")
@debug_option
def scan(
    images: Sequence[str],
    into: Path,
    shard: str,
    workers: int | None,
    scheduler: str | None,
    connections: int | None,
    requests_per_second: float | None,
    listed: Sequence[IO[bytes]],
    exclude: tuple[str, ...],
    platform: Platform | None,
    access: Access,
    jobs: int | None,
    tmp_dir: Path | None,
    max_size: int | None,
    as_json: bool,
) -> None:
    """Read every different layer of the IMAGEs once, and write what stands in it, down to the digest of
    each file, to a folder of Parquet tables: images, image_layers, layers, entries. `fleet storage`, `fleet
    duplicates` and `fleet sql` answer from it.

    A scan that was stopped goes on where it was. A layer that cannot be read becomes a row with its error,
    which the next scan reads again; the exit code is 4 then, or 5 where its bytes did not come. Needs
    duckdb and pyarrow: pip install 'squashkit[fleet]'.
    """
    references = references_of(images, listed)
    run = Run(jobs or os.cpu_count() or 1, tmp_dir, max_size, access)
    spread = Spread(shard, workers, scheduler, Limits(connections, requests_per_second))
    try:
        with shown() as progress:
            fleet = FleetOptions(platform=platform, exclude=exclude)
            report = scan_fleet(references, into, fleet=fleet, spread=spread, run=run, progress=progress)
    except (KeyboardInterrupt, OSError):
        if scan_at(into) is not None:
            written.append(
                f"what was read is in {show_text(str(into))}, and the same scan goes on from there"
            )
        raise
    show_report(report, as_json=as_json)
    if report.exit_code:
        raise click.exceptions.Exit(report.exit_code)


@click.command(
    cls=Command,
    short_help="Ask a scan in SQL.",
    epilog="""\b
Examples:
  squashkit fleet sql scan "select type, count(*), sum(size) from entries group by type"
  squashkit fleet sql scan "from layers where error is not null" --json
  squashkit fleet sql scan "describe entries"
""",
)
@click.argument("scan", type=click.Path(path_type=Path))
@click.argument("question", metavar="SQL")
@option("--json", "as_json", is_flag=True, help="Print the rows as JSON, a list of objects.")
@option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV.")
@jobs_option("Threads")
@debug_option
def sql(scan: Path, question: str, as_json: bool, as_csv: bool, jobs: int | None) -> None:
    """Print what SQL finds in the tables of SCAN, a folder that `fleet scan` made: images, image_layers,
    layers, entries. It is DuckDB's SQL, one statement that reads; nothing is written, and no other file is
    opened. Paths and digests are BLOBs: `path = 'etc/passwd'::BLOB`, `lower(hex(digest))`.

    The table has 1,000 rows at most; --json and --csv give all. Needs duckdb and pyarrow:
    pip install 'squashkit[fleet]'.
    """
    check_forms(as_json=as_json, as_csv=as_csv)
    with answering(scan, question, run=Run(jobs or os.cpu_count() or 1)) as answer:
        if as_json or as_csv:
            send_text(answer.json_pieces() if as_json else answer.csv_pieces())
        else:
            send_text(f"{line}\n" for line in answer.fitted(terminal_width()))


@click.command(
    cls=Command,
    short_help="List the files that a scanned fleet has more than once.",
    epilog="""\b
Examples:
  squashkit fleet duplicates scan
  squashkit fleet duplicates scan --limit 100 --json
""",
)
@click.argument("scan", type=click.Path(path_type=Path))
@option(
    "--limit",
    type=click.IntRange(0, 1_000_000),
    default=20,
    show_default=True,
    metavar="N",
    help="How many to list, those that take most first.",
)
@jobs_option("Threads")
@json_option("the report")
@debug_option
def duplicates(scan: Path, limit: int, jobs: int | None, as_json: bool) -> None:
    """Tell which files stand in different layers of SCAN's images, or twice in one, with the same content,
    and how many bytes that takes. SCAN is a folder that `fleet scan` made. Bytes are those of files, before
    layers are compressed. Needs duckdb and pyarrow: pip install 'squashkit[fleet]'.
    """
    report = fleet_duplicates(scan, limit=limit, run=Run(jobs or os.cpu_count() or 1))
    show_report(report, as_json=as_json)
