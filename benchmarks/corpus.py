"""Seeded image archives to measure with: one name, the same bytes on every machine.

A corpus is planned first (which paths each layer adds, overwrites and deletes) and written then, in
the form of `docker save` before version 25: `<id>/layer.tar` members, `app:latest` first, its base
as a second image whose top layer is a symlink to the first image's copy. That form is used because
every tool reads it and the other squashers are at their quickest on it. For the same reason no
corpus holds a construct that one of them merges wrongly: a wrong result has no time worth showing.
"""

from __future__ import annotations

import argparse
import bisect
import gzip
import hashlib
import itertools
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

RECIPE = 1
"""Raised whenever a change here alters the bytes of a corpus, so that old files are made anew."""

EPOCH = 1_700_000_000
PIECE = 1 << 20
CAPABILITY = "\x01\x00\x00\x02\x00\x20" + "\x00" * 14
LANGUAGES = ("cs", "da", "de", "el", "es", "fi", "fr", "hu", "it", "ja", "ko", "nl", "pl", "tr")
SYLLABLES = (
    *("ba", "co", "di", "fu", "gel", "hor", "im", "jin", "ka", "lo", "mer"),
    *("nu", "or", "pix", "qua", "res", "sta", "tor", "ul", "vex", "wi", "zed"),
)
SIZES = (
    (0.05, 0, 0),
    (0.37, 64, 1_000),
    (0.66, 1_000, 6_000),
    (0.88, 6_000, 24_000),
    (0.977, 24_000, 96_000),
    (1.0, 96_000, 1_100_000),
)
"""File sizes as (cumulated share, least, most): most files are small, a few hold the bytes."""


@dataclass(slots=True)
class Member:
    """One tar member to be written; `packed` content does not compress.

    Two members with the same `content` and size hold the same bytes.
    """

    path: str
    type: bytes = tarfile.REGTYPE
    mode: int = 0o644
    owner: int = 0
    mtime: int = EPOCH
    size: int = 0
    link: str = ""
    packed: bool = False
    content: int = 0
    capability: bool = False


@dataclass(frozen=True, slots=True)
class Layer:
    """The members of one layer in the order of a directory walk, and the step that made it."""

    step: str
    members: list[Member]


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a corpus's sidecar file says of it; `steps` are the history entries above the base."""

    name: str
    recipe: int
    size: int
    sha256: str
    entries: int
    layers: int
    base_layers: int
    steps: int
    diff_size: int
    kinds: dict[str, int]


@dataclass(slots=True)
class Planner:
    """Grows one file tree, layer by layer; each layer is what a container engine would record."""

    rng: random.Random
    size_divisor: int = 1
    tree: dict[str, Member] = field(default_factory=dict)
    layer: dict[str, Member] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)
    directories: dict[str, list[str]] = field(default_factory=dict)  # of one package, deletable
    single: dict[str, list[str]] = field(default_factory=dict)
    linked: set[str] = field(default_factory=set)
    names: Iterator[int] = field(default_factory=itertools.count)

    def below(self, limit: int) -> int:
        return int(self.rng.random() * limit)

    def name(self) -> str:
        """A new package name; the number makes it unique."""
        word = "".join(SYLLABLES[self.below(len(SYLLABLES))] for _ in range(2 + self.below(2)))
        return f"{word}{next(self.names)}"

    def size(self) -> int:
        draw = self.rng.random()
        _, least, most = SIZES[bisect.bisect_left(SIZES, (draw,))]
        return (least + self.below(most - least + 1)) // self.size_divisor

    @property
    def now(self) -> int:
        return EPOCH + 600 * len(self.layers)

    def put(self, member: Member) -> None:
        """Record a member, and its parent directories as the engine does when it copies them up."""
        self.touch_parents(member.path)
        self.tree[member.path] = self.layer[member.path] = member

    def touch_parents(self, path: str) -> None:
        while "/" in path:
            path = path.rpartition("/")[0]
            if path in self.layer:
                return
            mode = 0o1777 if path == "tmp" else 0o755
            directory = Member(path, tarfile.DIRTYPE, mode, mtime=self.now)
            self.tree[path] = self.layer[path] = directory

    def file(self, path: str, mode: int = 0o644, **more: Any) -> Member:
        more.setdefault("size", self.size())
        more.setdefault("mtime", EPOCH - self.below(50_000_000))
        more.setdefault("content", self.below(1 << 40))
        member = Member(path, mode=mode, **more)
        self.put(member)
        return member

    def symlink(self, path: str, target: str) -> None:
        self.put(Member(path, tarfile.SYMTYPE, 0o777, mtime=self.now, link=target))

    def hard_link(self, path: str, target: Member) -> None:
        link = replace(target, path=path, type=tarfile.LNKTYPE, size=0, link=target.path)
        self.put(replace(link, capability=False))
        self.linked |= {path, target.path}

    def whiteout(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        self.put(Member(f"{parent}/.wh.{name}", mode=0, mtime=self.now))
        del self.tree[f"{parent}/.wh.{name}"], self.tree[path]

    def whiteout_directory(self, path: str) -> None:
        """Remove a package's own directory; one whiteout stands for all that is in it."""
        self.whiteout(path)
        for inside in [p for p in self.directories.pop(path) if p in self.tree]:
            del self.tree[inside]

    def replace_content(self, path: str) -> None:
        """Overwrite a regular file with another version of it."""
        size, content = self.size(), self.below(1 << 40)
        self.put(replace(self.tree[path], size=size, content=content, mtime=self.now))

    def change_mode(self, path: str, mode: int) -> None:
        """What chmod leaves in a layer: the whole file again."""
        self.put(replace(self.tree[path], mode=mode))

    def choose(self, paths: list[str], count: int) -> list[str]:
        """Up to `count` regular files of no hard-link group (a split group is merged wrongly)."""
        alive = [
            path
            for path in paths
            if path not in self.linked
            and path not in self.layer
            and (member := self.tree.get(path)) is not None
            and member.type == tarfile.REGTYPE
        ]
        stride = max(1, len(alive) // max(1, count))
        return alive[self.below(stride) :: stride][:count]

    def fill(self, style: Callable[[Planner, str], None], count: int) -> None:
        """Install packages of one style until the layer has grown by about `count` members."""
        end = len(self.layer) + count
        while len(self.layer) < end:
            style(self, self.name())

    def finish(self, step: str) -> None:
        """Close the layer: members sorted as a walk meets them, a directory before its children."""
        members = sorted(self.layer.values(), key=lambda member: member.path.split("/"))
        self.layers.append(Layer(step, members))
        self.layer = {}


def system_package(plan: Planner, name: str) -> None:
    """A distribution's package: library, program, data, manual page, translations, database."""
    library = f"usr/lib/x86_64-linux-gnu/lib{name}.so.{plan.below(9)}"
    version = f"{library}.{plan.below(20)}"
    plan.file(version, size=plan.size() * 3)
    plan.symlink(library, version.rpartition("/")[2])
    plan.file(f"usr/bin/{name}", 0o755, capability=plan.below(100) == 0)
    for number in range(2 + plan.below(9)):
        plan.file(f"usr/share/{name}/{SYLLABLES[number]}.xml")
    documents = f"usr/share/doc/{name}"
    plan.directories[documents] = [
        plan.file(f"{documents}/{document}", packed=document.endswith(".gz")).path
        for document in ("README", "changelog.Debian.gz", "copyright")
    ]
    plan.single.setdefault("man", []).append(f"usr/share/man/man1/{name}.1.gz")
    plan.file(f"usr/share/man/man1/{name}.1.gz", packed=True)
    for language in LANGUAGES[plan.below(8) :: 4]:
        plan.file(f"usr/share/locale/{language}/LC_MESSAGES/{name}.mo")
    plan.single.setdefault("etc", []).append(f"etc/{name}/{name}.conf")
    plan.file(f"etc/{name}/{name}.conf")
    for part in ("list", "md5sums"):
        plan.file(f"var/lib/dpkg/info/{name}.{part}")
    if plan.below(6) == 0:
        first = plan.file(f"usr/lib/{name}/{name}", 0o755)  # sorts first: links follow it
        for command in SYLLABLES[: 2 + plan.below(6)]:
            plan.hard_link(f"usr/lib/{name}/{name}-{command}", first)


def python_package(plan: Planner, name: str) -> None:
    """A Python distribution: modules in subpackages, their byte code, and its metadata."""
    root = f"usr/lib/python3/dist-packages/{name}"
    for part in ("", *(f"/{syllable}" for syllable in SYLLABLES[: plan.below(4)])):
        for module in ("__init__", *SYLLABLES[plan.below(15) :: 5]):
            plan.file(f"{root}{part}/{module}.py")
            code = f"{root}{part}/__pycache__/{module}.cpython-311.pyc"
            plan.file(code)
            plan.single.setdefault("pyc", []).append(code)
            plan.single.setdefault("py", []).append(f"{root}{part}/{module}.py")
    for document in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE"):
        plan.file(f"{root}-1.{plan.below(9)}.dist-info/{document}")


def node_package(plan: Planner, name: str) -> None:
    """A JavaScript package with its sources, a bundle, and now and then a dependency of its own."""
    modules = "srv/app/node_modules"
    root = f"{modules}/{name}"
    roots = [root]
    if plan.below(4) == 0:
        roots.append(f"{root}/node_modules/@{SYLLABLES[plan.below(20)]}-components/{name}-internals")
    files = plan.directories[root] = []
    for directory in roots:
        for document in ("LICENSE", "README.md", "package.json", "index.js"):
            files.append(plan.file(f"{directory}/{document}").path)
        for number in range(2 + plan.below(10)):
            module = f"{SYLLABLES[number % 2]}/{SYLLABLES[number]}-implementation.js"
            files.append(plan.file(f"{directory}/lib/{module}").path)
        bundle = plan.file(f"{directory}/dist/bundle.min.js", size=plan.size() * 2)
        files.append(bundle.path)
    plan.symlink(f"{modules}/.bin/{name}", f"../{name}/index.js")


def asset(plan: Planner, name: str) -> None:
    """One file of the application itself, owned by its user."""
    folder = SYLLABLES[plan.below(22)]
    kind, packed = (("js", False), ("html", False), ("png", True))[plan.below(3)]
    path = f"srv/app/build/{folder}/{name}.{kind}"
    plan.single.setdefault("app", []).append(path)
    plan.file(path, owner=1000, packed=packed)


def skeleton(plan: Planner) -> None:
    for directory in ("dev", "home", "proc", "root", "run", "sys", "tmp"):
        plan.touch_parents(f"{directory}/x")
    plan.symlink("bin", "usr/bin")
    plan.symlink("lib", "usr/lib")
    plan.file("etc/passwd", size=1_200)


def plan_big() -> tuple[list[Layer], int]:
    """Few entries, large layers: a package cache deleted later, a big file and its chmod'd copy."""
    plan = Planner(random.Random("squashkit big"))
    skeleton(plan)
    plan.fill(system_package, 5_000)
    plan.finish("ADD rootfs.tar /")
    lists = [f"var/lib/apt/lists/{n}_{SYLLABLES[n]}_main_Packages" for n in range(16)]
    debs = [f"var/cache/apt/archives/{plan.name()}_1.{n}_amd64.deb" for n in range(110)]
    for path in lists:
        plan.file(path, size=2_000_000 + plan.below(3_000_000))
    for path in debs:
        plan.file(path, size=100_000 + plan.below(900_000), packed=True)
    plan.file("usr/lib/x86_64-linux-gnu/libengine.so.1", size=62_000_000)
    plan.fill(system_package, 3_200)
    plan.finish("RUN apt-get update && apt-get install -y --no-install-recommends app-server")
    for path in debs:
        plan.whiteout(path)
    plan.finish("RUN apt-get clean")
    for path in lists:
        plan.whiteout(path)
    for path in [p for p in plan.directories if p.startswith("usr/share/doc/")][::20]:
        plan.whiteout_directory(path)
    plan.finish("RUN rm -rf /var/lib/apt/lists/* /usr/share/doc/*")
    plan.file("srv/model.bin", size=100_000_000, mtime=plan.now)
    plan.finish("COPY model.bin /srv/")
    plan.change_mode("srv/model.bin", 0o755)
    plan.finish("RUN chmod 755 /srv/model.bin")
    for path in plan.choose(plan.single["etc"], 60):
        plan.replace_content(path)
    plan.fill(asset, 400)
    plan.finish("COPY . /srv/app")
    return plan.layers, 1


def plan_many(seed: str, entries: int, size_divisor: int) -> tuple[list[Layer], int]:
    """Nine layers, two of them the base; the shares below are per cent, and parents come on top."""
    plan = Planner(random.Random(seed), size_divisor)

    def share(percent: float) -> int:
        return int(entries * percent / 102.5)

    skeleton(plan)
    plan.fill(system_package, share(14))
    plan.finish("ADD rootfs.tar /")
    plan.fill(python_package, share(7))
    plan.finish("RUN install-python")
    plan.fill(system_package, share(19))
    plan.finish("RUN apt-get install -y build-essential")
    plan.fill(python_package, share(18))
    plan.finish("RUN pip install -r requirements.txt")
    plan.fill(node_package, share(24))
    plan.finish("RUN npm ci")
    for path in plan.choose(plan.single["man"], share(0.25)):
        plan.whiteout(path)
    for path in [p for p in plan.directories if p.startswith("usr/share/doc/")][::10]:
        plan.whiteout_directory(path)
    plan.finish("RUN rm -rf /usr/share/man /usr/share/doc")
    for kind, percent in (("py", 3.0), ("pyc", 2.5), ("etc", 0.4)):
        for path in plan.choose(plan.single[kind], share(percent)):
            plan.replace_content(path)
    plan.finish("RUN pip install --upgrade -r requirements.txt")
    for path in [p for p in plan.directories if p.startswith("srv/app/node_modules/")][::8]:
        plan.whiteout_directory(path)
    for path in plan.choose(plan.single["pyc"], share(0.2)):
        plan.whiteout(path)
    plan.fill(asset, share(5.5))
    plan.finish("RUN npm run build && npm prune --omit=dev")
    for path in plan.choose(plan.single["app"], share(4)):
        plan.change_mode(path, 0o640)
    plan.finish("RUN chmod -R o-rwx /srv/app/build")
    return plan.layers, 2


PLANS: dict[str, Callable[[], tuple[list[Layer], int]]] = {
    "big": plan_big,
    "many": lambda: plan_many("squashkit many", 140_000, 1),
    "scale-quarter": lambda: plan_many("squashkit scale", 35_000, 5),
    "scale-x1": lambda: plan_many("squashkit scale", 140_000, 5),
    "scale-x4": lambda: plan_many("squashkit scale", 560_000, 5),
}
"""The scale series has one fifth of the bytes an entry, so that its largest fits in memory; its
three members differ in the number of entries alone."""


class Content:
    """File contents cut from two pools: one compresses about 2.5 times with gzip, one does not.

    The pool is longer than the windows of gzip, so cutting from it at random offsets adds no
    repetition that a compressor would see.
    """

    def __init__(self) -> None:
        rng = random.Random("squashkit content")
        tokens = [rng.randbytes(1 + int(rng.random() * 9)).hex().encode() for _ in range(6_000)]
        weights = list(itertools.accumulate(1 / (rank + 30) for rank in range(len(tokens))))
        words = rng.choices(tokens, cum_weights=weights, k=3_200_000)
        self.text = memoryview(b" ".join(words))
        self.noise = memoryview(rng.randbytes(16 << 20))

    def pieces(self, member: Member) -> Iterator[memoryview]:
        pool = self.noise if member.packed else self.text
        for start in range(0, member.size, PIECE):
            length = min(member.size - start, PIECE)
            offset = (member.content + start * 7) % (len(pool) - length)
            yield pool[offset : offset + length]


class LayerWriter:
    """Passes a layer's bytes to the archive in large pieces and hashes them on the way."""

    def __init__(self, output: BinaryIO) -> None:
        self.output = output
        self.buffer = bytearray()
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self.buffer += data
        if len(self.buffer) > 4 << 20:
            self.flush()

    def flush(self) -> None:
        self.sha256.update(self.buffer)
        self.output.write(self.buffer)
        self.size += len(self.buffer)
        self.buffer.clear()


def tar_header(member: Member) -> bytes:
    info = tarfile.TarInfo(member.path)
    info.type, info.mode, info.mtime = member.type, member.mode, member.mtime
    info.size, info.linkname = member.size, member.link
    info.uid = info.gid = member.owner
    if member.capability:
        info.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY}
    return info.tobuf(tarfile.PAX_FORMAT)


def write_layer(output: BinaryIO, layer: Layer, content: Content) -> tuple[str, int]:
    """Write one layer at the archive's position; return its diff_id and size."""
    writer = LayerWriter(output)
    for member in layer.members:
        writer.write(tar_header(member))
        for piece in content.pieces(member):
            writer.write(piece)
        writer.write(bytes(-member.size % 512))
    writer.write(bytes(1024))
    writer.flush()
    return "sha256:" + writer.sha256.hexdigest(), writer.size


def write_archive(layers: list[Layer], base_layers: int, path: Path) -> dict[str, int]:
    """Write the archive; return facts that only writing it shows."""
    content = Content()
    ids = [hashlib.sha256(f"{path.name} {n}".encode()).hexdigest() for n in range(len(layers))]
    diff_ids: list[str] = []
    diff_size = 0
    with path.open("w+b") as output:
        for layer_id, layer in zip(ids, layers, strict=True):
            output.write(tar_header(Member(layer_id, tarfile.DIRTYPE, 0o755)))
            write_small(output, f"{layer_id}/VERSION", b"1.0")
            write_small(output, f"{layer_id}/json", json.dumps({"id": layer_id}).encode())
            position = output.tell()
            output.write(bytes(512))
            diff_id, size = write_layer(output, layer, content)
            diff_ids.append(diff_id)
            diff_size += size
            end = output.tell()
            output.seek(position)
            output.write(tar_header(Member(f"{layer_id}/layer.tar", size=size)))
            output.seek(end)
        base_top = hashlib.sha256(f"{path.name} base".encode()).hexdigest()
        output.write(tar_header(Member(base_top, tarfile.DIRTYPE, 0o755)))
        link = f"../{ids[base_layers - 1]}/layer.tar"
        output.write(tar_header(Member(f"{base_top}/layer.tar", tarfile.SYMTYPE, 0o777, link=link)))
        manifest, repositories = [], {}
        images = {"app": ids, "base": [*ids[: base_layers - 1], base_top]}
        for name, layer_ids in images.items():
            config = image_config(layers, diff_ids, base_layers, name == "base")
            config_name = hashlib.sha256(config).hexdigest() + ".json"
            write_small(output, config_name, config)
            paths = [f"{layer_id}/layer.tar" for layer_id in layer_ids]
            manifest.append({"Config": config_name, "RepoTags": [f"{name}:latest"]})
            manifest[-1]["Layers"] = paths
            repositories[name] = {"latest": layer_ids[-1]}
        write_small(output, "manifest.json", json.dumps(manifest).encode())
        write_small(output, "repositories", json.dumps(repositories).encode())
        output.write(bytes(1024))
    return {"diff_size": diff_size, "steps": len(layers) - base_layers + 2}


def write_small(output: BinaryIO, path: str, data: bytes) -> None:
    output.write(tar_header(Member(path, size=len(data))))
    output.write(data + bytes(-len(data) % 512))


def image_config(layers: list[Layer], diff_ids: list[str], base_layers: int, base: bool) -> bytes:
    """A config whose history has one empty entry in the base and two in the application."""
    created = "2023-11-14T22:13:20Z"
    count = base_layers if base else len(layers)
    history: list[dict[str, Any]] = [
        {"created": created, "created_by": f"/bin/sh -c {layer.step}"} for layer in layers[:count]
    ]
    empty = {"created": created, "empty_layer": True}
    history.insert(base_layers, {**empty, "created_by": '/bin/sh -c #(nop)  CMD ["bash"]'})
    if not base:
        history.insert(base_layers + 1, {**empty, "created_by": "/bin/sh -c #(nop)  ENV APP=1"})
        history.append({**empty, "created_by": '/bin/sh -c #(nop)  CMD ["app"]'})
    config = {
        "architecture": "amd64",
        "config": {"Cmd": ["bash" if base else "app"], "Env": ["PATH=/usr/bin"]},
        "created": created,
        "history": history,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids[:count]},
    }
    return json.dumps(config).encode()


def archive_path(name: str, work: Path) -> Path:
    return work / f"{name}.tar"


def load(name: str, work: Path) -> Corpus | None:
    """The facts of a corpus made before by this recipe, or None."""
    sidecar = work / f"{name}.json"
    if not sidecar.exists() or not archive_path(name, work).exists():
        return None
    facts = json.loads(sidecar.read_text())
    return Corpus(**facts) if facts.get("recipe") == RECIPE else None


def make(name: str, work: Path) -> Corpus:
    """The corpus of that name under `work`, written unless it is there already."""
    known = load(name, work)
    if known is not None:
        return known
    work.mkdir(parents=True, exist_ok=True)
    layers, base_layers = PLANS[name]()
    path = archive_path(name, work)
    # The name of the file goes into the layer ids, so the unfinished file lies in a folder instead.
    unfinished = work / "unfinished" / path.name
    unfinished.parent.mkdir(exist_ok=True)
    facts = write_archive(layers, base_layers, unfinished)
    with unfinished.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    os.replace(unfinished, path)
    entries = sum(len(layer.members) for layer in layers)
    corpus = Corpus(
        name=name,
        recipe=RECIPE,
        size=path.stat().st_size,
        sha256=digest,
        entries=entries,
        layers=len(layers),
        base_layers=base_layers,
        kinds=count_kinds(layers),
        **facts,
    )
    (work / f"{name}.json").write_text(json.dumps(asdict(corpus), indent=2) + "\n")
    return corpus


def count_kinds(layers: list[Layer]) -> dict[str, int]:
    names = {tarfile.DIRTYPE: "directories", tarfile.SYMTYPE: "symlinks"}
    names |= {tarfile.LNKTYPE: "hard links", tarfile.REGTYPE: "files"}
    counts = dict.fromkeys(["files", "directories", "symlinks", "hard links", "whiteouts"], 0)
    for member in itertools.chain.from_iterable(layer.members for layer in layers):
        is_whiteout = member.path.rpartition("/")[2].startswith(".wh.")
        counts["whiteouts" if is_whiteout else names[member.type]] += 1
    return counts


def make_gzip(name: str, work: Path) -> Path:
    """The whole archive as one gzip stream, as `docker save app | gzip` leaves it."""
    target = work / f"{name}.tar.gz"
    if not target.exists():
        unfinished = work / "unfinished" / target.name
        unfinished.parent.mkdir(exist_ok=True)
        with (
            archive_path(name, work).open("rb") as source,
            unfinished.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as output,
        ):
            shutil.copyfileobj(source, output, 1 << 20)
        os.replace(unfinished, target)
    return target


def make_layout(name: str, work: Path) -> Path:
    """Both images in an OCI layout with gzip layers, as skopeo writes them (app, base)."""
    target = work / f"{name}-layout"
    if not target.exists():
        unfinished = work / "unfinished" / target.name
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.parent.mkdir(exist_ok=True)
        for image in ("app", "base"):
            source = f"docker-archive:{archive_path(name, work)}:{image}:latest"
            command = ["skopeo", "--insecure-policy", "copy", "-q", source]
            subprocess.run([*command, f"oci:{unfinished}:{image}"], check=True)
        os.replace(unfinished, target)
    return target


def default_work() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "squashkit-benchmarks"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make benchmark corpora and say what they hold.")
    parser.add_argument("names", nargs="+", choices=list(PLANS))
    parser.add_argument("--work", type=Path, default=default_work(), help="where they are kept")
    arguments = parser.parse_args()
    for name in arguments.names:
        print(json.dumps(asdict(make(name, arguments.work)), indent=2))


if __name__ == "__main__":
    main()
