"""A changed variable changes only what depends on it; damage done by hand is reported and repaired."""

from __future__ import annotations

from tests.lab.conftest import Operator
from tests.waiting import PATIENCE, until


def test_a_changed_worker_count_restarts_that_service_one_host_at_a_time(whole: Operator) -> None:
    text = whole.inventory.read_text(encoding="utf-8")
    whole.inventory.write_text(text.replace("workers: 2", "workers: 3"), encoding="utf-8")
    plan = whole.inv("plan", code=2).out
    changed = [line for line in plan.splitlines() if line.strip().startswith(("+workers", "-workers"))]
    assert changed == ["        -workers = 2", "        +workers = 3"] * 2
    subjects = whole.subjects()
    assert set(subjects) == {"app1", "app2"}
    for actions in subjects.values():
        assert actions == ["write /etc/plainstack/app/web.gunicorn.py", "restart plainstack-web.service"]
    before = {host: whole.on(host, "systemctl show -p ActiveEnterTimestampMonotonic nginx") for host in ("lb1", "lb2")}
    stages = whole.json("deploy")["stages"]
    assert [(stage["host"], stage["stage"]) for stage in stages] == [("app1", "app"), ("app2", "app")]
    assert stages[0]["end"] <= stages[1]["begin"]
    for host, entered in before.items():
        assert whole.on(host, "systemctl show -p ActiveEnterTimestampMonotonic nginx") == entered
    # The first worker is enough for a service to be healthy; the others may still be starting.
    until(lambda: whole.on("app2", "pgrep -c -u app-web -f web.gunicorn.py", check=False).strip() == "4")


def test_a_balancer_with_keepalived_stopped_does_not_report_the_virtual_address(whole: Operator) -> None:
    """When keepalived stops, systemd may kill its notify script before the script is done."""
    reported = "tail -n 1 /var/lib/prometheus/node-exporter/plainstack_vip.prom"
    # Each balancer holds the address in its turn: one that comes back leaves the address to the other.
    for _ in range(2):
        for balancer in ("lb1", "lb2"):
            whole.on(balancer, f"systemctl stop keepalived; {reported} | grep ' 0$'")
            other = "lb2" if balancer == "lb1" else "lb1"
            # Only now can no other balancer take the address: this one may have been started again a moment ago.
            whole.on(other, f"timeout {PATIENCE} sh -c \"until {reported} | grep -q ' 1$'; do sleep 0.1; done\"")
            whole.on(balancer, "systemctl start keepalived")


BREAKS = [
    ("lb1", "echo '# by hand' >>/etc/nginx/nginx.conf", "write /etc/nginx/nginx.conf", "content differs"),
    ("app1", "systemctl stop plainstack-web.service", "start plainstack-web.service", "is inactive"),
    (
        "mon1",
        "dpkg --force-depends --purge prometheus-alertmanager >/dev/null 2>&1",
        "install prometheus-alertmanager",
        "",
    ),
    ("db1", "chmod 644 /etc/postgresql/17/main/pg_hba.conf", "set mode and owner of", "0644"),
    ("bak1", "rm /etc/iptables/plainstack.v4", "write /etc/iptables/plainstack.v4", "missing"),
    (
        "db2",
        "systemctl disable --quiet plainstack-firewall.service",
        "enable plainstack-firewall.service",
        "is disabled",
    ),
    ("app2", "iptables -F INPUT && iptables -P INPUT ACCEPT", "reload plainstack-firewall.service", "live state"),
]


def test_manual_damage_is_reported_and_repaired(whole: Operator) -> None:
    for host, harm, _, _ in BREAKS:
        whole.on(host, harm)
    changes = whole.json("plan", code=2)["changes"]
    assert set(changes) == {host for host, _, _, _ in BREAKS}
    for host, harm, subject, detail in BREAKS:
        reported = [action for action in changes[host] if action["subject"].startswith(subject)]
        assert reported, (harm, changes[host])
        assert detail in reported[0]["detail"]
    whole.inv("deploy")
    assert whole.json("plan", code=0)["changes"] == {}
