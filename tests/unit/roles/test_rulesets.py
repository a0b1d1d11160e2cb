"""Packet filter rules of other programs, as real tools print them: which are refused or kept, and their names."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.engine import preflight
from plainstack.engine.observed import Observed
from plainstack.engine.resources import File
from plainstack.inventory.stack import Stack
from plainstack.paths import FILTER
from plainstack.roles import firewall, registry
from plainstack.roles.firewall.rulesets import found
from plainstack.roles.firewall.settings import Firewall
from tests import inventories

OWN = """\
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iif "lo" accept
		tcp dport 22 accept
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
"""
ENDS_WITH_REJECT = """\
table inet mine {
	set admins { type ipv4_addr; elements = { 192.0.2.1 } }
	chain in {
		type filter hook input priority filter; policy accept;
		tcp dport 22 accept
		counter packets 3 bytes 180 log prefix "no: " reject with icmpx admin-prohibited
	}
}
"""
JUMPS = """\
table inet mine {
	chain rest {
		ip saddr 192.0.2.0/24 accept
		drop
	}
	chain in {
		type filter hook input priority filter; policy accept;
		tcp dport 22 accept
		jump rest
	}
}
"""
FIREWALLD = """\
table inet firewalld {
	chain mangle_PREROUTING {
		type filter hook prerouting priority mangle + 10; policy accept;
		jump mangle_PREROUTING_ZONES
	}
	chain filter_INPUT {
		type filter hook input priority filter + 10; policy accept;
		ct state { established, related } accept
		jump filter_INPUT_ZONES
		ct state invalid drop
		reject with icmpx admin-prohibited
	}
}
"""
FAIL2BAN = """\
table inet f2b-table {
	set addr-set-sshd { type ipv4_addr; elements = { 192.0.2.7 } }
	chain f2b-chain {
		type filter hook input priority filter - 1; policy accept;
		tcp dport 22 ip saddr @addr-set-sshd reject with icmp port-unreachable
	}
}
"""
INVALID_ONLY = """\
table inet mine {
	chain in {
		type filter hook input priority filter; policy accept;
		ct state invalid drop
		ip saddr 192.0.2.0/24 drop
	}
	chain back {
		type nat hook postrouting priority srcnat; policy accept;
		masquerade
	}
}
"""
OUTGOING = """\
table inet mine {
	chain out {
		type filter hook output priority filter; policy drop;
		accept
	}
}
"""
# Rules that iptables-nft has made, as nft shows them: Docker's, and Plainstack's own.
OF_IPTABLES = """\
# Warning: table ip filter is managed by iptables-nft, do not touch!
table ip filter {
	chain INPUT {
		type filter hook input priority filter; policy drop;
		counter packets 0 bytes 0 jump plainstack-fence
		counter packets 0 bytes 0 jump plainstack-input
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
		counter packets 0 bytes 0 jump DOCKER-USER
	}
	chain plainstack-input {
		counter packets 0 bytes 0 drop
	}
	chain DOCKER-USER {
	}
}
table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
	}
}
"""


def facts_of(prefix: str, text: str) -> dict[str, str]:
    return {f"{prefix}.{number}": line for number, line in enumerate(text.splitlines(), 1)}


def problems(facts: Mapping[str, str]) -> dict[str, bool]:
    """Return for every rule set, by name, whether it is in the way."""
    return {ruleset.name: bool(ruleset.problem) for ruleset in found(facts)}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (OWN, "nftables table 'inet filter'"),
        (ENDS_WITH_REJECT, "nftables table 'inet mine'"),
        (JUMPS, "nftables table 'inet mine'"),
        (FIREWALLD, "nftables table 'inet firewalld'"),
        (OWN.replace("inet filter", "ip filter"), "nftables table 'ip filter'"),
        (OWN.replace("hook input priority filter", "hook prerouting priority raw"), "nftables table 'inet filter'"),
    ],
)
def test_a_table_that_drops_unknown_packets_is_a_conflict(text: str, name: str) -> None:
    assert problems(facts_of("nft", text)) == {name: True}


@pytest.mark.parametrize("text", [FAIL2BAN, INVALID_ONLY, OUTGOING])
def test_a_table_that_drops_only_named_packets_is_not_a_conflict(text: str) -> None:
    assert list(problems(facts_of("nft", text)).values()) == [False]


def test_iptables_rules_shown_by_nft_are_not_a_foreign_table() -> None:
    assert problems(facts_of("nft", OF_IPTABLES)) == {}
    assert problems(facts_of("nft", OF_IPTABLES + OWN)) == {"nftables table 'inet filter'": True}


BARE = "ip :INPUT ACCEPT [0:0]\nip :FORWARD ACCEPT [0:0]\nip6 :INPUT ACCEPT [0:0]\n"


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        ("-A INPUT -p tcp -m tcp --dport 3306 -j ACCEPT", "--dport 3306"),
        ("-A INPUT -j DROP", "-A INPUT -j DROP"),
        ("-A INPUT -j my-rules", "my-rules"),
        ("-A INPUT -s 192.0.2.1/32", "192.0.2.1"),
    ],
)
def test_an_input_rule_of_an_unknown_program_is_refused(rule: str, shown: str) -> None:
    ((name, problem),) = problems(facts_of("filter", f"{BARE}ip {rule}\n")).items()
    assert problem
    assert shown in name


def test_chains_of_known_programs_stay() -> None:
    listing = f"""{BARE}ip :DOCKER - [0:0]
ip :DOCKER-USER - [0:0]
ip :f2b-sshd - [0:0]
ip :LIBVIRT_INP - [0:0]
ip -A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
ip -A INPUT -j LIBVIRT_INP
"""
    assert problems(facts_of("filter", listing)) == {
        "the chains of Docker": False,
        "the chains of fail2ban": False,
        "the chains of libvirt": False,
    }
    assert problems(facts_of("filter", BARE)) == {}


def test_ufw_and_rules_of_the_other_iptables_variant_are_a_conflict() -> None:
    assert problems({"ufw": "yes", **facts_of("filter", f"{BARE}ip -A INPUT -j ufw-before-input")}) == {
        "the rules of ufw": True
    }
    assert problems(facts_of("legacy", BARE.replace("INPUT ACCEPT", "INPUT DROP"))) == {
        "the rules of iptables-legacy": True
    }
    assert problems(facts_of("legacy", BARE)) == {"the rules of iptables-legacy": False}


def reported(stack: Stack, foreign: str, text: str = OWN, legacy: str = "") -> tuple[list[str], list[str]]:
    chosen = stack.model_copy(update={"firewall": Firewall.model_validate({"foreign": foreign})})
    roles = {"firewall": registry()["firewall"]}
    seen = {"db1": Observed(facts={**facts_of("nft", text), **facts_of("legacy", legacy)})}
    wanted: dict[str, dict[str, list[object]]] = {"db1": {"firewall": []}}
    refused = preflight.refusals(chosen, roles, wanted, seen)  # type: ignore[arg-type]  # no resources
    notes = preflight.notes(chosen, roles, wanted, seen, {"db1": None})  # type: ignore[arg-type,dict-item]  # not read
    return refused, notes


def test_the_inventory_decides_what_happens_to_foreign_rules(stack: Stack) -> None:
    (refused,), notes = reported(stack, "refuse")
    assert refused.startswith("db1: firewall: nftables table 'inet filter' drops what it does not accept (chain input)")
    assert "nft delete table inet filter" in refused
    assert "{foreign: keep} to keep them, {foreign: replace} to have them removed" in refused
    assert notes == []
    assert reported(stack, "refuse", FAIL2BAN) == ([], ["db1: firewall: nftables table 'inet f2b-table': left alone"])
    for foreign in ("keep", "replace"):
        refusals, (note,) = reported(stack, foreign)
        assert refusals == []
        assert f"firewall.foreign: {foreign}" in note
    assert reported(stack, "replace", "", "ip :INPUT DROP [0:0]")[0]


def probed(tmp_path: Path, stack: Stack, foreign: str = "refuse", **tools: str) -> dict[str, str]:
    """Run the probe where only these tools exist, as stand-ins that print the given texts; return the probe's facts."""
    stack = stack.model_copy(update={"firewall": stack.settings(Firewall).model_copy(update={"foreign": foreign})})
    for name, text in tools.items():
        tool = tmp_path / name.replace("_", "-")
        tool.write_text(f"#!/bin/sh\ncat <<'TEXT'\n{text}TEXT\n")
        tool.chmod(0o755)
    script = firewall.facts(stack, stack.hosts["app1"])
    environment = {"ROOT": str(tmp_path), "PATH": f"{tmp_path}:{os.defpath}"}
    ran = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env=environment)
    return dict(line.partition("=")[::2] for line in ran.stdout.splitlines())


@pytest.mark.programs
def test_the_probe_reads_nftables_and_iptables(tmp_path: Path, stack: Stack) -> None:
    saved = "# Generated\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\n-A FORWARD -j DROP\nCOMMIT\n"
    facts = probed(tmp_path, stack, nft=OWN, iptables_save=saved)
    assert [ruleset.name for ruleset in found(facts)] == [
        "nftables table 'inet filter'",
        "iptables chain INPUT (-A INPUT -j DROP)",
    ]


def program(tmp_path: Path, stack: Stack, foreign: str) -> None:
    """Write the program of a deploy with this `foreign`; if empty, that of a version that did not record it."""
    stack = stack.model_copy(
        update={"firewall": stack.settings(Firewall).model_copy(update={"foreign": foreign or "refuse"})}
    )
    wanted = inventories.wanted(firewall.ROLE, stack, "app1", None)  # type: ignore[arg-type]  # no vault
    text = next(item for item in wanted if isinstance(item, File) and item.path == FILTER).content.decode()
    lines = [line for line in text.splitlines(keepends=True) if foreign or "firewall.foreign" not in line]
    program = tmp_path / FILTER.lstrip("/")
    program.parent.mkdir(parents=True)
    program.write_text("".join(lines))
    program.chmod(0o755)


OURS_AND_ONE_MORE = ":INPUT DROP [0:0]\n-A INPUT -p tcp --dport 81 -j ACCEPT\n-A INPUT -j plainstack-input\n"


@pytest.mark.programs
@pytest.mark.parametrize("foreign", ["", "refuse"])
def test_once_plainstack_filters_only_foreign_tables_are_listed(tmp_path: Path, stack: Stack, foreign: str) -> None:
    program(tmp_path, stack, foreign)
    facts = probed(tmp_path, stack, nft=OF_IPTABLES, iptables_save=OURS_AND_ONE_MORE)
    assert list(found(facts)) == []
    assert not [key for key in facts if key.startswith("filter")]


@pytest.mark.programs
@pytest.mark.parametrize(("before", "now"), [*itertools.permutations(["refuse", "keep", "replace"], 2)])
def test_foreign_rules_are_reported_again_if_the_setting_changes(
    tmp_path: Path, stack: Stack, before: str, now: str
) -> None:
    program(tmp_path, stack, before)
    (ruleset,) = found(probed(tmp_path, stack, now, iptables_save=OURS_AND_ONE_MORE))
    assert ruleset.name == "iptables chain INPUT (-A INPUT -p tcp --dport 81 -j ACCEPT)"
    assert "ACCEPT; iptables -F" not in ruleset.cure, "that would open the host"
