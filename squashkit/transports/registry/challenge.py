"""How a registry wants its users to prove who they are (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re

from squashkit.errors import Unavailable, show_text
from squashkit.values import frozen

_PARAMETER = r"""[\w-]+\s*=\s*(?:"[^"]*"|[^\s,"]+)"""
_CHALLENGES = re.compile(rf"([\w-]+)((?:\s+|\s*,\s*){_PARAMETER}(?:\s*,\s*{_PARAMETER})*)?")


@frozen
class Challenge:
    """One way to prove it: by a password (`basic`) or by a token (`bearer`) of the server `realm`."""

    scheme: str
    realm: str
    service: str
    scope: str
    """What the answered request needs, of a token; separated by spaces."""

    @classmethod
    def parse(cls, header: str, host: str) -> Challenge:
        """The best of what a header WWW-Authenticate offers: a token rather than a password. Raises
        Unavailable where it offers neither."""
        offered: dict[str, dict[str, str]] = {}
        for scheme, parameters in _CHALLENGES.findall(header):
            pairs = re.findall(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))""", parameters)
            offered.setdefault(scheme.lower(), {k.lower(): quoted or bare for k, quoted, bare in pairs})
        for scheme in ("bearer", "basic"):
            values = offered.get(scheme)
            if values is not None and (scheme == "basic" or values.get("realm")):
                return cls(
                    scheme, values.get("realm", ""), values.get("service", ""), values.get("scope", "")
                )
        raise Unavailable(
            f"{host} wants credentials of a kind that is not known: {show_text(header[:80])}",
            reference=host,
        )
