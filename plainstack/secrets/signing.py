"""Makes keys and signs certificates (ECDSA P-256)."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# Browsers reject server certificates valid for more than 398 days (CA/Browser Forum, ballot SC-31).
LEAF_VALIDITY = timedelta(days=397)
AUTHORITY_VALIDITY = timedelta(days=3650)

Pair = dict[str, str]


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, names: str) -> Pair:
    return {
        "chain": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "key": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
        "names": names,
        "expires": certificate.not_valid_after_utc.isoformat(),
    }


def _builder(subject: str, now: datetime, validity: timedelta) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .serial_number(x509.random_serial_number())
        # Clocks of hosts differ a little, and hosts reject a certificate that is not valid yet.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now - timedelta(hours=1) + validity)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def authority(stack: str, now: datetime) -> Pair:
    """Return a new self-signed authority for a stack."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = f"Plainstack {stack} authority {now:%Y-%m-%d}"
    builder = _builder(subject, now, AUTHORITY_VALIDITY)
    certificate = (
        builder.issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(certificate, key, subject)


def leaf(issued_by: Pair, names: tuple[str, ...], now: datetime) -> Pair:
    """Return a certificate for these names and addresses, for servers and clients, signed by `issued_by`."""
    issuer = x509.load_pem_x509_certificate(issued_by["chain"].encode())
    issuer_key = serialization.load_pem_private_key(issued_by["key"].encode(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    # A common name is limited to 64 characters; peers check the alternative names.
    common = next((name for name in names if len(name) <= 64), "certificate")
    certificate = (
        _builder(common, now, LEAF_VALIDITY)
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return _pair(certificate, key, " ".join(names))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
