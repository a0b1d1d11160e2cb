"""The lab changes the machine itself as little as possible, and leaves no change behind by accident."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plainstack.lab import machine
from plainstack.lab.model import check_name
from plainstack.ssh.netns import LabError


def test_without_root_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError) as said:
        machine.require_root("lab.up")
    assert str(said.value) == "inv lab.up needs root: run it with sudo"


def test_services_are_held_back_only_during_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(machine, "_POLICY", policy)
    with machine._no_services():
        assert "exit 101" in policy.read_text()
        assert os.access(policy, os.X_OK)
    assert not policy.exists()


def test_an_existing_policy_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("mine")
    monkeypatch.setattr(machine, "_POLICY", policy)
    with machine._no_services():
        assert policy.read_text() == "mine"
    assert policy.read_text() == "mine"


def test_a_policy_that_a_killed_installation_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(machine, "_POLICY", policy)
    with machine._no_services():
        left = policy.read_text()
    policy.write_text(left)
    with machine._no_services():
        assert policy.read_text() == left
    assert not policy.exists()


def test_no_lab_has_the_lock_that_all_labs_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CACHE", tmp_path)

    def report(host: str, what: str) -> None:
        raise AssertionError(f"{host}: {what}")

    with machine.shared(report):
        (shared,) = tmp_path.iterdir()
        with pytest.raises(LabError, match="is not a valid name for a lab"):
            check_name(shared.stem, "a lab")
        with machine.locked("machine", report):
            assert len(list(tmp_path.iterdir())) == 2


def test_waiting_for_the_lock_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CACHE", tmp_path)

    class Waiting(Exception):
        pass

    def report(host: str, what: str) -> None:
        raise Waiting(f"{host}: {what}")

    with (
        machine.locked("shop", report),
        machine.locked("other", report),
        pytest.raises(Waiting, match="lab: waiting for another lab command"),
        machine.locked("shop", report),
    ):
        pytest.fail("two held the lock")
    with machine.locked("shop", report):
        pass


def test_missing_programs_are_mapped_to_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_KEYRING", Path("/"))
    monkeypatch.setattr(machine, "_PROGRAMS", {"sh": "dash", "no-such-program": "iproute2", "nor-this": "iproute2"})
    assert machine.missing_packages() == ["iproute2"]
