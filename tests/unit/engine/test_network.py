"""The hosts to which a role opens its ports follow from what other roles declare in `uses`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from plainstack.engine.declared import by_name
from plainstack.engine.network import Allowed, Network
from plainstack.engine.resources import File
from plainstack.engine.role import Opening, Role
from plainstack.inventory.stack import Stack
from plainstack.postgresql.hosts import clients
from tests import inventories
from tests.unit.conftest import fake_vault

TEXT = """
stack: small
hosts:
  a: {address: 10.0.0.1, public: 10.1.0.1, roles: [app]}
  b: {address: 10.0.0.2, public: 10.1.0.2, roles: [app, db]}
  c: {address: 10.0.0.3, roles: [db]}
services: {web: {source: ., project: p}}
database: {name: shop}
"""


@pytest.fixture
def small() -> Stack:
    return inventories.parse(TEXT, "hosts.yaml", Path())


def role(name: str, *openings: Opening, uses: tuple[str, ...] = ()) -> Role:
    return Role(name=name, desired=lambda *_: (), opens=lambda *_: openings, uses=uses)


def allowed(stack: Stack, host: str, *roles: Role) -> list[Allowed]:
    return list(Network(stack, {one.name: one for one in roles}).allowed(stack.hosts[host]))


def test_a_port_is_open_to_the_hosts_of_the_roles_that_use_it(small: Stack) -> None:
    db = role("db", Opening("sql", 5432, "tcp", "sql: {user}"), Opening("metrics", 9187, "tcp", "metrics"))
    assert allowed(small, "c", db, role("app", uses=("db.sql",))) == [
        Allowed(5432, "tcp", ("10.0.0.1", "10.0.0.2"), "sql: app")
    ]
    assert [one.port for one in allowed(small, "c", db, role("app", uses=("*.metrics",)))] == [9187]


def test_a_port_that_its_own_role_uses_is_open_between_the_hosts_of_the_role(small: Stack) -> None:
    peers = role("app", Opening("vrrp", 0, "vrrp", "peers", public=True), uses=("app.vrrp",))
    assert allowed(small, "a", peers) == [Allowed(0, "vrrp", ("10.1.0.2",), "peers")]


def test_a_port_is_also_open_to_the_roles_that_it_names(small: Stack) -> None:
    own = replace(role("db", Opening("sql", 5432, "tcp", "sql: {user}")), offers_to={"sql": ("app",)})
    network = Network(small, {"db": own, "app": role("app")})
    assert [*network.allowed(small.hosts["c"])] == [Allowed(5432, "tcp", ("10.0.0.1", "10.0.0.2"), "sql: app")]
    assert [host.name for host in network.users("db.sql")] == ["a", "b"]


def test_a_port_without_users_is_open_to_the_sources_that_it_names(small: Stack) -> None:
    anybody, networks = Opening("http", 80, "tcp", "http", None), Opening("ssh", 22, "tcp", "ssh", ("10.2.0.0/16",))
    assert allowed(small, "a", role("app", anybody, networks, Opening("none", 1, "tcp", "none"))) == [
        Allowed(80, "tcp", None, "http"),
        Allowed(22, "tcp", ("10.2.0.0/16",), "ssh"),
    ]


def test_another_role_that_uses_the_database_may_reach_it_and_log_in(
    small: Stack, registry: Mapping[str, Role]
) -> None:
    """The packet filter and pg_hba.conf both follow from one word in `uses`."""
    host = small.hosts["a"].model_copy(update={"name": "rep1", "address": "10.0.0.9", "roles": ("reports",)})
    stack = small.model_copy(update={"hosts": {**small.hosts, "rep1": host}})
    network = Network(stack, {**registry, "reports": role("reports", uses=("db.application",))})
    ports = {one.port for one in network.allowed(stack.hosts["c"]) if "10.0.0.9" in (one.sources or ())}
    assert ports == {5432}
    assert clients(network) == ["a", "rep1"], "a failover makes it shut the old primary out"
    vault = fake_vault(stack, by_name(stack, registry))
    wanted = registry["db"].desired(stack, stack.hosts["c"], vault, network)
    (hba,) = [item for item in wanted if isinstance(item, File) and item.path.endswith("pg_hba.conf")]
    assert b"10.0.0.9/32  scram-sha-256  # rep1" in hba.content


def test_every_port_that_the_shipped_roles_use_is_offered(stack: Stack, registry: Mapping[str, Role]) -> None:
    media = TEXT.replace("project: p", "project: p, hosts: [a, b], writable: [{path: media, backup: true}]")
    text = media.replace("roles: [app]", "roles: [worker]").replace("[db]", "[db, backup]")
    backed_up = inventories.parse(text, "test.yaml", Path())
    offers = {
        f"{one.name}.{opening.offer}"
        for one in registry.values()
        for some in (stack, backed_up)
        for host in some.hosts.values()
        for opening in one.opens(some, host)
    }
    for one in registry.values():
        for pattern in one.uses:
            assert any(fnmatchcase(offer, pattern) for offer in offers), f"{one.name} uses {pattern}"


def test_a_port_that_no_role_uses_stays_closed(stack: Stack, registry: Mapping[str, Role]) -> None:
    silent = {name: replace(one, uses=()) for name, one in registry.items()}
    assert [one.port for one in Network(stack, silent).allowed(stack.hosts["db1"])] == [22]
