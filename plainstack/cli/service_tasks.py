"""The Invoke tasks that act on services: restart, stop, start, maintenance."""

from __future__ import annotations

from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli.help import help_if_asked
from plainstack.cli.options import JSON, NOTIFY, OUTAGE, SELECT

_SERVICE = {
    "inventory": SELECT["inventory"],
    "service": "a service in the inventory",
    "process": "only this process of the service",
    "host": SELECT["host"],
}


@task(positional=["service"], help={**_SERVICE, **OUTAGE, **JSON, **NOTIFY})
def restart(
    _c: Context,
    service: str,
    inventory: str = "hosts.yaml",
    process: str = "",
    host: str = "",
    json: bool = False,
    no_notify: bool = False,
    accept_outage: bool = False,
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
    service_commands.restart(
        inventory, service, process, host, json=json, notify=not no_notify, accept_outage=accept_outage
    )


_PART = {**_SERVICE, "process": "only this process or timer of the service"}


@task(positional=["service"], help={**_PART, **OUTAGE, **JSON, **NOTIFY})
def stop(
    _c: Context,
    service: str,
    inventory: str = "hosts.yaml",
    process: str = "",
    host: str = "",
    json: bool = False,
    no_notify: bool = False,
    accept_outage: bool = False,
) -> None:
    """Stop the processes and timers of a service until `inv start`; a deploy and a reboot do not start them.

    inv stop web                             all processes and timers of web
    inv stop web --process=worker            one of them
    inv stop web --host=app2

    A deploy of a stopped service updates its files and its release. inv plan, status and verify say who stopped what.

    Exit code: 0, or 1 if a host failed.
    """
    from plainstack.cli import stop_commands

    help_if_asked(service, program, "stop")
    stop_commands.stop(inventory, service, process, host, json=json, notify=not no_notify, accept_outage=accept_outage)


@task(positional=["service"], help={**_PART, **JSON, **NOTIFY})
def start(
    _c: Context,
    service: str,
    inventory: str = "hosts.yaml",
    process: str = "",
    host: str = "",
    json: bool = False,
    no_notify: bool = False,
) -> None:
    """Start what `inv stop` has stopped, one host after another, and wait until each is healthy.

    inv start web
    inv start web --process=worker --host=app2

    Exit code: 0, or 1 if a host failed.
    """
    from plainstack.cli import stop_commands

    help_if_asked(service, program, "start")
    stop_commands.start(inventory, service, process, host, json=json, notify=not no_notify)


@task(
    positional=["action"],
    help={
        "inventory": SELECT["inventory"],
        "action": "on, off or status",
        "service": "only this service (default: all that visitors reach)",
        "message": "one line for visitors to read",
        **JSON,
        **NOTIFY,
    },
)
def maintenance(
    _c: Context,
    action: str,
    inventory: str = "hosts.yaml",
    service: str = "",
    message: str = "",
    json: bool = False,
    no_notify: bool = False,
) -> None:
    """Close services to visitors, who get a page with status 503 and Retry-After, or open them again.

    inv maintenance on --message='We are back at 14:00 UTC.'
    inv maintenance off
    inv maintenance status                 which balancer has closed what, since when

    It takes effect at once on all balancers, without a reload, and lasts until it is switched off. Health pages, and
    the addresses in balancer.maintenance.allow, are let through.

    Exit code: 0, or 1 if a balancer failed or the balancers differ.
    """
    from plainstack.cli import maintenance_command

    help_if_asked(action, program, "maintenance")
    maintenance_command.maintenance(inventory, action, service, message, json=json, notify=not no_notify)
