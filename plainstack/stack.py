"""The models of an inventory: what a stack is made of. Loaded from YAML by plainstack.inventory."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from plainstack.values import (
    Address,
    BitRate,
    Bool,
    FilePath,
    Int,
    Interface,
    JumpHosts,
    LabName,
    Line,
    Loss,
    Memory,
    Milliseconds,
    Name,
    Network,
    Network4,
    Port,
    Retention,
    Room,
    ServerName,
    SqlName,
    TimeSpan,
    Url,
)

ROLE_NAMES = ("db", "backup", "app", "balancer", "monitoring")
RoleName = Literal["db", "backup", "app", "balancer", "monitoring"]


class Model(BaseModel):
    """Closed and immutable: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ssh(Model):
    """How the operator's machine reaches the hosts; `allow_from` is whom the firewall lets in on the SSH port.

    `gateway` is a jump host, or several with commas between them, as for `ssh -J`; `none` overrides ~/.ssh/config, and
    `lab` means the lab of this machine.
    """

    user: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")] = "root"
    port: Port = 22
    key: FilePath | None = None
    gateway: JumpHosts | None = None
    allow_from: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
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

    certificate: FilePath
    key: FilePath


class Balancer(Model):
    """The way in: TLS end point, HTTP routing, and the virtual address that moves between the balancers.

    `network` is the one that holds the virtual address, where that is not the /24 of the balancers' public addresses.
    Without `server_names` the site answers to any name. `angie_key` is the file of the key that signs Angie's packages.
    With `http3: false` browsers are told to use HTTP/2 only.
    """

    engine: Literal["nginx", "angie"] = "nginx"
    virtual_address: Address | None = None
    network: Network4 | None = None
    interface: Interface = "eth0"
    router_id: Annotated[Int, Field(ge=1, le=255)] = 51
    server_names: tuple[ServerName, ...] = ()
    angie_key: FilePath | None = None
    tls: Literal["self-signed"] | GivenCertificate = "self-signed"
    http3: Bool = True
    max_body: Annotated[str, Field(pattern=r"^[0-9]+[kmg]?$")] = "10m"


class Service(Model):
    """An application that the app hosts run; the balancers send it the requests below `path`, with their whole path.

    `health` is the page that answers 2xx when the service can do its work, `live` one that does as long as its process
    answers, with no database; a service need not have the latter.
    `static_url` is Django's STATIC_URL; static/ below `path` when it is not given.
    """

    kind: Literal["django"] = "django"
    source: FilePath
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
    shared_buffers: Memory = "128MB"


class Backup(Model):
    """Barman: how long backups are kept, when they are taken (systemd calendar, UTC), how old the last one may be."""

    retention: Retention = "RECOVERY WINDOW OF 7 DAYS"
    schedule: Line = "*-*-* 02:00"
    max_age_hours: Annotated[Int, Field(ge=1, le=9999)] = 26


class Monitoring(Model):
    """Prometheus and Alertmanager; `webhook` receives the alerts, beside the Alertmanager's own list."""

    scrape_interval: Annotated[Int, Field(ge=1, le=300)] = 15
    retention: TimeSpan = "30d"
    webhook: Url | None = None


class Base(Model):
    """What every host gets besides its roles."""

    apt_proxy: Url | None = None


class Firewall(Model):
    """What becomes of packet filter rules that Plainstack finds on a host and did not make.

    `refuse` deploys nothing where they would undo what it opens or closes, and leaves the chains of Docker, fail2ban
    and the like alone; `keep` leaves everything alone; `replace` removes everything.
    """

    foreign: Literal["refuse", "keep", "replace"] = "refuse"


class SecretStore(Model):
    """Where generated passwords live: age-encrypted to these SSH public keys, or in a file with mode 0600 when none."""

    recipients: tuple[Line, ...] = ()


class Visitor(Model):
    """A lab host outside the stack, as a user's machine would be."""

    address: Address
    public: Address | None = None


class LabLink(Model):
    """What the link of a host or a site is like, in each direction: at most `rate` bits a second, a `delay`, a `loss`.

    A round trip takes the delay twice. Delay and loss need a kernel with netem; inv lab.up refuses them without it.
    """

    rate: BitRate | None = None
    delay: Milliseconds | None = None
    loss: Loss | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.rate is None and self.delay is None and self.loss is None:
            raise ValueError("a mapping with rate, delay or loss, such as {rate: 10M}")
        return self


class LabSettings(Model):
    """What `inv lab.up` adds to the stack's hosts, and the lab's name if it is not the stack's.

    Labs of different names never meet, so two of one stack can run side by side on one machine. `disks` limits how much
    a host can write: db1: 500M. `sites` groups hosts behind one link: west: [db2, lb2]. `links` says what the link of a
    host or a site is like: west: {rate: 10M}. `debian` is the release of a host that does not get 13: app2: 12.
    `no_ipv6` lists hosts without IPv6. All of them name visitors too. A visitor finds the site's names in its
    /etc/hosts. All hosts share this machine's clock: time namespaces of Linux leave out CLOCK_REALTIME.
    """

    name: LabName | None = None
    disks: dict[Name, Room] = {}
    sites: dict[Name, tuple[Name, ...]] = {}
    links: dict[Name, LabLink] = {}
    debian: dict[Name, Literal[12, 13]] = {}
    no_ipv6: tuple[Name, ...] = ()
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
    extends: FilePath | None = None
    ssh: Ssh = Ssh()
    hosts: dict[Name, Host] = Field(min_length=1)
    base: Base = Base()
    firewall: Firewall = Firewall()
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
        return self.folder / ".plainstack" / self.lab_name

    @property
    def lab_name(self) -> str:
        """The name of the lab that realises the stack."""
        return self.lab.name or self.stack

    @property
    def in_lab(self) -> bool:
        """Whether the hosts are lab hosts of this machine."""
        return self.ssh.gateway == "lab"
