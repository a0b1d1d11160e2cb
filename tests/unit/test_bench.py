"""The benchmarks' reference role: the benchmarks check exactly the state and the changes that the role declares."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import noop, reference, reference_host, reference_role
from plainstack import shipped
from plainstack.cli import command, deploy_commands
from plainstack.engine.resources import File, Resource, Unit
from plainstack.secrets.values import Vault
from tests import inventories

Wanted = Mapping[int, Mapping[int, list[Resource]]]


@pytest.fixture(autouse=True)
def of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "ROOT", reference_role.HOME)


@pytest.fixture
def wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wanted:
    """Return the role's resources, by tuning and number of the host."""
    stack = inventories.load(reference.inventory(tmp_path, 3))
    vault = Vault(passwords={}, certificates={}, authority="")
    found: dict[int, dict[int, list[Resource]]] = {}
    for tuning in (10, 20):
        monkeypatch.setenv(reference_role.TUNING, str(tuning))
        network = inventories.network(stack)
        found[tuning] = {
            number: list(reference_role.desired(stack, host, vault, network))
            for number, host in enumerate(stack.hosts.values(), 1)
        }
    return found


def files(resources: list[Resource]) -> dict[str, bytes]:
    return {item.path: item.content for item in resources if isinstance(item, File)}


def test_the_benchmarks_check_expects_what_the_role_declares(wanted: Wanted) -> None:
    for tuning, hosts in wanted.items():
        for number, resources in hosts.items():
            assert files(resources) == reference_host.contents(number, tuning)
            state = reference_host.state(number, tuning).splitlines()
            for item in resources:
                if isinstance(item, File):
                    assert f"{item.path} {item.mode:o} {item.owner} {item.group}" in state
                    assert f"{item.sha256}  {item.path}" in state


def test_the_benchmarks_small_change_is_five_files_and_one_restart(wanted: Wanted) -> None:
    before, after = files(wanted[10][2]), files(wanted[20][2])
    changed = {path for path in before if before[path] != after[path]}
    assert changed == set(reference_role.CHANGING)
    units = [item for item in wanted[10][2] if isinstance(item, Unit)]
    assert [unit.name for unit in units if changed & set(unit.restart_on)] == ["bench-svc1.service"]


def test_the_benchmarks_check_notices_a_touched_file_and_a_started_unit() -> None:
    before = "/etc/a 1 1.0 1.0\n/etc/b 2 1.0 1.0\nx.service 77\n"
    after = "/etc/a 3 2.0 2.0\n/etc/b 2 1.0 1.0\nx.service 78\n/etc/new 4 2.0 2.0\n"
    assert reference_host.touched(before, after) == {"/etc/a", "/etc/new", "x.service"}


def test_the_floor_of_the_reference_work_runs_its_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (command, deploy_commands):
        monkeypatch.setattr(module, "roles_of", module.roles_of)
    reference_role.install()
    job = noop.job(str(reference.inventory(tmp_path, 2)))
    hosts = job["hosts"]
    assert isinstance(hosts, dict)
    assert sorted(hosts) == ["h01", "h02"]
    assert all(unit in hosts["h02"]["scripts"][0] for unit in reference_role.UNITS)


@pytest.mark.programs
def test_the_benchmark_deploys_the_reference_work_on_the_hosts_of_its_lab(tmp_path: Path) -> None:
    inventory = reference.inventory(tmp_path, 1)
    text = inventory.read_text(encoding="utf-8")
    inventory.write_text(text.replace("lab: {name: bench-", "lab: {name: none-"), encoding="utf-8")
    said = subprocess.run(reference.deploy(inventory), capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "inv lab.up" in said.stderr
