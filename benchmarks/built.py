"""Fleets as people build them: with apt, with pip and with npm, by `docker build` on Debian.

    python -m benchmarks.built FOLDER [NAME...]

Six repositories each, of three releases: the second has other code alone, so that docker reuses
what the first one installed; the third installs one package more, and so all of them anew. Repositories
have packages in common, in different steps and orders. With pip the third releases stand on a newer base.
Packages come from the network, those of PyPI and npm in the versions named here. It needs root.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import docker

from benchmarks.bench_fleet import daemon

INSTALL = "apt-get update && apt-get install -y --no-install-recommends"
CLEAN = "rm -rf /var/lib/apt/lists/* /var/cache/apt/*"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""What this machine trusts: a proxy may stand before its registries."""
TRUSTED = "/etc/ssl/trusted.crt"
"""Where images have that: packages write a file of their own in its place."""
NPM = "npm@10.8.2"
ROOT = "FROM root:12"
FILES, CHANGED = 40, 8
"""Of an app's code, and how many of these each release changes."""


@dataclass(frozen=True, slots=True)
class Repository:
    """An app in three releases."""

    name: str
    packages: str
    """What it installs."""
    more: str
    """What its third release installs as well."""
    style: str = "clean"
    """Whether it removes caches in the step that made them ("clean"), in one of its own ("late"), or not
    ("left")."""


APT = [
    Repository("shop", "nginx python3 python3-flask", "python3-requests"),
    Repository("search", "python3 python3-requests sqlite3 curl", "jq", "late"),
    Repository("sync", "git openssh-client rsync curl", "jq", "late"),
    Repository("reports", "python3 python3-numpy python3-requests", "sqlite3"),
    Repository("proxy", "nginx curl openssl", "git", "left"),
    Repository("jobs", "python3-flask git postgresql-client python3", "curl", "late"),
]
PIP = [
    Repository("shop", "flask==3.0.3 gunicorn==22.0.0 requests==2.32.3 sqlalchemy==2.0.31", "redis==5.0.7"),
    Repository("billing", "boto3==1.34.144 flask==3.0.3 requests==2.32.3", "sqlalchemy==2.0.31", "late"),
    Repository("reports", "pandas==2.2.2 requests==2.32.3 sqlalchemy==2.0.31", "flask==3.0.3"),
    Repository("forecast", "fastapi==0.111.0 numpy==1.26.4 pandas==2.2.2", "redis==5.0.7"),
    Repository("gateway", "fastapi==0.111.0 requests==2.32.3 uvicorn==0.30.1", "redis==5.0.7", "left"),
    Repository("mailer", "celery==5.4.0 boto3==1.34.144 redis==5.0.7", "requests==2.32.3"),
]
NODE = [
    Repository("web", "express@4.19.2 helmet@7.1.0 typescript@5.5.3", "lodash@4.17.21"),
    Repository("api", "express@4.19.2 pg@8.12.0 pino@9.2.0 zod@3.23.8", "lodash@4.17.21", "late"),
    Repository("worker", "bullmq@5.8.4 lodash@4.17.21 pino@9.2.0 typescript@5.5.3", "zod@3.23.8"),
    Repository("graph", "@apollo/server@4.10.4 graphql@16.9.0 express@4.19.2", "pino@9.2.0", "left"),
    Repository("admin", "react@18.3.1 react-dom@18.3.1 express@4.19.2 lodash@4.17.21", "helmet@7.1.0"),
    Repository("mail", "nodemailer@6.9.14 pino@9.2.0 zod@3.23.8 typescript@5.5.3", "pg@8.12.0", "late"),
]


def bases(fleet: str) -> dict[str, list[str]]:
    """The steps of a fleet's bases, the lowest first."""
    trust = [
        f"COPY certificates {TRUSTED}",
        f"ENV PIP_CERT={TRUSTED} npm_config_cafile={TRUSTED}",
    ]
    debian = {"debian:12": [ROOT, *trust]}
    if fleet == "pip":
        python = f"RUN {INSTALL} python3 python3-venv && {CLEAN}"
        venv = ["RUN python3 -m venv /opt/venv", "ENV PATH=/opt/venv/bin:$PATH"]
        newer = {"debian:12.1": [ROOT, *trust, f"RUN {INSTALL} ca-certificates tzdata && {CLEAN}"]}
        return {
            **debian,
            **newer,
            "python:1": ["FROM debian:12", python, *venv],
            "python:2": ["FROM debian:12.1", python, *venv],
        }
    if fleet == "npm":
        return debian | {
            "node:1": [
                "FROM debian:12",
                f"RUN {INSTALL} nodejs && {CLEAN}",
                "ADD npm.tgz /usr/local/lib/",
                "RUN ln -s ../lib/package/bin/npm-cli.js /usr/local/bin/npm",
            ]
        }
    return debian


FLEETS = {"apt": APT, "pip": PIP, "npm": NODE}


def steps(fleet: str, repository: Repository, release: int) -> list[str]:
    """The Dockerfile of one release."""
    packages = f"{repository.packages} {repository.more}" if release == 3 else repository.packages
    late = repository.style == "late"
    if fleet == "apt":
        base, clean = "debian:12", CLEAN
        install = [f"{INSTALL} {packages}"]
    elif fleet == "pip":
        base, clean = "python:2" if release == 3 else "python:1", "rm -rf /root/.cache"
        install = ["pip install -r /srv/requirements"]
    else:
        base, clean = "node:1", "npm cache clean --force && rm -rf /root/.npm"
        install = ["cd /srv && npm install --no-audit --no-fund"]
    if repository.style == "clean":
        install.append(clean)
    given = {"apt": [], "pip": ["COPY requirements /srv/"], "npm": ["COPY package.json /srv/"]}[fleet]
    return [
        f"FROM {base}",
        *given,
        f"RUN {' && '.join(install)}",
        "COPY app /srv/app",
        *([f"RUN {clean}"] if late else []),
        'CMD ["cat", "/srv/app/00"]',
    ]


def names(fleet: str) -> list[str]:
    """All images of a fleet, bases first, each repository's releases in their order."""
    apps = [f"{one.name}:{release}" for one in FLEETS[fleet] for release in (1, 2, 3)]
    return [*bases(fleet), *apps]


def _fill(context: Path, fleet: str, repository: Repository, release: int) -> None:
    """What a release is built from."""
    packages = f"{repository.packages} {repository.more}" if release == 3 else repository.packages
    wanted = packages.split()
    (context / "requirements").write_text("\n".join(wanted) + "\n")
    dependencies = dict(one.rsplit("@", 1) for one in wanted if fleet == "npm")
    (context / "package.json").write_text(
        json.dumps({"name": repository.name, "private": True, "dependencies": dependencies})
    )
    (context / "app").mkdir()
    for number in range(FILES):
        # Each release changes the next few files; a checkout gives all of them new times.
        changes = sum(number // CHANGED == one for one in range(1, release))
        content = random.Random(f"{repository.name} {number} {changes}")
        (context / "app" / f"{number:02}").write_bytes(content.randbytes(10_000) + bytes(10_000))


def _contexts(fleet: str, work: Path) -> Iterator[tuple[str, list[str], Path]]:
    """For each image its name, its Dockerfile and a folder with what that needs."""
    context = work / f"{fleet}.context"
    wanted: list[tuple[str, list[str], tuple[Repository, int] | None]] = [
        *((name, lines, None) for name, lines in bases(fleet).items()),
        *(
            (f"{one.name}:{release}", steps(fleet, one, release), (one, release))
            for release in (1, 2, 3)
            for one in FLEETS[fleet]
        ),
    ]
    for name, lines, app in wanted:
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        if app is not None:
            _fill(context, fleet, *app)
        else:
            shutil.copy(CERTIFICATES, context / "certificates")
            if "ADD npm.tgz /usr/local/lib/" in lines:
                shutil.copy(work / "npm.tgz", context)
        yield name, lines, context
    shutil.rmtree(context)


def _prepare(fleet: str, work: Path) -> Path:
    """Debian's root file system; and npm itself, where it is needed."""
    root, partial = work / "root.tar", work / "root.partial"
    if not root.exists():
        words = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "bookworm", str(partial)]
        subprocess.run(words, check=True)
        partial.rename(root)
    if fleet == "npm" and not (work / "npm.tgz").exists():
        words = ["npm", "pack", "--silent", "--pack-destination", str(work), NPM]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        (work / f"{NPM.replace('@', '-')}.tgz").rename(work / "npm.tgz")
    return root


def build(client: docker.DockerClient, fleet: str, work: Path) -> None:
    """Build a fleet in a daemon."""
    with _prepare(fleet, work).open("rb") as file:
        client.api.import_image(src=file, repository="root", tag="12")
    for name, lines, context in _contexts(fleet, work):
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        try:
            client.images.build(path=str(context), tag=name, network_mode="host", rm=True)
        except docker.errors.BuildError as error:
            said = "".join(part.get("stream", "") for part in error.build_log)
            raise SystemExit(f"{fleet}: {name} cannot be built:\n{said[-3000:]}") from error
        print(f"{fleet}: built {name}", file=sys.stderr, flush=True)


def archive_of(fleet: str, work: Path) -> Path:
    """The archive of a fleet, as docker saves it; it is built where there is none."""
    archive = work / f"{fleet}.tar"
    if not archive.exists():
        work.mkdir(parents=True, exist_ok=True)
        folder, partial = work / f"{fleet}.docker", work / f"{fleet}.partial"
        with daemon(folder) as client:
            build(client, fleet, work)
            words = ["docker", "-H", f"unix://{folder}/sock", "save", "-o", str(partial), *names(fleet)]
            subprocess.run(words, check=True)
        partial.rename(archive)
    return archive


def main(words: Sequence[str]) -> None:
    folder, *fleets = words
    for fleet in fleets or FLEETS:
        archive_of(fleet, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
