"""The plan of a teardown: what it removes, in which order, and what stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import given

from plainstack.engine.kinds.path_actions import Forget, Remove, Restore
from plainstack.engine.kinds.timer import RemoveTimer
from plainstack.engine.kinds.unit_actions import StopOthers
from plainstack.engine.observed import FOUND, Entry, Observed, PathState, UnitState
from plainstack.engine.plan.actions import HostPlan, UnitAction
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import File, Link, Package, Resource, Timer, Unit
from plainstack.engine.sayings import Leftover
from plainstack.engine.teardown.before import Before
from plainstack.engine.teardown.plan import teardown
from tests.unit.hosts import NOW, UNIT_FILES, Desired, desired_states, everything
from tests.unit.simulate import Machine

SYSTEM = "/etc/systemd/system"
UP = UnitState("loaded", "active", "running", "enabled")
DEPLOYED = Before(deployed=True, complete=True)


def torn(
    desired: Mapping[str, Sequence[Resource]],
    seen: Observed,
    before: Before = DEPLOYED,
    *leftovers: Leftover,
    data: bool = False,
) -> HostPlan:
    return teardown("db1", desired, seen, before, leftovers, NOW, data=data)


def entry(item: Resource, state: str, who: str = "me@here") -> Entry:
    kind, _, name = item.key.partition(" ")
    return Entry(kind, name, state, "", who)


def file(path: str, *, vital: bool = False) -> tuple[File, Entry, PathState]:
    item = File(path=path, content=b"ours\n", vital=vital)
    return item, entry(item, str(item.wanted())), PathState("file", 0o644, "root", "root", item.sha256)


@given(desired_states)
def test_a_deploy_and_a_teardown_leave_the_host_as_it_was(desired: Desired) -> None:
    wanted = everything(desired)
    machine = Machine(sysctls={"net.x": "0"}, unit_files=UNIT_FILES)
    machine.apply(plan("db1", desired, machine.observed(wanted), NOW), wanted)
    machine.apply(torn(desired, machine.observed(wanted)), [])
    assert machine.manifest == {}
    assert (machine.paths, machine.users, machine.stamps) == ({}, {}, {})
    assert {name for name, unit in machine.units.items() if unit.active == "active" or unit.file == "enabled"} == set()
    assert machine.sysctls == {"net.x": "0"}


@given(desired_states)
def test_a_second_teardown_changes_no_role(desired: Desired) -> None:
    wanted = everything(desired)
    machine = Machine(sysctls={"net.x": "0"}, unit_files=UNIT_FILES)
    machine.apply(plan("db1", desired, machine.observed(wanted), NOW), wanted)
    machine.apply(torn(desired, machine.observed(wanted)), [])
    assert torn(desired, machine.observed(wanted)).transactions == ()
    assert torn(desired, machine.observed(wanted), Before()).empty


def test_roles_go_in_the_reverse_order_and_the_packet_filter_last() -> None:
    unit = Unit(name="filter.service", guarded=True)
    own, kept, seen = file(f"{SYSTEM}/filter.service")
    names = ("base", "filter", "db", "app")
    desired = {name: (own, unit) if name == "filter" else () for name in names}
    manifest: dict[str, tuple[Entry, ...]] = {
        name: (entry(File(path=f"/{name}", content=b""), "absent"),) for name in (*names, "old")
    }
    manifest["filter"] = (kept, entry(unit, "enabled,running"))
    observed = Observed(manifest=manifest, paths={own.path: seen}, units={unit.name: UP})
    found = torn(desired, observed)
    assert [work.role for work in found.transactions] == ["old", "app", "db", "base", "filter"]
    assert [work.role for work in found.transactions if work.guarded] == ["filter"]


def test_a_unit_that_ran_before_plainstack_is_reloaded_and_a_daemon_for_log_ins_never_stops() -> None:
    ssh = Unit(name="ssh.service", guarded=True, reload_on=("/etc/ssh/ours.conf",))
    log = Unit(name="log.service", restart_on=("/etc/ssh/ours.conf",))
    own, kept, seen = file("/etc/ssh/ours.conf")
    observed = Observed(
        manifest={"base": (kept, entry(ssh, "enabled,running"), entry(log, "enabled,running", FOUND))},
        paths={own.path: seen},
        units={ssh.name: UP, log.name: UP},
        stamps={ssh.name: "- abc", log.name: "abc abc"},
    )
    (work,) = torn({"base": (own, ssh, log)}, observed).transactions
    verbs = {(action.verb, action.unit.name) for action in work.actions if isinstance(action, UnitAction)}
    assert verbs == {("reload", "ssh.service"), ("restart", "log.service")}
    assert work.guarded


def test_originals_come_back_and_a_file_that_a_host_needs_stays_if_its_original_is_unknown() -> None:
    files = [file("/etc/hosts", vital=True), file("/etc/a.conf"), file("/etc/hostname", vital=True), file("/etc/new")]
    found = File(path="/etc/found", content=b"theirs\n")
    manifest = {"base": (*(kept for _, kept, _ in files), entry(found, str(found.wanted()), FOUND))}
    paths = {item.path: seen for item, _, seen in files}
    paths[found.path] = PathState("file", 0o644, "root", "root", found.sha256)
    before = Before(deployed=True, complete=True, originals=frozenset({"/etc/hosts", "/etc/a.conf"}))
    (work,) = torn(
        {"base": [item for item, _, _ in files]}, Observed(manifest=manifest, paths=paths), before
    ).transactions
    assert {action.path for action in work.actions if isinstance(action, Restore)} == {"/etc/hosts", "/etc/a.conf"}
    assert [action.path for action in work.actions if isinstance(action, Remove)] == ["/etc/new"]
    left = {action.entry.name: action.detail for action in work.actions if isinstance(action, Forget)}
    assert set(left) == {"/etc/hostname", "/etc/found"}
    assert left["/etc/found"] == "it was there before Plainstack"


def test_timers_and_sockets_stop_before_the_services_that_they_start() -> None:
    web, watchdog = Unit(name="web.service"), Unit(name="look.socket")
    timer = Timer(name="clean.timer", calendar="daily")
    files = [file(f"{SYSTEM}/{name}") for name in ("web.service", "look.service", "look@.service", "clean.service")]
    units = (entry(web, "enabled,running"), entry(watchdog, "enabled,running"), entry(timer, str(timer.file.wanted())))
    paths = {item.path: seen for item, _, seen in files}
    paths[timer.path] = PathState("file", 0o644, "root", "root", timer.file.sha256)
    observed = Observed(
        manifest={"app": (*(kept for _, kept, _ in files), *units)},
        paths=paths,
        units={web.name: UP, watchdog.name: UP, timer.name: UP},
    )
    (work,) = torn({"app": (web, watchdog)}, observed).transactions
    order = [
        action.name if isinstance(action, RemoveTimer) else action.unit.name
        for action in work.actions
        if isinstance(action, RemoveTimer) or (isinstance(action, UnitAction) and action.verb == "stop")
    ]
    assert order[-1] == "web.service"
    (others,) = (action for action in work.actions if isinstance(action, StopOthers))
    assert set(others.units) == {"look.service", "look@*.service", "clean.service"}
    kinds = [type(action) for action in work.actions]
    assert kinds.index(StopOthers) < kinds.index(Remove)


def test_packages_whose_purge_would_delete_data_are_only_uninstalled() -> None:
    before = Before(
        deployed=True,
        complete=True,
        made=("package postgresql-17", "package nginx", "package gone", "user postgres", "folder /a", "folder /a/b"),
        packages={"postgresql-17": True, "nginx": True, "sudo": True},
        sizes={"/var/lib/postgresql": 100, "/run/cache": 1},
    )
    data = Leftover("/var/lib/postgresql", "the databases", packages=("postgresql*",))
    rest = (Leftover("/run/cache", "scratch", data=False), Leftover("/var/lib/absent", "nothing"))
    kept = torn({}, Observed(), before, data, *rest).farewell
    assert kept is not None
    assert (kept.purge, kept.remove, kept.stays) == (("nginx",), ("postgresql-17",), (data,))
    assert [one.path for one in kept.paths] == ["/run/cache"]
    assert kept.folders == ("/a/b", "/a")
    whole = torn({}, Observed(), before, data, *rest, data=True).farewell
    assert whole is not None
    assert (whole.purge, whole.remove, whole.stays) == (("postgresql-17", "nginx"), (), ())
    assert [one.path for one in whole.paths] == ["/var/lib/postgresql", "/run/cache"]


def test_after_a_teardown_only_data_gives_a_second_one_something_to_do() -> None:
    data = Leftover("/var/lib/postgresql", "the databases", packages=("postgresql*",))
    left = Before(
        made=("package postgresql-17", "user postgres", "data /var/lib/postgresql"),
        packages={"postgresql-17": False},
        sizes={data.path: 100},
    )
    assert torn({}, Observed(), left, data).empty
    found = torn({}, Observed(), left, data, data=True).farewell
    assert found is not None
    assert (found.purge, found.users) == (("postgresql-17",), ("postgres",))


def test_data_of_a_package_that_was_there_before_and_of_a_host_without_plainstack_is_never_deleted() -> None:
    data = Leftover("/var/lib/postgresql", "the databases", packages=("postgresql*",))
    theirs = Before(deployed=True, complete=True, packages={"postgresql-17": True}, sizes={data.path: 100})
    found = torn({}, Observed(), theirs, data, data=True).farewell
    assert found is not None
    assert (found.purge, found.paths, found.stays) == ((), (), ())
    bare = Before(packages={"postgresql-17": True}, sizes={data.path: 100})
    assert torn({}, Observed(), bare, data, data=True).empty


def test_packages_of_a_host_without_a_complete_record_are_named_and_stay() -> None:
    wanted = {"web": (Package(name="nginx"), Package(name="curl"), Link(path="/l", target="/t"))}
    old = Before(deployed=True, made=("package curl",), packages={"nginx": True, "curl": True})
    found = torn(wanted, Observed(), old).farewell
    assert found is not None
    assert (found.purge, found.unknown) == (("curl",), ("nginx",))
