"""A stack that is whole again after a fault: awaited with a deadline, because some of it follows later by itself.

The reload of a setting, the first WAL of a new timeline, or the second start of a receiver come some moments after the
command that caused them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.lab.operator import Operator
from tests.waiting import until


def await_nothing(left: Callable[[], Any]) -> None:
    """Wait until `left` returns nothing (an empty value); a failure shows what it returned last."""
    seen: list[Any] = []

    def gone() -> bool:
        seen[:] = [left()]
        return not seen[0]

    until(gone, seen)


def await_nothing_to_deploy(operator: Operator, *words: str) -> None:
    """Wait until a plan has no changes, and no host is refused or out of reach."""

    def left() -> dict[str, Any]:
        plan = operator.json("plan", *words, code=None)
        return {key: plan[key] for key in ("changes", "failed", "refused") if plan[key]}

    await_nothing(left)


def await_no_problems(operator: Operator, *words: str) -> None:
    """Wait until `inv status` reports no problem of any host."""

    def left() -> list[str]:
        rows = operator.json("status", *words, code=None)
        return [f"{row['host']}: {problem}" for row in rows for problem in row["problems"]]

    await_nothing(left)


def await_whole(operator: Operator, leader: str = "") -> None:
    """Wait until there is one primary, all others stream from it, and nothing is left to repair or to deploy.

    `leader` is the host that must be the primary; empty means any.
    """

    def left() -> Any:
        seen = json.loads(operator.fab("status", "--json", code=None).out)
        assert not leader or seen["primary"] in ([], [leader]), seen
        return seen["findings"] or ("" if seen["healthy"] and len(seen["primary"]) == 1 else seen)

    await_nothing(left)
    await_nothing_to_deploy(operator)


def await_site(operator: Operator, address: str, balancers: Sequence[str], apps: Sequence[str]) -> None:
    """Wait until these balancers use all of these application hosts, and the site answers at its virtual address."""
    ask = f"curl -sk --max-time 30 -o /dev/null -w '%{{http_code}}' https://{address}/"

    def left() -> list[str]:
        found = []
        for balancer in balancers:
            hosts = operator.on(balancer, "/etc/plainstack/balancer/upstreams status", check=False).splitlines()
            if not {(app, "up") for app in apps} <= {(line.split()[1], line.split()[-1]) for line in hosts}:
                found += [balancer, *hosts]
        answer = operator.on(balancers[0], ask, check=False)
        return found if answer == "200" else [*found, f"the site answers {answer}"]

    await_nothing(left)
