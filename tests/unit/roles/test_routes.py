"""Routes as visitors meet them: names, limits, logins, headers and redirects, through a real nginx."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from plainstack.services import site
from tests import inventories
from tests.unit.roles.real_nginx import Edge, running
from tests.waiting import until

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer:
  server_names:
    [www.shop.example, shop.example, api.shop.example, old.example, in.shop.example, soon.example, "*.tenant.example",
     "*.old.example"]
  redirects:
    - {host: www.shop.example, to: "https://shop.example"}
    - {host: old.example, to: "https://shop.example/archive/"}
    - {path: /blog/, to: /news/}
    - {path: /terms, to: "https://legal.example/terms"}
    - {host: "*.old.example", to: "https://shop.example"}
    - {host: soon.example, to: "https://shop.example", status: 302}
    - {path: /v1/, to: /v2/, status: 308}
    - {path: /form, to: /form/, status: 307}
services:
  web:
    kind: binary
    source: .
    routes:
      - /
      - {path: /reports/, timeout: 1, max_body: 1M}
      - {path: /login/, limit: {rate: 1/m, burst: 2}}
      - {path: /up/, users: [jane]}
      - {path: /raw/, strip: true}
      - {path: /wait/, limit: {connections: 2}}
      - path: /embed/
        headers: {X-Frame-Options: ALLOWALL, Content-Security-Policy: "default-src 'self'; img-src \\"x\\""}
    processes: {web: {command: run, port: 8000, health: /up/page}}
  api:
    kind: binary
    source: .
    routes: [{host: api.shop.example}]
    processes: {web: {command: run, port: 8001, health: {path: /up, host: inner.example}}}
  intra:
    kind: binary
    source: .
    routes:
      - {host: in.shop.example, users: [jane, joe], max_body: 1M}
      - {host: in.shop.example, path: /far/, allow: [192.0.2.0/24]}
      - {host: in.shop.example, path: /near/, allow: [127.0.0.0/8]}
    processes: {web: {command: run, port: 8002, health: /up}}
  tenants:
    kind: binary
    source: .
    routes: [{host: "*.tenant.example"}]
    processes: {web: {command: run, port: 8003, health: {path: /up, host: tenants.example}}}
"""
SHOP, STAFF = "https://shop.example", "https://in.shop.example"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer with four services."""
    stack = inventories.parse(TEXT, "hosts.yaml", Path.cwd())
    secrets = {"balancer/users/jane": "correct horse", "balancer/users/joe": "battery"}
    with running(stack, tmp_path_factory.mktemp("edge"), secrets) as started:
        yield started


def served_by(edge: Edge, url: str) -> str:
    """Return the service that answers at a URL."""
    return edge.curl(url)[1].partition("x-service: ")[2].partition("\r")[0]


@pytest.mark.parametrize(
    ("url", "service"),
    [
        (f"{SHOP}/echo", "web"),
        (f"{SHOP}/any/page", "web"),
        ("https://api.shop.example/echo", "api"),
        # Routes without a name are served under every name.
        ("https://api.shop.example/embed/x", "web"),
        ("https://a.tenant.example/", "tenants"),
        ("https://api.shop.example/up", "api"),
    ],
)
def test_the_name_and_the_path_choose_the_service(edge: Edge, url: str, service: str) -> None:
    assert served_by(edge, url) == service


def test_an_unknown_name_is_refused(edge: Edge) -> None:
    assert edge.status("https://stranger.example/") == ""
    assert edge.status("http://stranger.example/") == "421"


@pytest.mark.parametrize("name", ["a.b.tenant.example", "b.a.soon.old.example", "tenant.example", "x-tenant.example"])
def test_the_asterisk_of_a_name_stands_for_one_label_as_in_a_certificate(edge: Edge, name: str) -> None:
    assert edge.status(f"https://{name}/") == ""
    assert edge.status(f"http://{name}/") == "421"
    assert edge.status("https://a.tenant.example/", "-H", f"Host: {name}") == "421"


@pytest.mark.parametrize("name", ["a.tenant.example", "A.Tenant.example", "a.tenant.example.", "gone.old.example"])
def test_a_name_of_a_wildcard_is_answered(edge: Edge, name: str) -> None:
    assert edge.status(f"https://{name}/") == ("301" if "old" in name else "200")
    assert edge.status(f"http://{name}/") == "308"


def test_a_service_sees_the_name_that_the_visitor_typed(edge: Edge) -> None:
    assert "Host: api.shop.example" in edge.curl("https://api.shop.example/echo")[2]
    for name in ("a.tenant.example", "a.tenant.example:8443"):
        assert f"Host: {name}\n" in edge.curl("https://a.tenant.example/echo", "-H", f"Host: {name}")[2]
    # The health page gets the request that its service declares only under the name of this service.
    assert "Host: inner.example" in edge.curl("https://api.shop.example/up")[2]
    assert "Host: inner.example" not in edge.curl(f"{SHOP}/up")[2]
    assert "Host: tenants.example" in edge.curl("https://a.tenant.example/up")[2]


@pytest.mark.parametrize(
    ("url", "status", "target"),
    [
        ("https://www.shop.example/a%20b/?c=d", "301", "https://shop.example/a%20b/?c=d"),
        ("https://old.example/any/page", "301", "https://shop.example/archive/"),
        (f"{SHOP}/blog/2024/one?x=1", "301", "https://shop.example/news/2024/one?x=1"),
        (f"{SHOP}/blog/a%2Fb%3Fc%20d?x=1", "301", "https://shop.example/news/a%2fb%3fc%20d?x=1"),
        (f"{SHOP}/terms?lang=de", "301", "https://legal.example/terms?lang=de"),
        (f"{SHOP}/terms/other", "200", ""),
        ("https://soon.example/x", "302", "https://shop.example/x"),
        (f"{SHOP}/v1/a%20b%0d%0aX:y?x=1", "308", "https://shop.example/v2/a%20b%0d%0ax:y?x=1"),
        (f"{SHOP}/%761/a%20b?x=1", "301", "https://shop.example/v2/a%20b?x=1"),
        (f"{SHOP}/form?x=1", "307", "https://shop.example/form/?x=1"),
        (f"{SHOP}/form/", "200", ""),
    ],
)
def test_a_redirect_keeps_the_query_and_the_rest_of_the_path(edge: Edge, url: str, status: str, target: str) -> None:
    seen, headers, _ = edge.curl(url)
    assert (seen, location(edge, headers)) == (status, target)


def location(edge: Edge, headers: str) -> str:
    """Return the target of a redirect, as on a host with the usual port."""
    return headers.partition("location: ")[2].partition("\r")[0].replace(f":{edge.port}", "")


def test_a_route_has_a_time_out_and_a_largest_body_of_its_own(edge: Edge, tmp_path: Path) -> None:
    assert edge.status(f"{SHOP}/reports/slow-30") == "504"
    assert edge.status(f"{SHOP}/slow-2") == "200"
    (tmp_path / "body").write_bytes(b"x" * 2_000_000)
    body = ("--data-binary", f"@{tmp_path}/body", "-H", "Expect:")
    assert edge.status(f"{SHOP}/reports/", *body) == "413"
    assert edge.status(f"{SHOP}/", *body) != "413"
    assert edge.status(f"{SHOP}/reports/", *body, "-H", "Accept: text/event-stream") == "413"


def test_an_address_gets_429_after_its_burst_and_only_on_that_route(edge: Edge) -> None:
    seen = Counter(edge.status(f"{SHOP}/login/") for _ in range(6))
    assert seen == {"200": 3, "429": 3}
    # An event stream is counted as well.
    assert edge.status(f"{SHOP}/login/", "-H", "Accept: text/event-stream") == "429"
    assert edge.status(f"{SHOP}/") == "200"


def test_an_address_can_have_some_requests_of_a_route_in_progress(edge: Edge) -> None:
    with edge.holding(f"{SHOP}/wait/", 2) as held:
        assert {edge.status(f"{SHOP}/wait/") for _ in range(3)} == {"429"}
        assert edge.status(f"{SHOP}/") == "200"
    assert {each.result() for each in held} == {"200"}


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream"])
def test_the_path_of_a_route_can_be_removed(edge: Edge, accept: str) -> None:
    kind = ("-H", f"Accept: {accept}", "-H", "X-Forwarded-Prefix: /forged")
    request = edge.curl(f"{SHOP}/raw/a%20b/echo?x=%2F", *kind)[2]
    assert request.startswith("GET /a%20b/echo?x=%2F HTTP")
    assert "X-Forwarded-Prefix: /raw\n" in request
    assert "Prefix" not in edge.curl(f"{SHOP}/echo", *kind)[2]


@pytest.mark.parametrize(
    ("sent", "target"),
    [
        ("/login?next=/", "/raw/login?next=/"),
        ("https://HOST/login", f"{SHOP}/raw/login"),
        # An application that knows X-Forwarded-Prefix has added it.
        ("/raw/login", "/raw/login"),
        ("https://HOST/raw/login", f"{SHOP}/raw/login"),
        ("https://other.example/login", "https://other.example/login"),
        ("//other.example/login", "//other.example/login"),
        # This begins as the balancer's own name for the service, http://web.
        ("http://website.example/login", "http://website.example/login"),
        ("login", "login"),
    ],
)
def test_a_redirect_of_an_application_without_its_prefix_gets_it(edge: Edge, sent: str, target: str) -> None:
    headers = edge.curl(f"{SHOP}/raw/redirect?{sent}", "-H", f"Host: shop.example:{edge.port}")[1]
    assert location(edge, headers) == target
    headers = edge.curl(f"{SHOP}/redirect?{sent}", "-H", f"Host: shop.example:{edge.port}")[1]
    assert location(edge, headers) == sent.replace("HOST", "shop.example")


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream"])
def test_a_login_is_needed_and_the_application_does_not_get_it(edge: Edge, accept: str) -> None:
    kind = ("-H", f"Accept: {accept}")
    assert edge.status(f"{STAFF}/echo", *kind) == "401"
    assert edge.status(f"{STAFF}/echo", *kind, "-u", "jane:wrong") == "401"
    assert edge.status(f"{STAFF}/echo", *kind, "-u", "joe:correct horse") == "401"
    status, _, request = edge.curl(f"{STAFF}/echo", *kind, "-u", "jane:correct horse")
    assert status == "200"
    assert "Authorization" not in request
    assert "Authorization: Basic" in edge.curl(f"{SHOP}/echo", *kind, "-u", "a:b")[2]


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream"])
def test_only_allowed_networks_reach_a_route(edge: Edge, accept: str) -> None:
    kind = ("-H", f"Accept: {accept}")
    assert edge.status(f"{STAFF}/far/", *kind) == "403"
    assert edge.status(f"{STAFF}/near/", *kind) == "200"
    assert edge.status(f"{STAFF}/near/../", *kind, "--path-as-is") == "400"


def test_a_post_gets_a_new_connection_and_all_that_its_route_says(edge: Edge) -> None:
    sent = [f"{SHOP}/once", f"{SHOP}/raw/once", f"{SHOP}/embed/once", f"{SHOP}/reports/once"]
    for url in sent:
        assert edge.status(url, "-d", "x") == "200"
    assert "x-frame-options: allowall" in edge.curl(f"{SHOP}/embed/x", "-d", "x")[1]
    assert edge.status(f"{STAFF}/once", "-d", "x") == "401"
    assert edge.status(f"{STAFF}/far/once", "-d", "x") == "403"
    log = edge.folder / "var/log/nginx/access.log"
    until(lambda: log.read_text().count("/once HTTP") == len(sent) + 2, "the requests in the log")
    lines = [line for line in log.read_text().splitlines() if "/once HTTP" in line and '" 200 ' in line]
    assert ["service=web.once" in line for line in lines] == [True] * len(sent)


def test_the_stacks_own_hosts_reach_the_health_page_without_a_login(edge: Edge) -> None:
    """This includes a page below a route other than the first."""
    assert edge.status(f"{STAFF}/up") == "200"
    assert edge.status(f"{SHOP}/up/page") == "200"
    assert edge.status(f"{SHOP}/up/other") == "401"


def test_headers_of_a_route_replace_those_of_the_application_and_the_defaults(edge: Edge) -> None:
    _, headers, _ = edge.curl(f"{SHOP}/embed/x")
    lines = headers.splitlines()
    assert [line for line in lines if line.startswith("x-frame-options")] == ["x-frame-options: allowall"]
    assert "content-security-policy: default-src 'self'; img-src \"x\"" in lines
    for kept in ("x-content-type-options: nosniff", "referrer-policy: strict-origin-when-cross-origin"):
        assert lines.count(kept) == 1
    assert "x-powered-by" not in headers
    assert "x-frame-options: sameorigin" in edge.curl(f"{SHOP}/")[1]


def test_the_name_that_the_stack_uses_for_a_wildcard_is_not_redirected(tmp_path: Path) -> None:
    text = (
        TEXT[: TEXT.index("balancer:\n")]
        + """
balancer: {server_names: ["*.shop.example"], redirects: [{host: www.shop.example, to: "https://a.shop.example"}]}
services:
  web: {kind: binary, source: ., processes: {web: {command: run, port: 8000, health: /up}}}
"""
    )
    stack = inventories.parse(text, "hosts.yaml", Path.cwd())
    with running(stack, tmp_path / "edge") as edge:
        assert edge.status(f"https://{site.name(stack)}/up") == "200"
        assert edge.status("https://www.shop.example/up") == "301"


def test_no_response_is_worth_a_warning(edge: Edge) -> None:
    """This includes those that are sent before the request has reached a location."""
    assert edge.status("https://www.shop.example/") == "301"
    assert edge.status(f"{SHOP}/a/../b", "--path-as-is") == "400"
    assert edge.says(b"GET / HTTP/1.1\r\nHost: shop.example\r\nHost: other.example\r\n\r\n").startswith("HTTP/1.1 400")
    assert "uninitialized" not in (edge.folder / "var/log/nginx/error.log").read_text()
