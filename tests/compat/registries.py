"""Registries of our own, a server of tokens, and a proxy that breaks what it is told to break.

Tests assert on what these servers saw and stored, not on what squashkit reports of itself.
Everything listens on 127.0.0.1 or on a unix socket.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import itertools
import json
import re
import shutil
import socket
import socketserver
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.compat import services
from tests.compat.services import CommandFailed, Unavailable, run
from tests.support.runner import CONFIG_TYPE, LAYER_TYPES

HOST = "127.0.0.1"
SERVICE = "registry.test"
"""What the registry is called in tokens."""
ISSUER = "issuer.test"
LOG_SECONDS = 10

Json = dict[str, Any]
Address = tuple[str, int] | Path
"""Where a server listens: host and port, or a unix socket."""


# --- certificates ----------------------------------------------------------------------------


class Authority:
    """A certificate authority made with openssl, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.certificate = folder / "ca.crt"
        self._key = folder / "ca.key"
        subject = ["-subj", "/CN=squashkit tests", "-days", "2"]
        self._openssl("req", "-x509", *subject, *self._new_key(self._key), "-out", self.certificate)

    def _openssl(self, *arguments: str | Path) -> None:
        try:
            run(["openssl", *arguments])
        except CommandFailed as error:
            raise Unavailable(str(error)) from error

    def _new_key(self, path: Path) -> list[str | Path]:
        return ["-newkey", "rsa:2048", "-nodes", "-keyout", path]

    def sign(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """A certificate for a server by these host names, or for a client, and its key."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        names = [f"IP:{host}" if host[0].isdigit() else f"DNS:{host}" for host in hosts]
        alternative = ["-addext", "subjectAltName=" + ",".join(names)] if names else []
        usage = ["-addext", "extendedKeyUsage=serverAuth,clientAuth"]
        self._openssl(
            *("req", "-x509", "-subj", f"/CN={name}", "-days", "2", *alternative, *usage),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-CA", self.certificate, "-CAkey", self._key),
            *(*self._new_key(key), "-out", certificate),
        )
        return certificate, key

    def folder_for_clients(self, *, client: bool = False) -> Path:
        """What `--cert-dir` is to be: ca.crt, and client.cert with client.key where asked for."""
        folder = self.folder / ("certs-client" if client else "certs")
        if not folder.exists():
            folder.mkdir()
            shutil.copy(self.certificate, folder / "ca.crt")
            if client:
                certificate, key = self.sign("client")
                shutil.copy(certificate, folder / "client.cert")
                shutil.copy(key, folder / "client.key")
        return folder


# --- registries ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One request as the server logged it; the status is 0 where it was never answered."""

    method: str
    path: str
    status: int

    @property
    def writes(self) -> bool:
        return self.method not in ("GET", "HEAD")

    @property
    def blob(self) -> str:
        """The digest of the blob that this request asks for; nothing where it does not."""
        found = re.search(r"/blobs/(sha256:[0-9a-f]{64})$", self.path)
        return found[1] if found else ""

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))


class Registry:
    """docker-registry with all it stores in a folder, which is read here behind its back."""

    def __init__(self, folder: Path, port: int, authority: Authority | None) -> None:
        self.folder = folder
        self.port = port
        self.host = f"{HOST}:{port}"
        self._authority = authority
        self._log = folder / "log"
        self._storage = folder / "storage" / "docker" / "registry" / "v2"

    # What it stores.

    def blobs(self) -> set[str]:
        """The digests of all blobs: layers, configs and manifests."""
        return {f"sha256:{path.parent.name}" for path in self._storage.glob("blobs/sha256/*/*/data")}

    def blob(self, digest: str) -> bytes:
        name = digest.removeprefix("sha256:")
        return (self._storage / "blobs" / "sha256" / name[:2] / name / "data").read_bytes()

    def _repository(self, repository: str) -> Path:
        return self._storage / "repositories" / repository

    def tags(self, repository: str) -> dict[str, str]:
        """The tags of a repository and the digests that they stand for."""
        folder = self._repository(repository) / "_manifests" / "tags"
        return {link.parts[-3]: link.read_text() for link in folder.glob("*/current/link")}

    def digests(self, repository: str) -> set[str]:
        """The digests of all manifests of a repository, tagged or not."""
        folder = self._repository(repository) / "_manifests" / "revisions" / "sha256"
        return {f"sha256:{link.parent.name}" for link in folder.glob("*/link")}

    def manifest(self, repository: str, reference: str) -> Json:
        """The manifest or index that a tag or a digest stands for."""
        digest = reference if reference.startswith("sha256:") else self.tags(repository)[reference]
        assert digest in self.digests(repository), f"{digest} is not in {repository}"
        data = self.blob(digest)
        assert f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
        value = json.loads(data)
        assert isinstance(value, dict)
        return value

    def layers(self, repository: str, reference: str) -> list[str]:
        """The digests of an image's layers as stored, base first."""
        return [layer["digest"] for layer in self.manifest(repository, reference)["layers"]]

    def config(self, repository: str, reference: str) -> Json:
        value = json.loads(self.blob(self.manifest(repository, reference)["config"]["digest"]))
        assert isinstance(value, dict)
        return value

    def size(self, digests: Iterable[str]) -> int:
        """How many bytes these blobs are, as stored."""
        return sum(len(self.blob(digest)) for digest in digests)

    def forget(self, repository: str, digest: str) -> None:
        """Take a blob away, from the repository and from the store."""
        name = digest.removeprefix("sha256:")
        shutil.rmtree(self._repository(repository) / "_layers" / "sha256" / name)
        shutil.rmtree(self._storage / "blobs" / "sha256" / name[:2] / name)

    # What it saw.

    def mark(self) -> int:
        """The end of the log now: all that was answered before stands above it."""
        marker = f"/v2/?mark={uuid.uuid4().hex}"
        self._get(marker)
        limit = time.monotonic() + LOG_SECONDS
        while True:
            data = self._log.read_bytes()
            data = data[: data.rfind(b"\n") + 1]
            requests = self._parse(data)
            if all(request.status for _, request in requests) and any(
                request.path == marker for _, request in requests
            ):
                return len(data)
            if time.monotonic() > limit:
                # A request that was cut off may be logged as begun alone.
                return len(data)
            time.sleep(0.02)

    def log(self, since: int = 0) -> list[Request]:
        """The requests answered since a mark, in the order in which they came."""
        self.mark()
        data = self._log.read_bytes()[since:]
        return [
            request
            for _, request in self._parse(data[: data.rfind(b"\n") + 1])
            if "?mark=" not in request.path
        ]

    def _get(self, path: str) -> None:
        scheme, context = "http", None
        if self._authority:
            scheme = "https"
            context = ssl.create_default_context(cafile=str(self._authority.certificate))
            folder = self._authority.folder_for_clients(client=True)
            context.load_cert_chain(folder / "client.cert", folder / "client.key")
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if context:
            handlers.append(urllib.request.HTTPSHandler(context=context))
        # Without credentials it is refused, and logged just the same.
        with suppress(urllib.error.HTTPError):
            opener = urllib.request.build_opener(*handlers)
            opener.open(f"{scheme}://{self.host}{path}", timeout=LOG_SECONDS).close()

    @staticmethod
    def _parse(data: bytes) -> list[tuple[str, Request]]:
        """Each request of a JSON log begins with a line of its own and, mostly, ends with one."""
        found: dict[str, Request] = {}
        for line in data.splitlines():
            if b'"http.request.id"' not in line:
                continue
            entry = json.loads(line)
            number, message = entry["http.request.id"], entry["msg"]
            request = found.get(number)
            if request is None:
                request = Request(entry["http.request.method"], entry["http.request.uri"], 0)
            if message.startswith("response completed"):
                status = entry.get("http.response.status", 0)
                request = Request(request.method, request.path, status)
            elif message.startswith("error authorizing context"):
                request = Request(request.method, request.path, 401)
            found[number] = request
        return list(found.items())


def uploaded(log: Iterable[Request]) -> set[str]:
    """The digests of the blobs that were uploaded, in one request or in several."""
    done = [one for one in log if one.method in ("PUT", "POST") and one.status == 201]
    return {one.query["digest"] for one in done if "digest" in one.query}


def downloaded(log: Iterable[Request]) -> list[str]:
    """The digests of the blobs that were downloaded, each as often as it was."""
    return [one.blob for one in log if one.method == "GET" and one.blob and one.status in (200, 206)]


def mounted(log: Iterable[Request]) -> set[str]:
    """The digests of the blobs that were mounted from another repository."""
    return {one.query["mount"] for one in log if "mount" in one.query and one.status == 201}


def new_layer(registry: Registry, repository: str, reference: str) -> str:
    """The digest of the one layer above base:1, whose own layers are as the registry had them."""
    layers = registry.layers(repository, reference)
    assert layers[:-1] == registry.layers("base", "1")
    return layers[-1]


def assert_whole(registry: Registry, repository: str, reference: str, media_type: str) -> None:
    """Manifest, config and layers are there, and of one family of media types."""
    manifest = registry.manifest(repository, reference)
    assert manifest["mediaType"] == media_type
    assert manifest["config"]["mediaType"] == CONFIG_TYPE[media_type]
    for one in [manifest["config"], *manifest["layers"]]:
        assert len(registry.blob(one["digest"])) == one["size"]
    assert {one["mediaType"] for one in manifest["layers"]} <= LAYER_TYPES[media_type].keys()
    diff_ids = registry.config(repository, reference)["rootfs"]["diff_ids"]
    assert len(diff_ids) == len(manifest["layers"])


_numbers = itertools.count(1)


@contextmanager
def registry(
    state: Path,
    *,
    users: Mapping[str, str] | None = None,
    authority: Authority | None = None,
    hosts: Iterable[str] = (HOST, "localhost"),
    clients: bool = False,
    tokens: TokenServer | None = None,
    like: Registry | None = None,
    relative: bool = False,
    most: int = 1000,
) -> Iterator[Registry]:
    """Start docker-registry in a folder of its own under `state`.

    users: names and passwords for basic authentication;
    authority: TLS with a certificate for `hosts`, and with `clients` for its clients alone;
    tokens: bearer authentication by that server's tokens;
    like: it begins with a copy of all that another registry stores;
    relative: the addresses that it gives have no host;
    most: it lists so many repositories at a time, and refuses to list more.
    """
    folder = state / f"registry-{next(_numbers)}"
    folder.mkdir()
    (folder / "storage").mkdir()
    if like:
        shutil.rmtree(folder / "storage")
        shutil.copytree(like.folder / "storage", folder / "storage")
    address: Json = {"addr": f"{HOST}:0", "secret": "no secret", "relativeurls": relative}
    config: Json = {
        "version": "0.1",
        # Its access log does not say which requests are still under way; the other log does.
        "log": {"level": "debug", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "storage")},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": address,
        "catalog": {"maxentries": most},
    }
    if users:
        lines = [run(["htpasswd", "-nbB", *user]).strip() for user in users.items()]
        (folder / "htpasswd").write_text("\n".join(lines) + "\n")
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    if authority:
        certificate, key = authority.sign(folder.name, *hosts)
        address["tls"] = {"certificate": str(certificate), "key": str(key)}
        if clients:
            address["tls"]["clientcas"] = [str(authority.certificate)]
    if tokens:
        config["auth"] = {
            "token": {
                "realm": f"{tokens.url}/token",
                "service": SERVICE,
                "issuer": ISSUER,
                "rootcertbundle": str(tokens.authority.certificate),
            }
        }
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(config))
    command: list[str | Path] = ["docker-registry", "serve", folder / "config.yml"]
    with services.daemon(command, folder, "listening on"):
        found = re.search(r"listening on 127\.0\.0\.1:(\d+)", (folder / "log").read_text())
        assert found
        yield Registry(folder, int(found[1]), authority)


# --- servers of our own ----------------------------------------------------------------------


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = False

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests ask the server."""

    def handle(self) -> None:
        # The other side may go away at any time; that is what some tests are about.
        with suppress(ConnectionError, ssl.SSLError):
            super().handle()

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serving(handler: type[Handler], socket_path: Path | None = None) -> Iterator[int]:
    """Serve until the end, on a socket or a free port; entered with the port."""
    server: socketserver.BaseServer
    port = 0
    if socket_path:
        server = _UnixServer(str(socket_path), handler)
    else:
        tcp = _TcpServer((HOST, 0), handler)
        server, port = tcp, tcp.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- tokens ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """A question for a token: by whom (nobody: empty), for which scopes, whether it was granted."""

    user: str
    scopes: tuple[str, ...]
    granted: bool


class TokenServer:
    """Gives tokens to those who name themselves, for what they may do.

    `grants` says what a user may do of the actions asked for in a repository; by default nobody (the
    empty name) may do nothing and everybody else everything. `identities` are tokens by which users are
    known, in place of a password.
    """

    def __init__(self, authority: Authority, users: Mapping[str, str]) -> None:
        self.authority = authority
        self.users = dict(users)
        self.asked: list[Asked] = []
        self.grants: Callable[[str, str, list[str]], list[str]] = _everything
        self.identities: dict[str, str] = {}
        self.url = ""
        self._certificate, self._key = authority.sign("tokens", HOST)
        self._lock = threading.Lock()

    def give(self, authorization: str, scopes: list[str]) -> str | None:
        """A token, or nothing for somebody with a wrong password."""
        user: str | None = ""
        if authorization.startswith("Basic "):
            name, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
            user = name if self.users.get(name) == password else None
        return self._give(user, scopes)

    def refresh(self, identity: str, scopes: list[str]) -> str | None:
        """The same for an identity token."""
        return self._give(self.identities.get(identity), scopes)

    def _give(self, user: str | None, scopes: list[str]) -> str | None:
        with self._lock:
            self.asked.append(Asked(user or "", tuple(scopes), user is not None))
        if user is None:
            return None
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":", 2)
            allowed = self.grants(user, name, actions.split(","))
            access.append({"type": kind, "name": name, "actions": allowed})
        return self._sign(user, access)

    @cached_property
    def _header(self) -> Json:
        pem = self._certificate.read_text()
        der = "".join(pem.split("-----")[2].split())
        return {"typ": "JWT", "alg": "RS256", "x5c": [der]}

    def _sign(self, user: str, access: list[Json]) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": user,
            "aud": SERVICE,
            "jti": uuid.uuid4().hex,
            "iat": now,
            "nbf": now - 60,
            "exp": now + 600,
            "access": access,
        }
        text = f"{_base64url(json.dumps(self._header).encode())}.{_base64url(json.dumps(claims).encode())}"
        path = self.authority.folder / f"jwt-{uuid.uuid4().hex}"
        path.write_text(text)
        run(["openssl", "dgst", "-sha256", "-sign", self._key, "-out", f"{path}.sig", path])
        return f"{text}.{_base64url(Path(f'{path}.sig').read_bytes())}"


def _everything(user: str, repository: str, actions: list[str]) -> list[str]:
    return actions if user else []


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def token_server(authority: Authority, users: Mapping[str, str]) -> Iterator[TokenServer]:
    """Serve tokens to these users, at `url` with the path /token."""
    tokens = TokenServer(authority, users)

    class Tokens(Handler):
        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            query = urllib.parse.parse_qs(url.query)
            if url.path != "/token" or query.get("service") != [SERVICE]:
                self.answer(400)
                return
            # Several scopes come as several parameters, or in one with spaces.
            scopes = [scope for value in query.get("scope", []) for scope in value.split()]
            self._tell("token", tokens.give(self.headers.get("Authorization", ""), scopes))

        def do_POST(self) -> None:
            """What distribution's auth/oauth.md asks of a client with an identity token."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            form = dict(urllib.parse.parse_qsl(body))
            wanted = {"service": SERVICE, "grant_type": "refresh_token"}
            if not form.get("client_id") or wanted.items() - form.items():
                self.answer(400)
                return
            token = tokens.refresh(form.get("refresh_token", ""), form.get("scope", "").split())
            self._tell("access_token", token)

        def _tell(self, name: str, token: str | None) -> None:
            if token is None:
                self.answer(401, b'{"details":"incorrect username or password"}')
                return
            body = json.dumps({name: token, "expires_in": 600}).encode()
            self.answer(200, body, {"Content-Type": "application/json"})

    with serving(Tokens) as port:
        tokens.url = f"http://{HOST}:{port}"
        yield tokens


# --- the proxy that breaks things ------------------------------------------------------------


@dataclass(slots=True)
class Seen:
    """A request that went through a proxy: its headers by lower-case names, and bytes of bodies."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    up: int = 0
    down: int = 0


@dataclass(slots=True)
class Fault:
    """What goes wrong with requests of this method and path (patterns), `times` times or always (-1).

    answer: it never reaches the server and gets this status, with `headers` and `body`;
    redirect: it is sent on to this address and the last part of its path;
    no_query, no_range: it reaches the server without its query, or without its Range;
    cut_down, cut_up: the connection ends after so many bytes of the answer's or the request's body;
    flip: the byte of the answer's body at this offset is another one;
    pause: the answer's body comes in twenty pieces with so many seconds between them;
    call: called once so many bytes (`call_at`) of the request's body have passed.
    """

    method: str
    path: str
    times: int = -1
    answer: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    redirect: str = ""
    no_query: bool = False
    no_range: bool = False
    cut_down: int = -1
    cut_up: int = -1
    flip: int = -1
    pause: float = 0
    call: Callable[[], object] | None = None
    call_at: int = 0
    hits: int = 0
    """How often it struck."""


BLOB = r"/blobs/sha256:"
"""The path of a blob's download."""
UPLOAD = r"/blobs/uploads/."
"""The path of an upload under way."""

_OF_ONE_CONNECTION = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "expect", "te"}
_PIECE = 1 << 16


class Proxy:
    """Stands before a server, hands on all requests as they are, records them, and breaks some."""

    def __init__(self, server: Address | None, names: Mapping[str, Address]) -> None:
        self.port = 0
        self.requests: list[Seen] = []
        self.faults: list[Fault] = []
        self._server = server
        self._names = names
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        return f"{HOST}:{self.port}"

    def add(self, fault: Fault) -> Fault:
        """From now on this goes wrong; of several that match a request, the first one that is left."""
        with self._lock:
            self.faults.append(fault)
        return fault

    def seen(self, method: str, path: str = "") -> list[Seen]:
        """The requests of this method whose path matches."""
        with self._lock:
            return [one for one in self.requests if one.method == method and re.search(path, one.path)]

    def writes(self) -> list[Seen]:
        """All requests that would change something."""
        with self._lock:
            return [one for one in self.requests if one.method not in ("GET", "HEAD", "CONNECT")]

    def _record(self, method: str, path: str, headers: Iterable[tuple[str, str]]) -> Seen:
        seen = Seen(method, path, {name.lower(): value for name, value in headers})
        with self._lock:
            self.requests.append(seen)
        return seen

    def _fault_for(self, seen: Seen) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                matches = re.fullmatch(fault.method, seen.method) and re.search(fault.path, seen.path)
                if matches and fault.times:
                    fault.times -= fault.times > 0
                    fault.hits += 1
                    return fault
        return None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


class _Cut(Exception):
    """Here the connection ends."""


class _ProxyHandler(Handler):
    proxy: Proxy

    def do_GET(self) -> None:
        path = self.path
        server = self.proxy._server
        if path.startswith("http://"):
            url = urllib.parse.urlsplit(path)
            server = self.proxy._names.get(url.netloc)
            path = urllib.parse.urlunsplit(("", "", url.path, url.query, ""))
        seen = self.proxy._record(self.command, self.path, self.headers.items())
        fault = self.proxy._fault_for(seen)
        if fault and (fault.answer or fault.redirect):
            for _ in self._body():
                pass
            seen.status = fault.answer or 307
            headers = dict(fault.headers)
            if fault.redirect:
                headers["Location"] = f"{fault.redirect}/{path.rpartition('/')[2]}"
            self.answer(seen.status, fault.body, headers)
            return
        if server is None:
            seen.status = 502
            self.answer(502)
            return
        upstream = (
            _UnixConnection(server)
            if isinstance(server, Path)
            else http.client.HTTPConnection(*server, timeout=services.COMMAND_SECONDS)
        )
        if fault and fault.no_query:
            path = path.partition("?")[0]
        try:
            self._send(upstream, path, seen, fault)
            self._receive(upstream, seen, fault)
        except (_Cut, OSError, http.client.HTTPException):
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        finally:
            upstream.close()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def do_CONNECT(self) -> None:
        seen = self.proxy._record("CONNECT", self.path, self.headers.items())
        server = self.proxy._names.get(self.path)
        if not isinstance(server, tuple):
            seen.status = 502
            self.answer(502)
            return
        with socket.create_connection(server) as upstream:
            seen.status = 200
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(upstream, self.connection), daemon=True)
            back.start()
            _pump(self.connection, upstream)
            back.join()
        self.close_connection = True

    def _body(self) -> Iterator[bytes]:
        """The request's body in pieces."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            data = self.rfile.read1(min(left, _PIECE))
            if not data:
                raise _Cut
            left -= len(data)
            yield data

    def _send(
        self, upstream: http.client.HTTPConnection, path: str, seen: Seen, fault: Fault | None
    ) -> None:
        upstream.putrequest(self.command, path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() in _OF_ONE_CONNECTION:
                continue
            if not (fault and fault.no_range and name.lower() == "range"):
                upstream.putheader(name, value)
        chunked = "Transfer-Encoding" in self.headers
        if chunked:
            upstream.putheader("Transfer-Encoding", "chunked")
        upstream.putheader("Connection", "close")
        upstream.endheaders()
        for data in self._body():
            whole = len(data)
            if fault and fault.cut_up >= 0:
                data = data[: max(0, fault.cut_up - seen.up)]
            if data:
                upstream.send(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
                seen.up += len(data)
            if fault and fault.call and seen.up >= fault.call_at:
                fault.call()
                fault.call = None
            if len(data) < whole:
                raise _Cut
        if fault and fault.call:
            fault.call()
            fault.call = None
        if fault and fault.cut_up >= 0:
            raise _Cut
        if chunked:
            upstream.send(b"0\r\n\r\n")

    def _receive(self, upstream: http.client.HTTPConnection, seen: Seen, fault: Fault | None) -> None:
        response = upstream.getresponse()
        seen.status = response.status
        self.send_response_only(response.status, response.reason)
        for name, value in response.getheaders():
            if name.lower() not in _OF_ONE_CONNECTION:
                self.send_header(name, value)
        bodiless = self.command == "HEAD" or response.status in (204, 304)
        chunked = not bodiless and "Content-Length" not in response.headers
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if bodiless:
            return
        size = _PIECE
        if fault and fault.pause:
            size = max(1, int(response.headers.get("Content-Length", _PIECE)) // 20)
        while data := response.read1(size):
            whole = len(data)
            if fault and fault.flip >= 0 and seen.down <= fault.flip < seen.down + whole:
                at = fault.flip - seen.down
                data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            if fault and fault.cut_down >= 0:
                data = data[: max(0, fault.cut_down - seen.down)]
            seen.down += len(data)
            if data:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            if len(data) < whole:
                raise _Cut
            if fault and fault.pause:
                time.sleep(fault.pause)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_PIECE):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(
    server: Address | None = None,
    *,
    socket_path: Path | None = None,
    names: Mapping[str, Address] | None = None,
) -> Iterator[Proxy]:
    """Stand before `server`, on a free port or on a socket.

    With `names` it is a proxy as HTTP_PROXY and HTTPS_PROXY name one, and leads to these servers by
    their names (HOST:PORT).
    """
    made = Proxy(server, names or {})
    handler = type("Handler", (_ProxyHandler,), {"proxy": made})
    with serving(handler, socket_path) as made.port:
        yield made


@contextmanager
def store(of: Registry) -> Iterator[Proxy]:
    """A server by another name that has the registry's blobs, at /DIGEST, and asks nobody who he is."""
    made = Proxy(None, {})

    class Blobs(Handler):
        def do_GET(self) -> None:
            seen = made._record(self.command, self.path, self.headers.items())
            digest = self.path.strip("/")
            if "authorization" in seen.headers or digest not in of.blobs():
                # As the stores of real registries do, which take an address with a signature alone.
                seen.status = 400
                self.answer(400)
                return
            data = of.blob(digest)
            seen.status, seen.down = 200, len(data)
            self.answer(200, data)

        do_HEAD = do_GET

    with serving(Blobs) as made.port:
        yield made
