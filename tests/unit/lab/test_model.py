"""The lab's model: what it derives from its hosts, and which labs it refuses before anything is made."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plainstack.lab.model import Cable, Lab, LabHost
from plainstack.ssh.netns import LabError

DB = LabHost("db1", "192.168.57.11")
LB = LabHost("lb1", "192.168.57.16", "192.168.3.231")


def lab(*hosts: LabHost, name: str = "shop") -> Lab:
    return Lab(name, hosts, Path("state"))


def test_settings_are_derived_from_the_hosts() -> None:
    shop = lab(DB, LB)
    assert shop.namespace == "plainstack-shop"
    assert str(shop.private) == "192.168.57.1/24"
    assert [str(one) for one in shop.public] == ["192.168.3.1/24"]
    assert LB.cables == (
        Cable("private-16", "private", "host0", "02:00:c0:a8:39:10"),
        Cable("public-231", "public", "public0", "02:00:c0:a8:03:e7"),
    )


ADDRESSES = st.lists(st.ip_addresses(v=6, network="2001:db8::/64"), min_size=2, max_size=8, unique=True)


@given(ADDRESSES)
@example([ip_address("fd00::1:11"), ip_address("fd00::2:11")])
def test_hosts_with_ipv6_addresses_that_end_alike_have_different_network_cards(addresses: list[IPv6Address]) -> None:
    named = [LabHost(f"a{number}", str(one)) for number, one in enumerate(addresses)]
    mixed = [LabHost("b1", "192.168.57.17", "192.168.3.17"), LabHost("b2", "192.168.57.18", public6="2001:db8::17")]
    for hosts in (named, mixed):
        cables = [cable for host in hosts for cable in host.cables]
        assert len({cable.end for cable in cables}) == len(cables)
        assert len({cable.hardware for cable in cables}) == len(cables)
        # Linux allows an interface's name 15 characters.
        assert max(len(cable.end) for cable in cables) <= 15


def test_without_public_addresses_there_is_no_public_network() -> None:
    assert lab(DB).public == ()


def test_a_host_is_found_by_name() -> None:
    assert lab(DB, LB).host("lb1") is LB
    with pytest.raises(LabError, match=r"no host 'db9'\. Its hosts: db1, lb1"):
        lab(DB, LB).host("db9")


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        ((), "at least one host"),
        ((DB, LabHost("db2", "192.168.57.1")), "db2: 192.168.57.1 is the lab's own address"),
        ((DB, LabHost("lb1", "192.168.57.16", "192.168.3.1")), "lb1: 192.168.3.1 is the lab's own address"),
        ((DB, LabHost("db2", "192.168.58.12")), "db2: the private address 192.168.58.12 is not in 192.168.57.0/24"),
        ((LB, LabHost("lb2", "192.168.57.17", "192.168.4.2")), "lb2: the public address 192.168.4.2 is not in"),
        ((DB, LabHost("db2", "192.168.57.11")), "db2: db1 has the address 192.168.57.11 too"),
        ((DB, LabHost("db1", "192.168.57.12")), "more than one host db1"),
        ((DB, LabHost("lb1", "192.168.57.16", "192.168.57.17")), "different /24s"),
        ((LabHost("db1", "192.168.57.255"),), "not an address for a host"),
        ((LabHost("db1", "db1.example"),), "cannot use an address"),
        ((LabHost("../etc", "192.168.57.11"),), "'../etc' is not a valid name"),
        ((LabHost("d" * 31, "192.168.57.11"),), "is not a valid name"),
    ],
)
def test_an_invalid_lab_is_refused(hosts: tuple[LabHost, ...], problem: str) -> None:
    with pytest.raises(LabError) as refused:
        lab(*hosts)
    assert problem in str(refused.value)


@pytest.mark.parametrize("name", ["", ".apt", "..", "a/b", "Shop", "shop-"])
def test_an_invalid_lab_name_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="is not a valid name"):
        lab(DB, name=name)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(LabError) as refused:
        lab(DB, LabHost("db2", "192.168.57.1"), LabHost("db3", "192.168.58.2"))
    assert len(str(refused.value).splitlines()) == 2
