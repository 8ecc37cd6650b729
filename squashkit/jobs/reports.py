"""What was made of images, and what people should know of it."""

from __future__ import annotations

from collections.abc import Sequence

from squashkit.engine.deliver import Delivery
from squashkit.errors import show_text
from squashkit.jobs.choose import Chosen
from squashkit.oci.graph import crowded
from squashkit.oci.media import Codec
from squashkit.oci.shapes import odd_settings_told
from squashkit.options import History
from squashkit.plan.dangling import dangling_names
from squashkit.plan.documents import Result, Transfer, has_broken_history
from squashkit.plan.segments import Decision
from squashkit.report.squash import Report
from squashkit.transports.archive.reader import Archive
from squashkit.transports.registry.traffic import Traffic
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import codec_of, is_remote
from squashkit.transports.target import Target
from squashkit.wording import Option, Words


def transferred(
    session: Session, delivery: Delivery, sources: Sequence[Source], since: Traffic = Traffic()
) -> Transfer | None:
    """Bytes to and from daemons and registries, less what had gone over the wire before; None where there
    is neither."""
    counted = session.registries.traffic
    saved = {
        source.container: source.container.size  # in one of which several images may have come
        for source in sources
        if source.in_store is not None and isinstance(source.container, Archive)
    }
    loading = delivery.loading
    if counted is None and not saved and loading is None:
        return None
    now = counted or since
    unmoved = {digest: size for one in delivery.done for digest, size in one.result.there.items()}
    return Transfer(
        down=now.down - since.down + sum(saved.values()),
        up=now.up - since.up + (loading.sent if loading else 0),
        not_moved=loading.left_out if loading else sum(unmoved.values()),
        proof=loading.proof if loading else 0,
    )


def reports_of(
    source: Source,
    delivery: Delivery,
    targets: Sequence[Target],
    notes: Sequence[Sequence[str]],
    transfer: Transfer | None,
) -> list[Report]:
    """What was made of each image of a source, with what people should know of it."""
    reports = []
    for done, target, known in zip(delivery.done, targets, notes, strict=True):
        result = done.result
        reports.append(
            Report(
                result=result,
                source=source.title,
                output=delivery.output,
                tags=tuple(tag.verbatim or tag.name for tag in target.tags),
                dry_run=not target.writes,
                checked=target.check,
                is_pushed=target.is_registry,
                transfer=transfer,
                store_id=delivery.loading.id if delivery.loading and not target.several else "",
                notes=(*known, *delivery.notes, *result.notes, *_dangling(source, result)),
            )
        )
    return reports


def _dangling(source: Source, result: Result) -> list[str]:
    """What of an image names layers that are no more."""
    image = result.image
    read = [one for one in source.images if one.image_id == image.image_id]
    before = [layer for one in (image, *read[:1]) for layer in one.layers]
    names = dangling_names(image, before, result.after)
    if not names:
        return []
    shown = ", ".join(map(show_text, names))
    return [f"These labels name layers that the result does not have; they stay as they are: {shown}."]


def notes_on(
    source: Source, decision: Decision, target: Target, chosen: Chosen, history: History
) -> list[str]:
    """What of an image, its source and its target has consequences that are not seen at once."""
    image, segments = decision.image, decision.segments
    notes: list[str] = []
    reference = target.reference
    named = reference is not None and (reference.image or not reference.is_file)
    if target.has_own_names and not named and target.tags and (reference or source.reference.is_file):
        names = ", ".join(tag.verbatim or tag.name for tag in target.tags)
        notes.append(
            Words(
                "No ", Option("Write.tags"), f" was given: the result has the source's own name ({names})."
            )
        )
    if chosen.note():
        notes.append(chosen.note())
    if chosen.missing:
        missing = ", ".join(chosen.missing)
        notes.append(f"Left out, since not all of its blobs are there: {missing}.")
    notes += [f"Passed over {passed}." for passed in source.listing.passed_over()]
    if source.listing.attestations:
        notes.append("Attestations (provenance, SBOM) describe the image as it was and are left out.")
    if source.listing.artifacts:
        notes.append(
            "Signatures and other artifacts beside the image refer to it as it was and are left out."
        )
    if image.manifest and "subject" in image.manifest.raw:
        notes.append("The manifest's subject is dropped: it refers to the image as it was.")
    if odd := image.config.odd_settings:
        notes.append(f"{odd_settings_told(odd)}; they are carried as they are.")
    if any(layer.descriptor and layer.descriptor.is_foreign for layer in image.layers):
        notes.append("Layers that must not be distributed are in the result, as ordinary ones.")
    if has_broken_history(image):
        notes.append(
            "The history does not fit the layers; it is replaced by one entry a layer, and its text is"
            " kept in a comment."
        )
    if target.format == "docker" and any(
        layer.descriptor and layer.descriptor.codec is Codec.ZSTD for layer in image.layers
    ):
        notes.append(
            "A docker archive cannot hold zstd layers: kept ones are stored plain. Their diff_ids, and so"
            " sharing on hosts, stay the same."
        )
    if (
        target.is_registry
        and not any(map(is_remote, image.layers))
        and all(len(layer.blobs) < 2 for layer in image.layers)
        and any(s.keep for s in segments)
        and any(codec_of(layer) is Codec.NONE for layer in image.layers)
    ):
        notes.append(
            "The kept layers are compressed anew: a host that has pulled the base downloads them again."
            " A base that is named as docker://HOST/NAME is taken as that registry has it."
        )
    if said := crowded(decision.count):
        notes.append(f"The result has {said}.")
    if history.drop:
        notes.append("History dropped; secrets may remain in Env and labels, which are never touched.")
    if target.is_oci_archive:
        notes.append(
            Words(
                "docker before 25 cannot load an OCI archive; what ",
                Option("Write.format", "docker"),
                " writes, it can.",
            )
        )
    return notes
