"""`squashkit fleet scan` on workers of Dask: the same files, no secret on the way, and clear refusals.

`make test-cluster` has a fleet of 100 images, and all that goes wrong; of every other run a few are part.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

import squashkit
from benchmarks import fleets
from squashkit.options import STRATEGIES
from tests.compat import registries, services
from tests.compat.clusters import Cluster, cluster
from tests.compat.conftest import Person
from tests.compat.registries import HOST, Authority, Fault, Registry, downloaded, proxy
from tests.support.builders import oci_layout
from tests.support.relay import relay
from tests.support.runner import Result, assert_fails, run, run_process, spawn
from tests.support.scans import contents, fleet, rows, wide_fleet

ALL = bool(os.environ.get("SQUASHKIT_TEST_CLUSTER"))
with_all = pytest.mark.skipif(not ALL, reason="`make test-cluster` has it")

CLIENT = ("client", "client's-own-word")
WORKER = ("worker", "worker's-own-word")


@pytest.fixture(scope="module")
def registry(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With two images, for whoever has a password."""
    folder = tmp_path_factory.mktemp("layouts")
    with registries.registry(state, users=dict([CLIENT, WORKER])) as made:
        for number, image in enumerate(fleet(images=2, layers=20)):
            oci_layout(folder / str(number), [image], compress="gzip")
            words = ["skopeo", "copy", "--dest-tls-verify=false", "--dest-creds", ":".join(CLIENT)]
            target = f"docker://{made.host}/team/app{number}:1"
            services.run([*words, f"oci:{folder / str(number)}", target])
        yield made


def settings(home: Path, host: str = "", user: tuple[str, str] | None = None) -> dict[str, str]:
    """The variables of somebody who has these credentials and no others."""
    person = Person(home)
    if user is not None:
        person.log_in(host, *user)
    return person.env


@pytest.fixture(scope="module")
def encrypted(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster by TLS, whose two workers have credentials of their own."""
    folder = tmp_path_factory.mktemp("encrypted")
    with cluster(folder / "cluster", Authority(folder / "authority")) as made:
        env = settings(folder / "worker", registry.host, WORKER)
        for _ in range(2):
            made.add_worker(env)
        yield made


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster on this machine with one worker, which has no credentials."""
    folder = tmp_path_factory.mktemp("plain")
    with cluster(folder / "cluster") as made:
        made.add_worker(settings(folder / "worker"))
        yield made


@pytest.fixture
def client(registry: Registry, tmp_path: Path) -> dict[str, str]:
    """The variables of the client, who has a password."""
    return settings(tmp_path / "client", registry.host, CLIENT)


def scan(env: dict[str, str], registry: Registry, into: Path, *words: object) -> Result:
    references = [f"docker://{registry.host}/team/app{number}:1" for number in range(2)]
    return run_process("fleet", "scan", *references, "--into", into, "--json", *map(str, words), env=env)


def test_workers_elsewhere_make_the_same_files(
    registry: Registry, encrypted: Cluster, client: dict[str, str], tmp_path: Path
) -> None:
    """As one process here, to the byte, each layer read once; they ask with their own credentials, and what
    is there is not asked for again. Limits hold there, too."""
    one, other = tmp_path / "one", tmp_path / "other"
    assert scan(client, registry, one, "--jobs", 1).code == 0
    there = ("--scheduler", encrypted.address, "--connections", 1)
    since = (registry.folder / "log").stat().st_size
    mark = registry.mark()
    done = scan(client | encrypted.env, registry, other, *there)
    assert (done.code, done.err) == (0, "")
    assert contents(other) == contents(one)
    layers = {digest for n in range(2) for digest in registry.layers(f"team/app{n}", "1")}
    assert sorted(digest for digest in downloaded(registry.log(mark)) if digest in layers) == sorted(layers)
    assert f'"auth.user.name":"{WORKER[0]}"'.encode() in (registry.folder / "log").read_bytes()[since:]
    mark = registry.mark()
    assert scan(client | encrypted.env, registry, other, *there).json["layers"]["read"] == 0
    assert not layers & {*downloaded(registry.log(mark))}


def test_no_secret_is_sent(
    registry: Registry, plain: Cluster, client: dict[str, str], tmp_path: Path
) -> None:
    """All that the client sends to a cluster, tasks included, has neither its password nor its name; so
    workers without credentials read nothing, and each layer says why."""
    with relay() as wire:
        address = f"tcp://127.0.0.1:{wire.port_to(plain.port)}"
        done = scan(client | plain.env, registry, tmp_path / "scan", "--scheduler", address)
    assert done.code == 5, done.err
    assert done.json["layers"]["read"] == 0
    assert {bad["exit_code"] for bad in done.json["bad_layers"]} == {5}
    assert "gives no access" in done.json["bad_layers"][0]["error"]
    assert b"team/app1" in wire.sent, "the tasks went this way"
    pair = base64.b64encode(":".join(CLIENT).encode())
    for secret in (CLIENT[1].encode(), pair, pair[:12]):
        assert secret not in wire.sent


@with_all
def test_files_of_this_machine_are_read_here(plain: Cluster, tmp_path: Path) -> None:
    """What lies in no registry goes to no worker of a cluster: it may be elsewhere."""
    paths = wide_fleet(tmp_path, images=2, layers=20)
    env = settings(tmp_path / "client") | plain.env
    for into, words in (("one", ()), ("other", ("--scheduler", plain.address))):
        done = run_process("fleet", "scan", *paths, "--into", tmp_path / into, *words, env=env)
        assert done.code == 0, done.err
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


@with_all
def test_files_that_a_worker_lacks(
    registry: Registry, plain: Cluster, client: dict[str, str], tmp_path: Path
) -> None:
    """Credentials that are named must be there on each worker. Here all machines are one."""
    authfile = tmp_path / "auth.json"
    authfile.write_bytes((tmp_path / "client" / "docker" / "config.json").read_bytes())
    words = "--scheduler", plain.address, "--authfile", authfile
    assert scan(client | plain.env, registry, tmp_path / "scan", *words).code == 0
    authfile.unlink()
    done = scan(client | plain.env, registry, tmp_path / "more", *words)
    assert (done.code, f"{authfile} is not there for 1 of 1 worker of {plain.address}" in done.err) == (
        2,
        True,
    ), done.err


def test_workers_of_another_version(
    registry: Registry, plain: Cluster, client: dict[str, str], tmp_path: Path
) -> None:
    """One line tells both versions, before anything is read; where a worker has none, that."""
    package = tmp_path / "old" / "squashkit"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "version.py").write_text("__version__ = '0.0.1'\n")
    nothing = tmp_path / "none" / "squashkit"
    nothing.mkdir(parents=True)
    (nothing / "__init__.py").touch()
    for folder, told in ((package, "0.0.1"), (nothing, "none"))[: 2 if ALL else 1]:
        worker = plain.add_worker({"PYTHONPATH": str(folder.parent)})
        done = scan(client | plain.env, registry, tmp_path / "scan", "--scheduler", plain.address)
        worker.kill()
        worker.wait()
        assert done.code == 2
        assert done.err == (
            f"squashkit: the workers of {plain.address} have another squashkit ({told}) than is here"
            f" ({squashkit.__version__}): they need the same\n"
        )
        assert not (tmp_path / "scan").exists()


@with_all
def test_a_cluster_without_workers(
    registry: Registry, client: dict[str, str], tmp_path: Path, state: Path
) -> None:
    """It is told, and nothing waits; nor for a scheduler that is gone."""
    with cluster(tmp_path / "cluster") as empty:
        done = scan(client | empty.env, registry, tmp_path / "scan", "--scheduler", empty.address)
        assert (done.code, done.err) == (5, f"squashkit: {empty.address} has no workers\n")
    done = scan(client | empty.env, registry, tmp_path / "scan", "--scheduler", empty.address)
    assert done.code == 5
    assert done.err.startswith(f"squashkit: the Dask scheduler {empty.address} does not answer: ")
    assert not (tmp_path / "scan").exists()


@with_all
def test_tls_takes_certificates(
    registry: Registry, encrypted: Cluster, client: dict[str, str], tmp_path: Path
) -> None:
    """Without them, with others', or without TLS nobody talks to the cluster; each is one line."""
    into = tmp_path / "scan"
    there = "--scheduler", encrypted.address
    done = scan(client, registry, into, *there)
    assert done.code == 2
    assert "Dask's configuration has none: distributed.comm.tls.ca-file, " in done.err
    gone = encrypted.env | {"DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY": str(tmp_path / "gone")}
    done = scan(client | gone, registry, into, *there)
    assert (done.code, "is no file" in done.err) == (2, True)
    other = Cluster(tmp_path, Authority(tmp_path / "other"))
    done = scan(client | other.env, registry, into, *there)
    assert (done.code, done.err.count("\n")) == (5, 1)
    assert "certificate" in done.err.lower()
    done = scan(client | encrypted.env, registry, into, "--scheduler", f"tcp://127.0.0.1:{encrypted.port}")
    assert (done.code, done.err.count("\n")) == (5, 1)
    assert not into.exists()


def test_workers_that_are_made_here(tmp_path: Path) -> None:
    """They make the same files, of archives, too, and are gone afterwards."""
    paths = wide_fleet(tmp_path, images=2, layers=20)
    one = run_process("fleet", "scan", *paths, "--into", tmp_path / "one", "--jobs", "1")
    done = run_process("fleet", "scan", *paths, "--into", tmp_path / "two", "--workers", "2")
    assert (one.code, done.code, done.err) == (0, 0, "")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_workers_elsewhere_compress_what_lies_in_registries(
    registry: Registry, encrypted: Cluster, client: dict[str, str]
) -> None:
    """What a fleet takes is the same, to the byte; they read layers with their own credentials."""
    images = [f"docker://{registry.host}/team/app{number}:1" for number in range(2)]
    words = ["fleet", "storage", *images, "--strategies", "built,all", "--json"]
    one = run_process(*words, env=client)
    since = (registry.folder / "log").stat().st_size
    done = run_process(*words, "--scheduler", encrypted.address, env=client | encrypted.env)
    assert (one.code, done.code, done.err) == (0, 0, "")
    assert done.json == one.json
    assert f'"auth.user.name":"{WORKER[0]}"'.encode() in (registry.folder / "log").read_bytes()[since:]


def test_workers_that_are_made_here_compress(tmp_path: Path) -> None:
    """What they can open; the rest is compressed here, and all figures are the same."""
    fleets.make(tmp_path / "fleet", 6, fleets.SMALL)
    paths = wide_fleet(tmp_path, images=2, layers=5)
    with gzip.open(tmp_path / "packed.tar.gz", "wb") as packed:
        packed.write(paths[0].read_bytes())
    images = [f"oci:{tmp_path}/fleet", paths[1], tmp_path / "packed.tar.gz"]
    rows = ",".join(STRATEGIES)
    words = ["fleet", "storage", *map(str, images), "--json", "--strategies", rows]
    one = run_process(*words)
    done = run_process(*words, "--workers", "2")
    assert (one.code, done.code, done.err) == (0, 0, one.err)
    assert done.json == one.json


@pytest.mark.parametrize("words", [["--estimate"], ["--no-scan"]], ids=" ".join)
def test_workers_without_anything_to_compress(words: list[str], tmp_path: Path) -> None:
    """Where nothing is measured they have nothing to do, which is said."""
    [path] = wide_fleet(tmp_path, images=1, layers=1)
    assert_fails(run("fleet", "storage", path, "--workers", "2", *words), 2, "an estimate compresses none")


def test_dask_is_imported_for_a_cluster_alone(tmp_path: Path) -> None:
    """A scan without one does without; with one and without Dask it says what to install."""
    [path, *_] = wide_fleet(tmp_path, images=1, layers=1)
    code = "import sys; sys.modules['distributed'] = sys.modules['dask'] = None;"
    code += "from squashkit.__main__ import main; main()"
    words = [sys.executable, "-c", code, "fleet", "scan", str(path), "--into"]
    for into, more, expected in (
        ("scan", [], (0, "")),
        (
            "other",
            ["--workers", "2"],
            (2, "squashkit: work on Dask needs it: pip install 'squashkit[cluster]'\n"),
        ),
    ):
        done = subprocess.run(
            [*words, str(tmp_path / into), *more],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        assert (done.returncode, done.stderr) == expected


# --- 100 images ------------------------------------------------------------------------------

BRAKE = ("--requests-per-second", 60)
"""So that there is a middle in which something goes wrong."""


@pytest.fixture(scope="module")
def hundred(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with 100 images, for everybody."""
    layout = tmp_path_factory.mktemp("hundred") / "layout"
    fleets.make(
        layout, 100, fleets.Scale(system=40, runtime=20, dependencies=20, code=8, size=600, steps=12)
    )
    with registries.registry(state) as made:
        push(layout, f"http://{made.host}/v2/fleet")
        yield made


def push(layout: Path, repository: str) -> None:
    """Store all blobs of a layout in a repository, and its images by their names there."""
    with requests.Session() as session:
        session.trust_env = False
        for blob in (layout / "blobs" / "sha256").iterdir():
            where = session.post(f"{repository}/blobs/uploads/").headers["Location"]
            done = session.put(where, params={"digest": f"sha256:{blob.name}"}, data=blob.read_bytes())
            assert done.status_code == 201
        for entry in json.loads((layout / "index.json").read_text())["manifests"]:
            tag = entry["annotations"]["io.containerd.image.name"].rpartition("/")[2].replace(":", "-")
            data = (layout / "blobs" / "sha256" / entry["digest"].partition(":")[2]).read_bytes()
            kind = {"Content-Type": entry["mediaType"]}
            assert session.put(f"{repository}/manifests/{tag}", data=data, headers=kind).status_code == 201


@pytest.fixture(scope="module")
def whole(hundred: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan of it by one process."""
    into = tmp_path_factory.mktemp("whole") / "scan"
    assert scan_all(hundred, into, "--jobs", 1).code == 0
    return into


def words_for(registry: Registry, into: Path, *words: object) -> list[str]:
    """The command line of a scan of all images."""
    return [
        "fleet",
        "scan",
        f"docker://{registry.host}/fleet/",
        "--into",
        str(into),
        "--json",
        *map(str, words),
    ]


def scan_all(
    registry: Registry, into: Path, *words: object, env: Mapping[str, str] | None = None
) -> Result:
    return run_process(*words_for(registry, into, *words), env=env)


def layer_digests(scan: Path) -> set[str]:
    return {f"sha256:{row['digest'].hex()}" for row in rows(scan, "layers")}


def wait_for_a_batch(into: Path, process: subprocess.Popen[bytes]) -> None:
    while not list((into / "layers").glob("*.parquet")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that it made to work for it."""
    return [*map(int, services.run(["pgrep", "-P", str(process.pid), "-f", "spawn_main"]).split())]


@with_all
@pytest.mark.parametrize("way", ["processes", "workers", "cluster", "shards"])
def test_every_way_gives_the_same_numbers(
    way: str, hundred: Registry, whole: Path, encrypted: Cluster, tmp_path: Path
) -> None:
    """Files are the same to the byte, and what the fleet takes is the same; each layer came once."""
    into = tmp_path / "scan"
    runs: dict[str, list[tuple[object, ...]]] = {
        "processes": [("--jobs", 2)],
        "workers": [("--workers", 2)],
        "cluster": [("--scheduler", encrypted.address)],
        "shards": [("--shard", "2/3", "--workers", 2), ("--shard", "1/3"), ("--shard", "3/3", "--jobs", 1)],
    }
    mark = hundred.mark()
    for words in runs[way]:
        done = scan_all(hundred, into, *words, env=encrypted.env)
        assert (done.code, done.err) == (0, "")
    assert contents(into) == contents(whole)
    layers = layer_digests(whole)
    came = Counter(digest for digest in downloaded(hundred.log(mark)) if digest in layers)
    assert came == dict.fromkeys(layers, 1)
    one, other = (run_process("fleet", "storage", folder, "--json") for folder in (whole, into))
    assert (one.code, len(one.json["images"])) == (0, 100)
    assert other.json == one.json


@with_all
@pytest.mark.parametrize("way", ["processes", "workers", "cluster"])
def test_a_killed_worker(
    way: str, hundred: Registry, whole: Path, encrypted: Cluster, tmp_path: Path
) -> None:
    """SIGKILL in the middle: its batches are read by others, nothing is half, no layer stands twice."""
    into = tmp_path / "scan"
    victim = encrypted.add_worker() if way == "cluster" else None
    words = {
        "processes": ("--jobs", 2),
        "workers": ("--workers", 2),
        "cluster": ("--scheduler", encrypted.address),
    }
    with spawn(*words_for(hundred, into, *words[way], *BRAKE), env=encrypted.env) as process:
        wait_for_a_batch(into, process)
        if victim is None:
            os.kill(children(process)[0], signal.SIGKILL)
        else:
            victim.kill()
        out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, b"")
    assert contents(into) == contents(whole)
    diff_ids = [row["diff_id"] for row in rows(into, "layers")]
    assert len({*diff_ids}) == len(diff_ids) == json.loads(out)["layers"]["read"]


@with_all
@pytest.mark.parametrize("way", ["workers", "cluster"])
def test_a_killed_worker_that_compresses(way: str, hundred: Registry, tmp_path: Path) -> None:
    """SIGKILL while it reads a layer for a new one: others do what it did, and all figures are the same."""
    fleets.make(tmp_path / "fleet", 8, fleets.Scale(100, 60, 40, 10))
    push(tmp_path / "fleet", f"http://{hundred.host}/v2/{way}")
    with ExitStack() as stack:
        between = stack.enter_context(proxy((HOST, hundred.port)))
        words = ["fleet", "storage", f"docker://{between.host}/{way}/", "--json"]
        words += ["--strategies", ",".join(STRATEGIES)]
        one = run_process(*words)
        name = one.json["images"][-1].removeprefix(f"{between.host}/{way}:")
        blob = f"/blobs/{hundred.layers(way, name)[-1]}"
        assert (one.code, len(between.seen("GET", blob))) == (0, 1)
        killed: list[int] = []

        def kill() -> None:
            """Of two workers that are made here both: nobody knows which of them asked."""
            killed.extend([victim.pid] if victim else children(process))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

        # The process itself reads each layer once, so the next to ask for it is a worker.
        between.add(Fault("GET", blob, times=1))
        between.add(Fault("GET", blob, times=1, call=kill))
        victim, there, env = None, ["--workers", "2"], {}
        if way == "cluster":
            made = stack.enter_context(cluster(tmp_path / "cluster"))
            victim, there, env = made.add_worker(), ["--scheduler", made.address], made.env
        with spawn(*words, *there, env=env) as process:
            if victim:
                victim.wait(120)
                made.add_worker()
            out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, one.err.encode())
    assert json.loads(out) == one.json
    assert len(killed) == (1 if way == "cluster" else 2)
    assert len(between.seen("GET", blob)) >= 4, "by both runs themselves, by the killed one, and again"


@with_all
@pytest.mark.parametrize("way", ["workers", "cluster"])
def test_ctrl_c(way: str, hundred: Registry, whole: Path, encrypted: Cluster, tmp_path: Path) -> None:
    """Ends all work, in a line; the next scan asks for nothing that is there, and then all is there."""
    into = tmp_path / "scan"
    words = {"workers": ("--workers", 2), "cluster": ("--scheduler", encrypted.address)}
    with spawn(
        *words_for(hundred, into, *words[way], *BRAKE), env=encrypted.env, start_new_session=True
    ) as process:
        wait_for_a_batch(into, process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it, to all processes
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode() == (
        f"squashkit: interrupted; what was read is in {into}, and the same scan goes on from there\n"
    )
    assert_goes_on(hundred, into, whole)


@with_all
def test_a_cluster_that_goes_away(hundred: Registry, whole: Path, tmp_path: Path) -> None:
    """Its scheduler is killed in the middle: a line, exit code 5, and the next scan goes on without it."""
    into = tmp_path / "scan"
    with cluster(tmp_path / "cluster") as made:
        made.add_worker()
        words = words_for(hundred, into, "--scheduler", made.address, *BRAKE)
        with spawn(*words, env=made.env) as process:
            wait_for_a_batch(into, process)
            assert made.scheduler is not None
            made.scheduler.kill()
            _, err = process.communicate(timeout=120)
    assert (process.returncode, err.count(b"\n")) == (5, 1), err
    assert err.decode().startswith(f"squashkit: {made.address} went away: ")
    assert_goes_on(hundred, into, whole)


def assert_goes_on(registry: Registry, into: Path, whole: Path) -> None:
    """The same scan reads what is left, and nothing else; then all is there."""
    there = layer_digests(into)
    assert 0 < len(there) < len(layer_digests(whole))
    mark = registry.mark()
    done = scan_all(registry, into, "--jobs", 2)
    assert (done.code, done.json["layers"]["known"]) == (0, len(there))
    assert not there & {*downloaded(registry.log(mark))}
    assert contents(into) == contents(whole)
