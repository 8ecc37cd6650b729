"""A repository in a registry, over HTTP (OCI distribution-spec 1.1, which is docker's registry API v2).

Credentials go to the registry and to the token server that it names, and nowhere else: not along with a
redirect to another host. What fails on the way is tried again, a bounded number of times, and a blob
is taken up where it broke off.
"""

from __future__ import annotations

import hashlib
import re
import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import disable_warnings
from urllib3.exceptions import HTTPError, InsecureRequestWarning, MaxRetryError
from urllib3.util import Retry

from squashkit import __version__
from squashkit.errors import (
    Cancelled,
    DigestMismatch,
    ImageNotFound,
    InvalidImage,
    Unauthorized,
    Unavailable,
    UsageError,
    show_text,
)
from squashkit.names import normalise_name
from squashkit.oci import INDEX_TYPES, MANIFEST_TYPES, Digest, is_digest, load_json, sha256
from squashkit.transports.container import MAX_DOCUMENT, READ_SIZE
from squashkit.transports.credentials import Credentials
from squashkit.transports.remote import Access, Traffic

CHUNK = 16 << 20
"""Bytes of an upload that are sent at a time. ECR, for one, takes no less than 5 MiB."""
_TIMEOUT = (15, 90)  # seconds: to connect, and between two bytes
_BUSY = frozenset({429, 500, 502, 503, 504})
_PATIENCE = Retry(total=5, backoff_factor=0.4, backoff_max=10, retry_after_max=60)
_BROKEN = (requests.RequestException, HTTPError, OSError)
_HOPS = 5
_PROGRESS = 1 << 20
"""Bytes after which a broken connection is no sign of one that always breaks."""
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_ACCEPTED = ", ".join((*sorted(MANIFEST_TYPES | INDEX_TYPES), _SCHEMA_1, "*/*;q=0.1"))
_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class RepositoryName:
    """A repository, and what of it is meant: a tag, or a manifest's digest."""

    host: str
    path: str
    reference: str

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """From `HOST/REPO[:TAG|@DIGEST]`, a host left out being docker's. Raises InvalidReference."""
        full = normalise_name(text)
        name, separator, reference = full.rpartition("@")
        if not separator:
            name, _, reference = full.rpartition(":")
        host, _, path = name.partition("/")
        return cls(host, path, reference)

    @property
    def repository(self) -> str:
        return f"{self.host}/{self.path}"

    def __str__(self) -> str:
        return f"{self.repository}{'@' if is_digest(self.reference) else ':'}{self.reference}"


class _Adapter(HTTPAdapter):
    """Verifies with a context of ours, which knows the system's CAs; requests knows only its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_maxsize=32, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, **kwargs, ssl_context=self._context)

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        pass


def _tls_context(access: Access, *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    folder = access.cert_dir
    if folder is None:
        return context
    if not folder.is_dir():
        raise UsageError(f"--cert-dir {folder} is no folder")
    try:
        for path in sorted(folder.glob("*.crt")):
            context.load_verify_locations(path)
        for path in sorted(folder.glob("*.cert")):
            context.load_cert_chain(path, path.with_suffix(".key"))
    except OSError as error:
        raise UsageError(f"--cert-dir {folder}: {path.name}: {error}") from error
    return context


class Registry:
    """One registry, as one user. Safe to use from several threads."""

    def __init__(self, host: str, credentials: Credentials | None, access: Access) -> None:
        self.host = host
        self.traffic = Traffic()
        self._credentials = credentials
        local = urlsplit(f"//{host}").hostname
        is_local = local is not None and (local in ("localhost", "::1") or local.startswith("127."))
        self._plain = is_local if access.tls_verify is None else not access.tls_verify
        self._verify = access.tls_verify is not False
        self._session = requests.Session()
        self._session.trust_env = not is_local  # no proxy leads to this very machine, as Go has it too
        if not self._verify:
            disable_warnings(InsecureRequestWarning)
        self._session.auth = lambda request: request  # else requests would look for a .netrc
        self._session.headers.update(
            {"User-Agent": f"squashkit/{__version__}", "Accept-Encoding": "identity"}
        )
        self._session.mount("https://", _Adapter(_tls_context(access, verify=self._verify)))
        self._lock = threading.Condition()
        self.interrupts = 0
        """How often all waiting was ended."""
        self._live: set[Any] = set()
        self._challenge: _Challenge | None = None
        self._tokens: dict[tuple[str, ...], str] = {}
        self.origin = self._find_origin()

    # Reaching it

    def _find_origin(self) -> str:
        """Where it answers: over HTTPS; on this very machine, or where nobody asks for verified TLS, over
        plain HTTP too, as docker has it. A certificate that is wrong is no reason to go without."""
        host = "registry-1.docker.io" if self.host == _HUB else self.host
        reason = ""
        for scheme in ("https", "http") if self._plain else ("https",):
            try:
                with self._request("GET", f"{scheme}://{host}/v2/", {}) as response:
                    if response.status_code == 401:
                        self._challenge = _Challenge.parse(response, self.host)
                    return f"{scheme}://{host}"
            except _BROKEN as error:
                reason = reason or _reason(error)
                if re.search(r"(?i)certificate|alert", reason):
                    break
        raise Unavailable(
            f"the registry {self.host} does not answer: {reason}{self._hint(reason)}", reference=self.host
        )

    def _hint(self, reason: str) -> str:
        if not self._verify or not re.search(r"(?i)ssl|certificate|tls", reason):
            return ""
        if re.search(r"(?i)wrong.version|record.layer|http.request", reason):
            return "; it speaks plain HTTP: --tls-verify=false allows that"
        return "; --cert-dir DIR adds a CA, --tls-verify=false trusts anybody"

    def interrupt(self) -> None:
        """End all waiting: reads end now, and pauses with Cancelled."""
        with self._lock:
            self.interrupts += 1
            for response in self._live:
                with suppress(ValueError, RuntimeError, OSError, AttributeError):
                    response.raw.shutdown()
            self._lock.notify_all()

    def close(self) -> None:
        self._session.close()

    def _pause(self, seconds: float) -> None:
        with self._lock:
            before = self.interrupts
            if self._lock.wait_for(lambda: self.interrupts != before, timeout=seconds):
                raise Cancelled

    # Requests

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], data: Any = None
    ) -> requests.Response:
        # Said again for each request: variables that are meant for other programs would go before it.
        return self._session.request(
            method, url, headers=headers, data=data, stream=True, timeout=_TIMEOUT,
            allow_redirects=False, verify=self._verify,
        )  # fmt: skip

    def send(
        self,
        method: str,
        url: str,
        scopes: Sequence[str],
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        *,
        repeat: bool = True,
    ) -> requests.Response:
        """One request, with credentials where it goes to this registry, and its redirects followed.

        What is broken or busy is tried again, unless not to `repeat`. The caller closes the response.
        Raises what requests raises, MaxRetryError, or Unauthorized.
        """
        patience = _PATIENCE
        url = urljoin(self.origin, url)
        while True:
            response = None
            try:
                response = self._follow(method, url, scopes, dict(headers or {}), data)
                if response.status_code not in _BUSY or not repeat:
                    return response
                patience = patience.increment(method, url, response=response.raw)
            except MaxRetryError:
                assert response is not None
                return response  # its status tells why
            except _BROKEN as error:
                if not repeat:
                    raise
                patience = _once_more(patience, method, url, error)
            self._pause(_seconds(patience, response))
            if response is not None:
                response.close()

    def _follow(
        self, method: str, url: str, scopes: Sequence[str], headers: dict[str, str], data: Any
    ) -> requests.Response:
        for _ in range(_HOPS):
            response = self._authorised(method, url, scopes, headers, data)
            if response.status_code not in (301, 302, 303, 307, 308):
                return response
            where = urljoin(url, response.headers.get("Location", ""))
            response.close()
            if self._verify and not where.startswith("https:") and url.startswith("https:"):
                raise Unavailable(
                    f"{self.host} redirects to {urlsplit(where).netloc} without TLS", reference=self.host
                )
            url = where
        raise Unavailable(f"{self.host} redirects without end", reference=self.host)

    def _authorised(
        self, method: str, url: str, scopes: Sequence[str], headers: dict[str, str], data: Any
    ) -> requests.Response:
        if _origin(url) != self.origin:
            return self._request(method, url, headers, data)
        for attempt in (1, 2):
            secret = self._authorization(scopes)
            sent = {**headers, "Authorization": secret} if secret else headers
            response = self._request(method, url, sent, data)
            if response.status_code != 401 or attempt == 2 or not response.headers.get("WWW-Authenticate"):
                return response
            with self._lock:  # a token that has expired, or the first challenge
                self._challenge = _Challenge.parse(response, self.host)
                self._tokens.pop(tuple(scopes), None)
            response.close()
        raise AssertionError

    def _authorization(self, scopes: Sequence[str]) -> str | None:
        challenge = self._challenge
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            return self._credentials.basic if self._credentials else None
        with self._lock:
            token = self._tokens.get(tuple(scopes))
        if token is None:
            token = self._fetch_token(challenge, scopes)
            with self._lock:
                self._tokens[tuple(scopes)] = token
        return f"Bearer {token}"

    def _fetch_token(self, challenge: _Challenge, scopes: Sequence[str]) -> str:
        """A token from the registry's token server (distribution's auth/token.md and auth/oauth.md)."""
        credentials = self._credentials
        fields = {"service": challenge.service} if challenge.service else {}
        patience = _PATIENCE
        while True:
            response = None
            try:
                if credentials is not None and credentials.identity_token:
                    form = {
                        **fields, "grant_type": "refresh_token", "client_id": "squashkit",
                        "refresh_token": credentials.identity_token, "scope": " ".join(scopes),
                    }  # fmt: skip
                    response = self._request("POST", challenge.realm, {}, form)
                else:
                    query = urlencode([*fields.items(), *(("scope", scope) for scope in scopes)])
                    separator = "&" if "?" in challenge.realm else "?"
                    headers = {"Authorization": credentials.basic} if credentials else {}
                    response = self._request("GET", challenge.realm + separator + query, headers)
                if response.status_code not in _BUSY:
                    break
                patience = patience.increment("GET", challenge.realm, response=response.raw)
            except MaxRetryError:
                break
            except _BROKEN as error:
                try:
                    patience = _once_more(patience, "GET", challenge.realm, error)
                except _BROKEN as last:
                    raise Unavailable(
                        f"the token server of {self.host} does not answer: {_reason(last)}",
                        reference=self.host,
                    ) from last
            self._pause(_seconds(patience, response))
        assert response is not None
        with response:
            if response.status_code in (401, 403):
                raise self.unauthorized(response)
            document = response.content if response.status_code == 200 else b"{}"
        value = load_json(document, f"the token server of {self.host}")
        token = (value.get("token") or value.get("access_token")) if isinstance(value, dict) else None
        if not isinstance(token, str):
            raise Unavailable(
                f"the token server of {self.host} gives no token (status {response.status_code})",
                reference=self.host,
            )
        return token

    def unauthorized(self, response: requests.Response) -> Unauthorized:
        way = (
            "its credentials do not suffice"
            if self._credentials
            else f"log in first (docker login {self.host}), or pass --authfile"
        )
        return Unauthorized(
            f"{self.host} gives no access ({response.status_code}{_told(response)}); {way}",
            reference=self.host,
        )

    @contextmanager
    def live(self, response: requests.Response) -> Iterator[requests.Response]:
        """A response whose body is being read, which `interrupt` may end."""
        with self._lock:
            self._live.add(response)
        try:
            yield response
        finally:
            with self._lock:
                self._live.discard(response)
            response.close()


@dataclass(frozen=True, slots=True)
class _Challenge:
    """How a registry wants its users to prove who they are (RFC 9110, 11.6.1)."""

    scheme: str
    realm: str
    service: str

    @classmethod
    def parse(cls, response: requests.Response, host: str) -> _Challenge:
        header = response.headers.get("WWW-Authenticate", "")
        scheme, _, rest = header.partition(" ")
        values = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        scheme = scheme.lower()
        if scheme not in ("basic", "bearer") or (scheme == "bearer" and not values.get("realm")):
            raise Unavailable(
                f"{host} wants credentials of a kind that is not known: {show_text(header[:80])}",
                reference=host,
            )
        return cls(scheme, values.get("realm", ""), values.get("service", ""))


class Repository:
    """One repository of a registry. `also` are others of the same registry from which blobs may be mounted;
    raises what `Registry` raises, and Unavailable, Unauthorized or ImageNotFound where a request fails."""

    def __init__(
        self, registry: Registry, path: str, *, push: bool = False, also: Iterable[str] = ()
    ) -> None:
        self.registry = registry
        self.path = path
        actions = "pull,push" if push else "pull"
        others = sorted(set(also) - {path})
        self._scopes = [f"repository:{path}:{actions}", *(f"repository:{other}:pull" for other in others)]

    @property
    def title(self) -> str:
        return f"{self.registry.host}/{self.path}"

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        url = path if "://" in path or path.startswith("/") else f"/v2/{self.path}/{path}"
        try:
            return self.registry.send(method, url, self._scopes, **options)
        except (MaxRetryError, *_BROKEN) as error:
            raise self._unavailable(_reason(error)) from error

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"the registry {self.registry.host}: {why}", reference=self.title)

    def _refused(self, response: requests.Response, what: str) -> Unavailable | Unauthorized:
        if response.status_code in (401, 403):
            return self.registry.unauthorized(response)
        return self._unavailable(f"{what} failed with status {response.status_code}{_told(response)}")

    # Reading

    def manifest(self, reference: str) -> tuple[bytes, str]:
        """A manifest or an index by tag or digest, with its media type. One that was asked for by digest
        is verified."""
        with self._send("GET", f"manifests/{reference}", headers={"Accept": _ACCEPTED}) as response:
            if response.status_code == 404:
                raise self._not_found(reference)
            if response.status_code != 200:
                raise self._refused(response, f"reading the manifest {reference} of {self.path}")
            data = self._document(response, f"manifest {reference}")
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if is_digest(reference) and sha256(data) != reference:
            raise DigestMismatch(f"manifest of {self.title}", expected=reference, actual=sha256(data))
        return data, media_type

    def _not_found(self, reference: str) -> ImageNotFound:
        tags: list[str] = []
        with suppress(Unavailable, Unauthorized, InvalidImage):
            with self._send("GET", "tags/list?n=20") as response:
                data = self._document(response, "tags") if response.status_code == 200 else b"{}"
            value = load_json(data, "tags")
            tags = [str(tag) for tag in value.get("tags") or ()] if isinstance(value, dict) else []
        joint = "@" if is_digest(reference) else ":"
        shown = "; its tags: " + show_text(", ".join(tags[:20])) if tags else ""
        return ImageNotFound(
            f"the registry has no {self.title}{joint}{reference}{shown}", reference=self.title, choices=tags
        )

    def _document(self, response: requests.Response, where: str) -> bytes:
        data = bytearray()
        try:
            for piece in response.iter_content(64 << 10):
                data += piece
                if len(data) > MAX_DOCUMENT:
                    raise InvalidImage(f"a document of over {MAX_DOCUMENT} bytes", where=where)
        except _BROKEN as error:
            raise self._unavailable(_reason(error)) from error
        self.registry.traffic.down += len(data)
        return bytes(data)

    def document(self, digest: Digest) -> bytes | None:
        """A small blob, None where it is not there. Whoever reads it verifies it."""
        with self._send("GET", f"blobs/{digest}") as response:
            if response.status_code == 404:
                return None
            if response.status_code != 200:
                raise self._refused(response, f"reading the blob {digest}")
            return self._document(response, digest)

    def blob(self, digest: Digest, size: int, cancelled: threading.Event) -> Iterator[bytes]:
        """A blob in pieces as they come. Where the connection breaks it goes on from there, a bounded
        number of times for each mebibyte. Raises DigestMismatch at the end where it is not what it was to
        be, Unavailable where it is not there or does not come."""
        actual = hashlib.sha256()
        at = 0
        patience, came = _PATIENCE, 0
        interrupts = self.registry.interrupts
        while at < size or not at:
            try:
                with self.registry.live(self._begin(digest, at)) as response:
                    for piece in self._pieces(response, at):
                        if cancelled.is_set():
                            raise Cancelled
                        actual.update(piece)
                        at += len(piece)
                        self.registry.traffic.down += len(piece)
                        came += len(piece)
                        if came > _PROGRESS:
                            patience, came = _PATIENCE, 0
                        yield piece
                        if at > size:
                            break
                if at >= size or not size:
                    break
                raise EOFError(f"the blob {digest} ends after {at} of {size} bytes")
            except (*_BROKEN, EOFError) as error:
                if cancelled.is_set() or self.registry.interrupts != interrupts:
                    raise Cancelled from None
                try:
                    patience = _once_more(patience, "GET", digest, error)
                except Exception as last:
                    if isinstance(error, EOFError):
                        break  # complete, as the server says, and too short
                    raise self._unavailable(
                        f"the blob {digest} broke off after {at} of {size} bytes: {_reason(error)}"
                    ) from last
                self.registry._pause(patience.get_backoff_time())
        if at != size:
            raise DigestMismatch(
                f"blob {digest}", expected=f"{size} bytes", actual=f"{'more' if at > size else at} bytes"
            )
        if (found := f"sha256:{actual.hexdigest()}") != digest:
            raise DigestMismatch(f"blob of {self.title}", expected=digest, actual=found)

    def _begin(self, digest: Digest, at: int) -> requests.Response:
        headers = {"Range": f"bytes={at}-"} if at else {}
        response = self._send("GET", f"blobs/{digest}", headers=headers)
        if response.status_code == 404:
            response.close()
            raise self._unavailable(f"{self.path} lacks the blob {digest}, which its manifest names")
        if response.status_code not in (200, 206):
            with response:
                raise self._refused(response, f"reading the blob {digest}")
        return response

    @staticmethod
    def _pieces(response: requests.Response, at: int) -> Iterator[bytes]:
        """What comes from `at` on, also where the server sends all from the beginning."""
        skip = at if response.status_code == 200 else 0
        while piece := response.raw.read(READ_SIZE, decode_content=False):
            if skip >= len(piece):
                skip -= len(piece)
                continue
            yield piece[skip:] if skip else piece
            skip = 0

    # Writing

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a blob is there. Raises InvalidImage where it has another size."""
        with self._send("HEAD", f"blobs/{digest}") as response:
            if response.status_code == 404:
                return False
            if response.status_code != 200:
                raise self._refused(response, f"looking for the blob {digest}")
            there = response.headers.get("Content-Length", "")
            if there.isdigit() and int(there) != size:
                raise InvalidImage(
                    f"the blob {digest} there has {there} bytes instead of {size}", where=self.title
                )
            return True

    def mount(self, digest: Digest, other: str) -> bool:
        """Take a blob over from another repository of this registry, without moving it. False where the
        registry does not do that."""
        query = urlencode({"mount": digest, "from": other})
        with self._send("POST", f"blobs/uploads/?{query}", headers={"Content-Length": "0"}) as response:
            if response.status_code == 201:
                return True
            if response.status_code == 202:  # it began an upload instead
                self.drop_upload(self._location(response))
            elif response.status_code not in (400, 401, 403, 404, 405):
                raise self._refused(response, f"mounting the blob {digest}")
            return False

    def begin_upload(self) -> str:
        """Where the bytes of a new blob go."""
        with self._send("POST", "blobs/uploads/", headers={"Content-Length": "0"}) as response:
            if response.status_code != 202:
                raise self._refused(response, f"beginning an upload to {self.path}")
            return self._location(response)

    def _location(self, response: requests.Response) -> str:
        where = urljoin(response.url, response.headers.get("Location", ""))
        origin = urlsplit(self.registry.origin)
        there = urlsplit(where)
        if there.netloc == origin.netloc:  # behind a proxy that does TLS some do not know their scheme
            where = there._replace(scheme=origin.scheme).geturl()
        return where

    def upload_chunk(self, where: str, at: int, chunk: bytes) -> str | None:
        """Send the bytes from `at` on; where the next ones go. None where that broke, or the registry
        takes no chunks."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{at}-{at + len(chunk) - 1}",
            "Content-Length": str(len(chunk)),
        }
        try:
            with self.registry.send(
                "PATCH", where, self._scopes, headers=headers, data=chunk, repeat=False
            ) as response:
                if response.status_code in (401, 403):
                    raise self._refused(response, "an upload")
                if response.status_code not in (201, 202, 204):
                    return None
                self.registry.traffic.up += len(chunk)
                return self._location(response)
        except _BROKEN:
            return None

    def upload_status(self, where: str) -> tuple[str, int] | None:
        """Where the upload goes on, and how many bytes are there. None where it is lost."""
        with self._send("GET", where) as response:
            if response.status_code != 204:
                return None
            found = re.fullmatch(r"(?:bytes=)?0-(\d+)", response.headers.get("Range", ""))
            last = int(found[1]) if found else 0  # `0-0` is said of nothing, too
            return self._location(response), last + 1 if last else 0

    def finish_upload(self, where: str, digest: Digest, rest: Any = b"") -> bool:
        """End an upload with its last bytes. False where that broke."""
        joint = "&" if "?" in where else "?"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(len(rest))}
        try:
            with self.registry.send(
                "PUT", f"{where}{joint}{urlencode({'digest': digest})}", self._scopes,
                headers=headers, data=rest or None, repeat=False,
            ) as response:  # fmt: skip
                if response.status_code in (401, 403):
                    raise self._refused(response, "an upload")
                self.registry.traffic.up += len(rest)
                return response.status_code in (201, 204)
        except _BROKEN:
            return False

    def drop_upload(self, where: str) -> None:
        """Give an upload up. A registry that does not know how cleans up by itself."""
        with suppress(Unavailable, Unauthorized):
            self._send("DELETE", urljoin(self.registry.origin, where), repeat=False).close()

    def put_manifest(self, reference: str, media_type: str, data: bytes) -> None:
        """Store a manifest or an index under a tag or its digest."""
        with self._send(
            "PUT", f"manifests/{reference}", headers={"Content-Type": media_type}, data=data
        ) as response:
            if response.status_code not in (200, 201, 202):
                raise self._refused(response, f"storing the manifest {reference} of {self.path}")
            self.registry.traffic.up += len(data)
            digest = response.headers.get("Docker-Content-Digest")
        if digest and digest != sha256(data):
            raise DigestMismatch(
                f"manifest {reference} of {self.title}", expected=sha256(data), actual=show_text(digest)
            )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _once_more(patience: Retry, method: str, url: str, error: BaseException) -> Retry:
    """One try less. Raises the error where there is none left."""
    try:
        return patience.increment(method, url, error=None)
    except MaxRetryError:
        raise error from None


def _seconds(patience: Retry, response: requests.Response | None) -> float:
    asked = patience.get_retry_after(response.raw) if response is not None else None
    return asked if asked is not None else patience.get_backoff_time()


def _told(response: requests.Response) -> str:
    """What a registry says of an error (distribution-spec, "Error Codes"), as `, text`."""
    with suppress(Exception):
        (first, *_) = load_json(response.content[: 64 << 10], "")["errors"]
        return f", {show_text(str(first.get('message') or first.get('code')))[:200]}"
    return ""


def _reason(error: BaseException) -> str:
    """The gist of an error that wraps others: the innermost one's text."""
    inner: Any = error
    while True:
        below = getattr(inner, "reason", None)
        if not isinstance(below, BaseException):
            below = inner.args[0] if inner.args and isinstance(inner.args[0], BaseException) else None
        if below is None:
            below = inner.__cause__ or inner.__context__
        if below is None or below is inner:
            break
        inner = below
    if isinstance(inner, OSError) and inner.strerror:
        return show_text(inner.strerror)
    return show_text(str(inner) or type(inner).__name__)
