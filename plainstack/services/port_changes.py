"""Changes of a port: until every balancer uses the new one, hosts also serve a process at the port that it had before.

Gunicorn and nginx, which Plainstack configures, listen at both ports. Other programs listen at one only, so the kernel
passes connections to the old port on to the new one while the process runs (files/app/.../old-ports).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from plainstack.engine.observed import Observed
from plainstack.engine.render import verbatim
from plainstack.engine.resources import Directory, Resource
from plainstack.inventory.sections import Host
from plainstack.inventory.services import StaticService
from plainstack.inventory.stack import Stack
from plainstack.services import processes
from plainstack.services.here import Here
from plainstack.services.kinds import MAIN
from plainstack.services.processes import Served, served

FORWARDER = "/usr/local/lib/plainstack/old-ports"

# Both name every port: units, where they refuse connections before they stop, and the rules of the firewall.
_FACTS = """\
cd "${{ROOT:-}}/etc/systemd/system" && grep -Hos '^ExecStop=.* --dport [0-9]*' {units} |
    sed 's/^plainstack-\\(.*\\)\\.service:.* /serves.\\1:/; s/$/=yes/'
cd "${{ROOT:-}}/etc/iptables" &&
    sed -n 's/^-A plainstack-input .* -p tcp --dport \\([0-9]*\\) .*/open.\\1=yes/p' plainstack.v4 plainstack.v6
cd /"""


def program(here: Here, running: Iterable[str]) -> Iterator[Resource]:
    """Yield the program that passes connections on, if a process of a service may need it on a host."""
    if any(forwards(here, process) for process in running):
        yield Directory(path="/usr/local/lib/plainstack")
        yield verbatim("app", FORWARDER, mode=0o755)


def forwards(here: Here, process: str) -> bool:
    """Return whether a process serves a port, and cannot be told to listen at another one, too."""
    ours = isinstance(here.service, StaticService) or processes.runs_gunicorn(here.stack, here.name)
    return bool(here.ports(process)) and not (process == MAIN and ours)


def facts(stack: Stack) -> Iterator[str]:
    """Yield the script that prints the ports at which a host serves processes now, and those that are open."""
    if names := [processes.unit(one.service, one.process) for one in served(stack)]:
        yield _FACTS.format(units=" ".join(names))


def still(stack: Stack, observed: Mapping[str, Observed]) -> dict[str, tuple[int, ...]]:
    """Return, by process, the ports at which hosts serve it now that it no longer has in the inventory."""
    found = {
        one.name: {port for host in one.hosts if host.name in observed for port in _ports(one, observed[host.name])}
        - {one.port, *(port for host in one.hosts for port in _others(stack, one, host))}
        for one in served(stack)
    }
    return {name: tuple(sorted(ports)) for name, ports in found.items() if ports}


def sentences(stack: Stack) -> Iterator[str]:
    """Yield a sentence for each process that still has an old port, for plans."""
    for one in served(stack):
        if ports := stack.still.ports.get(one.name):
            yield (
                f"{one.name} also answers at port {' and '.join(map(str, ports))} until every balancer uses"
                f" {one.port}. A second pass closes it"
            )


def taken(stack: Stack, host: Host, observed: Observed) -> Iterator[str]:
    """Yield why no other process can have a port yet at which balancers may still expect the one that had it."""
    if not stack.with_role("balancer"):
        return
    for one in served(stack):
        others = _others(stack, one, host, without=stack.held.aside) if host in one.hosts else {}
        for port in sorted(_ports(one, observed) & {*others} - {one.port}):
            yield (
                f"{others[port]} cannot have port {port} before {one.name} is deployed with port {one.port}: balancers"
                f" would send it the requests of {one.name}. Give {others[port]} this port in a later deploy. Two"
                " services swap their ports through a third one"
            )


def closed(stack: Stack, service: str, observed: Mapping[str, Observed]) -> Iterator[str]:
    """Yield why a service cannot be restarted at the ports of the inventory: hosts refuse connections to them."""
    # Without balancers, the firewall opens no port of a service at all.
    for one in served(stack) if stack.with_role("balancer") else ():
        if one.service != service:
            continue
        seen = {host.name: observed[host.name] for host in one.hosts if host.name in observed}
        shut = [name for name, each in seen.items() if _ports(one, each) and f"open.{one.port}" not in each.facts]
        if shut:
            now = sorted({port for name in shut for port in _ports(one, seen[name])})
            yield (
                f"{one.name} has port {one.port} in the inventory, which is not open on {' and '.join(shut)} yet. Write"
                f" port {' or '.join(map(str, now))}, which it has now, into the inventory, or run inv deploy first"
            )


def _ports(one: Served, observed: Observed) -> set[int]:
    """Return the ports at which a host serves a process now."""
    return {int(key[len(prefix) :]) for key in observed.facts if key.startswith(prefix := f"serves.{one.name}:")}


def _others(stack: Stack, one: Served, host: Host, without: Collection[str] = ()) -> dict[int, str]:
    """Return the ports that other processes have on a host, with their names, but not those of services `without`."""
    return {
        process.port: name
        for service, running in processes.here(stack, host)
        for each, process in running.items()
        if service not in without
        and process.port is not None
        and (name := processes.upstream(service, each)) != one.name
    }
