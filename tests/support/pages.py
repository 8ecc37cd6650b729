"""Markdown as GitHub's own library reads it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest


class Page(HTMLParser):
    """What a page shows: its tables, the texts in its code, its folds, and every other kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        cmarkgfm: Any = pytest.importorskip("cmarkgfm")
        raw = cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE  # hosts let <details> through
        self.html: str = cmarkgfm.github_flavored_markdown_to_html(text, raw)
        self.tables: list[list[list[str]]] = []
        self.code: list[str] = []
        self.plain = ""
        """All that is no code."""
        self.folds: list[str] = []
        self.open: list[str] = []
        self.elements: set[str] = set()
        self.feed(self.html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.add(tag)
        self.open.append(tag)
        if tag == "table":
            assert self.open.count("table") == 1
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "code":
            self.code.append("")
        elif tag == "summary":
            self.folds.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data
        if "summary" in self.open:
            self.folds[-1] += data
        if "code" in self.open:
            self.code[-1] += data
        else:
            self.plain += data


ELEMENTS = {
    *("h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ol", "ul", "li"),
    *("code", "pre", "strong", "details", "summary"),
}
"""All that squashkit's pages are made of."""
