"""`squashkit replay`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from squashkit.cli import complete
from squashkit.cli.help import LEAVE_OUT, Command
from squashkit.cli.shared import Printable, followed_options, notify, show_report
from squashkit.cli.writing import WriteReport, Writing, writing_options
from squashkit.jobs.recipes import read_recipe
from squashkit.jobs.replay import replay as job
from squashkit.options import Merge
from squashkit.progress import Notify, Progress, shown


@click.command(
    cls=Command,
    short_help="Make an image again by its recipe, of the old one alone.",
    epilog="""\b
Examples:
  squashkit squash app.tar --keep-base fedora:28 -t app:new -o new.tar --recipe new.recipe
  squashkit replay new.recipe app.tar -t app:new -o new.tar
  squashkit replay new.recipe app:latest -t app:new
  squashkit verify new.tar --recipe new.recipe --source app.tar
""",
)
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, shell_complete=complete.images)
@followed_options(LEAVE_OUT)
@writing_options
def replay(
    recipe: Path,
    sources: tuple[str, ...],
    merge: Merge,
    clamp_mtime: str | None,
    writing: Writing,
) -> None:
    """Make the image of RECIPE again, of the old one that SOURCE names. The recipe is believed in nothing:
    the root file system of the result is exactly that of SOURCE, and the result is the very image that the
    recipe tells of, or nothing is written and the exit code is 3.

    What a recipe leaves out on purpose must be named here, too.
    """
    first, *others = sources
    if read_recipe(recipe).is_of_fleet:
        _replay_fleet(recipe, sources, merge, clamp_mtime, writing)
        return

    def work(image: str, output: str | None, progress: Progress, notify: Notify) -> WriteReport:
        done = job(
            recipe,
            [image, *others],
            output,
            merge=merge,
            clamp_mtime=clamp_mtime,
            read=writing.reading,
            write=writing.write(),
            run=writing.resources,
            progress=progress,
            notify=notify,
        )
        return cast(WriteReport, done)

    writing.run(first, (str(recipe), *others), work)


def _replay_fleet(
    recipe: Path, sources: tuple[str, ...], merge: Merge, clamp_mtime: str | None, writing: Writing
) -> None:
    """All images of a fleet, into one place."""
    with shown(quiet=writing.quiet) as progress:
        done = job(
            recipe,
            sources,
            writing.output,
            merge=merge,
            clamp_mtime=clamp_mtime,
            write=writing.write(),
            run=writing.resources,
            progress=progress,
            notify=notify,
        )
    if not writing.quiet or writing.as_json or writing.as_markdown:
        show_report(cast(Printable, done), as_json=writing.as_json, as_markdown=writing.as_markdown)
