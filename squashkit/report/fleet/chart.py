"""A fleet's storage against its number of images, as a picture: needs matplotlib."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from squashkit.amounts import count, size
from squashkit.errors import UsageError
from squashkit.plan.fleet.strategies import ALL, BASE, BEST, BUILT, CARVE, TRIE
from squashkit.report.fleet.storage import FleetReport
from squashkit.report.fleet.titles import TITLES
from squashkit.wording import Option

_COLOURS = {
    BUILT: "#9aa3ab",
    ALL: "#b03535",
    BASE: "#d08a2e",
    TRIE: "#3572b0",
    BEST: "#1b7f5c",
    CARVE: "#6b4fa0",
}
_DASHES = {BASE: "-.", TRIE: "--"}
"""Lines that may lie on others."""
_FORMS = (".svg", ".png", ".pdf")


def check_chart(path: Path) -> None:
    """Raises UsageError where no chart can be written there."""
    if path.suffix not in _FORMS:
        raise UsageError(
            Option("chart", path), f": the name ends in {', '.join(_FORMS[:-1])} or {_FORMS[-1]}"
        )
    if not path.parent.is_dir():
        raise UsageError(Option("chart", path), ": no file can be written there")
    _matplotlib()


def write_chart(report: FleetReport, path: Path) -> None:
    """Draw what each strategy takes, and where squashing everything begins to cost more."""
    pyplot = _matplotlib()
    kind = int(report.minimise == "host")
    figure, axes = pyplot.subplots(figsize=(8, 4.6), layout="constrained")
    images = range(1, len(report.names) + 1)
    for strategy in report.shown:
        values = [grown[kind] / 1e6 for grown in strategy.growth]
        thick = 2.4 if strategy.name == BEST else 1.6
        marker = "o" if len(values) <= 12 else None
        axes.plot(
            images,
            values,
            _DASHES.get(strategy.name, "-"),
            label=TITLES[strategy.name],
            color=_COLOURS[strategy.name],
            lw=thick,
            marker=marker,
            ms=3.5,
            zorder=3 if strategy.name == TRIE else 2,
        )
    if report.crossing is not None:
        axes.axvline(report.crossing, color="#b03535", lw=0.8, ls=":")
        is_late = report.crossing > 0.6 * len(report.names)
        axes.annotate(
            f"from {count(report.crossing, 'image')} on\nsquash all takes more than as built",
            (report.crossing, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-6 if is_late else 6, -4),
            textcoords="offset points",
            ha="right" if is_late else "left",
            va="top",
            fontsize=8,
            color="#b03535",
        )
    where = "on a host" if kind else "in a registry"
    unknown = len(report.unknown)
    left = f" ({unknown:,} of unknown base, as built but for {TITLES[ALL]})" if unknown else ""
    axes.set_xlabel(f"images{left}")
    axes.set_ylabel(f"MB {where}")
    axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, fontsize=9, loc="outside upper center", ncols=5)
    is_svg = path.suffix == ".svg"
    figure.savefig(path, metadata={"Date": None} if is_svg else None, dpi=150)
    pyplot.close(figure)
    if is_svg:
        _describe(report, path, where)


def _describe(report: FleetReport, path: Path, where: str) -> None:
    """Say in words what the picture shows, for those who cannot see it."""
    kind = int(report.minimise == "host")
    together = ", ".join(f"{TITLES[one.name]} {size(one.growth[-1][kind])}" for one in report.shown)
    title = f"What {count(len(report.names), 'image')} take {where}, by strategy"
    text = path.read_text(encoding="utf-8")
    start = text.index(">", text.index("<svg ")) + 1
    words = f"\n <title>{title}</title>\n <desc>All of them together: {together}.</desc>"
    path.write_text(text[:start] + words + text[start:], encoding="utf-8")


def _matplotlib() -> Any:
    try:
        matplotlib: Any = import_module("matplotlib")
        matplotlib.use("Agg")
        matplotlib.rcParams["svg.hashsalt"] = "squashkit"  # the same chart is the same bytes
        return import_module("matplotlib.pyplot")
    except ImportError as error:
        raise UsageError(Option("chart"), " needs matplotlib: pip install 'squashkit[chart]'") from error
