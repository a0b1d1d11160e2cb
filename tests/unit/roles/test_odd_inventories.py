"""Unusual but plausible inventories: each is refused with a sentence, or nginx accepts the configuration."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.services.processes import served
from tests import inventories
from tests.unit.roles.real_nginx import placed, said_by_nginx

pytestmark = pytest.mark.programs

WORDS = ["a", "default", "hostnames", "include", "up", "tls", "addresses", "cache", "x" * 60, "plainstack-maintenance"]
KNOWN = ["shop.example", "www.shop.example", "*.shop.example", "default", ".".join(["y" * 60] * 4)]
NAMES = st.sampled_from(KNOWN)
SEGMENTS = st.lists(st.sampled_from([*WORDS[:8], "a.b", "robots.txt"]), max_size=2)
PATHS = SEGMENTS.map(lambda parts: "/" + "".join(f"{part}/" for part in parts))
STATIC = PATHS.filter(lambda path: path != "/")
PAGES = st.builds(lambda folder, page: f"{folder}{page}", PATHS, st.sampled_from([*WORDS, "robots.txt"]))
NETWORKS = st.sampled_from(
    ["10.0.0.0/8", "10.0.0.1", "192.0.2.0/255.255.255.0", "0.0.0.0/1", "2001:db8::/32", "fe80::1"]
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["X-A", "X" + "y" * 60, "X-Request-ID", "Alt-Svc", "Set-Cookie", "Vary", "Content-Type", "Retry-After"]
    ),
    st.sampled_from(["v", 'a"b', "a\\", "a;b{c}", "#x", "'"]),
    max_size=3,
)
SPANS = st.sampled_from([0, 1, "90s", "365d"])
CACHES = st.fixed_dictionaries(
    {"ttl": SPANS},
    optional={
        "stale": SPANS,
        "bypass": st.lists(st.sampled_from(["cookie", "authorization", "cookie:a", "cookie:" + "z" * 64]), max_size=3),
        "methods": st.sampled_from([["GET"], ["GET", "HEAD"], ["GET", "GET"]]),
    },
)
LIMITS = st.fixed_dictionaries(
    {"rate": st.sampled_from(["1/m", "999999/s"])},
    optional={"burst": st.sampled_from([0, 5, 100000]), "connections": st.sampled_from([1, 16384])},
)
ROUTES = st.fixed_dictionaries(
    {"path": PATHS},
    optional={
        "host": NAMES,
        "strip": st.booleans(),
        "limit": LIMITS,
        "cache": CACHES,
        "headers": HEADERS,
        "allow": st.lists(NETWORKS, min_size=1, max_size=2),
        "users": st.lists(st.sampled_from(["jane", "joe"]), min_size=1, max_size=2),
        "sticky": st.sampled_from(["cookie", "address"]),
        "buffering": st.booleans(),
        "max_body": st.sampled_from(["1M", "999999G"]),
    },
)
TARGETS = st.one_of(
    PAGES, PATHS, st.sampled_from(["https://shop.example", "https://www.shop.example/a/", "http://other.example:1/%20"])
)
REDIRECTS = st.fixed_dictionaries(
    {"to": TARGETS},
    optional={"host": NAMES, "path": st.one_of(PATHS, PAGES), "status": st.sampled_from([301, 302, 308])},
)
BALANCERS = st.fixed_dictionaries(
    {"server_names": st.just(KNOWN)},
    optional={
        "redirects": st.lists(REDIRECTS, max_size=3),
        "files": st.dictionaries(PAGES, st.just("hosts.yaml"), max_size=3),
        "max_body": st.sampled_from(["0", "10m", "999999999g"]),
        "maintenance": st.fixed_dictionaries({"allow": st.lists(NETWORKS, max_size=3)}),
        "http3": st.booleans(),
        "connections": st.sampled_from([1, 16384]),
    },
)
SERVICES = st.dictionaries(
    st.sampled_from([*WORDS[:8], "web", "l" * 28]),
    st.tuples(st.lists(st.one_of(PATHS, ROUTES), min_size=1, max_size=3), PAGES, st.none() | STATIC, st.booleans()),
    min_size=1,
    max_size=3,
)


def inventory(balancer: object, services: Mapping[str, tuple[object, object, object, bool]]) -> str:
    """Return the text of an inventory with these keys."""
    written = {
        name: {
            "kind": "binary",
            "source": ".",
            "routes": routes,
            **({"static": {"path": static, "folder": "public"}} if static else {}),
            "processes": {
                "web": {
                    "command": "run",
                    "port": 8000 + number,
                    "health": {"path": page, **({"host": "inner.example"} if named else {})},
                }
            },
        }
        for number, (name, (routes, page, static, named)) in enumerate(services.items())
    }
    hosts = {
        "lb1": {"address": "10.0.0.1", "roles": ["balancer"]},
        "app1": {"address": "10.0.0.3", "roles": ["app"]},
    }
    return yaml.safe_dump({"stack": "shop", "hosts": hosts, "balancer": balancer, "services": written})


def accepted(text: str) -> Stack | None:
    """Return the stack of an inventory; None if it is refused, with a line and a place for each problem."""
    try:
        return inventories.parse(text, "hosts.yaml", Path.cwd())
    except InventoryError as error:
        for line in str(error).splitlines():
            assert line.startswith("hosts.yaml:"), line
            assert line.split(": ")[1].split(".")[0].strip("'") in ("balancer", "services"), line
        return None


def said(text: str) -> str:
    """Return what nginx says about the configuration of an inventory; empty if it is refused."""
    stack = accepted(text)
    if stack is None:
        return ""
    passwords = {f"balancer/users/{user}": "x" for one in served(stack) for each in one.routes for user in each.users}
    with tempfile.TemporaryDirectory() as folder:
        return said_by_nginx(placed(stack, Path(folder), passwords))


@given(balancer=st.just({}) | BALANCERS, services=SERVICES)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_an_inventory_is_refused_or_nginx_accepts_its_configuration(
    balancer: object, services: dict[str, tuple[object, object, object, bool]]
) -> None:
    assert said(inventory(balancer, services)) == ""


PLAIN = "/", "/up", None, False


@pytest.mark.parametrize(
    "names",
    [
        [f"tenant-{number}.customers.shop.example" for number in range(700)],
        [f"*.tenant-{number}.customers.shop.example" for number in range(300)],
        [f"{'y' * 60}.{'z' * 60}.{'w' * 60}.t{number}.example" for number in range(30)],
        [f"t{number}.example" for number in range(5000)],
        ["default", "hostnames", "include", "volatile"],
    ],
    ids=["many", "wildcards", "long", "very many", "words of nginx"],
)
def test_many_and_long_names_fit_into_nginxs_tables(names: list[str]) -> None:
    page = ["/"], "/" + "p" * 150, None, True
    text = inventory({"server_names": names}, {"web": page})
    assert accepted(text)
    assert said(text) == ""


FEW_HOSTS = [{}, {"host": "shop.example"}, {"host": "x.shop.example"}, {"host": "*.shop.example"}]
FILES = st.sampled_from([None, "/a/"])


@given(
    more=st.lists(st.just("/b/"), max_size=1),
    host=st.sampled_from(FEW_HOSTS[1:]),
    redirects=st.lists(st.tuples(st.sampled_from(FEW_HOSTS), st.sampled_from(["/a/", "/b/"])), max_size=1),
    files=st.tuples(FILES, FILES),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_nginx_accepts_files_routes_and_redirects_at_the_same_path_of_different_names(
    more: list[str],
    host: Mapping[str, str],
    redirects: list[tuple[Mapping[str, str], str]],
    files: tuple[str | None, str | None],
) -> None:
    moved = [{**name, "path": path, "to": "https://other.example/"} for name, path in redirects]
    services = {"web": (["/", *more], "/up", files[0], False), "api": ([{**host}], "/api", files[1], False)}
    assert said(inventory({"server_names": ["shop.example", "*.shop.example"], "redirects": moved}, services)) == ""
