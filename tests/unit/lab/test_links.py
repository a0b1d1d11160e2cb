"""Sites and links of a lab: from the inventory to the arguments of ip and tc."""

from __future__ import annotations

from pathlib import Path

import pytest

from plainstack.errors import InventoryError
from plainstack.lab import links
from plainstack.lab.model import Branch, Lab, LabHost
from plainstack.lab.network import Link, plan_branches
from plainstack.lab.of_inventory import of
from plainstack.ssh.netns import LabError
from tests import inventories

TEXT = """\
stack: shop
ssh: {gateway: lab}
hosts:
  a: {address: 10.0.0.11, public: 10.1.0.11, roles: []}
  b: {address: 10.0.0.12, roles: []}
  c: {address: 10.0.0.13, roles: []}
lab:
  sites: {west: [b, user], east: [c]}
  links: {b: {rate: 2M}, west: {delay: 20ms, loss: 0.5%}, a: {rate: 500k, delay: 1ms}}
  debian: {c: 12}
  no_ipv6: [user]
  visitors: {user: {address: 10.0.0.50}}
"""
WEST = Branch("s1", "west", delay=20, loss=0.5)


@pytest.fixture
def lab() -> Lab:
    return of(inventories.parse(TEXT, "hosts.yaml", Path()))


def test_sites_and_hosts_of_an_inventory_become_links(lab: Lab) -> None:
    assert lab.branches == (
        WEST,
        Branch("h1", "a", rate=500_000, delay=1),
        Branch("h2", "b", rate=2_000_000, parent="s1"),
    )
    # A site without a link of its own only groups hosts.
    assert {host.name: host.branch for host in lab.hosts} == {"a": "h1", "b": "h2", "c": "", "user": "s1"}
    assert {host.name: (host.release, host.ipv6) for host in lab.hosts} == {
        "a": (13, True),
        "b": (13, True),
        "c": (12, True),
        "user": (13, False),
    }


@pytest.mark.parametrize(
    ("branch", "words"),
    [
        (Branch("h1", "a", rate=8_000), "tbf rate 8000bit burst 15000b latency 400ms"),
        (Branch("h1", "a", rate=10**9), "tbf rate 1000000000bit burst 1250000b latency 400ms"),
        (WEST, "netem limit 10000 delay 20ms loss 0.5%"),
        (Branch("h1", "a", rate=10**6, loss=100), "netem limit 10000 loss 100% rate 1000000bit"),
    ],
)
def test_links_become_tc_commands(branch: Branch, words: str) -> None:
    assert links.discipline(branch) == words


def test_every_link_is_symmetric_on_both_networks(lab: Lab) -> None:
    lines = [line.split(" root ") for line in links.plan(lab)]
    assert [where for where, _ in lines[:4]] == [
        "qdisc replace dev private-s1-in",
        "qdisc replace dev private-s1-up",
        "qdisc replace dev public-s1-in",
        "qdisc replace dev public-s1-up",
    ]
    assert {what for _, what in lines[:4]} == {links.discipline(WEST)}
    assert len(lines) == 12


def test_a_kernel_without_netem_cannot_delay_or_drop_packets_but_can_limit_the_rate(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "_without_netem", lambda: "Error: Specified qdisc kind is unknown.")
    with pytest.raises(LabError) as refused:
        links.check(lab)
    assert str(refused.value).startswith("lab.links.west: delay and loss need netem, which this machine's kernel")
    links.check(Lab("shop", lab.hosts, Path(), branches=(lab.branches[2],)))
    monkeypatch.setattr(links, "_without_netem", lambda: "")
    links.check(lab)


HOST = LabHost("db2", "192.168.57.12", branch="h1")
SMALL = Lab(
    "shop", (HOST,), Path(), branches=(Branch("s1", "west", rate=8000), Branch("h1", "db2", rate=8000, parent="s1"))
)
PLUGGED = {
    "private": Link(up=True, master=None),
    "private-s1": Link(up=True, master=None),
    "private-s1-in": Link(up=True, master="private-s1"),
    "private-s1-up": Link(up=True, master="private"),
    "private-h1": Link(up=True, master=None),
    "private-h1-in": Link(up=True, master="private-h1"),
    "private-h1-up": Link(up=True, master="private-s1"),
    "private-12": Link(up=False, master="private-h1"),
}


def test_a_host_of_a_site_is_behind_two_links() -> None:
    assert plan_branches(SMALL, {"private": PLUGGED["private"], "private-12": Link(up=True, master="private")}) == [
        "link add private-s1 type bridge forward_delay 0 mcast_snooping 0",
        "link set private-s1 up",
        "link add private-s1-in type veth peer name private-s1-up",
        "link set private-s1-in master private-s1 up",
        "link set private-s1-up master private up",
        "link add private-h1 type bridge forward_delay 0 mcast_snooping 0",
        "link set private-h1 up",
        "link add private-h1-in type veth peer name private-h1-up",
        "link set private-h1-in master private-h1 up",
        "link set private-h1-up master private-s1 up",
        "link set private-12 master private-h1",
    ]


def test_existing_links_are_left_alone() -> None:
    assert plan_branches(SMALL, PLUGGED) == []


def test_an_undeclared_link_is_removed_and_a_pulled_cable_stays_pulled() -> None:
    assert plan_branches(Lab("shop", (LabHost("db2", "192.168.57.12"),), Path()), PLUGGED) == [
        "link set private-12 master private",
        "link delete private-s1",
        "link delete private-s1-in",
        "link delete private-h1",
        "link delete private-h1-in",
    ]


LAB = "lab: "
BAD = [
    ("{links: {b: {}}}", "lab.links.b: must be a mapping with rate, delay or loss, such as {rate: 10M} (given: {})"),
    (
        "{links: {b: {rate: 10}}}",
        "lab.links.b.rate: must be a number below 10000 with k, M or G (bits a second), such as 10M (given: 10)",
    ),
    ("{links: {b: {delay: 20}}}", "lab.links.b.delay: must be a number below 10000 with ms, such as 20ms (given: 20)"),
    (
        "{links: {b: {loss: 101%}}}",
        "lab.links.b.loss: must be a percentage above 0% and up to 100%, such as 1% or 0.5% (given: '101%')",
    ),
    ("{links: {b: {lost: 1%}}}", "lab.links.b.lost: unknown key, did you mean 'loss'?; known here: rate, delay, loss"),
    ("{links: {x: {rate: 1M}}}", "lab.links.x: there is no host and no site x"),
    ("{sites: {west: [x]}}", "lab.sites.west.0: there is no host x"),
    ("{sites: {west: [b, b]}}", "lab.sites.west.1: b is given twice"),
    ("{sites: {a: [b]}}", "lab.sites.a: a host has this name. Choose another"),
    ("{sites: {west: [b], east: [b]}}", "lab.sites.east.0: b is in the site west already"),
    ("{debian: {b: 11}}", "lab.debian.b: must be 12 or 13 (given: 11)"),
    ("{debian: {x: 12}}", "lab.debian.x: there is no host x"),
    ("{no_ipv6: [a, x]}", "lab.no_ipv6.1: there is no host x"),
    (
        "{no_ipv6: [pc]\n  visitors: {pc: {address: 10.0.0.9, public6: '2001:db8::9'}}}",
        "lab.no_ipv6.0: pc has the address 2001:db8::9, so it needs IPv6",
    ),
    ("{disks: {x: 1G}}", "lab.disks.x: there is no host x"),
]


@pytest.mark.parametrize(("block", "said"), BAD)
def test_an_error_is_reported_with_its_line(block: str, said: str) -> None:
    text = f"{TEXT.partition(LAB.rstrip())[0]}lab:\n  {block[1:-1]}\n"
    with pytest.raises(InventoryError) as caught:
        inventories.parse(text, "hosts.yaml", Path())
    assert str(caught.value) == f"hosts.yaml:8: {said}"
