"""The packet filter, from where it matters: other hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from plainstack.roles import Opening, registry
from plainstack.roles.firewall import PROGRAM, openings_of
from plainstack.stack import Host, Stack

ROLE = "firewall"

# The port for discarding: nothing listens there, so a host without a filter would refuse it at once.
_NOBODYS = 9

# bash, because it is on every Debian host and can connect; 124 is timeout's word for silence.
_CONNECT = """\
wait_for() {{ timeout $2 bash -c "exec 3<>/dev/tcp/{address}/$1" 2>/dev/null; echo "$1 $?"; }}
for port in {open}; do wait_for $port 10 & done
for port in {shut}; do wait_for $port 1.5 & done
wait"""


def test_the_filter_is_loaded_now_and_at_boot_and_drops_by_default(host: Any, stack: Stack) -> None:
    seen = host.run(
        "systemctl is-active plainstack-firewall; systemctl is-enabled plainstack-firewall;"
        " iptables -S | grep -- '^-P'; [ ! -e /proc/net/if_inet6 ] || ip6tables -S | grep -- '^-P';"
        f" {PROGRAM} check && echo intact"
    ).stdout.splitlines()
    policies = ["-P INPUT DROP", "-P FORWARD DROP", "-P OUTPUT ACCEPT"]
    if stack.firewall.foreign == "keep":
        seen = [line for line in seen if not line.startswith(("-P FORWARD", "-P OUTPUT"))]
        policies = policies[:1]
    assert seen in [["active", "enabled", *policies * versions, "intact"] for versions in (1, 2)]


def test_exactly_what_is_offered_to_a_host_is_open_to_it(here: Host, stack: Stack, peer: Callable[[str], Any]) -> None:
    """Tried from a monitoring host, and from the next host of the inventory that is none."""
    neighbours = _neighbours(stack, here)
    if not neighbours:
        pytest.skip("the stack has no other host")
    offered = list(openings_of(stack, here))
    ports = _ports_of(stack) | {_NOBODYS}
    for neighbour in neighbours:
        wanted = {port for port in ports if _is_offered(port, neighbour, offered)}
        # What is open answers at once, or late when the machine is busy; silence is awaited only where it is wanted.
        script = _CONNECT.format(
            open=" ".join(map(str, sorted(wanted))),
            shut=" ".join(map(str, sorted(ports - wanted))),
            address=here.address,
        )
        answers = dict(line.split() for line in peer(neighbour.name).check_output("sh -c %s", script).splitlines())
        let_in = {int(port) for port, status in answers.items() if status != "124"}
        assert let_in == wanted, neighbour.name


def _neighbours(stack: Stack, here: Host) -> list[Host]:
    hosts = list(stack.hosts.values())
    place = hosts.index(here)
    others = hosts[place + 1 :] + hosts[:place]
    monitoring = [host for host in others if "monitoring" in host.roles]
    rest = [host for host in others if "monitoring" not in host.roles]
    return monitoring[:1] + rest[:1]


def _ports_of(stack: Stack) -> set[int]:
    """Every TCP port that any role offers on any host."""
    return {
        opening.port
        for host in stack.hosts.values()
        for role in registry().values()
        for opening in role.opens(stack, host)
        if opening.protocol == "tcp"
    }


def _is_offered(port: int, to: Host, openings: Iterable[Opening]) -> bool:
    return any(
        opening.protocol == "tcp"
        and opening.port == port
        and (opening.sources is None or any(ip_address(to.address) in ip_network(source) for source in opening.sources))
        for opening in openings
    )
