"""Roles: pure functions from (stack, host, vault) to resources, and the order between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from plainstack.engine.observed import Observed
from plainstack.engine.resources import File, Resource
from plainstack.engine.sayings import Answers, Column, Errand, Finding, HostWork, Opening, Protocol, Settle, Status
from plainstack.engine.watching import Job
from plainstack.inventory.sections import Host, Model
from plainstack.inventory.shape import Shape
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import Target
from plainstack.secrets import age
from plainstack.secrets.rotation import RotationStrategy
from plainstack.secrets.values import Vault
from plainstack.wording import Loc

if TYPE_CHECKING:
    from plainstack.engine.network import Network

# All that a role's module needs to say what it does.
__all__ = [
    "Answers",
    "Column",
    "DeclaredSecret",
    "Errand",
    "Finding",
    "HostWork",
    "Opening",
    "Protocol",
    "Role",
    "Settle",
    "Status",
    "all_at_once",
    "assigned",
    "hosts_of",
    "of_host",
    "one_by_one",
    "shape",
]

Desired = Callable[[Stack, Host, Vault, "Network"], Iterable[Resource]]
Opens = Callable[[Stack, Host], Iterable[Opening]]
Facts = Callable[[Stack, Host], str]
Transition = Callable[[Stack, Mapping[str, Observed]], Stack]
Findings = Callable[[Stack, Host, Observed], Iterable[Finding]]
Problems = Callable[[Stack, datetime], Iterable[str]]
Certificates = Callable[[Stack, Host], Mapping[str, tuple[str, ...]]]
Contradictions = Callable[[Stack], Iterable[tuple[Loc, str]]]
Refusals = Callable[[Stack, Answers], Iterable[str]]
Prepares = Callable[["Network", Collection[str], Answers], Generator[Mapping[str, str], Answers, Sequence[Errand]]]
Scrapes = Callable[[Stack, Host], Iterable[Job]]
Rules = Callable[[Stack, Host, int], Iterable[File]]
Tunnels = Callable[[Stack], Iterable[Target]]
Notes = Callable[[Stack], Iterable[str]]
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


def no_scrapes(_stack: Stack, _watcher: Host) -> Iterable[Job]:
    """For a role that says nothing of how it does."""
    return ()


def no_rules(_stack: Stack, _watcher: Host, _interval: int) -> Iterable[File]:
    """For a role that nobody is alerted about."""
    return ()


def no_tunnels(_stack: Stack) -> Iterable[Target]:
    """For a role with nothing that the operator would look at."""
    return ()


def no_notes(_stack: Stack) -> Iterable[str]:
    """For a role with no transition."""
    return ()


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
    rotation: RotationStrategy = "at once"


@dataclass(frozen=True)
class Role:
    """A role: everything that the engine, the scheduler and the commands know of it.

    What it is:
        `name`; `about` and `origin`, a sentence about it and where it comes from, which the registry fills in;
        `settings`, the model of its own key in the inventory, and `key`, that key where it is not the name;
        `everywhere`: it is on every host without being named in the inventory;
        `needs`: roles without which its hosts are of no use; `single`: only one host can have it.

    What it wants of a host:
        `desired`, its resources, a pure function;
        `secrets`, the passwords that are generated for it, and `reads`, those of other roles that it reads;
        `certificates`, those that it reads on a host, each with the names and addresses that it is for.

    Whom it talks to:
        `opens`, the ports that it offers, and `uses`, the offers of other roles that it needs, as ROLE.OFFER, where *
        stands for any name; `offers_to`, the roles that may use an offer of its own although their `uses` do not name
        it. Firewall rules and access lists follow from these; see Network.

    When it is deployed:
        `after`, roles that come before it and that --role brings along; `follows`, roles that come before it and that
        --role leaves out;
        `turns`, which of its hosts with work go one after another, in their order; when one fails the rest are not
        tried; `settle`, the time that peers get after each host;
        `transition`, the stack with the values that its hosts must go on serving beside the new ones until all hosts
        of the roles in `used_by` have moved; see plainstack.engine.transition; `still_served`, what that is, in
        sentences.

    What must not be deployed:
        `contradictions`, what a valid inventory gets wrong about the role, as (place, sentence) pairs, reported by
        every command that loads it; `problems`, sentences about what the stack gives the role (sources, certificates)
        and no host could take, asked for by plan and deploy before anything else;
        `facts`, a shell snippet for the probe that prints key=value lines about a host's state beyond its resources;
        `findings`, what the facts of one host mean; `refusals`, reasons that only the facts of all hosts give;
        `prepares`, which gets the names of the hosts that a deploy changes and the facts of those that were probed,
        yields more questions as shell snippets by host, gets the answers, and returns what must be done first.

    What people see of it:
        `status`, its column of `inv status`;
        `scrapes`, the jobs by which a monitoring host watches its hosts; `rules`, the files with its alerts there,
        given the seconds between two readings;
        `tunnels`, its web pages and other ports that a tunnel can lead to.
    """

    name: str
    desired: Desired
    opens: Opens = opens_nothing
    uses: tuple[str, ...] = ()
    offers_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
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
    still_served: Notes = no_notes
    findings: Findings = finds_nothing
    refusals: Refusals | None = None
    status: Column | None = None
    scrapes: Scrapes = no_scrapes
    rules: Rules = no_rules
    tunnels: Tunnels = no_tunnels
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
