"""A list of lines of which only those are made that are to be seen: 100,000 of them cost nothing."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget


class Lines(ScrollView, can_focus=True):
    """Lines with a cursor. Subclasses say how many there are, and what each says."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"lines--cursor", "lines--blurred"}
    DEFAULT_CSS = """
    Lines {
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
        overflow-x: hidden;
        overflow-y: auto;
    }
    Lines > .lines--cursor { background: $accent; color: $text; text-style: bold; }
    Lines > .lines--blurred { background: $surface-lighten-2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "down", show=False),
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("pagedown,ctrl+f,space", "page(1)", "page down", show=False),
        Binding("pageup,ctrl+b", "page(-1)", "page up", show=False),
        Binding("ctrl+d", "half(1)", "half a page down", show=False),
        Binding("ctrl+u", "half(-1)", "half a page up", show=False),
        Binding("home,g", "go(0)", "first", show=False),
        Binding("end,G", "go(-1)", "last", show=False),
    ]

    class Moved(Message):
        """The cursor is on another line."""

        def __init__(self, lines: Lines, index: int) -> None:
            super().__init__()
            self.lines = lines
            self.index = index

        @property
        def control(self) -> Lines:
            return self.lines

    cursor = 0

    def count(self) -> int:
        """How many lines there are."""
        raise NotImplementedError

    def line(self, index: int, width: int) -> Text:
        """What a line says, in so many columns."""
        raise NotImplementedError

    def reload(self, cursor: int | None = None) -> None:
        """Show other lines, with the cursor on one of them."""
        self.virtual_size = Size(0, self.count())
        self.move_to(self.cursor if cursor is None else cursor, told=True)
        self.refresh()

    def move_to(self, index: int, *, told: bool = False) -> None:
        """Put the cursor on a line, the nearest there is; who listens is told where it moves."""
        index = max(0, min(index, self.count() - 1))
        before, moved = self.cursor, index != self.cursor
        self.cursor = index
        if moved:
            self.refresh_line(before)
            self.refresh_line(index)
        self.scroll_to_region(Region(0, index, 1, 1), animate=False, force=True, immediate=True)
        if moved or told:
            self.post_message(self.Moved(self, index))

    def render_line(self, y: int) -> Strip:
        index = y + self.scroll_offset.y
        width = self.scrollable_content_region.width
        style = self.rich_style
        if not 0 <= index < self.count():
            return Strip.blank(width, style)
        text = self.line(index, width)
        text.end = ""
        text.no_wrap = True
        text.truncate(width, overflow="ellipsis")
        if index == self.cursor:
            name = "lines--cursor" if self.has_focus else "lines--blurred"
            style = self.get_component_rich_style(name)
            text.stylize(style)
        strip = Strip(list(text.render(self.app.console)))
        return strip.adjust_cell_length(width, style).apply_style(self.rich_style)

    def on_resize(self, event: events.Resize) -> None:
        if self.count():
            self.move_to(self.cursor)

    def on_focus(self) -> None:
        self._tell_focus(True)

    def on_blur(self) -> None:
        self._tell_focus(False)

    def _tell_focus(self, has_focus: bool) -> None:
        """The panel around it shows which one the keys go to."""
        if isinstance(self.parent, Widget):
            self.parent.set_class(has_focus, "-current")

    def on_click(self, event: events.Click) -> None:
        place = event.get_content_offset(self)
        index = place.y + self.scroll_offset.y if place is not None else self.count()
        if index == self.cursor:
            self.action_choose()
        elif index < self.count():
            self.move_to(index)

    def action_choose(self) -> None:
        """Do with the line what Enter does, and a click on the line that the cursor is on."""

    def action_move(self, by: int) -> None:
        self.move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        self.move_to(self.cursor + by * max(1, self.size.height - 1))

    def action_half(self, by: int) -> None:
        self.move_to(self.cursor + by * max(1, self.size.height // 2))

    def action_go(self, index: int) -> None:
        self.move_to(index if index >= 0 else self.count() - 1)
