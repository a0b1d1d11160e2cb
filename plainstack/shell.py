"""Pieces of POSIX shell text that more than one script is made of."""

from __future__ import annotations

# Of every command on a host: a login shell's own may lack what only root uses.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def await_condition(condition: str, complaint: str, *, tries: int, pause: float, otherwise: str = "") -> str:
    """Lines that wait until `condition` holds, and after so many tries, `pause` seconds apart, end with `complaint`.

    `complaint` stands between double quotes; `otherwise` is a command that tells more on stderr.
    """
    more = f"\n        {otherwise}" if otherwise else ""
    return f"""\
tries=0
until {condition}; do
    tries=$((tries + 1))
    if [ $tries -gt {tries} ]; then
        echo "{complaint}" >&2{more}
        exit 1
    fi
    sleep {pause}
done
"""
