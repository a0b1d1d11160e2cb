"""The types of a role's functions, and the defaults for those that a role does not define."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from plainstack.engine.observed import Observed
from plainstack.engine.resources import File, Resource
from plainstack.engine.sayings import Answers, Errand, Finding, HostWork, Leftover, Opening
from plainstack.engine.watching import Job
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.inventory.target import Target
from plainstack.secrets.declaration import DeclaredSecret
from plainstack.secrets.values import Vault
from plainstack.wording import Loc

if TYPE_CHECKING:
    from plainstack.engine.network import Network

Desired = Callable[[Stack, Host, Vault, "Network"], Iterable[Resource]]
Opens = Callable[[Stack, Host], Iterable[Opening]]
Facts = Callable[[Stack, Host], str]
Transition = Callable[[Stack, Mapping[str, Observed]], Stack]
HeldBack = Callable[[Stack, Host], Iterable[str]]
Findings = Callable[[Stack, Host, Observed], Iterable[Finding]]
Problems = Callable[[Stack, datetime], Iterable[str]]
Certificates = Callable[[Stack, Host], Mapping[str, tuple[str, ...]]]
Contradictions = Callable[[Stack], Iterable[tuple[Loc, str]]]
Leaves = Callable[[Stack, Host], Iterable[Leftover]]
Refusals = Callable[[Stack, Answers, Mapping[str, Collection[str]]], Iterable[str]]
Prepares = Callable[["Network", Collection[str], Answers], Generator[Mapping[str, str], Answers, Sequence[Errand]]]
Scrapes = Callable[[Stack, Host], Iterable[Job]]
Rules = Callable[[Stack, Host, int], Iterable[File]]
Tunnels = Callable[[Stack], Iterable[Target]]
Notes = Callable[[Stack], Iterable[str]]
Secrets = Callable[[Stack], Iterable[DeclaredSecret]]
Reads = Callable[[Stack], Iterable[str]]
Turns = Callable[[Stack, Mapping[str, HostWork]], Sequence[Sequence[str]]]


def opens_nothing(_stack: Stack, _host: Host) -> Iterable[Opening]:
    """Default of `opens`: the role offers no port."""
    return ()


def no_facts(_stack: Stack, _host: Host) -> str:
    """Default of `facts`: the probe reads nothing beyond the role's resources."""
    return ""


def no_transition(stack: Stack, _observed: Mapping[str, Observed]) -> Stack:
    """Default of `transition`: the role has no value that it must change together with its peers."""
    return stack


def holds_nothing(stack: Stack, _observed: Mapping[str, Observed]) -> Stack:
    """Default of `holds`: no command leaves anything on the role's hosts that deploys must respect."""
    return stack


def held_back_by_nothing(_stack: Stack, _host: Host) -> Iterable[str]:
    """Default of `held_back`: no hold of the hosts keeps a deploy from anything."""
    return ()


def finds_nothing(_stack: Stack, _host: Host, _observed: Observed) -> Iterable[Finding]:
    """Default of `findings`: no state of a host stops the role from being deployed."""
    return ()


def no_problems(_stack: Stack, _now: datetime) -> Iterable[str]:
    """Default of `problems`: the role uses no files or certificates from the operator's machine."""
    return ()


def leaves_nothing(_stack: Stack, _host: Host) -> Iterable[Leftover]:
    """Default of `leaves`: the role's programs write only into its resources."""
    return ()


def no_contradictions(_stack: Stack) -> Iterable[tuple[Loc, str]]:
    """Default of `contradictions`: every valid inventory suits the role."""
    return ()


def no_certificates(_stack: Stack, _host: Host) -> Mapping[str, tuple[str, ...]]:
    """Default of `certificates`: the role reads no certificate."""
    return {}


def no_scrapes(_stack: Stack, _watcher: Host) -> Iterable[Job]:
    """Default of `scrapes`: the role exports no metrics."""
    return ()


def no_rules(_stack: Stack, _watcher: Host, _interval: int) -> Iterable[File]:
    """Default of `rules`: the role has no alerts."""
    return ()


def no_tunnels(_stack: Stack) -> Iterable[Target]:
    """Default of `tunnels`: the role has no port that the operator would open."""
    return ()


def no_notes(_stack: Stack) -> Iterable[str]:
    """Default of `still_served` and `refers`: the role has no transition, and reads no references."""
    return ()


def all_at_once(_stack: Stack, _work: Mapping[str, HostWork]) -> Sequence[Sequence[str]]:
    """Default of `turns`: the role's hosts can be deployed at the same time."""
    return ()


def one_by_one(_stack: Stack, work: Mapping[str, HostWork]) -> Sequence[Sequence[str]]:
    """The `turns` of a role that is deployed to one host at a time, in inventory order."""
    return [[host] for host in work]
