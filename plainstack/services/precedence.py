"""Which routes and redirects have an effect under a name: of those for a path, the one with the most specific name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from plainstack.dataclass import dataclass
from plainstack.inventory.route_parts import Redirect, Route
from plainstack.services.processes import Served

# The hosts of routes and redirects that apply to a name; the most specific one has the lowest number.
Rank = Mapping[str | None, int]


@dataclass(frozen=True)
class Location:
    """A path of a site, with the process that serves it; `name` is unique to the route in the stack.

    `static` is true for a path below the route at which the process only serves files.
    """

    name: str
    path: str
    route: Route
    service: Served
    static: bool = False

    @property
    def upstream(self) -> str:
        """The name of the upstream for requests to the process."""
        return f"{self.service.name}.by-{self.route.sticky}" if self.route.sticky else self.service.name

    @property
    def timeout(self) -> int:
        """Seconds that a balancer waits for a response."""
        return self.route.timeout or self.service.timeout

    @property
    def max_body(self) -> str:
        """The largest request body in the notation of nginx; empty for the site's."""
        return (self.route.max_body or self.service.max_body or "").lower()


@dataclass(frozen=True)
class Effective:
    """What has an effect under a name, by path: routes, the paths at which processes only serve files, and redirects.

    A redirect of the whole name has the path `/`. `whole` is true if there is nothing else.
    """

    routes: Mapping[str, Location]
    files: Mapping[str, Location]
    redirects: Mapping[str, Redirect]
    whole: bool = False

    @property
    def locations(self) -> tuple[Location, ...]:
        """The routes and files, grouped by process."""
        every = [*self.routes.values(), *self.files.values()]
        return tuple(
            one
            for name in dict.fromkeys(one.service.name for one in every)
            for one in every
            if one.service.name == name
        )


def effective(rank: Rank, routes: Iterable[Location], redirects: Iterable[Redirect]) -> Effective:
    """Return what has an effect under a name whose hosts are those of `rank`."""
    served = sorted((one for one in routes if one.route.host in rank), key=lambda one: rank[one.route.host])
    moving = sorted((one for one in redirects if one.host in rank), key=lambda one: rank[one.host])
    whole = next((one for one in moving if one.path is None and one.host is not None), None)
    moving = [one for one in moving if one.path is not None]
    if whole is not None:
        served_before = [one for one in served if rank[one.route.host] < rank[whole.host]]
        moving_before = [one for one in moving if rank[one.host] < rank[whole.host]]
        before = [*(one.path for one in served_before), *(one.path for one in moving_before)]
        # A more specific rule is an exception from the redirect of a whole name, or with the path `/`, replaces it.
        if "/" not in before:
            served, moving = served_before, [*moving_before, whole]
        if not before:
            return Effective({}, {}, {"/": whole}, whole=True)
    kept: dict[str, Location] = {}
    for location in served:
        kept.setdefault(location.path, location)
    moved: dict[str, Redirect] = {}
    for one in moving:
        path = one.path or "/"
        if path not in kept or rank[one.host] <= rank[kept[path].route.host]:
            moved.setdefault(path, one)
            kept.pop(path, None)
    return _with_files(rank, kept, moved)


def _with_files(rank: Rank, kept: dict[str, Location], moved: dict[str, Redirect]) -> Effective:
    """Add the paths at which processes only serve files, where nothing has a more specific name."""
    found: list[tuple[int, Location]] = []
    for name in dict.fromkeys(one.service.name for one in kept.values()):
        own = [one for one in kept.values() if one.service.name == name]
        static = own[0].service.static
        if static:
            around = [one for one in own if static.startswith(one.path)] or own
            inner = max(around, key=lambda one: len(one.path))
            found.append((min(rank[one.route.host] for one in own), replace(inner, path=static, static=True)))
    files: dict[str, Location] = {}
    for nearness, file in sorted(found, key=lambda each: each[0]):
        others = [one.route.host for one in kept.values() if one.path == file.path]
        others += [one.host for one in moved.values() if one.path == file.path]
        if file.path not in files and all(nearness < rank[host] for host in others):
            files[file.path] = file
    routes = {path: one for path, one in kept.items() if path not in files}
    return Effective(routes, files, {path: one for path, one in moved.items() if path not in files})
