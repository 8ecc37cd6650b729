"""`squashkit rebase`."""

from __future__ import annotations

from typing import Any

import click

from squashkit.cli.writing import Writing, Written, created_from_environment, writing_options
from squashkit.errors import RebaseConflict, UsageError
from squashkit.jobs.rebase import rebase as rebase_one
from squashkit.jobs.rebase import rebase_platforms
from squashkit.oci.documents import ALL
from squashkit.options import ALLOWABLE, History, Rebase
from squashkit.progress import Notify, Progress


@click.command(
    short_help="Put the layers of an image on another base.",
    epilog="""\b
Examples:
  squashkit rebase app.tar --old-base fedora:28 --new-base patched.tar -t app:patched -o out.tar
  squashkit rebase app:1 --old-base debian:12 --new-base debian:12-patched -t app:1-patched
  squashkit rebase docker://registry.example/app:1 --new-base docker://registry.example/debian:12 -o docker://registry.example/app:1-patched
  squashkit rebase app.tar --old-base fedora:28 --new-base fedora29.tar --dry-run --json
""",
)
@click.argument("image", required=False)
@click.option(
    "--old-base",
    metavar="REF",
    help="The base that the image was built on: an image in the same archive, a path or reference. Default:"
    " as `squashkit base find` finds it.",
)
@click.option("--new-base", metavar="REF", required=True, help="The base to put it on: the same forms.")
@click.option("--squash", is_flag=True, help="Merge the layers above the base into one.")
@click.option(
    "--config",
    type=click.Choice(["follow", "keep"]),
    default="follow",
    show_default=True,
    help="Settings that the image inherited from the old base: take the new base's, or leave them.",
)
@click.option(
    "--strict/--no-strict",
    default=True,
    show_default=True,
    help="Stop, with exit code 3, where the layers do not fit the new base.",
)
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(ALLOWABLE),
    help="Do not stop at errors of this kind; any number of times. Errors of kind link always stop: nothing"
    " can unpack such a layer.",
)
@writing_options
def rebase(
    image: str | None,
    old_base: str | None,
    new_base: str,
    squash: bool,
    config: Any,
    strict: bool,
    allow: tuple[str, ...],
    writing: Writing,
) -> None:
    """Put the layers of IMAGE above its base on another base, as if it had been built there.

    Nothing is built: the layers go over byte for byte. One is made anew only where it deletes something in
    a directory that the new base lacks, or relies on a directory that only the old base gave. What the
    image inherited from its base follows the new one. What the exchange may break is told before anything
    is written: databases, caches and accounts in the layers that hide the new base's, copies of the old
    base's files, and what does not fit at all.
    """
    how = Rebase(new_base, old_base, squash, config, allow, strict)

    def work(image: str, output: str | None, progress: Progress, notify: Notify) -> Written:
        run = rebase_platforms if writing.platform == ALL else rebase_one
        return run(
            image,
            output,
            how,
            history=History(created_from_environment()),
            read=writing.reading,
            write=writing.write(),
            run=writing.resources,
            progress=progress,
            notify=notify,
        )

    if not strict and allow:
        raise UsageError("--no-strict allows everything; leave --allow out")
    try:
        writing.run(image, (old_base, new_base), work)
    except RebaseConflict as conflict:
        writing.show_refused(conflict.report)
        raise
