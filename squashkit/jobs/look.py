"""Images that are only looked at: how they are opened, one or every platform's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

from squashkit.engine.view import View, open_view
from squashkit.errors import UsageError, show_text
from squashkit.jobs.choose import choose
from squashkit.oci.documents import ALL, Platform
from squashkit.oci.graph import Image
from squashkit.options import Run, Which
from squashkit.progress import Note, Notify, Progress, Silent, ignore
from squashkit.transports.layout.index import Faults
from squashkit.transports.open import open_source, save_together
from squashkit.transports.reference import parse_reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.values import frozen

R = TypeVar("R")


@frozen
class Opened:
    """An open source of images to look at."""

    session: Session
    source: Source
    which: Which

    def images(self, candidates: Sequence[Image] | None = None) -> Sequence[Image]:
        """The image that is meant, or every platform's, among these or all of the source. What is left
        out is told."""
        which = self.which
        chosen = choose(self.source, which.choice, skip_missing=which.skip_missing, candidates=candidates)
        notify = self.session.notify
        if chosen.note():
            notify(Note(chosen.note()))
        for platform in chosen.missing:
            notify(Note(f"left out {show_text(platform)}: not all of its blobs are there"))
        for passed in self.source.listing.passed_over():
            notify(Note(f"passed over {passed}"))
        return chosen.images

    def reference(self, image: Image) -> str:
        """How a person names one of the images on the command line."""
        if len({one.image_id for one in self.source.images}) > 1:
            return self.source.example.removesuffix("REF") + image.title
        return self.source.title

    def view(
        self, image: Image, *, verify: bool = False, keep: bool = False
    ) -> AbstractContextManager[View]:
        """Open one of the images, as `open_view` does."""
        return open_view(self.session, self.source, image, verify=verify, keep=keep)


@contextmanager
def open_images(
    references: Sequence[str],
    which: Which,
    run: Run,
    progress: Progress | None = None,
    notify: Notify = ignore,
    faults: Faults | None = None,
    *,
    deltas: bool = False,
) -> Iterator[list[Opened]]:
    """Open what references name; with `faults` all platforms, and what is wrong with single images goes
    there; `deltas` are taken as they are. Raises UsageError where two of them are standard input, and what
    `open_source` raises."""
    parsed = [parse_reference(reference) for reference in references]
    if sum(reference.is_stdio for reference in parsed) > 1:
        raise UsageError("standard input holds one archive; name the other by its path")
    platform = which.choice if faults is None else ALL
    with Session(run, progress or Silent(), notify) as session:
        save_together(session, parsed)
        yield [
            Opened(session, open_source(session, one, platform, faults, deltas=deltas), which)
            for one in parsed
        ]


def each(
    image: str,
    look: Callable[[View], R],
    which: Which,
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Iterator[tuple[Platform, R]]:
    """What is seen of the image that a reference names, or of every platform's, one open at a time."""
    with open_images([image], which, run, progress, notify) as (opened,):
        for one in opened.images():
            with opened.view(one) as view:
                yield one.platform, look(view)


def as_it_is(view: View) -> View:
    """The open image itself, until the next one is asked for."""
    return view


def only(found: Iterator[tuple[Platform, R]]) -> R:
    """What was seen of a single image."""
    ((_, report),) = found
    return report


def one_platform(which: Which) -> Which:
    """Raises UsageError where all platforms are asked for of what gives one answer."""
    if which.choice == ALL:
        raise UsageError("one image is looked at: name one platform")
    return which
