"""Requests to the site and its services are like a visitor's, even if hosts of the stack send them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from plainstack.drill import faults, generators
from plainstack.engine.resources import File
from plainstack.inventory.stack import Stack
from plainstack.postgresql.failover import steps
from plainstack.roles import registry
from plainstack.roles.monitoring import jobs
from plainstack.secrets.values import Vault
from plainstack.services import health, site
from plainstack.services.processes import served
from tests import inventories

TEXT = """
stack: small
hosts:
  lb1: {address: 10.0.0.1, PUBLIC roles: [balancer, monitoring]}
  app1: {address: 10.0.0.3, roles: [app]}
  db1: {address: 10.0.0.5, roles: [db]}
balancer: {BALANCER}
services: {web: {source: apps/incidents, project: incidents_site, path: /shop/, health: /status/}}
database: {name: shop}
"""


WWW = "{host: www.shop.example, to: 'https://x.shop.example'}"
SITE = "{host: site.shop.example, path: /a, to: /b}"
ANY = "'*.shop.example'"
MOST = "{host: '*.shop.example', to: 'https://shop.example'}"
ALL_OF_WWW = "{host: www.shop.example, path: /, to: 'https://b.example/'}"


def stack_with(balancer: str, public: str = "public: 192.0.2.1,") -> Stack:
    text = TEXT.replace("BALANCER", balancer).replace("PUBLIC", public)
    return inventories.parse(text, "test.yaml", Path(__file__).parents[3])


@pytest.mark.parametrize(
    ("balancer", "public", "name"),
    [
        ("server_names: [shop.example, www.shop.example]", "public: 192.0.2.1,", "shop.example"),
        ("server_names: ['*.shop.example', shop.example]", "public: 192.0.2.1,", "shop.example"),
        ("server_names: ['*.shop.example']", "public: 192.0.2.1,", "www.shop.example"),
        (f"server_names: ['*.shop.example'], redirects: [{WWW}]", "public: 192.0.2.1,", "site.shop.example"),
        (f"server_names: ['*.shop.example'], redirects: [{WWW}, {SITE}]", "public: 192.0.2.1,", "site2.shop.example"),
        (f"server_names: [a.shop.example, {ANY}, shop.example], redirects: [{MOST}]", "", "shop.example"),
        (f"server_names: ['*.shop.example', b.example], redirects: [{MOST}]", "public: 192.0.2.1,", "b.example"),
        (f"server_names: [www.shop.example, b.example], redirects: [{ALL_OF_WWW}]", "public: 192.0.2.1,", "b.example"),
        ("virtual_address: 192.0.2.9, interface: eth1", "public: 192.0.2.1,", "192.0.2.9"),
        ("", "public: 192.0.2.1,", "192.0.2.1"),
        ("", "", "10.0.0.1"),
    ],
)
def test_every_request_uses_the_name_that_visitors_type_and_every_application_accepts_it(
    balancer: str, public: str, name: str
) -> None:
    stack = stack_with(balancer, public)
    (service,), host = served(stack), stack.hosts["app1"]
    assert site.name(stack) == name
    assert f"Host: {name}" in health.script(stack, host, "web", "web", "release")
    assert f"Host: {name}" in faults.Fault("app", "kill").healthy_script(stack, host)
    assert site.of_visitor(stack, service.health_page).url == f"https://{name}/shop/status/"
    assert f"https://{name}/shop/status/" in steps.asks_site(stack)
    assert generators.entrance(stack, Vault({}, {}, "")).name == name
    asked = [
        target
        for job in jobs(stack.hosts["lb1"], inventories.network(stack))
        for target in job.targets
        if "balancer" in job.name
    ]
    assert {target.labels["__param_hostname"] for target in asked} == {name}
    assert any(name == one or (one.startswith(".") and name.endswith(one)) for one in site.accepted(stack))


@pytest.mark.parametrize(
    ("balancer", "known"),
    [
        ("server_names: ['*.shop.example', shop.example]", "192.0.2.1 www.shop.example 192.0.2.1 shop.example"),
        ("server_names: [a.example], virtual_address: 192.0.2.9, interface: eth1", "192.0.2.9 a.example"),
        ("", ""),
    ],
)
def test_names_resolve_to_the_addresses_in_public_dns(balancer: str, known: str) -> None:
    assert " ".join(f"{address} {name}" for name, address in site.addresses(stack_with(balancer))) == known


def test_without_a_virtual_address_the_names_resolve_to_every_balancer() -> None:
    text = TEXT.replace("BALANCER", "server_names: [a.example]").replace("PUBLIC", "public: 192.0.2.1,")
    text = text.replace("hosts:\n", "hosts:\n  lb2: {address: 10.0.0.2, public: 192.0.2.2, roles: [balancer]}\n")
    stack = inventories.parse(text, "test.yaml", Path(__file__).parents[3])
    assert site.addresses(stack) == (("a.example", "192.0.2.2"), ("a.example", "192.0.2.1"))


def test_without_a_balancer_a_service_is_requested_as_localhost() -> None:
    text = TEXT.replace("BALANCER", "").replace("PUBLIC", "").replace("balancer, monitoring", "monitoring")
    stack = inventories.parse(text, "test.yaml", Path(__file__).parents[3])
    assert site.name(stack) in site.accepted(stack)
    assert steps.asks_site(stack) == []


def test_only_the_host_itself_and_balancers_are_trusted_about_the_scheme() -> None:
    stack = stack_with("")
    assert site.trusted_senders(stack, stack.hosts["app1"]) == ["10.0.0.1", "10.0.0.3"]
    both = stack.hosts["lb1"].model_copy(update={"roles": ("balancer", "app")})
    assert site.trusted_senders(stack.model_copy(update={"hosts": {"lb1": both}}), both) == ["10.0.0.1"]


DECLARED = "{path: /up, status: [200, 503], host: in.example, timeout: 9, interval: 7}"


def test_a_declared_health_page_is_requested_in_the_same_way_everywhere(vault: Vault) -> None:
    text = TEXT.replace("health: /status/", f"health: {DECLARED}").replace("BALANCER", "server_names: [shop.example]")
    stack = inventories.parse(text.replace("PUBLIC", ""), "test.yaml", Path(__file__).parents[3])
    host = stack.hosts["app1"]
    script = health.script(stack, host, "web", "web", "release")
    assert "--max-time 9" in script
    assert "Host: in.example" in script
    assert "http://10.0.0.3:8000/up" in script
    assert "\n200 | 503)\n" in script
    fault = faults.Fault("app", "kill").healthy_script(stack, host)
    assert "Host: in.example" in fault
    assert "in 200 | 503)" in fault
    files = {
        item.path: item.content.decode()
        for role in ("balancer", "monitoring")
        for item in inventories.wanted(registry()[role], stack, "lb1", vault)
        if isinstance(item, File)
    }
    targets = files["/etc/plainstack/balancer/upstreams.conf"]
    assert "web app1 10.0.0.3:8000 /up [!5]??,200,503 in.example 9 7" in targets
    assert "\n    shop.example/shop/up in.example;\n" in files["/etc/nginx/conf.d/site.conf"]
    modules = yaml.safe_load(files["/etc/prometheus/blackbox.yml"])["modules"]
    assert modules["site_https_200_503"]["http"]["valid_status_codes"] == [200, 503]
    assert "valid_status_codes" not in modules["site_https"]["http"]
    watched = yaml.safe_load(files["/etc/prometheus/targets/probe-balancer.yml"])
    assert [target["labels"]["__param_module"] for target in watched] == ["site_https_200_503"]
    assert [target["targets"] for target in watched] == [["https://10.0.0.1/shop/up"]]
