"""Files that have no name until they are whole."""

from __future__ import annotations

import fcntl
import os
from contextlib import closing, suppress
from pathlib import Path

from squashkit.errors import TransportError, UsageError, show_path, why
from squashkit.transports.blobs import write_all
from squashkit.wording import Option

FORCE = Option("force", True)
"""What replaces something that is there."""


class AtomicFile:
    """A file that is written beside its target and gets the target's name only when it is whole."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self._hidden: Path | None = None
        folder = target.parent
        try:
            self.fd = self._open(folder)
        except OSError as error:
            raise TransportError(f"cannot write {target}: {why(error)}", reference=str(target)) from error

    def _open(self, folder: Path) -> int:
        mode = 0o666 & ~_umask()
        if hasattr(os, "O_TMPFILE"):
            with suppress(OSError):  # not every file system has it
                return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, mode)
        self._hidden = _hidden_name(self.target)
        fd = os.open(self._hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def publish(self, *, replace: bool, sync: bool) -> None:
        """Give the file its name; an old file is replaced in one step. `sync` has the bytes on the disk
        before. Raises FileExistsError where there is an old file and `replace` is False."""
        if sync:
            os.fsync(self.fd)
        if self._hidden is None and not replace:
            self._link(self.target)
        else:
            if self._hidden is None:
                hidden = _hidden_name(self.target)
                fcntl.flock(self.fd, fcntl.LOCK_EX)  # so that no other run takes it for a leftover
                self._link(hidden)
                self._hidden = hidden
            if replace:
                os.replace(self._hidden, self.target)
            else:
                os.link(self._hidden, self.target)
                os.unlink(self._hidden)
            self._hidden = None
        os.close(self.fd)
        self.fd = -1

    def publish_output(self, *, force: bool) -> None:
        """Give an output its name. Raises UsageError where something has that name, without `force`."""
        replace = force and os.path.lexists(self.target)
        if replace:
            refuse_special(self.target)
        try:  # a good old file is only given up for bytes that are on the disk
            self.publish(replace=replace, sync=replace)
        except FileExistsError:
            shown = show_path(os.fsencode(self.target))
            raise UsageError(f"{shown} appeared meanwhile; ", FORCE, " replaces it") from None

    def _link(self, target: Path) -> None:
        here = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
        try:  # a folder's descriptor makes Python use linkat(AT_SYMLINK_FOLLOW)
            os.link(f"/proc/self/fd/{self.fd}", os.path.abspath(target), src_dir_fd=here)
        finally:
            os.close(here)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._hidden is not None:
            with suppress(OSError):
                os.unlink(self._hidden)
            self._hidden = None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that has its name only when it is whole. What is no file, as a pipe, and what lies in a
    folder that takes no new one, is written to as it is."""
    target = path.resolve()
    if target.is_file() or not target.exists():
        remove_leftovers(target)
        with suppress(TransportError), closing(AtomicFile(target)) as file:
            write_all(file.fd, data)
            file.publish(replace=True, sync=True)
            return
    path.write_bytes(data)


def refuse_special(path: Path) -> None:
    """Raises UsageError for a device, a pipe or a socket, or a link to one: a file would take the place of
    what other programs know by this name, and what is written there cannot be taken back."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UsageError(
            f"{path} is no regular file, and is not replaced; `",
            Option("output", "-"),
            "` writes to a pipe",
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _hidden_name(target: Path) -> Path:
    return target.parent / f".{target.name}.squashkit-{os.urandom(6).hex()}"


def remove_leftovers(target: Path) -> None:
    """Remove hidden files that a killed run left beside the target; one that a process locks stays."""
    for path in target.parent.glob(f".{target.name}.squashkit-*"):
        with suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(fd)
