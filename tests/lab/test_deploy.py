"""A deployed stack keeps its promises, and a second deploy has nothing to do."""

from __future__ import annotations

import re
from typing import Any

from tests import inventories
from tests.lab.conftest import Operator
from tests.lab.whole import await_nothing


def test_a_second_deploy_changes_nothing(deployed: Operator) -> None:
    again = deployed.inv("deploy")
    assert "nothing to do on 8 hosts" in again.out


def test_the_plan_of_a_deployed_stack_is_empty(deployed: Operator) -> None:
    assert deployed.json("plan", code=0) == {
        "changes": {},
        "failed": {},
        "notes": [],
        "refused": [],
        "secrets": [],
        "overrides": {},
    }


def test_every_check_passes(deployed: Operator) -> None:
    verdict = deployed.json("verify")
    failed = [check for check in verdict["checks"] if not check["passed"]]
    assert verdict["passed"], failed
    assert {check["role"] for check in verdict["checks"]} >= {"base", "firewall", "db", "backup", "app", "balancer"}


def test_verify_reports_each_broken_promise_and_no_other(deployed: Operator) -> None:
    """A service's port is open to all, a port of no service is open, a port is closed to a peer, a unit is stopped."""
    mon1 = inventories.load(deployed.inventory).hosts["mon1"].address
    rules = {
        "app2": ("INPUT -p tcp --dport 8000 -j ACCEPT", "INPUT -p tcp --dport 9 -j ACCEPT"),
        "db1": (f"INPUT -s {mon1} -p tcp --dport 5432 -j DROP",),
    }
    for host, lines in rules.items():
        deployed.on(host, "".join(f"iptables -I {line}\n" for line in lines))
    deployed.on("app2", "systemctl stop prometheus-node-exporter")
    try:
        checks = deployed.json("verify", "--host=app2,db1", code=1)["checks"]
    finally:
        deployed.on("app2", "systemctl start prometheus-node-exporter")
        for host, lines in rules.items():
            deployed.on(host, "".join(f"iptables -D {line}\n" for line in lines))
    offered = "test_exactly_the_ports_that_are_offered_to_a_host_are_open_to_it"
    intact = "test_the_filter_is_loaded_now_and_at_boot_and_drops_by_default"
    assert {(check["host"], check["name"].partition("[")[0]) for check in checks if not check["passed"]} == {
        ("app2", offered),
        ("app2", intact),
        ("app2", "test_only_balancers_and_watchdogs_reach_a_service"),
        ("app2", "test_the_node_exporter_answers_only_monitoring_hosts_and_only_with_a_certificate"),
        ("db1", offered),
        ("db1", intact),
    }


def test_verify_of_one_role_runs_only_its_checks(deployed: Operator) -> None:
    checks = deployed.json("verify", "--role=db")["checks"]
    assert {(check["role"], check["host"][:2]) for check in checks} == {("db", "db")}


def test_status_shows_primary_replica_virtual_address_and_backup(deployed: Operator) -> None:
    rows: dict[str, Any] = {}

    def problems() -> list[str]:
        """Return all problems: a balancer may not use again yet what an earlier test has disturbed."""
        rows.update((row["host"], row) for row in deployed.json("status", code=None))
        return [problem for row in rows.values() for problem in row["problems"]]

    await_nothing(problems)
    databases = sorted(row["database"].split(",")[0].split(" of ")[0] for row in rows.values() if row["database"])
    assert databases == ["primary", "replica"]
    assert sum(row["virtual_address"] == "holds it" for row in rows.values()) == 1
    assert re.match(r"full .* ago, next in .*; no incremental one, next in ", rows["bak1"]["last_backup"])


def test_backup_now_takes_a_backup_that_barman_reports_as_done(deployed: Operator) -> None:
    backup = deployed.json("backup-now")
    listed = deployed.on("bak1", f"runuser -u barman -- barman -f json show-backup {deployed.stack} {backup['id']}")
    assert '"status": "DONE"' in listed


def test_the_role_option_selects_hosts_and_the_roles_that_it_needs(deployed: Operator) -> None:
    deployed.on("db1", "rm /etc/sysctl.d/nothing 2>/dev/null; echo x >>/etc/hosts")
    deployed.on("lb1", "echo x >>/etc/hosts")
    assert set(deployed.subjects("--role=db")) == {"db1"}
    deployed.inv("deploy", "--role=db")
    assert set(deployed.subjects()) == {"lb1"}
    deployed.inv("deploy")


def test_an_error_about_an_unknown_role_or_host_lists_the_known_ones(deployed: Operator) -> None:
    assert "unknown role 'dbs', did you mean 'db'?" in deployed.inv("plan", "--role=dbs", code=1).err
    assert "known: lb1, lb2" in deployed.inv("plan", "--host=nope", code=1).err
