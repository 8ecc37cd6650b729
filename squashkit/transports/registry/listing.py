"""Lists that a registry gives in pages: tags (distribution-spec, "Listing Tags") and repositories
(`_catalog`, of docker's registry API v2). What to ask for is decided here; `Repository` asks.

Registries differ: ECR answers 405 to an `n` that it finds too large, distribution 400. Behind proxies the
link to the next page may have a host, a port, a scheme or a folder that nobody outside reaches.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

MOST = 100_000
"""The most names that are taken."""
BARREN = 20
"""The most pages in a row without a new name."""
NONE_GIVEN = frozenset({400, 404, 405, 501})
"""Answers of registries that have no such list, or do not give it."""
_PAGE = 1000
_TOO_MANY = frozenset({400, 405})


def first_page(path: str, most: int) -> str:
    """What to ask for at first."""
    return f"{path}?n={min(most, _PAGE)}"


def without_number(asked: str, status: int) -> str | None:
    """What to ask for instead where a first page was refused for its number; None where it was not."""
    path, question, query = asked.partition("?")
    is_first = bool(question) and re.fullmatch(r"n=\d+", query)
    return path if is_first and status in _TOO_MANY else None


def next_page(asked: str, answered: str, link: str) -> str:
    """What to ask for after a page: path and query of a link on it, which is relative to the URL that
    `answered`. A path that ends as the one that was `asked` is that one: what stands before is how the
    registry is called behind a proxy. Raises ValueError for what is no link."""
    there = urlsplit(urljoin(answered, link))
    path = asked.partition("?")[0]
    if there.path.rpartition("/")[2] != path.rpartition("/")[2]:
        path = "/" + there.path.lstrip("/")
    return f"{path}?{there.query}" if there.query else path
