"""The key `services`: the applications of a stack, with a model for each kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from plainstack.inventory.health import Health
from plainstack.inventory.route_parts import Route
from plainstack.inventory.sections import Model
from plainstack.inventory.service_parts import (
    Build,
    DrillRequest,
    Hook,
    Placement,
    Process,
    ServiceSecret,
    ServiceTimer,
    StaticFiles,
    Writable,
)
from plainstack.inventory.service_values import (
    DEBIANS_PYTHON,
    DebianPackage,
    EnvironmentName,
    EnvironmentValue,
    InnerPath,
    PythonChoice,
    Seconds,
    Size,
    TargetPath,
)
from plainstack.inventory.values import Bool, FilePath, Int, Name, Port
from plainstack.inventory.web_values import PagePath, RoutePath, StaticPath


class Service(Model):
    """The keys that all kinds of service share."""

    source: FilePath = Field(description="The folder of the application's source.")
    hosts: Placement | None = Field(
        None, description="The role or the hosts that run the service; without it, the hosts with the role app."
    )
    path: RoutePath = Field(
        "/",
        description="The URL path of the service; the balancers pass on requests below it, with the path unchanged.",
    )
    routes: tuple[RoutePath | Route, ...] = Field(
        (), description="The URL paths of the service, each a path or a mapping, instead of the single `path`."
    )
    processes: dict[Name, Process] = Field({}, description="The service's programs, by name.")
    timers: dict[Name, ServiceTimer] = Field({}, description="Commands that run at certain times, by name.")
    env: dict[EnvironmentName, EnvironmentValue] = Field(
        {}, description="Environment variables; references such as `${database.url}` are replaced by their values."
    )
    secrets: dict[EnvironmentName, ServiceSecret] = Field(
        {}, description="Secret environment variables; set a value with `inv secrets.set SERVICE/NAME`."
    )
    files: dict[TargetPath, FilePath] = Field(
        {},
        description=(
            "Files that every release gets: the path inside the source, and the template beside the inventory, whose"
            " references are those of `env`."
        ),
    )
    build: Build = Field(Build(), description="Commands that complete a new release before any host uses it.")
    before: dict[Name, Hook] = Field(
        {}, description="Commands by name that run for each release before a host switches to it."
    )
    after: dict[Name, Hook] = Field(
        {}, description="Commands by name that run for each release after a host has started it."
    )
    packages: tuple[DebianPackage, ...] = Field((), description="Debian packages that the service needs.")
    drill: DrillRequest | None = Field(
        None, description="A request with which drills write, to count acknowledged writes that a failover lost."
    )
    max_body: Size | None = Field(
        None, description="The largest request body, such as an upload, if it differs from the site's."
    )
    writable: tuple[InnerPath | Writable, ...] = Field(
        (), description="Folders inside the source that the service may write, such as media; they survive releases."
    )

    @property
    def folders(self) -> tuple[str, ...]:
        """The paths of the folders that the service may write."""
        return tuple(one if isinstance(one, str) else one.path for one in self.writable)


class DjangoService(Service):
    """A Django project, run by Gunicorn."""

    kind: Literal["django"] = Field("django", description="The kind of application.")
    source: FilePath = Field(description="The folder of the application's source, with manage.py.")
    python: PythonChoice = Field(
        DEBIANS_PYTHON,
        description="The Python that runs it: Debian's, a version that uv downloads, or the path of one on the hosts.",
    )
    requirements: InnerPath = Field(
        "requirements.txt", description="The file inside the source that locks what is installed, with hashes."
    )
    project: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")] = Field(
        description="The Python package that holds settings.py and wsgi.py."
    )
    port: Port = Field(8000, description="The port on which the app hosts serve it.")
    workers: Annotated[Int, Field(ge=1, le=64)] = Field(2, description="Gunicorn's worker processes on each app host.")
    threads: Annotated[Int, Field(ge=1, le=64)] = Field(4, description="Threads of each worker.")
    health: PagePath | Health = Field(
        "/healthz",
        description="The page that answers 2xx when the service is ready to serve requests, or a mapping.",
    )
    timeout: Seconds = Field(60, description="Seconds that a balancer waits for a response.")
    live: PagePath | None = Field(
        None,
        description="An optional page that answers 2xx while the process runs, without using the database.",
    )
    static_url: StaticPath | None = Field(None, description="Django's STATIC_URL; by default, `static/` below `path`.")
    static_by: Literal["balancers", "application"] = Field(
        "balancers",
        description=(
            "Who answers requests for the files that collectstatic gathers: the balancers, or the application, which"
            " then needs a package such as whitenoise."
        ),
    )


class PythonService(Service):
    """A Python application whose processes the inventory lists, such as any ASGI or WSGI server."""

    kind: Literal["python"] = Field(description="The kind of application.")
    python: PythonChoice = Field(
        DEBIANS_PYTHON,
        description="The Python that runs it: Debian's, a version that uv downloads, or the path of one on the hosts.",
    )
    requirements: InnerPath = Field(
        "requirements.txt", description="The file inside the source that locks what is installed, with hashes."
    )
    static: StaticFiles | None = Field(None, description="Files of each release that the balancers serve themselves.")


class BinaryService(Service):
    """A program that runs as it is: an executable file, or a folder with one."""

    kind: Literal["binary"] = Field(description="The kind of application.")
    source: FilePath = Field(description="The program, or the folder that contains it.")
    static: StaticFiles | None = Field(None, description="Files of each release that the balancers serve themselves.")


class StaticService(Service):
    """A folder of files, such as a built frontend or documentation, served by nginx on the app hosts."""

    kind: Literal["static"] = Field(description="The kind of application.")
    folder: InnerPath | None = Field(
        None, description="The folder inside the source with the files, such as `dist`; without it, the source itself."
    )
    port: Port = Field(8080, description="The port on which the app hosts serve it.")
    spa: Bool = Field(False, description="Answer every path without a file, and without an extension, with index.html.")


KINDS = ("django", "python", "binary", "static")


def _kind(value: Any) -> str:
    kind = value.get("kind", "django") if isinstance(value, dict) else getattr(value, "kind", "django")
    return _tag(kind) if isinstance(kind, str) else ""


def _tag(kind: str) -> str:
    """Return the tag of a kind in the union, which no key has: `python` is also a key."""
    return f"kind {kind}"


AnyService = Annotated[
    Annotated[DjangoService, Tag(_tag("django"))]
    | Annotated[PythonService, Tag(_tag("python"))]
    | Annotated[BinaryService, Tag(_tag("binary"))]
    | Annotated[StaticService, Tag(_tag("static"))],
    Discriminator(
        _kind,
        custom_error_type="unknown_kind",
        custom_error_message="unknown kind of service",
        custom_error_context={"known": list(KINDS)},
    ),
]
