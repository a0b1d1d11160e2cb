"""Plainstack's Fabric tasks: `fab failover ACTION`. They parse flags, call plainstack, and print."""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from plainstack.cli.collector import relax
from plainstack.cli.help import help_if_asked
from plainstack.cli.streams import guard

relax()
guard()


@task(
    positional=["action"],
    auto_shortflags=False,
    help={
        "action": "status, switchover, promote, rejoin, degrade, resync, drill or drills",
        "inventory": "the inventory file (default: hosts.yaml)",
        "to": "switchover, promote: the db host that becomes the primary (default: the most advanced standby);"
        " promote --to also goes on without hosts that may have more writes and do not answer",
        "host": "rejoin: only this db host (default: all that need it)",
        "discard": "rejoin: give up the old data first, where the disk has no room for two copies",
        "yes": "do not ask (for scripts)",
        "json": "print one JSON document on stdout instead of text",
        "target": "drill: what to break: db, app, balancer or all",
        "fault": "drill: how: kill, stop, cut or all; also switchover, kill-behind (db), kill-keepalived (balancer)",
        "rate": "drill: requests a second in all, never more (default: 40)",
        "seconds": "drill: how long the load lasts, never longer (default: 30)",
        "max-lost": "drill: how many acknowledged writes may be lost (default: 0; any, if replication is asynchronous)",
        "max-gap": "drill: how many seconds may pass without a successful write (default: by target and fault)",
        "max-read-gap": "drill: how many seconds may pass without a successful read (default: by target and fault)",
        "max-failed-gets": "drill: how many GETs may fail (default: 0 for app and switchover, else any)",
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
    target: str = "db",
    fault: str = "kill",
    rate: str = "",
    seconds: str = "",
    max_lost: str = "",
    max_gap: str = "",
    max_read_gap: str = "",
    max_failed_gets: str = "",
) -> None:
    """Hand over, fail over and repair the PostgreSQL cluster, or practise it: fab failover ACTION

    status      who is primary, who follows and how far behind, in words too; exit code 1 unless all is well
    switchover  planned: another db host becomes the primary, nothing is lost
    promote     the primary is gone: fence it off, and make the most advanced standby the primary
    rejoin      make a host that was fenced off or has diverged a standby again
    degrade     no standby is left: let writes be acknowledged without one; resync takes it back
    resync      writes wait for a standby again
    drill       break something under load on purpose, repair it, and judge what users lost
    drills      past drills and their verdicts

    Every action can be interrupted and typed again: it goes on from what it finds.
    Exit code: 0 done, 1 refused or failed (the sentence says what is so and what to type next).
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
