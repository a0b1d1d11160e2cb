"""Fixtures of the engine's tests: a bare host, and a host with the example role deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.engine.example_role import BEFORE, SECRET, UNIT_FILE
from tests.unit.sandbox import Sandbox


@pytest.fixture(scope="session")
def bare_template(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    host = Sandbox.new(tmp_path_factory.mktemp("template") / "bare")
    host.reads("app.service", "/etc/app/app.conf", SECRET.path, UNIT_FILE)
    host.write("/etc/default-site", "shipped by a package\n")
    return host


@pytest.fixture(scope="session")
def deployed_template(bare_template: Sandbox) -> Sandbox:
    host = bare_template.copy(bare_template.root.with_name("deployed"))
    assert [done.ok for done in host.deploy(BEFORE)] == [True]
    host.calls()
    return host


@pytest.fixture
def bare(bare_template: Sandbox, tmp_path: Path) -> Sandbox:
    return bare_template.copy(tmp_path / "host")


@pytest.fixture
def deployed(deployed_template: Sandbox, tmp_path: Path) -> Sandbox:
    return deployed_template.copy(tmp_path / "host")
