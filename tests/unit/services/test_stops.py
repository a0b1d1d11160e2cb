"""Plans respect the holds of `inv stop` until `inv start`, whichever hosts were down meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.deploy.focus import Focus
from plainstack.engine import desired
from plainstack.engine.desired import HostDesired
from plainstack.engine.kinds.paths import state_of
from plainstack.engine.observed import Entry, Observed, PathState
from plainstack.engine.plan.planner import Stamp, plan
from plainstack.engine.resources import File, Resource, Timer, Unit
from plainstack.engine.role import Role
from plainstack.inventory.stack import Stack
from plainstack.roles import app
from plainstack.secrets.values import Vault
from plainstack.services import holds, stops
from plainstack.services.processes import ROLES
from plainstack.services.stops import Stop
from tests import inventories
from tests.unit.simulate import Machine

NOW = Stamp("2026-01-01T00:00:00Z", "me@here", "abc")
WEB = "plainstack-web.service"
EVERYWHERE = [("web", "app1"), ("web", "app2")]


def everything(wanted: HostDesired) -> list[Resource]:
    return [item for resources in wanted.values() for item in resources]


def unit(wanted: HostDesired, name: str = WEB) -> Unit:
    return next(item for item in everything(wanted) if isinstance(item, Unit) and item.name == name)


def facts(stack: Stack) -> Mapping[str, str]:
    """Return the facts of a host that has the files of all holds of a stack."""
    found = {}
    for file in holds.files(stack, "web"):
        for line in file.content.decode().splitlines()[1:]:
            key, _, value = line.partition("=")
            found[f"hold.web.stopped.{key}"] = value
    return found


@pytest.fixture(scope="module")
def stopped(stack: Stack) -> Stack:
    return stops.stop("web", EVERYWHERE, "2026-01-31T14:00:00Z", "jane@laptop")(stack)


def on(stack: Stack, vault: Vault, registry: Mapping[str, Role], host: str = "app1") -> HostDesired:
    return desired.assemble(stack, vault, registry, [host])[host]


def test_a_stopped_process_neither_runs_nor_starts_at_boot(
    stopped: Stack, vault: Vault, registry: Mapping[str, Role]
) -> None:
    wanted = unit(on(stopped, vault, registry))
    assert (wanted.enabled, wanted.running) == (False, False)


def test_a_deploy_of_a_stopped_service_writes_its_files_and_starts_nothing(
    stopped: Stack, vault: Vault, registry: Mapping[str, Role]
) -> None:
    bare = plan("app1", on(stopped, vault, registry), Observed(), NOW)
    subjects = [action.subject() for _, action in bare.actions()]
    assert f"start {WEB}" not in subjects
    assert f"write /etc/systemd/system/{WEB}" in subjects
    machine = Machine()
    machine.apply(bare, everything(on(stopped, vault, registry)))
    seen = machine.observed(everything(on(stopped, vault, registry)))
    assert plan("app1", on(stopped, vault, registry), seen, NOW).empty
    started = stops.start("web", EVERYWHERE, "2026-01-31T15:00:00Z", "jane@laptop")(stopped)
    again = [action.subject() for _, action in plan("app1", on(started, vault, registry), seen, NOW).actions()]
    assert again[-2:] == [f"enable {WEB}", f"start {WEB}"]


def test_one_host_can_be_stopped(stack: Stack, vault: Vault, registry: Mapping[str, Role]) -> None:
    here = stops.stop("web", [("web", "app2")], "2026-01-31T14:00:00Z", "jane@laptop")(stack)
    assert unit(on(here, vault, registry, "app1")).running
    assert not unit(on(here, vault, registry, "app2")).running
    assert stops.units_on(here, here.hosts["app1"]) == [WEB]
    assert stops.units_on(here, here.hosts["app2"]) == []


def test_the_hosts_record_who_stopped_what_and_when(stack: Stack, stopped: Stack) -> None:
    read = holds.read(stack, {"app1": Observed(facts=facts(stopped)), "app2": Observed()})
    assert stops.stops(read, "web") == [
        Stop("web", host, "2026-01-31T14:00:00Z", "jane@laptop") for host in ("app1", "app2")
    ]
    assert next(iter(stops.sentences(read))) == (
        "app1",
        "web: web is stopped on app1, app2 since 2026-01-31T14:00:00Z by jane@laptop; a deploy does not start it:"
        " inv start web",
    )


def test_a_host_that_was_down_during_the_start_does_not_stop_the_others_again(stack: Stack, stopped: Stack) -> None:
    started = stops.start("web", EVERYWHERE, "2026-01-31T15:00:00Z", "jane@laptop")(stopped)
    seen = {"app1": Observed(facts=facts(started)), "app2": Observed(facts=facts(stopped))}
    assert stops.stops(holds.read(stack, seen), "web") == []


def test_a_start_is_newer_than_the_stop_although_its_clock_is_behind(stopped: Stack) -> None:
    before = stopped.held.stopped["web"]
    started = stops.start("web", stops.parts(stopped, "web"), "2001-01-01T00:00:00Z", "me")(stopped)
    assert started.held.stopped["web"].at > before.at


def test_a_second_stop_keeps_the_operator_of_the_first(stopped: Stack) -> None:
    assert stops.stop("web", EVERYWHERE, "2026-02-01T00:00:00Z", "joe@laptop")(stopped) == stopped


@given(who=st.text(min_size=1, max_size=20).filter(lambda text: "," not in text and bool(text.split())))
def test_any_operator_name_can_be_recorded(who: str) -> None:
    item = Stop("web", "app1", "2026-01-31T14:00:00Z", who).item
    assert len(item.split()) == 1
    assert Stop.parse(item).who == "_".join(who.split())


def test_a_stop_changes_only_units_timers_and_its_own_file(stack: Stack) -> None:
    kinds = {key.partition(" ")[0] for key in stops.keys(stack, "web")}
    assert kinds == {Unit(name="x").key.split()[0], File(path="/x", content=b"").key.split()[0]}
    assert Timer(name="x", calendar="").key not in stops.keys(stack, "web")


def test_a_stop_on_one_host_starts_nothing_that_is_down_on_another(
    stack: Stack, vault: Vault, registry: Mapping[str, Role]
) -> None:
    here = stops.stop("web", [("web", "app2")], "2026-01-31T14:00:00Z", "jane@laptop")(stack)
    wanted = on(here, vault, registry, "app1")
    machine = Machine()
    machine.apply(plan("app1", wanted, Observed(), NOW), everything(wanted))
    del machine.units[WEB]
    focus = Focus(ROLES, lambda stack: stack, stops.keys(here, "web"), lambda item: getattr(item, "running", False))
    only = focus.keys(wanted, wanted)
    assert plan("app1", wanted, machine.observed(everything(wanted)), NOW, ROLES, only=only).empty
    assert not plan("app1", wanted, machine.observed(everything(wanted)), NOW, ROLES).empty


SINGLE = """
stack: s
hosts: {app1: {address: 10.0.0.1, roles: [app]}}
services:
  blog:
    source: "."
    kind: binary
    processes: {web: {command: x}}
    timers: {tick: {command: x, calendar: daily}}
"""


def test_a_start_on_the_only_host_of_a_service_leaves_no_record(tmp_path: Path) -> None:
    stack = inventories.parse(SINGLE, "hosts.yaml", tmp_path)
    stopped = stops.stop("blog", [("web", "app1"), ("tick", "app1")], "2026-01-31T14:00:00Z", "jane@laptop")(stack)
    some = stops.start("blog", [("web", "app1")], "2026-01-31T15:00:00Z", "jane@laptop")(stopped)
    assert [file.path for file in holds.files(some, "blog")] == ["/etc/plainstack/app/blog.stopped"]
    every = stops.start("blog", [("tick", "app1")], "2026-01-31T16:00:00Z", "jane@laptop")(some)
    assert [*holds.files(every, "blog")] == []


def test_a_stopped_timer_is_called_stopped_and_one_that_is_no_longer_declared_removed(tmp_path: Path) -> None:
    stack = inventories.parse(SINGLE, "hosts.yaml", tmp_path)
    one = Timer(name="plainstack-blog-tick.timer", calendar="daily")
    left = Entry("timer", one.name, state_of(one.file))
    seen = Observed(
        manifest={"app": (left,)}, paths={one.path: PathState("file", 0o644, "root", "root", one.file.sha256)}
    )
    stopped = stops.stop("blog", [("tick", "app1")], "2026-01-31T14:00:00Z", "jane@laptop")(stack)
    without = inventories.parse(SINGLE.rpartition("    timers")[0], "hosts.yaml", tmp_path)

    def said(wanted: Stack) -> list[tuple[str, str]]:
        desired = {"app": [*inventories.wanted(app.ROLE, wanted, "app1", Vault({}, {}, ""))]}
        actions = plan("app1", desired, seen, NOW).actions()
        return [(each.subject(), each.detail) for _, each in actions if one.name in each.subject()]

    assert said(stopped) == [("stop plainstack-blog-tick.timer", "no longer starts plainstack-blog-tick.service")]
    assert said(without) == [("remove plainstack-blog-tick.timer", "no longer declared")]


def test_a_stopped_part_that_the_inventory_no_longer_has_is_not_mentioned_and_its_record_ends(tmp_path: Path) -> None:
    stack = inventories.parse(SINGLE, "hosts.yaml", tmp_path)
    stopped = stops.stop("blog", [("tick", "app1")], "2026-01-31T14:00:00Z", "jane@laptop")(stack)
    without = inventories.parse(SINGLE.rpartition("    timers")[0], "hosts.yaml", tmp_path)
    later = holds.changed(without, lambda _: stopped.held)
    assert [*stops.sentences(later)] == []
    started = stops.start("blog", [("web", "app1")], "2026-01-31T15:00:00Z", "jane@laptop")(later)
    assert [*holds.files(started, "blog")] == []
