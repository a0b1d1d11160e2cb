"""Barman on the backup host: its paths and units, and how it finds the primary."""

from __future__ import annotations

from shlex import quote

from plainstack.errors import Refused
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.postgresql.hosts import barman_hosts
from plainstack.postgresql.layout import PORT
from plainstack.shell import await_condition, journal

HOME = "/var/lib/barman"
KINDS = ("full", "incremental")
# What the backup host reports to the node exporter; written every few minutes.
METRICS = "/var/lib/prometheus/node-exporter/plainstack_backup.prom"
RECEIVER_UNIT = "plainstack-barman-receive-wal.service"
# The receiver's name in pg_stat_replication.
RECEIVER = "barman_receive_wal"
# Only the unit's own receiver counts: if Barman's cron starts one first, the unit cannot start its own.
RECEIVES = f'pgrep -P "$(systemctl show --property=MainPID --value {RECEIVER_UNIT})" -x pg_receivewal >/dev/null'

WHY_NO_WAL = f"{journal(RECEIVER_UNIT, '--lines=8')} >&2"


def unit(kind: str) -> str:
    """Return the name, without a suffix, of the timer and the service that take backups of a kind."""
    return f"plainstack-backup-{kind}"


def server(stack: Stack) -> str:
    """Return Barman's name for the stack's cluster."""
    return stack.stack


def folder(stack: Stack) -> str:
    """Return the folder on the backup host that holds the stack's backups and WAL."""
    return f"{HOME}/{server(stack)}"


def missing_file(stack: Stack) -> str:
    """Return the file that exists while the primary no longer has WAL that Barman needs; it says since when."""
    return f"{folder(stack)}/wal-missing"


def copy_file(stack: Stack) -> str:
    """Return the file that says what the last run of the second copy achieved, as JSON."""
    return f"{folder(stack)}/second-copy.json"


def conninfo(stack: Stack) -> str:
    """Return a libpq connection string, without a user, that connects to whichever db host is the primary.

    If the primary becomes unreachable, the connection fails after some seconds; by default it would take two hours.
    """
    hosts = ",".join(host.name for host in stack.with_role("db"))
    return (
        f"host={hosts} port={PORT} dbname=postgres target_session_attrs=read-write connect_timeout=3"
        f" sslmode=verify-full sslrootcert={TLS}/ca.crt"
        " keepalives_idle=5 keepalives_interval=2 keepalives_count=3 tcp_user_timeout=8000"
    )


def await_streaming(stack: Stack) -> str:
    """Return shell code that waits on the backup host until the primary streams WAL to Barman, for at most 30 s."""
    # A receiver that ends at once each time has a process for a moment, but never such a row.
    streaming = f"select 1 from pg_stat_replication where application_name = '{RECEIVER}' and state = 'streaming'"  # noqa: S608 - holds constants only
    ask = f'runuser -u barman -- psql -XAtqwc "{streaming}" {quote(f"{conninfo(stack)} user=barman")}'
    complaint = "Barman does not receive WAL after 30 s"
    return await_condition(f"{ask} | grep -q 1", complaint, tries=100, pause=0.3, otherwise=WHY_NO_WAL)


def backup_host(stack: Stack) -> str:
    """Return the host that takes backups. Raises Refused if there is none."""
    hosts = barman_hosts(stack)
    if not hosts:
        raise Refused("no host has the role backup, so there is nowhere to back up to")
    return hosts[0]


def has_backup(stack: Stack) -> str:
    """Return a shell test that succeeds if there is a usable backup; it is fast enough for a probe."""
    return f"grep -qsx status=DONE ${{ROOT:-}}{folder(stack)}/meta/*-backup.info"
