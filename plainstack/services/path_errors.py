"""Errors in URL paths that the balancers could not serve: reserved ones, and health pages that others answer."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.inventory.route_parts import Route
from plainstack.inventory.stack import Stack
from plainstack.services import routing
from plainstack.services.edge import Balancer
from plainstack.services.processes import Served
from plainstack.wording import Loc, dotted

Problem = tuple[Loc, str]

# The balancers' own pages.
_RESERVED = "/plainstack-"


def reserved(loc: Loc, path: str) -> Iterator[Problem]:
    """Yield an error if a path is one of the balancers' own."""
    if path.startswith(_RESERVED):
        yield loc, f"{dotted(loc)}: paths that begin with {_RESERVED} are reserved; choose another path"


def of_route(place: Loc, route: Route) -> Iterator[Problem]:
    """Yield an error if `strip` has nothing to remove."""
    if route.strip and route.path == "/":
        loc = (*place, "strip")
        yield loc, f"{dotted(loc)}: the path of the route is /, so there is nothing to remove. Remove this key"


def of_health_pages(stack: Stack) -> Iterator[Problem]:
    """Yield an error for each health page that would be answered by another service, a redirect, or a file."""
    balancer = stack.settings(Balancer)
    found: dict[str, Served] = {}
    for site in routing.sites(stack):
        pages = {one.service.health_page: one.service for one in site.healths}
        found |= pages
        for one in site.healths:
            other = pages[one.service.health_page]
            if other.name != one.service.name:
                loc = _place(stack, one.service)
                shown = f"{one.service.health_page} is also the health page of {_called(other)}"
                yield loc, f"{dotted(loc)}: {shown}. Choose another path for one of the two"
        moved = {one.path for one in site.moved}
        for number, redirect in enumerate(balancer.redirects):
            if redirect.path in pages and redirect.path in moved:
                yield from _taken(("balancer", "redirects", number), redirect.path, pages[redirect.path])
    for url in balancer.files:
        if url in found:
            yield from _taken(("balancer", "files", url), url, found[url])
        yield from reserved(("balancer", "files", url), url)
    for page, service in found.items():
        yield from reserved(_place(stack, service), page)


def _taken(loc: Loc, path: str, service: Served) -> Iterator[Problem]:
    yield (
        loc,
        f"{dotted(loc)}: {path} is the health page of {_called(service)}, which monitoring and deploys request. Choose"
        " another path",
    )


def _called(service: Served) -> str:
    return f"services.{service.service}" + (f".processes.{service.process}" if service.name != service.service else "")


def _place(stack: Stack, service: Served) -> Loc:
    """Return the place of the health page in the inventory."""
    settings = stack.services[service.service]
    if service.process in settings.processes and settings.processes[service.process].health is not None:
        return ("services", service.service, "processes", service.process, "health")
    return ("services", service.service, *(("health",) if hasattr(settings, "health") else ()))
