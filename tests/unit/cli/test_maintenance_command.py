"""`inv maintenance` while a balancer is down."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from invoke.exceptions import Exit

from plainstack.cli import maintenance_command

INVENTORY = """
stack: shop
ssh: {user: root, connect_timeout: 30}
hosts:
  lb1: {address: 192.0.2.1, roles: [balancer]}
  app1: {address: 192.0.2.2, roles: [app]}
services:
  tool:
    kind: binary
    source: src
    processes: {web: {command: tool, port: 8000, health: /}}
"""


@pytest.mark.programs
def test_a_balancer_that_is_down_is_given_up_after_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hosts.yaml").write_text(INVENTORY, encoding="utf-8")
    (tmp_path / "src").mkdir()
    limits = []

    def connect(_there: object, limit: float, *_: object) -> None:
        limits.append(limit)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(Exit):
        maintenance_command.maintenance(str(tmp_path / "hosts.yaml"), "on", "", "", json=False, notify=False)
    assert limits == [1]
    assert "lb1" in capsys.readouterr().err
