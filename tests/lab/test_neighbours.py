"""Other programs on a host: their firewall rules stay, and whatever would get in the way is refused by name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.conftest import Operator
from tests.waiting import PATIENCE

HOST = "mon1"
HOSTS = (HOST,)
OTHERS = """\
iptables -N f2b-sshd
iptables -A f2b-sshd -s 192.0.2.1 -j DROP
iptables -I INPUT -p tcp --dport 22 -j f2b-sshd
iptables -N DOCKER-USER
iptables -A FORWARD -j DOCKER-USER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE
"""
THEIRS = {
    "-A f2b-sshd -s 192.0.2.1/32 -j DROP",
    "-A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd",
    "-A FORWARD -j DOCKER-USER",
    "-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE",
}
RULESET = """\
table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iif lo accept
        tcp dport 22 accept
    }
}
"""


@pytest.fixture
def others(whole: Operator) -> Iterator[Operator]:
    """Yield a host where Docker and fail2ban have their chains."""
    whole.on(HOST, OTHERS)
    yield whole
    whole.on(HOST, "iptables -D INPUT -p tcp --dport 22 -j f2b-sshd; iptables -D FORWARD -j DOCKER-USER")
    whole.on(HOST, "iptables -F f2b-sshd; iptables -X f2b-sshd; iptables -X DOCKER-USER; iptables -t nat -F")


def rules(operator: Operator) -> set[str]:
    return set(operator.on(HOST, "iptables-save").splitlines())


def test_chains_of_other_programs_are_not_drift_and_survive_every_reload(others: Operator) -> None:
    assert others.json("plan", f"--host={HOST}", code=0)["changes"] == {}
    others.on(HOST, "iptables -I plainstack-input -p tcp --dport 8081 -j ACCEPT")
    others.inv("deploy", f"--host={HOST}")
    assert rules(others) >= THEIRS
    others.on(HOST, "plainstack-firewall open && plainstack-firewall load && plainstack-firewall check")
    assert rules(others) >= THEIRS


def test_a_rule_added_by_hand_is_removed_again(others: Operator) -> None:
    others.on(HOST, "iptables -I INPUT -p tcp --dport 8080 -j ACCEPT")
    assert others.subjects(f"--host={HOST}") == {HOST: ["reload plainstack-firewall.service"]}
    others.inv("deploy", f"--host={HOST}")
    assert not [line for line in rules(others) if "8080" in line]
    assert rules(others) >= THEIRS


def test_a_table_that_blocks_plainstacks_openings_is_refused_by_name(whole: Operator) -> None:
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -qy nftables >/dev/null 2>&1"
    whole.on(HOST, f"{install}; nft -f - <<'RULES'\n{RULESET}RULES")
    try:
        (refused,) = whole.json("plan", f"--host={HOST}", code=1)["refused"]
        assert refused.startswith(f"{HOST}: firewall: nftables table 'inet filter' drops what it does not accept")
        assert refused in whole.inv("deploy", f"--host={HOST}", code=1).err
    finally:
        whole.on(HOST, "nft delete table inet filter; apt-get purge -qy nftables >/dev/null 2>&1")


def test_rules_that_the_inventory_keeps_survive_deploys(others: Operator) -> None:
    text = others.inventory.read_text(encoding="utf-8")
    mine = "-A INPUT -p tcp -m tcp --dport 8081 -j ACCEPT"
    only = f"--host={HOST}"
    try:
        others.inventory.write_text(f"{text}firewall: {{foreign: keep}}\n", encoding="utf-8")
        others.inv("deploy", only)
        others.on(HOST, f"iptables {mine}")
        assert others.json("plan", only, code=0)["changes"] == {}
        others.on(HOST, "iptables -I plainstack-input -p tcp --dport 8082 -j ACCEPT")
        others.inv("deploy", only)
        assert rules(others) >= {*THEIRS, mine}
        assert not [line for line in rules(others) if "8082" in line]
        others.on(HOST, "plainstack-firewall check")
        others.inventory.write_text(text, encoding="utf-8")
        (refused,) = others.json("plan", only, code=1)["refused"]
        assert refused.startswith(f"{HOST}: firewall: iptables chain INPUT ({mine})")
        assert rules(others) >= {*THEIRS, mine}
    finally:
        others.inventory.write_text(text, encoding="utf-8")
        others.on(HOST, f"iptables {mine.replace('-A', '-D')}", check=False)


def test_another_program_on_a_port_is_reported_before_anything_changes(whole: Operator) -> None:
    serve = "systemd-run -q --unit=legacy python3 -m http.server 9100"
    listens = "until ss -Hltn 'sport = :9100' | grep -q .; do sleep 0.1; done"
    whole.on(HOST, f'systemctl stop prometheus-node-exporter && {serve} && timeout {PATIENCE} sh -c "{listens}"')
    try:
        (refused,) = whole.json("plan", f"--host={HOST}", code=1)["refused"]
        assert refused.startswith(f"{HOST}: tcp port 9100 is taken: python3 (process ")
        assert "legacy.service" in refused
    finally:
        whole.on(HOST, "systemctl stop legacy")
