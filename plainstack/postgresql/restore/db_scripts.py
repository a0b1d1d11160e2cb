"""The shell scripts of a restore's steps on db hosts. Each runs as root, and can be run again at any time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from shlex import quote

from plainstack.paths import TLS
from plainstack.postgresql.backup.barman import RECEIVER
from plainstack.postgresql.failover.rebuild import STANDBY_SIGNAL
from plainstack.postgresql.layout import AS_POSTGRES, UNIT
from plainstack.postgresql.restore import scratch
from plainstack.postgresql.restore.acts import Act, RestoreStep
from plainstack.postgresql.server_scripts import AWAIT_NONE_RUNS, NOT_DEGRADED, PSQL, UNMASK, start
from plainstack.postgresql.shell_paths import BIN, CLUSTERS, DATA, FENCED, RESTORING, REWINDING, STATE
from plainstack.shell import await_condition


def _pin(_step: RestoreStep) -> str:
    received = f"select min(flush_lsn) >= '$lsn' from pg_stat_replication where application_name = '{RECEIVER}'"  # noqa: S608 - holds constants only
    there = f"""[ "$({PSQL}c "{received}")" = t ]"""
    return f"""\
lsn=$({PSQL} -c 'set synchronous_commit = local' -c 'select pg_current_xact_id()' \\
    -c "select pg_create_restore_point('plainstack: restore')" -c 'select pg_switch_wal()' \\
    -c 'select pg_current_wal_lsn()' | tail -n 1)
{await_condition(there, "Barman has not received the last WAL", tries=100, pause=0.1)}\
"""


def _stand_down(step: RestoreStep) -> str:
    return f"""\
mkdir -p {STATE}
printf '%s\\n' {quote(" ".join(step.about))} >{RESTORING}.new
mv {RESTORING}.new {RESTORING}
sync {RESTORING} {STATE}
timeout 300 systemctl stop {UNIT} || systemctl kill --signal=KILL {UNIT} 2>/dev/null || :
{AWAIT_NONE_RUNS}\
"""


def _put_aside(step: RestoreStep) -> str:
    (restore,) = step.about
    kept = f"{DATA}.before-{restore}"
    return f"""\
[ -e {RESTORING} ]
{AWAIT_NONE_RUNS}\
rm -rf {DATA}.new
if [ -e {kept} ]; then exit 0; fi
if [ -s {DATA}/PG_VERSION ]; then
    [ ! -e {REWINDING} ] || mv {REWINDING} {DATA}/plainstack.rewinding
    mv {DATA} {kept}
else
    rm -rf {DATA}
    {AS_POSTGRES} mkdir -m 700 {kept}
fi
sync {CLUSTERS}
"""


def copying(source: str, programs: str) -> str:
    """Return shell code that copies the served cluster of the backup host `source` to the folder $new, with progress.

    `programs` is the folder of PostgreSQL's programs.
    """
    conninfo = f"{scratch.conninfo(source)} sslrootcert={TLS}/ca.crt sslcert={TLS}/host.crt sslkey={TLS}/host.key"
    return f"""\
( while sleep 5; do echo "progress: $(du -sm "$new" 2>/dev/null | cut -f1) MB copied"; done ) 8>&- &
shown=$!
trap 'kill "$shown" 2>/dev/null || :' EXIT
{AS_POSTGRES} {programs}/pg_basebackup -D "$new" -X stream -c fast --no-slot -w -d {quote(conninfo)}
"""


def _copy(step: RestoreStep) -> str:
    (source,) = step.about
    return f"""\
new={DATA}.new
rm -rf "$new"
{copying(source, BIN)}\
rm -f "$new/standby.signal" "$new/recovery.signal"
sync "$new" "$new/global/pg_control"
rm -rf {DATA}
mv "$new" {DATA}
sync {CLUSTERS}
"""


def _start_primary() -> str:
    leads = f"""[ "$({PSQL}c 'select pg_is_in_recovery()' 2>/dev/null)" = f ]"""
    return f"""\
{UNMASK}\
rm -f {DATA}/standby.signal {FENCED} {RESTORING}
{start(600)}\
{await_condition(leads, "PostgreSQL has not become the primary within ten minutes", tries=3000, pause=0.2)}\
"""


def _lead(_step: RestoreStep) -> str:
    return f"{NOT_DEGRADED}{_start_primary()}"


def _lead_again(step: RestoreStep) -> str:
    """Start the old primary, on a new timeline if the restored data was served.

    Barman may have WAL of the restored timelines, so no later promotion may reuse their numbers. A promotion takes the
    number after all timelines whose history files are in pg_wal. The files are copied there only once the server is in
    recovery: when it starts, it would try to follow the newest of them.
    """
    (restore,) = step.about
    undone = f"{DATA}.undone-{restore}"
    recovers = f"""[ -n "$({PSQL}c 'select pg_is_in_recovery()' 2>/dev/null)" ]"""
    return f"""\
if [ ! -d {undone}/pg_wal ]; then
{_start_primary()}\
    exit 0
fi
{UNMASK}\
{STANDBY_SIGNAL}\
rm -f {FENCED} {RESTORING}
{start(600)}\
{await_condition(recovers, "PostgreSQL does not answer", tries=300, pause=0.2)}\
cp -n --preserve=ownership {undone}/pg_wal/*.history {DATA}/pg_wal/ 2>/dev/null || :
[ "$({PSQL}c 'select not pg_is_in_recovery() or pg_promote(true, 60)')" = t ]
"""


def _release(_step: RestoreStep) -> str:
    return f"rm -f {RESTORING}\n"


def _put_back(step: RestoreStep) -> str:
    (restore,) = step.about
    kept, undone = f"{DATA}.before-{restore}", f"{DATA}.undone-{restore}"
    return f"""\
[ -e {RESTORING} ]
{AWAIT_NONE_RUNS}\
rm -rf {DATA}.new
[ -e {kept} ] || exit 0
if [ -e {DATA} ]; then
    rm -rf {undone}
    mv {DATA} {undone}
fi
if [ -s {kept}/PG_VERSION ]; then
    [ ! -e {kept}/plainstack.rewinding ] || mv {kept}/plainstack.rewinding {REWINDING}
    mv {kept} {DATA}
else
    rmdir {kept}
fi
sync {CLUSTERS}
"""


def _discard(_step: RestoreStep) -> str:
    return f"rm -rf {DATA}.before-* {DATA}.undone-*\n"


BODIES: Mapping[Act, Callable[[RestoreStep], str]] = {
    Act.PIN: _pin,
    Act.STAND_DOWN: _stand_down,
    Act.PUT_ASIDE: _put_aside,
    Act.COPY: _copy,
    Act.LEAD: _lead,
    Act.LEAD_AGAIN: _lead_again,
    Act.RELEASE: _release,
    Act.PUT_BACK: _put_back,
    Act.DISCARD: _discard,
}
