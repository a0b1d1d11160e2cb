"""A lease in simulated time, with every fault: two commands never run at once, and one soon runs again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.services.lease_database import TTL, Node
from tests.unit.services.lease_model import Host, World

HOSTS = 3

ON_HOSTS: dict[str, Callable[[Host], None]] = {
    "power off": Host.power_off,
    "boot": lambda host: None if host.member else host.boot(),
    "freeze": lambda host: setattr(host, "frozen", True),
    "thaw": Host.thaw,
    "stall": lambda host: setattr(host, "stalled", True),
    "kill the supervisor": Host.kill_supervisor,
    "stop": lambda host: host.stop(failed=False),
    "the command ends": lambda host: host.stop(failed=True),
    "cut off": lambda host: host.world.cut.update((host.name, node.name) for node in host.world.nodes),
    "cut from db1": lambda host: host.world.cut.add((host.name, "db1")),
    "cut from db2": lambda host: host.world.cut.add((host.name, "db2")),
    "reconnect": lambda host: host.world.cut.difference_update({(host.name, "db1"), (host.name, "db2")}),
}
ON_NODES: dict[str, Callable[[Node], None]] = {
    "down": lambda node: setattr(node, "down", True),
    "up": lambda node: setattr(node, "down", False),
    "cancel": Node.cancel,
    "restart": Node.restart,
    "part from the other": lambda node: node.world.cut.add(("db1", "db2")),
    "join the other": lambda node: node.world.cut.discard(("db1", "db2")),
    "promote": lambda node: node.world.promote(),
    "rejoin": lambda node: node.world.rejoin(),
}
FAULTS = st.lists(
    st.tuples(
        st.floats(0, 20),
        st.one_of(
            st.tuples(st.sampled_from(sorted(ON_HOSTS)), st.integers(0, HOSTS - 1)),
            st.tuples(st.sampled_from(sorted(ON_NODES)), st.integers(0, 1)),
        ),
    ),
    max_size=25,
)


def pass_time(world: World, seconds: float) -> None:
    for _ in world.run(world.now + seconds):
        assert len(world.running()) <= 1, f"{world.running()} run at the same time"


def await_running(world: World) -> float:
    """Wait until a command runs; return how many seconds that has taken."""
    began = world.now
    for _ in world.run(began + 4 * TTL):
        assert len(world.running()) <= 1
        if world.running():
            return world.now - began
    raise AssertionError("no host runs the command")


def act(world: World, what: str, number: int) -> None:
    if what in ON_HOSTS:
        ON_HOSTS[what](world.hosts[number])
    else:
        ON_NODES[what](world.nodes[number])
    assert len(world.running()) <= 1


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32), FAULTS)
def test_two_commands_never_run_at_once_and_one_runs_after_the_last_fault(
    seed: int, faults: list[tuple[float, tuple[str, int]]]
) -> None:
    world = World(seed, HOSTS)
    for pause, (what, number) in faults:
        pass_time(world, pause)
        act(world, what, number)
    world.heal()
    world.slow = False
    await_running(world)


# Combinations of faults that random runs rarely find; the first host holds the lease. Each fault has a range for the
# pause that follows it.
STORIES = {
    "a renewal is seen, lost in a failover, and made again": (
        ("part from the other", 0, (1.5, 3)),
        ("cancel", 0, (0.5, 4)),
        ("down", 0, (0, 0)),
        ("promote", 0, (0.1, 4)),
        ("cut off", 0, (20, 20)),
    ),
    "a former primary reports commits that no standby has": (
        ("cut from db2", 0, (0, 0)),
        ("cut from db1", 1, (0, 2)),
        ("part from the other", 0, (0, 0)),
        ("promote", 0, (0, 1)),
        *[("cancel", 0, (1.5, 3))] * 10,
    ),
}


@pytest.mark.parametrize("story", STORIES)
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_writes_lost_by_a_failover_do_not_allow_a_second_command(story: str, seed: int, data: st.DataObject) -> None:
    world = World(seed, 2, slow=False)
    await_running(world)
    first = world.running() == [world.hosts[0].name]
    for what, number, (shortest, longest) in STORIES[story]:
        act(world, what, number if first or what in ON_NODES else 1 - number)
        pass_time(world, data.draw(st.floats(shortest, longest)))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(0, 5),
    st.sampled_from(("power off", "cut off", "freeze", "stall", "kill the supervisor", "stop", "the command ends")),
)
def test_another_host_takes_over_within_thirty_seconds(seed: int, pause: float, what: str) -> None:
    world = World(seed, 2, slow=False)
    await_running(world)
    pass_time(world, pause)
    (holder,) = [host for host in world.hosts if [host.name] == world.running()]
    act(world, what, world.hosts.index(holder))
    began, done = world.now, len(world.starts)
    pass_time(world, 30)
    assert world.starts[done:], f"nobody took over from {holder.name}"
    assert world.starts[done][0] - began < 20


def test_a_command_that_ends_at_once_is_restarted_less_and_less_often_across_all_hosts() -> None:
    world = World(0, HOSTS, slow=False)
    for host in world.hosts:
        host.crashes = True
    pass_time(world, TTL + 130)
    pauses = [after - before for (before, _), (after, _) in zip(world.starts, world.starts[1:], strict=False)]
    assert len({name for _, name in world.starts}) > 1
    assert min(pauses[5:]) >= 20


def pass_ticks(world: World, first: int, ticks: int, every: float = 40) -> None:
    """Let the timers of all hosts start at nearly the same moments; the command of each takes some seconds."""
    for tick in range(first, first + ticks):
        for host in world.hosts:
            world.after(world.random.uniform(0, 3), lambda host=host, tick=tick: host.timer(tick))  # type: ignore[misc]  # a default
            world.after(world.random.uniform(5, 30), lambda host=host: host.stop(failed=False))  # type: ignore[misc]  # a default
        pass_time(world, every)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), FAULTS)
def test_no_tick_runs_twice_and_ticks_run_again_after_the_last_fault(
    seed: int, faults: list[tuple[float, tuple[str, int]]]
) -> None:
    world = World(seed, HOSTS, timers=True)
    tick = 1
    for _, (what, number) in faults:
        act(world, what, number)
        pass_ticks(world, tick, 1)
        tick += 1
    world.heal()
    world.slow = False
    # Earlier messages may still be in transit.
    pass_ticks(world, tick, 6)
    assert len(world.ticks) == len(set(world.ticks)), world.ticks
    assert world.ticks[-1] == tick + 5, world.ticks


def test_if_one_host_is_down_the_others_run_every_tick() -> None:
    world = World(3, HOSTS, slow=False, timers=True)
    pass_ticks(world, 1, 2)
    world.hosts[0].stalled = True
    world.hosts[0].power_off()
    pass_ticks(world, 3, 10)
    assert world.ticks[-10:] == list(range(3, 13))
