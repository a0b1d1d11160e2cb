"""The formats of the certificate and key that an operator gives to the balancers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12

from plainstack.inventory.stack import Stack
from plainstack.secrets import pki
from tests.unit.roles.certificate_files import (
    DER,
    LOWER,
    PEM,
    PKCS8,
    PLAIN,
    SITE,
    UPPER,
    Given,
    Signed,
    given_files,
)


@pytest.fixture
def given(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    with given_files(stack, tmp_path, monkeypatch) as given:
        yield given


def _der(one: Signed) -> bytes:
    return one.certificate.public_bytes(DER)


def _pkcs12(password: bytes) -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else PLAIN
    return pkcs12.serialize_key_and_certificates(b"site", SITE.key, SITE.certificate, [LOWER.certificate], lock)


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (lambda: b"", "site.pem holds no certificate in PEM form"),
        (lambda: b"not a certificate\n", "site.pem holds no certificate in PEM form"),
        (lambda: _der(SITE), "DER form. Convert it: openssl x509 -inform der -in site.pem -out site-converted.pem"),
        (lambda: _pkcs12(b""), "but PKCS#12. Convert it: openssl pkcs12 -nodes -in site.pem -out site-converted.pem"),
        (lambda: _pkcs12(b"secret"), "but PKCS#12. Convert it"),
        (lambda: SITE.pem.encode("utf-16"), "but text in UTF-16. Save it as UTF-8"),
        (lambda: SITE.key_pem.encode(), "but PRIVATE KEY"),
        (
            lambda: pkcs7.serialize_certificates([SITE.certificate], PEM),
            "but PKCS#7. Convert it: openssl pkcs7 -print_certs",
        ),
        (lambda: SITE.pem.replace("M", "N", 1).encode(), "site.pem: certificate 1 is damaged"),
        (lambda: SITE.pem.replace("CERTIFICATE", "CERTIFICATE REQUEST").encode(), "but CERTIFICATE REQUEST"),
    ],
)
def test_a_certificate_in_another_format_is_reported_with_the_conversion_command(
    given: Given, content: Callable[[], bytes], reported: str
) -> None:
    given.write(SITE, LOWER, UPPER)
    (given.folder / given.certificate).write_bytes(content())
    (problem,) = given.problems("shop.example")
    assert reported in problem


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (lambda: b"not a key\n", "site.key holds no private key in PEM form"),
        (lambda: SITE.pem.encode(), "site.key holds no private key in PEM form, but CERTIFICATE"),
        (
            lambda: SITE.key.private_bytes(DER, PKCS8, PLAIN),
            "but a private key in DER form. Convert it: openssl pkey -inform der -in site.key -out site.pem",
        ),
        (
            lambda: (SITE.key_pem + LOWER.key_pem).encode(),
            "site.key holds 2 private keys. Keep only the certificate's key",
        ),
        (
            lambda: SITE.key.private_bytes(PEM, serialization.PrivateFormat.OpenSSH, PLAIN),
            "is a key in OpenSSH format. Convert it: ssh-keygen -p -m PKCS8 -f site.key",
        ),
        (
            lambda: SITE.key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"secret")),
            "is encrypted. A balancer starts unattended, so it cannot ask for a passphrase. Decrypt it:",
        ),
        (
            lambda: SITE.key.private_bytes(
                PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.BestAvailableEncryption(b"secret"),
            ),
            "is encrypted",
        ),
        (lambda: SITE.key_pem.replace("M", "N", 1).encode(), "site.key holds no private key in PEM form"),
    ],
)
def test_a_key_in_another_format_is_reported_with_the_conversion_command(
    given: Given, content: Callable[[], bytes], reported: str
) -> None:
    given.write(SITE, LOWER, UPPER)
    (given.folder / given.key).write_bytes(content())
    (problem,) = given.problems("shop.example")
    assert reported in problem
    assert "secret" not in problem


def test_missing_files_are_all_named(given: Given) -> None:
    assert given.problems() == [
        "certificate: site.pem cannot be read: No such file or directory",
        "key: site.key cannot be read: No such file or directory",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_text_around_certificates_and_keys_in_the_files_is_ignored(given: Given, encoding: str) -> None:
    """openssl pkcs12 and Windows write such files: with attributes in any encoding, and everything in one file."""
    chain = SITE.pem + LOWER.pem + UPPER.pem
    text = f"Bag Attributes\n    friendlyName: Z\u00fcrich\n{SITE.key_pem}subject=O = Z\u00fcrich\n{chain}\n"
    for path in (given.folder / given.certificate, given.folder / given.key):
        path.write_bytes(text.replace("\n", "\r\n").encode(encoding))
        path.chmod(0o600)
    assert given.problems("shop.example") == []
    assert pki.blocks(given.folder / given.certificate, "CERTIFICATE") == chain
    assert pki.blocks(given.folder / given.key, "PRIVATE KEY") == SITE.key_pem


@pytest.mark.programs
@pytest.mark.parametrize("between", ["\r", "\n    ", "\n\n", "  \n"])
def test_a_file_with_odd_lines_reaches_the_balancer_in_a_form_that_openssl_reads(given: Given, between: str) -> None:
    given.write(SITE, LOWER, UPPER)
    path = given.folder / given.certificate
    chain = path.read_text()
    path.write_text(chain.replace("\n", between))
    assert given.problems("shop.example") == []
    assert pki.blocks(path, "CERTIFICATE") == chain
