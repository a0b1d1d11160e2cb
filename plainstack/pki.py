"""The stack's own certificate authority and the certificates it signs (ECDSA P-256)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from plainstack import pem
from plainstack.errors import InventoryError
from plainstack.stack import Stack

AUTHORITY = "authority"
SITE = "site"
# A successor of the authority is trusted on every host that is deployed in the 60 days before it begins to sign.
NEXT = "authority.next"
BEFORE = "authority.before"
AUTHORITIES = (AUTHORITY, NEXT, BEFORE)
ANNOUNCE_BEFORE = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)
# Browsers refuse server certificates that are valid longer than 398 days (CA/Browser Forum, ballot SC-31).
LEAF_VALIDITY = timedelta(days=397)
AUTHORITY_VALIDITY = timedelta(days=3650)

Pair = dict[str, str]


def subjects(stack: Stack) -> dict[str, tuple[str, ...]]:
    """Which certificate is for which names and addresses: one a host, and one for the site."""
    wanted = {
        host.name: tuple(str(name) for name in (host.name, host.address, host.public) if name is not None)
        for host in stack.hosts.values()
    }
    balancers = stack.with_role("balancer")
    if balancers:
        names = [*stack.balancer.server_names, *(host.name for host in balancers)]
        addresses = [stack.balancer.virtual_address, *(host.public or host.address for host in balancers)]
        wanted[SITE] = tuple(dict.fromkeys([*names, *(str(address) for address in addresses if address)]))
    return wanted


def ensure(stack: Stack, pairs: dict[str, Pair], now: datetime) -> dict[str, Pair]:
    """The given pairs, completed: what is missing, for other names, or within 30 days of its end is signed anew.

    The authority has a successor 90 days before its end, which takes over 30 days before it; the one before stays.
    """
    pairs = dict(pairs)
    if AUTHORITY not in pairs:
        pairs = {AUTHORITY: _authority(stack.stack, now)}
    left = _expires(pairs[AUTHORITY]) - now
    if left < ANNOUNCE_BEFORE and NEXT not in pairs:
        pairs[NEXT] = _authority(stack.stack, now)
    if left < RENEW_BEFORE:
        pairs = {AUTHORITY: pairs[NEXT], BEFORE: pairs[AUTHORITY]}
    authority = pairs[AUTHORITY]
    for name, names in subjects(stack).items():
        pair = pairs.get(name)
        if pair is None or pair["names"] != " ".join(names) or _expires(pair) - now < RENEW_BEFORE:
            pairs[name] = _leaf(authority, names, now)
    return pairs


def blocks(path: Path, label: str) -> str:
    """The PEM blocks of a file whose label ends with `label`, without the words, of any encoding, between them.

    A key that lies in one file with its certificates stays out of what everybody may read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InventoryError([f"{path}: cannot be read any more: {error.strerror}"]) from None
    return "".join(f"{block.decode(errors='replace')}\n" for block in pem.blocks(content, label))


def trusted(pairs: Mapping[str, Pair]) -> str:
    """The certificates of all authorities that peers accept, as PEM, the oldest first.

    The order does not change when a successor takes over, so that this changes nothing on a host but its own
    certificate.
    """
    return "".join(pair["chain"] for pair in sorted((pairs[n] for n in AUTHORITIES if n in pairs), key=_expires))


def _expires(pair: Pair) -> datetime:
    return datetime.fromisoformat(pair["expires"])


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
        # Clocks of hosts differ a little; a certificate from the future is refused.
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


def _authority(stack: str, now: datetime) -> Pair:
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


def _leaf(authority: Pair, names: tuple[str, ...], now: datetime) -> Pair:
    issuer = x509.load_pem_x509_certificate(authority["chain"].encode())
    issuer_key = serialization.load_pem_private_key(authority["key"].encode(), None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    # A common name holds 64 characters; what counts for a peer are the alternative names.
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
