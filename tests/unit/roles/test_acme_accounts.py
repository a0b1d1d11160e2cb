"""Accounts at an ACME authority, and names proven by DNS records: lego and Pebble, without a web server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import acme_account
import pytest
from cryptography import x509

from plainstack.engine.resources import File
from plainstack.inventory.stack import Stack
from plainstack.roles import balancer as role
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories
from tests.unit.roles import acme_authority
from tests.unit.roles.acme_authority import Authority

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
services:
  web: {kind: binary, source: ".", processes: {web: {command: run, port: 8000, health: /}}}
balancer:
  server_names: ["*.shop.example"]
  tls: acme
  acme:
    email: ops@shop.example
    directory: "DIRECTORY"
    authority: root.crt
    external_account: {key_id: shop-1}
    dns: {provider: exec, wait: false, env: {EXEC_PATH: RECORDS, EXEC_POLLING_INTERVAL: "1"}}
"""
CUSTOMER = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
# A DNS provider: the management of the authority's DNS server.
RECORDS = """\
#!/bin/sh
case $1 in
present) curl -fsS -d "{\\"host\\": \\"$2\\", \\"value\\": \\"$3\\"}" http://127.0.0.1:PORT/set-txt ;;
cleanup) curl -fsS -d "{\\"host\\": \\"$2\\"}" http://127.0.0.1:PORT/clear-txt ;;
esac
"""


@dataclass
class Balancer:
    """The folder of a balancer, with stand-ins for its web server; `said` has every command line that was run."""

    folder: Path
    authority: Authority
    stack: Stack
    said: Path

    def configure(self, account: str = "a" * 64, customer: str = CUSTOMER) -> None:
        """Write the files that a deploy writes, with these secrets."""
        secrets = {"acme/account": account, "acme/hmac": customer}
        own = Certificate("chain\n", Secret("site.key", "key\n"))
        vault = Vault({name: Secret(name, value) for name, value in secrets.items()}, {"site": own}, "authority\n")
        for file in inventories.wanted(role.ROLE, self.stack, "lb1", vault):
            if isinstance(file, File) and ("/balancer/acme" in file.path or "/lib/plainstack/" in file.path):
                path = self.folder / file.path.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.content)
                path.chmod(file.mode)

    def acme(self, verb: str) -> str:
        """Run the program as its unit does; return why it failed, or ""."""
        program = self.folder / "etc/plainstack/balancer/acme"
        variables = (line.partition("=") for line in Path(f"{program}.env").read_text().splitlines() if "=" in line)
        own = {name: value.strip('"') for name, _, value in variables}
        environment = {
            **os.environ,
            **own,
            "ROOT": str(self.folder),
            "PATH": f"{self.said.parent}:{os.environ['PATH']}",
        }
        done = subprocess.run([program, verb], env=environment, capture_output=True, text=True, check=False)
        error = self.folder / "var/lib/plainstack-acme/error"
        assert (done.returncode == 0) == (not error.exists()), done.stdout + done.stderr
        return error.read_text() if error.exists() else ""

    @property
    def account(self) -> Path:
        (found,) = (self.folder / "var/lib/plainstack-acme/accounts").glob(f"*_{self.authority.port}/*")
        return found

    @property
    def url(self) -> str:
        return str(json.loads((self.account / "account.json").read_text())["registration"]["uri"])

    @property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.folder / "var/lib/plainstack-acme/live/site.crt").read_bytes())

    def make_due(self) -> None:
        """Let the certificate be due for renewal."""
        self.age(timedelta(days=90), timedelta(days=29))

    def age(self, lifetime: timedelta, left: timedelta) -> None:
        """Replace the certificate by one that has this much of its lifetime left."""
        (found,) = (self.folder / "var/lib/plainstack-acme/certificates").glob("*shop.example.crt")
        acme_authority.age(found, lifetime, left)

    def deactivate(self) -> None:
        """Close the account, as its owner or the authority may."""
        key = acme_account.Key(str(self.folder / "etc/plainstack/balancer/acme.key"))
        authority = acme_account.Authority(self.authority.directory, key, str(self.authority.root))
        nonce = authority._ask(authority.urls["newNonce"], method="HEAD")[1]["Replay-Nonce"]
        header = {"alg": "ES256", "kid": self.url, "nonce": nonce, "url": self.url}
        body = acme_account.message(header, {"status": "deactivated"}, key.sign)
        authority._ask(self.url, json.dumps(body).encode())


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def placed(folder: Path, authority: Authority, stack: Stack) -> Balancer:
    """Return a balancer that has never asked for a certificate."""
    for path in ("etc/plainstack/tls/ca.crt", "etc/ssl/certs/ca-certificates.crt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("")
    for part, content in (("crt", authority.root), ("key", authority.folder / "root.key")):
        (folder / f"etc/plainstack/tls/site.{part}").write_bytes(content.read_bytes())
    said = folder / "bin/said"
    for name in ("nginx", "systemctl"):
        program(folder / "bin" / name, "#!/bin/sh\n")
    for name in ("lego", "openssl"):
        program(folder / "bin" / name, f'#!/bin/sh\necho "{name} $*" >>{said}\nexec /usr/bin/{name} "$@"\n')
    return Balancer(folder, authority, stack, said)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """Run an authority with a single customer."""
    prepared = acme_authority.prepared(tmp_path_factory.mktemp("authority"))
    with acme_authority.running(prepared, 1, {"shop-1": CUSTOMER}):
        yield prepared


@pytest.fixture(scope="module")
def balancer(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Balancer:
    """Place a balancer that has never asked for a certificate."""
    folder = tmp_path_factory.mktemp("lb1")
    program(folder / "records", RECORDS.replace("PORT", str(authority.dns_management)))
    text = TEXT.replace("DIRECTORY", authority.directory).replace("RECORDS", str(folder / "records"))
    made = placed(folder, authority, inventories.parse(text, "hosts.yaml", authority.folder))
    made.configure()
    return made


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
