"""The cache: one host is the primary, the others follow it, and access needs encryption and a password."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.cache.settings import PORT

ROLE = "cache"

_CLI = "/usr/local/lib/plainstack/cache-cli"
_SECRETS = (
    "/etc/plainstack/cache/live.conf",
    "/etc/plainstack/cache/users.acl",
    "/etc/default/prometheus-redis-exporter",
    "/var/lib/valkey/plainstack-server.conf",
    _CLI,
)


def facts(_stack: Stack, here: Host) -> dict[str, str]:
    """Return the shell commands of these checks; one exec runs the commands of all roles of a host."""
    ask = f"timeout 5 valkey-cli -h {here.name} -p {PORT}"
    return {
        "modes": f"stat -c '%a %n' {' '.join(_SECRETS)}",
        "anybody": f"{ask} --tls --cacert /etc/plainstack/tls/ca.crt ping 2>&1",
        "unencrypted": f"{ask} ping 2>&1",
        "policy": f"{_CLI} config get maxmemory",
    }


def test_no_secret_of_the_cache_is_readable_by_others(facts: Mapping[str, str]) -> None:
    modes = {path: mode for mode, _, path in (line.partition(" ") for line in facts["modes"].splitlines())}
    missing = [path for path in _SECRETS if path not in modes]
    assert not missing, f"files or folders that are missing: {', '.join(missing)}"
    readable = [f"{path} has the mode {mode}" for path, mode in modes.items() if not mode.endswith("0")]
    assert not readable, f"others can read a secret: {'; '.join(readable)}"


def test_the_cache_answers_only_with_encryption_and_a_password(facts: Mapping[str, str]) -> None:
    assert "NOAUTH" in facts["anybody"], (
        f"Valkey should refuse a client without a password (NOAUTH), and says: {facts['anybody'] or 'nothing'}"
    )
    assert "PONG" not in facts["unencrypted"], f"Valkey answers without encryption: {facts['unencrypted']}"


def test_the_memory_of_the_cache_is_limited(facts: Mapping[str, str]) -> None:
    limit = (facts["policy"].split() or ["unknown"])[-1]
    size = int(limit) if limit.isdigit() else 0
    assert size > 0, f"Valkey's maxmemory is {limit}; it should be more than 0"


@pytest.mark.once
def test_exactly_one_host_is_the_primary_of_the_cache_and_the_others_are_its_replicas(
    stack: Stack, peer: Callable[[str], Any]
) -> None:
    hosts = [host.name for host in stack.with_role("cache")]
    settled = f"{_CLI} info replication | grep -qE 'role:master|link_status:up'"
    script = f'timeout 60 sh -c "until {settled}; do sleep 0.2; done"'
    for name in hosts:
        assert peer(name).run(script).succeeded, f"{name} is neither the primary nor connected to it"
    seen = {name: peer(name).check_output(f"{_CLI} info replication") for name in hosts}
    leading = [name for name, text in seen.items() if "role:master" in text]
    assert len(leading) == 1, f"one host should be the primary of the cache: {' and '.join(leading) or 'none is'}"


@pytest.mark.once
def test_what_is_written_to_the_primary_of_the_cache_is_on_every_host(stack: Stack, peer: Callable[[str], Any]) -> None:
    hosts = [host.name for host in stack.with_role("cache")]
    seen = {name: peer(name).check_output(f"{_CLI} info replication") for name in hosts}
    leading = [name for name, text in seen.items() if "role:master" in text]
    assert len(leading) == 1, f"one host should be the primary of the cache: {' and '.join(leading) or 'none is'}"
    peer(leading[0]).check_output(f"{_CLI} set plainstack:verify 1 ex 60")
    written = f"timeout 60 sh -c 'until {_CLI} exists plainstack:verify | grep -q 1; do sleep 0.2; done'"
    for name in hosts:
        assert peer(name).run(written).succeeded, f"a key set on {leading[0]} is not on {name} after 60 s"


def test_the_exporter_of_the_cache_reports_that_valkey_is_up(
    here: Host, stack: Stack, peer: Callable[[str], Any]
) -> None:
    """Ask from a monitoring host, with the client certificate that Prometheus uses."""
    scraper = next((other.name for other in stack.with_role("monitoring")), "")
    if not scraper:
        pytest.skip("the stack has no monitoring host")
    tls = "/etc/plainstack/tls"
    fetch = (
        f"curl -sS --max-time 5 --cert {tls}/host.crt --key {tls}/host.key --cacert {tls}/ca.crt"
        f" https://{here.name}:9121/metrics"
    )
    found = peer(scraper).run(f"timeout 60 sh -c \"until {fetch} | grep -qx 'redis_up 1'; do sleep 0.5; done\"")
    assert found.succeeded, f"{scraper} reads no 'redis_up 1' from https://{here.name}:9121/metrics within 60 s"
