"""Faults outside Plainstack: each is reported in one clear sentence, does not stop other hosts, and is repaired."""

from __future__ import annotations

import re
import signal
import time
from itertools import pairwise

from tests import inventories
from tests.lab.commands import (
    await_end,
    await_output,
    changed,
    ending,
    holding,
    kill,
    locking_out,
    start,
    waiting_to_start,
)
from tests.lab.conftest import Operator
from tests.lab.whole import await_nothing_to_deploy, await_whole
from tests.waiting import PATIENCE

DISKS = "app2: 500M"
EXPORTER = "prometheus-node-exporter.service"


def test_an_unreachable_host_fails_alone_and_is_repaired_when_it_is_back(whole: Operator) -> None:
    whole.inv("lab.break", "app2", "--power-off")
    try:
        whole.on("app1", "echo x >>/etc/hosts")
        done = whole.inv("deploy", code=1)
        assert re.search(r"app2: connect: (no answer within 10 s|no route to the host)", done.err)
        assert whole.subjects("--host=app1", code=0) == {}
    finally:
        whole.inv("lab.mend", "app2")


def test_a_host_cut_off_during_a_deploy_fails_within_30_seconds_and_the_others_continue(whole: Operator) -> None:
    for host in ("app1", "mon1"):
        whole.on(host, "echo x >>/etc/default/prometheus-node-exporter")
    with waiting_to_start(whole, "app1", EXPORTER):
        process = start(whole, "deploy")
        try:
            await_output(process, f"app1: base: restart {EXPORTER}")
            whole.inv("lab.break", "app1", "--cut")
            began = time.monotonic()
            await_output(process, "app1: base FAILED")
            assert time.monotonic() - began < 30
            out = await_end(process)
            assert "app1: base: the connection was lost" in out
            assert process.returncode == 1
            assert whole.subjects("--host=mon1", code=0) == {}
        finally:
            whole.inv("lab.mend", "app1")
    # The host has given up the lost connection, too, and released the lock.
    whole.on("app1", f"flock -w {PATIENCE} /run/plainstack.lock true")


def test_a_second_deploy_is_refused_and_names_the_lock_holder_and_the_lock_ends_with_its_run(whole: Operator) -> None:
    whole.on("app1", "echo x >>/etc/default/prometheus-node-exporter; echo 'x' >>/etc/hosts")
    with waiting_to_start(whole, "app1", EXPORTER):
        process = start(whole, "deploy")
        try:
            await_output(process, f"app1: base: restart {EXPORTER}")
            second = whole.inv("deploy", code=1)
            assert process.poll() is None, "it has waited for the first"
            assert re.search(r"app1: another run is at work: \w+@\S+ \(pid \d+\) since 20\S+Z: inv deploy", second.err)
        finally:
            kill(whole, process, "app1")


def test_ctrl_c_ends_a_deploy_in_order_and_the_next_deploy_completes_it(whole: Operator) -> None:
    for host in ("app1", "mon1"):
        whole.on(host, "echo x >>/etc/default/prometheus-node-exporter; rm /etc/iptables/plainstack.v4")
    with waiting_to_start(whole, "app1", EXPORTER):
        process = start(whole, "deploy")
        await_output(process, f"app1: base: restart {EXPORTER}")
        process.send_signal(signal.SIGINT)
        out = await_output(process, "interrupted: every host finishes its transaction")
    out += await_end(process)
    assert "Traceback" not in out
    assert process.returncode == 130
    for host in ("app1", "mon1"):
        assert whole.on(host, "ls /var/lib/plainstack/runs").strip() == ""


def test_the_host_undoes_a_firewall_that_would_lock_the_operator_out(whole: Operator) -> None:
    with locking_out(whole):
        done = whole.inv("deploy", "--host=mon1", code=1)
    assert "this change would have locked you out, so the host has undone it" in done.err
    assert whole.on("mon1", "echo in", anew=True).strip() == "in"
    assert whole.subjects("--host=mon1", code=0) == {}


def test_a_lockout_is_undone_even_if_the_controller_died_before_confirming(whole: Operator) -> None:
    with locking_out(whole):
        process = start(whole, "deploy", "--host=mon1")
        await_output(process, "mon1: firewall: reload plainstack-firewall.service")
        process.send_signal(signal.SIGKILL)
        process.wait()
    await_nothing_to_deploy(whole, "--host=mon1")


def test_a_lockout_is_undone_even_if_the_host_boots_before_its_guard_acts(whole: Operator) -> None:
    with locking_out(whole):
        process = start(whole, "deploy", "--host=mon1")
        await_output(process, "mon1: firewall: reload plainstack-firewall.service")
        whole.inv("lab.break", "mon1", "--power-off")
        await_end(process)
    whole.inv("lab.mend", "mon1")
    await_nothing_to_deploy(whole, "--host=mon1")
    assert whole.on("mon1", "ls /var/lib/plainstack/runs; ls /etc/systemd/system | grep undo; :").strip() == ""
    assert whole.json("log", "--host=mon1", "--last=1")[-1]["result"] == "rolled-back"


def test_an_sshd_configuration_that_refuses_the_operator_is_undone(whole: Operator) -> None:
    with ending(whole, "base/etc/ssh/sshd_config.d/00-plainstack.conf.j2", "DenyUsers ops"):
        done = whole.inv("deploy", "--host=mon1", code=1)
    assert "would have locked you out" in done.err
    assert whole.on("mon1", "echo in", anew=True).strip() == "in"
    assert whole.subjects("--host=mon1", code=0) == {}


def test_an_invalid_configuration_changes_nothing(whole: Operator) -> None:
    with ending(whole, "balancer/etc/{engine}/{engine}.conf.j2", "no_such_directive on;"):
        before = whole.on("lb1", "sha256sum /etc/nginx/nginx.conf; systemctl show -p ActiveEnterTimestamp nginx")
        whole.on("lb1", "touch /run/before-the-deploy")
        done = whole.inv("deploy", "--host=lb1", code=1)
        after = whole.on("lb1", "sha256sum /etc/nginx/nginx.conf; systemctl show -p ActiveEnterTimestamp nginx")
    assert 'unknown directive "no_such_directive"' in done.err
    assert "nothing was changed" in done.err
    assert before == after
    assert "/etc/nginx" not in whole.on("lb1", "find /etc -xdev -newer /run/before-the-deploy -type f")


def test_a_unit_that_does_not_come_up_is_rolled_back(whole: Operator) -> None:
    template = whole.project / "templates/monitoring/etc/default/prometheus.j2"
    text = template.read_text(encoding="utf-8")
    with holding(template, text.replace('ARGS="', 'ARGS="--no.such.flag ', 1)):
        done = whole.inv("deploy", "--host=mon1", code=1)
    assert "restart prometheus.service" in done.err
    assert "no.such.flag" in done.err, "the unit's own words are missing"
    assert whole.on("mon1", "systemctl is-active prometheus").strip() == "active"
    assert whole.subjects("--host=mon1", code=0) == {}


def test_an_invalid_database_setting_stops_at_the_standby_and_the_primary_keeps_running(whole: Operator) -> None:
    databases = {row["database"].partition(" ")[0]: row["host"] for row in whole.json("status")}
    primary, standby = databases["primary"], databases["replica"]
    started = "runuser -u postgres -- psql -XAtqc 'select pg_postmaster_start_time()'"
    since = whole.on(primary, started)
    setting = "shared_preload_libraries = 'no_such_library'"
    with ending(whole, "db/etc/postgresql/{version}/main/conf.d/10-restart.conf.j2", setting):
        done = whole.inv("deploy", "--role=db", code=1)
    assert 'could not access file "no_such_library"' in done.text
    assert f"db failed on {standby}" in done.text
    assert whole.on(primary, started) == since
    # A higher limit must reach the standby first, a lower one the primary.
    with changed(whole, "synchronous: true", "synchronous: true, max_connections: 120"):
        assert order(whole) == [standby, primary]
    # A standby knows the primary's limit only after it has replayed the WAL that carries it.
    control = "/usr/lib/postgresql/17/bin/pg_controldata /var/lib/postgresql/17/main"
    raised = f"{control} | grep -q '^max_connections setting: *120$'"
    whole.on(standby, f'timeout {PATIENCE} sh -c "until {raised}; do sleep 0.2; done"')
    assert order(whole) == [primary, standby]
    await_whole(whole, primary)


def order(operator: Operator) -> list[str]:
    """Deploy the role db; return the hosts in the order of their deploys, which must not overlap."""
    stages = operator.json("deploy", "--role=db")["stages"]
    assert all(one["end"] <= other["begin"] for one, other in pairwise(stages)), stages
    return [stage["host"] for stage in stages]


def test_a_full_disk_is_reported_and_leaves_everything_as_it_was(whole: Operator) -> None:
    whole.on("app2", "echo x >>/etc/hosts")
    whole.inv("lab.break", "app2", "--fill-disk")
    try:
        done = whole.inv("deploy", "--host=app2", code=1)
        assert "No space left on device" in done.err
        assert whole.on("app2", "tail -n 1 /etc/hosts").strip() == "x"
    finally:
        whole.inv("lab.mend", "app2")


def test_the_error_names_a_package_that_does_not_exist(whole: Operator) -> None:
    role = whole.project / "plainstack/roles/base.py"
    text = role.read_text(encoding="utf-8")
    with holding(role, text.replace('Package(name="tzdata")', 'Package(name="no-such-package")')):
        done = whole.inv("deploy", "--host=mon1", code=1)
    assert "Unable to locate package no-such-package" in done.err


def test_a_changed_host_key_is_refused_before_anything_is_sent(whole: Operator) -> None:
    pins = whole.state / "lab/known_hosts"
    text = pins.read_text(encoding="utf-8")
    lines = text.splitlines()
    address = str(inventories.load(whole.inventory).hosts["mon1"].address)
    (mon1,) = [line for line in lines if line.startswith(f"{address} ")]
    other = next(line for line in lines if not line.startswith(f"{address} ")).split(" ", 1)[1]
    try:
        pins.write_text(text.replace(mon1, f"{address} {other}"), encoding="utf-8")
        done = whole.inv("plan", "--host=mon1", code=1)
        assert re.search(
            r"the host key has CHANGED .*pinned ssh-ed25519 SHA256:\S+ offered ssh-ed25519 SHA256:", done.err
        )
        pins.write_text(text.replace(mon1 + "\n", ""), encoding="utf-8")
        done = whole.inv("plan", "--host=mon1", code=1)
        assert f"the host key is not pinned ({address}:22). Run inv trust" in done.err
        trusted = whole.inv("trust", "--yes")
        assert re.search(rf"mon1 \({address}\): new key ssh-ed25519 SHA256:", trusted.out)
        whole.inv("plan", "--host=mon1")
    finally:
        pins.write_text(text, encoding="utf-8")


def test_drift_is_distinguished_from_pending_changes(whole: Operator) -> None:
    with changed(whole, "workers: 2", "workers: 3"):
        whole.inv("drift", code=0)
        whole.on("db1", "chmod 600 /etc/hosts; systemctl stop prometheus-node-exporter; rm /etc/iptables/plainstack.v6")
        reported = {one["name"]: one["what"] for one in whole.json("drift", code=2)["drift"]}
    assert reported == {
        "/etc/hosts": "mode 0644 became 0600",
        "prometheus-node-exporter.service": "was running, is inactive",
        "/etc/iptables/plainstack.v6": "was removed",
    }


def test_the_log_says_who_changed_what_from_which_commit(whole: Operator) -> None:
    whole.on("db1", "chmod 600 /etc/hosts")
    whole.inv("deploy", "--host=db1")
    event = whole.json("log", "--host=db1", "--last=1")[-1]
    assert event["actions"] == ["set mode and owner of /etc/hosts"]
    assert event["result"] == "done"
    assert "@" in event["who"]
    assert event["command"].startswith("inv deploy")


def test_a_host_that_loses_a_role_loses_its_units_and_files(deployed: Operator) -> None:
    """This is the last test, because bak1 does not get its role back."""
    bak1 = "roles: [backup]}"
    with changed(deployed, bak1, "roles: []}"):
        deployed.inv("deploy", "--host=bak1")
        timer = "systemctl is-active plainstack-backup-full.timer"
        assert deployed.on("bak1", timer, check=False).strip() == "inactive"
        assert deployed.on("bak1", f"ls /etc/barman.d/{deployed.stack}.conf 2>/dev/null", check=False) == ""
        assert deployed.on("bak1", "dpkg-query -W -f '${db:Status-Status}' barman").strip() == "installed"
        assert deployed.subjects("--host=bak1", code=0) == {}
