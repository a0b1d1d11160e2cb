"""A whole deploy of a small change, over a real sshd to a sandbox: how many connections and execs it takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.cli import deploy_commands
from plainstack.engine.role import Role
from tests import sshd
from tests.sshd import Server
from tests.unit.deploy.test_head_start import counted
from tests.unit.engine.example_role import BEFORE, Desired, app
from tests.unit.sandbox import Sandbox

pytestmark = [
    pytest.mark.programs,
    sshd.needed,
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners: needs root"),
]


@pytest.fixture
def deployed(tmp_path: Path) -> Sandbox:
    """Return a host with the example role deployed."""
    host = Sandbox.new(tmp_path / "host")
    assert [done.ok for done in host.deploy(BEFORE)] == [True]
    host.calls()
    return host


@pytest.fixture
def server_of(deployed: Sandbox, tmp_path: Path) -> Iterator[Server]:
    """Yield an sshd whose commands see the sandbox as their host; in their output, paths are those of a host."""
    folder, root = tmp_path / "sshd", deployed.root
    folder.mkdir()
    with sshd.serving(
        folder, f'ForceCommand ROOT={root} sh -c "$SSH_ORIGINAL_COMMAND" | sed -u "s|{root}/|/|g"'
    ) as server:
        yield server


def test_a_small_change_takes_one_connection_and_four_execs(
    server_of: Server,
    deployed: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The execs are the probe, the old files for the diff, the lock, and the transaction with the second probe."""
    stack = server_of.stack(tmp_path)
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text("an inventory\n", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(deploy_commands, "load", lambda _, **_options: stack)

    def deploy(wanted: Desired) -> str:
        role = Role(name="app", desired=lambda *_: wanted["app"], everywhere=True)
        monkeypatch.setattr(deploy_commands, "roles_of", lambda _: {"app": role})
        deploy_commands.deploy(str(inventory), "", "", json=False)
        return capsys.readouterr().out

    changed = app("port = 2\n", *BEFORE["app"][-2:])
    assert counted(server_of, lambda: deploy(changed)) == (1, 4)
    assert deployed.calls() == ["reload app.service"]
    assert counted(server_of, lambda: deploy(changed)) == (1, 1)
