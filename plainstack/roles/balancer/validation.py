"""Errors in the inventory keys of balancers that only a combination of values shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from plainstack.inventory.stack import Stack
from plainstack.inventory.validation import problem_of_path
from plainstack.roles.balancer import address_validation, pages
from plainstack.services.edge import Balancer, GivenCertificate
from plainstack.wording import Loc

Problem = tuple[Loc, str]


def contradictions(stack: Stack) -> Iterator[Problem]:
    """Yield the errors as (place, sentence) pairs."""
    balancer = stack.settings(Balancer)
    yield from address_validation.contradictions(stack)
    yield from _engine(stack, balancer)
    yield from _certificate(stack, balancer)
    yield from pages.problems(stack)


def _engine(stack: Stack, balancer: Balancer) -> Iterator[Problem]:
    if balancer.engine != "angie":
        return
    if balancer.angie_key is None:
        yield (
            ("balancer", "engine"),
            "balancer.angie_key: is missing. The engine angie needs the file of the key that signs its packages."
            " Fetch https://angie.software/keys/angie-signing.gpg and compare its checksum with a source you"
            " trust",
        )
    elif problem := problem_of_path(stack, balancer.angie_key):
        yield ("balancer", "angie_key"), f"balancer.angie_key: {problem}"
    elif problem := _problem_of_key(stack.file(balancer.angie_key)):
        yield ("balancer", "angie_key"), f"balancer.angie_key: {balancer.angie_key} {problem}"


def _problem_of_key(path: Path) -> str:
    from plainstack.inventory import openpgp

    try:
        return openpgp.problem_of(path.read_bytes())
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _certificate(stack: Stack, balancer: Balancer) -> Iterator[Problem]:
    yield from _acme(stack, balancer)
    if not isinstance(balancer.tls, GivenCertificate):
        return
    from plainstack.roles.balancer import given_certificate

    if not balancer.server_names:
        yield (
            ("balancer", "tls"),
            "balancer.server_names: is missing. List the certificate's names as users type them",
        )
    for key, problem in given_certificate.problems(stack, balancer.tls):
        yield ("balancer", "tls", key), f"balancer.tls.{key}: {problem}"


def _acme(stack: Stack, balancer: Balancer) -> Iterator[Problem]:
    place: Loc = ("balancer", "acme")
    acme = balancer.acme
    if balancer.tls != "acme":
        if acme is not None:
            yield place, "balancer.acme: only `balancer.tls: acme` uses it. Set that, or remove balancer.acme"
        return
    if not balancer.server_names:
        yield (
            ("balancer", "tls"),
            "balancer.server_names: is missing. List the names that the authority is to issue a certificate for",
        )
    if acme is None:
        yield (
            ("balancer", "tls"),
            "balancer.acme: is missing. `tls: acme` needs the account's address: acme: {email: ops@example.com}",
        )
        return
    wildcards = [name for name in balancer.server_names if name.startswith("*.")]
    if wildcards and acme.dns is None:
        yield (
            place,
            f"balancer.acme.dns: is missing. Authorities issue a certificate for {wildcards[0]} only if DNS records"
            " prove that the zone is yours",
        )
    if acme.authority:
        from plainstack.secrets import pem
        from plainstack.secrets.pem import Unfit

        try:
            pem.certificates(stack.file(acme.authority), acme.authority)
        except Unfit as error:
            yield (*place, "authority"), f"balancer.acme.authority: {error}"
    for name in sorted({*acme.dns.secrets} & {"account", "hmac"}) if acme.dns else ():
        yield (
            (*place, "dns", "secrets"),
            f"balancer.acme.dns.secrets: acme/{name} is the account's own secret. Remove it",
        )
    for name in sorted({*acme.dns.secrets} & {*acme.dns.env}) if acme.dns else ():
        yield (*place, "dns", "env"), f"balancer.acme.dns.env.{name}: is also one of the secrets. Remove one of them"
