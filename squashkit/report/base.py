"""What `squashkit base` tells."""

from __future__ import annotations

from typing import Any

from squashkit.amounts import count
from squashkit.errors import show_text, worst_of
from squashkit.oci.digests import ChainID
from squashkit.oci.graph import Image
from squashkit.plan.base import Base
from squashkit.plan.known import KnownBase
from squashkit.report.text import Fit, brief, table
from squashkit.values import frozen

_SHORT = 19


@frozen
class FoundReport:
    """The base of an image, or that it is not known."""

    image: Image
    """The image that was asked about."""
    base: Base | None
    """Its base, and by what that is known; None where it is not known."""
    hint: str
    """What the history lets one guess, empty for nothing."""

    def __repr__(self) -> str:
        base = f"{brief(self.base.name)}, {self.sure}" if self.base is not None else "unknown"
        return f"<FoundReport: {brief(self.image.title)}, base {base}>"

    @property
    def sure(self) -> str:
        """`stated` where the image names its base, `matched` where it has only the layers of one."""
        assert self.base is not None
        return "matched" if self.base.catalogued else "stated"

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        base = self.base
        return {
            "image": self.image.title,
            "platform": str(self.image.platform),
            "layers": len(self.image.layers),
            "base": {
                "name": base.name,
                "layers": base.layers,
                "chain_id": _chain_id(self.image, base.layers),
                "evidence": base.evidence,
                "sure": self.sure,
            }
            if base is not None
            else None,
            "hint": self.hint or None,
        }

    def lines(self) -> list[str]:
        """The image, its base, the evidence and how sure that is."""
        layers = count(len(self.image.layers), "layer")
        head = f"{self.image.title} ({self.image.platform}), {layers}"
        if self.base is None:
            hint = f"  {self.hint[:1].upper()}{self.hint[1:]}, which proves nothing."
            return [f"{head}: its base is not known.", *([hint] if self.hint else [])]
        sure = {
            "stated": "stated by the image, and the layers are that base's",
            "matched": "the layers are that base's; the image itself does not say it",
        }[self.sure]
        return [
            head,
            f"base      {show_text(self.base.name)}, {count(self.base.layers, 'layer')}",
            f"evidence  {show_text(self.base.evidence)}",
            f"sure      {sure}",
        ]


@frozen
class CurrentReport:
    """Whether the base that an image was built on is still what its name means."""

    image: Image
    """The image that was asked about."""
    found: Base | None
    """The base that the image has, by whatever name; None where it is not known."""
    built: Base | None
    """The version of the base that the image was built on; None where none is known."""
    reference: str
    """What was asked what it means now."""
    now: Image
    """The image that the reference means now."""
    digest_now: str
    """Of the manifest or index that it means now, empty where there is none."""
    digest_built: str
    """Of that version as the image names it, empty where it does not."""

    def __repr__(self) -> str:
        return f"<CurrentReport: {brief(self.image.title)}, {self.status}, {brief(self.reference)}>"

    @property
    def current(self) -> bool:
        """Whether the image begins with the layers that the reference has now."""
        now = self.now.diff_ids
        return bool(now) and self.image.diff_ids[: len(now)] == now

    @property
    def status(self) -> str:
        """`current`, `outdated`, or `not based` where the image stands on no version that is known."""
        if self.current:
            return "current"
        return "outdated" if self.built is not None else "not based"

    @property
    def _chain_id(self) -> str:
        return _chain_id(self.image, self.built.layers) if self.built is not None else ""

    @property
    def _means(self) -> str:
        """Now, by the same kind of digest as the image has it."""
        if self.digest_built and self.digest_now:
            return self.digest_now
        chain = [layer.chain_id for layer in self.now.layers]
        return chain[-1] if chain else ""

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "image": self.image.title,
            "platform": str(self.image.platform),
            "base": {
                "reference": self.reference,
                "layers": self.built.layers if self.built is not None else None,
                "evidence": self.built.evidence if self.built is not None else None,
            },
            "built_on": {
                "digest": self.digest_built or None,
                "chain_id": self._chain_id or None,
            },
            "now": {
                "digest": self.digest_now or None,
                "chain_id": self.now.layers[-1].chain_id if self.now.layers else None,
            },
            "current": self.current,
            "status": self.status,
        }

    def lines(self) -> list[str]:
        """What people are told: the status first."""
        title, reference = self.image.title, show_text(self.reference)
        if self.current:
            return [f"current: {title} stands on {reference} as it is now", f"  {self._means}"]
        if self.built is None:
            head = f"not based: {title} does not stand on {reference}, in any version that is known here"
            built = [f"  built on {show_text(self.found.name)}"] if self.found is not None else []
            add = "  an older version is known once it is added: squashkit base add REF, of the same name"
            return [head, *built, add]
        return [
            f"outdated: {title} does not stand on {reference} as it is now",
            f"  built on {self.digest_built or self._chain_id or 'a version that it does not tell'}",
            f"  now      {self._means}",
        ]


_CODES = {"current": 0, "outdated": 3, "not based": 6}


@frozen
class CheckedImage:
    """One of many images."""

    reference: str
    """As it was asked for."""
    report: CurrentReport | None
    """None where it could not be checked."""
    why: str = ""
    """Why not, in a line."""
    code: int = 0
    """The exit code of that."""

    @property
    def status(self) -> str:
        """As a CurrentReport has it, or `failed`."""
        return self.report.status if self.report is not None else "failed"

    @property
    def exit_code(self) -> int:
        """That of a check of this image alone."""
        return _CODES[self.report.status] if self.report is not None else self.code

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "reference": self.reference,
            "status": self.status,
            "exit_code": self.exit_code,
            "why": self.why or None,
            "check": self.report.json() if self.report is not None else None,
        }


@frozen
class CheckedBases:
    """Whether the bases of many images are still current."""

    images: tuple[CheckedImage, ...]
    """In the order in which they were asked for, or the registry lists them."""
    notes: tuple[str, ...] = ()
    """What was left out."""

    def __repr__(self) -> str:
        return f"<CheckedBases: {count(len(self.images), 'image')}>"

    @property
    def exit_code(self) -> int:
        """The worst of all images."""
        return worst_of({one.exit_code for one in self.images})

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {"images": [one.json() for one in self.images], "notes": list(self.notes)}

    def lines(self) -> list[str]:
        """A table with a line for each image."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        rows = [
            [
                show_text(one.reference),
                one.status,
                show_text(one.report.reference if one.report is not None else one.why),
            ]
            for one in self.images
        ]
        lines = table(["image", "status", "base"], rows, fit=Fit(width, wrap=[2, 0]))
        return [*lines, *(["", *self.notes] if self.notes else [])]


@frozen
class CatalogueReport:
    """The bases of the catalogue."""

    bases: tuple[KnownBase, ...]
    """By name, the latest of each first."""

    def __repr__(self) -> str:
        return f"<CatalogueReport: {count(len(self.bases), 'base')}>"

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        bases = [
            {
                "reference": base.reference,
                "platform": str(base.platform),
                "image_id": base.image_id,
                "digest": base.digest or None,
                "diff_ids": list(base.diff_ids),
                "chain_ids": [layer.chain_id for layer in base.image().layers],
                "seen": base.seen,
                "added": base.added,
            }
            for base in self.bases
        ]
        return {"bases": bases}

    def lines(self) -> list[str]:
        """A table with a line for each base."""
        return self.fitted(None)

    def fitted(self, width: int | None) -> list[str]:
        """The same on a terminal of so many columns."""
        if not self.bases:
            return ["The catalogue is empty: squashkit base add REF adds a base."]
        rows = [
            [
                show_text(base.reference),
                str(base.platform),
                str(len(base.diff_ids)),
                base.image_id[:_SHORT],
                base.seen[:16].replace("T", " "),
                "base add" if base.added else "use",
            ]
            for base in self.bases
        ]
        head = ["base", "platform", "layers", "image_id", "seen (UTC)", "by"]
        return table(head, rows, right={2}, fit=Fit(width, leave_out=[3], wrap=[0]))


def _chain_id(image: Image, layers: int) -> ChainID | str:
    return image.layers[layers - 1].chain_id if layers else ""
