"""The page as a person uses it: its numbers are those of `waste`, keys alone suffice, and no name of an
image is more than text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from squashkit.amounts import size
from squashkit.errors import show_text
from squashkit.report.html.render import data_text
from tests.support.browser import Open, Visit, browsing
from tests.support.builders import docker_archive_old
from tests.support.reports import INVALID, MARKUP, SLASH, hostile, write_images
from tests.support.runner import Json, run


@pytest.fixture(scope="module")
def visit() -> Iterator[Open]:
    """Opens a page in the browser."""
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the page of one image, of two, of one of many layers, and of the hostile one."""
    folder = tmp_path_factory.mktemp("pages")
    write_images(folder)
    docker_archive_old(folder / "hostile.tar", [hostile()])
    app = f"{folder}/app.tar:app:1"
    for name, images in (
        ("one", [app]),
        ("two", [app, f"{folder}/other.tar"]),
        ("high", [f"{folder}/high.tar"]),
        ("hostile", [f"{folder}/hostile.tar"]),
    ):
        done = run("report", *images, "-o", folder / f"{name}.html")
        assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def told(place: Path) -> Json:
    """What `waste --json` says of the first image."""
    return run("waste", f"{place}/app.tar:app:1", "--json").json


def active(page: Visit, what: str = "textContent") -> Any:
    """Something of the element that has the focus."""
    return page.json(f"document.activeElement.{what}")


def shown_rows(page: Visit) -> list[list[str]]:
    """The cells of the findings that are to be seen, in order."""
    rows: list[list[str]] = page.json(
        "[...document.querySelectorAll('.findings tbody tr')].filter((row) => row.offsetParent)"
        ".map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    return rows


def sorted_by(page: Visit) -> dict[str, str]:
    """The columns by which the findings are sorted, and how."""
    sorts: dict[str, str] = page.json(
        "Object.fromEntries([...document.querySelectorAll('.findings th')]"
        ".map((head) => [head.dataset.column, head.getAttribute('aria-sort')]))"
    )
    return {column: how for column, how in sorts.items() if how != "none"}


# --- numbers ----------------------------------------------------------------------------------


def test_the_headline_is_what_waste_tells(visit: Open, place: Path, told: Json) -> None:
    """Each number, and what is read of it."""
    page = visit(place / "one.html")
    facts: dict[str, list[str]] = page.json(
        "Object.fromEntries([...document.querySelectorAll('.fact')].map((one) => "
        "[one.dataset.fact, [one.dataset.number, one.querySelector('dd').firstChild.textContent.trim()]]))"
    )
    saving = told["savings"][told["base"]["layers"]]["bytes"]
    amounts = {
        "diff_size": sum(one["diff_size"] for one in told["layers"]),
        "above_base": told["dead"]["above_base"],
        "of_base": told["dead"]["of_base"],
        "live": sum(one["bytes"] for one in told["live"]),
        "duplicates": told["duplicates"]["bytes"],
        "saving": saving,
    }
    assert all(amounts.values()), "each has something to show"
    expected = {name: [str(value), size(value)] for name, value in amounts.items()}
    layers = str(len(told["layers"]))
    assert facts == {**expected, "layers": [layers, layers]}


def test_layers_are_what_waste_tells(visit: Open, place: Path, told: Json) -> None:
    """The table has each layer's numbers, and the bars are drawn from the same."""
    page = visit(place / "one.html")
    page.draw()
    table: list[dict[str, int]] = page.json(
        "[...document.querySelectorAll('.layers tbody tr')].map((row) => Object.fromEntries("
        "[...row.querySelectorAll('[data-name]')].map((one) => [one.dataset.name, +one.dataset.bytes])))"
    )
    names = {"stored": "size", "uncompressed": "diff_size", "files": "content_size", "dead": "dead_size"}
    assert table == [{ours: one[theirs] for ours, theirs in names.items()} for one in told["layers"]]
    shown, dead = page.json("document.querySelector('[data-chart=bars]').data.map((one) => [...one.x])")
    assert dead == [one["dead_size"] for one in told["layers"]]
    assert [a + b for a, b in zip(shown, dead, strict=True)] == [
        one["content_size"] for one in told["layers"]
    ]


def test_pictures_add_up_to_what_waste_tells(visit: Open, place: Path, told: Json) -> None:
    """One is of all bytes of files that are not dead, the other of those that are; both are drawn."""
    page = visit(place / "one.html")
    page.draw()
    content = sum(one["content_size"] for one in told["layers"])
    for name, total in (("files", content - told["dead"]["bytes"]), ("dead", told["dead"]["bytes"])):
        picture = page.json(
            f"(({{values, parents}}) => [values, parents].map((one) => [...one]))"
            f"(document.querySelector('[data-chart={name}]').data[0])"
        )
        values, parents = picture
        assert values[0] == total
        assert sum(value for value, above in zip(values, parents, strict=True) if above == "0") == total
        assert page.page.locator(f"[data-chart={name}] .slice").count() > 3
        assert size(total) in page.page.locator(f"[data-tree={name}] .status").inner_text()


def test_findings_add_up_to_what_waste_tells(visit: Open, place: Path, told: Json) -> None:
    """By kind, by cause and layers, by rule; and the status says the sum of what is shown."""
    page = visit(place / "one.html")
    rows: list[list[str]] = page.json(
        "[...document.querySelectorAll('.findings tbody tr')].map((row) => [row.dataset.kind,"
        " row.dataset.bytes, row.dataset.layer, row.dataset.by, row.dataset.files, row.cells[2].innerText])"
    )
    sums = {kind: sum(int(row[1]) for row in rows if row[0] == kind) for kind in ("dead", "live", "equal")}
    assert sums == {
        "dead": told["dead"]["bytes"],
        "live": sum(one["bytes"] for one in told["live"]),
        "equal": told["duplicates"]["bytes"],
    }
    assert sum(int(row[4]) for row in rows if row[0] == "dead") == len(told["dead"]["paths"])
    for cause, amount in told["dead"]["causes"].items():
        found = [int(row[1]) for row in rows if row[0] == "dead" and row[5].split()[1] == cause]
        assert sum(found) == amount, cause
    for one in told["live"]:
        assert ["live", str(one["bytes"]), str(one["layer"])] in [row[:3] for row in rows]
    status = page.page.locator(".filters .status").inner_text()
    assert status == f"{len(rows)} of {len(rows)} rows, {size(sum(sums.values()))}"


def test_mends_and_savings_are_what_waste_tells(visit: Open, place: Path, told: Json) -> None:
    """Each mend with its bytes, and what a squash saves for every number of kept layers."""
    page = visit(place / "one.html")
    mends: list[list[str]] = page.json(
        "[...document.querySelectorAll('.mends li')].map((one) => [one.dataset.bytes || '', one.innerText])"
    )
    assert len(mends) == len(told["mends"]) > 1
    for (amount, text), one in zip(mends, told["mends"], strict=True):
        assert amount == ("" if one["bytes"] is None else str(one["bytes"]))
        assert one["text"].replace("`", "") in " ".join(text.split())
    saved: list[int] = page.json(
        "[...document.querySelectorAll('[data-keep]')].map((one) => Number(one.dataset.bytes))"
    )
    assert saved == [one["bytes"] for one in told["savings"]]
    plain = sum(one["diff_size"] for one in told["layers"])
    after = plain - told["savings"][1]["bytes"]
    row = page.page.locator(".squash tr", has_text="uncompressed").inner_text().split("\t")
    assert row[1:3] == [size(plain), size(after)]


def test_colours_are_those_of_the_table(visit: Open, place: Path) -> None:
    """A rectangle has the colour of its layer's swatch; where colours come again there is a pattern."""
    page = visit(place / "high.html")
    page.draw()
    swatches: list[list[str]] = page.json(
        "[...document.querySelectorAll('.swatch')].map((one) => getComputedStyle(one))"
        ".map((one) => [one.backgroundColor, one.backgroundImage])"
    )
    assert len({tuple(one) for one in swatches}) == len(swatches) == 20
    picture: list[list[str]] = page.json(
        "(({marker: {colors, pattern}, labels}) => labels.map((label, at) =>"
        " [label, colors[at], pattern.shape[at]]))"
        "(document.querySelector('[data-chart=files]').data[0])"
    )
    seen = {label: (colour, shape) for label, colour, shape in picture if label.startswith("d")}
    assert len(seen) == len({*seen.values()}) == 20
    for label, (colour, shape) in seen.items():
        ours, image = swatches[int(label[1:-1])]
        assert ours == f"rgb({', '.join(str(int(colour[at : at + 2], 16)) for at in (1, 3, 5))})"
        assert (image == "none") is (shape == "")


# --- use --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        ("one", 1280, False),
        ("one", 390, True),
        ("two", 390, False),
        ("two", 1280, True),
        ("high", 1280, False),
        ("hostile", 390, False),
    ],
)
def test_nothing_is_loaded_and_nothing_sticks_out(
    name: str, width: int, dark: bool, visit: Open, place: Path
) -> None:
    """On a phone as on a desk, light or dark: no request but for the file, no fault of a script, no page
    that is wider than the window, no picture that is empty."""
    page = visit(place / f"{name}.html", width=width, dark=dark)
    page.draw()
    assert page.requests == [(place / f"{name}.html").as_uri()]
    assert page.errors == []
    assert page.json("document.documentElement.scrollWidth") <= width
    drawn: list[int] = page.json(
        "[...document.querySelectorAll('[data-chart]')]"
        ".map((one) => one.querySelectorAll('.point, .slice').length)"
    )
    assert drawn
    assert all(drawn)
    back = page.json("getComputedStyle(document.documentElement).backgroundColor")
    assert (back == "rgb(255, 255, 255)") is not dark


def test_findings_are_searched_and_chosen(visit: Open, place: Path) -> None:
    """By words that a row has, all of them, whatever their case, and by kind; the status counts."""
    page = visit(place / "one.html")
    everything = len(shown_rows(page))
    search = page.page.get_by_label("Search")
    search.fill("SITE attributes")
    found = shown_rows(page)
    assert 0 < len(found) < everything
    assert all("site" in row[5] and "attributes" in row[2] for row in found)
    assert page.page.locator(".filters .status").inner_text().startswith(f"{len(found)} of ")
    search.fill("nowhere")
    assert shown_rows(page) == []
    search.fill("")
    page.page.locator(".filters select").select_option("live")
    assert {row[2].split()[0] for row in shown_rows(page)} == {"live"}


def test_all_rows_are_shown_on_demand(visit: Open, place: Path) -> None:
    """At first there are 50, and a button for the rest."""
    page = visit(place / "one.html")
    total = page.page.locator(".findings tbody tr").count()
    assert total > 50
    assert len(shown_rows(page)) == 50
    page.page.get_by_role("button", name=f"Show all {total} rows").press("Enter")
    assert len(shown_rows(page)) == total
    assert page.page.locator("button.all").is_hidden()


def test_columns_are_sorted_by_keys(visit: Open, place: Path) -> None:
    """Tab goes from the search to the heads, Enter sorts and turns round, and aria-sort says how."""
    page = visit(place / "one.html")
    assert sorted_by(page) == {"bytes": "descending"}
    page.page.get_by_label("Search").focus()
    for expected in ("everything", "Size", "Files", "Why", "Layer"):
        page.page.keyboard.press("Tab")
        if expected != "everything":
            assert active(page) == expected
    page.page.keyboard.press("Enter")
    assert sorted_by(page) == {"layer": "descending"}

    def layers() -> list[int]:
        return [-1 if row[3] == "–" else int(row[3]) for row in shown_rows(page)]

    assert layers() == sorted(layers(), reverse=True)
    page.page.keyboard.press("Enter")
    assert sorted_by(page) == {"layer": "ascending"}
    assert layers() == sorted(layers())
    assert len({*layers()}) > 1
    assert active(page) == "Layer", "the focus stays"
    for _ in range(2):
        page.page.keyboard.press("Tab")
    page.page.keyboard.press("Enter")
    places = [row[5] for row in shown_rows(page)]
    assert sorted_by(page) == {"where": "ascending"}
    assert len({*places}) > 10
    assert [place.split("\n")[0] for place in places] == sorted(place.split("\n")[0] for place in places)


def test_a_picture_is_walked_by_keys(visit: Open, place: Path) -> None:
    """The list below it opens with Enter, goes down by buttons and up by those above the picture; the
    picture and what is said of it follow."""
    page = visit(place / "one.html")
    tree = page.page.locator("[data-tree=files]")
    page.page.locator("[data-chart=files]").scroll_into_view_if_needed()
    summary = tree.get_by_text("The same as a list")
    summary.press("Enter")
    tree.get_by_role("button", name="Open var/lib/apt/lists/").press("Enter")
    assert tree.get_by_role("status").inner_text().startswith("/var/lib/apt/lists/: 90 KB, ")
    assert tree.locator(".rows tbody th").all_inner_texts() == [f"{n}_Packages" for n in range(3)]
    assert page.json("document.querySelector('[data-chart=files]').data[0].level") != "0"
    assert active(page, "getAttribute('aria-current')") == "location"
    page.page.keyboard.press("Shift+Tab")
    assert active(page) == "/"
    page.page.keyboard.press("Enter")
    assert tree.get_by_role("status").inner_text().startswith("/: ")
    assert page.json("document.querySelector('[data-chart=files]').data[0].level") == "0"


def test_a_picture_is_walked_by_the_mouse(visit: Open, place: Path) -> None:
    """A click on a directory goes there, a click on its head goes up again, one on a file does nothing."""
    page = visit(place / "one.html")
    page.draw()
    tree = page.page.locator("[data-tree=files]")

    def click(text: str) -> None:
        tree.locator(".slicetext", has_text=re.compile(f"^{re.escape(text)}")).first.click(force=True)

    click("var/lib/apt/lists/")
    status = tree.get_by_role("status")
    assert status.inner_text().startswith("/var/lib/apt/lists/: 90 KB")
    click("1_Packages")
    assert status.inner_text().startswith("/var/lib/apt/lists/: 90 KB")
    click("var/lib/apt/lists/")
    assert status.inner_text().startswith("/: ")


@pytest.mark.parametrize("dark", [False, True])
def test_the_button_turns_the_colours_round(dark: bool, visit: Open, place: Path) -> None:
    """From what is preferred to the other and back, the pictures' texts as well."""
    page = visit(place / "one.html", dark=dark)
    page.draw()

    def colours() -> list[str]:
        found: list[str] = page.json(
            "[getComputedStyle(document.documentElement).color,"
            " document.querySelector('[data-chart=bars]').layout.font.color]"
        )
        return found

    before = colours()
    button = page.page.get_by_role("button", name=re.compile("Switch to"))
    button.press("Enter")
    assert not {*before} & {*colours()}
    button.press("Enter")
    assert colours() == before


def test_every_picture_is_told_in_words(visit: Open, place: Path) -> None:
    """Each has a label with a number of bytes; what is interactive has a name, and each table its head."""
    page = visit(place / "two.html")
    page.draw()
    labels = page.page.locator("[role=img]").evaluate_all("(all) => all.map((one) => one.ariaLabel)")
    assert len(labels) == 2 * 2 + 1, "the second image has nothing dead to draw"
    assert all(re.search(r"\d [KMG]?B", label) for label in labels)
    nameless = page.json(
        "[...document.querySelectorAll('button, a, summary')]"
        ".filter((one) => !one.textContent.trim()).length"
    )
    assert nameless == 0
    assert page.json("[...document.querySelectorAll('table')].filter((one) => !one.tHead).length") == 0
    page.page.locator("nav a").last.press("Enter")
    assert page.json("location.hash") == "#image-2"


def test_the_page_says_its_numbers_without_scripts(place: Path) -> None:
    """The tables stand in the text itself."""
    text = (place / "one.html").read_text(encoding="utf-8").partition('<script type="application/json"')[0]
    assert text.count('<tr role="row" data-kind=') > 50
    assert text.count('<tr role="row" data-layer=') == 4
    assert "<noscript>" in text


# --- contrast ---------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """As WCAG 2 defines it, of `#rrggbb`."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_texts_stand_out(place: Path) -> None:
    """4.5 to 1 for each colour of texts on each ground, in light and dark; also for texts in pictures."""
    css = (place / "one.html").read_text(encoding="utf-8").partition("</style>")[0]
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in re.findall(r"\{[^{}]+\}", css)]
    themes = [theme for theme in themes if theme]
    assert len(themes) == 3, "light, dark by preference, dark by the button"
    assert themes[1] == themes[2]
    for theme in themes:
        for text in ("text", "dim", "link", "dead", "live", "equal"):
            for ground in ("back", "panel", "chip"):
                assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        for bar in ("shown", "dead"):
            assert contrast(theme[bar], theme["panel"]) >= 3, bar
    swatches = re.findall(r"\.c\d \{ background-color: (#\w{6})", css)
    assert len({*swatches}) == 9
    assert all(contrast(one, "#111111") >= 4.5 for one in swatches)


# --- hostile images ---------------------------------------------------------------------------


@pytest.mark.parametrize("guarded", [True, False], ids=["with its policy", "without it"])
def test_no_name_is_more_than_text(guarded: bool, visit: Open, place: Path) -> None:
    """Paths, steps and names that are markup, or bytes that are no text, are shown as they are called: no
    dialog, no request, no element and no link of theirs; also where the browser knew of no policy."""
    text = (place / "hostile.html").read_text(encoding="utf-8")
    path = place / f"hostile-{guarded}.html"
    without, number = re.subn(r"<meta http-equiv[^>]*>", "", text)
    assert number == 1
    path.write_text(text if guarded else without, encoding="utf-8")
    page = visit(path)
    page.draw()
    labels = page.page.locator("[data-chart=files] .slicetext").all_text_contents()
    for name in (MARKUP[1][:12], "<b>bold", "<a href='∕∕e.example"):
        assert [one for one in labels if one.startswith(name)], (name, labels)
    steps = page.page.locator("[data-chart=bars] .ytick").all_text_contents()
    assert steps[0].split()[1].startswith(MARKUP[0])
    for name in ("files", "dead"):
        tree = page.page.locator(f"[data-tree={name}]")
        tree.get_by_text("The same as a list").click()
        tree.locator(".rows tbody button").first.click()
        page.page.locator(f"[data-chart={name}]").hover(position={"x": 40, "y": 60})
    page.page.locator("button.all").click()
    assert page.dialogs == []
    assert page.requests == [path.as_uri()]
    assert page.errors == []
    assert page.json("document.querySelectorAll('img, iframe, object, embed, form').length") == 0
    assert page.json("document.querySelectorAll('script').length") == 3
    assert (
        page.json("document.querySelectorAll('[onerror], [onload], .chart a, a[href^=javascript]').length")
        == 0
    )
    where = " ".join(row[5] for row in shown_rows(page))
    for name in MARKUP:
        assert show_text(name.replace("/", SLASH)) in where, name
    assert show_text(INVALID.decode("utf-8", "backslashreplace")) in where
    names = page.json("JSON.parse(document.getElementById('data').textContent)[0].files.names.join(' ')")
    assert show_text(MARKUP[4])[:20] in names
    assert names.isprintable()


def test_the_page_has_visible_signs_alone(place: Path) -> None:
    """Of names nothing is left that steers a text or its direction; a path of 4 kB is shortened."""
    text = (place / "hostile.html").read_text(encoding="utf-8")
    own = text.replace(max(re.findall(r"(?s)<script>(.*?)</script>", text), key=len), "")
    assert [one for one in own if not one.isprintable() and one != "\n"] == []
    assert max(map(len, re.findall(r"(?:long)+", own))) <= 300
    assert r"\xff\xfe\x80" in own


def test_data_ends_no_script() -> None:
    """What stands in a script is ASCII without signs that mean something to HTML."""
    text = data_text({"<!--": ["</script>", "&amp;", "\u2028\u2029\ud800é"]})
    assert text.isascii()
    assert not {*"<>&"} & {*text}
    assert text == (r'{"\u003c!--":["\u003c/script\u003e","\u0026amp;","\u2028\u2029\ud800\u00e9"]}')
