"""Errors in redirects: without a name or a path, or followed by each other without an end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from plainstack.inventory.route_parts import Redirect
from plainstack.inventory.stack import Stack
from plainstack.services import routing
from plainstack.services.edge import Balancer
from plainstack.wording import Loc, dotted

Problem = tuple[Loc, str]
Place = tuple[str, str]

# Browsers give up after 20 (Fetch standard, 4.4).
_MOST = 20
_PAGE = "page"


def incomplete(stack: Stack) -> Iterator[Problem]:
    """Yield an error for each redirect that does not say what is redirected."""
    for loc, redirect in _redirects(stack):
        if redirect.host is None and redirect.path is None:
            yield loc, f"{dotted(loc)}: needs `host`, `path` or both, to say what is redirected"


def loops(stack: Stack) -> Iterator[Problem]:
    """Yield an error for each redirect that a browser would follow without reaching a page."""
    sites = routing.sites(stack)
    names = [routing.stand_in(stack, name) for name in routing.names(stack)]
    for loc, redirect in _redirects(stack):
        if redirect.host is None and redirect.path is None:
            continue
        path = f"{redirect.path or '/'}{_PAGE}" if (redirect.path or "/").endswith("/") else str(redirect.path)
        for name in [routing.stand_in(stack, redirect.host)] if redirect.host is not None else names or [""]:
            trail = _loop(sites, (name, path))
            # Another rule may have precedence here. If that one leads in a circle, it is reported at its own place.
            if trail and trail[0][1].partition("$")[0] == redirect.to:
                place = (*loc, "to")
                yield place, f"{dotted(place)}: {_explained(redirect, trail)}"
                break


def _redirects(stack: Stack) -> Iterator[tuple[Loc, Redirect]]:
    for number, redirect in enumerate(stack.settings(Balancer).redirects):
        yield ("balancer", "redirects", number), redirect


def _explained(redirect: Redirect, trail: Sequence[tuple[Place, str]]) -> str:
    if len({rule for _, rule in trail}) == 1:
        return f"{redirect.to} is redirected again by the same rule"
    first = next(number for number, (place, _) in enumerate(trail) if place in [trail[-1][0], trail[0][0]])
    shown = " -> ".join(f"{name}{path}" for (name, path), _ in trail[first : first + 4])
    return f"redirects lead in a circle: {shown}. Change one of them"


def _loop(sites: Sequence[routing.Site], place: Place) -> list[tuple[Place, str]]:
    """Return the places that a browser visits, each with the rule that sent it on; empty if it reaches a page."""
    trail: list[tuple[Place, str]] = []
    while step := _next(sites, place):
        after, rule = step
        trail.append((place, rule))
        if after in [one for one, _ in trail]:
            return [*trail, (after, rule)]
        if len(trail) == _MOST:
            return trail
        place = after
    return []


def _next(sites: Sequence[routing.Site], place: Place) -> tuple[Place, str] | None:
    """Return where a request is redirected to, and the target of the rule; None if a page answers, or another site."""
    name, path = place
    # Without names, the site answers to any, but a URL in a redirect may be that of another site.
    site = routing.site_of(sites, name) if name else sites[0]
    if site is None:
        return None
    if site.redirect:
        return _target(site.redirect.replace("$request_uri", path), name), site.redirect
    exact = [one for one in site.moved if one.path == path and not path.endswith("/")]
    if not exact and any(one.exact and one.service.health_page == path for one in site.healths):
        return None
    below = [one for one in site.moved if one.path.endswith("/") and path.startswith(one.path)]
    found = next(iter([*exact, *sorted(below, key=lambda one: -len(one.path))]), None)
    served = [one.path for one in site.locations if path.startswith(one.path)]
    if found is None or (not exact and any(len(one) > len(found.path) for one in served)):
        return None
    target = found.to.replace("$request_uri", path).replace("$is_args$args", "")
    return _target(target.replace("$1", path.removeprefix(found.path)), name), found.to


def _target(target: str, name: str) -> Place:
    found = re.fullmatch(r"(?:https?://([^/:]+)(?::[0-9]+)?)?(/.*)?", target)
    assert found, "the model refuses other targets"
    return found[1] or name, found[2] or "/"
