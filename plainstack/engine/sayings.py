"""The values in which a role says what it does: what it offers, what it found, what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from plainstack.engine.plan.actions import UnitVerb
from plainstack.inventory.stack import Stack

Protocol = Literal["tcp", "udp", "vrrp"]


@dataclass(frozen=True, slots=True)
class Opening:
    """A port that a role offers on a host to the hosts of the roles whose `uses` name the offer.

    They reach it from their private addresses, or from the `public` ones. `sources` are addresses and networks beside
    them; None is anybody. `why` is for people: {user} in it stands for the role that uses the offer. Protocol vrrp has
    no port (0).
    """

    offer: str
    port: int
    protocol: Protocol
    why: str
    sources: tuple[str, ...] | None = ()
    public: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Something on a host that a role must not run over (`refused`), or that a person should know."""

    text: str
    refused: bool = True


@dataclass(frozen=True, slots=True)
class HostWork:
    """What a deploy does for a role on one of its hosts: verbs on units, and commands by their `id`.

    `facts` are what the host said when it was probed.
    """

    units: frozenset[tuple[UnitVerb, str]]
    commands: frozenset[str]
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Settle:
    """How many seconds peers need to see a changed host as well again, and the words for waiting that long."""

    seconds: int
    why: str


@dataclass(frozen=True, slots=True)
class Errand:
    """Something that a role has done on a host before a deploy changes anything there.

    `says` tells a person; `script` words it for root, given who deploys, from which commit, by which command.
    """

    host: str
    says: str
    script: Callable[[str, str, str], str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Status:
    """What a role says of its hosts in `inv status`: a cell for each, and what is wrong, with the host to name."""

    cells: Mapping[str, str]
    problems: Sequence[tuple[str, str]] = ()


Answers = Mapping[str, Mapping[str, str] | None]
"""The key=value lines that hosts printed, by their name; None for a host that could not be asked."""


@dataclass(frozen=True, slots=True)
class Column:
    """A role's column of `inv status`; those of all roles stand in the order of `place`.

    `says` words the facts of the role's hosts, without those that were not asked; its last argument is the time, in
    seconds since the epoch.
    """

    title: str
    place: int
    says: Callable[[Stack, Answers, float], Status]
