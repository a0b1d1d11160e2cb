"""One host with every role, and the same without a backup: one deploy is enough, and every promise holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import ROOT, Operator

INVENTORY = """\
stack: testone
ssh: {{user: root, gateway: lab}}
hosts:
  one: {{address: 192.168.63.11, public: 192.168.64.11, roles: [{roles}]}}
services:
  web: {{source: {source}, project: incidents_site}}
database: {{name: shop}}
"""
SOME = "db, app, balancer, monitoring"


@pytest.fixture(scope="module")
def one(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A bare host."""
    operator = Operator(tmp_path_factory.mktemp("one") / "hosts.yaml", "testone", project)
    write(operator, f"{SOME}, backup")
    operator.inv("lab.down")
    operator.inv("lab.up", timeout=900)
    yield operator
    operator.inv("lab.down")


def write(operator: Operator, roles: str) -> None:
    operator.inventory.write_text(INVENTORY.format(roles=roles, source=ROOT / "apps/incidents"), encoding="utf-8")


@pytest.mark.parametrize("roles", [f"{SOME}, backup", SOME], ids=["all roles", "without a backup"])
def test_one_deploy_is_enough_and_every_promise_holds(one: Operator, roles: str) -> None:
    write(one, roles)
    one.inv("deploy", timeout=1200)
    assert one.json("plan")["changes"] == {}
    verified = one.json("verify", code=None)
    assert [check for check in verified["checks"] if not check["passed"]] == []
    assert "monitoring" in {check["role"] for check in verified["checks"]}
