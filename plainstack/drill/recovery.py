"""Repair of the victim, which a first Ctrl-C does not interrupt."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from plainstack.drill.faults import Fault
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.ssh.session import Session


def heal(victim: Session, fault: Fault) -> None:
    """Start the services that did not restart by themselves. Raises HostFailed if they do not start."""
    output = victim.script(fault.heal_script(), timeout=90, step="start again")
    if output.code != 0:
        raise HostFailed(victim.host, "start again", "failed", output.err.splitlines()[-5:], output.code)


def await_service(victim: Session, fault: Fault, stack: Stack) -> None:
    """Wait until the host's service works. Raises HostFailed after 60 seconds."""
    healthy = shlex.quote(fault.healthy_script(stack, stack.hosts[victim.host]))
    wait = f"timeout 60 sh -c 'until sh -c \"$1\" >/dev/null 2>&1; do sleep 0.1; done' sh {healthy}"
    output = victim.script(wait, timeout=70, step="wait for the service")
    if output.code != 0:
        raise HostFailed(victim.host, "wait for the service", "it was not back within 60 s")


@contextmanager
def unbroken(note: Callable[[str], None]) -> Iterator[list[int]]:
    """Keep the first Ctrl-C (or SIGTERM) from ending the recovery, and tell the operator that a second one ends it.

    Yields a list, to which the signal's number is added.
    """
    kept: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        kept.append(number)
        note("the stack is being repaired; another Ctrl-C leaves it as it is now")
        signal.signal(number, signal.default_int_handler)

    before = {number: signal.signal(number, keep) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield kept
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
