"""Debian bases of two releases, and images on the older one: each is what a rebase may meet.

The bases come from mmdebstrap. The newer one has a library that was fixed, one of Debian's own packages
fixed too, a library more, and a service with users of its own; a folder and a user of the older one are
gone from it. The packages are built with dpkg-deb, their libraries and programs with gcc; the images by
docker, without a network.
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

from tests.compat.images import cache_folder, cache_lock
from tests.support.builders import ImageSpec, Member, docker_archive_25, file, symlink

if TYPE_CHECKING:
    from tests.compat.services import Docker

OLD, NEW = "debian:12.1", "debian:12.2"
SLIM = "debian:12.1-slim"
"""The older release without the library."""
PLAIN = "debian:plain"
"""Debian with /bin, /sbin and /lib as folders, as all had them before these moved to /usr."""
FOREIGN = "debian:foreign"
"""A base for machines of another kind."""

LIBRARY = "/usr/lib/libgreet.so.1.0"
UNPATCHED, PATCHED = "hello (unpatched)", "hello (patched)"
FIXED = "debianutils"
"""The package of Debian's own that the newer release has in a higher version."""
PLUGINS = "/usr/share/greet/plugins"
"""Where greet-plugins looks in the older release; in the newer one that is /usr/lib/greet/plugins."""
CHMODED = "/usr/bin/dmesg"
"""A program that both releases have in the same version."""
APP_ID = 5000

LEGACY, SERVICE, LOGGER = "_legacy", "_greet", "_greetlog"
"""The older release's system user, and those of the newer one, of which the first has the same numbers."""
SERVICE_FOLDER, LOGGER_FOLDER = "/var/lib/greetd", "/var/lib/greetd-log"
LOGGER_IDS = "101:102"
"""The numbers that adduser gives to a release's second system user and its group."""

APP, CLEAN, COPIED, HIDDEN, LISTED = "greeter:1", "clean:1", "copied:1", "hidden:1", "listed:1"
OWNED, NUMBERED, WORKER = "owned:1", "numbered:1", "worker:1"
PLUGIN, PRUNED, TOOL = "plugin:1", "pruned:1", "tool:1"
BUILT = {APP: "greeter:built", CLEAN: "clean:built"}
"""The same Dockerfiles, built on the newer base."""

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BASES = {
    OLD: f"""\
ENV LANG=C RELEASE=12.1 PATH={PATH}
LABEL release=12.1 maintainer=debian
CMD ["bash"]
""",
    NEW: f"""\
ENV LANG=C.UTF-8 RELEASE=12.2 PATH=/usr/local/greet/bin:{PATH}
LABEL release=12.2 maintainer=debian
COPY banner /etc/greet-release
CMD ["bash"]
""",
    PLAIN: 'CMD ["bash"]\n',
}
"""What the bases' own Dockerfiles have after their first line: the newer one has a layer more."""

DOCKERFILES = {
    SLIM: (OLD, "RUN dpkg --purge greet libgreet1\n"),
    APP: (
        OLD,
        f"""\
ENV APP_HOME=/srv/app PATH=/opt/app/bin:$PATH
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
    LISTED: (OLD, "COPY libfarewell.so.1 /usr/local/lib/libfarewell.so.1\nRUN ldconfig\n"),
    OWNED: (OLD, f"COPY --chown={LEGACY}:{LEGACY} banner /srv/data/banner\n"),
    NUMBERED: (OLD, f"COPY --chown={LOGGER_IDS} banner /srv/data/banner\n"),
    WORKER: (OLD, "RUN adduser --quiet --system --group --no-create-home worker\n"),
    PLUGIN: (OLD, f'COPY plugin {PLUGINS}/extra\nCMD ["greet-plugins"]\n'),
    PRUNED: (OLD, f'RUN rm {PLUGINS}/hello\nCMD ["greet-plugins"]\n'),
    TOOL: (PLAIN, 'COPY tool /bin/tool\nCMD ["/bin/tool"]\n'),
}
"""The images by name, each with its base and what its Dockerfile has after the first line."""


# --- packages --------------------------------------------------------------------------------

LIBRARY_C = 'const char *TEXT(void) { return "%s"; }\n'
PROGRAM_C = "#include <stdio.h>\nconst char *TEXT(void);\nint main(void) { puts(TEXT()); }\n"
TOOL_C = '#include <stdio.h>\nint main(void) { puts("a tool"); }\n'

PLUGINS_SH = """\
#!/bin/sh
for plugin in {folder}/*; do if [ -e "$plugin" ]; then . "$plugin"; fi; done
"""
ADD_USER_SH = """\
adduser --quiet --system --group --no-create-home --home {folder} {name}
install -d -o {name} -g {name} {folder}
"""

FIX_SH = f"""\
set -e
folder=$(mktemp -d)
cd "$folder"
APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download -qq {FIXED}
dpkg-deb --raw-extract {FIXED}_*.deb tree
sed -i 's/^Version: .*/&+fix1/' tree/DEBIAN/control
echo '# fixed' >> tree/usr/bin/savelog
(cd tree && find usr -type f -exec md5sum {{}} + > DEBIAN/md5sums)
dpkg-deb --root-owner-group --build tree "$1/tmp/{FIXED}.deb" > /dev/null
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
    """What Debian and container images call this machine."""
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
    deb = folder / f"{tree.name}_{architecture()}.deb"
    run(["dpkg-deb", "--root-owner-group", "--build", tree, deb])
    shutil.rmtree(tree)
    return deb


class Compiler:
    """Makes libraries that each have a text, programs that print it, and a program without any."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def _compile(self, name: str, source: str, *options: str | Path) -> bytes:
        from tests.compat.services import run

        path = self.folder / name
        (self.folder / "source.c").write_text(source)
        run(["gcc", "-O1", "-s", "-o", path, self.folder / "source.c", *options])
        return path.read_bytes()

    def library(self, name: str, text: str) -> bytes:
        return self._compile(name, LIBRARY_C % text, "-shared", "-fPIC", f"-Wl,-soname,{name}")

    def program(self, library: str) -> bytes:
        return self._compile("program", PROGRAM_C, self.folder / library)

    def tool(self) -> bytes:
        return self._compile("tool", TOOL_C)


def _script(*parts: str) -> dict[str, str]:
    return {"postinst": "".join(["#!/bin/sh\nset -e\n", *parts])}


def _packages(compiler: Compiler, version: str, text: str, plugins: str) -> list[Package]:
    """What a release has of greet."""
    library = file(LIBRARY, compiler.library("libgreet.so.1", text))
    script = PLUGINS_SH.format(folder=plugins).encode()
    files = [
        file("/usr/bin/greet", compiler.program("libgreet.so.1"), mode=0o755),
        file("/usr/bin/greet-plugins", script, mode=0o755),
        file(f"{plugins}/hello", b"echo hello\n"),
    ]
    link = symlink("/usr/lib/libgreet.so.1", "libgreet.so.1.0")
    return [
        Package("libgreet1", version, [library, link], "libc6", LINKER),
        Package("greet", version, files, "libgreet1"),
    ]


LINKER = {"triggers": "activate-noawait ldconfig\n"}


def old_packages(compiler: Compiler) -> list[Package]:
    """What the older release has beside Debian's own packages."""
    user = ADD_USER_SH.format(name=LEGACY, folder="/var/lib/legacy")
    legacy = Package("greet-legacy", "1.0-1", [], "adduser", _script(user))
    return [*_packages(compiler, "1.0-1", UNPATCHED, PLUGINS), legacy]


def new_packages(compiler: Compiler) -> list[Package]:
    """What the newer release has beside Debian's own packages."""
    service = [file("/usr/sbin/greetd", b"#!/bin/sh\nexec greet\n", mode=0o755)]
    users = [(SERVICE, SERVICE_FOLDER), (LOGGER, LOGGER_FOLDER)]
    script = _script(*(ADD_USER_SH.format(name=name, folder=folder) for name, folder in users))
    farewell = [
        file("/usr/local/lib/libfarewell.so.1", compiler.library("libfarewell.so.1", "farewell")),
        file("/usr/bin/farewell", compiler.program("libfarewell.so.1"), mode=0o755),
    ]
    return [
        *_packages(compiler, "1.0-2", PATCHED, PLUGINS.replace("share", "lib")),
        Package("greetd", "1.0-2", service, "adduser, greet", script),
        Package("farewell", "1.0-2", farewell, "libc6", LINKER),
    ]


def app_package(compiler: Compiler) -> Package:
    """What the app installs: a program made against the older release's library."""
    program = file("/usr/bin/greet-app", compiler.program("libgreet.so.1"), mode=0o755)
    return Package("greet-app", "3-1", [program], "libgreet1 (>= 1.0)", LINKER)


# --- bases -----------------------------------------------------------------------------------


def _bootstrap(output: Path, packages: Sequence[Package], scratch: Path, *options: str) -> Path:
    """Make a root file system and install packages of ours in it, or unpack Debian's alone."""
    from tests.compat.services import run

    hooks = []
    if packages:
        folder = output.with_suffix(".debs")
        folder.mkdir()
        for package in packages:
            build_package(package, folder)
        hooks = [
            f'--customize-hook=cp {folder}/*.deb "$1/tmp"',
            "--customize-hook=chroot \"$1\" sh -c 'dpkg -i /tmp/*.deb && rm /tmp/*.deb'",
        ]
    run(["mmdebstrap", "--quiet", "--format=tar", *options, *hooks, "bookworm", output])
    return output


def _import_all(docker: Docker, scratch: Path, compiler: Compiler, context: Path) -> None:
    """Make all bases that are not built on another one."""
    (scratch / "fix").write_text(FIX_SH)
    plain = "--hook-dir=/usr/share/mmdebstrap/hooks/no-merged-usr"
    recipes: dict[str, tuple[list[Package], list[str]]] = {
        OLD: (old_packages(compiler), ["--variant=minbase"]),
        NEW: (
            new_packages(compiler),
            ["--variant=minbase", f'--customize-hook=sh {scratch}/fix "$1"'],
        ),
        PLAIN: ([], ["--variant=essential", plain]),
    }
    for number, (name, (packages, options)) in enumerate(recipes.items()):
        root = _bootstrap(scratch / f"root{number}.tar", packages, scratch, *options)
        docker.run("import", root, "root:1")
        root.unlink()
        _build(docker, name, "root:1", BASES[name], context)
    docker.run("rmi", "root:1")
    foreign = [f"--architectures={foreign_architecture()}", "--include=busybox-static"]
    hook = '--extract-hook=ln -s busybox "$1/bin/sh"'
    root = _bootstrap(scratch / "foreign.tar", [], scratch, "--variant=extract", *foreign, hook)
    platform = f"linux/{foreign_architecture()}"
    config = {"config": {"Env": [f"PATH={PATH}"], "Cmd": ["sh"]}}
    # docker import has this machine's platform for every image.
    spec = ImageSpec([root.read_bytes()], [FOREIGN], config, platform=platform)
    docker_archive_25(scratch / "image.tar", [spec])
    docker.run("load", "--quiet", "--input", scratch / "image.tar")


# --- images ----------------------------------------------------------------------------------


def _context(folder: Path, compiler: Compiler) -> None:
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
        (folder / "app", '#!/bin/sh\nid -un\npwd\ngreet-app\ncat /etc/issue\necho "$LANG"\n'),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "app").chmod(0o755)
    (folder / "tool").write_bytes(compiler.tool())
    (folder / "tool").chmod(0o755)
    (folder / "libfarewell.so.1").write_bytes(compiler.library("libfarewell.so.1", "farewell"))
    (folder / "repo").mkdir()
    package = app_package(compiler)
    deb = build_package(package, folder / "repo")
    data = deb.read_bytes()
    entry = f"Filename: ./{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"
    (folder / "repo" / "Packages").write_text(package.control + entry)


def _build(docker: Docker, name: str, base: str, text: str, context: Path) -> None:
    dockerfile = context.with_name("Dockerfile")
    dockerfile.write_text(f"FROM {base}\n{text}")
    docker.run("build", "--quiet", "--network", "none", "--file", dockerfile, "--tag", name, context)


def _make(docker: Docker, scratch: Path, output: Path) -> None:
    compiler = Compiler(scratch / "compiled")
    context = scratch / "context"
    context.mkdir()
    old_packages(compiler)  # the app is made against the older library
    _context(context, compiler)
    _import_all(docker, scratch, compiler, context)
    for name, (base, text) in DOCKERFILES.items():
        _build(docker, name, base, text, context)
    for name, built in BUILT.items():
        _build(docker, built, NEW, DOCKERFILES[name][1], context)
    docker.run("save", "--output", output, *BASES, FOREIGN, *DOCKERFILES, *BUILT.values())


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
