"""One registry over HTTP: reaching it, proving who one is, and trying again what fails on the way.

Credentials go to the registry and to the token server that it names, and nowhere else: not along with a
redirect to another host.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit
from weakref import WeakSet

import requests
from urllib3 import disable_warnings
from urllib3.connection import HTTPConnection
from urllib3.exceptions import InsecureRequestWarning, MaxRetryError
from urllib3.util import Retry

from squashkit.errors import Cancelled, InvalidImage, Unauthorized, Unavailable, gist_of, show_text
from squashkit.oci.gojson import Leaf, Struct, load_json
from squashkit.options import Access, Limits
from squashkit.progress import Note, Notify, ignore
from squashkit.transports.registry.challenge import Challenge
from squashkit.transports.registry.credentials import Credentials
from squashkit.transports.registry.limits import Gate
from squashkit.transports.registry.manners import Manners
from squashkit.transports.registry.patience import (
    BROKEN,
    BUSY,
    PATIENCE,
    is_final,
    is_plain_server,
    once_more,
    seconds,
)
from squashkit.transports.registry.tls import Adapter, tls_context
from squashkit.transports.registry.traffic import Traffic
from squashkit.version import __version__
from squashkit.wording import Option, Text

_TIMEOUT = (10, 60)  # seconds: to connect, and between two bytes
_LAST_WORDS = (2, 2)
_LONG = 5
"""Seconds of waiting that people are told of."""
_HOPS = 5
_HUB = "docker.io"
_NO_USE = r"(?i)certificate|alert|refused|not known"
"""Errors with which a registry cannot be reached in another way either."""
_DOCUMENT = 4 << 20
_TOKEN_SHAPE = Struct({"token": Leaf.TEXT, "access_token": Leaf.TEXT})


class _Session(requests.Session):
    """Follows no redirect, and so reads no redirect's body either."""

    def get_redirect_target(self, resp: Any) -> str | None:
        return None


class Registry:
    """One registry, as one user. `faults` say which credentials could not be used, `notify` hears what is
    waited for. Safe to use from several threads."""

    def __init__(
        self,
        host: str,
        credentials: Credentials | None,
        access: Access,
        faults: Sequence[str] = (),
        notify: Notify = ignore,
        gate: Gate | None = None,
    ) -> None:
        self.host = host
        self.traffic = Traffic()
        self.manners = Manners()
        """How it takes uploads, as far as that was seen."""
        self.begun: dict[str, list[tuple[float, str]]] = defaultdict(list)
        """Uploads that were begun and wait for a blob, by repository: since when, and where."""
        self._notify = notify
        self._gate = gate or Gate(Limits())
        self._credentials = credentials
        self._faults = faults
        local = urlsplit(f"//{host}").hostname
        is_local = local is not None and (local in ("localhost", "::1") or local.startswith("127."))
        self._plain = is_local if access.tls_verify is None else not access.tls_verify
        self._verify = access.tls_verify is not False
        self._session = _Session()
        self._session.trust_env = not is_local  # no proxy leads to this very machine, as Go has it too
        if not self._verify:
            disable_warnings(InsecureRequestWarning)
        self._session.auth = lambda request: request  # else requests would look for a .netrc
        # Harbor, for one, answers 403 to a session's cookie without the token that belongs to it.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.headers.update(
            {"User-Agent": f"squashkit/{__version__}", "Accept-Encoding": "identity"}
        )
        self._connections: WeakSet[HTTPConnection] = WeakSet()
        made = self._connections.add
        self._session.mount("https://", Adapter(tls_context(access, verify=self._verify), made, self._gate))
        self._session.mount("http://", Adapter(None, made, self._gate))
        self._lock = threading.Condition()
        self.stopped = False
        """Whether all waiting was ended, and nothing more is to be asked."""
        self._challenge: Challenge | None = None
        self._tokens: dict[tuple[str, ...], str] = {}
        self.origin = self._find_origin()

    # Reaching it

    def _find_origin(self) -> str:
        """Where it answers: over HTTPS; on this very machine, or where nobody asks for verified TLS, over
        plain HTTP too, as docker has it. A certificate that is wrong is no reason to go without."""
        host = "registry-1.docker.io" if self.host == _HUB else self.host
        why = ""
        for scheme in ("https", "http") if self._plain else ("https", "https"):
            try:
                with self._request("GET", f"{scheme}://{host}/v2/", {}) as response:
                    if response.status_code == 401 and (offer := response.headers.get("WWW-Authenticate")):
                        self._challenge = Challenge.parse(offer, self.host)
                    return f"{scheme}://{host}"
            except (*BROKEN, ValueError) as error:
                if not why or is_plain_server(why):  # then what it says in plain HTTP is what matters
                    why = gist_of(error)
                if re.search(_NO_USE, why) or (is_plain_server(why) and not self._plain):
                    break
        raise Unavailable(
            f"the registry {self.host} does not answer: {why}", *self._hint(why), reference=self.host
        )

    def _hint(self, why: str) -> Text:
        if not self._verify or not re.search(r"(?i)ssl|certificate|tls", why):
            return ()
        trusting = Option("Access.tls_verify", False)
        if is_plain_server(why):
            return ("; it speaks plain HTTP: ", trusting, " allows that")
        return ("; ", Option("Access.cert_dir", example="DIR"), " adds a CA, ", trusting, " trusts anybody")

    def interrupt(self) -> None:
        """End all waiting, for bytes and for a time, with Cancelled."""
        with self._lock:
            self.stopped = True
            self._lock.notify_all()
        for connection in list(self._connections):
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def resume(self) -> None:
        """Work begins (anew)."""
        self.stopped = False

    def close(self) -> None:
        self._session.close()

    def pause(self, seconds: float, why: str) -> None:
        """Wait, and say for what if that takes long. Raises Cancelled where all waiting is ended."""
        if seconds >= _LONG:
            self._notify(Note(f"{self.host}: {why}; waiting {seconds:.0f} s", is_warning=True))
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        with self._lock:
            if self._lock.wait_for(lambda: self.stopped, timeout=seconds):
                raise Cancelled

    # Requests

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], data: Any = None
    ) -> requests.Response:
        request = self._session.prepare_request(requests.Request(method, url, headers, data=data))
        if not self.stopped and (delay := self._gate.delay()):
            self._wait(delay)
        request.url = url  # byte for byte: a signature may stand in it, of what requests would write anew
        # Said again for each request: variables that are meant for other programs would go before it.
        settings = self._session.merge_environment_settings(url, {}, True, self._verify, None)
        timeout = _LAST_WORDS if self.stopped else _TIMEOUT
        return self._session.send(request, timeout=timeout, allow_redirects=False, **settings)

    def send(
        self,
        method: str,
        url: str,
        scopes: Sequence[str],
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        *,
        patience: Retry = PATIENCE,
        last: bool = False,
    ) -> requests.Response:
        """One request, with credentials where it goes to this registry, and its redirects followed.

        What is broken or busy is tried again, with so much `patience`. The caller closes the response.
        Raises what requests raises, Unauthorized, or Cancelled once all was stopped: after that only a
        `last` word is said, which is not waited for long.
        """
        url = absolute(self.origin, url)
        while True:
            response, why = None, ""
            if self.stopped and not last:
                raise Cancelled
            try:
                response = self._follow(method, url, scopes, dict(headers or {}), data)
                if response.status_code not in BUSY:
                    return response
                why = f"status {response.status_code}"
                patience = patience.increment(method, url, response=response.raw)
            except MaxRetryError:
                assert response is not None
                return response  # its status tells why
            except BROKEN as error:
                if self.stopped:
                    raise Cancelled from None
                if is_final(error):
                    raise
                patience, why = once_more(patience, error), gist_of(error)
            wait = seconds(patience, response)
            if response is not None:
                response.close()
            self.pause(wait, why)

    def _follow(
        self, method: str, url: str, scopes: Sequence[str], headers: dict[str, str], data: Any
    ) -> requests.Response:
        for _ in range(_HOPS):
            response = self._authorised(method, url, scopes, headers, data)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            told_where = response.headers.get("Location", "")
            response.close()
            if not told_where:
                raise Unavailable(
                    f"{self.host} redirects and does not say where to (status {response.status_code})",
                    reference=self.host,
                )
            where = absolute(url, told_where)
            if self._verify and not where.startswith("https:") and url.startswith("https:"):
                raise Unavailable(
                    f"{self.host} redirects to {show_text(where[:200])} without TLS", reference=self.host
                )
            url = where
        raise Unavailable(f"{self.host} redirects without end", reference=self.host)

    def _authorised(
        self, method: str, url: str, scopes: Sequence[str], headers: dict[str, str], data: Any
    ) -> requests.Response:
        if not is_same_place(url, self.origin):
            return self._request(method, url, headers, data)
        response = self._request(method, url, self._signed(headers, scopes), data)
        offer = response.headers.get("WWW-Authenticate")
        if response.status_code != 401 or not offer:
            return response
        response.close()
        with self._lock:  # a token that has expired, or the first challenge
            self._challenge = challenge = Challenge.parse(offer, self.host)
            self._tokens.pop(tuple(scopes), None)
        return self._request(method, url, self._signed(headers, scopes, challenge.scope), data)

    def _signed(self, headers: dict[str, str], scopes: Sequence[str], wanted: str = "") -> dict[str, str]:
        """Headers with what proves who one is, as far as that is asked for. A token is also for what is
        `wanted` for this very request."""
        secret = self._authorization(self._challenge, scopes, wanted) if self._challenge else None
        return {**headers, "Authorization": secret} if secret else headers

    def _authorization(self, challenge: Challenge, scopes: Sequence[str], wanted: str) -> str | None:
        if challenge.scheme == "basic":
            return self._credentials.basic if self._credentials and self._credentials.username else None
        if self._credentials and self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        with self._lock:
            token = self._tokens.get(tuple(scopes))
        if token is None:
            token = self._fetch_token(challenge, [*dict.fromkeys([*scopes, *wanted.split()])])
            with self._lock:
                self._tokens[tuple(scopes)] = token
        return f"Bearer {token}"

    def _fetch_token(self, challenge: Challenge, scopes: Sequence[str]) -> str:
        """A token from the registry's token server (distribution's auth/token.md and auth/oauth.md)."""
        credentials = self._credentials
        if self._verify and self.origin.startswith("https:") and not challenge.realm.startswith("https:"):
            raise Unavailable(
                f"{self.host} wants credentials sent to {show_text(challenge.realm)} without TLS",
                reference=self.host,
            )
        fields = {"service": challenge.service} if challenge.service else {}
        patience = PATIENCE
        while True:
            response, why = None, "the token server breaks off"
            try:
                if credentials is not None and credentials.identity_token:
                    form = {
                        **fields,
                        "grant_type": "refresh_token",
                        "client_id": "squashkit",
                        "refresh_token": credentials.identity_token,
                        "scope": " ".join(scopes),
                    }
                    response = self._request("POST", challenge.realm, {}, form)
                else:
                    query = urlencode([*fields.items(), *(("scope", scope) for scope in scopes)])
                    separator = "&" if "?" in challenge.realm else "?"
                    headers = {"Authorization": credentials.basic} if credentials else {}
                    response = self._request("GET", challenge.realm + separator + query, headers)
                if response.status_code not in BUSY:
                    break
                why = f"status {response.status_code} of the token server"
                patience = patience.increment("GET", challenge.realm, response=response.raw)
            except MaxRetryError:
                break
            except BROKEN as error:
                if self.stopped:
                    raise Cancelled from None
                try:
                    if is_final(error):
                        raise
                    patience = once_more(patience, error)
                except BROKEN as last:
                    raise Unavailable(
                        f"the token server of {self.host} does not answer: {gist_of(last)}",
                        reference=self.host,
                    ) from last
            wait = seconds(patience, response)
            if response is not None:
                response.close()
            self.pause(wait, why)
        assert response is not None
        with response:
            return self._read_token(response)

    def _read_token(self, response: requests.Response) -> str:
        if response.status_code in (401, 403):
            raise self.unauthorized(response)
        none = f"the token server of {self.host} gives no token (status {response.status_code}"
        if not is_success(response):
            raise Unavailable(f"{none}{told(response)})", reference=self.host)
        try:
            value = load_json(limited(response, _DOCUMENT), "", _TOKEN_SHAPE)
        except InvalidImage:
            kind = show_text(response.headers.get("Content-Type", "no media type")[:80])
            raise Unavailable(f"{none}), but what is no JSON ({kind})", reference=self.host) from None
        token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise Unavailable(f"{none})", reference=self.host)
        return token

    def unauthorized(self, response: requests.Response) -> Unauthorized:
        if response.status_code == 401 and not response.headers.get("WWW-Authenticate"):
            return Unauthorized(
                f"{self.host} gives no access ({response.status_code}{told(response)})",
                " and does not say how one logs in there (it sent no WWW-Authenticate)",
                reference=self.host,
            )
        way: Text = ("its credentials do not suffice",)
        if not self._credentials:
            way = (f"log in first (docker login {self.host}), or pass ", Option("Access.authfile"))
        faults = "".join(f"{fault}; " for fault in self._faults)
        return Unauthorized(
            f"{self.host} gives no access ({response.status_code}{told(response)}); {faults}",
            *way,
            reference=self.host,
        )


def _origin(url: str) -> str:
    """Scheme, host and port, each written in one way."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def absolute(base: str, url: str) -> str:
    """The URL that one, seen from another, means; as it is written, but for what no request may contain.
    Headers come as Latin-1."""
    whole = url.partition("#")[0]
    if re.match(r"/(?!/)", whole):  # urljoin would resolve `..`, over which a signature may stand
        there = urlsplit(base)
        whole = f"{there.scheme}://{there.netloc}{whole}"
    elif not re.match(r"(?i)https?://", whole):
        whole = urljoin(base, whole)
    return re.sub(r"[^!-~]+", lambda found: quote(found[0].encode("latin-1", "replace")), whole)


def is_same_place(one: str, other: str) -> bool:
    """Whether two URLs are of one server."""
    return _origin(one) == _origin(other)


def is_success(response: requests.Response) -> bool:
    return 200 <= response.status_code < 300


def limited(response: requests.Response, limit: int) -> bytes:
    """At most so many bytes of a body."""
    data = bytearray()
    for piece in response.iter_content(64 << 10):
        data += piece
        if len(data) > limit:
            break
    return bytes(data[:limit])


def told(response: requests.Response) -> str:
    """What a registry says of an error (distribution-spec, "Error Codes"), as `, text`."""
    with suppress(Exception):
        (first, *_) = load_json(limited(response, 64 << 10), "")["errors"]
        return f", {show_text(str(first.get('message') or first.get('code')))[:200]}"
    return ""
