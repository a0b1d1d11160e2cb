"""How the site and its services are asked: by which name, at which address, with which headers. Decided here alone."""

from __future__ import annotations

from dataclasses import dataclass

from plainstack.inventory.sections import Host, Service
from plainstack.inventory.stack import Stack
from plainstack.services.edge import Balancer

# An answer that counts as healthy, as a pattern of sh; the blackbox exporter's own default is the same.
HEALTHY = "2??"


@dataclass(frozen=True)
class Request:
    """An HTTP request: `url` names the site, `headers` are sent with it, and the connection goes to `address`."""

    url: str
    address: str
    headers: tuple[tuple[str, str], ...] = ()

    def curl(self) -> list[str]:
        """The words that make curl send it."""
        words = [word for name, value in self.headers for word in ("-H", f"{name}: {value}")]
        # For any name or address in the URL; --resolve takes no address there.
        return [*words, *(["--connect-to", f"::{self.address}:"] if self.address else []), self.url]


def name(stack: Stack) -> str:
    """What visitors type: the first server name, or the address at which they find the balancers.

    Of a wildcard the name below it that begins with www. Without a balancer there are no visitors: localhost.
    """
    plain = [one for one in stack.settings(Balancer).server_names if not one.startswith("*.")]
    if stack.settings(Balancer).server_names:
        return plain[0] if plain else stack.settings(Balancer).server_names[0].replace("*", "www", 1)
    return entrance(stack) or "localhost"


def entrance(stack: Stack) -> str:
    """The address at which visitors find the site; empty without a balancer."""
    balancers = stack.with_role("balancer")
    if not balancers:
        return ""
    return str(stack.settings(Balancer).virtual_address or balancers[0].public or balancers[0].address)


def addresses(stack: Stack) -> tuple[tuple[str, str], ...]:
    """The site's names as the name servers of the internet would have them: (name, address) pairs."""
    balancers = stack.with_role("balancer")
    found = [stack.settings(Balancer).virtual_address] if stack.settings(Balancer).virtual_address else []
    found = found or [balancer.public or balancer.address for balancer in balancers]
    names = dict.fromkeys(one.replace("*", "www", 1) for one in stack.settings(Balancer).server_names)
    return tuple((one, str(address)) for one in names for address in found) if balancers else ()


def accepted(stack: Stack) -> list[str]:
    """The names that an application is asked by, in Django's notation (ALLOWED_HOSTS): the site's, and loopback."""
    balancers = stack.with_role("balancer")
    addresses = [
        stack.settings(Balancer).virtual_address,
        *(balancer.public or balancer.address for balancer in balancers),
    ]
    # Django writes a wildcard without its star.
    names = [one.removeprefix("*") for one in stack.settings(Balancer).server_names]
    names += [balancer.name for balancer in balancers]
    names += [str(address) for address in addresses if address]
    return list(dict.fromkeys([*names, "localhost", "127.0.0.1"]))


def health_page(service: Service) -> str:
    """The path of a service's health page, as visitors would type it."""
    return service.path.rstrip("/") + service.health


def of_service(stack: Stack, host: Host, service: Service, path: str) -> Request:
    """A request for a page of a service on one application host, with the headers that a balancer sends."""
    known_as = name(stack)
    headers = (("Host", known_as), ("X-Forwarded-Host", known_as), ("X-Forwarded-Proto", "https"))
    return Request(f"http://{host.address}:{service.port}{path}", "", headers)


def of_visitor(stack: Stack, path: str, address: str = "", scheme: str = "https") -> Request:
    """A request for a page as a visitor makes it, sent to `address`: that of a balancer, or else the site's own."""
    return Request(f"{scheme}://{name(stack)}{path}", address or entrance(stack))


def trusted_senders(stack: Stack, host: Host) -> list[str]:
    """Whose word an application on `host` takes for the scheme of a request: the balancers', and its own host's.

    The host asks for the health page in the balancers' place.
    """
    return list(dict.fromkeys(str(peer.address) for peer in (*stack.with_role("balancer"), host)))
