"""The service that selects the app hosts a balancer uses, and the check before it moves to another port."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.addresses import bracketed
from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Directory, Package, Resource, Unit, Validation
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.engines import Engine
from plainstack.services import site
from plainstack.services.processes import served

PROGRAM = "/etc/plainstack/balancer/upstreams"
PAGES = "/usr/local/lib/plainstack/health_pages.py"
TARGETS = f"{PROGRAM}.conf"


def upstreams(stack: Stack, host: Host, engine: Engine) -> Iterator[Resource]:
    """Yield the resources of the service that selects app hosts; the engine's configuration depends on it."""
    unit = "plainstack-upstreams.service"
    yield Directory(path="/etc/plainstack/balancer")
    yield Package(name="python3")
    yield verbatim("balancer", PROGRAM, mode=0o755)
    yield verbatim("balancer", PAGES, mode=0o755)
    yield template(
        "balancer",
        TARGETS,
        host=host,
        engine=engine,
        names={one.name: one.health.host or site.known_as(stack, one) for one in served(stack)},
        services=served(stack),
    )
    yield verbatim("balancer", f"/etc/systemd/system/{unit}")
    yield Unit(name=unit, restart_on=(PROGRAM, PAGES, TARGETS))


def reachable(stack: Stack, engine: Engine) -> Iterator[Validation]:
    """Yield validations that stop a balancer from using a service's new port before an app host answers there."""
    path = f"{engine.sites}/site.conf"
    for service in served(stack):
        used = f"'(server |upstreams/)[][0-9a-f.:]+:{service.port}( |[.]conf;)'"
        addresses = " ".join(bracketed(app.address) for app in service.hosts)
        yield Validation(
            name=f"port of {service.name}",
            run=f"""\
                systemctl --quiet is-active {engine.name}.service || exit 0
                # In the preview, this shell sees the new file; process 1 still sees the current one.
                ! grep -qE {used} /proc/1/root{path} 2>/dev/null || exit 0
                for address in {addresses}; do
                    # Any HTTP status will do: a server with another protocol at this port would not send one.
                    ! curl --silent --output /dev/null --max-time 5 http://$address:{service.port}/ || exit 0
                done
                echo '{service.name}: no host serves it at port {service.port}: inv deploy --role=app' >&2
                exit 1""",
            reads=(path,),
        )
