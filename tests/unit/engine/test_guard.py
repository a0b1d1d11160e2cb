"""The scripts of the lock-out guard: the host itself undoes a change that is not confirmed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence

import pytest

from plainstack.engine.paths import GUARD_SECONDS
from plainstack.engine.resources import Command, File, Resource, Unit
from plainstack.engine.settled import UNDO_NOW
from tests.unit.sandbox import Done, Sandbox, build

pytestmark = [
    pytest.mark.programs,
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners and mount namespaces: needs root"),
]

RULES = "/etc/iptables/rules"
# Not compared after `boot`: units and the kernel read their files only later in a boot.
UNSEEN_AT_BOOT = ("var/lib/plainstack/runs", "systemd/loaded", "kernel")
SNAPSHOT, RESTORE = "cp $ROOT/kernel $KEEP/rules", "cp $KEEP/rules $ROOT/kernel"


def firewall(rules: str, *extra: Resource) -> Mapping[str, Sequence[Resource]]:
    unit = Unit(
        name="firewall.service",
        reload_on=(RULES,),
        guarded=True,
        snapshot=SNAPSHOT,
        restore=RESTORE,
        health="cp $ROOT/etc/iptables/rules $ROOT/kernel",
    )
    return {"firewall": (File(path=RULES, content=rules.encode()), unit, *extra)}


@pytest.fixture
def host(bare: Sandbox) -> Sandbox:
    """Return a host whose firewall was deployed and confirmed."""
    bare.reads("firewall.service", RULES)
    (bare.root / "systemd/packaged/firewall.service").touch()
    bare.write("/kernel", "")
    assert bare.deploy(firewall("accept\n"))[-1].ok
    (bare.root / "systemd/guard").unlink()
    assert confirm(bare) == (0, "")
    bare.calls()
    return bare


def changed(host: Sandbox, *extra: Resource, stop_after: int | None = None) -> Done:
    (work,) = host.plan(firewall("drop\n", *extra)).transactions
    assert work.guarded
    return host.run(build(work, stop_after=stop_after))


def confirm(host: Sandbox) -> tuple[int, str]:
    (run,) = (host.root / "var/lib/plainstack/runs").iterdir()
    return host.sh(f"RUN={run}; . {run}/library.sh; confirm")


def boot(host: Sandbox) -> None:
    """Simulate a boot: the guard's timer is gone, and the unit that is enabled for early boot runs."""
    (host.root / "systemd/guard").unlink()
    for unit in (host.root / "etc/systemd/system/sysinit.target.wants").iterdir():
        (start,) = (line for line in unit.read_text(encoding="utf-8").splitlines() if line.startswith("ExecStart="))
        code, text = host.sh(start.removeprefix("ExecStart="))
        assert code == 0, text


def let_the_timer_fire(host: Sandbox) -> None:
    code, text = host.sh(host.read("systemd/guard"))
    assert code == 0, text


def test_a_guarded_change_waits_for_the_operator_and_can_be_undone(host: Sandbox) -> None:
    done = changed(host)
    assert host.read("kernel") == "drop\n"
    assert (host.root / "var/lib/plainstack/runs" / done.answer.unconfirmed / "old").is_dir()


def test_undoing_an_unconfirmed_change_restores_files_live_state_and_stamps(host: Sandbox) -> None:
    before, states = host.tree("var/lib/plainstack/runs"), host.states()
    changed(host)
    let_the_timer_fire(host)
    assert host.read("kernel") == "accept\n"
    assert host.tree("var/lib/plainstack/runs", "systemd/guard") == before
    assert host.states() == states
    assert host.calls() == ["reload firewall.service", "reload firewall.service"]
    assert list((host.root / "var/lib/plainstack/runs").iterdir()) == []
    assert '"rolled-back"' in host.read("/var/log/plainstack/audit.jsonl").splitlines()[-1]


def test_an_abandoned_unconfirmed_change_is_undone_as_soon_as_the_next_run_observes_it(host: Sandbox) -> None:
    before = host.tree("var/lib/plainstack/runs", "systemd/guard")
    (work,) = host.plan(firewall("drop\n")).transactions
    host.run(build(work, stop_after=build(work).steps.index(f"write {RULES}") + 1))
    assert host.tree("var/lib/plainstack/runs", "systemd/guard") != before
    (host.root / "systemd/guard-is-seen").touch()
    seen = host.observe([])
    assert (seen.guard_pending, seen.lock, seen.ending) == (True, "", False)
    assert seen.guard_left is not None
    assert GUARD_SECONDS - 60 < seen.guard_left <= GUARD_SECONDS
    for lock in ("plainstack.lock", "plainstack-apply.lock"):
        with (host.root / "run" / lock).open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert host.sh(UNDO_NOW) == (0, "")
            assert host.observe([]).guard_pending, f"{lock} is held: somebody may still confirm"
    assert host.sh(UNDO_NOW)[0] == 0
    assert not host.observe([]).guard_pending
    (host.root / "systemd/guard-is-seen").unlink()
    assert host.tree("var/lib/plainstack/runs", "systemd/guard") == before


def test_the_guard_is_armed_before_anything_changes_and_survives_a_kill(host: Sandbox) -> None:
    (work,) = host.plan(firewall("drop\n")).transactions
    steps = build(work).steps
    armed = steps.index("arm the lock-out guard") + 1
    assert armed < steps.index(f"write {RULES}")
    before = host.tree("var/lib/plainstack/runs")
    for number in range(armed, len(steps) + 1):
        killed = host.copy(host.root.with_name(f"killed-{number}"))
        assert killed.run(build(work, stop_after=number)).code == 137
        let_the_timer_fire(killed)
        assert killed.tree("var/lib/plainstack/runs", "systemd/guard") == before, steps[number - 1]


def test_a_later_run_that_gives_up_leaves_the_boot_guard_of_the_earlier_run(host: Sandbox) -> None:
    before = host.tree(*UNSEEN_AT_BOOT)
    done = changed(host)
    runs = host.root / "var/lib/plainstack/runs"
    code, text = host.sh(f"RUN={runs}/later; . {runs}/{done.answer.unconfirmed}/library.sh; discard")
    assert (code, text) == (0, "")
    boot(host)
    assert host.tree(*UNSEEN_AT_BOOT) == before


def test_a_plan_from_before_the_guard_acted_is_not_applied(host: Sandbox) -> None:
    wanted = firewall("drop\n")
    (work,) = host.plan(wanted).transactions
    host.run(build(work, stop_after=build(work).steps.index(f"write {RULES}") + 1))
    generation, (stale,) = host.generation(), host.plan(wanted).transactions
    let_the_timer_fire(host)
    done = host.run(build(stale, planned_at=generation))
    assert (done.answer.outcome, done.ok) == ("untouched", False)
    assert (host.read(RULES), host.read("kernel")) == ("accept\n", "accept\n")
    assert host.deploy(wanted)[-1].ok
    assert (host.read(RULES), host.read("kernel")) == ("drop\n", "drop\n")


def test_a_boot_before_the_confirmation_restores_the_previous_state(host: Sandbox) -> None:
    (work,) = host.plan(firewall("drop\n")).transactions
    steps = build(work).steps
    before = host.tree("systemd/guard", *UNSEEN_AT_BOOT)
    for number in range(steps.index("arm the lock-out guard") + 1, len(steps) + 1):
        killed = host.copy(host.root.with_name(f"killed-{number}"))
        assert killed.run(build(work, stop_after=number)).code == 137
        killed.calls()
        boot(killed)
        assert killed.tree(*UNSEEN_AT_BOOT) == before, steps[number - 1]
        assert not [call for call in killed.calls() if "start" in call or "load" in call], "no unit runs so early"


def test_a_confirmed_change_survives_the_guard_and_a_boot(host: Sandbox) -> None:
    changed(host)
    assert confirm(host) == (0, "")
    let_the_timer_fire(host)
    boot(host)
    assert host.read(RULES) == "drop\n"
    assert not (host.root / "etc/systemd/system/plainstack-undo.service").exists()


def test_a_confirmation_during_the_undo_is_refused(host: Sandbox) -> None:
    done = changed(host)
    (host.root / "var/lib/plainstack/runs" / done.answer.unconfirmed / "decided").mkdir()
    assert confirm(host) == (1, "the host was already undoing it\n")


def test_a_failure_after_the_change_restores_the_live_state_at_once(host: Sandbox) -> None:
    done = changed(host, Command(name="fails", why="w", run="false", unless="false"))
    assert done.answer.outcome == "rolled-back"
    assert host.read("kernel") == "accept\n"
