"""Certificates: which hosts get which, and when they are renewed."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from plainstack.inventory.stack import Stack
from plainstack.secrets import pki, signing
from plainstack.services.edge import Balancer
from tests import inventories

NOW = datetime(2026, 1, 1, tzinfo=UTC)
END = NOW - timedelta(hours=1) + signing.LEAF_VALIDITY


@pytest.fixture(scope="module")
def pairs(stack: Stack) -> dict[str, pki.Pair]:
    return ensure(stack, {}, NOW)


def ensure(stack: Stack, pairs: dict[str, pki.Pair], now: datetime) -> dict[str, pki.Pair]:
    return pki.ensure(stack.stack, inventories.needed(stack).certificates, pairs, now)


def leaf(pair: pki.Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair["chain"].encode())


def test_every_host_and_the_site_have_a_certificate_from_the_stacks_authority(
    stack: Stack, pairs: dict[str, pki.Pair]
) -> None:
    assert set(pairs) == {pki.AUTHORITY, pki.SITE, *stack.hosts}
    for name in (pki.SITE, *stack.hosts):
        leaf(pairs[name]).verify_directly_issued_by(leaf(pairs[pki.AUTHORITY]))


def test_the_sites_certificate_covers_its_names_and_every_address_that_users_may_type(stack: Stack) -> None:
    named = stack.model_copy(
        update={"balancer": stack.settings(Balancer).model_copy(update={"server_names": ("shop.example",)})}
    )
    site = ensure(named, {}, NOW)[pki.SITE]
    names = leaf(site).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["shop.example", "lb1", "lb2"]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["192.168.3.230", "192.168.3.231", "192.168.3.232"]


def test_certificates_are_renewed_30_days_before_they_expire(stack: Stack, pairs: dict[str, pki.Pair]) -> None:
    assert ensure(stack, pairs, END - timedelta(days=30)) == pairs
    later = ensure(stack, pairs, END - timedelta(days=30) + timedelta(seconds=1))
    assert later[pki.AUTHORITY] == pairs[pki.AUTHORITY]
    for name in (pki.SITE, *stack.hosts):
        assert leaf(later[name]).not_valid_after_utc > END + timedelta(days=300)
        assert later[name]["key"] != pairs[name]["key"]


def test_only_the_certificate_whose_names_changed_is_reissued(stack: Stack, pairs: dict[str, pki.Pair]) -> None:
    balancer = stack.settings(Balancer).model_copy(update={"server_names": ("shop.example",)})
    again = ensure(stack.model_copy(update={"balancer": balancer}), pairs, NOW)
    assert {name for name in pairs if again[name] != pairs[name]} == {pki.SITE}


def test_a_new_authority_reissues_every_certificate(stack: Stack, pairs: dict[str, pki.Pair]) -> None:
    late = NOW + signing.AUTHORITY_VALIDITY - timedelta(days=20)
    again = ensure(stack, pairs, late)
    assert not {name for name in pairs if again[name] == pairs[name]}
    leaf(again[pki.SITE]).verify_directly_issued_by(leaf(again[pki.AUTHORITY]))


def test_hosts_that_are_deployed_one_after_another_always_trust_each_other(stack: Stack) -> None:
    """Deploy host by host, every 30 days: each host's certificate is always one that all other hosts accept."""
    on_hosts: dict[str, dict[str, pki.Pair]] = {}
    pairs: dict[str, pki.Pair] = {}
    for day in range(0, 7400, 30):
        pairs = ensure(stack, pairs, NOW + timedelta(days=day))
        for host in ("db1", "db2", "app1"):
            on_hosts[host] = pairs
            for one, of_one in on_hosts.items():
                for of_other in on_hosts.values():
                    issuers = x509.load_pem_x509_certificates(pki.trusted(of_other).encode())
                    assert leaf(of_one[one]).issuer in [issuer.subject for issuer in issuers]


def test_a_successor_that_takes_over_does_not_change_what_is_trusted(stack: Stack) -> None:
    end = NOW + signing.AUTHORITY_VALIDITY
    announced = ensure(stack, ensure(stack, {}, NOW), end - timedelta(days=80))
    in_office = ensure(stack, announced, end - timedelta(days=20))
    assert announced[pki.AUTHORITY] != in_office[pki.AUTHORITY]
    assert pki.trusted(announced) == pki.trusted(in_office)


@pytest.mark.programs
@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("name", ["db1", pki.SITE])
def test_openssl_accepts_the_chain_in_strict_mode(
    pairs: dict[str, pki.Pair], tmp_path: Path, name: str, purpose: str
) -> None:
    authority, certificate = tmp_path / "ca.crt", tmp_path / "leaf.crt"
    authority.write_text(pairs[pki.AUTHORITY]["chain"])
    certificate.write_text(pairs[name]["chain"])
    verify = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime", str(int(NOW.timestamp()))]
    ran = subprocess.run(
        [*verify, "-CAfile", str(authority), str(certificate)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_hosts_certificate_covers_its_name_and_addresses(pairs: dict[str, pki.Pair]) -> None:
    names = leaf(pairs["lb1"]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["lb1"]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["192.168.57.16", "192.168.3.231"]


def test_a_site_name_too_long_for_the_common_name_is_an_alternative_name(stack: Stack) -> None:
    long = f"{'a' * 63}.shop.example"
    balancer = stack.settings(Balancer).model_copy(update={"server_names": (long,)})
    site = leaf(ensure(stack.model_copy(update={"balancer": balancer}), {}, NOW)[pki.SITE])
    names = site.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert long in names.get_values_for_type(x509.DNSName)
    assert site.subject.rfc4514_string() == "CN=lb1"


def test_the_stored_key_belongs_to_the_certificate(pairs: dict[str, pki.Pair]) -> None:
    for pair in pairs.values():
        key = serialization.load_pem_private_key(pair["key"].encode(), None)
        assert key.public_key() == leaf(pair).public_key()
