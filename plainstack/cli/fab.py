"""Plainstack's Fabric tasks: `fab failover ACTION`. They parse options, call plainstack, and print."""

from __future__ import annotations

import sys

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from plainstack.cli.collector import relax
from plainstack.cli.help import help_if_asked
from plainstack.cli.streams import guard
from plainstack.cli.usage import explain_errors

relax()
guard()
# Nothing else than `fab` itself should wait for Fabric's import.
if "fabric.main" in sys.modules:
    explain_errors(sys.modules["fabric.main"].program, "fab")


@task(
    positional=["action"],
    auto_shortflags=False,
    help={
        "action": "status, switchover, promote, rejoin, degrade, resync, drill or drills",
        "inventory": "the inventory file (default: hosts.yaml)",
        "to": "switchover, promote: the db host that becomes the primary (default: the most advanced replica); promote"
        " --to also proceeds if hosts that may have more writes do not answer",
        "host": "rejoin: only this db host (default: all that need it)",
        "discard": "rejoin: delete the old data first, if the disk has no room for two copies",
        "yes": "do not ask for confirmation (for scripts)",
        "json": "print one JSON document on stdout instead of text",
        "no-notify": "send no notification; see the key notify of the inventory",
        "target": "drill: what to break: db, app, balancer, cache or all",
        "fault": "drill: how: kill, stop, cut or all; also sick (app: answers 500 until its watchdog restarts it),"
        " switchover, kill-behind (db), kill-keepalived (balancer)",
        "rate": "drill: the maximum number of requests per second, in total (default: 40)",
        "seconds": "drill: the maximum duration of the load (default: 30, or what the fault needs)",
        "max-lost": "drill: how many acknowledged writes may be lost (default: 0; cache, and with asynchronous"
        " replication: any)",
        "max-gap": "drill: how many seconds may pass without a successful write (default: by target and fault)",
        "max-read-gap": "drill: how many seconds may pass without a successful read (default: by target and fault)",
        "max-failed-gets": "drill: how many GETs may fail (default: 0 for app, cache and switchover, otherwise any);"
        " with sick, only after the watchdog's time",
    },
)
def failover(
    _c: Context,
    action: str,
    inventory: str = "hosts.yaml",
    to: str = "",
    host: str = "",
    discard: bool = False,
    yes: bool = False,
    json: bool = False,
    no_notify: bool = False,
    target: str = "db",
    fault: str = "kill",
    rate: str = "",
    seconds: str = "",
    max_lost: str = "",
    max_gap: str = "",
    max_read_gap: str = "",
    max_failed_gets: str = "",
) -> None:
    """Switch over, fail over and repair the PostgreSQL cluster, or rehearse it: fab failover ACTION

    status      show the primary, the replicas and their lag, and explain problems; exit code 1 if there are any
    switchover  planned: make another db host the primary, without losing writes
    promote     the primary is gone: fence it off, and make the most advanced replica the primary
    rejoin      turn a host that was fenced off or has diverged into a replica again
    degrade     no replica is left: acknowledge writes without one, until resync
    resync      make writes wait for a replica again
    drill       inject a fault under load, repair it, and compare what users lost with the budgets
    drills      list past drills and their verdicts

    An interrupted action can be repeated: it continues from the state that it finds.
    Exit code: 0 done, 1 refused or failed (the message says why and what to type next).
    """
    from fabric.main import program

    from plainstack.cli import failover_commands

    help_if_asked(action, program, "failover")
    failover_commands.run(
        action,
        inventory,
        to=to,
        host=host,
        discard=discard,
        yes=yes,
        json=json,
        notify=not no_notify,
        target=target,
        fault=fault,
        rate=rate,
        seconds=seconds,
        max_lost=max_lost,
        max_gap=max_gap,
        max_read_gap=max_read_gap,
        max_failed_gets=max_failed_gets,
    )


namespace = Collection(failover)
