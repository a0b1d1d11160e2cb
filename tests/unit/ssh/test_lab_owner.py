"""A copy of an inventory does not connect to the lab of the original: it would pin and change another one's hosts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from plainstack.deploy.head_start import HeadStart
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.ssh import lab_owner, netns
from plainstack.ssh.connections import Sessions
from plainstack.ssh.netns import LabDown, LabError
from tests import inventories

TEXT = "stack: shop\nssh: {gateway: lab}\nhosts: {db1: {address: 192.168.57.11}}\n"


@pytest.fixture
def connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Simulate a lab that is up and whose hosts refuse connections; return the addresses that were connected to."""
    seen: list[str] = []

    def connect(_namespace: str, address: str, _port: int, _timeout: float) -> None:
        seen.append(address)
        raise ConnectionRefusedError

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(lab_owner, "DISKS", tmp_path / "disks")
    monkeypatch.setattr(netns, "connect", connect)
    monkeypatch.setattr(netns, "is_up", lambda _: True)
    return seen


def clone(folder: Path) -> Stack:
    """Write the inventory to a folder, and return its stack."""
    folder.mkdir()
    (folder / "hosts.yaml").write_text(TEXT, encoding="utf-8")
    return inventories.parse(TEXT, "hosts.yaml", folder)


@pytest.mark.parametrize("way", [Sessions.to, Sessions.fresh, Sessions.host_key], ids=lambda way: way.__name__)
def test_only_the_owner_of_a_lab_connects_to_its_hosts(
    way: Callable[[Sessions, str], object], connected: list[str], tmp_path: Path
) -> None:
    mine, theirs = clone(tmp_path / "mine"), clone(tmp_path / "theirs")
    (mine.state / "lab").mkdir(parents=True)
    lab_owner.write(tmp_path / "disks/shop", mine.state / "lab")
    with Sessions(theirs) as sessions, pytest.raises(LabError, match=f"already a lab shop of {mine.state}/lab on"):
        way(sessions, "db1")
    assert connected == []
    with Sessions(mine) as sessions, pytest.raises(HostFailed, match="the connection was refused"):
        way(sessions, "db1")
    assert connected == ["192.168.57.11"]


def test_a_head_start_does_not_connect_to_a_lab_of_another_inventory(connected: list[str], tmp_path: Path) -> None:
    mine, theirs = clone(tmp_path / "mine"), clone(tmp_path / "theirs")
    (mine.state / "lab").mkdir(parents=True)
    inventory = theirs.folder / "hosts.yaml"
    # The lab was theirs when the last run cached how to reach its hosts.
    with HeadStart.of(inventory) as start:
        start.keep(theirs, {"db1": "true"})
    lab_owner.write(tmp_path / "disks/shop", mine.state / "lab")
    with HeadStart.of(inventory) as start:
        taken = start.take(theirs, ("db1",))
        assert taken
        sessions, opened = taken
        with sessions, pytest.raises(LabError, match=f"already a lab shop of {mine.state}/lab on this machine"):
            opened["db1"].result()
    assert connected == []


def test_a_lab_without_an_owner_is_not_refused_and_a_lab_that_is_not_up_is_reported(
    connected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = clone(tmp_path / "mine"), clone(tmp_path / "theirs")
    lab_owner.require(theirs)
    # The folder of the owner is gone.
    lab_owner.write(tmp_path / "disks/shop", mine.state / "lab")
    lab_owner.require(theirs)
    monkeypatch.setattr(netns, "is_up", lambda _: False)
    with pytest.raises(LabDown):
        lab_owner.require(theirs)
    assert connected == []
