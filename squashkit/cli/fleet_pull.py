"""`squashkit fleet pull` and `squashkit fleet freed`: what images move and hold, by manifests alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO

import click

from squashkit.cli import complete
from squashkit.cli.fleet_scan import exclude_option, platform_option, references_of
from squashkit.cli.help import Command, option
from squashkit.cli.shared import (
    access_options,
    debug_option,
    jobs_option,
    json_option,
    listed_option,
    show_report,
)
from squashkit.jobs.fleet.freed import fleet_freed
from squashkit.jobs.fleet.pull import fleet_pull
from squashkit.oci.documents import Platform
from squashkit.options import Access, FleetOptions, Run
from squashkit.progress import shown


@click.command(
    cls=Command,
    short_help="What hosts download for images.",
    epilog="""\b
Examples:
  squashkit fleet pull docker://registry.example/team/app:2 --have docker://registry.example/team/app:1
  squashkit fleet pull docker://registry.example/team/ --have docker://registry.example/base:12 --json
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@option(
    "--have",
    multiple=True,
    metavar="REF",
    shell_complete=complete.images,
    help="An image that the host has, or several, as IMAGE means them. Any number of times.",
)
@listed_option
@exclude_option
@platform_option
@access_options
@jobs_option("Threads")
@json_option("the report")
@debug_option
def pull(
    images: Sequence[str],
    have: tuple[str, ...],
    listed: Sequence[IO[bytes]],
    exclude: tuple[str, ...],
    platform: Platform | None,
    access: Access,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Tell for each IMAGE how many bytes of layers a host downloads that has the images of --have: by
    chain, as docker does with its own storage, which knows a layer by all that lies below it, too; and by
    blob, as containerd does. No layer is read.
    """
    references = references_of(images, listed)
    fleet = FleetOptions(platform=platform, exclude=exclude)
    run = Run(jobs or os.cpu_count() or 1, None, None, access)
    with shown() as progress:
        report = fleet_pull(references, have=have, fleet=fleet, run=run, progress=progress)
    show_report(report, as_json=as_json)


@click.command(
    cls=Command,
    short_help="What deleting tags or repositories would free.",
    epilog="""\b
Examples:
  squashkit fleet freed docker://registry.example/team/
  squashkit fleet freed docker://registry.example/ --tag '*/app:1.*' --tag '*/old' --json
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@option(
    "--tag",
    "tags",
    multiple=True,
    metavar="GLOB",
    help="Tell of the tags of such names, with the tag or without, what all of them together would free;"
    " * stands for slashes, too. Any number of times.",
)
@listed_option
@platform_option
@access_options
@jobs_option("Threads")
@json_option("the report")
@debug_option
def freed(
    images: Sequence[str],
    tags: tuple[str, ...],
    listed: Sequence[IO[bytes]],
    platform: Platform | None,
    access: Access,
    jobs: int | None,
    as_json: bool,
) -> None:
    """Tell for each tag and repository of the IMAGEs how many bytes of layers, configs and manifests
    nothing else of them holds: what a registry would have room for again if that alone were deleted, and
    its garbage collected. Nothing is deleted. Of an index in a registry all platforms count. Only manifests
    are read.
    """
    references = references_of(images, listed)
    fleet = FleetOptions(platform=platform)
    run = Run(jobs or os.cpu_count() or 1, None, None, access)
    with shown() as progress:
        report = fleet_freed(references, tags=tags, fleet=fleet, run=run, progress=progress)
    show_report(report, as_json=as_json)
