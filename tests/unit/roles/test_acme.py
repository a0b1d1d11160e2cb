"""A balancer's certificate from an ACME authority: a real nginx, lego and Pebble on this machine."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from plainstack.roles.balancer import acme
from plainstack.secrets.values import Secret, Vault
from tests.unit.roles import acme_authority, acme_balancer
from tests.unit.roles.acme_balancer import Balancer
from tests.waiting import until

pytestmark = pytest.mark.programs

CHALLENGE = "http://shop.example/.well-known/acme-challenge/x"


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    with acme_balancer.certified(tmp_path_factory.mktemp("lb1"), tmp_path_factory.mktemp("authority")) as started:
        yield started


def names(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found.get_values_for_type(x509.DNSName))


def test_the_stacks_own_certificate_is_served_until_the_authority_has_issued_one(balancer: Balancer) -> None:
    assert balancer.own
    issued = balancer.becomes(balancer.own)
    assert names(issued) == {"shop.example"}
    assert "Pebble" in issued.issuer.rfc4514_string()
    assert float(balancer.facts()["acme"]) == issued.not_valid_after_utc.timestamp() > time.time()
    assert balancer.metrics() == {
        "plainstack_acme_failed": 0,
        "plainstack_site_certificate_expires_timestamp_seconds": issued.not_valid_after_utc.timestamp(),
        "plainstack_site_certificate_lifetime_seconds": (
            issued.not_valid_after_utc - issued.not_valid_before_utc
        ).total_seconds(),
    }


def test_a_large_upload_without_tls_is_redirected_like_any_request(balancer: Balancer, tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(bytes(20_000_000))
    upload = ("-H", "Expect:", "--data-binary", f"@{tmp_path}/upload")
    assert balancer.edge.status("http://shop.example/", *upload) == "308"


def test_only_root_can_read_the_keys(balancer: Balancer) -> None:
    keys = [path for path in (balancer.folder / "var/lib/plainstack-acme").rglob("*.key") if path.is_file()]
    assert len(keys) >= 3
    assert {path.stat().st_mode & 0o077 for path in keys} == {0}


def test_a_certificate_is_renewed_when_it_is_due_and_not_before(balancer: Balancer) -> None:
    first = balancer.served()
    balancer.renew()
    assert len(list((balancer.folder / "var/lib/plainstack-acme").glob("issued-*"))) == 1
    assert balancer.served() == first
    certificate = balancer.folder / "var/lib/plainstack-acme/certificates/shop.example.crt"
    acme_authority.age(certificate, timedelta(days=90), timedelta(days=29))
    balancer.renew()
    second = balancer.becomes(first)
    assert second.public_key() != first.public_key()
    assert len(list((balancer.folder / "var/lib/plainstack-acme").glob("issued-*"))) == 1


def test_each_balancer_gets_its_own_certificate_although_another_one_is_asked(
    balancer: Balancer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The authority sends all challenges to the first balancer, as if it held the virtual address."""
    other = tmp_path_factory.mktemp("lb2")
    shutil.copytree(balancer.folder / "etc", other / "etc")
    balancer.renew(other)
    second = x509.load_pem_x509_certificate((other / "var/lib/plainstack-acme/live/site.crt").read_bytes())
    assert second.public_key() != balancer.served().public_key()
    assert names(second) == names(balancer.served())


def test_a_balancer_with_the_key_of_another_account_keeps_its_certificate(balancer: Balancer) -> None:
    """The web server still answers with the thumbprint of the previous account."""
    before = balancer.served()
    key = balancer.folder / "etc/plainstack/balancer/acme.key"
    previous = key.read_bytes()
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], check=True)
    failed = balancer.acme("renew")
    key.write_bytes(previous)
    assert failed.returncode == 1
    assert "unauthorized" in balancer.facts()["acme_error"]
    assert balancer.served() == before


def test_a_replaced_account_gets_another_certificate(balancer: Balancer) -> None:
    """`inv secrets.rotate acme/account` and a deploy change the key and the thumbprint."""
    before = balancer.settled()
    first, second = (Vault({"acme/account": Secret("acme/account", letter * 64)}, {}, "authority\n") for letter in "ab")
    site = balancer.folder / "etc/nginx/conf.d/site.conf"
    text = site.read_text()
    assert acme.thumbprint(first) in text
    site.write_text(text.replace(acme.thumbprint(first), acme.thumbprint(second)))
    key = balancer.folder / "etc/plainstack/balancer/acme.key"
    key.write_text(acme._account_key(second).reveal())
    subprocess.run([balancer.folder / "bin/systemctl"], check=True)
    until(lambda: acme.thumbprint(second) in balancer.edge.curl(CHALLENGE)[2], "nginx answers for the new account")
    balancer.edge.settle()
    reloaded = balancer.settled()
    balancer.renew()
    assert balancer.becomes(reloaded) != before


def test_another_name_needs_another_certificate_and_one_with_a_wrong_address_says_why(balancer: Balancer) -> None:
    before = balancer.settled()
    balancer.change("NAMES='shop.example'", "NAMES='shop.example late.shop.example'")
    balancer.authority.resolve("late.shop.example", "127.0.0.9")
    failed = balancer.acme("renew")
    assert failed.returncode == 1
    facts = balancer.facts()
    assert float(facts["acme"]) == before.not_valid_after_utc.timestamp()
    assert "late.shop.example" in facts["acme_error"] or "127.0.0.9" in facts["acme_error"]
    assert facts["acme_names"].split() == ["shop.example"]
    assert balancer.served() == before
    assert balancer.metrics()["plainstack_acme_failed"] == 1
    balancer.authority.forget("late.shop.example")
    balancer.renew()
    assert "acme_error" not in balancer.facts()
    assert sorted(balancer.facts()["acme_names"].split()) == ["late.shop.example", "shop.example"]
    assert names(balancer.becomes(before)) == {"shop.example", "late.shop.example"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "2026/11/26 Could not obtain certificates:\n\terror: one or more domains had a problem:\n"
            "acme: error: 429 :: POST :: https://x/new-order :: urn:ietf:params:acme:error:rateLimited ::"
            " too many certificates already issued",
            "rateLimited :: too many certificates already issued",
        ),
        ("2026/11/26 Could not create client: connection refused", "2026/11/26 Could not create client: connection"),
    ],
)
def test_the_reason_of_a_failure_is_the_authoritys_own(balancer: Balancer, said: str, why: str) -> None:
    """A stand-in for lego: Pebble does not limit rates."""
    balancer.want_another()
    balancer.program("lego", f"cat <<'END' >&2\n{said}\nEND\nexit 1")
    assert balancer.acme("renew").returncode == 1
    assert balancer.facts()["acme_error"].startswith(why)
