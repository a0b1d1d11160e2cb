"""A model of a stack in memory whose database is restored: data directories, records, processes and visitors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from plainstack.postgresql.failover.decisions import Do, Step
from plainstack.postgresql.observation import Node, Sender, Topology
from plainstack.postgresql.restore.acts import Act, AnyStep, Plan, RestoreStep
from plainstack.postgresql.restore.situation import Kept, Request, Situation
from plainstack.postgresql.topology import State

GB = 2**30


@dataclass
class Data:
    """A data directory: its rows, its timeline, and whether it is a standby's."""

    rows: list[int]
    timeline: int = 1
    standby: bool = False


@dataclass
class Host:
    """A db host; `kept` maps (kind, restore) to what was put aside, None if there was no data."""

    name: str
    data: Data | None
    running: bool = True
    marker: str = ""
    plugged: bool = True
    tidy: bool = True
    fences: set[str] = field(default_factory=set)
    kept: dict[tuple[str, str], Data | None] = field(default_factory=dict)

    @property
    def state(self) -> State:
        if not self.plugged:
            return "unreachable"
        if self.data is None:
            return "empty"
        if self.running:
            return "standby" if self.data.standby else "primary"
        return "stopped standby" if self.data.standby else "stopped primary"


class World:
    """The stack, with a client that writes a row to the primary whenever the processes run and time passes."""

    def __init__(self, *, size: int = GB) -> None:
        self.hosts = {"db1": Host("db1", Data([])), "db2": Host("db2", Data([], standby=True))}
        self.request: Request | None = None
        self.scratch: Data | None = None
        self.timelines = {1}
        self.size = size
        self.halted = False
        self.runs = True
        self.receives = True
        self.closed: set[str] = set()
        self.backed_up = 0
        self.acknowledged: list[int] = []
        self.steps: list[AnyStep] = []
        self.recovered: list[int] = []
        # The files of a folder on app1, and what restores have left beside it.
        self.media = "today"
        self.stage: dict[str, str] = {}
        self.live()

    def live(self) -> None:
        """Write a row, which is acknowledged once a replica has it or if there is no other db host."""
        leading = [one for one in self.hosts.values() if one.state == "primary"]
        assert len(leading) < 2, "two primaries"
        for one in self.hosts.values():
            assert not (one.running and one.marker), f"{one.name} runs although it is marked"
        if not leading or not self.runs:
            return
        (leader,) = leading
        assert leader.data
        row = len(self.acknowledged) + 1
        leader.data.rows.append(row)
        self.acknowledged.append(row)
        for one in self.hosts.values():
            if self.follows(one, leader) and one.data:
                one.data = Data(list(leader.data.rows), leader.data.timeline, standby=True)

    def follows(self, one: Host, leader: Host) -> bool:
        same = one.data and leader.data and leader.data.rows[: len(one.data.rows)] == one.data.rows
        return one.state == "standby" and bool(same) and leader.name not in one.fences

    def upstream(self, one: Host) -> str:
        leading = [other.name for other in self.hosts.values() if other.state == "primary" and self.follows(one, other)]
        return leading[0] if leading else ""

    def situation(self) -> Situation:
        reached = {name: one for name, one in self.hosts.items() if one.plugged}
        return Situation(
            topology=Topology(
                nodes={name: self._node(one) for name, one in self.hosts.items()},
                clients={"app1": frozenset()},
            ),
            backup="bak1",
            request=self.request,
            scratch=self.scratch is not None,
            size=self.size if self.scratch else 0,
            kept={
                name: tuple(
                    Kept(kind, restore, data is None, bool(data and data.standby), data.timeline if data else 0)
                    for (kind, restore), data in one.kept.items()
                )
                for name, one in reached.items()
            },
            room=dict.fromkeys(reached, 10 * GB),
            running={"app1": 2 if self.runs else 0},
            halted={"app1": self.halted},
            files={("app1", "web/media"): frozenset(self.stage)},
            closed={"lb1": frozenset(self.closed)},
        )

    def _node(self, one: Host) -> Node:
        if not one.plugged:
            return Node(name=one.name, state="unreachable")
        followers = [other.name for other in self.hosts.values() if self.upstream(other) == one.name]
        return Node(
            name=one.name,
            state=one.state,
            timeline=one.data.timeline if one.data else 0,
            upstream=self.upstream(one),
            restoring=one.marker,
            fences=frozenset(one.fences),
            senders=tuple(Sender(name, "streaming", "quorum", 0, 0) for name in followers),
        )

    def run(self, decide: Callable[[Situation], Plan], most: int = 1000) -> bool:
        """Run a decision for at most `most` steps; return whether it finished."""
        plan = decide(self.situation())
        phase = next(plan, None)
        while phase is not None:
            assert phase, "a phase without steps"
            for step in phase:
                if most == 0:
                    return False
                most -= 1
                self.do(step)
                self.live()
            try:
                phase = plan.send(self.situation())
            except StopIteration:
                return True
        return True

    def do(self, step: AnyStep) -> None:
        self.steps.append(step)
        if isinstance(step, Step):
            self._failover(step)
        elif step.host in self.hosts:
            self._on_db(step, self.hosts[step.host])
        else:
            self._elsewhere(step)

    def _failover(self, step: Step) -> None:
        host = self.hosts.get(step.host)
        match step.do:
            case Do.FENCE | Do.UNFENCE:
                if host:
                    host.fences = host.fences | set(step.about) if step.do is Do.FENCE else host.fences - {*step.about}
            case Do.CLONE:
                assert host
                assert not host.running
                source = self.hosts[step.about[0]]
                assert source.state == "primary"
                assert source.data
                host.data = replace(source.data, rows=list(source.data.rows), standby=True)
                host.tidy = False
            case Do.START:
                assert host
                assert host.data
                assert not host.marker, "the start guard refuses"
                host.data.standby = host.running = True
            case Do.TIDY:
                assert host
                host.tidy = True
            case Do.FOLLOW | Do.DEGRADE | Do.KEEP_OUT | Do.RESYNC:
                pass
            case _:
                raise AssertionError(step)

    def _on_db(self, step: RestoreStep, host: Host) -> None:
        match step.do:
            case Act.PIN | Act.DISCARD:
                if step.do is Act.DISCARD:
                    host.kept.clear()
            case Act.STAND_DOWN:
                host.marker, host.running = " ".join(step.about), False
            case Act.PUT_ASIDE:
                assert host.marker
                assert not host.running
                host.kept[("before", step.about[0])] = host.data
                host.data = None
            case Act.COPY:
                assert self.scratch
                assert not host.running
                host.data = replace(self.scratch, rows=list(self.scratch.rows))
                host.tidy = False
            case Act.LEAD | Act.LEAD_AGAIN:
                assert host.data
                undone = any(kind == "undone" for kind, _ in host.kept)
                assert not self.receives or (step.do is Act.LEAD_AGAIN and not undone)
                host.marker, host.running, host.data.standby = "", True, False
                if step.do is Act.LEAD_AGAIN and undone:
                    self._new_timeline(host.data)
            case Act.RELEASE:
                host.marker = ""
            case Act.PUT_BACK:
                assert not host.running
                if host.data:
                    host.kept[("undone", step.about[0])] = host.data
                host.data = host.kept.pop(("before", step.about[0]))
            case _:
                raise AssertionError(step)

    def _new_timeline(self, data: Data) -> None:
        data.timeline = max(self.timelines) + 1
        assert data.timeline not in self.timelines
        self.timelines.add(data.timeline)

    def _elsewhere(self, step: RestoreStep) -> None:
        match step.do:
            case Act.RECORD:
                self.request = Request.parse(step.about[1], "")
            case Act.MARK | Act.REANCHOR | Act.BACKUP:
                assert self.request
                self.request = Request.parse(self.request.as_json(), " ".join({*self.request.done, step.about[1]}))
                if step.do is Act.REANCHOR:
                    self.scratch, self.receives = None, True
                self.backed_up += step.do is Act.BACKUP
            case Act.RECOVER:
                self.scratch = Data(list(self.recovered))
                self._new_timeline(self.scratch)
            case Act.SILENCE | Act.RECEIVE:
                self.receives = step.do is Act.RECEIVE
            case Act.DROP_SCRATCH:
                self.scratch = None
            case Act.CLOSE:
                self.closed |= set(step.about)
            case Act.OPEN:
                self.closed -= set(step.about)
            case Act.HALT:
                assert self.closed, "the processes stop before visitors see the maintenance page"
                self.halted, self.runs = True, False
            case Act.RESUME:
                self.halted, self.runs = False, True
            case _:
                self._files(step)

    def _files(self, step: RestoreStep) -> None:
        stage, restore = self.stage, step.about[0]
        match step.do:
            case Act.PREPARE_FILES:
                stage |= {"new": "", "request.json": restore}
            case Act.COPY_FILES:
                stage["new"] = step.about[3]
            case Act.SWAP_FILES:
                assert self.halted, "files are exchanged under running processes"
                stage[f"before-{restore}"], self.media = self.media, stage.pop("new")
                del stage["request.json"]
            case Act.UNDO_FILES:
                if f"before-{restore}" in stage:
                    assert self.halted, "files are exchanged under running processes"
                    stage[f"undone-{restore}"], self.media = self.media, stage.pop(f"before-{restore}")
                stage.pop("new", "")
                stage.pop("request.json", "")
            case Act.DISCARD_FILES:
                for name in step.about[1:]:
                    del stage[name]
            case _:
                raise AssertionError(step)

    @property
    def leader(self) -> Host:
        (leader,) = [one for one in self.hosts.values() if one.state == "primary"]
        return leader

    @property
    def rows(self) -> list[int]:
        """The rows of the primary."""
        assert self.leader.data
        return self.leader.data.rows

    def is_whole(self) -> bool:
        """Return whether one primary and its replicas serve an open site, and nothing is in the way of a deploy."""
        others = [one for one in self.hosts.values() if one is not self.leader]
        followed = all(self.upstream(one) == self.leader.name and not one.fences for one in others)
        quiet = not (self.closed or self.halted or any(one.marker or not one.tidy for one in self.hosts.values()))
        return followed and quiet and self.runs and self.receives and self.scratch is None
