"""Reports of plans and runs, as text and as data, are complete and contain no secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from plainstack.cli import report
from plainstack.deploy.schedule import Node, Outcome
from plainstack.engine.kinds.path_actions import SHOWN_DIFF_LINES
from plainstack.engine.observed import Entry, PathState
from plainstack.engine.plan.actions import (
    Action,
    DaemonReload,
    Forget,
    HostPlan,
    MakeUser,
    PackageTransaction,
    Put,
    Record,
    Remove,
    Run,
    Transaction,
    UnitAction,
)
from plainstack.engine.resources import Command, File, Link, Unit, User
from plainstack.errors import HostFailed
from plainstack.secrets.values import Secret

PASSWORD = Secret("db", "correct horse battery")
CONF = File(path="/etc/app.conf", content=b"workers = 4\nport = 1\n")
SECRET = File(path="/etc/app.key", content=b"password = correct horse battery\n", mode=0o600, secret=True)
UNIT = Unit(name="app.service")
OTHER = PathState("file", 0o644, "root", "root", "0")
EVERY_ACTION: tuple[Action, ...] = (
    Put(CONF, "changed", OTHER),
    Put(SECRET, "drift", OTHER),
    Put(CONF, "drift", PathState("file", 0o666, "root", "root", CONF.sha256)),
    Put(Link(path="/srv/current", target="/x"), "new", None),
    Remove("/etc/old", "file", "undeclared", "no longer declared"),
    Forget(Entry("file", "/etc/theirs", "s"), "no longer declared, and changed outside Plainstack"),
    MakeUser(User(name="app"), True, "new", "missing"),
    DaemonReload("s", "changed"),
    UnitAction("restart", UNIT, "owed", "was not restarted since its inputs changed"),
    UnitAction("start", UNIT, "drift", "is failed"),
    Run(Command(name="migrate", why="bring the tables up to date", run="secret-free", unless="u")),
    Record(),
)
OLD = {"/etc/app.conf": b"workers = 2\nport = 1\n", "/etc/app.key": b"password = before\n"}


def plans(*actions: Action, packages: PackageTransaction | None = None, lost: bool = False) -> dict[str, HostPlan]:
    return {"app1": HostPlan("app1", packages, (Transaction("app", actions, lost=lost),) if actions else ())}


def test_a_whole_plan_is_printed_as_expected() -> None:
    packages = PackageTransaction(install=("nginx", "curl"), removed=("curl",), purge=("rare",))
    assert report.plan_lines(plans(*EVERY_ACTION, packages=packages), {"app1": OLD}) == [
        "",
        "app1",
        "  packages",
        "    + install nginx",
        "    ! install curl  (changed outside Plainstack: was removed)",
        "    - purge rare  (no longer declared)",
        "  app",
        "    ~ write /etc/app.conf  (content differs)",
        "        --- /etc/app.conf (on the host)",
        "        +++ /etc/app.conf (wanted)",
        "        @@ -1,2 +1,2 @@",
        "        -workers = 2",
        "        +workers = 4",
        "         port = 1",
        "    ! write /etc/app.key  (changed outside Plainstack: content differs)",
        "        (the content is secret and not shown)",
        "    ! set mode and owner of /etc/app.conf  (changed outside Plainstack: 0666 root:root -> 0644 root:root)",
        "    + write /srv/current  (missing)",
        "    - remove /etc/old  (no longer declared)",
        "    - leave /etc/theirs  (no longer declared, and changed outside Plainstack)",
        "    + create user app  (missing)",
        "    ~ daemon-reload  (unit files changed)",
        "    ~ restart app.service  (was not restarted since its inputs changed)",
        "    ! start app.service  (changed outside Plainstack: is failed)",
        "    + run migrate: bring the tables up to date",
        "    ~ record the state  (the manifest lacks the state)",
    ]


def test_a_host_with_nothing_to_do_is_not_mentioned_and_a_removed_role_is_named() -> None:
    assert report.plan_lines(plans(), {}) == []
    lines = report.plan_lines(plans(EVERY_ACTION[4], lost=True), {})
    assert lines[2] == "  app  (no longer a role of this host)"


def test_a_plan_contains_no_secret_either_as_text_or_as_data() -> None:
    """This includes a secret in the old content of a file that is no longer secret."""
    reported = "\n".join(report.plan_lines(plans(*EVERY_ACTION), {"app1": OLD}))
    reported += json.dumps(report.as_data(plans(*EVERY_ACTION)))
    assert "correct horse" not in reported
    assert "before" not in reported
    once = {"/etc/app.conf": b"password = correct horse battery\n"}
    lines = report.plan_lines(plans(EVERY_ACTION[0]), {"app1": once}, [PASSWORD, Secret("short", "port")])
    assert "        -password = <secret db>" in lines
    assert "        +port = 1" in lines


def test_old_content_is_fetched_only_for_diffs_and_never_for_secret_files() -> None:
    assert report.changed_files(plans(*EVERY_ACTION)["app1"]) == ["/etc/app.conf"]


def test_a_long_diff_is_cut() -> None:
    long = File(path="/etc/app.conf", content=b"".join(b"line %d\n" % number for number in range(200)))
    lines = Put(long, "changed", OTHER).diff({"/etc/app.conf": b""})
    assert len(lines) == SHOWN_DIFF_LINES + 1
    assert lines[-1] == "... and 143 more lines"


def test_a_plan_as_data_is_complete() -> None:
    packages = PackageTransaction(install=(), purge=("rare",))
    data: Mapping[str, list[dict[str, Any]]] = report.as_data(plans(*EVERY_ACTION, packages=packages))
    assert len(data["app1"]) == len(EVERY_ACTION) + 1
    assert data["app1"][0] == {
        "role": "packages",
        "action": "purge",
        "subject": "purge rare",
        "cause": "undeclared",
        "detail": "no longer declared",
    }
    assert data["app1"][10]["action"] == "start"
    assert {entry["cause"] for entry in data["app1"]} == {
        "changed",
        "drift",
        "new",
        "undeclared",
        "owed",
        "interrupted",
    }


@pytest.mark.programs
def test_files_of_any_content_are_fetched(tmp_path: Any) -> None:
    import subprocess

    odd, missing = tmp_path / "it's odd", tmp_path / "missing"
    odd.write_bytes(b"\x00\xff\n\ttab")
    script = report.fetch_script([str(odd), str(missing)])
    answer = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert report.parse_fetched(answer) == {str(odd): b"\x00\xff\n\ttab"}


def outcome(host: str, stage: str, begin: float, end: float, error: str = "", skipped: str = "") -> Outcome:
    failed = HostFailed(host, f"{stage}: reload app.service", error, ["last words"], 1) if error else None
    return Outcome(Node(host, stage), begin, end, error=failed, skipped=skipped)


OUTCOMES = [
    outcome("app1", "packages", 0, 10),
    outcome("db1", "db", 0, 5, error="failed; all changes of this transaction were undone"),
    outcome("app1", "app", 10, 20),
    outcome("bak1", "backup", 5, 5, skipped="db failed on db1"),
]


def test_the_timeline_shows_every_stage_on_one_axis() -> None:
    assert report.timeline(OUTCOMES, 20) == [
        f"  app1       packages    {'█' * 20:<40}   10.0 s",
        f"  db1        db          {'█' * 10:<40}    5.0 s",
        f"  app1       app         {' ' * 20}{'█' * 20}   10.0 s",
    ]
    assert report.timeline([outcome("a", "base", 0, 0)], 0)[0].count("█") == 1


def test_failures_name_every_host_with_its_last_output_and_the_stages_that_were_skipped() -> None:
    unreachable = {"lb1": HostFailed("lb1", "connect", "no answer within 10 s")}
    assert report.failures(unreachable, OUTCOMES) == [
        "lb1: connect: no answer within 10 s",
        "db1: db: reload app.service: failed; all changes of this transaction were undone (exit code 1)\n"
        "    last words",
        "bak1: backup: not attempted: db failed on db1",
    ]


def test_the_summary_counts_only_completed_actions() -> None:
    everything = {
        **plans(
            *EVERY_ACTION, UnitAction("stop", UNIT, "changed", ""), packages=PackageTransaction(install=("a", "b"))
        ),
        "db1": HostPlan("db1", None, (Transaction("db", EVERY_ACTION),)),
        "lb1": HostPlan("lb1", None, (Transaction("base", (Record(),)),)),
    }
    assert report.summary(everything, [*OUTCOMES, outcome("lb1", "base", 0, 1)]) == [
        "  app1       2 packages, 4 files, 1 removal, 1 account, 1 command,"
        " restarted app.service, started app.service, stopped app.service",
        "  lb1        its manifest entry",
    ]


def test_the_first_deploy_of_a_host_is_shortened_except_for_what_it_replaces() -> None:
    packages = PackageTransaction(install=("nginx", "curl"), removed=(), purge=())
    lines = report.plan_lines(plans(*EVERY_ACTION, packages=packages), {}, shortened={"app1"})
    assert lines[:3] == ["", "app1", "  first deploy: 2 packages, 4 files, 1 removal, 1 account, 1 command"]
    assert "    ~ write /etc/app.conf  (content differs)" in lines
    assert not any("nginx" in line for line in lines)
    assert lines[-1] == "to see a first deploy in full: inv plan"


def test_a_failure_with_the_same_output_on_several_hosts_is_shown_once() -> None:
    tail = ["ImportError: no module named shop"]
    failed = [
        Outcome(Node(host, "app"), 0.0, 1.0, error=HostFailed(host, "app", "failed", lines, 1))
        for host, lines in (("app1", tail), ("app2", ["something else"]), ("app3", tail))
    ]
    assert report.failures({}, failed) == [
        "app1 and app3: app: failed (exit code 1)\n    ImportError: no module named shop",
        "app2: app: failed (exit code 1)\n    something else",
    ]
