"""The lab itself: snapshots that survive a kill at any moment, and hosts that are broken and mended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plainstack.lab import cgroup, disk, model
from tests.lab import labs
from tests.lab.operator import ROOT, Operator
from tests.waiting import until

INVENTORY = """\
stack: labtest
ssh: {user: root, gateway: lab}
hosts:
  a: {address: 192.168.63.11, roles: []}
  b: {address: 192.168.63.12, roles: []}
"""
# This inventory uses every option of hosts, links and visitors.
WORLD = """\
stack: labworld
ssh: {user: root, gateway: lab}
hosts:
  lb: {address: 192.168.63.11, public: 192.168.64.11, roles: [app, balancer]}
  old: {address: 192.168.63.12, roles: [db]}
balancer: {server_names: [shop.test]}
services: {web: {source: SOURCE, project: incidents_site}}
database: {name: shop}
lab:
  sites: {west: [lb]}
  links: {west: {rate: 10M}}
  debian: {old: 12}
  no_ipv6: [lb]
  visitors: {user: {address: 192.168.63.50, public: 192.168.64.50}}
"""
KEPT = f"{labs.NAME}-lab"


@pytest.fixture
def two(project: Path) -> Iterator[Operator]:
    """Start two bare hosts."""
    with labs.lab("lab", INVENTORY, project) as operator:
        operator.inv("lab.forget", KEPT, code=None)
        operator.inv("lab.up", timeout=900)
        yield operator
    operator.inv("lab.forget", KEPT, code=None)


def kill_at(operator: Operator, text: str, *words: str) -> None:
    """Type an inv command, and kill it as soon as its output contains a text."""
    line = [str(Path(sys.executable).with_name("inv")), *words, f"--inventory={operator.inventory}"]
    with subprocess.Popen(line, cwd=operator.project, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = next((each for each in process.stdout if text in each), "")
        process.send_signal(signal.SIGKILL)
    assert said, f"{text!r} never came"


def answering(operator: Operator) -> list[str]:
    return [operator.on(host, "hostname").strip() for host in ("a", "b")]


def test_a_killed_start_of_bare_hosts_is_completed_by_the_next(project: Path) -> None:
    with labs.lab("lab", INVENTORY, project) as operator:
        for moment in ("network", "booting", "up"):
            kill_at(operator, moment, "lab.up")
            operator.inv("lab.up")
            assert answering(operator) == ["a", "b"]
            operator.inv("lab.down")


def test_a_killed_end_is_completed_and_a_host_that_leaves_the_inventory_is_powered_off(project: Path) -> None:
    with labs.lab("lab", INVENTORY, project) as operator:
        operator.inv("lab.up", timeout=900)
        text = operator.inventory.read_text(encoding="utf-8")
        operator.inventory.write_text(text.replace("  b:", "  c:"), encoding="utf-8")
        assert "b            not in the inventory, but running" in operator.inv("lab.status", code=1).out
        assert "b: is not in the inventory any more: powered off" in operator.inv("lab.up").out
        assert operator.on("c", "hostname") == "c\n"
        assert "b            not in the inventory, powered off" in operator.inv("lab.status").out
        disks = model.disks(operator.lab)
        line = [str(Path(sys.executable).with_name("inv")), "lab.down", f"--inventory={operator.inventory}"]
        with subprocess.Popen(line, cwd=operator.project) as process:
            until(lambda: not disks.exists())
            process.send_signal(signal.SIGKILL)
        operator.inv("lab.up")
        assert operator.on("c", "hostname") == "c\n"
        assert not model.gone(operator.lab).exists()


def test_a_killed_test_run_does_not_affect_the_next_one(tmp_path: Path) -> None:
    """The killed run's `lab.up` continues without it; the next run waits for that, and removes its lab."""
    name = f"{labs.NAME}-killed"
    test = f"{Path(__file__)}::{test_the_lab_of_another_folder_is_not_used_by_mistake.__name__}"
    line = [sys.executable, "-m", "pytest", "-q", f"--basetemp={tmp_path / 'run'}", test]
    # With the workers of this run's options, the second run would need the folder of the first to be empty.
    environment = {**os.environ, "PLAINSTACK_TEST_LAB": name, "PYTEST_ADDOPTS": ""}
    try:
        with subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL) as run:
            # Its start, and that of its lab, which may wait for other labs of this machine, take their time.
            until(lambda: Path(f"/var/tmp/plainstack-{name}").exists() or run.poll() is not None)
            begun = until(lambda: [*(cgroup.tree() / f"{name}-lab").glob("*/boot-*")] or run.poll() is not None)
            assert begun is not True, "it ended"
            run.send_signal(signal.SIGKILL)
        again = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=900)
        assert again.returncode == 0, again.stdout
        assert f"{name}-lab" not in model.labs(cgroup.tree())
    finally:
        shutil.rmtree(f"/var/tmp/plainstack-{name}", ignore_errors=True)


def test_a_snapshot_is_listed_and_refused_by_another_inventory_and_a_broken_host_is_not_saved(
    two: Operator, project: Path
) -> None:
    for fault, said in (("--freeze", "frozen"), ("--cut", "cut")):
        two.inv("lab.break", "a", fault)
        assert f"{said}: a. A snapshot cannot keep that; mend" in two.inv("lab.save", KEPT, code=1).err
        two.inv("lab.mend", "a")
    two.inv("lab.save", KEPT)
    (listed,) = (one for one in json.loads(two.inv("lab.snapshots", "--json").out) if one["name"] == KEPT)
    assert (listed["origin"]["stack"], sorted(listed["hosts"])) == ("labtest", ["a", "b"])
    (row,) = (line for line in two.inv("lab.snapshots").out.splitlines() if line.startswith(f"{KEPT} "))
    told = ("MiB", "labtest", listed["image"], listed["origin"]["commit"], str(two.inventory))
    assert [word for word in told if word not in row] == []
    with labs.lab("lab-second", INVENTORY.replace(".63.12", ".63.13"), project) as second:
        refused = second.inv("lab.up", f"--from={KEPT}", code=1).err
        assert f"the snapshot {KEPT} cannot be used: its b has 192.168.63.12, but the inventory says" in refused


def test_a_killed_save_loses_nothing_and_a_killed_start_is_completed_by_the_next(two: Operator, project: Path) -> None:
    for host in ("a", "b"):
        two.on(host, f"echo {host} >/root/mark; mkdir /root/folder; touch /root/folder/file")
    for moment in ("stopping", "booting"):
        kill_at(two, moment, "lab.save", KEPT)
        two.inv("lab.up")
        assert [two.on(host, "cat /root/mark").strip() for host in ("a", "b")] == ["a", "b"]
        two.inv("lab.forget", KEPT, code=None)
    two.on("a", "echo since >>/root/mark")
    two.inv("lab.save", KEPT)
    assert two.on("a", "cat /root/mark") == "a\nsince\n"
    layers = disk.Disk(model.disks(two.lab) / "a").layers
    for _ in range(3):
        two.inv("lab.forget", KEPT)
        two.inv("lab.save", KEPT)
        assert two.on("a", "cat /root/mark") == "a\nsince\n"
    assert len(layers) == len(disk.Disk(model.disks(two.lab) / "a").layers) == 1
    two.on("a", "rm /root/mark")
    with labs.lab("lab-second", INVENTORY, project) as second:
        kill_at(second, "booting", "lab.up", f"--from={KEPT}")
        second.inv("lab.up")
        assert second.on("a", "cat /root/mark") == "a\nsince\n"
        assert "lab-second already exists" in second.inv("lab.up", f"--from={KEPT}", code=1).err
        two.inv("lab.forget", KEPT)
        assert second.on("b", "cat /root/mark; hostname") == "b\nb\n"
        # Files that come from a snapshot can be moved and deleted like any other.
        second.on(
            "b", "mv /root/folder /root/other && ! test -e /root/folder && test -e /root/other/file && rm /root/mark"
        )
    assert two.on("b", "cat /root/mark") == "b\n"


def test_a_host_can_be_broken_and_repaired(two: Operator) -> None:
    text = two.inventory.read_text(encoding="utf-8")
    two.inventory.write_text(text.replace("lab: {", "lab: {disks: {a: 100M}, "), encoding="utf-8")
    two.inv("lab.up")
    assert "lab: {disks: {b: 1G}}" in two.inv("lab.break", "b", "--fill-disk", code=1).err
    two.inv("lab.break", "a", "--fill-disk")
    assert "full" in two.on("a", "echo x 2>/dev/null >/root/x || echo full")
    two.inv("lab.mend", "a")
    two.on("a", "echo x >/root/x")
    assert "disks of limited size (lab.disks): a" in two.inv("lab.save", KEPT, code=1).err
    for hows, state in (
        (("--cut",), "cut"),
        (("--freeze",), "frozen"),
        (("--cut", "--freeze"), "cut and frozen"),
    ):
        two.inv("lab.break", "a", *hows)
        states = dict(line.split(None, 1) for line in two.inv("lab.status", code=1).out.splitlines())
        assert states == {"a": state, "b": "up"}
        two.inv("lab.mend", "a")
        two.inv("lab.status")
    two.inv("lab.break", "b", "--power-off")
    assert "powered off" in two.inv("lab.status", code=1).out
    assert "To boot it: inv lab.mend b" in two.inv("lab.break", "b", "--cut", code=1).err
    two.inv("lab.mend", "b")
    two.inv("lab.status")
    booted = two.on("a", "cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestampMonotonic")
    two.inv("lab.break", "a", "--reboot")
    assert two.on("a", "cat /root/x") == "x\n"
    assert booted != two.on("a", "cat /proc/sys/kernel/random/boot_id; systemctl show -P UserspaceTimestampMonotonic")


def shaped(operator: Operator) -> dict[str, dict[str, Any]]:
    """Return the queueing disciplines that limit a lab's links, by interface, as tc reports them."""
    line = ["tc", "-n", f"plainstack-{operator.lab}", "-json", "-statistics", "qdisc", "show"]
    seen = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    return {one["dev"]: one for one in seen if one["kind"] != "noqueue"}


def test_lab_hosts_behave_like_real_hosts(project: Path) -> None:
    text = WORLD.replace("SOURCE", str(ROOT / "apps/incidents"))
    with labs.lab("lab-world", text, project) as world:
        world.inv("lab.up", timeout=900)
        assert world.on("user", "getent hosts shop.test").split() == ["192.168.64.11", "shop.test"]
        assert world.on("lb", "cat /proc/net/if_inet6") == ""
        assert world.on("old", "cat /proc/net/if_inet6") != ""
        assert "old: runs Debian GNU/Linux 12 (bookworm)" in world.inv("plan", "--host=old", code=1).err
        assert "can only hold hosts of Debian" in world.inv("lab.save", KEPT, code=1).err
        links = shaped(world)
        assert links.keys() == {f"{network}-s1-{end}" for network in ("private", "public") for end in ("in", "up")}
        assert {(link["kind"], link["options"]["rate"]) for link in links.values()} == {("tbf", 10_000_000 // 8)}
        assert links["private-s1-in"]["bytes"] > 0
        assert links["private-s1-up"]["bytes"] > 0
        text = world.inventory.read_text(encoding="utf-8")
        world.inventory.write_text(text.replace("{rate: 10M}", "{delay: 20ms}"), encoding="utf-8")
        done = world.inv("lab.up", code=None)
        if done.code:
            assert "lab.links.west: delay and loss need netem" in done.err
            assert shaped(world).keys() == links.keys()
        else:
            assert {link["kind"] for link in shaped(world).values()} == {"netem"}
        world.inventory.write_text(text.replace("links: {west: {rate: 10M}}", "links: {}"), encoding="utf-8")
        world.inv("lab.up")
        assert shaped(world) == {}
        assert world.on("lb", "hostname") == "lb\n"


def test_the_lab_of_another_folder_is_not_used_by_mistake(two: Operator, tmp_path: Path) -> None:
    clone = Operator(tmp_path / "hosts.yaml", two.stack, two.project, two.lab)
    clone.inventory.write_text(two.inventory.read_text(encoding="utf-8"), encoding="utf-8")
    for words in (("lab.up",), ("lab.down",), ("lab.save", KEPT), ("plan",), ("trust", "--yes"), ("verify",)):
        refused = clone.inv(*words, code=1).err
        assert f"there is already a lab {two.lab} of {two.state}/lab on this machine" in refused
    assert not (clone.state / "lab/known_hosts").exists()
    two.inv("lab.status")
