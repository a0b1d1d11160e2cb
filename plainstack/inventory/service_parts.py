"""The parts of a service in the inventory: processes, timers, secrets, folders, builds, hooks and drills."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from plainstack.inventory.health import Health, Watchdog
from plainstack.inventory.route_parts import Route
from plainstack.inventory.sections import Model
from plainstack.inventory.service_values import (
    Calendar,
    CommandLine,
    EnvironmentName,
    EnvironmentValue,
    HeaderName,
    HookSeconds,
    InnerPath,
    Seconds,
    ShellLine,
    Size,
)
from plainstack.inventory.values import Bool, Int, Name, Port
from plainstack.inventory.web_values import PagePath, RoutePath, StaticPath

Placement = Name | tuple[Name, ...]


class Process(Model):
    """A program of a service, run by systemd on each of its hosts."""

    command: CommandLine = Field(
        description="The program and its arguments; programs of the virtual environment are found first."
    )
    hosts: Placement | None = Field(None, description="The role or the hosts that run it, if not those of the service.")
    count: Annotated[Int, Field(ge=1, le=64)] = Field(1, description="How many run on each host.")
    one: Bool = Field(
        False,
        description="Run it on exactly one of its hosts at a time; it moves within 30 seconds. It needs a database.",
    )
    port: Port | None = Field(None, description="The port at which it serves HTTP; `${port}` in the command.")
    health: PagePath | Health | None = Field(
        None,
        description="The page that answers 2xx when the process is ready, or a mapping; it needs `port`.",
    )
    live: PagePath | None = Field(
        None, description="A page that answers 2xx while the process runs, without using the database."
    )
    routes: tuple[RoutePath | Route, ...] = Field(
        (),
        description=(
            "The URL paths that the balancers pass on to it, each a path or a mapping; the process `web` has the"
            " service's `path` or `routes`."
        ),
    )
    timeout: Seconds = Field(60, description="Seconds that a balancer waits for a response.")
    stop_signal: Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2"] = Field(
        "TERM", description="The signal that asks the process to stop."
    )
    stop_timeout: Seconds = Field(40, description="Seconds that the process has to stop before it is killed.")
    start_timeout: Seconds = Field(60, description="Seconds that the process has to become ready.")
    memory: Size | None = Field(None, description="The most memory that it may use, such as 512M or 2G.")
    cpus: Annotated[Int, Field(ge=1, le=256)] | None = Field(None, description="The most CPU cores that it may use.")
    restart: Literal["always", "on-failure", "no"] = Field(
        "always",
        description=(
            "When systemd restarts the process after it has ended. With `on-failure` and `no`, a process that ends"
            " successfully is done until the next release or boot; one that has failed is reported."
        ),
    )
    watchdog: Watchdog | None = Field(
        None, description="Restarts the process when its health page stops answering; it needs `health`."
    )

    @property
    def check(self) -> Health | None:
        """The health page with all its settings; None if the process has none."""
        return Health(path=self.health) if isinstance(self.health, str) else self.health


class ServiceTimer(Model):
    """A command of a service that runs at certain times, on one of its hosts.

    With a database, another host runs it if one is down. Without one, only the first of its hosts runs it.
    """

    command: CommandLine = Field(description="The program and its arguments, as for a process.")
    calendar: Calendar = Field(description="The times, as in systemd.time(7), such as `daily` or `*:0/15`.")
    hosts: Placement | None = Field(
        None, description="The role or the hosts among which it runs, if not those of the service."
    )
    timeout: Annotated[Int, Field(ge=1, le=86400)] = Field(3600, description="Seconds after which it is killed.")


class ServiceSecret(Model):
    """A secret of a service: set by a person, generated, or printed by a command."""

    generate: Annotated[Int, Field(ge=16, le=512)] | None = Field(
        None, description="Generate a value of this many characters instead of asking a person to set it."
    )
    command: ShellLine | None = Field(
        None, description="A shell command on the operator's machine that prints the value, such as `pass show mail`."
    )
    file: Bool = Field(
        False, description="Pass the value in a file, and its path as the variable NAME_FILE, instead of in NAME."
    )
    fallbacks: EnvironmentName | None = Field(
        None,
        description=(
            "The variable for the values that are also accepted while the secret is rotated, separated by commas,"
            " such as SECRET_KEY_FALLBACKS."
        ),
    )


class Writable(Model):
    """A folder inside the source that the service may write."""

    path: InnerPath = Field(description="The folder, such as `media`.")
    shared: Bool | None = Field(
        None,
        description=(
            "`true` if all hosts must see the same files, which is possible only on one host; `false` if each host may"
            " have its own files, such as a cache."
        ),
    )
    backup: Bool = Field(False, description="Whether snapshots of the folder are taken, on each host of the service.")


class Build(Model):
    """What completes a release: a command on the operator's machine, and commands on the hosts."""

    local: ShellLine | None = Field(
        None,
        description=(
            "A shell command that plan and deploy run in the source folder on this machine, such as `npm run build`,"
            " if the source has changed since the last build."
        ),
    )
    output: tuple[InnerPath, ...] = Field((), description="Files or folders in the source that `local` must create.")
    host: tuple[CommandLine, ...] = Field(
        (), description="Commands that run in the new release on every host, before any host uses the release."
    )
    timeout: HookSeconds = Field(600, description="Seconds that each of the commands may take.")


class StaticFiles(Model):
    """Files of each release that the balancers serve themselves."""

    path: StaticPath = Field(description="The URL path of the files, such as `/static/`.")
    folder: InnerPath = Field(
        description="The folder with the files in a complete release, such as `staticfiles`; `build` may create it."
    )


class Hook(Model):
    """A command of a service that runs for each release, as the service's account."""

    command: CommandLine = Field(description="The program and its arguments, as for a process.")
    once: Bool = Field(
        False, description="Run it on one host of the service for each release, instead of on every host."
    )
    fatal: Bool = Field(True, description="Whether the deploy of a host fails if the command fails.")
    timeout: HookSeconds = Field(600, description="Seconds that the command may take.")


class DrillRequest(Model):
    """A request that drills send to write through the service, and the query that finds these writes in the database.

    The values may contain `${key}`, a text that is unique to the request, `${shard}`, a number from 0 to 7, and
    `${prefix}`, with which all keys of a drill begin.
    """

    path: PagePath = Field(description="The page that the request is sent to, with the method POST.")
    body: EnvironmentValue = Field(description="The body of the request; it contains `${key}`.")
    headers: dict[HeaderName, EnvironmentValue] = Field(
        {}, description="Headers of the request; `${secret.NAME}` stands for a secret of the service."
    )
    stored: EnvironmentValue = Field(
        description="A query that returns the stored keys that begin with `${prefix}`, one per row."
    )
    clean_up: EnvironmentValue = Field(description="SQL statements that remove what drills wrote.")
