"""The plan warns an operator that the firewall would lock out, using the address that the host itself sees."""

from __future__ import annotations

import shlex
import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from plainstack.engine.observed import Observed
from plainstack.inventory.stack import Stack
from plainstack.roles import base


def reported(stack: Stack, seen: str, *allowed: str) -> list[str]:
    ssh = stack.ssh.model_copy(update={"allow_from": tuple(ip_network(network) for network in allowed)})
    narrow = stack.model_copy(update={"ssh": ssh})
    facts = {"os": "debian", "os_version": "13", "systemd": "yes", "machine": "x86_64", "operator": seen}
    return [finding.text for finding in base.findings(narrow, narrow.hosts["db1"], Observed(facts=facts))]


@pytest.mark.parametrize(
    ("seen", "allowed"),
    [
        ("203.0.113.9", ("203.0.113.0/24",)),
        ("::ffff:203.0.113.9", ("203.0.113.0/24",)),
        ("2001:db8::7", ("203.0.113.0/24", "2001:db8::/32")),
        ("203.0.113.9", ("0.0.0.0/0", "::/0")),
        # The operator is on a console, or sshd does not report the address.
        ("", ("10.0.0.0/8",)),
        ("UNKNOWN", ("10.0.0.0/8",)),
    ],
)
def test_an_operator_who_keeps_access_gets_no_message(stack: Stack, seen: str, allowed: tuple[str, ...]) -> None:
    assert reported(stack, seen, *allowed) == []


@pytest.mark.parametrize(
    ("seen", "shown", "allowed"),
    [
        ("203.0.113.9", "203.0.113.9", ("10.0.0.0/8",)),
        ("::ffff:203.0.113.9", "203.0.113.9", ("10.0.0.0/8", "::/0")),
        ("2001:db8::7", "2001:db8::7", ("0.0.0.0/0",)),
        ("fe80::1%eth0", "fe80::1%eth0", ("0.0.0.0/0",)),
    ],
)
def test_an_operator_whom_the_firewall_would_lock_out_gets_the_address_to_add(
    stack: Stack, seen: str, shown: str, allowed: tuple[str, ...]
) -> None:
    assert reported(stack, seen, *allowed) == [
        f"sees you at {shown}, which ssh.allow_from leaves out, so the firewall would lock you out. Add {shown}"
    ]


@pytest.mark.programs
@pytest.mark.parametrize("way", ["sh -c 'eval \"$(cat)\"'", "env -i sh -c 'eval \"$(cat)\"; :'"])
def test_the_probe_finds_the_address_even_if_sudo_removed_it_from_the_environment(
    stack: Stack, way: str, tmp_path: Path
) -> None:
    script = tmp_path / "probe"
    script.write_text(base.facts(stack, stack.hosts["db1"]), encoding="utf-8")
    line = f"{way} <{shlex.quote(str(script))}; :"
    ran = subprocess.run(
        ["/bin/sh", "-c", line],
        env={"SSH_CONNECTION": "203.0.113.9 50000 10.0.0.3 22", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "operator=203.0.113.9\n" in ran.stdout
    assert ran.stderr == ""
