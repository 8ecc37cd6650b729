"""`squashkit base`: which base an image has, whether it is still the current one, and the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

import click

from squashkit.amounts import count
from squashkit.cli import complete
from squashkit.cli.help import Group, option
from squashkit.cli.output import say, written
from squashkit.cli.shared import (
    Looking,
    debug_option,
    json_option,
    listed_option,
    look_options,
    notify,
    read_list,
    show_report,
)
from squashkit.errors import UsageError, show_text
from squashkit.jobs.base.many import check_all
from squashkit.jobs.base.tell import add_bases, base_list, base_remove, check_bases, find_bases
from squashkit.progress import shown

_OUTDATED, _NOT_BASED = 3, 6


@click.group(
    cls=Group,
    short_help="Find an image's base, see if it is outdated, keep a catalogue.",
    epilog="""\b
Examples:
  squashkit base find app.tar:app:latest
  squashkit base add docker://registry.example/debian:12 fedora:28
  squashkit base check docker://registry.example/app:1
  squashkit base check app.tar:app:latest --base docker://debian:12
""",
)
def base() -> None:
    """Find out which base an image was built on, and whether that is still what the base's name means.

    Evidence counts in this order: the annotations or labels org.opencontainers.image.base.name and .digest,
    the buildpacks' note of their run image, BuildKit's provenance, the catalogue of bases. Each is held
    against the layers; the history alone decides nothing.
    """


@base.command(
    short_help="Tell which layers of an image are its base.",
    epilog="""\b
Examples:
  squashkit base find app.tar:app:latest
  squashkit base find docker://registry.example/app:1 --json
""",
)
@click.argument("image", shell_complete=complete.images)
@json_option("the answer")
@look_options
def find(image: str, as_json: bool, looking: Looking) -> None:
    """Tell which layers of IMAGE are its base, and how that is known. Exit code 1 where it is not."""
    reports = list(looking.each(find_bases, image))
    looking.show(reports, as_json=as_json)
    if any(report.base is None for _, report in reports):
        raise click.exceptions.Exit(1)


@base.command(
    short_help="Tell whether an image's base is still the current one.",
    epilog="""\b
Examples:
  squashkit base check docker://registry.example/app:1
  squashkit base check app.tar:app:latest --base docker://debian:12
  squashkit base check docker://registry.example/team/ --base docker://registry.example/debian:12
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@listed_option
@option(
    "--base",
    "reference",
    shell_complete=complete.bases,
    metavar="REF",
    help="The base. Default: the one that is found.",
)
@json_option("the answer")
@look_options
def check(
    images: Sequence[str],
    listed: Sequence[IO[bytes]],
    reference: str | None,
    as_json: bool,
    looking: Looking,
) -> None:
    """Tell whether the base that IMAGE was built on is still what its name means. Exit code 0: the
    image begins with the layers that the base has now; 3: it stands on another version of it; 6: it stands
    on no version of it that is known here.

    Of several images there is a line for each; docker://HOST/PREFIX/ means all tags below. The exit code is
    then the first of 130, 5, 4, 1, 2, 3 and 6 that occurred.

    The name is looked up as --base says it, else as the base was added to the catalogue, in the image's own
    daemon, or, where the image or its build states it, in that name's registry.
    """
    references = [*images, *(one for file in listed for one in read_list(file))]
    if not references:
        raise UsageError("no image was given; name one, or --from FILE")
    if len(references) > 1 or listed or references[0].endswith("/"):
        with shown() as progress:
            done = check_all(
                references,
                base=reference,
                which=looking.which,
                run=looking.run,
                progress=progress,
                notify=notify,
            )
        show_report(done, as_json=as_json)
        if done.exit_code:
            raise click.exceptions.Exit(done.exit_code)
        return
    reports = list(looking.each(check_bases, references[0], reference))
    looking.show(reports, as_json=as_json)
    told = {report.status for _, report in reports}
    if told != {"current"}:
        raise click.exceptions.Exit(_OUTDATED if "outdated" in told else _NOT_BASED)


@base.command(
    short_help="Add bases to the catalogue.",
    epilog="""\b
Examples:
  squashkit base add debian.tar
  squashkit base add docker://registry.example/debian:12 --platform all
""",
)
@click.argument("references", shell_complete=complete.images, nargs=-1, required=True, metavar="REF...")
@look_options
def add(references: Sequence[str], looking: Looking) -> None:
    """Add bases to the catalogue, or what they are now: older versions stay in it.

    Of an image in a daemon or a registry no layer is read.
    """
    for known in add_bases(references, looking.which, looking.run):
        written.append(f"{show_text(known.reference)} was added")
        layers = count(len(known.diff_ids), "layer")
        say(f"added {show_text(known.reference)} ({show_text(str(known.platform))}), {layers}")


@base.command(
    name="list",
    short_help="List the catalogue.",
    epilog="""\b
Examples:
  squashkit base list
  squashkit base list --json
""",
)
@json_option("the list")
@debug_option
def list_(as_json: bool) -> None:
    """List the bases of the catalogue, the latest of each first."""
    show_report(base_list(), as_json=as_json)


@base.command(
    short_help="Remove bases from the catalogue.",
    epilog="""\b
Example:
  squashkit base remove fedora:28
""",
)
@click.argument(
    "references", shell_complete=complete.known_bases, nargs=-1, required=True, metavar="REF..."
)
@debug_option
def remove(references: Sequence[str]) -> None:
    """Remove bases from the catalogue, by the name in `list` or by an image_id."""
    for reference in references:
        gone = base_remove(reference)
        say(f"removed {show_text(reference)}, {gone} of it")
