"""Runs a command line in a folder of its own, and keeps what it did in a form that is easily compared."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import chdir
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import squashkit
from tests.golden.images import write_images
from tests.golden.runs import CALLS, RUNS, libraries_of
from tests.support.runner import Result, run, run_process, unpack

Record = dict[str, Any]
GOLDEN = Path(__file__).with_name("golden.json")
SHOWN = 16
"""Hex digits of a digest that are recorded."""


def record(name: str, root: Path) -> Record:
    """What the run of this name (see `runs`) does, as JSON can hold it.

    `root` is a folder for all runs of a process. Paths in it, and the version, are masked.
    """
    folder = _prepare(name, root)
    steps: list[Record] = []
    with (
        patch.dict(os.environ, _environment(root), clear=True),
        patch.object(sys.modules["__main__"], "__package__", None),  # usage names the program by it
        chdir(folder),
    ):
        if name in CALLS:
            steps.append(_called(CALLS[name], root))
        else:
            steps += [_step(line.strip(), folder, root) for line in name.split("&&")]
    found: Record = {"steps": steps}
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}
    if files:
        found["files"] = {
            path: _file(data) if "/" in path else _stream(data, root) for path, data in files.items()
        }
        found["contents"] = sorted({digest for data in _blobs(files) for digest in _content(data)})
    return found


def record_all(root: Path) -> Record:
    """Every run's record by its name, and the versions of the libraries that show in some of them."""
    return {"libraries": libraries(), "runs": {name: record(name, root) for name in names()}}


def names() -> list[str]:
    """All runs: command lines, and calls from Python."""
    return [*RUNS, *CALLS]


def libraries() -> dict[str, str]:
    """The versions of what writes parts of the output: compressed bytes, usage and help."""
    from zlib_ng import zlib_ng

    zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    return {
        "click": version("click"),
        "gzip": str(zlib_ng.ZLIBNG_VERSION),
        "zstd": str(zstd.zstd_version),
    }


def comparable(name: str, found: Record, recorded_with: dict[str, str]) -> Record:
    """What of a record can be compared with one that was made with these versions of the libraries.

    All of it, unless the run shows what one of them writes and its version is another: then the exit codes,
    and what the blobs hold when nothing compresses them.
    """
    now = libraries()
    if all(now[library] == recorded_with[library] for library in libraries_of(name)):
        return found
    return {"codes": [step["code"] for step in found["steps"]], "contents": found.get("contents")}


def show(found: Record) -> list[str]:
    """A record as lines, for a diff."""
    return json.dumps(found, indent=1, ensure_ascii=False).splitlines()


def load() -> Record:
    """golden.json as it stands."""
    value = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


# --- running ---------------------------------------------------------------------------------


def _prepare(name: str, root: Path) -> Path:
    """An empty folder in which `in` is the folder of images; caches and catalogue are empty, too."""
    if not (root / "in").exists():
        write_images(root / "in")
    for part in ("run", "home"):
        shutil.rmtree(root / part, ignore_errors=True)
        (root / part).mkdir()
    (root / "home/config.json").write_text("{}")
    (root / "run/in").symlink_to(root / "in")
    return root / "run"


def _environment(root: Path) -> dict[str, str]:
    """Nothing of the machine's own but the way to its programs and modules."""
    home = root / "home"
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "PYTHONHASHSEED") if name in os.environ
    }
    return {
        **kept,
        "COLUMNS": "80",
        "DOCKER_CONFIG": str(home),
        "DOCKER_HOST": f"unix://{home}/nobody.sock",
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
    }


def _step(line: str, folder: Path, root: Path) -> Record:
    """One command line: `VAR=value command ... < FILE > FILE`, or `FILE | command ...` for a true pipe."""
    piped, bar, rest = line.partition(" | ")
    words = shlex.split(rest if bar else line)
    env = {}
    while "=" in words[0]:
        key, _, value = words.pop(0).partition("=")
        env[key] = value
    files = {}
    for sign in "<>":
        if sign in words:
            at = words.index(sign)
            files[sign] = folder / words[at + 1]
            del words[at : at + 2]
    if bar:
        result = run_process(*words, stdin=(folder / piped).read_bytes(), env=env)
    else:
        stdin = files["<"].read_bytes() if "<" in files else b""
        result = run(*words, stdin=stdin, env=env)
    if ">" in files:
        files[">"].write_bytes(result.out)
        result = Result(result.code, b"", result.err)
    return {
        "code": result.code,
        "out": _stream(result.out, root),
        "err": _masked(result.err, root).splitlines(),
    }


def _called(call: Callable[[], Any], root: Path) -> Record:
    """What a call from Python returned, or raised."""
    try:
        value = call()
    except squashkit.SquashkitError as error:
        return {"code": error.exit_code, "raised": type(error).__name__, "err": _masked(str(error), root)}
    return {"code": 0, "returned": _json(value, root)}


# --- what is kept ----------------------------------------------------------------------------


_PASSING = (
    (r'("(free|needed)": ?)\d+', r'\1"BYTES"'),
    (r"(?m)^Needs .* are free\.\n", ""),
    (r'(seen |"seen": ?")\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?', r"\1NOW"),
    (r"(?m)\d{4}-\d\d-\d\d \d\d:\d\d(?=$|  base add$|  use$)", "NOW"),
)
"""What may differ between two runs: free bytes of the disk, bytes that are needed (kept layers that have
been written by then are not counted), and when a base was added to the catalogue."""


def _masked(text: str, root: Path) -> str:
    text = text.replace(str(root), "ROOT").replace(squashkit.__version__, "VERSION")
    for pattern, word in _PASSING:
        text = re.sub(pattern, word, text)
    return text


def _json(value: Any, root: Path) -> Any:
    return json.loads(_masked(json.dumps(value), root))


def _stream(data: bytes, root: Path) -> Any:
    """What a command printed or reported: JSON with the digest of its text, text as lines, other bytes as
    their digest."""
    try:
        text = _masked(data.decode(), root)
    except UnicodeDecodeError:
        return _file(data)
    if "\0" in text:
        return _file(data)
    if text.startswith(("{", "[")):
        return {"sha256": _sha256(text.encode()), "json": json.loads(text)}
    return text.splitlines()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:SHOWN]


def _file(data: bytes) -> Any:
    """Bytes as their digest and size; of a tar the names in it as well, in order."""
    told = f"{_sha256(data)} {len(data)}"
    members = [name for name, _ in _members(data)]
    return {"sha256": told, "members": members} if members else told


def _members(data: bytes) -> list[tuple[str, bytes]]:
    if data[257:262] != b"ustar":
        return []
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape") as archive:
        found = []
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            name = member.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            found.append((name, content.read() if content else b""))
        return found


def _files(folder: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(folder):  # symlinks are not followed
        folders.sort()
        yield from (Path(base, name) for name in sorted(files))


def _blobs(files: dict[str, bytes]) -> Iterator[bytes]:
    """The blobs of layouts and archives among these files."""
    for path, data in files.items():
        if "blobs/" in path:
            yield data
        yield from (content for name, content in _members(data) if name.startswith("blobs/"))


def _content(blob: bytes) -> list[str]:
    """The digest of what a blob holds uncompressed; nothing for documents that state digests of blobs."""
    states_digests = b'"layers":' in blob or b'"manifests":' in blob
    if blob.startswith(b"{") and states_digests and b'"rootfs"' not in blob:
        return []
    return [_sha256(unpack(blob))]
