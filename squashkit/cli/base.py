"""`squashkit base`: which base an image has, whether it is still the current one, and the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime

import click

from squashkit.amounts import count
from squashkit.cli.output import say, written
from squashkit.cli.shared import (
    Looking,
    debug_option,
    json_option,
    look_options,
    show_report,
)
from squashkit.errors import BaseNotFound, TransportError, Unavailable, UsageError, show_text
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.jobs.base.find import find_base, version_of
from squashkit.jobs.selection import choose
from squashkit.oci.documents import PlatformChoice
from squashkit.oci.graph import Image
from squashkit.oci.names import same_name
from squashkit.plan.base import Base, history_hint, stated_base
from squashkit.plan.known import KnownBase
from squashkit.report.base import CatalogueReport, CurrentReport, FoundReport
from squashkit.transports.reference import PLACES, Reference, parse_reference
from squashkit.transports.registry.access import Access, Registries
from squashkit.transports.room import Room
from squashkit.transports.source import Source, open_base

_OUTDATED, _NOT_BASED = 3, 6


@click.group(
    short_help="Find the base of an image; see whether it is outdated; keep a catalogue of bases.",
    epilog="""\b
Examples:
  squashkit base find app.tar:app:latest
  squashkit base add docker://registry.example/debian:12 fedora:28
  squashkit base check docker://registry.example/app:1
  squashkit base check app.tar:app:latest --base docker://registry.example/debian:12
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
@click.argument("image")
@json_option("the answer")
@look_options
def find(image: str, as_json: bool, looking: Looking) -> None:
    """Tell which layers of IMAGE are its base, and how that is known. Exit code 1 where it is not."""
    reports = []
    with looking.open(image) as (opened,), _Bases(looking.access, opened.tmp_dir) as bases:
        for one in opened.images():
            found = find_base(one, opened.source, bases.open, Catalogue.of_user())
            reports.append((one.platform, FoundReport(one, found, history_hint(one))))
    looking.show(reports, as_json=as_json)
    if any(report.base is None for _, report in reports):
        raise click.exceptions.Exit(1)


@base.command(
    short_help="Tell whether an image's base is still the current one.",
    epilog="""\b
Examples:
  squashkit base check docker://registry.example/app:1
  squashkit base check app.tar:app:latest --base docker://registry.example/debian:12 --json
""",
)
@click.argument("image")
@click.option("--base", "reference", metavar="REF", help="The base. Default: the one that is found.")
@json_option("the answer")
@look_options
def check(image: str, reference: str | None, as_json: bool, looking: Looking) -> None:
    """Tell whether the base that IMAGE was built on is still what its name means.

    Exit code 0: the image begins with the layers that the base has now; 3: it stands on another version of
    it; 6: it stands on no version of it that is known here.

    The name is looked up as --base says it, else as the base was added to the catalogue, in the image's own
    daemon, or, where the image or its build states it, in that name's registry.
    """
    reports = []
    catalogue = Catalogue.of_user()
    with looking.open(image) as (opened,), _Bases(looking.access, opened.tmp_dir) as bases:
        for one in opened.images():
            found = find_base(one, opened.source, bases.open, catalogue)
            where = _where_to_ask(one, found, reference, opened.source)
            try:
                now = bases.open(where, one.platform)
            except TransportError as error:
                if reference is not None:
                    raise
                raise Unavailable(f"{error}; --base REF asks elsewhere", reference=str(where)) from error
            image_now = choose(now, one.platform).images[0]
            manifest = image_now.manifest_descriptor
            digest = now.root or (manifest.digest if manifest is not None else "")
            names = image_now.names if where.is_file else (where.path,)
            built = version_of(one, found, catalogue, names)
            stated, named = stated_base(one)
            named = named if same_name(stated, *names) else ""
            report = CurrentReport(one, found, built, str(where), image_now, digest, named)
            reports.append((one.platform, report))
    looking.show(reports, as_json=as_json)
    told = {report.status for _, report in reports}
    if told != {"current"}:
        raise click.exceptions.Exit(_OUTDATED if "outdated" in told else _NOT_BASED)


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
            f"{image.title}: its base is not known, or has no name; --base REF says it",
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
            f"{image.title}: nothing says where its base {name} is kept; --base REF does, as in --base"
            " docker://HOST/NAME",
            reference=name,
            tried=["annotations", "labels", "provenance", "the catalogue"],
        )
    return parse_reference(f"docker://{name}")


@base.command(
    short_help="Add bases to the catalogue.",
    epilog="""\b
Examples:
  squashkit base add debian.tar
  squashkit base add docker://registry.example/debian:12 --platform all
""",
)
@click.argument("references", nargs=-1, required=True, metavar="REF...")
@look_options
def add(references: Sequence[str], looking: Looking) -> None:
    """Add bases to the catalogue, or what they are now: older versions stay in it.

    Of an image in a daemon or a registry no layer is read.
    """
    catalogue = Catalogue.of_user()
    with _Bases(looking.access, looking.room()) as bases:
        for text in references:
            reference = parse_reference(text)
            if reference.is_stdio:
                raise UsageError("a base in the catalogue needs a name, which standard input has not")
            source = bases.open(reference, looking.platform)
            chosen = choose(source, looking.platform, skip_missing=looking.skip_missing)
            for image in chosen.images:
                known = _known(image, source, text)
                catalogue.add(known)
                written.append(f"{show_text(known.reference)} was added")
                layers = count(len(known.diff_ids), "layer")
                named = f"{show_text(known.reference)} ({show_text(str(known.platform))})"
                say(f"added {named}, {layers}")


def _known(image: Image, source: Source, text: str) -> KnownBase:
    manifest = image.manifest_descriptor
    named = source.reference.is_file and image.names
    return KnownBase(
        reference=image.names[0] if named else text,
        platform=image.platform,
        image_id=image.image_id,
        digest=source.root or (manifest.digest if manifest is not None else ""),
        diff_ids=image.diff_ids,
        config=image.config.data,
        seen=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


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
    show_report(CatalogueReport(Catalogue.of_user().bases()), as_json=as_json)


@base.command(
    short_help="Remove bases from the catalogue.",
    epilog="""\b
Example:
  squashkit base remove fedora:28
""",
)
@click.argument("references", nargs=-1, required=True, metavar="REF...")
@debug_option
def remove(references: Sequence[str]) -> None:
    """Remove bases from the catalogue, by the name in `list` or by an image_id."""
    catalogue = Catalogue.of_user()
    for reference in references:
        gone = catalogue.remove(reference)
        if not gone:
            raise BaseNotFound(
                f"no base {reference!r} in the catalogue; squashkit base list lists them",
                reference=reference,
                tried=["the catalogue"],
            )
        say(f"removed {show_text(reference)}, {gone} of it")


class _Bases:
    """Bases that are looked at together, and closed together."""

    def __init__(self, access: Access, tmp_dir: Room) -> None:
        self._stack = ExitStack()
        self._tmp_dir = tmp_dir
        self._registries = self._stack.enter_context(closing(Registries(access)))

    def __enter__(self) -> _Bases:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def open(self, reference: Reference, platform: PlatformChoice | None) -> Source:
        return self._stack.enter_context(open_base(reference, self._tmp_dir, self._registries, platform))
