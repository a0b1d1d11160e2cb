"""The basis of every host: names, clock, sshd, node exporter, security updates."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from plainstack.addresses import endpoint
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.paths import TLS
from plainstack.roles.base import NODE_EXPORTER_PORT

ROLE = "base"

# Use openssl rather than curl, because ssl-cert depends on it. One of the exporter's forty collectors is enough to see
# that it works, at a fifth of the cost.
_SCRAPE = f"""\
scrape() {{
    printf 'GET /metrics?collect[]=filesystem HTTP/1.0\\r\\n\\r\\n' | timeout 30 openssl s_client -quiet -connect %s \\
        -CAfile {TLS}/ca.crt -verify_return_error -verify_hostname %s "$@" 2>&1
}}
scrape -cert {TLS}/host.crt -key {TLS}/host.key | grep -m 1 '^node_filesystem_size_bytes{{device='
echo ---
scrape"""


def facts(stack: Stack, _here: Host) -> dict[str, str]:
    """Return the shell commands of these checks; one exec runs the commands of all roles of a host."""
    return {
        "addresses": f"getent ahosts {' '.join(stack.hosts)} | awk '$2 == \"STREAM\" {{print $3, $1}}'",
        "name": "hostname",
        "sshd": "sshd -T",
        "timers": "systemctl is-active apt-daily.timer apt-daily-upgrade.timer",
        "apt": "apt-config dump",
        "sources": "cd /etc/apt/sources.list.d && grep -sl '^# managed by plainstack' -- *"
        " | xargs -r sed -n 's/^URIs: *//p'",
    }


def test_hosts_find_each_other_by_name(facts: Mapping[str, str], stack: Stack) -> None:
    """Every host name in the inventory resolves to the address in the inventory."""
    seen = dict(line.split() for line in facts["addresses"].splitlines())
    wrong = [
        f"{name} is {seen.get(name, 'unknown')} instead of {peer.address}"
        for name, peer in stack.hosts.items()
        if seen.get(name) != str(peer.address)
    ]
    assert not wrong, f"names that do not resolve to the addresses of the inventory: {'; '.join(wrong)}"


def test_the_host_has_its_name_from_the_inventory(facts: Mapping[str, str], here: Host) -> None:
    assert facts["name"] == here.name, f"the host calls itself {facts['name']!r} instead of {here.name!r}"


def test_the_clock_is_right_and_in_utc(host: Any) -> None:
    """Allow one second of difference to the operator's machine, besides the duration of the request."""
    asked = time.time()
    seconds, zone = host.check_output("date '+%s.%N %Z'").split()
    answered = time.time()
    apart = max(asked - float(seconds), float(seconds) - answered)
    assert apart <= 1, f"the clocks of the host and of this machine are {apart:.1f} s apart"
    assert zone == "UTC", f"the time zone of the host is {zone} instead of UTC"


def test_sshd_accepts_no_passwords(facts: Mapping[str, str], stack: Stack) -> None:
    """Ask sshd for its effective settings, because other files in sshd_config.d may change them."""
    wanted = {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitrootlogin": "without-password" if stack.ssh.user == "root" else "no",
        "clientaliveinterval": "5",
    }
    settings = dict(line.split(maxsplit=1) for line in facts["sshd"].splitlines() if " " in line)
    wrong = [
        f"{key} is {settings.get(key, 'unset')} instead of {value}"
        for key, value in wanted.items()
        if settings.get(key) != value
    ]
    assert not wrong, f"sshd has other settings than it should: {'; '.join(wrong)}"


def test_the_node_exporter_answers_only_monitoring_hosts_and_only_with_a_certificate(
    here: Host, stack: Stack, peer: Callable[[str], Any]
) -> None:
    scrapers = stack.with_role("monitoring")
    if not scrapers:
        pytest.skip("the stack has no monitoring host")
    scraper = peer(scrapers[0].name)
    output = scraper.run(_SCRAPE, endpoint(here.address, NODE_EXPORTER_PORT), here.name).stdout
    answered, _, refused = output.partition("---\n")
    where = f"the node exporter of {here.name} (port {NODE_EXPORTER_PORT})"
    assert answered, f"{scrapers[0].name} gets no metrics from {where}"
    assert "node_" not in refused, f"{where} answers {scrapers[0].name} without a client certificate"
    assert "certificate required" in refused, (
        f"{where} should refuse a client without a certificate, and says: {refused.strip()[-200:] or 'nothing'}"
    )


def test_security_updates_are_installed_automatically(facts: Mapping[str, str]) -> None:
    """apt takes automatic updates only from Debian Security and from the sources that Plainstack added."""
    states = facts["timers"].split()
    assert states == ["active", "active"], (
        f"apt-daily.timer and apt-daily-upgrade.timer should be active, and are {' and '.join(states) or 'unknown'}"
    )
    settings = facts["apt"]
    for wanted_setting in ('APT::Periodic::Unattended-Upgrade "1";', 'Unattended-Upgrade::Automatic-Reboot "false";'):
        assert wanted_setting in settings, f"apt-config dump lacks the line: {wanted_setting}"
    wanted = [f"site={urlsplit(uri).hostname}" for uri in facts["sources"].split()]
    patterns = re.findall(r'^Unattended-Upgrade::Origins-Pattern:: "(.*)";$', settings, re.MULTILINE)
    first, *others = patterns or ["nothing"]
    assert "label=Debian-Security" in first, f"automatic updates come from {first}, not from Debian Security first"
    assert sorted(others) == sorted(wanted), (
        f"besides Debian Security, automatic updates come from {', '.join(others) or 'nothing'} instead of"
        f" {', '.join(wanted) or 'nothing'}"
    )
