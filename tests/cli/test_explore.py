"""`squashkit explore` as a person at a terminal meets it: keys are pressed, and what the screen shows is
read."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from squashkit.amounts import size
from squashkit.options import Keep, Run, Which
from tests.support.builders import (
    ImageSpec,
    directory,
    docker_archive_old,
    file,
    layer,
    oci_layout,
    symlink,
    whiteout,
)
from tests.support.runner import COMMAND, assert_fails, run, run_process

pytest.importorskip("textual")

from squashkit.cli.explore.app import ExploreApp
from squashkit.cli.shared import Looking

BASE = ImageSpec(
    [layer(directory("etc"), file("etc/os", b"o" * 3000), file("etc/conf", b"1"))],
    ["base:1"],
    history=[{"created_by": "ADD base.tar /"}],
)
STEPS = ["ADD base.tar /", "RUN install", "RUN clean"]
APP = ImageSpec(
    [
        *BASE.layers,
        layer(
            directory("etc"),
            file("etc/conf", b"22", mode=0o640, uid=7, xattrs={"user.k": b"v"}),
            *(file(f"cache/{i:03}.deb", b"x" * 2000) for i in range(100)),
            file("srv/www/page", b"p" * 100),
            symlink("link", "etc/conf"),
        ),
        layer(whiteout("cache"), file("srv/www/page", b"P" * 100)),
    ],
    ["app:1"],
    history=[{"created_by": step} for step in STEPS],
)
WIDE, NARROW = (120, 40), (40, 24)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The app and its base in an archive; no catalogue says anything."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = tmp_path / "app.tar"
    docker_archive_old(path, [APP, BASE])
    return path


@dataclass(frozen=True, slots=True)
class Seen:
    """What a screen showed after keys were pressed, and how the application ended if it did."""

    text: str
    error: Exception | None

    @property
    def lines(self) -> list[str]:
        """Those of the screen, without a scrollbar at their ends."""
        return [line.rstrip(" ▁▂▃▄▅▆▇█") for line in self.text.splitlines()]

    @property
    def tree(self) -> list[str]:
        """The lines of the tree, at the right of 80 columns or more."""
        rows = [line.partition("│")[2].rstrip() for line in self.lines if "│" in line]
        return [row for row in rows[2:] if row]

    @property
    def names(self) -> list[str]:
        """The names in the tree, without what stands before them."""
        return [row[16:].lstrip(" ▸▾") for row in self.tree]

    @property
    def page(self) -> list[str]:
        """The lines of the page that lies over the panels."""
        return [line.split("│")[1].rstrip() for line in self.lines if line.count("│") >= 2]

    @property
    def foot(self) -> tuple[str, str]:
        """The line of the path and that of the keys."""
        return self.lines[-2], self.lines[-1]


def press(
    image: str | Path,
    *keys: str,
    screen: tuple[int, int] = (80, 24),
    keep: Keep = Keep(),
    which: Which = Which(),
) -> Seen:
    """Start the application, press keys one after another, and see what the screen shows then. `click X Y`
    is a click."""

    async def drive() -> Seen:
        app = ExploreApp(str(image), keep, Looking(which, Run()))
        async with app.run_test(size=screen) as pilot:

            async def settle() -> None:
                await pilot.pause()
                while len(app.workers):
                    await app.workers.wait_for_complete()
                    await pilot.pause()

            await settle()
            for key in keys:
                if key.startswith("click "):
                    _, x, y = key.split()
                    await pilot.click(offset=(int(x), int(y)))
                else:
                    await pilot.press(key)
                await settle()
            await pilot.pause(0.12)  # the line of the path is written anew ten times a second
            shown = app.screen._compositor.render_strips() if app.is_running else []
            text = "\n".join(strip.text for strip in shown)
        return Seen(text, app.return_value)

    return asyncio.run(drive())


def test_layers_stand_beside_what_they_did(archive: Path) -> None:
    """The layers have number, size, dead bytes and step, the base's a B; the first above the base is shown,
    with a letter for what it did."""
    seen = press(f"{archive}:app:1")
    assert seen.lines[0] == "app:1   3 layers, 270 KB, 200 KB dead   base: base:1 (1 layer)   linux/amd64"
    assert [line.partition("│")[0].rstrip() for line in seen.lines[1:6]] == [
        "Layers",
        " #   size   dead  step",
        "B0 6.1 KB    1 B  ADD base.tar /",
        " 1 261 KB 200 KB  install",
        " 2 2.6 KB         clean",
    ]
    assert seen.lines[1].endswith("│Layer 1: install")
    assert seen.lines[2].endswith("│     size   dead    name   A 105  C 1  D 101")
    assert seen.tree == [
        "A  200 KB 200 KB ▸ cache/",
        "      2 B        ▸ etc/",
        "A                  link -> etc/conf",
        "A   100 B  100 B ▸ srv/",
    ]
    assert seen.foot == (
        "/cache",
        "Tab side  Enter open  / find  f filter  t whole  w waste  b gain  ? help  q quit",
    )


def test_the_cursor_chooses_a_layer(archive: Path) -> None:
    """Down, j and ] go to the layer above, up, k and [ to the one below; G and g to the last and first."""
    for keys in (["down"], ["j"], ["right_square_bracket"], ["G"], ["tab", "right_square_bracket"]):
        assert "Layer 2: clean" in press(f"{archive}:app:1", *keys).text, keys
    for keys in (["up"], ["k"], ["left_square_bracket"], ["g"], ["j", "k", "k"]):
        assert "Layer 0: ADD base.tar /" in press(f"{archive}:app:1", *keys).text, keys


def test_folders_open_by_arrows_enter_and_vim_keys(archive: Path) -> None:
    """A folder of one folder opens both; left closes it, and on a file goes to the folder above."""
    for key in ("enter", "right", "l"):
        seen = press(f"{archive}:app:1", "tab", "G", key)
        assert seen.names[-3:] == ["srv/", "www/", "page"], key
        assert seen.tree[-1] == "AD  100 B  100 B     page"
    for keys in (["enter"], ["left"], ["h"], ["j", "j", "h", "h", "h"], ["minus"]):
        seen = press(f"{archive}:app:1", "tab", "G", "l", *keys)
        assert seen.names[-2:] in (["link -> etc/conf", "srv/"], ["srv/", "www/"]), keys
        assert seen.foot[0] in ("/srv", "/srv/www"), keys


def test_left_and_right_go_between_the_panels(archive: Path) -> None:
    """On a layer right and Enter go to the tree, in whose root left goes back; Tab goes both ways."""
    for into in ("right", "l", "enter", "tab", "shift+tab"):
        assert press(f"{archive}:app:1", into, "G").foot[0] == "/srv", into
        for back in ("left", "h", "tab"):
            assert "Layer 2: clean" in press(f"{archive}:app:1", into, "G", back, "G").text, (into, back)


def test_clicks_choose_and_open(archive: Path) -> None:
    """A click on a layer shows it, one on a folder puts the cursor there, and another one opens it."""
    assert "Layer 2: clean" in press(f"{archive}:app:1", "click 5 5").text
    seen = press(f"{archive}:app:1", "click 60 6")
    assert seen.foot[0] == "/srv"
    assert seen.names[-1] == "srv/"
    assert press(f"{archive}:app:1", "click 60 6", "click 60 6").names[-1] == "page"
    assert press(f"{archive}:app:1", "click 60 15").foot[0] == "/cache"


def test_the_switch_shows_the_whole_root_file_system(archive: Path) -> None:
    """`t` shows all that the layers up to this one made, and once more what the layer did; open folders
    stay open."""
    seen = press(f"{archive}:app:1", "tab", "j", "l", "t")
    assert "Root file system up to layer 1: install" in seen.text
    assert seen.names == ["cache/", "etc/", "conf", "os", "link -> etc/conf", "srv/"]
    assert "t this layer" in seen.foot[1]
    again = press(f"{archive}:app:1", "tab", "j", "l", "t", "t")
    assert again.names == ["cache/", "etc/", "conf", "link -> etc/conf", "srv/"]


@pytest.mark.parametrize(
    ("key", "word", "names"),
    [
        ("a", "added", ["cache/", "link -> etc/conf", "srv/"]),
        ("c", "changed", ["etc/"]),
        ("d", "dead", ["cache/", "srv/"]),
    ],
)
def test_filters_show_one_mark_alone(key: str, word: str, names: list[str], archive: Path) -> None:
    """Each has its key, and `f` comes to it in turn; the same key and Esc show all again."""
    seen = press(f"{archive}:app:1", key)
    assert seen.names == names
    assert f"only {word}  (Esc all)" in seen.text
    turn = ["added", "changed", "removed", "dead"].index(word) + 1
    assert press(f"{archive}:app:1", *["f"] * turn).names == names
    for back in (key, "escape"):
        assert len(press(f"{archive}:app:1", key, back).names) == 4


def test_a_filter_that_finds_nothing_says_so(archive: Path) -> None:
    """In the place of the tree stands that nothing is removed; a layer above has what is."""
    seen = press(f"{archive}:app:1", "r")
    assert " ".join(" ".join(seen.tree).split()) == "nothing is removed here; Esc shows all again"
    above = press(f"{archive}:app:1", "r", "right_square_bracket")
    assert above.tree == ["R  200 KB        ▸ cache/"]


def test_search_goes_from_one_to_the_next(archive: Path) -> None:
    """`/` asks for a part of a path or a glob; `n` and `N` go on and back, and round at the ends."""
    start = [f"{archive}:app:1", "slash", "0", "0", "question_mark", "full_stop", "d", "e", "b", "enter"]
    assert press(*start).foot[0] == "/cache/000.deb   1 of 10 for 00?.deb"
    seen = press(*start, "n", "n")
    assert seen.foot[0] == "/cache/002.deb   3 of 10 for 00?.deb"
    assert seen.names[:4] == ["cache/", "000.deb", "001.deb", "002.deb"]
    assert press(*start, "N").foot[0] == "/cache/009.deb   10 of 10 for 00?.deb"
    part = press(f"{archive}:app:1", "slash", "W", "W", "slash", "enter")
    assert part.foot[0] == "/srv/www/page   1 of 1 for WW/"


def test_search_says_what_it_does_not_find(archive: Path) -> None:
    """What is not there and what is no glob are told in the line of the path; Esc ends the question."""
    missing = "nothing here is called xy; t shows the whole root file system"
    assert press(f"{archive}:app:1", "slash", "x", "y", "enter").foot[0] == missing
    bad = ("left_square_bracket", "z", "minus", "a", "right_square_bracket")
    assert "is no glob" in press(f"{archive}:app:1", "slash", *bad, "enter").foot[0]
    asked = press(f"{archive}:app:1", "slash", "q")
    assert asked.foot == ("/ q", "Enter find  Esc back")
    assert press(f"{archive}:app:1", "slash", "q", "escape").foot[0] == "/cache"


def test_waste_by_folder_stands_largest_first(archive: Path) -> None:
    """`w` sums the dead bytes of all layers by folder; a dead file names its layer and its killer; `w`
    leads back."""
    seen = press(f"{archive}:app:1", "w", "l")
    assert "Dead bytes of all layers by folder: 200 KB" in seen.text
    assert seen.tree[:2] == ["      100 200 KB ▾ cache/", " D      1 2.0 KB    000.deb  layer 1, by 2"]
    assert press(f"{archive}:app:1", "w").names == ["cache/", "srv/", "etc/"]
    assert "Layer 1: install" in press(f"{archive}:app:1", "w", "w").text
    assert "Layer 2: clean" in press(f"{archive}:app:1", "w", "right_square_bracket").text


def test_names_are_sorted_by_what_is_asked_for(archive: Path) -> None:
    """`s` sorts by size, then by dead bytes, then by name again, and says so."""
    seen = press(f"{archive}:app:1", "t", "s")
    assert seen.names == ["cache/", "etc/", "srv/", "link -> etc/conf"]
    assert seen.foot[0] == "/cache   by size"
    assert press(f"{archive}:app:1", "t", "s", "s").names == ["cache/", "srv/", "etc/", "link -> etc/conf"]
    assert press(f"{archive}:app:1", "t", "s", "s", "s").names[-1] == "srv/"


def test_each_boundary_has_its_saving(archive: Path) -> None:
    """`b` tells for each number of kept layers what a squash saves, as `waste` does, and the command."""
    waste = run("waste", f"{archive}:app:1", "--json").json
    page = press(f"{archive}:app:1", "b").page
    assert [line.split()[0] for line in page[1:4]] == ["0", "1", "2"]
    assert [size(one["bytes"]) for one in waste["savings"]] == ["260 KB", "258 KB", "0 B"]
    assert page[:4] == [
        "keep   saved    dead        the first layer that is merged",
        "   0  260 KB  200 KB        0: ADD base.tar /",
        "   1  258 KB  200 KB  base  1: install",
        "   2       -       -        2: clean",
    ]
    assert "  --keep-layers 1 -t NAME -o OUTPUT" in page
    assert press(f"{archive}:app:1", "b", "escape").names == press(f"{archive}:app:1").names


def test_details_say_what_which_says(archive: Path) -> None:
    """Enter on a file shows its mode, owner, size, time and xattrs, and each layer that holds it."""
    page = press(f"{archive}:app:1", "tab", "j", "l", "j", "enter", screen=WIDE).page
    assert page[:8] == [
        "/etc/conf",
        "kind       file",
        "mode       0640  -rw-r-----+",
        "owner      7:0",
        "time       1970-01-01 00:00:00 UTC",
        "size       2 B  (2 bytes)",
        "xattr user.k  v",
        "from       layer 1",
    ]
    assert page[9:14] == [
        "In the layers:",
        "  0  file of 1 B, dead: overwritten by layer 1",
        "     ADD base.tar /",
        "  1  file of 2 B, shown",
        "     install",
    ]


def test_details_of_what_is_removed_and_of_what_no_layer_lists(archive: Path) -> None:
    """A removed file says so; a folder that no layer lists has `i` for its details, too."""
    removed = press(f"{archive}:app:1", "right_square_bracket", "tab", "l", "j", "i").page
    assert removed[0] == "/cache/000.deb"
    assert "from       a layer below; removed by layer 2" in removed
    assert "It is not in the image's root file system." in removed
    unlisted = press(f"{archive}:app:1", "tab", "G", "i").page
    assert unlisted[2] == "A directory that no layer lists: 0755 and root's."


def test_help_lists_letters_and_keys(archive: Path) -> None:
    """`?` shows what each letter means and each key does; it scrolls where the screen is low."""
    page = press(f"{archive}:app:1", "question_mark", screen=WIDE).page
    assert page[1] == "A          added by the layer"
    assert page[-1] == "" or page[-1].startswith("q ")
    for words in ("t          this layer, or the root file system up to it", "q          quit"):
        assert words in page
    low = press(f"{archive}:app:1", "question_mark")
    assert "q          quit" not in low.page
    assert "j k scroll" in low.text
    assert "q          quit" in press(f"{archive}:app:1", "question_mark", "G").page
    assert "Letters" not in press(f"{archive}:app:1", "question_mark", "q").text


@pytest.mark.parametrize("screen", [(40, 24), (40, 12), (75, 16), (76, 24), (120, 40), (200, 50)])
def test_no_size_loses_the_way_out(screen: tuple[int, int], archive: Path) -> None:
    """On each screen the layers, the tree and the keys for help and the way out are there, and no line is
    longer than the screen."""
    seen = press(f"{archive}:app:1", screen=screen)
    assert len(seen.lines) == screen[1]
    assert max(map(len, seen.lines)) <= screen[0]
    assert "? help  q quit" in seen.foot[1]
    for words in ("install", "cache/", "link -> etc/conf"):
        assert words in seen.text


def test_a_narrow_screen_has_the_layers_above_the_tree(archive: Path) -> None:
    """Below 76 columns nothing stands beside another, and long texts of pages go on in the next line."""
    seen = press(f"{archive}:app:1", screen=NARROW)
    assert "│" not in seen.text
    assert seen.lines.index("Layers") < seen.lines.index("Layer 1: install")
    page = press(f"{archive}:app:1", "question_mark", screen=NARROW).page
    assert page[2:4] == ["C          changed: the layer has it", "           again"]


def test_a_long_folder_shows_where_the_cursor_is(archive: Path) -> None:
    """Page down and End move through a hundred files, of which the screen shows those at the cursor."""
    start = (f"{archive}:app:1", "tab", "l")
    assert press(*start, "pagedown").foot[0] == "/cache/017.deb"
    seen = press(*start, "end")
    assert seen.foot[0] == "/srv"
    assert seen.names[-4:] == ["099.deb", "etc/", "link -> etc/conf", "srv/"]
    assert press(*start, "ctrl+d", "ctrl+d", "ctrl+u").foot[0] == "/cache/008.deb"


EVIL = "x\x1b[31m\x9b2J\x7f\u202e\u2066\u200f[bold]\r\nINJECTED"


def test_no_text_of_an_image_steers_the_screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, targets, xattrs, steps and the image's own name are shown with their signs escaped; markup in
    them is text."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    evil = layer(
        file(EVIL, b"1", xattrs={f"user.{EVIL}": EVIL.encode()}),
        symlink("link", EVIL),
        file(b"bad\xff\xfe", b"2"),
    )
    history = [{"created_by": f"RUN {EVIL}"}] * 2
    oci_layout(tmp_path / "layout", [ImageSpec([evil, evil], [f"app{EVIL}:1"], history=history)])
    shown = r"x\x1b[31m\x9b2J\x7f\u202e\u2066\u200f[bold]\r\nINJECTED"
    for keys in ([], ["tab", "G", "enter"], ["w"], ["b"], ["tab", "G", "slash", "x", "1", "b", "enter"]):
        seen = press(tmp_path / "layout", *keys, screen=(160, 30))
        assert [c for c in seen.text if not c.isprintable() and c != "\n"] == [], keys
        assert seen.error is None
    assert shown in press(tmp_path / "layout", "tab", screen=(160, 30)).names
    assert f"link -> {shown}" in press(tmp_path / "layout", "tab", screen=(160, 30)).names
    assert r"bad\xff\xfe" in press(tmp_path / "layout", "tab", screen=(160, 30)).names
    page = press(tmp_path / "layout", "tab", "G", "enter", screen=(160, 30)).page
    assert page[0] == f"/{shown}"
    assert f"xattr user.{shown}" in page


def test_keys_do_no_harm_while_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image with one empty layer, and one without any, are shown; no key fails there."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    every = [*"jkhlgGitwsfacrdnN", "enter", "tab", "asterisk", "minus", "escape", "pagedown", "b", "escape"]
    for name, layers in (("one", [layer()]), ("none", [])):
        docker_archive_old(tmp_path / f"{name}.tar", [ImageSpec(layers, ["app:1"])])
        seen = press(tmp_path / f"{name}.tar", *every)
        assert seen.error is None
        assert "q quit" in seen.foot[1]
    assert "the image has no layers" in press(tmp_path / "none.tar").text


def test_the_base_can_be_named(archive: Path) -> None:
    """With --keep-layers and --keep-base the layers that are named are marked, as for `waste`."""
    named = press(f"{archive}:app:1", keep=Keep(layers=2))
    assert [line[0] for line in named.lines[3:6]] == ["B", "B", " "]
    assert "base: 2 layers" in named.lines[0]
    assert "base: base:1 (1 layer)" in press(archive, keep=Keep("base:1")).lines[0]
    assert "base: 0 layers" in press(f"{archive}:app:1", keep=Keep(layers=0)).lines[0]


def test_the_platform_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an index the platform's image is shown that is asked for."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    images = [
        ImageSpec([layer(file(f"for-{name}", b"1"))], ["app:1"], platform=f"linux/{name}")
        for name in ("amd64", "arm64")
    ]
    oci_layout(tmp_path / "layout", images, nested=True)
    seen = press(tmp_path / "layout", which=Which("linux/arm64"))
    assert seen.names == ["for-arm64"]
    assert seen.lines[0].endswith("linux/arm64")


# --- how it starts and ends ------------------------------------------------------------------


def test_what_cannot_be_opened_ends_it(tmp_path: Path) -> None:
    """The application gives back the error, and the command tells it."""
    seen = press(tmp_path / "nowhere.tar")
    assert "nowhere.tar" in str(seen.error)


def test_one_image_is_named_by_its_path(archive: Path) -> None:
    """Standard input is the keyboard's, and all platforms are not one; of several images one is chosen."""
    assert "name the archive by its path" in str(press("-").error)
    assert "name one platform" in str(press(archive, which=Which("all")).error)
    assert "holds several images" in str(press(archive).error)


def test_a_pipe_is_no_terminal(archive: Path) -> None:
    """Without a terminal it is one line that says what prints instead, and a usage error (2)."""
    assert_fails(run("explore", archive), 2, "explore needs a terminal", "inspect, ls, which and waste")
    assert_fails(run_process("explore", archive, stdin=b""), 2, "explore needs a terminal")


def test_a_missing_extra_is_told(archive: Path) -> None:
    """Without textual it is one line that says how to install it, and a usage error (2)."""
    with patch.dict(sys.modules, {"textual": None}):
        assert_fails(run("explore", archive), 2, "pip install 'squashkit[tui]'")


def test_help_needs_no_textual() -> None:
    """The command's help and the list of commands import nothing of the application."""
    code = "import sys; from squashkit.cli.explore import explore; print('textual' in sys.modules)"
    assert run_process("explore", "--help").code == 0
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


class Terminal:
    """The command in a terminal of its own, of 24 lines and 80 columns."""

    def __init__(self, *words: str | Path) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm-256color"
            os.execv(COMMAND[0], [*COMMAND, *map(str, words)])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.out = b""

    def wait_for(self, words: bytes) -> None:
        """Read until the screen was told these words."""
        end = time.monotonic() + 60
        while words not in self.out:
            assert time.monotonic() < end, self.out[-2000:]
            self.read()

    def read(self) -> bool:
        """Read what is there; False at the end."""
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.out += data
        return bool(data)

    def end(self) -> int:
        """Read to the end. Returns the exit code."""
        while self.read():
            pass
        os.close(self.fd)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_a_terminal_is_given_back(key: bytes, archive: Path) -> None:
    """In a real terminal it draws, ends by `q` and by Ctrl-C, and leaves the other screen and the cursor as
    they were."""
    terminal = Terminal("explore", f"{archive}:app:1")
    terminal.wait_for(b"install")
    os.write(terminal.fd, key)
    assert terminal.end() == 0
    assert terminal.out.rindex(b"\x1b[?1049l") > terminal.out.rindex(b"\x1b[?1049h")
    assert terminal.out.rindex(b"\x1b[?25h") > terminal.out.rindex(b"\x1b[?25l")


def test_an_error_is_told_after_the_screen(tmp_path: Path) -> None:
    """What cannot be opened is one clear line on the terminal that was there before, with its exit code."""
    terminal = Terminal("explore", tmp_path / "nowhere.tar")
    assert terminal.end() == 5
    assert b"squashkit: " in terminal.out.rpartition(b"\x1b[?1049l")[2]
