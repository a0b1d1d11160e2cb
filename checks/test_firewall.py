"""The packet filter, as other hosts see it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from plainstack.engine.network import Allowed, Network
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import FILTER
from plainstack.roles.firewall.settings import Firewall

ROLE = "firewall"

# The discard port: nothing listens there, so a host without a filter would refuse the connection at once.
_NOBODYS = 9

# In bash, because every Debian host has it and it can open connections. The script prints the ports that answer, even
# if they refuse the connection. It waits for all ports that should be open, then 1.5 s for the others: Linux resends a
# lost packet after 1 s.
_KNOCK = """\
knock() {{ {{ exec 3<>/dev/tcp/{address}/$1; }} 2>/dev/null; echo $1; }}
open=
for port in {shut}; do knock $port & done
for port in {open}; do knock $port & open="$open $!"; done
[ -z "$open" ] || wait $open
sleep 1.5
kill $(jobs -pr) 2>/dev/null"""


def facts(_stack: Stack, _here: Host) -> dict[str, str]:
    """Return the shell commands of these checks; one exec runs the commands of all roles of a host."""
    return {
        "filter": "systemctl is-active plainstack-firewall; systemctl is-enabled plainstack-firewall;"
        " iptables -S | grep -- '^-P'; [ ! -e /proc/net/if_inet6 ] || ip6tables -S | grep -- '^-P';"
        f" {FILTER} check && echo intact"
    }


def test_the_filter_is_loaded_now_and_at_boot_and_drops_by_default(facts: Mapping[str, str], stack: Stack) -> None:
    seen = facts["filter"].splitlines()
    policies = ["-P INPUT DROP", "-P FORWARD DROP", "-P OUTPUT ACCEPT"]
    if stack.settings(Firewall).foreign == "keep":
        seen = [line for line in seen if not line.startswith(("-P FORWARD", "-P OUTPUT"))]
        policies = policies[:1]
    wanted = ["active", "enabled", *policies]
    assert seen[:2] == wanted[:2], (
        f"plainstack-firewall should be active and enabled, and is {' and '.join(seen[:2]) or 'unknown'}"
    )
    assert seen[-1] == "intact", "the loaded rules are not those of the deploy: inv deploy loads them again"
    loaded = [line for line in seen if line.startswith("-P")]
    assert loaded in (policies, policies * 2), (
        f"the policies of the packet filter are {', '.join(loaded) or 'unknown'} instead of {', '.join(policies)}"
    )


def test_exactly_the_ports_that_are_offered_to_a_host_are_open_to_it(
    here: Host, network: Network, peer: Callable[[str], Any]
) -> None:
    """Try from a monitoring host, and from the next host in the inventory that is not one."""
    neighbours = _neighbours(network, here)
    if not neighbours:
        pytest.skip("the stack has no other host")
    offered = list(network.allowed(here))
    ports = _ports_of(network) | {_NOBODYS}
    wanted = {one.name: {port for port in ports if _is_offered(port, one, offered)} for one in neighbours}

    def let_in(name: str) -> set[int]:
        script = knock(str(here.address), wanted[name], ports - wanted[name])
        return {int(port) for port in peer(name).run("timeout 60 bash -c %s", script).stdout.split()}

    with ThreadPoolExecutor() as pool:
        seen = dict(zip(wanted, pool.map(let_in, wanted), strict=True))
    bad = [
        f"{name} {verb} {', '.join(map(str, sorted(ports)))}"
        for name in wanted
        for verb, ports in (
            ("does not reach", wanted[name] - seen[name]),
            ("reaches, and should not,", seen[name] - wanted[name]),
        )
        if ports
    ]
    assert not bad, f"ports of {here.name}: {'; '.join(bad)}"


def knock(address: str, wanted: Iterable[int], unwanted: Iterable[int]) -> str:
    """Return a bash script that prints which of these ports answer at an address."""
    open_, shut = (" ".join(map(str, sorted(ports))) for ports in (wanted, unwanted))
    return _KNOCK.format(address=address, open=open_, shut=shut)


def _neighbours(network: Network, here: Host) -> list[Host]:
    hosts = list(network.stack.hosts.values())
    place = hosts.index(here)
    others = hosts[place + 1 :] + hosts[:place]
    scrapers = network.users("base.metrics")
    monitoring = [host for host in others if host in scrapers]
    rest = [host for host in others if host not in scrapers]
    return monitoring[:1] + rest[:1]


def _ports_of(network: Network) -> set[int]:
    """Return every TCP port that any role offers on any host."""
    return {
        opening.port
        for host in network.stack.hosts.values()
        for role in network.roles.values()
        for opening in role.opens(network.stack, host)
        if opening.protocol == "tcp"
    }


def _is_offered(port: int, to: Host, openings: Iterable[Allowed]) -> bool:
    return any(
        opening.protocol == "tcp"
        and opening.port == port
        and (opening.sources is None or any(ip_address(to.address) in ip_network(source) for source in opening.sources))
        for opening in openings
    )
