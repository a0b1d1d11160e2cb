"""Taking a backup: the scripts that start it, look at it, and collect what explains a failure."""

from __future__ import annotations

from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup import barman
from plainstack.shell import journal

# EX_TEMPFAIL of sysexits.h: the same request may succeed later.
BUSY = 75
# There is no backup on which an incremental one could be based.
NO_BASE = 76


def begin_script(stack: Stack, kind: str) -> str:
    """Return shell code for root on the backup host that starts a backup and prints how many bytes a full one copies.

    It exits with BUSY or NO_BASE, and a sentence on stderr, if it starts none. systemd runs the backup, so that it
    continues if the operator's connection breaks.
    """
    folder = f"${{ROOT:-}}{barman.folder(stack)}"
    units = " ".join(f"{barman.unit(one)}.service" for one in barman.KINDS)
    need_base = f"""\
grep -qsx status=DONE {folder}/meta/*-backup.info || {{
    echo "an incremental backup needs a full one to be based on, and there is none. Take one: inv backup-now" >&2
    exit {NO_BASE}
}}
[ ! -s {folder}/wal-missing ] || {{
    echo "WAL after the last backup is missing, so a full one is needed. Take it: inv backup-now" >&2
    exit {NO_BASE}
}}
"""
    sizes = "select sum(pg_database_size(oid)) from pg_database"
    return f"""\
set -eu
for unit in {units}; do
    case $(systemctl show --property=ActiveState --value $unit) in
    activating | active | deactivating | reloading)
        echo "a backup is already running, since $(systemctl show --property=ExecMainStartTimestamp --value $unit)" >&2
        exit {BUSY}
        ;;
    esac
done
{need_base if kind == "incremental" else ""}\
systemctl reset-failed {barman.unit(kind)}.service 2>/dev/null || :
systemctl start --no-block {barman.unit(kind)}.service
timeout 20 runuser -u barman -- psql -XAtqwc '{sizes}' '{barman.conninfo(stack)} user=barman' 2>/dev/null || :
"""


def look_script(stack: Stack, kind: str) -> str:
    """Return shell code for root on the backup host that prints how far a running backup is, as KEY=VALUE lines.

    `state`, `result` and `job` are systemd's; `status` and `id` are those of Barman's newest backup, and `copied` its
    size.
    """
    folder = f"${{ROOT:-}}{barman.folder(stack)}"
    return f"""\
systemctl show --property=ActiveState,Result,Job {barman.unit(kind)}.service |
    sed 's/^ActiveState=/state=/; s/^Result=/result=/; s/^Job=/job=/'
info=$(ls {folder}/meta/*-backup.info 2>/dev/null | tail -n 1)
[ -n "$info" ] || exit 0
id=${{info##*/}} id=${{id%-backup.info}}
echo "id=$id"
grep '^status=' "$info"
[ ! -d {folder}/base/$id ] || echo "copied=$(du -sb {folder}/base/$id | cut -f 1)"
"""


def explain_script(stack: Stack, kind: str) -> str:
    """Return shell code for root on the backup host that prints why a backup failed, as `failures.parse` reads it."""
    unit = f"{barman.unit(kind)}.service"
    return f"""\
echo '=== free'
df --output=avail -B1 ${{ROOT:-}}{barman.HOME} | tail -n 1
echo '=== journal'
{journal(unit, "--invocation=0", "--lines=40")}
echo '=== log'
since=$(TZ=UTC systemctl show --property=ExecMainStartTimestamp --value {unit})
since=$(date -d "$since" '+%F %T' 2>/dev/null || date '+%F %T')
awk -v since="$since" 'substr($0, 1, 19) >= since' ${{ROOT:-}}/var/log/barman/barman.log 2>/dev/null | tail -n 60
echo '=== check'
timeout 60 runuser -u barman -- barman -f json check {barman.server(stack)} 2>/dev/null
echo
"""
