"""Restore decisions against a stack in memory, interrupted after every step and repeated, or undone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plainstack.errors import Refused
from plainstack.postgresql.failover.decisions import Do
from plainstack.postgresql.failover.phases import no_restore
from plainstack.postgresql.restore.acts import Act
from plainstack.postgresql.restore.decisions import discard, reopen, restore
from plainstack.postgresql.restore.situation import Files, Request
from plainstack.postgresql.restore.undo import undo
from tests.unit.postgresql.restore_model import GB, Host, World

FILES = (Files("web", "media", "app1", "S1", 10),)
WANTED = Request("20261126T120000", "noon", "at noon", ("--backup=1", "--at=noon"), "db1", "db1", ("web",), FILES)
LATER = replace(WANTED, id="20261126T130000", moment="one", says="at one", target=("--backup=1", "--at=one"))
STEPS = 40


def written(rows: int = 10, **options: int) -> World:
    """Return a world with rows, the first half of which is from before the moment of the restore."""
    world = World(**options)
    for _ in range(rows):
        world.live()
    world.recovered = world.rows[: rows // 2]
    return world


def restored(world: World, wanted: Request = WANTED) -> None:
    assert world.run(lambda now: restore(now, wanted))
    assert world.run(reopen)


def refused(world: World, wanted: Request = WANTED) -> str:
    with pytest.raises(Refused) as caught:
        world.run(lambda now: restore(now, wanted))
    return str(caught.value)


def test_tablespaces_are_refused_before_anything_changes() -> None:
    world = written()
    now = world.situation()
    nodes = {name: replace(node, tablespaces=True) for name, node in now.topology.nodes.items()}
    with pytest.raises(Refused, match=r"db1: the database has tablespaces .* it refuses to restore everything"):
        next(restore(replace(now, topology=replace(now.topology, nodes=nodes)), WANTED))


def test_a_restore_interrupted_at_any_step_and_repeated_has_the_rows_of_the_moment_and_none_after() -> None:
    for count in range(STEPS):
        world = written()
        world.run(lambda now: restore(now, WANTED), count)
        restored(world)
        assert world.rows[:5] == world.recovered
        since = world.rows[5:]
        assert since == world.acknowledged[len(world.acknowledged) - len(since) :], "a row from after the moment"
        assert world.is_whole(), world.steps
        assert world.backed_up == 1
        assert (world.media, world.stage) == ("S1", {f"before-{WANTED.id}": "today"})
        assert all(("before", WANTED.id) in host.kept for host in world.hosts.values())


@pytest.mark.parametrize("undone", range(0, STEPS, 3))
def test_undoing_a_restore_interrupted_at_any_step_brings_every_acknowledged_row_back(undone: int) -> None:
    for count in range(1, STEPS):
        world = written()
        world.run(lambda now: restore(now, WANTED), count)
        old = kept_rows(world)
        world.run(undo, undone)
        assert world.run(undo)
        world.run(reopen)
        assert world.rows[: len(old)] == old
        assert set(world.acknowledged) - set(world.rows) <= since_restore(world), (count, undone, world.steps)
        assert world.is_whole(), world.steps
        assert world.media == "today"
        assert set(world.stage) <= {f"undone-{WANTED.id}"}


def kept_rows(world: World) -> list[int]:
    """Return the rows of the data from before the restore, wherever it is now."""
    kept = [host.kept.get(("before", WANTED.id)) for host in world.hosts.values()]
    here = [host.data for host in world.hosts.values() if ("before", WANTED.id) not in host.kept]
    return max((data.rows for data in [*kept, *here] if data), key=len)


def since_restore(world: World) -> set[int]:
    """Return the rows that are only in the data that an undo put aside."""
    aside = [data for host in world.hosts.values() for (kind, _), data in host.kept.items() if kind == "undone"]
    return {row for data in aside if data for row in data.rows}


def test_the_site_is_open_until_the_recovered_copy_is_ready() -> None:
    world = written()
    restored(world)
    acts = [step.do for step in world.steps]
    assert (
        acts.index(Act.RECOVER)
        < acts.index(Act.COPY_FILES)
        < acts.index(Act.CLOSE)
        < acts.index(Act.HALT)
        < acts.index(Act.STAND_DOWN)
    )
    assert acts[-2:] == [Act.OPEN, Act.MARK]


def test_an_undone_restore_begins_a_timeline_that_the_restored_data_never_had() -> None:
    world = written()
    restored(world)
    used = set(world.timelines)
    world.run(undo)
    world.run(reopen)
    assert world.leader.data
    assert world.leader.data.timeline > max(used)
    assert world.is_whole()
    restored(world, LATER)
    assert world.is_whole()


def test_a_restore_with_a_replica_away_fences_it_off_and_a_repeated_one_takes_it_in() -> None:
    world = written()
    world.hosts["db2"].plugged = False
    assert world.run(lambda now: restore(now, WANTED))
    assert world.hosts["db1"].fences == {"db2"}
    assert Do.DEGRADE in [step.do for step in world.steps]
    world.hosts["db2"].plugged = True
    restored(world)
    assert ("before", WANTED.id) in world.hosts["db2"].kept
    assert world.is_whole()


def test_the_primary_may_be_away_and_another_host_gets_the_data() -> None:
    world = written()
    world.hosts["db1"].plugged = False
    restored(world, replace(WANTED, leader="db2", before=""))
    assert world.leader.name == "db2"
    assert world.hosts["db2"].fences == {"db1"}
    assert world.rows[:5] == world.recovered


def test_a_host_without_room_for_both_copies_stops_the_restore_before_anything_is_touched() -> None:
    world = written(size=20 * GB)
    assert "db1: the disk is too full" in refused(world)
    assert not world.closed
    assert world.runs
    # Another moment can be chosen, because nothing was changed yet.
    world.size = GB
    restored(world, LATER)
    assert world.is_whole()


def test_another_moment_is_refused_while_a_restore_has_begun_to_change_the_stack() -> None:
    world = written()
    while not world.halted:
        world.run(lambda now: restore(now, WANTED), len(world.steps) + 1)
    assert "restore 20261126T120000 (at noon) has not finished" in refused(world, LATER)
    assert world.run(undo)
    world.run(reopen)
    restored(world, LATER)
    assert world.is_whole()


def test_an_undoing_that_was_begun_must_be_finished() -> None:
    world = written()
    restored(world)
    world.run(undo, 4)
    assert "is being undone" in refused(world, LATER)


def test_nothing_can_be_undone_or_discarded_twice() -> None:
    world = written()
    with pytest.raises(Refused, match="nothing to undo"):
        world.run(undo)
    restored(world)
    world.run(discard)
    assert not any(host.kept for host in world.hosts.values())
    assert world.stage == {}
    with pytest.raises(Refused, match="nothing to undo"):
        world.run(undo)


def test_a_failover_is_refused_while_a_restore_has_not_finished() -> None:
    world = written()
    world.hosts["db1"].marker = "20261126T120000 at noon"
    with pytest.raises(Refused, match="db1: a restore of the database has not finished"):
        no_restore(world.situation().topology)


def test_a_third_host_without_data_gets_the_restored_data_too() -> None:
    world = written()
    world.hosts["db3"] = Host("db3", None, running=False)
    restored(world)
    assert world.upstream(world.hosts["db3"]) == "db1"
    world.run(undo)
    assert world.hosts["db3"].data is None
