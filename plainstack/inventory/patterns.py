"""Descriptions of the patterns of values, for messages."""

from __future__ import annotations

_PATH = "a path that starts with '/' and contains letters, digits and _ . - /"
_SIZE = "a size in megabytes or gigabytes, such as 512M or 2G"

_MEANINGS = {
    r"^[1-9][0-9]{0,4}[MG]$": _SIZE,
    r"^[1-9][0-9]{0,5}[MG]$": _SIZE,
    r"^([0-9]{1,12}|[0-9]{1,9}[kmg])$": "a size in bytes or with k, m or g, such as 10m",
    r"^/[A-Za-z0-9/_.-]*$": f"{_PATH}, such as /healthz",
    r"^/([A-Za-z0-9_.-]+/)*$": "a path that starts and ends with '/', such as /shop/",
    r"^/([A-Za-z0-9_.-]+/)*[A-Za-z0-9_.-]+$": "a path that starts, but does not end, with '/', such as /robots.txt",
    r"^/([A-Za-z0-9_.-]+/)+$": "a path that starts and ends with '/', such as /static/",
    r"^[a-z0-9][a-z0-9+.-]+$": "the name of a Debian package, in lower case",
    r"^[A-Za-z][A-Za-z0-9-]{0,63}$": "the name of an HTTP header: letters, digits and '-'",
    r"^[a-z_][a-z0-9_]*$": "the name of a Python package: lower-case letters, digits and '_'",
    r"^https?://\S+$": "a URL that starts with http:// or https://",
    r"^[1-9][0-9]{0,5}/[sm]$": "a number per second or minute, such as 10/s or 100/m",
    r"^[a-z0-9][a-z0-9_-]{0,31}$": "a name of up to 32 lower-case letters, digits, '_' and '-'",
    r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$": "the name of an account",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of an environment variable: letters, digits and '_'",
    r"^[A-Za-z0-9._~+/=:-]{1,200}$": "an identifier without spaces",
    r"^[a-z0-9]+$": "a name of lower-case letters and digits",
    r"^[a-z0-9-]{1,40}$": "a name of up to 40 lower-case letters, digits and '-'",
    r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,14}$": "the name of a network interface, such as eth0",
}


def meaning(pattern: str) -> str:
    """Return how a message continues after "must be" for a value that does not match a pattern."""
    return _MEANINGS.get(pattern, f"text of the form {pattern}")
