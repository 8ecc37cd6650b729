"""Fleets that apt, pip and npm installed, carved: what is predicted, written and counted.

    python -m benchmarks.bench_carve --out benchmarks/results/carve.json

The fleets are built by docker (benchmarks/built.py), or read from --archives, a folder with FLEET.tar as
`docker save` gives it. What each strategy is to take is predicted, then written into a registry, pulled by
a fresh docker, and counted. Every carved image is compared with its source. It needs root, and to build the
network.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks import built, check, corpus
from benchmarks.bench_fleet import FLEET, mb, pull, stack_of
from benchmarks.bench_places import registry
from benchmarks.bench_squash import Results, Sample, machine, measure
from squashkit.report.fleet.titles import TITLES

WRITTEN = ("built", "base", "trie", "best", "carve")
"""Squashing each image whole is predicted alone, and about: nobody should do it, and it takes longest."""
MTIME = 4
"""Where check.py has the time of a file."""

# --- one fleet -------------------------------------------------------------------------------


def measure_fleet(fleet: str, archive: Path, work: Path) -> Results:
    """Predict, write and count."""
    told = work / "carve.json"
    images = [f"{archive}:{name}" for name in built.names(fleet)]
    sample = _measured([*FLEET, "storage", *images, "--json"], told)
    predicted = json.loads(told.read_text())
    results: Results = {
        "images": len(predicted["images"]),
        "layers": predicted["layers"],
        "entries": predicted["entries"],
        "files_once_bytes": predicted["files_once_bytes"],
        "storage": {"seconds": sample.wall, "memory": sample.peak_rss},
        "strategies": {},
    }
    rows = {row["strategy"]: row for row in predicted["strategies"]}
    for option, name in TITLES.items():
        row = results["strategies"][name] = _predicted(rows[name])
        if option in WRITTEN:
            row["found"] = _found(option, archive, built.names(fleet), work)
            print(f"{fleet}, {name}: {json.dumps(row['found'])}", file=sys.stderr, flush=True)
    results["files"] = files_above_bases(fleet, archive)
    return results


def _measured(words: list[str], log: Path) -> Sample:
    sample = measure(words, dict(os.environ), log, 3600)
    if sample.code:
        raise RuntimeError(f"{' '.join(words)}: {log.read_text()[-2000:]}")
    return sample


def _predicted(row: Results) -> Results:
    updates = [one["pulled"] for one in row["updates"]]
    return {
        "estimated": row["estimated"],
        "registry": row["registry_bytes"],
        "host": row["host_bytes"],
        "containerd": row["containerd_bytes"],
        "update": sum(updates) // len(updates),
        "pulled": sum(row["pulled"]["by_chain"]),
        "layers": row["layers"],
        "most_layers": row["most_layers"],
        "lower_bound": row.get("lower_bound_bytes"),
    }


def _found(option: str, archive: Path, names: Sequence[str], work: Path) -> Results:
    """Write a strategy into a registry, let a fresh docker pull all of it, and count."""
    with registry(work / "registry") as host:
        into = f"docker://{host}/{option}"
        images = [f"{archive}:{name}" for name in names]
        words = [*FLEET, "squash", *images, "--into", into, "--strategy", option, "--json"]
        sample = _measured(words, work / "squash.log")
        stacks = {name: stack_of(host, option, name) for name in names}
        held = pull(work / "docker", host, option, names)
        downloads = _downloads(work / "registry/log")
        equal = _equal(archive, f"{into}/", names) if option == "carve" else None
    blobs = {digest: size for stack in stacks.values() for digest, size in stack}
    updates = [(stacks[before], stacks[after]) for before, after in _releases(names)]
    return {
        "seconds": sample.wall,
        "memory": sample.peak_rss,
        "registry": sum(blobs.values()),
        "host": held,
        "pulled": sum(blobs.get(digest, 0) for digest in downloads),
        "update": sum(by_chain(*pair) for pair in updates) // len(updates),
        "update_by_blob": sum(by_blob(*pair) for pair in updates) // len(updates),
        "equal": equal,
    }


Stack = Sequence[tuple[str, int]]
"""Digests and sizes of an image's layers, base first."""


def by_chain(before: Stack, after: Stack) -> int:
    """What docker downloads that has one image: it has layers of the other only from the bottom on."""
    same = 0
    while same < min(len(before), len(after)) and before[same] == after[same]:
        same += 1
    return sum(size for _, size in after[same:])


def by_blob(before: Stack, after: Stack) -> int:
    """What containerd downloads that has one image: blobs that it lacks."""
    return sum(size for _, size in {*after} - {*before})


def _releases(names: Sequence[str]) -> list[tuple[str, str]]:
    """Each image with the release after it."""
    return [(a, b) for a, b in pairwise(names) if a.partition(":")[0] == b.partition(":")[0]]


def _downloads(log: Path) -> list[str]:
    """The blobs that were downloaded from a registry, as its log of requests tells."""
    request = re.compile(r'"GET /v2/\S+/blobs/(sha256:[0-9a-f]{64}) HTTP/1.1" 200')
    return request.findall(log.read_text())


def _equal(archive: Path, written: str, names: Sequence[str]) -> int:
    """How many of the images have the root file system of their source."""
    diff = [sys.executable, "-m", "squashkit", "diff"]
    return sum(
        subprocess.run([*diff, f"{archive}:{name}", written + name], check=False, stdout=-3).returncode == 0
        for name in names
    )


# --- what times cost -------------------------------------------------------------------------


def files_above_bases(fleet: str, archive: Path) -> Results:
    """Bytes of the files that images have above their bases: all of them; different ones once; the same if
    their times did not count, nor the times that compiled Python files hold of their sources."""
    bases = [check.read_archive(archive, name).rootfs for name in built.bases(fleet)]
    whole = 0
    different: dict[object, int] = {}
    timeless: dict[object, int] = {}
    compiled: dict[object, int] = {}
    for name in built.names(fleet)[len(bases) :]:
        rootfs = check.read_archive(archive, name).rootfs
        below = max(bases, key=lambda base: len(base.items() & rootfs.items()))
        for path, node in rootfs.items():
            if node[0] != "0" or below.get(path) == node or node[-1] != path:
                continue
            size = node[MTIME + 1]
            same = node[:MTIME] + node[MTIME + 1 :]
            whole += size
            different[path, node] = timeless[path, same] = size
            content = size if path.endswith(".pyc") else same
            compiled[path, content] = size
    return {
        "whole": whole,
        "once": sum(different.values()),
        "timeless": sum(timeless.values()),
        "timeless_compiled": sum(compiled.values()),
    }


# --- the table -------------------------------------------------------------------------------


def markdown(results: Results) -> str:
    """The figures as one table for each fleet."""
    about = results["machine"]
    lines = [
        "# Fleets that apt, pip and npm installed, carved",
        "",
        "Built by docker, as `benchmarks/built.py` tells, and measured on",
        f"{about['processor']}, {about['cores']} processors. Sizes are bytes.",
        "",
        "*Predicted* is what `fleet storage` says. *Found* are the different layers in a registry that",
        "`fleet squash` wrote; what a fresh docker counts that pulled all images, and what it downloaded",
        "for that; and the layers that a release has and the one before it has not, on average: from where",
        "the first differs (by chain, as docker pulls), and each by itself (by blob, as containerd pulls).",
    ]
    for fleet, one in results["fleets"].items():
        lines += ["", f"## {fleet}", "", *_about(one), "", *_table(one), "", *_files(one)]
    return "\n".join([*lines, ""])


def _about(one: Results) -> list[str]:
    carved, best = (one["strategies"][name] for name in ("carved", "best cut"))
    found, storage, layers = carved["found"], one["storage"], one["layers"]
    gap = carved["registry"] / carved["lower_bound"] - 1
    return [
        f"{one['images']} images, {layers['references']} layers of which {layers['blobs']} differ,",
        f"{one['entries']:,} entries. Carving and writing them took {found['seconds']:.0f} s and",
        f"{found['memory'] / 1e6:.0f} MB, `fleet storage` {storage['seconds']:.0f} s and",
        f"{storage['memory'] / 1e6:.0f} MB.",
        "",
        f"Carved, they take {_change(best, carved, 'registry')} in the registry against the best cut,",
        f"{_change(best, carved, 'host')} on a host, and for updates",
        f"{_change(best['found'], found, 'update')} by chain,",
        f"{_change(best['found'], found, 'update_by_blob')} by blob. The lower bound of the registry is",
        f"{carved['lower_bound']:,}, the gap to it {gap:.1%}. {found['equal']} of {one['images']} carved",
        "images have exactly their source's root file system.",
    ]


def _change(before: Results, after: Results, key: str) -> str:
    """By how much one row takes more or less than another."""
    return f"{after[key] / before[key] - 1:+.1%}"


COLUMNS = {
    "registry": "registry, predicted | found",
    "host": "host, docker's graph driver, predicted | found",
    "containerd": "host, containerd's store, predicted",
    "pulled": "pulled by docker, predicted | found",
    "update": "update by chain, predicted | found",
    "update_by_blob": "update by blob, found",
}
"""By what the results have: the titles of one column or two."""


def _table(one: Results) -> list[str]:
    head = " | ".join(["strategy", *COLUMNS.values(), "layers an image"])
    lines = [f"| {head} |", f"|---|{'--:|' * head.count('|')}"]
    for name, row in one["strategies"].items():
        cells = [name]
        for key, title in COLUMNS.items():
            about = "~" if row["estimated"] and key != "host" else ""
            cells += [f"{about}{row[key]:,}"] if "predicted" in title else []
            cells += [_number(row.get("found", {}).get(key))] if "found" in title else []
        cells.append(f"{row['layers'] / one['images']:.1f}, at most {row['most_layers']}")
        lines.append(f"| {' | '.join(cells)} |")
    once = ["every file once", "", "", _number(one["files_once_bytes"])]
    return [*lines, f"| {' | '.join(once)} |{' |' * (head.count('|') - 3)}"]


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _files(one: Results) -> list[str]:
    sizes = {name: mb(size) for name, size in one["files"].items()}
    return [
        f"Files above the bases have {sizes['whole']} in all images together, and each different one once",
        f"{sizes['once']}. That would be {sizes['timeless']} if times did not tell them apart, and",
        f"{sizes['timeless_compiled']} if nor did the times of sources that compiled Python files hold.",
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure carving on fleets that are built for real.")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--archives", type=Path, help="where the fleets lie; built there where they do not")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/carve.json"))
    parser.add_argument("--fleets", default=",".join(built.FLEETS), help="with commas; others stay as told")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    before = json.loads(options.out.read_text())["fleets"] if options.out.exists() else {}
    results: Results = {"machine": machine(work), "fleets": before}
    for fleet in options.fleets.split(","):
        archive = built.archive_of(fleet, options.archives or work / "fleets")
        results["fleets"][fleet] = measure_fleet(fleet, archive, work)
        options.out.write_text(json.dumps(results, indent=2) + "\n")
        options.out.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
