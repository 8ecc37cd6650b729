"""A page about images: what their layers hold, what is dead of it, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from squashkit.arguments import checked, texts
from squashkit.errors import UsageError
from squashkit.jobs.look import one_platform
from squashkit.jobs.waste import Given, waste_and_files
from squashkit.oci.documents import Platform
from squashkit.options import Keep, Run, Which
from squashkit.plan.waste.alive import live_files
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.html.fold import Sized, fold
from squashkit.report.html.page import NODES, ReportedImage
from squashkit.report.html.render import check_html, page_html
from squashkit.transports.archive.sink import check_free
from squashkit.transports.atomic import AtomicFile, remove_leftovers
from squashkit.transports.blobs import write_all


@checked
def report_page(
    references: Sequence[str] | str,
    *,
    keep: Keep | str | None = None,
    rules: str | Path | None = None,
    dockerfile: str | Path | None = None,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> str:
    """One HTML page about images, for a browser: layers and what is dead of them, the root file system as a
    picture, findings, what to write in the Dockerfile instead, and what a squash saves. It has all that it
    needs in itself, and is the same text for the same images.

    The parameters are those of `waste`, with a Dockerfile for one image only. Raises UsageError where
    jinja2 or plotly is not installed, and what `waste` does.
    """
    check_html()
    found = reported_images(
        texts(references),
        keep=Keep.of(keep),
        given=Given.read(rules, dockerfile, None),
        which=one_platform(which),
        run=run,
        progress=progress,
        notify=notify,
    )
    return page_html([image for _, image in found])


def reported_images(
    references: Sequence[str],
    *,
    keep: Keep = Keep(),
    given: Given = Given(),
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Iterator[tuple[Platform, ReportedImage]]:
    """What the page shows of the images that are meant, or of every platform's, one after another."""
    if not references:
        raise UsageError("the page is about images: name at least one")
    if given.dockerfile is not None and len(references) > 1:
        raise UsageError("a Dockerfile is that of one image: name one image, or no Dockerfile")
    found = waste_and_files(
        references, keep=keep, given=given, which=which, run=run, progress=progress, notify=notify
    )
    for waste, rootfs in found:
        files = fold((Sized(one.path, one.size, one.layer) for one in live_files(rootfs)), NODES)
        yield waste.image.platform, ReportedImage(waste, tuple(files))


def check_page(path: Path, *, force: bool) -> None:
    """Raises UsageError where no page can be made, or something is there that it must not replace."""
    check_html()
    check_free(path, force=force)


def write_page(text: str, path: Path, *, force: bool) -> None:
    """Write a page; the file gets its name when it is whole. Raises UsageError where something has the
    name, without `force`; OSError, which names the file."""
    remove_leftovers(path)
    with closing(AtomicFile(path)) as file:
        try:
            write_all(file.fd, memoryview(text.encode()))
        except OSError as error:
            error.filename = str(path)
            raise
        file.publish_output(force=force)
