"""The types of names and paths in URLs: how each is written, and how errors describe it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

# Two paths and a name together are a key of a map in the balancers' configuration.
_LONGEST_PATH = 200
# RFC 1035, 2.3.4.
_LONGEST_NAME, _LABEL = 253, re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME = "a name such as shop.example or *.shop.example, in lower case"
_TARGET = re.compile(r"(https?://([^/:]*)(?::([0-9]{1,9}))?)?(/[A-Za-z0-9/_.~%-]*)?")


def _plain(path: str) -> str:
    if "//" in path or re.search(r"/\.{1,2}(/|$)", path):
        raise ValueError("a path without '//', '/./' and '/../', which clients and servers resolve")
    return path


def server_name(value: Any) -> Any:
    """Check a name of a site, which may be a wildcard. Raises ValueError, which suggests what to write instead."""
    if not isinstance(value, str):
        raise ValueError(_NAME)
    if is_name(value.removeprefix("*.")) and len(value) <= _LONGEST_NAME:
        return value
    if max(map(len, [*value.split("."), value[190:]])) > 63:
        raise ValueError(f"a name with at most 63 characters between two dots, and {_LONGEST_NAME} in all")
    suggested = _suggested(value)
    raise ValueError(f"{_NAME}; write {suggested}" if suggested else _NAME)


def _site_name(value: Any) -> Any:
    """Check a name that clients send in a TLS handshake. Raises ValueError for an address (RFC 6066, 3)."""
    if isinstance(value, str) and _is_address(value):
        raise ValueError(
            "a name: for an address, clients send no name in a TLS handshake, so it chooses no site. Without"
            " `server_names`, the site answers at all its addresses"
        )
    if isinstance(value, str) and value.rpartition(".")[2].isdigit():
        # URL Standard, 3.5.
        raise ValueError("a name whose last part is not a number: browsers take such a name for an address")
    return server_name(value)


def _is_address(text: str) -> bool:
    try:
        return bool(ip_address(text.strip("[]")))
    except ValueError:
        return False


def is_name(text: str) -> bool:
    """Return whether a text is a host name in lower case (RFC 1123, 2.1)."""
    return bool(text) and all(_LABEL.fullmatch(label) for label in text.split("."))


def _suggested(value: str) -> str:
    """Return what a person who wrote another form of a name probably meant; empty if that is unclear."""
    star = "*." if value.startswith("*.") else ""
    plain = re.sub(r"^[a-z]+://|(:[0-9]+)?/?$|\.$", "", value.removeprefix("*.").lower())
    try:
        plain = plain.encode("idna").decode()
    except UnicodeError:
        return ""
    return f"{star}{plain}" if is_name(plain) and star + plain != value else ""


def _one_name(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("*."):
        raise ValueError("a name without '*', because it is sent in the header Host")
    return server_name(value)


def _target(value: Any) -> Any:
    found = _TARGET.fullmatch(value) if isinstance(value, str) and 0 < len(value) <= 2000 else None
    if not found:
        raise ValueError("a path, or a URL that begins with http:// or https://, without a query, '#' and spaces")
    if found[1]:
        _target_host(found[2], found[3])
    elif value.startswith("//"):
        raise ValueError(f"a path with one '/' at its beginning, or a URL such as https:{value[:200]}")
    if re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise ValueError("a path in which every '%' has two hexadecimal digits, such as %20")
    return value


def _target_host(name: str, port: str | None) -> None:
    if not is_name(name):
        suggested = _suggested(name)
        raise ValueError(f"a URL with a name in lower case{f': {suggested}' if suggested else ''}")
    if port and not 1 <= int(port) <= 65535:
        raise ValueError("a URL with a port from 1 to 65535")


_TEXT = WithJsonSchema({"type": "string"})
ServerName = Annotated[str, BeforeValidator(_site_name), _TEXT]
HostHeader = Annotated[str, BeforeValidator(_one_name), _TEXT]
RedirectTarget = Annotated[str, BeforeValidator(_target), _TEXT]

PagePath = Annotated[str, Field(pattern=r"^/[A-Za-z0-9/_.-]*$", max_length=_LONGEST_PATH), AfterValidator(_plain)]
RedirectPath = PagePath
StaticPath = Annotated[str, Field(pattern=r"^/([A-Za-z0-9_.-]+/)+$", max_length=_LONGEST_PATH), AfterValidator(_plain)]
RoutePath = Annotated[str, Field(pattern=r"^/([A-Za-z0-9_.-]+/)*$", max_length=_LONGEST_PATH), AfterValidator(_plain)]
FileUrl = Annotated[
    str, Field(pattern=r"^/([A-Za-z0-9_.-]+/)*[A-Za-z0-9_.-]+$", max_length=_LONGEST_PATH), AfterValidator(_plain)
]
