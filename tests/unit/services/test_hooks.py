"""Hooks and build commands: on which host they run, how often, and what a failing one leaves behind."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plainstack.engine.network import Network
from plainstack.engine.plan.actions import Run
from plainstack.engine.resources import Command, Directory, File, Payload, Resource
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.secrets.values import Vault
from plainstack.services import hook_steps, hooks, release
from plainstack.services.hooks import shell_line
from plainstack.services.release import Release
from plainstack.services.release_steps import put_in_place
from plainstack.services.variables import Scope
from tests import inventories
from tests.unit.sandbox import Done, Sandbox, build

pytestmark = pytest.mark.programs

HOSTS = """
stack: small
hosts:
  w: {address: 10.0.0.1, roles: [worker]}
  a: {address: 10.0.0.2, roles: [app]}
  b: {address: 10.0.0.3, roles: [app]}
"""
TOOL = """
services:
  tool:
    kind: binary
    source: src
    processes: {run: {command: tool}, far: {command: tool, hosts: worker}}
"""


def stack(keys: str, folder: Path) -> Stack:
    (folder / "src").mkdir(exist_ok=True)
    (folder / "src" / "tool").write_text("true\n")
    return inventories.parse(f"{HOSTS}{TOOL}{keys}", "test.yaml", folder)


def scope(found: Stack, host: str = "a") -> Scope:
    return Scope(found, found.hosts[host], "tool", "r1", Vault({}, {}, ""), Network(found, registry()).references())


def wanted(found: Stack, number: str = "r1") -> Mapping[str, Sequence[Resource]]:
    """Return the resources of a host that concern the releases of the service."""
    here = Release(id=number, venv="", source=Payload(), wheels=Payload())
    at = scope(found)
    text = b"A='from the environment'\nFOLDER=\"/srv/tool/current/source\"\n"
    settings = [
        File(path=f"/etc/plainstack/app/tool{name}.env", content=text, ahead=name == ".next") for name in ("", ".next")
    ]
    folders = [Directory(path=path) for path in ("/srv/tool", "/srv/tool/releases")]
    before, after = hook_steps.commands(at, here, "before"), hook_steps.commands(at, here, "after")
    steps = put_in_place("tool", here, found.services["tool"], hooks.build_lines(at), before)
    return {"app": [*folders, *settings, *steps, *after]}


def deploy(host: Sandbox, found: Stack, number: str = "r1", stop_after: int | None = None) -> list[Done]:
    """Plan and apply a release of the service."""
    ended: list[Done] = []
    for work in host.plan(wanted(found, number)).transactions:
        payloads = {"tool: release": [("source/asset", number.encode())]}
        sent = payloads if any(isinstance(action, Run) for action in work.actions) else {}
        ended.append(host.run(build(work, sent, stop_after=None if work.ahead else stop_after)))
        if not ended[-1].ok:
            break
    return ended


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "host")


def current(host: Sandbox) -> str:
    link = host.root / "srv/tool/current"
    return link.readlink().name if link.is_symlink() else ""


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
    found = stack("    before: {load: {command: sh -c 'echo some reason; exit 3'}}\n", tmp_path)
    failed = deploy(host, found, "r2")[-1]
    assert failed.answer.outcome == "rolled-back"
    assert failed.answer.failed.startswith("run tool: before load: sh -c 'echo some reason; exit 3'")
    assert failed.answer.tail[-2:] == [
        "some reason",
        "The command of services.tool.before.load, sh -c 'echo some reason; exit 3', failed with exit code 3. tool was"
        " not switched on this host. Correct the command or the release, and deploy again",
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


@pytest.mark.parametrize("key", ["before: {load: {command: %s}}", "build: {host: [%s]}"])
def test_the_last_line_that_a_long_command_has_printed_is_shown_while_it_runs(
    host: Sandbox, tmp_path: Path, key: str
) -> None:
    printed, looking, reported = (tmp_path / name for name in ("printed", "looking", "reported"))
    # Between two looks at the output there is a sleep: at the second one, what the look between them saw is reported.
    sleep = host.root / "bin/sleep"
    looks = [f"[ ! -e {looking} ] || touch {reported}", f"[ ! -e {printed} ] || touch {looking}"]
    sleep.write_text("\n".join(["#!/bin/sh", *looks, "exec /bin/sleep 0.05"]))
    sleep.chmod(0o755)
    words = r'printf "begun\n10 %%\r20 %%\033[K\r\n \n"'
    prints = f"sh -c '{words}; touch {printed}; until [ -e {reported} ]; do :; done'"
    ended = deploy(host, stack(f"    {key % json.dumps(prints)}\n", tmp_path))
    assert all(done.ok for done in ended), ended[-1].text
    assert [line for done in ended for line in done.answer.progress] == ["20 %[K"]


def test_build_commands_complete_the_release_before_the_switch(host: Sandbox, tmp_path: Path) -> None:
    found = stack("    build: {host: [sh -c 'echo $A >made', cp made again]}\n", tmp_path)
    ahead = host.plan(wanted(found)).transactions[0]
    assert ahead.ahead
    assert deploy(host, found)[-1].ok
    made = host.root / "srv/tool/current/source/again"
    assert made.read_text() == "from the environment\n"
    assert made.stat().st_mode & 0o777 == 0o644


def test_a_build_command_that_fails_stops_the_deploy_before_anything_else(host: Sandbox, tmp_path: Path) -> None:
    deploy(host, stack("", tmp_path), "r1")
    found = stack("    build: {host: [sh -c 'echo what is wrong; exit 7']}\n", tmp_path)
    (failed,) = deploy(host, found, "r2")
    assert failed.answer.tail == [
        "what is wrong",
        "The command of services.tool.build.host, sh -c 'echo what is wrong; exit 7', failed with exit code 7."
        " No host was switched",
    ]
    assert current(host) == "r1"
    assert not (host.root / "srv/tool/releases/r2").exists()


@pytest.mark.parametrize(
    "keys",
    [
        "build: {host: [x]}",
        "before: {a: {command: x}}",
        "after: {a: {command: x}}",
        "before: {b: {command: x}}",
        "before: {a: {command: x, once: true}}",
        "before: {a: {command: y}}",
    ],
)
def test_changed_commands_make_a_new_release(tmp_path: Path, keys: str) -> None:
    def made(text: str) -> str:
        return release.read(stack(f"    {text}\n" if text else "", tmp_path), "tool").id

    assert made(keys) not in {made(""), made("before: {a: {command: x}, b: {command: x}}")}
    assert made("before: {a: {command: x}}") == made("before: {a: {command: x, fatal: false, timeout: 9}}")


@pytest.mark.parametrize(
    ("keys", "reported"),
    [
        ("before: [migrate]", "services.tool.before: must be a mapping"),
        ("before: {a: {}}", "services.tool.before.a.command: is missing"),
        ("before: {a: {command: ''}}", "services.tool.before.a.command: must be a command on one line"),
        ("before: {a: {command: x && y}}", "systemd runs it without a shell"),
        ("before: {a: {comand: x}}", "unknown key, did you mean 'command'"),
        ("before: {a: {command: x, once: maybe}}", "services.tool.before.a.once: must be"),
        ("before: {a: {command: x, timeout: 0}}", "services.tool.before.a.timeout: must be at least 1"),
        ("before: {'a b': {command: x}}", "services.tool.before"),
        ("after: {a: {command: 'x ${databse.url}'}}", "unknown reference ${databse.url}, did you mean 'database.url'"),
        ("after: {a: {command: 'x ${secret.KEY}'}}", "${secret.KEY} on a command line could be read by every account"),
        ("after: {a: {command: 'x ${port}'}}", "unknown reference ${port}"),
        ("timers: {a: {command: 'x ${port}', calendar: daily}}", "unknown reference ${port}"),
        ("build: npm run build", "services.tool.build: must be a mapping with local, output, host, timeout"),
        ("build: {host: make}", "services.tool.build.host: must be a list"),
        ("build: {host: ['${secret.KEY}']}", "services.tool.build.host.0: ${secret.KEY} on a command line"),
        ("build: {local: ''}", "services.tool.build.local: must be a command on one line"),
        ("build: {local: make, output: [../dist]}", "services.tool.build.output.0: must be a path inside the source"),
        ("build: {output: [dist]}", "services.tool.build.output: needs services.tool.build.local"),
    ],
)
def test_every_mistake_is_reported_with_its_place(tmp_path: Path, keys: str, reported: str) -> None:
    with pytest.raises(InventoryError) as error:
        stack(f"    {keys}\n", tmp_path)
    assert reported in str(error.value)
    assert str(error.value).startswith("test.yaml:13: ")


WORDS = st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), max_size=12)


@given(st.lists(WORDS.map(lambda word: word.replace("$", "$$")), min_size=1, max_size=4))
def test_sh_receives_every_word_as_written(words: list[str]) -> None:
    quoted = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in words)
    line = shell_line(f"printf '%%s\\n' {quoted}".replace("%%", "%"))
    printed = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True, text=True).stdout
    assert printed == "".join(f"{word.replace('$$', '$')}\n" for word in words)


def test_variables_are_replaced_as_systemd_does() -> None:
    line = shell_line("printf '[%s]' $TWO a${TWO} '$TWO' $$TWO *")
    ran = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=True, text=True, env={"TWO": "b c"})
    assert ran.stdout == "[b][c][ab c][b][c][$TWO][*]"
    assert shell_line("manage.py migrate").startswith('set -f; exec "python" "manage.py"')


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
