"""Three SSH servers, and an operator who can log in to them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import sshd
from tests.sshd import Server
from tests.unit.ssh.operators import Operator


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server, Server]]:
    one, two, three = (tmp_path_factory.mktemp(name) for name in ("host", "other", "far"))
    with sshd.serving(one) as host, sshd.serving(two) as other, sshd.serving(three) as far:
        for server in (other, far):
            shutil.copy(host.folder / "operator.pub", server.folder / "operator.pub")
        yield host, other, far


@pytest.fixture
def operator(servers: tuple[Server, Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    (tmp_path / ".ssh").mkdir()
    shutil.copy(servers[0].folder / "operator", tmp_path / ".ssh/id_ed25519")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Operator(tmp_path, *servers)
