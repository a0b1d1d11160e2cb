"""The shell scripts that make a standby of an old primary: they rewind its data, or replace it with a copy."""

from __future__ import annotations

from plainstack.paths import TLS
from plainstack.postgresql.layout import AS_POSTGRES, PORT
from plainstack.postgresql.shell_paths import BIN, CLUSTERS, DATA, ETC, PASSFILE, REWINDING

STANDBY_SIGNAL = f"{AS_POSTGRES} touch {DATA}/standby.signal && sync {DATA}/standby.signal {DATA}\n"

_WITH_PASSWORD = f"{AS_POSTGRES} env LC_ALL=C PGPASSFILE={PASSFILE}"
_TO_LEADER = f"port={PORT} sslmode=verify-full sslrootcert={TLS}/ca.crt connect_timeout=3"
# How many bytes pg_rewind or a copy needs in addition to the data: the WAL that the primary retains (wal_keep_size),
# and a reserve.
_MARGIN = 256 * 2**20

_ROOM = f"""\
room() {{ # room NEEDED WHAT-FOR
    free=$(($(df --output=avail -B1 {CLUSTERS} | tail -n 1) + ${{spare:-0}}))
    if [ "$free" -lt "$1" ]; then
        echo "the disk is too full to $2: $((free >> 20)) MB are free, $(($1 >> 20)) MB are needed." \\
            "Free some under /var/lib/postgresql@HINT@" >&2
        exit 1
    fi
}}
"""

# After a rewind, pg_wal holds all WAL that the primary has and what this host needs of its own. A gap after the point
# from which the host recovers can never be filled: the primary no longer has that WAL, or never had it, because its
# data was restored from a backup. The segment in which a timeline began must be that timeline's. Each log file has 256
# segments of 16 MB.
_GAP = f"""\
number() {{ echo $((0x${{1%????????}} * 256 + 0x${{1#????????}})); }}
begun() {{ # begun TIMELINE SEGMENT: whether the segment is there, if the host recovers from before it
    [ "$(number "$2")" -lt "$next" ] || [ -e {DATA}/pg_wal/"$1$2" ]
}}
gap() {{
    first=$(sed -n 's/^START WAL LOCATION: .*file [0-9A-F]\\{{8\\}}\\([0-9A-F]\\{{16\\}}\\))$/\\1/p' \\
        {DATA}/backup_label 2>/dev/null)
    [ -n "$first" ] || return 1
    next=$(number "$first")
    history=$(ls {DATA}/pg_wal | grep '\\.history$' | tail -n 1)
    fork=
    while read -r timeline lsn why; do
        case $timeline in *[!0-9]* | '') continue ;; esac
        [ -z "$fork" ] || begun "$(printf %08X "$timeline")" "$fork" || return 0
        fork=$(printf %08X000000%02X "0x${{lsn%/*}}" $((0x${{lsn#*/}} >> 24)))
    done <<END
$([ -z "$history" ] || cat {DATA}/pg_wal/"$history")
END
    [ -z "$fork" ] || begun "${{history%.history}}" "$fork" || return 0
    for segment in $(ls {DATA}/pg_wal | sed -n 's/^[0-9A-F]\\{{8\\}}\\([0-9A-F]\\{{16\\}}\\)$/\\1/p' | sort -u); do
        at=$(number "$segment")
        if [ "$at" -gt "$next" ]; then return 0; elif [ "$at" = "$next" ]; then next=$((next + 1)); fi
    done
    [ "$next" = "$(number "$first")" ]
}}
"""

REWIND = f"""\
{_ROOM}\
{_GAP}\
room {_MARGIN} 'rewind'
printf 'an earlier rewind was interrupted\\n' >{REWINDING}
sync {REWINDING}
if said=$({_WITH_PASSWORD} {BIN}/pg_rewind -D {DATA} --config-file={ETC}/postgresql.conf \\
    --source-server='host=@LEADER@ user=rewinder dbname=postgres {_TO_LEADER}' 2>&1)
then
    if gap; then
        echo '@LEADER@ lacks WAL from after their histories parted' >{REWINDING}.new
        mv {REWINDING}.new {REWINDING}
        exit 0
    fi
    {STANDBY_SIGNAL}\
    rm {REWINDING}
    printf '%s\\n' "$said"
    exit 0
fi
printf '%s\\n' "$said" | grep -i error | tail -n 1 >{REWINDING}.new
[ -s {REWINDING}.new ] || printf 'it ended without an error message\n' >{REWINDING}.new
# If pg_rewind could not connect to the primary, it has changed nothing.
if grep -q 'connection to server' {REWINDING}.new; then
    rm {REWINDING}
    cat {REWINDING}.new >&2
    exit 1
fi
mv {REWINDING}.new {REWINDING}
printf '%s\\n' "$said"
"""

# The application name of the copy is not in synchronous_standby_names: an incomplete copy must not confirm writes.
CLONE = f"""\
{_ROOM}\
new={DATA}.new
rm -rf "$new"
size=$({_WITH_PASSWORD} {BIN}/psql -XAtqw 'host=@LEADER@ user=rewinder dbname=postgres {_TO_LEADER}' \\
    -c 'select sum(pg_database_size(oid)) from pg_database')
@SPARE@
room $((size + {_MARGIN})) 'copy the database beside the old data directory'
@FIRST@
{_WITH_PASSWORD} {BIN}/pg_basebackup -D "$new" -X stream -c fast -S @SLOT@ -w \\
    -d 'host=@LEADER@ user=replicator application_name=@SELF@_copy {_TO_LEADER}'
{AS_POSTGRES} touch "$new/standby.signal"
sync "$new/standby.signal"
if [ -d {DATA} ]; then mv {DATA} "{DATA}.old-$(date -u +%Y%m%dT%H%M%S)"; fi
rm -f {REWINDING}
mv "$new" {DATA}
sync {CLUSTERS}
"""  # noqa: S608 - holds constants only

KEEP_OLD = {
    "@SPARE@": "",
    "@FIRST@": "",
    "@HINT@": ". To delete the old data directory before the copy: fab failover rejoin --host=@SELF@ --discard",
}
GIVE_UP_OLD = {
    "@SPARE@": f"spare=0\n[ ! -d {DATA} ] || spare=$(du -sB1 {DATA} | cut -f1)",
    "@FIRST@": f"rm -rf {DATA}",
    "@HINT@": "",
}
