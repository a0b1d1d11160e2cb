"""The balancers' cache: which routes have one, and which of its responses `inv cache.purge` selects."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlsplit

from plainstack.dataclass import dataclass
from plainstack.errors import Refused
from plainstack.inventory.route_cache import CacheDisk, RouteCache
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.services import routing
from plainstack.services.edge import Balancer, covers
from plainstack.services.precedence import Location
from plainstack.services.routing import Site
from plainstack.wording import did_you_mean

PROGRAM = "/usr/local/lib/plainstack/edge_cache"
# What a URL may hold unescaped: RFC 3986, and the percent sign of what is escaped already.
_IN_A_URL = "/?:@!$&'()*+,;=-._~%"


@dataclass(frozen=True)
class Purge:
    """The stored responses to remove: of these routes (none: of all), under a name, at a path.

    An empty `path` stands for all paths. A path without a query stands for all its queries; `prefix` is true if it also
    stands for everything that begins with it. An empty `name` stands for all names.
    """

    routes: tuple[str, ...] = ()
    name: str = ""
    path: str = ""
    prefix: bool = False

    def script(self) -> str:
        """Return the script that removes the responses on a balancer, and prints `purged=COUNT`."""
        wanted = {"routes": self.routes, "name": self.name, "path": self.path, "prefix": self.prefix}
        return f"python3 {PROGRAM} purge {shlex.quote(json.dumps(wanted))}\n"

    def described(self) -> str:
        """Return what is removed, for the audit log."""
        of = f" of {', '.join(self.routes)}" if self.routes else ""
        return f"purge {self.name}{self.path}{'*' if self.prefix or not self.path else ''}{of}"


def caches(stack: Stack) -> Iterator[tuple[Location, RouteCache]]:
    """Yield the routes with a cache, and its settings."""
    for one in routing.locations(stack):
        if one.route.cache:
            yield one, one.route.cache


def disk(stack: Stack) -> CacheDisk:
    """Return the size and the place of the cache."""
    return stack.settings(Balancer).cache or CacheDisk()


def entrances(stack: Stack) -> list[Host]:
    """Return the hosts that have a cache."""
    return stack.with_role("balancer")


def purge(stack: Stack, typed: str, service: str, *, everything: bool) -> Purge:
    """Return what a command line selects: a path or a URL, with * at its end for all that begins with it.

    Raises Refused if no route has a cache, or none of those selected.
    """
    known = list(dict.fromkeys(one.service.service for one, _ in caches(stack)))
    if not known:
        raise Refused("no route of this stack has the key `cache`, so nothing is cached: docs/cache.md")
    if service and service not in known:
        if service in stack.services:
            raise Refused(f"no route of {service} has the key `cache`; services with one: {', '.join(known)}")
        raise Refused(f"unknown service {service!r}{did_you_mean(service, known)}; known: {', '.join(known)}")
    if everything == bool(typed):
        raise Refused("name the path to purge, such as /news/ or '/news/*', or use --all for all of them")
    routes = tuple(one.name for one, _ in caches(stack) if one.service.service == service)
    if everything:
        return Purge(routes)
    name, path, prefix = _parsed(stack, typed)
    _must_be_cached(stack, service, name, path, prefix=prefix)
    return Purge(routes, name, path, prefix)


def _parsed(stack: Stack, typed: str) -> tuple[str, str, bool]:
    """Return the name (empty for a path alone), the path, and whether it is a prefix."""
    prefix = typed.endswith("*")
    parts = urlsplit(typed.removesuffix("*"))
    name = (parts.hostname or "") if parts.scheme else ""
    path = (parts.path or "/") if parts.scheme else parts.path
    if (parts.scheme and parts.scheme not in ("http", "https")) or not path.startswith("/") or re.search(r"\s", typed):
        raise Refused(f"{typed!r} is neither a path, such as /news/, nor a URL, such as https://shop.example/news/")
    known = routing.names(stack)
    if name and known and not any(covers(each, name) for each in known):
        raise Refused(f"unknown name {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    return name, quote(f"{path}?{parts.query}" if parts.query else path, _IN_A_URL), prefix


def _must_be_cached(stack: Stack, service: str, name: str, path: str, *, prefix: bool) -> None:
    """Raise Refused unless a selected route could have stored a response for the path."""
    bare = path.partition("?")[0]
    answering = []
    for site in _sites(stack, name):
        below = [one for one in site.locations if prefix and one.path.startswith(bare)]
        answering += [*below, *_at(site, bare)]
    if any(one.route.cache and service in ("", one.service.service) for one in answering):
        return
    cached = list(
        dict.fromkeys(
            f"{one.route.host or ''}{one.path}" for one, _ in caches(stack) if service in ("", one.service.service)
        )
    )
    why = f"is served by {answering[0].service.service}, at {answering[0].path}" if answering else "has no route"
    raise Refused(f"{path} is not cached: it {why}; cached are the routes {', '.join(cached)}")


def _sites(stack: Stack, name: str) -> Sequence[Site]:
    """Return the sites that answer under a name, or with a wildcard, under a name that it stands for; empty for any."""
    found = routing.sites(stack)
    if not name or not routing.names(stack):
        return found
    own = [one for one in found if any(covers(name, each) for each in one.names)]
    wildcard = routing.site_of(found, name)
    return own or ([wildcard] if wildcard else [])


def _at(site: Site, path: str) -> Sequence[Location]:
    """Return the location that answers at a path of a site, if any."""
    found = [one for one in site.locations if path.startswith(one.path)]
    return [max(found, key=lambda one: len(one.path))] if found else []
