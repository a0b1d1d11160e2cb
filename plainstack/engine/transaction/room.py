"""The message about a full disk: which disk, how much room it has, and how much is missing."""

from __future__ import annotations

ROOM = (
    """df -Pk "$1" 2>/dev/null | tail -n 1 | { read -r _ _ _ free _ disk; [ "${free:-$2}" -ge "$2" ] || """
    """echo "the disk of $disk has $((free / 1024)) MB free and needs $((($2 + 1023) / 1024)) MB:"""
    """ $((($2 - free + 1023) / 1024)) MB are missing" >&2; }"""
)
"""A shell command that prints on stderr how much room the disk of folder $1 lacks for $2 KiB, if any."""
