"""Debian bases of two releases, and images on the older one: each is what a rebase may meet.

The bases come from mmdebstrap. The newer one has a package that upstream fixed, one of Debian's own that is
fixed here, and a service with a user of its own; a folder of the older one is gone from it. The packages
are built with dpkg-deb, their library and programs with gcc; the images by docker, without a network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.builders import Member, file, symlink
from tests.compat.images import cache_folder, cache_lock

if TYPE_CHECKING:
    from tests.compat.services import Docker

OLD, NEW = "debian:12.1", "debian:12.2"
PLAIN = "debian:plain"
"""The older release with /bin, /sbin and /lib as folders, as all were before Debian moved them to /usr."""
FOREIGN = "debian:foreign"
"""A base for machines of another kind."""

LIBRARY = "/usr/lib/libgreet.so.1.0"
UNPATCHED, PATCHED = "hello (unpatched)", "hello (patched)"
PLUGINS = "/usr/share/greet/plugins"
"""Where the older release's greet-plugins looks; the newer one's has them in /usr/lib/greet/plugins."""
SYSTEM_IDS = (100, 101)
"""The first numbers of a user and of its group that adduser gives for a system user."""
APP_ID = 5000
CHMODED = "/usr/bin/dmesg"
"""A program that both releases have in the same version."""

APP, CLEAN, COPIED, HIDDEN = "greeter:1", "clean:1", "copied:1", "hidden:1"
OWNED, WORKER, PLUGIN, PRUNED, TOOL = "owned:1", "worker:1", "plugin:1", "pruned:1", "tool:1"

FIRST_LINE = "FROM {base}\n"
DOCKERFILES: Mapping[str, tuple[str, str]] = {
    APP: (
        OLD,
        f"""\
ENV APP_HOME=/srv/app PATH=/opt/app/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LABEL app=greeter
COPY repo /tmp/repo
RUN echo 'deb [trusted=yes] file:/tmp/repo ./' > /etc/apt/sources.list.d/local.list \\
 && apt-get update -o Dir::Etc::sourcelist=sources.list.d/local.list -o Dir::Etc::sourceparts=- \\
 && apt-get install -y --no-install-recommends greet-app
RUN rm -rf /tmp/repo /etc/apt/sources.list.d/local.list /var/lib/apt/lists/*
COPY site-packages /usr/local/lib/python3.11/site-packages
COPY app /opt/app/bin/app
RUN useradd --uid {APP_ID} --create-home --home-dir /srv/app app
RUN chmod 700 {CHMODED}
COPY banner /etc/issue
USER app
WORKDIR /srv/app
CMD ["app"]
""",
    ),
    # What a build leaves that only adds: programs, data and folders of its own.
    CLEAN: (
        OLD,
        """\
COPY tool /opt/clean/tool
COPY banner /opt/clean/share/banner
RUN mkdir -m 1777 /opt/clean/spool && ln -s ../clean/tool /opt/clean/link && rm /opt/clean/share/banner
COPY site-packages /opt/clean/site-packages
CMD ["/opt/clean/tool"]
""",
    ),
    COPIED: (OLD, f'RUN chmod 755 {LIBRARY}\nCMD ["greet"]\n'),
    HIDDEN: (OLD, "COPY repo /opt/repo\nRUN dpkg -i /opt/repo/greet-app_*.deb\n"),
    OWNED: (OLD, f"COPY --chown={SYSTEM_IDS[0]}:{SYSTEM_IDS[1]} banner /srv/data/banner\n"),
    WORKER: (OLD, "RUN adduser --quiet --system --group --no-create-home worker\n"),
    PLUGIN: (OLD, f'COPY plugin {PLUGINS}/extra\nCMD ["greet-plugins"]\n'),
    PRUNED: (OLD, f'RUN rm {PLUGINS}/hello\nCMD ["greet-plugins"]\n'),
    TOOL: (PLAIN, 'COPY tool /bin/tool\nCMD ["/bin/tool"]\n'),
}
"""The images by name, each with its base and what its Dockerfile has after the first line."""

CONFIGS = {
    OLD: """\
ENV LANG=C RELEASE=12.1 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LABEL release=12.1 maintainer=debian
CMD ["bash"]
""",
    NEW: """\
ENV LANG=C.UTF-8 RELEASE=12.2
ENV PATH=/usr/local/greet/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LABEL release=12.2 maintainer=debian
COPY banner /etc/greet-release
CMD ["bash"]
""",
    PLAIN: 'CMD ["bash"]\n',
    FOREIGN: 'CMD ["sh"]\n',
}
"""The bases' own Dockerfiles: the newer one has a layer more."""


# --- packages --------------------------------------------------------------------------------

LIBRARY_C = 'const char *greeting(void) { return "%s"; }\n'
PROGRAM_C = """\
#include <stdio.h>
const char *greeting(void);
int main(void) { printf("%s%%s\\n", greeting()); }
"""
TOOL_C = '#include <stdio.h>\nint main(void) { puts("a tool"); }\n'

PLUGINS_SH = """\
#!/bin/sh
for plugin in {folder}/*; do if [ -e "$plugin" ]; then . "$plugin"; fi; done
"""
SERVICE_SH = """\
#!/bin/sh
set -e
adduser --quiet --system --group --no-create-home --home /var/lib/greetd _greet
install -d -o _greet -g _greet /var/lib/greetd
"""

FIX = """\
set -e
folder=$(mktemp -d)
cd "$folder"
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download -qq debianutils
dpkg-deb --raw-extract debianutils_*.deb tree
sed -i 's/^Version: .*/&+fix1/' tree/DEBIAN/control
echo '# fixed' >> tree/usr/bin/savelog
(cd tree && find usr -type f -exec md5sum {} + > DEBIAN/md5sums)
dpkg-deb --root-owner-group --build tree "$1/tmp/debianutils.deb" > /dev/null
rm -r "$folder"
"""
"""Builds a package of Debian's anew, with a script that differs and a version above its own."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package to build, with the files and symlinks that it installs."""

    name: str
    version: str
    files: Sequence[Member]
    depends: str = ""
    scripts: Mapping[str, str] = field(default_factory=dict)

    @property
    def control(self) -> str:
        lines = [f"Package: {self.name}", f"Version: {self.version}", f"Architecture: {architecture()}"]
        lines += ["Maintainer: Nobody <nobody@example.org>"]
        lines += [f"Depends: {self.depends}"] if self.depends else []
        return "\n".join([*lines, f"Description: {self.name}"]) + "\n"


@cache
def architecture() -> str:
    """What Debian calls this machine."""
    from tests.compat.services import run

    return run(["dpkg", "--print-architecture"]).strip()


def foreign_architecture() -> str:
    """Another one."""
    return "amd64" if architecture() == "arm64" else "arm64"


def build_package(package: Package, folder: Path) -> Path:
    """Build a package into a folder."""
    from tests.compat.services import run

    tree = folder / f"{package.name}_{package.version}"
    control = tree / "DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text(package.control)
    for name, text in package.scripts.items():
        (control / name).write_text(text)
        (control / name).chmod(0o644 if name == "triggers" else 0o755)
    for member in package.files:
        path = tree / os.fsdecode(member.name).lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if member.linkname:
            path.symlink_to(os.fsdecode(member.linkname))
        else:
            path.write_bytes(member.data)
            path.chmod(member.mode)
    deb = tree.with_name(f"{tree.name}_{architecture()}.deb")
    run(["dpkg-deb", "--root-owner-group", "--build", tree, deb])
    shutil.rmtree(tree)
    return deb


class _Compiler:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def _compile(self, name: str, source: str, *options: str | Path) -> bytes:
        from tests.compat.services import run

        path = self.folder / name
        path.with_suffix(".c").write_text(source)
        run(["gcc", "-O1", "-s", "-o", path, path.with_suffix(".c"), *options])
        return path.read_bytes()

    def library(self, text: str) -> bytes:
        options = ["-shared", "-fPIC", "-Wl,-soname,libgreet.so.1"]
        return self._compile("libgreet.so.1", LIBRARY_C % text, *options)

    def program(self, prefix: str) -> bytes:
        return self._compile("program", PROGRAM_C % prefix, self.folder / "libgreet.so.1")

    def tool(self) -> bytes:
        return self._compile("tool", TOOL_C)


def _packages(compiler: _Compiler) -> tuple[list[Package], list[Package], Package]:
    """Those of the older base and of the newer one, and the app's."""
    bases = []
    for version, text, plugins in (
        ("1.0-1", UNPATCHED, PLUGINS),
        ("1.0-2", PATCHED, PLUGINS.replace("share", "lib")),
    ):
        link = symlink("/usr/lib/libgreet.so.1", "libgreet.so.1.0")
        library = [file(LIBRARY, compiler.library(text)), link]
        script = PLUGINS_SH.format(folder=plugins).encode()
        files = [
            file("/usr/bin/greet", compiler.program(""), mode=0o755),
            file("/usr/bin/greet-plugins", script, mode=0o755),
            file(f"{plugins}/hello", b"echo hello\n"),
        ]
        triggers = {"triggers": "activate-noawait ldconfig\n"}
        bases.append(
            [
                Package("libgreet1", version, library, "libc6", triggers),
                Package("greet", version, files, "libgreet1"),
            ]
        )
    app = Package(
        "greet-app",
        "3-1",
        [file("/usr/bin/greet-app", compiler.program("app: "), mode=0o755)],
        "libgreet1 (>= 1.0)",
        {"triggers": "activate-noawait ldconfig\n"},
    )
    service = Package(
        "greetd",
        "1.0-2",
        [file("/usr/sbin/greetd", b"#!/bin/sh\nexec greet\n", mode=0o755)],
        "adduser, greet",
        {"postinst": SERVICE_SH},
    )
    return bases[0], [*bases[1], service], app


# --- bases -----------------------------------------------------------------------------------


def _bootstrap(output: Path, packages: Path, *options: str, suite: str = "bookworm") -> None:
    from tests.compat.services import run

    hooks = []
    if packages.is_dir():
        hooks = [
            f'--customize-hook=cp {packages}/*.deb "$1/tmp"',
            "--customize-hook=chroot \"$1\" sh -c 'dpkg -i /tmp/*.deb && rm /tmp/*.deb'",
        ]
    run(["mmdebstrap", "--quiet", "--format=tar", *options, *hooks, suite, output])


def _bootstrap_all(scratch: Path, old: Sequence[Package], new: Sequence[Package]) -> dict[str, Path]:
    """The root file systems of all bases."""
    roots = {name: scratch / f"root-{number}.tar" for number, name in enumerate(CONFIGS)}
    for name, packages in (("old", old), ("new", new)):
        (scratch / name).mkdir()
        for package in packages:
            build_package(package, scratch / name)
    (scratch / "fix").write_text(FIX)
    fix = f'--customize-hook=sh {scratch}/fix "$1"'
    _bootstrap(roots[OLD], scratch / "old", "--variant=minbase")
    _bootstrap(roots[NEW], scratch / "new", "--variant=minbase", fix)
    hooks = "--hook-dir=/usr/share/mmdebstrap/hooks/no-merged-usr"
    _bootstrap(roots[PLAIN], scratch / "none", "--variant=essential", hooks)
    foreign = ["--variant=extract", f"--architectures={foreign_architecture()}", "--include=busybox-static"]
    _bootstrap(roots[FOREIGN], scratch / "none", *foreign, '--customize-hook=ln -s busybox "$1/bin/sh"')
    return roots


# --- images ----------------------------------------------------------------------------------


def _context(folder: Path, compiler: _Compiler, app: Package) -> None:
    """What the images are built from: an installed Python package and a repository among it."""
    packages = folder / "site-packages"
    info = packages / "greeter-3.dist-info"
    for path, text in (
        (packages / "greeter" / "__init__.py", "VERSION = 3\n"),
        (packages / "greeter" / "main.py", "print('hello')\n"),
        (info / "METADATA", "Metadata-Version: 2.1\nName: greeter\nVersion: 3\n"),
        (info / "INSTALLER", "pip\n"),
        (info / "RECORD", "greeter/__init__.py,,\ngreeter/main.py,,\n"),
        (folder / "banner", "of the app\n"),
        (folder / "plugin", "echo extra\n"),
        (folder / "app", '#!/bin/sh\nid -un; pwd; greet-app; head -n 1 /etc/issue; echo "$LANG"\n'),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "app").chmod(0o755)
    (folder / "tool").write_bytes(compiler.tool())
    (folder / "tool").chmod(0o755)
    (folder / "repo").mkdir()
    deb = build_package(app, folder / "repo")
    data = deb.read_bytes()
    entry = f"Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    (folder / "repo" / "Packages").write_text(app.control + entry)


def _build(docker: Docker, name: str, base: str, text: str, context: Path, *options: str) -> None:
    dockerfile = context.with_name("Dockerfile")
    dockerfile.write_text(FIRST_LINE.format(base=base) + text)
    words = ["--quiet", "--network", "none", *options, "--file", dockerfile, "--tag", name]
    docker.run("build", *words, context)


def build_on(docker: Docker, name: str, base: str, scratch: Path, text: str) -> None:
    """Build an image that the recipes do not have, of small files alone."""
    context = scratch / "context"
    context.mkdir()
    for number in range(3):
        (context / f"file{number}").write_text(f"{number}\n" * 99)
    _build(docker, name, base, text, context)


def _make(docker: Docker, scratch: Path, output: Path) -> None:
    compiler = _Compiler(scratch / "compiled")
    old, new, app = _packages(compiler)
    roots = _bootstrap_all(scratch, old, new)
    context = scratch / "context"
    context.mkdir()
    _context(context, compiler, app)
    for name, root in roots.items():
        platform = f"linux/{foreign_architecture() if name == FOREIGN else architecture()}"
        docker.run("import", "--platform", platform, root, "root:1")
        _build(docker, name, "root:1", CONFIGS[name], context, "--platform", platform)
        root.unlink()
    for name, (base, text) in DOCKERFILES.items():
        _build(docker, name, base, text, context)
    docker.run("save", "--output", output, *CONFIGS, *DOCKERFILES)
    docker.run("rmi", "root:1")


def debian_archive(docker: Callable[[], Docker], scratch: Path) -> Path:
    """One archive of all bases and images; it is made once, and stays between test runs."""
    from tests.compat.services import CommandFailed, Unavailable

    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    path = cache_folder() / f"rebase-{key}.tar"
    with cache_lock():
        if not path.exists():
            partial = path.with_name(f".{path.name}.{os.getpid()}")
            try:
                _make(docker(), scratch, partial)
            except CommandFailed as error:
                # The packages come over the network, which a machine need not have.
                raise Unavailable(f"the Debian bases cannot be made: {error}") from error
            partial.replace(path)
    return path
