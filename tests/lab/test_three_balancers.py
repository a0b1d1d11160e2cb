"""Three balancers with certificates that live for a day, for names that a DNS server proves; visitors use IPv6."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.certificates import await_another, issued, renew
from tests.lab.labs import PACKAGES, lab
from tests.lab.operator import Operator
from tests.lab.whole import await_nothing_to_deploy
from tests.waiting import PATIENCE, until

PRIVATE, PUBLIC, PUBLIC6 = "192.168.76", "192.168.77", "fd00:77::"
BALANCERS = ("lb1", "lb2", "lb3")
HERE, ADDRESSES = f"{PUBLIC}.50", (f"{PUBLIC}.230", f"{PUBLIC6}230")
DOMAIN = "example.com"
NAME = f"shop.{DOMAIN}"
KEY = "c2VjcmV0IG9mIHRoZSB6b25lIGluIHRoZSBsYWI="
DAY = 24 * 3600
# BIND has the zone, and lets the owner of the key change its TXT records. It is the balancers' only DNS server.
ZONE = f"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends bind9 pebble openssl curl >/dev/null
cat >/etc/bind/named.conf <<'E'
key "balancers" {{ algorithm hmac-sha256; secret "{KEY}"; }};
options {{ directory "/var/cache/bind"; recursion no; dnssec-validation no; listen-on {{ any; }}; }};
zone "{DOMAIN}" {{
    type primary; file "/var/lib/bind/zone"; update-policy {{ grant balancers zonesub TXT; }};
}};
E
cat >/var/lib/bind/zone <<'E'
$TTL 60
@ IN SOA ns ops 1 3600 600 86400 1
@ IN NS ns
ns IN A {HERE}
E
chown bind: /var/lib/bind/zone
systemctl restart named
"""
# Let's Encrypt's server for tests.
PEBBLE = f"""
mkdir -p /root/pebble && cd /root/pebble
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out crt \\
    -subj /CN=pebble -addext subjectAltName=IP:{HERE} 2>/dev/null
cat >config <<'E'
{{"pebble": {{"listenAddress": "{HERE}:14000", "managementListenAddress": "127.0.0.1:15000", "certificate": "crt",
    "privateKey": "key", "httpPort": 80, "tlsPort": 443, "certificateValidityPeriod": {DAY}}}}}
E
systemd-run -q --unit=pebble --working-directory=/root/pebble --setenv=PEBBLE_VA_NOSLEEP=1 \\
    --setenv=PEBBLE_WFE_NONCEREJECT=0 pebble -config config -dnsserver {HERE}:53
timeout {PATIENCE} sh -c 'until curl -sk https://127.0.0.1:15000/roots/0 >root && grep -q CERT root; do sleep 0.1; done'
cat crt root
"""
ACME: dict[str, Any] = {
    "email": f"ops@{DOMAIN}",
    "directory": f"https://{HERE}:14000/dir",
    "authority": "root.crt",
    "dns": {
        "provider": "rfc2136",
        "env": {
            "RFC2136_NAMESERVER": HERE,
            "RFC2136_TSIG_ALGORITHM": "hmac-sha256.",
            "RFC2136_TSIG_KEY": "balancers.",
            # The two names have the same record, so lego writes one after the other, by default a minute apart.
            "RFC2136_SEQUENCE_INTERVAL": "1",
        },
        "secrets": ["RFC2136_TSIG_SECRET"],
    },
}


def inventory(source: Path) -> str:
    """Return the inventory, without the authority, which does not run yet."""
    balancers = {
        name: {
            "address": f"{PRIVATE}.{number}",
            "public": f"{PUBLIC}.{number}",
            "public6": f"{PUBLIC6}{number}",
            "roles": ["balancer"],
        }
        for number, name in enumerate(BALANCERS, 16)
    }
    stack = {
        "stack": "three-balancers",
        "ssh": {"user": "root", "gateway": "lab"},
        "hosts": {**balancers, "app1": {"address": f"{PRIVATE}.14", "roles": ["app"]}},
        "balancer": {
            "virtual_address": list(ADDRESSES),
            "interface": "public0",
            "server_names": [DOMAIN, f"*.{DOMAIN}"],
        },
        "services": {
            "docs": {
                "kind": "static",
                "source": str(source),
                "routes": ["/", {"path": "/few/", "limit": {"rate": "1/m", "burst": 1}}],
            }
        },
        "lab": {"visitors": {"visitor": {"address": f"{PRIVATE}.50", "public": HERE, "public6": f"{PUBLIC6}50"}}},
    }
    return yaml.safe_dump(stack, sort_keys=False)


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """Deploy the balancers; the authority and the DNS server run on the visitor's machine."""
    source = tmp_path_factory.mktemp("docs")
    (source / "few").mkdir()
    for page in ("index.html", "few/index.html"):
        (source / page).write_text("well\n", encoding="utf-8")
    with lab("three-balancers", inventory(source), project, packages=PACKAGES) as operator:
        operator.inv("lab.up", timeout=900)
        operator.on("visitor", ZONE)
        (operator.inventory.parent / "root.crt").write_text(operator.on("visitor", PEBBLE), encoding="utf-8")
        data = yaml.safe_load(operator.inventory.read_text(encoding="utf-8"))
        data["balancer"] |= {"tls": "acme", "acme": ACME}
        operator.inventory.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        for balancer in BALANCERS:
            operator.on(balancer, f"echo nameserver {HERE} >/etc/resolv.conf")
        operator.secret("acme/RFC2136_TSIG_SECRET", KEY)
        operator.inv("deploy", timeout=1200)
        yield operator


def holders(site: Operator) -> list[str]:
    """Return the balancers that have the virtual addresses; none if one has only one of the two."""
    shown = {balancer: site.on(balancer, "ip address show public0", check=False) for balancer in BALANCERS}
    four, six = ([name for name in BALANCERS if f" {address}/" in shown[name]] for address in ADDRESSES)
    return four if four == six else []


def await_pages(site: Operator) -> None:
    """Wait until a visitor gets the page under both names at both addresses, with a certificate of the authority."""
    ask = "curl -sS --max-time 20 --cacert /root/pebble/root"
    pages = [
        f"{ask} --resolve '{name}:443:[{address}]' https://{name}/" for address in ADDRESSES for name in (DOMAIN, NAME)
    ]
    until(lambda: site.on("visitor", "\n".join(pages), check=False) == "well\n" * len(pages), "the pages")


def test_balancers_get_their_certificates_one_after_another(site: Operator) -> None:
    """The first one asks at once. The others would follow three minutes apart; here the test starts them."""
    until(partial(issued, site, "lb1"), "a certificate on lb1")
    assert [issued(site, balancer) for balancer in ("lb2", "lb3")] == ["", ""]
    problems = {row["host"]: " ".join(row["problems"]) for row in site.json("status", code=None)}
    assert "has not issued one yet" in problems["lb2"]
    assert "browsers warn" not in problems["lb1"]
    for balancer in ("lb2", "lb3"):
        renew(site, balancer)
    assert len({issued(site, balancer) for balancer in BALANCERS}) == len(BALANCERS)
    await_pages(site)
    await_nothing_to_deploy(site)
    site.inv("verify")


def test_a_certificate_of_a_day_is_not_renewed_before_it_is_due(site: Operator) -> None:
    before = issued(site, "lb2")
    renew(site, "lb2")
    assert issued(site, "lb2") == before
    certificate = "/var/lib/plainstack-acme/live/site.crt"
    assert f"DNS:*.{DOMAIN}" in site.on("lb2", f"openssl x509 -noout -ext subjectAltName -in {certificate}")
    site.on("lb2", f"! openssl x509 -noout -checkend {DAY} -in {certificate}")


def test_the_others_serve_and_renew_while_the_one_with_the_addresses_is_away(site: Operator) -> None:
    (away,) = until(partial(holders, site), "one balancer has both addresses")
    other = next(balancer for balancer in BALANCERS if balancer != away)
    site.inv("lab.break", away, "--cut")
    try:
        await_pages(site)
        await_another(site, other)
        await_pages(site)
    finally:
        site.inv("lab.mend", away)
    until(lambda: len(holders(site)) == 1, "one balancer has both addresses")


def test_a_limit_counts_a_network_of_an_ipv6_client_and_not_its_addresses(site: Operator) -> None:
    near, far = f"{PUBLIC6}51", "fd00:78::50"
    site.on("visitor", f"ip address add {near}/64 dev public0 nodad; ip address add {far}/128 dev public0 nodad")
    for balancer in BALANCERS:
        site.on(balancer, f"ip route add {far}/128 via {PUBLIC6}50")

    def seen(source: str) -> str:
        ask = f"curl -sk -o /dev/null -w '%{{http_code}}' --interface {source}"
        return site.on("visitor", f"{ask} --resolve '{NAME}:443:[{ADDRESSES[1]}]' https://{NAME}/few/")

    assert [seen(f"{PUBLIC6}50"), seen(near), seen(near), seen(f"{PUBLIC6}50")] == ["200", "200", "429", "429"]
    assert seen(far) == "200"
