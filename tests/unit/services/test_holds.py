"""What `inv rollback` leaves on hosts: read back as it was written, and respected until the source changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.deploy.status import rows
from plainstack.deploy.view import View
from plainstack.engine import probe
from plainstack.engine.observed import Observed
from plainstack.inventory.held import Pinned, later
from plainstack.inventory.stack import Stack
from plainstack.roles import registry
from plainstack.services import holds, release
from plainstack.services.places import pin
from tests import inventories
from tests.unit.sandbox import Sandbox

pytestmark = pytest.mark.programs

TEXT = """
stack: small
hosts:
  a1: {address: 10.0.0.1, roles: [app]}
  a2: {address: 10.0.0.2, roles: [app]}
  w1: {address: 10.0.0.3, roles: [worker]}
services:
  tool: {kind: binary, source: tool, processes: {web: {command: tool}}}
  jobs: {kind: binary, source: tool, hosts: worker, processes: {web: {command: tool}}}
"""


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "tool").write_text("#!/bin/sh\n", encoding="utf-8")
    return inventories.parse(TEXT, "test.yaml", tmp_path)


def _pinned(stack: Stack, hold: Pinned, service: str = "tool") -> Stack:
    return holds.changed(stack, lambda held: held.model_copy(update={"pinned": {service: hold}}))


def _seen(tmp_path: Path, stack: Stack, name: str) -> Observed:
    """Return the observed facts of a host that has the files of the stack's holds."""
    host = Sandbox.new(tmp_path / name)
    for service in stack.services:
        for file in holds.files(stack, service):
            host.write(file.path, file.content.decode())
    return probe.parse(host.sh(probe.script([], [holds.facts()]))[1], str(host.root))


def _hold(stack: Stack, at: str = "2026-01-01T00:00:00Z", to: str = "aaa", refused: tuple[str, ...] = ()) -> Pinned:
    refused = refused or (release.read(stack, "tool").id, "bbb")
    return Pinned(release=to, venv="", refused=refused, at=at, who="ann@desk (a=b)")


def test_a_hold_is_read_back_from_its_hosts_as_it_was_set(tmp_path: Path, stack: Stack) -> None:
    held = _pinned(stack, _hold(stack))
    assert holds.read(stack, {"a1": _seen(tmp_path, held, "a1"), "a2": _seen(tmp_path, stack, "a2")}) == held
    assert holds.read(stack, {"a2": _seen(tmp_path, stack, "other")}) == stack


def test_the_newest_hold_applies_to_all_hosts_of_the_service(tmp_path: Path, stack: Stack) -> None:
    older, newer = _hold(stack), _hold(stack, at="2026-01-02T00:00:00Z", to="ccc")
    seen = {name: _seen(tmp_path, _pinned(stack, hold), name) for name, hold in (("a1", newer), ("a2", older))}
    assert holds.read(stack, seen).held.pinned == {"tool": newer}


def test_a_host_without_the_service_has_no_hold_of_it(tmp_path: Path, stack: Stack) -> None:
    assert holds.read(stack, {"w1": _seen(tmp_path, _pinned(stack, _hold(stack)), "w1")}) == stack


def test_lines_of_a_newer_version_are_ignored() -> None:
    facts: Mapping[str, str] = {"hold.tool.pinned.release": "aaa", "hold.tool.pinned.reason": "it is slow"}
    assert holds.of_host("tool", facts) == {"pinned": Pinned(release="aaa")}


def test_only_rolled_back_content_is_not_deployed_again(tmp_path: Path, stack: Stack) -> None:
    seen = {"a1": _seen(tmp_path, _pinned(stack, _hold(stack)), "a1")}
    held = holds.read(stack, seen)
    assert release.wanted(held, "tool").id == "aaa"
    (tmp_path / "tool").write_text("#!/bin/sh\n# mended\n", encoding="utf-8")
    assert holds.read(stack, seen) == stack
    (tmp_path / "tool").unlink()
    assert holds.read(stack, seen).held.pinned["tool"].release == "aaa"


def test_status_says_that_a_service_is_rolled_back_and_what_the_next_deploy_does(tmp_path: Path, stack: Stack) -> None:
    seen = {"a1": _seen(tmp_path, _pinned(stack, _hold(stack)), "a1"), "a2": _seen(tmp_path, stack, "a2")}

    def said() -> dict[str, list[str]]:
        held = holds.read(stack, seen)
        return {row.host: row.notes for row in rows(held, registry(), View(held, observed=seen), 0)}

    back = f"tool: rolled back from {release.read(stack, 'tool').id} to aaa on 2026-01-01T00:00:00Z by ann@desk (a=b)"
    stays = f"{back}; it stays there until its source changes, or until inv deploy --again"
    assert said() == {"a1": [stays], "a2": [stays]}
    (tmp_path / "tool").write_text("#!/bin/sh\n# mended\n", encoding="utf-8")
    ends = f"{back}; its source has new content, which the next deploy releases"
    assert said() == {"a1": [ends], "a2": [ends]}


def test_only_deploys_that_include_the_service_and_its_hosts_are_refused(stack: Stack) -> None:
    held = _pinned(stack, _hold(stack), "jobs")
    roles = registry()
    refused = {name: list(roles[role].held_back(held, held.hosts[name])) for name, role in _HOSTS.items()}
    assert (refused["a1"], refused["a2"]) == ([], [])
    (sentence,) = refused["w1"]
    assert "jobs: rolled back" in sentence
    assert "inv deploy --again" in sentence


_HOSTS = {"a1": "app", "a2": "app", "w1": "worker"}


def test_the_release_steps_read_the_file_of_the_pinned_release() -> None:
    assert holds.path("web", "pinned") == pin("web")


def test_a_hold_set_by_a_slow_clock_is_newer_than_the_one_that_it_replaces() -> None:
    before = Pinned(release="aaa", at="2026-03-01T23:59:59Z")
    assert later("2026-03-01T12:00:00Z", before) == later(before.at, before) == "2026-03-02T00:00:00Z"
    assert later("2026-03-02T12:00:00Z", before) == later("2026-03-02T12:00:00Z", None) == "2026-03-02T12:00:00Z"


def test_ending_a_rollback_on_some_hosts_names_those_that_keep_it(tmp_path: Path, stack: Stack) -> None:
    pinned = _seen(tmp_path, _pinned(stack, _hold(stack)), "a1").facts

    def said(facts: Mapping[str, Mapping[str, str] | None], *reached: str) -> list[str]:
        return list(holds.still_pinned(stack, {"w1": {}, **facts}, ["w1", *reached]))

    assert said({"a1": pinned, "a2": pinned}, "a1") == [
        "tool: a2 stays rolled back, and a deploy of the same content that includes it is refused: inv deploy --again"
    ]
    assert "a2 (a2 did not answer) stays rolled back" in said({"a1": pinned, "a2": None}, "a1")[0]
    assert said({"a1": pinned, "a2": {}}, "a1") == said({"a1": pinned, "a2": pinned}, "a1", "a2") == []
    assert said({"a1": {}, "a2": None}, "a1") == []
