"""One host with every role, and the same without a backup: one deploy is enough, and every promise holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import inventories
from tests.lab.labs import lab
from tests.lab.operator import Operator

SOME = "db, app, balancer, monitoring"
INVENTORY = f"""\
stack: testone
ssh: {{user: root, gateway: lab}}
hosts:
  one: {{address: 192.168.63.11, public: 192.168.64.11, roles: [{SOME}, backup]}}
services:
  web: {inventories.incidents()}
database: {{name: shop}}
"""


@pytest.fixture(scope="module")
def one(project: Path) -> Iterator[Operator]:
    """Start a bare host."""
    with lab("one-host", INVENTORY, project) as operator:
        operator.inv("lab.up", timeout=900)
        yield operator


@pytest.mark.parametrize("roles", [f"{SOME}, backup", SOME], ids=["all roles", "without a backup"])
def test_one_deploy_is_enough_and_every_promise_holds(one: Operator, roles: str) -> None:
    text = re.sub(r"roles: \[.*\]", f"roles: [{roles}]", one.inventory.read_text(encoding="utf-8"))
    one.inventory.write_text(text, encoding="utf-8")
    one.inv("deploy", timeout=1200)
    assert one.json("plan")["changes"] == {}
    verified = one.json("verify", code=None)
    assert [check for check in verified["checks"] if not check["passed"]] == []
    assert "monitoring" in {check["role"] for check in verified["checks"]}
