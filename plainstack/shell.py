"""Fragments of POSIX shell code that more than one script uses."""

from __future__ import annotations

# Set for every command: the PATH of a login shell may lack the sbin directories.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def journal(unit: str, *options: str) -> str:
    """Return shell code for root that prints a unit's log, limited by `options` of journalctl.

    The code first waits until the journal has what was logged before: on a busy host, that follows later.
    """
    show = " ".join(["journalctl", f"--unit={unit}", *options, "--no-pager", "--quiet", "--output=cat"])
    return f"{{ timeout 5 journalctl --sync >/dev/null 2>&1 || :; {show}; }}"


def await_condition(condition: str, complaint: str, *, tries: int, pause: float, otherwise: str = "") -> str:
    """Return shell code that waits until `condition` holds, and fails with `complaint` if it never does.

    The code retries the condition `tries` times, `pause` seconds apart. `complaint` is placed between double quotes;
    `otherwise` is a command that prints details to stderr.
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
