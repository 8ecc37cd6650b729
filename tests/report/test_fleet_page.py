"""The page about a fleet: its numbers are those of the commands, it loads nothing, and no name in it is
more than text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from squashkit import fleet_page
from squashkit.amounts import size
from squashkit.report.html.treemap import Box, squarify
from tests.support.browser import Open, Visit, browsing
from tests.support.builders import ImageSpec, docker_archive_old, file, layer, on_base, whiteout
from tests.support.fleets import SYSTEM, blob, write
from tests.support.reports import INVALID, MARKUP, hostile
from tests.support.runner import Json, assert_fails, run

SHARED = on_base(SYSTEM, layer(file("both", b"b" * 40_000), file("one", b"o" * 9000)))
IMAGES = [
    SYSTEM,
    on_base(SHARED, layer(whiteout("both"), whiteout("one"), file("a", b"a" * 700)), tags=["a:1"]),
    on_base(SHARED, layer(whiteout("both"), file("copy", b"o" * 9000)), tags=["a:2"]),
    on_base(SYSTEM, blob("x", 5000), tags=["b:1"]),
    ImageSpec([blob("other base", 300), blob("x", 5000)], ["c:1"]),
]
"""A shared layer, a file of which is dead in all images that have it, and another in one of them only; its
content stands in another layer, too; and a layer that stands on two bases, one of which is not known."""


@pytest.fixture(scope="module")
def visit() -> Iterator[Open]:
    """Opens a page in the browser."""
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with five images, their page, and that of hostile ones."""
    folder = tmp_path_factory.mktemp("fleet")
    write(folder, *IMAGES)
    docker_archive_old(folder / "hostile.tar", [hostile(), SYSTEM])
    for name, images in (("page", paths(folder)), ("hostile", [str(folder / "hostile.tar")])):
        done = run("fleet", "report", *images, "-o", folder / f"{name}.html")
        assert done.code == 0, done.err
    return folder


def paths(folder: Path) -> list[str]:
    return [str(folder / f"{number}.tar") for number in range(len(IMAGES))]


def facts(page: Visit) -> dict[str, int]:
    found: dict[str, str] = page.json(
        "Object.fromEntries([...document.querySelectorAll('.fact')].map((one) => "
        "[one.dataset.fact, one.dataset.number]))"
    )
    return {name: int(value) for name, value in found.items()}


def told(*words: object) -> Json:
    done = run("fleet", *map(str, words), "--json")
    assert done.code == 0, done.err
    document: Json = done.json
    return document


# --- numbers ----------------------------------------------------------------------------------


def test_the_headline_is_what_the_commands_tell(visit: Open, place: Path) -> None:
    """What is stored, what the best cut saves, what is dead, and what is there more than once."""
    rows = {one["strategy"]: one for one in told("storage", *paths(place))["strategies"]}
    built, best = rows["as built"]["registry_bytes"], rows["best cut"]["registry_bytes"]
    assert facts(visit(place / "page.html")) == {
        "registry": built,
        "saving": built - best,
        "dead": 40_000,
        "twice": 9000,
    }


def test_each_strategy_has_its_bar(visit: Open, place: Path) -> None:
    """With what it takes, and squashing each image whole apart."""
    page = visit(place / "page.html")
    rows = {one["strategy"]: one["registry_bytes"] for one in told("storage", *paths(place))["strategies"]}
    bars: list[dict[str, str]] = page.json(
        "[...document.querySelectorAll('.bars')].map((table) => Object.fromEntries("
        "[...table.tBodies[0].rows].map((row) => [row.cells[0].textContent, row.cells[1].dataset.bytes])))"
    )
    first, whole = ({name: int(value) for name, value in one.items()} for one in bars)
    assert first == {name: rows[name] for name in ("keep base", "along the trie", "best cut", "carved")}
    assert whole == {"squash all": rows["squash all"]}


def test_a_host_is_chosen_in_the_page(visit: Open, place: Path) -> None:
    """What it downloads is what `fleet pull --have` tells, by the keyboard, too."""
    page = visit(place / "page.html")

    def shown() -> list[list[str]]:
        cells: list[list[str]] = page.json(
            "[...document.querySelector('#downloads').tBodies[0].rows]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent))"
        )
        return cells

    def expected(*have: str) -> list[list[str]]:
        words = [word for one in have for word in ("--have", one)]
        names = ("bytes", "pulled_by_chain_bytes", "pulled_by_blob_bytes")
        found = told("pull", *paths(place), *words)["images"]
        return [[one["image"], *(size(one[name]) for name in names)] for one in found]

    assert shown() == expected()
    chooser = page.page.locator("#have select")
    chooser.select_option(["1"])
    assert shown() == expected(paths(place)[1])
    assert "on a host that has a:1" in page.page.locator("#pulls ~ p.note").inner_text()
    chooser.select_option(["0", "3"])
    assert shown() == expected(paths(place)[0], paths(place)[3])
    chooser.select_option(["4"])
    assert shown() == expected(paths(place)[4]), "a layer on another base is there by blob alone"
    page.page.locator("#have button").press("Enter")
    assert shown() == expected()


def test_a_scan_gives_the_same_page(place: Path, tmp_path: Path) -> None:
    """Of a scan the picture, and all that is exact, is the same as of the images."""
    pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    assert run("fleet", "scan", *paths(place), "--into", tmp_path / "scan").code == 0
    done = run("fleet", "report", tmp_path / "scan", "-o", "-")
    assert done.code == 0, done.err
    own = (place / "page.html").read_text(encoding="utf-8")
    for part in (
        r"<svg class=.*?</svg>",
        r"<h4>Dead files</h4>.*?</section>",
        r'<div class="fact" data-fact="dead".*?</div>',
    ):
        assert re.findall(part, done.out.decode(), re.DOTALL) == re.findall(part, own, re.DOTALL) != []


def test_what_is_dead_in_one_branch_alone_lives(place: Path) -> None:
    """Only what no image shows is listed as dead, with the steps that made and killed it."""
    text = (place / "page.html").read_text(encoding="utf-8")
    (table,) = re.findall(r"<h4>Dead files</h4>.*?</table>", text, re.DOTALL)
    assert re.findall(r"<bdi>(/[^<]*)</bdi>", table) == ["/both"]
    assert re.findall(r"<bdi>step (\d)</bdi>", table) == ["2", "3"], "which made it, and which killed it"


# --- the picture ------------------------------------------------------------------------------


@pytest.mark.parametrize("amounts", [[1], [6, 6, 4, 3, 2, 2, 1], [1000, 1], [10**6, 5, 3, 1], [7] * 300])
@pytest.mark.parametrize("box", [Box(0, 0, 600, 400), Box(5, 7, 30, 900)])
def test_areas_are_amounts(amounts: list[int], box: Box) -> None:
    """Each rectangle has its share of the area and lies in the box; no two overlap."""
    found = squarify(amounts, box)
    area = box.width * box.height
    for amount, one in zip(amounts, found, strict=True):
        assert one.width * one.height == pytest.approx(area * amount / sum(amounts), rel=1e-5)
        assert box.x - 1e-6 <= one.x <= one.x + one.width <= box.x + box.width + 1e-6
        assert box.y - 1e-6 <= one.y <= one.y + one.height <= box.y + box.height + 1e-6
    for number, one in enumerate(found[:40]):
        for other in found[:number]:
            wide = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
            high = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
            assert min(wide, high) < 1e-6


def test_the_picture_is_well_formed_and_told(place: Path) -> None:
    """Bases, repositories and layers have titles, and the picture a sentence with its numbers."""
    text = (place / "page.html").read_text(encoding="utf-8")
    svg = ET.fromstring(re.findall(r"<svg.*?</svg>", text, re.DOTALL)[0])
    assert re.search(r"\d [KM]B of files, of which 40 KB are dead", svg.attrib["aria-label"])
    titles = [one.text or "" for one in svg.iter("title")]
    assert "the base itself: 9.3 KB" in titles
    assert any(re.match(r"layer 2 of a:1: 49 KB, 40 KB dead, 0 B more than once", one) for one in titles)
    assert len(titles) == len({*titles}) == 2 + 4 + 8


# --- as a page --------------------------------------------------------------------------------


def test_it_loads_nothing_and_fits_a_phone(visit: Open, place: Path) -> None:
    """One file, no fault, no scrolling to the side; in light and dark."""
    for width, dark in ((1280, False), (390, True)):
        page = visit(place / "page.html", width=width, dark=dark)
        assert page.requests == [(place / "page.html").as_uri()]
        assert page.errors == []
        assert page.json("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        before = page.json("getComputedStyle(document.documentElement).color")
        page.page.locator("#theme").press("Enter")
        assert page.json("getComputedStyle(document.documentElement).color") != before


def test_it_can_be_read_without_scripts(place: Path) -> None:
    """All numbers stand in the text."""
    text = (place / "page.html").read_text(encoding="utf-8").partition('<script type="application/json"')[0]
    for words in (
        "Squash 2 of 5 images",
        "squashkit squash IMAGE --keep-base",
        "Alone frees",
        "<svg",
        "a:2",
    ):
        assert words in text, words
    assert text.count("<h3") == len(re.findall(r'<section class="panel" aria-labelledby="\w+">', text))


@pytest.mark.parametrize("guarded", [True, False], ids=["with its policy", "without it"])
def test_no_name_is_more_than_text(guarded: bool, visit: Open, place: Path) -> None:
    """Paths, steps and names that are markup are shown as they are called."""
    text = (place / "hostile.html").read_text(encoding="utf-8")
    assert [one for one in text if not one.isprintable() and one != "\n"] == []
    path = place / f"hostile-{guarded}.html"
    path.write_text(text if guarded else re.sub(r"<meta http-equiv[^>]*>", "", text), encoding="utf-8")
    page = visit(path)
    page.page.locator("#have select").select_option(["0", "1"])
    page.page.locator("summary").click()
    assert page.dialogs == []
    assert page.requests == [path.as_uri()]
    assert page.errors == []
    assert (
        page.json("document.querySelectorAll('img, iframe, object, embed, form, a:not(.skip)').length") == 0
    )
    assert page.json("document.querySelectorAll('script').length") == 2
    shown = page.page.locator("body").inner_text()
    assert any(name[:10] in shown for name in MARKUP)
    assert INVALID


def test_odd_fleets_have_a_page(tmp_path: Path) -> None:
    """One image without a file, one of an unknown base, and the same twice; the same bytes each time."""
    empty, alone = ImageSpec([layer()], ["empty:1"]), ImageSpec([blob("x", 9), blob("y", 9)], ["alone:1"])
    places = [str(path) for path in write(tmp_path, empty, alone)]
    assert "No layer holds a file of at least a byte." in fleet_page(places[0])
    text = fleet_page([*places, places[1]])
    assert "Named twice and counted once: alone:1." in text
    assert "No base is known of 1 image, left as built: alone:1." in text
    done = run("fleet", "report", *places, "--exclude", "empty:*", "-o", "-")
    assert "Left out by --exclude empty:*: 1 image." in done.out.decode()
    assert text == fleet_page([*places, places[1]])


def test_where_a_page_cannot_go(place: Path, tmp_path: Path) -> None:
    """It replaces nothing in silence, and no image ever; without an image there is none."""
    (tmp_path / "there.html").write_text("mine")
    assert_fails(run("fleet", "report", *paths(place), "-o", tmp_path / "there.html"), 2, "--force")
    assert (tmp_path / "there.html").read_text() == "mine"
    image = paths(place)[0]
    assert_fails(run("fleet", "report", image, "-o", image, "--force"), 2, "not overwritten")
    assert_fails(run("fleet", "report", "-o", tmp_path / "x.html"), 2, "needs images")
    assert_fails(run("fleet", "report", image, "-o", tmp_path / "no" / "x.html"), 2, "no file can be")


def test_a_hundred_images_are_less_than_a_megabyte(tmp_path: Path) -> None:
    """However many layers and files there are, the page stays small."""
    images = [
        on_base(SYSTEM, *(blob(f"{n}-{step}", 50 + step) for step in range(12)), tags=[f"app{n}:1"])
        for n in range(100)
    ]
    text = fleet_page([str(path) for path in write(tmp_path, SYSTEM, *images)])
    assert len(text) < 1_000_000
    assert text.count('<g class="leaf">') > 1000
