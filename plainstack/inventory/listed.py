"""Names in the value of an option, separated by commas."""

from __future__ import annotations

from plainstack.errors import Refused


def listed(text: str, option: str) -> list[str]:
    """Return the names in the value of an option; none if it was not given.

    Raises Refused if the value is there but has no name, as in `--host=$FIRST,$SECOND` with unset variables: an option
    that was not given means all hosts.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if text and not names:
        raise Refused(f"{option}={text!r} has no names; leave it out to mean all")
    return names
