"""The site's certificate from an ACME authority: the account, the challenge that any balancer answers, and renewal."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from plainstack.engine.render import template, verbatim
from plainstack.engine.resources import Absent, File, Package, Resource, Unit
from plainstack.engine.role import DeclaredSecret, Generated, Given
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer.engines import Engine
from plainstack.secrets.values import Secret, Vault
from plainstack.services.acme_settings import Acme
from plainstack.services.edge import Balancer
from plainstack.services.variables import quoted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

# Libraries for cryptography are imported where they are used: loading them takes longer than reading an inventory.

PROGRAM = "/etc/plainstack/balancer/acme"
STATE = "/var/lib/plainstack-acme"
CERTIFICATE, KEY = f"{STATE}/live/site.crt", f"{STATE}/live/site.key"
# Every certificate authority that may have signed the site's certificate: the stack's own, and all public ones.
TRUSTED = f"{STATE}/trusted.crt"

# The most characters of a common name (RFC 5280, appendix A.1).
COMMON_NAME = 64

_ACCOUNT = "acme/account"
_CUSTOMER = "acme/hmac"
_BINDING = "/usr/local/lib/plainstack/acme_account.py"
_AUTHORITY = f"{PROGRAM}.crt"
_METRICS = "/var/lib/prometheus/node-exporter/plainstack_acme.prom"
_SERVICE, _TIMER = "plainstack-acme.service", "plainstack-acme.timer"
_DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


def declared(stack: Stack) -> Iterator[DeclaredSecret]:
    """Yield the secret that the account's key is derived from, and those of the DNS provider."""
    if acme := stack.settings(Balancer).issuer:
        yield DeclaredSecret(_ACCOUNT, "at once", Generated(64))
        if acme.external_account:
            form = Given(r"[A-Za-z0-9+/_-]{16,}={0,2}", "the HMAC key from the authority, in base64")
            yield DeclaredSecret(_CUSTOMER, "at once", form)
        for name in acme.dns.secrets if acme.dns else ():
            yield DeclaredSecret(f"acme/{name}", "at once", Given())


def files(stack: Stack, host: Host, vault: Vault, engine: Engine) -> tuple[File, ...]:
    """Return the files of the program that obtains the certificate; none if no authority issues it."""
    acme = stack.settings(Balancer).issuer
    if acme is None:
        return ()
    directory = _DIRECTORIES.get(acme.directory, acme.directory)
    known: dict[str, Any] = {"host": host, "engine": engine, "acme": acme}
    found = [
        verbatim("balancer", PROGRAM, mode=0o755),
        template(
            "balancer",
            f"{PROGRAM}.conf",
            directory=directory,
            accounts=urlsplit(directory).netloc.replace(":", "_"),
            authority=_AUTHORITY if acme.authority else "",
            names=names(stack),
            **known,
        ),
        template("balancer", f"{PROGRAM}.key", mode=0o600, key=_account_key(vault), **known),
        verbatim("balancer", f"/etc/systemd/system/{_SERVICE}"),
        template("balancer", f"/etc/systemd/system/{_TIMER}", **_attempts(stack, host, acme), **known),
    ]
    if acme.external_account:
        key = Secret(_CUSTOMER, f"{vault.password(_CUSTOMER).reveal()}\n")
        found.append(verbatim("balancer", _BINDING, mode=0o755))
        found.append(template("balancer", f"{PROGRAM}.hmac", mode=0o600, key=key, **known))
    if acme.authority:
        found.append(File(path=_AUTHORITY, content=stack.file(acme.authority).read_bytes()))
    if acme.dns:
        variables: dict[str, str | Secret] = {name: quoted(value) for name, value in acme.dns.env.items()}
        for name in acme.dns.secrets:
            variables[name] = Secret(f"acme/{name}", quoted(vault.password(f"acme/{name}").reveal()))
        found.append(template("balancer", f"{PROGRAM}.env", mode=0o600, variables=variables, **known))
    return tuple(found)


def packages(stack: Stack) -> Iterator[Package]:
    """Yield the ACME client and the roots of public authorities."""
    if acme := stack.settings(Balancer).issuer:
        yield Package(name="lego")
        yield Package(name="ca-certificates")
        if acme.external_account:
            yield Package(name="python3")


def timer(placed: tuple[File, ...]) -> Iterator[Resource]:
    """Yield the timer, which tries at once when it starts; a deploy that changes one of these files restarts it."""
    if placed:
        yield Unit(name=_TIMER, restart_on=tuple(file.path for file in placed))
    else:
        # With the lifetime of a certificate that is no longer in use, alerts about the present one could come too late.
        yield Absent(path=_METRICS)


def thumbprint(vault: Vault) -> str:
    """Return the thumbprint of the account's key (RFC 7638), with which the answer to an HTTP challenge ends."""
    numbers = _private_key(vault).public_key().public_numbers()
    key = {"crv": "P-256", "kty": "EC", "x": _base64(numbers.x), "y": _base64(numbers.y)}
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def probe(stack: Stack) -> str:
    """Return shell code that prints the facts that `unissued` reads; empty if no authority issues the certificate."""
    path = f'"${{ROOT:-}}{PROGRAM}"'
    return f"\n[ ! -x {path} ] || {path} facts" if stack.settings(Balancer).issuer else ""


def unissued(stack: Stack, facts: Mapping[str, str]) -> str:
    """Return what visitors see instead of the authority's certificate, and why; empty if it is in use and renewed."""
    acme = stack.settings(Balancer).issuer
    if acme is None or "acme" not in facts:
        return ""
    why = facts.get("acme_error", "")
    see = f"journalctl -u {_SERVICE}"
    reason = f"{acme.directory} {f'refused: {why}' if why else 'has not issued one yet'} ({see})"
    if facts["acme"] == "none":
        return f"browsers warn about the site, which has the stack's own certificate: {reason}"
    if missing := _missing(stack, facts):
        return f"browsers warn about {', '.join(missing)}, because the certificate is for other names: {reason}"
    if why:
        until = datetime.fromtimestamp(float(facts["acme"]), UTC)
        return f"the certificate of the site, valid until {until:%Y-%m-%d}, could not be renewed: {why} ({see})"
    return ""


def _missing(stack: Stack, facts: Mapping[str, str]) -> list[str]:
    """Return the names that are not those of the certificate."""
    from plainstack.roles.balancer.certificate import covers

    if "acme_names" not in facts:
        return []
    known = facts["acme_names"].split()
    return [name for name in names(stack) if not any(covers(one, name) for one in known)]


def names(stack: Stack) -> list[str]:
    """Return the names of the certificate, without those that its wildcards cover: authorities refuse them.

    lego makes the first one the common name, so names that are too long for that come last.
    """
    from plainstack.roles.balancer.certificate import covers

    given = stack.settings(Balancer).server_names
    found = [name for name in given if not any(covers(other, name) for other in given if other != name)]
    return sorted(found, key=lambda name: len(name) > COMMON_NAME)


def _attempts(stack: Stack, host: Host, acme: Acme) -> dict[str, Any]:
    """Return after how many seconds a balancer tries for the first time, and after how many minutes it tries again."""
    balancers = [balancer.name for balancer in stack.with_role("balancer")]
    earlier = balancers.index(host.name)
    if acme.dns:
        # All write the same DNS records, and lego's provider may remove those of others. After a restart, balancers may
        # meet nevertheless, but not an hour later.
        return {"first": [1 + 180 * earlier], "again": 61 + 3 * earlier}
    # The authority may ask a balancer that the deploy, which goes from one to the next, has not reached yet.
    if len(balancers) < 3:
        return {"first": [1, 90], "again": 61}
    # With two attempts each, they would exceed the authority's limit for failures.
    return {"first": [1 + 90 * (len(balancers) - 1 - earlier)], "again": 61}


def _account_key(vault: Vault) -> Secret:
    from cryptography.hazmat.primitives import serialization

    pem = _private_key(vault).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    return Secret(_ACCOUNT, pem.decode())


def _private_key(vault: Vault) -> ec.EllipticCurvePrivateKey:
    """Derive the key, so that all balancers share it and a person can rotate it like any secret."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    seed = vault.password(_ACCOUNT).reveal().encode()
    derived = HKDF(hashes.SHA256(), 48, None, b"plainstack acme account").derive(seed)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    # FIPS 186-5, A.2.1: 128 more bits than the order has make the remainder uniform.
    return ec.derive_private_key(int.from_bytes(derived) % (order - 1) + 1, ec.SECP256R1())


def _base64(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode()
