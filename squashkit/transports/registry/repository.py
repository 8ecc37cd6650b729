"""A repository in a registry (OCI distribution-spec 1.1, which is docker's registry API v2): its documents,
its blobs, and uploads to it. A blob that breaks off is taken up where it broke."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sized
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import requests
from urllib3.util import Retry

from squashkit.errors import (
    BlobMissing,
    Cancelled,
    DigestMismatch,
    ImageNotFound,
    InvalidImage,
    TransportError,
    Unauthorized,
    Unavailable,
    gist_of,
    inside,
    show_text,
)
from squashkit.oci.digests import Digest, is_digest, sha256
from squashkit.oci.gojson import TEXTS, Struct, load_json
from squashkit.oci.media import INDEX_TYPES, MANIFEST_TYPES
from squashkit.transports.blobs import MAX_DOCUMENT, READ_SIZE
from squashkit.transports.registry.http import Registry, absolute, is_same_place, is_success, limited, told
from squashkit.transports.registry.listing import (
    BARREN,
    MOST,
    NONE_GIVEN,
    first_page,
    next_page,
    without_number,
)
from squashkit.transports.registry.patience import (
    BROKEN,
    BUSY,
    ONCE,
    PATIENCE,
    is_final,
    once_more,
    seconds,
)
from squashkit.values import frozen

T = TypeVar("T")

_NO_BODY = {"Content-Length": "0"}
_BYTES = {"Content-Type": "application/octet-stream"}
_BEFORE_UPLOADS = PATIENCE.increment().increment()
"""An upload is tried again after as long a time as any other request for the second time."""
_PROGRESS = 1 << 20
"""Bytes after which a broken connection is no sign of one that always breaks."""
_FRESH = 60
"""Seconds for which an upload that was begun may wait for its bytes; what it was told may be over then."""
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
_ACCEPTED = ", ".join((*sorted(MANIFEST_TYPES | INDEX_TYPES), _SCHEMA_1, "*/*;q=0.1"))


def repositories(registry: Registry) -> list[str]:
    """The names of all repositories, as far as the registry tells them. Raises as `Repository.tags`."""
    whole = Repository(registry, "")
    whole._scopes = ["registry:catalog:*"]
    return whole._list("/v2/_catalog", "repositories", MOST)


@frozen
class Answer:
    """What a registry said of bytes that were sent to it."""

    status: int
    """0 where the connection broke."""
    where: str
    """Where the next ones go."""
    error: TransportError | None = None
    """What to raise where they were not taken."""
    wait: float = 0
    """Seconds after which to try again."""
    broken: str = ""

    @property
    def may_pass(self) -> bool:
        """Whether the same bytes may be taken in a moment."""
        return not self.status or self.status in BUSY

    @property
    def why(self) -> str:
        """Words for what happened."""
        return self.broken or f"status {self.status}"


class Repository:
    """One repository of a registry. Raises what `Registry` raises, and Unavailable, Unauthorized or
    ImageNotFound where a request fails."""

    def __init__(self, registry: Registry, path: str, *, push: bool = False) -> None:
        self.registry = registry
        self.path = path
        self._scopes = [f"repository:{path}:{'pull,push' if push else 'pull'}"]
        self._closed: set[str] = set()
        """Repositories from which nothing can be mounted."""

    @property
    def title(self) -> str:
        return f"{self.registry.host}/{self.path}"

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        url = path if "://" in path or path.startswith("/") else f"/v2/{self.path}/{path}"
        try:
            return self.registry.send(method, url, self._scopes, **options)
        except (*BROKEN, ValueError) as error:
            raise self._unavailable(gist_of(error)) from error

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"the registry {self.registry.host}: {why}", reference=self.title)

    def _refused(self, response: requests.Response, what: str) -> Unavailable | Unauthorized:
        if response.status_code in (401, 403):
            if is_same_place(response.url, self.registry.origin):
                return self.registry.unauthorized(response)
            return Unauthorized(
                f"{urlsplit(response.url).hostname}, to which {self.registry.host} leads, gives no access:"
                f" {what} failed with status {response.status_code}{told(response)}",
                reference=self.title,
            )
        return self._unavailable(f"{what} failed with status {response.status_code}{told(response)}")

    # Reading

    def manifest(self, reference: str) -> tuple[bytes, str]:
        """A manifest or an index by tag or digest, with its media type. One that was asked for by digest
        is verified."""
        found = self._fetch(f"manifests/{reference}", f"the manifest {reference} of {self.path}")
        if found is None:
            raise self._not_found(reference)
        data, content_type = found
        media_type = content_type.partition(";")[0].strip()
        if is_digest(reference) and sha256(data) != reference:
            raise DigestMismatch(f"manifest of {self.title}", expected=reference, actual=sha256(data))
        return data, media_type

    def tags(self, most: int = MOST) -> list[str]:
        """Its tags, `most` of them at most. Raises ImageNotFound where the registry lists none of such a
        repository, Unauthorized where nobody may see them."""
        return self._list(f"/v2/{self.path}/tags/list", "tags", most)

    def _list(self, path: str, what: str, most: int) -> list[str]:
        """The names in a list, each once."""
        names: dict[str, None] = {}
        asked: set[str] = set()
        page, barren = first_page(path, most), 0
        with inside(f"the {what} of {self.title.rstrip('/')}"):
            while page and page not in asked and len(names) < most and barren < BARREN:
                asked.add(page)
                found, page = self._page(page, what)
                barren = 0 if found.keys() - names.keys() else barren + 1
                names.update(found)
        return list(names)

    def _page(self, asked: str, what: str) -> tuple[dict[str, None], str]:
        """The names on a page, and what to ask for next; nothing after the last one."""

        def take(response: requests.Response) -> tuple[dict[str, None], str]:
            if (again := without_number(asked, response.status_code)) is not None:
                return {}, again
            if response.status_code in NONE_GIVEN:
                why = f"the registry does not list them ({response.status_code}{told(response)})"
                raise ImageNotFound(why, reference=self.title)
            if not is_success(response):
                raise self._refused(response, "listing")
            value = load_json(self._document(response, ""), "", Struct({what: TEXTS}))
            listed = value.get(what) if isinstance(value, dict) else None
            names = dict.fromkeys(str(name) for name in listed or ())
            link = response.links.get("next", {}).get("url", "")
            try:
                return names, next_page(asked, response.url, link) if link else ""
            except ValueError as error:
                raise self._unavailable(f"its next page is at no address: {show_text(link)}") from error

        return self._read(asked, "the list", {}, take)

    def _not_found(self, reference: str) -> ImageNotFound:
        tags: list[str] = []
        with suppress(TransportError, InvalidImage):
            tags = self.tags(20)
        joint = "@" if is_digest(reference) else ":"
        shown = "; its tags: " + show_text(", ".join(tags[:20])) if tags else ""
        return ImageNotFound(
            f"the registry has no {self.title}{joint}{reference}{shown}", reference=self.title, choices=tags
        )

    def _document(self, response: requests.Response, where: str) -> bytes:
        data = limited(response, MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise InvalidImage(f"a document of over {MAX_DOCUMENT} bytes", where=where)
        self.registry.traffic.down += len(data)
        return data

    def document(self, digest: Digest) -> bytes | None:
        """A small blob, None where it is not there. Whoever reads it verifies it."""
        found = self._fetch(f"blobs/{digest}", f"the blob {self.path}@{digest}")
        return None if found is None else found[0]

    def lacks(self, digest: Digest) -> str:
        """Words for a blob that is not there."""
        return f"the registry lacks the blob {self.title}@{digest}, which a manifest there names"

    def _fetch(self, path: str, what: str) -> tuple[bytes, str] | None:
        """A document and its type, None where it is not there."""

        def take(response: requests.Response) -> tuple[bytes, str] | None:
            if response.status_code == 404:
                return None
            if not is_success(response):
                raise self._refused(response, f"reading {what}")
            return self._document(response, what), response.headers.get("Content-Type", "")

        return self._read(path, what, {"Accept": _ACCEPTED}, take)

    def _read(
        self, path: str, what: str, headers: Mapping[str, str], take: Callable[[requests.Response], T]
    ) -> T:
        """What `take` makes of an answer. One that breaks off is asked for again."""
        patience = PATIENCE
        while True:
            with self._send("GET", path, headers=headers) as response:
                try:
                    return take(response)
                except BROKEN as error:
                    why = error
            try:
                patience = once_more(patience, why)
            except BROKEN as last:
                raise self._unavailable(f"{what} broke off: {gist_of(last)}") from last
            self.registry.pause(patience.get_backoff_time(), f"{what} broke off")

    def blob(self, digest: Digest, size: int, cancelled: threading.Event) -> Iterator[bytes]:
        """A blob in pieces as they come. Where the connection breaks it goes on from there, a bounded
        number of times for each mebibyte. Raises DigestMismatch at the end where it is not what it was to
        be, Unavailable where it is not there or does not come."""
        actual = hashlib.sha256()
        at = 0
        patience, came = PATIENCE, 0
        ranges = True
        while at < size or not at:
            try:
                asked = at if ranges else 0
                with self._begin(digest, asked) as response:
                    start = self._start(response, asked)
                    ranges = start == asked
                    for piece in self._pieces(response, at - start):
                        if cancelled.is_set():
                            raise Cancelled
                        actual.update(piece)
                        at += len(piece)
                        self.registry.traffic.down += len(piece)
                        came += len(piece)
                        if came > _PROGRESS:
                            patience, came = PATIENCE, 0
                        yield piece
                        if at > size:
                            break
                if at >= size or not size:
                    break
                raise EOFError(f"the blob {digest} ends after {at} of {size} bytes")
            except (*BROKEN, EOFError) as error:
                if cancelled.is_set() or self.registry.stopped:
                    raise Cancelled from None
                try:
                    patience = once_more(patience, error)
                except Exception as last:
                    if isinstance(error, EOFError):
                        break  # complete, as the server says, and too short
                    where = f"{at} of {size} bytes: {gist_of(error)}"
                    raise self._unavailable(
                        f"the blob {self.path}@{digest} broke off after {where}"
                    ) from last
                self.registry.pause(patience.get_backoff_time(), f"the blob {digest} broke off")
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
            raise BlobMissing(self.lacks(digest), reference=self.title)
        if not is_success(response) and response.status_code != 416:
            with response:
                raise self._refused(response, f"reading the blob {self.path}@{digest}")
        return response

    @staticmethod
    def _start(response: requests.Response, asked: int) -> int:
        """Where in the blob an answer begins: it may be all of the blob, or another part than was asked
        for. Beyond its end where it is nothing."""
        if response.status_code == 416:
            return sys.maxsize
        stated = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", f"bytes {asked}-"))
        if response.status_code == 206:
            return int(stated[1]) if stated else sys.maxsize
        return 0

    @staticmethod
    def _pieces(response: requests.Response, skip: int) -> Iterator[bytes]:
        """What comes, less so many bytes. Nothing where it begins later."""
        if skip < 0:
            return
        while piece := response.raw.read(READ_SIZE, decode_content=False):
            if skip >= len(piece):
                skip -= len(piece)
                continue
            yield piece[skip:] if skip else piece
            skip = 0

    # Writing

    def has(self, digest: Digest, size: int, patience: Retry = PATIENCE) -> bool:
        """Whether a blob is there. Raises InvalidImage where it has another size."""
        with self._send("HEAD", f"blobs/{digest}", patience=patience) as response:
            if response.status_code == 404:
                return False
            if not is_success(response):
                raise self._refused(response, f"looking for the blob {digest}")
            there = response.headers.get("Content-Length", "")
            if there.isascii() and there.isdigit() and int(there[:20]) not in (size, 0):
                raise InvalidImage(
                    f"the blob {digest} there has {there} bytes instead of {size}", where=self.title
                )
            return True

    def mount(self, digest: Digest, other: str) -> bool:
        """Take a blob over from another repository of this registry, without moving it. A favour: False
        where that is not done, whatever the reason. Another repository that nobody may read is asked for
        one blob only."""
        if other in self._closed:
            return False
        query = urlencode({"mount": digest, "from": other})
        scopes = [*self._scopes, f"repository:{other}:pull"]
        try:
            with self.registry.send(
                "POST",
                f"/v2/{self.path}/blobs/uploads/?{query}",
                scopes,
                headers=_NO_BODY,
                patience=ONCE,
            ) as response:
                if response.status_code == 202:  # it began an upload instead
                    self.registry.begun[self.path].append((time.monotonic(), self._location(response)))
                elif response.status_code not in {201, 404, *BUSY}:
                    self._closed.add(other)
                there = response.headers.get("Docker-Content-Digest") or digest
                return response.status_code == 201 and there == digest
        except BROKEN:
            return False
        except (ValueError, TransportError, InvalidImage):
            self._closed.add(other)
            return False

    def begin_upload(self) -> str:
        """Where the bytes of a new blob go: where an upload that nobody used was begun just now, or a new
        one. Raises Unauthorized where nobody may write."""
        with suppress(IndexError):
            while True:
                since, where = self.registry.begun[self.path].pop()
                if time.monotonic() - since < _FRESH:
                    return where
                self.drop_upload(where)
        with self._send("POST", "blobs/uploads/", headers=_NO_BODY) as response:
            if not is_success(response):
                raise self._refused(response, f"beginning an upload to {self.path}")
            self.registry.manners.take_at_least(response.headers.get("OCI-Chunk-Min-Length", ""))
            return self._location(response)

    def claim(self) -> None:
        """Begin an upload for the first blob to come. Raises Unauthorized where nobody may write."""
        begun = self.registry.begun[self.path]
        if not begun:
            begun.append((time.monotonic(), self.begin_upload()))

    def close(self) -> None:
        """Give up the uploads that no blob needed."""
        begun = self.registry.begun[self.path]
        while begun:
            self.drop_upload(begun.pop()[1])

    def _location(self, response: requests.Response, otherwise: str = "") -> str:
        """Where an upload goes on. Raises Unavailable where that is not said, and not known otherwise."""
        told_where = response.headers.get("Location", "") or otherwise
        if not told_where:
            raise self._unavailable(
                f"it does not say where an upload to {self.path} goes (no Location, status"
                f" {response.status_code})"
            )
        where = absolute(response.url, told_where)
        origin = urlsplit(self.registry.origin)
        there = urlsplit(where)
        if there.netloc == origin.netloc:  # behind a proxy that does TLS some do not know their scheme
            return origin.scheme + where[len(there.scheme) :]
        if origin.scheme == "https" and there.scheme != "https":
            raise self._unavailable(f"it wants uploads sent to {show_text(where[:200])}, without TLS")
        return where

    def patch(self, where: str, body: Sized, at: int | None) -> Answer:
        """Send bytes of an upload, with the place where they begin or without one. Raises Unavailable,
        Unauthorized where bytes are taken and what follows cannot be sent."""
        headers = {**_BYTES, "Content-Length": str(len(body))}
        if at is not None:
            headers["Content-Range"] = f"{at}-{at + len(body) - 1}"
        return self._upload("PATCH", where, headers, body)

    def put(self, where: str, digest: Digest, rest: Sized) -> Answer:
        """End an upload with its last bytes."""
        headers = {**_BYTES, "Content-Length": str(len(rest))}
        joint = "&" if "?" in where else "?"
        return self._upload("PUT", f"{where}{joint}{urlencode({'digest': digest})}", headers, rest)

    def _upload(self, method: str, where: str, headers: Mapping[str, str], body: Sized) -> Answer:
        try:
            with self.registry.send(
                method,
                where,
                self._scopes,
                headers=headers,
                data=body if len(body) else None,
                patience=ONCE,
            ) as response:
                status = response.status_code
                if is_success(response):
                    self.registry.traffic.up += len(body)
                    onward = self._location(response, where) if method == "PATCH" else ""
                    return Answer(status, onward)
                error = self._refused(response, f"an upload to {self.path}")
                return Answer(status, "", error, seconds(_BEFORE_UPLOADS, response))
        except BROKEN as broken:
            why = gist_of(broken)
            if is_final(broken):
                raise self._unavailable(why) from broken
            return Answer(0, "", self._unavailable(why), 0, why)

    def upload_status(self, where: str) -> tuple[str, int] | None:
        """Where the upload goes on, and how many bytes are there. None where it is lost."""
        with self._send("GET", where) as response:
            if not is_success(response):
                return None
            found = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", response.headers.get("Range", ""), re.ASCII)
            last = int(found[1]) if found else 0  # `0-0` is said of nothing, too
            return self._location(response, where), last + 1 if last else 0

    def drop_upload(self, where: str) -> None:
        """Give an upload up. A registry that does not know how cleans up by itself."""
        with suppress(Unavailable, Unauthorized, Cancelled):
            self._send("DELETE", where, patience=ONCE, last=True).close()

    def meaning(self, reference: str) -> bytes | None:
        """The manifest or the index that a tag means now, None where there is no such tag. That is asked
        for with HEAD first: most tags that are looked for are new, and errors have bodies."""
        path, accepted = f"manifests/{reference}", {"Accept": _ACCEPTED}
        with (
            suppress(Unavailable, Unauthorized),
            self._send("HEAD", path, headers=accepted, patience=ONCE) as response,
        ):
            if response.status_code == 404:
                return None
        found = self._fetch(path, f"the manifest {reference} of {self.path}")
        return None if found is None else found[0]

    def digest_of(self, reference: str) -> Digest | None:
        """The digest of that, None where there is no such tag."""
        found = self.meaning(reference)
        return None if found is None else sha256(found)

    def put_manifest(self, reference: str, media_type: str, data: bytes) -> None:
        """Store a manifest or an index under a tag or its digest."""
        with self._send(
            "PUT", f"manifests/{reference}", headers={"Content-Type": media_type}, data=data
        ) as response:
            if not is_success(response):
                raise self._refused(response, f"storing the manifest {reference} of {self.path}")
            self.registry.traffic.up += len(data)
            digest = response.headers.get("Docker-Content-Digest")
        if digest and digest != sha256(data):
            raise DigestMismatch(
                f"manifest {reference} of {self.title}", expected=sha256(data), actual=show_text(digest)
            )
