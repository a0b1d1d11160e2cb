"""Errors in the inventory keys of `tls: acme`: what is missing, and names that the authority would refuse."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from plainstack.inventory.stack import Stack
from plainstack.roles.balancer import acme
from plainstack.services.acme_settings import Acme
from plainstack.services.edge import Balancer
from plainstack.wording import Loc

Problem = tuple[Loc, str]

_PLACE: Loc = ("balancer", "acme")
# Let's Encrypt's limits: a certificate's names (its documentation of rate limits), and a name's parts (its error
# messages say ten).
_MOST_NAMES, _MOST_LABELS = 100, 10
# Top-level names that no registry delegates: RFC 6761, 6762 (appendix G), 7686, 8375 and 9476, and ICANN's resolution
# of July 2024 about `internal`. Those of RFC 2606 for documentation are accepted, so that examples can be planned.
_NOT_PUBLIC = {"alt", "corp", "home", "home.arpa", "internal", "intranet", "invalid", "lan", "local", "localhost"} | {
    "onion",
    "private",
    "test",
}


def contradictions(stack: Stack, balancer: Balancer) -> Iterator[Problem]:
    """Yield the errors as (place, sentence) pairs."""
    settings = balancer.acme
    if balancer.tls != "acme":
        if settings is not None:
            yield _PLACE, "balancer.acme: only `balancer.tls: acme` uses it. Set that, or remove balancer.acme"
        return
    if not balancer.server_names:
        yield (
            ("balancer", "tls"),
            "balancer.server_names: is missing. List the names that the authority is to issue a certificate for",
        )
    if settings is None:
        yield (
            ("balancer", "tls"),
            "balancer.acme: is missing. `tls: acme` needs the account's address: acme: {email: ops@example.com}",
        )
        return
    if _lets_encrypt(settings):
        yield from _refused_names(stack, balancer)
    wildcards = [name for name in balancer.server_names if name.startswith("*.")]
    if wildcards and settings.dns is None:
        yield (
            _PLACE,
            f"balancer.acme.dns: is missing. Authorities issue a certificate for {wildcards[0]} only if DNS records"
            " prove that the zone is yours",
        )
    yield from _authority(stack, settings)
    yield from _variables(settings)


def _lets_encrypt(settings: Acme) -> bool:
    """Return whether Let's Encrypt issues the certificate. Another authority may issue one for any name."""
    named = settings.directory.startswith("letsencrypt")
    return named or f".{urlsplit(settings.directory).hostname}".endswith(".letsencrypt.org")


def _refused_names(stack: Stack, balancer: Balancer) -> Iterator[Problem]:
    for number, name in enumerate(balancer.server_names):
        if why := _problem_of_name(name.removeprefix("*.")):
            yield (
                ("balancer", "server_names", number),
                f"balancer.server_names.{number}: Let's Encrypt issues no certificate for {name}: {why}",
            )
    wanted = acme.names(stack)
    if wanted and len(wanted[0]) > acme.COMMON_NAME:
        yield (
            ("balancer", "server_names"),
            f"balancer.server_names: no name has at most {acme.COMMON_NAME} characters, but a certificate of Let's"
            " Encrypt needs one. Add a shorter name of the site",
        )
    if len(wanted) > _MOST_NAMES:
        yield (
            ("balancer", "server_names"),
            f"balancer.server_names: {len(wanted)} names need a certificate, and one of Let's Encrypt has at most"
            f" {_MOST_NAMES}. Replace names by a wildcard, or remove some",
        )


def _problem_of_name(name: str) -> str:
    """Return why Let's Encrypt refuses a name (in Boulder, `policy/pa.go`); empty if it may accept it."""
    labels = name.split(".")
    if len(labels) < 2:
        return "a public name has at least two parts, such as shop.example.com"
    for suffix in (labels[-1], ".".join(labels[-2:])):
        if suffix in _NOT_PUBLIC:
            return f"no public name ends with .{suffix}"
    if len(labels) > _MOST_LABELS:
        return f"it has {len(labels)} parts, and the limit is {_MOST_LABELS}"
    for label in labels:
        if label[2:4] == "--" and not _is_international(label):
            return f"the third and fourth characters of {label} are hyphens, but it does not stand for other letters"
    return ""


def _is_international(label: str) -> bool:
    """Return whether a part of a name stands for Unicode characters (RFC 5891, 4.2.1, and RFC 3492)."""
    try:
        return label.startswith("xn--") and not label[4:].encode().decode("punycode").isascii()
    except UnicodeError:
        return False


def _authority(stack: Stack, settings: Acme) -> Iterator[Problem]:
    if settings.authority is None:
        return
    from plainstack.secrets import pem
    from plainstack.secrets.pem import Unfit

    try:
        pem.certificates(stack.file(settings.authority), settings.authority)
    except Unfit as error:
        yield (*_PLACE, "authority"), f"balancer.acme.authority: {error}"


def _variables(settings: Acme) -> Iterator[Problem]:
    if settings.dns is None:
        return
    for name in sorted({*settings.dns.secrets} & {"account", "hmac"}):
        yield (
            (*_PLACE, "dns", "secrets"),
            f"balancer.acme.dns.secrets: acme/{name} is the account's own secret. Remove it",
        )
    for name in sorted({*settings.dns.secrets} & {*settings.dns.env}):
        yield (
            (*_PLACE, "dns", "env"),
            f"balancer.acme.dns.env.{name}: is also one of the secrets. Remove one of them",
        )
