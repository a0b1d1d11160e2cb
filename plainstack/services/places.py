"""The account of a service on its hosts, and the places of its files there."""

from __future__ import annotations

# Everything that a service's folder contains.
LAYOUT = ("releases", "venvs", "pythons", "staging", "current", "current.new", "previous")


def account(service: str) -> str:
    """Return the system account that a service runs as."""
    return f"app-{service}"


def home(service: str) -> str:
    """Return the folder of a service on a host: releases, their virtual environments, and the link `current`."""
    return f"/srv/{service}"


def data(service: str) -> str:
    """Return the folder for the data that a service writes; it stays when a release, or the service, is removed."""
    return f"/var/lib/{account(service)}"


def pin(service: str) -> str:
    """Return the path of the file that names the release that a service was rolled back to, if it was."""
    return f"/etc/plainstack/app/{service}.pinned"


def unproven(service: str, release: str) -> str:
    """Return the path of the file that a release has on a host until a deploy with it has succeeded there."""
    return f"{home(service)}/releases/{release}/unproven"


def settings(service: str) -> str:
    """Return the path of the file with a service's environment variables, including secrets."""
    return f"/etc/plainstack/app/{service}.env"


def settings_ahead(name: str) -> str:
    """Return the path of the environment file for a new release while it is built; the current one has its own file."""
    return f"/etc/plainstack/app/{name}.next.env"
