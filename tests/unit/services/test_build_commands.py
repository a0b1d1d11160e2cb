"""Build commands: what they leave in the release, what a failing one leaves behind, and when a release is new."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.services import release
from tests.unit.sandbox import Sandbox
from tests.unit.services.hooked import current, deploy, stack, wanted

pytestmark = pytest.mark.programs


@pytest.fixture
def host(tmp_path: Path) -> Sandbox:
    return Sandbox.new(tmp_path / "host")


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
