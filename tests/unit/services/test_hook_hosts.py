"""Hooks that run once, and deploys that do not reach all hosts of the service."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from plainstack.engine.role import Answers
from plainstack.inventory.held import Pinned
from plainstack.inventory.stack import Stack
from plainstack.services import holds, hook_hosts, release
from tests import inventories

ALL = {"a": ("base", "app"), "b": ("base", "app"), "w": ("base", "worker")}
TEXT = """
stack: small
hosts:
  w: {address: 10.0.0.1, roles: [worker]}
  a: {address: 10.0.0.2, roles: [app]}
  b: {address: 10.0.0.3, roles: [app]}
services:
  tool:
    kind: binary
    source: src
    processes: {run: {command: tool}, far: {command: tool, hosts: worker}}
"""
BEFORE = "    before: {grow: {command: x, once: true}, each: {command: y}}\n"
AFTER = "    after: {shrink: {command: x, once: true}, each: {command: y}}\n"


def stack(hooks: str, folder: Path) -> Stack:
    (folder / "src").mkdir()
    (folder / "src/tool").write_text("true\n")
    return inventories.parse(f"{TEXT}{hooks}", "test.yaml", folder)


def refused(found: Stack, hosts: str, answers: Answers | None = None) -> list[str]:
    """Return the refusals of a deploy to some hosts; the hosts run an old release unless `answers` says otherwise."""
    answers = {**{name: {"hooks.tool": "old old/hooks/before.grow"} for name in ALL}, **(answers or {})}
    return list(hook_hosts.refusals(found, answers, {name: ALL[name] for name in hosts}))


def test_a_hook_before_the_switch_needs_its_host(tmp_path: Path) -> None:
    found = stack(BEFORE, tmp_path)
    assert refused(found, "abw") == refused(found, "a") == []
    assert refused(found, "bw") == [
        "services.tool.before.grow runs once for each release, on a, before any host switches to it, and a is left out"
        " by --host or --role. Include a: --host=b,w,a"
    ]
    assert refused(found, "bw", {"a": None}) == [
        "services.tool.before.grow runs once for each release, on a, before any host switches to it, and a cannot be"
        " reached. Repair a, or remove it from the inventory, and repeat the command"
    ]


def test_a_hook_after_the_start_needs_all_other_hosts_if_its_own_changes(tmp_path: Path) -> None:
    found = stack(AFTER, tmp_path)
    assert refused(found, "abw") == []
    # It runs later, when its host gets the release.
    assert refused(found, "a") == refused(found, "ab") == []
    (sentence,) = refused(found, "w")
    assert "on w, when all hosts have started it, and a and b are left out" in sentence
    assert sentence.endswith("Include a and b: --host=w,a,b")
    new = {"hooks.tool": release.wanted(found, "tool").id}
    assert refused(found, "w", {"a": new, "b": new}) == []


def test_a_host_may_be_left_out_when_the_hook_has_run_or_no_release_is_new(tmp_path: Path) -> None:
    found = stack(BEFORE, tmp_path)
    wanted = release.wanted(found, "tool").id
    assert refused(found, "b", {"a": {"hooks.tool": f"{wanted} {wanted}/hooks/before.grow"}}) == []
    assert refused(found, "b", {"b": {"hooks.tool": wanted}}) == []
    pin = Pinned(release="older", venv="", refused=(wanted,), at="2026-01-01T00:00:00Z", who="me")
    back = holds.changed(found, lambda held: held.model_copy(update={"pinned": {"tool": pin}}))
    assert refused(back, "b") == []


def test_a_role_that_is_left_out_is_named_by_its_option(tmp_path: Path) -> None:
    found = stack(BEFORE, tmp_path)
    (sentence,) = hook_hosts.refusals(
        found, {name: {"hooks.tool": "old"} for name in ALL}, {"a": ("base",), "w": ("base", "worker")}
    )
    assert sentence.endswith("Repeat the command without --role")


@pytest.mark.programs
def test_a_host_tells_its_release_and_the_hooks_that_have_run(tmp_path: Path) -> None:
    script = f"ROOT={tmp_path}\n" + "\n".join(hook_hosts.facts(stack(BEFORE, tmp_path)))

    def told() -> list[str]:
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.split()

    assert told() == ["hooks.tool="]
    hooks = tmp_path / "srv/tool/releases/r1/hooks"
    hooks.mkdir(parents=True)
    (hooks / "before.grow").touch()
    (tmp_path / "srv/tool/current").symlink_to("releases/r1")
    assert told() == ["hooks.tool=r1", "r1/hooks/before.grow"]
