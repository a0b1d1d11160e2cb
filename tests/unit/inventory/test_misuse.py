"""Names, ports and addresses that look right but cannot be used: each is refused with its reason and its line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.engine.desired import HostDesired
from plainstack.engine.resources import Unit, User
from plainstack.engine.role import Role
from plainstack.inventory import port_numbers as ports
from plainstack.inventory.misuse import misuse
from plainstack.inventory.stack import Stack
from plainstack.postgresql import sql
from plainstack.postgresql.validation import reserved
from plainstack.secrets.values import Vault
from plainstack.services.processes import served
from tests import inventories
from tests.unit.inventory.test_inventory import GOOD, problems

SSH, BALANCER, BACKUP, MONITORING = "ssh: {", "balancer: {", "backup: {", "monitoring: {"


def with_section(text: str) -> str:
    return GOOD.replace("services:\n", f"{text}\nservices:\n")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0", "the address of one machine: 0.0.0.0 is in 0.0.0.0/8, which means 'this network'"),
        ("127.0.0.1", "the address of one machine: 127.0.0.1 is a loopback address"),
        ("127.1.2.3", "the address of one machine: 127.1.2.3 is a loopback address"),
        ("169.254.169.254", "the address of one machine: 169.254.169.254 is a link-local address"),
        ("224.0.0.1", "the address of one machine: 224.0.0.1 is a multicast address"),
        ("255.255.255.255", "the address of one machine: 255.255.255.255 is the broadcast address"),
        ("240.0.0.1", "the address of one machine: 240.0.0.1 is in 240.0.0.0/4, which is reserved"),
        ("203.0.113.7/24", "ANY address without a prefix length: 203.0.113.7"),
        ("'2001:db8::1/64'", "ANY address without a prefix length: 2001:db8::1"),
        ("010.0.0.1", "ANY address"),
        ("db1.example.com", "ANY address"),
        ("'::'", "ANY6 address of one machine: :: is the address that means 'any address'"),
        ("'::1'", "ANY6 address of one machine: ::1 is a loopback address"),
        ("'fe80::1'", "ANY6 address of one machine: fe80::1 is a link-local address"),
        ("'2001:db8::1%eth0'", "ANY address without an interface: 2001:db8::1"),
        ("'ff02::1'", "ANY6 address of one machine: ff02::1 is a multicast address"),
        (
            "'::ffff:192.0.2.1'",
            "ANY6 address of one machine: ::ffff:c000:201 is an IPv4 address",
        ),
    ],
)
@pytest.mark.parametrize("key", ["address", "public", "virtual_address", "visitor"])
def test_an_unusable_address_is_refused_with_the_reason(address: str, reason: str, key: str) -> None:
    # Only an address of the stack's own network and the site's may be of either version.
    reason = reason.replace("ANY address", "an IPv4 address" if key == "public" else "an IPv4 or IPv6 address")
    reason = "an IPv4 address" if key == "public" and "ANY6" in reason else reason.replace("ANY6", "the")
    if key == "virtual_address":
        text, place = with_section(f"balancer: {{virtual_address: {address}}}"), "6: balancer.virtual_address"
    elif key == "visitor":
        text, place = with_section(f"lab: {{visitors: {{me: {{address: {address}}}}}}}"), "6: lab.visitors.me.address"
    else:
        values = {"address": "10.0.0.3", key: address}
        text = GOOD.replace("address: 10.0.0.3", ", ".join(f"{name}: {value}" for name, value in values.items()))
        place = f"5: hosts.db1.{key}"
    assert problems(text)[0].startswith(f"my.yaml:{place}: must be {reason}")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        # the virtual address: lb1 has 10.1.0.1
        (BALANCER + "virtual_address: 10.0.0.200}", "balancer.virtual_address: 10.0.0.200 is outside 10.1.0.0/24"),
        (BALANCER + "virtual_address: 10.1.0.0}", "balancer.virtual_address: 10.1.0.0 is the network address"),
        (BALANCER + "virtual_address: 10.1.0.255}", "balancer.virtual_address: 10.1.0.255 is the broadcast address"),
        (
            BALANCER + "virtual_address: 10.1.4.9, network: 10.1.0.0/22}",
            "balancer.virtual_address: 10.1.4.9 is not in balancer.network, 10.1.0.0/22",
        ),
        (BALANCER + "network: 10.1.0.7/22}", "balancer.network: must be a network's first address: 10.1.0.7 is a"),
        # retention
        (BACKUP + "retention: RECOVERY WINDOW OF 0 DAYS}", "backup.retention: must be at least 1: with 0 no backup"),
        (BACKUP + "retention: REDUNDANCY 0}", "backup.retention: must be at least 1: with 0 no backup is kept"),
        (BACKUP + "retention: REDUNDANCY 00}", "backup.retention: must be at least 1: with 0 no backup is kept"),
        (BACKUP + "retention: REDUNDANCY 99999}", "backup.retention: must be 'RECOVERY WINDOW OF n DAYS'"),
        (BACKUP + "retention: 7d}", "backup.retention: must be 'RECOVERY WINDOW OF n DAYS'"),
        (MONITORING + "retention: 0d}", "monitoring.retention: must be at least 1d: with 0 no measurement is kept"),
        # ports
        (SSH + "port: 443}", "ssh.port: 443 is the port of the balancers (HTTPS); choose another for sshd"),
        # SSH access
        (SSH + "allow_from: []}", "ssh.allow_from: is empty, so no one could log in"),
        (SSH + "allow_from: [203.0.113.7/24]}", "ssh.allow_from.0: must be a network's first address: 203.0.113.7 is"),
        (SSH + "allow_from: [5]}", "ssh.allow_from.0: must be an IPv4 network or an IPv6 network (given: 5)"),
        (
            SSH + "gateway: root@10.9.9.9, allow_from: [10.0.0.0/16]}",
            "ssh.allow_from: leaves out the gateway (10.9.9.9), so the firewall would lock you out. Add 10.9.9.9/32",
        ),
        (
            SSH + "gateway: '10.1.0.1:2222', allow_from: [10.1.0.0/16]}",
            "ssh.allow_from: leaves out the gateway (10.0.0.1), so the firewall would lock you out. Add 10.0.0.1/32",
        ),
    ],
)
def test_an_implausible_value_is_refused_with_the_reason(section: str, said: str) -> None:
    assert problems(with_section(section))[0].startswith(f"my.yaml:6: {said}")


@pytest.mark.parametrize(
    "section",
    [
        BALANCER + "virtual_address: 10.1.0.9}",
        BALANCER + "virtual_address: 10.1.3.9, network: 10.1.0.0/22}",
        BACKUP + "retention: REDUNDANCY 1}",
        SSH + "port: 2222}",
        SSH + "allow_from: [203.0.113.7, '2001:db8::/32']}",
        SSH + "gateway: root@10.0.0.99, allow_from: [10.0.0.0/24]}",
        # A gateway with a public address: its address in the private network is unknown.
        SSH + "gateway: root@8.8.4.4, allow_from: [10.0.0.0/24]}",
        SSH + "gateway: root@bastion, allow_from: [10.0.0.0/24]}",
    ],
)
def test_a_plausible_value_is_accepted(section: str) -> None:
    assert inventories.parse(with_section(section), "my.yaml", Path())


@pytest.mark.parametrize("name", ["root", "nginx", "www-data", "postgres", "barman", "list", "backup"])
def test_a_service_cannot_have_the_name_of_a_system_account(name: str) -> None:
    assert problems(GOOD.replace("  web:", f"  {name}:"))[0].startswith(
        f"my.yaml:7: services.{name}: a service cannot be called {name}: "
    )


@pytest.mark.parametrize("name", ["postgres", "template1", "template0", "replication", "barman", "user", "pg_shop"])
def test_a_database_cannot_have_a_name_with_a_special_meaning(name: str) -> None:
    (problem,) = problems(GOOD.replace("{name: shop}", f"{{name: {name}}}"))
    assert problem.startswith(f"my.yaml:8: database.name: a database cannot be called {name}: ")


def test_a_database_cannot_be_named_like_an_internal_account(stack: Stack, vault: Vault) -> None:
    """The application's own account is allowed: it owns the database."""
    own = {name.name for name in sql.roles(stack, vault)} - {sql.OWNER, *sql.LOGINS}
    assert {"replicator", "barman"} < own
    assert {name for name in own if not reserved(name)} == set()
    assert not reserved("app")


@pytest.mark.parametrize("name", ["all", "barman"])
def test_a_stack_cannot_have_a_name_with_a_special_meaning_for_barman(name: str) -> None:
    assert problems(GOOD.replace("stack: shop", f"stack: {name}"))[0].startswith(
        f"my.yaml:1: stack: a stack cannot be called {name}: "
    )


def test_a_db_host_cannot_have_the_name_of_barmans_slot() -> None:
    assert problems(GOOD.replace("  db1:", "  barman:")) == [
        "my.yaml:5: hosts.barman: a db host cannot be called barman: it is the name of Barman's slot"
    ]


@pytest.mark.parametrize("port", [22, 2222, *ports.TAKEN])
def test_a_service_cannot_use_a_port_that_is_taken(port: int) -> None:
    text = with_section("ssh: {port: 2222}").replace("project: site", f"project: site, port: {port}")
    (problem,) = problems(text)
    assert re.fullmatch(
        rf"my.yaml:8: services.web.port: {port} is the port of .+; choose another, such as 8000", problem
    )


def test_every_port_that_a_role_opens_or_binds_is_in_the_list(
    stack: Stack, registry: Mapping[str, Role], desired: Mapping[str, HostDesired]
) -> None:
    own = {*ports.TAKEN, *(one.port for one in served(stack))}
    opened = {
        opening.port
        for host in stack.hosts.values()
        for role in registry.values()
        if role.everywhere or role.name in host.roles
        for opening in role.opens(stack, host)
        if opening.protocol != "vrrp"
    }
    assert opened <= own
    bound = {
        listen.port
        for roles in desired.values()
        for items in roles.values()
        for item in items
        if isinstance(item, Unit)
        for listen in item.listens
    }
    assert {80, 443, 5432, 8081, 9090} < bound
    assert bound <= own


def test_every_account_that_a_role_creates_is_reserved_or_named_after_a_service(
    desired: Mapping[str, HostDesired],
) -> None:
    """Otherwise a service's name could take over an account of the system."""
    made = {
        item.name for roles in desired.values() for items in roles.values() for item in items if isinstance(item, User)
    }
    assert made == {"app-web"}


def test_the_default_inventory_has_no_misuse(stack: Stack) -> None:
    assert list(misuse(stack)) == []
