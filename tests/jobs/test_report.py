"""The page about images: one file, the same for the same images, with what `waste` tells."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import squashkit
from tests.support.builders import ImageSpec, docker_archive_old, file, layer, oci_layout
from tests.support.reports import APP, write_images
from tests.support.runner import assert_fails, run

pytest.importorskip("jinja2")
pytest.importorskip("plotly")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the images, which is the current one."""
    write_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def page(*words: str) -> str:
    """The page that a command writes."""
    done = run("report", *words, "-o", "page.html", "--force")
    assert done.code == 0, done.err
    return Path("page.html").read_text(encoding="utf-8")


def number(text: str, fact: str) -> int:
    """A number of the headline."""
    (found,) = re.findall(rf'data-fact="{fact}" data-number="(-?\d+)"', text)
    return int(found)


def test_the_same_image_gives_the_same_bytes(place: Path) -> None:
    """On standard output as in a file, and from Python, too."""
    text = page("app.tar:app:1")
    assert page("app.tar:app:1") == text
    assert run("report", "app.tar:app:1", "-o", "-").out.decode() == text
    assert squashkit.report_page("app.tar:app:1") == text


def test_the_base_is_as_in_waste(place: Path) -> None:
    """Found without an option, or named by one of them."""
    known = run("waste", "app.tar:app:1", "--json").json
    assert number(page("app.tar:app:1"), "above_base") == known["dead"]["above_base"]
    assert known["base"]["layers"] == 1
    for option in (["--keep-layers", "3"], ["--keep-base", "debian:12"], ["--keep-layers", "0"]):
        told = run("waste", "app.tar:app:1", *option, "--json").json
        text = page("app.tar:app:1", *option)
        assert number(text, "above_base") == told["dead"]["above_base"]
        if told["dead"]["of_base"]:
            assert number(text, "of_base") == told["dead"]["of_base"]


def test_several_images_are_listed_on_top(place: Path) -> None:
    """With a link to each, in the order in which they are named; one image has no list."""
    text = page("app.tar:app:1", "other.tar")
    listed = re.findall(r'<a href="#(image-\d)"><bdi>([^<]+)', text)
    assert listed == [("image-1", "app:1"), ("image-2", "other:1")]
    assert re.findall(r'<article id="([^"]+)"', text) == ["image-1", "image-2"]
    assert "<nav" not in page("other.tar").partition("<main")[0]


def test_all_platforms_are_on_one_page(place: Path) -> None:
    """Each with its own numbers."""
    several = [
        ImageSpec([layer(file("a", b"1" * size))], ["app"], platform=platform)
        for size, platform in ((10, "linux/amd64"), (2000, "linux/arm64"))
    ]
    oci_layout(place / "multi", several, compress=None, nested=True)
    text = page("oci:multi:app", "--platform", "all")
    assert re.findall(r'<h2 id="image-\d-title".*<small><bdi>(.*?)</bdi>', text) == [
        "linux/amd64",
        "linux/arm64",
    ]
    assert "linux/amd64" not in page("oci:multi:app", "--platform", "linux/arm64")


def test_an_existing_page_stays(place: Path) -> None:
    """Unless --force replaces it; an input is never replaced, and no folder."""
    Path("page.html").write_text("mine")
    assert_fails(run("report", "other.tar", "-o", "page.html"), 2, "page.html exists", "--force")
    assert Path("page.html").read_text() == "mine"
    page("other.tar")
    before = Path("other.tar").read_bytes()
    assert_fails(
        run("report", "app.tar:app:1", "other.tar", "-o", "other.tar", "--force"), 2, "is an input"
    )
    assert Path("other.tar").read_bytes() == before
    assert_fails(run("report", "other.tar", "-o", "."), 2, "no file can be written there")
    assert_fails(run("report", "other.tar", "-o", "nowhere/page.html"), 2, "no file can be written there")


def test_nothing_is_left_where_it_fails(place: Path) -> None:
    """An image that is not there leaves no page, and no part of one."""
    before = {*os.listdir()}
    assert_fails(run("report", "app.tar:app:1", "nosuch.tar", "-o", "new.html"), 5)
    assert {*os.listdir()} == before


def test_a_dockerfile_is_that_of_one_image(place: Path) -> None:
    """Of one it gives mends their lines; of two images it is refused."""
    steps = ["RUN apt-get install -y nginx", "COPY site/ /srv/"]
    steps += ["RUN chmod 755 /srv/site.bin && rm -rf /var/cache/apt"]
    Path("Dockerfile").write_text("\n".join(["FROM debian:12", *steps, ""]))
    assert re.findall(
        r'<span class="line">line (\d)</span>', page("app.tar:app:1", "--dockerfile", "Dockerfile")
    )
    assert not re.findall(r'class="line"', page("app.tar:app:1"))
    done = run("report", "app.tar:app:1", "other.tar", "--dockerfile", "Dockerfile", "-o", "x.html")
    assert_fails(done, 2, "one image")


def test_stored_bytes_after_a_squash_are_an_estimate_where_layers_are_compressed(place: Path) -> None:
    """Of plain layers they are told to the byte, of compressed ones as `about`."""
    oci_layout(place / "plain", [APP], compress=None)
    oci_layout(place / "packed", [APP], compress="gzip")
    rows = {
        name: re.findall(r'<tr><th scope="row">stored</th>.*?</tr>', page(name, "--keep-layers", "1"))
        for name in ("plain", "packed")
    }
    assert [len(found) for found in rows.values()] == [1, 1]
    assert "about" not in rows["plain"][0]
    assert "about" in rows["packed"][0]


def test_an_image_without_files_has_a_page(place: Path) -> None:
    """Nothing to draw is no fault."""
    docker_archive_old(place / "empty.tar", [ImageSpec([layer()], ["empty:1"])])
    text = page("empty.tar")
    assert "Nothing is dead" in text
    assert "No layer holds a file of at least a byte." in text
    assert "data-chart" not in text.partition("<script")[0]
    assert "There is nothing to squash" in text


MISSING = """
import sys
sys.modules["{}"] = None
from squashkit.__main__ import main
main()
"""


@pytest.mark.parametrize("library", ["jinja2", "plotly"])
def test_a_missing_library_is_told(library: str, place: Path) -> None:
    """In one line with the command that installs it, before any image is read, with exit code 2."""
    done = subprocess.run(
        [sys.executable, "-c", MISSING.format(library), "report", "nosuch.tar", "-o", "page.html"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "squashkit: the page needs jinja2 and plotly: pip install 'squashkit[report]'\n"
    assert done.stdout == ""


def test_other_commands_do_not_load_the_libraries(place: Path) -> None:
    """Neither does the help of this one."""
    for words in (["report", "--help"], ["waste", "other.tar"]):
        code = f"""
import os, sys
from squashkit.cli.main import main
sys.argv = ["squashkit", *{words!r}]
os._exit = lambda code: print(*sys.modules)
main()
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        loaded = {one.partition(".")[0] for one in done.stdout.splitlines()[-1].split()}
        assert "click" in loaded
        assert not loaded & {"jinja2", "plotly"}


def test_many_files_give_a_bounded_page(place: Path) -> None:
    """Of 6,000 dead files and as many that live, what is small is folded; nothing of the sums is lost."""
    names = [f"d{n % 97}/e{n % 11}/f{n}" for n in range(6000)]
    layers = [layer(*(file(name, bytes(size)) for name in names)) for size in (100, 101)]
    docker_archive_old(place / "many.tar", [ImageSpec(layers, ["many:1"])])
    text = page("many.tar")
    rows = re.findall(r'<tr role="row" data-kind="dead" data-bytes="(\d+)" data-files="(\d+)"', text)
    assert len(rows) <= 700
    assert sum(int(size) for size, _ in rows) == 600_000
    assert sum(int(files) for _, files in rows) == 6000
    own = len(text) - len(page("other.tar"))
    assert own < 1_500_000
