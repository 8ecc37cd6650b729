"""How connections to a registry are made: whom they trust, how many there may be, that each is known while
it stands, and that it is asked for what was said, byte for byte."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from squashkit.errors import UsageError
from squashkit.options import Access, Limits
from squashkit.transports.registry.limits import Gate
from squashkit.wording import Option


class Adapter(HTTPAdapter):
    """Verifies with a context of ours, which knows the system's CAs (requests knows only its own), and
    tells of every connection that it makes."""

    def __init__(
        self,
        context: ssl.SSLContext | None,
        made: Callable[[HTTPConnection], None],
        gate: Gate | None = None,
    ) -> None:
        self._context = context
        self._pools = _pools(made, gate or Gate(Limits()))
        super().__init__(pool_maxsize=32, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs, ssl_context=self._context)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, *args: Any, **kwargs: Any) -> None:
        pass


class _Exact:
    """Asks for a URL as it is written. urllib3 writes percent signs and paths in one form of its own, and
    then a signature over the URL no longer fits."""

    _asked = threading.local()

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        self._asked.url = url
        return super().urlopen(method, url, *args, **kwargs)  # type: ignore[misc]

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        return super()._make_request(conn, method, self._asked.url, *args, **kwargs)  # type: ignore[misc]


def _pools(made: Callable[[HTTPConnection], None], gate: Gate) -> dict[str, type[HTTPConnectionPool]]:
    """Pools whose connections are told of once they stand, and which have no more than the gate lets
    through."""

    class Limited(_Exact):
        _used = threading.local()

        def urlopen(self, *args: Any, **kwargs: Any) -> Any:
            self._used.connection = None
            try:
                return super().urlopen(*args, **kwargs)
            except BaseException:  # then it is not put back
                gate.give_back(self._used.connection)
                raise

        def _get_conn(self, *args: Any, **kwargs: Any) -> Any:
            get = super()._get_conn  # type: ignore[misc]
            self._used.connection = gate.take(lambda: get(*args, **kwargs))
            return self._used.connection

        def _put_conn(self, conn: Any) -> None:
            put = super()._put_conn  # type: ignore[misc]
            gate.give_back(conn, lambda: put(conn))

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            made(self)

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            made(self)

    class PlainPool(Limited, HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(Limited, HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def tls_context(access: Access, *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    folder = access.certificates
    if folder is None:
        return context
    if not folder.is_dir():
        raise UsageError(Option("Access.cert_dir", folder), " is no folder")
    try:
        for path in sorted(folder.glob("*.crt")):
            context.load_verify_locations(path)
        for path in sorted(folder.glob("*.cert")):
            context.load_cert_chain(path, path.with_suffix(".key"), password="")
    except OSError as error:
        raise UsageError(Option("Access.cert_dir", folder), f": {path.name}: {error}") from error
    return context
