"""Who may connect where: read from the rules that the hosts of the default stack would load."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from ipaddress import ip_network

import pytest

from plainstack.engine.network import Allowed
from plainstack.engine.resources import File, Unit
from plainstack.inventory.stack import Stack
from plainstack.roles import firewall
from plainstack.secrets.values import Vault
from tests import inventories

ANYBODY = frozenset({"anybody"})
BALANCERS = frozenset({"lb1", "lb2"})
MONITORING = frozenset({"mon1"})
Offers = Mapping[str, frozenset[str]]

EVERYWHERE: Offers = {"tcp 22": ANYBODY, "tcp 9100": MONITORING}
BY_ROLE: Mapping[str, Offers] = {
    "balancer": {
        "tcp 80": ANYBODY,
        "tcp 443": ANYBODY,
        "udp 443": ANYBODY,
        "tcp 9113": MONITORING,
    },
    "app": {"tcp 8000": BALANCERS},
    "db": {"tcp 5432": frozenset({"app1", "app2", "bak1", "mon1"}), "tcp 9187": MONITORING},
    "backup": {"tcp 5499": frozenset({"db1", "db2"})},
    "monitoring": {},
}
BETWEEN_PEERS: Mapping[str, Offers] = {
    "lb1": {"112": frozenset({"lb2"})},
    "lb2": {"112": frozenset({"lb1"})},
    "db1": {"tcp 5432": frozenset({"db2"})},
    "db2": {"tcp 5432": frozenset({"db1"})},
}


def rules_of(stack: Stack, vault: Vault, host: str, version: int = 4) -> list[str]:
    files = {
        item.path: item for item in inventories.wanted(firewall.ROLE, stack, host, vault) if isinstance(item, File)
    }
    return files[f"/etc/iptables/plainstack.v{version}"].content.decode().splitlines()


def offers(stack: Stack, lines: list[str]) -> Offers:
    """Return the openings in some rules, by protocol and port, with the names of the hosts that may use them."""
    names = {str(address): host.name for host in stack.hosts.values() for address in (host.address, host.public)}
    found: dict[str, frozenset[str]] = {}
    for line in lines:
        rule = re.fullmatch(
            r"-A plainstack-input -s (\S+) -p (\w+)(?: --dport (\d+))? -m comment --comment .* -j ACCEPT", line
        )
        if rule:
            source, protocol, port = rule.groups()
            who = "anybody" if source in ("0.0.0.0/0", "::/0") else names[source]
            what = f"{protocol} {port}" if port else protocol
            found[what] = found.get(what, frozenset()) | {who}
    return found


@pytest.mark.parametrize("name", ["lb1", "lb2", "app1", "app2", "db1", "db2", "mon1", "bak1"])
def test_a_host_offers_exactly_its_ports_to_exactly_the_hosts_that_need_them(
    stack: Stack, vault: Vault, name: str
) -> None:
    expected: dict[str, frozenset[str]] = dict(EVERYWHERE)
    for more in (*(BY_ROLE[role] for role in stack.hosts[name].roles), BETWEEN_PEERS.get(name, {})):
        for what, who in more.items():
            expected[what] = expected.get(what, frozenset()) | who
    assert offers(stack, rules_of(stack, vault, name)) == expected


@pytest.mark.parametrize("version", [4, 6])
def test_packets_without_a_matching_rule_are_dropped(stack: Stack, vault: Vault, version: int) -> None:
    for name in stack.hosts:
        lines = rules_of(stack, vault, name, version)
        assert [line for line in lines if line.startswith(":")][:3] == [
            ":INPUT DROP [0:0]",
            ":FORWARD DROP [0:0]",
            ":OUTPUT ACCEPT [0:0]",
        ]
        allowed = {shlex.split(line)[-1] for line in lines if line.startswith("-A plainstack-input")}
        assert allowed == {"ACCEPT", "DROP", "plainstack drop: "}
        # Plainstack's rules come after those of other programs: what these ban stays banned.
        assert [line for line in lines if line.startswith("-A INPUT")] == ["-A INPUT -j plainstack-input"]
        assert lines[-1] == "COMMIT"


def test_a_fenced_off_host_is_shut_out_before_anything_is_accepted(stack: Stack, vault: Vault) -> None:
    rules = [line for line in rules_of(stack, vault, "app1", 4) if line.startswith("-")]
    assert rules[:3] == [
        "-I INPUT -j plainstack-fence",
        "-I OUTPUT -j plainstack-fence",
        "-A INPUT -j plainstack-input",
    ]


def test_the_first_rules_are_loopback_invalid_and_established(stack: Stack, vault: Vault) -> None:
    for version in (4, 6):
        rules = [line for line in rules_of(stack, vault, "db1", version) if line.startswith("-A plainstack-input")]
        assert rules[:3] == [
            "-A plainstack-input -i lo -j ACCEPT",
            "-A plainstack-input -m conntrack --ctstate INVALID -j DROP",
            "-A plainstack-input -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        ]


def test_necessary_icmp_is_accepted(stack: Stack, vault: Vault) -> None:
    v4 = rules_of(stack, vault, "db1", 4)
    assert [line for line in v4 if "icmp" in line] == [
        f"-A plainstack-input -p icmp --icmp-type {kind} -j ACCEPT" for kind in (3, 8, 11)
    ]
    assert "-A plainstack-input -p ipv6-icmp -j ACCEPT" in rules_of(stack, vault, "db1", 6)


def test_a_source_appears_only_in_the_rules_of_its_ip_version() -> None:
    opening = Allowed(22, "tcp", ("192.0.2.0/24", "2001:db8::/32"), "ssh: operators")
    for version in (4, 6):
        sources = [rule.source for rule in firewall.rules([opening], version)]
        assert [ip_network(source).version for source in sources] == [version]


def test_an_opening_without_sources_opens_nothing_and_an_unrestricted_one_covers_both_ip_versions() -> None:
    assert list(firewall.rules([Allowed(9100, "tcp", (), "monitoring")], 4)) == []
    everybody = Allowed(443, "udp", None, "http/3")
    assert [rule.source for version in (4, 6) for rule in firewall.rules([everybody], version)] == ["0.0.0.0/0", "::/0"]


def test_ssh_is_open_only_to_the_operators_networks(stack: Stack, vault: Vault) -> None:
    operators = (ip_network("192.168.57.50"), ip_network("2001:db8:1::/48"))
    narrow = stack.model_copy(update={"ssh": stack.ssh.model_copy(update={"allow_from": operators, "port": 2222})})
    assert [line.split()[3] for line in rules_of(narrow, vault, "db1", 4) if "2222" in line] == ["192.168.57.50/32"]
    assert [line.split()[3] for line in rules_of(narrow, vault, "db1", 6) if "2222" in line] == ["2001:db8:1::/48"]
    assert not [line for line in rules_of(narrow, vault, "db1", 4) if "--dport 22 " in line]


def test_the_rules_are_loaded_at_boot_with_the_guard_and_reloaded_when_they_change(stack: Stack, vault: Vault) -> None:
    unit = next(item for item in inventories.wanted(firewall.ROLE, stack, "db1", vault) if isinstance(item, Unit))
    assert unit.enabled
    assert unit.running
    assert unit.guarded
    assert {"/etc/iptables/plainstack.v4", "/etc/iptables/plainstack.v6"} <= set(unit.reload_on)
    assert unit.intact
    assert unit.snapshot
    assert unit.restore
