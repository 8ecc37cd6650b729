"""What was made of images, and what people should know of it."""

from __future__ import annotations

from collections.abc import Sequence

from squashkit.amounts import together
from squashkit.engine.deliver import Delivery
from squashkit.errors import show_text
from squashkit.jobs.choose import Chosen
from squashkit.oci.graph import crowded
from squashkit.oci.media import Codec
from squashkit.oci.shapes import odd_settings_told
from squashkit.options import History
from squashkit.plan.dangling import dangling_names
from squashkit.plan.delta import Delta
from squashkit.plan.documents import Result, Transfer, has_broken_history
from squashkit.plan.segments import Decision
from squashkit.report.squash import Report
from squashkit.report.stored import is_one_kind
from squashkit.transports.archive.reader import Archive
from squashkit.transports.session import Session
from squashkit.transports.source import Source
from squashkit.transports.stored import codec_of, lies_in_registry
from squashkit.transports.target import Target
from squashkit.wording import Option, Words

MIXED = (
    "Some layers are compressed and some are not: crane takes all for what the first one is, and makes a"
    " wrong image of this archive. An OCI layout (oci:DIR) it reads rightly."
)
"""What people should know of a docker archive with plain layers and compressed ones."""


def transferred(session: Session, deliveries: Sequence[Delivery], to: str | None) -> Transfer | None:
    """What a whole run moved to and from daemons and registries; None where there is neither."""
    traffic = session.registries.traffic
    archives: dict[Archive, list[str]] = {}  # in one of which several images may have come
    for source in session.sources:
        if source.in_store is not None and isinstance(source.container, Archive):
            archives.setdefault(source.container, []).append(source.title)
    read = [(together(titles), archive.size) for archive, titles in archives.items()]
    loading = [one.loading for one in deliveries if one.loading is not None]
    if traffic is None and not read and not loading:
        return None
    if traffic is not None and traffic.down:
        names = [one.reference.in_registry for one in session.sources if one.remote is not None]
        hosts = dict.fromkeys(name.host for name in names if name is not None)
        read.append((" and ".join(hosts) or to or "a registry", traffic.down))
    return Transfer(
        tuple(read),
        up=(traffic.up if traffic is not None else 0) + sum(one.sent for one in loading),
        not_moved=sum(map(_unmoved, deliveries)),
        proof=sum(one.proof for one in loading),
        to=to or "",
    )


def _unmoved(delivery: Delivery) -> int:
    """Bytes of layers that were there already; of one that two platforms have, once."""
    if delivery.loading is not None:
        return delivery.loading.left_out
    there = {digest: size for one in delivery.done for digest, size in one.result.there.items()}
    return sum(there.values())


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
                tags=tuple(dict.fromkeys(tag.verbatim or tag.name for tag in target.tags)),
                dry_run=not target.writes,
                checked=target.check,
                is_pushed=target.is_registry,
                transfer=None if target.several else transfer,
                delta=_delta(result, delivery, target),
                store_id=delivery.loading.id if delivery.loading and not target.several else "",
                notes=(
                    *known,
                    *delivery.notes,
                    *result.notes,
                    *_dangling(source, result),
                    *_mixed(target, result),
                    *_unproved(target, delivery),
                ),
            )
        )
    return reports


def _delta(result: Result, delivery: Delivery, target: Target) -> Delta | None:
    """What of an image stayed out of the archive; None where it is to have all."""
    if target.other is None:
        return None
    out = {layer.digest for layer in result.after} & delivery.left_out.keys()
    sizes = {digest: delivery.left_out[digest] for digest in sorted(out)}
    return Delta(target.other.title, target.other.have.keeper, sizes)


def _unproved(target: Target, delivery: Delivery) -> list[str]:
    """That what says which layers are there is not the place itself."""
    if target.other is None or target.other.is_host or not delivery.left_out:
        return []
    title, ask = target.other.title, "`squashkit inspect --have-list`"
    why = "which takes what lacks a layer without a word"
    return [f"{title} is no proof for containerd's store, {why}: a have-list of the host is ({ask})."]


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


def _mixed(target: Target, result: Result) -> list[str]:
    """Whether a docker archive has plain layers and compressed ones. go-containerregistry looks at the
    first alone (pkg/v1/tarball/image.go, areLayersCompressed)."""
    reference = target.reference
    if target.format != "docker" or reference is None or not reference.is_file or is_one_kind(result.after):
        return []
    return [MIXED]


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
        and not any(lies_in_registry(blob) for layer in image.layers for blob in layer.blobs)
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
