"""Which paths a site has under each of its names: the routes of its services, and the redirects."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path

from plainstack.dataclass import dataclass
from plainstack.inventory.route_parts import Redirect
from plainstack.inventory.stack import Stack
from plainstack.services.edge import Balancer, covers
from plainstack.services.precedence import Location, Rank, effective
from plainstack.services.processes import Served, served
from plainstack.services.snippet_text import locations as locations_in
from plainstack.services.snippets import ANY, directives, snippets


@dataclass(frozen=True)
class HealthPage:
    """A process's health page under a name of the site.

    `exact` is true if it needs a location of its own, because other requests below its path are treated differently.
    `closed` is true if visitors need a login or an allowed address below that path.
    """

    service: Served
    exact: bool
    closed: bool


@dataclass(frozen=True)
class Moved:
    """A redirected path; `pattern` is a regular expression if what follows the path is kept, and else empty."""

    path: str
    to: str
    status: int
    pattern: str = ""


@dataclass(frozen=True)
class Site:
    """The same paths under one or several names; no name stands for any.

    `redirect` is the URL to which all requests are redirected with `status`; empty if they are served. `snippets` are
    files of the stack's folder with further directives, as paths from there. `healths` are the health pages that are
    requested under these names. `rest` is true if a snippet answers at all paths that nothing else has. `rules` are the
    redirects of the inventory that have an effect.
    """

    names: tuple[str, ...]
    locations: tuple[Location, ...] = ()
    healths: tuple[HealthPage, ...] = ()
    moved: tuple[Moved, ...] = ()
    redirect: str = ""
    status: int = 301
    snippets: tuple[Path, ...] = ()
    rest: bool = False
    rules: tuple[Redirect, ...] = ()

    @property
    def away(self) -> bool:
        """Whether the page `/` is redirected."""
        return bool(self.redirect) or any(one.path == "/" for one in self.moved)

    @property
    def root(self) -> bool:
        """Whether something answers at every path."""
        paths = [*(one.path for one in self.locations), *(one.path for one in self.moved)]
        return bool(self.redirect) or self.rest or "/" in paths


def sites(stack: Stack) -> tuple[Site, ...]:
    """Return the paths of the site by name. Names with the same paths are together."""
    written = snippets(stack)
    named = set(_named(stack))
    every = tuple(locations(stack))
    groups: dict[tuple[tuple[str, ...], tuple[Path, ...]], list[str]] = {}
    for name in names(stack):
        own = (*written.get(ANY, ()), *written.get(name, ()))
        groups.setdefault((_hosts_for(name, named), own), []).append(name)
    if not groups:
        groups[(), written.get(ANY, ())] = []
    return tuple(_site(stack, every, tuple(members), hosts, own) for (hosts, own), members in groups.items())


def names(stack: Stack) -> list[str]:
    """Return all names of the site, with the wildcards and names of its routes and redirects."""
    balancer = stack.settings(Balancer)
    return list(dict.fromkeys([*balancer.server_names, *_named(stack)])) if balancer.server_names else []


def site_of(found: Sequence[Site], name: str) -> Site | None:
    """Return the one of these sites that answers under a name: that of the name itself, or else of a wildcard."""
    exact = next((one for one in found if name in one.names), None)
    return exact or next((one for one in found if any(covers(each, name) for each in one.names)), None)


def locations(stack: Stack) -> Iterator[Location]:
    """Yield a location for each route of the stack, in inventory order."""
    for one in served(stack):
        for number, route in enumerate(one.routes):
            yield Location(location_name(one, number), route.path, route, one)


def location_name(service: Served, number: int) -> str:
    """Return the name of the location of a process's route."""
    return f"{service.name}.{number}" if number else service.name


def stand_in(stack: Stack, name: str) -> str:
    """Return a name, or for a wildcard, one that it stands for and that has no routes or redirects of its own."""
    if not name.startswith("*."):
        return name
    known = names(stack)
    labels = chain(["www", "site"], (f"site{number}" for number in count(2)))
    return next(found for label in labels if (found := f"{label}{name[1:]}") not in known)


def _named(stack: Stack) -> list[str]:
    hosts = [one.route.host for one in locations(stack)]
    hosts += [one.host for one in stack.settings(Balancer).redirects]
    return [*(host for host in hosts if host is not None), *(name for name in snippets(stack) if name != ANY)]


def _hosts_for(name: str, named: Collection[str]) -> tuple[str, ...]:
    """Return the hosts of routes and redirects that apply to a name, the most specific first."""
    return tuple(host for host in dict.fromkeys([name, f"*.{name.partition('.')[2]}"]) if host in named)


def _site(
    stack: Stack, every: Sequence[Location], members: tuple[str, ...], hosts: tuple[str, ...], own: tuple[Path, ...]
) -> Site:
    rank: Rank = {None: len(hosts)} | {host: number for number, host in enumerate(hosts)}
    found = effective(rank, every, stack.settings(Balancer).redirects)
    rules = tuple(found.redirects.values())
    if found.whole:
        return Site(members, redirect=_kept(rules[0]), status=rules[0].status, snippets=own, rules=rules)
    return Site(
        members,
        found.locations,
        tuple(_healths(found.routes, found.redirects)),
        tuple(map(_moved, rules)),
        snippets=own,
        rest=any(path == "/" for each in own for _, path in locations_in(directives(stack, each))),
        rules=rules,
    )


def _healths(kept: Mapping[str, Location], moved: Collection[str]) -> Iterator[HealthPage]:
    for own in kept.values():
        if own.name != location_name(own.service, 0):
            continue
        page = own.service.health_page
        around = max(
            (one for one in kept.values() if page.startswith(one.path)), key=lambda one: len(one.path), default=own
        )
        plain = own.path == "/" and around.service.name == own.service.name and not any(map(page.startswith, moved))
        # The engines redirect a page to the path that has only a slash more.
        plain = plain and f"{page}/" not in kept
        exact = not plain or around.route.closed or bool(around.route.limit or around.route.cache)
        yield HealthPage(own.service, exact, around.route.closed)


def _kept(redirect: Redirect) -> str:
    return f"{redirect.to}$request_uri" if re.fullmatch(r"https?://[^/]+", redirect.to) else redirect.to


def _moved(redirect: Redirect) -> Moved:
    path = redirect.path or "/"
    if redirect.path is None or _kept(redirect) != redirect.to:
        return Moved(path, _kept(redirect), redirect.status)
    if path.endswith("/") and redirect.to.endswith("/"):
        return Moved(path, f"{redirect.to}$1", redirect.status, f"^{re.escape(path)}(.*)$")
    return Moved(path, f"{redirect.to}$is_args$args", redirect.status)
