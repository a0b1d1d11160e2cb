"""The shell scripts of a failover's steps; steps.py replaces each @NAME@."""

from __future__ import annotations

from collections.abc import Mapping

from plainstack.postgresql.backup import barman
from plainstack.postgresql.failover import rebuild
from plainstack.postgresql.failover.decisions import Do
from plainstack.postgresql.failover.rebuild import STANDBY_SIGNAL
from plainstack.postgresql.layout import UNIT
from plainstack.postgresql.server_scripts import AWAIT_NONE_RUNS, JOURNAL, METRIC, NOT_DEGRADED, PSQL, UNMASK, start
from plainstack.postgresql.shell_paths import DATA, DEGRADED, ETC, FENCED, STATE
from plainstack.shell import await_condition

_CHECKPOINT = f"timeout 600 {PSQL}c checkpoint\n"

# Clients wait from here on, so send SIGINT (fast shutdown) directly: systemctl stop would first start Debian's Perl
# wrapper.
_STEP_DOWN = f"""\
{STANDBY_SIGNAL}\
pid=$(head -n 1 {DATA}/postmaster.pid)
kill -INT "$pid"
{await_condition('[ ! -e "/proc/$pid" ]', "PostgreSQL did not stop within 90 s", tries=1800, pause=0.05)}\
systemctl stop --no-block {UNIT}
"""

_STEP_BACK = f"""\
rm -f {DATA}/standby.signal
systemctl reset-failed {UNIT} 2>/dev/null || :
timeout 120 systemctl start {UNIT}
"""

_PROMOTE = f"""\
answer=$({PSQL}c 'select not pg_is_in_recovery() or pg_promote(true, 30)')
[ "$answer" = t ] || {{ echo 'pg_promote did not finish within 30 s' >&2; {JOURNAL}; exit 1; }}
"""

_NO_WRITE_WAITS = f"""[ -z "$({PSQL}c 'show synchronous_standby_names')" ]"""
_DEGRADE = f"""\
cat >{DEGRADED}.new <<END
# written by fab failover; inv deploy leaves it alone, and fab failover resync removes it
# since $(date -u +%Y-%m-%dT%H:%M:%SZ)
synchronous_standby_names = ''
END
[ -e {DEGRADED} ] || mv {DEGRADED}.new {DEGRADED}
rm -f {DEGRADED}.new
if [ -d {METRIC.rpartition("/")[0]} ]; then
    cat >{METRIC}.new <<END
# HELP plainstack_synchronous_degraded Whether writes are acknowledged although no standby has them.
# TYPE plainstack_synchronous_degraded gauge
plainstack_synchronous_degraded 1
END
    mv {METRIC}.new {METRIC}
fi
{PSQL}c 'select pg_reload_conf()' >/dev/null
{await_condition(_NO_WRITE_WAITS, "the reload did not take effect", tries=100, pause=0.05)}\
"""

# Wait until a standby has caught up: before that, every write would wait for it.
_RESYNC = f"""\
near() {{
    [ "$({PSQL}c "select pg_is_in_recovery() or exists (select from pg_stat_replication where state = 'streaming'
        and application_name = any (string_to_array('@DB@', ',')))")" = t ]
}}
{await_condition("near", "no replica caught up within ten minutes", tries=3000, pause=0.2)}\
{NOT_DEGRADED}\
loaded=$({PSQL}c 'select pg_conf_load_time()')
{PSQL}c 'select pg_reload_conf()' >/dev/null
reloaded() {{ [ "$({PSQL}c 'select pg_conf_load_time()')" != "$loaded" ]; }}
{await_condition("reloaded", "the reload did not take effect", tries=100, pause=0.05)}\
"""  # noqa: S608 - holds constants only

_KEEP_OUT = f"""\
mark() {{
    mkdir -p {STATE}
    [ -e {FENCED} ] || {{ date -u +%Y-%m-%dT%H:%M:%SZ >{FENCED}.new && mv {FENCED}.new {FENCED}; }} &&
        timeout 5 sync {FENCED}
}}
mark || systemctl mask --runtime {UNIT}
timeout 2 systemctl stop {UNIT} || systemctl kill --signal=KILL {UNIT} 2>/dev/null || :
pid=$(head -n 1 {DATA}/postmaster.pid 2>/dev/null || :)
if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = postgres ]; then
    # The process may end by itself just now; then kill fails.
    kill -KILL "$pid" 2>/dev/null || :
fi
{AWAIT_NONE_RUNS}\
"""


def _start(seconds: int) -> str:
    return f"""\
[ -s {DATA}/PG_VERSION ] || {{ echo 'there is no data directory' >&2; exit 1; }}
{UNMASK}\
{STANDBY_SIGNAL}\
rm -f {FENCED}
{NOT_DEGRADED}\
{start(seconds)}\
"""


_STREAMS = f"""\
[ "$({PSQL}c "select sender_host from pg_stat_wal_receiver where status = 'streaming'" 2>/dev/null)" = @LEADER@ ]\
"""  # noqa: S608 - holds constants only
_FOLLOW = await_condition(_STREAMS, "this host does not stream from @LEADER@", tries=150, pause=0.1, otherwise=JOURNAL)

# Drop a standby's unused slots, which would retain WAL forever.
_TIDY = f"""\
if [ "$({PSQL}c 'select pg_is_in_recovery()')" = t ]; then
    {PSQL}c 'select pg_drop_replication_slot(slot_name) from pg_replication_slots
        where not active and restart_lsn is not null' >/dev/null
    if [ -e {DEGRADED} ]; then {NOT_DEGRADED}{PSQL}c 'select pg_reload_conf()' >/dev/null; fi
else
    timeout 600 {PSQL}c checkpoint
fi
{PSQL} -f {ETC}/plainstack.sql
"""  # noqa: S608 - holds constants only

# Start Barman's cron last: if it found no receiver, it would start one of its own.
_BARMAN = f"""\
systemctl restart {barman.RECEIVER_UNIT}
@STREAMING@
systemctl start --no-block plainstack-barman-cron.service
"""

_ANSWERS = (
    """answer=$(curl -sk -m 3 -o /dev/null -w '%{http_code}' @ASK@); case $answer in @HEALTHY@) ;; *) false ;; esac"""
)
_SITE = await_condition(_ANSWERS, "the site answers $answer to curl @SHOWN@", tries=30, pause=0.3)

_ARRIVED = f"""\
[ "$({PSQL}c "select greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) > '@LSN@'")" = t ]\
"""
_AWAIT_WAL = await_condition(_ARRIVED, "the last WAL did not arrive", tries=100, pause=0.05)

TEXTS: Mapping[Do, str] = {
    Do.CHECKPOINT: _CHECKPOINT,
    Do.STEP_DOWN: _STEP_DOWN,
    Do.STEP_BACK: _STEP_BACK,
    Do.PROMOTE: _PROMOTE,
    Do.PROMOTE_ALONE: _DEGRADE + _PROMOTE,
    Do.DEGRADE: _DEGRADE,
    Do.RESYNC: _RESYNC,
    Do.KEEP_OUT: _KEEP_OUT,
    Do.START: _start(600),
    # A promotion waits for this step, so the step gives up after a minute.
    Do.WAKE: _start(60),
    Do.FOLLOW: _FOLLOW,
    Do.TIDY: _TIDY,
    Do.REWIND: rebuild.REWIND,
    Do.CLONE: rebuild.CLONE,
    Do.CLONE_OVER: rebuild.CLONE,
    Do.DISCARD: f"rm -rf {DATA}.old-*\n",
    Do.AWAIT_WAL: _AWAIT_WAL,
    Do.BARMAN: _BARMAN,
    Do.SITE: _SITE,
}
