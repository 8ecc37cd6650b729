"""The whole job, reference to report: read an image, keep its base, merge the rest, write it.

These are the functions to read first. What is decided is decided in base.py, planner.py and metadata.py;
what is read and written goes through loader.py and writer.py.
"""

from __future__ import annotations

from contextlib import ExitStack

from squashkit.engine.carry_out import Notify
from squashkit.engine.work import Work
from squashkit.errors import UsageError
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.jobs.selection import Chosen, decide
from squashkit.oci.documents import ALL
from squashkit.options import Options
from squashkit.progress import Progress, Silent
from squashkit.report.platforms import IndexReport
from squashkit.report.squash import Report


def squash(
    image: str,
    output: str | None,
    options: Options | None = None,
    *,
    progress: Progress | None = None,
    notify: Notify = lambda message: None,
) -> Report:
    """Squash the image that a reference names and write the result to another reference.

    In a dry run, or without an output, nothing is written and the report tells what would be. The root file
    system of what is written is exactly the source's, and its kept layers are the source's byte for
    byte; otherwise nothing is written and a SquashkitError says why. `notify` gets messages for people
    while the work goes on. OSError comes through as it is (a full disk, a closed pipe).
    """
    if options is not None and options.platform == ALL:
        raise UsageError("all platforms are the work of squash_platforms")
    options = options or Options()
    options.keep.check()
    with ExitStack() as stack:
        work = Work(stack, image, output, options, progress or Silent(), notify)
        _decide(work, options)
        work.finish()
        return work.reports[0]


def squash_platforms(
    image: str,
    output: str | None,
    options: Options,
    *,
    progress: Progress | None = None,
    notify: Notify = lambda message: None,
) -> IndexReport[Report]:
    """Squash every platform of the index that a reference names and write a new index of the results.

    What is no image (attestations, artifacts) stays out. All else is as for `squash`, for all platforms
    together: nothing has a name before every one of them is right.
    """
    options.keep.check()
    with ExitStack() as stack:
        work = Work(stack, image, output, options, progress or Silent(), notify)
        chosen = _decide(work, options)
        digest = work.finish()
        reports = {str(report.image.platform): report for report in work.reports}
        return IndexReport(reports, digest or "", chosen.missing)


def _decide(work: Work, options: Options) -> Chosen:
    """Choose the images and what of them is kept, and begin to work on them."""
    inputs = work.inputs
    decisions, chosen = decide(
        inputs.source,
        options.keep,
        options.platform,
        inputs.open_base,
        Catalogue.of_user(),
        skip_missing=options.skip_missing,
    )
    work.decide(decisions)
    work.begin(decisions, chosen)
    return chosen
