"""The probe: what the real shell reads from a sandbox, and how the parser reads recorded text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plainstack.engine import probe
from plainstack.engine.kinds.sysctl import VALUES
from plainstack.engine.observed import Entry, Observed, PathState, UnitState, UserState
from plainstack.engine.resources import Absent, Command, Directory, File, Link, Package, Resource, Sysctl, Unit, User
from plainstack.errors import PlainstackError
from tests.unit.sandbox import Sandbox

pytestmark = pytest.mark.programs

OWNER = "root" if os.geteuid() == 0 else Path.home().owner()


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "host")


def file(path: str) -> File:
    return File(path=path, content=b"")


def test_paths_are_observed_as_they_are(host: Sandbox) -> None:
    host.write("/etc/usual", "abc\n", 0o640)
    host.write("/etc/empty", "", 0o4755)
    host.write("/etc/with space and +@%,:=.conf", "abc\n")
    (host.root / "etc/folder").mkdir(mode=0o1777)
    (host.root / "etc/folder").chmod(0o1777)
    (host.root / "etc/link").symlink_to("/a b/it's -> there")
    (host.root / "etc/dangling").symlink_to("nowhere")
    os.mkfifo(host.root / "etc/fifo")
    names = ["usual", "empty", "with space and +@%,:=.conf", "folder", "link", "dangling", "fifo", "missing"]
    seen = host.observe([file(f"/etc/{name}") for name in names]).paths
    digest = "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb"
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert {path: (state.kind, state.mode, state.sha256) for path, state in seen.items() if state.kind != "link"} == {
        "/etc/usual": ("file", 0o640, digest),
        "/etc/empty": ("file", 0o4755, nothing),
        "/etc/with space and +@%,:=.conf": ("file", 0o644, digest),
        "/etc/folder": ("directory", 0o1777, ""),
        "/etc/fifo": ("special file", seen["/etc/fifo"].mode, ""),
    }
    assert seen["/etc/dangling"].target == "nowhere"
    assert seen["/etc/link"].kind == "link"
    assert seen["/etc/usual"].owner == OWNER


def test_the_type_of_a_path_is_observed_and_not_assumed(host: Sandbox) -> None:
    (host.root / "etc/app.conf").mkdir()
    host.write("/etc/app", "a file\n")
    host.write("/etc/link", "a file\n")
    folder, link, absent = Directory(path="/etc/app"), Link(path="/etc/link", target="/x"), Absent(path="/etc/no")
    wanted: list[Resource] = [file("/etc/app.conf"), folder, link, absent]
    seen = host.observe(wanted).paths
    assert {path: state.kind for path, state in seen.items()} == {
        "/etc/app.conf": "directory",
        "/etc/app": "file",
        "/etc/link": "file",
    }


def test_units_accounts_packages_and_sysctls_are_observed(host: Sandbox) -> None:
    for name in ("active/a.service", "enabled/a.service", "failed/b.service", "masked/c.service"):
        (host.root / "systemd" / name).touch()
    host.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:9:9:An app:/srv:/bin/false\n")
    host.write("/etc/group", "app:x:9:\nadm:x:4:app\n")
    host.write("/packages", "nginx\n")
    host.write("/proc/sys/net/ipv4/x", "1\n")
    wanted: list[Resource] = [
        *(Unit(name=f"{name}.service") for name in "abcd"),
        User(name="app", groups=("adm",)),
        User(name="nobody-here"),
        Package(name="nginx"),
        Package(name="curl"),
        Sysctl(name="net.ipv4.x", value="1"),
        Sysctl(name="net.ipv4.y", value="1"),
    ]
    seen = host.observe(wanted)
    assert {name: (unit.active, unit.file) for name, unit in seen.units.items()} == {
        "a.service": ("active", "enabled"),
        "b.service": ("failed", ""),
        "c.service": ("inactive", "masked"),
        "d.service": ("inactive", ""),
    }
    assert seen.users == {"app": UserState("/srv", "/bin/false", ("app", "adm"))}
    assert seen.packages == {"nginx": "1.0"}
    assert VALUES.of(seen) == {"net.ipv4.x": "1"}


def test_the_unit_that_a_timer_starts_is_observed(host: Sandbox) -> None:
    lines = [Entry("timer", "old.timer", "state").line(), Entry("unit", "debian.timer", "state").line()]
    host.write("/var/lib/plainstack/manifest/app", "\n".join(lines) + "\n")
    for name in ("active/old.timer", "failed/old.service", "failed/debian.service"):
        (host.root / "systemd" / name).touch()
    seen = host.observe([])
    assert {name: unit.active for name, unit in seen.units.items()} == {
        "old.timer": "active",
        "old.service": "failed",
        "debian.timer": "inactive",
    }


def test_resources_in_the_manifest_are_observed_even_if_no_longer_declared(host: Sandbox) -> None:
    """Otherwise it could not be removed."""
    lines = [
        Entry(kind, name, "state").line()
        for kind, name in (
            ("file", "/etc/old file"),
            ("directory", "/srv/old"),
            ("unit", "old.service"),
            ("user", "old"),
            ("package", "oldtool"),
            ("sysctl", "net.old"),
        )
    ]
    host.write("/var/lib/plainstack/manifest/app", "\n".join(lines) + "\n")
    host.write("/etc/old file", "")
    (host.root / "srv/old").mkdir(parents=True)
    host.write("/etc/passwd", "old:x:9:9::/srv:/bin/false\n")
    host.write("/packages", "oldtool\n")
    host.write("/proc/sys/net/old", "1\n")
    (host.root / "systemd/active/old.service").touch()
    seen = host.observe([])
    assert set(seen.paths) == {"/etc/old file", "/srv/old"}
    assert (set(seen.users), set(seen.packages), set(VALUES.of(seen))) == ({"old"}, {"oldtool"}, {"net.old"})
    assert seen.units["old.service"].active == "active"
    assert seen.manifest["app"][0] == Entry("file", "/etc/old file", "state")


def test_the_version_of_the_secrets_behind_a_file_is_observed(host: Sandbox) -> None:
    entries = (Entry("file", "/k", "s", "t", "me@here", "abc", "0a1b"), Entry("file", "/l", "s", "t", "me@here", "abc"))
    host.write("/var/lib/plainstack/manifest/app", "".join(f"{entry.line()}\n" for entry in entries))
    assert host.observe([]).manifest["app"] == entries


def test_plainstacks_own_state_on_a_host_is_observed(host: Sandbox) -> None:
    kept = "/var/lib/plainstack"
    host.write(f"{kept}/units/app.service", "abc def\n")
    host.write(f"{kept}/generation", "0123\n")
    (host.root / f"{kept}/runs/run-1".lstrip("/")).mkdir(parents=True)
    host.write("/run/plainstack.lock", "me@here since now\n")
    seen = host.observe([])
    assert seen.stamps == {"app.service": "abc def"}
    assert (seen.generation, seen.leftovers, seen.lock) == ("0123", ("run-1",), "")
    _, text = host.sh(f"exec 9<$ROOT/run/plainstack.lock; flock 9; {probe.script([])}")
    assert probe.parse(text).lock == "me@here since now"
    _, text = host.sh(f"exec 9<$ROOT/run/plainstack.lock; flock -s 9; {probe.script([])}")
    assert probe.parse(text).lock == "", "somebody who looks at the same time is no run"


def test_guards_are_judged_by_their_exit_code_and_print_nothing(host: Sandbox) -> None:
    guards = {
        "yes": "true",
        "no": "false",
        "first of two": "false\ntrue",
        "undefined": "echo $nothing_has_this_name",
        "exits": "exit 0\nfalse",
        "talks": "echo end; echo 'test\t0\tno'; echo >&2 loud",
        "reads": '[ -z "$(cat)" ]',
    }
    commands = [Command(name=name, why="w", run="r", unless=text) for name, text in guards.items()]
    seen = host.observe([*commands, Unit(name="x.service", intact="true"), Unit(name="y.service", intact="false")])
    true = {name for name, holds in seen.guards.items() if holds}
    assert true == {"yes", "exits", "talks", "reads", "x.service"}
    assert set(seen.guards) == {*guards, "x.service", "y.service"}


def test_facts_are_the_output_of_the_roles_probes(host: Sandbox) -> None:
    _, text = host.sh(probe.script([], ["echo role=primary; echo 'lag=a=b'; echo >&2 noise", "echo slots=; exit 1"]))
    assert probe.parse(text).facts == {"role": "primary", "lag": "a=b", "slots": ""}


def test_observing_an_empty_host_finds_nothing_and_writes_nothing(host: Sandbox) -> None:
    before = host.tree()
    assert host.observe([]) == Observed()
    assert host.tree() == before


@pytest.mark.parametrize("path", ["/etc/a\nb", "/etc/a\n", "/etc/$(x)", "/etc/it's", "relative", "/etc/ü"])
def test_a_path_that_is_unsafe_in_a_shell_is_refused(path: str) -> None:
    with pytest.raises(PlainstackError, match="a managed path may hold only"):
        probe.script([file(path)])


RECORDED = (Path(__file__).parents[1] / "recorded/probe.txt").read_text(encoding="utf-8")


def test_recorded_output_is_parsed() -> None:
    seen, hba = probe.parse(RECORDED), "/etc/postgresql/17/main/pg_hba.conf"
    assert seen.paths == {
        hba: PathState("file", 0o640, "postgres", "postgres", "6a"),
        "/etc/localtime": PathState("link", 0o777, "root", "root", target="/usr/share/zoneinfo/Etc/UTC"),
        "/run/x.sock": PathState("special file", 0o755, "UNKNOWN", "UNKNOWN"),
    }
    assert seen.units == {
        "postgresql@17-main.service": UnitState("loaded", "active", "running", "enabled-runtime"),
        "nothing.service": UnitState("not-found", "inactive", "dead", ""),
    }
    assert seen.up_for == {"postgresql@17-main.service": pytest.approx(4.2)}
    assert seen.manifest["db"] == (
        Entry("file", hba, "6a 0640 postgres:postgres", "2026-01-01T00:00:00Z", "me@here", "abc-dirty"),
        Entry("unit", "postgresql@17-main.service", "enabled,running"),
    )
    assert seen.packages == {"postgresql-17": "17.6-0+deb13u1"}
    assert seen.users == {"postgres": UserState("/var/lib/postgresql", "/bin/bash")}
    assert seen.guards == {"roles": True, "slots": False}
    assert (seen.facts, seen.stamps) == ({"recovery": "false"}, {"postgresql@17-main.service": "11 22"})
    assert (seen.generation, seen.leftovers, seen.guard_pending) == ("77", ("20260101T000000-ab",), True)


@pytest.mark.parametrize("state", ["reloading", "refreshing"])
def test_a_unit_that_reloads_while_it_is_looked_at_is_running(state: str) -> None:
    seen = probe.parse(RECORDED.replace("ActiveState=active", f"ActiveState={state}"))
    assert seen == probe.parse(RECORDED)


@pytest.mark.parametrize("cut", [0, 30, 200, len(RECORDED) // 2, len(RECORDED) - 2])
def test_truncated_output_is_not_mistaken_for_complete_output(cut: int) -> None:
    with pytest.raises(PlainstackError, match="the probe's answer is cut short"):
        probe.parse(RECORDED[:cut])


def test_missing_output_of_systemd_is_not_mistaken_for_stopped_units() -> None:
    silent = "".join(line for line in RECORDED.splitlines(keepends=True) if not line.startswith("show"))
    with pytest.raises(PlainstackError, match="systemd reported 0 of 2 units"):
        probe.parse(silent)


def test_output_of_another_program_is_refused() -> None:
    with pytest.raises(PlainstackError, match="cut short: bash: no such command"):
        probe.parse("bash: no such command\n")


@pytest.mark.parametrize(("listed", "expected"), [(True, ("missing-one",)), (False, ())])
def test_packages_that_apt_does_not_know_are_observed_if_it_has_lists(
    host: Sandbox, listed: bool, expected: tuple[str, ...]
) -> None:
    host.write("bin/apt-cache", "#!/bin/sh\nprintf 'curl\nnginx\n'\n", 0o755)
    host.write("conflicts", "apache2\n")
    if listed:
        host.write("/var/lib/apt/lists/mirror.example_main_binary-amd64_Packages", "")
    seen = host.observe([Package(name="nginx"), Package(name="missing-one")])
    assert seen.unknown == expected
    assert seen.removes == ("apache2",)
