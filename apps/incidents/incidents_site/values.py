"""Reads values of environment variables. All functions raise ImproperlyConfigured, which names the variable."""

import ipaddress
import os

from django.core.exceptions import ImproperlyConfigured


def words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def at_least(lowest: float, name: str, default: float) -> float:
    value = os.environ.get(name, "").strip()
    try:
        number = float(value) if value else default
    except ValueError:
        number = float("nan")
    if not lowest <= number < 10**9:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be a number from {lowest:g}")
    return number


def switch(name: str) -> bool:
    value = os.environ.get(name, "").strip()
    if value not in ("", "0", "1"):
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be 0 or 1")
    return value == "1"


def networks(name: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    try:
        return [ipaddress.ip_network(word) for word in words(os.environ.get(name, ""))]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}; it must be networks such as 192.0.2.0/24") from None
