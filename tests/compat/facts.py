"""What can be asked of a Debian root file system: by the tools of one, and by what its files hold.

A fact is a table. Two images that are the same to whoever asks have equal tables.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.compat.rootfs import snapshot
from tests.compat.services import Docker, run

Fact = dict[str, object]

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

MAY_DIFFER = {
    r"var/log/.*": "logs tell when and how a build was made",
    r"var/cache/apt/(pkg|srcpkg)cache\.bin": "apt makes them anew",
    r"var/lib/apt/lists/.*": "the mirror's lists, as fetched",
    r"var/lib/dpkg/[a-z-]+-old|var/cache/debconf/.*-old|etc/(passwd|group|shadow|gshadow|subuid|subgid)-": (
        "what stood there before the last change, which nothing reads"
    ),
    r"var/cache/ldconfig/aux-cache": "ldconfig's own, with inodes and times",
    r"(.*/)?__pycache__/.*\.pyc": "Python writes the sources' times into them",
    r"etc/ca-certificates\.conf\.dpkg-old": "what an upgrade in the layers saved",
}
"""Paths that may differ, each with the reason."""


@contextmanager
def mounted(docker: Docker, image: str) -> Iterator[Path]:
    """An image of a daemon as a container sees it: what is written there is gone afterwards."""
    data = docker.inspect(image)["GraphDriver"]["Data"]
    layers = [data["UpperDir"], *filter(None, data.get("LowerDir", "").split(":"))]
    scratch = Path(tempfile.mkdtemp(dir=docker.folder))
    for name in ("upper", "work", "root"):
        (scratch / name).mkdir()
    options = f"lowerdir={':'.join(layers)},upperdir={scratch}/upper,workdir={scratch}/work"
    run(["mount", "-t", "overlay", "-o", options, "overlay", scratch / "root"])
    try:
        yield scratch / "root"
    finally:
        run(["umount", scratch / "root"])
        shutil.rmtree(scratch)


# --- by the tools ----------------------------------------------------------------------------


def said(root: Path, command: str) -> str:
    """What a command says in a root file system, errors too."""
    done = subprocess.run(
        ["chroot", root, "sh", "-c", command],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    return f"{done.stdout.decode('utf-8', 'replace')}exit {done.returncode}\n"


def _asks(command: str) -> Callable[[Path], Fact]:
    """A fact that has the lines that a command says."""
    return lambda root: dict.fromkeys(said(root, command).splitlines(), "said")


def owners(root: Path) -> Fact:
    """Which packages have which paths, of those where most are."""
    found: Fact = {}
    for line in said(root, "dpkg -S /etc/* /usr/bin/* /usr/sbin/* /bin/* /lib/*").splitlines():
        packages, _, path = line.rpartition(": ")
        if packages != "dpkg-query":  # which says that nobody owns it
            found[path] = sorted(packages.split(", "))
    return found


QUERY = """\
for name in $(update-alternatives --get-selections | cut -d' ' -f1); do
  update-alternatives --query $name
done
"""


def alternatives(root: Path) -> Fact:
    """Every group with its choices, what is chosen, and where its links lead."""
    groups = said(root, QUERY).split("\nName: ")
    found: Fact = {group.partition("\n")[0]: group for group in groups}
    for link in (root / "etc/alternatives").iterdir():
        found[f"etc/alternatives/{link.name}"] = os.readlink(link) if link.is_symlink() else "a file"
    return found


# --- by the files ----------------------------------------------------------------------------


def _text(root: Path, path: str) -> str:
    file = root / path
    return file.read_bytes().decode("utf-8", "surrogateescape") if file.exists() else ""


def _paragraphs(root: Path, path: str, key: str) -> Fact:
    found: Fact = {}
    for paragraph in filter(None, re.split(r"\n\n+", _text(root, path).strip("\n"))):
        fields = dict(re.findall(r"^([\w-]+): (.*)$", paragraph, re.MULTILINE))
        found[f"{fields[key]} {fields.get('Architecture', '')}".strip()] = paragraph
    return found


def stanzas(root: Path) -> Fact:
    """dpkg's packages."""
    return _paragraphs(root, "var/lib/dpkg/status", "Package")


def marks(root: Path) -> Fact:
    """What apt took for itself."""
    return _paragraphs(root, "var/lib/apt/extended_states", "Package")


def debconf(root: Path) -> Fact:
    """Questions, answers and templates."""
    return {
        f"{name} {question}": text
        for name in ("config", "templates", "passwords")
        for question, text in _paragraphs(root, f"var/cache/debconf/{name}.dat", "Name").items()
    }


def info(root: Path) -> Fact:
    """Lists and scripts of the packages, and who is triggered by what."""
    found: Fact = {}
    for folder in ("info", "triggers"):
        for path in (root / "var/lib/dpkg" / folder).iterdir():
            found[f"{folder}/{path.name}"] = (oct(path.stat().st_mode), path.read_bytes())
    return found


ACCOUNTS = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")


def accounts(root: Path) -> Fact:
    """Users and groups, in their order. On which day a password was set is that of the build."""
    found: Fact = {}
    for name in ACCOUNTS:
        lines = _text(root, f"etc/{name}").splitlines()
        if name == "shadow":
            lines = [re.sub(r"^(([^:]*:){2})\d*", r"\1day", line) for line in lines]
        found |= {f"{name} {line.partition(':')[0]}": line for line in lines}
        found[name] = [line.partition(":")[0] for line in lines]
    return found


def diversions(root: Path) -> Fact:
    """What is diverted where, and by whom: in any order, as dpkg writes its hash table."""
    lines = _text(root, "var/lib/dpkg/diversions").splitlines()
    assert len(lines) % 3 == 0
    return {lines[at]: lines[at + 1 : at + 3] for at in range(0, len(lines), 3)}


def certificates(root: Path) -> Fact:
    """The links and the bundle of /etc/ssl/certs, and which certificates are wanted."""
    found: Fact = dict.fromkeys(_text(root, "etc/ca-certificates.conf").splitlines(), "wanted")
    folder = root / "etc/ssl/certs"
    if folder.is_dir():
        for path in folder.iterdir():
            found[path.name] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


def shells(root: Path) -> Fact:
    """Login shells, in their order."""
    return {"/etc/shells": _text(root, "etc/shells")}


def loader(root: Path) -> Fact:
    """The bytes of the loader's cache."""
    path = root / "etc/ld.so.cache"
    return {path.name: path.read_bytes() if path.exists() else b""}


ANY_ORDER = ("var/lib/dpkg/diversions", "var/lib/dpkg/statoverride", "etc/shadow")
"""Files that have facts of their own, which say more than their bytes."""


def tree(root: Path) -> Fact:
    """Every path with type, mode, owner, content and target. No times."""
    ignored = re.compile("|".join(MAY_DIFFER))
    found: Fact = {}
    for path, node in snapshot(root).items():
        name = os.fsdecode(path)
        if name in ANY_ORDER:
            node = replace(node, size=0, sha256="")
        if not ignored.fullmatch(name):
            found[name] = replace(node, mtime_ns=0)
    return found


FACTS: dict[str, Callable[[Path], Fact]] = {
    "tree": tree,
    "stanzas": stanzas,
    "info": info,
    "dpkg -l": _asks("COLUMNS=200 dpkg -l"),
    "dpkg --verify": _asks("dpkg --verify"),
    "dpkg --audit": _asks("dpkg --audit"),
    "apt-get check": _asks("apt-get check"),
    "apt-get autoremove": _asks("apt-get --simulate autoremove"),
    "apt-mark": _asks("for what in auto manual hold; do echo $what; apt-mark show$what; done"),
    "marks": marks,
    "owners": owners,
    "accounts": accounts,
    "ldconfig -p": _asks("ldconfig -p"),
    "ld.so.cache": loader,
    "diversions": diversions,
    "alternatives": alternatives,
    "certificates": certificates,
    "debconf": debconf,
    "dpkg-statoverride": _asks("dpkg-statoverride --list"),
    "shells": shells,
}
"""The tree comes first: what the others run writes into it."""


def facts(docker: Docker, image: str) -> dict[str, Fact]:
    """All facts of an image that a daemon has, by their names."""
    with mounted(docker, image) as root:
        return {name: ask(root) for name, ask in FACTS.items()}


def differences(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, str]:
    """By key, what differs between two tables."""
    return {
        key: f"{_shown(first.get(key))}\n  != {_shown(second.get(key))}"
        for key in sorted(first.keys() | second.keys())
        if first.get(key) != second.get(key)
    }


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) < 600 else f"{repr(value)[:600]}..."


def packages_of(report: bytes) -> set[tuple[str, str]]:
    """Names and versions of the packages that syft found."""
    return {(one["name"], one["version"]) for one in json.loads(report)["artifacts"]}
