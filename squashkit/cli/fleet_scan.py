"""`squashkit fleet scan`: a fleet read once into tables, by one machine or by many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import click

from squashkit.cli import complete
from squashkit.cli.help import READING, RESOURCES, Command, option
from squashkit.cli.output import written
from squashkit.cli.shared import (
    access_options,
    debug_option,
    json_option,
    listed_option,
    max_size_option,
    parsed,
    read_list,
    show_report,
    tmp_dir_option,
)
from squashkit.errors import UsageError, show_text
from squashkit.jobs.fleet.scan.scan import scan_fleet
from squashkit.jobs.fleet.scan.where import scan_at
from squashkit.oci.documents import Platform
from squashkit.options import Access, Run, parse_shard
from squashkit.progress import shown


def references_of(images: Sequence[str], listed: Sequence[IO[bytes]]) -> list[str]:
    """The references of a fleet, those of files included. Raises UsageError where there are none."""
    references = [*images, *(one for file in listed for one in read_list(file))]
    if not references:
        empty = f"{listed[0].name} names none" if listed else "none was given"
        raise UsageError(f"a fleet needs images, and {empty}; name some, or --from FILE")
    return references


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
@listed_option
@option(
    "--platform",
    section=READING,
    metavar="OS/ARCH",
    callback=parsed(Platform.parse),
    shell_complete=complete.one_platform,
    help="The platform to take from indexes. Default: this machine's.",
)
@access_options
@option(
    "--jobs",
    section=RESOURCES,
    type=click.IntRange(1, 64),
    metavar="N",
    help="Processes. Default: one a processor.",
)
@tmp_dir_option("the system's")
@max_size_option
@json_option("the report")
@debug_option
def scan(
    images: Sequence[str],
    into: Path,
    shard: str,
    listed: Sequence[IO[bytes]],
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
    try:
        with shown() as progress:
            wanted = str(platform) if platform is not None else None
            report = scan_fleet(references, into, platform=wanted, shard=shard, run=run, progress=progress)
    except (KeyboardInterrupt, OSError):
        if scan_at(into) is not None:
            written.append(
                f"what was read is in {show_text(str(into))}, and the same scan goes on from there"
            )
        raise
    show_report(report, as_json=as_json)
    if report.exit_code:
        raise click.exceptions.Exit(report.exit_code)
