"""`squashkit extract`."""

from __future__ import annotations

import click

from squashkit.cli import complete
from squashkit.cli.help import BASES, Command, option
from squashkit.cli.writing import WriteReport, Writing, created_from_environment, writing_options
from squashkit.jobs.extract import extract as extract_one
from squashkit.options import EXTRACT_WITH, Extract, History
from squashkit.progress import Notify, Progress


@click.command(
    cls=Command,
    short_help="Make an image of some paths and what they need.",
    epilog="""\b
Examples:
  squashkit extract app.tar /usr/local/bin/app -t app:small -o small.tar
  squashkit extract nginx:1 --from-entrypoint --with passwd -t nginx:small
  squashkit extract app.tar /app --keep-base distroless.tar -t app:small -o small.tar
""",
)
@click.argument("image", shell_complete=complete.images)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@option("--from-entrypoint", is_flag=True, help="Take what the image starts: its entrypoint and command.")
@option(
    "--with",
    "words",
    multiple=True,
    metavar="LIST",
    help=f"Take what programs look for, too: {', '.join(EXTRACT_WITH)}.",
)
@option(
    "--allow-missing",
    multiple=True,
    metavar="GLOB",
    help="Go on without libraries and paths of such names. As of libcuda, which comes from the host.",
)
@option(
    "--keep-base",
    section=BASES,
    metavar="REF",
    shell_complete=complete.bases,
    help="Put the paths onto this image, whose layers stay as they are. Only what it lacks is new.",
)
@writing_options
def extract(
    image: str,
    paths: tuple[str, ...],
    from_entrypoint: bool,
    words: tuple[str, ...],
    allow_missing: tuple[str, ...],
    keep_base: str | None,
    writing: Writing,
) -> None:
    """Make an image of the PATHs of IMAGE and what they need: symlinks and what they lead to, loaders and
    libraries, interpreters of scripts, and the metadata of their packages, for scanners. The config is
    carried over.

    Nothing is run: what a program loads by itself while it runs is not known, and is told where it is
    likely. What is missing stops the work, with exit code 3.
    """
    what = Extract(paths, from_entrypoint, words, allow_missing, keep_base)

    def work(image: str, output: str | None, progress: Progress, notify: Notify) -> WriteReport:
        return extract_one(
            image,
            output,
            what,
            history=History(created_from_environment()),
            read=writing.reading,
            write=writing.write(),
            run=writing.resources,
            progress=progress,
            notify=notify,
        )

    writing.run(image, (keep_base,), work)
