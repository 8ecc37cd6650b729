"""Write the page of the rules of live waste, waste-rules.md: `python docs/rules.py`.

All of it comes from squashkit's own rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from squashkit.layers.search import Pattern
from squashkit.plan.waste.live import Rule, own_rules

PAGE = Path(__file__).parent / "waste-rules.md"
HEAD = """# Rules of live waste

Files that live in an image's root file system and are not needed there, as a rule: where they are, why,
and what to write in the Dockerfile instead. A file counts under the first rule that fits it, from the
top. Empty files count under none.

A rule goes by paths and sizes alone. It cannot know what your program reads: try the image without the
files before you rely on it.

The last column is for [`squash --drop-caches`](leave-out.md): what it calls the package manager whose cache
this is.

"""
CONDITIONS = """
## Conditions

**Its content lies beside it**: the archive's folder has a folder with the archive's name without the
ending, or whose name begins so and goes on with `.`, `-` or `_`. Of a wheel the name ends after the
version.

**Something was compiled**: a compiler left its traces in the file's layer or in one above it. A
compiler in an image that is made to build others leaves none, and is no waste. The traces are:

- of Cargo `target/release/.fingerprint` or `target/debug/.fingerprint`, of CMake `CMakeCache.txt`, of
  autoconf `config.status`, of node-gyp `build/Release/obj.target`, of setuptools object files in
  `build/temp.*`
- `x.o` beside `x.c`, `x.cc`, `x.cpp`, `x.cxx` or `x.S`
- of Go, which leaves nothing, a `go.mod`, and in a later layer a file of 1 MB or more without a dot in
  its name: in the folder of the `go.mod` or below it, in the root or in `/usr/local/bin`

None counts in `/usr/lib`, `/usr/share`, `/usr/local/go` or among modules and crates that were
downloaded.

## Globs

Globs are those of [`squashkit verify --absent`](secret.md): `*` and `?` stay within a name, `**`
between slashes means any number of folders, none too, and `[abc]` means one of these characters. A glob
with a slash inside counts from the root, one without means that name in every folder. Where a folder is
meant, so is all in it.

A file that has several names, as hard links, counts under one of them. Package managers such as uv,
pnpm and conda link from their caches where they can; of such a file the cache is one name, and deleting
it saves nothing.
"""


def page() -> str:
    """The whole page."""
    lines = [
        "| rule | where | why it is not needed | what to write instead | cache of |",
        "|---|---|---|---|---|",
    ]
    lines += [row(rule) for rule in own_rules()]
    return HEAD + "\n".join(lines) + "\n" + CONDITIONS


def row(rule: Rule) -> str:
    """A rule as a row of the table."""
    cells = (f"**{rule.name}**", where(rule), rule.reason, rule.mend, f"`{rule.cache}`" * bool(rule.cache))
    return "| " + " | ".join(cells) + " |"


def where(rule: Rule) -> str:
    """Which files a rule fits, in words."""
    parts = [code(rule.paths)]
    if rule.excepted:
        parts.append(f"not {code(rule.excepted)}")
    if rule.unless:
        parts.append(f"in images without {code(rule.unless)}")
    if rule.min_size:
        parts.append(f"of {rule.min_size:,} bytes or more")
    if rule.beside:
        parts.append("where [its content lies beside it](#conditions)")
    if rule.built:
        parts.append("where [something was compiled](#conditions)")
    return "; ".join(parts)


def code(globs: Iterable[Pattern]) -> str:
    """Globs as code."""
    return ", ".join(f"`{glob.text}`" for glob in globs)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
