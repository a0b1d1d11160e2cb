"""The commands behind `inv shell`, `inv exec` and `inv console`."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from plainstack.cli.command import load, reporting
from plainstack.cli.console import Console
from plainstack.cli.selection import must_be_known
from plainstack.errors import HostFailed, Refused
from plainstack.inventory.listed import listed

if TYPE_CHECKING:
    from plainstack.inventory.stack import Stack
    from plainstack.ssh.attach import Streams
    from plainstack.ssh.connections import Sessions

# The exit code if a host or its connection failed, as with ssh.
FAILED = 255
# The exit code if the reader of our output is gone: the one that a shell reports for a program ended by SIGPIPE.
READER_GONE = 128 + 13


def shell(inventory: str, host: str) -> None:
    """Run `inv shell`."""
    console = Console()
    with reporting(console):
        from plainstack.ssh.attach import attach
        from plainstack.ssh.connections import Sessions

        stack = load(inventory)
        must_be_known("host", host, list(stack.hosts))
        with Sessions(stack) as sessions:
            code = _or_failed(console, lambda: attach(sessions.to(host), "", _own_streams()))
    raise Exit(code=code)


def console(inventory: str, service: str, host: str) -> None:
    """Run `inv console`."""
    with reporting(Console()):
        from plainstack.services import kinds

        stack = load(inventory)
        must_be_known("service", service, list(stack.services))
        command = kinds.of(stack.services[service]).console
    exec_in(inventory, service, host, shlex.join(command), everywhere=False)


def exec_in(inventory: str, service: str, host: str, command: str, *, everywhere: bool) -> None:
    """Run `inv exec`."""
    console = Console()
    with reporting(console):
        from plainstack.ssh.connections import Sessions

        words = _words(service, command)
        stack = load(inventory)
        hosts = _hosts(stack, service, host, everywhere=everywhere)
        with Sessions(stack) as sessions:
            if len(hosts) == 1:
                code = _or_failed(console, lambda: _run(stack, sessions, service, hosts[0], words, _own_streams()))
            else:
                code = _on_all(stack, sessions, service, hosts, words, console)
    raise Exit(code=code)


def _words(service: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise Refused(f"--command: {error}") from None
    if not words:
        raise Refused(f"which command? inv exec {service} -- COMMAND, such as: inv exec {service} -- env")
    return words


def _hosts(stack: Stack, service: str, host: str, *, everywhere: bool) -> list[str]:
    """Return the hosts to run a command on. Raises Refused if one of them does not run the service."""
    from plainstack.services import running

    must_be_known("service", service, list(stack.services))
    having = [one.name for one in running.hosts(stack, service)]
    chosen = listed(host, "--host")
    if chosen and everywhere:
        raise Refused("name the hosts with --host, or take all with --all")
    for name in chosen:
        must_be_known("host", name, list(stack.hosts))
        if name not in having:
            raise Refused(f"{name} does not run {service}; these do: {', '.join(having)}")
    if not having:
        raise Refused(f"no host runs {service}")
    return chosen or (having if everywhere else having[:1])


def _or_failed(console: Console, run: Callable[[], int]) -> int:
    """Return the exit code of `run`; FAILED, after a message, if the host failed; READER_GONE if the reader is gone."""
    try:
        return run()
    except BrokenPipeError:
        return READER_GONE
    except HostFailed as error:
        console.error(str(error))
        return FAILED


def _run(stack: Stack, sessions: Sessions, service: str, host: str, words: Sequence[str], streams: Streams) -> int:
    """Run a command on one host, which records the command first, and return its exit code."""
    from plainstack.deploy import audit, operator
    from plainstack.services import environment, running
    from plainstack.ssh.attach import attach

    session = sessions.to(host)
    unit = running.units(stack, service, stack.hosts[host])[0]
    answer = session.script(environment.script(service, unit), step="look at the service").out
    found = environment.parse(host, service, unit, answer)
    who, line = operator.who(), shlex.join(words)
    typed = shlex.join(["inv", *sys.argv[1:]])
    record = audit.started(who, operator.commit(stack), typed, f"exec {service}", [line])
    recorded = session.script(record, step="record the command")
    if recorded.code != 0:
        raise HostFailed(host, "record the command", "failed", recorded.err.splitlines()[-5:], recorded.code)
    scope = f"plainstack-exec-{secrets.token_hex(4)}.scope"

    def interrupt() -> None:
        session.script(f"systemctl kill --signal=INT {scope}", step="interrupt")

    return attach(session, found.command(words, scope, f"inv exec {service} by {who}"), streams, interrupt)


def _own_streams() -> Streams:
    """Return the streams of this process."""
    from plainstack.ssh.attach import Streams

    sys.stdout.flush()
    out, err = sys.stdout.fileno(), sys.stderr.fileno()
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return Streams(sys.stdin.fileno(), lambda data: _write(out, data), lambda data: _write(err, data), terminal)


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _on_all(
    stack: Stack, sessions: Sessions, service: str, hosts: Sequence[str], words: Sequence[str], console: Console
) -> int:
    """Run a command on one host after another, without input, and return the first exit code that is not 0."""
    from plainstack.ssh.attach import Streams

    codes = []
    with Path(os.devnull).open("rb") as nothing:
        for host in hosts:
            out, err = _Prefixed(f"{host}: ", sys.stdout.fileno()), _Prefixed(f"{host}: ", sys.stderr.fileno())
            streams = Streams(nothing.fileno(), out.write, err.write)
            run = partial(_run, stack, sessions, service, host, words, streams)
            codes.append(_or_failed(console, run))
            out.end()
            err.end()
            if codes[-1] not in (0, FAILED):
                console.error(f"{host}: exit code {codes[-1]}")
    return next((code for code in codes if code), 0)


class _Prefixed:
    """Writes output in whole lines, each after a prefix."""

    def __init__(self, prefix: str, file: int) -> None:
        self._prefix, self._file = prefix.encode(), file
        self._begun = b""

    def write(self, data: bytes) -> None:
        """Write the lines that `data` completes."""
        *lines, self._begun = (self._begun + data).split(b"\n")
        _write(self._file, b"".join(self._prefix + line + b"\n" for line in lines))

    def end(self) -> None:
        """Write an incomplete last line as a line of its own."""
        if self._begun:
            self.write(b"\n")
