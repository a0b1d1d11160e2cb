"""The model of a lab: its hosts, their addresses, and the names and folders derived from them."""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.lab import addressing
from plainstack.lab.addressing import Gateway
from plainstack.ssh import lab_owner
from plainstack.ssh.netns import LabError

DISKS = lab_owner.DISKS
PRIVATE_BRIDGE = "private"
PUBLIC_BRIDGE = "public"
APT_PORT = 3142
LAYERS = DISKS / ".layers"
SNAPSHOTS = DISKS / ".snapshots"
RUN = Path("/run/plainstack-lab")
CACHE = Path("/var/cache/plainstack-lab")
_PREFIX = "plainstack-"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True)
class Cable:
    """A cable: its end at a bridge, the bridge, and the host's interface at the other end."""

    end: str
    bridge: str
    name: str
    hardware: str


@dataclass(frozen=True)
class Branch:
    """A part of the network behind a link of its own: a site, or one host. `parent` is the key of the site around it.

    `rate` is in bits a second, `delay` one way in milliseconds, `loss` in percent.
    """

    key: str
    name: str
    rate: int | None = None
    delay: int | None = None
    loss: float | None = None
    parent: str = ""

    def bridge(self, network: str) -> str:
        """Return the name of the branch's bridge on a network."""
        return branched(network, self.key)

    def trunk(self, network: str) -> tuple[str, str]:
        """Return the two ends of the branch's link: at its own bridge, and at the bridge of its parent."""
        return f"{self.bridge(network)}-in", f"{self.bridge(network)}-up"


@dataclass(frozen=True)
class LabHost:
    """A host: its name, its private address and, if it has them, its public addresses, IPv4 and IPv6.

    `room` is how many bytes it can write, if its disk has a limit; `release` is its Debian release. `branch` is the key
    of the innermost branch that contains it. `names` are (name, address) pairs for its /etc/hosts. `resolver` is the
    address of the DNS server that it asks, if any.
    """

    name: str
    address: str
    public: str | None = None
    public6: str | None = None
    room: int | None = None
    release: int = 13
    ipv6: bool = True
    branch: str = ""
    names: tuple[tuple[str, str], ...] = ()
    resolver: str | None = None

    @property
    def cables(self) -> tuple[Cable, ...]:
        """The host's cables."""
        private = _cable(self.address, PRIVATE_BRIDGE, "host0", self.branch)
        if not self.public_addresses:
            return (private,)
        return private, _cable(self.public_addresses[0], PUBLIC_BRIDGE, "public0", self.branch)

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """The host's addresses on the public network."""
        return tuple(one for one in (self.public, self.public6) if one)


@dataclass(frozen=True)
class Lab:
    """A set of hosts on this machine; `state` is the operator's folder of keys and SSH settings.

    In `branches`, each branch comes after its parent. `user` is the account to log in as: root, or an account that may
    run everything with sudo, as in cloud images. New hosts already have the Debian packages `packages`.
    """

    name: str
    hosts: tuple[LabHost, ...]
    state: Path
    user: str = "root"
    user_keys: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        problems = [*_name_problems(self), *_address_problems(self)]
        if problems:
            raise LabError("\n".join(problems))

    @property
    def namespace(self) -> str:
        """The network namespace that holds the lab's bridges."""
        return namespace(self.name)

    @cached_property
    def private(self) -> Gateway:
        """The namespace's own address on the private network."""
        return addressing.gateway(self.hosts[0].address)

    @cached_property
    def public(self) -> tuple[Gateway, ...]:
        """The namespace's own addresses on the public network: one of each IP version that a host has there."""
        return addressing.gateways(address for host in self.hosts for address in host.public_addresses)

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the lab's networks, which are also those of their bridges."""
        return (PRIVATE_BRIDGE, PUBLIC_BRIDGE) if self.public else (PRIVATE_BRIDGE,)

    @property
    def disks(self) -> Path:
        """The folder of the hosts' disks."""
        return disks(self.name)

    @property
    def run(self) -> Path:
        """The folder of files that exist only while the lab is up."""
        return run(self.name)

    def host(self, name: str) -> LabHost:
        """Return a host by name. Raises LabError if there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts)
        raise LabError(f"the lab has no host {name!r}. Its hosts: {known}")


def check_name(name: str, kind: str) -> None:
    """Raise LabError unless the name is valid for a lab, a host or a snapshot."""
    if not valid_name(name):
        raise LabError(
            f"{name!r} is not a valid name for {kind}: 1 to 30 lower case letters, digits and '-', with no '-' at"
            " either end"
        )


def valid_name(name: str) -> bool:
    """Return whether a lab, a host or a snapshot may have this name."""
    return _NAME.fullmatch(name) is not None


def namespace(lab: str) -> str:
    """Return the network namespace of a lab."""
    return f"{_PREFIX}{lab}"


def disks(lab: str) -> Path:
    """Return the folder of a lab's disks."""
    return DISKS / lab


def gone(lab: str) -> Path:
    """Return where the folder of a lab's disks is while it is being removed."""
    return DISKS / f".{lab}.gone"


def run(lab: str) -> Path:
    """Return the folder of files that exist only while a lab is up."""
    return RUN / lab


def labs(groups: Path, netns: Path = Path("/run/netns")) -> list[str]:
    """Return the names of this machine's labs: all that have disks, also half removed ones, control groups, a namespace
    or a folder in /run.
    """
    folders = [path for place in (DISKS, RUN, groups) if place.is_dir() for path in place.iterdir() if path.is_dir()]
    names = {path.name for path in folders} | {path.name[1:-5] for path in DISKS.glob(".*.gone")}
    names |= {path.name.removeprefix(_PREFIX) for path in netns.glob(f"{_PREFIX}*")}
    return sorted(name for name in names if _NAME.fullmatch(name))


def branched(network: str, branch: str) -> str:
    """Return the name of a branch's bridge on a network; without a branch, the name of the network's own bridge."""
    return f"{network}-{branch}" if branch else network


def _cable(address: str, network: str, name: str, branch: str) -> Cable:
    end = f"{network}-{addressing.suffix(address)}"
    return Cable(end, branched(network, branch), name, addressing.hardware(address))


def _name_problems(lab: Lab) -> list[str]:
    names = Counter(host.name for host in lab.hosts)
    bad = [
        f"{name!r} is not a valid name for a lab or a host" for name in (lab.name, *names) if not _NAME.fullmatch(name)
    ]
    return bad + [f"the lab has more than one host {name}" for name, count in names.items() if count > 1]


def _address_problems(lab: Lab) -> list[str]:
    if not lab.hosts:
        return ["a lab needs at least one host"]
    private = [(host.name, host.address) for host in lab.hosts]
    public = [(host.name, host.public) for host in lab.hosts if host.public]
    public6 = [(host.name, host.public6) for host in lab.hosts if host.public6]
    try:
        named = (("private", private), ("public", public), ("public IPv6", public6))
        problems = [problem for kind, addresses in named for problem in addressing.problems(kind, addresses)]
        if not problems and lab.private in lab.public:
            size = "/24s" if lab.private.version == 4 else "/64s"
            problems = [f"public and private addresses must be in different {size}, not both in {lab.private.network}"]
    except ValueError as error:
        return [f"the lab cannot use an address: {error}"]
    return problems
