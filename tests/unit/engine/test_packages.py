"""The apt transaction of a host, executed by the real shell on a sandbox with a stand-in for apt."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from plainstack.engine import ports
from plainstack.engine.observed import Listener
from plainstack.engine.plan.drift import find
from plainstack.engine.resources import Absent, File, Listen, Package, Preseed, Resource, Unit
from tests.unit.sandbox import Sandbox, build

pytestmark = [pytest.mark.programs, pytest.mark.skipif(os.geteuid() != 0, reason="changes owners: needs root")]

SOURCE = File(path="/etc/apt/sources.list.d/angie.sources", content=b"URIs: x\n", early=True)
DEFAULT = Absent(path="/etc/nginx/default")
WANTED: Mapping[str, Sequence[Resource]] = {"balancer": (Package(name="nginx"), Package(name="keepalived"), SOURCE)}
POLICY = "usr/sbin/policy-rc.d"


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "host")


def test_packages_are_installed_first_in_one_transaction_and_start_no_daemon(host: Sandbox) -> None:
    first, second = host.deploy(WANTED)
    assert first.ok, first.text
    assert second.ok, second.text
    assert host.calls() == ["apt-get update", "apt-get install"]
    assert host.read("packages").split() == ["nginx", "keepalived"]
    assert "exit 101" in host.read("systemd/policy"), "while apt works, policy-rc.d forbids to start daemons"
    assert not (host.root / POLICY).exists()
    assert host.plan(WANTED).empty


@pytest.mark.parametrize(
    ("said", "holder"),
    [
        (
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4321 (unattended-upgr)",
            "unattended-upgr (process 4321)",
        ),
        ("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)", "apt-get (process 7)"),
        (
            "E: Could not get lock /var/cache/apt/archives/lock - open (11: Resource temporarily unavailable)",
            "another program",
        ),
        (
            "dpkg: error: dpkg frontend lock was locked by another process with pid 9\nNote: removing the lock file",
            "aptitude (process 9)",
        ),
        ('debconf: DbDriver "config": /var/cache/debconf/config.dat is locked by another process', "another program"),
    ],
)
def test_a_run_waits_for_another_package_manager_and_names_it(host: Sandbox, said: str, holder: str) -> None:
    """Such a program is unattended-upgrades, which a host runs on its first boot."""
    host.write("proc/9/comm", "aptitude\n")
    host.write("busy", f"{said}\n")
    first, second = host.deploy(WANTED)
    assert first.ok, first.text
    assert second.ok, second.text
    assert host.calls() == ["apt-get update", "apt-get update", "apt-get install"]
    waits = [line for line in first.text.splitlines() if "waiting" in line]
    words = re.escape(f"@step\twaiting for {holder}, which is changing packages (")
    assert waits
    assert all(re.fullmatch(words + r"\d+ s of at most 600 s\)", line) for line in waits)


def test_a_package_missing_from_the_cached_lists_is_looked_up_in_fresh_ones(host: Sandbox) -> None:
    host.write("var/lib/apt/lists/mirror_Packages", "")
    outdated = (
        '#!/bin/sh\n[ "$1" != update ] || : >"$ROOT/newer"\n'
        '[ -e "$ROOT/newer" ] || { echo "E: Unable to locate package nginx"; exit 100; }\n'
    )
    host.write("bin/apt-get", outdated + host.read("bin/apt-get"), 0o755)
    first, second = host.deploy({"balancer": (Package(name="nginx"),)})
    assert first.ok, first.text
    assert second.ok, second.text
    assert host.calls() == ["apt-get update", "apt-get install"]
    assert "Unable to locate" not in first.text


def test_a_unit_that_its_package_enables_is_disabled_in_the_same_deploy(host: Sandbox) -> None:
    enables = (
        '\n[ "$1" != install ] || touch "$ROOT/systemd/packaged/nginx.service" "$ROOT/systemd/enabled/nginx.service"\n'
    )
    host.write("bin/apt-get", host.read("bin/apt-get") + enables, 0o755)
    wanted = {"own": (Package(name="nginx"), Unit(name="nginx.service", enabled=False, running=False))}
    assert [done.ok for done in host.deploy(wanted)] == [True, True]
    assert not (host.root / "systemd/enabled/nginx.service").exists()
    assert host.plan(wanted).empty
    # A unit that no package brings is no longer planned once the packages are installed.
    more = {"own": (*wanted["own"], Unit(name="other.service", enabled=False, running=False))}
    host.deploy(more)
    assert host.plan(more).empty


def test_debconf_and_dpkg_wait_for_another_package_manager_too(host: Sandbox) -> None:
    locked = "dpkg: error: dpkg frontend lock was locked by another process with pid 9"
    once = f'[ -e "$ROOT/$0.told" ] || {{ mkdir -p "$ROOT/$0.told"; echo "{locked}"; exit 2; }}\n'
    host.write("bin/debconf-set-selections", f"#!/bin/sh\n{once}", 0o755)
    host.write("bin/dpkg", f'#!/bin/sh\n[ "$1" != --audit ] || {{ echo half; exit; }}\n{once}', 0o755)
    answer = Preseed(package="nginx", question="nginx/x", kind="boolean", value="true")
    first, second = host.deploy({"balancer": (Package(name="nginx"), answer)})
    assert first.ok, first.text
    assert second.ok, second.text
    assert first.text.count("waiting for another program (process 9)") == 2


def test_a_package_manager_that_never_finishes_is_named_after_the_timeout(host: Sandbox) -> None:
    host.write("busy", "E: Could not get lock /var/lib/dpkg/lock. It is held by process 4321 (unattended-upgr)\n")
    host.write("busy-for-long", "")
    # A clock that advances 100 seconds each time it is read.
    clock = 'at=$(cat "$ROOT/clock" 2>/dev/null || echo 0); echo $((at + 100)) >"$ROOT/clock"; echo $at'
    host.write("bin/date", f"#!/bin/sh\n{clock}\n", 0o755)
    (done,) = host.deploy(WANTED)
    assert done.answer.failed == "refresh package lists"
    assert any("gave up after 600 s: unattended-upgr (process 4321)" in line for line in done.answer.tail)
    assert [line.split("(")[-1] for line in done.text.splitlines() if "waiting for" in line] == [
        f"{waited} s of at most 600 s)" for waited in range(100, 600, 100)
    ]


def test_removals_by_apt_are_planned_only_if_a_declared_package_allows_them(host: Sandbox) -> None:
    host.write("packages", "exim4\n")
    host.write("conflicts", "exim4\n")
    wanted = {"mail": (Package(name="postfix", replaces=("exim4",)),)}
    planned = host.plan(wanted)
    assert [action.subject() for _, action in planned.actions()][:2] == ["install postfix", "remove exim4"]
    assert all(done.ok for done in host.deploy(wanted))


@pytest.mark.parametrize("verb", ["install", "purge"])
def test_apt_removes_nothing_that_the_plan_did_not_show(host: Sandbox, verb: str) -> None:
    """The plan was made from stale package lists, which were refreshed afterwards."""
    work = host.plan(WANTED).packages
    if verb == "purge":
        assert all(done.ok for done in host.deploy({"balancer": (Package(name="nginx", purge=True),)}))
        work = host.plan({"balancer": ()}).packages
    host.calls()
    before = host.read("packages")
    host.write("conflicts", "nginx\nchrony\n" if verb == "purge" else "chrony\nntpsec\n")
    done = host.run(build(work))
    assert done.answer.outcome == "rolled-back"
    assert "chrony" in done.answer.tail[0]
    assert "nginx" not in done.answer.tail[0]
    assert host.read("packages") == before
    assert f"apt-get {verb}" not in host.calls()


def test_an_alternative_package_satisfies_the_declaration(host: Sandbox) -> None:
    clock = {"base": (Package(name="systemd-timesyncd", instead=("chrony", "ntpsec")),)}
    host.write("packages", "ntpsec\n")
    assert all(done.ok for done in host.deploy(clock))
    assert host.read("packages").split() == ["ntpsec"]
    assert host.plan(clock).empty
    assert find("sandbox", clock, host.observe(clock["base"])) == []
    host.write("packages", "")
    assert all(done.ok for done in host.deploy(clock))
    assert host.read("packages").split() == ["systemd-timesyncd"]


def test_the_prerequisites_of_a_package_are_installed_before_it(host: Sandbox) -> None:
    """This includes a package source; apt would not find its packages otherwise."""
    steps = build(host.plan(WANTED).packages).steps
    assert steps.index("write /etc/apt/sources.list.d/angie.sources") < steps.index("refresh package lists")
    assert (
        steps.index("keep daemons from starting") < steps.index("install 2 packages") < steps.index("release daemons")
    )


def test_debconf_answers_are_set_before_their_package_is_installed(host: Sandbox) -> None:
    answer = Preseed(package="nginx", question="nginx/x", kind="boolean", value="true")
    host.write("bin/debconf-set-selections", '#!/bin/sh\ncat "$1" >"$ROOT/answers"\n', 0o755)
    host.deploy({"balancer": (Package(name="nginx"), answer)})
    assert host.read("answers") == "nginx nginx/x boolean true\n"


def test_a_package_that_does_not_exist_leaves_the_host_unchanged_and_is_named(host: Sandbox) -> None:
    host.write(SOURCE.path, "before\n")
    # Packages that apt has already unpacked stay: apt and the next run take care of them.
    before = host.tree("var/lib/plainstack", "systemd", "packages")
    (done,) = host.deploy({"balancer": (*WANTED["balancer"], Package(name="missing-tool"))})
    assert (done.answer.outcome, done.answer.failed) == ("rolled-back", "install 3 packages")
    assert done.answer.tail == ["E: Unable to locate package missing-tool"]
    assert host.tree("var/lib/plainstack", "systemd", "packages") == before
    assert host.states() == {}


def test_the_error_shows_why_a_package_was_not_found(host: Sandbox) -> None:
    """apt-get update exits with 0 if a source cannot be reached; it prints the reason below the source, indented."""
    host.write("unreachable", "https://packages.example.com/debian")
    (done,) = host.deploy({"balancer": (*WANTED["balancer"], Package(name="missing-tool"))})
    assert done.answer.tail == [
        "E: Unable to locate package missing-tool",
        "Err:2 https://packages.example.com/debian trixie InRelease",
        "  Could not resolve the name",
        "W: Some index files failed to download.",
    ]


def test_after_a_kill_at_any_step_the_next_run_reaches_the_desired_state(host: Sandbox, tmp_path: Path) -> None:
    work = host.plan(WANTED).packages
    steps = build(work).steps
    whole = host.copy(tmp_path / "whole")
    assert all(done.ok for done in whole.deploy(WANTED))
    assert whole.plan(WANTED).empty
    for number, step in enumerate(steps, 1):
        killed = host.copy(tmp_path / f"killed-{number}")
        assert killed.run(build(work, stop_after=number)).code == 137
        assert all(done.ok for done in killed.deploy(WANTED)), step
        assert killed.tree("systemd") == whole.tree("systemd"), step


def test_a_daemon_that_a_boot_starts_before_its_role_ran_belongs_to_plainstack(host: Sandbox) -> None:
    daemon = Unit(name="exporter.service", listens=(Listen(9100),))
    file = File(path="/etc/exporter", content=b"x\n")
    wanted = {"base": (Package(name="exporter"), file, daemon), "db": (Package(name="postgresql"),)}
    assert host.run(build(host.plan(wanted).packages)).ok
    for state in ("packaged", "enabled", "active"):
        host.write(f"systemd/{state}/exporter.service", "")
    seen = host.observe([item for resources in wanted.values() for item in resources])
    listener = Listener("tcp", "", 9100, "exporter", "41", "exporter.service")
    assert list(ports.taken(wanted, replace(seen, listeners=(listener,)))) == []
    assert find("sandbox", wanted, seen) == []
    assert [work.actions[0].cause for work in host.plan(wanted).transactions[:1]] == ["new"]
    assert all(done.ok for done in host.deploy(wanted))
    assert all(done.ok for done in host.deploy({"base": (), "db": ()}))
    assert not (host.root / "systemd/active/exporter.service").exists()


def test_a_file_that_a_new_package_would_bring_is_removed_in_the_same_run(host: Sandbox) -> None:
    apt = f'#!/bin/sh\necho nginx >"$ROOT/packages"; mkdir -p "$ROOT/etc/nginx"; : >"$ROOT{DEFAULT.path}"\n'
    host.write("bin/apt-get", apt, 0o755)
    wanted = {"balancer": (Package(name="nginx"), DEFAULT)}
    assert all(done.ok for done in host.deploy(wanted))
    assert not (host.root / DEFAULT.path.lstrip("/")).exists()
    assert host.plan(wanted).empty


def test_an_undeclared_package_stays_unless_it_was_marked_for_removal(host: Sandbox) -> None:
    host.deploy({"balancer": (Package(name="nginx"), Package(name="rare", purge=True))})
    host.calls()
    assert all(done.ok for done in host.deploy({"balancer": ()}))
    assert host.calls() == ["apt-get purge"]
    assert host.read("packages").split() == ["nginx"]
    assert host.plan({"balancer": ()}).empty


def test_a_policy_that_is_not_ours_is_kept(host: Sandbox) -> None:
    host.write(POLICY, "#!/bin/sh\nexit 0\n", 0o755)
    assert host.deploy(WANTED)[0].ok
    assert host.read(POLICY) == "#!/bin/sh\nexit 0\n"
