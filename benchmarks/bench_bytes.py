"""Counts what squashes and rebases move, road by road, beside the least that they could.

    python -m benchmarks.bench_bytes --out benchmarks/results/bytes.json

Two registries, docker of this machine and docker of a newer release with containerd's image store are
started, each behind a proxy that counts the bodies of all requests and answers. Needs root and, once, the
network, for that release and for the peers. Bytes do not depend on the machine: each road is gone once. It
reports and never fails on a number; README.md says how the least is computed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from benchmarks import corpus
from benchmarks.bench_places import SKOPEO, equal
from benchmarks.bench_squash import Results, source_facts
from tests.compat import registries, releases, services
from tests.compat.registries import Proxy, Registry
from tests.support.builders import ImageSpec, docker_archive_25, file, layer, noise

SQUASHKIT = [sys.executable, "-m", "squashkit"]
IMAGES = ("app", "base", "fresh")
"""`fresh` is the base with a file more, in one layer: what a patched base is."""
PEERS = "ca-certificates,crane,skopeo"
_PATCH = 4 << 20
_PROOF = re.compile(r"/images/sha256:\w+/get$")
"""What squashkit asks of docker before 28 to see that it has what it was not sent."""


@dataclass(slots=True)
class Moved:
    """Bytes of bodies, as the proxies saw them."""

    down: int = 0
    up: int = 0
    proof: int = 0
    """Of `down`, what showed that a daemon has what it was not sent."""


@dataclass(frozen=True, slots=True)
class Row:
    """A tool on a road. The least is None where the tool does other work than squashkit there."""

    road: str
    tool: str
    moved: Moved | None
    """None where the tool failed."""
    least: Moved | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An image as it lies somewhere: bytes of its layers, base first, and of its documents."""

    layers: Sequence[int]
    documents: int


@dataclass(slots=True)
class World:
    """All that runs, and the rows so far."""

    work: Path
    stack: ExitStack
    peers: Sequence[str | Path]
    """What to put before a command of another tool."""
    rows: list[Row] = field(default_factory=list)
    proxies: list[Proxy] = field(default_factory=list)
    base_layers: int = 1
    facts: Results = field(default_factory=dict)
    fresh: str = ""
    """The diff_id of the fresh base's layer."""

    @property
    def cache(self) -> Path:
        return self.work / "bytes.cache"

    def behind(self, server: registries.Address, socket_path: Path | None = None) -> Proxy:
        """A proxy before a server."""
        proxy = self.stack.enter_context(registries.proxy(server, socket_path=socket_path))
        self.proxies.append(proxy)
        return proxy

    def go(self, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> Moved | None:
        """What a command moves; None where it fails, and then standard error says why."""
        for proxy in self.proxies:
            proxy.requests.clear()
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.cache), **(environment or {})}
        done = subprocess.run(
            [os.fspath(part) for part in command],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{' '.join(map(str, command))}:\n{done.stderr[-1500:]}", file=sys.stderr)
            return None
        moved = Moved()
        for seen in (one for proxy in self.proxies for one in proxy.requests):
            is_proof = seen.method == "GET" and _PROOF.search(seen.path) is not None
            moved.down += seen.down
            moved.up += seen.up
            moved.proof += seen.down * is_proof
        return moved

    def add(
        self,
        road: str,
        tool: str,
        moved: Moved | None,
        least: Callable[[], Moved] | None,
        verdict: Callable[[], str],
    ) -> None:
        """Note what a tool moved, beside the least, which may be seen in the result alone."""
        failed = moved is None
        row = Row(
            road,
            tool,
            moved,
            None if failed or least is None else least(),
            "failed" if failed else verdict(),
        )
        self.rows.append(row)
        print(show(row), file=sys.stderr, flush=True)

    def forget(self) -> None:
        """Empty squashkit's cache of entries."""
        shutil.rmtree(self.cache, ignore_errors=True)


# --- what lies where --------------------------------------------------------------------------


def in_registry(registry: Registry, repository: str) -> Stored:
    """Read from the registry's folder, behind its back."""
    manifest = registry.manifest(repository, "1")
    document = registry.blob(registry.tags(repository)["1"])
    sizes = [one["size"] for one in manifest["layers"]]
    return Stored(sizes, len(document) + manifest["config"]["size"])


def saved(daemon: services.Docker, name: str, path: Path) -> tuple[Stored, int]:
    """What `docker save` gives of an image, and how long that is. Sizes are those in a tar. The documents
    are those that the daemon needs: a config with manifest.json, in containerd's store an OCI layout's."""
    daemon.run("save", "--output", path, name)
    with tarfile.open(path) as archive:
        (entry,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        sizes = [_in_tar(_whole(archive, name).size) for name in entry["Layers"]]
        documents = [entry["Config"], "manifest.json"]
        if isinstance(daemon, releases.NewDocker) and daemon.by_manifest:
            index = json.load(archive.extractfile("index.json"))  # type: ignore[arg-type]
            manifests = [f"blobs/sha256/{one['digest'].partition(':')[2]}" for one in index["manifests"]]
            documents = [entry["Config"], "index.json", "oci-layout", *manifests]
        needed = sum(_in_tar(archive.getmember(one).size) for one in documents)
    return Stored(sizes, needed + 2 * tarfile.BLOCKSIZE), path.stat().st_size


def _in_tar(size: int) -> int:
    """With its header and its padding."""
    return tarfile.BLOCKSIZE + size + -size % tarfile.BLOCKSIZE


def _whole(archive: tarfile.TarFile, name: str) -> tarfile.TarInfo:
    """A member; where it is a link, what it leads to."""
    member = archive.getmember(name)
    return archive._find_link_target(member) if member.issym() or member.islnk() else member  # type: ignore[attr-defined]


# --- in registries ----------------------------------------------------------------------------


def roads_of_registries(world: World, here: Registry, there: Registry) -> None:
    """Squash and rebase from registry to registry, with squashkit, crane and skopeo."""
    crane = [*world.peers, "crane"]
    near, far = world.behind((registries.HOST, here.port)), world.behind((registries.HOST, there.port))
    app, base, fresh = (in_registry(here, name) for name in IMAGES)
    kept, above = sum(app.layers[: world.base_layers]), sum(app.layers[world.base_layers :])
    asked = app.documents + base.documents
    place = f"docker://{near.host}"

    def squash(
        road: str, registry: Registry, proxy: Proxy, name: str, *, warm: bool, sent: bool = False
    ) -> None:
        """`warm`: what the base holds is remembered. `sent`: its blobs must go over, too."""
        if not warm:
            world.forget()
        target = f"docker://{proxy.host}"
        base_at = place if sent else target
        words = [f"{place}/app:1", "--keep-base", f"{base_at}/base:1", "-o", f"{target}/{name}:1"]

        def least() -> Moved:
            made = in_registry(registry, name)
            new = sum(made.layers[world.base_layers :]) + made.documents
            return Moved(asked + above + (0 if warm and not sent else kept), new + (kept if sent else 0))

        world.add(
            road,
            "squashkit",
            world.go([*SQUASHKIT, "squash", *words]),
            least,
            lambda: checked(world, registry, name),
        )

    squash("squash in a registry, first time", here, near, "cold", warm=False)
    squash("squash in a registry, base remembered", here, near, "warm", warm=True)
    world.add(
        "squash in a registry, base remembered",
        "crane flatten (no base stays)",
        world.go([*crane, "flatten", "--insecure", f"{near.host}/app:1", "-t", f"{near.host}/flat:1"]),
        None,
        lambda: checked(world, here, "flat", 0),
    )
    squash("squash into another registry", there, far, "other", warm=True, sent=True)
    source, target = f"docker://{here.host}/base:1", f"docker://{there.host}/base:1"
    subprocess.run([*SKOPEO, source, target], check=True)
    squash("squash into another registry that has the base", there, far, "other2", warm=True)
    copies: dict[str, list[str | Path]] = {
        "crane copy (no squash)": [
            *crane,
            "copy",
            "--insecure",
            f"{near.host}/app:1",
            f"{far.host}/crane:1",
        ],
        "skopeo copy (no squash)": [
            *world.peers,
            *SKOPEO,
            f"{place}/app:1",
            f"docker://{far.host}/skopeo:1",
        ],
    }
    for tool, command in copies.items():
        world.add("squash into another registry that has the base", tool, world.go(command), None, str)

    def rebase(road: str, name: str, *, warm: bool) -> None:
        if not warm:
            world.forget()
        bases = ["--old-base", f"{place}/base:1", "--new-base", f"{place}/fresh:1"]
        words = [f"{place}/app:1", *bases, "-o", f"{place}/{name}:1"]

        def least() -> Moved:
            layers = 0 if warm else kept + above + sum(fresh.layers)
            return Moved(asked + fresh.documents + layers, in_registry(here, name).documents)

        world.add(
            road,
            "squashkit",
            world.go([*SQUASHKIT, "rebase", *words]),
            least,
            lambda: rebased(world, here, name),
        )

    rebase("rebase in a registry, first time", "rebased", warm=False)
    rebase("rebase in a registry, all remembered", "rebased2", warm=True)
    bases = [f"--old_base={near.host}/base:1", f"--new_base={near.host}/fresh:1"]
    world.add(
        "rebase in a registry, all remembered",
        "crane rebase (looks at digests alone)",
        world.go([*crane, "rebase", "--insecure", f"{near.host}/app:1", *bases, f"--tag={near.host}/cr:1"]),
        None,
        lambda: rebased(world, here, "cr"),
    )


def checked(world: World, registry: Registry, name: str, base_layers: int | None = None) -> str:
    """Whether a squashed image has the source's root file system and base."""
    copy = world.work / "bytes.copy"
    shutil.rmtree(copy, ignore_errors=True)
    subprocess.run([*SKOPEO, f"docker://{registry.host}/{name}:1", f"oci:{copy}:app"], check=True)
    told = equal(f"oci:{copy}", world.facts, world.base_layers if base_layers is None else base_layers)
    shutil.rmtree(copy)
    return told


def rebased(world: World, registry: Registry, name: str) -> str:
    """Whether a rebased image has the layers that it should."""
    return _as_rebased(world, registry.config(name, "1")["rootfs"]["diff_ids"])


def _as_rebased(world: World, diff_ids: list[str]) -> str:
    wanted = [world.fresh, *world.facts["diff_ids"][world.base_layers :]]
    return "equal" if diff_ids == wanted else "other layers"


# --- from and into daemons --------------------------------------------------------------------


def roads_of_daemon(world: World, title: str, daemon: services.Docker, here: Registry) -> None:
    """Squash and rebase from a daemon, into it and into a registry."""
    for name in IMAGES:
        daemon.run("pull", "--quiet", f"{here.host}/{name}:1")
        daemon.run("tag", f"{here.host}/{name}:1", f"{name}:latest")
    scratch = world.work / "bytes.saved.tar"
    app, app_size = saved(daemon, "app:latest", scratch)
    _, fresh_size = saved(daemon, "fresh:latest", scratch)
    by_chain = not isinstance(daemon, releases.NewDocker) or not daemon.by_manifest
    sock = world.work / f"bytes.{len(world.proxies)}.sock"
    sock.unlink(missing_ok=True)
    world.behind(daemon.folder / "sock", socket_path=sock)
    near = world.behind((registries.HOST, here.port))
    environment = {"DOCKER_HOST": f"unix://{sock}"}
    base = in_registry(here, "base")
    slug = re.sub(r"\W+", "-", title).strip("-")

    words = ["app:latest", "--keep-base", f"docker://{near.host}/base:1"]
    name = f"from-{slug}"

    def into_registry() -> Moved:
        made = in_registry(here, name)
        new = sum(made.layers[world.base_layers :]) + made.documents
        return Moved(app_size + base.documents, new)

    world.add(
        f"squash from {title} into a registry",
        "squashkit",
        world.go([*SQUASHKIT, "squash", *words, "-o", f"docker://{near.host}/{name}:1"], environment),
        into_registry,
        lambda: checked(world, here, name),
    )
    world.add(
        f"squash from {title} into a registry",
        "skopeo copy (no squash)",
        world.go(
            [
                *world.peers,
                *SKOPEO,
                "--src-daemon-host",
                environment["DOCKER_HOST"],
                "docker-daemon:app:latest",
                f"docker://{near.host}/skopeo-{slug}:1",
            ]
        ),
        None,
        str,
    )
    words = ["app:latest", "--keep-base", "base:latest", "-t", "app:squashed"]

    def into_daemon() -> Moved:
        made, _ = saved(daemon, "app:squashed", scratch)
        return Moved(app_size, sum(made.layers[world.base_layers :]) + made.documents)

    world.add(
        f"squash in {title}",
        "squashkit",
        world.go([*SQUASHKIT, "squash", *words], environment),
        into_daemon,
        lambda: equal(f"docker-archive:{scratch}", world.facts, world.base_layers),
    )
    words = ["app:latest", "--old-base", "base:latest", "--new-base", "fresh:latest"]

    def rebase_there() -> Moved:
        new = sum(app.layers[world.base_layers :]) if by_chain else 0
        made, _ = saved(daemon, "app:rebased", scratch)
        return Moved(app_size + fresh_size, new + made.documents)

    world.add(
        f"rebase in {title}",
        "squashkit",
        world.go([*SQUASHKIT, "rebase", *words, "-o", "docker-daemon:app:rebased"], environment),
        rebase_there,
        lambda: _as_rebased(world, daemon.layers("app:rebased")),
    )
    scratch.unlink()


# --- all of it --------------------------------------------------------------------------------


@contextmanager
def world_of(
    name: str, work: Path, peers: Sequence[str | Path]
) -> Iterator[tuple[World, Registry, Registry]]:
    """Two registries, of which the first has the corpus."""
    made, archive = corpus.make(name, work), corpus.archive_path(name, work)
    with ExitStack() as stack:
        state = stack.enter_context(services.state_folder())
        here, there = (stack.enter_context(registries.registry(state)) for _ in range(2))
        world = World(work, stack, peers, base_layers=made.base_layers, facts=source_facts(name, work))
        patched = work / "bytes.fresh.tar"
        world.fresh = write_fresh(archive, patched)
        sources = {"app": archive, "base": archive, "fresh": patched}
        for image, source in sources.items():
            place = f"docker://{here.host}/{image}:1"
            subprocess.run(
                [*SKOPEO, "--format", "oci", f"docker-archive:{source}:{image}:latest", place], check=True
            )
        patched.unlink()
        yield world, here, there
        shutil.rmtree(world.cache, ignore_errors=True)


def write_fresh(archive: Path, path: Path) -> str:
    """A base like that of the corpus with a file more; its diff_id."""
    with tarfile.open(archive) as opened:
        images = json.load(opened.extractfile("manifest.json"))  # type: ignore[arg-type]
        (name,) = next(one["Layers"] for one in images if one["RepoTags"] == ["base:latest"])
        plain = opened.extractfile(_whole(opened, name)).read()  # type: ignore[union-attr]
    end = plain.rstrip(b"\0")
    whole = end + bytes(-len(end) % 512)
    data = whole + layer(file("etc/patched", noise(_PATCH, "patched")))
    spec = ImageSpec([data], ["fresh:latest"], {"config": {"Cmd": ["bash"], "Env": ["PATH=/usr/bin"]}})
    docker_archive_25(path, [spec])
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def show(row: Row) -> str:
    """A row as one line."""
    cells = [row.road, row.tool, *_cells(row), row.verdict]
    return f"| {' | '.join(cells)} |"


def _cells(row: Row) -> list[str]:
    if row.moved is None:
        return [""] * 6
    down = row.moved.down - row.moved.proof
    cells = [_bytes(down), _bytes(row.moved.up)]
    if row.least is None:
        return [*cells, "", "", "", ""]
    ratios = [_ratio(down, row.least.down), _ratio(row.moved.up, row.least.up)]
    return [*cells, _bytes(row.least.down), _bytes(row.least.up), *ratios]


def _bytes(value: int) -> str:
    return f"{value:,}"


def _ratio(value: int, least: int) -> str:
    return f"{value / least:.4f}" if least else ""


def markdown(results: Results) -> str:
    """The figures as one table."""
    rows = [
        Row(
            one["road"],
            one["tool"],
            Moved(**one["moved"]) if one["moved"] else None,
            Moved(**one["least"]) if one["least"] else None,
            one["verdict"],
        )
        for one in results["rows"]
    ]
    proofs = [
        f"{row.moved.proof:,} on the road “{row.road}”" for row in rows if row.moved and row.moved.proof
    ]
    lines = [
        "# What squashes and rebases move",
        "",
        f"The corpus is `{results['corpus']}`; {'; '.join(results['versions'])}.",
        "Bytes of the bodies of all requests and answers, as proxies counted them before the servers.",
        *([f"Not counted is what a daemon gave out as a proof: {', '.join(proofs)}."] if proofs else []),
        "",
        "| road | tool | down | up | least down | least up | down / least | up / least | result |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
        *map(show, rows),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Count the bytes that squashes and rebases move.")
    parser.add_argument("--corpus", default="big")
    parser.add_argument("--work", type=Path, default=corpus.default_work())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/bytes.json"))
    options = parser.parse_args(arguments)
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    peers = releases.inside(replace(releases.FORKY, packages=PEERS))
    with world_of(options.corpus, work, peers) as (world, here, there):
        names = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", "crane", "skopeo"]
        versions = services.run([*SQUASHKIT, "--version"]).splitlines()
        versions += services.run([*peers, *names]).splitlines()
        roads_of_registries(world, here, there)
        state = here.folder.parent
        old = world.stack.enter_context(services.docker(state, "old"))
        new = world.stack.enter_context(releases.new_docker(state, releases.TRIXIE, by_manifest=True))
        for daemon, kind in ((old, "overlay2"), (new, "containerd's store")):
            version = daemon.run("version", "--format", "{{.Server.Version}}").strip()
            roads_of_daemon(world, f"docker {version.partition('+')[0]} ({kind})", daemon, here)
        rows = [asdict(row) for row in world.rows]
    results = {"corpus": options.corpus, "versions": versions, "rows": rows}
    options.out.write_text(json.dumps(results, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(results))


if __name__ == "__main__":
    main()
