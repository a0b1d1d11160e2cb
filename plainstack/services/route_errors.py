"""Errors in the routes of services and in redirects: two for one path, an unknown name, a route that is never used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from plainstack.dataclass import dataclass
from plainstack.inventory.route_parts import Redirect, Route
from plainstack.inventory.services import DjangoService, StaticService
from plainstack.inventory.stack import Stack
from plainstack.services import cache_errors, path_errors, redirect_errors, routing, snippet_errors, snippets
from plainstack.services.edge import Balancer, below, problem_of_certificate
from plainstack.services.kinds import MAIN
from plainstack.services.processes import Served, served
from plainstack.wording import Loc, did_you_mean, dotted

Problem = tuple[Loc, str]

# The keys with the path of static files.
_STATIC = ("static_url", "static")


@dataclass(frozen=True)
class Claim:
    """A path that a key of the inventory asks for, under the name `host`.

    `host` is None for all names that no other claim has with this path. An empty path stands for all paths. `location`
    is set for a route: the name of its location; `redirect`, for that of a path.
    """

    loc: Loc
    host: str | None
    path: str
    location: str = ""
    redirect: Redirect | None = None


def problems(stack: Stack) -> Iterator[Problem]:
    """Yield the errors as (place, sentence) pairs."""
    for name, service in stack.services.items():
        loc: Loc = ("services", name, "routes")
        if service.routes and "path" in service.model_fields_set:
            yield loc, f"{dotted(loc)}: replaces services.{name}.path. Remove `path`, and add it to the routes"
        if service.routes and MAIN in service.processes and service.processes[MAIN].routes:
            yield loc, f"{dotted(loc)}: services.{name}.processes.{MAIN}.routes is given, too. Remove one of the two"
        if isinstance(service, StaticService):
            yield from _files(loc, next(one for one in served(stack) if one.service == name))
        for place, route in _routes(stack, name):
            if route.limit and route.limit.rate is None and route.limit.connections is None:
                loc = (*place, "limit")
                yield loc, f"{dotted(loc)}: needs `rate`, `connections` or both"
            if route.snippet and (problem := snippets.problem_of(stack, route.snippet)):
                loc = (*place, "snippet")
                yield loc, f"{dotted(loc)}: {problem}"
            yield from path_errors.of_route(place, route)
            yield from cache_errors.of_route(place, route)
    claims = list(_claims(stack))
    yield from cache_errors.of_balancer(stack)
    yield from snippets.problems(stack)
    for claim in claims:
        yield from path_errors.reserved(claim.loc, claim.path)
    yield from redirect_errors.incomplete(stack)
    found = [*_overlaps(claims), *_names(stack, claims)]
    if found:
        yield from found
        return
    yield from _hidden(stack, claims)
    yield from redirect_errors.loops(stack)
    yield from path_errors.of_health_pages(stack)
    yield from snippet_errors.problems(stack)


def _files(loc: Loc, one: Served) -> Iterator[Problem]:
    for number, route in enumerate(one.routes):
        if not route.path.startswith(one.path):
            place = (*loc, number)
            yield (
                place,
                f"{dotted(place)}: the files are served at {one.path}, the first route, and not at {route.path}",
            )
        if route.strip:
            place = (*loc, number, "strip")
            yield place, f"{dotted(place)}: the files are served below their path; remove this key"


def _routes(stack: Stack, service: str) -> Iterator[tuple[Loc, Route]]:
    for one in served(stack):
        if one.service == service:
            base = _place(stack, one)
            for number, route in enumerate(one.routes):
                yield ((*base, number) if base[-1] == "routes" else base), route


def _claims(stack: Stack) -> Iterator[Claim]:
    for one in served(stack):
        base = _place(stack, one)
        for number, route in enumerate(one.routes):
            loc = (*base, number) if base[-1] == "routes" else base
            yield Claim(loc, route.host, route.path, routing.location_name(one, number))
        if one.static:
            loc = ("services", one.service, _static_key(stack, one))
            yield from (Claim(loc, host, one.static) for host in dict.fromkeys(route.host for route in one.routes))
    for number, redirect in enumerate(stack.settings(Balancer).redirects):
        yield Claim(
            ("balancer", "redirects", number),
            redirect.host,
            redirect.path or "",
            redirect=redirect if redirect.path else None,
        )


def _static_key(stack: Stack, one: Served) -> str:
    return _STATIC[0] if isinstance(stack.services[one.service], DjangoService) else _STATIC[1]


def _place(stack: Stack, one: Served) -> Loc:
    service = stack.services[one.service]
    if one.process in service.processes and service.processes[one.process].routes:
        return ("services", one.service, "processes", one.process, "routes")
    return ("services", one.service, "routes" if service.routes else "path")


def _overlaps(claims: Sequence[Claim]) -> Iterator[Problem]:
    """Yield an error at each of two places that ask for the same path of the same name."""
    for number, claim in enumerate(claims):
        other = next((one for one in claims[:number] if _same(one, claim)), None)
        if other is not None:
            yield claim.loc, f"{dotted(claim.loc)}: {_shown(claim)} is already that of {dotted(other.loc)}"
            yield other.loc, f"{dotted(other.loc)}: {_shown(other)} is also that of {dotted(claim.loc)}"


def _same(one: Claim, other: Claim) -> bool:
    whole = one.host is not None and "" in (one.path, other.path)
    return one.host == other.host and (whole or one.path == other.path)


def _shown(claim: Claim) -> str:
    return f"{claim.host or ''}{claim.path}"


def _names(stack: Stack, claims: Sequence[Claim]) -> Iterator[Problem]:
    known = stack.settings(Balancer).server_names
    for claim in claims:
        if claim.host is None or claim.loc[-1] in _STATIC:
            continue
        loc = (*claim.loc, "host")
        if not known:
            yield loc, f"{dotted(loc)}: needs balancer.server_names. List all names of the site there"
        elif not any(below(name, claim.host) for name in known):
            hint = did_you_mean(claim.host, [*known])
            yield loc, f"{dotted(loc)}: {claim.host} is not in balancer.server_names{hint}; known: {', '.join(known)}"
        elif problem := problem_of_certificate(known, claim.host):
            yield loc, f"{dotted(loc)}: {problem}"


def _hidden(stack: Stack, claims: Sequence[Claim]) -> Iterator[Problem]:
    """Yield an error for each route or redirect that no name has, because every name has another one for its path."""
    sites = routing.sites(stack)
    reached = {one.name for site in sites for one in site.locations}
    rules = [one for site in sites for one in site.rules]
    for claim in claims:
        if (claim.location and claim.location not in reached) or (claim.redirect and claim.redirect not in rules):
            yield (
                claim.loc,
                f"{dotted(claim.loc)}: no request gets there: every name has another route or redirect for"
                f" {claim.path}",
            )
