"""PostgreSQL: there is one primary, the replicas follow it, and access is restricted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.postgresql.layout import AS_POSTGRES, BIN, DATA, ETC
from plainstack.postgresql.topology import PROBE, Member, members, primaries

ROLE = "db"

_PSQL = f"timeout 30 {AS_POSTGRES} {BIN}/psql -XAtqw"
_VERIFIED = "sslmode=verify-full sslrootcert=/etc/plainstack/tls/ca.crt connect_timeout=3"


_SECRETS = (
    "/var/lib/postgresql/.pgpass",
    f"{ETC}/plainstack.sql",
    "/etc/plainstack/tls/host.key",
    DATA,
)


def facts(_stack: Stack, _here: Host) -> dict[str, str]:
    """Return the shell commands of these checks; one exec runs the commands of all roles of a host."""
    return {"checksums": f"{_PSQL}c 'show data_checksums'", "secrets": f"stat -c '%a %n' {' '.join(_SECRETS)}"}


def _observe(stack: Stack, peer: Callable[[str], Any]) -> list[Member]:
    names = [host.name for host in stack.with_role("db")]
    facts = {name: dict(line.split("=", 1) for line in peer(name).check_output(PROBE).splitlines()) for name in names}
    return members(names, facts)


def _await_streaming(host: Any) -> None:
    query = "select 1 from pg_stat_wal_receiver where status = 'streaming'"
    found = host.run(f"timeout 60 sh -c 'until {_PSQL}c \"$1\" | grep -q 1; do sleep 0.2; done' sh %s", query)
    assert found.succeeded, f"the replica does not stream: {found.stderr}"


@pytest.mark.once
def test_exactly_one_host_is_primary_and_every_other_one_streams_from_it(
    stack: Stack, peer: Callable[[str], Any]
) -> None:
    for member in _observe(stack, peer):
        if member.state == "standby":
            _await_streaming(peer(member.name))
    everybody = _observe(stack, peer)
    leading = primaries(everybody)
    states = ", ".join(f"{member.name} is {member.described}" for member in everybody)
    assert len(leading) == 1, f"there should be one primary: {states}"
    for member in everybody:
        assert member.system_identifier == leading[0].system_identifier, (
            f"{member.name} has the data of another cluster than the primary {leading[0].name}"
        )
        if member is not leading[0]:
            assert member.state == "standby", f"{member.name} should be a replica: {states}"
            assert member.upstream == leading[0].name, (
                f"{member.name} streams from {member.upstream or 'nowhere'} instead of the primary {leading[0].name}"
            )


@pytest.mark.once
def test_a_row_written_on_the_primary_is_on_every_replica(stack: Stack, peer: Callable[[str], Any]) -> None:
    everybody = _observe(stack, peer)
    leading = primaries(everybody)
    states = ", ".join(f"{member.name} is {member.described}" for member in everybody)
    assert len(leading) == 1, f"there should be one primary: {states}"
    write = (
        "insert into plainstack.heartbeat values ('verify', clock_timestamp())"
        " on conflict (host) do update set at = excluded.at returning at"
    )
    written = peer(leading[0].name).check_output(f"{_PSQL}c %s", write)
    for member in everybody:
        query = f"select 1 from plainstack.heartbeat where host = 'verify' and at >= '{written}'"
        wait = f"timeout 30 sh -c 'until {_PSQL}c \"$1\" | grep -q 1; do sleep 0.2; done' sh %s"
        assert peer(member.name).run(wait, query).succeeded, (
            f"a row written on {leading[0].name} is not on {member.name} after 30 s"
        )


def test_data_is_checksummed(facts: Mapping[str, str]) -> None:
    assert facts["checksums"] == "on", f"data_checksums is {facts['checksums'] or 'unknown'}; it should be on"


def test_no_secret_of_the_database_is_readable_by_others(facts: Mapping[str, str]) -> None:
    """The secrets are passwords, their verifiers, the server's key and the data itself."""
    modes = {path: mode for mode, _, path in (line.partition(" ") for line in facts["secrets"].splitlines())}
    missing = [path for path in _SECRETS if path not in modes]
    assert not missing, f"files or folders that are missing: {', '.join(missing)}"
    readable = [f"{path} has the mode {mode}" for path, mode in modes.items() if not mode.endswith("0")]
    assert not readable, f"others can read a secret: {'; '.join(readable)}"


def test_a_peer_can_connect_only_with_encryption_and_the_right_password(
    here: Host, stack: Stack, peer: Callable[[str], Any]
) -> None:
    others = [other.name for other in stack.with_role("db") if other.name != here.name]
    if not others:
        pytest.skip("there is no other db host")
    target = f"host={here.name} user=rewinder dbname=postgres"
    attempt = f'{_PSQL}c "select 1" -d'
    output = (
        peer(others[0])
        .run(
            f'{attempt} "{target} {_VERIFIED}" 2>&1; echo ---;'
            f' {attempt} "{target} sslmode=disable" 2>&1; echo ---;'
            f' {attempt} "{target} password=wrong {_VERIFIED}" 2>&1'
        )
        .stdout
    )
    right, unencrypted, wrong = (said.strip() for said in output.split("---\n"))
    assert right == "1", f"{others[0]} cannot connect to {here.name} with the right password: {right[-300:]}"
    assert "no encryption" in unencrypted, (
        f"{here.name} should refuse {others[0]} without encryption, and says: {unencrypted[-300:]}"
    )
    assert "password authentication failed" in wrong, (
        f"{here.name} should refuse {others[0]} with a wrong password, and says: {wrong[-300:]}"
    )


def test_the_exporter_of_the_database_reports_that_postgresql_is_up(
    here: Host, stack: Stack, peer: Callable[[str], Any]
) -> None:
    """Ask from a monitoring host, with the client certificate that Prometheus uses."""
    scraper = next((other.name for other in stack.with_role("monitoring")), here.name)
    tls = "/etc/plainstack/tls"
    fetch = (
        rf"printf \"GET /metrics HTTP/1.0\r\n\r\n\" | openssl s_client -quiet -connect {here.name}:9187"
        f" -cert {tls}/host.crt -key {tls}/host.key -CAfile {tls}/ca.crt -verify_return_error"
        f" -verify_hostname {here.name} 2>&1"
    )
    found = peer(scraper).run(f"timeout 60 sh -c \"until {fetch} | grep -qx 'pg_up 1'; do sleep 0.5; done\"")
    assert found.succeeded, f"{scraper} reads no 'pg_up 1' from port 9187 of {here.name} within 60 s"
