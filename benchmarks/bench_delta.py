"""What travels to a host that has the release before: whole archives, and deltas.

    python -m benchmarks.bench_delta --out benchmarks/results/delta.json

The images are a seeded fleet (fleets.py): bases, runtimes, and apps in releases. Each release goes to a
host that has the one before; both as they were built, or both squashed above their base. The sizes of
archives are counted, and nothing is timed. A delta counts once it was made whole again, and is what is
written without one.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import fleets
from benchmarks.corpus import default_work

IMAGES = 40
BASE_LAYERS = 2
Row = dict[str, int | str]


def write(image: str | Path, output: Path, *words: str | Path) -> int:
    """An archive by squashkit; its size in bytes."""
    command = [sys.executable, "-m", "squashkit", "squash", str(image), "--quiet", "--force"]
    subprocess.run([*command, *map(str, words), "-o", f"oci-archive:{output}"], check=True)
    return output.stat().st_size


def releases(layout: Path) -> dict[str, int]:
    """All images by their names, with how many layers each has."""
    found: dict[str, int] = {}
    for entry in json.loads((layout / "index.json").read_text())["manifests"]:
        manifest = json.loads((layout / "blobs" / entry["digest"].replace(":", "/")).read_text())
        name = entry["annotations"]["io.containerd.image.name"].rpartition("/")[2]
        found[name] = len(manifest["layers"])
    return found


def measure(layout: Path, new: str, old: str, layers: Mapping[str, int]) -> Row:
    """The archives of one release for a host that has the one before."""
    row: Row = {"image": new, "has": old}
    with TemporaryDirectory(dir=layout.parent) as folder:
        had, whole, delta, again = (
            Path(folder, f"{part}.tar") for part in ("had", "whole", "delta", "again")
        )
        for how in ("built", "squashed"):
            keep = {
                name: ("--keep-layers", str(layers[name] if how == "built" else BASE_LAYERS))
                for name in (new, old)
            }
            write(f"oci:{layout}:{old}", had, *keep[old])
            row[f"{how}_whole"] = write(f"oci:{layout}:{new}", whole, *keep[new])
            row[f"{how}_delta"] = write(f"oci:{layout}:{new}", delta, *keep[new], "--have", had)
            write(delta, again, "--have", had)
            if not filecmp.cmp(whole, again, shallow=False):
                raise SystemExit(f"{new}, {how}: made whole the delta is another archive")
    return row


def markdown(rows: Sequence[Row]) -> str:
    """The table, with a row for all of them together."""
    sizes = ("built_whole", "built_delta", "squashed_whole", "squashed_delta")
    together: Row = {"image": "all", "has": ""}
    together |= {size: sum(int(row[size]) for row in rows) for size in sizes}
    lines = [
        "# What travels to a host that has the release before",
        "",
        f"Releases of a seeded fleet of {IMAGES} images, in archives of gzip layers; bytes.",
        "",
        "| image | the host has | as built | delta | squashed | delta |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in (*rows, together):
        counts = " | ".join(f"{row[size]:,}" for size in sizes)
        lines.append(f"| {row['image']} | {row['has']} | {counts} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what travels as whole archives and as deltas.")
    parser.add_argument("--work", type=Path, default=default_work(), help="where the fleet is made")
    parser.add_argument("--out", type=Path, required=True, help="a JSON file; a table goes beside it")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    layout = arguments.work / f"delta-{IMAGES}"
    shutil.rmtree(layout, ignore_errors=True)
    fleets.make(layout, IMAGES)
    layers = releases(layout)
    rows = []
    for new in layers:
        match = re.fullmatch(r"(app\d+):([2-9])", new)
        if match is not None:
            rows.append(measure(layout, new, f"{match[1]}:{int(match[2]) - 1}", layers))
    arguments.out.write_text(json.dumps(rows, indent=2) + "\n")
    arguments.out.with_suffix(".md").write_text(markdown(rows))
    shutil.rmtree(layout)


if __name__ == "__main__":
    main()
