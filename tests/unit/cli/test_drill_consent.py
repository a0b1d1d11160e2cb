"""A drill on a real stack begins only after a person at a terminal has typed the stack's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from invoke.exceptions import Exit

from plainstack.cli import drill_commands
from plainstack.cli.console import Console

INVENTORY = """\
stack: shop
hosts:
  db1: {address: 192.0.2.11, roles: [db]}
  db2: {address: 192.0.2.12, roles: [db]}
  app1: {address: 192.0.2.13, roles: [app]}
  lb1: {address: 192.0.2.14, roles: [balancer]}
services: {web: {source: ., project: shop}}
database: {name: shop}
"""


@pytest.fixture
def real(tmp_path: Path) -> str:
    path = tmp_path / "hosts.yaml"
    path.write_text(INVENTORY, encoding="utf-8")
    return str(path)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which the name of each started fault is added; no drill really runs."""
    names: list[str] = []

    def begin(_stack: Any, fault: Any, *_: Any) -> dict[str, Any]:
        names.append(fault.name)
        return {"passed": True, "interrupted": False}

    monkeypatch.setattr(drill_commands, "_one", begin)
    return names


@pytest.mark.parametrize("yes", [False, True])
def test_without_a_terminal_nothing_starts_and_the_faults_and_their_hosts_are_listed(
    real: str, begun: list[str], capsys: pytest.CaptureFixture[str], yes: bool
) -> None:
    with pytest.raises(Exit) as ended:
        drill_commands.run("drill", real, json=False, yes=yes)
    reported = capsys.readouterr()
    assert ended.value.code == 1
    assert "shop is not a lab. On its real hosts, the drill will:" in reported.out
    assert "kill -9 all of postgresql@17-main on the primary (one of db1, db2)" in reported.out
    assert "the stack's name was not typed at a terminal" in reported.err
    assert begun == []


@pytest.mark.parametrize(("typed", "drills"), [("shop", ["kill"]), ("shop2", []), ("y", []), ("", [])])
def test_only_the_stacks_own_name_starts_the_drill(
    real: str, begun: list[str], monkeypatch: pytest.MonkeyPatch, typed: str, drills: list[str]
) -> None:
    monkeypatch.setattr(Console, "ask", lambda _self, _question: typed)
    if drills:
        drill_commands.run("drill", real, json=False)
    else:
        with pytest.raises(Exit):
            drill_commands.run("drill", real, json=False)
    assert begun == drills


def test_the_network_of_a_real_host_is_never_cut(
    real: str, begun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Exit):
        drill_commands.run("drill", real, json=False, fault="cut")
    assert "cutting a host's network is only possible in the lab" in capsys.readouterr().err
    assert begun == []
