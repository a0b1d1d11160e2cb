"""The scripts that print what a restore needs to know of a host, and how their output becomes a Situation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from plainstack.dataclass import dataclass
from plainstack.inventory.stack import Stack
from plainstack.postgresql.backup.barman import backup_host
from plainstack.postgresql.hosts import databases
from plainstack.postgresql.observation import Topology
from plainstack.postgresql.restore import processes, scratch
from plainstack.postgresql.restore.situation import RECORDS, SCRATCH, Kept, Request, Situation
from plainstack.postgresql.shell_paths import BIN, CLUSTERS, DATA
from plainstack.services import maintenance
from plainstack.services.folders import kept_on

Facts = Mapping[str, Mapping[str, str] | None]

_KEPT = f"""\
for kept in {DATA}.before-* {DATA}.undone-*; do
    [ -d "$kept" ] || continue
    timeline=0 standby=no empty=yes
    if [ -s "$kept/PG_VERSION" ]; then
        empty=no
        [ ! -e "$kept/standby.signal" ] || standby=yes
        timeline=$(LC_ALL=C {BIN}/pg_controldata "$kept" | sed -n "s/^Latest checkpoint's TimeLineID: *//p")
    fi
    echo "kept.${{kept##*/main.}}=$empty|$standby|$timeline"
done
echo "room=$(df --output=avail -B1 {CLUSTERS} 2>/dev/null | tail -n 1)"
"""

_BACKUP = f"""\
newest=$(ls -t {RECORDS}/*.json 2>/dev/null | head -n 1)
if [ -n "$newest" ]; then
    id=$(basename "$newest" .json)
    printf 'request=%s\\n' "$(cat "$newest")"
    echo "marks=$(cd {RECORDS} && ls | sed -n "s/^$id\\.//p" | paste -sd ' ')"
fi
[ ! -d {scratch.PROGRAM} ] || printf 'scratch=%s\\n' "$({scratch.status_script().strip()})"
"""


@dataclass(frozen=True)
class Questions:
    """The scripts to run, by host, on each kind of host."""

    databases: Mapping[str, str]
    backup: Mapping[str, str]
    processes: Mapping[str, str]
    doors: Mapping[str, str]


def questions(stack: Stack) -> Questions:
    """Return the scripts that a restore asks the hosts of a stack. Raises Refused if none of them takes backups."""
    return Questions(
        dict.fromkeys(databases(stack), _KEPT),
        {backup_host(stack): _BACKUP},
        {name: processes.facts(stack, stack.hosts[name]) + _files(stack, name) for name in processes.hosts(stack)},
        maintenance.questions(stack),
    )


def _files(stack: Stack, host: str) -> str:
    """Return shell code that prints what restores have left beside each folder that is backed up."""
    return "".join(
        f"echo \"files.{one.key}=$(cd {one.stage} 2>/dev/null && ls | paste -sd ' ')\"\n"
        for one in kept_on(stack, stack.hosts[host])
    )


def situation(topology: Topology, databases: Facts, backup: Facts, others: Facts, doors: Facts) -> Situation:
    """Return the situation from the answers to each kind of question, by host."""
    ((name, mine),) = backup.items()
    known = mine or {}
    copy = _served(known.get("scratch", ""))
    return Situation(
        topology=topology,
        backup=name,
        reachable=mine is not None,
        request=Request.parse(known["request"], known.get("marks", "")) if known.get("request") else None,
        scratch=copy is not None,
        size=int(copy["size_bytes"]) if copy else 0,
        kept={host: _kept(facts or {}) for host, facts in databases.items()},
        room={host: int(facts["room"]) for host, facts in databases.items() if facts and facts.get("room")},
        running={host: int(facts["running"]) if facts else None for host, facts in others.items()},
        halted={host: bool(facts and facts.get("halted")) for host, facts in others.items()},
        files={
            (host, key.removeprefix("files.")): frozenset(value.split())
            for host, facts in others.items()
            for key, value in (facts or {}).items()
            if key.startswith("files.")
        },
        closed={host: frozenset(maintenance.closed(facts)) if facts else None for host, facts in doors.items()},
    )


def _served(states: str) -> dict[str, Any] | None:
    """Return the recovered cluster among the scratch clusters of the backup host; None if it is not up."""
    found = json.loads(states) if states else []
    return next((one for one in found if one["name"] == SCRATCH and one["state"] == "up"), None)


def _kept(facts: Mapping[str, str]) -> tuple[Kept, ...]:
    found = []
    for key, value in sorted(facts.items()):
        if key.startswith("kept."):
            kind, _, restore = key.removeprefix("kept.").partition("-")
            empty, standby, timeline = value.split("|")
            found.append(Kept(kind, restore, empty == "yes", standby == "yes", int(timeline or 0)))
    return tuple(found)
