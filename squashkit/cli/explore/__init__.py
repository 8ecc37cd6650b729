"""`squashkit explore`: a terminal application. What it needs is imported when it runs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import click

from squashkit.cli import complete
from squashkit.cli.help import KEEP, Command, option
from squashkit.cli.shared import Looking, look_options
from squashkit.errors import UsageError
from squashkit.options import Keep


@click.command(
    cls=Command,
    short_help="Walk through an image's layers and files in the terminal.",
    epilog="""\b
Examples:
  squashkit explore app.tar
  squashkit explore app.tar:app:latest --keep-base debian:12
  squashkit explore oci:layout:app --platform linux/arm64
""",
)
@click.argument("image", shell_complete=complete.images)
@option(
    "--keep-base",
    section=KEEP,
    metavar="REF",
    shell_complete=complete.bases,
    help="The base, by name, path or digest. Its layers are marked.",
)
@option("--keep-layers", section=KEEP, type=int, metavar="N", help="The base has N layers.")
@look_options
def explore(image: str, keep_base: str | None, keep_layers: int | None, looking: Looking) -> None:
    """Walk through IMAGE in the terminal: what each layer added, changed and removed, what of it is dead,
    where the dead bytes lie, and what a squash would give at each boundary. `?` shows the keys, `q` quits.

    Needs a terminal, and textual: pip install 'squashkit[tui]'.
    """
    if find_spec("textual") is None:
        raise UsageError("explore needs textual: pip install 'squashkit[tui]'")
    if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        raise UsageError(
            "explore needs a terminal for its keys and its screen; inspect, ls, which and waste print"
        )
    keep = Keep(keep_base, keep_layers)
    from squashkit.cli.explore.app import ExploreApp

    error = ExploreApp(image, keep, looking).run()
    if error is not None:
        raise error
