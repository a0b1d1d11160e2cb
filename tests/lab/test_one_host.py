"""One host with every role, and the same without a backup: every promise holds, and a teardown leaves it as it was."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import inventories
from tests.lab.commands import await_output, kill, start
from tests.lab.labs import UNSCHEDULED, lab
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
backup: {{{UNSCHEDULED}}}
"""
# Files that programs of Debian write as they run.
CACHES = re.compile(
    r"ld\.so\.cache|/etc/(passwd|group|g?shadow|subuid|subgid)-?$|\.pwd\.lock"
    r"|/var/lib/(ucf|systemd)/|statoverride-old|wait-online|/var/log/apt|/var/lib/apt/"
)
# What a deploy changes: packages, accounts, files but caches and logs, and units that run.
STATE = """
dpkg-query -W -f='package ${Status} ${Package}\\n'
sed 's/:.*//; s/^/account /' /etc/passwd /etc/group
find /etc /usr/local /srv /var/lib -xdev \\( -path '/var/lib/apt/*' -o -path '/var/lib/dpkg/*' \\) -prune \\
    -o -type f -print |
    xargs sha256sum
find /etc /usr/local /srv /var/lib /var/log -xdev -type d
systemctl list-units --plain --no-legend --type=service,timer,socket --state=active,failed |
    awk '{ print "unit", $1, $3 }'
hostname -f
"""


@pytest.fixture(scope="module")
def one(project: Path) -> Iterator[Operator]:
    """Start a bare host."""
    with lab("one-host", INVENTORY, project) as operator:
        operator.inv("lab.up", timeout=900)
        yield operator


@pytest.fixture(scope="module", autouse=True)
def bare(one: Operator) -> set[str]:
    """Return the state of the host before the first deploy."""
    return {*one.on("one", STATE).splitlines()}


@pytest.mark.parametrize("roles", [f"{SOME}, backup", SOME], ids=["all roles", "without a backup"])
def test_one_deploy_is_enough_and_every_promise_holds(one: Operator, roles: str) -> None:
    text = re.sub(r"roles: \[.*\]", f"roles: [{roles}]", one.inventory.read_text(encoding="utf-8"))
    one.inventory.write_text(text, encoding="utf-8")
    one.inv("deploy", timeout=1200)
    assert one.json("plan")["changes"] == {}
    verified = one.json("verify", code=None)
    assert [check for check in verified["checks"] if not check["passed"]] == []
    assert "monitoring" in {check["role"] for check in verified["checks"]}


def test_a_teardown_that_was_killed_once_leaves_the_host_as_it_was(one: Operator, bare: set[str]) -> None:
    process = start(one, "teardown", "--data", "--yes")
    await_output(process, "app done")
    kill(one, process, "one")
    torn = one.json("teardown", "--data", "--yes")
    assert (torn["failed"], torn["stays"]) == ({}, {})
    assert {line for line in {*one.on("one", STATE).splitlines()} ^ bare if not CACHES.search(line)} == set()
    assert one.json("teardown", "--data", "--yes")["removed"] == {}
