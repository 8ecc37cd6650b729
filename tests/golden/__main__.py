"""`python -m tests.golden`: record anew what all runs do, write golden.json and say what changed."""

from __future__ import annotations

import json
import sys
import tempfile
from difflib import unified_diff
from pathlib import Path

from tests.golden.record import GOLDEN, load, record_all, show


def main() -> None:
    """Write golden.json; the changes go to standard output."""
    before = load() if GOLDEN.exists() else {"libraries": {}, "runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        now = record_all(Path(folder).resolve())
    GOLDEN.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    old, new = before["runs"], now["runs"]
    for name in {**old, **new}:
        lines, lines_now = (show(one[name]) if name in one else [] for one in (old, new))
        changes = unified_diff(lines, lines_now, "before", "now", lineterm="", n=1)
        for number, line in enumerate(changes):
            if number == 0:
                print(f"\n{name}")
            print(f"  {line}")
    changed = sum(old.get(name) != new.get(name) for name in {**old, **new})
    if before["libraries"] != now["libraries"]:
        print(f"Libraries: {before['libraries']} before, {now['libraries']} now.")
    print(f"{len(new)} runs; {changed} changed.", file=sys.stderr)


if __name__ == "__main__":
    main()
