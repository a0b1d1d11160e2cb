"""The processes of a stack's services: their hosts, their units, and which of them serve HTTP."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.dataclass import dataclass
from plainstack.inventory.health import Health
from plainstack.inventory.route_parts import Route
from plainstack.inventory.sections import Host
from plainstack.inventory.service_parts import Placement, Process, ServiceTimer
from plainstack.inventory.services import DjangoService, StaticService
from plainstack.inventory.stack import Stack
from plainstack.services import lease, static_paths
from plainstack.services.kinds import MAIN

ROLES = ("app", "worker")
"""The roles whose hosts can run services. On a host with both, the first runs them."""

# The page with which nginx shows that the release is in place.
STATIC_HEALTH = "/.plainstack-health"
# A process without a health page. The validation of the inventory refuses it where balancers use it.
_MISSING = Health.model_construct(path="")
# Seconds. The shipped configurations of Gunicorn and nginx keep idle connections for 75 s; uvicorn, hypercorn and Node
# keep them for 5 s by default.
_KEEPALIVE, _UNKNOWN_KEEPALIVE = 60, 4


@dataclass(frozen=True)
class Served:
    """A process that the balancers pass requests on to; `name` is unique in the stack and names the upstream.

    `static` is the path of the service's static files; with `assets`, the balancers have them and serve them.
    `files` is true if it only serves files, so that another host may have one that is missing here.
    `keepalive` is for how many seconds a balancer keeps an idle connection; the process must keep it for longer.
    """

    name: str
    service: str
    process: str
    port: int
    health: Health
    live: str | None
    timeout: int
    routes: tuple[Route, ...]
    static: str | None
    assets: bool
    max_body: str | None
    files: bool
    keepalive: int
    hosts: tuple[Host, ...]

    @property
    def path(self) -> str:
        """The first URL path of the process."""
        return self.routes[0].path

    @property
    def health_page(self) -> str:
        """The path of the health page in visitors' URLs."""
        return self.path.rstrip("/") + self.health.path


def processes(stack: Stack, service: str) -> dict[str, Process]:
    """Return the processes of a service by name, including the one that its kind adds."""
    settings = stack.services[service]
    own = dict(settings.processes)
    if isinstance(settings, DjangoService):
        default = Process(
            command=f"gunicorn --config {gunicorn(service)}",
            port=settings.port,
            health=settings.health,
            live=settings.live,
            timeout=settings.timeout,
        )
        given = own.pop(MAIN, None)
        # A process that replaces Gunicorn, such as an ASGI server, inherits the settings that the inventory leaves out.
        main = (
            default
            if given is None
            else default.model_copy(update={key: getattr(given, key) for key in given.model_fields_set})
        )
        own = {MAIN: main, **own}
    if isinstance(settings, StaticService):
        command = f"nginx -e stderr -c {nginx(service)}"
        own = {MAIN: Process(command=command, port=settings.port, health=STATIC_HEALTH, stop_signal="QUIT")}
    return own


def gunicorn(service: str) -> str:
    """Return the path of Gunicorn's configuration on a host."""
    return f"/etc/plainstack/app/{service}.gunicorn.py"


def nginx(service: str) -> str:
    """Return the path, on a host, of the configuration of the nginx that serves the files of a service."""
    return f"/etc/plainstack/app/{service}.nginx.conf"


def runs_gunicorn(stack: Stack, service: str) -> bool:
    """Return whether Plainstack configures the Gunicorn of a service."""
    settings = stack.services[service]
    return isinstance(settings, DjangoService) and MAIN not in settings.processes


def placed(stack: Stack, placement: Placement | None) -> list[Host]:
    """Return the hosts of a placement, in inventory order: those of a role (by default app), or those that it lists."""
    if placement is None or isinstance(placement, str):
        return stack.with_role(placement or ROLES[0])
    return [host for name, host in stack.hosts.items() if name in placement]


def hosts(stack: Stack, service: str, process: Process | None = None) -> list[Host]:
    """Return the hosts that run a process; without `process`, those that run any process or timer of the service."""
    if process is None:
        settings = stack.services[service]
        own = [each.hosts for each in processes(stack, service).values()]
        own += [each.hosts for each in settings.timers.values()]
        names = {host.name for each in own for host in placed(stack, each or settings.hosts)}
        return [host for name, host in stack.hosts.items() if name in names]
    return placed(stack, process.hosts or stack.services[service].hosts)


def here(stack: Stack, host: Host) -> Iterator[tuple[str, dict[str, Process]]]:
    """Yield each service that a host runs, with the processes that it runs there."""
    for service in stack.services:
        if host in hosts(stack, service):
            found = {name: one for name, one in processes(stack, service).items() if host in hosts(stack, service, one)}
            yield service, found


def timer_hosts(stack: Stack, service: str, timer: ServiceTimer) -> list[Host]:
    """Return the hosts that start a timer's command: all of its hosts, one of which runs it; see `moves`."""
    found = placed(stack, timer.hosts or stack.services[service].hosts)
    return found if moves(stack, service, timer) else found[:1]


def moves(stack: Stack, service: str, timer: ServiceTimer) -> bool:
    """Return whether another host runs a timer's command if one is down, which needs a lease in the database."""
    return len(placed(stack, timer.hosts or stack.services[service].hosts)) > 1 and not lease.missing(stack)


def leases(stack: Stack) -> dict[str, bool]:
    """Return the names of the leases of a stack, each with whether a host should have it at all times.

    A timer's lease has a holder only while its command runs.
    """
    found = {
        upstream(service, name): True
        for service in stack.services
        for name, process in processes(stack, service).items()
        if process.one
    }
    for service, settings in stack.services.items():
        moving = [name for name, timer in settings.timers.items() if moves(stack, service, timer)]
        found |= {upstream(service, name): False for name in moving}
    return found


def runner(host: Host) -> str:
    """Return the role with which a host runs services; "" if it has none of ROLES."""
    return next((role for role in ROLES if role in host.roles), "")


def upstream(service: str, process: str) -> str:
    """Return the name of a process that is unique in the stack."""
    return service if process == MAIN else f"{service}-{process}"


def unit(service: str, process: str = MAIN) -> str:
    """Return the name of the systemd unit of a process that runs once on a host."""
    return f"plainstack-{upstream(service, process)}.service"


def unit_file(service: str, process: str, count: int) -> str:
    """Return the name of the unit file of a process, a template if several run on a host."""
    return unit(service, process) if count == 1 else f"plainstack-{upstream(service, process)}@.service"


def units(service: str, process: str, count: int) -> list[str]:
    """Return the names of the systemd units of a process on a host."""
    if count == 1:
        return [unit(service, process)]
    return [f"plainstack-{upstream(service, process)}@{number}.service" for number in range(1, count + 1)]


def served(stack: Stack) -> list[Served]:
    """Return the processes that the balancers pass requests on to."""
    return [
        Served(
            name=upstream(service, name),
            service=service,
            process=name,
            port=process.port,
            health=process.check or _MISSING,
            live=process.live,
            timeout=process.timeout,
            routes=routes,
            static=_static(stack, service, name),
            assets=static_paths.on_balancers(stack.services[service]),
            max_body=stack.services[service].max_body,
            files=isinstance(stack.services[service], StaticService),
            keepalive=_keepalive(stack, service, name),
            hosts=tuple(hosts(stack, service, process)),
        )
        for service in stack.services
        for name, process in processes(stack, service).items()
        if process.port is not None and (routes := _routes(stack, service, name, process))
    ]


def site_module(one: Served) -> str:
    """Return the name of the blackbox exporter's module that requests the health page of a process over HTTPS."""
    return "_".join(["site_https", *(one.health.statuses if one.health.status is not None else ())])


def ports(stack: Stack, one: Served) -> tuple[int, ...]:
    """Return the ports at which hosts serve a process: the configured port first, then earlier ports still in use."""
    return (one.port, *stack.still.ports.get(one.name, ()))


def _keepalive(stack: Stack, service: str, name: str) -> int:
    ours = isinstance(stack.services[service], StaticService) or (name == MAIN and runs_gunicorn(stack, service))
    return _KEEPALIVE if ours else _UNKNOWN_KEEPALIVE


def _routes(stack: Stack, service: str, name: str, process: Process) -> tuple[Route, ...]:
    settings = stack.services[service]
    given = process.routes or ((settings.routes or (settings.path,)) if name == MAIN else ())
    return tuple(Route(path=one) if isinstance(one, str) else one for one in given)


def _static(stack: Stack, service: str, name: str) -> str | None:
    """Return the path of a service's static files if they belong to this process: the main one, or else the first."""
    every = processes(stack, service).items()
    routed = {each: routes for each, one in every if one.port and (routes := _routes(stack, service, each, one))}
    if name != (MAIN if MAIN in routed else next(iter(routed))):
        return None
    return static_paths.path(stack.services[service], routed[name][0].path)
