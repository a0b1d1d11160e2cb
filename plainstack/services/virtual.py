"""The virtual addresses of a site: which of them move together, and which balancer should hold each and does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest

from plainstack.addresses import Address
from plainstack.dataclass import dataclass
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services.edge import Balancer

_FACT = "vip"
Answers = Mapping[str, Mapping[str, str] | None]


@dataclass(frozen=True, slots=True)
class Group:
    """Virtual addresses that move together: an IPv4 address, an IPv6 address, or one of each, the IPv4 address first.

    `number` counts the groups from zero.
    """

    number: int
    addresses: tuple[Address, ...]

    @property
    def version(self) -> int:
        """The IP version over which the balancers agree which of them holds the addresses."""
        return self.addresses[0].version

    def order(self, balancers: list[Host]) -> list[Host]:
        """Return the balancers in the order in which they should hold the addresses: the first one that works does."""
        first = self.number % len(balancers)
        return [*balancers[first:], *balancers[:first]]


def addresses(stack: Stack) -> tuple[Address, ...]:
    """Return the virtual addresses, in the order of the inventory."""
    return stack.settings(Balancer).virtual_addresses


def entrance(stack: Stack) -> Address | None:
    """Return the virtual address that commands and checks use as the site's: the first one; None without any."""
    return next(iter(addresses(stack)), None)


def groups(stack: Stack) -> tuple[Group, ...]:
    """Return the groups: the first address of each IP version, then the second of each, and so on."""
    four, six = ([one for one in addresses(stack) if one.version == version] for version in (4, 6))
    pairs = enumerate(zip_longest(four, six))
    return tuple(Group(number, tuple(one for one in pair if one)) for number, pair in pairs)


def probe(stack: Stack) -> str:
    """Return shell code that prints which virtual addresses the host holds; empty without any."""
    if not addresses(stack):
        return ""
    known = " ".join(map(str, addresses(stack)))
    return (
        "held=\n"
        f"for address in {known}; do\n"
        '    [ -z "$(ip -o address show to "$address")" ] || held="$held $address"\n'
        "done\n"
        f'echo "{_FACT}=${{held# }}"'
    )


def held(facts: Mapping[str, str]) -> list[str]:
    """Return the virtual addresses that a host holds, from the facts that `probe` prints."""
    return facts.get(_FACT, "").split()


def known(facts: Mapping[str, str] | None) -> bool:
    """Return whether a host has answered `probe`."""
    return facts is not None and _FACT in facts


def holders(answers: Answers, address: Address) -> list[str]:
    """Return the hosts that hold a virtual address, from the facts of all hosts."""
    return [name for name, facts in answers.items() if facts is not None and str(address) in held(facts)]


def not_held_once(stack: Stack, answers: Answers) -> Iterable[str]:
    """Yield a sentence for each virtual address that none or several of these hosts hold."""
    for address in addresses(stack):
        if (count := len(holders(answers, address))) != 1:
            yield f"{count} hosts hold the virtual address {address}"
