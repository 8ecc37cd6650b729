"""`squashkit inspect`."""

from __future__ import annotations

import click

from squashkit.cli import complete
from squashkit.cli.help import Command, option
from squashkit.cli.output import say, send_text
from squashkit.cli.shared import (
    LOOKING,
    Looking,
    check_alone,
    json_option,
    look_options,
    notify,
    show_report,
)
from squashkit.errors import UsageError
from squashkit.jobs.inspect import inspect_image, tree
from squashkit.progress import shown


@click.command(
    cls=Command,
    short_help="Show an image's layers, its base, and what a squash would give.",
    epilog="""\b
Examples:
  squashkit inspect app.tar
  squashkit inspect app.tar:app:latest -v
  squashkit inspect all.tar --dot | dot -Tsvg > layers.svg
  squashkit inspect --have-list > host.txt
""",
)
@click.argument("images", shell_complete=complete.images, nargs=-1, metavar="[IMAGE]...")
@option("-v", "--verbose", is_flag=True, help="Print whole digests, chain_ids and commands, too.")
@option("--verify", is_flag=True, help="Read everything and check its digests.")
@option("--dot", is_flag=True, help="Print the tree of layers as a graph for Graphviz.")
@option(
    "--have-list",
    is_flag=True,
    help="Print which layers are in the IMAGEs, for --have. That may be all images of a store"
    " (docker-daemon:, the default, or containers-storage:), or below a place in a registry.",
)
@option(
    "--rootfs-digest",
    is_flag=True,
    help="Tell the digest of the root file system, too. It is equal where `squashkit diff` finds nothing.",
)
@json_option("it")
@look_options
def inspect(
    images: tuple[str, ...],
    verbose: bool,
    verify: bool,
    dot: bool,
    have_list: bool,
    rootfs_digest: bool,
    as_json: bool,
    looking: Looking,
) -> None:
    """Show the layers of IMAGE: where each comes from, its size, what of it is dead, where the base ends.

    Dead is what layers above replace or delete: it is in the image and nobody sees it. Of an archive
    with several images, the tree of layers that they share, unless one is named.
    """
    if have_list:
        check_alone("have-list", "images", *LOOKING)
        _print_have_list(images, looking)
        return
    if len(images) != 1:
        raise UsageError("one IMAGE is shown at a time; --have-list takes several, or none")
    (image,) = images
    with looking.open(image) as (opened,):
        source = opened.source
        several = len({one.image_id for one in source.images}) > 1
        if dot or (source.reference.image is None and looking.which.choice is None and several):
            if rootfs_digest:
                raise UsageError(f"--rootfs-digest is of one image; name it as {source.example}")
            shared = tree(opened, verify=verify)
            if dot:
                say(shared.dot())
            else:
                show_report(shared, as_json=as_json)
            return
        reports = (
            (
                one.platform,
                inspect_image(opened, one, verify=verify, verbose=verbose, rootfs_digest=rootfs_digest),
            )
            for one in opened.images()
        )
        looking.show(reports, as_json=as_json)


def _print_have_list(images: tuple[str, ...], looking: Looking) -> None:
    from squashkit.jobs.have_list import have_list  # whoever inspects an image has no use for it

    with shown() as progress:
        have = have_list(images, which=looking.which, run=looking.run, progress=progress, notify=notify)
    send_text(f"{line}\n" for line in have.lines())
