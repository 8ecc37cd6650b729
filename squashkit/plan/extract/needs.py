"""What paths need to work: where symlinks lead, loaders and libraries, interpreters of scripts. Nothing is
run; each thing is followed to what its file says.
"""

from __future__ import annotations

import re
import shlex
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from squashkit.errors import show_path
from squashkit.layers.compare import iter_nodes
from squashkit.layers.entry import REGULAR, SYMLINK
from squashkit.layers.lookup import Way, node_at, resolve, way_from
from squashkit.layers.rootfs import Directory, Inode, Node, Rootfs
from squashkit.plan.extract.contents import Contents
from squashkit.plan.extract.elf import Elf
from squashkit.plan.extract.libraries import CACHE, PRELOAD, Libraries, Loaded, is_musl, musl_path_file
from squashkit.values import frozen

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What container engines set where an image says no PATH."""
_HEAD = 4096
_MAX_SCRIPT = 1 << 20
_SHELLS = frozenset({"sh", "ash", "bash", "dash", "ksh", "zsh"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=")
_BUILTIN = frozenset(
    {
        "!", ".", ":", "[", "[[", "alias", "bg", "bind", "break", "builtin", "case", "cd", "command",
        "continue", "declare", "dirs", "do", "done", "echo", "elif", "else", "enable", "esac", "eval",
        "exec", "exit", "export", "false", "fc", "fg", "fi", "for", "function", "getopts", "hash", "if",
        "in", "jobs", "kill", "let", "local", "printf", "pwd", "read", "readonly", "return", "select",
        "set", "shift", "shopt", "source", "suspend", "test", "then", "time", "times", "trap", "true",
        "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait", "while", "{", "}",
    }
)  # fmt: skip
_LEADING = frozenset(
    {"exec", "command", "time", "then", "do", "else", "if", "elif", "while", "until", "!", "{"}
)
"""Words behind which a command follows."""
WITH = {
    "ca-certificates": (
        *("etc/ssl/certs", "etc/ssl/cert.pem", "etc/pki/tls/certs", "etc/pki/tls/cert.pem"),
        *("usr/lib/ssl/certs", "usr/lib/ssl/cert.pem"),  # where OpenSSL looks that was made for Debian
        *("etc/pki/ca-trust/extracted", "etc/ca-certificates/extracted"),
    ),
    "tzdata": ("usr/share/zoneinfo", "etc/localtime", "etc/timezone"),
    "passwd": ("etc/passwd", "etc/group"),
    "nsswitch": ("etc/nsswitch.conf",),
    "locale": ("usr/lib/locale", "etc/locale.conf", "etc/default/locale", "usr/share/i18n/locales/musl"),
}
"""What can be asked for by a word: of these paths those that there are, and one must be there."""


@frozen
class Missing:
    """What something needs and is not in the image."""

    what: str
    by: str
    """The path of what needs it; empty of what somebody named."""

    def __str__(self) -> str:
        return f"{self.what}, which {self.by} needs" if self.by else self.what


@dataclass(slots=True)
class Needs:
    """A growing set of paths, each with the reason why it is in it."""

    rootfs: Rootfs
    contents: Contents
    environment: Mapping[str, str]
    may_lack: Callable[[str], bool] = lambda name: False
    """Says of a path or a library whether it may be missing: it comes from the host."""
    why: dict[bytes, str] = field(default_factory=dict)
    """The chosen paths, with what needs them: a path, `named`, or a word."""
    missing: list[Missing] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    through: set[tuple[bytes, bytes]] = field(default_factory=set)
    """Symlinks of the root, each with a path that is looked for by way of it and nowhere else."""
    lacking: list[str] = field(default_factory=list)
    """What is missing and may be."""
    _libraries: Libraries = field(init=False)
    _todo: deque[tuple[bytes, Inode, bool]] = field(default_factory=deque)
    """Files to be looked into, those that are needed first."""
    _folders: deque[tuple[Directory, str]] = field(default_factory=deque)
    """Folders whose contents are still to be taken, and what needs them."""
    _seen: set[Inode] = field(default_factory=set)
    _scripts: list[bytes] = field(default_factory=list)
    """Shell scripts among what is wanted itself."""
    _asking: dict[str, set[str]] = field(default_factory=dict)
    """What calls functions that load what no header names."""

    def __post_init__(self) -> None:
        self._libraries = Libraries(self.rootfs, self.contents, self.environment)

    # What is wanted

    def name(self, path: bytes) -> None:
        """A path that somebody named, with all that lies below it."""
        if self._add(path, "named") is None:
            self._miss(show(path.lstrip(b"/")), "", is_needed=True)

    def word(self, word: str) -> None:
        """One of WITH."""
        paths = [path.encode() for path in WITH[word]]
        there = [path for path in paths if resolve(self.rootfs, path, follow=True) is not None]
        if not there:
            listed = ", ".join(f"/{path}" for path in WITH[word])
            self._miss(f"nothing of {word} ({listed})", "", is_needed=True)
        for path in there:
            self._add(path, word, is_needed=False)
        if word == "nsswitch":
            self._add_modules()

    def entrypoint(self, entrypoint: Sequence[str], command: Sequence[str], folder: str) -> None:
        """What an image starts: the program; of its arguments what are files, in the folder that it starts
        in too, and a command to be started by it; of a shell's command the programs in it. What a script
        calls is only told."""
        words = [*entrypoint, *command]
        if not words:
            self._miss("the image has no entrypoint and no command", "", is_needed=True)
            return
        by = "the entrypoint"
        self._command(words[0], by, is_needed=True)
        is_shell = words[0].rpartition("/")[2] in _SHELLS
        if is_shell and len(words) > 2 and words[1].startswith("-") and "c" in words[1]:
            for found in commands_in(words[2]):
                self._command(found, by, is_needed=True)
        first = len(entrypoint) or len(words)
        for place, word in enumerate(words[1:], 1):
            path = _encode(word if word.startswith("/") else f"{folder}/{word}")
            if not word.startswith("-") and path and isinstance(self._at(path), Inode):
                self._add(path, by, is_needed=False)
            elif (place == first or words[place - 1] == "--") and self._find_command(word) is not None:
                self._command(word, by, is_needed=True)

    def tell_start(self, word: str) -> None:
        """Warn where what the image starts is not in the result."""
        found = self._find_command(word)
        if found is None or not self._is_chosen(found):
            self.warnings.append(f"the image starts {word}, which is not in the result")

    def finish(self) -> None:
        """Follow all that is wanted to what it needs. What is missing, and what cannot be told from files,
        stands in `missing`, `lacking` and `warnings` then."""
        libraries: list[tuple[bytes, Inode, bool]] = []
        while self._todo or self._folders or libraries:
            if self._folders:
                self._take_below(*self._folders.popleft())
                continue
            # What no program loads stands alone: that is known once the programs were gone through.
            alone = not self._todo
            path, inode, is_needed = libraries.pop(0) if alone else self._todo.popleft()
            if inode in self._seen:
                continue
            head = self.contents.head(inode, _HEAD)
            if head.startswith(b"\x7fELF"):
                elf = self.contents.elf(inode)
                if elf is not None and not elf.interpreter and not alone:
                    libraries.append((path, inode, is_needed))
                    continue
                self._program(path, elf, is_needed=is_needed)
            elif head.startswith(b"#!"):
                self._script(path, head, is_needed=is_needed)
            self._seen.add(inode)
        self._tell_asking()

    # Paths

    def _at(self, path: bytes) -> Node | None:
        return resolve(self.rootfs, path, follow=True)

    def _follow(self, path: bytes) -> Way:
        return way_from(self.rootfs, self.rootfs.root, path)

    def _add(self, path: bytes, by: str, *, is_needed: bool = True, only_there: bool = True) -> Way | None:
        """Take a path, the symlinks on the way, and what it leads to. None where it leads nowhere. What is
        not looked for `only_there` may as well lie in another of the loader's folders."""
        way = self._follow(path)
        if way.node is None:
            return None
        for directory, name in way.links:
            link = directory.child_path(name)
            self.why.setdefault(link, by)
            if only_there and b"/" not in link:
                self.through.add((link, way.path))
        if isinstance(way.node, Inode):
            self._take(way.path, way.node, by, is_needed=is_needed)
        elif way.path not in self.why:
            self.why[way.path] = by
            self._folders.append((way.node, by))
        return way

    def _take_below(self, directory: Directory, by: str) -> None:
        """All that a folder holds, and what its symlinks lead to."""
        for path, node in iter_nodes(directory):
            if isinstance(node, Directory):
                self.why.setdefault(path, by)
            elif node.entry.typeflag == SYMLINK:
                if path not in self.why:
                    self.why[path] = by
                    self._add(path, show(path), is_needed=False)
            else:
                self._take(path, node, by, is_needed=False)

    def _take(self, path: bytes, inode: Inode, by: str, *, is_needed: bool) -> None:
        self.why.setdefault(path, by)
        if inode.entry.typeflag == REGULAR and inode not in self._seen:
            add = self._todo.appendleft if is_needed else self._todo.append
            add((path, inode, is_needed))

    def _miss(self, what: str, by: str, *, is_needed: bool) -> None:
        name = what.rpartition("/")[2]
        if self.may_lack(what) or self.may_lack(name):
            self.lacking.append(what)
        elif is_needed:
            self.missing.append(Missing(what, by))
        else:
            self.warnings.append(f"{Missing(what, by)}, is not in the image")

    # Commands and scripts

    def _search_path(self) -> list[bytes]:
        return [_encode(part) for part in self.environment.get("PATH", DEFAULT_PATH).split(":") if part]

    def _command(self, word: str, by: str, *, is_needed: bool) -> None:
        """A program, as a shell finds it."""
        path = self._find_command(word)
        if path is None:
            self._miss(word, by, is_needed=is_needed)
        else:
            self._add(path, by, is_needed=is_needed)

    def _find_command(self, word: str) -> bytes | None:
        if "/" in word:
            return _encode(word) if isinstance(self._at(_encode(word)), Inode) else None
        paths = (folder + b"/" + _encode(word) for folder in self._search_path())
        return next((path for path in paths if isinstance(self._at(path), Inode)), None)

    def _script(self, path: bytes, head: bytes, *, is_needed: bool) -> None:
        """A script's interpreter, and behind `env` the program that it is."""
        # The kernel parts words at blanks and tabs alone: a carriage return is a part of the name.
        words = [word for word in re.split(rb"[ \t]+", head[2:].split(b"\n", 1)[0]) if word]
        if not words:
            return
        interpreter = words[0]
        if not isinstance(self._at(interpreter), Inode):
            self._miss(show_path(interpreter), show(path), is_needed=is_needed)
            return
        self._add(interpreter, show(path), is_needed=is_needed)
        shell = interpreter.rpartition(b"/")[2].decode("utf-8", "replace")
        if shell == "env":
            rest = [word for word in words[1:] if not word.startswith(b"-") and b"=" not in word]
            if rest:
                self._command(_decode(rest[0]), show(path), is_needed=is_needed)
                shell = rest[0].decode("utf-8", "replace")
        if shell in _SHELLS and is_needed:
            self._scripts.append(path)

    def _tell_scripts(self) -> None:
        """Name the commands that scripts call and that are not here."""
        for path in self._scripts:
            node = node_at(self.rootfs, path)
            assert isinstance(node, Inode)
            text = self.contents.head(node, _MAX_SCRIPT).decode("utf-8", "replace")
            absent = [
                word
                for word in dict.fromkeys(commands_in(text))
                if (found := self._find_command(word)) is not None and not self._is_chosen(found)
            ]
            if absent:
                self.warnings.append(
                    f"{show(path)} calls programs that are not in the result: {', '.join(absent)}"
                )

    def _is_chosen(self, path: bytes) -> bool:
        way = self._follow(path)
        return way.node is not None and way.path in self.why

    # Programs

    def _program(self, path: bytes, elf: Elf | None, *, is_needed: bool) -> None:
        """A program's loader and libraries; of a library its own."""
        if elf is None:
            self.warnings.append(f"{show(path)} is a broken ELF file: what it needs is not known")
            return
        if not elf.is_dynamic:
            return
        loader = elf.interpreter.lstrip(b"/")
        if loader:
            if self._add(loader, show(path), is_needed=is_needed) is None:
                self._miss(f"/{show_path(loader)}", show(path), is_needed=is_needed)
                return
            self._loader_files(loader)
        else:
            loader = self._likely_loader(elf.needed)
        self._load(Loaded(path, elf), loader, is_needed=is_needed)

    def _likely_loader(self, needed: Sequence[bytes]) -> bytes:
        """The loader of a library that no program here needs: of musl where its C library is."""
        musl = any(name.startswith((b"libc.musl-", b"ld-musl-")) or name == b"libc.so" for name in needed)
        for folder in (b"lib64", b"lib", b"usr/lib64", b"usr/lib"):
            top = resolve(self.rootfs, folder, follow=True)
            for name in sorted(top.children) if isinstance(top, Directory) else ():
                if name.startswith(b"ld-musl-" if musl else b"ld-linux"):
                    return folder + b"/" + name
        return b"lib/ld-musl-" if musl else b"lib64/ld-linux"

    def _loader_files(self, loader: bytes) -> None:
        """What a loader reads before it loads anything."""
        if is_musl(loader):
            self._add(musl_path_file(loader), show(loader), is_needed=False)
            return
        node = self._at(PRELOAD)
        if isinstance(node, Inode):
            self._add(PRELOAD, show(loader))
            for name in re.split(rb"[\s:]+", re.sub(rb"#.*", b"", self.contents.head(node, _MAX_SCRIPT))):
                if name and self._add(name, show(PRELOAD)) is None:
                    self._miss(_decode(name), show(PRELOAD), is_needed=False)

    def _load(self, program: Loaded, loader: bytes, *, is_needed: bool) -> None:
        """All libraries of a program, as its loader goes through them: breadth first, each name once."""
        loaded = {program.path.rpartition(b"/")[2], program.elf.soname}
        todo = deque([program])
        while todo:
            asking = todo.popleft()
            self._note_asking(asking)
            for name in asking.elf.needed:
                if name in loaded:
                    continue
                loaded.add(name)
                found = self._libraries.find(name, asking, loader)
                if found is None:
                    self._miss(show_path(name), show(asking.path), is_needed=is_needed)
                    continue
                is_path = b"/" in name
                way = self._add(found.path, show(asking.path), is_needed=is_needed, only_there=is_path)
                if found.by_cache:
                    self._add(CACHE, show(loader))
                for variant in self._libraries.variants(found.path):
                    self._add(variant, show(asking.path), is_needed=False, only_there=False)
                if way is not None and isinstance(way.node, Inode):
                    self._seen.add(way.node)
                    elf = self.contents.elf(way.node)
                    if elf is not None:
                        loaded.add(elf.soname)
                        todo.append(Loaded(found.path, elf, asking, way.path))

    # What files do not tell

    def _note_asking(self, one: Loaded) -> None:
        """Remember what loads more than its header says; the C library itself only offers to."""
        name = one.path.rpartition(b"/")[2]
        if name.startswith((b"libc.so", b"libc-", b"libdl.so", b"ld-")):
            return
        shown = show((one.real or one.path).rpartition(b"/")[2])[1:]
        for function in one.elf.loads:
            self._asking.setdefault("gconv" if function == "iconv_open" else "plugins", set()).add(shown)
        if one.elf.looks_up and b"libc.so.6" in one.elf.needed:
            self._asking.setdefault("nss", set()).add(shown)

    def _tell_asking(self) -> None:
        self._tell_scripts()
        for kind, text in _ASKING_TOLD.items():
            if who := sorted(self._asking.get(kind, ())):
                more = f" and {len(who) - 3} more" if len(who) > 3 else ""
                self.warnings.append(f"{', '.join(who[:3])}{more} {text}")

    def _add_modules(self) -> None:
        """The modules that nsswitch.conf names."""
        node = self._at(b"etc/nsswitch.conf")
        text = self.contents.head(node, _MAX_SCRIPT) if isinstance(node, Inode) else b""
        services = {
            word for line in text.splitlines() for word in re.sub(rb"#.*|\[[^]]*\]", b"", line).split()[1:]
        }
        for path, found in list(iter_nodes(self.rootfs.root)):
            name = path.rpartition(b"/")[2]
            if not isinstance(found, Inode) or not name.startswith(b"libnss_") or b"lib" not in path[:8]:
                continue
            if name[len(b"libnss_") :].partition(b".so")[0] in services:
                self._add(path, "nsswitch", is_needed=False)


_ASKING_TOLD = {
    "plugins": "may load plugins (dlopen), which no header names: name those that are wanted",
    "nss": "may look up users or hosts by modules (nss): --with nsswitch brings those of nsswitch.conf",
    "gconv": "may convert character sets by modules (gconv): name the folder gconv where one is needed",
}


def commands_in(text: str) -> Iterator[str]:
    """The words of a shell text in the place of a command, as far as they stand there as they are."""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|()<>")
        lexer.commenters = "#"
        lexer.wordchars += "$@%+,:=[]^{}!*?~-./"
        expected = True
        try:
            for word in lexer:
                if set(word) <= set(";&|("):
                    expected = True
                elif expected and (_ASSIGNMENT.match(word) or word in _LEADING):
                    continue
                elif expected:
                    expected = False
                    if word not in _BUILTIN and re.fullmatch(r"[\w./+-]+", word) and not word.endswith(")"):
                        yield word
        except ValueError:  # quotes that go on in another line
            continue


def show(path: bytes) -> str:
    """A path in a message."""
    return f"/{show_path(path)}"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").lstrip(b"/")


def _decode(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
