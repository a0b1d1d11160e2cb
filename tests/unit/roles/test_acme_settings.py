"""What `tls: acme` asks of an inventory, and what a plan and a status say until there is a certificate."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from plainstack.engine.resources import Absent, File, Package
from plainstack.errors import InventoryError
from plainstack.roles import balancer, monitoring
from plainstack.roles.balancer import acme
from plainstack.secrets.declaration import unfit
from plainstack.secrets.values import Certificate, Secret, Vault
from tests import inventories
from tests.unit.roles.balancer_files import SITE, files, servers
from tests.unit.roles.certificate_files import PEM, ROOT

TEXT = """\
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
services:
  web: {kind: binary, source: ".", processes: {web: {command: run, port: 8000, health: /}}}
balancer:
  server_names: [shop.example]
  tls: acme
  acme: {email: ops@shop.example}
"""
DNS = "acme: {email: ops@shop.example, dns: {provider: hetzner, env: {TTL: '60'}, secrets: [HETZNER_API_KEY]}}"


def vault(**more: str) -> Vault:
    passwords = {"acme/account": "a" * 64, **{name.replace("__", "/"): value for name, value in more.items()}}
    own = Certificate("chain\n", Secret("site.key", "key\n"))
    return Vault({name: Secret(name, value) for name, value in passwords.items()}, {"site": own}, "authority\n")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  server_names: [shop.example]\n", "", "balancer.server_names: is missing"),
        ("  acme: {email: ops@shop.example}\n", "", "balancer.acme: is missing"),
        ("  tls: acme\n", "", "balancer.acme: only `balancer.tls: acme` uses it"),
        ("[shop.example]", "['*.shop.example']", "balancer.acme.dns: is missing"),
        ("email: ops@shop.example", "email: ops", "balancer.acme.email: must be a mail address"),
        ("email: ops@shop.example", "email: a..b@b.c", "balancer.acme.email: must be a mail address"),
        ("email: ops@shop.example", "email: a@-b.c", "balancer.acme.email: must be a mail address"),
        ("email: ops@shop.example", "email: a@b.c, directory: http://ca", "balancer.acme.directory: "),
        ("email: ops@shop.example", "email: a@b.c, directory: 'https://-/'", "balancer.acme.directory: "),
        ("email: ops@shop.example", "email: a@b.c, directory: 'https://ca:99999/d'", "a port from 1 to 65535"),
        ("email: ops@shop.example", "email: a@b.c, authority: none.crt", "balancer.acme.authority: none.crt"),
        ("{email: ops@shop.example}", "{mail: ops@shop.example}", "did you mean 'email'?"),
        (
            "email: ops@shop.example",
            "email: a@b.c, external_account: {kid: x}",
            "external_account.kid: unknown key, did you mean 'key_id'?",
        ),
        (
            "acme: {email: ops@shop.example}",
            DNS.replace("[HETZNER", "[hmac, HETZNER"),
            "balancer.acme.dns.secrets: acme/hmac is the account's own secret. Remove it",
        ),
        (
            "acme: {email: ops@shop.example}",
            DNS.replace("TTL: '60'", "HETZNER_API_KEY: x"),
            "balancer.acme.dns.env.HETZNER_API_KEY: is also one of the secrets",
        ),
    ],
)
def test_what_is_missing_is_reported_with_its_line(old: str, new: str, expected: str) -> None:
    assert old in TEXT
    with pytest.raises(InventoryError) as caught:
        inventories.parse(TEXT.replace(old, new, 1), "hosts.yaml", Path.cwd())
    problems = caught.value.problems
    assert any(expected in problem for problem in problems), problems
    assert all(problem.partition(":")[2].partition(":")[0].isdigit() for problem in problems), problems


def test_every_balancer_answers_the_challenges_before_it_redirects() -> None:
    stack = inventories.parse(TEXT, "hosts.yaml", Path.cwd())
    redirect = next(block for block in servers(files(stack, vault())[SITE].content.decode()) if "return 308" in block)
    answer = f'return 200 "$1.{acme.thumbprint(vault())}";'
    assert redirect.index(answer) < redirect.index("return 308")


def test_names_that_a_wildcard_covers_are_left_out_of_the_certificate() -> None:
    text = TEXT.replace("[shop.example]", "[shop.example, '*.shop.example', www.shop.example]")
    stack = inventories.parse(text.replace("acme: {email: ops@shop.example}", DNS), "hosts.yaml", Path.cwd())
    placed = files(stack, vault(acme__HETZNER_API_KEY="s3 $cret"))
    assert "NAMES='shop.example *.shop.example'\n" in placed[f"{acme.PROGRAM}.conf"].content.decode()
    variables = placed[f"{acme.PROGRAM}.env"]
    assert variables.content.decode().splitlines()[1:] == ['TTL="60"', r'HETZNER_API_KEY="s3 \$cret"']
    assert (variables.mode, variables.secret) == (0o600, True)
    # DNS records prove the names, so the web server answers no challenge.
    assert "acme-challenge" not in placed[SITE].content.decode()
    assert {secret.name for secret in balancer.secrets(stack)} == {"acme/account", "acme/HETZNER_API_KEY"}


@pytest.mark.parametrize(
    ("account", "balancers", "expected"),
    [
        ("", 1, [("1s 90s", "61min")]),
        ("", 2, [("1s 90s", "61min")] * 2),
        ("", 3, [("181s", "61min"), ("91s", "61min"), ("1s", "61min")]),
        (DNS, 3, [("1s", "61min"), ("181s", "64min"), ("361s", "67min")]),
    ],
)
def test_balancers_do_not_write_dns_records_at_once_and_fail_at_most_five_times_an_hour(
    account: str, balancers: int, expected: list[tuple[str, str]]
) -> None:
    text = TEXT.replace("acme: {email: ops@shop.example}", account or "acme: {email: ops@shop.example}")
    hosts = "".join(f"  lb{n}: {{address: 10.0.0.{10 + n}, roles: [balancer]}}\n" for n in range(2, balancers + 1))
    stack = inventories.parse(text.replace("  app1:", f"{hosts}  app1:"), "hosts.yaml", Path.cwd())
    found = []
    for number in range(1, balancers + 1):
        placed = files(stack, vault(acme__HETZNER_API_KEY="secret"), f"lb{number}")
        timer = placed["/etc/systemd/system/plainstack-acme.timer"].content.decode()
        first, again = (re.findall(rf"^{key}=(.*)$", timer, re.M) for key in ("OnActiveSec", "OnUnitInactiveSec"))
        found.append((" ".join(first), *again))
    assert found == expected
    assert sum(len(first.split()) for first, _ in found) <= 5


def test_the_key_of_an_external_account_is_a_secret_in_base64_that_only_root_reads() -> None:
    text = TEXT.replace("shop.example}", "shop.example, external_account: {key_id: shop-1}}", 1)
    stack = inventories.parse(text, "hosts.yaml", Path.cwd())
    secret = next(one for one in balancer.secrets(stack) if one.name == "acme/hmac")
    assert unfit("zWNDZM6eQGHWpSRTPal5eIUY", secret.origin) == ""
    assert unfit("not a key", secret.origin) == "must be the HMAC key from the authority, in base64"
    placed = files(stack, vault(acme__hmac="zWNDZM6eQGHWpSRTPal5eIUY"))
    assert "KEY_ID='shop-1'\n" in placed[f"{acme.PROGRAM}.conf"].content.decode()
    assert (placed[f"{acme.PROGRAM}.hmac"].mode, placed[f"{acme.PROGRAM}.hmac"].secret) == (0o600, True)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ""),
        ({"acme": "none"}, "letsencrypt has not issued one yet"),
        ({"acme": "none", "acme_error": "rateLimited :: x"}, "letsencrypt refused: rateLimited :: x"),
        ({"acme": "1795600000"}, ""),
        ({"acme": "1795600000", "acme_names": "shop.example "}, ""),
        ({"acme": "1795600000", "acme_names": "*.example"}, ""),
        (
            {"acme": "1795600000", "acme_names": "www.shop.example"},
            "browsers warn about shop.example, because the certificate is for other names: letsencrypt has not",
        ),
        (
            {"acme": "1795600000", "acme_names": "", "acme_error": "dns :: x"},
            "about shop.example, because the certificate is for other names: letsencrypt refused: dns :: x",
        ),
        ({"acme": "1795600000", "acme_error": "dns :: x"}, "valid until 2026-11-25, could not be renewed: dns :: x"),
    ],
)
def test_plan_and_status_say_that_browsers_warn_and_why(facts: dict[str, str], said: str) -> None:
    sentence = acme.unissued(inventories.parse(TEXT, "hosts.yaml", Path.cwd()), facts)
    assert said in sentence
    assert bool(said) == bool(sentence)


def test_metrics_of_an_earlier_certificate_do_not_delay_the_alerts_about_a_given_one() -> None:
    metrics = Absent(path="/var/lib/prometheus/node-exporter/plainstack_acme.prom")
    for text, gone in ((TEXT, False), (TEXT.partition("  server_names")[0] + "  http3: false\n", True)):
        stack = inventories.parse(text, "hosts.yaml", Path.cwd())
        assert (metrics in inventories.wanted(balancer.ROLE, stack, "lb1", vault())) == gone


@pytest.mark.parametrize("authority", ["", ", authority: root.crt"])
def test_monitoring_has_the_roots_of_the_authority(authority: str, tmp_path: Path) -> None:
    (tmp_path / "root.crt").write_bytes(ROOT.certificate.public_bytes(PEM))
    text = TEXT.replace("shop.example}", f"shop.example{authority}}}", 1)
    text = text.replace("services:", "  mon1: {address: 10.0.0.4, roles: [monitoring]}\nservices:", 1)
    found = inventories.wanted(monitoring.ROLE, inventories.parse(text, "hosts.yaml", tmp_path), "mon1", vault())
    prober = next(item for item in found if isinstance(item, File) and item.path == "/etc/prometheus/blackbox.yml")
    own = next((item for item in found if isinstance(item, File) and item.path.endswith("/site-ca.crt")), None)
    if authority:
        assert own
        assert (tmp_path / "root.crt").read_bytes().strip() in own.content
    else:
        assert Package(name="ca-certificates") in found
        assert b"ca_file: /etc/ssl/certs/ca-certificates.crt" in prober.content
