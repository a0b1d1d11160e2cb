"""What a lab is: its hosts, their addresses, and the names and folders that follow from them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from plainstack.ssh.netns import LabError

PRIVATE_BRIDGE = "private"
PUBLIC_BRIDGE = "public"
APT_PORT = 3142
DISKS = Path("/var/lib/plainstack-lab")
LAYERS = DISKS / ".layers"
SNAPSHOTS = DISKS / ".snapshots"
RUN = Path("/run/plainstack-lab")
CACHE = Path("/var/cache/plainstack-lab")
_PREFIX = "plainstack-"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True)
class Cable:
    """A cable: its end at a bridge, the bridge, and the interface that the host has of it."""

    end: str
    bridge: str
    name: str
    hardware: str


@dataclass(frozen=True)
class Branch:
    """A part of the network behind a link of its own: a site, or one host. `parent` is the key of the site it is in.

    `rate` is in bits a second, `delay` one way in milliseconds, `loss` in percent.
    """

    key: str
    name: str
    rate: int | None = None
    delay: int | None = None
    loss: float | None = None
    parent: str = ""

    def bridge(self, network: str) -> str:
        """Name its bridge on a network."""
        return branched(network, self.key)

    def trunk(self, network: str) -> tuple[str, str]:
        """Name the ends of its link: the one at its own bridge, and the one at the bridge that it leads to."""
        return f"{self.bridge(network)}-in", f"{self.bridge(network)}-up"


@dataclass(frozen=True)
class LabHost:
    """One host: its name, its private address and, where it has one, its public address.

    `room` is how many bytes it can write, when its disk is of limited size; `release` is Debian's. `branch` is the key
    of the innermost one that it is in. `names` are (name, address) pairs that it finds in its /etc/hosts.
    """

    name: str
    address: str
    public: str | None = None
    room: int | None = None
    release: int = 13
    ipv6: bool = True
    branch: str = ""
    names: tuple[tuple[str, str], ...] = ()

    @property
    def cables(self) -> tuple[Cable, ...]:
        """The host's cables."""
        private = _cable(self.address, PRIVATE_BRIDGE, "host0", self.branch)
        if not self.public:
            return (private,)
        return private, _cable(self.public, PUBLIC_BRIDGE, "public0", self.branch)


@dataclass(frozen=True)
class Lab:
    """A set of hosts on this machine; `state` is the operator's folder of keys and SSH settings.

    `branches` are in an order in which each comes after its parent. `user` is who logs in: root, or an account that
    may do everything with sudo, as a cloud's images have one.
    """

    name: str
    hosts: tuple[LabHost, ...]
    state: Path
    user: str = "root"
    user_keys: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()

    def __post_init__(self) -> None:
        problems = [*_name_problems(self), *_address_problems(self)]
        if problems:
            raise LabError("\n".join(problems))

    @property
    def namespace(self) -> str:
        """The network namespace that holds the lab's bridges."""
        return namespace(self.name)

    @cached_property
    def private(self) -> IPv4Interface:
        """The namespace's own address on the private network."""
        return _gateway(self.hosts[0].address)

    @cached_property
    def public(self) -> IPv4Interface | None:
        """The namespace's own address on the public network, if a host has a public address."""
        return next((_gateway(host.public) for host in self.hosts if host.public), None)

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of its networks' bridges."""
        return (PRIVATE_BRIDGE, PUBLIC_BRIDGE) if self.public else (PRIVATE_BRIDGE,)

    @property
    def disks(self) -> Path:
        """The folder of the hosts' disks."""
        return disks(self.name)

    @property
    def run(self) -> Path:
        """The folder of what lives as long as the lab is up."""
        return run(self.name)

    def host(self, name: str) -> LabHost:
        """Find a host by its name."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise LabError(f"the lab has no host {name}; it has {known}")


def check_name(name: str, kind: str) -> None:
    """Raise LabError unless the name can be that of a lab, a host or a snapshot."""
    if not _NAME.fullmatch(name):
        raise LabError(f"{name!r} is not a name for {kind}: lower case letters, digits and '-', at most 30 characters")


def namespace(lab: str) -> str:
    """Name the network namespace of a lab."""
    return f"{_PREFIX}{lab}"


def disks(lab: str) -> Path:
    """Name the folder of a lab's disks."""
    return DISKS / lab


def run(lab: str) -> Path:
    """Name the folder of what a lab has only while it is up."""
    return RUN / lab


def labs(groups: Path, netns: Path = Path("/run/netns")) -> list[str]:
    """List the labs of this machine by what any of them has: disks, control groups, a namespace, a folder in /run."""
    folders = [path for place in (DISKS, RUN, groups) if place.is_dir() for path in place.iterdir() if path.is_dir()]
    names = {path.name for path in folders} | {path.name.removeprefix(_PREFIX) for path in netns.glob(f"{_PREFIX}*")}
    return sorted(name for name in names if _NAME.fullmatch(name))


def branched(network: str, branch: str) -> str:
    """Name the bridge of a branch on a network; the network's own without a branch."""
    return f"{network}-{branch}" if branch else network


def _cable(address: str, network: str, name: str, branch: str) -> Cable:
    octets = [int(octet) for octet in address.split(".")]
    # The same address in every life of a host: its neighbours remember it.
    hardware = ":".join(f"{octet:02x}" for octet in (0x02, 0, *octets))
    return Cable(f"{network}-{octets[-1]}", branched(network, branch), name, hardware)


def _gateway(address: str) -> IPv4Interface:
    network = IPv4Network(f"{address}/24", strict=False)
    return IPv4Interface(f"{network.network_address + 1}/24")


def _name_problems(lab: Lab) -> list[str]:
    names = Counter(host.name for host in lab.hosts)
    bad = [f"{name!r} is not a name for a lab or its host" for name in (lab.name, *names) if not _NAME.fullmatch(name)]
    return bad + [f"the lab has more than one host {name}" for name, count in names.items() if count > 1]


def _address_problems(lab: Lab) -> list[str]:
    if not lab.hosts:
        return ["a lab needs at least one host"]
    private = [(host.name, host.address) for host in lab.hosts]
    public = [(host.name, host.public) for host in lab.hosts if host.public]
    try:
        problems = [*_network_problems("private", private), *_network_problems("public", public)]
        if not problems and public and _gateway(public[0][1]) == _gateway(private[0][1]):
            problems = [f"public and private addresses must be in different /24s, not both in {lab.private.network}"]
    except ValueError as error:
        return [f"the lab cannot use an address: {error}"]
    return problems


def _network_problems(kind: str, addresses: list[tuple[str, str]]) -> list[str]:
    if not addresses:
        return []
    gateway = _gateway(addresses[0][1])
    problems = []
    seen: dict[str, str] = {}
    for name, address in addresses:
        if _gateway(address) != gateway:
            problems.append(f"{name}: the {kind} address {address} is not in {gateway.network} as the others are")
        elif IPv4Interface(address) == IPv4Interface(gateway.ip):
            problems.append(f"{name}: the lab itself owns {address}; give the host another one")
        elif address.endswith((".0", ".255")):
            problems.append(f"{name}: {address} is not an address for a host")
        elif address in seen:
            problems.append(f"{name}: {seen[address]} has the address {address} too")
        seen[address] = name
    return problems
