"""Fleets under every strategy: one that docker built, and seeded ones of 10 to 1,000 images.

    python -m benchmarks.bench_fleet --out benchmarks/results/fleet.json

A Debian base, nginx and Python on it, a dozen apps on these with and without package caches, some in
releases: all made with mmdebstrap and `docker build`, with packages from the network. What is predicted is
written, and counted in a registry and in docker. Beside it stands what people have today: `docker build
--squash` of an experimental daemon, and docker-squash. The seeded fleets (benchmarks/fleets.py) are
predicted and written as well; of 1,000 images the time counts. Two of them share as images of public
registries do (benchmarks/public.py). `--built` makes the one of docker alone, `--row TITLE` one of the
seeded fleets.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import docker

from benchmarks import corpus, fleets, peers, public
from benchmarks.bench_places import registry
from benchmarks.bench_squash import Results, machine, measure
from squashkit.oci.media import MANIFEST_TYPES
from squashkit.options import STRATEGIES
from squashkit.plan.fleet.strategies import BEST, CARVE
from squashkit.report.fleet.titles import TITLES

FLEET = [sys.executable, "-m", "squashkit", "fleet"]
INSTALL = "RUN apt-get update && apt-get install -y --no-install-recommends"
CLEAN = "RUN apt-get clean && rm -rf /var/lib/apt/lists/*"
"""The package lists and archives that the servers' layers hold are removed by each app on its own."""
SERVERS = {
    "web:1": ["FROM debian:12", f"{INSTALL} nginx"],
    "py:1": ["FROM debian:12", f"{INSTALL} python3", "RUN mkdir /srv/app"],
}
APPS = {
    "shop:1": ["FROM web:1", CLEAN, "COPY 1 /srv/www"],
    "shop:2": ["FROM web:1", CLEAN, "COPY 2 /srv/www"],
    "shop:3": ["FROM web:1", CLEAN, "COPY 3 /srv/www"],
    "blog:1": ["FROM web:1", CLEAN, "COPY 4 /srv/www", "RUN chmod -R a-w /srv/www"],
    "blog:2": ["FROM web:1", CLEAN, "COPY 5 /srv/www", "RUN chmod -R a-w /srv/www"],
    "docs:1": ["FROM web:1", f"{INSTALL} brotli", CLEAN, "COPY 6 /srv/www"],
    "proxy:1": ["FROM web:1", CLEAN, "RUN head -c 30000000 /dev/zero > /tmp/cache", "RUN rm /tmp/cache"],
    "report:1": ["FROM py:1", CLEAN, "COPY 7 /srv/app"],
    "report:2": ["FROM py:1", CLEAN, "COPY 8 /srv/app"],
    "report:3": ["FROM py:1", CLEAN, "COPY 9 /srv/app"],
    "worker:1": ["FROM py:1", f"{INSTALL} sqlite3", CLEAN, "COPY 10 /srv/app"],
    "admin:1": ["FROM py:1", "COPY 11 /srv/app", "RUN chown -R www-data /srv/app", CLEAN],
}


@contextmanager
def daemon(folder: Path, *flags: str) -> Iterator[docker.DockerClient]:
    """A docker daemon of its own, with nothing in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    socket = f"unix://{folder}/sock"
    words = [
        *("dockerd", "--data-root", str(folder / "root"), "--exec-root", str(folder / "exec")),
        *("--host", socket, "--pidfile", str(folder / "pid"), "--iptables=false", "--bridge=none"),
        *("--storage-driver", "overlay2", *flags),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
    client = docker.DockerClient(base_url=socket, version="1.40", timeout=900)
    try:
        for _ in range(150):
            try:
                client.ping()
                break
            except Exception:  # it is not there yet, in one way or another
                time.sleep(0.2)
        yield client
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        # A build leaves its network's name space mounted.
        subprocess.run(["umount", str(folder / "exec/netns/default")], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def build(client: docker.DockerClient, work: Path, base: Path, *, squash: bool = False) -> None:
    """The whole fleet, by `docker build`; with `squash` as its experimental flag makes it."""
    with base.open("rb") as file:
        client.api.import_image(src=file, repository="debian", tag="12")
    for tag, lines in {**SERVERS, **APPS}.items():
        folder = work / "fleet.context"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
        for line in lines:
            if line.startswith("COPY "):
                make_site(folder / line.split()[1], int(line.split()[1]))
        # The servers are bases, and stay as they are.
        client.images.build(
            path=str(folder), tag=tag, network_mode="host", squash=squash and tag in APPS, rm=True
        )
        print(f"built {tag}", file=sys.stderr, flush=True)
    shutil.rmtree(work / "fleet.context")


def make_site(folder: Path, seed: int) -> None:
    """Some files of an app: 4 MB in 40 files, the same for the same number."""
    content = random.Random(seed)
    folder.mkdir()
    for number in range(40):
        half = content.randbytes(50_000)
        (folder / f"{number:02}.bin").write_bytes(half + bytes(50_000))


def layers_of(host: str, prefix: str, images: Sequence[str]) -> dict[str, int]:
    """The different layers of images in a registry, and their sizes."""
    return {digest: size for name in images for digest, size in stack_of(host, prefix, name)}


def stack_of(host: str, prefix: str, name: str) -> list[tuple[str, int]]:
    """The layers of one image in a registry, base first, and their sizes."""
    path, _, tag = name.partition(":")
    url = f"http://{host}/v2/{prefix}/{path}/manifests/{tag}"
    request = urllib.request.Request(url, headers={"Accept": ", ".join(MANIFEST_TYPES)})
    with urllib.request.urlopen(request, timeout=60) as response:
        return [(layer["digest"], layer["size"]) for layer in json.load(response)["layers"]]


def stored_in(folder: Path) -> int:
    """Bytes of all blobs of a registry: layers, configs and manifests."""
    return sum(path.stat().st_size for path in folder.rglob("blobs/sha256/*/*/data"))


def push(client: docker.DockerClient, host: str, name: str) -> dict[str, int]:
    """Push what a way of today made. What it takes in the registry, and where it was made."""
    taken = client.df()["LayersSize"]
    for image in names():
        client.images.get(image).tag(f"{host}/{name}/{image}")
        client.images.push(f"{host}/{name}/{image}")
    return {"made": taken, "registry": sum(layers_of(host, name, names()).values())}


def pull(folder: Path, host: str, name: str, images: Sequence[str]) -> int:
    """What a fresh daemon takes that has pulled all of them."""
    with daemon(folder) as client:
        for image in images:
            client.images.pull(f"{host}/{name}/{image}")
        return int(client.df()["LayersSize"])


def docker_squash(client: docker.DockerClient, work: Path, socket: str) -> float:
    """Squash every app above what it is built FROM, in the daemon; the seconds that it took."""
    peers.install("docker-squash", work)
    program = str(peers.program("docker-squash", work))
    begun = time.perf_counter()
    for name, lines in APPS.items():
        below = client.images.get(lines[0].split()[1]).history()
        steps = len(client.images.get(name).history()) - len(below)
        words = [program, "-f", str(steps), "-t", name, name]
        env = {**os.environ, "DOCKER_HOST": socket}
        subprocess.run(words, env=env, check=True, capture_output=True)
    took = time.perf_counter() - begun
    client.images.prune(filters={"dangling": True})
    return took


def names() -> list[str]:
    return ["debian:12", *SERVERS, *APPS]


def measure_fleet(work: Path) -> Results:
    """Build, predict, write and count."""
    base, archive, host_daemon = work / "debian.tar", work / "fleet.tar", work / "fleet.docker"
    if not base.exists():
        words = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "bookworm", str(base)]
        subprocess.run(words, check=True)
    results: Results = {"strategies": {}, "today": {}}
    socket = f"unix://{host_daemon}/sock"
    with registry(work / "registry") as host:
        with daemon(host_daemon) as client:
            build(client, work, base)
            subprocess.run(["docker", "-H", socket, "save", "-o", str(archive), *names()], check=True)
            results["today"]["docker build"] = push(client, host, "built")
        with daemon(host_daemon) as client:
            subprocess.run(
                ["docker", "-H", socket, "load", "-i", str(archive)], check=True, capture_output=True
            )
            seconds = docker_squash(client, work, socket)
            results["today"]["docker-squash -f"] = push(client, host, "peer") | {"seconds": seconds}
        with daemon(host_daemon, "--experimental") as client:
            build(client, work, base, squash=True)
            results["today"]["docker build --squash"] = push(client, host, "squash")
        for name, row in zip(("built", "peer", "squash"), results["today"].values(), strict=True):
            row["host"] = pull(host_daemon, host, name, names())
    words = [*FLEET, "storage", str(archive), "--json", "--chart", str(work / "fleet.svg")]
    words += ["--strategies", ",".join(STRATEGIES)]  # squashing all is measured only where it is named
    sample = measure(words, dict(os.environ), work / "fleet.json", 3600)
    results["storage_seconds"], results["storage_memory"] = sample.wall, sample.peak_rss
    predicted = json.loads((work / "fleet.json").read_text())
    results |= counted(predicted)
    for option, name in TITLES.items():
        with registry(work / "registry") as host:
            begun = time.perf_counter()
            into = f"docker://{host}/{option}"
            subprocess.run(
                [*FLEET, "squash", str(archive), "--into", into, "--strategy", option],
                check=True,
                capture_output=True,
            )
            took = time.perf_counter() - begun
            stored = sum(layers_of(host, option, names()).values())
            blobs = stored_in(work / "registry")
            (row,) = [one for one in predicted["strategies"] if one["strategy"] == name]
            held = pull(host_daemon, host, option, names())
            results["strategies"][name] = {
                "seconds": took,
                "registry": {"predicted": row["registry_bytes"], "found": stored},
                "blobs": {"predicted": row["registry_bytes"] + row["documents_bytes"], "found": blobs},
                "host": {"predicted": row["host_bytes"], "found": held},
                "layers": row["layers"],
                "pulled": sum(row["pulled"]["by_chain"]),
                "update": sum(one["pulled"] for one in row["updates"]) // len(row["updates"]),
                "segments": row["segments"],
            }
            print(name, json.dumps(results["strategies"][name]["registry"]), file=sys.stderr, flush=True)
    archive.unlink()
    return results


def counted(told: Results) -> Results:
    """How much a fleet has, of the report on it."""
    layers = told["layers"]
    kept = ("entries", "merged_entries", "files_once_bytes")
    return {"layers": layers["blobs"], "layer_references": layers["references"]} | {
        key: told[key] for key in kept
    }


def small(images: int) -> Callable[[Path], object]:
    return partial(fleets.make, images=images, scale=fleets.SMALL)


CHARTED = "100 images"
SEEDED: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "10 images": (partial(fleets.make, images=10), []),
    "100 images": (partial(fleets.make, images=100), []),
    "250 small": (small(250), ["--estimate"]),
    "500 small": (small(500), ["--estimate"]),
    "1,000 small": (small(1000), ["--estimate"]),
    "1,000 small, by sizes": (small(1000), ["--no-scan"]),
    "100 images, as in public registries": (partial(public.make, images=100), []),
    "1,000 images, as in public registries": (partial(public.make, images=1000), ["--estimate"]),
}


def measure_seeded(work: Path, titles: Collection[str]) -> Results:
    """Predict fleets that are made from a seed; those that are compressed are written, too, and counted."""
    results: Results = {}
    folder, squashed = work / "fleet.seeded", work / "fleet.squashed"
    for title in titles:
        make, flags = SEEDED[title]
        shutil.rmtree(folder, ignore_errors=True)
        make(folder)
        words = [*FLEET, "storage", f"oci:{folder}", "--json", *flags]
        if title == CHARTED:
            words += ["--chart", str(work / "fleet100.svg")]
        sample = measure(words, dict(os.environ), work / "seeded.json", 3600)
        told = json.loads((work / "seeded.json").read_text())
        row: Results = counted(told) | {
            "images": len(told["images"]),
            "seconds": sample.wall,
            "memory": sample.peak_rss,
        }
        row["crossing"] = told["squash_all_costs_more_from"]
        for one in told["strategies"]:
            kept = ("registry_bytes", "host_bytes", "layers", "estimated")
            row[one["strategy"]] = {key: one[key] for key in kept}
        for option in [] if flags else [BEST, CARVE]:
            shutil.rmtree(squashed, ignore_errors=True)
            begun = time.perf_counter()
            words = [*FLEET, "squash", f"oci:{folder}", "--into", f"oci:{squashed}", "--strategy", option]
            subprocess.run(words, check=True, capture_output=True)
            row[TITLES[option]]["squash_seconds"] = time.perf_counter() - begun
            row[TITLES[option]]["found"] = layers_in(squashed)
        results[title] = row
        print(title, f"{sample.wall:.1f} s", file=sys.stderr, flush=True)
    for path in (folder, squashed):
        shutil.rmtree(path, ignore_errors=True)
    return results


def layers_in(layout: Path) -> int:
    """Bytes of the different layers of a layout's images, as they lie there."""
    blobs = layout / "blobs/sha256"
    digests = set()
    for image in json.loads((layout / "index.json").read_text())["manifests"]:
        manifest = json.loads((blobs / image["digest"].removeprefix("sha256:")).read_text())
        digests |= {layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]}
    return sum((blobs / digest).stat().st_size for digest in digests)


def markdown(results: Results) -> str:
    """The figures as tables."""
    about, fleet = results["machine"], results["fleet"]
    lines = [
        "# A fleet that docker built, under every strategy",
        "",
        (
            f"{len(names())} images, {fleet['layer_references']} layers of which {fleet['layers']} differ,"
            f" {fleet['entries']:,} entries. `fleet storage` took {fleet['storage_seconds']:.0f} s and"
            f" {fleet['storage_memory'] / 1e6:.0f} MB; {about['processor']}, {about['cores']} processors."
        ),
        "",
        (
            "| strategy | layers in a registry, predicted | found | all blobs, predicted | found |"
            " host, predicted | found | layers | an update pulls |"
        ),
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in fleet["strategies"].items():
        pairs = [row["registry"], row["blobs"], row["host"]]
        cells = [f"{pair['predicted']:,} | {pair['found']:,}" for pair in pairs]
        lines.append(f"| {name} | {' | '.join(cells)} | {row['layers']} | {row['update'] / 1e6:.1f} MB |")
    lines += [
        f"| every file once | | | | | {fleet['files_once_bytes']:,} | | | |",
        "",
        "Bytes: of different layers in the registry; of all that it stores, configs and manifests among",
        "them; by `docker system df` in a daemon that pulled all.",
        "",
        "| ways of today | registry | host that pulls | host where it was made |",
        "|---|--:|--:|--:|",
        *(
            f"| {name} | {one['registry']:,} | {one['host']:,} | {one['made']:,} |"
            for name, one in fleet["today"].items()
        ),
        "",
        "The apps are squashed above what they are built FROM; the servers and the base are not. Pushed by",
        "docker, which compresses in its own way. Of `docker build --squash` the layers that were squashed",
        "stay where it was built, as its cache. Squashing took docker-squash",
        (
            f"{fleet['today']['docker-squash -f']['seconds']:.0f} s in the daemon, and `fleet squash`"
            f" {fleet['strategies']['best cut']['seconds']:.0f} s from an archive into a registry."
        ),
        "",
        "## Seeded fleets",
        "",
        (
            "| fleet | layers, references | registry: as built | squash all | keep base | trie |"
            " best cut, found | carved, found | every file once | storage took |"
        ),
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for title, row in results["seeded"].items():
        cells = [stored(row[name]) if name in row else "" for name in TITLES.values()]
        once = mb(row["files_once_bytes"]) if row["files_once_bytes"] else ""
        took = f"{row['seconds']:.1f} s, {row['memory'] / 1e6:.0f} MB"
        size = f"{row['layers']:,}, {row['layer_references']:,}"
        lines.append(f"| {' | '.join([title, size, *cells, once, took])} |")
    thousand = results["seeded"]["1,000 small"]
    rate = thousand["merged_entries"] / thousand["seconds"]
    lines += [
        "",
        "`~`: the squashes are estimated. Those as in public registries have layers and sharing as 36,218",
        "images there, a thousandth of their bytes; how many files are dead or repeated was chosen.",
        f"Of 1,000 small ones {thousand['entries']:,} entries were read, and",
        f"{thousand['merged_entries']:,} of different runs merged, for all strategies together:",
        f"{rate:,.0f} a second, all else included.",
        "",
    ]
    return "\n".join(lines)


def stored(row: Results) -> str:
    """What a strategy takes in a registry, and what was found there."""
    told = "~" * row.get("estimated", False) + mb(row["registry_bytes"])
    return f"{told}, {mb(row['found'])}" if "found" in row else told


def mb(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure a fleet that docker built.")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fleet.json"))
    parser.add_argument("--seeded", action="store_true", help="only the seeded fleets; the rest as it was")
    parser.add_argument("--built", action="store_true", help="only the one that docker builds")
    parser.add_argument("--row", choices=SEEDED, action="append", help="only this one of these; repeatable")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    only_seeded = options.seeded or options.row
    before = json.loads(options.out.read_text()) if only_seeded or options.built else {}
    results: Results = {"machine": before["machine"] if options.row else machine(work)}
    results["fleet"] = before["fleet"] if only_seeded else measure_fleet(work)
    measured = measure_seeded(work, [] if options.built else options.row or SEEDED)
    some = options.row or options.built
    results["seeded"] = {**before["seeded"], **measured} if some else measured
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(results))
    for name in [] if only_seeded else ["fleet.svg"]:
        shutil.copy(work / name, options.out.with_name(name))
    if CHARTED in measured:
        shutil.copy(work / "fleet100.svg", options.out.with_name("fleet100.svg"))


if __name__ == "__main__":
    main()
