"""The balancers as users see them: from another host, by the site's name, with the certificate verified."""

from __future__ import annotations

import fnmatch
import shlex
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest

from plainstack.addresses import bracketed, endpoint
from plainstack.inventory.sections import Host
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer import acme
from plainstack.roles.balancer.proxy import SITE_CERTIFICATE
from plainstack.services import asset_files, maintenance, site, stops, virtual
from plainstack.services.edge import Balancer, GivenCertificate
from plainstack.services.processes import Served, served

ROLE = "balancer"

# After a host was replaced or restarted, balancers need a few seconds until they use it again.
_AWAIT_ANSWER = """\
try=0
until answer=$({request}); case ${{answer##* }} in {statuses}) ;; *) [ $try = 30 ] ;; esac; do
    try=$((try + 1))
    sleep 0.3
done 2>/dev/null
echo "$answer"
"""
_METRICS = "/var/lib/prometheus/node-exporter/plainstack_vip.prom"


def test_the_site_answers_over_http_1_2_and_3_with_its_certificate_verified(
    here: Host, stack: Stack, host: Any
) -> None:
    """Use the virtual addresses if there are any. Every balancer sends the requests, whether it holds one or not."""
    if not _in_use(stack):
        pytest.skip("every service is stopped")
    entrances = [*map(str, virtual.addresses(stack))] or [_address(_neighbour(stack, here))]
    first = _in_use(stack)[0]
    versions = {"1.1": "http1.1", "2": "http2", **({"3": "http3-only"} if stack.settings(Balancer).http3 else {})}
    script = "".join(
        _await(f"{_health(stack, entrance, first)} --{version} -w '%{{http_version}} %{{http_code}}'", first)
        for entrance in entrances
        for version in versions.values()
    )
    seen = host.run("timeout 60 sh -c %s", script).stdout.splitlines()
    asked = [(entrance, version) for entrance in entrances for version in versions]
    assert len(seen) == len(asked), f"{len(seen)} of {len(asked)} requests were answered within 60 s"
    bad = [
        f"{entrance} answers a request over HTTP/{version} with {_spoken(answer)}"
        for (entrance, version), answer in zip(asked, seen, strict=True)
        if answer.partition(" ")[0] != version or not _healthy(answer, first)
    ]
    assert not bad, f"requests for the health page of {first.name}: {'; '.join(bad)}"


def test_every_balancer_reaches_every_service(here: Host, stack: Stack, peer: Callable[[str], Any]) -> None:
    """Include the balancers that do not hold the virtual address: they may have to take it over at any moment."""
    services = _in_use(stack)
    requests = [_health(stack, _address(here), one) + " -w '%{url} %{http_code}'" for one in services]
    script = "".join(_await(request, one) for request, one in zip(requests, services, strict=True))
    answers = peer(_neighbour(stack, here).name).run("timeout 60 sh -c %s", script).stdout.splitlines()
    assert len(answers) == len(requests), f"{len(answers)} of {len(requests)} requests were answered within 60 s"
    bad = [
        f"{one.name} ({answer.rpartition(' ')[0]}) answers {_status(answer)}"
        for answer, one in zip(answers, services, strict=True)
        if not _healthy(answer, one)
    ]
    assert not bad, f"requests through {here.name}: {'; '.join(bad)}"


def test_every_balancer_serves_the_static_files_of_releases_itself(here: Host, stack: Stack, host: Any) -> None:
    """Request one of the newest release's files from this balancer, and compare it with the file on its disk."""
    running = {one.service for one in _in_use(stack)}
    wanted = [one for one in served(stack) if one.static and one.assets and one.service in running]
    if not wanted:
        pytest.skip("no service leaves its static files to the balancers")
    lines = [line.partition("=") for line in host.run(maintenance.FACTS).stdout.splitlines()]
    in_maintenance = maintenance.closed({key: value for key, _, value in lines})
    for one in wanted:
        folder = f"{asset_files.folder(one.service)}/current"
        found = host.run(
            f"cd {folder} && find . -type f -name '*[a-z].*' ! -name '*.gz' ! -name '* *' | sort | head -n 1"
        )
        assert found.rc == 0, f"{here.name} has no static files of {one.service}: inv deploy"
        if name := found.stdout.strip().removeprefix("./"):
            known_as = site.known_as(stack, one)
            request = _curl(stack, _address(here), f"{one.static}{name}", known_as=known_as).replace(
                " -o /dev/null", ""
            )
            answer = host.run("sh -c %s", f"{request} -f | cmp - {shlex.quote(f'{folder}/{name}')}")
            closed = one.service in in_maintenance or any(route.closed for route in one.routes)
            assert closed or answer.rc == 0, (
                f"{here.name} does not serve {one.static}{name} as it is on its disk: {answer.stdout}{answer.stderr}"
            )


def test_requests_go_to_every_application_host(here: Host, stack: Stack, host: Any) -> None:
    """Allow thirty seconds: a restarted host must pass two checks before it is used again."""
    wanted = {
        f"{service.name} {app.name} {endpoint(app.address, service.port)} up": (
            f"{service.name} on {app.name} ({endpoint(app.address, service.port)})"
        )
        for service in served(stack)
        for app in stops.served_by(stack, service)
    }
    unused: list[str] = []
    for _ in range(60):
        seen = {*host.check_output("/etc/plainstack/balancer/upstreams status").splitlines()}
        unused = [what for line, what in wanted.items() if line not in seen]
        if not unused:
            return
        time.sleep(0.5)
    raise AssertionError(
        f"{here.name} sends no requests to {', '.join(unused)}, because the health page did not answer as it should"
    )


def test_plain_http_is_redirected_to_https(here: Host, stack: Stack, peer: Callable[[str], Any]) -> None:
    request = f"{_curl(stack, _address(here), '/any?page=2', 'http')} -w '%{{http_code}} %{{redirect_url}}'"
    wanted = f"308 https://{site.name(stack)}/any?page=2"
    answer = peer(_neighbour(stack, here).name).run(request).stdout
    assert answer == wanted, f"{here.name} answers a request without TLS with {answer!r}; it should be {wanted!r}"


def test_a_name_that_is_not_the_sites_is_refused(here: Host, stack: Stack, peer: Callable[[str], Any]) -> None:
    if not stack.settings(Balancer).server_names:
        pytest.skip("without balancer.server_names the site answers to any name")
    address = bracketed(_address(here))
    answer = peer(_neighbour(stack, here).name).run(
        f"curl -s -m 20 -o /dev/null -w '%{{http_code}} ' -H 'Host: stranger.invalid' http://{address}/;"
        f" curl -sk -m 20 -o /dev/null --resolve stranger.invalid:443:{address} https://stranger.invalid/; echo $?"
    )
    status, _, code = answer.stdout.partition(" ")
    assert status == "421", f"{here.name} answers a request for stranger.invalid with {status}; it should be 421"
    failed_handshake = "35"
    assert code.strip() == failed_handshake, (
        f"{here.name} does not refuse a TLS handshake for stranger.invalid: curl ended with {code.strip()},"
        f" not {failed_handshake}"
    )


def test_the_certificate_that_is_served_has_20_days_left_or_that_part_of_90_days(
    here: Host, stack: Stack, host: Any
) -> None:
    address = _address(here)
    answer = host.run(
        "openssl s_client -connect %s -servername %s </dev/null 2>/dev/null | openssl x509 -noout -dates",
        endpoint(address, 443),
        site.name(stack),
    )
    assert answer.rc == 0, f"{here.name} shows no certificate for {site.name(stack)}: {answer.stderr}"
    begin, end = (ssl.cert_time_to_seconds(line.partition("=")[2]) for line in answer.stdout.splitlines())
    left, least = end - time.time(), min(20 * 86400, (end - begin) * 20 / 90)
    assert left > least, f"the certificate expires in {left / 86400:.1f} days; {least / 86400:.1f} should be left"


_OLD_CIPHERS = "AES128-SHA:AES256-SHA256:AES128-GCM-SHA256:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"
# Options of openssl s_client, and what it says about the connection.
_TLS = {
    "-tls1_3": "Protocol version: TLSv1.3",
    "-tls1_2": "Protocol version: TLSv1.2",
    # Without a lower security level, this client itself would refuse what the balancer must refuse.
    "-tls1_1 -cipher ALL:@SECLEVEL=0": "alert protocol version",
    "-tls1 -cipher ALL:@SECLEVEL=0": "alert protocol version",
    f"-tls1_2 -cipher {_OLD_CIPHERS}": "alert handshake failure",
}


def test_only_tls_1_2_and_1_3_with_forward_secrecy_are_offered(here: Host, stack: Stack, host: Any) -> None:
    asks = f"openssl s_client -brief -connect {endpoint(_address(here), 443)} -servername {site.name(stack)}"
    says = "grep -oE 'Protocol version: [A-Za-z0-9.]+|alert [a-z ]+' | head -n 1"
    script = "\n".join(f"timeout 30 {asks} {options} </dev/null 2>&1 | {says}" for options in _TLS)
    seen = host.run("sh -c %s", script).stdout.splitlines()
    assert len(seen) == len(_TLS), f"openssl got {len(seen)} of {len(_TLS)} answers from {here.name}"
    bad = [
        f"openssl s_client {options} gets {said!r} instead of {wanted!r}"
        for (options, wanted), said in zip(_TLS.items(), seen, strict=True)
        if said != wanted
    ]
    assert not bad, f"connections to {here.name}: {'; '.join(bad)}"


def test_the_status_pages_answer_on_loopback_only(
    here: Host, stack: Stack, host: Any, peer: Callable[[str], Any]
) -> None:
    page = host.run("curl -fsS -m 20 http://127.0.0.1:8081/stub_status")
    assert page.stdout.startswith("Active connections"), (
        f"http://127.0.0.1:8081/stub_status does not answer on {here.name}: {page.stdout[:200]}{page.stderr}"
    )
    neighbour = _neighbour(stack, here)
    if neighbour.name == here.name:
        pytest.skip("the stack has no other host")
    tries = " & ".join(
        f"timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/8081 && echo {address} answers'"
        for address in map(str, here.addresses)
    )
    answers = peer(neighbour.name).run(f"{tries} & wait").stdout.split("\n")
    reached = [line.removesuffix(" answers") for line in answers if line]
    assert not reached, f"{neighbour.name} reaches the status page at port 8081 of {', '.join(reached)}"


@pytest.mark.once
def test_exactly_one_balancer_holds_each_virtual_address_and_reports_it(
    stack: Stack, peer: Callable[[str], Any]
) -> None:
    if not virtual.addresses(stack):
        pytest.skip("the stack has no virtual address")
    for address in virtual.addresses(stack):
        _held_once(stack, str(address), peer)


def _held_once(stack: Stack, address: str, peer: Callable[[str], Any]) -> None:
    balancers = [balancer.name for balancer in stack.with_role("balancer")]
    seen: dict[str, str] = {}
    # The hosts are asked one after another, so the address may move in between.
    for _ in range(20):
        seen = {name: _holds(peer(name), address) for name in balancers}
        if sorted(seen.values()) == [*["0 0"] * (len(balancers) - 1), "1 1"]:
            return
        time.sleep(0.5)
    holding, reporting = (
        [name for name, answer in seen.items() if answer.split()[place : place + 1] == ["1"]] for place in (0, 1)
    )
    raise AssertionError(
        f"one balancer should hold and report {address}: held by {' and '.join(holding) or 'none'}, reported by"
        f" {' and '.join(reporting) or 'none'}"
    )


def _holds(host: Any, address: str) -> str:
    reported = f"sed -n 's/.*vip=\"{address}\". //p' {_METRICS}"
    return str(host.run(f'echo "$(ip -o address show to {address} | wc -l) $({reported})"').stdout.strip())


def _health(stack: Stack, address: str, service: Served) -> str:
    return _curl(stack, address, service.health_page, known_as=site.known_as(stack, service))


def _curl(stack: Stack, address: str, path: str, scheme: str = "https", known_as: str = "") -> str:
    """Return the curl command for a request such as a visitor's browser makes, sent to one address."""
    trusted = "/etc/plainstack/tls/ca.crt"
    if isinstance(stack.settings(Balancer).tls, GivenCertificate):
        trusted = SITE_CERTIFICATE
    elif stack.settings(Balancer).issuer:
        trusted = acme.TRUSTED
    words = ["curl", "-sS", "-m", "20", "-o", "/dev/null", "--cacert", trusted]
    return shlex.join([*words, *site.of_visitor(stack, path, address, scheme, known_as).curl()])


def _await(request: str, service: Served) -> str:
    return _AWAIT_ANSWER.format(request=request, statuses=" | ".join(service.health.statuses))


def _healthy(answer: str, service: Served) -> bool:
    status = answer.rpartition(" ")[2]
    return any(fnmatch.fnmatchcase(status, pattern) for pattern in service.health.statuses)


def _status(answer: str) -> str:
    """Return the status of an answer in words; curl writes 000 if there was none."""
    status = answer.rpartition(" ")[2]
    return "nothing" if status in ("", "000") else status


def _spoken(answer: str) -> str:
    """Return the status of an answer, and the version of HTTP in which it was sent."""
    status = _status(answer)
    return status if status == "nothing" else f"{status} over HTTP/{answer.partition(' ')[0]}"


def _address(balancer: Host) -> str:
    return str(balancer.public_addresses[0])


def _neighbour(stack: Stack, here: Host) -> Host:
    """Return the next balancer: only balancers are sure to reach each other's public address and to have curl."""
    balancers = stack.with_role("balancer")
    return balancers[(balancers.index(here) + 1) % len(balancers)]


def _in_use(stack: Stack) -> list[Served]:
    return [service for service in served(stack) if stops.served_by(stack, service)]
