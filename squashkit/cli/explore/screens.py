"""What comes up over the panels: keys, the details of a path, what a squash would give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from squashkit.cli.explore.lines import Lines

KEYS = (
    ("Tab", "from the layers to the tree and back"),
    ("↑ ↓  j k", "a line up or down"),
    ("← →  h l", "close or open a folder; also from the tree to the layers and back"),
    ("PgUp PgDn", "a page up or down; also Ctrl-B and Ctrl-F"),
    ("Ctrl-U -D", "half a page up or down"),
    ("Home End", "the first or last line; also g and G"),
    ("[ ]", "the layer before or after"),
    ("Enter", "open or close a folder; details of a file; from a layer to the tree"),
    ("i", "details of a file or a folder"),
    ("*  -", "open all below; close all folders"),
    ("t", "this layer, or the root file system up to it"),
    ("w", "dead bytes of all layers by folder, and back"),
    ("b", "what a squash gives at each boundary"),
    ("f", "show all, added, changed, removed or dead"),
    ("a c r d", "only these; once more for all"),
    ("s", "sort by name, size or dead bytes"),
    ("/  n N", "find; the next and the one before"),
    ("Esc", "back; all is shown again"),
    ("q", "quit"),
)
LETTERS = (
    ("A", "added by the layer"),
    ("C", "changed: the layer has it again"),
    ("R", "removed: the layer hides it"),
    ("D", "dead: the layer has it, and a layer above replaces or hides it"),
    ("B", "a layer of the base"),
)


class Page(Lines):
    """Lines to read; the cursor is where the page begins to scroll."""

    DEFAULT_CSS = "Page > .lines--cursor, Page > .lines--blurred { background: $panel; text-style: none; }"
    texts: Sequence[Text] = ()

    def count(self) -> int:
        return len(self.texts)

    def line(self, index: int, width: int) -> Text:
        return self.texts[index].copy()

    def move_to(self, index: int, *, told: bool = False) -> None:
        """Scroll, and keep what is at the top in mind."""
        last = max(0, self.count() - self.size.height)
        self.cursor = max(0, min(index, last))
        self.scroll_to(y=self.cursor, animate=False, force=True, immediate=True)
        self.refresh()


class PageScreen(ModalScreen[None]):
    """A titled page over the panels; Esc or q closes it."""

    CSS = """
    PageScreen { align: center middle; background: $background 60%; }
    PageScreen > Vertical {
        width: 100%; max-width: 100; height: 100%; max-height: 90%; background: $panel;
        border: round $accent; border-title-color: $text; border-subtitle-color: $text;
    }
    PageScreen Page { background: $panel; height: 1fr; }
    PageScreen.-narrow > Vertical, PageScreen.-low > Vertical { max-height: 100%; max-width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss", "close", show=False),
    ]

    def __init__(self, title: str, texts: Callable[[int], Sequence[Text]]) -> None:
        """`texts` makes the lines, for so many columns."""
        super().__init__()
        self._heading = title
        self._texts = texts

    def compose(self) -> ComposeResult:
        box = Vertical(Page())
        box.border_title = self._heading
        box.border_subtitle = "Esc close"
        yield box

    def on_mount(self) -> None:
        self.query_one(Page).focus()
        self.call_after_refresh(self.fill)

    def on_resize(self) -> None:
        self.call_after_refresh(self.fill)

    def show(self, texts: Callable[[int], Sequence[Text]]) -> None:
        """Show other lines: what was waited for is there, and somebody may have gone on."""
        self._texts = texts
        if self.is_attached:
            self.fill()

    def fill(self) -> None:
        """Make the lines for the width that there is."""
        page = self.query_one(Page)
        page.texts = self._texts(max(10, page.scrollable_content_region.width - 1))
        page.reload(page.cursor)
        more = "j k scroll   " if page.count() > page.size.height else ""
        self.query_one(Vertical).border_subtitle = f"{more}Esc close"


def plain(lines: Sequence[str]) -> list[Text]:
    """Lines as they are: nothing in them marks up."""
    return [Text(line) for line in lines]


_KEYS = 11
"""Columns of the keys and letters on the page of keys."""


def help_texts(styles: dict[str, str]) -> Callable[[int], Sequence[Text]]:
    """The keys and the letters."""

    def rows(pairs: Sequence[tuple[str, str]], width: int) -> Iterator[Text]:
        for key, what in pairs:
            first, *more = wrap(what, max(10, width - _KEYS))
            yield Text.assemble((f"{key:<{_KEYS}}", styles.get(key, "bold")), first)
            yield from (Text(" " * _KEYS + line) for line in more)

    def texts(width: int) -> list[Text]:
        letters, keys = rows(LETTERS, width), rows(KEYS, width)
        return [Text("Letters", "bold"), *letters, Text(), Text("Keys", "bold"), *keys]

    return texts


class Hints(Static):
    """The keys at the foot: as many as there is room for, those to be had in any case last."""

    DEFAULT_CSS = "Hints { height: 1; background: $panel; }"
    hints: Sequence[tuple[str, str]] = ()
    always: Sequence[tuple[str, str]] = ()

    def show(
        self,
        hints: Sequence[tuple[str, str]],
        always: Sequence[tuple[str, str]] = (("?", "help"), ("q", "quit")),
    ) -> None:
        """Show other keys; `always` are those that are left out nowhere."""
        self.hints, self.always = hints, always
        self.refresh()

    def render(self) -> Text:
        width = self.size.width

        def length(pairs: Sequence[tuple[str, str]]) -> int:
            return sum(len(key) + len(what) + 3 for key, what in pairs)

        shown = list(self.hints)
        while shown and length([*shown, *self.always]) > width + 2:
            shown.pop()
        text = Text(no_wrap=True, end="")
        for key, what in [*shown, *self.always]:
            text.append(key, "bold reverse")
            text.append(f" {what}  ")
        return text
