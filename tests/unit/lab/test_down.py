"""`inv lab.down --all` removes every lab of the machine, so it lists them and asks for consent first."""

from __future__ import annotations

from pathlib import Path

import pytest
from invoke.exceptions import Exit

from plainstack.cli import lab_commands
from plainstack.lab import machine, model, up


@pytest.fixture
def removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Simulate a machine with two labs, on which root runs the commands; return the list of removed labs."""
    gone: list[str] = []
    monkeypatch.setattr(machine, "require_root", lambda _: None)
    monkeypatch.setattr(model, "labs", lambda _: ["one", "two"])
    monkeypatch.setattr(model, "run", lambda name: tmp_path / name)
    monkeypatch.setattr(up, "remove", lambda name, _: gone.append(name))
    return gone


def test_without_consent_all_labs_are_listed_and_none_is_removed(
    removed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit):
        lab_commands.down("hosts.yaml", every=True)
    said = capsys.readouterr()
    assert "one" in said.out
    assert "two" in said.out
    assert "no lab was removed. Answer y, or use --yes to skip this question" in said.err
    assert removed == []


def test_with_consent_all_labs_are_removed(removed: list[str]) -> None:
    lab_commands.down("hosts.yaml", every=True, yes=True)
    assert removed == ["one", "two"]


def test_an_inventory_with_an_error_names_the_command_that_needs_none(
    removed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hosts.yaml").write_text("stack: shop\nhosts: {}\nservces: {}\n", encoding="utf-8")
    with pytest.raises(Exit):
        lab_commands.down(str(tmp_path / "hosts.yaml"))
    said = capsys.readouterr().err
    assert "servces" in said
    assert "inv lab.down --all" in said
    assert removed == []
