"""Units that follow one another in a role: which steps they share, and the state of each after an undo."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from plainstack.engine.resources import Command, File, Resource, Unit
from tests.unit.sandbox import Sandbox, build

pytestmark = [pytest.mark.programs, pytest.mark.skipif(os.geteuid() != 0, reason="changes owners: needs root")]

NAMES = tuple(f"{letter}.service" for letter in "abcdef")
FAILS = Command(name="fails", why="w", run="false", unless="false")


def with_files(units: Iterable[Unit], content: bytes = b"[Service]\n") -> list[Resource]:
    """Return the units, each after its unit file."""
    return [part for unit in units for part in (File(path=f"/etc/systemd/system/{unit.name}", content=content), unit)]


SIX = with_files(Unit(name=name) for name in NAMES)


def packaged(host: Sandbox, *names: str) -> None:
    """Add units as if a package had installed them."""
    for name in names:
        host.write(f"systemd/packaged/{name}", "")


def pauses(host: Sandbox) -> list[str]:
    """Return the lengths of the pauses since the last call, in seconds."""
    log = host.root / "run/pauses"
    lines = log.read_text(encoding="utf-8").split() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def units(host: Sandbox) -> dict[str, list[str]]:
    """Return the units in each state of the fake systemd."""
    folders = ("active", "activating", "failed", "enabled", "masked")
    return {name: sorted(path.name for path in (host.root / "systemd" / name).iterdir()) for name in folders}


def test_new_units_are_enabled_together_and_one_pause_shows_whether_they_stay_up(bare: Sandbox) -> None:
    (done,) = bare.deploy({"role": SIX})
    assert done.ok, done.text
    enabled = f"enable --no-reload {' '.join(NAMES)}"
    assert bare.calls() == [enabled, "daemon-reload", *(f"start {name}" for name in NAMES)]
    assert pauses(bare) == ["0.3"]
    assert bare.plan({"role": SIX}).empty


def test_systemd_reloads_unit_files_once_whether_written_or_packaged(bare: Sandbox) -> None:
    packaged(bare, *NAMES)
    assert bare.deploy({"role": [Unit(name=name) for name in NAMES]})[-1].ok
    assert bare.calls() == [f"enable {' '.join(NAMES)}", *(f"start {name}" for name in NAMES)]


def test_undeclared_units_are_stopped_one_by_one_and_disabled_together(bare: Sandbox) -> None:
    assert bare.deploy({"role": SIX})[-1].ok
    bare.calls()
    assert bare.deploy({"role": ()})[-1].ok
    stops = [f"stop {name}" for name in NAMES]
    assert bare.calls() == [*stops, f"disable --no-reload {' '.join(NAMES)}", "daemon-reload"]
    assert not any(units(bare).values())


@pytest.mark.parametrize("purged", [NAMES[:1], NAMES])
def test_a_unit_that_was_removed_with_its_package_needs_no_action(bare: Sandbox, purged: tuple[str, ...]) -> None:
    packaged(bare, *NAMES)
    assert bare.deploy({"role": [Unit(name=name) for name in NAMES]})[-1].ok
    (removal,) = bare.plan({"role": ()}).transactions
    # After the plan was made, the package transaction of the same deploy removes these units.
    for name in purged:
        (bare.root / "systemd/packaged" / name).unlink()
        (bare.root / "systemd/enabled" / name).unlink()
    done = bare.run(build(removal))
    assert done.ok, done.text
    assert not any(units(bare).values())
    assert bare.plan({"role": ()}).empty


def test_changed_units_share_a_pause_and_each_gets_its_own_stamp(bare: Sandbox) -> None:
    conf = File(path="/etc/conf", content=b"1\n")
    wanted = [conf, *with_files(Unit(name=name, reload_on=(conf.path,)) for name in NAMES[:3]), *SIX[6:]]
    assert bare.deploy({"role": wanted})[-1].ok
    bare.calls()
    pauses(bare)
    wanted = [File(path="/etc/conf", content=b"2\n"), *wanted[1:-2], *with_files([Unit(name=NAMES[5])], b"[Unit]\n")]
    assert bare.deploy({"role": wanted})[-1].ok
    reloads = [f"reload {name}" for name in NAMES[:3]]
    assert bare.calls() == ["daemon-reload", *reloads, f"restart {NAMES[5]}"]
    assert pauses(bare) == ["0.3"]
    assert bare.plan({"role": wanted}).empty


def test_a_timer_needs_no_pause(bare: Sandbox) -> None:
    packaged(bare, "a.timer", "b.timer")
    assert bare.deploy({"role": [Unit(name="a.timer"), Unit(name="b.timer")]})[-1].ok
    assert pauses(bare) == []


def test_a_health_command_and_a_command_run_between_the_units_before_and_after_them(bare: Sandbox) -> None:
    """When the health command or the command runs, earlier units have stayed up, and later units are untouched."""
    note = "ls $ROOT/systemd/active | xargs >>$ROOT/run/seen; wc -l <$ROOT/run/pauses >>$ROOT/run/seen"
    a, b, c, d, e, _ = NAMES
    packaged(bare, *NAMES)
    wanted: list[Resource] = [
        Unit(name=a),
        Unit(name=b),
        Unit(name=c, health=note),
        Unit(name=d),
        Command(name="look", why="w", run=f"{note}; touch $ROOT/done", unless="[ -e $ROOT/done ]"),
        Unit(name=e),
    ]
    assert bare.deploy({"role": wanted})[-1].ok
    assert bare.read("run/seen").splitlines() == [f"{a} {b} {c}", "1", f"{a} {b} {c} {d}", "2"]
    starts = [f"start {name}" for name in (a, b, c, d)]
    assert bare.calls() == [f"enable {a} {b} {c} {d}", *starts, f"enable {e}", f"start {e}"]


def test_a_unit_that_dies_during_the_pause_is_named_and_everything_is_undone(bare: Sandbox) -> None:
    before = bare.tree("var/lib/plainstack")
    bare.write("run/in-a-pause", "mv $ROOT/systemd/active/c.service $ROOT/systemd/failed\n")
    (done,) = bare.deploy({"role": SIX})
    assert (done.answer.outcome, done.answer.failed) == ("rolled-back", "start c.service (failed)")
    assert "last words of the unit" in done.answer.tail
    after = bare.tree("var/lib/plainstack", "systemd/loaded")
    assert after == {path: state for path, state in before.items() if path in after}
    assert not any(units(bare).values())
    assert bare.states() == {}


def test_a_unit_that_is_still_starting_after_the_pause_is_awaited(bare: Sandbox) -> None:
    died = "if mkdir $ROOT/run/died 2>&-; then mv $ROOT/systemd/active/c.service $ROOT/systemd/activating"
    bare.write("run/in-a-pause", f"{died}; else mv $ROOT/systemd/activating/c.service $ROOT/systemd/active 2>&-; fi\n")
    (done,) = bare.deploy({"role": SIX})
    assert done.ok, done.text
    assert len(pauses(bare)) > 1


def test_a_unit_that_does_not_start_is_named_and_later_units_are_not_touched(bare: Sandbox) -> None:
    bare.reads("c.service", "/etc/broken")
    bare.write("/etc/broken", "broken\n")
    (done,) = bare.deploy({"role": SIX})
    assert (done.answer.outcome, done.answer.failed) == ("rolled-back", "start c.service")
    calls = bare.calls()
    assert f"start {NAMES[3]}" not in calls
    assert f"stop {NAMES[3]}" not in calls
    assert not any(units(bare).values())


def test_an_undo_restores_the_state_of_every_unit(bare: Sandbox) -> None:
    """A unit can be enabled and masked; the undo restores both."""
    runs, starts, down, masked, hidden, dying = NAMES
    packaged(bare, *NAMES)
    for state, names in {"active": (runs,), "enabled": (runs, starts, hidden), "masked": (masked, hidden)}.items():
        for name in names:
            bare.write(f"systemd/{state}/{name}", "")
    bare.write(f"systemd/activating/{dying}", "")
    before = units(bare)
    wanted: list[Resource] = [*(Unit(name=name) for name in NAMES), FAILS]
    (done,) = bare.deploy({"role": wanted})
    assert done.answer.outcome == "rolled-back", done.text
    assert units(bare) == {**before, "active": [runs, dying], "activating": []}
    assert down not in before["enabled"]
    assert bare.deploy({"role": wanted[:-1]})[-1].ok
    assert units(bare) == {"active": [*NAMES], "activating": [], "failed": [], "enabled": [*NAMES], "masked": []}


def test_a_masked_unit_that_need_not_start_at_boot_is_unmasked_and_started(bare: Sandbox) -> None:
    packaged(bare, "a.service")
    bare.write("systemd/masked/a.service", "")
    assert bare.deploy({"role": [Unit(name="a.service", enabled=False)]})[-1].ok
    assert bare.calls() == ["unmask --no-reload a.service", "daemon-reload", "start a.service"]
    assert units(bare)["enabled"] == []


def test_after_a_kill_at_any_step_or_pause_the_next_run_reaches_the_desired_state(bare: Sandbox) -> None:
    whole = bare.copy(bare.root.with_name("whole"))
    assert whole.deploy({"role": SIX})[-1].ok
    assert whole.plan({"role": SIX}).empty
    seen = bare.observe(SIX)
    steps = len(build(bare.plan({"role": SIX}, seen).transactions[0]).steps)
    for number in range(steps + 1):
        host = bare.copy(bare.root.with_name(f"killed-{number}"))
        if number == 0:
            host.write("run/in-a-pause", "kill -KILL $PPID\n")
        (killed,) = host.deploy({"role": SIX}, stop_after=number or None, seen=seen)
        assert killed.code == 137, killed.text
        (host.root / "run/in-a-pause").unlink(missing_ok=True)
        assert all(done.ok for done in host.deploy({"role": SIX}))
        assert host.tree() == whole.tree(), number


def test_a_unit_that_reached_its_start_limit_is_restarted_anyway(bare: Sandbox) -> None:
    unit = Unit(name="a.service", restart_on=("/etc/a.conf",))

    def wanted(text: bytes) -> list[Resource]:
        return [*with_files([unit]), File(path="/etc/a.conf", content=text)]

    assert bare.deploy({"role": wanted(b"1")})[-1].ok
    bare.write("systemd/often/a.service", "")
    (done,) = bare.deploy({"role": wanted(b"2")})
    assert done.ok, done.text
    assert units(bare)["active"] == ["a.service"]
    assert bare.plan({"role": wanted(b"2")}).empty
