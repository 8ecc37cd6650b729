"""Times squashes in a registry and in a docker daemon, beside the tools that only move the same bytes.

    python -m benchmarks.bench_places --runs 5 --out benchmarks/results/places.json

The registry and the daemon are started for it, on loopback and on a unix socket, and stopped. Reports;
never fails on a time. The first result of each is fetched by another tool and compared with the source.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import corpus, peers
from benchmarks.bench_squash import Results, Sample, check, machine, measure, names, source_facts, summary

CORPORA = ["big", "many"]
SQUASHKIT = [sys.executable, "-m", "squashkit", "squash", "--quiet"]
PLAIN = ["--src-tls-verify=false", "--dest-tls-verify=false"]
SKOPEO = ["skopeo", "--insecure-policy", "copy", "--quiet", *PLAIN]


@dataclass(frozen=True, slots=True)
class Case:
    """What is timed: its command, what is done before each run, and its report, if it has one."""

    command: Callable[[int], list[str]]
    before: Callable[[int], None] = lambda number: None
    report: Path | None = None


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A registry of its own on loopback: its host and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{host}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        for _ in range(100):
            try:
                urllib.request.urlopen(f"http://{host}/v2/", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield host
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(folder / "data", ignore_errors=True)


def equal(reference: str, facts: Results, base_layers: int) -> str:
    """ "equal", or what is wrong with a result."""
    done = check(reference)
    if done.returncode:
        return "unreadable: " + (done.stderr.strip().splitlines() or ["no message"])[-1]
    found = json.loads(done.stdout)
    if found["rootfs"] != facts["rootfs"]:
        return "the root file system differs"
    if found["diff_ids"][:base_layers] != facts["diff_ids"][:base_layers]:
        return "the base layers were not kept"
    return "equal"


def run(cases: dict[str, Case], runs: int, work: Path, environment: dict[str, str]) -> Results:
    """Time the cases in turn."""
    samples: dict[str, list[Sample]] = {name: [] for name in cases}
    transfers: dict[str, Results] = {}
    log = work / "places.log"
    for number in range(runs):
        for name, case in cases.items():
            case.before(number)
            os.sync()
            sample = measure(case.command(number), environment, log, 1800)
            if sample.code:
                raise SystemExit(f"{name}: exit {sample.code}\n{log.read_text()[-2000:]}")
            samples[name].append(sample)
            if case.report is not None:
                transfers[name] = json.loads(case.report.read_text())["transfer"]
            print(f"run {number + 1}: {name}: {sample.wall:.2f} s", file=sys.stderr, flush=True)
    return {name: {**summary(found), "transfer": transfers.get(name)} for name, found in samples.items()}


def in_registry(name: str, options: argparse.Namespace) -> Results:
    """Squashes from a registry into it, with and without remembered entries, beside a copy to a folder."""
    work: Path = options.work
    made, archive = corpus.make(name, work), corpus.archive_path(name, work)
    facts = source_facts(name, work)
    report, copy, cache = work / "places.report.json", work / "places.copy", work / "places.cache"
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "TMPDIR": str(work)}
    with registry(work / "registry") as host:
        place = f"docker://{host}"
        for image in ("base", "app"):
            source = f"docker-archive:{archive}:{image}:latest"
            subprocess.run([*SKOPEO, "--format", "oci", source, f"{place}/{image}:1"], check=True)
        manifest = json.loads(
            subprocess.run(
                ["skopeo", "inspect", "--raw", "--tls-verify=false", f"{place}/app:1"],
                check=True,
                capture_output=True,
            ).stdout
        )
        sizes = [layer["size"] for layer in manifest["layers"]]

        def squash(kind: str) -> Callable[[int], list[str]]:
            images = [f"{place}/app:1", "--keep-base", f"{place}/base:1"]
            return lambda number: [
                *SQUASHKIT,
                *images,
                "-o",
                f"{place}/{kind}-{number}:1",
                "--report",
                str(report),
            ]

        def clear(*paths: Path) -> Callable[[int], None]:
            def remove(number: int) -> None:
                for path in paths:
                    shutil.rmtree(path, ignore_errors=True)

            return remove

        cases = {
            "skopeo copy to a folder": Case(
                lambda number: [*SKOPEO, f"{place}/app:1", f"dir:{copy}"], clear(copy)
            ),
            "squashkit, cold": Case(squash("cold"), clear(cache), report),
            "squashkit, warm": Case(squash("warm"), report=report),
        }
        rows = run(cases, options.runs, work, environment)
        for kind in ("cold", "warm"):
            clear(copy)(0)
            subprocess.run([*SKOPEO, f"{place}/{kind}-0:1", f"oci:{copy}:app"], check=True)
            rows[f"squashkit, {kind}"]["verdict"] = equal(f"oci:{copy}", facts, made.base_layers)
        clear(copy, cache)(0)
    return {"stored": sum(sizes), "base_stored": sum(sizes[: made.base_layers]), "rows": rows}


def in_daemon(name: str, options: argparse.Namespace) -> Results:
    """Squashes from a docker daemon into it, beside docker-squash, and the daemon's own save and load."""
    work: Path = options.work
    made, archive = corpus.make(name, work), corpus.archive_path(name, work)
    facts = source_facts(name, work)
    saved, report = work / "places.saved.tar", work / "places.report.json"
    docker = ["docker", "-H", f"unix://{peers.socket_of(work)}"]
    peers.install("docker-squash", work)
    steps = str(made.layers - made.base_layers)
    environment = {
        **os.environ,
        "DOCKER_HOST": f"unix://{peers.socket_of(work)}",
        "TMPDIR": str(work),
        "XDG_CACHE_HOME": str(work / "places.cache"),
    }

    def drop(number: int) -> None:
        for image in ("app:squashed", "app:loaded"):
            subprocess.run([*docker, "rmi", "-f", image], check=False, capture_output=True)

    with peers.docker_daemon(work, archive):
        squashkit = [*SQUASHKIT, "app:latest", "--keep-base", "base:latest", "-t", "app:squashed"]
        cases = {
            "docker save": Case(lambda number: [*docker, "save", "-o", str(saved), "app:latest"], drop),
            "squashkit": Case(lambda number: [*squashkit, "--report", str(report)], drop, report),
        }
        if name != "many" or options.slow:
            program = str(peers.program("docker-squash", work))
            peer = [program, "-f", steps, "-t", "app:squashed", "app:latest"]
            cases["docker-squash"] = Case(lambda number: peer, drop)
        drop(0)
        rows = run(cases, options.runs, work, environment)
        for tool in [tool for tool in ("squashkit", "docker-squash") if tool in cases]:
            drop(0)
            measure(cases[tool].command(0), environment, work / "places.log", 1800)
            subprocess.run([*docker, "save", "-o", str(saved), "app:squashed"], check=True)
            rows[tool]["verdict"] = equal(f"docker-archive:{saved}", facts, made.base_layers)
        drop(0)
        load = Case(lambda number: [*docker, "load", "-i", str(saved)], drop)
        rows |= run({"docker load of the squashed": load}, options.runs, work, environment)
        saved.unlink()
    return {"rows": rows}


def markdown(results: Results) -> str:
    """The figures as a table for each place and corpus."""
    about = results["machine"]
    lines = [
        "# Squashes where images are",
        "",
        "Medians of whole processes, in turn; the registry and the daemon ran on the same machine.",
        "",
        f"{about['processor']}, {about['cores']} processors, Python {about['python']}.",
        "",
    ]
    for place, case in results["places"].items():
        lines += [f"## {place}", ""]
        if "stored" in case:
            stored, base = case["stored"] / 1e6, case["base_stored"] / 1e6
            lines += [f"The image is stored with {stored:,.0f} MB, {base:,.0f} MB of them its base.", ""]
        lines += [
            "| | median | least | most | memory | down | up | result |",
            "|---|--:|--:|--:|--:|--:|--:|---|",
        ]
        for name, row in case["rows"].items():
            moved = row["transfer"] or {}
            down, up = (f"{moved[way] / 1e6:,.1f} MB" if way in moved else "" for way in ("down", "up"))
            walls = row["wall"]
            lines.append(
                f"| {name} | {row['median']:.2f} s | {min(walls):.2f} s | {max(walls):.2f} s |"
                f" {row['peak_rss'] / 1e6:.0f} MB | {down} | {up} | {row.get('verdict', '')} |"
            )
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time squashes in a registry and in a docker daemon.")
    parser.add_argument("--corpora", type=lambda text: names(text, CORPORA), default=CORPORA)
    parser.add_argument(
        "--places", type=lambda text: names(text, ["registry", "daemon"]), default=["registry", "daemon"]
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--slow", action="store_true", help="run docker-squash on `many`, too")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/places.json"))
    options = parser.parse_args(arguments)
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    made = {"registry": in_registry, "daemon": in_daemon}
    places = {
        f"{place}, {name}": made[place](name, options)
        for place in options.places
        for name in options.corpora
    }
    before = json.loads(options.out.read_text())["places"] if options.out.exists() else {}
    results = {"machine": machine(options.work), "runs": options.runs, "places": {**before, **places}}
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
