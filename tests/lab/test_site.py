"""What a user's machine outside the stack can reach, and what it must not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from plainstack.postgresql.settings import Database
from plainstack.services.edge import Balancer
from plainstack.services.processes import served
from tests import inventories
from tests.lab import labs
from tests.lab.certificates import await_another, await_failure, issued
from tests.lab.conftest import Operator
from tests.lab.load import Load
from tests.lab.whole import await_nothing_to_deploy, await_site
from tests.waiting import PATIENCE, until


def site(operator: Operator) -> str:
    """Return the virtual address."""
    stack = inventories.load(operator.inventory)
    assert stack.settings(Balancer)
    return str(stack.settings(Balancer).virtual_address)


@pytest.fixture(scope="module")
def visitor(deployed: Operator) -> Operator:
    """Prepare a machine outside the stack: it trusts the stack's authority and has curl and Python."""
    install = "apt-get update -qq && apt-get install -qq -y --no-install-recommends curl python3"
    present = "command -v curl && command -v python3"
    deployed.on("visitor", f"{{ {present}; }} >/dev/null || {{ {install}; }} >&2")
    deployed.on("visitor", f"cat >/root/ca.crt <<'E'\n{deployed.on('lb1', 'cat /etc/plainstack/tls/ca.crt')}E\n")
    return deployed


@pytest.mark.parametrize(("option", "version"), [("--http1.1", "1.1"), ("--http2", "2"), ("--http3-only", "3")])
def test_the_page_is_served_over_every_http_version(visitor: Operator, option: str, version: str) -> None:
    line = f"curl -sS --max-time 60 --cacert /root/ca.crt {option} -w '\\n%{{http_version}} %{{http_code}}' https://{site(visitor)}/"
    page, _, verdict = visitor.on("visitor", line).rpartition("\n")
    assert verdict == f"{version} 200"
    assert "<html" in page


def test_plain_http_redirects_to_https(visitor: Operator) -> None:
    answer = visitor.on(
        "visitor", f"curl -sS --max-time 60 -o /dev/null -w '%{{redirect_url}}' http://{site(visitor)}/page"
    )
    assert answer.startswith("https://")


def test_a_posted_sample_reaches_the_replica(visitor: Operator) -> None:
    store = visitor.state / "secrets.yaml"
    import yaml

    token = yaml.safe_load(store.read_text(encoding="utf-8"))["passwords"]["web/API_TOKEN"]
    body = json.dumps({"machine": "press-1", "metric": "temperature", "value": 21.5})
    answer = visitor.on(
        "visitor",
        # The token stays out of process lists, where another test looks for secrets.
        f"umask 077; printf '%s' 'Authorization: Bearer {token}' >/root/header;"
        f" curl -sS --max-time 60 --cacert /root/ca.crt -H @/root/header -d '{body}'"
        f" -H 'Content-Type: application/json' https://{site(visitor)}/api/samples",
    )
    number = json.loads(answer)["id"]
    stack = inventories.load(visitor.inventory)
    rows = {row["host"]: row["database"] for row in visitor.json("status", code=None)}
    replica = next(host for host, database in rows.items() if database.startswith("replica"))
    query = f"select value from incidents_sample where id = {number}"
    asked = f'runuser -u postgres -- psql -XAtqc "{query}" {stack.settings(Database).name}'
    found = visitor.on(replica, f"timeout {PATIENCE} sh -c 'until {asked} | grep .; do sleep 0.1; done'")
    assert found.strip() == "21.5"


PORTS = [
    *((host, 5432) for host in ("db1", "db2")),
    *((host, 8000) for host in ("app1", "app2")),
    *((host, 9100) for host in ("lb1", "lb2", "app1", "db1", "mon1", "bak1")),
    *(("db1", 9187), ("mon1", 9090), ("mon1", 9093), ("lb1", 9113), ("lb1", 8081)),
]
TRY = "(timeout {seconds} bash -c '</dev/tcp/{address}/{port}' 2>/dev/null && echo {host}:{port}) &\n"


def test_internal_pages_refuse_users(visitor: Operator) -> None:
    hosts = inventories.load(visitor.inventory).hosts
    attempts = [TRY.format(address=hosts[host].address, host=host, port=port, seconds=2) for host, port in PORTS]
    # Port 443 is meant for users: it shows that this test would report an open port.
    attempts.append(TRY.format(address=site(visitor), host="site", port=443, seconds=60))
    assert visitor.on("visitor", "".join(attempts) + "wait\n").split() == ["site:443"]


@pytest.fixture
def misbehaving(visitor: Operator) -> Iterator[Operator]:
    """Replace the site's service by an application that misbehaves on request."""
    program = (Path(__file__).parent / "standin_app.py").read_text()
    stack = inventories.load(visitor.inventory)
    apps = stack.with_role("app")
    port = served(stack)[0].port
    for app in apps:
        visitor.on(app.name, f"cat >/run/standin.py <<'PY'\n{program}PY\nsystemctl stop plainstack-web")
        visitor.on(app.name, f"systemd-run -q --unit=standin python3 /run/standin.py {app.address} {port}")
    await_site(visitor, site(visitor), labs.BALANCERS, labs.APPS)
    yield visitor
    for app in apps:
        visitor.on(app.name, "systemctl stop standin; systemctl start plainstack-web")
    await_site(visitor, site(visitor), labs.BALANCERS, labs.APPS)


# What one client asks for at once, how often, and the status that each of these requests gets.
BAD = {
    "cookies-5": (20, "200"),
    "cookies-30": (20, "200"),
    "cookies-90": (20, "502"),
    "broken": (20, "502"),
    "nonsense": (20, "502"),
    "crash": (20, "500"),
    # The status is sent before the connection is reset.
    "cut": (20, "200"),
    "slow-5": (50, "200"),
}


def test_bad_answers_do_not_affect_other_requests(misbehaving: Operator, tmp_path: Path) -> None:
    """Large headers, crashes, resets within a body and slow pages, while others send 100 requests a second."""
    address = site(misbehaving)
    authority = misbehaving.on("visitor", "cat /root/ca.crt")
    asked = {"address": address, "name": address, "authority": authority, "path": "/", "rate": 100}
    load = Load(misbehaving.lab, {**asked, "seconds": 600, "post": {}}, tmp_path / "load")
    try:
        load.await_answers(100)
        # One client per page with all of its requests at once: a process for each would keep the machine busy instead.
        curl = "curl -sZ --parallel-max 100 --max-time 60 -o /dev/null --cacert /root/ca.crt -w '%{http_code}\\n'"
        lines = [
            f"{curl} 'https://{address}/{path}?[1-{count}]' >/run/answers-{path} &" for path, (count, _) in BAD.items()
        ]
        misbehaving.on("visitor", "\n".join([*lines, "wait"]))
        load.await_answers(load.answered() + 200)
    finally:
        load.stop()
    seen = {path: misbehaving.on("visitor", f"sort /run/answers-{path} | uniq -c").split() for path in BAD}
    assert seen == {path: [str(count), answer] for path, (count, answer) in BAD.items()}
    assert set(load.outcomes()[0]) == {"get ok"}, load.outcomes()[0]
    for balancer in ("lb1", "lb2"):
        assert "down" not in misbehaving.on(balancer, "/etc/plainstack/balancer/upstreams status")


def test_long_lived_responses_are_passed_on_as_they_arrive(misbehaving: Operator) -> None:
    program = (Path(__file__).parent / "standin_client.py").read_text()
    misbehaving.on("visitor", f"cat >/run/client.py <<'PY'\n{program}PY\n")
    for what in ("events", "socket"):
        said = misbehaving.on("visitor", f"python3 /run/client.py {site(misbehaving)} /root/ca.crt {what}")
        assert said == "well\n", what


def test_the_configuration_is_valid_on_a_kernel_without_ipv6(visitor: Operator) -> None:
    """Refuse nginx every IPv6 socket, as a kernel without IPv6 would.

    A unit test shows what the host's own program does where /proc says that there is no IPv6.
    """
    refused = "systemd-run -q --wait --pipe -p RestrictAddressFamilies='AF_INET AF_NETLINK AF_UNIX' nginx -t -q"
    said = visitor.on(
        "lb2",
        f"link=$(readlink /run/plainstack/ipv6); {refused} && echo 'the stand-in lets IPv6 through'\n"
        f'rm /run/plainstack/ipv6; {refused} && echo valid; ln -s "$link" /run/plainstack/ipv6',
    )
    assert said == "valid\n"


# Pebble on the visitor's machine, as an authority in the internet would be; every name is the virtual address to it.
PEBBLE = """
command -v pebble openssl >/dev/null || apt-get install -qq -y --no-install-recommends pebble openssl >&2
mkdir -p /root/pebble && cd /root/pebble
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key -out crt \\
    -subj /CN=pebble -addext subjectAltName=IP:{here} 2>/dev/null
cat >config <<'E'
{{"pebble": {{"listenAddress": "{here}:14000", "managementListenAddress": "127.0.0.1:15000",
    "certificate": "crt", "privateKey": "key", "httpPort": 80, "tlsPort": 443,
    "externalAccountBindingRequired": true, "externalAccountMACKeys": {{"shop-1": "{customer}"}}}}}}
E
systemd-run -q --unit=names pebble-challtestsrv -dns01 127.0.0.1:8053 -http01 '' -https01 '' -tlsalpn01 '' \\
    -management 127.0.0.1:8055 -defaultIPv6 '' -defaultIPv4 {site}
systemd-run -q --unit=pebble --working-directory=/root/pebble --setenv=PEBBLE_VA_NOSLEEP=1 \\
    --setenv=PEBBLE_WFE_NONCEREJECT=0 pebble -config config -dnsserver 127.0.0.1:8053
timeout {patience} sh -c 'until curl -sk https://127.0.0.1:15000/roots/0 >root && grep -q CERT root; do sleep 0.1; done'
cat crt root
"""
NAME = "shop.example.com"
# The authority accepts only accounts that are bound to this key.
CUSTOMER = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
SECOND = f"{labs.NETWORKS[1]}.229"
EDGE = "--host=lb1,lb2,app1,app2,mon1"


def test_an_authority_certifies_both_balancers_and_renews_while_one_is_away(visitor: Operator) -> None:
    """There are two virtual addresses: each balancer has one, and the one that is left has both."""
    first = site(visitor)
    stack = inventories.load(visitor.inventory)
    here = str(stack.lab.visitors["visitor"].public)
    settings = PEBBLE.format(here=here, site=first, patience=PATIENCE, customer=CUSTOMER)
    (visitor.inventory.parent / "root.crt").write_text(visitor.on("visitor", settings))
    text = visitor.inventory.read_text(encoding="utf-8")
    acme = (
        f"{{email: ops@{NAME}, directory: 'https://{here}:14000/dir', authority: root.crt,"
        " external_account: {key_id: shop-1}}"
    )
    wanted = f"tls: acme, server_names: [{NAME}], acme: {acme}, brotli: true"
    text = text.replace("tls: self-signed", wanted).replace(first, f"[{first}, {SECOND}]", 1)
    visitor.inventory.write_text(text, encoding="utf-8")
    visitor.secret("acme/hmac", CUSTOMER)
    visitor.inv("deploy", EDGE)

    # If the other balancer was not ready for the first attempt, the next one comes after 90 seconds.
    for balancer in labs.BALANCERS:
        until(partial(issued, visitor, balancer), f"a certificate on {balancer}")
    assert issued(visitor, "lb1") != issued(visitor, "lb2")
    page = f"curl -sS --max-time 60 -o /dev/null --cacert /root/pebble/root -H 'Accept-Encoding: br' https://{NAME}/"
    shown = "-w '%{http_code} %header{content-encoding}\\n'"

    def await_page() -> None:
        # A balancer loads its certificate, and takes over an address, a little later.
        ask = "".join(f"{page} {shown} --resolve {NAME}:443:{address}\n" for address in (first, SECOND))
        until(lambda: visitor.on("visitor", ask, check=False) == "200 br\n200 br\n", "the page with its certificate")

    def holders() -> list[list[str]]:
        """Return the virtual addresses that each balancer has."""
        return [
            [address for address in (first, SECOND) if f" {address}/" in visitor.on(balancer, "ip -4 address")]
            for balancer in labs.BALANCERS
        ]

    until(lambda: sorted(holders()) == sorted([[first], [SECOND]]), "an address for each balancer")
    await_page()
    visitor.inv("verify", "--role=balancer")
    await_nothing_to_deploy(visitor, EDGE)

    visitor.inv("lab.break", "lb1", "--cut")
    await_another(visitor, "lb2")
    await_page()
    visitor.inv("lab.mend", "lb1")
    visitor.on("visitor", "systemctl stop pebble")
    await_failure(visitor, "lb2")
    problems = {row["host"]: row["problems"] for row in visitor.json("status", EDGE, code=None)}
    assert any("could not be renewed" in problem for problem in problems["lb2"]), problems
    await_page()
    until(lambda: sorted(holders()) == sorted([[first], [SECOND]]), "an address for each balancer again")
