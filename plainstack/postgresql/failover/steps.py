"""The script of every failover step. It runs as root on the step's host, and can be run again at any time."""

from __future__ import annotations

from shlex import join

from plainstack.inventory.stack import Stack
from plainstack.paths import FILTER
from plainstack.postgresql.backup import barman
from plainstack.postgresql.failover import rebuild
from plainstack.postgresql.failover.decisions import Do, Step
from plainstack.postgresql.failover.step_scripts import TEXTS
from plainstack.postgresql.layout import PORT
from plainstack.postgresql.sql import slot_name
from plainstack.postgresql.step_frame import Origin, framed
from plainstack.services import site, virtual
from plainstack.services.processes import served

_LONG = {Do.REWIND: 24 * 3600, Do.CLONE: 24 * 3600, Do.CLONE_OVER: 24 * 3600, Do.START: 660, Do.RESYNC: 660}


def seconds(step: Step) -> float:
    """Return the timeout of a step in seconds; steps that rewind or copy data get a day."""
    return _LONG.get(step.do, 120)


def script(stack: Stack, step: Step, who: str, commit: str, command: str) -> str:
    """Return the step's whole script, which also appends a line to the host's audit log."""
    return framed(body(stack, step), step.says, Origin(who, commit, command), "failover")


def body(stack: Stack, step: Step) -> str:
    """Return the step's own shell code, without the lock and the audit log that `script` adds."""
    if step.do is Do.FENCE:
        lines = [f"{FILTER} fence {name} {stack.hosts[name].address} {PORT}" for name in step.about]
        return "\n".join(lines) + "\n"
    if step.do is Do.UNFENCE:
        return f"{FILTER} unfence {' '.join(step.about)}\n"
    if step.do is Do.BARMAN:
        return TEXTS[step.do].replace("@STREAMING@\n", barman.await_streaming(stack))
    text = TEXTS[step.do]
    for key, value in (rebuild.GIVE_UP_OLD if step.do is Do.CLONE_OVER else rebuild.KEEP_OLD).items():
        text = text.replace(key, value)
    asked = asks_site(stack)
    known = {
        "@LEADER@": step.about[0] if step.about else "",
        "@LSN@": step.about[0] if step.about else "",
        "@SELF@": step.host,
        "@SLOT@": slot_name(step.host),
        "@DB@": ",".join(host.name for host in stack.with_role("db")),
        "@ASK@": join(asked),
        "@SHOWN@": " ".join(asked),
        "@HEALTHY@": " | ".join(served(stack)[0].health.statuses) if asked else "*",
    }
    for key, value in known.items():
        text = text.replace(key, value)
    return text


def asks_site(stack: Stack) -> list[str]:
    """Return curl's arguments to request the first service's health page as visitors do; empty if there is no site."""
    balancers, services = stack.with_role("balancer"), served(stack)
    if not balancers or not services or not stack.with_role("app"):
        return []
    # Balancers send this request: they reach each other without the public network, and one has the virtual address.
    address = virtual.entrance(stack) or balancers[0].address
    known_as = site.known_as(stack, services[0])
    return site.of_visitor(stack, services[0].health_page, str(address), known_as=known_as).curl()
