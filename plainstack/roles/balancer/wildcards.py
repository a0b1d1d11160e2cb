"""Wildcard names in the notation of the engines, whose own wildcards stand for any number of labels."""

from __future__ import annotations

import re


def engine_name(name: str) -> str:
    """Return a name of the site as the directive `server_name` has it: for a wildcard, a regular expression.

    The engines look for it only if no server has the name of the request itself. It has no groups, because they would
    replace the $1 of a location.
    """
    if not name.startswith("*."):
        return name
    return f"~^[^.]+{re.sub('[.]', '[.]', name[1:])}$"


def key(name: str) -> str:
    """Return what $server_name is for a name of the site, as the key of a map."""
    # Such a key would be a regular expression, too.
    return re.sub("^~", r"\\~", engine_name(name))
