"""A given certificate is accepted if a client that knows only the roots accepts it; otherwise the error says why."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles import balancer
from plainstack.roles.balancer import given_certificate
from tests import inventories
from tests.unit.roles.certificate_files import (
    ALIEN,
    LOWER,
    NOW,
    OTHER,
    ROOT,
    SITE,
    UPPER,
    Given,
    Signed,
    given_files,
)


@pytest.fixture
def given(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    with given_files(stack, tmp_path, monkeypatch) as given:
        yield given


def test_a_full_chain_is_accepted_with_and_without_its_root(given: Given) -> None:
    for chain in ([SITE, LOWER, UPPER], [SITE, LOWER, UPPER, ROOT]):
        given.write(*chain)
        assert given.problems("shop.example", "www.shop.example", "*.shop.example", "192.0.2.7") == []


def _openssl(folder: Path, chain: Sequence[Signed], roots: Sequence[Signed]) -> bool:
    """Return the verdict of a client that knows the roots and gets all other certificates from the site."""
    for name, certificates in (("leaf", chain[:1]), ("sent", chain), ("roots", roots)):
        (folder / name).write_text("".join(one.pem for one in certificates))
    command = ["openssl", "verify", "-CAfile", "roots", "-untrusted", "sent", "-purpose", "sslserver", "leaf"]
    return subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0


@pytest.mark.programs
def test_any_accepted_order_and_choice_of_certificates_is_valid_for_openssl(given: Given, tmp_path: Path) -> None:
    accepted = []
    for length in range(1, 5):
        for chain in itertools.permutations((SITE, LOWER, UPPER, ROOT, ALIEN), length):
            given.write(*chain, key=SITE)
            if not given.problems():
                accepted.append([one.name for one in chain])
                assert _openssl(tmp_path, chain, [ROOT])
    assert accepted == [["shop.example", "Lower", "Upper"], ["shop.example", "Lower", "Upper", "Root"]]


@pytest.mark.parametrize(
    ("chain", "reported"),
    [
        (
            [SITE],
            "is incomplete: it ends with shop.example, signed by Lower, which is not a root that this machine knows",
        ),
        ([SITE, LOWER], "Append the certificate of Upper (in DER form at http://ca.example/upper.der)"),
        ([SITE, UPPER, LOWER], "its certificates are out of order: write them in the order 1, 3, 2"),
        ([SITE, ROOT, UPPER, LOWER], "write them in the order 1, 4, 3, 2"),
        (
            [SITE, UPPER],
            "certificate 2 (Upper) does not belong there: shop.example was signed by Lower. Remove it, or insert",
        ),
        ([SITE, LOWER, UPPER, ALIEN], "certificate 4 (Alien) does not belong there: Upper was signed by Root"),
        ([SITE, LOWER, UPPER, LOWER], "certificate 4 (Lower) is there twice"),
        ([LOWER, SITE, UPPER], "certificate 2 (shop.example) belongs to the key. Put it first"),
        ([LOWER, UPPER], "certificate 1 (Lower) is an authority's. Put the site's own certificate first"),
    ],
)
def test_a_chain_that_clients_cannot_verify_is_reported_with_a_remedy(
    given: Given, chain: list[Signed], reported: str
) -> None:
    given.write(*chain, key=SITE)
    assert reported in "\n".join(given.problems())
    assert all(one.startswith(("certificate: site.pem", "key: site.key")) for one in given.problems())


def test_a_private_authority_is_provided_with_its_root(given: Given) -> None:
    inside = Signed("Inside", OTHER)
    site = Signed("shop.example", inside, ca=False, names=("shop.example",))
    given.write(site, inside)
    (reported,) = given.problems("shop.example")
    assert "For your own authority, append its root too" in reported
    given.write(site, inside, OTHER)
    assert given.problems("shop.example") == []


@pytest.mark.parametrize("ca", [True, False])
def test_a_self_signed_certificate_is_a_complete_chain(given: Given, ca: bool) -> None:
    given.write(Signed("shop.example", ca=ca, names=("shop.example",)))
    assert given.problems("shop.example") == []


def test_a_cross_signed_root_ends_a_chain(given: Given) -> None:
    """Authorities cross-sign a root for old clients: here the second signature leads to a root that is gone."""
    crossed = Signed("Root", OTHER, key=ROOT.key)
    given.write(SITE, LOWER, UPPER, crossed)
    assert given.problems() == []


def test_without_known_roots_only_definite_errors_are_refused(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_certificate, "roots", lambda: [])
    given.write(SITE, LOWER, UPPER)
    assert given.problems() == []
    given.write(SITE)
    assert "is incomplete" in given.problems()[0]


def test_only_an_authority_can_be_an_issuer(given: Given) -> None:
    host = Signed("Host", ROOT, ca=False)
    given.write(Signed("shop.example", host, ca=False), host)
    assert "certificate 2 (Host) is not an authority's" in given.problems()[0]
    low = Signed("Low", ROOT, path_length=0)
    lower = Signed("Lower still", low)
    given.write(Signed("shop.example", lower, ca=False), lower, low)
    assert "certificate 3 (Low) allows 0 authorities below it, but has more" in given.problems()[0]


def test_a_key_or_signature_that_clients_reject_is_reported(given: Given) -> None:
    short = rsa.generate_private_key(65537, 1024)
    given.write(Signed("shop.example", ROOT, ca=False, key=short))
    assert given.problems() == [
        "certificate: site.pem: certificate 1 (shop.example) has an RSA key with 1024 bits. Clients and the balancer"
        " refuse less than 2048"
    ]
    given.write(Signed("shop.example", ROOT, ca=False, usage=ExtendedKeyUsageOID.CLIENT_AUTH))
    assert "is not for servers" in given.problems()[0]


@pytest.mark.programs
def test_a_signature_algorithm_that_clients_reject_is_reported(given: Given) -> None:
    given.write(SITE, ROOT, key=SITE)
    (given.folder / "root.pem").write_text(ROOT.pem + ROOT.key_pem)
    request = "openssl req -new -key site.key -subj /CN=shop.example"
    sign = "openssl x509 -req -sha1 -days 9 -CA root.pem -set_serial 7 -out site.pem"
    subprocess.run(f"{request} | {sign}", shell=True, cwd=given.folder, check=True, capture_output=True)
    assert given.problems() == [
        "certificate: site.pem: certificate 1 (shop.example) is signed with MD5 or SHA-1, which clients refuse"
    ]


@pytest.mark.programs
def test_the_signature_of_a_root_on_itself_does_not_matter(given: Given) -> None:
    given.write(SITE, LOWER, UPPER)
    (given.folder / "other.pem").write_text(OTHER.key_pem)
    command = "openssl req -x509 -sha1 -new -key other.pem -subj '/CN=Other root' -days 9 -addext keyUsage=keyCertSign"
    root = subprocess.run(command, shell=True, cwd=given.folder, check=True, capture_output=True, text=True).stdout
    site = Signed("shop.example", OTHER, ca=False, names=("shop.example",))
    given.write(site)
    (given.folder / given.certificate).write_text(site.pem + root)
    assert given.problems("shop.example") == []


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (("shop.example",), "www.shop.example"),
        (("*.shop.example",), "shop.example"),
        (("*.shop.example",), "a.b.shop.example"),
        (("192.0.2.7",), "192.0.2.8"),
        ((), "shop.example"),
    ],
)
def test_a_certificate_for_another_name_is_refused(given: Given, names: tuple[str, ...], wanted: str) -> None:
    given.write(Signed("shop.example", ROOT, ca=False, names=names))
    reported = f"certificate: site.pem: is not for {wanted}, but for {', '.join(names) or 'no name'}"
    assert given.problems(wanted) == [reported]


def test_the_key_of_another_certificate_is_refused(given: Given) -> None:
    given.write(SITE, LOWER, UPPER, key=ALIEN)
    assert given.problems() == ["key: site.key does not belong to the first certificate in site.pem"]


# --- problems that depend on the time or on this machine's roots, and stop only plan and deploy ---


def test_a_certificate_outside_its_validity_stops_plan_and_deploy_but_no_other_command(given: Given) -> None:
    given.write(SITE, LOWER, UPPER)
    assert given.not_now(NOW) == []
    assert given.not_now(NOW + timedelta(days=91))[0].startswith(
        f"certificate: site.pem: certificate 1 (shop.example) expired on {SITE.end:%Y-%m-%d}"
    )
    assert "is not valid before" in given.not_now(NOW - timedelta(days=2))[0]
    old = Signed("Lower", UPPER, end=NOW - timedelta(hours=1))
    given.write(Signed("shop.example", old, ca=False, names=("shop.example",)), old, UPPER)
    assert "certificate 2 (Lower) expired on" in given.not_now(NOW)[0]
    _loads(given)


def test_a_key_that_others_can_read_stops_plan_and_deploy_but_no_other_command(given: Given) -> None:
    given.write(SITE, LOWER, UPPER)
    (given.folder / given.key).chmod(0o644)
    assert given.not_now(NOW) == ["key: site.key: mode 0644 lets others read the key. Run: chmod 600 site.key"]
    _loads(given)


def test_an_incomplete_chain_stops_plan_and_deploy_but_no_other_command(given: Given) -> None:
    """A failover must not depend on the roots that a machine knows."""
    given.write(SITE)
    assert "is incomplete" in given.not_now(NOW)[0]
    _loads(given)


def test_an_expired_certificate_that_no_client_needs_stops_nothing(given: Given) -> None:
    """This happens to the second signature of a root whose own certificate every client knows."""
    crossed = Signed("Root", OTHER, key=ROOT.key, end=NOW - timedelta(days=1) + timedelta(hours=1))
    given.write(SITE, LOWER, UPPER, crossed)
    assert given.not_now(NOW) == []


def test_the_stacks_own_certificate_is_renewed_before_it_expires(stack: Stack) -> None:
    assert list(balancer.ROLE.problems(stack, NOW + timedelta(days=9999))) == []


INVENTORY = """
stack: small
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer, app, db]}
balancer:
  server_names: [shop.example]
  tls:
    certificate: site.pem
    key: site.key
services: {web: {source: ., project: shop}}
database: {name: shop}
"""


def _loads(given: Given) -> Stack:
    return inventories.parse(INVENTORY, "test.yaml", given.folder)


def test_an_error_names_the_line_of_the_certificate_in_the_inventory(given: Given) -> None:
    given.write(SITE, UPPER, LOWER)
    with pytest.raises(InventoryError, match=r"test.yaml:8: balancer.tls.certificate: .* are out of order"):
        _loads(given)
