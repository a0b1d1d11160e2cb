"""The `lab` key of an inventory: what makes its hosts real, and more like the world."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from plainstack.inventory.sections import Model
from plainstack.inventory.values import (
    Address,
    BitRate,
    LabName,
    Loss,
    Milliseconds,
    Name,
    Room,
)


class Visitor(Model):
    """A lab host outside the stack, as a user's machine would be."""

    address: Address = Field(description="The machine's IPv4 address in the stack's network.")
    public: Address | None = Field(None, description="Its IPv4 address in the network of the users.")


class LabLink(Model):
    """What a link is like in each direction; `inv lab.up` refuses delay and loss on a kernel without netem."""

    rate: BitRate | None = Field(None, description="Bits a second at most, such as `10M`.")
    delay: Milliseconds | None = Field(None, description="Milliseconds that a packet takes, each way.")
    loss: Loss | None = Field(None, description="The share of packets that get lost.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.rate is None and self.delay is None and self.loss is None:
            raise ValueError("a mapping with rate, delay or loss, such as {rate: 10M}")
        return self


class LabSettings(Model):
    """What `inv lab.up` adds to the stack's hosts; their clock is this machine's (time namespaces leave it out)."""

    name: LabName | None = Field(
        None, description="The lab's name, where it is not the stack's; labs of different names never meet."
    )
    disks: dict[Name, Room] = Field({}, description="How much each host can write, such as `db1: 500M`.")
    sites: dict[Name, tuple[Name, ...]] = Field(
        {}, description="Hosts and visitors that share one link to all others, such as `west: [db2, lb2]`."
    )
    links: dict[Name, LabLink] = Field(
        {}, description="What the link of a host, a visitor or a site is like, such as `west: {rate: 10M}`."
    )
    debian: dict[Name, Literal[12, 13]] = Field(
        {}, description="The Debian release of a host or visitor that does not get 13, such as `app2: 12`."
    )
    no_ipv6: tuple[Name, ...] = Field((), description="Hosts and visitors without IPv6.")
    visitors: dict[Name, Visitor] = Field(
        {},
        description="Machines outside the stack, as users' are; their /etc/hosts has the site's names.",
    )
