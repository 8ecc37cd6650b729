"""The images that the pages of the documentation speak of: small stand-ins for real ones."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.support.builders import (
    ImageSpec,
    Json,
    Member,
    directory,
    docker_archive_25,
    file,
    layer,
    oci_layout,
    symlink,
    whiteout,
)

CREATED = "2018-05-01T12:00:00Z"
TOKEN = b"4f2a9c71-d0e8\n"
BASE_STEPS = ["ADD fedora-28.tar.xz /", "COPY ca.crt /etc/pki/ca.crt"]
PATCHED_STEPS = [BASE_STEPS[0], "RUN dnf upgrade -y"]
STEPS = [
    "RUN dnf install -y nginx",
    "COPY files/ /",
    "RUN setup --token-file /root/.token && rm /root/.token && dnf clean all && chmod 755 /srv/site.bin",
    "COPY start.sh /",
]

RUN = "RUN /bin/sh -c {} # buildkit"
INSTALL = "apt-get update && apt-get install -y --no-install-recommends nginx"
CLEAN, FORGET = "apt-get clean", "rm -rf /var/lib/apt/lists/*"


def random_files(folder: str, number: int, size: int, seed: int) -> list[Member]:
    """Files that no compressor makes smaller, the same ones every time."""
    content = random.Random(seed)
    return [file(f"{folder}/{i:03}", content.randbytes(size)) for i in range(number)]


def base_layers(number: int) -> list[bytes]:
    """An operating system of so many files of 100 KB, and a certificate."""
    return [
        layer(
            *map(directory, ("etc", "usr", "usr/bin", "usr/lib", "usr/lib/base", "var", "var/cache")),
            directory("root", mode=0o700),
            symlink("bin", "usr/bin"),
            file("usr/lib/os-release", b'NAME=Fedora\nVERSION="28 (Twenty Eight)"\n'),
            symlink("etc/os-release", "../usr/lib/os-release"),
            file("usr/bin/env", b"\x7fELF" + bytes(40_000), mode=0o755),
            *random_files("usr/lib/base", number, 100_000, 28),
        ),
        layer(directory("etc"), directory("etc/pki"), file("etc/pki/ca.crt", b"certificate\n")),
    ]


def patched_layers(base: list[bytes]) -> list[bytes]:
    """The same operating system, with one program patched and another certificate."""
    return [
        base[0],
        layer(
            *map(directory, ("etc", "etc/pki", "usr", "usr/bin")),
            file("etc/pki/ca.crt", b"new certificate\n"),
            file("usr/bin/env", b"\x7fELF patched" + bytes(40_000), mode=0o755),
        ),
    ]


def app_layers(number: int, server: bytes = b"1.12.1") -> list[bytes]:
    """What the steps above the base leave; the package cache has so many files of 200 KB."""
    cache = random_files("var/cache/dnf", number, 200_000, 7)
    site = random.Random(3).randbytes(50_000 * number)
    return [
        layer(
            *map(directory, ("etc", "etc/nginx", "usr", "usr/bin", "var", "var/cache", "var/cache/dnf")),
            file("etc/nginx/nginx.conf", b"daemon off;\n", mtime=1525176000),
            file("usr/bin/nginx", b"\x7fELF " + server + bytes(900_000), mode=0o755, mtime=1525176000),
            *cache,
        ),
        layer(
            directory("root", mode=0o700),
            file("root/.token", TOKEN, mode=0o600),
            directory("srv"),
            file("srv/site.bin", site),
        ),
        layer(
            directory("root", mode=0o700),
            whiteout("root/.token"),
            directory("srv"),
            file("srv/site.bin", site, mode=0o755),
            file("srv/index.html", b"<!doctype html>\n"),
            *map(directory, ("var", "var/cache", "var/cache/dnf")),
            *(whiteout(member.name) for member in cache),
        ),
        layer(file("start.sh", b"#!/bin/sh\nexec nginx\n", mode=0o755)),
    ]


def apt_cache(seed: int) -> tuple[list[Member], list[Member]]:
    """What apt leaves of an installation: packages with their indexes, and lists."""
    content = random.Random(seed)
    archives = "var/cache/apt/archives"
    sizes = {f"{archives}/nginx_1.22.1-9_amd64.deb": 600, f"{archives}/libssl3_3.0.11_amd64.deb": 900}
    sizes |= {"var/cache/apt/pkgcache.bin": 1000, "var/cache/apt/srcpkgcache.bin": 1000}
    lists = {"main_binary-amd64_Packages": 1500, "updates_main_binary-amd64_Packages": 500}
    return (
        [file(path, content.randbytes(1000 * size)) for path, size in sizes.items()],
        [file(f"var/lib/apt/lists/{name}", content.randbytes(1000 * size)) for name, size in lists.items()],
    )


def wasteful_images() -> dict[str, list[ImageSpec]]:
    """The cases of the page on waste, by the archives that hold them beside their base."""
    content = random.Random(12)
    apt = [
        *map(directory, ("etc", "etc/nginx", "usr", "usr/sbin", "var", "var/cache", "var/cache/apt")),
        *map(directory, ("var/cache/apt/archives", "var/lib", "var/lib/apt", "var/lib/apt/lists")),
    ]
    root = layer(
        *apt,
        *map(directory, ("srv", "usr/bin", "usr/lib")),
        file("usr/lib/os-release", b'NAME="Debian GNU/Linux"\nVERSION_ID="12"\n'),
        *random_files("usr/lib", 20, 100_000, 12),
    )
    nginx = [
        file("etc/nginx/nginx.conf", b"daemon off;\n"),
        file("usr/sbin/nginx", content.randbytes(2_700_000), mode=0o755),
    ]
    packages, lists = apt_cache(13)
    installed = RUN.format(INSTALL), layer(*apt, *nginx, *packages, *lists)
    model, hello = content.randbytes(4_000_000), content.randbytes(1_550_000)
    site = {f"srv/site/{name}": content.randbytes(400_000) for name in ("a", "b", "c")}
    go = [
        file(f"usr/local/go/pkg/tool/{name}", content.randbytes(2_000_000)) for name in ("compile", "link")
    ]
    sources = [file("src/go.mod", b"module hello\n"), file("src/hello.go", b"package main\n")]

    def site_of(owner: int) -> bytes:
        """The folder with all its files, each of this owner."""
        files = [file(name, data, uid=owner, gid=owner) for name, data in site.items()]
        return layer(directory("srv"), directory("srv/site", uid=owner, gid=owner), *files)

    def model_of(mode: int) -> bytes:
        return layer(directory("srv"), file("srv/model.bin", model, mode=mode))

    cases: dict[str, tuple[str, list[tuple[str, bytes]]]] = {
        "cache": ("nginx:1", [installed]),
        "same-step": (
            "nginx:1",
            [(RUN.format(f"{INSTALL} && {CLEAN} && {FORGET}"), layer(*apt, *nginx))],
        ),
        "later": (
            "nginx:1",
            [
                installed,
                (RUN.format(CLEAN), layer(*apt, *(whiteout(one.name) for one in packages))),
                (RUN.format(FORGET), layer(*apt, *(whiteout(one.name) for one in lists))),
            ],
        ),
        "model": (
            "model:1",
            [
                ("COPY model.bin /srv/ # buildkit", model_of(0o644)),
                (RUN.format("chmod u+x /srv/model.bin"), model_of(0o744)),
            ],
        ),
        "site": (
            "site:1",
            [
                ("COPY site/ /srv/site/ # buildkit", site_of(0)),
                (RUN.format("chown -R www-data:www-data /srv/site"), site_of(33)),
            ],
        ),
        "hello": (
            "hello:builder",
            [
                ("ADD go.tar.gz /usr/local/ # buildkit", layer(directory("usr/local"), *go)),
                ("COPY . /src/ # buildkit", layer(directory("src"), *sources)),
                (
                    RUN.format("go build -o /usr/local/bin/hello /src"),
                    layer(directory("usr/local/bin"), file("usr/local/bin/hello", hello, mode=0o755)),
                ),
            ],
        ),
    }
    first = "ADD rootfs.tar / # buildkit"
    debian = image([root], [first], ["debian:12"])
    archives = {
        archive: [
            image([root, *(data for _, data in made)], [first, *(step for step, _ in made)], [name]),
            debian,
        ]
        for archive, (name, made) in cases.items()
    }
    static = layer(file("hello", hello, mode=0o755))
    copied = "COPY --from=build /usr/local/bin/hello /hello # buildkit"
    archives["hello"].append(image([static], [copied], ["hello:static"]))
    return archives


NGINX_DOCKERFILE = f"""\
FROM debian:12
RUN {INSTALL}
RUN {CLEAN}
RUN {FORGET}
CMD ["/start.sh"]
"""
MODEL_DOCKERFILE = """\
FROM debian:12
COPY model.bin /srv/
RUN chmod u+x /srv/model.bin
CMD ["/start.sh"]
"""
OWN_RULES = """\
[[rule]]
name = "start-scripts"
paths = ["etc/nginx/*.conf"]
reason = "Our settings come from a volume."
mend = "Delete them in the RUN that installs."
kind = "remove"
"""
DIVE_CI = """\
rules:
  lowestEfficiency: 0.9
  highestWastedBytes: 20MB
"""


def image(
    layers: list[bytes], steps: list[str], tags: list[str], platform: str = "linux/amd64"
) -> ImageSpec:
    """An image with the history that a build would leave."""
    history: list[Json] = [{"created": CREATED, "created_by": step} for step in steps]
    history.append({"created": CREATED, "created_by": 'CMD ["/start.sh"]', "empty_layer": True})
    config = {"created": CREATED, "config": {"Env": ["PATH=/usr/bin:/bin"], "Cmd": ["/start.sh"]}}
    return ImageSpec(layers, tags, config, history, platform)


def write_manifests(folder: Path) -> None:
    """Manifests alone: of a base by itself, of two apps on it as dumps of many tags."""

    def manifest(*layers: tuple[int, int]) -> Json:
        return {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"digest": f"sha256:{0:064x}", "size": 1},
            "layers": [{"digest": f"sha256:{number:064x}", "size": size} for number, size in layers],
        }

    base, server = (1, 49_200_000), (2, 31_400_000)
    shop = {f"1.{n}": manifest(base, server, (10 + n, 9_700_000), (20, 1_900)) for n in range(6)}
    blog = {f"2.{n}": manifest(base, server, (30, 12_600_000), (40 + n, 880_000)) for n in range(4)}
    documents = {
        "debian/12.json": manifest(base),
        "shop/tags": {"manifests": shop | {"latest": shop["1.5"]}},
        "blog/tags": {"manifests": blog | {"all": {"schemaVersion": 2, "manifests": []}}},
    }
    for name, document in documents.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(document))


def write_files(folder: Path) -> None:
    """All files that the examples read."""
    base, app = base_layers(200), app_layers(60)
    fedora = image(base, BASE_STEPS, ["fedora:28"])
    latest = image(base + app, BASE_STEPS + STEPS, ["app:latest"])
    docker_archive_25(folder / "app.tar", [latest, fedora])
    docker_archive_25(folder / "fedora.tar", [fedora])
    patched = image(patched_layers(base), PATCHED_STEPS, ["fedora:28-patched"])
    patched.config["config"]["Env"] = ["PATH=/usr/bin:/bin", "container=oci"]
    docker_archive_25(folder / "patched.tar", [patched])
    oci_layout(folder / "images", [image(base + app, BASE_STEPS + STEPS, ["app"])])
    small = base_layers(3)
    debian = image(small, BASE_STEPS, ["debian:12"])
    waste = image(small + app_layers(6), BASE_STEPS + STEPS, ["nginx:waste"])
    docker_archive_25(folder / "nginx.tar", [waste, debian])
    for name, server in (("old", b"1.12.0"), ("new", b"1.12.1")):
        one = image(small + app_layers(2, server), BASE_STEPS + STEPS, [f"app:{name}"])
        docker_archive_25(folder / f"{name}.tar", [one])
    several = [
        image(small + app_layers(number), BASE_STEPS + STEPS, ["app"], platform)
        for number, platform in ((6, "linux/amd64"), (5, "linux/arm64"))
    ]
    oci_layout(folder / "multi", several, compress=None, nested=True, attestations=True)
    oci_layout(folder / "partial", several[:1], compress=None, nested=True, absent=["linux/s390x"])
    (folder / "token").write_bytes(TOKEN)
    write_manifests(folder / "manifests")
    for archive, images in wasteful_images().items():
        docker_archive_25(folder / f"{archive}.tar", images)
    (folder / "nginx.Dockerfile").write_text(NGINX_DOCKERFILE)
    (folder / "model.Dockerfile").write_text(MODEL_DOCKERFILE)
    (folder / "own-rules.toml").write_text(OWN_RULES)
    (folder / ".dive-ci").write_text(DIVE_CI)
