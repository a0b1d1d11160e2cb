"""keepalived, which moves the virtual addresses between the balancers, and what a host must have for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from plainstack.addresses import Address
from plainstack.dataclass import dataclass
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Package, Resource, Unit, Validation
from plainstack.engine.role import Answers, Finding, Opening, Status
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import virtual
from plainstack.services.edge import Balancer

_CONFIGURATION = "/etc/keepalived/keepalived.conf"
_ARGUMENTS = "/etc/default/keepalived"


@dataclass(frozen=True, slots=True)
class Instance:
    """A VRRP instance of one balancer (RFC 5798): it speaks one IP version, and moves addresses of both.

    `own` are the addresses of the version that it speaks, `others` those of the other one. `source` and `peers` are
    the balancers' public addresses of that version.
    """

    name: str
    router_id: int
    priority: int
    own: tuple[Address, ...]
    others: tuple[Address, ...]
    source: Address
    peers: tuple[Address, ...]


def instances(stack: Stack, host: Host) -> tuple[Instance, ...]:
    """Return the VRRP instances of a balancer: one for each group of virtual addresses."""
    balancers, first = stack.with_role("balancer"), stack.settings(Balancer).router_id
    return tuple(
        Instance(
            "site" if group.number == 0 else f"site-{group.number + 1}",
            first + group.number,
            150 - [one.name for one in group.order(balancers)].index(host.name),
            tuple(one for one in group.addresses if one.version == group.version),
            tuple(one for one in group.addresses if one.version != group.version),
            _public(host, group.version),
            tuple(_public(peer, group.version) for peer in balancers if peer.name != host.name),
        )
        for group in virtual.groups(stack)
    )


def _public(host: Host, version: int) -> Address:
    found = host.public if version == 4 else host.public6
    assert found is not None, "the inventory refuses balancers without it"
    return found


def resources(stack: Stack, host: Host) -> Iterator[Resource]:
    """Yield the resources of keepalived; none without a virtual address."""
    if not virtual.addresses(stack):
        return
    interface, key = _interface(stack, host)
    wanted = instances(stack, host)
    yield Package(name="keepalived")
    yield verbatim("balancer", _ARGUMENTS)
    yield verbatim("balancer", "/etc/keepalived/check-proxy", mode=0o755)
    yield template("balancer", "/etc/keepalived/vip-owner", mode=0o755, host=host, instances=wanted)
    yield template("balancer", _CONFIGURATION, host=host, interface=interface, instances=wanted)
    yield Validation(
        name="balancer interface",
        run=f"""\
            [ -e /sys/class/net/{interface} ] || {{
                echo "{key}: {host.name} has no {interface}; it has" $(ls /sys/class/net) >&2
                exit 1
            }}""",
        reads=(_CONFIGURATION,),
    )
    yield Validation(
        name="keepalived configuration",
        # Exit status 5 means that there are warnings but keepalived would run.
        run=f"keepalived -t -f {_CONFIGURATION} || [ $? = 5 ]",
        reads=("/etc/keepalived/",),
    )
    yield verbatim("balancer", "/etc/systemd/system/keepalived.service.d/10-plainstack.conf")
    yield Unit(name="keepalived.service", reload_on=(_CONFIGURATION,), restart_on=(_ARGUMENTS,))


def openings(stack: Stack) -> Iterator[Opening]:
    """Yield VRRP between the balancers."""
    if virtual.addresses(stack):
        yield Opening("vrrp", 0, "vrrp", "vrrp: the other balancers", public=True)


def probe(stack: Stack, host: Host) -> str:
    """Return shell code that prints the virtual addresses held here, and the interfaces; empty without such addresses.

    `no_ipv6` lists the interfaces that cannot have an IPv6 address.
    """
    if not virtual.addresses(stack):
        return ""
    interface, _ = _interface(stack, host)
    off = f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"
    return (
        f'\n{virtual.probe(stack)}\necho "interfaces=$(echo $(ls /sys/class/net))"\n'
        f"if ! [ -e /proc/net/if_inet6 ] || grep -qsx 1 {off}; then echo no_ipv6={interface}; fi"
    )


def findings(stack: Stack, host: Host, facts: Mapping[str, str]) -> Iterator[Finding]:
    """Report an interface that does not exist, or that cannot have the IPv6 addresses of the site."""
    if not virtual.addresses(stack):
        return
    interface, key = _interface(stack, host)
    there = facts.get("interfaces", "").split()
    if there and interface not in there:
        yield Finding(f"{key}: there is no interface {interface}; there are: {', '.join(there)}")
    six = [str(one) for one in virtual.addresses(stack) if one.version == 6]
    if six and facts.get("no_ipv6") == interface:
        yield Finding(
            f"balancer.virtual_address: IPv6 is off for {interface}, so it cannot have {six[0]}. Turn it on:"
            f" sysctl -w net.ipv6.conf.{interface}.disable_ipv6=0, and remove what turns it off at boot"
        )


def status(stack: Stack, facts: Answers) -> Status:
    """Return which balancer holds which virtual address.

    It is a problem if none or several of them hold one, which is known only if all of them answered.
    """
    known = {name: seen for name, seen in facts.items() if seen is not None and virtual.known(seen)}
    one = len(virtual.addresses(stack)) == 1
    cells = {name: _cell(virtual.held(seen), one=one) for name, seen in known.items()}
    balancers = [host.name for host in stack.with_role("balancer")]
    if not balancers or any(facts.get(name) is None for name in balancers):
        return Status(cells, [], [])
    return Status(cells, [(balancers[0], sentence) for sentence in virtual.not_held_once(stack, known)], [])


def _cell(held: list[str], *, one: bool) -> str:
    if not held:
        return "-"
    return "holds it" if one else f"holds {' '.join(held)}"


def _interface(stack: Stack, host: Host) -> tuple[str, str]:
    """Return the interface of a balancer's public addresses, and the key of the inventory that names it."""
    if host.interface:
        return host.interface, f"hosts.{host.name}.interface"
    return stack.settings(Balancer).interface, "balancer.interface"
