"""The calendars of a service's timers, which a host's systemd checks before anything changes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from plainstack.engine.observed import Observed
from plainstack.engine.sayings import Finding
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services.processes import timer_hosts


def facts(stack: Stack, host: Host) -> Iterator[str]:
    """Yield shell lines that print a fact for each calendar that the host's systemd does not understand."""
    for name, calendar in sorted(_calendars(stack, host).items()):
        # Exit code 1 means that the calendar is invalid; any other failure says nothing about it.
        ask = f"systemd-analyze calendar -- {shlex.quote(calendar)} >/dev/null 2>&1"
        yield f"{ask} || [ $? != 1 ] || echo {name}=invalid"


def findings(stack: Stack, host: Host, observed: Observed) -> Iterator[Finding]:
    """Yield a refusal for each timer with such a calendar."""
    for name, calendar in _calendars(stack, host).items():
        if observed.facts.get(name):
            _, service, timer = name.split(".")
            yield Finding(
                f"services.{service}.timers.{timer}.calendar: systemd does not understand {calendar!r}. Write it as in"
                " systemd.time(7), such as daily, Mon..Fri 03:00 or *:0/15"
            )


def _calendars(stack: Stack, host: Host) -> dict[str, str]:
    """Return the calendars of the timers on a host, by the names of their facts."""
    return {
        f"calendar.{service}.{name}": timer.calendar
        for service, settings in stack.services.items()
        for name, timer in settings.timers.items()
        if host in timer_hosts(stack, service, timer)
    }
