"""Certificates: who gets which, when they are renewed, and what is wrong with one that a person gives."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from plainstack import pki
from plainstack.stack import GivenCertificate, Stack

NOW = datetime(2026, 1, 1, tzinfo=UTC)
END = NOW - timedelta(hours=1) + pki.LEAF_VALIDITY


@pytest.fixture(scope="module")
def pairs(stack: Stack) -> dict[str, pki.Pair]:
    return pki.ensure(stack, {}, NOW)


def leaf(pair: pki.Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair["chain"].encode())


def test_every_host_and_the_site_have_a_certificate_of_the_stacks_authority(
    stack: Stack, pairs: dict[str, pki.Pair]
) -> None:
    assert set(pairs) == {pki.AUTHORITY, pki.SITE, *stack.hosts}
    for name in (pki.SITE, *stack.hosts):
        leaf(pairs[name]).verify_directly_issued_by(leaf(pairs[pki.AUTHORITY]))


def test_the_sites_certificate_is_for_its_names_and_for_every_address_that_users_may_type(stack: Stack) -> None:
    named = stack.model_copy(update={"balancer": stack.balancer.model_copy(update={"server_names": ("shop.example",)})})
    site = pki.ensure(named, {}, NOW)[pki.SITE]
    names = leaf(site).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["shop.example", "lb1", "lb2"]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["192.168.3.230", "192.168.3.231", "192.168.3.232"]


def test_certificates_are_kept_until_30_days_before_their_end_and_then_renewed(
    stack: Stack, pairs: dict[str, pki.Pair]
) -> None:
    assert pki.ensure(stack, pairs, END - timedelta(days=30)) == pairs
    later = pki.ensure(stack, pairs, END - timedelta(days=30) + timedelta(seconds=1))
    assert later[pki.AUTHORITY] == pairs[pki.AUTHORITY]
    for name in (pki.SITE, *stack.hosts):
        assert leaf(later[name]).not_valid_after_utc > END + timedelta(days=300)
        assert later[name]["key"] != pairs[name]["key"]


def test_only_the_certificate_whose_names_changed_is_signed_anew(stack: Stack, pairs: dict[str, pki.Pair]) -> None:
    balancer = stack.balancer.model_copy(update={"server_names": ("shop.example",)})
    again = pki.ensure(stack.model_copy(update={"balancer": balancer}), pairs, NOW)
    assert {name for name in pairs if again[name] != pairs[name]} == {pki.SITE}


def test_a_new_authority_signs_everything_anew(stack: Stack, pairs: dict[str, pki.Pair]) -> None:
    late = NOW + pki.AUTHORITY_VALIDITY - timedelta(days=20)
    again = pki.ensure(stack, pairs, late)
    assert not {name for name in pairs if again[name] == pairs[name]}
    leaf(again[pki.SITE]).verify_directly_issued_by(leaf(again[pki.AUTHORITY]))


class Given:
    """A certificate for *.shop.example and its key as a person's files, and what is said about them."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        balancer = stack.balancer.model_copy(update={"server_names": ("*.shop.example",)})
        pair = pki.ensure(stack.model_copy(update={"balancer": balancer}), {}, NOW)[pki.SITE]
        self.certificate, self.key = folder / "site.pem", folder / "site.key"
        self.certificate.write_text(pair["chain"])
        self.key.write_text(pair["key"])
        self._stack, self._balancer = stack, balancer

    def problems(self, *names: str) -> list[tuple[str, str]]:
        balancer = self._balancer.model_copy(update={"server_names": names})
        given = GivenCertificate(certificate=self.certificate, key=self.key)
        return list(pki.given_problems(self._stack.model_copy(update={"balancer": balancer}), given))


@pytest.fixture
def given(stack: Stack, tmp_path: Path) -> Given:
    return Given(stack, tmp_path)


def test_a_given_certificate_that_fits_is_accepted(given: Given) -> None:
    assert given.problems("www.shop.example", "*.shop.example") == []


def test_a_given_certificate_for_another_name_is_refused(given: Given) -> None:
    for name in ("shop.example", "a.b.shop.example", "www.other.example"):
        assert given.problems(name) == [
            ("certificate", f"{given.certificate} is not for {name}, but for *.shop.example, lb1, lb2")
        ]


def test_a_key_of_another_certificate_is_refused(given: Given, pairs: dict[str, pki.Pair]) -> None:
    given.key.write_text(pairs["db1"]["key"])
    assert given.problems() == [("key", f"{given.key} is not the key of the first certificate in {given.certificate}")]


def test_files_that_are_missing_or_hold_something_else_are_all_named(given: Given) -> None:
    given.certificate.unlink()
    given.key.write_text("not a key\n")
    assert given.problems() == [
        ("certificate", f"{given.certificate} cannot be read: No such file or directory"),
        ("key", f"{given.key} holds no private key in PEM form"),
    ]
    given.certificate.write_text("not a certificate\n")
    assert given.problems()[0] == ("certificate", f"{given.certificate} holds no certificate in PEM form")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_of_files_from_another_tool_the_certificates_and_the_key_are_taken_and_no_words(
    given: Given, encoding: str
) -> None:
    """As openssl pkcs12 and Windows write them: with attributes in any encoding, and all in one file."""
    chain, key = given.certificate.read_text(), given.key.read_text()
    text = f"Bag Attributes\n    friendlyName: Z\u00fcrich\n{key}subject=O = Z\u00fcrich\n{chain}\n".replace(
        "\n", "\r\n"
    )
    for path in (given.certificate, given.key):
        path.write_bytes(text.encode(encoding))
    assert given.problems() == []
    assert pki.blocks(given.certificate, "CERTIFICATE") == chain
    assert pki.blocks(given.key, "PRIVATE KEY") == key


def test_an_encrypted_key_is_refused(given: Given) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption = serialization.BestAvailableEncryption(b"passphrase")
    given.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    (problem,) = given.problems()
    assert problem[0] == "key"
    assert "is encrypted" in problem[1]


@pytest.mark.parametrize("purpose", ["sslserver", "sslclient"])
@pytest.mark.parametrize("name", ["db1", pki.SITE])
def test_openssl_accepts_the_chain_by_its_strictest_rules(
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


def test_a_hosts_certificate_is_for_its_name_and_its_addresses(pairs: dict[str, pki.Pair]) -> None:
    names = leaf(pairs["lb1"]).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["lb1"]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["192.168.57.16", "192.168.3.231"]


def test_a_site_name_longer_than_a_common_name_may_be_is_an_alternative_name(stack: Stack) -> None:
    long = f"{'a' * 63}.shop.example"
    balancer = stack.balancer.model_copy(update={"server_names": (long,)})
    site = leaf(pki.ensure(stack.model_copy(update={"balancer": balancer}), {}, NOW)[pki.SITE])
    names = site.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert long in names.get_values_for_type(x509.DNSName)
    assert site.subject.rfc4514_string() == "CN=lb1"


def test_the_key_in_the_store_is_the_certificates(pairs: dict[str, pki.Pair]) -> None:
    for pair in pairs.values():
        key = serialization.load_pem_private_key(pair["key"].encode(), None)
        assert key.public_key() == leaf(pair).public_key()
