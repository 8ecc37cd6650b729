"""The base of an image, for who asks: which it is, whether it is current; and the catalogue of bases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from squashkit.arguments import checked
from squashkit.errors import BaseNotFound, TransportError, Unavailable, UsageError
from squashkit.jobs.base.catalogue import Catalogue, now
from squashkit.jobs.base.find import base_by_evidence, version_of
from squashkit.jobs.choose import choose
from squashkit.jobs.decide import Bases
from squashkit.jobs.look import Opened, one_platform, only, open_images
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image
from squashkit.oci.names import same_name
from squashkit.options import Run, Which
from squashkit.plan.base import Base, history_hint, stated_base
from squashkit.plan.known import KnownBase
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.base import CatalogueReport, CurrentReport, FoundReport
from squashkit.transports.open import open_base
from squashkit.transports.reference import PLACES, Reference, parse_reference
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.wording import Option

_ASKED = Option("base", example="REF")


@checked
def find_base(
    image: str,
    *,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> FoundReport:
    """Which layers of an image are its base, and how that is known. Raises what opening the image
    raises."""
    return only(find_bases(image, one_platform(which), run, progress, notify))


def find_bases(
    image: str, which: Which, run: Run, progress: Progress | None = None, notify: Notify = ignore
) -> Iterator[tuple[Platform, FoundReport]]:
    """As `find_base`, for every platform that is meant."""
    with open_images([image], which, run, progress, notify) as (opened,):
        bases = Bases(opened.session, None)
        for one in opened.images():
            found = base_by_evidence(one, opened.source, bases.open, Catalogue.of_user(used=True))
            yield one.platform, FoundReport(one, found, history_hint(one))


@checked
def check_base(
    image: str,
    base: str | None = None,
    *,
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> CurrentReport:
    """Whether the base that an image was built on is still what its name means; `base` is what to ask, else
    what the image or its build names.

    Raises BaseNotFound where nothing says what to ask, and what opening an image raises.
    """
    return only(check_bases(image, base, one_platform(which), run, progress, notify))


def check_bases(
    image: str,
    base: str | None,
    which: Which,
    run: Run,
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Iterator[tuple[Platform, CurrentReport]]:
    """As `check_base`, for every platform that is meant."""
    with open_images([image], which, run, progress, notify) as (opened,):
        bases = Bases(opened.session, None)
        for one in opened.images():
            yield one.platform, _check(opened, one, base, bases)


def _check(opened: Opened, image: Image, reference: str | None, bases: Bases) -> CurrentReport:
    catalogue = Catalogue.of_user(used=True)
    found = base_by_evidence(image, opened.source, bases.open, catalogue)
    where = _where_to_ask(image, found, reference, opened.source)
    try:
        now = bases.open(where, image.platform)
    except TransportError as error:
        if reference is not None:
            raise
        raise Unavailable(
            *error.parts, f"{error.details}; ", _ASKED, " asks elsewhere", reference=str(where)
        ) from error
    image_now = choose(now, image.platform).images[0]
    manifest = image_now.manifest_descriptor
    digest = now.root or (manifest.digest if manifest is not None else "")
    names = image_now.names if where.is_file else (where.path,)
    built = version_of(image, found, catalogue, names)
    stated, named = stated_base(image)
    named = named if same_name(stated, *names) else ""
    return CurrentReport(image, found, built, str(where), image_now, digest, named)


def _where_to_ask(image: Image, found: Base | None, asked: str | None, source: Source) -> Reference:
    """Where a base's name is looked up: as it is given or was added to the catalogue, in the image's own
    daemon, or in a registry. There only names go that the image or its build states: what an archive calls
    a base need not mean the same to a registry."""
    if asked is not None:
        return parse_reference(asked)
    stated, digest = stated_base(image)
    name = found.image_name if found is not None and found.image_name else stated
    if not name:
        raise BaseNotFound(
            f"{image.title}: its base is not known, or has no name; ",
            _ASKED,
            " says it",
            reference=image.title,
            tried=["annotations", "labels", "provenance", "the catalogue"],
        )
    if found is not None and found.catalogued and found.name.startswith(PLACES):
        return parse_reference(found.name)
    if source.store is not None:
        return parse_reference(f"{source.reference.transport}:{name}")
    beside = found is not None and any(found.image is other for other in source.images)
    if found is not None and (found.catalogued or (beside and digest and not stated)):
        raise BaseNotFound(
            f"{image.title}: nothing says where its base {name} is kept; ",
            _ASKED,
            " does, as in ",
            Option("base", example="docker://HOST/NAME"),
            reference=name,
            tried=["annotations", "labels", "provenance", "the catalogue"],
        )
    return parse_reference(f"docker://{name}")


@checked
def base_list() -> CatalogueReport:
    """The bases of the user's catalogue, and those that squashes and rebases used, the latest of each
    first."""
    return CatalogueReport(tuple(Catalogue.of_user(used=True).bases()))


@checked
def base_add(*references: str, which: Which = Which(), run: Run = Run()) -> tuple[KnownBase, ...]:
    """Add bases to the user's catalogue, or what they are now. Of an image in a daemon or a registry no
    layer is read. Raises what opening an image raises."""
    return tuple(add_bases(references, which, run))


def add_bases(references: Sequence[str], which: Which, run: Run) -> Iterator[KnownBase]:
    """As `base_add`: each is given once it is there."""
    catalogue = Catalogue.of_user()
    with Session(run) as session:
        for text in references:
            reference = parse_reference(text)
            if reference.is_stdio:
                raise UsageError("a base in the catalogue needs a name, which standard input has not")
            source = open_base(session, reference, which.choice)
            for image in choose(source, which.choice, skip_missing=which.skip_missing).images:
                known = _known(image, source, text)
                catalogue.add(known)
                yield known


@checked
def base_remove(reference: str) -> int:
    """Remove a base from the user's catalogue, by its name or an image_id; how many there were of it.
    Raises BaseNotFound."""
    gone = Catalogue.of_user(used=True).remove(reference)
    if not gone:
        raise BaseNotFound(
            f"no base {reference!r} in the catalogue; squashkit base list lists them",
            reference=reference,
            tried=["the catalogue"],
        )
    return gone


def _known(image: Image, source: Source, text: str) -> KnownBase:
    manifest = image.manifest_descriptor
    named = source.reference.is_file and image.names
    digest = source.root or (manifest.digest if manifest is not None else "")
    return KnownBase.of(image, image.names[0] if named else text, digest, now())
