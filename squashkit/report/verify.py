"""What a verification found, as people and programs read it."""

from __future__ import annotations

from itertools import islice
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import show_path, show_text
from squashkit.layers.search import Pattern, Sighting
from squashkit.oci.graph import Image
from squashkit.oci.have import Keeper
from squashkit.plan.delta import Needed
from squashkit.report.text import brief, shorten
from squashkit.values import frozen


@frozen
class Finding:
    """Something that is wrong or worth a warning, and where."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@frozen
class ReplayedImage:
    """An image that a recipe makes, and that was looked at."""

    image_id: str
    """By which it is known: the digest of its config."""
    source: str
    """What the recipe makes it of, as people call it."""
    same_blobs: bool
    """Whether its layers are the very blobs that the recipe makes, or hold the same, compressed
    otherwise."""

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {"image_id": self.image_id, "source": self.source, "same_blobs": self.same_blobs}


@frozen
class Loading:
    """Whether a delta will load where the layers are that stayed out of it."""

    have: str
    """What tells which layers are there, as people call it."""
    keeper: Keeper
    """What keeps them."""
    needed: tuple[tuple[Image, Needed], ...]
    """The layers that the delta needs, with their images."""
    why_not: str
    """Why nothing of this form loads there; else empty."""
    is_proof: bool
    """Whether that was told by the very place."""

    @property
    def loads(self) -> bool:
        """Whether all that is needed is there."""
        return not self.why_not and not any(one.lacking for _, one in self.needed)

    def json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "have": self.have,
            "store": self.keeper.value,
            "loads": self.loads,
            "why": self.why_not or None,
            "needed": [
                {
                    "platform": str(image.platform),
                    "layer": one.layer.index,
                    "chain_id": one.layer.chain_id,
                    "diff_id": one.layer.diff_id,
                    "digest": one.layer.descriptor.digest if one.layer.descriptor else None,
                    "there": not one.lacking,
                    "why": one.lacking or one.doubt or None,
                }
                for image, one in self.needed
            ],
        }

    def lines(self, limit: int) -> list[str]:
        """For people: what is lacking, at most so many of it (0: all), then the verdict."""
        lines = [f"lacking  {self.why_not}"] if self.why_not else []
        lacking = [one for _, one in self.needed if one.lacking]
        doubtful = [one for _, one in self.needed if one.doubt]
        for one in islice(lacking, limit or None):
            lines.append(f"lacking  {one.layer.where}: {one.lacking}")
        for one in islice(doubtful, limit or None):
            lines.append(f"warning  {one.layer.where}: {one.doubt}: docker's own storage takes that alone")
        if limit and (more := len(lacking) + len(doubtful) - len(lines) + bool(self.why_not)):
            lines.append(f"         ... and {more:,} more; --limit 0 shows all")
        layers = count(len(self.needed), "layer")
        if not self.needed and self.loads:
            lines.append(f"It is whole, and needs nothing of {self.have}")
        elif not self.loads:
            lines.append(f"It needs {layers}, of which {self.have} has {len(self.needed) - len(lacking)}")
        elif not self.is_proof:
            lines.append(f"It will load where all of {self.have} is: that has the {layers} that it needs")
        else:
            lines.append(f"It will load: {self.have} has the {layers} that it needs")
        return lines


@frozen
class Verdict:
    """What was looked at and what was found."""

    source: str
    """What it is about, as people call it."""
    images: tuple[Image, ...]
    """The images that were looked at."""
    layers: int
    """How many different ones were looked at."""
    blobs: int
    """How many were hashed."""
    size: int
    """Bytes of the blobs that were hashed."""
    entries: int
    """How many the layers have."""
    faults: tuple[Finding, ...]
    """What breaks a specification, or a promise that the image makes."""
    warnings: tuple[Finding, ...]
    """What is legal, and is applied differently by different tools, or merged by none."""
    patterns: tuple[Pattern, ...]
    """What was to be absent."""
    places: tuple[Sighting, ...]
    """Where that still is, or cannot be looked for."""
    replayed: tuple[ReplayedImage, ...] | None = None
    """Those of the images that the recipe makes; None where there is none, or a fault."""
    loading: Loading | None = None
    """Of a delta, whether it will load; None for a whole image."""

    def __repr__(self) -> str:
        found = f"{count(len(self.faults), 'fault')}, {count(len(self.warnings), 'warning')}"
        return f"<Verdict: {brief(self.source)}, {found}, {count(len(self.places), 'place')} not absent>"

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return {
            "source": self.source,
            "images": [
                {"names": list(image.names), "platform": str(image.platform), "image_id": image.image_id}
                for image in self.images
            ],
            "blobs": self.blobs,
            "bytes": self.size,
            "entries": self.entries,
            "faults": [_finding(finding) for finding in self.faults],
            "warnings": [_finding(finding) for finding in self.warnings],
            "absent": {
                pattern.text: [_place(place) for place in self.places if place.pattern == pattern.text]
                for pattern in self.patterns
            },
            "recipe": None if self.replayed is None else [one.json() for one in self.replayed],
            "delta": self.loading.json() if self.loading is not None else None,
        }


@frozen
class VerifyReport:
    """A verdict, as it is told."""

    verdict: Verdict
    limit: int
    """How many warnings, and places of each pattern, to tell people; 0 for all."""

    def json(self) -> dict[str, Any]:
        """The fields that `--json` prints."""
        return self.verdict.json()

    def lines(self) -> list[str]:
        """Faults first, then warnings, then what is not absent; the last line is the verdict."""
        verdict = self.verdict
        lines = [f"fault    {finding}" for finding in verdict.faults]
        shown = verdict.warnings[: self.limit] if self.limit else verdict.warnings
        lines += [f"warning  {finding}" for finding in shown]
        if more := len(verdict.warnings) - len(shown):
            lines.append(f"         ... and {count(more, 'more warning')}; --limit 0 shows all")
        for pattern in verdict.patterns:
            lines += self._absence(pattern)
        for one in verdict.replayed or ():
            how = "" if one.same_blobs else "; its layers are compressed otherwise"
            lines.append(f"recipe   it makes {one.image_id[:19]} of {one.source}, which is here{how}")
        if verdict.loading is not None:
            lines += verdict.loading.lines(self.limit)
        looked = (
            f"{count(len(verdict.images), 'image')}, {count(verdict.layers, 'layer')},"
            f" {count(verdict.blobs, 'blob')} of {size(verdict.size)}, {verdict.entries:,} entries"
        )
        if verdict.faults:
            lines.append(f"Bad: {count(len(verdict.faults), 'fault')} in {looked}")
        elif verdict.places:
            lines.append(f"Not absent; no faults: {looked}")
        elif verdict.loading is not None and not verdict.loading.loads:
            lines.append(f"It will not load; no faults: {looked}")
        else:
            lines.append(f"Good: {looked}")
        return lines

    def _absence(self, pattern: Pattern) -> list[str]:
        places = [place for place in self.verdict.places if place.pattern == pattern.text]
        if not places:
            what = "no file of any layer is that"
            if not pattern.is_content:
                what = "no path of any layer is named so"
            return [f"absent   {show_text(pattern.text)}: {what}, and no history and no config tells it"]
        shown = list(islice(places, self.limit or None))
        lines = [f"PRESENT  {show_text(pattern.text)}: in {count(len(places), 'place')}"]
        lines += [f"           {_show_place(place)}" for place in shown]
        if more := len(places) - len(shown):
            lines.append(f"           ... and {more:,} more; --limit 0 shows all")
        return lines


def _show_place(place: Sighting) -> str:
    path = f": /{show_path(place.path)}" if place.path is not None else ""
    what = f" ({place.what})" if place.path is not None else f": {shorten(place.what, 70)}"
    return place.where + path + what


def _finding(finding: Finding) -> dict[str, str | None]:
    return {"where": finding.where or None, "message": finding.message}


def _place(place: Sighting) -> dict[str, str | None]:
    path = None if place.path is None else "/" + show_path(place.path)
    return {"where": place.where, "path": path, "what": place.what}
