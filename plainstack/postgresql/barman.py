"""Barman on the backup host: how it finds the primary, and its backups for `inv backup-now` and `inv status`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from plainstack.errors import PlainstackError, Refused
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.postgresql.hosts import barman_hosts
from plainstack.postgresql.layout import PORT

HOME = "/var/lib/barman"
UNIT = "plainstack-backup.service"
RECEIVER_UNIT = "plainstack-barman-receive-wal.service"
# Only the unit's own receiver counts: if Barman's cron starts one first, the unit cannot start its own.
RECEIVES = f'pgrep -P "$(systemctl show --property=MainPID --value {RECEIVER_UNIT})" -x pg_receivewal >/dev/null'
# EX_TEMPFAIL of sysexits.h: the same request may succeed later.
BUSY = 75


@dataclass(frozen=True)
class Backup:
    """A usable base backup; `seconds` is how long the copy took."""

    id: str
    size_bytes: int
    seconds: float
    begin: datetime
    end: datetime


def server(stack: Stack) -> str:
    """Return Barman's name for the stack's cluster."""
    return stack.stack


def conninfo(stack: Stack) -> str:
    """Return a libpq connection string, without a user, that connects to whichever db host is the primary."""
    hosts = ",".join(host.name for host in stack.with_role("db"))
    return (
        f"host={hosts} port={PORT} dbname=postgres target_session_attrs=read-write connect_timeout=3"
        f" sslmode=verify-full sslrootcert={TLS}/ca.crt"
    )


def has_backup(stack: Stack) -> str:
    """Return a shell test that succeeds if there is a usable backup; it is fast enough for a probe."""
    return f"grep -qsx status=DONE ${{ROOT:-}}{HOME}/{server(stack)}/meta/*-backup.info"


def _newest(stack: Stack) -> str:
    # Reads Barman's catalogue directly: starting Barman would take a second. Ids are dates, so names sort by time.
    return f"info=$(grep -lsx status=DONE ${{ROOT:-}}{HOME}/{server(stack)}/meta/*-backup.info | tail -n 1)\n"


def facts(stack: Stack) -> str:
    """Return shell code for the probe of the backup host: it prints backup_at, when the newest usable backup ended.

    The time is in seconds since the epoch.
    """
    return f"""\
{_newest(stack)}\
[ -z "$info" ] || echo "backup_at=$(date -d "$(sed -n 's/^end_time=//p' "$info")" +%s)"
"""


def last_backup_snippet(stack: Stack) -> str:
    """Return shell code for root on the backup host that prints the newest usable backup as a line of JSON, if any."""
    return f"""\
{_newest(stack)}\
[ -z "$info" ] || awk -v id="$(basename "$info" -backup.info)" '
    BEGIN {{ printf "{{\\"id\\": \\"%s\\"", id }}
    match($0, /^(begin_time|end_time|size)=/) {{
        printf ", \\"%s\\": \\"%s\\"", substr($0, 1, RLENGTH - 1), substr($0, RLENGTH + 1)
    }}
    END {{ print "}}" }}' "$info"
"""


def backup_host(stack: Stack) -> str:
    """Return the host that takes backups. Raises Refused if there is none."""
    hosts = barman_hosts(stack)
    if not hosts:
        raise Refused("no host has the role backup, so there is nowhere to back up to")
    return hosts[0]


def backup_script(stack: Stack) -> str:
    """Return shell code for root on the backup host that takes a backup and prints it as one line of JSON.

    It waits until the backup is usable. It exits with code 75 if a backup is already running. systemd runs the backup,
    so that the backup continues if the operator's connection breaks.
    """
    return f"""\
set -eu
case $(systemctl show --property=ActiveState --value {UNIT}) in
activating | active | deactivating | reloading)
    echo "a backup is already running, since $(systemctl show --property=ExecMainStartTimestamp --value {UNIT})" >&2
    exit {BUSY}
    ;;
esac
systemctl reset-failed {UNIT} 2>/dev/null || :
systemctl start {UNIT} || {{
    journalctl --unit={UNIT} --invocation=0 --no-pager --quiet --output=cat --lines=12 >&2
    exit 1
}}
{last_backup_snippet(stack)}"""


def parse_backup(text: str) -> Backup:
    """Return the backup that `backup_script` or `last_backup_snippet` printed on the last line of `text`."""
    lines = text.split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    try:
        data: dict[str, Any] = json.loads(last)
        begin, end = (datetime.fromisoformat(data[key]) for key in ("begin_time", "end_time"))
        return Backup(data["id"], int(data["size"]), (end - begin).total_seconds(), begin, end)
    except (KeyError, TypeError, ValueError):
        raise PlainstackError(f"not the description of a backup: {last[:200]!r}") from None
