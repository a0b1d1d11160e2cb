"""The `lab` key of an inventory: the lab's name, and its disks, links, sites and visitors."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from plainstack.inventory.address_values import Address, Address4, Address6
from plainstack.inventory.sections import Model
from plainstack.inventory.service_values import DebianPackage
from plainstack.inventory.values import (
    BitRate,
    LabName,
    Loss,
    Milliseconds,
    Name,
    Room,
)


class Visitor(Model):
    """A lab host outside the stack, such as a user's machine."""

    address: Address = Field(description="The machine's address in the stack's network, IPv4 or IPv6 like the hosts'.")
    public: Address4 | None = Field(None, description="Its IPv4 address in the network of the users.")
    public6: Address6 | None = Field(None, description="Its IPv6 address in the network of the users.")
    resolver: Address | None = Field(
        None,
        description="The DNS server that it asks; its /etc/hosts then has no names of the site.",
    )


class LabLink(Model):
    """The properties of a link, in each direction; `inv lab.up` refuses delay and loss on a kernel without netem."""

    rate: BitRate | None = Field(None, description="The maximum number of bits a second, such as `10M`.")
    delay: Milliseconds | None = Field(None, description="How long each packet is delayed, such as `20ms`.")
    loss: Loss | None = Field(None, description="The share of packets that get lost.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.rate is None and self.delay is None and self.loss is None:
            raise ValueError("a mapping with rate, delay or loss, such as {rate: 10M}")
        return self


class LabSettings(Model):
    """How `inv lab.up` sets up the hosts and links of a lab. All hosts share this machine's clock."""

    name: LabName | None = Field(
        None, description="The lab's name, if not the stack's; labs with different names are separate."
    )
    disks: dict[Name, Room] = Field({}, description="How much each host can write, at least 64M, such as `db1: 500M`.")
    sites: dict[Name, tuple[Name, ...]] = Field(
        {}, description="Hosts and visitors that share one link to all others, such as `west: [db2, lb2]`."
    )
    links: dict[Name, LabLink] = Field(
        {}, description="The link of a host, a visitor or a site, such as `west: {rate: 10M}`."
    )
    debian: dict[Name, Literal[12, 13]] = Field(
        {}, description="The Debian release of a host or visitor, if not 13, such as `app2: 12`."
    )
    packages: tuple[DebianPackage, ...] = Field(
        (), description="Debian packages that new hosts already have, such as those in your provider's image."
    )
    no_ipv6: tuple[Name, ...] = Field((), description="Hosts and visitors without IPv6.")
    visitors: dict[Name, Visitor] = Field(
        {},
        description=(
            "Machines outside the stack, like those of users. Their /etc/hosts has the site's names, unless they have a"
            " `resolver`."
        ),
    )
