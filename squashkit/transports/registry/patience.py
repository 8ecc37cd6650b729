"""What passes by itself and is tried again, how often, and after how long."""

from __future__ import annotations

import re
from contextlib import suppress

import requests
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.util import Retry

from squashkit.errors import gist_of

BUSY = frozenset({408, 425, 429, 499, 500, 502, 503, 504, *range(520, 600)})
"""Answers of registries, and of proxies before them, that may be other ones in a moment. 499 is nginx's,
520 and above are those of content delivery networks."""
PATIENCE = Retry(total=5, backoff_factor=0.4, backoff_max=10, retry_after_max=60)
ONCE = Retry(total=0)
BROKEN = (requests.RequestException, HTTPError, OSError)
"""What is raised where a connection fails or breaks."""
_PLAIN_SERVER = re.compile(r"(?i)wrong.version|record.layer|http.request")


def is_plain_server(why: str) -> bool:
    """Whether a failed TLS handshake was one with a server that speaks plain HTTP."""
    return _PLAIN_SERVER.search(why) is not None


def is_final(error: BaseException) -> bool:
    """Whether the same request would fail in the same way: at a URL that is none, a certificate that nobody
    trusts, or a server that speaks no TLS."""
    return isinstance(error, ValueError) or is_plain_server(why := gist_of(error)) or "certificate" in why


def once_more(patience: Retry, error: BaseException) -> Retry:
    """One try less. Raises the error where there is none left."""
    try:
        return patience.increment()
    except MaxRetryError:
        raise error from None


def seconds(patience: Retry, response: requests.Response | None) -> float:
    """How long to wait: as an answer asks for (Retry-After, 60 at most), and longer with every try. It may
    ask for no time at all, as where its clock is not ours."""
    asked = 0.0
    if response is not None:
        with suppress(Exception):  # what is no number and no date says nothing
            asked = patience.get_retry_after(response.raw) or 0.0
    return max(asked, patience.get_backoff_time())
