"""Running checks: several of a host at once, a limit on the commands per host, and failures that name their host."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from plainstack.deploy import check_host
from plainstack.errors import HostFailed
from plainstack.inventory.stack import Stack
from plainstack.secrets.values import Vault
from tests.unit.deploy.checking import ASKING, asking_here, checked
from tests.waiting import PATIENCE

pytestmark = pytest.mark.programs

CHECKS = """
ROLE = "base"

def test_one(host, here):
    assert host.run("meet").stdout == "met", "alone"
    assert here.name != "db1", "it is db1"

def test_another(host):
    assert host.run("meet").stdout == "met", "alone"
"""


def test_the_checks_of_one_host_run_in_parallel_and_a_failure_names_its_host(
    checks: Path, stack: Stack, vault: Vault
) -> None:
    (checks / "test_beside.py").write_text(CHECKS)
    barriers = {name: threading.Barrier(2, timeout=PATIENCE) for name in ("db1", "db2")}

    def meet(name: str, _text: str) -> str:
        barriers[name].wait()
        return "met"

    results = checked(stack, vault, meet, ["db1", "db2"])
    assert {(one.host, one.name): one.passed for one in results} == {
        ("db1", "test_one"): False,
        ("db2", "test_one"): True,
        ("db1", "test_another"): True,
        ("db2", "test_another"): True,
    }
    assert next(one.why for one in results if not one.passed).startswith("it is db1")


def test_a_host_runs_no_more_commands_at_once_than_its_sshd_allows(checks: Path, stack: Stack, vault: Vault) -> None:
    """The checks of all hosts run a command on db1, as the firewall's checks all run one on a monitoring host."""
    names = "\n".join(f'def test_{number}(peer):\n    peer("db1").run("x")' for number in range(6))
    (checks / "test_many.py").write_text(f'ROLE = "base"\n{names}\n')
    lock, full, running, most = threading.Lock(), threading.Event(), 0, 0

    def count(_name: str, _text: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == check_host.COMMANDS:
                full.set()
        full.wait(PATIENCE)
        with lock:
            running -= 1
        return ""

    results = checked(stack, vault, count, list(stack.hosts))
    assert len(results) == 6 * len(stack.hosts)
    assert most == check_host.COMMANDS


def test_facts_are_gathered_once_per_host_and_not_mixed_up(checks: Path, stack: Stack, vault: Vault) -> None:
    for number in (1, 2):
        (checks / f"test_asking_{number}.py").write_text(ASKING)
    asked: list[str] = []

    def ask(name: str, text: str) -> str:
        asked.append(name)
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout

    results = checked(stack, vault, ask, ["db1", "db2"])
    assert sorted(asked) == ["db1", "db2"]
    assert {(one.host, one.passed) for one in results} == {("db1", True), ("db2", False)}
    assert len(results) == 8
    assert {one.why.partition("\n")[0] for one in results if one.name == "test_another" and one.why} == {"db2"}


def test_checks_of_a_role_without_chosen_hosts_are_not_run(checks: Path, stack: Stack, vault: Vault) -> None:
    (checks / "test_present.py").write_text(ASKING)
    (checks / "test_absent.py").write_text(ASKING.replace('"base"', '"monitoring"'))

    def ask(_name: str, text: str) -> str:
        return subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=False).stdout

    results = checked(stack, vault, ask, ["db1"])
    assert [(one.role, one.passed) for one in results] == [("base", True), ("base", True)]


def test_an_unreachable_host_fails_each_of_its_checks_with_the_reason(checks: Path, stack: Stack, vault: Vault) -> None:
    (checks / "test_unreachable.py").write_text(ASKING)

    def ask(name: str, _text: str) -> str:
        raise HostFailed(name, "connect", "no answer within 10 s")

    results = checked(stack, vault, ask, ["db1"])
    assert [(one.name, one.passed) for one in results] == [("test_one", False), ("test_another", False)]
    assert all("no answer within 10 s" in one.why for one in results)


def test_an_invalid_fact_script_fails_without_affecting_the_others(checks: Path, stack: Stack, vault: Vault) -> None:
    (checks / "test_unclosed.py").write_text(ASKING.replace("exit 3", "if true"))
    (checks / "test_whole.py").write_text(ASKING)
    results = checked(stack, vault, asking_here, ["db1"])
    assert [one.passed for one in results] == [False, False, True, True]
