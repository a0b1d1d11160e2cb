"""Errors in the cache settings of routes and balancers that only a combination of values shows."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.inventory.route_parts import Route
from plainstack.inventory.stack import Stack
from plainstack.services import cache
from plainstack.services.edge import Balancer
from plainstack.wording import Loc, dotted

Problem = tuple[Loc, str]


def of_route(place: Loc, route: Route) -> Iterator[Problem]:
    """Yield the errors in the cache of a route, as (place, sentence) pairs."""
    if route.cache is None:
        return
    loc = (*place, "cache")
    if not route.buffering:
        yield (
            loc,
            f"{dotted(loc)}: `buffering: false` passes responses on as they arrive, as WebSockets and event streams"
            " need it, so they cannot be cached. Remove one of the two",
        )


def of_balancer(stack: Stack) -> Iterator[Problem]:
    """Yield the errors in the key `balancer.cache`, as (place, sentence) pairs."""
    if stack.settings(Balancer).cache and not any(cache.caches(stack)):
        yield (
            ("balancer", "cache"),
            "balancer.cache: no route has the key `cache`, so nothing is cached. Add it to a route, or remove"
            " balancer.cache",
        )
