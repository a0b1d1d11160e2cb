"""The parts of an inventory that say which responses are kept in front of the application, for how long, and where."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from plainstack.inventory.sections import Model

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 365 * 86400
METHODS = ("GET", "HEAD")
_COOKIE = re.compile(r"cookie:[A-Za-z0-9_.-]{1,64}")
# Other programs use these folders, or the web server's unit cannot write there.
_NOT_HERE = {"bin", "boot", "dev", "etc", "home", "lib", "lib64", "proc", "root", "run", "sbin", "sys", "tmp", "usr"}


def _span(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (found := re.fullmatch(r"([0-9]{1,6})([smhd])", value)):
        seconds = int(found[1]) * _UNITS[found[2]]
    else:
        raise ValueError("a whole number of seconds, or a number with s, m, h or d, such as 90s, 10m, 1h or 7d")
    if not 0 <= seconds <= _LONGEST:
        raise ValueError("between 0 and 365d")
    return seconds


def _method(value: Any) -> Any:
    if value not in METHODS:
        raise ValueError(
            "GET or HEAD: other methods change something, or their responses depend on the body of the request"
        )
    return value


def _condition(value: Any) -> Any:
    if value in ("cookie", "authorization") or (isinstance(value, str) and _COOKIE.fullmatch(value)):
        return value
    raise ValueError("cookie (any cookie), cookie:NAME (this one only) or authorization")


def _methods(value: tuple[str, ...]) -> tuple[str, ...]:
    if "GET" not in value:
        raise ValueError("a list with GET: responses to HEAD are made from those to GET")
    return value


def _size(value: Any) -> Any:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([MG])", value) if isinstance(value, str) else None
    if not found or (megabytes := int(found[1]) * {"M": 1, "G": 1024}[found[2]]) < 16:
        raise ValueError("a whole number with M or G and at least 16M, such as 500M or 2G")
    return megabytes


def _folder(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]{1,100}){1,8}", value):
        raise ValueError("the absolute path of a folder, such as /srv/cache")
    first, second = [*value.split("/")[1:], ""][:2]
    if first in _NOT_HERE or (first, second) == ("var", "tmp"):
        raise ValueError("the path of a folder for data, such as /srv/cache or /var/cache")
    return value


_TEXT_OR_NUMBER = WithJsonSchema({"type": ["string", "integer"]})
_TEXT = WithJsonSchema({"type": "string"})
Span = Annotated[int, BeforeValidator(_span), _TEXT_OR_NUMBER]
Method = Annotated[str, BeforeValidator(_method)]
Condition = Annotated[str, BeforeValidator(_condition)]
Megabytes = Annotated[int, BeforeValidator(_size), _TEXT]
Folder = Annotated[str, BeforeValidator(_folder)]


class RouteCache(Model):
    """Which responses of a route are kept. Responses that are private or set a cookie never are."""

    ttl: Span = Field(
        description=(
            "How long a response without Cache-Control or Expires is kept, in seconds or such as `10m`; 0 keeps only"
            " responses with such a header."
        )
    )
    stale: Span = Field(
        3600,
        description=(
            "How long after that it is still used: while it is fetched again, and while the application fails or does"
            " not answer; 0 for not at all."
        ),
    )
    bypass: tuple[Condition, ...] = Field(
        ("cookie", "authorization"),
        description=(
            "The requests that go to the application, and whose responses are not kept: `authorization`, those with"
            " that header; `cookie`, those with any cookie except the one of `sticky`; `cookie:NAME`, those with this"
            " cookie."
        ),
    )
    methods: Annotated[tuple[Method, ...], AfterValidator(_methods)] = Field(
        METHODS, description="The methods whose responses are kept: GET and HEAD, or only GET."
    )


class CacheDisk(Model):
    """Where the responses of routes with `cache` are kept, and how much of the disk they may take."""

    size: Megabytes = Field(
        1024,
        description=(
            "The most that the responses take on the disk of a host, such as `500M` or `2G` (default `1G`);"
            " the least recently requested ones go first. They also go if less than 256 MB of the disk are free."
        ),
    )
    folder: Folder | None = Field(
        None,
        description=(
            "An existing folder, in which the folder `plainstack-cache` is created; by default the web server's own"
            " folder below /var. A change restarts the web server once."
        ),
    )
