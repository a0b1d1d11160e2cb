"""Certificates that are complete and in order, but that clients refuse for what is in them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from plainstack.inventory.stack import Stack
from tests.unit.roles.certificate_files import LOWER, NOW, OTHER, ROOT, SITE, UPPER, Given, Key, Signed, given_files

SHOP = ("shop.example", "192.0.2.7")


@pytest.fixture
def given(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    with given_files(stack, tmp_path, monkeypatch) as given:
        yield given


def site(issuer: Signed = ROOT, *more: x509.ExtensionType, key: Key | None = None) -> Signed:
    found = key or ec.generate_private_key(ec.SECP256R1())
    return Signed("shop.example", issuer, ca=False, names=SHOP, key=found, more=more)


def usage(**uses: bool) -> x509.KeyUsage:
    every = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names = (*every, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names})


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)], ids=["P-384", "RSA"]
)
def test_keys_that_browsers_support_are_accepted(given: Given, key: Key) -> None:
    given.write(site(key=key))
    assert given.problems("shop.example") == []


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (ec.generate_private_key(ec.SECP521R1()), "on the curve secp521r1"),
        (ec.generate_private_key(ec.SECP256K1()), "on the curve secp256k1"),
        (ed25519.Ed25519PrivateKey.generate(), "of another type than EC and RSA"),
    ],
    ids=["P-521", "secp256k1", "Ed25519"],
)
def test_a_key_that_browsers_do_not_support_stops_plan_and_deploy_but_no_other_command(
    given: Given, key: Key, kind: str
) -> None:
    given.write(site(key=key))
    reported = (
        f"certificate: site.pem: certificate 1 (shop.example) has a key {kind}, which browsers do not support. Use"
        " an EC key on the curve P-256 or P-384, or an RSA key"
    )
    assert given.not_now(NOW, "shop.example") == [reported]
    assert given.problems("shop.example") == [reported]


@pytest.mark.programs
@pytest.mark.parametrize(
    "made",
    ["rsa-pss -pkeyopt rsa_keygen_bits:2048", "ec -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit"],
)
def test_a_key_in_a_form_that_browsers_do_not_know_is_reported(given: Given, made: str) -> None:
    names = "-subj /CN=shop.example -addext subjectAltName=DNS:shop.example"
    command = f"openssl req -x509 -nodes -days 9 {names} -keyout site.key -out site.pem -newkey {made}"
    subprocess.run(command, shell=True, cwd=given.folder, check=True, capture_output=True)
    (reported,) = given.problems("shop.example")
    assert "has a key in a special form (RSA-PSS or explicit parameters)" in reported


def test_a_certificate_that_wants_stapled_responses_is_reported(given: Given) -> None:
    given.write(site(ROOT, x509.TLSFeature([x509.TLSFeatureType.status_request])))
    (reported,) = given.not_now(NOW, "shop.example")
    assert "asks for OCSP stapling (must staple), which balancers do not do" in reported


@pytest.mark.parametrize(
    ("extension", "reported"),
    [
        (usage(key_encipherment=True), "certificate 1 (shop.example) does not permit its key to sign (key usage)"),
        (
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
            "certificate 1 (shop.example) has a critical extension that clients do not know (1.2.3.4)",
        ),
    ],
)
def test_an_extension_for_which_clients_refuse_the_certificate_is_reported(
    given: Given, extension: x509.ExtensionType, reported: str
) -> None:
    given.write(site(ROOT, extension))
    (problem,) = given.problems("shop.example")
    assert reported in problem
    given.write(site(ROOT, usage(digital_signature=True)))
    assert given.problems("shop.example") == []


def test_an_authority_that_may_not_sign_or_whose_key_is_short_is_reported(given: Given) -> None:
    no_authority = Signed("Inside", ROOT, more=(usage(digital_signature=True),))
    given.write(site(no_authority), no_authority)
    (reported,) = given.problems("shop.example")
    assert "certificate 2 (Inside) is not an authority's" in reported
    short = Signed("Short", ROOT, key=rsa.generate_private_key(65537, 1024))
    given.write(site(short), short)
    (reported,) = given.problems("shop.example")
    assert "certificate 2 (Short) has an RSA key with 1024 bits" in reported


@pytest.mark.programs
@pytest.mark.parametrize(
    ("permitted", "excluded", "forbidden"),
    [
        (["shop.example"], [], ""),
        (["example"], ["other.example"], ""),
        ([ip_network("192.0.2.0/24")], [], ""),
        (["other.example"], [], "shop.example"),
        ([], ["example"], "shop.example"),
        (["hop.example"], [], "shop.example"),
        ([ip_network("198.51.100.0/24")], [], "192.0.2.7"),
    ],
)
def test_names_that_an_authority_may_not_certify_are_reported_as_openssl_refuses_them(
    given: Given, permitted: list[str], excluded: list[str], forbidden: str
) -> None:
    def trees(values: list[str]) -> list[x509.GeneralName] | None:
        return [x509.DNSName(one) if isinstance(one, str) else x509.IPAddress(one) for one in values] or None

    limited = Signed("Limited", OTHER, more=(x509.NameConstraints(trees(permitted), trees(excluded)),))
    given.write(site(limited), limited, OTHER)
    reported = (
        f"certificate: site.pem: certificate 2 (Limited) permits no certificate for {forbidden} (name constraints)"
    )
    assert given.problems("shop.example") == ([reported] if forbidden else [])
    (given.folder / "other.pem").write_text(OTHER.pem)
    command = ["openssl", "verify", "-CAfile", "other.pem", "-untrusted", "site.pem", "site.pem"]
    assert (subprocess.run(command, cwd=given.folder, capture_output=True).returncode != 0) == bool(forbidden)


def test_files_that_are_cut_off_or_never_end_are_refused(given: Given) -> None:
    given.write(SITE, LOWER, UPPER)
    path = given.folder / given.certificate
    path.write_text(path.read_text()[:-100])
    assert given.problems("shop.example") == [
        "certificate: site.pem is damaged or cut off: a line with BEGIN has no line with END"
    ]
    path.unlink()
    path.symlink_to("/dev/zero")
    assert given.problems("shop.example") == ["certificate: site.pem is not a regular file"]
