"""Times a replay beside the squash that wrote its recipe, and tells how large that is.

    python -m benchmarks.bench_recipe --runs 5 --out benchmarks/results/recipe.json

Reports; never fails on a time. What is replayed must be the file that was squashed.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import sys
from pathlib import Path

from benchmarks import corpus
from benchmarks.bench_squash import Results, Sample, machine, measure, names, remove, summary, warm

CORPORA = ["big", "many"]


def run_corpus(name: str, options: argparse.Namespace) -> Results:
    """The figures of one corpus: in each round a squash, then its replay, and both once more with what is
    new compressed."""
    made = corpus.make(name, options.work)
    archive = corpus.archive_path(name, options.work)
    warm(archive)
    squashkit = [sys.executable, "-m", "squashkit"]
    output, again, recipe = (options.work / f"{name}-{end}" for end in ("new", "again", "recipe"))
    log = options.work / "recipe.log"
    samples: dict[str, list[Sample]] = {}
    shares: dict[str, Results] = {}
    for number in range(options.runs):
        for compress in ("none", "gzip:6"):
            words = ["-q", "-t", "app:squashed", "--force"]
            image = f"docker-archive:{archive}:app:latest"
            squash = [*squashkit, "squash", image, "--keep-base", "base:latest", "--compress", compress]
            lines = {
                f"squash, {compress}": [*squash, *words, "-o", str(output), "--recipe", str(recipe)],
                f"replay, {compress}": [*squashkit, "replay", str(recipe), image, *words, "-o", str(again)],
            }
            for title, line in lines.items():
                remove(output if "squash" in title else again)
                sample = measure(line, dict(os.environ), log, 1200)
                if sample.code:
                    raise SystemExit(f"{title}: exit {sample.code}\n{log.read_text()[-2000:]}")
                samples.setdefault(title, []).append(sample)
                print(f"{name} run {number + 1}: {title}: {sample.wall:.2f} s", file=sys.stderr, flush=True)
            if not filecmp.cmp(output, again, shallow=False):
                raise SystemExit(f"{name}, {compress}: the replay wrote another file")
            head = json.loads(recipe.read_bytes().partition(b"\n")[0])
            (layer,) = head["layers"]
            shares[compress] = {"recipe": recipe.stat().st_size, "layer": layer["size"]}
    for path in (output, again, recipe):
        remove(path)
    facts = {"size": made.size, "entries": made.entries}
    return {"corpus": facts, "commands": {t: summary(s) for t, s in samples.items()}, "recipes": shares}


def markdown(results: Results) -> str:
    """The figures as a table for each corpus."""
    about = results["machine"]
    lines = ["# Recipes", "", "Medians of whole processes, warm page cache, in turn.", ""]
    lines += [f"{about['processor']}, {about['cores']} processors, Python {about['python']}.", ""]
    for name, case in results["corpora"].items():
        facts = case["corpus"]
        lines += [
            f"## {name}: {facts['size'] / 1e6:,.0f} MB, {facts['entries']:,} entries",
            "",
            "| new layer | squash | replay | of it | CPU of it | layer | recipe | share |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for compress, share in case["recipes"].items():
            squash, replay = (case["commands"][f"{what}, {compress}"] for what in ("squash", "replay"))
            cpu = replay["cpu"] / squash["cpu"]
            lines.append(
                f"| {compress} | {squash['median']:.2f} s | {replay['median']:.2f} s |"
                f" {replay['median'] / squash['median']:.2f} | {cpu:.2f} | {share['layer'] / 1e6:,.0f} MB |"
                f" {share['recipe'] / 1e3:,.1f} KB | {100 * share['recipe'] / share['layer']:.3f} % |"
            )
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time replays, and weigh recipes.")
    parser.add_argument("--corpora", type=lambda text: names(text, CORPORA), default=CORPORA)
    parser.add_argument("--runs", type=int, default=5, help="runs of each command, in turn")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/recipe.json"))
    options = parser.parse_args(arguments)
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    cases = {name: run_corpus(name, options) for name in options.corpora}
    results = {"machine": machine(options.work), "runs": options.runs, "corpora": cases}
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
