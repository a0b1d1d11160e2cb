"""The cache of a balancer: its configuration, its place on the disk, and the program that purges and counts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator

from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, File, Package, Resource, Unit
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.engines import Engine
from plainstack.services import cache, routing

_UNIT = "plainstack-responses.service"
_MODULES = ("__main__", "cache_files", "cache_log")
_SETTINGS = "/etc/plainstack/balancer/cache.json"
# nginx says that a megabyte holds about 8,000 keys. With this many, the average response may have 12 KB.
_DISK_PER_KEYS = 96
# Megabytes of memory, for two million responses.
_MOST_KEYS = 256
# The variable with the cookies of a request; empty if the only one is that of sticky routes.
_OTHER_COOKIES = "$other_cookies"
# The shortest time, in seconds, after which the engine removes a response that was not requested again.
_LEAST_INACTIVE = 600


def used(stack: Stack) -> bool:
    """Return whether a route has a cache."""
    return any(cache.caches(stack))


def folder(stack: Stack, engine: Engine) -> str:
    """Return the folder with the responses."""
    return f"{cache.disk(stack).folder or engine.state}/plainstack-cache"


def writable(stack: Stack) -> str:
    """Return the folder that the engine's unit must be able to write to besides its own; empty if there is none."""
    given = cache.disk(stack).folder
    return f"{given}/plainstack-cache" if given and used(stack) else ""


def header(stack: Stack) -> list[tuple[str, str]]:
    """Return the header that says how a response was found, as (name, value)."""
    return [("X-Cache-Status", "$upstream_cache_status")] if used(stack) else []


def configuration(stack: Stack, host: Host, engine: Engine) -> tuple[File, ...]:
    """Return the files that the engine's configuration includes: the place of the cache, and what each route keeps."""
    found = list(cache.caches(stack))
    if not found:
        return ()
    size = cache.disk(stack).size
    conditions = [each for _, settings in found for each in settings.bypass]
    sticky = any(one.route.sticky == "cookie" for one in routing.locations(stack))
    common = template(
        "balancer",
        "/etc/{engine}/{sites}/cache.conf",
        at=engine.places,
        host=host,
        folder=folder(stack, engine),
        size=size,
        keys=min(max(4, size // _DISK_PER_KEYS), _MOST_KEYS),
        inactive=max(_LEAST_INACTIVE, *(settings.ttl + settings.stale for _, settings in found)),
        cookies={_variable(each): re.escape(_cookie(each)) for each in conditions if _cookie(each)},
        others=_OTHER_COOKIES if sticky and "cookie" in conditions else "",
    )
    routes = [
        template(
            "balancer",
            "/etc/{engine}/cache/{route}.conf",
            at={**engine.places, "route": one.name},
            host=host,
            name=one.name,
            cache=settings,
            # The login to a route is between visitors and balancers. The application does not get it.
            conditions=[
                _OTHER_COOKIES if sticky and each == "cookie" else _variable(each)
                for each in settings.bypass
                if not (each == "authorization" and one.route.users)
            ],
        )
        for one, settings in found
    ]
    return (common, *routes)


def resources(stack: Stack, engine: Engine) -> Iterator[Resource]:
    """Yield the folder with the responses, and the program that removes old ones, purges, and writes metrics."""
    if not used(stack):
        return
    yield Directory(path=folder(stack, engine), mode=0o700, owner=engine.user, purge=True)
    yield Package(name="python3")
    yield Directory(path=cache.PROGRAM)
    modules = [f"{cache.PROGRAM}/{module}.py" for module in _MODULES]
    for module in modules:
        yield verbatim("balancer", module)
    settings = {
        "folder": folder(stack, engine),
        "log": f"{engine.logs}/access.log",
        "limit": cache.disk(stack).size << 20,
        "stale": {one.name: settings.stale for one, settings in cache.caches(stack)},
        "services": _services(stack),
    }
    yield File(path=_SETTINGS, content=f"{json.dumps(settings, indent=2)}\n".encode())
    yield verbatim("balancer", f"/etc/systemd/system/{_UNIT}")
    yield Unit(name=_UNIT, restart_on=(*modules, _SETTINGS))


def _services(stack: Stack) -> dict[str, str]:
    """Return the service of each upstream of a cached route, and of the one for the route's static files."""
    return {name: one.service.service for one, _ in cache.caches(stack) for name in (one.service.name, one.upstream)}


def _cookie(condition: str) -> str:
    """Return the name of the cookie in a condition; empty if it is about something else."""
    return condition.partition(":")[2]


def _variable(condition: str) -> str:
    """Return the variable of the configuration that is not empty if a request fulfils a condition."""
    if cookie := _cookie(condition):
        # Names of cookies contain characters that names of variables cannot have.
        return f"$has_cookie_{hashlib.sha256(cookie.encode()).hexdigest()[:16]}"
    return {"cookie": "$http_cookie", "authorization": "$http_authorization"}[condition]
