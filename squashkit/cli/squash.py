"""`squashkit squash`."""

from __future__ import annotations

from typing import Any

import click

from squashkit.cli.shared import parsed
from squashkit.cli.writing import Writing, Written, created_from_environment, writing_options
from squashkit.jobs.squash import squash as squash_one
from squashkit.jobs.squash import squash_platforms
from squashkit.oci.documents import ALL
from squashkit.options import History, Keep, Merge, MinSaving, parse_created
from squashkit.progress import Notify, Progress


@click.command(
    short_help="Merge the layers of an image above its base.",
    epilog="""\b
Examples:
  squashkit squash app.tar --keep-base fedora:28 -t app:squashed -o squashed.tar
  docker save app fedora:28 | squashkit squash --keep-base fedora:28 -t app:squashed | docker load
  squashkit squash oci:images:app --keep-layers 3 -o oci:images:app-squashed
  squashkit squash app.tar --segments =2,3,=1 --dry-run
  squashkit squash oci:images:app --keep-layers 1 --platform all -o oci:images:app-squashed
  squashkit squash app:latest --keep-base fedora:28 -t app:squashed
  squashkit squash docker://registry.example/app:1 --keep-base docker://registry.example/fedora:28 -o docker://registry.example/app:1-squashed
""",
)
@click.argument("image", required=False)
@click.option(
    "--keep-base",
    metavar="REF",
    help="Keep the layers of this base: an image in the same archive, a path or reference, or a digest.",
)
@click.option("--keep-layers", type=int, metavar="N", help="Keep N layers, counted from the base.")
@click.option("--from-step", metavar="TEXT", help="Squash from the one step whose command contains TEXT.")
@click.option("--all", "squash_all", is_flag=True, help="Squash all layers into one.")
@click.option(
    "--segments",
    metavar="RUNS",
    help="Partition the layers into runs, base first, as in =2,3,=1: those with = are kept, each other"
    " becomes one layer.",
)
@click.option(
    "--min-saving",
    metavar="AMOUNT",
    callback=parsed(MinSaving.parse),
    help="Write the image unchanged unless squashing saves this much: a share of the squashed layers'"
    " stored bytes (5%) or a size (10MB).",
)
@click.option(
    "--whiteouts",
    type=click.Choice(["explicit", "opaque"]),
    default="explicit",
    show_default=True,
    help="How a directory that was removed and made again hides what it had.",
)
@click.option(
    "--symlink-parents",
    type=click.Choice(["overlay", "follow"]),
    default="overlay",
    show_default=True,
    help="A path through a lower layer's symlink: replace the symlink by a directory, as overlay file"
    " systems do, or follow it.",
)
@click.option(
    "--blind",
    is_flag=True,
    help="Go on where layers below are needed and not at hand. The result is not guaranteed.",
)
@click.option(
    "--history",
    type=click.Choice(["keep", "drop"]),
    default="keep",
    show_default=True,
    help="What becomes of the squashed layers' history entries.",
)
@click.option("--message", metavar="TEXT", help="A comment for the new layer's history entry.")
@click.option(
    "--created",
    metavar="TIME",
    callback=parsed(parse_created),
    help="The result's creation time (RFC 3339). Default: SOURCE_DATE_EPOCH, else the source's.",
)
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
    writing: Writing,
) -> None:
    """Merge the layers of IMAGE above its base into one, and write the result.

    IMAGE is a path to an archive or an OCI layout, - for standard input (the default where that is no
    terminal), docker-archive:PATH[:REF], oci-archive:PATH[:REF], oci:DIR[:REF], docker-daemon:NAME,
    containers-storage:NAME or docker://HOST/NAME; a bare name that is no path is the docker daemon's. The
    base layers stay byte for byte as they are, so that images go on sharing them; the root file system of
    the result is exactly the source's, or nothing is written.
    """

    def work(image: str, output: str | None, progress: Progress, notify: Notify) -> Written:
        run = squash_platforms if writing.platform == ALL else squash_one
        return run(
            image,
            output,
            keep=Keep(keep_base, keep_layers, from_step, squash_all, segments),
            merge=Merge(whiteouts, symlink_parents, blind),
            history=History(created or created_from_environment(), message, history == "drop"),
            read=writing.reading,
            write=writing.write(min_saving),
            run=writing.resources,
            progress=progress,
            notify=notify,
        )

    writing.run(image, (keep_base,), work)
