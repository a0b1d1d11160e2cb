"""A model of a database cluster in memory: hosts with WAL, cables and fences, and clients that write where they can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from plainstack.postgresql.failover.decisions import Do, Plan, Step
from plainstack.postgresql.observation import Node, Sender, Topology
from plainstack.postgresql.topology import State

TWO, THREE = ("db1", "db2"), ("db1", "db2", "db3")


@dataclass
class Server:
    """A db host; `wal` holds its writes, each with the timeline on which the write was made."""

    name: str
    wal: list[tuple[int, int]] = field(default_factory=list)
    timeline: int = 1
    running: bool = True
    leads: bool = False
    signal: bool = True
    clean: bool = False
    plugged: bool = True
    fenced: bool = False
    degraded: bool = False
    rewinding: str = ""
    data: bool = True
    slots_kept: bool = False
    old_data: bool = False
    rewind_fails: bool = False

    @property
    def state(self) -> State:
        if not self.plugged:
            return "unreachable"
        if not self.data:
            return "empty"
        if self.running:
            return "primary" if self.leads else "standby"
        return "stopped standby" if self.signal else "stopped primary"


class Model:
    """The cluster and its clients; every step asserts what must always hold."""

    def __init__(self, names: tuple[str, ...] = ("db1", "db2"), *, synchronous: bool = True) -> None:
        self.servers = {name: Server(name) for name in names}
        first = self.servers[names[0]]
        first.leads, first.signal = True, False
        self.synchronous = synchronous
        self.closed: dict[str, set[str]] = {name: set() for name in (*names, "app1")}
        self.acknowledged: list[int] = []
        self.writes = 0
        self.steps: list[Step] = []
        self.live()

    def __getitem__(self, name: str) -> Server:
        return self.servers[name]

    def connected(self, one: str, other: str) -> bool:
        if other in self.closed[one] or one in self.closed[other]:
            return False
        # Not in a loop, because models spend much of their time here.
        here, there = self.servers.get(one), self.servers.get(other)
        return (here is None or here.plugged) and (there is None or there.plugged)

    def upstream(self, server: Server) -> str:
        if not server.running or server.leads:
            return ""
        for other in self.servers.values():
            if not other.running or not other.leads or not self.connected(server.name, other.name):
                continue
            if other.timeline >= server.timeline and other.wal[: len(server.wal)] == server.wal:
                return other.name
        return ""

    def live(self) -> None:
        """Advance by one tick: a client writes to the primary that it reaches, and standbys receive WAL."""
        reached = [
            one for one in self.servers.values() if one.running and one.leads and self.connected("app1", one.name)
        ]
        assert len(reached) < 2, f"clients reach two primaries: {[one.name for one in reached]}"
        for leader in self.servers.values():
            if not leader.running or not leader.leads:
                continue
            if leader in reached:
                self.writes += 1
                leader.wal.append((leader.timeline, self.writes))
            followers = [one for one in self.servers.values() if self.upstream(one) == leader.name]
            for one in followers:
                one.wal, one.timeline = list(leader.wal), leader.timeline
            if leader in reached and (followers or leader.degraded or not self.synchronous):
                self.acknowledged.append(self.writes)
        for server in self.servers.values():
            assert not (server.running and server.rewinding), f"{server.name} runs on half rewound data"

    def topology(self) -> Topology:
        upstreams = {name: self.upstream(server) for name, server in self.servers.items()}
        return Topology(
            nodes={name: self._node(server, upstreams) for name, server in self.servers.items()},
            clients={"app1": frozenset(self.closed["app1"])},
            synchronous=self.synchronous and len(self.servers) > 1,
        )

    def _node(self, server: Server, upstreams: Mapping[str, str]) -> Node:
        if not server.plugged:
            return Node(name=server.name, state="unreachable")
        names = [name for name, upstream in upstreams.items() if upstream == server.name]
        return Node(
            name=server.name,
            state=server.state,
            timeline=server.timeline,
            lsn=f"0/{len(server.wal) + (0 if server.running else -1):X}",
            upstream=upstreams[server.name],
            cluster="" if server.running else "shut down" if server.clean else "in production",
            synchronous="" if server.degraded or not self.synchronous else "ANY 1",
            degraded="then" if server.degraded else "",
            fenced="then" if server.fenced else "",
            rewinding=server.rewinding,
            fences=frozenset(self.closed[server.name]),
            answering=frozenset(
                other.name
                for other in self.servers.values()
                if other.running and self.connected(server.name, other.name)
            ),
            senders=tuple(Sender(name, "streaming", "quorum", 0, 0) for name in names),
            old_data=("old",) if server.old_data else (),
        )

    def run(self, decide: Callable[[Topology], Plan], most: int = 100, backwards: bool = False) -> bool:
        """Run a decision for at most `most` steps; return whether it finished."""
        plan = decide(self.topology())
        try:
            phase = next(plan)
            while True:
                assert phase, "a phase without steps"
                for step in reversed(phase) if backwards else phase:
                    if most == 0:
                        return False
                    most -= 1
                    self.do(step)
                phase = plan.send(self.topology())
        except StopIteration:
            return True

    def do(self, step: Step) -> None:
        """Run one step, then advance the model by one tick."""
        self.steps.append(step)
        if step.do is Do.FENCE:
            self.closed[step.host] |= set(step.about)
        elif step.do is Do.UNFENCE:
            self.closed[step.host] -= set(step.about)
        elif step.host in self.servers:
            server = self.servers[step.host]
            if server.plugged:
                self._on(server, step)
            else:
                assert step.optional, f"{step} on a host that is away"
        self.live()

    def _on(self, server: Server, step: Step) -> None:
        match step.do:
            case Do.STEP_DOWN:
                assert server.leads
                server.running, server.leads, server.signal, server.clean = False, False, True, True
            case Do.STEP_BACK:
                server.running, server.leads, server.signal = True, True, False
            case Do.KEEP_OUT:
                server.fenced, server.running, server.leads = True, False, False
            case Do.START | Do.WAKE:
                assert server.data
                assert not server.rewinding
                server.signal, server.fenced, server.degraded = True, False, False
                server.running, server.leads = True, False
            case Do.PROMOTE | Do.PROMOTE_ALONE:
                assert server.running
                assert not server.leads
                server.degraded = step.do is Do.PROMOTE_ALONE
                server.timeline = 1 + max(one.timeline for one in self.servers.values())
                server.leads, server.signal = True, False
            case Do.REWIND:
                assert not server.running
                server.rewinding = "no common ancestor" if server.rewind_fails else ""
                if not server.rewind_fails:
                    self._copy(server, step.about[0])
            case Do.CLONE | Do.CLONE_OVER:
                assert not server.running
                server.old_data = step.do is Do.CLONE and server.data
                server.data, server.rewinding = True, ""
                self._copy(server, step.about[0])
            case Do.DISCARD:
                assert self.upstream(server), "the old data is given up before the new one streams"
                server.old_data = False
            case Do.DEGRADE:
                server.degraded = True
            case Do.RESYNC:
                server.degraded = False
            case Do.TIDY:
                server.slots_kept = False
                server.degraded = server.degraded and server.leads
            case Do.FOLLOW:
                if not step.optional:
                    assert self.upstream(server) == step.about[0], f"{server.name} does not stream"

    def _copy(self, server: Server, source: str) -> None:
        assert self.connected(server.name, source), f"{server.name} can not reach {source}"
        other = self.servers[source]
        assert other.leads
        server.wal, server.timeline, server.signal = list(other.wal), other.timeline, True

    def kill(self, name: str) -> None:
        """Kill PostgreSQL; the host keeps running."""
        self[name].running = self[name].leads = self[name].clean = False

    def cut(self, name: str) -> None:
        """Pull the host's cable; the host keeps running, isolated."""
        self[name].plugged = False

    def mend(self, name: str) -> None:
        self[name].plugged = True

    def boot(self, name: str) -> None:
        """Switch the host on again; the start guard decides whether its server starts as a primary."""
        server = self[name]
        peers = [one for one in self.servers.values() if one.name != name and self.connected(name, one.name)]
        forbidden = server.fenced or any(one.running and (one.leads or one.timeline > server.timeline) for one in peers)
        if server.signal or not forbidden:
            server.running, server.leads = True, not server.signal
        self.live()

    @property
    def leader(self) -> Server:
        (leader,) = [one for one in self.servers.values() if one.running and one.leads and one.plugged]
        return leader

    def lost(self) -> set[int]:
        """Return the acknowledged writes that the primary does not have."""
        return set(self.acknowledged) - {number for _, number in self.leader.wal}

    def whole(self) -> bool:
        followers = [one for one in self.servers.values() if one is not self.leader]
        open_doors = not any(self.closed.values())
        return open_doors and not self.leader.degraded and all(self.upstream(one) for one in followers)


def interrupted(most: int = 30) -> Iterator[tuple[int, bool]]:
    """Yield the points at which a run may be interrupted: the steps done, and whether phases reverse their steps."""
    for backwards in (False, True):
        for count in range(most):
            yield count, backwards
