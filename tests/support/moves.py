"""Small images on an old base, with a new one for them, whose rebase passes or stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from tests.support.builders import (
    Attributes,
    ImageSpec,
    Json,
    Member,
    directory,
    docker_archive_old,
    file,
    layer,
    symlink,
)
from tests.support.runner import (
    Result,
    assert_fails,
    read_image,
    run,
)

Members = Sequence[Member]
UNMERGED = ("--merge", "none")
"""For what is told of databases that are left as the layers have them."""
HOME = [directory("srv", mode=0o750, uid=7), directory("srv/data", mode=0o700, uid=7), file("srv/data/old")]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with an image, its old base, and a new one for it."""

    folder: Path
    old: ImageSpec
    new: ImageSpec
    app: ImageSpec

    @property
    def out(self) -> Path:
        """Where the result goes."""
        return self.folder / "out.tar"

    def run(self, *words: str) -> Result:
        """Rebase it; the report is JSON."""
        return run("rebase", *self.arguments, "-o", self.out, "--json", *words)

    @property
    def arguments(self) -> tuple[str | Path, ...]:
        """The image, both bases, and a name for the result."""
        return (
            f"{self.folder}/app.tar:app:1", "--old-base", "old:1", "--new-base", self.folder / "new.tar",
            "-t", "app:2",
        )  # fmt: skip


def place(
    folder: Path, old: Members, new: Members, *above: Members, old_config: Json | None = None,
    new_config: Json | None = None, app_config: Json | None = None,
) -> Place:  # fmt: skip
    """Bases of one layer each, and an image with these layers above the old one."""
    before = ImageSpec([layer(*old)], ["old:1"], old_config or {})
    after = ImageSpec([layer(*new)], ["new:1"], new_config or {})
    app = ImageSpec([*before.layers, *(layer(*one) for one in above)], ["app:1"], app_config or {})
    docker_archive_old(folder / "app.tar", [app, before])
    docker_archive_old(folder / "new.tar", [after])
    return Place(folder, before, after, app)


def told(result: Result) -> list[tuple[str, str, str]]:
    """Kind, severity and path of all that is at risk."""
    return [(risk["kind"], risk["severity"], risk["path"]) for risk in result.json["risks"]]


def passes(moved: Place, *words: str) -> Result:
    """The rebase goes on, and gives what it says."""
    result = moved.run("--check", *words)
    assert result.code == 0, result.err
    image = read_image(moved.out)
    assert list(image.layers[: len(moved.new.layers)]) == list(moved.new.layers)
    if not result.json["remade_layers"]:
        whole = [*moved.new.layers, *moved.app.layers[len(moved.old.layers) :]]
        assert list(image.layers[: len(whole)]) == whole
        assert len(image.layers) == len(whole) + bool(result.json["merged"])
    return result


def stops(moved: Place, *kinds: str) -> Result:
    """The rebase stops at errors of these kinds alone, says how to go on, and writes nothing."""
    before = sorted(moved.folder.iterdir())
    result = moved.run()
    assert result.code == 3
    assert_fails(Result(3, b"", result.err), 3, "app:1 does not fit new:1; nothing was written")
    assert sorted(moved.folder.iterdir()) == before
    stopping = {risk["kind"] for risk in result.json["risks"] if risk["stops"]}
    assert stopping == set(kinds)
    allowed = [f"--allow {kind}" for kind in kinds if kind != "link"]
    assert all(word in result.err for word in allowed)
    assert result.err.count("--allow") == len(allowed)
    return result


def within(path: str, data: bytes = b"", **said: Unpack[Attributes]) -> list[Member]:
    """A file, and the directories that lead to it."""
    parts = path.split("/")
    return [*(directory("/".join(parts[:n])) for n in range(1, len(parts))), file(path, data, **said)]


NOTHING = file("z")


# --- type -----------------------------------------------------------------------------------


LIB = [directory("lib"), file("lib/libc.so", b"1")]


MERGED = [directory("usr"), directory("usr/lib"), file("usr/lib/libc.so", b"2"), symlink("lib", "usr/lib")]


# --- package databases ----------------------------------------------------------------------


STATUS = "var/lib/dpkg/status"


def dpkg(**versions: str) -> bytes:
    """dpkg's list of installed packages."""
    stanza = (
        "Package: {}\nStatus: install ok installed\nArchitecture: all\nVersion: {}\nDescription: x\n  y\n"
    )
    return "\n".join(stanza.format(name, version) for name, version in versions.items()).encode()


# --- contents -------------------------------------------------------------------------------


def copied(result: Result) -> list[tuple[str, int, bool, bool]]:
    """The files that lie above in a copy: path, layer, same content, changed below."""
    return [tuple(one.values()) for one in result.json["copied_up"]]


# --- accounts -------------------------------------------------------------------------------


def passwd(**ids: int) -> bytes:
    """Accounts by name; groups are written alike, as far as anybody looks."""
    return b"".join(
        f"{name}:x:{number}:{number}::/:/bin/sh\n".encode() for name, number in {"root": 0, **ids}.items()
    )


# --- what stops, and what is said -----------------------------------------------------------


BOTH = (
    [*LIB, *HOME], [*MERGED, NOTHING],
    [directory("lib"), file("lib/own", b"own"), file("srv/data/new", b"new")],
)  # fmt: skip
