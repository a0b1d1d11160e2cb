"""The static files of a service: the URL path at which they are served, and who serves them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from plainstack.inventory.services import BinaryService, DjangoService, PythonService, Service, StaticService
from plainstack.wording import Loc, dotted


def path(service: Service, route: str) -> str | None:
    """Return the path of a service's static files, None if it has none; `route` is the service's first path."""
    if isinstance(service, DjangoService):
        return service.static_url or f"{route}static/"
    return service.static.path if isinstance(service, PythonService | BinaryService) and service.static else None


def on_balancers(service: Service) -> bool:
    """Return whether the balancers have the static files of a service's releases, and serve them themselves."""
    if isinstance(service, DjangoService):
        return service.static_by == "balancers"
    return isinstance(service, PythonService | BinaryService) and service.static is not None


def inside(service: Service) -> str:
    """Return the folder with the files in the folder of a release; empty if the balancers do not serve any."""
    if isinstance(service, DjangoService) and on_balancers(service):
        return "static"
    if isinstance(service, PythonService | BinaryService) and service.static:
        return f"source/{service.static.folder}"
    return ""


def missing(name: str, service: Service, sent: Collection[str]) -> Iterator[str]:
    """Yield an error if no release can have the folder with the files; `sent` are the files of the source."""
    if service.build.host:
        return
    if isinstance(service, StaticService) and not any(file.startswith(_under(service)) for file in sent):
        # The health page of such a service needs no file, so a release without files would go live.
        place = f"the source has no files in {service.folder}" if service.folder else "it has no files"
        key = "folder" if service.folder else "source"
        yield f"services.{name}.{key}: {place}, so every request would be answered 404. Build them before the deploy"
    if not isinstance(service, PythonService | BinaryService) or service.static is None:
        return
    folder = service.static.folder
    if not any(file.startswith(f"{folder}/") for file in sent):
        yield (
            f"services.{name}.static.folder: the source has no files in {folder}, and the service has no build.host,"
            " which could create them"
        )


def without_front_page(service: StaticService, sent: Collection[str]) -> bool:
    """Return whether a service of the whole site has files, but none for the path /; a build on hosts may create it."""
    routes = [one if isinstance(one, str) else one.path for one in service.routes or (service.path,)]
    return "/" in routes and not service.build.host and f"{_under(service)}index.html" not in sent


def _under(service: StaticService) -> str:
    return f"{service.folder}/" if service.folder else ""


def contradictions(name: str, service: Service, *, served: bool) -> Iterator[tuple[Loc, str]]:
    """Yield errors in the key `static`; `served` is true if the balancers pass on requests to the service."""
    if not isinstance(service, PythonService | BinaryService) or service.static is None:
        return
    loc: Loc = ("services", name, "static")
    if not served:
        yield loc, f"{dotted(loc)}: no process of the service has a `port` and a route. Remove this key, or add them"
    inner = service.static.folder
    for folder in service.folders:
        if f"{inner}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{inner}/"):
            place = (*loc, "folder")
            yield (
                place,
                f"{dotted(place)}: {folder} is in services.{name}.writable, so its files differ between hosts and are"
                " not part of a release. Name another folder",
            )
