"""Times whole squashes, tool after tool in turn, and keeps a time only if the result is right.

Each run is one process, measured by the kernel's accounts of it (wall clock, processor time, peak
resident memory). The first output of each tool is compared with the source, entry by entry, by a
process of its own; a tool whose root file system differs, or that fails, is named and not timed on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import corpus, peers
from benchmarks.limit import Amounts, Blocks, limit, measure_blocks, median_of

SQUASHERS = ("squashkit", "yardstick", "oci-squash", "docker-squash")
CASES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "big": ("big", "archive", SQUASHERS),
    "many": ("many", "archive", SQUASHERS),
    "scale-quarter": ("scale-quarter", "archive", ("squashkit", "yardstick")),
    "scale-x1": ("scale-x1", "archive", ("squashkit", "yardstick")),
    "scale-x4": ("scale-x4", "archive", ("squashkit", "yardstick")),
    "big-gzip": ("big", "gzip", ("squashkit", "oci-squash")),
    "big-layout": ("big", "layout", ("squashkit", "skopeo")),
}
"""case: (corpus, form of its source, tools)"""

Results = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the kernel says of one process and the children that it waited for."""

    code: int
    wall: float
    cpu: float
    peak_rss: int


def measure(command: list[str], environment: dict[str, str], log: Path, timeout: float) -> Sample:
    with log.open("wb") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=peers.ROOT,
            start_new_session=True,
        )
        timer = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            timer.cancel()
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    cpu = usage.ru_utime + usage.ru_stime
    return Sample(process.returncode, wall, cpu, usage.ru_maxrss * unit)


def check(*references: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: memory that the runner once used would count for its children."""
    command = [sys.executable, "-m", "benchmarks.check", *references]
    return subprocess.run(command, check=False, capture_output=True, text=True, cwd=peers.ROOT)


def source_facts(name: str, work: Path) -> dict[str, Any]:
    """The corpus's own diff_ids and rootfs digest, computed once for each content."""
    known = corpus.make(name, work)
    cache = work / f"{name}.{known.sha256[:12]}.rootfs"
    if not cache.exists():
        done = check(f"docker-archive:{corpus.archive_path(name, work)}:app:latest")
        done.check_returncode()
        cache.write_text(done.stdout)
    facts: dict[str, Any] = json.loads(cache.read_text())
    return facts


def verdict(job: peers.Job, facts: dict[str, Any], base_layers: int, squashed: bool) -> str:
    """ "equal", or what is wrong with the output."""
    done = check(job.output_reference)
    if done.returncode:
        return "unreadable: " + (done.stderr.strip().splitlines() or ["no message"])[-1]
    found = json.loads(done.stdout)
    if found["rootfs"] != facts["rootfs"]:
        source = f"docker-archive:{job.archive}:app:latest"
        lines = check(source, job.output_reference).stdout.splitlines()
        return "differs: " + "; ".join(lines[:3])[:400]
    if found["diff_ids"][:base_layers] != facts["diff_ids"][:base_layers]:
        return "the base layers were not kept"
    if squashed and len(found["diff_ids"]) != base_layers + 1:
        return f"{len(found['diff_ids'])} layers instead of {base_layers + 1}"
    return "equal"


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def top_layer(output: Path) -> dict[str, Any]:
    """digest, size and diff_id of the top layer of the only image in an OCI layout."""

    def read(descriptor: dict[str, Any]) -> dict[str, Any]:
        digest: str = descriptor["digest"]
        path = output / "blobs" / digest.replace(":", "/")
        value: dict[str, Any] = json.loads(path.read_bytes())
        return value

    [descriptor] = json.loads((output / "index.json").read_bytes())["manifests"]
    manifest = read(descriptor)
    top = manifest["layers"][-1]
    diff_id = read(manifest["config"])["rootfs"]["diff_ids"][-1]
    return {"digest": top["digest"], "size": top["size"], "diff_id": diff_id}


def size_of(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size


def run_once(tool: str, job: peers.Job, timeout: float) -> Sample:
    """One run on a clean floor: no old output, no state of earlier runs, no pending writes."""
    remove(job.output)
    remove(job.work / "state")
    environment = peers.environment(job)
    os.sync()
    log = job.work / "logs" / f"{job.source.name}.{tool}.log"
    log.parent.mkdir(exist_ok=True)
    return measure(peers.COMMANDS[tool](job), environment, log, timeout)


def run_case(name: str, options: argparse.Namespace) -> Results:
    corpus_name, form, tools = CASES[name]
    work: Path = options.work
    # In a process of its own, whose memory would else be the least that any tool can show.
    make = [sys.executable, "-m", "benchmarks.corpus", corpus_name, "--work", str(work)]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    known = corpus.make(corpus_name, work)
    facts = source_facts(corpus_name, work)
    archive = corpus.archive_path(corpus_name, work)
    makers = {"gzip": corpus.make_gzip, "layout": corpus.make_layout}
    source = makers[form](corpus_name, work) if form in makers else archive
    output = work / ("output" if form == "layout" else "output.tar")
    job = peers.Job(archive, source, known.steps, output, work)
    rows: dict[str, Results] = {}
    samples: dict[str, list[Sample]] = {}
    blocks: list[Blocks] = []
    amounts: Amounts | None = None
    with ExitStack() as stack:
        for tool in [tool for tool in tools if tool in options.tools]:
            rows[tool] = {"version": peers.version(tool), "verdict": ""}
            try:
                peers.install(tool, work)
                if tool == "docker-squash":
                    stack.enter_context(peers.docker_daemon(work, archive))
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                rows[tool]["verdict"] = f"not there: {error}"
                continue
            samples[tool] = []
        warm(source)
        load = round(os.getloadavg()[0], 2)  # of other work on the machine: it should be near zero
        for _ in range(options.runs):
            blocks.append(measure_blocks(archive, work))
            for tool in list(samples):
                done = samples[tool]
                if len(done) >= options.slow_runs and done[0].wall > options.slow_after:
                    continue
                sample = run_once(tool, job, options.timeout)
                say(f"{name:14} {tool:14} {sample.wall:8.2f} s  {sample.peak_rss / 1e6:6.0f} MB")
                if not done:
                    rows[tool] |= first_run(tool, job, sample, facts, known.base_layers)
                    if tool == "squashkit" and form == "archive" and rows[tool]["verdict"] == "equal":
                        amounts = Amounts.of(known.diff_size, output)
                if sample.code or rows[tool]["verdict"] not in ("equal", "no image"):
                    say(f"{name:14} {tool:14} {rows[tool]['verdict']}")
                    rows[tool]["code"] = sample.code
                    del samples[tool]
                    continue
                done.append(sample)
        if form == "layout":
            skopeo_of_squashed(job, rows)
        remove(output)
        remove(work / "state")
    for tool, done in samples.items():
        rows[tool] |= summary(done)
    about = {**asdict(known), "source_size": size_of(source), "form": form}
    results: Results = {"corpus": about, "load": load, "tools": rows}
    if amounts is not None:
        least = median_of(blocks)
        cpu, wall = limit(least, amounts, os.cpu_count() or 1)
        results["limit"] = {"cpu": round(cpu, 4), "wall": round(wall, 4)}
        results["limit"] |= {"blocks": asdict(least), "amounts": asdict(amounts)}
    return results


def first_run(
    tool: str, job: peers.Job, sample: Sample, facts: dict[str, Any], base_layers: int
) -> Results:
    """What the first output is like; the check's own work is outside of any measured time."""
    if sample.code:
        log = job.work / "logs" / f"{job.source.name}.{tool}.log"
        last = (log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
        return {"verdict": f"failed with exit code {sample.code}: {last[:300]}"}
    row: Results = {"output_size": size_of(job.output)}
    if tool == "yardstick":
        return {**row, "verdict": "no image"}
    row["verdict"] = verdict(job, facts, base_layers, tool != "skopeo")
    if job.is_layout and tool == "squashkit" and row["verdict"] == "equal":
        row["top_layer"] = top_layer(job.output)
    return row


def skopeo_of_squashed(job: peers.Job, rows: dict[str, Results]) -> None:
    """How skopeo stores the layer that squashkit made: the same bytes, compressed by it."""
    if "top_layer" not in rows.get("squashkit", {}) or "skopeo" not in rows:
        return
    plain = peers.Job(job.archive, job.archive, job.steps, job.work / "squashed.tar", job.work)
    copied = peers.Job(plain.output, job.source, job.steps, job.output, job.work)
    if run_once("squashkit", plain, 600).code == 0:
        command = peers.skopeo_command(copied)
        command = [part.replace(":app:latest", ":app:squashed") for part in command]
        remove(job.output)
        subprocess.run(command, check=True)
        rows["skopeo"]["top_layer"] = top_layer(job.output)
    remove(plain.output)


def summary(samples: list[Sample]) -> Results:
    walls = [sample.wall for sample in samples]
    return {
        "wall": [round(wall, 4) for wall in walls],
        "median": round(statistics.median(walls), 4),
        "cpu": round(statistics.median(sample.cpu for sample in samples), 4),
        "peak_rss": max(sample.peak_rss for sample in samples),
    }


def warm(source: Path) -> None:
    """Bring the source into the page cache, so that no tool pays for the first reading."""
    files = [file for file in source.rglob("*") if file.is_file()] if source.is_dir() else [source]
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def time_help(work: Path, runs: int) -> Results:
    """`--help` beside an interpreter that does nothing, which is the floor for it."""
    log = work / "help.log"
    commands = {
        "squashkit": [sys.executable, "-m", "squashkit", "--help"],
        "python": [sys.executable, "-c", "pass"],
    }
    found: dict[str, list[Sample]] = {name: [] for name in commands}
    for _ in range(runs + 1):  # the first one compiles the modules and is left out
        for name, command in commands.items():
            found[name].append(measure(command, dict(os.environ), log, 60))
    return {name: {**summary(samples[1:]), "code": samples[-1].code} for name, samples in found.items()}


def machine(work: Path) -> Results:
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((s.split(": ")[1] for s in lines if s.startswith("model name")), processor)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "memory": memory,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "filesystem": peers.first_line("stat", "-f", "-c", "%T", str(work)),
    }


def merged(old: Results | None, new: Results, case: str) -> Results:
    """Rows measured now, and old rows of the tools left out now if the corpus is the same."""
    if old is None or old["corpus"]["sha256"] != new["corpus"]["sha256"]:
        return new
    rows = {**old["tools"], **new["tools"]}
    if "limit" in old and "squashkit" not in new["tools"]:  # it is that of squashkit's own minutes
        new = {**new, "limit": old["limit"]}
    return {**new, "tools": {tool: rows[tool] for tool in CASES[case][2] if tool in rows}}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def names(text: str, known: list[str]) -> list[str]:
    chosen = text.split(",")
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; there are {', '.join(known)}")
    return chosen


def parse(arguments: list[str] | None) -> argparse.Namespace:
    cases, tools = list(CASES), list(peers.COMMANDS)
    parser = argparse.ArgumentParser(
        description="Time squashkit, its peers and the yardstick. Reports; never fails on a time."
    )
    parser.add_argument(
        "--corpora", type=lambda text: names(text, cases), default=cases, help=",".join(cases)
    )
    parser.add_argument(
        "--tools", type=lambda text: names(text, tools), default=tools, help=",".join(tools)
    )
    parser.add_argument("--runs", type=int, default=5, help="runs of each tool, in turn")
    parser.add_argument("--slow-after", type=float, default=150, metavar="SECONDS")
    parser.add_argument("--slow-runs", type=int, default=2, help="runs of a tool whose first was slow")
    parser.add_argument("--timeout", type=float, default=1800, metavar="SECONDS")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/squash.json"))
    options = parser.parse_args(arguments)
    options.work = options.work.resolve()
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse(arguments)
    # So that a terminated runner, too, stops the tool that runs and the daemon.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    options.work.mkdir(parents=True, exist_ok=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    here = machine(options.work)
    results: Results = {"machine": here, "cases": {}}
    if options.out.exists() and json.loads(options.out.read_text())["machine"] == here:
        results = json.loads(options.out.read_text())
    results["rss_floor"] = measure(["true"], {}, options.work / "true.log", 60).peak_rss
    if "squashkit" in options.tools:
        results["help"] = time_help(options.work, 20)
    for name in options.corpora:
        results["cases"][name] = merged(results["cases"].get(name), run_case(name, options), name)
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
