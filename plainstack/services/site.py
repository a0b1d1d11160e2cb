"""How requests reach the site and its services: names, addresses and headers. Only this module decides them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from plainstack.addresses import bracketed, endpoint
from plainstack.dataclass import dataclass
from plainstack.engine.references import Reference
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import routing, virtual
from plainstack.services.edge import Balancer
from plainstack.services.processes import Served, processes, served
from plainstack.services.routing import Site


@dataclass(frozen=True)
class Request:
    """An HTTP request: `url` contains the site's name, `headers` go with it; the connection goes to `address`."""

    url: str
    address: str
    headers: tuple[tuple[str, str], ...] = ()

    def curl(self) -> list[str]:
        """Return the curl arguments that send the request."""
        words = [word for name, value in self.headers for word in ("-H", f"{name}: {value}")]
        # `--connect-to` applies to any name or address in the URL; `--resolve` does not work for an address.
        return [*words, *(["--connect-to", f"::{bracketed(self.address)}:"] if self.address else []), self.url]


def name(stack: Stack) -> str:
    """Return the name in visitors' URLs: the first server name, or without one the address of the balancers.

    Names that are redirected are passed over, and wildcards, if there is another one; `routing.stand_in` says what
    replaces a wildcard. Without a balancer it is localhost.
    """
    return _name(stack, routing.sites(stack))


def known_as(stack: Stack, service: Served) -> str:
    """Return a name under which the first path of a process is served, preferably the site's own."""
    sites = routing.sites(stack)
    usual = _name(stack, sites)
    found = [each for each in sites if any(one.service.name == service.name for one in each.healths)]
    names = [one for each in found for one in each.names]
    if not names or routing.site_of(sites, usual) in found:
        return usual
    return routing.stand_in(stack, min(names, key=lambda one: one.startswith("*.")))


def health_host(stack: Stack, service: str, process: str) -> str:
    """Return the Host with which the health page of a process is requested."""
    one = next((one for one in served(stack) if (one.service, one.process) == (service, process)), None)
    page = processes(stack, service)[process].check
    return (page and page.host) or (known_as(stack, one) if one else name(stack))


def entrance(stack: Stack) -> str:
    """Return the address at which visitors reach the site; empty without a balancer."""
    balancers = stack.with_role("balancer")
    if not balancers:
        return ""
    return str(virtual.entrance(stack) or balancers[0].public_addresses[0])


def addresses(stack: Stack) -> tuple[tuple[str, str], ...]:
    """Return the site's public DNS records: (name, address) pairs."""
    balancers = stack.with_role("balancer")
    found = virtual.addresses(stack) or [one for balancer in balancers for one in balancer.public_addresses]
    names = dict.fromkeys(routing.stand_in(stack, one) for one in routing.names(stack))
    return tuple((one, str(address)) for one in names for address in found) if balancers else ()


def accepted(stack: Stack) -> list[str]:
    """Return the host names that an application must accept, in the notation of Django's ALLOWED_HOSTS.

    They include loopback.
    """
    balancers = stack.with_role("balancer")
    own = [one for balancer in balancers for one in balancer.public_addresses]
    # Django writes a wildcard without its asterisk.
    names = [one.removeprefix("*") for one in stack.settings(Balancer).server_names]
    names += [balancer.name for balancer in balancers]
    names += [bracketed(address) for address in (*virtual.addresses(stack), *own)]
    return list(dict.fromkeys([*names, "localhost", "127.0.0.1"]))


def of_service(stack: Stack, host: Host, port: int, path: str, known_as: str | None = None) -> Request:
    """Return a request for a page of the process at a port of one host, with the headers that a balancer sends.

    `known_as` is the Host of the request, by default the site's name.
    """
    known_as = known_as or name(stack)
    headers = (("Host", known_as), ("X-Forwarded-Host", known_as), ("X-Forwarded-Proto", "https"))
    return Request(f"http://{endpoint(host.address, port)}{path}", "", headers)


def of_visitor(stack: Stack, path: str, address: str = "", scheme: str = "https", known_as: str = "") -> Request:
    """Return a visitor's request for a page, sent to `address` (a balancer's), by default to the site's own.

    `known_as` is the name in the URL, by default the site's.
    """
    return Request(f"{scheme}://{known_as or name(stack)}{path}", address or entrance(stack))


def trusted_senders(stack: Stack, host: Host) -> list[str]:
    """Return the addresses whose X-Forwarded-Proto an application on `host` trusts: the balancers' and the host's own.

    The host itself also requests the health page, as a balancer does.
    """
    return list(dict.fromkeys(str(peer.address) for peer in (*stack.with_role("balancer"), host)))


def _name(stack: Stack, sites: Sequence[Site]) -> str:
    given = stack.settings(Balancer).server_names
    away = {one: each.away for each in sites for one in each.names}
    found = min(routing.names(stack), key=lambda one: (away[one], one not in given, one.startswith("*.")), default=None)
    return routing.stand_in(stack, found) if found else bracketed(entrance(stack)) or "localhost"


REFERENCES: Mapping[str, Reference] = {
    "site.name": Reference("the name in visitors' URLs", lambda stack, _host, _vault: name(stack)),
    "site.url": Reference("the site's URL without a path", lambda stack, _host, _vault: f"https://{name(stack)}"),
    "site.names": Reference(
        "every name and address that requests may have as their Host, separated by commas (Django's ALLOWED_HOSTS)",
        lambda stack, _host, _vault: ",".join(accepted(stack)),
    ),
}
"""The references to the site that services can use."""
