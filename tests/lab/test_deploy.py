"""From bare hosts to a stack that keeps its promises, and then nothing more to do."""

from __future__ import annotations

from tests.lab.conftest import Operator


def test_deploy_again_changes_nothing(deployed: Operator) -> None:
    again = deployed.inv("deploy")
    assert "nothing to do on 8 hosts" in again.out


def test_plan_of_a_deployed_stack_is_empty(deployed: Operator) -> None:
    assert deployed.json("plan", code=0) == {"changes": {}, "failed": {}, "notes": [], "refused": []}


def test_every_check_holds(deployed: Operator) -> None:
    verdict = deployed.json("verify")
    failed = [check for check in verdict["checks"] if not check["passed"]]
    assert verdict["passed"], failed
    assert {check["role"] for check in verdict["checks"]} >= {"base", "firewall", "db", "backup", "app", "balancer"}


def test_verify_of_one_role_runs_its_checks_only(deployed: Operator) -> None:
    checks = deployed.json("verify", "--role=db")["checks"]
    assert {(check["role"], check["host"][:2]) for check in checks} == {("db", "db")}


def test_status_names_primary_replica_virtual_address_and_backup(deployed: Operator) -> None:
    rows = {row["host"]: row for row in deployed.json("status")}
    assert [row["problems"] for row in rows.values() if row["problems"]] == []
    databases = sorted(row["database"].split(",")[0].split(" of ")[0] for row in rows.values() if row["database"])
    assert databases == ["primary", "replica"]
    assert sum(row["virtual_address"] == "holds it" for row in rows.values()) == 1
    assert rows["bak1"]["last_backup"].endswith("ago")


def test_backup_now_gives_a_backup_that_barman_calls_done(deployed: Operator) -> None:
    backup = deployed.json("backup-now")
    listed = deployed.on("bak1", f"runuser -u barman -- barman -f json show-backup {deployed.stack} {backup['id']}")
    assert '"status": "DONE"' in listed


def test_role_selects_hosts_and_what_the_role_needs(deployed: Operator) -> None:
    deployed.on("db1", "rm /etc/sysctl.d/nothing 2>/dev/null; echo x >>/etc/hosts")
    deployed.on("lb1", "echo x >>/etc/hosts")
    assert set(deployed.subjects("--role=db")) == {"db1"}
    deployed.inv("deploy", "--role=db")
    assert set(deployed.subjects()) == {"lb1"}
    deployed.inv("deploy")


def test_an_unknown_role_or_host_is_told_with_the_known_ones(deployed: Operator) -> None:
    assert "unknown role 'dbs', did you mean 'db'?" in deployed.inv("plan", "--role=dbs", code=1).err
    assert "known: lb1, lb2" in deployed.inv("plan", "--host=nope", code=1).err
