"""From an endpoint to an open client of docker's API."""

from __future__ import annotations

import ipaddress
import shutil
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3 import disable_warnings
from urllib3.exceptions import InsecureRequestWarning

from squashkit.errors import Unavailable, gist_of
from squashkit.transports.reference import Reference
from squashkit.transports.registry.tls import Adapter
from squashkit.transports.stores.endpoint import SSH, TCP, TLS, Endpoint, NoEndpoint, Unix, find_endpoint
from squashkit.transports.stores.sockets import SSHAdapter, UnixAdapter

_GREETING = 30  # seconds
_PATIENCE = 3600  # seconds: a daemon that unpacks a large layer says nothing meanwhile
_HINT = "; is it running? DOCKER_HOST or a docker context says where it is"
_NO_HOST = "http://localhost:80"
"""What stands for the host in requests to a socket."""


@contextmanager
def open_client(reference: Reference) -> Iterator[tuple[docker.APIClient, str]]:
    """A client of the daemon that the docker client would talk to, and what that daemon is called: docker
    or podman. Raises Unavailable where none answers or what is set names none: for a caller that looks in
    several places the two are the same."""
    place = ""
    try:
        endpoint = find_endpoint()
        place = f"{endpoint}: "
        client = _client_of(endpoint)
    except NoEndpoint as error:
        raise _unavailable(reference, f"{place}{error}") from error
    with client:
        try:
            title = _greet(client)
        except Exception as error:  # the SDK lets errors of its libraries through
            told = f"{endpoint}: {gist_of(error)}{_missing(endpoint)}"
            raise _unavailable(reference, told, _HINT) from error
        yield client, title


def _unavailable(reference: Reference, told: str, hint: str = "") -> Unavailable:
    if reference.guessed:
        return Unavailable(
            f"there is no file {reference.path!r}, and no docker daemon to ask for an image of that"
            f" name ({told}); set DOCKER_HOST, or name a file or docker://HOST/NAME",
            reference=str(reference),
        )
    return Unavailable(f"no docker daemon answers ({told}){hint}", reference=str(reference))


def _greet(client: docker.APIClient) -> str:
    """Speak the daemon's version of the API; what the daemon is called."""
    about: dict[str, Any] = client.version(api_version=False)
    client._version = str(about["ApiVersion"])
    client.timeout = _PATIENCE
    names = [part.get("Name") for part in about.get("Components") or ()]
    return "podman" if "Podman Engine" in names else "docker"


def _client_of(endpoint: Endpoint) -> docker.APIClient:
    """A client that has not asked anything yet."""
    match endpoint.address:
        case Unix() as unix:
            return _client(_NO_HOST, UnixAdapter(unix.path))
        case SSH() as ssh:
            if not shutil.which("ssh"):
                raise NoEndpoint("there is no command ssh here")
            return _client(_NO_HOST, SSHAdapter(ssh))
        case TCP() as tcp:
            context = _context(endpoint.tls) if endpoint.tls else None
            url = f"{'https' if context else 'http'}://{tcp.origin}"
            client = _client(url, Adapter(context, lambda connection: None))
            client.verify = endpoint.tls is None or endpoint.tls.verify
            client.proxies = _proxies(url, tcp.host)
            return client


def _client(url: str, adapter: HTTPAdapter) -> docker.APIClient:
    client = docker.APIClient(url, version=docker.constants.DEFAULT_DOCKER_API_VERSION, timeout=_GREETING)
    client.trust_env = False  # else CAs of REQUESTS_CA_BUNDLE count, proxies for all, and .netrc
    client.mount("http://", adapter)
    client.mount("https://", adapter)
    return client


def _proxies(url: str, host: str) -> dict[str, str]:
    """As Go's clients have it: by HTTP_PROXY or HTTPS_PROXY and NO_PROXY alone, and none leads to this very
    machine."""
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = host.lower() == "localhost"
    found = {} if is_local else get_environ_proxies(url)
    return {scheme: proxy for scheme, proxy in found.items() if scheme in ("http", "https")}


def _context(tls: TLS) -> ssl.SSLContext:
    """Trusts the endpoint's own CA alone; where it has none, whom the system trusts."""
    with _naming(str(tls.ca)):
        context = ssl.create_default_context(cafile=tls.ca)
    # Certificates made by docker's own guide lack extensions that Go does not ask for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        disable_warnings(InsecureRequestWarning)
    if tls.cert and tls.key:
        with _naming(f"{tls.cert} and {tls.key.name}"):
            context.load_cert_chain(tls.cert, tls.key, password="")
    return context


@contextmanager
def _naming(files: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NoEndpoint(f"{files}: {error.strerror or error}") from error


def _missing(endpoint: Endpoint) -> str:
    """Files for TLS that docker goes without, for where that may be why."""
    tls = endpoint.tls
    if tls is None or not isinstance(endpoint.address, TCP) or (tls.cert and tls.key):
        return ""
    names = [name for name, path in (("cert.pem", tls.cert), ("key.pem", tls.key)) if path is None]
    return f"; {tls.folder} has no {' and no '.join(names)}"
