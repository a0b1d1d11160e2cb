"""The script of every failover step. It runs as root on the step's host, and can be run again at any time."""

from __future__ import annotations

import json
from shlex import join, quote

from plainstack.engine.paths import STATE
from plainstack.inventory.stack import Stack
from plainstack.paths import AUDIT, FILTER
from plainstack.postgresql.failover import rebuild
from plainstack.postgresql.failover.decisions import Do, Step
from plainstack.postgresql.failover.step_scripts import TEXTS
from plainstack.postgresql.layout import PORT
from plainstack.postgresql.sql import slot_name
from plainstack.services import site
from plainstack.services.edge import Balancer
from plainstack.services.processes import served

RECEIVER = "barman_receive_wal"

# Run one step at a time on a host, even if the operator's connection broke and the command was started again.
_FRAME = """\
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
exec 8>/run/plainstack-apply.lock
flock -w 10 8 || {{ echo 'an earlier run still works on this host; wait for it' >&2; exit 75; }}
( set -eu
cd /
{body}) 8>&-
code=$?
result=done
[ $code = 0 ] || result=failed
mkdir -p {folder}
echo {audit} | sed "s/@AT@/$(date -u +%Y-%m-%dT%H:%M:%SZ)/; s/@RESULT@/$result/" >>{log}
od -An -N8 -tx8 /dev/urandom | tr -d ' ' >{state}/generation.new && mv {state}/generation.new {state}/generation
exit $code
"""

_LONG = {Do.REWIND: 24 * 3600, Do.CLONE: 24 * 3600, Do.CLONE_OVER: 24 * 3600, Do.START: 660, Do.RESYNC: 660}


def seconds(step: Step) -> float:
    """Return the timeout of a step in seconds; steps that rewind or copy data get a day."""
    return _LONG.get(step.do, 120)


def script(stack: Stack, step: Step, who: str, commit: str, command: str) -> str:
    """Return the step's whole script, which also appends a line to the host's audit log."""
    event = {
        "at": "@AT@",
        "result": "@RESULT@",
        "who": who,
        "commit": commit,
        "command": command,
        "role": "failover",
        "actions": [step.says],
    }
    return _FRAME.format(
        body=body(stack, step),
        audit=quote(json.dumps(event)),
        log=AUDIT,
        folder=AUDIT.rpartition("/")[0],
        state=STATE,
    )


def body(stack: Stack, step: Step) -> str:
    """Return the step's own shell code, without the lock and the audit log that `script` adds."""
    if step.do is Do.FENCE:
        lines = [f"{FILTER} fence {name} {stack.hosts[name].address} {PORT}" for name in step.about]
        return "\n".join(lines) + "\n"
    if step.do is Do.UNFENCE:
        return f"{FILTER} unfence {' '.join(step.about)}\n"
    text = TEXTS[step.do]
    for key, value in (rebuild.GIVE_UP_OLD if step.do is Do.CLONE_OVER else rebuild.KEEP_OLD).items():
        text = text.replace(key, value)
    asked = asks_site(stack)
    known = {
        "@LEADER@": step.about[0] if step.about else "",
        "@LSN@": step.about[0] if step.about else "",
        "@SELF@": step.host,
        "@SLOT@": slot_name(step.host),
        "@DB@": ",".join(host.name for host in stack.with_role("db")),
        "@ASK@": join(asked),
        "@SHOWN@": " ".join(asked),
        "@HEALTHY@": " | ".join(served(stack)[0].health.statuses) if asked else "*",
    }
    for key, value in known.items():
        text = text.replace(key, value)
    return text


def asks_site(stack: Stack) -> list[str]:
    """Return curl's arguments to request the first service's health page as visitors do; empty if there is no site."""
    balancers, services = stack.with_role("balancer"), served(stack)
    if not balancers or not services or not stack.with_role("app"):
        return []
    # Balancers send this request: they reach each other without the public network, and one has the virtual address.
    address = stack.settings(Balancer).virtual_address or balancers[0].address
    return site.of_visitor(stack, services[0].health_page, str(address)).curl()
