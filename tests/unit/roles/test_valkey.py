"""Role cache: how many hosts it can have, what its clients get, and what `inv status` says about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.engine.resources import File, Resource, Unit
from plainstack.engine.role import HostWork
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles import cache, cache_client
from plainstack.roles.cache.seen import status
from plainstack.secrets.values import Secret, Vault
from tests import inventories

TEXT = """\
stack: shop
hosts:
  app1: {address: 10.0.0.1, roles: [app]}
  work1: {address: 10.0.0.2, roles: [worker]}
  mon1: {address: 10.0.0.3, roles: [monitoring]}
  c1: {address: 10.0.0.4, roles: [cache]}
  c2: {address: 10.0.0.5, roles: [cache]}
  c3: {address: 10.0.0.6, roles: [cache]}
services: {web: {kind: binary, source: ".", processes: {web: {command: ./run}}, env: {URL: "${cache.url}"}}}
"""
VAULT = Vault(
    {name: Secret(name, f"pw-of-{name}") for name in ("cache/password", "cache/internal")},
    {},
    "authority",
    previous={"cache/password": Secret("cache/password", "old")},
)


def parse(text: str = TEXT) -> Stack:
    return inventories.parse(text, "hosts.yaml", Path())


def without(*hosts: str) -> str:
    return "".join(line for line in TEXT.splitlines(keepends=True) if line.strip().partition(":")[0] not in hosts)


def files(resources: list[Resource]) -> Mapping[str, str]:
    return {item.path: item.content.decode() for item in resources if isinstance(item, File)}


def wanted(host: str, text: str = TEXT) -> list[Resource]:
    return inventories.wanted(cache.ROLE, parse(text), host, VAULT)


def test_two_hosts_are_refused_because_neither_can_know_that_the_other_is_lost() -> None:
    with pytest.raises(InventoryError) as caught:
        parse(without("c3"))
    assert caught.value.problems[0].startswith("hosts.yaml:7: two hosts with the role cache cannot choose")


def test_several_hosts_must_keep_their_data() -> None:
    with pytest.raises(InventoryError) as caught:
        parse(f"{TEXT}cache: {{persistent: false}}\n")
    assert "hosts.yaml:10: cache.persistent: must be true with several hosts" in caught.value.problems[0]
    assert (
        "appendonly no"
        in files(wanted("c1", f"{without('c2', 'c3')}cache: {{persistent: false}}\n"))[
            "/etc/plainstack/cache/valkey.conf"
        ]
    )


def test_one_host_has_no_sentinel_and_accepts_writes_without_replicas() -> None:
    alone = wanted("c1", without("c2", "c3"))
    assert "valkey-sentinel.service" not in {item.name for item in alone if isinstance(item, Unit)}
    assert "min-replicas-to-write 0\n" in files(alone)["/etc/plainstack/cache/live.conf"]
    assert "min-replicas-to-write 1\n" in files(wanted("c1"))["/etc/plainstack/cache/live.conf"]


def test_old_and_new_passwords_are_accepted_while_a_rotation_is_under_way() -> None:
    rules = files(wanted("c2"))["/etc/plainstack/cache/users.acl"].splitlines()
    (everybody,) = [line for line in rules if line.startswith("user default ")]
    for password in ("pw-of-cache/password", "old"):
        assert f"#{hashlib.sha256(password.encode()).hexdigest()}" in everybody
    assert "pw-of" not in "\n".join(rules)


def test_the_applications_may_not_administer_the_server() -> None:
    rules = files(wanted("c2"))["/etc/plainstack/cache/users.acl"]
    (everybody,) = [line for line in rules.splitlines() if line.startswith("user default ")]
    assert "+@all -@admin" in everybody


@pytest.mark.parametrize(("host", "proxied"), [("app1", True), ("work1", True), ("mon1", False), ("c1", False)])
def test_hosts_that_run_services_have_a_proxy_that_knows_every_server(host: str, proxied: bool) -> None:
    found = files(inventories.wanted(cache_client.ROLE, parse(), host, VAULT))
    assert bool(found) is proxied
    if proxied:
        text = found["/etc/plainstack/cache_client/haproxy.cfg"]
        assert [line.split()[2] for line in text.splitlines() if line.startswith("    server ")] == [
            "10.0.0.4:6379",
            "10.0.0.5:6379",
            "10.0.0.6:6379",
        ]


def test_without_a_cache_no_host_has_a_proxy() -> None:
    text = without("c1", "c2", "c3").replace("${cache.url}", "x")
    assert inventories.wanted(cache_client.ROLE, parse(text), "app1", VAULT) == []
    assert cache_client.reads(parse(text)) == ()


def test_a_reference_to_a_cache_that_the_stack_does_not_have_is_refused() -> None:
    with pytest.raises(InventoryError) as caught:
        parse(without("c1", "c2", "c3"))
    assert "cache" in caught.value.problems[0]


def test_the_url_quotes_the_password() -> None:
    url = cache.ROLE.provides["cache.url"].value(parse(), parse().hosts["app1"], VAULT)
    assert url == "redis://:pw-of-cache%2Fpassword@127.0.0.1:6379/0"


def test_the_primary_restarts_after_its_replicas() -> None:
    roles = {"c1": "slave", "c2": "master", "c3": "slave"}
    work = {name: HostWork(frozenset(), frozenset(), {"cache.role": role}) for name, role in roles.items()}
    assert cache.turns(parse(), work) == [["c1"], ["c3"], ["c2"]]


PRIMARY = {"cache.role": "master", "cache.connected_slaves": "2"}
REPLICA = {"cache.role": "slave", "cache.master_host": "c1", "cache.master_link_status": "up"}


@pytest.mark.parametrize(
    ("answers", "cells", "problems"),
    [
        ((PRIMARY, REPLICA, REPLICA), ("primary, 2 replicas", "replica of c1", "replica of c1"), []),
        (
            (PRIMARY, REPLICA, REPLICA | {"cache.master_link_status": "down"}),
            ("primary, 2 replicas", "replica of c1", "replica of c1, not connected"),
            ["c3: this replica of the cache is not connected to its primary"],
        ),
        (
            (PRIMARY, PRIMARY, REPLICA),
            ("primary, 2 replicas", "primary, 2 replicas", "replica of c1"),
            ["c1: the cache has 2 primaries"],
        ),
        (
            ({}, REPLICA, REPLICA),
            ("down", "replica of c1", "replica of c1"),
            ["c1: Valkey does not answer", "c1: the cache has no primary"],
        ),
        ((None, REPLICA, REPLICA), ("unreachable", "replica of c1", "replica of c1"), []),
    ],
)
def test_status_names_the_primary_and_what_is_wrong(
    answers: tuple[Mapping[str, str] | None, ...], cells: tuple[str, ...], problems: list[str]
) -> None:
    found = status(parse(), dict(zip(("c1", "c2", "c3"), answers, strict=True)), 0)
    assert tuple(found.cells.values()) == cells
    assert [f"{host}: {text}" for host, text in found.problems] == problems
