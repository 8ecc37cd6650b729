"""The images that the command lines read: small, seeded, the same bytes on every machine.

No library compresses them, as its next version may do it otherwise: gzip and zstd streams are made here
of stored blocks.
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from tests.support import builders
from tests.support.builders import (
    ImageSpec,
    Member,
    char,
    directory,
    docker_archive_25,
    docker_archive_old,
    fifo,
    file,
    hardlink,
    kaniko_archive,
    layer,
    noise,
    oci_archive,
    oci_layout,
    on_base,
    opaque,
    skopeo_archive,
    symlink,
    whiteout,
)

D = directory("d", mode=0o711, mtime=5)
BASE = ImageSpec(
    [
        layer(
            D,
            *(file(f"d/{name}", name.encode() * 300, uid=7) for name in "abc"),
            symlink("l", "d"),
            directory("etc"),
            file("etc/os-release", b"NAME=Golden\n"),
            file("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
        ),
        layer(directory("e"), file("e/x", noise(700, "x"), xattrs={"user.k": b"\xff"}), fifo("e/pipe")),
    ],
    ["base:1"],
    {"config": {"Env": ["PATH=/bin", "BASE=1"], "Cmd": ["/bin/sh"], "Labels": {"from": "base"}}},
)
APP = replace(
    on_base(
        BASE,
        layer(
            D,
            file("d/big", noise(90_000, "big")),
            file("d/n", b"n"),
            hardlink("h", "d/n"),
            directory("cache"),
            *(file(f"cache/{number}", noise(5000, f"{number}")) for number in range(5)),
            file("secret", b"token 4f2a\n", mode=0o600),
            char("null", 1, 3),
        ),
        layer(
            D,
            whiteout("d/big"),
            whiteout("d/a"),
            directory("s", mode=0o700),
            file("s/t", noise(3000, "t")),
            directory("cache"),
            opaque("cache"),
            whiteout("secret"),
            whiteout("never"),
        ),
        layer(
            D,
            file("d/n", b"n", mode=0o755, mtime=1.5),
            file("latin-\xe9".encode("latin-1"), b"\x00"),
            file("umlaut-ü" + "x" * 120, b"u"),
            directory("s"),
            file("s/t", noise(3000, "t")),
        ),
        tags=["app:1"],
    ),
    config={"config": {**BASE.config["config"], "Env": ["PATH=/bin", "BASE=1", "APP=2"], "Cmd": ["/app"]}},
)
REMADE = on_base(
    BASE,
    layer(whiteout("d"), file("f", b"f" * 2000)),
    layer(directory("d"), file("d/new", b"new"), whiteout("f")),
    tags=["remade:1"],
)
"""A directory of the base, removed and made again."""
THROUGH = on_base(
    BASE,
    layer(directory("l"), file("l/deep", b"deep")),
    layer(file("l/deeper", b"deeper"), whiteout("l/deep")),
    tags=["through:1"],
)
"""Paths through a symlink of the base."""
RELIANT = on_base(
    BASE,
    layer(file("e/inner", b"inner")),
    layer(whiteout("e/x"), file("e/more", b"more")),
    tags=["reliant:1"],
)
"""Entries in a directory that only the base lists."""
LINKED = on_base(BASE, layer(file("l/deep", b"deep")), tags=["linked:1"])
WITHOUT_HISTORY = replace(APP, history=None, tags=["bare:1"])

# For a rebase.
STATUS = b"Package: libc\nStatus: install ok installed\nVersion: %d\n\n"
NEW_BASE = ImageSpec(
    [
        layer(
            D,
            file("d/a", b"A" * 400),
            directory("etc"),
            file("etc/os-release", b"NAME=Golden\nVERSION=2\n"),
            file("etc/passwd", b"root:x:0:0::/:/bin/sh\nnew:x:9:9::/:/bin/sh\n"),
        ),
        layer(directory("new"), file("new/file", noise(400, "new"))),
    ],
    ["base:2"],
    {"config": {"Env": ["PATH=/usr/bin:/bin", "BASE=2"], "Cmd": ["/bin/bash"], "Labels": {"from": "two"}}},
)
OTHER_TYPE = ImageSpec([layer(file("d", b"a file"), file("cache", b"too"))], ["odd:1"])
"""What is a directory for the app is a file here."""
OTHER_PLATFORM = replace(NEW_BASE, platform="linux/arm64", tags=["arm:2"])


def _system(version: int) -> Member:
    return file("var/lib/dpkg/status", STATUS % version)


FOLDERS = (directory("var"), directory("var/lib"), directory("var/lib/dpkg"), directory("etc"))
DEBIAN, DEBIAN_2 = (
    ImageSpec(
        [layer(*FOLDERS, _system(number), file("etc/group", b"root:x:0:\n" * number))], [f"deb:{number}"]
    )
    for number in (1, 2)
)
PACKED = on_base(
    DEBIAN,
    layer(*FOLDERS, file("var/lib/dpkg/status", STATUS % 1 + STATUS % 7), file("etc/group", b"app:x:1:\n")),
    layer(
        symlink("etc/alternatives", "/nowhere"), file("srv", noise(1000, "srv")), whiteout("var/lib/gone")
    ),
    tags=["packed:1"],
)

# An index of several platforms.
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")
BASES = [ImageSpec([layer(file("base", one.encode()))], ["base:1"], platform=one) for one in PLATFORMS]
NEW_BASES = [
    ImageSpec([layer(file("base", b"2"), file(one[:5]))], ["base:2"], platform=one) for one in PLATFORMS
]
APPS = [
    ImageSpec(
        [
            *base.layers,
            layer(file("cache", noise(900, one)), file("a", one.encode())),
            layer(whiteout("cache")),
        ],
        ["app:1"],
        platform=one,
    )
    for base, one in zip(BASES, PLATFORMS, strict=True)
]

# A fleet: the waste of the layer that all share is deleted by each for itself.
FLEET_BASE = ImageSpec([layer(file("base", noise(40_000, "base")))], ["fleet-base:1"])
SHARED = on_base(
    FLEET_BASE,
    layer(
        directory("opt"), file("opt/tool", noise(3000, "tool")), file("opt/waste", noise(50_000, "waste"))
    ),
)
FLEET = [
    on_base(
        SHARED,
        layer(directory("opt"), whiteout("opt/waste"), file(f"app{n}", noise(2000, f"app{n}"))),
        layer(file(f"app{n}", noise(2100, f"app{n}")), file("conf", b"%d" % n)),
        tags=[f"app{n}:1"],
    )
    for n in range(3)
]


# --- streams without a compressor ------------------------------------------------------------


def stored(data: bytes, how: builders.Compress) -> bytes:
    """A gzip (RFC 1952) or zstd stream (RFC 8878) whose blocks hold the data as it is."""
    if how is None:
        return data
    limit = 0xFFFF if how == "gzip" else 1 << 17
    blocks = [data[at : at + limit] for at in range(0, len(data), limit)] or [b""]
    last = len(blocks) - 1
    if how == "gzip":
        body = b"".join(
            bytes([number == last])
            + len(block).to_bytes(2, "little")
            + (len(block) ^ 0xFFFF).to_bytes(2, "little")
            + block
            for number, block in enumerate(blocks)
        )
        head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
        return head + body + zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    head = b"\x28\xb5\x2f\xfd\xa0" + len(data).to_bytes(
        4, "little"
    )  # a single segment, its size in 4 bytes
    return head + b"".join(
        (len(block) << 3 | (number == last)).to_bytes(3, "little") + block
        for number, block in enumerate(blocks)
    )


# --- the files -------------------------------------------------------------------------------


def write_images(folder: Path) -> None:
    """All that the command lines read."""
    folder.mkdir(parents=True)
    with patch.object(builders, "compress", stored):
        _write_single(folder)
        _write_several(folder)
        _write_broken(folder)


def _write_single(folder: Path) -> None:
    docker_archive_old(folder / "old.tar", [APP, BASE])
    docker_archive_25(folder / "app.tar", [APP, BASE])
    docker_archive_25(folder / "alone.tar", [APP])
    docker_archive_25(folder / "base.tar", [BASE])
    docker_archive_25(folder / "bare.tar", [WITHOUT_HISTORY])
    docker_archive_25(folder / "remade.tar", [REMADE])
    docker_archive_25(folder / "through.tar", [THROUGH])
    skopeo_archive(folder / "skopeo.tar", [APP, BASE])
    kaniko_archive(folder / "kaniko.tar", [APP])
    oci_archive(folder / "oci.tar", [APP], compress=None)
    oci_archive(folder / "zstd.tar", [APP], compress="zstd")
    oci_layout(folder / "plain", [APP, BASE], compress=None)
    oci_layout(folder / "gzip", [APP, BASE])
    for name, image in (
        ("new", NEW_BASE), ("odd", OTHER_TYPE), ("arm", OTHER_PLATFORM),
        ("reliant", RELIANT), ("linked", LINKED), ("deb1", DEBIAN), ("deb2", DEBIAN_2), ("packed", PACKED),
    ):  # fmt: skip
        docker_archive_25(folder / f"{name}.tar", [image])
    (named,) = oci_layout(folder / "known", [BASE], compress=None)
    labels = {"org.opencontainers.image.base.name": "docker.io/library/base:1",
              "org.opencontainers.image.base.digest": named}  # fmt: skip
    stating = replace(
        APP, config={"config": {**APP.config["config"], "Labels": labels}}, tags=["stating:1"]
    )
    oci_layout(folder / "stating", [stating, BASE], compress=None)


def _write_several(folder: Path) -> None:
    oci_layout(folder / "multi", APPS, compress=None, nested=True, attestations=True)
    oci_layout(folder / "multi-base", BASES, compress=None, nested=True)
    oci_layout(folder / "multi-new", NEW_BASES, compress=None, nested=True)
    oci_layout(folder / "partial", APPS[:2], compress=None, nested=True, absent=["linux/s390x"])
    docker_archive_25(folder / "fleet-base.tar", [FLEET_BASE], compress="gzip")
    for number, image in enumerate(FLEET):
        docker_archive_25(folder / f"fleet{number}.tar", [image], compress="gzip")
    (folder / "fleet.txt").write_text("# the fleet\nin/fleet0.tar\nin/fleet1.tar # the second\n")


def _write_broken(folder: Path) -> None:
    (folder / "text").write_bytes(b"this is no image\n")
    (folder / "secret").write_bytes(b"token 4f2a\n")
    whole = (folder / "alone.tar").read_bytes()
    (folder / "short.tar").write_bytes(whole[: len(whole) // 2])
    at = whole.index(b"NAME=Golden")
    (folder / "flipped.tar").write_bytes(whole[:at] + b"nAME=Golden" + whole[at + 11 :])
    odd = on_base(BASE, layer(file("ok", b"ok"), file("../escape", b"no")), tags=["escape:1"])
    docker_archive_25(folder / "escape.tar", [odd])
    oci_layout(folder / "hollow", [APP], compress=None)
    (folder / "hollow/blobs/sha256" / builders.hex_digest(BASE.layers[0])).unlink()
