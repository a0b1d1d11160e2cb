"""The type of the response headers that a route sets, and how errors describe it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from plainstack.inventory.service_values import HeaderName

# They say how a message is sent over this connection (RFC 9110, 7.6.1; RFC 9112, 6), or the server sends its own.
_SERVERS_OWN = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"} | {
    "content-length",
    "date",
    "server",
}


def _value(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"[ -~]{1,4000}", value) or "$" in value:
        raise ValueError("printable ASCII text on one line, without '$', and in quotes if it is a number")
    if value != value.strip():
        raise ValueError("text without spaces at its beginning and its end, which no client sees")
    return value


def _settable(name: str) -> str:
    if name.lower() in _SERVERS_OWN:
        raise ValueError(f"another header: the web server sets {name} itself")
    return name


def _once(headers: dict[str, str]) -> dict[str, str]:
    seen: dict[str, str] = {}
    for name in headers:
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise ValueError(f"a mapping with each header once: {name} and {other} are the same")
    return headers


ResponseHeaders = Annotated[
    dict[Annotated[HeaderName, AfterValidator(_settable)], Annotated[str, BeforeValidator(_value)]],
    AfterValidator(_once),
]
