"""Mistakes in a lab's addresses, names, sites and disks are reported with their line and key, before a lab starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from invoke.exceptions import Exit

from plainstack.cli import lab_commands
from plainstack.lab import machine
from plainstack.lab.of_inventory import of
from tests import inventories
from tests.unit.inventory.test_inventory import problems

TEXT = """\
stack: shop
ssh: {gateway: lab}
hosts:
  lb1: {address: 192.168.78.11, public: 192.168.79.11, roles: []}
  db1: {address: 192.168.78.12, roles: []}
lab:
  visitors:
    pc: {address: 192.168.78.50}
"""
IN_A_LAB = "In a lab, all private addresses are in one /24"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "192.168.78.50",
            "10.0.0.1",
            f"8: lab.visitors.pc.address: 10.0.0.1 is not in 192.168.78.0/24, the private network of lb1. {IN_A_LAB}",
        ),
        (
            "192.168.78.12",
            "192.168.80.12",
            f"5: hosts.db1.address: 192.168.80.12 is not in 192.168.78.0/24, the private network of lb1. {IN_A_LAB}",
        ),
        (
            "192.168.78.50",
            "192.168.78.1",
            "8: lab.visitors.pc.address: 192.168.78.1 is the lab's own address. Choose another",
        ),
        (
            "192.168.78.50",
            "192.168.78.255",
            "8: lab.visitors.pc.address: 192.168.78.255 is not an address for a host. Choose another",
        ),
        (
            "192.168.78.50",
            "192.168.78.0",
            "8: lab.visitors.pc.address: 192.168.78.0 is not an address for a host. Choose another",
        ),
        (
            "public: 192.168.79.11",
            "public: 192.168.78.200",
            "4: hosts.lb1.public: 192.168.78.200 is in 192.168.78.0/24, the network of the private addresses. In a lab,"
            " public addresses are in another /24",
        ),
        (
            "192.168.78.50}",
            "192.168.78.50, public: 192.168.80.50}",
            "8: lab.visitors.pc.public: 192.168.80.50 is not in 192.168.79.0/24, the public network of lb1. In a lab,"
            " all public addresses are in one /24",
        ),
        (
            "192.168.78.50}",
            "192.168.78.50, public6: 'fd00::1'}",
            "8: lab.visitors.pc.public6: fd00::1 is the lab's own address. Choose another",
        ),
        ("db1:", f"d{'b' * 30}:", f"5: hosts.d{'b' * 30}: the name of a lab host has at most 30 characters"),
        ("pc:", f"p{'c' * 30}:", f"8: lab.visitors.p{'c' * 30}: the name of a lab host has at most 30 characters"),
        (
            "stack: shop",
            f"stack: s{'h' * 30}",
            "1: stack: a lab's name has at most 30 characters; give the lab a shorter one: lab: {name: NAME}",
        ),
        (
            "lab:\n",
            "lab:\n  sites: {west: []}\n",
            "7: lab.sites.west: names no host. Name some, such as [db2], or remove the site",
        ),
        (
            "lab:\n",
            "lab:\n  disks: {db1: 1M}\n",
            "7: lab.disks.db1: must be between 64M, which a host needs to boot and to be deployed, and 16383G"
            " (given: '1M')",
        ),
        (
            "lab:\n",
            "lab:\n  disks: {db1: 99999G}\n",
            "7: lab.disks.db1: must be between 64M, which a host needs to boot and to be deployed, and 16383G"
            " (given: '99999G')",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_key(old: str, new: str, expected: str) -> None:
    assert old in TEXT
    assert problems(TEXT.replace(old, new, 1)) == [f"my.yaml:{expected}"]


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("lab:\n", "lab:\n  disks: {db1: 64M, lb1: 16383G}\n")])
def test_an_inventory_without_mistakes_makes_a_lab(text: str, tmp_path: Path) -> None:
    assert [host.name for host in of(inventories.parse(text, "my.yaml", tmp_path)).hosts] == ["lb1", "db1", "pc"]


def test_hosts_outside_a_lab_may_be_in_any_network(tmp_path: Path) -> None:
    text = TEXT.replace("gateway: lab", "gateway: none").replace("192.168.78.12", "192.168.80.1")
    assert str(inventories.parse(text, "my.yaml", tmp_path).hosts["db1"].address) == "192.168.80.1"


def test_lab_down_with_such_a_mistake_names_the_command_that_needs_no_inventory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "require_root", lambda _: None)
    place = tmp_path / "hosts.yaml"
    place.write_text(TEXT.replace("192.168.78.50", "10.0.0.1"), encoding="utf-8")
    with pytest.raises(Exit):
        lab_commands.down(str(place))
    said = capsys.readouterr().err
    assert f"{place}:8: lab.visitors.pc.address: 10.0.0.1" in said
    assert "No lab was removed. To remove all labs of this machine, after a question: inv lab.down --all" in said
