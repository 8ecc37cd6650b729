"""`squashkit squash`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from squashkit.cli import complete
from squashkit.cli.help import HISTORY, KEEP, LEAVE_OUT, MERGING, NAMES, Command, option
from squashkit.cli.shared import leave_out_options, parsed
from squashkit.cli.writing import (
    WriteReport,
    Writing,
    created_from_environment,
    recipe_option,
    writing_options,
)
from squashkit.jobs.squash import squash as squash_one
from squashkit.jobs.squash import squash_platforms
from squashkit.oci.documents import ALL
from squashkit.options import History, Keep, Merge, MinSaving, parse_created
from squashkit.progress import Notify, Progress


@click.command(
    cls=Command,
    short_help="Merge the layers of an image above its base.",
    epilog="""\b
Examples:
  squashkit squash app.tar --keep-base fedora:28 -t app:new -o new.tar
  docker save app | squashkit squash --keep-layers 1 -t app:new | docker load
  squashkit squash app.tar --segments =2,3,=1 --dry-run
  squashkit squash oci:images:app --keep-layers 3 -o oci:images:app-squashed
  squashkit squash app.tar --keep-layers 1 --drop-caches all -t app:new -o new.tar
  squashkit squash oci:images:app --keep-layers 1 --platform all -o oci:images:app-squashed
  squashkit squash app:latest --keep-base fedora:28 -t app:squashed
  squashkit squash docker://registry.example/app:1 --keep-base docker://registry.example/fedora:28 -o docker://registry.example/app:1-squashed
""",
)
@click.argument("image", shell_complete=complete.images, required=False)
@option(
    "--keep-base",
    section=KEEP,
    metavar="REF",
    shell_complete=complete.bases,
    help="Keep the layers of this base, by name, path or digest. A name is that of an image in the"
    " same archive, or a reference.",
)
@option("--keep-layers", section=KEEP, type=int, metavar="N", help="Keep N layers, counted from the base.")
@option(
    "--from-step",
    section=KEEP,
    metavar="TEXT",
    help="Squash from the one step whose command has TEXT.",
)
@option("--all", "squash_all", section=KEEP, is_flag=True, help="Squash all layers into one.")
@option(
    "--segments",
    section=KEEP,
    metavar="RUNS",
    help="Cut the layers into runs, as in =2,3,=1, base first. Those with = are kept, each other"
    " becomes one layer.",
)
@leave_out_options(LEAVE_OUT, "Leave out")
@option(
    "--also-base",
    section=LEAVE_OUT,
    is_flag=True,
    help="Hide by whiteouts what the base has of it, too. That saves nothing.",
)
@option(
    "--min-saving",
    section=NAMES,
    metavar="AMOUNT",
    callback=parsed(MinSaving.parse),
    help="Write the image unchanged unless this much is saved. A share of the squashed layers'"
    " stored bytes (5%) or a size (10MB).",
)
@option(
    "--whiteouts",
    section=MERGING,
    type=click.Choice(["explicit", "opaque"]),
    default="explicit",
    show_default=True,
    help="How a directory that was removed and made again hides what it had.",
)
@option(
    "--symlink-parents",
    section=MERGING,
    type=click.Choice(["overlay", "follow"]),
    default="overlay",
    show_default=True,
    help="Which a path through a lower layer's symlink means. A directory in the symlink's place,"
    " as overlay file systems have it, or what the symlink leads to.",
)
@option(
    "--blind",
    section=MERGING,
    is_flag=True,
    help="Go on where layers below are needed and not available. The result is not guaranteed.",
)
@option(
    "--history",
    section=HISTORY,
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="What becomes of the squashed layers' history entries.",
)
@option("--message", section=HISTORY, metavar="TEXT", help="A comment for the new layer's history entry.")
@option(
    "--created",
    section=HISTORY,
    metavar="TIME",
    callback=parsed(parse_created),
    help="The result's creation time (RFC 3339). Default: SOURCE_DATE_EPOCH, else the source's.",
)
@recipe_option
@writing_options
def squash(
    image: str | None,
    keep_base: str | None,
    keep_layers: int | None,
    from_step: str | None,
    squash_all: bool,
    segments: str | None,
    min_saving: MinSaving | None,
    whiteouts: Any,
    symlink_parents: Any,
    blind: bool,
    history: str,
    message: str | None,
    created: str | None,
    drop_caches: tuple[str, ...],
    exclude: tuple[str, ...],
    also_base: bool,
    recipe: Path | None,
    writing: Writing,
) -> None:
    """Merge the layers of IMAGE above its base into one, and write the result. The base's layers stay byte
    for byte as they are, so that images go on sharing them; the root file system of the result is exactly
    the source's, but for what you leave out, or nothing is written.

    IMAGE is a path to an archive or an OCI layout, - for standard input (the default where that is no
    terminal), docker-archive:PATH[:REF], oci-archive:PATH[:REF], oci:DIR[:REF], docker-daemon:NAME,
    containers-storage:NAME or docker://HOST/NAME; a bare name that is no path is the docker daemon's.
    """

    def work(image: str, output: str | None, progress: Progress, notify: Notify) -> WriteReport:
        run = squash_platforms if writing.platform == ALL else squash_one
        return run(
            image,
            output,
            keep=Keep(keep_base, keep_layers, from_step, squash_all, segments),
            merge=Merge(whiteouts, symlink_parents, blind, drop_caches, exclude, also_base),
            history=History(created or created_from_environment(), message, history == "drop"),
            read=writing.reading,
            write=writing.write(min_saving, recipe),
            run=writing.resources,
            progress=progress,
            notify=notify,
        )

    writing.run(image, (keep_base,), work, recipe)
