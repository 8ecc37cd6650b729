"""Times the commands that look into images, beside `openssl dgst -sha256` of the same archive.

    python -m benchmarks.bench_look --runs 5 --out benchmarks/results/look.json

Reports; never fails on a time. Every command must end with the exit code that it should.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import corpus
from benchmarks.bench_squash import Results, Sample, machine, measure, names, summary, warm

CORPORA = ["big", "many"]


def commands(archive: Path, squashed: Path) -> dict[str, list[str]]:
    """What is timed: by the name that the table gives it."""
    squashkit = [sys.executable, "-m", "squashkit"]
    image = f"docker-archive:{archive}:app:latest"
    content = "sha256:" + "0" * 64
    return {
        "openssl dgst -sha256": ["openssl", "dgst", "-sha256", str(archive)],
        "inspect": [*squashkit, "inspect", image],
        "verify": [*squashkit, "verify", str(archive)],
        "verify --absent PATH": [*squashkit, "verify", str(archive), "--absent", "/no/such/path"],
        "verify --absent sha256": [*squashkit, "verify", str(archive), "--absent", content],
        "diff (with its squash)": [*squashkit, "diff", image, str(squashed)],
        "ls -R": [*squashkit, "ls", "-R", image],
        "which": [*squashkit, "which", image, "/usr/bin"],
        "waste": [*squashkit, "waste", image],
    }


def comparators(archive: Path) -> dict[str, list[str]]:
    """What does the same as a command, and takes minutes: timed once, where it is there."""
    dive = shutil.which("dive", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return {"dive --ci": [dive, "--ci", "--source", "docker-archive", str(archive)]} if dive else {}


def run_corpus(name: str, options: argparse.Namespace) -> Results:
    """The figures of one corpus, commands in turn."""
    made = corpus.make(name, options.work)
    archive = corpus.archive_path(name, options.work)
    squashed = options.work / f"{name}-squashed.tar"
    source = f"docker-archive:{archive}:app:latest"
    words = [source, "--keep-base", "base:latest", "-t", "app:squashed", "-o", str(squashed), "--force"]
    subprocess.run([sys.executable, "-m", "squashkit", "squash", "--quiet", *words], check=True)
    warm(archive)
    warm(squashed)
    log = options.work / "look.log"
    wanted = commands(archive, squashed)
    samples: dict[str, list[Sample]] = {command: [] for command in wanted}
    for number in range(options.runs):
        for command, line in wanted.items():
            sample = measure(line, dict(os.environ), log, 600)
            if sample.code:
                raise SystemExit(f"{command}: exit {sample.code}\n{log.read_text()[-2000:]}")
            samples[command].append(sample)
            print(f"{name} run {number + 1}: {command}: {sample.wall:.2f} s", file=sys.stderr, flush=True)
    for command, line in comparators(archive).items():
        sample = measure(line, dict(os.environ), log, 1200)
        if sample.code not in (0, 1):  # 1: its own gates fail
            raise SystemExit(f"{command}: exit {sample.code}\n{log.read_text()[-2000:]}")
        samples[command] = [sample]
        print(f"{name}: {command}: {sample.wall:.2f} s", file=sys.stderr, flush=True)
    squashed.unlink()
    facts = {"size": made.size, "entries": made.entries, "layers": made.layers}
    return {"corpus": facts, "commands": {command: summary(found) for command, found in samples.items()}}


def markdown(results: Results) -> str:
    """The figures as a table for each corpus."""
    lines = ["# Commands that look", "", "Medians of whole processes, warm page cache, in turn.", ""]
    about = results["machine"]
    lines += [f"{about['processor']}, {about['cores']} processors, Python {about['python']}.", ""]
    for name, case in results["corpora"].items():
        facts = case["corpus"]
        lines += [
            f"## {name}: {facts['size'] / 1e6:,.0f} MB, {facts['entries']:,} entries",
            "",
            "| command | median | least | most | of openssl | memory |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        floor = case["commands"]["openssl dgst -sha256"]["median"]
        for command, row in case["commands"].items():
            walls = row["wall"]
            lines.append(
                f"| {command} | {row['median']:.2f} s | {min(walls):.2f} s | {max(walls):.2f} s |"
                f" {row['median'] / floor:.2f} | {row['peak_rss'] / 1e6:.0f} MB |"
            )
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time inspect, verify, diff and their like.")
    parser.add_argument("--corpora", type=lambda text: names(text, CORPORA), default=CORPORA)
    parser.add_argument("--runs", type=int, default=5, help="runs of each command, in turn")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/look.json"))
    options = parser.parse_args(arguments)
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    cases = {name: run_corpus(name, options) for name in options.corpora}
    results = {"machine": machine(options.work), "runs": options.runs, "corpora": cases}
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
