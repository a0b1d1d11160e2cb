"""The frame around the script of a step: one step at a time on a host, a line in the audit log, a new generation."""

from __future__ import annotations

import json
from shlex import quote
from typing import NamedTuple

from plainstack.engine.paths import APPLY_LOCK, STATE
from plainstack.paths import AUDIT

# Run one step at a time on a host, even if the operator's connection broke and the command was started again.
_FRAME = """\
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
exec 8>>{lock}
flock -w {patience} 8 || {{ echo 'an earlier run still works on this host; wait for it' >&2; exit 75; }}
printf 'step\\t%s\\n' {says} >{lock}
( set -eu
cd /
{body}) 8>&-
code=$?
result=done
[ $code = 0 ] || result=failed
mkdir -p {folder}
printf '%s\\n' {audit} | sed "s/@AT@/$(date -u +%Y-%m-%dT%H:%M:%SZ)/; s/@RESULT@/$result/" >>{log}
od -An -N8 -tx8 /dev/urandom | tr -d ' ' >{state}/generation.new && mv {state}/generation.new {state}/generation
exit $code
"""


class Origin(NamedTuple):
    """Who runs a step, from which commit of the inventory, and the command that was typed."""

    who: str
    commit: str
    command: str


def framed(body: str, says: str, origin: Origin, kind: str, patience: int = 10) -> str:
    """Return the whole script of a step; `patience` is how many seconds it waits for an earlier step on its host."""
    event = {
        "at": "@AT@",
        "result": "@RESULT@",
        "who": origin.who,
        "commit": origin.commit,
        "command": origin.command,
        "role": kind,
        "actions": [says],
    }
    return _FRAME.format(
        lock=APPLY_LOCK,
        says=quote(says),
        patience=patience,
        body=body,
        audit=quote(json.dumps(event)),
        log=AUDIT,
        folder=AUDIT.rpartition("/")[0],
        state=STATE,
    )
