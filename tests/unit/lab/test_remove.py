"""A lab is removed completely, or if `inv lab.down` is killed, by the next command."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest

from plainstack.lab import cgroup, layers, machine, model, network, proxy, trees, up


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the disk of a lab, and return it."""
    monkeypatch.setattr(model, "DISKS", tmp_path / "disks")
    monkeypatch.setattr(model, "RUN", tmp_path / "run")
    # This machine may have a lab of this name.
    monkeypatch.setattr(model, "namespace", lambda name: f"no lab but {name}")
    monkeypatch.setattr(cgroup, "tree", lambda: tmp_path / "groups")
    monkeypatch.setattr(machine, "shared", lambda _: nullcontext())
    for module, name in ((cgroup, "remove"), (network, "remove")):
        monkeypatch.setattr(module, name, lambda _: None)
    for module, name in ((layers, "sweep"), (proxy, "stop_unused")):
        monkeypatch.setattr(module, name, lambda: None)
    disk = tmp_path / "disks/shop/db1"
    (disk / "upper/etc").mkdir(parents=True)
    (disk / "ssh_host_ed25519_key.pub").touch()
    return disk


def removed() -> list[str]:
    said: list[str] = []
    up.remove("shop", lambda name, what: said.append(f"{name}: {what}"))
    return said


def test_a_removal_that_was_killed_leaves_no_half_disks_and_is_completed_by_the_next(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(folders: Iterable[Path]) -> None:
        for folder in folders:
            (folder / "db1/ssh_host_ed25519_key.pub").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trees, "remove", killed)
        with pytest.raises(KeyboardInterrupt):
            removed()
    assert not model.disks("shop").exists()
    # `inv lab.down --all` finds the rest.
    assert model.labs(shop.parents[2] / "groups", shop.parents[2] / "netns") == ["shop"]
    # The next lab.up has made new disks before it is removed too.
    shop.mkdir(parents=True)
    assert removed() == ["shop: down"]
    assert list(model.DISKS.iterdir()) == []
    assert removed() == ["shop: was not up"]


def test_only_the_rest_of_a_killed_removal_counts_as_a_lab() -> None:
    model.disks("shop").rename(model.gone("shop"))
    assert removed() == ["shop: down"]
    assert list(model.DISKS.iterdir()) == []
