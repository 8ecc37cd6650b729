"""The application: it asks the image's thread for what a screen shows, and turns keys into questions."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from textwrap import wrap
from typing import ClassVar, TypeVar

from rich.text import Text
from textual import events, on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Static

from squashkit.amounts import size
from squashkit.cli.explore.lines import Lines
from squashkit.cli.explore.panels import STYLES, LayersPanel, TreePanel
from squashkit.cli.explore.screens import Hints, PageScreen, help_texts, plain
from squashkit.cli.hints import flagged
from squashkit.cli.shared import Looking
from squashkit.errors import SquashkitError, show_path, show_text
from squashkit.jobs.explore import Exploration, open_exploration
from squashkit.options import Keep
from squashkit.progress import Note
from squashkit.report.explore.changes import NAMES, History, Mark
from squashkit.report.explore.outline import Order, Outline
from squashkit.report.explore.texts import (
    Explored,
    savings_lines,
    savings_notes,
    tree_counts,
    tree_title,
)
from squashkit.report.explore.tree import Kind, Tree, layer_tree, waste_tree, whole_tree

R = TypeVar("R")
_TREES = 6
"""How many trees are remembered: coming back to one takes no time."""
_PATIENCE = 10
"""Seconds that the image has to be closed in."""
FILTERS = (None, *Mark)
ORDERS = tuple(Order)


class _Stopped(Exception):
    """Nobody waits any more for what is read."""


class _Work:
    """How far the image's thread is: it says so here, and the screen looks from time to time."""

    def __init__(self) -> None:
        self.title = ""
        self.done = 0
        self.total: int | None = None
        self.is_stopped = False
        self.notes: list[Note] = []

    def stage(self, title: str, total: int | None) -> None:
        self.title, self.total, self.done = title, total, 0

    def advance(self, size: int) -> None:
        if self.is_stopped:
            raise _Stopped
        self.done += size

    def close(self) -> None:
        self.title = ""

    def __str__(self) -> str:
        if not self.title:
            return ""
        amount = f" {size(self.done)}" if self.done else ""
        return f"{show_text(self.title)} ...{amount}{f' of {size(self.total)}' if self.total else ''}"


_collector = threading.Lock()
_busy: list[object] = []


def _uncollected(question: Callable[[], R]) -> R:
    """Answer a question without the collector, which would walk over the 100,000 values of the answer again
    and again. What is there afterwards stays, and is not walked over either."""
    with _collector:
        _busy.append(question)
        gc.disable()
    try:
        return question()
    finally:
        with _collector:
            _busy.remove(question)
            if not _busy:
                gc.freeze()
                gc.enable()


_TREE_OF: dict[Kind, Callable[[History, int], Tree]] = {
    Kind.LAYER: layer_tree,
    Kind.WHOLE: whole_tree,
    Kind.WASTE: lambda history, layer: waste_tree(history),
}


class ExploreApp(App[Exception]):
    """One image. What it returns is the error that ended it, if one did."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "squashkit explore"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (76, "-normal"), (110, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (20, "-high")]  # noqa: RUF012
    CSS = """
    #title { height: 1; background: $primary; color: $text; text-style: bold; text-wrap: nowrap;
             text-overflow: ellipsis; }
    #panels { height: 1fr; layout: horizontal; }
    #left { width: 34; }
    #right { width: 1fr; border-left: solid $primary; }
    .-wide #left { width: 50; }
    .-narrow #panels { layout: vertical; }
    .-narrow #left { width: 100%; height: 34%; }
    .-narrow #right { width: 100%; height: 1fr; border-left: none; }
    .caption { height: 1; text-wrap: nowrap; text-overflow: ellipsis; color: $text-muted; }
    .heading { height: 1; text-wrap: nowrap; text-overflow: ellipsis; background: $surface-lighten-1; }
    .-current .heading { background: $secondary; color: $text; text-style: bold; }
    #path { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #empty { height: 1fr; color: $text-muted; padding: 1 2; display: none; }
    #search-bar { display: none; height: 1; background: $surface; }
    #prompt { width: 2; text-style: bold; }
    #search, #search:focus { width: 1fr; height: 1; border: none; padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab,shift+tab", "other_panel", "other panel", show=False, priority=True),
        Binding("left_square_bracket", "layer(-1)", "layer before", show=False),
        Binding("right_square_bracket", "layer(1)", "layer after", show=False),
        Binding("t", "whole", "whole root file system", show=False),
        Binding("w", "waste", "waste by folder", show=False),
        Binding("b", "boundaries", "boundaries", show=False),
        Binding("f", "next_filter", "filter", show=False),
        Binding("a", "only('ADDED')", "added", show=False),
        Binding("c", "only('CHANGED')", "changed", show=False),
        Binding("r", "only('REMOVED')", "removed", show=False),
        Binding("d", "only('DEAD')", "dead", show=False),
        Binding("s", "sort", "sort", show=False),
        Binding("slash", "search", "find", show=False),
        Binding("n", "next(1)", "next", show=False),
        Binding("N", "next(-1)", "previous", show=False),
        Binding("question_mark", "keys", "help", show=False),
        Binding("escape", "reset", "back", show=False),
        Binding("q", "quit", "quit", show=False),
        Binding("ctrl+c,ctrl+q", "quit", "quit", show=False, priority=True),
    ]

    def __init__(self, image: str, keep: Keep, looking: Looking) -> None:
        super().__init__()
        self._image = image
        self._keep = keep
        self._looking = looking
        self._thread = ThreadPoolExecutor(1, "explore")
        self._open = ExitStack()
        self._work = _Work()
        self._exploration: Exploration | None = None
        self._trees: dict[tuple[Kind, int], Tree] = {}
        self._kind = Kind.LAYER
        self._before = Kind.LAYER
        """What was shown before the waste was."""
        self._layer = 0
        self._only: Mark | None = None
        self._order = Order.NAME
        self._opened: set[bytes] = set()
        self._path = b""
        self._query = ""
        self._found: list[bytes] = []
        self._said = ""
        self._is_searching = False
        self._statics = {
            name: Static("", id=name, classes=classes, markup=False)
            for name, classes in {
                "title": "",
                "layers-caption": "caption",
                "heading": "heading",
                "caption": "caption",
                "empty": "",
                "path": "",
            }.items()
        }
        self._written: dict[str, str] = {}
        self.layers_panel = LayersPanel(id="layers")
        self.tree_panel = TreePanel(id="tree")
        self._field = Input(placeholder="part of a path, or a glob", id="search")
        self._bar = Horizontal(Static("/", id="prompt", markup=False), self._field, id="search-bar")
        self._hints = Hints("", markup=False)

    # The screen

    def compose(self) -> ComposeResult:
        yield self._statics["title"]
        with Horizontal(id="panels"):
            with Vertical(id="left"):
                yield Static("Layers", classes="heading", markup=False)
                yield self._statics["layers-caption"]
                yield self.layers_panel
            with Vertical(id="right"):
                yield self._statics["heading"]
                yield self._statics["caption"]
                yield self.tree_panel
                yield self._statics["empty"]
        yield self._statics["path"]
        yield self._bar
        yield self._hints

    @property
    def explored(self) -> Explored | None:
        return self._exploration.explored if self._exploration else None

    def _write(self, name: str, text: str) -> None:
        if self._written.get(name) != text:
            self._written[name] = text
            self._statics[name].update(Text(text, no_wrap=name != "empty"))

    # Work in the image's thread

    async def _ask(self, question: Callable[[], R]) -> R:
        """What the image's own thread finds: files are read there alone."""
        return await asyncio.wrap_future(self._thread.submit(_uncollected, question))

    async def _make(self, question: Callable[[], R]) -> R:
        """What another thread makes of what is read already: it waits for nobody."""
        return await asyncio.to_thread(_uncollected, question)

    def _begin(self) -> Exploration:
        opening = open_exploration(
            self._image,
            self._keep,
            self._looking.which,
            self._looking.run,
            self._work,
            self._work.notes.append,
        )
        return self._open.enter_context(opening)

    def on_mount(self) -> None:
        self._write("title", show_text(self._image))
        self._hint()
        self.set_interval(0.1, self._tell)
        self.load()

    @work
    async def load(self) -> None:
        """Open the image, and show its first layer above the base."""
        self._work.title = "Opening"
        try:
            self._exploration = await self._ask(self._begin)
        except Exception as error:
            if not self._work.is_stopped:  # then this is how it stopped
                self._work.is_stopped = True
                self.exit(error)
            return
        explored = self._exploration.explored
        self._write("title", explored.headline(self.size.width))
        self._layer = explored.first
        self.layers_panel.told = explored.layers
        self._write("layers-caption", self.layers_panel.head())
        if not explored.layers:
            self._write("empty", "the image has no layers")
            self._statics["empty"].display = True
        for note in self._work.notes:
            self.notify(show_text(str(flagged(note))), markup=False, timeout=8)
        self.layers_panel.reload(self._layer)
        self.layers_panel.focus()

    def _tell(self) -> None:
        """Show how far the work is, and what fits the width."""
        if self._work.is_stopped:
            return
        if self.explored is not None:
            self._write("title", self.explored.headline(self.size.width))
        said = str(self._work) or self._said
        self._write("path", said or self._where())

    def _where(self) -> str:
        """The path that the cursor is on, with what is found and filtered."""
        row = self.tree_panel.row
        told = []
        if self._found:
            at = self._found.index(self._path) + 1 if self._path in self._found else 0
            told.append(f"{at or '-'} of {len(self._found):,} for {show_text(self._query)}")
        if self._order is not Order.NAME:
            told.append(f"by {self._order.value}")
        path = f"/{show_path(row.path)}" if row is not None else ""
        room = max(8, self.size.width - sum(len(one) + 3 for one in told) - 1)
        if len(path) > room:
            path = "…" + path[1 - room :]
        return "   ".join([path, *told]) if told else path

    @work(exclusive=True, group="tree")
    async def show_tree(self) -> None:
        """Show the tree of what is chosen with the filter and the order that are set, once it is made. Open
        folders stay open."""
        if self._exploration is None or not self._exploration.explored.layers:
            return
        history = self._exploration.explored.history
        kind, layer, query, opened = self._kind, self._layer, self._query, set(self._opened)
        key = kind, layer if kind is not Kind.WASTE else 0
        order = Order.DEAD if kind is Kind.WASTE and self._order is Order.NAME else self._order
        only = None if kind is Kind.WASTE else self._only
        known = self._trees.get(key)

        def made() -> tuple[Outline, list[bytes]]:
            tree = known or _TREE_OF[kind](history, layer)
            outline = Outline(tree, only, order, opened)
            return outline, outline.find(query) if query else []

        self._work.title = "Making the tree"
        try:
            outline, self._found = await self._make(made)
        finally:
            self._work.title = ""
        self._trees[key] = outline.tree
        self._opened = outline.opened
        self._show(outline)
        while len(self._trees) > _TREES:
            oldest = next(one for one in self._trees if one != key)
            self._trees.pop(oldest).take_apart()

    def _show(self, outline: Outline) -> None:
        assert self.explored is not None
        panel, tree, only = self.tree_panel, outline.tree, outline.only
        panel.show(outline, self._path)
        filtered = f"only {NAMES[only]}  (Esc all)  " if only else ""
        self._write("heading", filtered + tree_title(tree, self.explored))
        self._write("caption", f"{panel.head()}   {tree_counts(tree)}")
        is_empty = not panel.count()
        self._write("empty", panel.render_empty(only))
        self._statics["empty"].display = is_empty
        panel.styles.height = 1 if is_empty else "1fr"  # it keeps the focus
        self._hint()
        self._tell()

    # What happens

    @on(Lines.Moved)
    def moved(self, event: Lines.Moved) -> None:
        """Another layer is another tree."""
        self._said = ""
        if isinstance(event.lines, LayersPanel):
            if event.index != self._layer or self.tree_panel.outline is None or self._kind is Kind.WASTE:
                self._layer = event.index
                if self._kind is Kind.WASTE:
                    self._kind = self._before
                self.show_tree()
        elif isinstance(event.lines, TreePanel) and self.tree_panel.row is not None:
            self._path = self.tree_panel.row.path
            self._tell()

    def action_other_panel(self) -> None:
        if len(self.screen_stack) == 1 and not self._field.has_focus:
            (self.layers_panel if self.tree_panel.has_focus else self.tree_panel).focus()
            self._hint()

    def action_layer(self, by: int) -> None:
        self.layers_panel.move_to(self.layers_panel.cursor + by)

    def action_whole(self) -> None:
        shown = self._before if self._kind is Kind.WASTE else self._kind
        self._kind = Kind.LAYER if shown is Kind.WHOLE else Kind.WHOLE
        self.show_tree()

    def action_waste(self) -> None:
        if self._kind is Kind.WASTE:
            self._kind = self._before
        else:
            self._before, self._kind = self._kind, Kind.WASTE
        self.tree_panel.focus()
        self.show_tree()

    def action_next_filter(self) -> None:
        self._filter(FILTERS[(FILTERS.index(self._only) + 1) % len(FILTERS)])

    def action_only(self, name: str) -> None:
        mark = Mark[name]
        self._filter(None if self._only is mark else mark)

    def _filter(self, only: Mark | None) -> None:
        if self._kind is Kind.WASTE:
            self._kind = self._before
        self._only = only
        self.show_tree()

    def action_sort(self) -> None:
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self.show_tree()

    def action_reset(self) -> None:
        if self._kind is Kind.WASTE:
            self._kind = self._before
        self._only, self._query, self._found, self._order = None, "", [], Order.NAME
        self.show_tree()

    def action_keys(self) -> None:
        self.push_screen(PageScreen("Keys", help_texts(STYLES)))

    async def action_quit(self) -> None:
        self._work.is_stopped = True
        self.exit()

    async def on_unmount(self) -> None:
        self._work.is_stopped = True
        with suppress(TimeoutError):  # nobody waits for a registry that does not answer
            await asyncio.wait_for(self._ask(self._open.close), _PATIENCE)
        self._thread.shutdown(wait=False)

    # Search

    def action_search(self) -> None:
        if self.tree_panel.outline is None:
            return
        field = self._field
        self._is_searching = True
        self._statics["path"].display = False
        self._bar.display = True
        field.value = ""
        field.focus()
        self._hint()

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        """Go to the first that is found, from the cursor on."""
        self._end_search()
        if event.value:
            self.search(event.value)

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape" and self._field.has_focus:
            self._end_search()
            event.stop()
            event.prevent_default()

    def _end_search(self) -> None:
        self._is_searching = False
        self._bar.display = False
        self._statics["path"].display = True
        self.tree_panel.focus()
        self._hint()

    @work(exclusive=True, group="search")
    async def search(self, text: str) -> None:
        """Find a text in what is shown."""
        outline = self.tree_panel.outline
        if outline is None:
            return
        self._work.title = "Searching"
        try:
            found = await self._make(lambda: outline.find(text))
        except ValueError as error:
            self._said = show_text(str(error))
            return
        finally:
            self._work.title = ""
        if outline is not self.tree_panel.outline:
            return
        self._query, self._found = text, found
        if not found:
            more = "; t shows the whole root file system" if self._kind is Kind.LAYER else ""
            self._said = f"nothing here is called {show_text(text)}{more}"
            self._query = ""
        else:
            self._go_to(self._nearest(outline))
        self._hint()
        self._tell()

    def _nearest(self, outline: Outline) -> bytes:
        """The first that is found at the cursor or below it."""
        lines = {line.row.path: index for index, line in enumerate(outline.lines)}
        below = (one for one in self._found if lines.get(one, -1) >= self.tree_panel.cursor)
        return next(below, self._found[0])

    def _go_to(self, path: bytes) -> None:
        panel = self.tree_panel
        if panel.outline is not None:
            index = panel.outline.reveal(path)
            panel.reload(index)
            self._path = path
            panel.focus()

    def action_next(self, by: int) -> None:
        if not self._found:
            self._said = "/ finds a part of a path, or a glob"
            self._tell()
            return
        if self._path in self._found:
            index = (self._found.index(self._path) + by) % len(self._found)
        else:
            index = 0 if by > 0 else -1
        self._go_to(self._found[index])

    # Pages

    @on(TreePanel.Chosen)
    def chosen(self, event: TreePanel.Chosen) -> None:
        """Show all of a path."""
        row = event.row
        self._page(
            "Details",
            "Following the path through all layers ...",
            lambda work: work.details(row.path, row.item),
            lambda told, width: told.lines(width),
        )

    def action_boundaries(self) -> None:
        if self.explored is None:
            return
        explored = self.explored

        def texts(savings: object, width: int) -> list[str]:
            assert isinstance(savings, tuple)
            return [
                *savings_lines(savings, explored, width),
                "",
                *savings_notes(savings, explored, width),
            ]

        waiting = f"Planning a squash for each of {len(explored.layers)} numbers of kept layers ..."
        self._page("What a squash would give", waiting, lambda work: work.savings(), texts)

    @work
    async def _page(
        self,
        title: str,
        waiting: str,
        question: Callable[[Exploration], R],
        texts: Callable[[R, int], list[str]],
    ) -> None:
        """Show the answer to a question on a page of its own, once it is there."""
        exploration = self._exploration
        if exploration is None:
            return
        page = PageScreen(title, lambda width: [Text(waiting)])
        await self.push_screen(page)
        try:
            answer = await self._ask(lambda: question(exploration))
        except (SquashkitError, OSError) as error:
            told = show_text(str(error))
            page.show(lambda width: plain(wrap(told, width)))
        else:
            page.show(lambda width: plain(texts(answer, width)))

    # Keys

    def _hint(self) -> None:
        """The keys that matter where one is."""
        if self._is_searching:
            self._hints.show([("Enter", "find"), ("Esc", "back")], always=())
            return
        other = "this layer" if self._kind is Kind.WHOLE else "whole"
        waste = "back" if self._kind is Kind.WASTE else "waste"
        hints = [("Tab", "side"), ("Enter", "open"), ("/", "find"), ("f", "filter")]
        hints += [("t", other), ("w", waste), ("b", "gain"), ("s", "sort")]
        if self._found:
            hints[2:3] = [("n", "next"), ("/", "find")]
        self._hints.show(hints)
