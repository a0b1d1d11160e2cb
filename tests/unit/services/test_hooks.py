"""Hooks: on which host they run, how often, and what a failing one leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.engine.resources import Command, Payload
from plainstack.services import hook_steps, hooks
from plainstack.services.release import Release
from tests.unit.sandbox import Sandbox
from tests.unit.services.hooked import current, deploy, scope, stack, wanted

pytestmark = pytest.mark.programs


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "host")


@pytest.mark.parametrize(("phase", "first"), [("before", "a"), ("after", "w")])
def test_a_hook_that_runs_once_runs_before_the_first_host_switches_or_after_the_last(
    tmp_path: Path, phase: str, first: str
) -> None:
    found = stack(f"    {phase}: {{one: {{command: x, once: true}}, each: {{command: y}}}}\n", tmp_path)
    running = {name: [hook.name for hook in hooks.here(scope(found, name), phase)] for name in found.hosts}  # type: ignore[arg-type]  # a str
    assert running == {name: ["one", "each"] if name == first else ["each"] for name in found.hosts}


def test_every_hook_runs_once_for_each_release(host: Sandbox, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = stack(
        f"""\
    before: {{check: {{command: sh -c 'echo before $RELEASE $A >>{log}'}}}}
    after: {{warm: {{command: sh -c 'echo after $(basename $(dirname $PWD)) >>{log}', once: false}}}}
""",
        tmp_path,
    )
    for number in ("r1", "r1", "r2", "r1"):
        ended = deploy(host, found, number)
        assert all(done.ok for done in ended), ended[-1].text
        assert host.plan(wanted(found, number)).empty
    lines = [f"before {number} from the environment\nafter {number}\n" for number in ("r1", "r2")]
    assert log.read_text() == "".join(lines)


def test_a_command_before_the_switch_refers_to_the_source_of_the_new_release(host: Sandbox, tmp_path: Path) -> None:
    log = tmp_path / "log"
    write = f"sh -c 'cat $FOLDER/asset ${{service.folder}}/asset >>{log}; echo >>{log}'"
    found = stack(
        f"""\
    build: {{host: ["{write}"]}}
    before: {{check: {{command: "{write}"}}}}
    after: {{check: {{command: "{write}"}}}}
""",
        tmp_path,
    )
    for number in ("r1", "r2"):
        ended = deploy(host, found, number)
        assert all(done.ok for done in ended), ended[-1].text
    assert log.read_text().split() == ["r1r1"] * 3 + ["r2r2"] * 3


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_deploy_that_is_killed_at_any_step_still_runs_every_hook(host: Sandbox, tmp_path: Path, phase: str) -> None:
    log = tmp_path / "log"
    found = stack(f"    {phase}: {{note: {{command: sh -c 'echo once >>{log}'}}}}\n", tmp_path)
    for step in range(4, 40):
        killed = deploy(host, found, f"r{step}", stop_after=step)
        deploy(host, found, f"r{step}")
        assert host.plan(wanted(found, f"r{step}")).empty
        assert current(host) == f"r{step}"
        # A kill between the command and its marker would run the hook twice, but this test kills only between steps.
        assert log.read_text() == "once\n"
        log.unlink()
        if killed[-1].ok:
            return
    pytest.fail("the run has more steps than the test knows")


def test_a_hook_that_fails_before_the_switch_keeps_the_previous_release(host: Sandbox, tmp_path: Path) -> None:
    deploy(host, stack("", tmp_path), "r1")
    found = stack("    before: {load: {command: sh -c 'echo some reason; exit 3' '\\1'}}\n", tmp_path)
    failed = deploy(host, found, "r2")[-1]
    assert failed.answer.outcome == "rolled-back"
    assert failed.answer.failed.startswith("run tool: before load: sh -c 'echo some reason; exit 3' '\\1'")
    assert failed.answer.tail[-2:] == [
        "some reason",
        r"The command of services.tool.before.load, sh -c 'echo some reason; exit 3' '\1', failed with exit code 3."
        " tool was not switched on this host. Correct the command or the release, and deploy again",
    ]
    assert current(host) == "r1"


def test_a_fatal_hook_that_fails_after_the_start_rolls_the_host_back(host: Sandbox, tmp_path: Path) -> None:
    deploy(host, stack("", tmp_path), "r1")
    failed = deploy(host, stack("    after: {warm: {command: sh -c 'exit 3'}}\n", tmp_path), "r2")[-1]
    assert failed.answer.outcome == "rolled-back"
    assert "Release r2 had started; this host returns to the previous release" in failed.answer.tail[-1]
    assert current(host) == "r1"


@pytest.mark.parametrize("phase", ["before", "after"])
def test_a_hook_that_is_not_fatal_warns_and_the_deploy_continues(host: Sandbox, tmp_path: Path, phase: str) -> None:
    hook = f"    {phase}: {{warm: {{command: sh -c 'echo reason; exit 3', fatal: false}}}}\n"
    found = stack(hook, tmp_path)
    ended = deploy(host, found)
    assert all(done.ok for done in ended)
    assert current(host) == "r1"
    assert host.plan(wanted(found)).empty
    (warning,) = ended[-1].answer.warnings
    first, *more = warning.splitlines()
    assert first.startswith(f"The command of services.tool.{phase}.warm, sh -c 'echo reason; exit 3', failed with exit")
    assert more == ["    reason"]


@pytest.mark.parametrize("fatal", ["true", "false"])
def test_a_hook_that_hangs_ends_at_its_timeout(host: Sandbox, tmp_path: Path, fatal: str) -> None:
    keys = f"    before: {{load: {{command: tail -f /dev/null, timeout: 1, fatal: {fatal}}}}}\n"
    last = deploy(host, stack(keys, tmp_path))[-1]
    assert last.ok == (fatal == "false")
    assert "did not finish within 1 s" in last.text


def test_a_rollback_runs_no_hook(tmp_path: Path) -> None:
    found = stack("    before: {load: {command: x}}\n    after: {warm: {command: x}}\n", tmp_path)
    pinned = Release(id="r0", venv="", source=Payload(), wheels=Payload(), pinned=True)
    assert [
        *hook_steps.commands(scope(found), pinned, "before"),
        *hook_steps.commands(scope(found), pinned, "after"),
    ] == []


def test_a_guard_names_the_release_and_the_hook(tmp_path: Path) -> None:
    found = stack("    before: {load: {command: x}}\n", tmp_path)
    (command,) = [item for item in wanted(found)["app"] if isinstance(item, Command) and "before" in item.name]
    assert command.unless == "[ -e ${ROOT:-}/srv/tool/releases/r1/hooks/before.load ]"
