"""The Invoke tasks for the releases of services."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from plainstack.cli.options import JSON, NOTIFY, OUTAGE, SELECT

_SERVICE = "a service in the inventory"


@task(help={"inventory": SELECT["inventory"], "service": f"{_SERVICE} (default: all)", **JSON})
def releases(_c: Context, inventory: str = "hosts.yaml", service: str = "", json: bool = False) -> None:
    """Show which releases of the services the hosts run and keep, since when, and what can be rolled back to.

    Exit code: 0 all hosts answered, 1 otherwise.
    """
    from plainstack.cli import release_commands

    release_commands.releases(inventory, service, json=json)


@task(
    help={
        "inventory": SELECT["inventory"],
        "service": f"{_SERVICE}; may be left out if there is only one",
        "to": "the release to go back to, or the beginning of its id (default: the one that ran before)",
        **JSON,
        **OUTAGE,
        **NOTIFY,
    }
)
def rollback(
    _c: Context,
    inventory: str = "hosts.yaml",
    service: str = "",
    to: str = "",
    json: bool = False,
    no_notify: bool = False,
    accept_outage: bool = False,
) -> None:
    """Return a service to a release that its hosts keep, one host after another, each checked before the next.

    Only this service changes; nothing is built or sent. Migrations are not undone. The service then stays at that
    release until its source changes, or until inv deploy --again; meanwhile, inv deploy deploys everything else.

    Exit code: 0 all hosts run the release, 1 a host failed or the rollback was refused.
    """
    from plainstack.cli import release_commands

    release_commands.rollback(inventory, service, to, json=json, notify=not no_notify, accept_outage=accept_outage)
