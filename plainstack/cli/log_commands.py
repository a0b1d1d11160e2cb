"""The command behind `inv logs`."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.command import document, load, reporting, roles_of
from plainstack.cli.console import Console
from plainstack.cli.streams import reader_gone
from plainstack.deploy.journal import Entry, Query, parse_last
from plainstack.errors import HostFailed, Refused
from plainstack.inventory.listed import listed
from plainstack.wording import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plainstack.engine.role import Role
    from plainstack.inventory.stack import Stack
    from plainstack.ssh.connections import Sessions

_LINES, _LINES_BEFORE = 200, 20
_COLOURS = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
_SEVERE, _WARNING = 3, 4


def logs(
    names: Sequence[str], inventory: str, host: str, *, follow: bool, since: str, grep: str, lines: str, json: bool
) -> None:
    """Run `inv logs`."""
    console = Console(json=json)
    with reporting(console, json=json, shows=True):
        from plainstack.deploy.log_merge import merged
        from plainstack.deploy.since import since as parsed
        from plainstack.ssh.connections import Sessions

        wanted = _count(lines, _LINES_BEFORE if follow else _LINES)
        begin = parsed(since, datetime.now(UTC)) if since else ""
        stack = load(inventory)
        names = [name for word in names for name in listed(word, "--of")]
        with Sessions(stack) as sessions:
            units, failed = _units(stack, sessions, names, host)
            queries = {name: Query(some, begin, grep) for name, some in units.items()}
            seen, unseen = _last(sessions, queries, wanted)
            if follow:
                # Following retries unreachable hosts, so only hosts where journalctl failed are left out.
                unseen = {name: error for name, error in unseen.items() if error.code is not None}
                queries = {name: query for name, query in queries.items() if name not in unseen}
            failed += unseen.values()
            for error in failed:
                console.error(str(error))
            entries = merged([found for _, found in seen.values()])
            shown = entries[-wanted:] if wanted else entries
            if json and not follow:
                document({"entries": [entry.as_data() for entry in shown], "failed": [str(error) for error in failed]})
            elif queries:
                printer = _Printer(list(stack.hosts), list(queries), console, json=json, follow=follow)
                for entry in shown:
                    printer.entry(entry)
                if follow:
                    _follow(sessions, queries, {name: cursor for name, (cursor, _) in seen.items()}, printer, console)
                elif seen:
                    _say_how_to_see_more(console, len(shown), len(entries), list(seen), since)
    if failed:
        raise Exit(code=1)


def _last(
    sessions: Sessions, queries: Mapping[str, Query], wanted: int | None
) -> tuple[dict[str, tuple[str, list[Entry]]], dict[str, HostFailed]]:
    """Return the cursor and the last entries of each host, and the error of each host that failed.

    An error has an exit code only if the host answered and journalctl failed.
    """
    from plainstack.ssh.connections import fan_out

    def last(name: str) -> tuple[str, list[Entry]]:
        # One more entry than wanted is requested, to see whether there are more.
        output = sessions.to(name).script(queries[name].last(wanted and wanted + 1), timeout=300, step="logs")
        if output.code != 0 and output.err.strip():
            raise HostFailed(name, "logs", output.err.strip().splitlines()[-1], code=output.code)
        return parse_last(name, output.out, searched=bool(queries[name].grep))

    answers = fan_out(queries, last)
    failed = {name: answer for name, answer in answers.items() if isinstance(answer, HostFailed)}
    return {name: answer for name, answer in answers.items() if not isinstance(answer, HostFailed)}, failed


def _count(lines: str, default: int) -> int | None:
    """Return how many entries to show, or None for all. Raises Refused if `lines` is not a number."""
    if lines == "all":
        return None
    if lines and not (lines.isascii() and lines.isdigit() and 0 < int(lines) < 10_000_000):
        raise Refused(f"--lines={lines}: write how many of the last entries to show, such as 1000, or all")
    return int(lines) if lines else default


def _units(
    stack: Stack, sessions: Sessions, names: Sequence[str], host: str
) -> tuple[dict[str, tuple[str, ...]], list[HostFailed]]:
    """Return the units that the names mean, by host, and the errors of hosts that do not answer. Raises Refused."""
    from plainstack.deploy import log_units
    from plainstack.engine.role import hosts_of
    from plainstack.inventory.load import select
    from plainstack.services import running
    from plainstack.ssh.connections import fan_out

    roles: Mapping[str, Role] = roles_of(stack)
    services = running.all_units(stack)
    _, hosts = select(stack, (), "", host)
    for name in names:
        if name in stack.hosts and name not in services and name not in roles:
            raise Refused(f"{name} is a host: inv logs --host={name}")
    having = {name: set(services.get(name, ())) for name in names}
    for name in set(names) & set(roles):
        having[name] |= {one.name for one in hosts_of(stack, roles[name])}
    unknown = [name for name in names if name not in services and name not in roles]
    asked = [one for one in hosts if unknown or not names or any(one in some for some in having.values())]
    if not asked:
        where = ", ".join(dict.fromkeys(one for name in names for one in stack.hosts if one in having[name]))
        raise Refused(f"no chosen host has {one_of(names)}" + (f"; these have: {where}" if where else ""))
    failed: list[HostFailed] = []
    if names and all(name in services and name not in roles for name in names):
        # The inventory alone names the units, so a host that is down now can be followed once it is back.
        found = {name: log_units.Units() for name in asked}
    else:
        script = log_units.script(everything=bool(unknown))
        answers = fan_out(asked, lambda name: log_units.parse(sessions.to(name).script(script, step="logs").out))
        failed = [answer for answer in answers.values() if isinstance(answer, HostFailed)]
        found = {name: answer for name, answer in answers.items() if not isinstance(answer, HostFailed)}
        if not found:
            raise Refused("\n".join(map(str, failed)))
    by_default = [role.name for role in roles.values() if not role.everywhere]
    units = log_units.choose(names, found, services, roles, by_default)
    if not units:
        raise Refused(f"no unit of {one_of(names) or 'any role'} is on {', '.join(found)} yet: inv deploy")
    return units, failed


def _follow(
    sessions: Sessions, queries: Mapping[str, Query], cursors: Mapping[str, str], printer: _Printer, console: Console
) -> None:
    from plainstack.deploy.log_follow import Follower

    try:
        Follower(sessions, queries, cursors, printer.entry, console.error).run(reader_gone)
    except KeyboardInterrupt:
        return


def _say_how_to_see_more(console: Console, shown: int, found: int, hosts: Sequence[str], since: str) -> None:
    if not found:
        console.error(f"nothing was logged on {', '.join(hosts)}" + (f" since {since}" if since else ""))
    elif shown < found:
        console.error(f"these are the last {shown}; for more: --lines={shown * 10} or --lines=all")


class _Printer:
    """Prints entries, each line after its host's name; on a terminal, names have colours and errors are red."""

    def __init__(
        self, all_hosts: Sequence[str], hosts: Sequence[str], console: Console, *, json: bool, follow: bool
    ) -> None:
        self._json, self._flush, self._console = json, follow, console
        self._width = max(map(len, hosts))
        colours = {name: _COLOURS[place % len(_COLOURS)] for place, name in enumerate(all_hosts)}
        self._colours = colours if console.live and not json else {}

    def entry(self, entry: Entry) -> None:
        """Print one entry."""
        if self._json:
            text = json_module.dumps(entry.as_data())
        else:
            text = "\n".join(self._line(entry, line) for line in entry.lines())
        sys.stdout.write(f"{text}\n")
        if self._flush:
            sys.stdout.flush()

    def _line(self, entry: Entry, line: str) -> str:
        name = f"{entry.host:<{self._width}}"
        if not self._colours:
            return f"{name}  {line}"
        severity = "31" if entry.priority <= _SEVERE else "33" if entry.priority == _WARNING else ""
        coloured = f"\x1b[{severity}m{line}\x1b[0m" if severity else line
        return f"\x1b[{self._colours[entry.host]}m{name}\x1b[0m  {coloured}"
