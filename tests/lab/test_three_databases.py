"""A cluster of three: the most advanced standby is promoted, the other follows it, and no write has to wait."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import labs
from tests.lab.operator import Operator
from tests.lab.whole import await_whole
from tests.waiting import until

HOSTS = ("db1", "db2", "bak1")
# The third database takes the place of the backup host. Hosts of other roles are not started.
THIRD = "bak1"


def inventory_of_three() -> str:
    """Return the default inventory with its database on a third host, and with no other role."""
    text = re.sub(r"roles: \[(?:balancer|app|monitoring)\]", "roles: []", labs.default_inventory())
    text = text.replace("roles: [backup]", "roles: [db]")
    return re.sub(r"^(?:balancer|services|backup):.*\n(?: .*\n)*", "", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def three(project: Path) -> Iterator[Operator]:
    """Start a cluster of two, and add the third by one deploy."""
    with labs.from_snapshot("three-databases", inventory_of_three(), project, HOSTS) as operator:
        operator.inv("deploy", timeout=1200)
        yield operator


def test_a_switchover_goes_to_the_named_host_and_all_others_follow_it(three: Operator) -> None:
    said = three.fab("switchover", f"--to={THIRD}").out
    assert f"The primary is {THIRD}" in said
    await_whole(three, THIRD)


def test_after_a_cut_the_other_standby_confirms_writes_and_nothing_is_degraded(three: Operator) -> None:
    (old,) = json.loads(three.fab("status", "--json").out)["primary"]
    three.inv("lab.break", old, "--cut")
    try:
        three.fab("promote", "--yes")
        (new,) = json.loads(three.fab("status", "--json", code=1).out)["primary"]
        (other,) = {*HOSTS} - {old, new}

        def streaming() -> dict[str, Any]:
            """Return what the hosts say; nothing while the receiver of the other standby starts again."""
            seen = json.loads(three.fab("status", "--json", code=1).out)
            members = {host["name"]: host for host in seen["hosts"]}
            return members if members[other]["upstream"] == new else {}

        assert not until(streaming)[new]["degraded"]
    finally:
        three.inv("lab.mend", old)
    three.fab("rejoin")
    await_whole(three, new)
