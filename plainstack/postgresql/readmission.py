"""Readmission of a reinstalled db host: a deploy removes the fences against it before it copies the primary's data.

A failover fences a host off because of its data. A host without data no longer needs the fence.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from plainstack.engine.network import Network
from plainstack.engine.role import Answers, Errand
from plainstack.inventory.stack import Stack
from plainstack.postgresql.hosts import databases, users
from plainstack.postgresql.topology import PROBE, members, primaries

# Import the failover modules only where they are used: every command imports this module, and few commands need them.
if TYPE_CHECKING:
    from plainstack.postgresql.failover.phases import Step


def readmit(
    network: Network, pending: Collection[str], seen: Answers
) -> Generator[Mapping[str, str], Answers, Sequence[Errand]]:
    """Return the steps that prepare for db hosts without data while another host is the primary; see Role.prepares."""
    stack = network.stack
    blank = [name for name in databases(stack) if name in pending and (seen.get(name) or {}).get("data") == "no"]
    if not blank:
        return ()
    if left_out := [name for name in databases(stack) if name not in seen]:
        seen = {**seen, **(yield dict.fromkeys(left_out, PROBE))}
    leaders = primaries(members(databases(stack), seen))
    if len(leaders) != 1:
        return ()
    from plainstack.postgresql.observation import fences_script

    reported = yield dict.fromkeys(sorted(set(users(network)) - set(blank)), fences_script())
    return [_errand(stack, step) for step in _steps(blank, leaders[0].name, reported)]


def _errand(stack: Stack, step: Step) -> Errand:
    from plainstack.postgresql.failover import steps

    return Errand(step.host, step.says, partial(steps.script, stack, step), steps.seconds(step))


def _steps(blank: list[str], leader: str, reported: Answers) -> list[Step]:
    from plainstack.postgresql.failover.phases import Do, Step
    from plainstack.postgresql.observation import named

    found = []
    for host, facts in reported.items():
        # A host that does not answer keeps its fence; `fab failover status` reports it.
        fenced = sorted(named(facts, "fence.") & set(blank)) if facts else []
        if fenced:
            found.append(Step(Do.UNFENCE, host, f"remove the fence against {' and '.join(fenced)}", tuple(fenced)))
    # The slot of a host that was away for long is invalidated, and cannot be used for a copy.
    return [*found, Step(Do.TIDY, leader, f"prepare replication slots for {' and '.join(blank)}")]
