"""What every host promises to the rest of the stack."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from plainstack.roles.base import NODE_EXPORTER_PORT, TLS
from plainstack.stack import Host, Stack

ROLE = "base"

# openssl, not curl: it comes with the host's certificate (package ssl-cert depends on it).
_SCRAPE = f"""\
scrape() {{
    printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' | timeout 10 openssl s_client -quiet -connect %s \\
        -CAfile {TLS}/ca.crt -verify_return_error -verify_hostname %s "$@" 2>&1
}}
scrape -cert {TLS}/host.crt -key {TLS}/host.key | grep -m 1 '^node_filesystem_size_bytes{{device='
echo ---
scrape"""


def test_hosts_find_each_other_by_name(host: Any, stack: Stack) -> None:
    """Every name of the inventory resolves to the address that the inventory says."""
    answer = host.check_output(f"getent ahostsv4 {' '.join(stack.hosts)} | awk '$2 == \"STREAM\" {{print $3, $1}}'")
    assert dict(line.split() for line in answer.splitlines()) == {
        name: str(peer.address) for name, peer in stack.hosts.items()
    }


def test_the_host_goes_by_its_name(host: Any, here: Host) -> None:
    assert host.check_output("hostname") == here.name


def test_its_clock_is_right_and_in_utc(host: Any) -> None:
    """Within a second of the operator's machine, the time of the question itself aside."""
    asked = time.time()
    seconds, zone = host.check_output("date '+%s.%N %Z'").split()
    answered = time.time()
    assert asked - 1 <= float(seconds) <= answered + 1
    assert zone == "UTC"


def test_sshd_takes_no_passwords(host: Any, stack: Stack) -> None:
    """As sshd itself reads its configuration, whatever else lies in sshd_config.d."""
    settings = dict(line.split(maxsplit=1) for line in host.check_output("sshd -T").splitlines() if " " in line)
    assert settings["passwordauthentication"] == "no"
    assert settings["kbdinteractiveauthentication"] == "no"
    assert settings["permitrootlogin"] == ("without-password" if stack.ssh.user == "root" else "no")
    assert settings["clientaliveinterval"] == "5"


def test_the_node_exporter_answers_the_monitoring_hosts_and_nobody_without_a_certificate(
    here: Host, stack: Stack, peer: Callable[[str], Any]
) -> None:
    scrapers = stack.with_role("monitoring")
    if not scrapers:
        pytest.skip("the stack has no monitoring host")
    scraper = peer(scrapers[0].name)
    output = scraper.run(_SCRAPE, f"{here.address}:{NODE_EXPORTER_PORT}", here.name).stdout
    answered, _, refused = output.partition("---\n")
    assert answered, "no metrics"
    assert "node_" not in refused
    assert "certificate required" in refused


def test_security_updates_come_by_themselves(host: Any) -> None:
    """From Debian and from each source that Plainstack added, and from nowhere else, as apt reads its configuration."""
    assert host.check_output("systemctl is-active apt-daily.timer apt-daily-upgrade.timer") == "active\nactive"
    settings = host.check_output("apt-config dump")
    assert 'APT::Periodic::Unattended-Upgrade "1";' in settings
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in settings
    added = host.check_output(
        "cd /etc/apt/sources.list.d && grep -sl '^# managed by plainstack' -- * | xargs -r sed -n 's/^URIs: *//p'"
    )
    wanted = [f"site={urlsplit(uri).hostname}" for uri in added.split()]
    debian, *others = re.findall(r'^Unattended-Upgrade::Origins-Pattern:: "(.*)";$', settings, re.MULTILINE)
    assert "label=Debian-Security" in debian
    assert sorted(others) == sorted(wanted)
