"""Turns the results into what the README shows: a markdown table and, with matplotlib, a chart."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Results = dict[str, Any]

COLOURS = {
    "squashkit": "#1b7f5c",
    "yardstick": "#9aa3ab",
    "oci-squash": "#d08a2e",
    "docker-squash": "#3572b0",
    "skopeo": "#8a5aa8",
}


def tool_of(results: Results, case: str, tool: str) -> Results:
    """The row of one tool, empty where it was not measured or its time does not count."""
    row: Results = results["cases"].get(case, {}).get("tools", {}).get(tool, {})
    return row if "median" in row else {}


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def megabytes(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def case_tables(results: Results) -> Iterator[str]:
    for name, case in results["cases"].items():
        corpus = case["corpus"]
        form = {"archive": "plain archive", "gzip": "gzip archive", "layout": "gzip OCI layout"}
        yield ""
        yield (
            f"**{name}**: {form[corpus['form']]}, {megabytes(corpus['source_size'])} "
            f"({megabytes(corpus['diff_size'])} of layers), {corpus['entries']:,} entries in "
            f"{corpus['layers']} layers, {corpus['base_layers']} of them kept; "
            f"load average {case['load']} before the first run"
        )
        yield ""
        yield "| tool | time, median (range) | runs | processor | peak memory | output | rootfs |"
        yield "|---|--:|--:|--:|--:|--:|---|"
        if "limit" in case:
            least = case["limit"]
            amounts = least["amounts"]
            yield (
                f"| limit (computed) | {seconds(least['wall'])} | - | {seconds(least['cpu'])} | - "
                f"| {megabytes(amounts['output'])} | - |"
            )
        for tool, row in case["tools"].items():
            if "median" not in row:
                yield f"| {tool} | - | 0 | - | - | - | {row['verdict'].replace('|', '/')} |"
                continue
            wall = row["wall"]
            spread = f"{seconds(row['median'])} ({min(wall):.2f}-{max(wall):.2f})"
            yield (
                f"| {tool} | {spread} | {len(wall)} | {seconds(row['cpu'])} "
                f"| {megabytes(row['peak_rss'])} | {megabytes(row['output_size'])} "
                f"| {row['verdict']} |"
            )


def ratio(results: Results, over: tuple[str, str], under: tuple[str, str]) -> str:
    left, right = tool_of(results, *over), tool_of(results, *under)
    return f"{left['median'] / right['median']:.2f}" if left and right else "not measured"


_LIMIT = {"median": "wall", "cpu": "cpu"}


def figures(results: Results) -> Iterator[tuple[str, str, str]]:
    """(what, measured, aim) for each figure that the project sets itself."""
    for case, aim in (("big", 0.8), ("many", 1.0)):
        for measure, key in (("time", "median"), ("processor time", "cpu")):
            row, least = tool_of(results, case, "squashkit"), results["cases"].get(case, {}).get("limit")
            value = f"{row[key] / least[_LIMIT[key]]:.2f}" if row and least else "not measured"
            yield f"{case}: {measure} / limit", value, "at most 1.5"
        value = ratio(results, (case, "squashkit"), (case, "yardstick"))
        yield f"{case}: time / yardstick", value, f"at most {aim}"
    for case, tool, aim in (
        ("big", "oci-squash", 6),
        ("many", "oci-squash", 30),
        ("many", "docker-squash", 60),
    ):
        value = ratio(results, (case, tool), (case, "squashkit"))
        yield f"{case}: times as fast as {tool}", value, f"at least {aim}"
    for few, many in (("scale-quarter", "scale-x1"), ("scale-x1", "scale-x4")):
        value = ratio(results, (many, "squashkit"), (few, "squashkit"))
        yield f"{few} to {many}: time for 4 times the entries", value, "at most 4.5 times"
    for case, limit in (("big", 90), ("many", 250)):
        row = tool_of(results, case, "squashkit")
        value = megabytes(row["peak_rss"]) if row else "not measured"
        yield f"{case}: peak memory", value, f"under {limit} MB"
    value = ratio(results, ("big-layout", "squashkit"), ("big-layout", "skopeo"))
    yield "big-layout: time / skopeo", value, "at most 1.0"
    yield (
        "big-layout: new layer as stored / as skopeo stores it",
        size_ratio(results),
        ("at most 1.02"),
    )
    shown = results.get("help", {}).get("squashkit", {"code": 1})
    value = f"{shown['median']:.3f} s" if shown["code"] == 0 else "not measured"
    yield "`--help`", value, "under 0.15 s"


def size_ratio(results: Results) -> str:
    ours = tool_of(results, "big-layout", "squashkit").get("top_layer")
    theirs = tool_of(results, "big-layout", "skopeo").get("top_layer")
    if not ours or not theirs:
        return "not measured"
    if ours["diff_id"] != theirs["diff_id"]:
        return "not comparable: the layers differ"
    return f"{ours['size'] / theirs['size']:.3f}"


def markdown(results: Results) -> str:
    machine = results["machine"]
    about = (
        f"{machine['processor']}, {machine['cores']} cores, {megabytes(machine['memory'])} of "
        f"memory, {machine['system']}, Python {machine['python']}, {machine['filesystem']}. "
        f"Peak memory cannot show less than {megabytes(results['rss_floor'])} here."
    )
    lines = [
        about,
        "",
        "| figure | measured | aim |",
        "|---|--:|--:|",
        *(f"| {what} | {measured} | {aim} |" for what, measured, aim in figures(results)),
        *case_tables(results),
        "",
        "Versions: " + "; ".join(sorted(versions(results))) + ".",
    ]
    return "\n".join(lines) + "\n"


def versions(results: Results) -> set[str]:
    rows = [item for case in results["cases"].values() for item in case["tools"].items()]
    return {f"{tool}: {row['version']}" for tool, row in rows if "median" in row}


def draw(results: Results, path: Path) -> None:
    """Bars of time for both archives, from zero, and time against entries on log scales."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("svg")
    # Text stays text, and ids do not change: the same results give the same file.
    matplotlib.rcParams.update({"svg.hashsalt": "squashkit", "svg.fonttype": "none"})
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3), layout="constrained")
    for axis, case in zip(axes[:2], ("big", "many"), strict=True):
        draw_bars(axis, results, case)
    draw_scale(axes[2], results)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def draw_bars(axis: Any, results: Results, case: str) -> None:
    rows = {tool: tool_of(results, case, tool) for tool in COLOURS}
    bars = {tool: row["median"] for tool, row in rows.items() if row}
    drawn = axis.barh(list(bars), list(bars.values()), color=[COLOURS[tool] for tool in bars])
    axis.bar_label(drawn, labels=[seconds(value) for value in bars.values()], padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.2)
    if case in results["cases"]:
        corpus = results["cases"][case]["corpus"]
        size = f"{corpus['entries']:,} entries, {megabytes(corpus['source_size'])}"
        axis.set_title(f"{case}: {size}", fontsize=10)
    axis.set_xlabel("seconds, less is better")


def draw_scale(axis: Any, results: Results) -> None:
    for tool in ("yardstick", "squashkit"):
        points = [
            (results["cases"][case]["corpus"]["entries"], row["median"])
            for case in ("scale-quarter", "scale-x1", "scale-x4")
            if (row := tool_of(results, case, tool))
        ]
        if not points:
            continue
        entries, times = zip(*points, strict=True)
        axis.loglog(entries, times, "o-", color=COLOURS[tool], label=tool)
        axis.set_xticks(entries, [f"{count:,}" for count in entries])
        axis.set_yticks(times, [seconds(value) for value in times])
    if axis.lines:
        axis.minorticks_off()
        axis.legend(frameon=False)
    axis.set_title("four times the entries, twice; small files", fontsize=10)
    axis.set_xlabel("entries")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the table and the chart from results.")
    parser.add_argument("results", type=Path, help="JSON written by benchmarks.bench_squash")
    parser.add_argument("--markdown", type=Path, help="write the table here, else print it")
    parser.add_argument("--svg", type=Path, help="write the chart here; needs matplotlib")
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text())
    if arguments.markdown:
        arguments.markdown.write_text(markdown(results))
    else:
        print(markdown(results), end="")
    if arguments.svg:
        draw(results, arguments.svg)


if __name__ == "__main__":
    main()
