"""What goes over the wire between a program and its servers: how many connections, and what is sent."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HOST = "127.0.0.1"
_PIECE = 1 << 16


class Relay:
    """Ports that lead to servers on this machine.

    One thread does it all, and looks at what stands before it takes in what comes: a connection that was
    closed before another one was made is not counted with it.
    """

    def __init__(self) -> None:
        self.sent = bytearray()
        """What programs sent, of all connections."""
        self.open = 0
        self.most = 0
        """Of connections that were open at the same time."""
        self.made = 0
        """Connections, one after another."""
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[socket.socket, int] = {}
        self._peers: dict[socket.socket, socket.socket] = {}
        self._programs: set[socket.socket] = set()
        self._ended = False

    def port_to(self, port: int) -> int:
        """A port that leads to another one."""
        listener = socket.create_server((HOST, 0), backlog=64)
        self._listeners[listener] = port
        self._selector.register(listener, selectors.EVENT_READ)
        return int(listener.getsockname()[1])

    def run(self) -> None:
        while not self._ended:
            ready = [one.fileobj for one, _ in self._selector.select(0.02)]
            for stream in [one for one in ready if one in self._peers]:
                assert isinstance(stream, socket.socket)
                self._pass(stream)
            for listener in [one for one in ready if one in self._listeners]:
                assert isinstance(listener, socket.socket)
                self._take(listener)
        for one in [*self._listeners, *self._peers]:
            one.close()
        self._selector.close()

    def end(self) -> None:
        self._ended = True

    def _take(self, listener: socket.socket) -> None:
        program, _ = listener.accept()
        try:
            server = socket.create_connection((HOST, self._listeners[listener]))
        except OSError:
            program.close()
            return
        self._programs.add(program)
        self._peers |= {program: server, server: program}
        for one in (program, server):
            self._selector.register(one, selectors.EVENT_READ)
        self.made += 1
        self.open += 1
        self.most = max(self.most, self.open)

    def _pass(self, stream: socket.socket) -> None:
        """All that came on a connection, and its end where that came, too."""
        while stream in self._peers:
            try:
                data = stream.recv(_PIECE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._close(stream)
                return
            if stream in self._programs:
                self.sent += data
            with suppress(OSError):
                self._peers[stream].sendall(data)

    def _close(self, stream: socket.socket) -> None:
        """Both ways end where one does."""
        other = self._peers[stream]
        self.open -= 1
        for one in (stream, other):
            self._selector.unregister(one)
            del self._peers[one]
            self._programs.discard(one)
            one.close()


@contextmanager
def relay() -> Iterator[Relay]:
    """A relay without ports; it runs until the end."""
    made = Relay()
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.end()
        thread.join()
