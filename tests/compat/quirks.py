"""A small registry in memory, and what real ones do otherwise: a line each.

It takes what distribution-spec 1.1 lets a client send and holds every byte against its digest. A quirk is
asked before the registry is, and answers in its place, or leaves the request to it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.compat.registries import HOST, Handler, serving
from tests.support.builders import Compress, compress

BLOB = r"/blobs/sha256:"
BEGIN = r"/blobs/uploads/(\?|$)"
UPLOAD = r"/blobs/uploads/\d"
MANIFEST = r"/manifests/"
OCI_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar",
)
DOCKER_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar",
)
"""Of a manifest, its config and its plain layers."""


@dataclass(slots=True)
class Asked:
    """A request, and how it was answered."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int = 0

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said to a request. With `cut` the connection ends in place of it."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


class MemoryRegistry:
    """A registry of one process. `asked` are all requests, in their order."""

    def __init__(self, quirks: Iterable[Quirk] = ()) -> None:
        self.port = 0
        self.asked: list[Asked] = []
        self.blobs: dict[str, dict[str, bytes]] = {}
        """By repository and digest; manifests too."""
        self.kinds: dict[str, str] = {}
        """The media types of manifests."""
        self.tags: dict[str, dict[str, str]] = {}
        self.uploads: dict[str, bytearray] = {}
        self._quirks = list(quirks)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def up(self) -> int:
        """Bytes of blobs that were sent here, in vain or not."""
        return sum(len(one.body) for one in self.asked if re.search(UPLOAD, one.path))

    def seen(self, method: str, path: str) -> list[Asked]:
        return [one for one in self.asked if one.method == method and re.search(path, one.path)]

    def store(self, repository: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.blobs.setdefault(repository, {})[digest] = data
        return digest

    def add(
        self,
        repository: str,
        tag: str,
        layers: Iterable[bytes],
        *,
        how: Compress = None,
        docker: bool = False,
    ) -> None:
        """An image of these layers, stored plain or as `how` says."""
        tars = list(layers)
        diff_ids = [f"sha256:{hashlib.sha256(tar).hexdigest()}" for tar in tars]
        made = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
        config = json.dumps({**made, "history": [{"created_by": f"step {at}"} for at in range(len(tars))]})
        types = DOCKER_TYPES if docker else OCI_TYPES
        ending = f"{'.' if docker else '+'}{how}" if how else ""

        def descriptor(kind: str, data: bytes) -> dict[str, object]:
            return {"mediaType": kind, "digest": self.store(repository, data), "size": len(data)}

        manifest = {
            "schemaVersion": 2,
            "mediaType": types[0],
            "config": descriptor(types[1], config.encode()),
            "layers": [descriptor(types[2] + ending, compress(tar, how)) for tar in tars],
        }
        self.name(repository, tag, types[0], json.dumps(manifest).encode())

    def name(self, repository: str, reference: str, kind: str, data: bytes) -> str:
        """Store a manifest under a tag or its digest."""
        digest = self.store(repository, data)
        self.kinds[digest] = kind
        if not reference.startswith("sha256:"):
            self.tags.setdefault(repository, {})[reference] = digest
        return digest

    def layers(self, repository: str, tag: str) -> list[dict[str, str]]:
        """The descriptors of an image's layers."""
        found = json.loads(self.blobs[repository][self.tags[repository][tag]])["layers"]
        assert isinstance(found, list)
        return found

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            for quirk in self._quirks:
                if (answer := quirk(self, asked)) is not None:
                    return answer
            return self.plain(asked)

    def plain(self, asked: Asked) -> Answer:
        """What a registry without quirks says."""
        path = urllib.parse.urlsplit(asked.path).path
        if path == "/v2/":
            return Answer(200)
        found = re.fullmatch(r"/v2/(\w+)/(tags/list|(?:manifests|blobs/uploads|blobs)/)(.*)", path)
        if found is None:
            return Answer(404)
        repository, what, name = found.groups()
        if what == "tags/list":
            return Answer(200, json.dumps({"tags": sorted(self.tags.get(repository, {}))}).encode())
        if what == "manifests/":
            return self._manifest(asked, repository, name)
        if what == "blobs/":
            data = self.blobs.get(repository, {}).get(name)
            return Answer(404) if data is None else Answer(200, data)
        return self._upload(asked, repository, name)

    def _manifest(self, asked: Asked, repository: str, name: str) -> Answer:
        if asked.method == "PUT":
            named = json.loads(asked.body)
            there = self.blobs.get(repository, {}).keys()
            if not {one["digest"] for one in [named["config"], *named["layers"]]} <= there:
                return Answer(400, error("MANIFEST_BLOB_UNKNOWN"))
            digest = self.name(repository, name, asked.headers["content-type"], asked.body)
            return Answer(201, headers={"Docker-Content-Digest": digest})
        digest = self.tags.get(repository, {}).get(name, name)
        data = self.blobs.get(repository, {}).get(digest)
        return Answer(404) if data is None else Answer(200, data, {"Content-Type": self.kinds[digest]})

    def _upload(self, asked: Asked, repository: str, name: str) -> Answer:
        query = asked.query
        if asked.method == "POST":
            if (data := self.blobs.get(query.get("from", ""), {}).get(query.get("mount", ""))) is not None:
                return Answer(201, headers={"Docker-Content-Digest": self.store(repository, data)})
            name = str(next(self._numbers))
            self.uploads[name] = bytearray()
        if name not in self.uploads:
            return Answer(404)
        taken = self.uploads[name]
        place = asked.headers.get("content-range", f"{len(taken)}-")
        if not place.startswith(f"{len(taken)}-"):
            return Answer(416)
        taken += asked.body
        if asked.method in ("PUT", "DELETE"):
            del self.uploads[name]
        if asked.method == "DELETE":
            return Answer(204)
        if asked.method == "PUT":
            right = self.store(repository, bytes(taken)) == query["digest"]
            return Answer(201) if right else Answer(400, error("DIGEST_INVALID"))
        headers = {"Location": f"/v2/{repository}/blobs/uploads/{name}", "Range": f"0-{len(taken) - 1}"}
        return Answer(204 if asked.method == "GET" else 202, headers=headers)


@contextmanager
def memory_registry(quirks: Iterable[Quirk] = ()) -> Iterator[MemoryRegistry]:
    made = MemoryRegistry(quirks)

    class Requests(Handler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, body)
            answer = made.answer(asked)
            asked.status = answer.status
            if answer.cut:
                self.close_connection = True
                self.connection.close()
                return
            self.answer(answer.status, answer.body, answer.headers)

        do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    with serving(Requests) as made.port:
        yield made


def error(message: str) -> bytes:
    """A body as distribution-spec has it for errors."""
    return json.dumps({"errors": [{"code": "QUIRK", "message": message}]}).encode()


# --- quirks ------------------------------------------------------------------------------------

Quirk = Callable[[MemoryRegistry, Asked], Answer | None]


def _times(number: int) -> Callable[[], bool]:
    """True so many times, or always (-1)."""
    left = itertools.repeat(True) if number < 0 else itertools.repeat(True, number)
    return lambda: next(left, False)


def says(status: int, method: str, path: str, times: int = -1, body: bytes = b"", **headers: str) -> Quirk:
    """These requests (patterns) get this status, so many times or always (-1), and reach nothing."""
    is_left = _times(times)
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        if re.fullmatch(method, asked.method) and re.search(path, asked.path) and is_left():
            return Answer(status, body, named)
        return None

    return quirk


def after(method: str, path: str, change: Callable[[Answer], Answer], times: int = -1) -> Quirk:
    """These requests do what they are to do, and then are answered otherwise."""
    is_left = _times(times)

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        if re.fullmatch(method, asked.method) and re.search(path, asked.path) and is_left():
            return change(registry.plain(asked))
        return None

    return quirk


def from_then_on(method: str, path: str, quirks: Iterable[Quirk]) -> Quirk:
    """These quirks, from the first such request on."""
    begun: list[Quirk] = []

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        if not begun and re.fullmatch(method, asked.method) and re.search(path, asked.path):
            begun.extend(quirks)
        return next((answer for one in begun if (answer := one(registry, asked)) is not None), None)

    return quirk


def told(status: int) -> Callable[[Answer], Answer]:
    """The same with another word for success."""
    return lambda answer: replace(answer, status=status) if answer.status < 300 else answer


def without(name: str) -> Callable[[Answer], Answer]:
    """The same without a header."""
    return lambda answer: Answer(
        answer.status, answer.body, {key: value for key, value in answer.headers.items() if key != name}
    )


def having(**headers: str) -> Callable[[Answer], Answer]:
    """The same with one header more."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda answer: Answer(answer.status, answer.body, {**answer.headers, **more})


def lost(answer: Answer) -> Answer:
    """Nothing comes back."""
    return Answer(answer.status, cut=True)


def at_most(size: int, method: str = "PATCH|PUT") -> Quirk:
    """A proxy that lets no larger bodies through."""

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        is_large = re.search(UPLOAD, asked.path) and re.fullmatch(method, asked.method)
        return Answer(413) if is_large and len(asked.body) > size else None

    return quirk


def at_least(size: int) -> Quirk:
    """Only the last chunk may be smaller."""
    short: set[str] = set()

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        if asked.method == "PATCH":
            if asked.path in short:
                return Answer(416)
            if len(asked.body) < size:
                short.add(asked.path)
        if asked.method == "POST":
            return having(OCI_Chunk_Min_Length=str(size))(registry.plain(asked))
        return None

    return quirk


def takes_part(size: int) -> Quirk:
    """Of a chunk it keeps so many bytes, and then says 416."""

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        if asked.method != "PATCH" or len(asked.body) <= size:
            return None
        part = Asked(asked.method, asked.path, asked.headers, asked.body[:size])
        answer = registry.plain(part)
        return Answer(416) if answer.status == 202 else answer

    return quirk


def whole_chunks_alone(size: int) -> Quirk:
    """Chunks of more than so many bytes are refused with 416, and nothing of them is kept."""
    return lambda registry, asked: (
        Answer(416) if asked.method == "PATCH" and len(asked.body) > size else None
    )


def no_places(registry: MemoryRegistry, asked: Asked) -> Answer | None:
    """No chunk may say where it begins, as in docker's older protocol."""
    return Answer(400, error("no Content-Range")) if "content-range" in asked.headers else None


def one_stream(registry: MemoryRegistry, asked: Asked) -> Answer | None:
    """Nor may a blob come with the last request, nor in two."""
    if asked.method == "PUT" and re.search(UPLOAD, asked.path) and asked.body:
        return Answer(400, error("no bytes here"))
    return no_places(registry, asked)


def wants_session(registry: MemoryRegistry, asked: Asked) -> Answer | None:
    """It gives everybody a cookie, and refuses whoever brings one without a token of its own."""
    if "cookie" in asked.headers:
        return Answer(403, error("CSRF token not found"))
    return having(Set_Cookie="sid=1; Path=/")(registry.plain(asked))


SIGNED = "sig=%2fa%7E!'()*%c3%a9+=&&x=a/../b"


def signs(registry: MemoryRegistry, asked: Asked) -> Answer | None:
    """An upload's address is signed, and stands as it was written."""
    if re.search(UPLOAD, asked.path):
        if f"?{SIGNED}" not in asked.path:
            return Answer(403, error("the signature does not match"))
        asked = Asked(asked.method, asked.path.replace(SIGNED, "x=1"), asked.headers, asked.body)
    elif asked.method != "POST":
        return None
    answer = registry.plain(asked)
    if where := answer.headers.get("Location"):
        return having(Location=f"http://{registry.host}{where}?{SIGNED}")(answer)
    return answer


def winding(registry: MemoryRegistry, asked: Asked) -> Answer | None:
    """An upload's address is a path with `..` in it, which is signed, and has a fragment."""
    if re.search(UPLOAD, asked.path):
        return Answer(403, error("the signature does not match"))
    if asked.method == "POST" and "mount=" in asked.path:
        return None
    plain = Asked(asked.method, asked.path.replace("/x/../", "/"), asked.headers, asked.body)
    answer = registry.plain(plain)
    if where := answer.headers.get("Location"):
        return having(Location=where.replace("/uploads/", "/uploads/x/../") + "?x=1#here")(answer)
    return answer


def ends_with_a_second_chunk(status: int) -> Quirk:
    """An upload is over with its second chunk. Whoever has not understood after twenty of them is told."""
    is_left = _times(20)

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        if asked.headers.get("content-range", "0-").startswith("0-"):
            return None
        registry.uploads.clear()
        return Answer(status if is_left() else 418)

    return quirk


def another_part(start: int) -> Quirk:
    """Of a layer the first half comes, and then a kilobyte that begins elsewhere than was asked for."""
    halved: set[str] = set()

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        if asked.method != "GET" or not re.search(BLOB, asked.path):
            return None
        data = registry.plain(asked).body
        if data.startswith(b"{"):
            return None
        if asked.path not in halved:
            halved.add(asked.path)
            return Answer(200, data[: len(data) // 2])
        if "range" not in asked.headers:
            return None
        place = f"bytes {start}-{start + 1023}/{len(data)}"
        return Answer(206, data[start : start + 1024], {"Content-Range": place})

    return quirk


def elsewhere(path: str) -> Quirk:
    """What is read there lies on another host, which does not give it."""

    def quirk(registry: MemoryRegistry, asked: Asked) -> Answer | None:
        if asked.path.startswith("/elsewhere"):
            return Answer(403, error("blocked"))
        if asked.method == "GET" and re.search(path, asked.path):
            return Answer(307, headers={"Location": f"http://localhost:{registry.port}/elsewhere"})
        return None

    return quirk


def loses_uploads(times: int) -> Quirk:
    """The first uploads that are begun are soon forgotten."""
    return after("POST", BEGIN, having(Location="/v2/new/blobs/uploads/0"), times)
