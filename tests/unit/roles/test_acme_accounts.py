"""Accounts at an ACME authority, and when certificates are renewed: lego and Pebble, without a web server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import acme_account
import pytest
from cryptography import x509

from tests.unit.roles import acme_authority, acme_wildcard
from tests.unit.roles.acme_authority import Authority
from tests.unit.roles.acme_wildcard import CUSTOMER, Balancer
from tests.waiting import until

pytestmark = pytest.mark.programs


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Run an authority with a single customer."""
    prepared = acme_authority.prepared(tmp_path_factory.mktemp("authority"))
    with acme_authority.running(prepared, 1, {"shop-1": CUSTOMER}):
        yield prepared


@pytest.fixture(scope="module")
def balancer(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Balancer:
    return acme_wildcard.placed(tmp_path_factory.mktemp("lb1"), authority)


@pytest.fixture
def certified(balancer: Balancer) -> Balancer:
    """Return the balancer with an account and a certificate, which no earlier test may have asked for."""
    if not (balancer.folder / "var/lib/plainstack-acme/live/site.crt").exists():
        assert balancer.acme("renew") == ""
    return balancer


def test_a_customer_of_the_authority_gets_a_wildcard_certificate_and_no_command_line_has_the_key(
    balancer: Balancer,
) -> None:
    """A wrong key is the reason of the failure."""
    balancer.configure(customer="d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmc=")
    assert balancer.acme("renew").startswith("unauthorized :: ")
    balancer.configure()
    assert balancer.acme("renew") == ""
    names = balancer.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.shop.example"]
    said = balancer.said.read_text()
    assert "lego" in said
    assert "openssl dgst" in said
    assert CUSTOMER not in said


def test_another_balancer_finds_the_account_although_the_authority_takes_the_key_only_once(
    certified: Balancer, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = certified.folder / "etc/plainstack/balancer"
    (settings / "spent").write_text("c3BlbnQgc3BlbnQgc3BlbnQgc3BlbnQ=")
    authority = certified.authority
    key, spent = str(settings / "acme.key"), str(settings / "spent")
    acme_account.main(authority.directory, "ops@shop.example", key, "shop-1", spent, str(authority.root))
    assert json.loads(capsys.readouterr().out)["registration"]["uri"] == certified.url


@pytest.mark.parametrize(
    ("lifetime", "left", "renewed"),
    [
        (timedelta(days=398), timedelta(days=31), False),
        (timedelta(days=398), timedelta(days=29), True),
        (timedelta(days=90), timedelta(days=29), True),
        (timedelta(days=45), timedelta(days=16), False),
        (timedelta(days=45), timedelta(days=14), True),
        (timedelta(hours=24), timedelta(hours=9), False),
        (timedelta(hours=24), timedelta(hours=7), True),
        (timedelta(hours=24), timedelta(hours=-1), True),
    ],
)
def test_a_certificate_is_due_when_a_third_of_its_lifetime_is_left_and_at_most_30_days(
    certified: Balancer, lifetime: timedelta, left: timedelta, renewed: bool
) -> None:
    certified.age(lifetime, left)
    certified.said.write_text("")
    assert certified.acme("renew") == ""
    assert ("lego" in certified.said.read_text()) == renewed
    assert ("Pebble" in certified.certificate.issuer.rfc4514_string()) == renewed


def test_a_certificate_is_renewed_when_the_clock_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The authority's certificates live for 15 seconds, of which a third is left after ten."""
    authority = acme_authority.prepared(tmp_path_factory.mktemp("authority"))
    customers = {"shop-1": CUSTOMER}
    with acme_authority.running(authority, 1, customers, timedelta(seconds=15)):
        short = acme_wildcard.placed(tmp_path_factory.mktemp("lb1"), authority)
        assert short.acme("renew") == ""
        first = short.certificate
        end = first.not_valid_after_utc
        due = end - (end - first.not_valid_before_utc) / 3

        def renewed() -> bool:
            began = datetime.now(UTC)
            assert short.acme("renew") == ""
            changed = short.certificate != first
            # The times of certificates are whole seconds.
            assert not changed or datetime.now(UTC) > due - timedelta(seconds=1)
            assert changed or began < due + timedelta(seconds=1)
            return changed

        until(renewed)


def test_a_certificate_that_was_not_written_completely_is_replaced(certified: Balancer) -> None:
    (found,) = (certified.folder / "var/lib/plainstack-acme/certificates").glob("*shop.example.crt")
    found.write_bytes(found.read_bytes()[:100])
    assert certified.acme("renew") == ""
    assert "Pebble" in certified.certificate.issuer.rfc4514_string()


def test_an_authority_that_does_not_answer_changes_nothing(certified: Balancer) -> None:
    before = certified.certificate
    settings = certified.folder / "etc/plainstack/balancer/acme.conf"
    text = settings.read_text()
    away = text.replace(f":{certified.authority.port}/", ":1/")
    for one in (away, away.replace("KEY_ID='shop-1'", "KEY_ID=''")):
        settings.write_text(one)
        assert "connection refused" in certified.acme("renew").lower()
    settings.write_text(text)
    assert certified.acme("renew") == ""
    assert certified.certificate == before


def test_an_authority_with_a_public_certificate_may_issue_from_a_root_of_its_own(
    certified: Balancer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The authorities that this machine trusts stand in for public ones."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certified.authority.root))
    roots = certified.folder / "etc/plainstack/balancer/acme.crt"
    before = certified.certificate, roots.read_bytes()
    roots.write_bytes(acme_authority.prepared(tmp_path).root.read_bytes())
    (certified.account / "account.json").unlink()
    certified.make_due()
    assert certified.acme("renew") == ""
    roots.write_bytes(before[1])
    assert certified.certificate != before[0]


def test_a_replaced_root_of_the_authority_needs_another_certificate(certified: Balancer) -> None:
    before = certified.certificate
    roots = certified.folder / "etc/plainstack/balancer/acme.crt"
    roots.write_bytes(roots.read_bytes() * 2)
    assert certified.acme("renew") == ""
    assert certified.certificate != before


def test_the_reason_of_a_failure_with_earlier_settings_is_not_shown(certified: Balancer) -> None:
    settings = certified.folder / "etc/plainstack/balancer/acme.conf"
    text = settings.read_text()
    settings.write_text(text.replace(f":{certified.authority.port}/", ":1/"))
    assert "connection refused" in certified.acme("renew").lower()
    assert "acme_error=" in certified.facts()
    settings.write_text(text)
    assert "acme_error=" not in certified.facts()
    assert certified.acme("renew") == ""


def test_a_deactivated_account_is_the_reason_until_it_is_replaced(certified: Balancer) -> None:
    first, before = certified.url, certified.certificate
    certified.deactivate()
    certified.make_due()
    assert "deactivated" in certified.acme("renew")
    assert certified.certificate == before
    # inv secrets.rotate acme/account, and a deploy
    certified.configure(account="b" * 64)
    certified.make_due()
    assert certified.acme("renew") == ""
    assert certified.url != first
    assert certified.certificate != before
