"""The shape of a fleet of which nothing is there but its manifests."""

from __future__ import annotations

from collections.abc import Sequence

from squashkit.arguments import checked, texts
from squashkit.errors import ImageNotFound, InvalidImage, SquashkitError, UsageError, show_text
from squashkit.oci.manifests import Unlisted
from squashkit.plan.fleet.shape import Gathered
from squashkit.progress import Progress, Silent
from squashkit.report.fleet.shape import LeftOut, ShapeReport
from squashkit.transports.manifests import ManifestFile, manifest_files


@checked
def measure_manifests(places: Sequence[str] | str, *, progress: Progress | None = None) -> ShapeReport:
    """What images share, by their manifests alone, which lie in files or below folders.

    A file holds a manifest, a dump `{"manifests": {TAG: manifest}}`, or lines of `{"reference",
    "manifest"}`. What holds none is left out, and so is what cannot be counted: indexes, images of schema
    1, images with foreign layers, broken manifests. The report's notes tell it. Raises UsageError where no
    place is given, TransportError where something cannot be read, ImageNotFound or InvalidImage where a
    place holds no image.
    """
    given = texts(places)
    if not given:
        raise UsageError("no file or folder with manifests was given")
    fleet, left_out = Gathered(), LeftOut()
    for place in given:
        left_out.update(_gather(place, fleet, progress or Silent()))
    return ShapeReport(fleet.shape(), left_out)


def _gather(place: str, fleet: Gathered, progress: Progress) -> LeftOut:
    """Add the images of a place to the fleet. Returns what else it holds."""
    left_out = LeftOut()
    files = []
    for one in manifest_files(place):
        if isinstance(one, ManifestFile):
            files.append(one)
        else:
            left_out.add(one)
    progress.stage("Reading manifests", sum(file.size for file in files))
    has_image = False
    for file in files:
        for found in file.read():
            if isinstance(found, Unlisted):
                left_out.add(found, file.path)
            else:
                fleet.add(found.repository or file.folder, found.layers)
                has_image = True
        progress.advance(file.size)
    progress.close()
    if not has_image:
        raise _no_image(place, left_out)
    return left_out


def _no_image(place: str, left_out: LeftOut) -> SquashkitError:
    """Why a place holds no image."""
    shown = show_text(place)
    if left_out.faults:
        fault = left_out.faults[0].removeprefix(f"{shown}: ")
        return InvalidImage(f"no manifest of an image can be read: {fault}", where=shown)
    others = f": only {left_out}" if left_out else ""
    return ImageNotFound(f"{shown} holds no manifest of an image{others}", reference=place)
