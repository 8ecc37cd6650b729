"""`squashkit inspect`."""

from __future__ import annotations

import click

from squashkit.cli import complete
from squashkit.cli.help import Command, option
from squashkit.cli.output import say
from squashkit.cli.shared import Looking, json_option, look_options, show_report
from squashkit.jobs.inspect import inspect_image, tree


@click.command(
    cls=Command,
    short_help="Show an image's layers, its base, and what a squash would give.",
    epilog="""\b
Examples:
  squashkit inspect app.tar
  squashkit inspect app.tar:app:latest -v
  squashkit inspect all.tar --dot | dot -Tsvg > layers.svg
""",
)
@click.argument("image", shell_complete=complete.images)
@option("-v", "--verbose", is_flag=True, help="Print whole digests, chain_ids and commands, too.")
@option("--verify", is_flag=True, help="Read everything and check its digests.")
@option("--dot", is_flag=True, help="Print the tree of layers as a graph for Graphviz.")
@json_option("it")
@look_options
def inspect(image: str, verbose: bool, verify: bool, dot: bool, as_json: bool, looking: Looking) -> None:
    """Show the layers of IMAGE: where each comes from, its size, what of it is dead, where the base ends.

    Dead is what layers above replace or delete: it is in the image and nobody sees it. Of an archive
    with several images, the tree of layers that they share, unless one is named.
    """
    with looking.open(image) as (opened,):
        source = opened.source
        several = len({one.image_id for one in source.images}) > 1
        if dot or (source.reference.image is None and looking.which.choice is None and several):
            shared = tree(opened, verify=verify)
            if dot:
                say(shared.dot())
            else:
                show_report(shared, as_json=as_json)
            return
        reports = (
            (one.platform, inspect_image(opened, one, verify=verify, verbose=verbose))
            for one in opened.images()
        )
        looking.show(reports, as_json=as_json)
