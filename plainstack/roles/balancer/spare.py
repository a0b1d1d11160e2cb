"""Whether another balancer could answer the requests of one that goes down."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from plainstack.engine.sayings import NO_OTHER
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.engines import ENGINES
from plainstack.services import virtual

_KEEPALIVED = "keepalived.service"


def another_balancer(stack: Stack, host: Host, units: Collection[str], absent: Collection[str]) -> Mapping[str, str]:
    """Return, for each other balancer, the script that tells whether it answers requests and can take the address.

    A balancer on which keepalived was never installed cannot tell.
    """
    if {_KEEPALIVED, *(f"{engine}.service" for engine in ENGINES)}.isdisjoint(units):
        return {}
    # Whichever engine it runs: a deploy may be replacing one by the other.
    script = f"""\
curl -fs -o /dev/null -m 2 http://127.0.0.1:{ports.PROXY_STATUS}/stub_status || {{
    echo 'its web server does not answer'
    exit {NO_OTHER}
}}
"""
    if virtual.addresses(stack):
        script = f"""\
[ "$(systemctl show -p LoadState --value {_KEEPALIVED})" = loaded ] || exit 0
systemctl is-active --quiet {_KEEPALIVED} || {{
    echo 'keepalived does not run'
    exit {NO_OTHER}
}}
{script}"""
    return {peer.name: script for peer in stack.with_role("balancer") if peer.name not in (host.name, *absent)}
