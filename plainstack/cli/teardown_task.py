"""The Invoke task that removes a stack from its hosts."""

from __future__ import annotations

from invoke.context import Context
from invoke.tasks import task

from plainstack.cli.options import JSON, NOTIFY, SELECT


@task(
    help={
        "inventory": SELECT["inventory"],
        "host": SELECT["host"],
        "data": "delete the data too, such as databases and files of services",
        "yes": "do not ask for the name of the stack (for scripts)",
        **JSON,
        **NOTIFY,
    },
)
def teardown(
    _c: Context,
    inventory: str = "hosts.yaml",
    host: str = "",
    data: bool = False,
    yes: bool = False,
    json: bool = False,
    no_notify: bool = False,
) -> None:
    """Remove everything from the hosts that Plainstack brought there: units, files, accounts, packages, firewall.

    Hosts go in the reverse order of a deploy; on each, the packet filter is the last role to go, and a change that
    would lock you out is undone. Files that Plainstack replaced come back. Data stays unless --data is given; inv
    deploy builds the hosts again, with the data that stayed.

    An interrupted teardown can be repeated: it continues from the state that it finds. See docs/teardown.md.

    Exit code: 0 done, 1 refused, or a host failed.
    """
    from plainstack.cli import teardown_command

    teardown_command.teardown(inventory, host, data=data, yes=yes, json=json, notify=not no_notify)
