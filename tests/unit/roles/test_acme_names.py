"""Names that an ACME authority would refuse, and its resolvers: what a plan says about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer import acme
from plainstack.services.edge import Balancer
from tests import inventories
from tests.unit.roles.balancer_files import files
from tests.unit.roles.test_acme_settings import TEXT, vault

PRIVATE = "acme: {email: ops@shop.example, directory: 'https://ca.shop.internal/acme'}"
DNS = "acme: {email: ops@shop.example, dns: {provider: hetzner, resolvers: ['RESOLVER']}}"
ACCOUNT = "acme: {email: ops@shop.example}"


def read(names: str, account: str = ACCOUNT) -> Stack:
    text = TEXT.replace("[shop.example]", names).replace(ACCOUNT, account)
    return inventories.parse(text, "hosts.yaml", Path.cwd())


def said(names: str, account: str = ACCOUNT) -> list[str]:
    """Return the problems of an inventory; none if it is accepted."""
    try:
        read(names, account)
    except InventoryError as error:
        return list(error.problems)
    return []


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("shop", "a public name has at least two parts, such as shop.example.com"),
        ("localhost", "a public name has at least two parts, such as shop.example.com"),
        ("www.localhost", "no public name ends with .localhost"),
        ("printer.local", "no public name ends with .local"),
        ("shop.internal", "no public name ends with .internal"),
        ("shop.home.arpa", "no public name ends with .home.arpa"),
        (".".join("abcdefghijk"), "it has 11 parts, and the limit is 10"),
        (
            "ab--cd.shop.example",
            "the third and fourth characters of ab--cd are hyphens, but it does not stand for other letters",
        ),
        (
            "xn--b.c.shop.example",
            "the third and fourth characters of xn--b are hyphens, but it does not stand for other letters",
        ),
    ],
)
def test_a_name_that_lets_encrypt_refuses_is_reported_with_its_line_but_left_to_other_authorities(
    name: str, why: str
) -> None:
    assert said(f"[{name}]", PRIVATE) == []
    given = f"[shop.example, {name}]"
    reported = f"hosts.yaml:8: balancer.server_names.1: Let's Encrypt issues no certificate for {name}: {why}"
    assert said(given) == [reported]
    assert said(given, ACCOUNT.replace("}", ", directory: letsencrypt-staging}")) == [reported]
    url = "directory: 'https://acme-v02.api.letsencrypt.org/directory'"
    assert said(given, ACCOUNT.replace("}", f", {url}}}")) == [reported]


def test_a_wildcard_for_a_whole_top_level_domain_is_reported() -> None:
    assert any("issues no certificate for *.com: a public name has" in each for each in said("['*.com']"))


def test_a_certificate_of_lets_encrypt_has_at_most_a_hundred_names_and_those_of_others_any_number() -> None:
    most = [f"n{number}.shop.example" for number in range(100)]
    assert said(str(most)) == []
    (reported,) = said(str([*most, "shop.example"]))
    assert reported == (
        "hosts.yaml:8: balancer.server_names: 101 names need a certificate, and one of Let's Encrypt has at most 100."
        " Replace names by a wildcard, or remove some"
    )
    assert said(str([*most, "shop.example"]), PRIVATE) == []
    # Names that a wildcard covers are not in the certificate.
    assert said(str([*most, "shop.example", "*.shop.example"]), DNS.replace("RESOLVER", "192.0.2.53")) == []


@pytest.mark.parametrize("account", [ACCOUNT, PRIVATE])
@pytest.mark.parametrize(
    ("names", "reported"),
    [
        ("[192.0.2.7]", "0: must be a name: for an address, clients send no name in a TLS handshake"),
        ("['2001:db8::7']", "0: must be a name: for an address, clients send no name in a TLS handshake"),
        ("[shop.example, shop.1]", "1: must be a name whose last part is not a number"),
        ("[shop_a.example]", "0: must be a name such as shop.example or *.shop.example, in lower case"),
        (
            "[b\u00fccher.example]",
            "0: must be a name such as shop.example or *.shop.example, in lower case; write",
        ),
        ("[shop.example, a.example, shop.example]", "2: shop.example is given twice"),
    ],
)
def test_a_name_that_no_certificate_can_have_is_reported_for_any_authority(
    names: str, reported: str, account: str
) -> None:
    (problem,) = said(names, account)
    assert problem.startswith(f"hosts.yaml:8: balancer.server_names.{reported}")


LONG = f"{'a' * 40}.{'b' * 30}.shop.example"


def test_a_name_that_is_too_long_for_a_common_name_needs_a_shorter_one_beside_it_which_comes_first() -> None:
    stack = read(f"[{LONG}, xn--bcher-kva.example, shop.example]")
    wanted = f"NAMES='xn--bcher-kva.example shop.example {LONG}'\n"
    assert wanted in files(stack, vault())[f"{acme.PROGRAM}.conf"].content.decode()
    assert said(f"[{LONG}]") == [
        "hosts.yaml:8: balancer.server_names: no name has at most 64 characters, but a certificate of Let's Encrypt"
        " needs one. Add a shorter name of the site"
    ]
    assert said(f"[{LONG}]", PRIVATE) == []


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ("192.0.2.53", "192.0.2.53"),
        ("192.0.2.53:5353", "192.0.2.53:5353"),
        ("2001:db8::53", "2001:db8::53"),
        # lego would add a second pair of brackets.
        ("[2001:db8::53]", "2001:db8::53"),
        ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ("ns1.shop.example:53", "ns1.shop.example:53"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_resolvers_are_addresses_or_names_in_the_form_that_lego_takes(given: str, passed: str) -> None:
    stack = read("[shop.example]", DNS.replace("RESOLVER", given))
    issuer = stack.settings(Balancer).issuer
    assert issuer
    assert issuer.dns
    assert f"RESOLVERS='{passed}'\n" in files(stack, vault())[f"{acme.PROGRAM}.conf"].content.decode()


@pytest.mark.parametrize(
    ("given", "reported"),
    [
        ("192.0.2.53:99999", "must be an address or a name with a port from 1 to 65535"),
        ("192.0.2.53:0", "must be an address or a name with a port from 1 to 65535"),
        ("[2001:db8::53]:99999", "must be an address or a name with a port from 1 to 65535"),
        ("192.0.2.353", "must be an address or a name, with or without a port, such as"),
        ("[192.0.2.53]:53", "must be an address or a name, with or without a port, such as"),
        ("fe80::1%eth0", "must be an address or a name, with or without a port, such as"),
        ("2001:db8::53]:53", "must be an address or a name, with or without a port, such as"),
        ("ns1..example", "must be an address or a name, with or without a port, such as"),
        ("-h", "must be an address or a name, with or without a port, such as"),
    ],
)
def test_any_other_resolver_is_refused_with_its_line(given: str, reported: str) -> None:
    (problem,) = said("[shop.example]", DNS.replace("RESOLVER", given))
    assert problem.startswith(f"hosts.yaml:10: balancer.acme.dns.resolvers.0: {reported}")
