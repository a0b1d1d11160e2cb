"""A simulation of what a lease must survive: hosts, a replicated database and the network, in simulated time.

Every host has its own clock, with any offset. Messages are delayed or lost. A commit is acknowledged when the standby
has it. A commit that is not acknowledged may be lost in a failover, even if other clients have seen it. A former
primary still acts as primary. When a host thaws, its guard looks at the clock before the command continues.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from itertools import count

from lease import ANSWER, DEADLINE, Ask, Member, Order, Row

from tests.unit.services.lease_database import TICK, TTL, Node


class World:
    """Simulated time with its queue of events, and the hosts with the connections between them."""

    def __init__(self, seed: int, hosts: int, *, slow: bool = True, timers: bool = False) -> None:
        self.slow = slow
        self.timers = timers
        self.random = random.Random(seed)
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.cut: set[tuple[str, str]] = set()
        self.nodes = [Node(self, "db1", primary=True), Node(self, "db2")]
        self.hosts = [Host(self, f"app{number}") for number in range(1, hosts + 1)]
        self.starts: list[tuple[float, str]] = []
        self.ticks: list[int] = []

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), do))

    def run(self, until: float) -> Iterator[None]:
        """Let time pass up to `until`; yield after every event."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, do = heapq.heappop(self._queue)
            do()
            yield
        self.now = until

    def running(self) -> list[str]:
        return [host.name for host in self.hosts if host.command and not host.frozen]

    def linked(self, one: str, other: str) -> bool:
        return (one, other) not in self.cut and (other, one) not in self.cut

    def delay(self) -> float:
        """Return how long a message takes: usually little, sometimes longer than the sender waits for it."""
        if not self.slow:
            return 0.01
        return self.random.choice((0.001, 0.01, 0.1, 0.5, self.random.uniform(0, 30)))

    def primary(self) -> Node:
        """Return the primary that a failover has chosen, or the first one."""
        return next(node for node in self.nodes if node.primary and not node.former)

    def promote(self) -> None:
        """Fail over, unless the standby lacks commits that the primary has confirmed alone."""
        old = self.primary()
        new = next(node for node in self.nodes if node is not old)
        if new.former or old.alone:
            return
        old.former, new.primary, new.alone = True, True, True

    def rejoin(self) -> None:
        """Make a former primary the standby."""
        new = self.primary()
        for old in self.nodes:
            if old.former:
                old.restart()
                old.primary = old.former = False
                old.row = new.row
                new.alone = False

    def heal(self) -> None:
        self.cut.clear()
        for node in self.nodes:
            node.down = False
        self.rejoin()
        for host in self.hosts:
            host.thaw()
            if host.stalled:
                host.power_off()
            if not host.member:
                host.boot()


class Host:
    """An application host: its clock, its guard that looks at the clock, and the command."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.command = False
        self.frozen = False
        self.stalled = False
        self.crashes = False
        self.due = 0
        self.member: Member | None = None
        self._offset = world.random.uniform(-1e6, 1e6)
        self._speed = world.random.uniform(0.999, 1.001)
        self._life = count(1)
        self._tenure = ""
        self._node: Node | None = None
        self._asked: tuple[Ask, float] | None = None
        self._heard: tuple[Row | None, bool] | None = None
        self.boot()

    def clock(self) -> float:
        return self._offset + self._speed * self.world.now

    def boot(self) -> None:
        if self.world.timers and not self.due:
            return
        self.command = self.stalled = False
        self._tenure = f"{self.name} {next(self._life)}"
        self.member = Member(self._tenure, TTL, self.due)
        self._node = self._asked = self._heard = None
        mine = self.member
        self.world.after(self.world.random.uniform(0, TICK), lambda: self.tick(mine))

    def power_off(self) -> None:
        self.command, self.member = False, None

    def kill_supervisor(self) -> None:
        """Kill the supervisor: systemd kills what is left of the service, and starts it again."""
        self.member = None
        self.world.after(self.world.random.uniform(0, 0.5), self.power_off)
        if not self.due:
            self.world.after(1, lambda: None if self.member else self.boot())

    def timer(self, due: int) -> None:
        """Start the supervisor for a tick, unless it still runs for an earlier one."""
        if not self.member and not self.frozen and not self.stalled:
            self.due = due
            self.boot()

    def thaw(self) -> None:
        if self.frozen:
            self.frozen = False
            if self.member:
                self.look(self.member)

    def stop(self, *, failed: bool) -> None:
        """End the command; the supervisor releases the lease, ends, and is started again."""
        if self.member and self.member.holds and not self.frozen and not self.stalled:
            self.command = False
            self.send(self.member.leave(self.clock(), failed=failed))
            self.member = None
            if not self.due:
                self.world.after(0.5, lambda: None if self.member else self.boot())

    def tick(self, mine: Member) -> None:
        if self.member is not mine:
            return
        pause = self.world.random.choice((0, 0, 0, self.world.random.uniform(0, 1)))
        self.world.after(TICK + pause, lambda: self.tick(mine))
        if self.stalled and not self.frozen and self.command and self.clock() >= mine.deadline(DEADLINE):
            self.kill_supervisor()
            self.command = False
        elif not self.frozen and not self.stalled:
            self.look(mine)

    def look(self, mine: Member) -> None:
        """Run one round of the guard, in the order of the supervisor's loop."""
        now = self.clock()
        if self._asked:
            ask, until = self._asked
            if self._heard:
                row, acknowledged = self._heard
                self._asked = self._heard = None
                mine.answered(ask, row, now) if acknowledged else mine.unanswered(now)
                if mine.over:
                    self.member = None
                    return
            elif now >= until:
                self._asked = self._node = None
                mine.unanswered(now)
        order = mine.order(now, alive=self.command)
        if order is Order.KILL or (order is Order.STOP and self.world.random.random() < 0.1):
            self.command = False
            if self.due:
                self.member = None
                return
        elif order is Order.START:
            self.command = True
            self.world.ticks.append(mine.tick)
            self.world.starts.append((self.world.now, self.name))
            if self.crashes:
                self.stop(failed=True)
                return
        if not self._asked and (due := mine.ask(now)):
            self.send(due)

    def send(self, ask: Ask) -> None:
        """Send a question to a database host that takes writes; it may arrive after the sender has stopped waiting."""
        if self._node is None or self._node.down or not self._node.primary:
            open_ones = [node for node in self.world.nodes if node.primary and self.world.linked(self.name, node.name)]
            self._node = self.world.random.choice(open_ones) if open_ones else None
        self._asked = mine = ask, ask.at + ANSWER * TTL
        node, tenure = self._node, self._tenure
        if node is None:
            return

        def reply(row: Row | None, acknowledged: bool) -> None:
            self.world.after(self.world.delay(), lambda: hear(row, acknowledged))

        def hear(row: Row | None, acknowledged: bool) -> None:
            if self._asked is mine and self.world.linked(self.name, node.name):
                self._heard = row, acknowledged

        def arrive() -> None:
            if self.world.linked(self.name, node.name):
                node.execute(ask, self.name, tenure, reply)

        self.world.after(self.world.delay(), arrive)
