"""The Invoke tasks for looking at hosts and services, and for running commands there."""

from __future__ import annotations

from invoke.context import Context
from invoke.main import program
from invoke.tasks import task

from plainstack.cli.help import help_if_asked, name_command, name_words
from plainstack.cli.options import SELECT

_SERVICE = {"inventory": SELECT["inventory"], "service": "a service in the inventory"}


@task(
    iterable=["of"],
    help={
        "of": "a service, role or unit; the option's name may be left out: inv logs web nginx",
        "inventory": SELECT["inventory"],
        "host": SELECT["host"],
        "follow": "keep showing new lines until Ctrl-C",
        "since": "only lines since then: 90s, 15m, 1h or 2d ago, or a time in UTC: 14:30, '2026-01-31 14:30', today",
        "grep": "only lines that match this regular expression, as journalctl --grep does; lower case matches both",
        "lines": "how many of the last entries (default: 200, with --follow 20), or all",
        "json": "print one JSON document on stdout instead of text; with --follow, one document a line",
    },
)
def logs(
    _c: Context,
    of: list[str] | None = None,
    inventory: str = "hosts.yaml",
    host: str = "",
    follow: bool = False,
    since: str = "",
    grep: str = "",
    lines: str = "",
    json: bool = False,
) -> None:
    """Show the merged journals of all hosts, ordered by time; each line starts with its host's name.

    inv logs                   the units of all roles that the inventory assigns to hosts
    inv logs web               the service web, on all hosts that run it
    inv logs db --follow       the units of the role db, with new lines as they arrive
    inv logs nginx ssh         units by name, even if no role declares them
    inv logs web --since=1h --grep='timeout|refused' --host=app1

    Roles that every host has are left out unless they are named: they log every login of Plainstack itself.
    Times are in UTC, by the clock of the host that wrote the line.

    Exit code: 0, or 1 if a host failed.
    """
    from plainstack.cli import log_commands

    log_commands.logs(of or [], inventory, host, follow=follow, since=since, grep=grep, lines=lines, json=json)


@task(positional=["host"], help={"inventory": SELECT["inventory"], "host": "a host in the inventory"})
def shell(_c: Context, host: str, inventory: str = "hosts.yaml") -> None:
    """Log in to a host in the same way as all commands do: with their account, key and jump hosts, or in the lab.

    inv shell db1              a terminal of the account in ssh.user
    inv shell db1 <script.sh   commands from standard input

    Exit code: that of the shell, or 255 if the host failed.
    """
    from plainstack.cli import exec_commands

    help_if_asked(host, program, "shell")
    exec_commands.shell(inventory, host)


@task(
    name="exec",
    positional=["service"],
    help={
        **_SERVICE,
        "host": "on these hosts: app1[,app2...] (default: the first that runs the service)",
        "all": "on all hosts that run the service, one after another",
        "command": "the command as one argument; without the option's name: inv exec web -- COMMAND...",
    },
)
def exec_in(
    _c: Context, service: str, inventory: str = "hosts.yaml", host: str = "", all: bool = False, command: str = ""
) -> None:
    """Run a command in a service's environment: its account, folder, variables and current release.

    inv exec web -- manage.py migrate --plan       a Python file of the release runs with the release's Python
    inv exec web --host=app2 -- env                programs of the virtual environment are found first
    inv exec web --all -- manage.py check          on all hosts; each line has the host's name
    inv exec web -- manage.py loaddata --format=json - <data.json

    On a terminal, the command gets one too. Otherwise it reads standard input as it is. inv log shows who ran what.

    Exit code: that of the command; with several hosts, the first that is not 0. 255 if a host failed.
    """
    from plainstack.cli import exec_commands

    help_if_asked(service, program, "exec")
    exec_commands.exec_in(inventory, service, host, command, everywhere=all)


@task(
    positional=["service"],
    help={**_SERVICE, "host": "on this host (default: the first that runs the service)"},
)
def console(_c: Context, service: str, inventory: str = "hosts.yaml", host: str = "") -> None:
    """Open the console of a service on a host: Django's shell, or the Python of its release.

    inv console web
    inv console web <script.py

    Exit code: as of inv exec.
    """
    from plainstack.cli import exec_commands

    help_if_asked(service, program, "console")
    exec_commands.console(inventory, service, host)


name_words(program, logs, "of")
name_command(program, exec_in, "command")
