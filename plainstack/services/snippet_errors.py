"""Errors in the locations of snippets: those that the balancers' configuration has already."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.inventory.stack import Stack
from plainstack.services import routing, snippets
from plainstack.services.edge import Balancer
from plainstack.services.snippet_text import locations
from plainstack.wording import Loc, dotted

Problem = tuple[Loc, str]


def problems(stack: Stack) -> Iterator[Problem]:
    """Yield an error for each location that is also that of a route, a redirect, a file, or an earlier snippet."""
    reported: dict[str, None] = {}
    for site in routing.sites(stack):
        taken = _taken(stack, site)
        for path in site.snippets:
            for line, location in locations(snippets.directives(stack, path)):
                there = f"{path}:{line}"
                if location in taken:
                    general = location == "/" and site.redirect and path.parent.name == f"{snippets.ANY}.d"
                    advice = "Move it to the folders of the names that it is for" if general else "Remove it"
                    reported[f"{there}: the location {location} is already that of {taken[location]}. {advice}"] = None
                taken.setdefault(location, there)
    yield from ((("balancer",), sentence) for sentence in reported)


def _taken(stack: Stack, site: routing.Site) -> dict[str, str]:
    """Return the locations of a site, each with the words for its origin."""
    if site.redirect:
        return {"/": f"the redirect of {', '.join(site.names)}"}
    found = {one.path: f"a route of services.{one.service.service}" for one in site.locations}
    found |= {f"= {url}": dotted(("balancer", "files", url)) for url in stack.settings(Balancer).files}
    found |= {one.path if one.path.endswith("/") else f"= {one.path}": "a redirect" for one in site.moved}
    for page in site.healths:
        if page.exact:
            found[f"= {page.service.health_page}"] = f"the health page of services.{page.service.service}"
    own = {"/plainstack-maintenance/": "Plainstack", "= /plainstack-unavailable.html": "Plainstack"}
    return found | own
