"""`squashkit verify`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from squashkit.cli.shared import Looking, Opened, json_option, look_options, parsed, show_report
from squashkit.errors import ImageNotFound, InvalidImage, SquashkitError
from squashkit.jobs.verify import verify as run
from squashkit.layers.search import Pattern, parse_pattern
from squashkit.oci.graph import Image
from squashkit.report.verify import VerifyReport

PRESENT = 3


def _meant(opened: Opened, faults: list[SquashkitError]) -> Sequence[Image]:
    """The image that is meant; none where what is wrong in the source is why it is not found."""
    try:
        return opened.images()
    except ImageNotFound:
        if not faults:
            raise
        return []


def _patterns(texts: tuple[str, ...]) -> list[Pattern]:
    return [parse_pattern(text) for text in texts]


@click.command(
    short_help="Check everything an image promises; prove that something is not in it.",
    epilog="""\b
Examples:
  squashkit verify app.tar
  squashkit verify app-squashed.tar --absent /root/.ssh --absent '*.pem'
  squashkit verify app.tar --absent sha256:$(sha256sum < token | cut -d' ' -f1)
""",
)
@click.argument("image")
@click.option(
    "--absent",
    multiple=True,
    metavar="PATTERN",
    callback=parsed(_patterns),
    help="Prove that a path, a glob of paths or a content (sha256:...) is in no layer, hidden ones included, nor told in history or config. Any number of times.",
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="N",
    help="Print at most N warnings, and places of a pattern; 0 prints all. JSON has all.",
)
@json_option("what was found")
@look_options
def verify(image: str, absent: list[Pattern], limit: int, as_json: bool, looking: Looking) -> None:
    """Check every blob, size, digest, diff_id and history count of IMAGE, and that each layer is a legal
    tar; without a REF and --platform those of every image in the archive or layout.

    Exit code 4 if there is a fault, else 3 if something that must be absent is there. Warnings tell of
    what is legal, and applied differently by docker, podman, containerd and umoci.
    """
    faults: list[SquashkitError] = []
    with looking.open(image, faults=faults) as (opened,):
        source = opened.source
        whole = source.reference.image is None and looking.platform is None
        images = source.images if whole and (source.images or faults) else _meant(opened, faults)
        verdict = run(
            source,
            list({one.identity: one for one in images}.values()),
            faults,
            whole=whole,
            patterns=absent,
            tmp_dir=opened.tmp_dir,
            jobs=os.cpu_count() or 1,
            progress=opened.progress,
        )
        report = VerifyReport(source.title, verdict, limit)
    show_report(report, as_json=as_json)
    if verdict.faults:
        raise click.exceptions.Exit(InvalidImage.exit_code)
    if verdict.places:
        raise click.exceptions.Exit(PRESENT)
