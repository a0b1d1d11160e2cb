"""The plan for the lab's network: the steps from the observed state to the wanted state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plainstack.lab.model import Lab, LabHost
from plainstack.lab.network import Link, parse, plan_bridges, plan_cables
from plainstack.ssh import netns
from plainstack.ssh.netns import LabDown

HOST = LabHost("lb1", "192.168.57.16", "192.168.3.231")
LAB = Lab("shop", (HOST,), Path("state"))
HEALTHY = {
    "lo": Link(up=True, master=None, addresses=("127.0.0.1/8",)),
    "private": Link(up=True, master=None, addresses=("192.168.57.1/24",)),
    "public": Link(up=True, master=None, addresses=("192.168.3.1/24",)),
    "private-16": Link(up=True, master="private"),
    "public-231": Link(up=True, master="public"),
}


def test_a_new_namespace_is_set_up() -> None:
    assert plan_bridges(LAB, {"lo": Link(up=False, master=None)}) == [
        "link set lo up",
        "link add private type bridge forward_delay 0 mcast_snooping 0",
        "address add 192.168.57.1/24 dev private",
        "link set private up",
        "link add public type bridge forward_delay 0 mcast_snooping 0",
        "address add 192.168.3.1/24 dev public",
        "link set public up",
    ]


def test_a_healthy_network_is_left_alone() -> None:
    assert plan_bridges(LAB, HEALTHY) == []
    assert plan_cables(HOST, HEALTHY) == []


def test_an_address_from_an_earlier_inventory_is_replaced() -> None:
    links = {**HEALTHY, "private": Link(up=True, master=None, addresses=("192.168.99.1/24",))}
    assert plan_bridges(LAB, links) == [
        "address delete 192.168.99.1/24 dev private",
        "address add 192.168.57.1/24 dev private",
    ]


def test_cut_and_unplugged_cables_are_plugged_in() -> None:
    links = {**HEALTHY, "private-16": Link(up=False, master="private"), "public-231": Link(up=True, master=None)}
    assert plan_cables(HOST, links) == [
        "link set private-16 master private up",
        "link set public-231 master public up",
    ]


def test_a_host_that_is_off_has_no_cables() -> None:
    assert plan_cables(HOST, {}) == []


def test_the_state_of_the_network_is_parsed() -> None:
    seen = [
        {"ifname": "lo", "flags": ["LOOPBACK"], "addr_info": []},
        {
            "ifname": "private",
            "flags": ["BROADCAST", "UP"],
            "addr_info": [
                {"family": "inet", "local": "192.168.57.1", "prefixlen": 24},
                {"family": "inet6", "local": "fe80::1", "prefixlen": 64, "scope": "link"},
            ],
        },
        {"ifname": "private-16", "flags": ["UP"], "master": "private", "addr_info": []},
        {},
    ]
    assert parse(json.dumps(seen)) == {
        "lo": Link(up=False, master=None),
        "private": HEALTHY["private"],
        "private-16": HEALTHY["private-16"],
    }


def test_a_missing_namespace_is_reported_at_once() -> None:
    assert not netns.is_up("plainstack-no-such-lab")
    with pytest.raises(LabDown) as said:
        netns.connect("plainstack-no-such-lab", "192.168.57.11", 22, timeout=60)
    assert str(said.value) == "the lab is not up. Run: inv lab.up"
