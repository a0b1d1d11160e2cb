"""The models of an inventory: what a stack is made of. Loaded from YAML by plainstack.inventory.load."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from plainstack.inventory.lab_settings import LabSettings
from plainstack.inventory.sections import (
    Backup,
    Balancer,
    Base,
    Database,
    Firewall,
    Host,
    Model,
    Monitoring,
    SecretStore,
    Service,
    Ssh,
)
from plainstack.inventory.values import FilePath, Name


class StillServed(Model):
    """What hosts go on serving beside what the inventory says, until their peers have moved: ports by service, and
    names of databases. Observed, never written by a person; see plainstack.engine.transition."""

    ports: dict[str, tuple[int, ...]] = Field({})
    databases: tuple[str, ...] = ()


class Stack(Model):
    """A whole inventory. `folder` is where the inventory file lies; relative paths in it start there."""

    folder: Path = Path()
    still: StillServed = StillServed()
    stack: Name = Field(description="The stack's name; two stacks of one operator have different ones.")
    extends: FilePath | None = Field(
        None,
        description="Another inventory that this one adds to: mappings merge, lists and values replace, null removes.",
    )
    ssh: Ssh = Field(Ssh(), description="How the operator's machine reaches the hosts.")
    hosts: dict[Name, Host] = Field(min_length=1, description="The stack's machines by name.")
    base: Base = Field(Base(), description="What every host gets besides its roles.")
    firewall: Firewall = Field(Firewall(), description="The packet filter of every host.")
    balancer: Balancer = Field(
        Balancer(), description="The way in: TLS, HTTP routing, and the address that moves between the balancers."
    )
    services: dict[Name, Service] = Field({}, description="The applications that the app hosts run, by name.")
    database: Database | None = Field(
        None, description="The PostgreSQL cluster of the db hosts; needed where a host has the role db."
    )
    backup: Backup = Field(Backup(), description="Barman on the backup host.")
    monitoring: Monitoring = Field(Monitoring(), description="Prometheus and Alertmanager on the monitoring hosts.")
    secrets: SecretStore = Field(SecretStore(), description="Where generated passwords and keys are kept.")
    lab: LabSettings = Field(LabSettings(), description="What `inv lab.up` adds to the hosts.")

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
