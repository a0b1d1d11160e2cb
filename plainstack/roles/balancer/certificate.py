"""Properties of a single certificate: who signed it, its name in messages, and the names that it covers."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from plainstack.services import edge

T = TypeVar("T", bound=x509.ExtensionType)

BROKEN = (hashes.MD5, hashes.SHA1)


def signed_by(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether `issuer` signed a certificate; its signature is verified."""
    try:
        one.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def self_signed(one: x509.Certificate) -> bool:
    """Return whether a certificate is its own issuer."""
    return one.issuer == one.subject and (weakly_signed(one) or signed_by(one, one))


def weakly_signed(one: x509.Certificate) -> bool:
    """Return whether clients refuse the signature's hash algorithm; they do not verify a root's own signature."""
    return isinstance(one.signature_hash_algorithm, BROKEN)


def basic(one: x509.Certificate) -> x509.BasicConstraints | None:
    """Return the basic constraints, which say whether the certificate is an authority's; None if it has none."""
    return extension(one, x509.BasicConstraints)


def extension(one: x509.Certificate, kind: type[T]) -> T | None:
    """Return an extension of a certificate; None if it is missing or cannot be read."""
    try:
        return one.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def called(one: x509.Certificate) -> str:
    """Return the name of a certificate in messages."""
    return called_name(one.subject) or ", ".join(alternative_names(one)[:1]) or f"serial {one.serial_number:x}"


def called_name(name: x509.Name) -> str:
    """Return the common name, or the whole name if it has none."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string()


def alternative_names(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that a certificate is valid for."""
    names = extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def covers(pattern: str, name: str) -> bool:
    """Return whether a name in a certificate, which may be a wildcard, covers a host name or an address."""
    pattern = pattern.lower()
    if name == pattern:
        return True
    try:
        ip_address(name)
    except ValueError:
        return edge.covers(pattern, name)
    return False
