"""The cause that a plan reports for each action: new, changed, drift, owed, undeclared or interrupted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from plainstack.engine.observed import PathState, UnitState, UserState
from plainstack.engine.plan.actions import Forget, HostPlan, Purge, Put, Remove, UnitAction
from plainstack.engine.plan.planner import plan
from plainstack.engine.resources import Absent, Directory, File, Link, Package, Resource, Sysctl, Unit, User, Validation
from tests.unit.hosts import NOW, sha
from tests.unit.simulate import Machine

CONF = File(path="/etc/app.conf", content=b"port = 1\n")
NEW = dataclasses.replace(CONF, content=b"port = 2\n")
KEY = File(path="/etc/app.key", content=b"key\n", mode=0o600)
UNIT = Unit(name="app.service", reload_on=(CONF.path,), restart_on=(KEY.path,))
Wanted = Sequence[Resource]


def deployed(*wanted: Resource) -> Machine:
    machine = Machine(sysctls={"net.x": "0"})
    machine.apply(look(machine, wanted), wanted)
    return machine


def look(machine: Machine, wanted: Wanted, role: str = "app") -> HostPlan:
    return plan("db1", {role: wanted}, machine.observed(wanted), NOW)


def reported(machine: Machine, *wanted: Resource) -> list[tuple[str, str]]:
    """Return the subject and the cause of each planned action."""
    return [(action.subject(), getattr(action, "cause", "new")) for _, action in look(machine, wanted).actions()]


def test_a_missing_resource_is_new_and_one_changed_by_others_is_drift() -> None:
    assert reported(Machine(), CONF) == [("write /etc/app.conf", "new")]
    there = Machine(paths={CONF.path: PathState("file", 0o644, "root", "root", sha(b"theirs"))})
    assert reported(there, CONF) == [("write /etc/app.conf", "changed")]


def test_a_changed_template_is_pending_and_a_changed_file_is_drift() -> None:
    assert reported(deployed(CONF), NEW) == [("write /etc/app.conf", "changed")]
    edited = deployed(CONF)
    edited.paths[CONF.path] = PathState("file", 0o644, "root", "root", sha(b"by hand"))
    assert reported(edited, CONF) == [("write /etc/app.conf", "drift")]
    assert reported(edited, NEW) == [("write /etc/app.conf", "drift")]
    # The wanted change was already made by hand: nothing is written, and no drift is reported.
    edited.paths[CONF.path] = PathState("file", 0o644, "root", "root", NEW.sha256)
    assert reported(edited, NEW) == [("record the state", "interrupted")]


@pytest.mark.parametrize(
    ("seen", "subject", "detail"),
    [
        (None, "write /etc/app.conf", "missing"),
        (
            PathState("file", 0o666, "nobody", "adm", CONF.sha256),
            "set mode and owner of /etc/app.conf",
            "0666 nobody:adm -> 0644 root:root",
        ),
        (PathState("file", 0o644, "root", "root", "0"), "write /etc/app.conf", "content differs"),
        (PathState("link", 0o777, "root", "root", target="/x"), "write /etc/app.conf", "is a link"),
        (PathState("directory", 0o755, "root", "root"), "write /etc/app.conf", "is a directory"),
        (PathState("special file", 0o644, "root", "root"), "write /etc/app.conf", "is a special file"),
    ],
)
def test_drift_of_a_file_says_what_differs(seen: PathState | None, subject: str, detail: str) -> None:
    machine = deployed(CONF)
    machine.paths = {CONF.path: seen} if seen else {}
    ((_, action),) = look(machine, [CONF]).actions()
    assert isinstance(action, Put)
    assert (action.subject(), action.cause, action.detail) == (subject, "drift", detail)


def test_a_unit_stopped_by_hand_is_drift_and_one_declared_stopped_is_not() -> None:
    machine = deployed(UNIT)
    machine.units["app.service"] = UnitState("loaded", "failed", "", "masked")
    assert reported(machine, UNIT) == [("enable app.service", "drift"), ("start app.service", "drift")]
    machine = deployed(UNIT)
    off = dataclasses.replace(UNIT, enabled=False, running=False)
    assert reported(machine, off) == [("disable app.service", "changed"), ("stop app.service", "changed")]


def test_drift_and_pending_changes_are_also_distinguished_for_accounts_packages_and_sysctls() -> None:
    user, package, knob = User(name="app"), Package(name="nginx"), Sysctl(name="net.x", value="1")
    machine = deployed(user, package, knob)
    shell = dataclasses.replace(user, shell="/bin/sh")
    assert reported(machine, shell, package, Sysctl(name="net.x", value="2")) == [
        ("change user app", "changed"),
        ("set net.x = 2", "changed"),
    ]
    machine.users["app"] = UserState("/", "/bin/bash")
    machine.sysctls["net.x"] = "9"
    machine.packages.clear()
    assert reported(machine, user, package, Package(name="curl"), knob) == [
        ("install curl", "new"),
        ("install nginx", "drift"),
        ("change user app", "drift"),
        ("set net.x = 1", "drift"),
    ]
    machine.users.clear()
    assert ("create user app", "drift") in reported(machine, user, package, knob)


def test_a_changed_input_reloads_or_restarts_its_unit() -> None:
    machine = deployed(CONF, KEY, UNIT)
    assert reported(machine, NEW, KEY, UNIT)[1:] == [("reload app.service", "changed")]
    rotated = dataclasses.replace(KEY, content=b"other\n")
    assert reported(machine, NEW, rotated, UNIT)[2:] == [("restart app.service", "changed")]


def test_a_file_changed_by_others_is_restored_and_the_unit_reads_it_again() -> None:
    """It is unknown whether the unit was reloaded with the other content."""
    machine = deployed(CONF, KEY, UNIT)
    machine.paths[CONF.path] = PathState("file", 0o644, "root", "root", sha(b"by hand"))
    assert reported(machine, CONF, KEY, UNIT) == [("write /etc/app.conf", "drift"), ("reload app.service", "changed")]


def test_a_unit_whose_stamp_is_outdated_is_reloaded_or_restarted() -> None:
    machine = deployed(CONF, KEY, UNIT)
    restart, _, _ = machine.stamps["app.service"].partition(" ")
    machine.stamps["app.service"] = f"{restart} ?"
    assert reported(machine, CONF, KEY, UNIT) == [("reload app.service", "owed")]
    machine.stamps["app.service"] = "? ?"
    assert reported(machine, CONF, KEY, UNIT) == [("restart app.service", "owed")]


def test_a_unit_that_already_ran_is_only_reloaded_if_a_reload_suffices() -> None:
    sshd = Unit(name="ssh.service", reload_on=(CONF.path,))
    machine = Machine(units={"ssh.service": UnitState("loaded", "active", "", "enabled")})
    assert reported(machine, CONF, sshd) == [("write /etc/app.conf", "new"), ("reload ssh.service", "changed")]


def test_a_unit_whose_live_state_was_changed_is_reloaded() -> None:
    unit = Unit(name="firewall.service", intact="check")
    machine = deployed(unit)
    machine.guards["firewall.service"] = False
    ((_, action),) = look(machine, [unit]).actions()
    assert isinstance(action, UnitAction)
    assert (action.subject(), action.cause) == ("reload firewall.service", "drift")
    assert action.detail == "its live state differs from what it loaded"


def test_a_packaged_file_that_reappears_is_removed_and_no_longer_served() -> None:
    unwanted = Absent(path="/etc/app.d/default")
    unit = Unit(name="app.service", reload_on=("/etc/app.d/",))
    machine = deployed(unwanted, unit)
    machine.paths[unwanted.path] = PathState("link", 0o777, "root", "root", target="/x")
    assert reported(machine, unwanted, unit) == [
        ("remove /etc/app.d/default", "changed"),
        ("reload app.service", "changed"),
    ]


def test_undeclared_resources_are_removed_units_first_and_folders_last() -> None:
    machine = deployed(
        User(name="app"),
        Directory(path="/srv/a"),
        Directory(path="/srv/a/b"),
        File(path="/srv/a/b/c", content=b""),
        Link(path="/srv/l", target="/x"),
        UNIT,
        Sysctl(name="net.x", value="1"),
        Package(name="nginx"),
    )
    assert [subject for subject, cause in reported(machine) if cause == "undeclared"] == [
        "stop app.service",
        "disable app.service",
        "remove /srv/a/b/c",
        "remove /srv/l",
        "set net.x = 0",
        "remove /srv/a/b",
        "remove /srv/a",
        "remove user app",
    ]


def test_a_file_changed_outside_plainstack_is_left_and_forgotten() -> None:
    machine = deployed(CONF)
    machine.paths[CONF.path] = PathState("file", 0o644, "root", "root", sha(b"by hand"))
    ((_, action),) = look(machine, []).actions()
    assert isinstance(action, Forget)
    machine.apply(look(machine, []), [])
    assert CONF.path in machine.paths
    assert look(machine, []).empty


def test_a_folder_of_ours_that_became_a_link_is_left() -> None:
    machine = deployed(Directory(path="/srv/a"))
    machine.paths["/srv/a"] = PathState("link", 0o777, "root", "root", target="/elsewhere")
    assert reported(machine) == [("leave /srv/a", "undeclared")]


def test_a_role_removed_from_a_host_leaves_nothing_unless_the_run_is_limited() -> None:
    machine = deployed(CONF, UNIT, Package(name="nginx"), Package(name="rare", purge=True))
    base: dict[str, Wanted] = {"base": []}
    found = plan("db1", base, machine.observed([]), NOW)
    assert [type(action) for _, action in found.actions()] == [Purge, UnitAction, UnitAction, Remove]
    assert found.packages
    assert found.packages.purge == ("rare",)
    assert plan("db1", base, machine.observed([]), NOW, scope=["base"]).empty


def test_a_purged_package_is_not_purged_twice() -> None:
    machine = deployed(Package(name="rare", purge=True))
    machine.packages.clear()
    assert reported(machine) == [("record the state", "interrupted")]


def test_a_file_that_moves_to_another_role_or_becomes_a_link_is_not_removed_afterwards() -> None:
    machine = deployed(CONF)
    link = Link(path=CONF.path, target="/x")
    for item in (CONF, link):
        found = plan("db1", {"base": [item], "app": []}, machine.observed([item]), NOW)
        assert not [action for _, action in found.actions() if isinstance(action, Remove)]


def test_a_role_may_list_its_resources_in_any_order() -> None:
    user = User(name="app")
    folder, file = Directory(path="/srv/a", owner="app"), File(path="/srv/a/f", content=b"", owner="app")
    assert [subject for subject, _ in reported(Machine(), UNIT, Absent(path="/x"), file, folder, user)] == [
        "create user app",
        "write /srv/a",
        "write /srv/a/f",
        "enable app.service",
        "start app.service",
    ]


def test_a_validation_runs_only_when_one_of_its_inputs_changes() -> None:
    check = Validation(name="app -t", run="true", reads=("/etc/app",))
    other = Validation(name="other -t", run="true", reads=("/etc/other",))
    (transaction,) = look(Machine(), [CONF, check, other]).transactions
    assert transaction.validations == (check,)


def test_leftovers_of_a_killed_run_are_cleaned_up_and_an_unconfirmed_change_is_left_alone() -> None:
    machine = deployed(CONF)
    seen = dataclasses.replace(machine.observed([CONF]), leftovers=("run-1",))
    (transaction,) = plan("db1", {"app": [CONF]}, seen, NOW).transactions
    assert [action.subject() for action in transaction.actions] == ["record the state"]
    assert transaction.manifest == machine.manifest["app"]
    assert plan("db1", {"app": [CONF]}, dataclasses.replace(seen, guard_pending=True), NOW).empty


def test_the_history_of_unchanged_entries_is_kept() -> None:
    machine = deployed(CONF, KEY)
    later = dataclasses.replace(NOW, when="later", who="you")
    found = plan("db1", {"app": [NEW, KEY]}, machine.observed([NEW, KEY]), later)
    entries = {entry.name: entry.who for entry in found.transactions[0].manifest}
    assert entries == {CONF.path: "you", KEY.path: "me@here"}
