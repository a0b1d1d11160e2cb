"""The lab's network: a namespace with bridges. The plans compare the existing interfaces with the wanted ones."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.lab import links as quality
from plainstack.lab.model import PRIVATE_BRIDGE, PUBLIC_BRIDGE, Lab, LabHost, branched
from plainstack.ssh import netns
from plainstack.ssh.netns import LabError

_NEW_BRIDGE = "type bridge forward_delay 0 mcast_snooping 0"
# Bridges of branches, and one end of each branch's link; removing one end removes the other.
_OF_BRANCH = re.compile(rf"({PRIVATE_BRIDGE}|{PUBLIC_BRIDGE})-[hs][0-9]+(-in)?")


@dataclass(frozen=True)
class Link:
    """A network interface in the namespace."""

    up: bool
    master: str | None
    addresses: tuple[str, ...] = ()


def ensure(lab: Lab) -> None:
    """Create the namespace and its bridges, or repair them."""
    if not netns.is_up(lab.namespace):
        # A name without a namespace is left over from before a reboot.
        Path("/run/netns", lab.namespace).unlink(missing_ok=True)
        _run(["ip", "netns", "add", lab.namespace])
        netns.inside(lab.namespace, _forbid_forwarding)
    links = observe(lab)
    change(lab, [*plan_bridges(lab, links), *plan_branches(lab, links)])
    if lab.branches:
        _run(["tc", "-n", lab.namespace, "-batch", "-"], "\n".join(quality.plan(lab)) + "\n")


def remove(namespace: str) -> None:
    """Remove the namespace with everything in it."""
    if netns.is_up(namespace):
        _run(["ip", "netns", "delete", namespace])
    Path("/run/netns", namespace).unlink(missing_ok=True)


def observe(lab: Lab) -> dict[str, Link]:
    """Return the namespace's interfaces."""
    return parse(_run(["ip", "-n", lab.namespace, "-json", "address", "show"]))


def parse(text: str) -> dict[str, Link]:
    """Parse the JSON output of `ip address show`."""
    return {
        link["ifname"]: Link(
            up="UP" in link["flags"],
            master=link.get("master"),
            addresses=tuple(
                f"{info['local']}/{info['prefixlen']}" for info in link["addr_info"] if info.get("scope") != "link"
            ),
        )
        for link in json.loads(text)
        if "ifname" in link
    }


def plan_bridges(lab: Lab, links: dict[str, Link]) -> list[str]:
    """Return the ip commands that create, address and bring up the bridges of the lab's networks, where necessary."""
    commands = [] if "lo" in links and links["lo"].up else ["link set lo up"]
    for bridge, own in ((PRIVATE_BRIDGE, (lab.private,)), (PUBLIC_BRIDGE, lab.public)):
        if not own:
            continue
        link = links.get(bridge, Link(up=False, master=None))
        if bridge not in links:
            commands.append(f"link add {bridge} {_NEW_BRIDGE}")
        wanted = [str(address) for address in own]
        commands += [f"address delete {old} dev {bridge}" for old in link.addresses if old not in wanted]
        # Without nodad, an IPv6 address cannot be used in its first second.
        commands += [
            f"address add {address} dev {bridge}{' nodad' if ':' in address else ''}"
            for address in wanted
            if address not in link.addresses
        ]
        if not link.up:
            commands.append(f"link set {bridge} up")
    return commands


def plan_branches(lab: Lab, links: Mapping[str, Link]) -> list[str]:
    """Return the ip commands that create missing bridges and links of branches, and remove those without a branch."""
    nowhere = Link(up=False, master=None)
    wanted: set[str] = set()
    commands = []
    for branch in lab.branches:
        for network in lab.networks:
            bridge, trunk = branch.bridge(network), branch.trunk(network)
            wanted |= {bridge, *trunk}
            if bridge not in links:
                commands.append(f"link add {bridge} {_NEW_BRIDGE}")
            if not links.get(bridge, nowhere).up:
                commands.append(f"link set {bridge} up")
            if trunk[0] not in links:
                commands.append(f"link add {trunk[0]} type veth peer name {trunk[1]}")
            for end, master in zip(trunk, (bridge, branched(network, branch.parent)), strict=True):
                seen = links.get(end, nowhere)
                if seen.master != master or not seen.up:
                    commands.append(f"link set {end} master {master} up")
    # Change only the bridge of a cable: an unplugged cable stays unplugged.
    commands += [
        f"link set {cable.end} master {cable.bridge}"
        for host in lab.hosts
        for cable in host.cables
        if cable.end in links and links[cable.end].master != cable.bridge
    ]
    return commands + [f"link delete {name}" for name in links if _OF_BRANCH.fullmatch(name) and name not in wanted]


def plan_cables(host: LabHost, links: dict[str, Link]) -> list[str]:
    """Return the ip commands that plug a host's cables into their bridges."""
    return [
        f"link set {cable.end} master {cable.bridge} up"
        for cable in host.cables
        if cable.end in links and (links[cable.end].master != cable.bridge or not links[cable.end].up)
    ]


def cut(host: LabHost, links: Mapping[str, Link]) -> bool:
    """Return whether a cable of the host is unplugged."""
    return any(cable.end in links and not links[cable.end].up for cable in host.cables)


def switch(lab: Lab, host: LabHost, state: str) -> None:
    """Set the cables of a host up or down."""
    links = observe(lab)
    change(lab, [f"link set {cable.end} {state}" for cable in host.cables if cable.end in links])


def unplug(lab: Lab, host: LabHost) -> None:
    """Remove a host's cables."""
    links = observe(lab)
    for cable in host.cables:
        if cable.end in links:
            # A host that has just died removes its cables itself.
            with contextlib.suppress(LabError):
                change(lab, [f"link delete {cable.end}"])


def change(lab: Lab, commands: list[str]) -> None:
    """Run ip commands in the namespace."""
    if commands:
        _run(["ip", "-n", lab.namespace, "-batch", "-"], "\n".join(commands) + "\n")


def _forbid_forwarding() -> None:
    # A new namespace inherits this machine's setting, and Docker turns forwarding on.
    for place in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        switch = Path("/proc/sys/net", place)
        if switch.exists():
            switch.write_text("0")


def _run(command: list[str], text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or text}")
    return done.stdout
