"""Where the bytes of an image went, why, and what to write in the Dockerfile instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from squashkit.arguments import checked
from squashkit.engine.view import View
from squashkit.errors import UsageError
from squashkit.jobs.base.catalogue import Catalogue
from squashkit.jobs.base.find import base_by_catalogue
from squashkit.jobs.decide import Bases, base_beside, base_to_keep
from squashkit.jobs.look import Opened, one_platform, open_images
from squashkit.layers.rootfs import Rootfs
from squashkit.oci.documents import Platform
from squashkit.oci.graph import Image
from squashkit.options import Gates, Keep, Run, Which
from squashkit.plan.base import Base, known_base
from squashkit.plan.waste import dive_ci as ci
from squashkit.plan.waste.alive import find_duplicates, live_files
from squashkit.plan.waste.dead import find_dead, payload_of
from squashkit.plan.waste.dive import explain
from squashkit.plan.waste.dockerfile import Dockerfile, parse_dockerfile
from squashkit.plan.waste.gates import judge, measure
from squashkit.plan.waste.live import Rule, find_live, own_rules, parse_rules
from squashkit.plan.waste.match import match_steps
from squashkit.plan.waste.mends import find_mends
from squashkit.plan.waste.model import Step
from squashkit.plan.waste.savings import find_savings
from squashkit.progress import Notify, Progress, ignore
from squashkit.report.waste import WastedLayer, WasteReport
from squashkit.transports.stored import digest_of, size_of
from squashkit.values import frozen


@checked
def waste(
    image: str,
    *,
    keep: Keep | str | None = None,
    rules: str | Path | None = None,
    dockerfile: str | Path | None = None,
    gates: Gates = Gates(),
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> WasteReport:
    """Find what an image's layers hold and nobody needs: dead files and why they died, what a squash would
    save, caches and leftovers that live, and the changes to the Dockerfile that avoid them.

    `keep` says which layers are the base, as for a squash; without it what the image says of its base, and
    the catalogue. `rules` is a file of rules that come before squashkit's own, `dockerfile` the one that
    the image was built from. Raises UsageError for a fault in a file that is named, and what opening and
    reading the image raises.
    """
    ((_, report),) = waste_platforms(
        image,
        keep=Keep.of(keep),
        given=Given.read(rules, dockerfile, gates.dive_ci),
        gates=gates,
        which=one_platform(which),
        run=run,
        progress=progress,
        notify=notify,
    )
    return report


@frozen
class Given:
    """Files that somebody named, as they were read."""

    rules: tuple[Rule, ...] = ()
    dockerfile: Dockerfile | None = None
    dive: ci.Rules | None = None

    @classmethod
    def read(
        cls, rules: str | Path | None, dockerfile: str | Path | None, dive_ci: str | Path | None
    ) -> Given:
        """Raises UsageError for what is not there, or not what it should be."""
        return cls(
            parse_rules(_text_of(rules), str(rules)) if rules is not None else (),
            parse_dockerfile(_text_of(dockerfile), str(dockerfile)) if dockerfile is not None else None,
            ci.parse_rules(_text_of(dive_ci), str(dive_ci)) if dive_ci is not None else None,
        )


def waste_platforms(
    image: str,
    *,
    keep: Keep = Keep(),
    given: Given = Given(),
    gates: Gates = Gates(),
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Iterator[tuple[Platform, WasteReport]]:
    """The same of the image that is meant, or of every platform's, one after another."""
    found = waste_and_files(
        [image],
        keep=keep,
        given=given,
        gates=gates,
        which=which,
        run=run,
        progress=progress,
        notify=notify,
    )
    for report, _ in found:
        yield report.image.platform, report


def waste_and_files(
    images: Sequence[str],
    *,
    keep: Keep = Keep(),
    given: Given = Given(),
    gates: Gates = Gates(),
    which: Which = Which(),
    run: Run = Run(),
    progress: Progress | None = None,
    notify: Notify = ignore,
) -> Iterator[tuple[WasteReport, Rootfs]]:
    """The same of several images, each with its root file system, one after another."""
    if keep.segments is not None or keep.from_step is not None:
        raise UsageError("what is waste is told above one base: name it, or say how many layers it has")
    with open_images(images, which, run, progress, notify) as all_opened:
        for opened in all_opened:
            bases = Bases(opened.session, which.choice)
            here, candidates = base_beside(opened.source, keep)
            for one in opened.images(candidates):
                base = base_above(opened, one, here, keep, bases)
                with opened.view(one, keep=True) as view:
                    yield _report(opened, view, base, given, gates)


def _text_of(path: str | Path) -> str:
    """A text file, with the ends of its lines as they are. Raises UsageError."""
    try:
        return Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: it is no text in UTF-8") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def base_above(
    opened: Opened, image: Image, here: Sequence[Image], keep: Keep, bases: Bases
) -> Base | None:
    """The base that is named, else the one that is known; None where there is none."""
    if keep.base is None and keep.layers is None:
        return known_base(image, opened.source.graph) or base_by_catalogue(image, Catalogue.of_user())
    return base_to_keep(image, opened.source, here, keep, bases)


def _report(
    opened: Opened, view: View, base: Base | None, given: Given, gates: Gates
) -> tuple[WasteReport, Rootfs]:
    image, changesets = view.image, list(view.changesets.values())
    base_layers = base.layers if base is not None else 0
    rootfs, dead = find_dead(changesets, view)
    rules = (*given.rules, *own_rules())
    live = find_live(live_files(rootfs), rootfs.directories.keys(), rules)
    payloads = [payload_of(changeset) for changeset in changesets]
    wasted = measure(dead, live if gates.count_live else (), payloads, base_layers)
    steps = [Step(layer.index, layer.created_by, layer.index < base_layers) for layer in image.layers]
    dive, dive_facts = explain(changesets, dead)
    dead_sizes: Counter[int] = Counter()
    for one in dead:
        dead_sizes[one.layer] += one.size
    report = WasteReport(
        image=image,
        reference=opened.reference(image),
        base=base,
        layers=tuple(
            WastedLayer(
                layer,
                digest_of(layer) or None,
                size_of(layer),
                changeset.diff_size,
                payload,
                dead_sizes[layer.index],
            )
            for layer, changeset, payload in zip(image.layers, changesets, payloads, strict=True)
        ),
        wasted=wasted,
        dead=tuple(dead),
        savings=tuple(find_savings(changesets, view.layers.header_of(image), dead, base_layers)),
        live=tuple(live),
        mends=tuple(find_mends(steps, dead, live, given.dockerfile)),
        duplicates=tuple(find_duplicates(rootfs, view)),
        dive=dive,
        dive_facts=dive_facts,
        gates=tuple(judge(wasted, gates)),
        dive_gates=ci.judge(dive, given.dive) if given.dive is not None else (),
        dockerfile=given.dockerfile,
        match=match_steps(given.dockerfile, steps) if given.dockerfile is not None else None,
    )
    return report, rootfs
