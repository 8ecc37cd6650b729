"""What each strategy saves against the fleet as it was built, as a picture: needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import UsageError
from squashkit.plan.fleet.strategies import ALL, BASE, BEST, BUILT, CARVE, TRIE
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.fleet.titles import TITLES
from squashkit.values import frozen
from squashkit.wording import Option

_FORMS = (".svg", ".png", ".pdf")
_TEXT, _DIM, _GRID = "#222222", "#555555", "#dddddd"
_LOOKS = {
    BUILT: ("#555555", "-", "o"),
    ALL: ("#d55e00", "-", "X"),
    BASE: ("#e69f00", "-.", "s"),
    TRIE: ("#0072b2", "--", "^"),
    BEST: ("#009e73", "-", "o"),
    CARVE: ("#cc79a7", "-", "D"),
}
"""A colour of Okabe and Ito's, which the colour-blind tell apart, a dash and a marker for each strategy."""
_MARKED = 12
"""Up to how many images each has a marker."""
_HIGH, _LOW, _AROUND, _LINE = 3.4, 1.9, 0.5, 0.17
"""Inches: of a panel, of that of squashing each image whole, what of one its title and numbers take, and
what a line of a label does."""


def check_chart(path: Path) -> None:
    """Raises UsageError where no chart can be written there."""
    if path.suffix not in _FORMS:
        raise UsageError(
            Option("chart", path), f": the name ends in {', '.join(_FORMS[:-1])} or {_FORMS[-1]}"
        )
    if not path.parent.is_dir():
        raise UsageError(Option("chart", path), ": no file can be written there")
    _matplotlib()


@frozen
class _Line:
    """What strategies save that save the same."""

    titles: list[str]
    strategy: str
    """The one whose looks it has."""
    shares: list[float]
    """In percent of what is taken as built, of the first 1, 2, 3... images."""
    saved: int
    """Bytes, of all images."""
    is_estimated: bool
    is_unsure: bool

    @property
    def label(self) -> str:
        about = "about " * self.is_estimated
        if self.is_unsure:
            return f"{_joined(self.titles)}\nunsure: saves or costs"
        if not self.saved:
            return f"{_joined(self.titles)}\nsaves nothing"
        amount, share = size(abs(self.saved)), f"({abs(self.shares[-1]):.1f} %)"
        if self.saved < 0:
            return f"{_joined(self.titles)}\ntakes {about}{amount} more {share}"
        return f"{_joined(self.titles)}\nsaves {about}{amount} {share}"


def _joined(titles: Sequence[str]) -> str:
    """At most two in a line."""
    pairs = [", ".join(titles[at : at + 2]) for at in range(0, len(titles), 2)]
    return ",\n".join(pairs)


def write_chart(report: FleetReport, path: Path) -> None:
    """Draw what each strategy saves against as built, and in a panel of its own what squashing each image
    whole does. The ground is white, so that it can be read on any page."""
    pyplot = _matplotlib()
    lines = _lines(report)
    panels = [("above bases that stay", [line for line in lines if line.strategy != ALL])]
    panels += [(TITLES[ALL], [line]) for line in lines if line.strategy == ALL]
    panels = [panel for panel in panels if panel[1]]
    heights = [_LOW if title == TITLES[ALL] else _HIGH for title, _ in panels] or [_HIGH]
    figure, places = pyplot.subplots(
        max(1, len(panels)),
        figsize=(8, 1.5 + sum(heights)),  # with its title and the numbers below
        layout="constrained",
        squeeze=False,
        height_ratios=heights,
        facecolor="white",
    )
    figure.suptitle(_title(report), x=0.012, ha="left", fontsize=13, color=_TEXT, fontweight="bold")
    for at, (title, own) in enumerate(panels):
        axes = places[at][0]
        axes.set_title(title, loc="left", fontsize=10, color=_DIM)
        _draw(axes, own, len(report.names), heights[at] - _AROUND)
    if not panels:
        _draw_built(places[0][0], report)
    last = places[-1][0]
    unknown = len(report.unknown)
    left = f" ({unknown:,} of unknown base, as built but for {TITLES[ALL]})" if unknown else ""
    last.set_xlabel(f"images, in their order{left}", color=_TEXT)
    is_svg = path.suffix == ".svg"
    figure.savefig(path, metadata={"Date": None} if is_svg else None, dpi=150, facecolor="white")
    pyplot.close(figure)
    if is_svg:
        _describe(report, path)


def _lines(report: FleetReport) -> list[_Line]:
    """What strategies save; those that save the same for any number of images are one line."""
    kind = int(report.minimise == "host")
    built = report.strategies[0].growth
    lines: list[_Line] = []
    for strategy in report.shown:
        if strategy.name == BUILT:
            continue
        shares = [
            100 * (b[kind] - one[kind]) / b[kind] if b[kind] else 0.0
            for b, one in zip(built, strategy.growth, strict=True)
        ]
        titles = [TITLES[strategy.name]]
        same = [one for one in lines if ALL not in (one.strategy, strategy.name) and one.shares == shares]
        for one in same:
            titles = [*one.titles, *titles]
            lines.remove(one)
        saved = built[-1][kind] - strategy.growth[-1][kind]
        about = strategy.is_estimated or (report.estimate and kind == 0)
        unsure = any(report.is_unsure(name) for name in (strategy.name, *(one.strategy for one in same)))
        lines.append(_Line(titles, strategy.name, shares, saved, about, unsure))
    return lines


def _draw(axes: Any, lines: Sequence[_Line], images: int, height: float) -> None:
    """Lines with their labels at their ends, against zero, which is as built; in so many inches."""
    numbers = range(1, images + 1)
    axes.axhline(0, color=_DIM, lw=1)
    for line in lines:
        colour, dash, marker = _LOOKS[line.strategy]
        shown = marker if images <= _MARKED else None
        axes.plot(numbers, line.shares, dash, color=colour, lw=2.2, marker=shown, ms=5)
    low = min(0.0, *(min(line.shares) for line in lines))
    high = max(0.0, *(max(line.shares) for line in lines))
    room = max(0.14 * (high - low), 0.5)
    low, high = low - room, high + room
    axes.set_ylim(low, high)
    axes.set_xlim(1 - min(0.4, 0.02 * images), images + 0.02 * images)
    axes.set_ylabel("% saved", color=_TEXT)
    _count_on(axes, images)
    axes.grid(axis="y", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    ends = [(0.0, "as built", _DIM)]
    ends += [(one.shares[-1], one.label, _LOOKS[one.strategy][0]) for one in lines]
    ends.sort()
    places = [(end - low) / (high - low) for end, *_ in ends]
    tall = [(label.count("\n") + 1) * _LINE / height for _, label, _ in ends]
    for (end, label, colour), place in zip(ends, _apart(places, tall), strict=True):
        axes.annotate(
            label,
            (images, end),
            xytext=(1.05, place),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=_TEXT,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 1.4, "shrinkA": 2, "shrinkB": 3},
        )


def _apart(places: Sequence[float], tall: Sequence[float]) -> list[float]:
    """Places of labels so tall, from the lowest up, near those that they are meant for; none covers
    another."""
    found: list[float] = []
    for place, own in zip(places, tall, strict=True):
        least = found[-1] + (tall[len(found) - 1] + own) / 2 if found else place
        found.append(max(place, least))
    most = 1 - tall[-1] / 2
    for at in range(len(found) - 1, -1, -1):  # down again, where the uppermost stands out
        found[at] = min(found[at], most)
        most = found[at] - (tall[at] + tall[at - 1]) / 2
    return found


def _draw_built(axes: Any, report: FleetReport) -> None:
    """What is taken as built, where there is nothing to hold against it."""
    kind = int(report.minimise == "host")
    values = [grown[kind] / 1e6 for grown in report.strategies[0].growth]
    colour, dash, marker = _LOOKS[BUILT]
    shown = marker if len(values) <= _MARKED else None
    axes.plot(range(1, len(values) + 1), values, dash, color=colour, lw=2.2, marker=shown, ms=5)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("MB", color=_TEXT)
    _count_on(axes, len(values))
    axes.spines[["top", "right"]].set_visible(False)


def _count_on(axes: Any, images: int) -> None:
    """Whole numbers of images alone."""
    if images == 1:
        axes.set_xlim(0.5, 1.5)
        axes.set_xticks([1])
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)


def _title(report: FleetReport) -> str:
    images = count(len(report.names), "image")
    where = "on a host" if report.minimise == "host" else "in a registry"
    taken = size(report.strategies[0].growth[-1][int(report.minimise == "host")])
    if len(report.shown) == 1 and report.shown[0].name == BUILT:
        return f"What {images} take {where} as built: {taken}"
    return f"What squashing {images} saves {where}, of {taken} as built"


def _describe(report: FleetReport, path: Path) -> None:
    """Say in words what the picture shows, for those who cannot see it."""
    kind = int(report.minimise == "host")
    together = "; ".join(f"{TITLES[one.name]} {size(one.growth[-1][kind])}" for one in report.shown)
    text = path.read_text(encoding="utf-8")
    start = text.index(">", text.index("<svg ")) + 1
    words = f"\n <title>{_title(report)}</title>\n <desc>All of them together: {together}.</desc>"
    path.write_text(text[:start] + words + text[start:], encoding="utf-8")


def _matplotlib() -> Any:
    try:
        matplotlib: Any = import_module("matplotlib")
        matplotlib.use("Agg")
        matplotlib.rcParams["svg.hashsalt"] = "squashkit"  # the same chart is the same bytes
        return import_module("matplotlib.pyplot")
    except ImportError as error:
        raise UsageError(Option("chart"), " needs matplotlib: pip install 'squashkit[chart]'") from error
