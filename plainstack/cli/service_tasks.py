"""The Invoke tasks that restart services."""

from __future__ import annotations

from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli.help import help_if_asked
from plainstack.cli.options import JSON, SELECT

_SERVICE = {
    "inventory": SELECT["inventory"],
    "service": "a service of the inventory",
    "process": "only this process of the service",
    "host": SELECT["host"],
}


@task(positional=["service"], help={**_SERVICE, **JSON})
def restart(
    _c: Context, service: str, inventory: str = "hosts.yaml", process: str = "", host: str = "", json: bool = False
) -> None:
    """Restart the processes of a service, one host after another, as a deploy does.

    The next host is restarted when the one before is healthy and the balancers use it again. If a host does not become
    healthy, the hosts after it are left alone.

    inv restart web                          all processes of web
    inv restart web --process=worker         one of them
    inv restart web --host=app2

    Exit code: 0, or 1 if a host failed or was left out.
    """
    from plainstack.cli import service_commands

    help_if_asked(service, program, "restart")
    service_commands.restart(inventory, service, process, host, json=json)
