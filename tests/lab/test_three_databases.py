"""A cluster of three: the most advanced standby is promoted, the other follows it, and no write has to wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack import inventory, lab_commands
from plainstack.lab.up import cut, mend
from tests.lab.labs import lab
from tests.lab.operator import Operator

INVENTORY = """\
stack: testthree
ssh: {user: root, gateway: lab}
hosts:
  db1: {address: 192.168.61.11, roles: [db]}
  db2: {address: 192.168.61.12, roles: [db]}
  db3: {address: 192.168.61.13, roles: [db]}
database: {name: shop, version: 17, synchronous: true}
"""


@pytest.fixture(scope="module")
def three(project: Path) -> Iterator[Operator]:
    """Three db hosts and nothing else."""
    with lab("three-databases", INVENTORY, project) as operator:
        operator.inv("lab.up", timeout=900)
        operator.inv("deploy", timeout=1200)
        yield operator


def test_a_switchover_goes_to_whom_it_is_told_and_everybody_follows(three: Operator) -> None:
    said = three.fab("switchover", "--to=db3").out
    assert "the primary is db3" in said
    seen = json.loads(three.fab("status", "--json").out)
    assert {host["upstream"] for host in seen["hosts"]} == {"", "db3"}
    assert seen["findings"] == []
    assert three.json("plan")["changes"] == {}


def test_after_a_cut_the_other_standby_confirms_writes_and_nothing_is_degraded(three: Operator) -> None:
    (old,) = json.loads(three.fab("status", "--json").out)["primary"]
    hosts = lab_commands.of(inventory.load(three.inventory))
    cut(hosts, old)
    try:
        three.fab("promote", "--yes")
        seen = json.loads(three.fab("status", "--json", code=1).out)
        (new,) = seen["primary"]
        members = {host["name"]: host for host in seen["hosts"]}
        other = next(name for name in members if name not in (old, new))
        assert members[other]["upstream"] == new
        assert not members[new]["degraded"]
    finally:
        mend(hosts, old)
    three.fab("rejoin")
    seen = json.loads(three.fab("status", "--json").out)
    assert seen["primary"] == [new]
    assert seen["findings"] == []
    assert three.json("plan")["changes"] == {}
