"""Fleets that apt, pip and npm installed, carved: what is predicted, written and counted.

    python -m benchmarks.bench_carve --out benchmarks/results/carve.json

The fleets are built by docker (benchmarks/built.py), or read from --archives, a folder with FLEET.tar as
`docker save` gives it. What each strategy is to take is predicted, then written into a registry, pulled by
fresh dockers with their own storage and with containerd's, and counted. Every carved image is compared with
its source. It needs root, /tmp on ext4, and to build the network.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import built, check, corpus
from benchmarks.bench_fleet import FLEET, daemon, layers_of, mb
from benchmarks.bench_places import registry
from benchmarks.bench_squash import Results, machine, measure
from squashkit.layers.changeset import DISK_BLOCK
from squashkit.plan.fleet.strategies import ALL, CARVE
from squashkit.report.fleet.titles import TITLES
from tests.compat.releases import FORKY, NewDocker, new_docker

WHOLE = "apt"
"""The fleet whose images are squashed whole, too. Of others that is estimated: nobody should do it, and it
takes longest."""
FEW = 4
"""Of so many of the first images the updates are pulled then: each is a whole image."""
MTIME = 4
"""Where check.py has the time of a file."""
CONTENT = "root/containerd/daemon/io.containerd.content.v1.content/blobs/sha256"
SNAPSHOTS = "root/containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots"
"""Where docker has what containerd keeps, below its folder."""

# --- one fleet -------------------------------------------------------------------------------


def measure_fleet(fleet: str, archive: Path, work: Path) -> Iterator[Results]:
    """Predict, write and count; what is known after each strategy."""
    told, names = work / "carve.json", built.names(fleet)
    written = [option for option in TITLES if option != ALL or fleet == WHOLE]
    images = [f"{archive}:{name}" for name in names]
    words = [*FLEET, "storage", *images, "--json"]
    _run(words + ["--strategies", ",".join(TITLES)] * (ALL in written), told)
    predicted = json.loads(told.read_text())
    results: Results = {
        "images": len(predicted["images"]),
        "layers": predicted["layers"],
        "entries": predicted["entries"],
        "files_once_bytes": predicted["files_once_bytes"],
        "strategies": {},
        "files": files_above_bases(fleet, archive),
    }
    rows = {row["strategy"]: row for row in predicted["strategies"]}
    for option, name in TITLES.items():
        row = results["strategies"][name] = _predicted(rows[name])
        if option in written:
            row |= _found(option, archive, names, work)
            print(f"{fleet}, {name}: {json.dumps(row)}", file=sys.stderr, flush=True)
            yield results


def _run(words: list[str], log: Path) -> None:
    if measure(words, dict(os.environ), log, 3600).code:
        raise RuntimeError(f"{' '.join(words)}: {log.read_text()[-2000:]}")


def _predicted(row: Results) -> Results:
    return {
        "estimated": row["estimated"],
        "layers": row["layers"],
        "most_layers": row["most_layers"],
        "lower_bound": row.get("lower_bound_bytes"),
        "predicted": {
            "registry": row["registry_bytes"],
            "graph driver": {
                "held": row["host_bytes"],
                "pulled": sum(row["pulled"]["by_chain"]),
                "updates": [one["pulled"] for one in row["updates"]],
            },
            "containerd": {
                "held": row["containerd_bytes"],
                "pulled": sum(row["pulled"]["by_blob"]),
                "updates": [one["pulled_by_blob"] for one in row["updates"]],
            },
        },
    }


def _found(option: str, archive: Path, names: Sequence[str], work: Path) -> Results:
    """Write a strategy into a registry, let fresh hosts of both kinds pull it, and count."""
    with registry(work / "registry") as host:
        into = f"docker://{host}/{option}"
        images = [f"{archive}:{name}" for name in names]
        words = [*FLEET, "squash", *images, "--into", into, "--strategy", option, "--json"]
        _run(words, work / "squash.log")
        equal = _equal(archive, f"{into}/", names) if option == CARVE else None
        layers = layers_of(host, option, names)
        found: Results = {"registry": sum(layers.values())}
        written = [f"{host}/{option}/{name}" for name in names]
        downloads = Downloads(work / "registry/log", layers)
        for kind, start in {"graph driver": graph_driver, "containerd": containerd_store}.items():
            fresh = partial(start, work, layers)
            updates = _updates(fresh, written[:FEW] if option == ALL else written, downloads)
            found[kind] = _pulled(fresh, written, downloads) | {"updates": updates}
    return {"found": found, "equal": equal}


# --- hosts -----------------------------------------------------------------------------------


class Host(NamedTuple):
    """A daemon that had nothing."""

    pull: Callable[[str], object]
    held: Callable[[], Results]
    """What it takes."""


@contextmanager
def graph_driver(work: Path, layers: Mapping[str, int]) -> Iterator[Host]:
    """docker with overlay2."""
    with daemon(work / "docker") as client:
        yield Host(client.images.pull, lambda: {"held": int(client.df()["LayersSize"])})


@contextmanager
def containerd_store(work: Path, layers: Mapping[str, int]) -> Iterator[Host]:
    """docker 28 that keeps images in containerd's store."""
    # Its root file system is another, and has only /tmp in common with this one.
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        new_docker(Path(folder), FORKY, by_manifest=True) as docker,
    ):
        yield Host(
            lambda name: docker.run("pull", "--quiet", name), lambda: _held_by_containerd(docker, layers)
        )


def _held_by_containerd(docker: NewDocker, layers: Mapping[str, int]) -> Results:
    """Layers as they were pulled, and what containerd counts of its snapshots; of that the blocks that
    directories have above one."""
    usage = docker.ctr("snapshots", "usage", "-b").splitlines()[1:]
    stored = sum(layers.get(f"sha256:{name}", 0) for name in os.listdir(docker.folder / CONTENT))
    folders = (os.stat(folder).st_blocks * 512 for folder, _, _ in os.walk(docker.folder / SNAPSHOTS))
    return {
        "held": sum(int(line.split()[1]) for line in usage) + stored,
        "directories": sum(blocks - DISK_BLOCK for blocks in folders if blocks > DISK_BLOCK),
    }


class Downloads(NamedTuple):
    """What is asked of a registry."""

    log: Path
    sizes: Mapping[str, int]
    """Of layers, by digests."""

    def mark(self) -> int:
        """Where its log ends."""
        time.sleep(0.5)  # a line is written when its request is over
        return self.log.stat().st_size

    def since(self, mark: int) -> int:
        """Bytes of layers that were downloaded since then."""
        request = re.compile(rb'"GET /v2/\S+/blobs/(sha256:[0-9a-f]{64}) HTTP/1.1" 200')
        found = request.findall(self.log.read_bytes()[mark : self.mark()])
        return sum(self.sizes.get(digest.decode(), 0) for digest in found)


def _pulled(
    fresh: Callable[[], AbstractContextManager[Host]], images: Sequence[str], downloads: Downloads
) -> Results:
    """What a host takes and downloads that pulls all images."""
    with fresh() as host:
        mark = downloads.mark()
        for image in images:
            host.pull(image)
        return {**host.held(), "pulled": downloads.since(mark)}


def _updates(
    fresh: Callable[[], AbstractContextManager[Host]], images: Sequence[str], downloads: Downloads
) -> list[int]:
    """What a host downloads for each next release that has the one before it, and none of other
    repositories."""
    found = []
    for _, releases in groupby(images, key=lambda image: image.rpartition(":")[0]):
        first, *others = releases
        if not others:
            continue
        with fresh() as host:
            host.pull(first)
            for image in others:
                mark = downloads.mark()
                host.pull(image)
                found.append(downloads.since(mark))
    return found


def _equal(archive: Path, written: str, names: Sequence[str]) -> int:
    """How many of the images have the root file system of their source."""
    diff = [sys.executable, "-m", "squashkit", "diff"]
    return sum(
        subprocess.run([*diff, f"{archive}:{name}", written + name], check=False, stdout=-3).returncode == 0
        for name in names
    )


# --- what times cost -------------------------------------------------------------------------


def files_above_bases(fleet: str, archive: Path) -> Results:
    """Bytes of all different contents; and of the files that images have above their bases: all of them;
    different ones once; the same if their times did not count, nor the times that compiled Python files
    hold of their sources."""
    bases = [check.read_archive(archive, name).rootfs for name in built.bases(fleet)]
    contents: dict[object, int] = {}
    whole = 0
    different: dict[object, int] = {}
    timeless: dict[object, int] = {}
    compiled: dict[object, int] = {}
    for rootfs in bases:
        contents |= _contents(rootfs)
    for name in built.names(fleet)[len(bases) :]:
        rootfs = check.read_archive(archive, name).rootfs
        contents |= _contents(rootfs)
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
        "contents": sum(contents.values()),
        "whole": whole,
        "once": sum(different.values()),
        "timeless": sum(timeless.values()),
        "timeless_compiled": sum(compiled.values()),
    }


def _contents(rootfs: Mapping[str, tuple[Any, ...]]) -> dict[object, int]:
    """What the files of an image hold: sizes, by digests."""
    return {node[MTIME + 2]: node[MTIME + 1] for node in rootfs.values() if node[0] == "0"}


# --- the table -------------------------------------------------------------------------------


def markdown(results: Results) -> str:
    """The figures as one table for each fleet."""
    lines = [
        "# Fleets that apt, pip and npm installed, carved",
        "",
        "Built by docker, as `benchmarks/built.py` tells. All sizes are bytes.",
        "",
        "What `fleet storage` predicts, and below it what was found: the different layers in a registry",
        "that `fleet squash` wrote; what a fresh docker takes that pulled all images in order, and what",
        "it downloaded for that; and what one that has a release downloads for the next one, on average.",
        "The graph driver is docker 20.10's overlay2, which shares layers by chain; containerd's store is",
        "docker 28's, which shares them by blob.",
        "",
        "`=` is what was predicted, to the byte: of each update, or of as many as were pulled. `+` are",
        "blocks of directories of very many names, which take more than one; they are not predicted. What",
        "every file once takes is found by `benchmarks/check.py`.",
    ]
    for fleet, one in results["fleets"].items():
        lines += ["", f"## {fleet}", "", *_about(one), "", *_table(one), "", *_files(one)]
    return "\n".join([*lines, ""])


def _about(one: Results) -> list[str]:
    carved, best = (one["strategies"][name] for name in ("carved", "best cut"))
    layers, bound = one["layers"], carved["lower_bound"]
    gap = carved["found"]["registry"] / bound - 1
    return [
        f"{one['images']} images, {layers['references']} layers of which {layers['blobs']} differ, and",
        f"{one['entries']:,} entries.",
        "",
        "What was found of the carved ones, against the best cut:",
        "; ".join(f"{title} {_change(best, carved, title)}" for title in COLUMNS) + ".",
        f"The lower bound of the registry is {bound:,}, the gap to it {gap:.1%}.",
        f"{carved['equal']} of {one['images']} carved images have exactly their source's root file system.",
    ]


def _change(before: Results, after: Results, title: str) -> str:
    """By how much one row takes more or less than another."""
    old, new = (_average(COLUMNS[title](one["found"])) for one in (before, after))
    return f"{new / old - 1:+.1%}"


def _average(sizes: Sequence[int]) -> int:
    return sum(sizes) // len(sizes)


STORE = "host, containerd's store"
COLUMNS: dict[str, Callable[[Results], list[int]]] = {
    "registry": lambda one: [one["registry"]],
    "host, graph driver": lambda one: [one["graph driver"]["held"]],
    STORE: lambda one: [one["containerd"]["held"]],
    "all pulled by chain": lambda one: [one["graph driver"]["pulled"]],
    "all pulled by blob": lambda one: [one["containerd"]["pulled"]],
    "update by chain": lambda one: list(one["graph driver"]["updates"]),
    "update by blob": lambda one: list(one["containerd"]["updates"]),
}
"""What is predicted and found, by its title. Of several the average is shown."""


def _table(one: Results) -> list[str]:
    lines = [
        f"| strategy | | {' | '.join(COLUMNS)} | layers an image |",
        f"|---|---|{'--:|' * (len(COLUMNS) + 1)}",
    ]
    for name, row in one["strategies"].items():
        predicted = [f"{_average(sizes(row['predicted'])):,}" for sizes in COLUMNS.values()]
        layers = f"{row['layers'] / one['images']:.1f}, at most {row['most_layers']}"
        way = "estimated" if row["estimated"] else "predicted"
        lines.append(f"| {' | '.join([name, way, *predicted, layers])} |")
        if "found" in row:
            lines.append(f"| | found | {' | '.join(_cell(row, title) for title in COLUMNS)} | |")
    predicted, found = one["files_once_bytes"], one["files"]["contents"]
    rest = " |" * (len(COLUMNS) - 1)
    return [
        *lines,
        f"| every file once | predicted | | {predicted:,} |{rest}",
        f"| | found | | {'=' if found == predicted else f'{found:,}'} |{rest}",
    ]


def _cell(row: Results, title: str) -> str:
    """What was found, held against what was predicted."""
    expected, found = (COLUMNS[title](row[one]) for one in ("predicted", "found"))
    if found == expected[: len(found)]:
        return "=" if len(found) == len(expected) else f"= ({len(found)} of {len(expected)})"
    above = row["found"]["containerd"]["directories"]
    if title == STORE and found == [size + above for size in expected]:
        return f"= + {above:,}"
    return f"{_average(found):,}"


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
        for one in measure_fleet(fleet, archive, work):
            results["fleets"][fleet] = one
            options.out.write_text(json.dumps(results, indent=2) + "\n")
        options.out.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
