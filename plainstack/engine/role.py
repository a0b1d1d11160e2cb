"""Roles: pure functions from (stack, host, vault) to resources, and the order between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from plainstack.engine.observed import Observed
from plainstack.engine.plan.actions import UnitVerb
from plainstack.engine.resources import Resource
from plainstack.inventory.sections import Host, Model
from plainstack.inventory.shape import Shape
from plainstack.inventory.stack import Stack
from plainstack.secrets import age
from plainstack.secrets.rotation import Manner
from plainstack.secrets.values import Vault
from plainstack.wording import Loc

if TYPE_CHECKING:
    from plainstack.engine.network import Network


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


Desired = Callable[[Stack, Host, Vault, "Network"], Iterable[Resource]]
Opens = Callable[[Stack, Host], Iterable[Opening]]
Facts = Callable[[Stack, Host], str]
Transition = Callable[[Stack, Mapping[str, Observed]], Stack]
Findings = Callable[[Stack, Host, Observed], Iterable[Finding]]
Problems = Callable[[Stack, datetime], Iterable[str]]
Certificates = Callable[[Stack, Host], Mapping[str, tuple[str, ...]]]
Contradictions = Callable[[Stack], Iterable[tuple[Loc, str]]]
Refusals = Callable[[Stack, Answers], Iterable[str]]
Prepares = Callable[[Stack, Collection[str], Answers], Generator[Mapping[str, str], Answers, Sequence[Errand]]]
Turns = Callable[[Mapping[str, HostWork]], Sequence[str]]


def opens_nothing(_stack: Stack, _host: Host) -> Iterable[Opening]:
    """For a role that offers no port."""
    return ()


def no_facts(_stack: Stack, _host: Host) -> str:
    """For a role whose host has no more state than its resources."""
    return ""


def no_transition(stack: Stack, _observed: Mapping[str, Observed]) -> Stack:
    """For a role with no value that peers must learn at the same moment."""
    return stack


def finds_nothing(_stack: Stack, _host: Host, _observed: Observed) -> Iterable[Finding]:
    """For a role that can be deployed onto whatever a host has."""
    return ()


def no_problems(_stack: Stack, _now: datetime) -> Iterable[str]:
    """For a role that takes nothing from the operator's machine."""
    return ()


def no_contradictions(_stack: Stack) -> Iterable[tuple[Loc, str]]:
    """For a role whose settings cannot contradict anything."""
    return ()


def no_certificates(_stack: Stack, _host: Host) -> Mapping[str, tuple[str, ...]]:
    """For a role that reads no certificate."""
    return {}


def all_at_once(_work: Mapping[str, HostWork]) -> Sequence[str]:
    """For a role whose hosts do not mind one another."""
    return ()


def one_by_one(work: Mapping[str, HostWork]) -> Sequence[str]:
    """For a role that is applied to one host at a time, in the order of the inventory."""
    return list(work)


@dataclass(frozen=True, slots=True)
class DeclaredSecret:
    """A password that is generated for the role, and how it is replaced; see plainstack.secrets.rotation."""

    name: str
    rotation: Manner = "at once"


@dataclass(frozen=True)
class Role:
    """One role: what it wants of a host, which ports it offers there, which roles' hosts must be done before.

    `opens` names what it offers; `uses` names what it needs of others', as ROLE.OFFER, where * stands for any name. All
    that roles must know of one another's hosts (firewall rules, access lists) follows from these two; see Network.
    It also waits for the roles that it `follows`, but does not need them: --role leaves those out.
    A role that is `everywhere` is on every host without being named in the inventory. `turns` names
    the hosts that go one after another, of those with work for the role, in their order; the first that fails is the
    last that is tried. After a host, its peers get the time of `settle` before the next one may go. `secrets` are
    the passwords that are generated for the role, `reads` names those of other roles that it reads, and `certificates`
    gives the certificates that it reads on a host, each with the names and addresses that it is for.
    `facts` is a shell snippet for the probe that prints key=value lines about a host's state beyond its resources, and
    `findings` are what they mean: reasons not to deploy onto that host, and what a person should know. `refusals` are
    reasons not to deploy that only the facts of all its hosts together give.
    `prepares` gets the names of its hosts that a deploy changes and the facts of those that were probed. It yields
    more questions, as shell snippets by host, gets the answers, and returns what must be done before the deploy begins.
    `status` is its column of `inv status`.
    `transition` gives the stack with the values that this role's hosts must go on serving, beside the new ones, until
    all hosts of the roles in `used_by` have moved; see plainstack.engine.transition.
    `settings` is the model of the role's own key in the inventory; the key is `key`, or else the role's name. Its hosts
    need a host of each of the roles in `needs`; a `single` role can be on one host only. `contradictions` are what a
    valid inventory gets wrong about the role, as (place, sentence) pairs; every command that loads it reports them.
    `origin` says where the role comes from, and `about` what it is, in a sentence; the registry fills both in.
    `problems` are sentences about what the stack gives the role (sources, certificates) that no host could take; plan
    and deploy ask for them before anything else, and no other command does.
    """

    name: str
    desired: Desired
    opens: Opens = opens_nothing
    uses: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    everywhere: bool = False
    key: str = ""
    settings: type[Model] | None = None
    needs: tuple[str, ...] = ()
    single: bool = False
    contradictions: Contradictions = no_contradictions
    origin: str = ""
    about: str = ""
    turns: Turns = all_at_once
    settle: Settle | None = None
    secrets: tuple[DeclaredSecret, ...] = ()
    reads: tuple[str, ...] = ()
    certificates: Certificates = no_certificates
    facts: Facts = no_facts
    transition: Transition = no_transition
    used_by: tuple[str, ...] = ()
    findings: Findings = finds_nothing
    refusals: Refusals | None = None
    status: Column | None = None
    prepares: Prepares | None = None
    problems: Problems = no_problems


def shape(roles: Mapping[str, Role]) -> Shape:
    """What the inventory of a stack with these roles may say."""
    named = {name: role for name, role in roles.items() if not role.everywhere}
    return Shape(
        settings={role.key or name: role.settings for name, role in roles.items() if role.settings is not None},
        roles=tuple(named),
        needs={name: role.needs for name, role in named.items()},
        single=tuple(name for name, role in named.items() if role.single),
        contradictions=(*(role.contradictions for role in roles.values()), age.contradictions),
    )


def assigned(roles: Mapping[str, Role]) -> tuple[str, ...]:
    """The names of the roles that an inventory gives to hosts; the others are on every host."""
    return tuple(name for name, role in roles.items() if not role.everywhere)


def hosts_of(stack: Stack, role: Role) -> list[Host]:
    """The hosts that have a role, in the order of the inventory."""
    return list(stack.hosts.values()) if role.everywhere else stack.with_role(role.name)


def of_host(host: Host, roles: Mapping[str, Role]) -> list[Role]:
    """The roles a host has, in the order they are applied."""
    return [role for role in roles.values() if role.everywhere or role.name in host.roles]
