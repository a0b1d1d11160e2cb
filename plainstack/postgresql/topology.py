"""The state of each db host, from its own answers. Only this module decides whether a host is a primary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from plainstack.dataclass import dataclass
from plainstack.postgresql.layout import AS_POSTGRES
from plainstack.postgresql.shell_paths import BIN, DATA

Facts = Mapping[str, Mapping[str, str] | None]
"""The answer of every db host to `PROBE`, by name; None for a host that could not be reached."""

# A standby's control file shows a new timeline late, so take it from the name of the WAL file that is being written.
_FACTS = """
select 'recovery=' || pg_is_in_recovery() from pg_control_system()
union all select 'system_identifier=' || system_identifier from pg_control_system()
union all select 'timeline=' || greatest(c.timeline_id, r.min_recovery_end_timeline,
 (select max(('x' || left(name, 8))::bit(32)::int) from pg_ls_waldir(), (select (greatest(pg_last_wal_receive_lsn(),
 pg_last_wal_replay_lsn()) - '0/0' - 1)::bigint / 16777216 as number) segment where pg_is_in_recovery()
 and substr(name, 9) = upper(lpad(to_hex(number / 256), 8, '0') || lpad(to_hex(number % 256), 8, '0'))),
 case when not pg_is_in_recovery() then ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int end)
 from pg_control_checkpoint() c, pg_control_recovery() r
union all select 'lsn=' || case when pg_is_in_recovery()
 then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) else pg_current_wal_lsn() end
union all select 'restart=' || string_agg(name, ', ' order by name) from pg_settings where pending_restart having
 count(*) > 0
union all select 'upstream=' || sender_host from pg_stat_wal_receiver where status = 'streaming'"""


def probe(more: str = "", patience: int = 10) -> str:
    """Return shell code that prints a db host's facts; `more` is SQL that begins with `union all`.

    A server that does not answer within `patience` seconds counts as silent.
    """
    return f"""\
if [ -s {DATA}/PG_VERSION ]; then
    echo data=yes
    [ -z "$(ls {DATA}/pg_tblspc 2>/dev/null)" ] || echo tablespaces=yes
    if [ -e {DATA}/standby.signal ]; then echo signal=yes; fi
    pid=$(head -n 1 {DATA}/postmaster.pid 2>/dev/null || :)
    if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = postgres ]; then
        echo running=yes
        timeout {patience} {AS_POSTGRES} {BIN}/psql -XAtqc "{_FACTS}{more}" 2>/dev/null || :
    else
        echo running=no
        LC_ALL=C {BIN}/pg_controldata {DATA} | sed -n \\
            -e 's/^Database system identifier: */system_identifier=/p' \\
            -e "s/^Latest checkpoint's TimeLineID: */timeline=/p" \\
            -e 's/^Database cluster state: */cluster=/p' \\
            -e 's/^Latest checkpoint location: */lsn=/p'
    fi
else
    echo data=no
fi
"""


PROBE = probe()

State = Literal["primary", "standby", "silent", "stopped primary", "stopped standby", "empty", "unreachable"]

_DESCRIPTIONS: Mapping[State, str] = {
    "primary": "the primary",
    "standby": "a replica",
    "silent": "running, but does not answer",
    "stopped primary": "a stopped primary",
    "stopped standby": "a stopped replica",
    "empty": "without data",
    "unreachable": "unreachable",
}


@dataclass(frozen=True)
class Member:
    """A db host: its state, and the position of its data (empty where unknown)."""

    name: str
    state: State
    timeline: int = 0
    lsn: str = ""
    system_identifier: str = ""
    upstream: str = ""
    # Changed settings that need a restart.
    restart: str = ""

    @property
    def described(self) -> str:
        """The state in words that can follow "db1 is"."""
        return _DESCRIPTIONS[self.state]

    @property
    def label(self) -> str:
        """The state as tables show it: a standby is called a replica."""
        return self.state.replace("standby", "replica")


TABLESPACES = (
    "the database has tablespaces outside its data directory. Backups contain them, and inv restore can copy a table or"
    " a database out of a backup, but it refuses to restore everything. To allow that, move their tables back"
    " (alter table ... set tablespace pg_default), and drop them"
)
"""What tablespaces mean for a restore, as sentences without a last full stop."""


def waiting(settings: str) -> str:
    """Return the message about settings that are changed but take effect only after a restart."""
    return (
        f"{settings}: changed, but takes effect only when PostgreSQL restarts. A deploy restarts it for"
        " changes in its own files, but not for ALTER SYSTEM or other files in conf.d"
    )


def unfinished_restore(restore: str) -> str:
    """Return the message about a restore that has neither finished nor been undone."""
    return (
        f"a restore of the database has not finished ({restore}). Finish it with the same inv restore command, or put"
        " the old data back: inv restore --undo"
    )


def members(names: Iterable[str], facts: Facts) -> list[Member]:
    """Return the db hosts in the given order, with their observed states."""
    return [_member(name, facts.get(name)) for name in names]


def primaries(of: Iterable[Member]) -> list[Member]:
    """Return the members that accept writes; more than one means that the cluster is split."""
    return [member for member in of if member.state == "primary"]


def _member(name: str, facts: Mapping[str, str] | None) -> Member:
    if facts is None:
        return Member(name, "unreachable")
    if facts.get("data") != "yes":
        return Member(name, "empty")
    return Member(
        name=name,
        state=_state(facts),
        timeline=int(facts.get("timeline", "0")),
        lsn=facts.get("lsn", ""),
        system_identifier=facts.get("system_identifier", ""),
        upstream=facts.get("upstream", ""),
        restart=facts.get("restart", ""),
    )


def _state(facts: Mapping[str, str]) -> State:
    standby = facts.get("signal") == "yes"
    if facts.get("running") != "yes":
        return "stopped standby" if standby else "stopped primary"
    if facts.get("recovery") == "false":
        return "primary"
    if facts.get("recovery") == "true":
        return "standby"
    # It runs but does not answer: it is starting, stopping, recovering from a crash, or out of connections. With
    # standby.signal it may still be the primary, stopping for a switchover.
    return "silent"


def position(lsn: str) -> int:
    """Return an LSN as a number of bytes (pg_lsn: two 32-bit halves in hexadecimal); an empty LSN is 0."""
    high, _, low = lsn.partition("/")
    return int(high, 16) << 32 | int(low, 16) if low else 0
