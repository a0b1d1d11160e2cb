"""The models of an inventory: what a stack is made of. Loaded from YAML by plainstack.inventory."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

ROLE_NAMES = ("db", "backup", "app", "balancer", "monitoring")
RoleName = Literal["db", "backup", "app", "balancer", "monitoring"]

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?")


def _host_or_stack_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("must be lower case letters, digits and '-', begin with a letter, at most 32 characters")
    return value


def _lab_name(value: str) -> str:
    if not _NAME.fullmatch(value) or len(value) > 30:
        raise ValueError("must be lower case letters, digits and '-', begin with a letter, at most 30 characters")
    return value


def _sql_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", value):
        raise ValueError("must be lower case letters, digits and '_', begin with a letter, at most 31 characters")
    return value


def _one_line(value: str) -> str:
    if "\n" in value or not value.strip():
        raise ValueError("must be one line of text")
    return value


def _strict_int(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def _strict_bool(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _address(value: Any) -> Any:
    # A number is an address to Python's ipaddress, and a typing mistake to everybody else.
    if not isinstance(value, str | IPv4Address):
        raise ValueError("must be an IPv4 address")
    return value


Name = Annotated[str, AfterValidator(_host_or_stack_name)]
LabName = Annotated[str, AfterValidator(_lab_name)]
SqlName = Annotated[str, AfterValidator(_sql_name)]
Line = Annotated[str, AfterValidator(_one_line)]
Address = Annotated[IPv4Address, BeforeValidator(_address)]
Interface = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,15}$")]
ServerName = Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)]
Int = Annotated[int, BeforeValidator(_strict_int)]
Bool = Annotated[bool, BeforeValidator(_strict_bool)]
Port = Annotated[Int, Field(ge=1, le=65535)]


class Model(BaseModel):
    """Closed and immutable: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ssh(Model):
    """How the operator's machine reaches the hosts; `allow_from` is whom the firewall lets in on the SSH port."""

    user: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")] = "root"
    port: Port = 22
    key: Path | None = None
    gateway: str | None = None
    allow_from: tuple[IPv4Network | IPv6Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    connect_timeout: Annotated[Int, Field(ge=1, le=120)] = 10


class Host(Model):
    """One Debian machine: `address` is where peers and the operator reach it, `public` where users do.

    `interface` is the one of its `public` address, when it has another name than `balancer.interface`.
    """

    name: str = ""
    address: Address
    public: Address | None = None
    interface: Interface | None = None
    roles: tuple[RoleName, ...] = ()


class GivenCertificate(Model):
    """A certificate chain and its key, as PEM files beside the inventory."""

    certificate: Path
    key: Path


class Balancer(Model):
    """The way in: TLS end point, HTTP routing, and the virtual address that moves between the balancers.

    Without `server_names` the site answers to any name. `angie_key` is the file of the key that signs Angie's packages.
    """

    engine: Literal["nginx", "angie"] = "nginx"
    virtual_address: Address | None = None
    interface: Interface = "eth0"
    router_id: Annotated[Int, Field(ge=1, le=255)] = 51
    server_names: tuple[ServerName, ...] = ()
    angie_key: Path | None = None
    tls: Literal["self-signed"] | GivenCertificate = "self-signed"
    max_body: Annotated[str, Field(pattern=r"^[0-9]+[kmg]?$")] = "10m"


class Service(Model):
    """An application that the app hosts run; the balancers send it the requests below `path`, with their whole path.

    `health` is the page that answers 2xx when the service can do its work, `live` one that does as long as its process
    answers, with no database; a service need not have the latter.
    `static_url` is Django's STATIC_URL; static/ below `path` when it is not given.
    """

    kind: Literal["django"] = "django"
    source: Path
    project: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")]
    port: Port = 8000
    workers: Annotated[Int, Field(ge=1, le=64)] = 2
    threads: Annotated[Int, Field(ge=1, le=64)] = 4
    health: Annotated[str, Field(pattern=r"^/[A-Za-z0-9/_.-]*$")] = "/healthz"
    timeout: Annotated[Int, Field(ge=1, le=3600)] = 60
    live: Annotated[str, Field(pattern=r"^/[A-Za-z0-9/_.-]*$")] | None = None
    path: Annotated[str, Field(pattern=r"^/([A-Za-z0-9_.-]+/)*$")] = "/"
    static_url: Annotated[str, Field(pattern=r"^/([A-Za-z0-9_.-]+/)+$")] | None = None

    @property
    def static(self) -> str:
        """The path below which the service's static files are asked for."""
        return self.static_url or f"{self.path}static/"


class Database(Model):
    """The PostgreSQL cluster of the db hosts; which one is primary is observed, never declared."""

    name: SqlName
    version: Literal[17] = 17
    synchronous: Bool = True
    max_connections: Annotated[Int, Field(ge=20, le=2000)] = 100
    shared_buffers: Annotated[str, Field(pattern=r"^[0-9]+(kB|MB|GB)$")] = "128MB"


class Backup(Model):
    """Barman: how long backups are kept, when they are taken (systemd calendar, UTC), how old the last one may be."""

    retention: Annotated[str, Field(pattern=r"^(RECOVERY WINDOW OF [0-9]+ (DAYS|WEEKS|MONTHS)|REDUNDANCY [0-9]+)$")] = (
        "RECOVERY WINDOW OF 7 DAYS"
    )
    schedule: Line = "*-*-* 02:00"
    max_age_hours: Annotated[Int, Field(ge=1)] = 26


class Monitoring(Model):
    """Prometheus and Alertmanager; `webhook` receives the alerts, beside the Alertmanager's own list."""

    scrape_interval: Annotated[Int, Field(ge=1, le=300)] = 15
    retention: Annotated[str, Field(pattern=r"^[0-9]+[dwy]$")] = "30d"
    webhook: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None


class Base(Model):
    """What every host gets besides its roles."""

    apt_proxy: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None


class SecretStore(Model):
    """Where generated passwords live: age-encrypted to these SSH public keys, or in a file with mode 0600 when none."""

    recipients: tuple[Line, ...] = ()


class Visitor(Model):
    """A lab host outside the stack, as a user's machine would be."""

    address: Address
    public: Address | None = None


class LabSettings(Model):
    """What `inv lab.up` adds to the stack's hosts, and the lab's name if it is not the stack's.

    Labs of different names never meet, so two of one stack can run side by side on one machine.
    """

    name: LabName | None = None
    visitors: dict[Name, Visitor] = {}


class StillServed(Model):
    """What hosts go on serving beside what the inventory says, until their peers have moved: ports by service, and
    names of databases. Observed, never written by a person; see plainstack.transition."""

    ports: dict[str, tuple[int, ...]] = {}
    databases: tuple[str, ...] = ()


class Stack(Model):
    """A whole inventory. `folder` is where the inventory file lies; relative paths in it start there."""

    folder: Path = Path()
    still: StillServed = StillServed()
    stack: Name
    ssh: Ssh = Ssh()
    hosts: dict[Name, Host] = Field(min_length=1)
    base: Base = Base()
    balancer: Balancer = Balancer()
    services: dict[Name, Service] = {}
    database: Database | None = None
    backup: Backup = Backup()
    monitoring: Monitoring = Monitoring()
    secrets: SecretStore = SecretStore()
    lab: LabSettings = LabSettings()

    def with_role(self, role: str) -> list[Host]:
        """The hosts of a role, in the order of the inventory."""
        return [host for host in self.hosts.values() if role in host.roles]

    def ports(self, service: str) -> tuple[int, ...]:
        """The ports at which the app hosts serve a service: the one that is wanted first."""
        return (self.services[service].port, *self.still.ports.get(service, ()))

    def file(self, path: Path) -> Path:
        """A path of the inventory, resolved against the folder the inventory lies in."""
        return self.folder / path

    @property
    def state(self) -> Path:
        """The folder of what Plainstack keeps on the operator's machine for this stack (git-ignored)."""
        return self.folder / ".plainstack" / (self.lab_name if self.in_lab else self.stack)

    @property
    def lab_name(self) -> str:
        """The name of the lab that realises the stack."""
        return self.lab.name or self.stack

    @property
    def in_lab(self) -> bool:
        """Whether the hosts are lab hosts of this machine."""
        return self.ssh.gateway == "lab"
