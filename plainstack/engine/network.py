"""The connections between roles: the offers of a host's roles, and the hosts whose roles use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from plainstack.dataclass import dataclass
from plainstack.engine.references import Reference
from plainstack.engine.role import Opening, Protocol, Role, hosts_of, of_host
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Allowed:
    """A port of a host, and the addresses and networks it is open to; `sources` is None if it is open to all."""

    port: int
    protocol: Protocol
    sources: tuple[str, ...] | None
    why: str


@dataclass(frozen=True)
class Network:
    """The offers of a stack's roles and the roles that use them; available before any role renders."""

    stack: Stack
    roles: Mapping[str, Role]
    _kept: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def once(self, key: str, compute: Callable[[], Result]) -> Result:
        """Return what `compute` returned first for this key: a value that is the same for all hosts, and slow to get.

        So a source that changes during a deploy is still the same for all hosts.
        """
        if key not in self._kept:
            self._kept[key] = compute()
        found: Result = self._kept[key]
        return found

    def references(self) -> dict[str, Reference]:
        """Return the references that services can use, by name."""
        return {name: one for role in self.roles.values() for name, one in role.provides.items()}

    def users(self, offer: str) -> list[Host]:
        """Return the hosts that use the offer `ROLE.OFFER`, in inventory order."""
        names = {host.name for role in self._using(offer) for host in hosts_of(self.stack, role)}
        return [host for name, host in self.stack.hosts.items() if name in names]

    def allowed(self, host: Host) -> Iterator[Allowed]:
        """Yield the open ports of a host, with one item for each role that uses an offer, in role order."""
        for role in of_host(host, self.roles):
            for opening in role.opens(self.stack, host):
                if opening.sources is None or opening.sources:
                    yield Allowed(opening.port, opening.protocol, opening.sources, opening.why)
                if opening.sources is not None:
                    yield from self._to_users(role, opening, host)

    def _to_users(self, role: Role, opening: Opening, host: Host) -> Iterator[Allowed]:
        for user in self._using(f"{role.name}.{opening.offer}"):
            peers = [one for one in hosts_of(self.stack, user) if user.name != role.name or one.name != host.name]
            sources = tuple(
                str(address)
                for one in peers
                for address in ((one.public, one.public6) if opening.public else (one.address,))
                if address
            )
            yield Allowed(opening.port, opening.protocol, sources, opening.why.format(user=user.name))

    def _using(self, offer: str) -> list[Role]:
        owner, _, name = offer.partition(".")
        given = self.roles[owner].offers_to.get(name, ()) if owner in self.roles else ()
        return [
            role
            for role in self.roles.values()
            if role.name in given or any(fnmatchcase(offer, pattern) for pattern in role.uses)
        ]
