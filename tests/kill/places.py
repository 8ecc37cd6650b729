"""Where results go, and what is asked of such a place after a run that did not end well."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.builders import ImageSpec, docker_archive_old, file, layer, oci_layout, on_base, whiteout
from tests.support.runner import APP, BASE, KEEP_2, Result, read_image, run_process, validate

OTHER = ImageSpec([layer(file("other", b"o"))], ("other:1",))
LARGE = on_base(
    BASE,
    layer(file("kept", random.Random(1).randbytes(24 << 20)), file("w")),
    layer(whiteout("w"), file("more", random.Random(2).randbytes(8 << 20))),
    tags=("app:1",),
)
"""An image whose squash takes the time of some tens of megabytes."""
IMAGES = {"small": APP, "large": LARGE}
PLACES = ("new archive", "old archive", "new layout", "old layout")

Files = dict[str, bytes]


def files_of(folder: Path) -> Files:
    """All files below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@dataclass(frozen=True, slots=True)
class Place:
    """A folder `out` that is made anew for each run, and a squash into it."""

    name: str
    folder: Path
    """Of all that belongs to it: `in` has the image, `before` what `out` is made of, `right` what it holds
    after a whole run."""
    words: tuple[str, ...]

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def is_layout(self) -> bool:
        return self.name.endswith("layout")

    @property
    def target(self) -> Path:
        return self.out / ("layout" if self.is_layout else "new.tar")

    def reset(self) -> None:
        """Make `out` what it is before a run."""
        shutil.rmtree(self.out, ignore_errors=True)
        shutil.copytree(self.folder / "before", self.out)

    def run(self, env: Mapping[str, str] | None = None) -> Result:
        return run_process(*self.words, env=env)

    def start(self) -> subprocess.Popen[bytes]:
        from tests.support.runner import spawn

        return spawn(*self.words, start_new_session=True)

    def files(self, which: str = "out") -> Files:
        return files_of(self.folder / which)

    def assert_whole_or_before(self, *, leftovers: bool) -> bool:
        """What has a name is as it was before the run, or whole and right; whether it is the latter. Blobs
        of the result may lie in a layout that does not name them yet, and with `leftovers` hidden files."""
        before, right, found = self.files("before"), self.files("right"), self.files()
        hidden = {name for name in found if ".squashkit-" in name}
        assert leftovers or not hidden, hidden
        named = {name: data for name, data in found.items() if name not in hidden}
        main = "layout/index.json" if self.is_layout else "new.tar"
        assert named.get(main) in (before.get(main), right[main]), f"{main} is neither the old nor the new"
        done = named.get(main) == right[main] and before.get(main) != right[main]
        for name, data in named.items():
            assert data in (before.get(name), right.get(name)), f"{name} is neither old nor new"
        assert set(before) <= set(named), "something old is gone"
        if done:
            assert named == right
        return done

    def assert_next_run(self) -> None:
        """The run that comes after makes it right, and leaves nothing else; tools read what it made."""
        result = self.run()
        assert result.code == 0, result.err
        assert self.files() == self.files("right")
        verified = run_process("verify", f"oci:{self.target}" if self.is_layout else self.target)
        assert verified.code == 0, verified.err


def make_place(name: str, image: str, folder: Path) -> Place:
    """A place, with what a whole run makes of it."""
    source = folder / "in" / "app.tar"
    source.parent.mkdir(parents=True)
    docker_archive_old(source, [IMAGES[image]])
    before = folder / "before"
    before.mkdir()
    words = ["squash", str(source), *KEEP_2, "--force", "-o"]
    if name == "old archive":
        docker_archive_old(before / "new.tar", [OTHER])
    elif name == "old layout":
        oci_layout(before / "layout", [OTHER])
    out = folder / "out"
    words.append(f"oci:{out}/layout" if name.endswith("layout") else f"{out}/new.tar")
    place = Place(name, folder, tuple(words))
    place.reset()
    result = place.run()
    assert result.code == 0, result.err
    if place.is_layout:
        index = json.loads((place.target / "index.json").read_bytes())
        assert len(index["manifests"]) == 1 + (name == "old layout")
    else:
        validate(place.target)
        assert read_image(place.target).config["rootfs"]
    out.rename(folder / "right")
    return place
