"""A blob on its way into a registry. It stays in a file without a name until it is there, so that it can be
sent again where that breaks: from where the registry has it, from the beginning, or in another way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from squashkit.errors import InvalidImage, TransportError, Unavailable
from squashkit.oci.digests import Digest
from squashkit.transports.blobs import READ_SIZE, open_unnamed, write_all
from squashkit.transports.registry.manners import Way
from squashkit.transports.registry.repository import Answer, Repository
from squashkit.transports.room import Room
from squashkit.values import frozen

_TRIES = 4
"""How often an upload may break without a step forward."""
_SHORT = 64 << 10
"""Bytes of a stream that finds out whether one is taken."""
_STEP = 1 << 20
"""Bytes that are a step forward."""
_OTHER_WAY = frozenset({400, 404, 405, 411, 413, 415, 416, 422, 501})
"""Refusals that may be of the way in which the bytes came."""
_NO_PATCH = frozenset({405, 501})
_GONE = 404


class Known(Protocol):
    """Who knows which blobs are there."""

    def has(self, digest: Digest, size: int) -> bool:
        """Whether a blob need not be sent."""

    def stored(self, digest: Digest) -> None:
        """A blob is there now."""


class Upload:
    """A blob of a length that is not known beforehand, written into here. Raises Unavailable where the
    registry takes it in no way, Unauthorized where it takes none from us."""

    def __init__(self, repository: Repository, known: Known, room: Room) -> None:
        self._repository = repository
        self._manners = repository.registry.manners
        self._known = known
        self._room = room
        self._fd = open_unnamed(room.folder)
        self._size = 0
        self._sent = 0
        self._where: str | None = None
        """Where the next bytes go, of an upload that was begun."""
        self._tries = 0
        self._furthest = 0
        """How far it came; what is sent again after a loss is no step forward."""

    def write(self, data: bytes | memoryview) -> None:
        self._room.keep(len(data), "a blob to upload")
        self._size += len(data)
        write_all(self._fd, data)
        while self._manners.way is Way.CHUNKS and self._size - self._sent > self._manners.chunk:
            self._send_chunk()

    def seal(self) -> None:
        pass

    def finish(self, digest: Digest) -> None:
        """Send what is left, unless the blob is there already, and have it named by its digest."""
        if self._known.has(digest, self._size):
            self.discard()
            return
        while True:
            way = self._manners.way  # another blob may change it at any time
            if self._send_rest(way) and self._name(way, digest):
                break
        self._where = None
        self._close()
        self._known.stored(digest)

    def discard(self) -> None:
        self._close()
        self._drop()

    def _send_rest(self, way: Way) -> bool:
        """Send all but what the last request may carry. False where the way changed meanwhile."""
        if way is Way.CHUNKS and (self._sent or self._size > self._manners.chunk):
            while self._sent < self._size or self._where is None:
                if self._manners.way is not way:
                    return False
                self._send_chunk()
        elif way is Way.STREAM and self._sent < self._size:
            self._drop()
            return self._send_stream()
        elif self._sent < self._size:
            self._drop()
        return True

    def _send_chunk(self) -> None:
        """Send the next chunk, if it is still wanted as one."""
        with self._manners.asking():
            if self._manners.way is not Way.CHUNKS:
                return
            where, at = self._begun(), self._sent
            body = _Body(self._fd, at, min(self._manners.chunk, self._size - at))
            answer = self._repository.patch(where, body, at)
            if answer.error is None:
                self._manners.took()
                self._go_on(answer.where, at + len(body))
            elif answer.status == 413 and self._manners.smaller(len(body)):
                pass  # the same bytes, as the next and smaller chunk
            elif answer.may_pass or answer.status == 416 or (answer.status == _GONE and not self._tries):
                self._look(where, answer, len(body))
            else:
                self._change_way(Way.CHUNKS, answer)

    def _look(self, where: str, answer: Answer, size: int) -> None:
        """After a chunk of `size` that broke off, or was refused for its place: go on from where the upload
        stands, or from the beginning where it is lost."""
        before = self._sent
        status = self._repository.upload_status(where)
        is_lost = status is None or status[1] > before + size
        if is_lost or answer.status != 416:
            self._wait(answer)
        if status is None or is_lost:
            self._drop()
            return
        self._go_on(*status)
        if self._sent > before:
            return
        if answer.status == _GONE or (not self._manners.smaller(size) and answer.status == 416):
            self._change_way(Way.CHUNKS, answer)

    def _go_on(self, where: str, at: int) -> None:
        if at - self._furthest >= _STEP:
            self._tries, self._furthest = 0, at
        self._where, self._sent = where, at

    def _send_stream(self) -> bool:
        answer = self._repository.patch(self._begun(), _Body(self._fd, 0, self._size), None)
        if answer.error is None:
            self._where, self._sent = answer.where, self._size
            return True
        if answer.may_pass:
            self._wait(answer)
            self._drop()
        else:
            self._change_way(Way.STREAM, answer)
        return False

    def _name(self, way: Way, digest: Digest) -> bool:
        """The last request. False where it is to be tried again, maybe in another way."""
        rest = _Body(self._fd, self._sent, self._size - self._sent)
        answer = self._repository.put(self._begun(), digest, rest)
        if answer.error is None:
            return True
        if answer.status == 413 and way is Way.CHUNKS and self._manners.smaller(len(rest)):
            return False
        if not answer.may_pass and (answer.status != _GONE or self._tries):
            if not len(rest):
                raise answer.error
            self._change_way(way, answer)
            return False
        self._wait(answer)
        with suppress(TransportError, InvalidImage):
            if self._repository.has(digest, self._size):  # only the answer was lost
                return True
        if self._repository.upload_status(self._begun()) is None:
            self._drop()
        return False

    def _change_way(self, way: Way, answer: Answer) -> None:
        """What was sent in this way was refused: all is sent anew in the next one."""
        assert answer.error is not None
        if answer.status not in _OTHER_WAY or way is Way.WHOLE:
            raise answer.error
        self._drop()
        streams = way is Way.CHUNKS and answer.status not in _NO_PATCH and self._takes_streams()
        self._manners.change(way, Way.STREAM if streams else Way.WHOLE)

    def _takes_streams(self) -> bool:
        """Whether a stream is taken, found out with a short one: a large blob would travel in vain."""
        where = self._repository.begin_upload()
        answer = self._repository.patch(where, _Body(self._fd, 0, min(self._size, _SHORT)), None)
        self._repository.drop_upload(answer.where or where)
        return answer.error is None

    def _wait(self, answer: Answer) -> None:
        assert answer.error is not None
        self._tries += 1
        if self._tries > _TRIES:
            registry = self._repository.registry
            raise Unavailable(
                f"the registry {registry.host} takes no upload to {self._repository.path}: it broke off"
                f" again and again ({answer.why})",
                reference=self._repository.title,
            ) from answer.error
        if answer.wait:
            self._repository.registry.pause(answer.wait, answer.why)

    def _begun(self) -> str:
        """Where the next bytes go, of an upload that is begun here if need be."""
        if self._where is None:
            self._where, self._sent = self._repository.begin_upload(), 0
        return self._where

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._room.give_back(self._size)

    def _drop(self) -> None:
        where, self._where, self._sent = self._where, None, 0
        if where is not None:
            self._repository.drop_upload(where)


@frozen
class _Body:
    """Bytes of a file as the body of a request, whose length is known."""

    fd: int
    at: int
    size: int

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        end = self.at + self.size
        for at in range(self.at, end, READ_SIZE):
            yield os.pread(self.fd, min(READ_SIZE, end - at), at)
