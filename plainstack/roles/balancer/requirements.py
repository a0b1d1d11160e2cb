"""What clients require of the certificates of a chain, whoever signed them: keys, usages, extensions and names.

The sources are RFC 5280, the CA/Browser Forum's Baseline Requirements, and what browsers and OpenSSL refuse.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from plainstack.roles.balancer.certificate import basic, extension, self_signed

# The minimum of OpenSSL's security level 2, Debian's default, and of the Baseline Requirements (6.1.5).
_LEAST_RSA = 2048
# Chrome knows no other curves in certificates, and no other types of keys.
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_FITTING = "an EC key on the curve P-256 or P-384, or an RSA key"


def of_site(one: x509.Certificate) -> Iterator[str]:
    """Yield why clients refuse the site's own certificate, as sentences without its name."""
    usage = extension(one, x509.ExtendedKeyUsage)
    if usage and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        yield "is not for servers (extended key usage)"
    # All permitted ciphers agree on a key that the server signs.
    uses = extension(one, x509.KeyUsage)
    if uses and not uses.digital_signature:
        yield "does not permit its key to sign (key usage), which every TLS connection needs"


def of_any(one: x509.Certificate) -> Iterator[str]:
    """Yield why clients refuse a certificate of the chain, as sentences without its name."""
    key = _key(one)
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _LEAST_RSA:
        yield f"has an RSA key with {key.key_size} bits. Clients and the balancer refuse less than {_LEAST_RSA}"
    for each in _extensions(one):
        if each.critical and isinstance(each.value, x509.UnrecognizedExtension):
            yield f"has a critical extension that clients do not know ({each.oid.dotted_string}), so they refuse it"


def of_browsers(one: x509.Certificate) -> Iterator[str]:
    """Yield why browsers refuse the site's own certificate, although other clients may accept it."""
    features = extension(one, x509.TLSFeature)
    if features and x509.TLSFeatureType.status_request in features:
        yield "asks for OCSP stapling (must staple), which balancers do not do. Get one without it"
    if kind := _unfit_key(one):
        yield f"has a key {kind}, which browsers do not support. Use {_FITTING}"


def may_sign(one: x509.Certificate) -> bool:
    """Return whether a certificate is an authority's, which may sign others (RFC 5280, 4.2.1.3 and 4.2.1.9)."""
    constraints, uses = basic(one), extension(one, x509.KeyUsage)
    if constraints is None:
        return self_signed(one)
    return constraints.ca and (uses is None or uses.key_cert_sign)


def forbidden_name(authority: x509.Certificate, site: x509.Certificate) -> str:
    """Return a name of the site's certificate that an authority's may not have (RFC 5280, 4.2.1.10), or ""."""
    limits = extension(authority, x509.NameConstraints)
    names = extension(site, x509.SubjectAlternativeName)
    if limits is None:
        return ""
    for name in names or ():
        # A limit concerns names of its own kind only.
        permitted = [one for one in limits.permitted_subtrees or () if isinstance(one, type(name))]
        excluded = [one for one in limits.excluded_subtrees or () if isinstance(one, type(name))]
        if (permitted and not any(_within(name, one) for one in permitted)) or any(
            _within(name, one) for one in excluded
        ):
            return str(name.value)
    return ""


def _within(name: x509.GeneralName, subtree: x509.GeneralName) -> bool:
    if isinstance(subtree.value, IPv4Network | IPv6Network):
        return name.value in subtree.value
    if isinstance(subtree, x509.DNSName):
        inner, outer = str(name.value).lower(), str(subtree.value).lower().removeprefix(".")
        return not outer or inner == outer or inner.endswith(f".{outer}")
    return True


def _unfit_key(one: x509.Certificate) -> str:
    """Return which kind of key browsers do not support; empty if they do."""
    key = _key(one)
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, _CURVES):
            return f"on the curve {key.curve.name}"
    elif not isinstance(key, rsa.RSAPublicKey):
        return "of another type than EC and RSA"
    # Keys with the parameters of their curve, and RSA keys for PSS only, are stored in another form.
    usual = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "" if usual in one.tbs_certificate_bytes else "in a special form (RSA-PSS or explicit parameters)"


def _key(one: x509.Certificate) -> object:
    try:
        return one.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return None


def _extensions(one: x509.Certificate) -> Iterator[x509.Extension[x509.ExtensionType]]:
    try:
        yield from one.extensions
    except ValueError:
        return
