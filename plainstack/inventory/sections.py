"""The sections of an inventory; docs/inventory.md is generated from the descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticCustomError

from plainstack.inventory.address_values import Address, Address4, Address6
from plainstack.inventory.values import (
    FilePath,
    Int,
    Interface,
    JumpHosts,
    Line,
    Network,
    Port,
)


class Model(BaseModel):
    """Base of all sections: closed (an unknown key is an error) and immutable.

    `replaced` names keys of earlier versions, and what to write instead.
    """

    replaced: ClassVar[Mapping[str, str]] = {}

    # Deferred: only the validator of the whole stack is built, not one for each section.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def _known_role(name: str, info: ValidationInfo) -> str:
    known = (info.context or {}).get("roles")
    if known is not None and name not in known:
        raise PydanticCustomError("unknown_role", "unknown role", {"known": list(known)})
    return name


class Ssh(Model):
    """How the operator's machine reaches the hosts."""

    user: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,31}$")] = Field(
        "root", description="The account to log in as: root, or one that may run every command with sudo."
    )
    port: Port = Field(22, description="The port of sshd on every host.")
    key: FilePath | None = Field(
        None,
        description=(
            "The only private key to offer. Without it, the keys that ssh would offer, including the agent's."
        ),
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
        description="The networks that may connect to the SSH port through the hosts' firewalls.",
    )
    connect_timeout: Annotated[Int, Field(ge=1, le=120)] = Field(
        10, description="Timeout for opening a connection, in seconds."
    )


class Host(Model):
    """One Debian machine."""

    name: str = ""
    address: Address = Field(
        description=(
            "The IPv4 or IPv6 address at which peers and the operator reach the host; all hosts use the same IP"
            " version."
        )
    )
    public: Address4 | None = Field(None, description="The IPv4 address at which users reach the host, if it has one.")
    public6: Address6 | None = Field(
        None,
        description="The IPv6 address at which users reach the host, if it has one; on the same interface as `public`.",
    )
    interface: Interface | None = Field(
        None, description="The network interface of the public address, where it is not `balancer.interface`."
    )
    roles: tuple[Annotated[str, AfterValidator(_known_role)], ...] = Field(
        (), description="The host's roles; any number of them, or none."
    )

    @property
    def public_addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses at which users reach the host: those of its own, or without any, the one that peers use."""
        own = tuple(one for one in (self.public, self.public6) if one is not None)
        return own or (self.address,)

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """All addresses of the host."""
        return tuple(dict.fromkeys((self.address, *self.public_addresses)))


class SecretStore(Model):
    """Where generated passwords and keys are stored."""

    recipients: tuple[Line, ...] = Field(
        (),
        description=(
            "The SSH public keys of the people who may deploy. With them, the secrets are encrypted with age; without"
            " them, they are in a file that only its owner can read."
        ),
    )
