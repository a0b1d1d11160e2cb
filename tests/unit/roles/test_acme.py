"""A balancer's certificate from an ACME authority: a real nginx, lego and Pebble on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from plainstack.inventory.stack import Stack
from plainstack.roles.balancer import acme
from plainstack.secrets.values import Secret, Vault
from tests import inventories
from tests.unit.roles import acme_authority
from tests.unit.roles.acme_authority import Authority
from tests.unit.roles.real_nginx import Edge, running
from tests.waiting import until

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
services:
  web: {kind: binary, source: ".", processes: {web: {command: run, port: 8000, health: /}}}
balancer:
  server_names: [shop.example, late.shop.example]
  tls: acme
  acme: {email: ops@shop.example, directory: "DIRECTORY", authority: root.crt}
"""
CHALLENGE = "http://shop.example/.well-known/acme-challenge/x"
SECRETS = {"acme/account": "a" * 64}


@dataclass
class Balancer:
    """A balancer below a folder, the authority that it uses, and the stack's own certificate."""

    folder: Path
    authority: Authority
    edge: Edge
    own: x509.Certificate | None = None

    def acme(self, verb: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the program in a balancer's folder."""
        root = folder or self.folder
        program = root / "etc/plainstack/balancer/acme"
        environment = {**os.environ, "ROOT": str(root), "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        return subprocess.run([program, verb], env=environment, capture_output=True, text=True, check=False)

    def renew(self, folder: Path | None = None) -> None:
        done = self.acme("renew", folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def facts(self) -> dict[str, str]:
        lines = self.acme("facts").stdout.splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def metrics(self) -> dict[str, float]:
        text = (self.folder / "var/lib/prometheus/node-exporter/plainstack_acme.prom").read_text()
        return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if not line.startswith("#")}

    def change(self, old: str, new: str) -> None:
        """Change the settings of the program, as a deploy with another inventory would."""
        settings = self.folder / "etc/plainstack/balancer/acme.conf"
        text = settings.read_text()
        assert old in text
        settings.write_text(text.replace(old, new))

    def served(self) -> x509.Certificate:
        """Return the certificate that visitors get."""
        context = ssl._create_unverified_context()
        with (
            socket.create_connection(("127.0.0.1", self.edge.port)) as plain,
            context.wrap_socket(plain, server_hostname="shop.example") as secure,
        ):
            certificate = secure.getpeercert(binary_form=True)
        assert certificate
        return x509.load_der_x509_certificate(certificate)

    def becomes(self, before: x509.Certificate) -> x509.Certificate:
        """Return the certificate that replaces this one, once no worker from before a reload serves the old one."""
        return self.serves(lambda found: found != before)

    def serves(self, wanted: Callable[[x509.Certificate], bool]) -> x509.Certificate:
        until(lambda: wanted(self.served()), "another certificate is served")
        self.edge.settle()
        return self.served()


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    """Start a balancer that has asked for a certificate without its name late.shop.example."""
    folder = tmp_path_factory.mktemp("lb1")
    authority = acme_authority.prepared(tmp_path_factory.mktemp("authority"))
    text = TEXT.replace("DIRECTORY", authority.directory)
    stack: Stack = inventories.parse(text, "hosts.yaml", authority.folder)
    for path in ("etc/plainstack/tls/ca.crt", "etc/ssl/certs/ca-certificates.crt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    (folder / "var/lib/prometheus/node-exporter").mkdir(parents=True)
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    _program(folder, "nginx", f'exec {nginx} -e /dev/null "$@" -c {folder}/etc/nginx/nginx.conf')
    _program(folder, "systemctl", _reload(folder))
    with running(stack, folder, SECRETS) as edge, acme_authority.running(authority, edge.plain):
        started = Balancer(folder, authority, edge)
        started.own = started.served()
        assert started.facts() == {"acme": "none"}
        started.change(" late.shop.example", "")
        started.renew()
        yield started


def names(certificate: x509.Certificate) -> set[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(found.get_values_for_type(x509.DNSName))


def _reload(folder: Path) -> str:
    return f"kill -HUP $(cat {folder}/run/nginx.pid)"


def _program(folder: Path, name: str, text: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / "bin" / name).chmod(0o755)


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


def test_a_certificate_is_loaded_although_the_run_that_obtained_it_was_killed_and_the_authority_is_away(
    balancer: Balancer,
) -> None:
    before = settled(balancer)
    (balancer.folder / "var/lib/plainstack-acme/wanted").unlink()
    _program(balancer.folder, "systemctl", "kill -KILL $PPID")
    assert balancer.acme("renew").returncode == -signal.SIGKILL
    _program(balancer.folder, "systemctl", _reload(balancer.folder))
    assert balancer.served() == before
    _program(balancer.folder, "lego", "exit 1")
    (balancer.folder / "var/lib/plainstack-acme/wanted").unlink()
    assert balancer.acme("renew").returncode == 1
    (balancer.folder / "bin/lego").unlink()
    assert balancer.becomes(before).not_valid_after_utc.timestamp() == float(balancer.facts()["acme"])
    balancer.renew()


def test_a_failed_reload_is_reported_and_repeated(balancer: Balancer) -> None:
    before = settled(balancer)
    (balancer.folder / "var/lib/plainstack-acme/wanted").unlink()
    _program(balancer.folder, "systemctl", "echo 'Job for nginx.service failed.' >&2; exit 1")
    for _ in range(2):
        assert balancer.acme("renew").returncode == 1
        assert balancer.facts()["acme_error"] == (
            "the certificate is there, but nginx could not be reloaded: Job for nginx.service failed."
        )
        assert balancer.metrics()["plainstack_acme_failed"] == 1
    assert balancer.served() == before
    _program(balancer.folder, "systemctl", _reload(balancer.folder))
    balancer.renew()
    assert balancer.becomes(before).not_valid_after_utc.timestamp() == float(balancer.facts()["acme"])
    assert "acme_error" not in balancer.facts()
    assert len(list((balancer.folder / "var/lib/plainstack-acme").glob("issued-*"))) == 1


def test_a_certificate_that_the_web_server_refuses_is_not_used(balancer: Balancer) -> None:
    """Also if the run that should have asked the web server was killed before."""
    nginx = (balancer.folder / "bin/nginx").read_text().removeprefix("#!/bin/sh\n").rstrip("\n")
    before, live = settled(balancer), (balancer.folder / "var/lib/plainstack-acme/live").readlink()
    (balancer.folder / "var/lib/plainstack-acme/wanted").unlink()
    for stand_in, code in (("kill -KILL $PPID", -signal.SIGKILL), ("echo 'bad key' >&2; exit 1", 1)):
        _program(balancer.folder, "nginx", stand_in)
        assert balancer.acme("renew").returncode == code
    _program(balancer.folder, "nginx", nginx)
    assert balancer.facts()["acme_error"] == "nginx refuses the new certificate: bad key"
    assert (balancer.folder / "var/lib/plainstack-acme/live").readlink() == live
    assert balancer.served() == before
    balancer.renew()
    balancer.becomes(before)


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


def settled(balancer: Balancer) -> x509.Certificate:
    """Return the certificate that is served, once that is the newest one: a reload takes a moment."""
    newest = float(balancer.facts()["acme"])
    return balancer.serves(lambda found: found.not_valid_after_utc.timestamp() == newest)


def test_a_replaced_account_gets_another_certificate(balancer: Balancer) -> None:
    """`inv secrets.rotate acme/account` and a deploy change the key and the thumbprint."""
    before = settled(balancer)
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
    reloaded = settled(balancer)
    balancer.renew()
    assert balancer.becomes(reloaded) != before


def test_another_name_needs_another_certificate_and_one_with_a_wrong_address_says_why(balancer: Balancer) -> None:
    before = settled(balancer)
    balancer.change("NAMES='shop.example'", "NAMES='shop.example late.shop.example'")
    balancer.authority.resolve("late.shop.example", "127.0.0.9")
    failed = balancer.acme("renew")
    assert failed.returncode == 1
    facts = balancer.facts()
    assert float(facts["acme"]) == before.not_valid_after_utc.timestamp()
    assert "late.shop.example" in facts["acme_error"] or "127.0.0.9" in facts["acme_error"]
    assert balancer.served() == before
    assert balancer.metrics()["plainstack_acme_failed"] == 1
    balancer.authority.forget("late.shop.example")
    balancer.renew()
    assert "acme_error" not in balancer.facts()
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
    (balancer.folder / "var/lib/plainstack-acme/wanted").unlink(missing_ok=True)
    _program(balancer.folder, "lego", f"cat <<'END' >&2\n{said}\nEND\nexit 1")
    assert balancer.acme("renew").returncode == 1
    assert balancer.facts()["acme_error"].startswith(why)
