"""Roles: pure functions from (stack, host, vault, network) to resources, and how the engine uses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from plainstack.dataclass import dataclass
from plainstack.engine.references import Reference
from plainstack.engine.role_functions import (
    Certificates,
    Contradictions,
    Desired,
    Facts,
    Findings,
    HeldBack,
    Leaves,
    Notes,
    Opens,
    Prepares,
    Problems,
    Reads,
    Refusals,
    Rules,
    Scrapes,
    Secrets,
    Transition,
    Tunnels,
    Turns,
    all_at_once,
    finds_nothing,
    held_back_by_nothing,
    holds_nothing,
    leaves_nothing,
    no_certificates,
    no_contradictions,
    no_facts,
    no_notes,
    no_problems,
    no_rules,
    no_scrapes,
    no_transition,
    no_tunnels,
    one_by_one,
    opens_nothing,
)
from plainstack.engine.sayings import (
    Answers,
    Column,
    Errand,
    Finding,
    HostWork,
    Leftover,
    Opening,
    Protocol,
    Settle,
    Spare,
    Status,
)
from plainstack.inventory.sections import Host, Model
from plainstack.inventory.shape import Shape
from plainstack.inventory.stack import Stack
from plainstack.secrets import age
from plainstack.secrets.declaration import DeclaredSecret, FromCommand, Generated, Given

# Everything that the module of a role needs.
__all__ = [
    "Answers",
    "Column",
    "DeclaredSecret",
    "Errand",
    "Finding",
    "FromCommand",
    "Generated",
    "Given",
    "HostWork",
    "Leftover",
    "Opening",
    "Protocol",
    "Reference",
    "Role",
    "Settle",
    "Spare",
    "Status",
    "all_at_once",
    "assigned",
    "hosts_of",
    "of_host",
    "one_by_one",
    "shape",
]


@dataclass(frozen=True)
class Role:
    """A role, as the engine, the scheduler and the commands use it.

    Identity:
        `name`; `about`, a sentence about the role, and `origin`, where it is defined, both filled in by the registry;
        `settings`, the model of its key in the inventory, and `key`, that key if it is not the name;
        `everywhere`: every host has the role, and the inventory does not list it; `on`: likewise for every host with
        one of these roles;
        `needs`: roles that some host must have if a host has this one; `single`: only one host can have the role.

    Desired state:
        `desired`, a pure function that returns the role's resources on a host;
        `secrets`, the secrets that the role declares, and `reads`, the names of other roles' secrets that it reads;
        each is a tuple, or a pure function of the stack;
        `certificates`, the certificates that it reads on a host, each with the names and addresses it is issued for;
        `provides`, the values that services can refer to in the inventory, by name, and `refers`, a pure function of
        the stack that returns the names of those that the role reads.

    Network:
        `opens`, the ports that it offers, and `uses`, the offers of other roles that it needs, as patterns for
        ROLE.OFFER in which * matches any text; `offers_to`, by offer, the roles that may use it although their `uses`
        do not name it. Firewall rules and access lists are derived from these; see Network.

    Order of deployment:
        `after`, roles that are deployed before this one and that --role includes; `follows`, roles that are deployed
        before this one and that --role leaves out;
        `joins`, roles with which --role also selects this one, although it is deployed after them;
        `amid`, roles of which the `ahead` commands run before this role is deployed, and everything else after it;
        these roles name this one in their `after`;
        `turns`, the hosts with work that are deployed one after another, as groups in order; a group waits for the one
        before it, and if a host fails, the groups after it are skipped;
        `settle`, the longest time that peers get after each host, and how to ask them whether they need less;
        `spare`, how to ask peers, before units of a host stop or restart, whether they use another host meanwhile;
        `transition` returns the stack with the old values that the role's hosts must serve beside the new ones until
        all hosts of the roles in `used_by` have moved (see plainstack.engine.transition); `still_served` describes
        these values in sentences.

    Holds, which commands leave on the role's hosts and deploys must respect, such as a pinned release:
        `holds` returns the stack with the holds of the hosts; `desired` and all later functions get this stack;
        `held_back` yields a sentence for each hold because of which `inv deploy` of the role leaves something of a
        host as it is. A deploy that has nothing else to do is refused. It is not called if --role names only other
        roles, or if the command itself changes the holds.

    Checks before a deploy:
        `contradictions`, errors in an otherwise valid inventory that concern the role, as (place, sentence) pairs;
        every command that loads the inventory reports them;
        `problems`, sentences about files and certificates of the stack that the role could not be deployed with; plan
        and deploy report them before anything else;
        `facts`, a shell snippet for the probe that prints key=value lines about state beyond the role's resources;
        `findings`, conclusions from the observed state of one host; `refusals`, reasons to refuse a deploy that depend
        on the facts of all hosts; roles with the same function are asked together, with the facts of all their hosts.
        Its last argument holds the roles that the command deploys to each host that it has reached;
        `prepares`, a generator that gets the names of the hosts that a deploy changes and the facts of the probed
        hosts. It yields further questions as shell snippets by host, is sent the answers, and returns the errands to
        run first.

    Teardown:
        `leaves`, the paths that the role's programs fill on a host: data, which a teardown keeps unless it is asked to
        remove it, and other files.

    Observability:
        `status`, the role's column in `inv status`;
        `scrapes`, the Prometheus jobs with which a monitoring host watches the role's hosts; `rules`, the files with
        the role's alerts on a monitoring host, given the scrape interval in seconds;
        `tunnels`, web pages and other ports that `inv tunnel` can open.
    """

    name: str
    desired: Desired
    opens: Opens = opens_nothing
    uses: tuple[str, ...] = ()
    offers_to: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    joins: tuple[str, ...] = ()
    amid: tuple[str, ...] = ()
    everywhere: bool = False
    on: tuple[str, ...] = ()
    key: str = ""
    settings: type[Model] | None = None
    needs: tuple[str, ...] = ()
    single: bool = False
    contradictions: Contradictions = no_contradictions
    origin: str = ""
    about: str = ""
    turns: Turns = all_at_once
    settle: Settle | None = None
    spare: Spare | None = None
    secrets: tuple[DeclaredSecret, ...] | Secrets = ()
    reads: tuple[str, ...] | Reads = ()
    certificates: Certificates = no_certificates
    facts: Facts = no_facts
    transition: Transition = no_transition
    used_by: tuple[str, ...] = ()
    still_served: Notes = no_notes
    holds: Transition = holds_nothing
    held_back: HeldBack = held_back_by_nothing
    findings: Findings = finds_nothing
    refusals: Refusals | None = None
    leaves: Leaves = leaves_nothing
    status: Column | None = None
    scrapes: Scrapes = no_scrapes
    rules: Rules = no_rules
    tunnels: Tunnels = no_tunnels
    prepares: Prepares | None = None
    problems: Problems = no_problems
    provides: Mapping[str, Reference] = field(default_factory=dict)
    refers: Notes = no_notes


def shape(roles: Mapping[str, Role]) -> Shape:
    """Return what the inventory of a stack with these roles may contain."""
    named = {name: roles[name] for name in assigned(roles)}
    return Shape(
        settings={role.key or name: role.settings for name, role in roles.items() if role.settings is not None},
        roles=tuple(named),
        needs={name: role.needs for name, role in named.items()},
        single=tuple(name for name, role in named.items() if role.single),
        references={name: "" if role.everywhere else role.name for role in roles.values() for name in role.provides},
        contradictions=(*(role.contradictions for role in roles.values()), age.contradictions),
    )


def assigned(roles: Mapping[str, Role]) -> tuple[str, ...]:
    """Return the names of the roles that an inventory assigns to hosts; every host has the others."""
    return tuple(name for name, role in roles.items() if not role.everywhere and not role.on)


def hosts_of(stack: Stack, role: Role) -> list[Host]:
    """Return the hosts that have a role, in inventory order."""
    return [host for host in stack.hosts.values() if _has(host, role)]


def of_host(host: Host, roles: Mapping[str, Role]) -> list[Role]:
    """Return the roles of a host, in the order in which they are applied."""
    return [role for role in roles.values() if _has(host, role)]


def _has(host: Host, role: Role) -> bool:
    return role.everywhere or not {role.name, *role.on}.isdisjoint(host.roles)
