"""`squashkit verify`."""

from __future__ import annotations

from pathlib import Path

import click

from squashkit.cli import complete
from squashkit.cli.help import OPTIONS, Command, option
from squashkit.cli.shared import (
    Looking,
    followed_options,
    have_option,
    json_option,
    look_options,
    notify,
    parsed,
    show_report,
)
from squashkit.errors import InvalidImage, UsageError
from squashkit.jobs.verify import parse_patterns
from squashkit.jobs.verify import verify as job
from squashkit.options import ByRecipe, Merge
from squashkit.progress import shown
from squashkit.report.verify import VerifyReport

_SAYS_NO = 3


def _absent(texts: tuple[str, ...]) -> tuple[str, ...]:
    """Patterns, each of which can be looked for. Raises ValueError."""
    parse_patterns(texts)
    return texts


@click.command(
    cls=Command,
    short_help="Check what an image promises; prove that something is not in it.",
    epilog="""\b
Examples:
  squashkit verify app.tar
  squashkit verify app-squashed.tar --absent /root/.ssh --absent '*.pem'
  squashkit verify app.tar --absent sha256:$(sha256sum < token | cut -c-64)
  squashkit verify new.tar --recipe new.recipe --source app.tar
  squashkit verify delta.tar --have host.txt
""",
)
@click.argument("image", shell_complete=complete.images)
@option(
    "--absent",
    multiple=True,
    metavar="PATTERN",
    callback=parsed(_absent),
    help="Prove that a path, a glob or a content (sha256:...) is in no layer. Hidden ones are"
    " looked at, too, and history and config. Any number of times.",
)
@option(
    "--limit",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="Print at most N warnings, and places of a pattern. 0 prints all. JSON has all.",
)
@option(
    "--recipe",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prove that it is what this recipe makes of --source. Nothing is written; exit code 3 if not.",
)
@option(
    "--source",
    "sources",
    multiple=True,
    metavar="REF",
    shell_complete=complete.images,
    help="The old image that the recipe makes it of.",
)
@followed_options(OPTIONS)
@have_option(
    OPTIONS,
    "Tell whether IMAGE, a delta, will load where this is. A have-list, an archive, a layout or a"
    " reference; any number of times.",
)
@json_option("what was found")
@look_options
def verify(
    image: str,
    absent: tuple[str, ...],
    limit: int,
    recipe: Path | None,
    sources: tuple[str, ...],
    merge: Merge,
    clamp_mtime: str | None,
    have: tuple[str, ...],
    as_json: bool,
    looking: Looking,
) -> None:
    """Check every blob, size, digest, diff_id and history count of IMAGE, and that each layer is a legal
    tar. Exit code 4 if there is a fault, else 3 if something that must be absent is there, or a delta will
    not load.

    Without a REF and --platform, every image of the archive or layout is checked. Warnings tell of what is
    legal, and applied differently by docker, podman, containerd and umoci.
    """
    if (recipe is None) != (not sources):
        raise UsageError("--recipe and --source go together: what is made of what")
    if recipe is None and (clamp_mtime or merge != Merge()):
        raise UsageError("what a recipe may leave out and change is for --recipe; leave it out")
    by = None if recipe is None else ByRecipe(recipe, sources, merge, clamp_mtime)
    with shown() as progress:
        verdict = job(
            image,
            absent=absent,
            by=by,
            have=have,
            which=looking.which,
            run=looking.run,
            progress=progress,
            notify=notify,
        )
    report = VerifyReport(verdict, limit)
    show_report(report, as_json=as_json)
    if verdict.faults:
        raise click.exceptions.Exit(InvalidImage.exit_code)
    if verdict.places or (verdict.loading is not None and not verdict.loading.loads):
        raise click.exceptions.Exit(_SAYS_NO)
