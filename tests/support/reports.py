"""Images that the page is about, and a hostile one."""

from __future__ import annotations

from pathlib import Path

from tests.support.builders import (
    ImageSpec,
    Json,
    directory,
    docker_archive_old,
    file,
    layer,
    on_base,
    whiteout,
)

BASE_STEPS = ["ADD rootfs.tar /"]
STEPS = [
    "RUN /bin/sh -c apt-get install -y nginx # buildkit",
    "COPY site/ /srv/ # buildkit",
    "RUN /bin/sh -c chmod 755 /srv/site.bin && rm -rf /var/cache/apt # buildkit",
]


def _told(steps: list[str]) -> list[Json]:
    return [{"created_by": step} for step in steps]


BASE = ImageSpec(
    [
        layer(
            directory("etc"), file("etc/os-release", b"NAME=x\n" * 90), file("usr/lib/libc", bytes(70_000))
        )
    ],
    ["debian:12"],
    history=_told(BASE_STEPS),
)
APP = ImageSpec(
    [
        *BASE.layers,
        layer(
            file("usr/bin/nginx", b"n" * 90_000),
            *(file(f"var/cache/apt/archives/{n:02}.deb", b"%02d" % n * 2_000) for n in range(80)),
            *(file(f"var/lib/apt/lists/{n}_Packages", b"%d" % n * 30_000) for n in range(3)),
        ),
        layer(
            file("srv/site.bin", b"s" * 50_000),
            file("srv/a", b"same" * 9_000),
            file("srv/b", b"same" * 9_000),
        ),
        layer(
            file("srv/site.bin", b"s" * 50_000, mode=0o755),
            whiteout("var/cache/apt"),
            file("etc/os-release", b"NAME=y\n" * 90),
        ),
    ],
    ["app:1"],
    history=_told(BASE_STEPS + STEPS),
)
OTHER = on_base(BASE, layer(file("usr/bin/other", b"o" * 4_000)), tags=["other:1"])

HIGH = ImageSpec(
    [layer(*(file(f"d{n}/{name}", bytes([n]) * (3_000 + n)) for name in "abc")) for n in range(20)],
    ["high:1"],
)


def write_images(folder: Path) -> None:
    """app.tar, an image beside its base, other.tar, one that wastes nothing, and high.tar, one of many
    layers."""
    docker_archive_old(folder / "high.tar", [HIGH])
    docker_archive_old(folder / "app.tar", [APP, BASE])
    docker_archive_old(folder / "other.tar", [OTHER])


# --- hostile ---------------------------------------------------------------------------------

MARKUP = (
    "</script><script>alert(1)</script>",
    "<!--<script>alert(2)</script>",
    '"><img src=http://evil.example/a onerror=alert(3)>',
    "'><svg onload=alert(4)>",
    '<a href="javascript:alert(5)">go<\\a>',
    "&lt;script&gt;alert(6)&lt;&#47;script&gt;",
    "{{ 7 * 7 }}{% raw %}",
    "%{label}<extra>",
    "\x1b[31mred\x07",
    "\u202egnp.exe\u2066\u200f",
    "\u2028\u2029\ufeff",
    "__proto__",
    "<b>bold",
    "<a href='//e.example'>x",
)
"""Names of files, of which each means something to somebody."""
SLASH = "\u2215"
"""Stands in a name of a file for a slash, which would only part it."""
INVALID = b"bad\xff\xfe\x80name"
LONG = b"/".join([b"long" * 50] * 20)
"""A path of 4 kB."""


def hostile() -> ImageSpec:
    """An image whose names, steps and paths are all markup; every file is dead in one copy and lives in
    another."""
    names = [name.replace("/", SLASH) for name in MARKUP]
    paths = [f"{name}/{inner}".encode() for name in names for inner in (name, "f")]
    paths += [one.encode() for one in MARKUP] + [b"d/" + INVALID, LONG]
    first = layer(*(file(path, b"1" * (500 + 7 * number)) for number, path in enumerate(paths)))
    second = layer(*(file(path, b"2" * (600 + 7 * number)) for number, path in enumerate(paths)))
    steps = [" ".join(MARKUP), f"COPY {MARKUP[2]} `{MARKUP[0]}` /srv/"]
    return ImageSpec([first, second], [f"app{''.join(MARKUP)}:1"], history=_told(steps))
