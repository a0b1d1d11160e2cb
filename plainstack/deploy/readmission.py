"""A database host that was reinstalled: a deploy lets it in again before it copies the primary's data.

A failover shuts a host out because of the data that it has. Where it has none any more, nothing is left to shut out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plainstack.engine.paths import STATE
from plainstack.errors import HostFailed
from plainstack.postgresql import observation
from plainstack.postgresql.failover import steps
from plainstack.postgresql.failover.stages import Do, Step
from plainstack.postgresql.topology import members, primaries
from plainstack.ssh.connections import fan_out

if TYPE_CHECKING:
    from plainstack.deploy.observe import Runner, View


@dataclass(frozen=True)
class Readmission:
    """What has to be done before blank db hosts can copy the primary's data; `steps` is empty for most deploys."""

    runner: Runner
    steps: tuple[Step, ...] = ()

    @property
    def hosts(self) -> list[str]:
        """The hosts that it works on, to be locked."""
        return sorted({step.host for step in self.steps})

    def do(self, who: str, commit: str, command: str) -> dict[str, str]:
        """Do it; gives every such host's new generation. Raises HostFailed."""

        def one(host: str) -> str:
            session = self.runner.sessions.to(host)
            for step in self.steps:
                if step.host == host:
                    text = steps.script(self.runner.stack, step, who, commit, command)
                    ended = session.script(text, timeout=steps.seconds(step), step=step.says)
                    if ended.code != 0:
                        raise HostFailed(host, step.says, "failed", ended.err.splitlines()[-5:], ended.code)
            return session.run(f"cat {STATE}/generation", step="observe").out.strip()

        done = fan_out(self.hosts, one)
        for result in done.values():
            if isinstance(result, HostFailed):
                raise result
        return {host: result for host, result in done.items() if isinstance(result, str)}


def readmission(runner: Runner, view: View) -> Readmission:
    """What this deploy has to do for db hosts that have no data while another one is the primary."""
    blank = [host.name for host in runner.stack.with_role("db") if _is_blank(runner, view, host.name)]
    if not blank:
        return Readmission(runner)
    facts = runner.database_facts(view)
    leaders = primaries(members(facts, facts))
    if len(leaders) != 1:
        return Readmission(runner)
    users = {host.name for role in ("db", "app", "backup") for host in runner.stack.with_role(role)}

    def fences(name: str) -> Mapping[str, str]:
        return observation.parse(runner.sessions.to(name).script(observation.fences_script(), step="observe").out)

    told = fan_out(sorted(users - set(blank)), fences)
    return Readmission(runner, tuple(_steps(blank, leaders[0].name, told)))


def _is_blank(runner: Runner, view: View, name: str) -> bool:
    if name not in view.pending or (runner.scope is not None and "db" not in runner.scope):
        return False
    return view.observed[name].facts.get("data") == "no"


def _steps(blank: list[str], leader: str, told: Mapping[str, Mapping[str, str] | HostFailed]) -> list[Step]:
    found = []
    for host, facts in told.items():
        # A host that does not answer keeps its fence, and is told of by `fab failover status`.
        shut_out = [] if isinstance(facts, HostFailed) else sorted(observation.named(facts, "fence.") & set(blank))
        if shut_out:
            found.append(Step(Do.UNFENCE, host, f"let {' and '.join(shut_out)} in again", tuple(shut_out)))
    # The slot of a host that was away for long is lost, and no copy can be made with it.
    return [*found, Step(Do.TIDY, leader, f"have slots ready for {' and '.join(blank)}")]
