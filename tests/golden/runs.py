"""What is recorded: command lines, and calls from Python.

A run is one line, or several that are joined by `&&` and work in one folder, in which `in` holds the images
of `images`. `<` and `>` are files as standard streams, `FILE |` is a true pipe into a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import squashkit
from squashkit import FleetOptions, History, Keep, Rebase, Write


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line]


SQUASH = _lines("""
squash in/app.tar:app:1 --keep-base base:1 -t new:1 -o out.tar
squash in/old.tar:app:1 --keep-base base:1 -t new:1 -o out.tar --json
squash in/oci.tar --keep-layers 2 -t new:1 -t other:2 -o out.tar
squash in/skopeo.tar:docker.io/library/app:1 --keep-layers 2 -o out.tar -v
squash in/zstd.tar --keep-base in/base.tar --compress none -o out.tar
squash oci:in/plain:app:1 --keep-base base:1 -t new:1 -o oci:out --json
squash oci:in/plain:app:1 --keep-base base:1 -o oci:out:new \
    && squash oci:in/plain:base:1 --all -o oci:out:new \
    && squash oci:in/plain:base:1 --all -o oci:out:new --force \
    && squash oci:out:new --all -o oci:out:third
squash in/alone.tar --keep-base in/base.tar -t new:1 -o out.tar --json --verbose
squash in/alone.tar --keep-layers 0 -o out.tar
squash in/alone.tar --keep-layers 5 -o out.tar
squash in/alone.tar --keep-layers 4 -o out.tar --json
squash in/alone.tar --segments =2,2,=1 -t new:1 -o out.tar --json
squash in/alone.tar --segments 2,1,2 -o out.tar -q
squash in/alone.tar --all -t new:1 -o out.tar --check --json
squash in/alone.tar --from-step 'RUN step 3' -t new:1 -o out.tar --report report.json
squash in/remade.tar --keep-layers 2 -o out.tar -v
squash in/remade.tar --keep-layers 2 -o out.tar --whiteouts opaque -v --check
squash in/through.tar --keep-layers 2 -o out.tar -v
squash in/through.tar --keep-layers 2 -o out.tar --symlink-parents follow --json
squash in/bare.tar --keep-layers 2 -o out.tar --json
squash oci:in/hollow --keep-layers 1 -o oci:in-place --blind
squash in/alone.tar --keep-layers 2 -o out.tar --min-saving 5% --json
squash in/alone.tar --keep-layers 2 -o out.tar --min-saving 10MB
squash in/alone.tar --keep-layers 2 --dry-run
squash in/alone.tar --keep-layers 2 --dry-run --json --no-verify
squash in/alone.tar --keep-layers 2 --dry-run -v -o out.tar
squash in/app.tar:app:1 --keep-layers 2 --format oci -t a:1 -o out.tar --digest-file digest --no-verify
squash oci:in/plain:app:1 --keep-layers 2 --format docker -t a:1 -o out.tar --history drop \
    --message 'All in one.' --created 2021-02-03T04:05:06Z
SOURCE_DATE_EPOCH=1600000000 squash in/alone.tar --keep-layers 2 --history keep -o out.tar
squash in/stating:stating:1 -o out.tar --jobs 1
squash oci:in/multi --platform all --keep-layers 1 -t new:1 -o oci:out --json
squash oci:in/multi --platform linux/arm64 --keep-base oci:in/multi-base -o out.tar
squash oci:in/partial --platform all --keep-layers 1 -o oci:out
squash oci:in/partial --platform all --keep-layers 1 -o oci:out --skip-missing
squash < in/alone.tar > out.tar --keep-layers 2
in/app.tar | squash - --keep-base base:1 -t new:1
in/oci.tar | squash --keep-layers 2 -t new:1 -o out.tar --json
in/old.tar | squash --keep-layers 2 --dry-run
""")

REFUSED = _lines("""
squash in/alone.tar -o out.tar
squash in/app.tar --keep-layers 2 -o out.tar
squash in/app.tar:nosuch:1 --keep-layers 2 -o out.tar
squash in/alone.tar --keep-layers 9 -o out.tar
squash in/alone.tar --keep-base in/new.tar -o out.tar
squash in/alone.tar --keep-base nosuch:1 -o out.tar
squash in/alone.tar --keep-layers 2 --all -o out.tar
squash in/alone.tar --from-step nowhere -o out.tar
squash in/alone.tar --from-step RUN -o out.tar
squash in/alone.tar --segments =1,2 -o out.tar
squash in/alone.tar --all -o out.tar && squash in/alone.tar --all -o out.tar \
    && squash in/alone.tar --all -o out.tar --force
squash in/alone.tar --keep-layers 2
squash in/alone.tar --keep-layers 2 -o in/alone.tar --force
squash in/alone.tar --keep-layers 2 -o out.tar -t 'No Name'
SOURCE_DATE_EPOCH=never squash in/alone.tar --keep-layers 2 -o out.tar
squash in/alone.tar --keep-layers 2 -o out.tar --max-size 10kB
squash in/alone.tar --keep-layers 2 -o nowhere/out.tar
squash in/nosuch.tar --keep-layers 2 -o out.tar
squash in/text --keep-layers 2 -o out.tar
squash in/short.tar --keep-layers 2 -o out.tar
squash in/flipped.tar --keep-layers 1 -o out.tar
squash in/escape.tar --keep-layers 2 -o out.tar
squash docker-daemon:app:1 --keep-layers 2 -o out.tar
squash nosuch:a:b --keep-layers 2 -o out.tar
squash oci:in/multi --platform linux/s390x --keep-layers 1 -o out.tar
squash oci:in/multi --platform all --keep-layers 1 --format docker -o out.tar
""")

REBASE = _lines("""
rebase in/app.tar:app:1 --old-base base:1 --new-base in/new.tar -t app:2 -o out.tar
rebase in/app.tar:app:1 --old-base base:1 --new-base in/new.tar -t app:2 -o out.tar --json --check
rebase in/app.tar:app:1 --old-base base:1 --new-base in/new.tar -o out.tar --squash -v
rebase in/alone.tar --old-base in/base.tar --new-base in/new.tar -o oci:out:x --config keep \
    --format oci --json
rebase in/alone.tar --old-base in/base.tar --new-base in/new.tar --dry-run
rebase in/alone.tar --old-base in/base.tar --new-base in/new.tar --dry-run --json --squash
rebase in/stating:stating:1 --new-base in/new.tar -o out.tar --report report.json -q
rebase in/packed.tar --old-base in/deb1.tar --new-base in/deb2.tar -t packed:2 -o out.tar
rebase in/packed.tar --old-base in/deb1.tar --new-base in/deb2.tar -o out.tar --json
rebase in/alone.tar --old-base in/base.tar --new-base in/odd.tar -o out.tar
rebase in/alone.tar --old-base in/base.tar --new-base in/odd.tar --json --dry-run
rebase in/alone.tar --old-base in/base.tar --new-base in/odd.tar -o out.tar --no-strict
rebase in/alone.tar --old-base in/base.tar --new-base in/arm.tar -o out.tar
rebase in/alone.tar --old-base in/base.tar --new-base in/arm.tar -o out.tar --allow platform
rebase in/reliant.tar --old-base in/base.tar --new-base in/new.tar -t r:2 -o out.tar
rebase in/reliant.tar --old-base in/base.tar --new-base in/new.tar -t r:2 -o out.tar --allow parent \
    --json --check
rebase in/linked.tar --old-base in/base.tar --new-base in/new.tar -o out.tar --no-strict
rebase in/alone.tar --old-base in/new.tar --new-base in/base.tar -o out.tar
rebase in/alone.tar --new-base in/new.tar -o out.tar
rebase in/alone.tar --old-base in/base.tar --new-base in/base.tar -o out.tar
rebase oci:in/multi --old-base oci:in/multi-base --new-base oci:in/multi-new --platform all -t app:2 \
    -o oci:out --json
rebase oci:in/multi --old-base oci:in/multi-base --new-base oci:in/multi-new --platform all --dry-run
in/app.tar | rebase - --old-base base:1 --new-base in/new.tar -t app:2
""")

BASE = _lines("""
base find in/alone.tar
base find in/app.tar:app:1 --json
base find in/stating:stating:1
base find in/stating:stating:1 --json
base add in/base.tar && base find in/alone.tar && base find in/alone.tar --json \
    && squash in/alone.tar -t n:1 -o out.tar
base add in/base.tar in/new.tar && base check in/alone.tar --base in/new.tar && base remove base:2 \
    && base remove base:2
base add oci:in/multi-base --platform all && base find oci:in/multi --platform all
base add in/base.tar in/new.tar in/deb1.tar && base list && base list --json
base list
base check in/alone.tar --base in/base.tar
base check in/alone.tar --base in/new.tar --json
base check in/alone.tar --base in/base.tar --json
base check in/alone.tar
""")

LOOK = _lines("""
inspect in/alone.tar
inspect in/alone.tar -v --verify
inspect in/app.tar
inspect in/app.tar --json
inspect in/app.tar --dot
inspect in/alone.tar --json
inspect oci:in/hollow
inspect oci:in/multi --platform all --json
inspect oci:in/multi --platform linux/amd64
inspect in/flipped.tar --verify
inspect in/nosuch.tar
verify in/app.tar
verify in/app.tar --json
verify oci:in/multi --platform all
verify oci:in/hollow
verify in/flipped.tar --json
verify in/escape.tar
verify in/alone.tar --absent /secret --absent '*.pem' \
    --absent sha256:4a46588bd69f17893c671ea8e11941a194ac0f0556bf53a35896ee533e1a7baf
verify in/alone.tar --absent '/cache/*' --limit 1
verify in/alone.tar --absent /nosuch --json
squash in/alone.tar --all -o out.tar && verify out.tar --absent /secret && diff in/alone.tar out.tar
diff in/alone.tar in/oci.tar
diff in/alone.tar in/base.tar
diff in/alone.tar in/base.tar --stat
diff in/alone.tar in/remade.tar --json --ignore mtime,owner
diff in/base.tar in/new.tar --limit 2
ls in/alone.tar
ls in/alone.tar -lR
ls in/alone.tar /d --json
ls in/alone.tar /l/
ls in/alone.tar --layer 3 --whiteouts -l
ls in/alone.tar --layer 3 --whiteouts --json
ls in/alone.tar /nosuch
ls oci:in/partial --platform all --skip-missing
cat in/alone.tar /etc/os-release
cat in/alone.tar /l/n --json
cat in/alone.tar /e/x
cat in/alone.tar /e/x --json
cat in/alone.tar /d
cat oci:in/multi /a --platform all
which in/alone.tar /secret
which in/alone.tar /l/n
which in/alone.tar /s/t --json
which in/alone.tar /nosuch
export in/alone.tar -o rootfs.tar
export in/alone.tar > rootfs.tar
export in/alone.tar --layer 2 -o layer.tar --json
export in/alone.tar --layer 9 -o layer.tar
export oci:in/multi --platform all -o rootfs-{platform}.tar
export in/flipped.tar -o rootfs.tar
""")

# Their bytes are those of a library that compresses, or follow from how well it does.
GZIP = _lines("""
squash in/kaniko.tar --keep-layers 2 -t new:1 -o out.tar --json
squash oci:in/gzip:app:1 --keep-base base:1 -t new:1 -o oci:out
squash in/alone.tar --keep-layers 2 --compress gzip -o out.tar --jobs 2
squash in/alone.tar --keep-layers 2 --compress gzip:9 -o oci:out -v --jobs 1
squash oci:in/gzip:app:1 --all --compress none -o oci:out
rebase oci:in/gzip:app:1 --old-base base:1 --new-base in/new.tar -t app:2 -o oci:out:app-2 --squash
fleet storage in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar
fleet storage in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar --json
fleet storage in/fleet0.tar in/fleet1.tar in/fleet2.tar --minimise host --json --csv growth.csv
fleet storage in/app.tar in/alone.tar
fleet advise in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar
fleet advise in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar --json --max-layers 3
fleet squash in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar --into out.tar --json
fleet squash in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar --into oci:out \
    --strategy built --json
fleet squash in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar --into oci:out \
    --strategy all --json
fleet squash in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar --into oci:out \
    --strategy base --json
fleet squash in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar --into oci:out \
    --strategy trie
fleet squash in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar \
    --into oci-archive:out.tar && fleet squash in/fleet0.tar in/fleet1.tar \
    --base in/fleet-base.tar --into oci-archive:out.tar
fleet squash in/fleet0.tar in/fleet1.tar --into oci:out
demo --keep out
""")
ZSTD = _lines("""
squash oci:in/plain:app:1 --keep-layers 2 --compress zstd -o oci:out --json
squash in/zstd.tar --keep-layers 2 --compress zstd:9 -o oci:out
squash in/zstd.tar --keep-layers 2 -o oci-archive:out.tar
rebase in/zstd.tar --old-base in/base.tar --new-base in/new.tar -t app:2 -o oci-archive:out.tar \
    --squash --json
""")
FLEET = _lines("""
fleet storage in/fleet0.tar in/fleet1.tar in/fleet2.tar --base in/fleet-base.tar --estimate
fleet storage --from in/fleet.txt --no-scan --json
fleet advise in/fleet0.tar in/fleet1.tar --estimate --json
fleet storage in/fleet0.tar --max-layers 1
fleet storage in/fleet0.tar in/fleet1.tar --base in/fleet-base.tar --max-layers 1 --estimate
fleet squash in/alone.tar in/app.tar --into oci:out --estimate
""")

# What click writes may be put otherwise by its next version.
_COMMANDS = (
    *(
        "",
        "squash",
        "rebase",
        "inspect",
        "verify",
        "diff",
        "ls",
        "cat",
        "which",
        "export",
        "demo",
        "completion",
    ),
    *("base", *(f"base {name}" for name in ("find", "check", "add", "list", "remove"))),
    *("fleet", *(f"fleet {name}" for name in ("storage", "advise", "squash"))),
)
CLICK = [
    *(f"{command} --help".strip() for command in _COMMANDS),
    *(
        f"{command} --help-all"
        for command in ("squash", "rebase", "inspect", "fleet storage", "fleet squash")
    ),
    *_lines("""
--version
squish
squash --nosuch
squash in/alone.tar --keep-layers two -o out.tar
squash in/alone.tar --keep-layers 2 --compress lz4 -o out.tar
squash in/alone.tar --keep-layers 2 --min-saving much -o out.tar
squash in/alone.tar --keep-layers 2 --jobs 0 -o out.tar
squash in/alone.tar --keep-layers 2 -o out.tar --created yesterday
rebase in/alone.tar -o out.tar
diff in/alone.tar
diff in/alone.tar in/base.tar --ignore colour
verify in/alone.tar --absent sha256:12
export in/alone.tar --layer -1
fleet storage
completion bash
"""),
]

RUNS = [*SQUASH, *REFUSED, *REBASE, *BASE, *LOOK, *GZIP, *ZSTD, *FLEET, *CLICK]


# --- from Python -----------------------------------------------------------------------------


def _squash() -> Any:
    report = squashkit.squash(
        "in/app.tar:app:1",
        "out.tar",
        keep="base:1",
        history=History(message="From Python."),
        write=Write(tags="new:1"),
    )
    return [report.json(), report.text(verbose=True)]


def _squash_dry() -> Any:
    write = Write(compress="none", dry_run=True)
    return squashkit.squash("in/alone.tar", None, keep=Keep(segments="=2,2,1"), write=write).json()


def _squash_unknown() -> Any:
    return squashkit.squash("in/alone.tar", "out.tar")


def _squash_missing() -> Any:
    return squashkit.squash("in/alone.tar", "out.tar", keep="nosuch:1")


def _rebase() -> Any:
    how = Rebase("in/new.tar", old_base="in/base.tar")
    report = squashkit.rebase("in/alone.tar", "out.tar", how, write=Write(tags=("app:2",)))
    return [report.json(), report.text()]


def _rebase_conflict() -> Any:
    return squashkit.rebase("in/alone.tar", "out.tar", Rebase("in/odd.tar", old_base="in/base.tar"))


def _measure_fleet() -> Any:
    images = [f"in/fleet{number}.tar" for number in range(3)]
    fleet = FleetOptions(("in/fleet-base.tar",), estimate=True)
    return squashkit.measure_fleet(images, fleet=fleet).json()


CALLS: dict[str, Callable[[], Any]] = {
    "Python: squash, keep a base": _squash,
    "Python: squash by segments, a dry run": _squash_dry,
    "Python: squash without a base": _squash_unknown,
    "Python: squash on a base that is not there": _squash_missing,
    "Python: rebase": _rebase,
    "Python: rebase, a conflict": _rebase_conflict,
    "Python: measure a fleet": _measure_fleet,
}


def libraries_of(name: str) -> list[str]:
    """The libraries whose output a run shows, by their names in the record."""
    marked = {"click": CLICK, "gzip": GZIP, "zstd": ZSTD}
    return [library for library, lines in marked.items() if name in lines]
