"""Several virtual addresses: which move together, which balancer should hold each, and what an inventory refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from plainstack.addresses import bracketed, endpoint, only
from plainstack.engine.observed import Observed
from plainstack.errors import InventoryError
from plainstack.inventory.stack import Stack
from plainstack.roles.balancer import ROLE
from plainstack.roles.balancer.vrrp import instances
from plainstack.secrets.values import Vault
from plainstack.services import site, virtual
from tests import inventories
from tests.unit.roles.balancer_files import VRRP, text

TEXT = """\
stack: small
hosts:
  lb1: {address: 10.0.0.1, public: 192.0.2.1, public6: "2001:db8::1", roles: [balancer]}
  lb2: {address: 10.0.0.2, public: 192.0.2.2, public6: "2001:db8::2", roles: [balancer]}
  app1: {address: 10.0.0.4, roles: [app]}
services: {web: {kind: static, source: .}}
balancer: BALANCER
"""
FOUR, OTHER_FOUR, SIX, OTHER_SIX = "192.0.2.8", "192.0.2.9", "2001:db8::8", "2001:db8::9"


def stack_with(*addresses: str, also: str = "", text: str = TEXT) -> Stack:
    given = ", ".join(f"'{one}'" for one in addresses)
    line = f"{{virtual_address: [{given}]{also}}}" if addresses else "{}"
    return inventories.parse(text.replace("BALANCER", line), "hosts.yaml", Path())


def refused(*addresses: str, also: str = "", text: str = TEXT) -> str:
    with pytest.raises(InventoryError) as caught:
        stack_with(*addresses, also=also, text=text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("address", "in_url", "with_port", "network"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1:80", "192.0.2.1/32"),
        ("2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80", "2001:db8::1/128"),
    ],
)
def test_an_address_is_written_as_each_program_expects_it(
    address: str, in_url: str, with_port: str, network: str
) -> None:
    assert (bracketed(address), endpoint(address, 80), only(address)) == (in_url, with_port, network)


@pytest.mark.parametrize(
    ("addresses", "groups"),
    [
        ((FOUR,), [[FOUR]]),
        ((SIX, FOUR), [[FOUR, SIX]]),
        ((FOUR, OTHER_FOUR), [[FOUR], [OTHER_FOUR]]),
        ((FOUR, OTHER_FOUR, SIX, OTHER_SIX), [[FOUR, SIX], [OTHER_FOUR, OTHER_SIX]]),
        ((SIX, OTHER_SIX, FOUR), [[FOUR, SIX], [OTHER_SIX]]),
    ],
)
def test_an_ipv4_and_an_ipv6_address_move_together_and_two_of_a_kind_do_not(
    addresses: tuple[str, ...], groups: list[list[str]]
) -> None:
    assert [[*map(str, group.addresses)] for group in virtual.groups(stack_with(*addresses))] == groups


def test_each_balancer_should_hold_one_address_and_take_the_others() -> None:
    stack = stack_with(FOUR, OTHER_FOUR)
    priorities = {
        name: {one.own[0]: one.priority for one in instances(stack, stack.hosts[name])}
        for name in stack.hosts
        if name != "app1"
    }
    best = {str(address): max(priorities, key=lambda name: priorities[name][address]) for address in priorities["lb1"]}
    assert best == {FOUR: "lb1", OTHER_FOUR: "lb2"}
    assert len({one.router_id for one in instances(stack, stack.hosts["lb1"])}) == 2


def test_a_balancer_that_comes_back_takes_its_own_of_several_addresses(vault: Vault) -> None:
    configuration = text(stack_with(FOUR, OTHER_FOUR), vault, VRRP)
    assert configuration.count("preempt_delay 10") == 2
    assert "nopreempt" not in configuration
    assert "nopreempt" in text(stack_with(FOUR, SIX), vault, VRRP)


def test_an_ipv6_address_moves_over_ipv4_if_an_ipv4_address_moves_with_it_and_over_ipv6_otherwise(vault: Vault) -> None:
    both = text(stack_with(FOUR, SIX), vault, VRRP)
    assert re.search(rf"virtual_ipaddress {{\s+{FOUR}\s+}}", both)
    assert re.search(rf"virtual_ipaddress_excluded {{\s+{SIX}\s+}}", both)
    assert "unicast_src_ip 192.0.2.1\n" in both
    alone = text(stack_with(SIX, also=""), vault, VRRP)
    assert re.search(rf"virtual_ipaddress {{\s+{SIX}\s+}}", alone)
    assert "unicast_src_ip 2001:db8::1\n" in alone
    assert "_excluded" not in alone


def test_the_sites_names_stand_for_all_virtual_addresses() -> None:
    stack = stack_with(FOUR, OTHER_FOUR, SIX, also=", server_names: [shop.example]")
    assert [address for _, address in site.addresses(stack)] == [FOUR, OTHER_FOUR, SIX]
    assert {FOUR, OTHER_FOUR, f"[{SIX}]"} <= {*site.accepted(stack)}
    assert {FOUR, OTHER_FOUR, SIX} <= {*ROLE.certificates(stack, stack.hosts["lb1"])["site"]}
    assert site.of_visitor(stack, "/", SIX).curl()[:2] == ["--connect-to", f"::[{SIX}]:"]


@pytest.mark.parametrize(
    ("addresses", "also", "problem"),
    [
        ((FOUR, FOUR), "", f"balancer.virtual_address.1: {FOUR} is given twice"),
        ((FOUR, "192.0.2.2"), "", "balancer.virtual_address.1: 192.0.2.2 is the address of lb2"),
        ((FOUR, "2001:db8::2"), "", "balancer.virtual_address.1: 2001:db8::2 is the address of lb2"),
        (
            (FOUR, OTHER_FOUR, "192.0.2.10"),
            "",
            "balancer.virtual_address.2: 192.0.2.10 is one too many: there can be one IPv4 address for each balancer",
        ),
        (
            (FOUR, "198.51.100.1"),
            "",
            "balancer.virtual_address.1: 198.51.100.1 is outside 192.0.2.0/24, the public network",
        ),
        ((FOUR, "2001:db8:1::8"), "", "balancer.virtual_address.1: 2001:db8:1::8 is outside 2001:db8::/64, the public"),
        ((FOUR, "2001:db8::"), "", "balancer.virtual_address.1: 2001:db8:: is the routers' anycast address"),
        ((FOUR, SIX), ", network: '2001:db8:2::/64'", f"balancer.virtual_address.1: {SIX} is not in balancer.network"),
        ((FOUR, OTHER_FOUR), ", router_id: 255", "balancer.router_id: 2 virtual addresses need the numbers 255 to 256"),
        ((FOUR, "2001:db8::8/64"), "", "balancer.virtual_address: must be an IPv4 or IPv6 address without a prefix"),
    ],
)
def test_virtual_addresses_that_cannot_work_are_refused(addresses: tuple[str, ...], also: str, problem: str) -> None:
    assert f"hosts.yaml:7: {problem}" in refused(*addresses, also=also)


def test_an_empty_list_of_virtual_addresses_is_refused() -> None:
    with pytest.raises(InventoryError) as caught:
        inventories.parse(TEXT.replace("BALANCER", "{virtual_address: []}"), "hosts.yaml", Path())
    assert "hosts.yaml:7: balancer.virtual_address: must be" in str(caught.value)


def test_a_network_of_each_ip_version_can_be_given() -> None:
    also = ", network: [198.51.100.0/28, '2001:db8:2::/64']"
    assert len(virtual.groups(stack_with("198.51.100.1", "2001:db8:2::8", also=also))) == 1


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        (', public6: "2001:db8::2"', "hosts.lb2.public6: is missing, but the virtual address 2001:db8::8 needs it"),
        (" public: 192.0.2.2,", "hosts.lb2.public: is missing, but balancer.virtual_address needs it"),
    ],
)
def test_a_balancer_without_an_address_of_the_same_version_is_refused(missing: str, problem: str) -> None:
    assert f"hosts.yaml:4: {problem}" in refused(FOUR, SIX, text=TEXT.replace(missing, ""))


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"interfaces": "lo eth0", "vip": ""}, ""),
        ({"vip": ""}, ""),
        ({"interfaces": "lo ens5"}, "balancer.interface: there is no interface eth0; there are: lo, ens5"),
        (
            {"interfaces": "lo eth0", "no_ipv6": "eth0"},
            f"balancer.virtual_address: IPv6 is off for eth0, so it cannot have {SIX}. Turn it on:",
        ),
    ],
)
def test_what_a_host_lacks_for_a_virtual_address_is_found_at_plan_time(facts: Mapping[str, str], sentence: str) -> None:
    stack = stack_with(FOUR, SIX)
    found = list(ROLE.findings(stack, stack.hosts["lb1"], Observed(facts=facts)))
    assert [finding.text.startswith(sentence) and finding.refused for finding in found] == [True] * bool(sentence)


def test_a_host_without_ipv6_can_hold_an_ipv4_address() -> None:
    stack = stack_with(FOUR)
    known = Observed(facts={"interfaces": "eth0", "no_ipv6": "eth0"})
    assert not [*ROLE.findings(stack, stack.hosts["lb1"], known)]


def test_status_names_the_addresses_that_each_balancer_holds() -> None:
    stack = stack_with(FOUR, OTHER_FOUR)
    assert ROLE.status
    shown = ROLE.status.says(stack, {"lb1": {"vip": f"{FOUR} {OTHER_FOUR}"}, "lb2": {"vip": ""}}, 0)
    assert dict(shown.cells) == {"lb1": f"holds {FOUR} {OTHER_FOUR}", "lb2": "-"}
    assert not shown.problems
    split = ROLE.status.says(stack, {"lb1": {"vip": FOUR}, "lb2": {"vip": FOUR}}, 0)
    assert [sentence for _, sentence in split.problems] == [
        f"2 hosts hold the virtual address {FOUR}",
        f"0 hosts hold the virtual address {OTHER_FOUR}",
    ]
