"""The user that an image runs as: a name needs its lines of passwd and group."""

from __future__ import annotations

from squashkit.errors import show_text
from squashkit.values import frozen


@frozen
class Accounts:
    """Lines of passwd(5) and group(5)."""

    passwd: bytes = b""
    group: bytes = b""


class UnknownUser(Exception):
    """A name that passwd or group does not have."""


def accounts_of(user: str, passwd: bytes, group: bytes) -> Accounts:
    """The lines for a setting `User`: a name, a number, or either with a group behind a colon. Of numbers
    none are needed. Raises UnknownUser."""
    name, _, group_name = user.partition(":")
    lines, groups = b"", b""
    number = b""
    if name and not name.isdigit():
        line = _line(passwd, name)
        if line is None:
            raise UnknownUser(f"the user {show_text(name)}, which the image runs as, is not in /etc/passwd")
        lines = line + b"\n"
        fields = line.split(b":")
        number = fields[3] if len(fields) > 3 else b""
    if group_name and not group_name.isdigit():
        line = _line(group, group_name)
        if line is None:
            raise UnknownUser(
                f"the group {show_text(group_name)}, which the image runs as, is not in /etc/group"
            )
        groups = line + b"\n"
    elif number:
        found = (line for line in group.splitlines() if line.split(b":")[2:3] == [number])
        groups = b"".join(line + b"\n" for line in list(found)[:1])
    return Accounts(lines, groups)


def _line(text: bytes, name: str) -> bytes | None:
    wanted = name.encode("utf-8", "surrogateescape")
    return next((line for line in text.splitlines() if line.split(b":", 1)[0] == wanted), None)
