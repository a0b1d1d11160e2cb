"""`inv teardown` lists what goes, and removes nothing before a person has typed the stack's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

from plainstack.cli import teardown_command
from plainstack.cli.console import Console
from plainstack.deploy import observe
from plainstack.deploy import teardown as work
from plainstack.deploy.view import View
from plainstack.engine.plan.actions import HostPlan
from plainstack.engine.sayings import Leftover
from plainstack.engine.teardown.farewell import Farewell
from plainstack.ssh.connections import Sessions

INVENTORY = """\
stack: shop
hosts:
  db1: {address: 192.0.2.11, roles: [db]}
database: {name: shop}
"""
STAYS = Farewell(purge=("nginx",), stays=(Leftover("/var/lib/files", "the files"),), unknown=("curl",))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[str]]:
    """Return an inventory, and the list that gets the names of the hosts that a teardown begins with."""
    path = tmp_path / "hosts.yaml"
    path.write_text(INVENTORY, encoding="utf-8")
    begun: list[str] = []

    def observed(self: observe.Observer, *_: object, **__: object) -> View:
        return View(self.stack)

    def run(self: work.Teardown, **_: object) -> work.Teardown:
        begun.extend(self.plans)
        return self

    monkeypatch.setattr(Sessions, "to", lambda *_: None)
    monkeypatch.setattr(observe.Observer, "observe", observed)
    monkeypatch.setattr(work, "plans", lambda *_, **__: {"db1": HostPlan("db1", None, (), STAYS)})
    monkeypatch.setattr(work.Teardown, "run", run)
    return str(path), begun


def teardown(path: str, *, yes: bool = False) -> None:
    teardown_command.teardown(path, "", data=False, yes=yes, json=False, notify=False)


@pytest.mark.parametrize(("typed", "goes"), [("shop", True), ("y", False), ("", False)])
def test_the_name_of_the_stack_is_asked_for(
    shop: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, typed: str, goes: bool
) -> None:
    path, begun = shop
    monkeypatch.setattr(Console, "ask", lambda *_: typed)
    if goes:
        teardown(path)
    else:
        with pytest.raises(Exit) as ended:
            teardown(path)
        assert ended.value.code == 1
    assert begun == (["db1"] if goes else [])


def test_a_script_needs_yes(shop: tuple[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    path, begun = shop
    with pytest.raises(Exit):
        teardown(path)
    assert begun == []
    assert "nothing was done. Type shop, or use --yes to skip this question" in capsys.readouterr().err
    teardown(path, yes=True)
    assert begun == ["db1"]


def test_what_goes_and_what_stays_is_listed(shop: tuple[str, list[str]], capsys: pytest.CaptureFixture[Any]) -> None:
    teardown(shop[0], yes=True)
    said = capsys.readouterr().out
    assert "- purge nginx  (Plainstack installed them)" in said
    assert "db1: /var/lib/files stays: the files. To delete it too, add --data" in said
    assert "db1: these packages stay, because" in said
    assert ": curl. To remove them" in said
    assert "1 host torn down" in said
