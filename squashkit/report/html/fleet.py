"""What the page about a fleet shows, as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from squashkit.amounts import count, size, some
from squashkit.errors import show_path, show_text
from squashkit.oci.digests import ChainID
from squashkit.oci.graph import Image, Layer
from squashkit.oci.names import split_tag
from squashkit.oci.steps import shown
from squashkit.plan.fleet.freed import Tag
from squashkit.plan.fleet.pull import pulls
from squashkit.plan.fleet.strategies import ALL, BEST, BUILT, Strategy
from squashkit.plan.fleet.wasted import Wasted
from squashkit.report.fleet.advice import ONE_IMAGE, WHY_NONE, AdviceReport
from squashkit.report.fleet.freed import FreedReport
from squashkit.report.fleet.storage import UNSURE
from squashkit.report.fleet.titles import TITLES
from squashkit.report.html.page import Amount, Fact
from squashkit.report.html.treemap import Box, squarify
from squashkit.report.text import percent
from squashkit.values import frozen

_ROWS = 50
"""The most rows of a table."""
_FEW = 5
"""Of how many repositories a command is told."""
_BOXES = 1200
"""The most layers that the picture has one by one."""
_NAME, _STEP, _PATH = 120, 160, 200
"""Characters of names, steps and paths that are shown."""
_WIDE, _HIGH = 1000.0, 560.0
"""The size of the picture."""
_LETTER = 6.6
"""About how wide a letter is there."""
_OTHERS = "layers that several repositories share"
_NO_BASE = "no base is known"
_WHERE = {"registry": "in a registry", "host": "on a host", "update": "for updates"}


@frozen
class Pictured:
    """What is known of a fleet."""

    advice: AdviceReport
    images: tuple[Image, ...]
    base_layers: tuple[int, ...]
    """Of each image."""
    wasted: Wasted
    tags: tuple[Tag, ...]
    """What a registry would hold of these images alone."""


class Bar(NamedTuple):
    """What a strategy saves: a bar from zero, in percent of the widest."""

    title: str
    taken: Amount
    saved: str
    """In words."""
    share: str
    is_less: bool
    width: float
    host: str
    """What it changes on hosts, in percent."""
    layers: str


class Place(NamedTuple):
    """A base or a repository in the picture, with a title where there is room."""

    x: float
    y: float
    width: float
    height: float
    label: str
    title: str
    level: int


class Leaf(NamedTuple):
    """A layer in the picture; parts of it are dead, or are there more than once."""

    x: float
    y: float
    width: float
    height: float
    dead: float
    """How wide the dead part is, from the right."""
    twice: float
    """How wide the part is that is there more than once, before that."""
    label: str
    title: str


class Row(NamedTuple):
    """A row of a table."""

    cells: tuple[str, ...]


@frozen
class FleetPage:
    """The whole page."""

    title: str
    answer: tuple[str, ...]
    facts: tuple[Fact, ...]
    bars: tuple[Bar, ...]
    whole: tuple[Bar, ...]
    """That of squashing each image whole."""
    minimise: str
    places: tuple[Place, ...]
    leaves: tuple[Leaf, ...]
    picture: str
    """What the picture shows, in a sentence; empty where no layer has a byte."""
    knows_twice: bool
    parts: tuple[Row, ...]
    """Of the picture: base, repository, layers, bytes, dead, twice."""
    layers: tuple[Row, ...]
    files: tuple[Row, ...]
    advice: tuple[Row, ...]
    one_image: str
    commands: tuple[Row, ...]
    """For which rows of the advice, and the command; empty where there is none."""
    why_none: str
    pulls: tuple[Row, ...]
    repositories: tuple[Row, ...]
    tags: tuple[Row, ...]
    notes: tuple[str, ...]
    data: Mapping[str, Any]
    """What the script computes downloads from."""


def page_of(known: Pictured) -> FleetPage:
    """What the page shows."""
    return _Maker(known).page()


@dataclass
class _Part:
    """Layers of one base and repository."""

    base: str
    repository: str
    chains: list[ChainID] = field(default_factory=list)


@dataclass(frozen=True)
class _Maker:
    known: Pictured

    @cached_property
    def names(self) -> list[str]:
        return [_cut(show_text(name), _NAME) for name in self.known.advice.fleet.names]

    @cached_property
    def layers(self) -> dict[ChainID, tuple[int, Layer]]:
        """Each different layer on its parents: the number of the first image that has it, and it there."""
        found: dict[ChainID, tuple[int, Layer]] = {}
        for number, image in enumerate(self.known.images):
            for layer in image.layers:
                found.setdefault(layer.chain_id, (number, layer))
        return found

    @cached_property
    def holders(self) -> Mapping[ChainID, list[int]]:
        found: defaultdict[ChainID, list[int]] = defaultdict(list)
        for number, image in enumerate(self.known.images):
            for layer in image.layers:
                found[layer.chain_id].append(number)
        return found

    def page(self) -> FleetPage:
        report = self.known.advice
        fleet = report.fleet
        places, leaves, parts = self._picture()
        freed = FreedReport(self.known.tags)
        return FleetPage(
            title=f"{count(len(self.names), 'image')}: what they take",
            answer=tuple(_plain(line) for line in report.summary()),
            facts=tuple(self._facts()),
            bars=tuple(self._bars([one for one in fleet.shown if one.name not in (BUILT, ALL)])),
            whole=tuple(self._bars([one for one in fleet.shown if one.name == ALL])),
            minimise=_WHERE[fleet.minimise],
            places=tuple(places),
            leaves=tuple(leaves),
            picture=self._sentence() if leaves else "",
            knows_twice=self.known.wasted.twice is not None,
            parts=tuple(parts[:_ROWS]),
            layers=tuple(self._wasted_layers()),
            files=tuple(self._wasted_files()),
            advice=tuple(self._advice()),
            one_image=ONE_IMAGE,
            commands=tuple(self._commands()),
            why_none=f"none alone: squashkit fleet squash, since {WHY_NONE}",
            pulls=tuple(self._pulls()),
            repositories=tuple(_repositories(freed)),
            tags=tuple(_tags(freed)),
            notes=tuple(_plain(line) for line in (*fleet.caveat(), *self._of_unknown(), *fleet.notes)),
            data=self._data(),
        )

    def _of_unknown(self) -> Iterator[str]:
        if unknown := [_cut(one.name, _NAME) for one in self.known.advice.fleet.unknown]:
            images = count(len(unknown), "image")
            yield f"No base is known of {images}, left as built: {some(unknown, 2 * _FEW)}."

    def _facts(self) -> Iterator[Fact]:
        fleet, wasted = self.known.advice.fleet, self.known.wasted
        built, best = fleet.strategy(BUILT), fleet.strategy(BEST)
        layers = f"{fleet.blobs:,} different of {count(fleet.references, 'layer')}"
        yield Fact("registry", "In a registry, as built", size(built.registry), layers, built.registry)
        saved = fleet.cost(built) - fleet.cost(best)
        share = percent(max(0, saved), fleet.cost(built))
        about = "about " * fleet.estimate
        told = f"{about}{size(saved)}" if saved > 0 else "nothing"
        where = _WHERE[fleet.minimise]
        note = f"{share} {where}"
        if fleet.is_unsure(BEST):
            told, note = UNSURE, "an estimate cannot tell"
        yield Fact("saving", "The best cut saves", told, note, saved)
        dead, content = sum(wasted.dead.values()), sum(wasted.content.values())
        yield Fact("dead", "Dead files", size(dead), f"{percent(dead, content)} of {size(content)}", dead)
        if wasted.twice is None:
            yield Fact("twice", "There more than once", "not known", "contents lie in a registry", 0)
        else:
            twice = sum(wasted.twice.values())
            yield Fact("twice", "There more than once", size(twice), "in files of different layers", twice)

    def _bars(self, strategies: Sequence[Strategy]) -> Iterator[Bar]:
        fleet = self.known.advice.fleet
        built = fleet.strategies[0]
        before = fleet.cost(built)
        changes = [before - fleet.cost(one) for one in strategies]
        widest = max(map(abs, changes), default=0) or 1
        for one, saved in zip(strategies, changes, strict=True):
            about = "about " * (one.is_estimated or fleet.estimate)
            said = f"{about}{size(abs(saved))} {'less' if saved > 0 else 'more'}" if saved else "the same"
            unsure = fleet.is_unsure(one.name)
            if unsure:
                said = f"{UNSURE}: an estimate cannot tell if less or more"
            yield Bar(
                TITLES[one.name],
                Amount.of(fleet.cost(one)),
                said,
                f"{-100 * saved / before:+.1f} %" if before and saved and not unsure else "",
                saved > 0,
                round(100 * abs(saved) / widest, 1),
                f"{100 * (one.host - built.host) / built.host:+.1f} %" if built.host else "",
                f"{one.layers:,}",
            )

    # The picture

    def _parts(self) -> list[_Part]:
        """The layers by base and repository; those of bases are parts of their own."""
        found = self.known.advice.found
        keys: defaultdict[ChainID, set[tuple[str, str]]] = defaultdict(set)
        for number, image in enumerate(self.known.images):
            base = _reference(found[number].base) or _NO_BASE
            repository = split_tag(self.known.advice.fleet.names[number])[0]
            for layer in image.layers:
                in_base = layer.index < self.known.base_layers[number]
                keys[layer.chain_id].add((base, "" if in_base else repository))
        parts: dict[tuple[str, str], _Part] = {}
        for chain_id, of in keys.items():
            bases = sorted({base for base, _ in of})
            own = sorted({repository for _, repository in of})
            repository = "the base itself" if own[0] == "" else own[0] if len(own) == 1 else _OTHERS
            key = bases[0], repository
            parts.setdefault(key, _Part(*key)).chains.append(chain_id)
        return [*parts.values()]

    def _twice_of(self, chain_id: ChainID) -> int:
        wasted = self.known.wasted
        if wasted.twice is None:
            return 0
        lives = wasted.content[chain_id] - wasted.dead.get(chain_id, 0)
        return min(wasted.twice.get(self.layers[chain_id][1].diff_id, 0), lives)

    def _picture(self) -> tuple[list[Place], list[Leaf], list[Row]]:
        """Places and layers of the picture, and its numbers as a table."""
        content, dead = self.known.wasted.content, self.known.wasted.dead
        parts = [(part, sum(content[one] for one in part.chains)) for part in self._parts()]
        parts.sort(key=lambda one: (-one[1], one[0].base, one[0].repository))
        rows = [
            Row(
                (
                    _cut(show_text(part.base), _NAME),
                    _cut(show_text(part.repository), _NAME),
                    f"{len(part.chains):,}",
                    size(total),
                    size(sum(dead.get(one, 0) for one in part.chains)),
                    size(sum(map(self._twice_of, part.chains))),
                )
            )
            for part, total in parts
        ]
        alone = {*sorted(self.layers, key=lambda one: -content[one])[:_BOXES]}
        by_base: defaultdict[str, list[tuple[_Part, int]]] = defaultdict(list)
        for part, total in parts:
            if total:
                by_base[part.base].append((part, total))
        bases = sorted(
            ((base, sum(total for _, total in own)) for base, own in by_base.items()),
            key=lambda one: (-one[1], one[0]),
        )
        places: list[Place] = []
        leaves: list[Leaf] = []
        boxes = squarify([total for _, total in bases], Box(0, 0, _WIDE, _HIGH))
        for (base, total), box in zip(bases, boxes, strict=True):
            places.append(_place(box, _cut(show_text(base), _NAME), total, 0))
            inner = box.inside(above=18, around=2)
            own = by_base[base]
            for (part, amount), below in zip(own, squarify([one for _, one in own], inner), strict=True):
                places.append(_place(below, _cut(show_text(part.repository), _NAME), amount, 1))
                leaves += self._leaves(part, below.inside(above=15, around=1), alone)
        return places, [leaf for leaf in leaves if leaf.width > 0.3 and leaf.height > 0.3], rows

    def _leaves(self, part: _Part, box: Box, alone: set[ChainID]) -> Iterator[Leaf]:
        content, dead = self.known.wasted.content, self.known.wasted.dead
        shown = [[one] for one in part.chains if one in alone and content[one]]
        if small := [one for one in part.chains if one not in alone and content[one]]:
            shown.append(small)
        shown.sort(key=lambda alike: (-sum(content[one] for one in alike), alike[0]))
        amounts = [sum(content[one] for one in alike) for alike in shown]
        for alike, amount, own in zip(shown, amounts, squarify(amounts, box), strict=True):
            gone = sum(dead.get(one, 0) for one in alike)
            twice = sum(map(self._twice_of, alike))
            number, layer = self.layers[alike[0]]
            step = _cut(shown_step(layer), _STEP)
            is_one = len(alike) == 1
            what = f"{len(alike):,} small layers"
            if is_one:
                what = f"layer {layer.index} of {self.names[number]}"
            title = f"{what}: {size(amount)}, {size(gone)} dead, {size(twice)} more than once"
            label = _fitting(size(amount), own.width, own.height)
            if label.endswith("…"):
                label = ""
            yield Leaf(
                *own.rounded(),
                round(own.width * gone / amount, 1),
                round(own.width * twice / amount, 1),
                label,
                f"{title}. {step}" if is_one else title,
            )

    def _sentence(self) -> str:
        content, dead = self.known.wasted.content, self.known.wasted.dead
        return (
            f"Bases, their repositories, and their {count(len(self.layers), 'layer')} as rectangles:"
            f" {size(sum(content.values()))} of files, of which {size(sum(dead.values()))} are dead. The"
            " table below has the numbers."
        )

    # Tables

    def _wasted_layers(self) -> Iterator[Row]:
        content, dead = self.known.wasted.content, self.known.wasted.dead
        order = sorted(self.layers, key=lambda one: -(dead.get(one, 0) + self._twice_of(one)))
        for chain_id in order[:_ROWS]:
            gone, twice = dead.get(chain_id, 0), self._twice_of(chain_id)
            if not gone + twice:
                return
            number, layer = self.layers[chain_id]
            yield Row(
                (
                    f"{layer.index} of {self.names[number]}",
                    _cut(shown_step(layer), _STEP),
                    f"{len(self.holders[chain_id]):,}",
                    size(content[chain_id]),
                    size(gone),
                    size(twice),
                )
            )

    def _wasted_files(self) -> Iterator[Row]:
        for one in self.known.wasted.files[:_ROWS]:
            number, layer = self.layers[one.layer]
            _, killer = self.layers[one.killed_by]
            yield Row(
                (
                    _cut(f"/{show_path(one.path)}", _PATH),
                    size(one.size),
                    f"{layer.index} of {self.names[number]}",
                    _cut(shown_step(layer), _STEP),
                    _cut(shown_step(killer), _STEP),
                )
            )

    def _advice(self) -> Iterator[Row]:
        _, rows = self.known.advice.table_rows()
        for cells in rows[: 2 * _ROWS]:
            yield Row(tuple(_cut(cell, _PATH) for cell in cells))

    def _commands(self) -> Iterator[Row]:
        for titles, command in self.known.advice.commands()[:_ROWS]:
            shown = some([_cut(show_text(title), _NAME) for title in titles], _FEW)
            yield Row((shown, _cut(command or "", 2 * _PATH)))

    def _pulls(self) -> Iterator[Row]:
        stacks = self.known.advice.fleet.strategy(BUILT).stacks
        each, _ = pulls([], stacks)
        for name, one in list(zip(self.names, each, strict=True)):
            yield Row((name, size(one.whole), size(one.by_chain), size(one.by_blob)))

    def _data(self) -> dict[str, Any]:
        """Each image's layers as numbers of blobs and of places, and the bytes of blobs."""
        blobs: dict[str, int] = {}
        places: dict[tuple[int, str], int] = {}
        sizes: list[int] = []
        images = []
        for stack in self.known.advice.fleet.strategy(BUILT).stacks:
            at, own = -1, []
            for blob in stack:
                number = blobs.setdefault(blob.key, len(blobs))
                if number == len(sizes):
                    sizes.append(blob.stored)
                at = places.setdefault((at, blob.tar), len(places))
                own.append([number, at])
            images.append(own)
        return {"sizes": sizes, "images": images}


def _repositories(freed: FreedReport) -> Iterator[Row]:
    rows = zip(freed.repositories.items(), freed.by_repository, strict=True)
    for (name, numbers), own in sorted(rows, key=lambda row: -row[1].size)[:_ROWS]:
        yield Row((_cut(show_text(name), _NAME), f"{len(numbers):,}", size(own.size)))


def _tags(freed: FreedReport) -> Iterator[Row]:
    rows = zip(freed.tags, freed.by_tag, strict=True)
    for tag, own in sorted(rows, key=lambda row: -row[1].size)[:_ROWS]:
        yield Row((_cut(show_text(tag.name), _NAME), size(sum(tag.blobs.values())), size(own.size)))


def _place(box: Box, title: str, amount: int, level: int) -> Place:
    label = _fitting(title, box.width, box.height)
    return Place(*box.rounded(), label, f"{title}: {size(amount)}", level)


def _fitting(text: str, width: float, height: float) -> str:
    """As much of a text as there is room for; of a few letters nothing."""
    letters = int((width - 6) / _LETTER)
    if height < 15 or letters < 4:
        return ""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def shown_step(layer: Layer) -> str:
    """The step that made a layer, as people should see it."""
    return shown(layer.created_by) or "(no step is told)"


def _reference(text: str) -> str:
    """A reference without its transport and folders; in a registry with all of its name."""
    if text.startswith("docker://"):
        return text.removeprefix("docker://")
    return text.rpartition("/")[2]


def _plain(text: str) -> str:
    return show_text(text.replace("`", ""))


def _cut(text: str, width: int) -> str:
    """A text, of a long one its beginning and its end."""
    if len(text) <= width:
        return text
    return f"{text[: width // 2]}…{text[-(width - width // 2 - 1) :]}"
