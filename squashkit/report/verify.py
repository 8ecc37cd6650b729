"""What a verification found, as people and programs read it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import show_path, show_text
from squashkit.layers.search import Pattern, Sighting
from squashkit.oci.graph import Image
from squashkit.report.text import brief, shorten


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong or worth a warning, and where."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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
        }


@dataclass(frozen=True, slots=True)
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
        looked = (
            f"{count(len(verdict.images), 'image')}, {count(verdict.layers, 'layer')},"
            f" {count(verdict.blobs, 'blob')} of {size(verdict.size)}, {verdict.entries:,} entries"
        )
        if verdict.faults:
            lines.append(f"Bad: {count(len(verdict.faults), 'fault')} in {looked}")
        elif verdict.places:
            lines.append(f"Not absent; no faults: {looked}")
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
