"""Errors in the inventory keys of balancers that only a combination of values shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from plainstack.inventory.stack import Stack
from plainstack.inventory.validation import problem_of_path
from plainstack.roles.balancer import acme_validation, address_validation, pages
from plainstack.services.edge import Balancer, GivenCertificate
from plainstack.wording import Loc

Problem = tuple[Loc, str]


def contradictions(stack: Stack) -> Iterator[Problem]:
    """Yield the errors as (place, sentence) pairs."""
    balancer = stack.settings(Balancer)
    yield from address_validation.contradictions(stack)
    yield from _engine(stack, balancer)
    yield from _names(balancer)
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


def _names(balancer: Balancer) -> Iterator[Problem]:
    for number, name in enumerate(balancer.server_names):
        if name in balancer.server_names[:number]:
            yield ("balancer", "server_names", number), f"balancer.server_names.{number}: {name} is given twice"


def _certificate(stack: Stack, balancer: Balancer) -> Iterator[Problem]:
    yield from acme_validation.contradictions(stack, balancer)
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
