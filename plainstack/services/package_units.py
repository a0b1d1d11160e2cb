"""Starts the daemons in the Debian packages of a service, as Debian itself would."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from plainstack.engine.resources import Command

# Plainstack installs packages without starting anything. A unit that was started since the last boot is left alone,
# even if it was stopped or one of its conditions does not hold.
_FIND = """\
for unit in $(dpkg -L {packages} | sed -n 's|^\\(/usr\\)*/lib/systemd/system/\\([^@/]*\\.service\\)$|\\2|p'); do
    systemctl --quiet is-enabled "$unit" 2>/dev/null || continue
    case $(systemctl show --property=Type,ConditionTimestampMonotonic "$unit") in
    *Type=oneshot* | *ConditionTimestampMonotonic=[1-9]*) ;;
    *) {do} ;;
    esac
done
"""


def started(service: str, packages: Sequence[str]) -> Command:
    """Return the step that starts the units of a service's packages before a release is built."""
    words = shlex.join(packages)
    return Command(
        name=f"{service}: packages",
        why=f"start what comes with {', '.join(packages)}",
        run=_FIND.format(packages=words, do='systemctl start "$unit"'),
        unless=f"dpkg -L {words} >/dev/null 2>&1 || exit 1\n" + _FIND.format(packages=words, do="exit 1"),
        ahead=True,
    )
