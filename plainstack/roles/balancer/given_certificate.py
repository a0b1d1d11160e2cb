"""Check whether clients that trust only root certificates would accept a certificate provided for the site."""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import AuthorityInformationAccessOID

from plainstack.inventory.stack import Stack
from plainstack.roles.balancer import requirements
from plainstack.roles.balancer.certificate import (
    alternative_names,
    basic,
    called,
    called_name,
    covers,
    extension,
    self_signed,
    signed_by,
    weakly_signed,
)
from plainstack.secrets import pem
from plainstack.secrets.pem import Unfit
from plainstack.services.edge import Balancer, GivenCertificate

Chain = Sequence[x509.Certificate]

# Files that hold all root certificates of a system; the first is Debian's.
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def problems(stack: Stack, given: GivenCertificate) -> Iterator[tuple[str, str]]:
    """Yield the errors of a provided certificate as (inventory key, sentence).

    They stop every command, so they do not depend on the time or on this machine: a certificate that expires must not
    stop a failover. `not_now` yields the errors that do.
    """
    chain: Chain = ()
    key: PrivateKeyTypes | None = None
    try:
        chain = pem.certificates(stack.file(given.certificate), given.certificate)
    except Unfit as error:
        yield "certificate", str(error)
    try:
        key = pem.private_key(stack.file(given.key), given.key)
    except Unfit as error:
        yield "key", str(error)
    if chain and key:
        owner = next((number for number, one in enumerate(chain, 1) if one.public_key() == key.public_key()), 0)
        if owner > 1:
            yield "certificate", f"{given.certificate}: {_numbered(chain, owner)} belongs to the key. Put it first"
            # Further errors would only follow from the wrong order.
            return
        elif not owner:
            yield "key", f"{given.key} does not belong to the first certificate in {given.certificate}"
    if chain:
        for problem in (*_leaf_problems(chain, stack.settings(Balancer).server_names), *chain_problems(chain)):
            yield "certificate", f"{given.certificate}: {problem}"


def not_now(stack: Stack, now: datetime) -> Iterator[str]:
    """Yield why a provided certificate cannot be deployed now.

    It is not valid now, it leads to no trusted root, browsers do not support it, or others on this machine can read
    its key.
    """
    given = stack.settings(Balancer).tls
    if not isinstance(given, GivenCertificate):
        return
    mode = stack.file(given.key).stat().st_mode & 0o777
    if mode & 0o077:
        yield f"balancer.tls.key: {given.key}: mode {mode:04o} lets others read the key. Run: chmod 600 {given.key}"
    chain = pem.certificates(stack.file(given.certificate), given.certificate)
    for problem in requirements.of_browsers(chain[0]):
        yield f"balancer.tls.certificate: {given.certificate}: {_numbered(chain, 1)} {problem}"
    needed = _complete_at(chain, roots())
    if not needed:
        yield f"balancer.tls.certificate: {given.certificate}: {_incomplete(chain)}"
    for number, one in enumerate(chain[: needed or len(chain)], 1):
        called = f"balancer.tls.certificate: {given.certificate}: {_numbered(chain, number)}"
        if one.not_valid_after_utc <= now:
            yield f"{called} expired on {one.not_valid_after_utc:%Y-%m-%d}. Replace it with a valid one"
        elif one.not_valid_before_utc > now:
            yield f"{called} is not valid before {one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"


def chain_problems(chain: Chain) -> Iterator[str]:
    """Yield why no client can verify a chain, whichever roots it trusts; at most one sentence concerns the order."""
    # Weak signatures are not verified, so the order cannot be checked.
    if weak := [number for number, one in enumerate(chain, 1) if weakly_signed(one) and not self_signed(one)]:
        yield f"{_numbered(chain, weak[0])} is signed with MD5 or SHA-1, which clients refuse"
        return
    if problem := _order(chain):
        yield problem
        return
    for number, one in enumerate(chain, 1):
        for problem in requirements.of_any(one):
            yield f"{_numbered(chain, number)} {problem}"
    for number, one in enumerate(chain[1:], 2):
        constraints = basic(one)
        if not requirements.may_sign(one):
            yield (
                f"{_numbered(chain, number)} is not an authority's, so it cannot have signed the certificate before it"
            )
        elif name := requirements.forbidden_name(one, chain[0]):
            yield f"{_numbered(chain, number)} permits no certificate for {name} (name constraints)"
        elif constraints and constraints.path_length is not None and number - 2 > constraints.path_length:
            yield f"{_numbered(chain, number)} allows {constraints.path_length} authorities below it, but has more"


def _leaf_problems(chain: Chain, names: Sequence[str]) -> Iterator[str]:
    leaf = chain[0]
    constraints = basic(leaf)
    if constraints and constraints.ca and not self_signed(leaf):
        yield (
            f"{_numbered(chain, 1)} is an authority's. Put the site's own certificate first, then the one that signed"
            " it"
        )
        return
    for problem in requirements.of_site(leaf):
        yield f"{_numbered(chain, 1)} {problem}"
    covered = alternative_names(leaf)
    for name in names:
        if not any(covers(pattern, name) for pattern in covered):
            yield f"is not for {name}, but for {', '.join(covered) or 'no name'}"


def _order(chain: Chain) -> str:
    """Return what is wrong with the order, or ""; each certificate must come before its issuer's."""
    for number, one in enumerate(chain, 1):
        if one in chain[: number - 1]:
            return f"{_numbered(chain, number)} is there twice"
    if all(signed_by(below, above) for below, above in pairwise(chain)):
        return ""
    order = [0]
    left = list(range(1, len(chain)))
    while found := next((number for number in left if signed_by(chain[order[-1]], chain[number])), 0):
        order.append(found)
        left.remove(found)
    if not left:
        wanted = ", ".join(str(number + 1) for number in order)
        return f"its certificates are out of order: write them in the order {wanted}"
    top = chain[order[-1]]
    return (
        f"{_numbered(chain, left[0] + 1)} does not belong there: {called(top)} was signed by"
        f" {called_name(top.issuer)}. Remove it, or insert the missing certificates before it"
    )


def _incomplete(chain: Chain) -> str:
    top = chain[-1]
    issuer = called_name(top.issuer)
    access = extension(top, x509.AuthorityInformationAccess) or ()
    places = [
        one.access_location.value for one in access if one.access_method == AuthorityInformationAccessOID.CA_ISSUERS
    ]
    where = f" (in DER form at {places[0]})" if places else ""
    return (
        f"is incomplete: it ends with {called(top)}, signed by {issuer}, which is not a root that this machine"
        f" knows. Append the certificate of {issuer}{where}, and so on up to a known root. Authorities call such"
        " a file fullchain. For your own authority, append its root too"
    )


def _complete_at(chain: Chain, trusted: Chain) -> int:
    """Return how many certificates of a chain lead to a trusted or self-signed root; 0 if the chain is incomplete."""
    by_name: dict[x509.Name, list[x509.Certificate]] = {}
    for root in trusted:
        by_name.setdefault(root.subject, []).append(root)
    for number, one in enumerate(chain, 1):
        if self_signed(one) or any(signed_by(one, root) for root in by_name.get(one.issuer, ())):
            return number
    # Without roots, a chain cannot be checked, but the site's certificate alone is never complete.
    return len(chain) if not trusted and len(chain) > 1 else 0


def _numbered(chain: Chain, number: int) -> str:
    return f"certificate {number} ({called(chain[number - 1])})"


@cache
def roots() -> Chain:
    """Return the root certificates that this machine trusts; none if they are not in a single file."""
    places = [os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_BUNDLES]
    for place in places:
        try:
            content = Path(place or "").read_bytes()
        except OSError:
            continue
        found = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for block in pem.blocks(content, "CERTIFICATE"):
                try:
                    found.append(x509.load_pem_x509_certificate(block))
                except ValueError:
                    continue  # a root that this library cannot parse counts as unknown
        if found:
            return found
    return []
