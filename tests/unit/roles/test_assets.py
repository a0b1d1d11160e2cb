"""Static files that balancers serve themselves, through a real nginx: their headers, and what they lack."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import inventories
from tests.unit.roles.real_nginx import Edge, running
from tests.waiting import until

pytestmark = pytest.mark.programs

TEXT = """
stack: shop
hosts:
  lb1: {address: 10.0.0.1, roles: [balancer]}
  app1: {address: 10.0.0.3, roles: [app]}
balancer: {server_names: [shop.example]}
services:
  web:
    source: .
    project: shop
    routes: [{path: /, headers: {X-Frame-Options: DENY}}]
  api-2:
    kind: binary
    source: .
    routes: [{path: /api/, strip: true}]
    static: {path: /api/files.d/, folder: out}
    processes: {web: {command: run, port: 8001, health: /up}}
  desk:
    kind: binary
    source: .
    routes: [{path: /staff/, allow: [192.0.2.0/24]}]
    static: {path: /staff/static/, folder: out}
    processes: {web: {command: run, port: 8002, health: /up}}
  old:
    source: .
    project: old
    path: /old/
    port: 8003
    static_by: application
"""
SHOP = "https://shop.example"
FOREVER, BRIEF = "public, max-age=31536000, immutable", "public, max-age=60"
HASHED = ("css/base.0a1b2c3d4e5f.css", "css/base.123456789012.css", "app-3f9ac0d1.js", "chunk.9Zx_81abQ.min.js")
PLAIN = ("css/base.css", "select2-bootstrap4.min.css", "jquery-3.7.1.min.js", "app-production.js", "mod.mjs", "a b.txt")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Start a balancer that has the files of three services."""
    folder = tmp_path_factory.mktemp("edge")
    stack = inventories.parse(TEXT, "hosts.yaml", Path.cwd())
    for service in ("web", "api-2", "desk", "old"):
        current = folder / f"var/lib/plainstack-static/{service}/current"
        for name in (*HASHED, *PLAIN):
            (current / name).parent.mkdir(parents=True, exist_ok=True)
            (current / name).write_text(f"{service} {name}")
    (folder / "var/lib/plainstack-static/web/secret").write_text("outside the files")
    (folder / "var/lib/plainstack-static/web/current/big.css").write_text("plain")
    (folder / "var/lib/plainstack-static/web/current/big.css.gz").write_bytes(gzip.compress(b"made before", mtime=0))
    with running(stack, folder) as started:
        yield started


def header(edge: Edge, url: str, name: str, *options: str) -> str:
    """Return the value of a header of a response, in lower case."""
    return edge.curl(url, *options)[1].partition(f"\n{name.lower()}: ")[2].partition("\r")[0]


@pytest.mark.parametrize(
    ("name", "cached"), [*((name, FOREVER) for name in HASHED), *((name, BRIEF) for name in PLAIN)]
)
def test_a_name_with_a_hash_is_cached_for_a_year_and_others_briefly(edge: Edge, name: str, cached: str) -> None:
    status, head, body = edge.curl(f"{SHOP}/static/{name.replace(' ', '%20')}")
    assert (status, body) == ("200", f"web {name}")
    assert f"cache-control: {cached}\r" in head
    assert "x-service" not in head


def test_files_have_the_headers_of_all_responses_and_those_of_their_route(edge: Edge) -> None:
    url = f"{SHOP}/static/css/base.css"
    assert header(edge, url, "x-content-type-options") == "nosniff"
    assert header(edge, url, "x-frame-options") == "deny"
    assert header(edge, url, "access-control-allow-origin") == "*"
    assert header(edge, url, "content-type") == "text/css; charset=utf-8"
    assert header(edge, f"{SHOP}/static/mod.mjs", "content-type").startswith("text/javascript")


def test_a_browser_that_has_the_file_gets_304(edge: Edge) -> None:
    url = f"{SHOP}/static/css/base.css"
    tag = header(edge, url, "etag")
    assert tag
    assert edge.status(url, "-H", f"If-None-Match: {tag}") == "304"


def test_a_file_that_the_build_has_compressed_is_sent_as_it_is(edge: Edge) -> None:
    assert edge.curl(f"{SHOP}/static/big.css", "--compressed")[2] == "made before"
    assert edge.curl(f"{SHOP}/static/big.css")[2] == "plain"


@pytest.mark.parametrize("path", ["gone.css", "css/", "css", "", ".none"])
def test_a_file_that_the_balancer_lacks_is_requested_from_the_application(edge: Edge, path: str) -> None:
    status, head, _ = edge.curl(f"{SHOP}/static/{path}")
    assert (status, "x-service: web\r" in head) == ("200", True)
    assert "cache-control" not in head


def test_a_route_with_strip_does_not_change_the_paths_of_static_files(edge: Edge) -> None:
    assert edge.curl(f"{SHOP}/api/files.d/app-3f9ac0d1.js")[2] == "api-2 app-3f9ac0d1.js"
    assert "x-service: api-2\r" in edge.curl(f"{SHOP}/api/files.d/gone.js")[1]
    assert "x-service: api-2\r" in edge.curl(f"{SHOP}/api/filesxd/css")[1]


def test_files_below_a_closed_route_are_closed(edge: Edge) -> None:
    assert edge.status(f"{SHOP}/staff/static/css/base.css") == "403"
    assert edge.status(f"{SHOP}/staff/static/gone.css") == "403"


def test_files_that_the_application_serves_are_passed_on(edge: Edge) -> None:
    assert "x-service: old\r" in edge.curl(f"{SHOP}/old/static/css/base.css")[1]


@pytest.mark.parametrize(
    "path", ["../secret", "..%2fsecret", "%2e%2e/secret", "css/../../secret", "..%5csecret", "%00", "css/..;/secret"]
)
def test_no_path_leads_out_of_the_folder(edge: Edge, path: str) -> None:
    _, head, body = edge.curl(f"{SHOP}/static/{path}", "--path-as-is")
    assert "outside" not in body
    assert "cache-control: public" not in head


def test_a_service_in_maintenance_serves_no_files(edge: Edge) -> None:
    page = edge.folder / "var/lib/plainstack-maintenance/web.html"
    page.write_text("closed")
    try:
        until(lambda: edge.status(f"{SHOP}/static/css/base.css") == "503", "the maintenance page")
    finally:
        page.unlink()
    until(lambda: edge.status(f"{SHOP}/static/css/base.css") == "200", "the end of the maintenance")
