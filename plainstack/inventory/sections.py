"""The parts of an inventory, each a key of it; docs/inventory.md is made of their descriptions."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from plainstack.inventory.values import (
    Address,
    Bool,
    FilePath,
    Int,
    Interface,
    JumpHosts,
    Line,
    Memory,
    Network,
    Network4,
    Port,
    Retention,
    ServerName,
    SqlName,
    TimeSpan,
    Url,
)

ROLE_NAMES = ("db", "backup", "app", "balancer", "monitoring")
RoleName = Literal["db", "backup", "app", "balancer", "monitoring"]


class Model(BaseModel):
    """Closed and immutable: an unknown key is an error."""

    # Deferred: one validator, the stack's, instead of one for each of its parts.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Ssh(Model):
    """How the operator's machine reaches the hosts."""

    user: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")] = Field(
        "root", description="The account that the operator logs in as: root, or one that may run everything with sudo."
    )
    port: Port = Field(22, description="The port of sshd on every host.")
    key: FilePath | None = Field(
        None, description="A private key that is offered alone; without it, ssh's own keys and agent are used."
    )
    gateway: JumpHosts | None = Field(
        None,
        description=(
            "A jump host, or several with commas between them, as for `ssh -J`; `none` overrides ~/.ssh/config,"
            " and `lab` means the lab of this machine."
        ),
    )
    allow_from: tuple[Network, ...] = Field(
        (ip_network("0.0.0.0/0"), ip_network("::/0")),
        description="The networks that the hosts' firewalls let in on the SSH port.",
    )
    connect_timeout: Annotated[Int, Field(ge=1, le=120)] = Field(
        10, description="Seconds that a connection may take to be opened."
    )


class Host(Model):
    """One Debian machine."""

    name: str = ""
    address: Address = Field(description="The IPv4 address at which peers and the operator reach the host.")
    public: Address | None = Field(None, description="The IPv4 address at which users reach the host, if it has one.")
    interface: Interface | None = Field(
        None, description="The network interface of the public address, where it is not `balancer.interface`."
    )
    roles: tuple[RoleName, ...] = Field(
        (), description="What the host does: db, backup, app, balancer, monitoring; any number of them, or none."
    )


class GivenCertificate(Model):
    """A certificate chain and its key, as PEM files beside the inventory."""

    certificate: FilePath = Field(description="The PEM file of the certificate and its chain, the site's own first.")
    key: FilePath = Field(description="The PEM file of the certificate's private key, without a passphrase.")


class Balancer(Model):
    """The way in: TLS end point, HTTP routing, and the virtual address that moves between the balancers."""

    engine: Literal["nginx", "angie"] = Field(
        "nginx", description="The web server: Debian's nginx, or Angie from its vendor's repository."
    )
    virtual_address: Address | None = Field(
        None,
        description=(
            "The IPv4 address of the site, which moves to a balancer that works; without it, the balancers' own"
            " addresses are used."
        ),
    )
    network: Network4 | None = Field(
        None,
        description="The network that holds the virtual address, if not the /24 of the balancers' public addresses.",
    )
    interface: Interface = Field("eth0", description="The network interface of the public addresses.")
    router_id: Annotated[Int, Field(ge=1, le=255)] = Field(
        51, description="The VRRP router ID; two stacks in one network need different ones."
    )
    server_names: tuple[ServerName, ...] = Field(
        (),
        description=(
            "The names that the site answers to, such as `shop.example.com` or `*.example.com`; without them it"
            " answers to any."
        ),
    )
    angie_key: FilePath | None = Field(
        None, description="The file of the key that signs Angie's packages; needed for the engine angie."
    )
    tls: Literal["self-signed"] | GivenCertificate = Field(
        "self-signed", description="`self-signed`, by the stack's own authority, or the files of a certificate."
    )
    http3: Bool = Field(True, description="Whether browsers are offered HTTP/3 beside HTTP/2.")
    max_body: Annotated[str, Field(pattern=r"^[0-9]+[kmg]?$")] = Field(
        "10m", description="The largest request body, in bytes or with k, m or g."
    )


class Service(Model):
    """An application that the app hosts run."""

    kind: Literal["django"] = Field("django", description="What the application is made of.")
    source: FilePath = Field(description="The folder of the application's source, with manage.py and requirements.txt.")
    project: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$")] = Field(
        description="The Python package that holds settings.py and wsgi.py."
    )
    port: Port = Field(8000, description="The port at which the app hosts serve it.")
    workers: Annotated[Int, Field(ge=1, le=64)] = Field(2, description="Gunicorn's worker processes on each app host.")
    threads: Annotated[Int, Field(ge=1, le=64)] = Field(4, description="Threads of each worker.")
    health: Annotated[str, Field(pattern=r"^/[A-Za-z0-9/_.-]*$")] = Field(
        "/healthz", description="The page that answers 2xx when the service can do its work."
    )
    timeout: Annotated[Int, Field(ge=1, le=3600)] = Field(
        60, description="Seconds that a balancer waits for an answer."
    )
    live: Annotated[str, Field(pattern=r"^/[A-Za-z0-9/_.-]*$")] | None = Field(
        None, description="A page that answers 2xx as long as the process answers, with no database, if there is one."
    )
    path: Annotated[str, Field(pattern=r"^/([A-Za-z0-9_.-]+/)*$")] = Field(
        "/", description="The path below which the balancers send requests to it; the path is passed on whole."
    )
    static_url: Annotated[str, Field(pattern=r"^/([A-Za-z0-9_.-]+/)+$")] | None = Field(
        None, description="Django's STATIC_URL; `static/` below `path` when it is not given."
    )

    @property
    def static(self) -> str:
        """The path below which the service's static files are asked for."""
        return self.static_url or f"{self.path}static/"


class Database(Model):
    """The PostgreSQL cluster of the db hosts; which one is primary is observed, never declared."""

    name: SqlName = Field(description="The database that the services use.")
    version: Literal[17] = Field(17, description="PostgreSQL's major version.")
    synchronous: Bool = Field(True, description="Whether a commit waits until a replica has it.")
    max_connections: Annotated[Int, Field(ge=20, le=2000)] = Field(
        100, description="PostgreSQL's max_connections; a change restarts the db hosts one by one."
    )
    shared_buffers: Memory = Field(
        "128MB", description="PostgreSQL's shared_buffers; a change restarts the db hosts one by one."
    )


class Backup(Model):
    """Barman on the backup host."""

    retention: Retention = Field(
        "RECOVERY WINDOW OF 7 DAYS",
        description="How long backups are kept, as Barman takes it: `RECOVERY WINDOW OF n DAYS` or `REDUNDANCY n`.",
    )
    schedule: Line = Field(
        "*-*-* 02:00", description="When a base backup is taken, as a systemd calendar expression, in UTC."
    )
    max_age_hours: Annotated[Int, Field(ge=1, le=9999)] = Field(
        26, description="The age of the last backup, in hours, from which on an alert fires."
    )


class Monitoring(Model):
    """Prometheus and Alertmanager."""

    scrape_interval: Annotated[Int, Field(ge=1, le=300)] = Field(
        15, description="Seconds between two readings of every metric."
    )
    retention: TimeSpan = Field("30d", description="How long metrics are kept: a number with d, w or y.")
    webhook: Url | None = Field(None, description="The URL that receives alerts; without it they are only listed.")


class Base(Model):
    """What every host gets besides its roles."""

    apt_proxy: Url | None = Field(None, description="The HTTP proxy that apt fetches packages through.")


class Firewall(Model):
    """The packet filter of every host."""

    foreign: Literal["refuse", "keep", "replace"] = Field(
        "refuse",
        description=(
            "What becomes of packet filter rules that Plainstack did not make: `refuse` deploys nothing where "
            "they would undo what it opens or closes, and leaves the chains of Docker, fail2ban and the like "
            "alone; `keep` leaves all of them alone; `replace` removes them."
        ),
    )


class SecretStore(Model):
    """Where generated passwords and keys are kept."""

    recipients: tuple[Line, ...] = Field(
        (),
        description=(
            "The SSH public keys of the people who may deploy: the store is encrypted to them with age. Without"
            " them it is a file that only its owner may read."
        ),
    )
