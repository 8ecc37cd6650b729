"""Whether the bases of many images are still current: a row for each, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from squashkit.arguments import checked, texts
from squashkit.errors import SquashkitError, first_line
from squashkit.jobs.base.tell import check_bases
from squashkit.jobs.fleet.below import Below
from squashkit.jobs.fleet.process import for_many_images
from squashkit.jobs.look import one_platform
from squashkit.options import Run, Which
from squashkit.progress import Notify, Numbered, Progress, Silent, ignore
from squashkit.report.base import CheckedBases, CheckedImage
from squashkit.transports.session import Session


@checked
def check_all(
    references: Sequence[str] | str,
    *,
    base: str | None = None,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> CheckedBases:
    """As `check_base` for each image; `docker://HOST/PREFIX/` means all tags below. What fails of one is
    told in its row. Raises what listing tags raises."""
    numbered = Numbered(progress or Silent())
    rows: list[CheckedImage] = []
    notes: list[str] = []
    one = one_platform(which)
    with for_many_images():
        images = [image for text in texts(references) for image in _images(text, run, notes)]
        for number, image in enumerate(images):
            numbered.number, numbered.total = number + 1, len(images)
            try:
                for _, report in check_bases(image, base, one, run, numbered, notify):
                    rows.append(CheckedImage(image, report))
            except SquashkitError as error:
                rows.append(CheckedImage(image, None, first_line(error), error.exit_code))
    return CheckedBases(tuple(rows), tuple(notes))


def _images(text: str, run: Run, notes: list[str]) -> Iterator[str]:
    """The images that a reference means. Raises what listing tags raises."""
    if not (text.startswith("docker://") and text.endswith("/")):
        yield text
        return
    with Session(run) as session:
        below = Below.parse(text, session.registries)
        names = below.names()
        if not names:
            raise below.nothing()
        notes += below.notes([])
    yield from (f"docker://{name}" for name in names)
