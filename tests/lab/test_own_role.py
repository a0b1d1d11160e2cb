"""A role of the stack's own: the example of docs/roles.md, from the first plan to its removal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab import labs
from tests.lab.conftest import Operator
from tests.lab.operator import ROOT
from tests.waiting import PATIENCE, until

HOSTS = ("app1", "db1", "mon1", "bak1")
EXAMPLE = ROOT / "stacks/redis"
CONFIGURATION = "/etc/redis/redis.conf"
WRITE, RESTART = f"write {CONFIGURATION}", "restart redis-server.service"


@pytest.fixture(scope="module")
def stack(project: Path) -> Iterator[Operator]:
    """Start the deployed stack with the role in its folder; in the inventory, bak1 has the role."""
    text = labs.default_inventory()
    with labs.from_snapshot("own-role", text, project, HOSTS) as operator:
        for name in ("roles", "templates", "files", "checks"):
            shutil.copytree(EXAMPLE / name, operator.inventory.parent / name)
        inventory = operator.inventory.read_text(encoding="utf-8").replace("roles: [backup]", "roles: [backup, redis]")
        inventory = inventory.replace("    env:\n", "    env:\n      CACHE_URL: ${redis.url}\n", 1)
        operator.inventory.write_text(f"{inventory}redis: {{memory: 64mb}}\n", encoding="utf-8")
        yield operator


def changed(operator: Operator, old: str, new: str) -> None:
    text = operator.inventory.read_text(encoding="utf-8")
    assert old in text
    operator.inventory.write_text(text.replace(old, new), encoding="utf-8")


def reaches(operator: Operator, host: str) -> bool:
    """Return whether a host reaches Redis."""
    address = f"{labs.NETWORKS[0]}.18"
    return "yes" in operator.on(host, f"timeout 5 bash -c '</dev/tcp/{address}/6379' && echo yes", check=False)


def test_a_stacks_own_role_is_planned_deployed_and_verified_like_any_other(stack: Operator) -> None:
    said = stack.inv("plan", code=2).out
    assert "requirepass" not in said
    planned = stack.subjects()
    assert {"install redis-server", "start redis-server.service"} <= set(planned["bak1"])
    assert "write /etc/prometheus/rules/redis.yml" in planned["mon1"]
    stack.inv("deploy")
    assert stack.subjects(code=0) == {}
    checks = {(check["host"], check["name"]) for check in stack.json("verify", "--role=redis")["checks"]}
    assert ("bak1", "test_redis_answers_only_with_its_password") in checks
    listed = stack.json("roles")
    assert [(row["origin"], row["hosts"]) for row in listed if row["name"] == "redis"] == [("roles/redis.py", ["bak1"])]
    assert "redis-server.service" in stack.on("bak1", "journalctl -u redis-server.service -o json -n 1")


def test_a_service_gets_the_values_that_the_role_provides(stack: Operator) -> None:
    shown = stack.on("app1", "tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value plainstack-web)/environ")
    (url,) = [line for line in shown.splitlines() if line.startswith("CACHE_URL=")]
    store = yaml.safe_load((stack.state / "secrets.yaml").read_text(encoding="utf-8"))
    password = store["passwords"]["redis/password"]
    assert url == f"CACHE_URL=redis://:{password}@bak1:6379/0"


def test_only_the_hosts_that_use_the_port_reach_it(stack: Operator) -> None:
    until(lambda: reaches(stack, "app1"))
    assert not reaches(stack, "mon1")


def test_the_roles_alert_is_evaluated(stack: Operator) -> None:
    asked = "curl -sf http://127.0.0.1:9090/api/v1/rules | grep -o 'RedisDown'"
    assert "RedisDown" in stack.on("mon1", f'timeout {PATIENCE} sh -c "until {asked}; do sleep 0.2; done"')


def test_a_changed_setting_restarts_only_the_roles_unit(stack: Operator) -> None:
    changed(stack, "memory: 64mb", "memory: 128mb")
    assert stack.subjects() == {"bak1": [WRITE, RESTART]}
    stack.inv("deploy")
    assert stack.subjects(code=0) == {}


def test_a_manual_change_is_reported_as_drift_and_repaired(stack: Operator) -> None:
    stack.on("bak1", f"sed -i 's/^maxmemory .*/maxmemory 1gb/' {CONFIGURATION}")
    drifted = stack.json("drift", code=2)
    assert CONFIGURATION in str(drifted)
    stack.inv("deploy")
    assert "128mb" in stack.on("bak1", f"grep '^maxmemory ' {CONFIGURATION}")


def test_the_roles_own_check_fails_when_its_promise_is_broken(stack: Operator) -> None:
    stack.on("bak1", "systemctl stop redis-server.service")
    failed = [check["name"] for check in stack.json("verify", "--role=redis", code=1)["checks"] if not check["passed"]]
    assert "test_redis_runs_and_starts_at_boot" in failed
    stack.inv("deploy")
    stack.inv("verify", "--role=redis")


def test_an_invalid_setting_is_reported_with_its_line(stack: Operator) -> None:
    changed(stack, "memory: 128mb", "memry: 128mb")
    try:
        assert "redis.memry: unknown key, did you mean 'memory'?" in stack.inv("plan", code=1).text
    finally:
        changed(stack, "memry: 128mb", "memory: 128mb")


def test_a_removed_role_leaves_nothing_behind(stack: Operator) -> None:
    """The role's module is deleted, too: the hosts' manifests record what it put there."""
    changed(stack, "roles: [backup, redis]", "roles: [backup]")
    changed(stack, "redis: {memory: 128mb}\n", "")
    changed(stack, "      CACHE_URL: ${redis.url}\n", "")
    for name in ("roles", "templates", "files", "checks"):
        shutil.rmtree(stack.inventory.parent / name)
    stack.inv("deploy")
    assert stack.subjects(code=0) == {}
    assert stack.on("bak1", f"test -e {CONFIGURATION} || echo gone").strip() == "gone"
    assert not reaches(stack, "app1")
    assert "RedisDown" not in stack.on("mon1", "cat /etc/prometheus/rules/*.yml")
