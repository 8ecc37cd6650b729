"""Where a loader looks for libraries: ld.so(8) of glibc, and musl's dynlink.c."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from squashkit.layers.entry import REGULAR
from squashkit.layers.lookup import resolve
from squashkit.layers.rootfs import Directory, Inode, Rootfs
from squashkit.plan.extract.contents import Contents
from squashkit.plan.extract.elf import Elf
from squashkit.values import frozen

_SYSTEM_FOLDERS = re.compile(rb"(?:(?:/[\w.+-]+)+/\0){2,}")
"""How glibc's loader has the folders in itself that it was built with (elf/dl-load.c, system_dirs)."""
_MAX_LOADER, _MAX_CONF = 16 << 20, 1 << 20
_RESERVED = (b"c.", b"pthread.", b"rt.", b"m.", b"dl.", b"util.", b"xnet.")
"""What follows `lib` in the names of libraries that musl's loader is itself (load_library)."""
_TOKEN = re.compile(rb"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")
_PLATFORMS = {"EM_X86_64": b"x86_64", "EM_AARCH64": b"aarch64", "EM_386": b"i686"}
CACHE, CONF, PRELOAD = b"etc/ld.so.cache", b"etc/ld.so.conf", b"etc/ld.so.preload"


@frozen
class Loaded:
    """A program or a library that is loaded, and by what."""

    path: bytes
    """By which it was found, without a slash at the start."""
    elf: Elf
    by: Loaded | None = None
    real: bytes = b""
    """The path that this one leads to, where that is another."""

    def upwards(self) -> Iterator[Loaded]:
        """It, what loads it, and so on up to the program."""
        at: Loaded | None = self
        while at is not None:
            yield at
            at = at.by


@frozen
class FoundLibrary:
    path: bytes
    by_cache: bool = False
    """Whether the loader finds it by ld.so.cache alone."""


@dataclass(slots=True)
class Libraries:
    """The libraries of one tree, as the loaders find them."""

    rootfs: Rootfs
    contents: Contents
    environment: Mapping[str, str]
    _system: dict[bytes, Sequence[bytes]] = field(default_factory=dict)
    _conf: list[bytes] | None = None

    def find(self, name: bytes, asking: Loaded, loader: bytes) -> FoundLibrary | None:
        """A library that something loaded needs; `loader` is the path of the program's. None where it is
        not found."""
        if b"/" in name:
            path = self._expand(name, asking, loader).lstrip(b"/")
            return FoundLibrary(path) if self._fits(path, asking.elf) else None
        if is_musl(loader):
            return self._by_musl(name, asking, loader)
        for folder in filter(None, self._asked_for(asking, loader)):
            if path := self._in(folder, name, asking.elf):
                return FoundLibrary(path)
        if asking.elf.no_defaults:
            return None
        system = self.system_folders(loader, asking.elf)
        for folder in self.conf_folders():
            if path := self._in(folder, name, asking.elf):
                return FoundLibrary(path, by_cache=folder not in system)
        for folder in system:
            if path := self._in(folder, name, asking.elf):
                return FoundLibrary(path)
        return None

    def variants(self, path: bytes) -> Iterator[bytes]:
        """The same library made for newer processors, which the loader prefers where it can (hwcaps)."""
        folder, _, name = path.rpartition(b"/")
        top = resolve(self.rootfs, folder + b"/glibc-hwcaps", follow=True)
        if isinstance(top, Directory):
            for level, node in sorted(top.children.items()):
                if isinstance(node, Directory) and name in node.children:
                    yield folder + b"/glibc-hwcaps/" + level + b"/" + name

    def _asked_for(self, asking: Loaded, loader: bytes) -> Iterator[bytes]:
        """The folders that headers and the environment name: RPATH of what asks and of what loaded it,
        unless there is a RUNPATH; LD_LIBRARY_PATH; RUNPATH."""
        if not asking.elf.has_runpath:
            for one in asking.upwards():
                if not one.elf.has_runpath:
                    yield from (self._expand(folder, one, loader) for folder in one.elf.rpath)
        yield from self._library_path()
        yield from (self._expand(folder, asking, loader) for folder in asking.elf.runpath)

    def _library_path(self) -> list[bytes]:
        value = self.environment.get("LD_LIBRARY_PATH", "")
        return [part.encode("utf-8", "surrogateescape") for part in re.split("[:;]", value) if part]

    def _by_musl(self, name: bytes, asking: Loaded, loader: bytes) -> FoundLibrary | None:
        if name.startswith(b"lib") and name[3:].startswith(_RESERVED):
            return FoundLibrary(loader)
        folders = self._library_path()
        for one in asking.upwards():
            folders += [self._expand(folder, one, loader) for folder in (*one.elf.runpath, *one.elf.rpath)]
        for folder in (*folders, *self._musl_folders(loader)):
            if path := self._in(folder, name, asking.elf):
                return FoundLibrary(path)
        return None

    def _musl_folders(self, loader: bytes) -> list[bytes]:
        text = self._text(musl_path_file(loader))
        if text is None:
            return [b"/lib", b"/usr/local/lib", b"/usr/lib"]
        return [part for part in re.split(rb"[:\n]", text) if part]

    def system_folders(self, loader: bytes, elf: Elf) -> Sequence[bytes]:
        """The folders that a loader was built with."""
        if loader not in self._system:
            node = resolve(self.rootfs, loader, follow=True)
            data = self.contents.head(node, _MAX_LOADER) if isinstance(node, Inode) else b""
            runs = [found[0] for found in _SYSTEM_FOLDERS.finditer(data) if b"lib" in found[0]]
            folders = [part.rstrip(b"/") for run in runs for part in run.split(b"\0") if part]
            wide = b"64" if elf.machine[1] == 64 else b"32"
            known = [b"/lib" + wide, b"/usr/lib" + wide, b"/lib", b"/usr/lib"]
            self._system[loader] = folders or known
        return self._system[loader]

    def conf_folders(self) -> list[bytes]:
        """The folders of ld.so.conf, which the loader knows by ld.so.cache alone: none where that is not
        there."""
        if self._conf is None:
            self._conf = []
            if isinstance(resolve(self.rootfs, CACHE, follow=True), Inode):
                self._conf = list(dict.fromkeys(self._read_conf(CONF, set())))
        return self._conf

    def _read_conf(self, path: bytes, seen: set[bytes]) -> Iterator[bytes]:
        text = self._text(path) if path not in seen else None
        seen.add(path)
        for line in (text or b"").splitlines():
            words = line.split(b"#", 1)[0].split()
            if words[:1] == [b"include"]:
                for glob in words[1:]:
                    for one in self._glob(glob if glob.startswith(b"/") else b"/etc/" + glob):
                        yield from self._read_conf(one, seen)
            elif words and words[0] != b"hwcap":
                yield from (part.split(b"=", 1)[0] for word in words for part in word.split(b",") if part)

    def _glob(self, path: bytes) -> list[bytes]:
        """Files whose last name fits."""
        folder, _, glob = path.lstrip(b"/").rpartition(b"/")
        top = resolve(self.rootfs, folder, follow=True)
        if not isinstance(top, Directory):
            return []
        return [folder + b"/" + name for name in sorted(top.children) if fnmatchcase(name, glob)]

    def _text(self, path: bytes) -> bytes | None:
        node = resolve(self.rootfs, path, follow=True)
        return self.contents.head(node, _MAX_CONF) if isinstance(node, Inode) else None

    def _in(self, folder: bytes, name: bytes, elf: Elf) -> bytes:
        """The path of a library in a folder; empty where it is not there."""
        path = folder.strip(b"/") + b"/" + name
        return path.lstrip(b"/") if self._fits(path, elf) else b""

    def _fits(self, path: bytes, asking: Elf) -> bool:
        node = resolve(self.rootfs, path, follow=True)
        if not isinstance(node, Inode) or node.entry.typeflag != REGULAR:
            return False
        elf = self.contents.elf(node)
        return elf is not None and elf.machine == asking.machine

    def _expand(self, text: bytes, of: Loaded, loader: bytes) -> bytes:
        """With what `$ORIGIN`, `$LIB` and `$PLATFORM` stand for."""
        if b"$" not in text:
            return text
        values = {
            b"ORIGIN": b"/" + of.path.rpartition(b"/")[0],
            b"LIB": self.system_folders(loader, of.elf)[0].strip(b"/").removeprefix(b"usr/"),
            b"PLATFORM": _PLATFORMS.get(of.elf.machine[0], b""),
        }
        return _TOKEN.sub(lambda found: values[found[1] or found[2]], text)


def is_musl(loader: bytes) -> bool:
    return loader.rpartition(b"/")[2].startswith(b"ld-musl-")


def musl_path_file(loader: bytes) -> bytes:
    """The file that names musl's folders."""
    return b"etc/" + loader.rpartition(b"/")[2].partition(b".so")[0] + b".path"
