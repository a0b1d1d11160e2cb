"""How checks are run: several of a host at once, not too many commands on one, and a failure names its host."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from plainstack import verify
from plainstack.roles import registry
from plainstack.secrets import Vault
from plainstack.session import Output
from plainstack.stack import Stack
from plainstack.verify import CheckResult, Verifier

base, firewall = import_module("checks.test_base"), import_module("checks.test_firewall")
CHECKS = """
ROLE = "base"

def test_one(host, here):
    assert host.run("meet").stdout == "met", "alone"
    assert here.name != "db1", "it is db1"

def test_another(host):
    assert host.run("meet").stdout == "met", "alone"
"""


class Sessions:
    """Stand-ins for connections: each command is answered by a function of host and text."""

    def __init__(self, answer: Callable[[str, str], str]) -> None:
        self._answer = answer

    def to(self, name: str) -> Any:
        answer = self._answer

        class Session:
            def script(self, text: str, **_: object) -> Output:
                return Output(0, answer(name, text), "")

        return Session()


def checked(stack: Stack, vault: Vault, answer: Callable[[str, str], str], hosts: list[str]) -> list[CheckResult]:
    sessions: Any = Sessions(answer)
    verifier = Verifier(stack, vault, sessions, registry(), (), hosts)
    verify.run(verifier)
    return verifier.results


@pytest.fixture
def checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(verify, "CHECKS", tmp_path)
    return tmp_path


def test_checks_of_one_host_run_beside_each_other_and_a_failure_names_its_host(
    checks: Path, stack: Stack, vault: Vault
) -> None:
    (checks / "test_beside.py").write_text(CHECKS)
    barriers = {name: threading.Barrier(2, timeout=20) for name in ("db1", "db2")}

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


def test_a_host_runs_no_more_commands_at_once_than_its_sshd_takes(checks: Path, stack: Stack, vault: Vault) -> None:
    """All hosts look at db1, as every check of the firewall does from a monitoring host."""
    names = "\n".join(f'def test_{number}(peer):\n    peer("db1").run("x")' for number in range(6))
    (checks / "test_many.py").write_text(f'ROLE = "base"\n{names}\n')
    lock, full, running, most = threading.Lock(), threading.Event(), 0, 0

    def count(_name: str, _text: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == verify.COMMANDS:
                full.set()
        full.wait(20)
        with lock:
            running -= 1
        return ""

    results = checked(stack, vault, count, list(stack.hosts))
    assert len(results) == 6 * len(stack.hosts)
    assert most == verify.COMMANDS


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Ports of this machine: one that accepts, one that refuses, and one that is as silent as a filtered one."""
    with ExitStack() as opened:
        servers = [opened.enter_context(socket.socket()) for _ in range(3)]
        for server in servers:
            server.bind(("127.0.0.1", 0))
        accepting, refusing, silent = servers
        accepting.listen()
        # With a full queue Linux drops what asks to be let in.
        silent.listen(0)
        for _ in range(2):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(silent.getsockname())
        names = ("accepting", "refusing", "silent")
        yield {name: server.getsockname()[1] for name, server in zip(names, (accepting, refusing, silent), strict=True)}


def test_a_port_that_answers_is_told_from_one_that_is_silent(ports: dict[str, int]) -> None:
    unwanted = [ports["refusing"], ports["silent"]]
    for wanted in ([ports["accepting"]], []):
        script = firewall.knock("127.0.0.1", wanted, unwanted)
        seen = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert {int(port) for port in seen.stdout.split()} == {*wanted, ports["refusing"]}
        assert seen.stderr == ""


@pytest.mark.parametrize(
    ("answered", "refused", "holds"),
    [
        ("node_filesystem_size_bytes{device=x} 1\n", "alert certificate required", True),
        ("", "alert certificate required", False),
        ("node_filesystem_size_bytes{device=x} 1\n", "node_load1 1", False),
        ("node_filesystem_size_bytes{device=x} 1\n", "Connection refused", False),
    ],
)
def test_an_exporter_that_is_silent_or_answers_a_stranger_is_found(
    stack: Stack, answered: str, refused: str, holds: bool
) -> None:
    class Scraper:
        stdout = f"{answered}---\n{refused}"

        def run(self, *_: object) -> Any:
            return self

    check = base.test_the_node_exporter_answers_the_monitoring_hosts_and_nobody_without_a_certificate
    if holds:
        check(stack.hosts["db1"], stack, lambda _name: Scraper())
    else:
        with pytest.raises(AssertionError):
            check(stack.hosts["db1"], stack, lambda _name: Scraper())
