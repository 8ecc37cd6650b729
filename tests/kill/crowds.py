"""Many runs at once, caches that are damaged, and users who may not do all that root may."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from squashkit.engine.entries import EntryCache
from squashkit.oci.digests import DiffID
from tests.compat import registries
from tests.compat.services import Unavailable
from tests.kill.conftest import Counts
from tests.kill.places import PLACES, make_place
from tests.support.builders import ImageSpec, docker_archive_25, file, layer, oci_layout
from tests.support.runner import APP, KEEP_2, Arg, Result, read_image, read_images, run_process, spawn

CROWD = 8


def at_once(runs: list[tuple[Arg, ...]], env: dict[str, str] | None = None) -> list[Result]:
    """Run commands side by side."""
    processes = [spawn(*words, env=env) for words in runs]
    results = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        results.append(Result(process.returncode, out, err.decode()))
    return results


# --- places that are shared ------------------------------------------------------------------


@pytest.mark.parametrize("turn", range(3))
def test_many_runs_write_into_one_layout(turn: int, counts: Counts, tmp_path: Path) -> None:
    """Each of eight runs finds its tag there at the end, and the layout is sound."""
    source = tmp_path / "app.tar"
    docker_archive_25(source, [APP])
    runs: list[tuple[Arg, ...]] = [
        ("squash", source, "--keep-layers", "2", "-t", f"new:{i}", "-o", f"oci:{tmp_path}/layout")
        for i in range(CROWD)
    ]
    assert [result.err for result in at_once(runs) if result.code] == []
    tags = {tag for image in read_images(tmp_path / "layout") for tag in image.names}
    assert all(any(tag.endswith(f"new:{i}") for tag in tags) for i in range(CROWD)), tags
    assert run_process("verify", f"oci:{tmp_path}/layout").code == 0
    assert not list((tmp_path / "layout").rglob("*squashkit-*"))
    counts.add("crowds of eight")


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("turn", range(3))
def test_many_runs_write_the_same(name: str, turn: int, counts: Counts, tmp_path: Path) -> None:
    """Eight runs with --force end well, and the result is that of one."""
    place = make_place(name, "small", tmp_path / "place")
    place.reset()
    assert [result.err for result in at_once([place.words] * CROWD) if result.code] == []
    assert place.files() == place.files("right")
    counts.add("crowds of eight")


def test_of_many_runs_one_gets_the_name(counts: Counts, tmp_path: Path) -> None:
    """Without --force one of eight writes the archive, and the others say that it is there."""
    source, output = tmp_path / "app.tar", tmp_path / "out.tar"
    docker_archive_25(source, [APP])
    results = at_once([("squash", source, *KEEP_2, "-o", output)] * CROWD)
    assert sorted(result.code for result in results) == [0] + [2] * (CROWD - 1)
    assert all("--force" in result.err for result in results if result.code)
    assert run_process("verify", output).code == 0
    counts.add("crowds of eight")


@pytest.mark.parametrize("same", [False, True], ids=["eight bases", "one base"])
def test_many_runs_write_into_one_catalogue(same: bool, counts: Counts, tmp_path: Path) -> None:
    """Every base that was added is in the catalogue, which was not there before."""
    for i in range(CROWD):
        docker_archive_25(tmp_path / f"{i}.tar", [ImageSpec([layer(file(f"f{i}"))], (f"base:{i}",))])
    home = {"XDG_DATA_HOME": str(tmp_path / "data")}
    runs: list[tuple[Arg, ...]] = [
        ("base", "add", tmp_path / f"{0 if same else i}.tar") for i in range(CROWD)
    ]
    assert [result.err for result in at_once(runs, home) if result.code] == []
    listed = run_process("base", "list", "--json", env=home).json["bases"]
    assert len(listed) == (1 if same else CROWD)
    counts.add("crowds of eight")


# --- the cache of entries --------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app in a registry: layers that lie elsewhere have their entries remembered."""
    folder = tmp_path_factory.mktemp("registry")
    docker_archive_25(folder / "app.tar", [APP])
    try:
        with registries.registry(folder) as registry:
            reference = f"docker://{registry.host}/app:1"
            result = push(folder / "app.tar", reference)
            assert result.code == 0, result.err
            yield reference
    except Unavailable as error:
        pytest.skip(str(error))


def push(source: Path, reference: str) -> Result:
    return run_process("squash", source, "--keep-layers", str(len(APP.layers)), "-o", reference)


def squashed(image: str, output: Path, cache: Path) -> tuple[Arg, ...]:
    return ("squash", image, *KEEP_2, "-o", output)


def test_many_runs_share_one_cache(image: str, counts: Counts, tmp_path: Path) -> None:
    """Eight runs that all find an empty cache write the same image, and leave a cache that is whole."""
    cache = tmp_path / "cache"
    env = {"XDG_CACHE_HOME": str(cache)}
    for turn in range(3):
        runs = [squashed(image, tmp_path / f"{turn}-{i}.tar", cache) for i in range(CROWD)]
        assert [result.err for result in at_once(runs, env) if result.code] == []
        assert len({(tmp_path / f"{turn}-{i}.tar").read_bytes() for i in range(CROWD)}) == 1
        entries = cache / "squashkit" / "entries"
        names = os.listdir(entries)
        assert names
        assert not [name for name in names if name.startswith(".")]
        assert all(EntryCache(entries).get(DiffID(f"sha256:{name}")) is not None for name in names)
        counts.add("crowds of eight")


def _turn(path: Path, _: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << at % 8
    path.write_bytes(data)


def _cut(path: Path, _: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:-size])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").touch()


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    **{f"bit {at} turned": partial(_turn, at=at) for at in (0, 30, 100, 150, -1, -40)},
    **{f"cut by {size}": partial(_cut, size=size) for size in (1, 32, 33, 60)},
    "empty": lambda path, other: path.write_bytes(b""),
    "longer": lambda path, other: path.write_bytes(path.read_bytes() + b"x"),
    "another layer's": lambda path, other: path.write_bytes(other.read_bytes()),
    "unreadable": lambda path, other: path.chmod(0),
    "a folder": lambda path, other: _folder(path),
    "a link to nothing": lambda path, other: _link(path, "nowhere"),
    "a link to itself": lambda path, other: _link(path, path.name),
    "a link to an endless file": lambda path, other: _link(path, "/dev/zero"),
    "a pipe": lambda path, other: _pipe(path),
}  # fmt: skip


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_cache_changes_nothing(how: str, image: str, counts: Counts, tmp_path: Path) -> None:
    """Whatever is in the cache under a layer's name, the result is the same."""
    cache = tmp_path / "cache"
    env = {"XDG_CACHE_HOME": str(cache)}
    assert run_process(*squashed(image, tmp_path / "right.tar", cache), env=env).code == 0
    entries = sorted((cache / "squashkit" / "entries").iterdir())
    assert len(entries) > 1
    for path, other in zip(entries, [*entries[1:], entries[0]], strict=True):
        before = {one: one.read_bytes() for one in entries}
        DAMAGE[how](path, other)
        output = tmp_path / f"{path.name}.tar"
        result = run_process(*squashed(image, output, cache), env=env)
        assert result.code == 0, result.err
        assert output.read_bytes() == (tmp_path / "right.tar").read_bytes()
        for one, data in before.items():
            if one.is_dir():
                shutil.rmtree(one)
            one.unlink(missing_ok=True)
            one.write_bytes(data)
        counts.add("damaged entries of the cache")


# --- other users -----------------------------------------------------------------------------

NOBODY = 65534
STRANGER = 54321
"""A number that no file of users knows."""


class Person:
    """A user without privileges, who sees this Python and squashkit where everybody may read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own = folder / "own"
        self._python = folder / "python"
        own = [path for path in sys.path if path.endswith("site-packages")]
        self._binds = {
            sys.base_prefix: self._python,
            **{path: folder / f"s{i}" for i, path in enumerate(own)},
        }
        for target in self._binds.values():
            target.mkdir()
        shutil.copytree("squashkit", folder / "code" / "squashkit")
        for link in [path for site in own for path in Path(site).glob("*.pth")]:
            for i, line in enumerate(link.read_text().splitlines()):
                if line.startswith("/") and Path(line).is_dir() and not (Path(line) / "squashkit").exists():
                    target = folder / f"l{link.stem}{i}"
                    target.mkdir()
                    self._binds[line] = target
        self.own.mkdir()
        self.own.chmod(0o777)
        folder.chmod(0o755)

    def run(self, *words: Arg, uid: int = NOBODY, env: dict[str, str] | None = None) -> Result:
        """Run squashkit as this user in a folder of his own, with nothing in the environment but `env`."""
        binds = "; ".join(f"mount --bind {source} {target}" for source, target in self._binds.items())
        path = ":".join(
            str(self.folder / "code" if i == 0 else t) for i, t in enumerate(self._binds.values())
        )
        python = self._python / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        given = {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": path,
            "LD_LIBRARY_PATH": f"{self._python}/lib",
            "PYTHONDONTWRITEBYTECODE": "1",
            **(env or {}),
        }
        person = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]
        command = [*person, "env", "-i", *(f"{k}={v}" for k, v in given.items()), python, "-m", "squashkit"]
        made = subprocess.run(
            ["unshare", "-m", "sh", "-c", f'{binds}; exec "$@"', "sh", *map(str, [*command, *words])],
            cwd=self.own, capture_output=True, timeout=120,
            check=False,
        )  # fmt: skip
        return Result(made.returncode, made.stdout, made.stderr.decode())


@pytest.fixture(scope="module")
def person() -> Iterator[Person]:
    if os.geteuid() or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("only root can be somebody else")
    folder = Path(tempfile.mkdtemp())
    try:
        person = Person(folder)
        result = person.run("--version")
        if result.code:
            pytest.skip(f"this Python cannot be lent: {result.err[-200:]}")
        docker_archive_25(folder / "app.tar", [APP])
        oci_layout(folder / "layout", [APP])
        yield person
    finally:
        shutil.rmtree(folder)


def assert_one_line(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result.err
    (line,) = result.err.strip().split("\n")
    assert line.startswith("squashkit: ")
    assert "fault of squashkit" not in line
    assert all(word in line for word in words), line


HOMES: dict[str, dict[str, str]] = {
    "none": {},
    "empty": {"HOME": ""},
    "not there": {"HOME": "/nowhere"},
    "not his": {"HOME": "/root"},
    "a file": {"HOME": "/etc/passwd"},
}


@pytest.mark.parametrize("uid", [NOBODY, STRANGER])
@pytest.mark.parametrize("home", HOMES)
def test_a_user_without_a_home(home: str, uid: int, person: Person, counts: Counts) -> None:
    """What needs neither cache nor catalogue goes on without them; adding a base is refused in one line."""
    env = HOMES[home]
    output = person.own / f"{uid}-{home.replace(' ', '-')}.tar"
    result = person.run("squash", person.folder / "app.tar", *KEEP_2, "-o", output, uid=uid, env=env)
    assert result.code == 0, result.err
    assert "new:1" in read_image(output).names
    for words in (("inspect", output), ("verify", output), ("diff", person.folder / "app.tar", output)):
        result = person.run(*words, uid=uid, env=env)
        assert result.code == 0, result.err
    assert person.run("base", "list", uid=uid, env=env).code == 0
    result = person.run("base", "add", person.folder / "app.tar", uid=uid, env=env)
    assert result.code in (1, 5)
    assert_one_line(result, result.code)
    counts.add("runs as another user", 6)


def test_a_user_reads_what_is_root_s(person: Person, image: str, counts: Counts) -> None:
    """An image of root's that may be read is squashed; a cache that may not be written is no error."""
    (person.folder / "cache").mkdir(exist_ok=True)
    env = {"XDG_CACHE_HOME": str(person.folder / "cache"), "HOME": str(person.own)}
    for number, source in enumerate((f"oci:{person.folder}/layout", image)):
        result = person.run("squash", source, *KEEP_2, "-o", f"read-{number}.tar", env=env)
        assert result.code == 0, result.err
    assert os.listdir(person.folder / "cache") == []
    counts.add("runs as another user", 2)


def test_what_a_user_may_not_read_is_told(person: Person, counts: Counts) -> None:
    """A file, a folder on the way, a blob, an index: one line that names it, exit code 5."""
    closed = person.folder / "closed"
    closed.mkdir()
    docker_archive_25(closed / "app.tar", [APP])
    oci_layout(closed / "layout", [APP])
    secret = person.folder / "secret.tar"
    shutil.copy(person.folder / "app.tar", secret)
    secret.chmod(0o600)
    for how in ("blob", "index"):
        folder = person.folder / f"layout-{how}"
        oci_layout(folder, [APP])
        index = json.loads((folder / "index.json").read_bytes())
        manifest: dict[str, Any] = json.loads(
            (folder / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes()
        )
        blob = folder / "blobs/sha256" / manifest["layers"][0]["digest"][7:]
        (blob if how == "blob" else folder / "index.json").chmod(0o600)
    closed.chmod(0o700)
    images = [
        secret, f"docker-archive:{secret}", closed / "app.tar", f"oci:{closed}/layout",
        f"oci:{person.folder}/layout-blob", f"oci:{person.folder}/layout-index",
    ]  # fmt: skip
    for image in images:
        for words in (
            ("squash", image, *KEEP_2, "-o", "none.tar"),
            ("verify", image),
            ("diff", image, image),
        ):
            result = person.run(*words)
            assert_one_line(result, 5)
            counts.add("runs as another user")
    assert not (person.own / "none.tar").exists()


def test_what_a_user_may_not_write_is_told(person: Person, counts: Counts) -> None:
    """A folder, an old archive in it, a layout, a temporary folder, a report: one line, nothing changed."""
    closed = person.folder / "not-his"
    closed.mkdir()
    shutil.copy(person.folder / "app.tar", closed / "old.tar")
    oci_layout(closed / "layout", [APP])
    hidden = person.folder / "hidden"
    hidden.mkdir(mode=0o700)
    before = {path: path.stat().st_mtime_ns for path in closed.rglob("*")}
    source = person.folder / "app.tar"
    outputs: list[tuple[Arg, ...]] = [
        ("-o", closed / "new.tar"), ("-o", closed / "old.tar", "--force"), ("-o", f"oci:{closed}/new"),
        ("-o", f"oci:{closed}/layout"), ("-o", hidden / "new.tar"), ("-o", f"oci:{hidden}/new"),
    ]  # fmt: skip
    for words in outputs:
        result = person.run("squash", source, *KEEP_2, *words)
        assert result.code in (1, 5)
        assert_one_line(result, result.code)
        counts.add("runs as another user")
    assert {path: path.stat().st_mtime_ns for path in closed.rglob("*")} == before
    mine = person.own / "root-s.tar"
    shutil.copy(source, mine)
    mine.chmod(0o600)
    result = person.run("squash", source, *KEEP_2, "-o", mine, "--force")
    assert result.code == 0, result.err  # the folder is his: what lies in it he may replace
    assert mine.stat().st_uid == NOBODY
    counts.add("runs as another user")
