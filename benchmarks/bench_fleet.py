"""A fleet that docker built, under every strategy: predicted, and then held by a registry and by docker.

    python -m benchmarks.bench_fleet --out benchmarks/results/fleet.json

A Debian base, nginx and Python on it, a dozen apps on these with and without package caches, some in
releases: all made with mmdebstrap and `docker build`, with packages from the network. Beside squashkit's
strategies stands what people have today: `docker build --squash` of an experimental daemon.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from benchmarks import corpus
from benchmarks.bench_places import registry
from benchmarks.bench_squash import Results, machine, measure
from squashkit.oci import MANIFEST_TYPES

STRATEGIES = {
    "built": "as built",
    "all": "squash all",
    "base": "keep base",
    "trie": "along the trie",
    "best": "best cut",
}
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


def layers_of(host: str, prefix: str) -> dict[str, int]:
    """The different layers of the fleet's images in a registry, and their sizes."""
    found = {}
    for name in names():
        path, _, tag = name.partition(":")
        url = f"http://{host}/v2/{prefix}/{path}/manifests/{tag}"
        request = urllib.request.Request(url, headers={"Accept": ", ".join(MANIFEST_TYPES)})
        with urllib.request.urlopen(request, timeout=60) as response:
            for layer in json.load(response)["layers"]:
                found[layer["digest"]] = layer["size"]
    return found


def names() -> list[str]:
    return ["debian:12", *SERVERS, *APPS]


def measure_fleet(work: Path) -> Results:
    """Build, predict, write and count."""
    base, archive, host_daemon = work / "debian.tar", work / "fleet.tar", work / "fleet.docker"
    if not base.exists():
        words = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "bookworm", str(base)]
        subprocess.run(words, check=True)
    results: Results = {"strategies": {}, "today": {}}
    with daemon(host_daemon) as client:
        build(client, work, base)
        results["today"]["docker build"] = {"host": client.df()["LayersSize"]}
        host = f"unix://{host_daemon}/sock"
        subprocess.run(["docker", "-H", host, "save", "-o", str(archive), *names()], check=True)
    with daemon(host_daemon, "--experimental") as client:
        build(client, work, base, squash=True)
        results["today"]["docker build --squash"] = {"host": client.df()["LayersSize"]}
    words = [*FLEET, "storage", str(archive), "--json", "--chart", str(work / "fleet.svg")]
    sample = measure(words, dict(os.environ), work / "fleet.json", 3600)
    results["storage_seconds"], results["storage_memory"] = sample.wall, sample.peak_rss
    predicted = json.loads((work / "fleet.json").read_text())
    kept = ("layers", "layer_references", "entries", "files_once_bytes")
    results |= {key: predicted[key] for key in kept}
    with registry(work / "registry") as host:
        for option, name in STRATEGIES.items():
            begun = time.perf_counter()
            into = f"docker://{host}/{option}"
            subprocess.run(
                [*FLEET, "squash", str(archive), "--into", into, "--strategy", option], check=True,
                capture_output=True,
            )  # fmt: skip
            took = time.perf_counter() - begun
            stored = sum(layers_of(host, option).values())
            (row,) = [one for one in predicted["strategies"] if one["strategy"] == name]
            with daemon(host_daemon) as client:
                for image in names():
                    client.images.pull(f"{host}/{option}/{image}")
                held = client.df()["LayersSize"]
            results["strategies"][name] = {
                "seconds": took,
                "registry": {"predicted": row["registry_bytes"], "found": stored},
                "host": {"predicted": row["host_bytes"], "found": held},
                "layers": row["layers"],
                "pulled": sum(row["pulled"]["by_chain"]),
                "update": sum(one["pulled"] for one in row["updates"]) // len(row["updates"]),
                "segments": row["segments"],
            }
            print(name, json.dumps(results["strategies"][name]["registry"]), file=sys.stderr, flush=True)
    archive.unlink()
    return results


def markdown(results: Results) -> str:
    """The figures as tables."""
    about, fleet = results["machine"], results["fleet"]
    lines = [
        "# A fleet that docker built, under every strategy",
        "",
        f"{len(names())} images, {fleet['layer_references']} layers of which {fleet['layers']} differ,"
        f" {fleet['entries']:,} entries. `fleet storage` took {fleet['storage_seconds']:.0f} s and"
        f" {fleet['storage_memory'] / 1e6:.0f} MB; {about['processor']}, {about['cores']} processors.",
        "",
        "| strategy | registry, predicted | found | host, predicted | found | layers | an update pulls |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in fleet["strategies"].items():
        stored, held = row["registry"], row["host"]
        lines.append(
            f"| {name} | {stored['predicted']:,} | {stored['found']:,} | {held['predicted']:,} |"
            f" {held['found']:,} | {row['layers']} | {row['update'] / 1e6:.1f} MB |"
        )
    lines += [
        f"| every file once | | | {fleet['files_once_bytes']:,} | | | |",
        "",
        "Bytes: of different layers in the registry; by `docker system df` in a daemon that pulled all.",
        "",
        "| ways of today | host |",
        "|---|--:|",
        *(f"| {name} | {row['host']:,} |" for name, row in fleet["today"].items()),
        "",
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure a fleet that docker built.")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fleet.json"))
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(work), "fleet": measure_fleet(work)}
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(results))
    shutil.copy(work / "fleet.svg", options.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
