"""The nginx that serves the files of a service of the kind `static` on a host."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.render import template
from plainstack.engine.resources import Absent, Package, Resource, Unit, Validation
from plainstack.inventory.sections import Host
from plainstack.inventory.services import StaticService
from plainstack.inventory.stack import Stack
from plainstack.services import processes
from plainstack.services.edge import Balancer
from plainstack.services.places import home


def program(stack: Stack, host: Host) -> Iterator[Resource]:
    """Yield nginx itself, once for all services of the kind on a host."""
    if not any(isinstance(stack.services[name], StaticService) for name, _ in processes.here(stack, host)):
        return
    yield Package(name="nginx")
    own = any("nginx" in stack.services[name].packages for name, _ in processes.here(stack, host))
    if "balancer" not in host.roles or stack.settings(Balancer).engine != "nginx":
        # Otherwise the package's own unit would serve this site.
        yield Absent(path="/etc/nginx/sites-enabled/default")
        if not own:
            # The package enables it, so it would start at every boot without use, even after the service is removed.
            yield Unit(name="nginx.service", enabled=False, running=False)


def configuration(stack: Stack, host: Host, name: str, release: str, ports: tuple[int, ...]) -> Iterator[Resource]:
    """Yield the configuration of the nginx that the unit of a service runs."""
    service = stack.services[name]
    assert isinstance(service, StaticService)
    inside = f"source/{service.folder}" if service.folder else "source"
    yield template(
        "app",
        "/etc/plainstack/app/{service}.nginx.conf",
        at={"service": name},
        host=host,
        name=name,
        service=service,
        url_path=next(one.path for one in processes.served(stack) if one.service == name),
        release=release,
        ports=ports,
        home=home(name),
        inside=inside,
        files=f"{home(name)}/current/{inside}",
    )
    path = processes.nginx(name)
    yield Validation(name=f"files of {name}", run=f"nginx -e stderr -t -q -c {path}", reads=(path,))
