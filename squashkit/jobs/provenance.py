"""What a job says of how its results were made: from which images, with which options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from squashkit.engine.deliver import Delivery
from squashkit.errors import PlanError, UsageError, without_secrets
from squashkit.oci.compression import Compression
from squashkit.oci.digests import Digest
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image
from squashkit.oci.media import DOCKER_CONFIG
from squashkit.options import MinSaving, Read, Write
from squashkit.plan.documents import index_type
from squashkit.plan.segments import Decision
from squashkit.report.provenance import ROOTFS, Artifact, Provenance, of_platforms
from squashkit.report.squash import Report
from squashkit.transports.atomic import write_whole
from squashkit.transports.reference import REGISTRY, Reference, parse_reference
from squashkit.transports.source import Source
from squashkit.transports.stored import is_remote
from squashkit.transports.target import Target, parse_output
from squashkit.wording import Option

_SAYS_NOTHING = {
    "Write": {"force", "replace", "push_by_digest", "check", "provenance", "dry_run", "recipe"},
    "Read": {"verify", "fetch_base"},
}
"""Options that change nothing of what is made."""
_REFERENCES = {"base", "onto", "old_base", "have"}
"""Those that name images, or a file that tells of some."""


def refuse_unproven(read: Read, write: Write, decisions: Sequence[Decision]) -> None:
    """Raises UsageError, or PlanError, where what provenance tells would not be known: nobody checks what
    is read, or layers are not read at all."""
    if not write.provenance:
        return
    provenance = Option("Write.provenance", True)
    if not read.verify:
        raise UsageError(
            *(provenance, " tells digests of what is read, and ", Option("Read.verify", False)),
            " leaves them unchecked",
        )
    for layer in (layer for decision in decisions for layer in decision.kept):
        if not layer.blobs:
            raise PlanError(
                f"the bytes of {layer.where} are not available, and ",
                *(provenance, " takes all that the image holds"),
            )
        if is_remote(layer) and not read.fetch_base:
            raise UsageError(
                *(provenance, f" takes all that the image holds, and {layer.where} lies in a registry,"),
                *(" which ", Option("Read.fetch_base", False), " does not read"),
            )


def parameters_of(command: str, image: str, output: str | None, *groups: Any) -> dict[str, Any]:
    """What was asked for, as far as it decides what is made: the names are those of the functions and
    groups of options, defaults are left out."""
    asked: dict[str, Any] = {"command": command, "image": _named(image)}
    if output is not None:
        asked["output"] = _named(output, parse_output)
    for group in groups:
        kind = type(group).__name__
        given = {
            one.name: _asked(one.name, value)
            for one in fields(group)
            if one.name not in _SAYS_NOTHING.get(kind, ())
            and (value := getattr(group, one.name)) != _default(one)
        }
        if given:
            asked[kind.lower()] = given
    return asked


def with_provenance(
    reports: Sequence[Report],
    targets: Sequence[Target],
    parameters: Mapping[str, Any],
    read: Sequence[Mapping[str, Image | None]],
    sources: Sequence[Source],
) -> list[Report]:
    """Reports that say how their images were made, where that was asked for and something was written.
    `read` are for each the images that it was made from, by what they were to it."""
    proven = []
    for report, target, images in zip(reports, targets, read, strict=True):
        if report.result.rootfs_digest:
            dependencies = [_read(name, one, sources) for name, one in images.items() if one is not None]
            made = Provenance(
                parameters,
                dependencies,
                [_made(report, target)],
                [Artifact("rootfs", Digest(report.result.rootfs_digest), ROOTFS)],
            )
            report = replace(report, provenance=made)
        proven.append(report)
    return proven


def index_provenance(delivery: Delivery, reports: Sequence[Report], target: Target) -> Provenance | None:
    """How the images of a new index were made, and the index; None where that was not asked for."""
    parts = {str(one.image.platform): one.provenance for one in reports if one.provenance is not None}
    if delivery.index is None or not parts:
        return None
    media_type = index_type([one.result.manifest for one in reports if one.result.manifest is not None])
    return of_platforms(parts, Artifact(_title(reports[0], target), delivery.index, media_type))


def write_document(path: Path, text: str) -> None:
    """Write what an image has beside it, as `write_whole` does."""
    write_whole(path, text.encode())


def _made(report: Report, target: Target) -> Artifact:
    """The image that was made: by its manifest's digest; in a docker archive, and in a store that keeps no
    manifests, by its image_id."""
    manifest = report.result.manifest
    assert manifest is not None
    in_archive = target.place.is_file and target.format == "docker"
    if in_archive or not report.manifest_digest:
        return Artifact(_title(report, target), Digest(report.image_id), DOCKER_CONFIG)
    return Artifact(_title(report, target), manifest.digest, manifest.media_type)


def _title(report: Report, target: Target) -> str:
    """What the result is called; empty where it has no name, and goes through a pipe."""
    place = target.place
    if report.tags or place.is_stdio:
        return str(_plain(next(iter(report.tags), "")))
    return str(_plain(Path(place.path).name if place.is_file else place.path))


def _read(name: str, image: Image, sources: Sequence[Source]) -> Artifact:
    """An image that was read, as `_made` names it."""
    source = next((one for one in sources if any(_is_same(image, other) for other in one.images)), None)
    annotations = {"image": _plain(image.names[0])} if image.names else {}
    uri = str(source.reference) if source is not None and source.reference.transport == REGISTRY else ""
    manifest = image.manifest_descriptor
    if manifest is not None and (source is None or _keeps_manifests(source, image)):
        return Artifact(name, manifest.digest, manifest.media_type, uri, annotations)
    media_type = DOCKER_CONFIG if image.config.data else ""  # else a store told its id, and no more
    return Artifact(name, image.image_id, media_type, uri, annotations)


def _is_same(a: Image, b: Image) -> bool:
    """Whether two are one image in one form, whatever is known of where its layers lie."""
    return (a.image_id, a.manifest_descriptor) == (b.image_id, b.manifest_descriptor)


def _keeps_manifests(source: Source, image: Image) -> bool:
    """Whether an image has its manifest there for good. `docker save` makes one for what docker's own
    storage holds, and so does whoever writes a docker archive."""
    if source.in_store is not None:
        return source.in_store.id != image.image_id
    return not source.is_docker


def _named(reference: str, parse: Callable[[str], Reference] = parse_reference) -> str:
    """A reference without the folders that it leads through: these are nobody else's business."""
    parsed = parse(reference)
    if not parsed.is_file or parsed.is_stdio:
        return str(_plain(reference))
    return str(_plain(str(replace(parsed, path=Path(parsed.path).name or parsed.path))))


def _asked(name: str, value: Any) -> Any:
    """The value of an option; of a file its name alone."""
    if name not in _REFERENCES:
        return _plain(value)
    return _named(value) if isinstance(value, str) else [_named(one) for one in value]


def _plain(value: Any) -> Any:
    """A value as JSON has it; of texts what is no UTF-8 is escaped."""
    match value:
        case str():
            return without_secrets(value.encode("utf-8", "backslashreplace").decode())
        case bool() | int() | float() | None:
            return value
        case Compression():
            is_usual = value == Compression.of(value.codec)
            return value.codec.value if is_usual else f"{value.codec.value}:{value.level}"
        case MinSaving():
            return f"{value.share * 100:g}%" if value.share else value.size
        case Platform():
            return str(value)
        case _:
            return [_plain(one) for one in value]


def _default(one: Any) -> Any:
    return one.default if one.default is not MISSING else None
