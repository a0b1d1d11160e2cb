"""The values that a role's functions take and return: openings, findings, errands and status."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from plainstack.dataclass import dataclass
from plainstack.engine.plan.actions import UnitVerb
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack

Protocol = Literal["tcp", "udp", "vrrp"]


@dataclass(frozen=True, slots=True)
class Opening:
    """A port that a role offers on a host.

    It is open to the private addresses of all hosts with a role that uses the offer or, with `public`, to their public
    addresses. `sources` are further addresses and networks; None opens the port to all. `why` describes the purpose;
    {user} in it stands for the role that uses the offer. The protocol vrrp has no port: `port` is 0.
    """

    offer: str
    port: int
    protocol: Protocol
    why: str
    sources: tuple[str, ...] | None = ()
    public: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found on a host that stops a deploy (`refused`) or that the operator should know.

    What does not stop a deploy is reported if the deploy changes the host; with `always`, even if there is nothing to
    do.
    """

    text: str
    refused: bool = True
    always: bool = False


@dataclass(frozen=True, slots=True)
class HostWork:
    """What a deploy does for a role on one host: unit actions as (verb, unit), and commands by their `id`.

    `facts` are the host's facts from the probe.
    """

    units: frozenset[tuple[UnitVerb, str]]
    commands: frozenset[str]
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Settle:
    """The seconds that peers need to recognise a changed host as healthy, and the reason that progress output shows.

    `asks` returns, by host, a shell script for each peer that can tell: it waits until the peer uses the changed host,
    and exits 0 then. When all of them have done so, the wait ends early.
    """

    seconds: int
    why: str
    asks: Callable[[Stack, Host], Mapping[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Spare:
    """The question to peers, before units of a host stop or restart, whether they use another host meanwhile.

    `asks` returns, by host, a shell script for each peer that can tell, given the host with its units, and the hosts
    that cannot take its place because they change at the same time or cannot be reached. The script exits with NO_OTHER
    if its peer uses no other host, and prints why; with `one_is_enough`, the others do not matter if one exits with 0.
    They are asked again for at most `seconds`; `why` describes this in progress output.
    """

    seconds: int
    why: str
    asks: Callable[[Stack, Host, Collection[str], Collection[str]], Mapping[str, str]]
    one_is_enough: bool = False


NO_OTHER = 4
"""The exit code with which a peer says that it uses no other host; see Spare."""


@dataclass(frozen=True, slots=True)
class Errand:
    """A task that a role needs done on a host before a deploy changes anything.

    `says` describes it. `script` returns the shell script to run as root, given the operator, the commit and the
    command of the deploy. `seconds` is its time limit.
    """

    host: str
    says: str
    script: Callable[[str, str, str], str]
    seconds: float


@dataclass(frozen=True, slots=True)
class Leftover:
    """A path that the programs of a role fill on a host and that is no resource; a teardown removes it.

    `data` stays unless the operator asks for its removal; `what` describes it. `packages` are patterns for the names of
    packages that delete the path when they are purged: while the data stays, they are removed but not purged.
    """

    path: str
    what: str
    data: bool = True
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """A role's part of `inv status`: a cell for each host, and problems as (host, sentence) pairs.

    `notes` are such pairs about what the operator should know and is no problem; plans show them too. Several hosts may
    have the same note.
    """

    cells: Mapping[str, str]
    problems: Sequence[tuple[str, str]] = ()
    notes: Sequence[tuple[str, str]] = ()


Answers = Mapping[str, Mapping[str, str] | None]
"""The key=value lines that each host printed, by host name; None for a host that could not be reached."""


@dataclass(frozen=True, slots=True)
class Column:
    """A role's column in `inv status`; columns are sorted by `place`.

    `says` turns the facts of the role's hosts into a Status; the facts leave out hosts that were not probed. Its last
    argument is the current time in seconds since the epoch.
    """

    title: str
    place: int
    says: Callable[[Stack, Answers, float], Status]
