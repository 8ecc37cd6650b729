"""`python -m tests.fuzz SECONDS [TARGET...]`: the targets one after another, each in a process of its own,
which share the seconds. Exit code 1 where there is a fault; the inputs lie in build/fuzz/crashes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path("build/fuzz")
CRASHES = FOLDER / "crashes"
GO = "tests.fuzz.golang"
"""Header chains against Go's own reader, in a module with a command of its own."""


def main() -> int:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 600
    from tests.fuzz.targets import TARGETS

    wanted = sys.argv[2:] or list(TARGETS)
    unknown = [name for name in wanted if name not in TARGETS]
    if unknown:
        sys.exit(f"no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    with_go = not sys.argv[2:] and shutil.which("go") is not None and find_spec(GO) is not None
    share = max(1, seconds // (len(wanted) + with_go))
    CRASHES.mkdir(parents=True, exist_ok=True)
    figures = {}
    for name in wanted:
        figures[name] = _fuzz(name, share)
        print(f"{name:14} {figures[name]:>12,} executions in {share} s", flush=True)
    failed = bool(
        with_go and subprocess.run([sys.executable, "-m", GO, str(share)], check=False).returncode
    )
    (FOLDER / "figures.json").write_text(json.dumps({"seconds": share, "executions": figures}, indent=1))
    faults = sorted(path for path in CRASHES.iterdir() if path.suffix != ".txt")
    for path in faults:
        told = path.with_suffix(".txt")
        print(f"\n{path} ({path.stat().st_size} bytes)")
        print(told.read_text() if told.exists() else "it hung, or took too much memory")
    print(f"\n{sum(figures.values()):,} executions, {len(faults)} faults in {CRASHES}")
    return int(failed or bool(faults))


def _fuzz(name: str, seconds: int) -> int:
    """Fuzz one target for this long, with a new process where one ended early; how many inputs it had."""
    executions = 0
    end = time.monotonic() + seconds
    log = FOLDER / f"{name}.log"
    while (left := round(end - time.monotonic())) > 0:
        with log.open("wb") as output:
            done = subprocess.run(
                [sys.executable, "-m", "tests.fuzz.run", name, str(left)],
                stdout=output,
                stderr=output,
                check=False,
            )
        text = log.read_text(errors="replace")
        found = re.findall(r"number_of_executed_units: *(\d+)", text) or re.findall(
            r"^#(\d+)", text, re.MULTILINE
        )
        executions += int(found[-1]) if found else 0
        if done.returncode and not found:
            sys.exit(f"{name} does not run:\n{text[-3000:]}")
    return executions


if __name__ == "__main__":
    sys.exit(main())
