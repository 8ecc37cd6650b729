"""What a scan costs: by stored bytes, by entries, by layers; what it asks of a registry; and more workers.

    python -m benchmarks.bench_scan --out benchmarks/results/scan.json

Three seeded corpora each have much of one thing: bytes in few large files, entries of small files, and
small layers. One process reads each of them from a folder, so that its processor time has no network in it;
what that comes to for a unit is the rate that docs/planning.md reckons with. Five hundred images of which
next to nothing is read tell what opening them takes, and a fleet in a registry on this machine how many
requests there are. Last, workers of Dask read all three corpora: one, then two; and compress what an exact
`fleet storage` measures. `--only workers` or `--only compressing` measures one of these two alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import corpus, fleets
from benchmarks.bench_places import registry
from benchmarks.bench_squash import Results, Sample, machine, measure
from benchmarks.fleets import Fleet, Scale, Stack

FLEET = [sys.executable, "-m", "squashkit", "fleet"]
SCAN = [*FLEET, "scan"]
CORPORA: Mapping[str, tuple[int, int, int]] = {
    "bytes": (24, 15, 4_000_000),
    "entries": (16, 20_000, 1_000),
    "layers": (4_000, 1, 60),
}
"""Layers, files in each, and bytes in each of these."""
UNITS = {"bytes": "stored_bytes", "entries": "entries", "layers": "layers"}
"""What a corpus has much of."""
IMAGES = 500
STACKED = 20
"""Layers of an image."""
_FLEET = 20
"""Images in the registry."""


def make(folder: Path, layers: int, files: int, size: int) -> None:
    """A layout of such layers, in as many images as it takes."""
    (folder / "blobs/sha256").mkdir(parents=True)
    made, stack = Fleet(folder, 1), Stack()
    for number in range(layers):
        place = f"opt/{number}"
        stack = made.add(stack, place, {f"{place}/{one % 50:02}/{one:05}": size for one in range(files)})
        if len(stack.diff_ids) == STACKED or number == layers - 1:
            made.tag(stack, f"image{number}:1")
            stack = Stack()
    made.close()


def scan(source: str, into: Path, work: Path, *words: str) -> tuple[Sample, dict[str, Any]]:
    """One scan from the beginning, and its report."""
    shutil.rmtree(into, ignore_errors=True)
    log = work / "scan.log"
    sample = measure([*SCAN, source, "--into", str(into), "--json", *words], dict(os.environ), log, 1800)
    if sample.code:
        raise SystemExit(f"{' '.join(words)}: {log.read_text()[-2000:]}")
    return sample, json.loads(log.read_text())


def rates(work: Path, runs: int) -> Results:
    """What one process takes for each corpus, less what it takes for nothing."""
    empty = work / "empty"
    if not empty.exists():
        make(empty, 1, 1, 1)
    starts = [scan(str(empty), work / "scan", work, "--jobs", "1")[0] for _ in range(runs)]
    start = statistics.median(one.cpu for one in starts)
    found: Results = {"start": start, "start_rss": max(one.peak_rss for one in starts)}
    for name in CORPORA:
        samples = []
        for _ in range(runs):
            sample, report = scan(str(work / name), work / "scan", work, "--jobs", "1")
            samples.append(sample)
        amounts = {
            "layers": report["layers"]["read"],
            "entries": report["entries"],
            "stored_bytes": report["read_bytes"],
            "written_bytes": sum(
                file.stat().st_size
                for table in ("entries", "headers", "layers")
                for file in (work / "scan" / table).iterdir()
            ),
        }
        cpu = statistics.median(one.cpu for one in samples) - start
        found[name] = {
            **amounts,
            "cpu": cpu,
            "rate": amounts[UNITS[name]] / cpu,
            "peak_rss": max(one.peak_rss for one in samples),
        }
    return found


def opened(work: Path, start: Results) -> Results:
    """What it takes to open images, of which one batch is read: more than for the one of `start`."""
    sample, report = scan(str(work / "images"), work / "scan", work, "--jobs", "1", "--shard", "1/1000")
    assert report["images"] == IMAGES
    return {"cpu": sample.cpu - start["start"], "memory": sample.peak_rss - start["start_rss"]}


def requests(work: Path) -> Results:
    """What a scan asks of a registry that wants no credentials, by the registry's log."""
    layout = work / "fleet"
    if not layout.exists():
        fleets.make(layout, _FLEET, Scale(40, 20, 20, 8, 600, 3))
    folder = work / "scan.registry"
    shutil.rmtree(folder, ignore_errors=True)
    with registry(folder) as host:
        for entry in json.loads((layout / "index.json").read_text())["manifests"]:
            manifest = json.loads((layout / "blobs/sha256" / entry["digest"].partition(":")[2]).read_text())
            name = entry["annotations"]["io.containerd.image.name"].rpartition("/")[2]
            kept = ["--segments", f"={len(manifest['layers'])}"]  # all of them: a copy
            command = [sys.executable, "-m", "squashkit", "squash", f"oci:{layout}:{name}", *kept]
            subprocess.run([*command, "-o", f"docker://{host}/{name}"], check=True, capture_output=True)
        log = folder / "log"
        before = log.stat().st_size
        _, report = scan(f"docker://{host}/", work / "scan", work)
        asked = Counter(re.findall(rb'"GET (/v2/\S*)', log.read_bytes()[before:]))
    kinds = Counter[str]()
    for path, number in asked.items():
        kinds[_kind(path.decode())] += number
    return {"images": report["images"], "layers": report["layers"]["read"], **kinds}


def _kind(path: str) -> str:
    """What a path is asked for."""
    words = ("manifests", "blobs", "tags", "_catalog")
    return next((word for word in words if f"/{word}" in path), "begin")


def workers(work: Path, runs: int) -> Results:
    """All corpora by one worker, then by two, in turn; and what it takes to start and end so many for
    next to nothing."""
    corpora = [str(work / name) for name in CORPORA]
    walls: dict[str, list[float]] = {"1": [], "2": []}
    starts: dict[str, list[float]] = {"1": [], "2": []}
    for _ in range(runs):
        for number in walls:
            starts[number].append(_wall([str(work / "empty")], number, work))
            walls[number].append(_wall(corpora, number, work))
    one, two = (min(walls[number]) - min(starts[number]) for number in walls)
    return {"walls": walls, "starts": starts, "factor": one / two}


def compressing(work: Path, runs: int) -> Results:
    """Seconds of an exact `fleet storage` by one worker of Dask and by two, and of one of a single layer,
    in which nothing is compressed."""
    fleet = work / "storage"
    if not (fleet / "index.json").exists():
        shutil.rmtree(fleet, ignore_errors=True)
        fleets.make(fleet, 40)
    rows = ["--strategies", "built,base,all", "--jobs", "1"]
    walls: dict[str, list[float]] = {"1": [], "2": []}
    starts: dict[str, list[float]] = {"1": [], "2": []}
    told = set()
    for _ in range(runs):
        for number in walls:
            for place, times in (
                (f"oci:{fleet}:docker.io/library/base0:1", starts),
                (f"oci:{fleet}", walls),
            ):
                words = [*FLEET, "storage", place, *rows, "--workers", number, "--json"]
                sample = measure(words, dict(os.environ), work / "storage.json", 3600)
                if sample.code:
                    raise SystemExit((work / "storage.json").read_text()[-2000:])
                times[number].append(sample.wall)
            told.add((work / "storage.json").read_text())
    assert len(told) == 1, "the figures depend on the workers"
    one, two = (min(walls[number]) - min(starts[number]) for number in walls)
    return {"walls": walls, "starts": starts, "factor": one / two}


SPREAD = {
    "workers": ("All three corpora", workers),
    "compressing": ("An exact `fleet storage` of 40 seeded images", compressing),
}
"""What is measured with one worker and with two: its title, by its place in the results."""


def _wall(sources: list[str], number: str, work: Path) -> float:
    """Seconds of a scan by so many workers."""
    into, log = work / "scan", work / "scan.log"
    shutil.rmtree(into, ignore_errors=True)
    words = [*SCAN, *sources, "--into", str(into), "--workers", number]
    sample = measure(words, dict(os.environ), log, 1800)
    if sample.code:
        raise SystemExit(log.read_text()[-2000:])
    return sample.wall


def markdown(results: Results) -> str:
    """The figures as tables."""
    about, found = results["machine"], results["rates"]
    lines = [
        "# Scans of fleets",
        "",
        f"{about['processor']}, {about['cores']} processors, Python {about['python']}.",
        "",
        "| much of | layers | entries | stored | processor time | rate of one core | memory | written |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, unit in UNITS.items():
        row = found[name]
        rate = (
            f"{row['rate'] / 1e6:,.0f} MB/s" if unit == "stored_bytes" else f"{row['rate']:,.0f} {unit}/s"
        )
        lines.append(
            f"| {name} | {row['layers']:,} | {row['entries']:,} | {row['stored_bytes'] / 1e6:,.0f} MB |"
            f" {row['cpu']:.1f} s | {rate} | {row['peak_rss'] / 1e6:,.0f} MB |"
            f" {row['written_bytes'] / 1e6:,.1f} MB |"
        )
    asked = results["requests"]
    kinds = ", ".join(f"{asked.get(kind, 0):,} {kind}" for kind in ("begin", "_catalog", "tags"))
    asked_for = (
        f"{asked['images']:,} images with {asked['layers']:,} layers in a registry took"
        f" {asked['manifests']:,} requests for manifests, {asked['blobs']:,} for blobs, {kinds}."
    )
    took = results["opened"]
    opening = (
        f"To open {IMAGES:,} images of {STACKED} layers takes {took['cpu']:.1f} s and"
        f" {took['memory'] / 1e6:,.0f} MB more than to open one."
    )
    lines += ["", opening, "", asked_for, ""]
    for name, (title, _) in SPREAD.items():
        if name in results:
            lines += [_faster(title, results[name]), ""]
    return "\n".join(lines)


def _faster(title: str, times: Results) -> str:
    """How much two workers are faster than one."""
    one, two = (min(times["walls"][number]) for number in "12")
    first, second = (min(times["starts"][number]) for number in "12")
    return (
        f"{title} by 1 worker of Dask: {one:.1f} s; by 2: {two:.1f} s. For one layer it takes"
        f" {first:.1f} and {second:.1f} s; without that 2 workers are {times['factor']:.2f} times as fast."
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure what scans of fleets cost.")
    parser.add_argument("--runs", type=int, default=3, help="runs of each")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/scan.json"))
    parser.add_argument("--only", choices=SPREAD, help="this alone; the rest stays as it is in --out")
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve() / "scan-corpora"
    for name, shape in {**CORPORA, "images": (IMAGES * STACKED, 1, 60)}.items():
        if not (work / name / "index.json").exists():
            shutil.rmtree(work / name, ignore_errors=True)
            make(work / name, *shape)
    if options.only:
        results = json.loads(options.out.read_text())
    else:
        measured = rates(work, options.runs)
        results = {
            "machine": machine(work),
            "runs": options.runs,
            "rates": measured,
            "opened": opened(work, measured),
            "requests": requests(work),
        }
    for name in [options.only] if options.only else SPREAD:
        _, spread = SPREAD[name]
        results[name] = spread(work, options.runs)
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
